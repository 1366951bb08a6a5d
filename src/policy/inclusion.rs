//! Whether a regular expression matches all that another one matches.
//!
//! Both become deterministic automata, which read the same text at once: a text that ends in a pair of states where only
//! the other matches would be the counterexample.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use std::collections::HashSet;

/// The size of an automaton, and of the memory to build it, in bytes.
const MAX_SIZE: usize = 1 << 18;
/// The number of pairs of states.
const MAX_PAIRS: usize = 10_000;

/// Whether every text that `inner` matches certainly matches `outer`. Both must match from the begin to the end. `false`
/// also if that would cost too much to decide.
pub(super) fn includes(outer: &str, inner: &str) -> bool {
    let automata = automaton(outer).zip(automaton(inner));
    automata.and_then(|(outer, inner)| has_no_counterexample(&outer, &inner)).unwrap_or(false)
}

/// `None` if the automata have too many pairs of states.
fn has_no_counterexample(outer: &impl Automaton, inner: &impl Automaton) -> Option<bool> {
    let first = (first_state(outer)?, first_state(inner)?);
    let (mut seen, mut next) = (HashSet::from([first]), vec![first]);
    while let Some((outer_state, inner_state)) = next.pop() {
        if matches_here(inner, inner_state) && !matches_here(outer, outer_state) {
            return Some(false);
        }
        for byte in 0..=u8::MAX {
            let pair = (outer.next_state(outer_state, byte), inner.next_state(inner_state, byte));
            if outer.is_quit_state(pair.0) || inner.is_quit_state(pair.1) || seen.len() > MAX_PAIRS {
                return None;
            }
            if !inner.is_dead_state(pair.1) && seen.insert(pair) {
                next.push(pair);
            }
        }
    }
    Some(true)
}

/// `None` if the expression needs too large an automaton, or what no automaton has: word boundaries of Unicode.
fn automaton(expression: &str) -> Option<dense::DFA<Vec<u32>>> {
    let limits = dense::Config::new().dfa_size_limit(Some(MAX_SIZE)).determinize_size_limit(Some(MAX_SIZE));
    let config = limits.start_kind(StartKind::Anchored).match_kind(MatchKind::All);
    dense::Builder::new().configure(config).build(expression).ok()
}

fn first_state(automaton: &impl Automaton) -> Option<StateID> {
    automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()
}

/// Whether a text that ends here matches.
fn matches_here(automaton: &impl Automaton, state: StateID) -> bool {
    automaton.is_match_state(automaton.next_eoi_state(state))
}
