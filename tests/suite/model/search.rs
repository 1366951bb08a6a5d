//! Breadth first through every state that a setting allows.

use super::world::{Label, Setting, World};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What a search has found.
pub struct Report {
    pub states: usize,
    pub depth: usize,
    /// Whether every state was looked at: what was not found before that may still be there.
    pub complete: bool,
    /// The shortest way to a stale answer.
    pub stale: Option<Vec<String>>,
    /// The shortest way to a session that goes back.
    pub backwards: Option<Vec<String>>,
    pub took: Duration,
}

/// Two hashes of a state: states are too many to keep.
fn fingerprint(world: &World) -> u128 {
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    hash(1) << 64 | hash(2)
}

/// Looks at every state, but no further behind those that are stale. Behind those that go back it goes on: where readers may see
/// that, what is stale has to be looked for there too. `enough` says whether what was found is all that was looked for.
pub fn search(setting: Setting, enough: impl Fn(&Report) -> bool) -> Report {
    let began = Instant::now();
    let first = World::new(setting);
    // Where a state came from, and by what.
    let mut known: HashMap<u128, (u128, Label)> = HashMap::new();
    let own = fingerprint(&first);
    known.insert(own, (own, ("", 0)));
    let mut front = vec![(own, first)];
    let mut report = Report { states: 1, depth: 0, complete: false, stale: None, backwards: None, took: Duration::ZERO };
    while !front.is_empty() && !enough(&report) {
        let mut next = Vec::new();
        for (from, world) in front {
            for (label, world) in world.successors() {
                let own = fingerprint(&world);
                if known.contains_key(&own) {
                    continue;
                }
                known.insert(own, (from, label));
                let way = || trace(&known, own);
                if world.stale && report.stale.is_none() {
                    report.stale = Some(way());
                }
                if world.backwards && report.backwards.is_none() {
                    report.backwards = Some(way());
                }
                if !world.stale {
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

fn trace(known: &HashMap<u128, (u128, Label)>, mut at: u128) -> Vec<String> {
    let mut trace = Vec::new();
    while let Some((from, (what, number))) = known.get(&at).filter(|(from, _)| *from != at) {
        trace.push(format!("{what} {number}"));
        at = *from;
    }
    trace.reverse();
    trace
}
