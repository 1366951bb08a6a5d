//! Breadth-first search through all states of a setting.

use super::world::{Label, Setting, World};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What a search has found.
pub struct Report {
    pub states: usize,
    pub depth: usize,
    /// Whether every state was visited: otherwise a violation may remain undiscovered.
    pub complete: bool,
    /// The shortest way to a stale response.
    pub stale: Option<Vec<String>>,
    /// The shortest way to a session that goes back.
    pub backwards: Option<Vec<String>>,
    pub took: Duration,
}

/// More generations than are ever minted; other values of their size are names of readers and writers, and are above.
pub const GENERATIONS: u128 = 100;

/// Serializes a state. Generations are only compared with each other, so they are numbered in their order: two states
/// that differ only in the generations that were minted are the same.
#[derive(Default)]
struct Canonical {
    text: Vec<u8>,
    seen: Vec<u128>,
}

impl Hasher for Canonical {
    fn write(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn write_u128(&mut self, value: u128) {
        let mut value = value;
        if value > 0 && value < GENERATIONS {
            let at = self.seen.iter().position(|seen| *seen == value).unwrap_or_else(|| {
                self.seen.push(value);
                self.seen.len() - 1
            });
            value = at as u128 + 1;
        }
        self.text.extend_from_slice(&value.to_le_bytes());
    }

    fn finish(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.text);
        hasher.finish()
    }
}

/// Two hashes of a state: states are too many to keep.
fn fingerprint(world: &World) -> u128 {
    let mut canonical = Canonical::default();
    world.hash(&mut canonical);
    let first = canonical.finish();
    canonical.text.push(1);
    u128::from(first) << 64 | u128::from(canonical.finish())
}

/// Visits every state, except those after a stale read. It continues after a session that goes back: if readers may see
/// that, stale reads are searched for there too. `enough` returns whether the result is sufficient.
pub fn search(setting: Setting, enough: impl Fn(&Report) -> bool) -> Report {
    let began = Instant::now();
    let first = World::new(setting);
    // The predecessor of each state, and the step between them.
    let mut known: HashMap<u128, (u128, Label)> = HashMap::new();
    let own = fingerprint(&first);
    known.insert(own, (own, ("", 0)));
    let mut front = vec![(own, first)];
    let (stale, backwards, took) = (None, None, Duration::ZERO);
    let mut report = Report { states: 1, depth: 0, complete: false, stale, backwards, took };
    while !front.is_empty() && !enough(&report) {
        let mut next = Vec::new();
        for (from, world) in front {
            for (label, mut world) in world.successors() {
                // What a step has shown to readers is not part of the next state.
                let (stale, backwards) = (std::mem::take(&mut world.stale), std::mem::take(&mut world.backwards));
                let way = || {
                    let mut way = trace(&known, from);
                    way.push(told(label));
                    way
                };
                if backwards && report.backwards.is_none() {
                    report.backwards = Some(way());
                }
                if stale {
                    report.stale.get_or_insert_with(way);
                    continue;
                }
                let own = fingerprint(&world);
                if let std::collections::hash_map::Entry::Vacant(vacant) = known.entry(own) {
                    vacant.insert((from, label));
                    next.push((own, world));
                }
            }
        }
        report.depth += usize::from(!next.is_empty());
        front = next;
    }
    report.complete = front.is_empty();
    report.states = known.len();
    report.took = began.elapsed();
    report
}

fn told((what, number): Label) -> String {
    format!("{what} {number}")
}

fn trace(known: &HashMap<u128, (u128, Label)>, mut at: u128) -> Vec<String> {
    let mut trace = Vec::new();
    while let Some((from, label)) = known.get(&at).filter(|(from, _)| *from != at) {
        trace.push(told(*label));
        at = *from;
    }
    trace.reverse();
    trace
}
