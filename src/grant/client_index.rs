//! Finds the grants that may be those of a client without looking at all of them.

use super::callers::CallerMatcher;
use crate::policy::KeyPattern;
use std::collections::BTreeMap;

/// The places of grants in their list, by the client IDs that they name.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientIndex {
    /// Those that name exact client IDs, by each of these.
    named: BTreeMap<String, Vec<usize>>,
    /// All others.
    others: Vec<usize>,
}

impl ClientIndex {
    /// The index of grants with these callers, in this order.
    pub fn new<'g>(callers: impl Iterator<Item = &'g CallerMatcher>) -> ClientIndex {
        let mut index = ClientIndex::default();
        for (at, matcher) in callers.enumerate() {
            let patterns = matcher.client_id.as_ref();
            let names: Option<Vec<&str>> =
                patterns.and_then(|patterns| patterns.0.iter().map(KeyPattern::exact).collect());
            match names {
                Some(names) => {
                    names.into_iter().for_each(|name| index.named.entry(name.to_owned()).or_default().push(at));
                }
                None => index.others.push(at),
            }
        }
        index
    }

    /// The places of the grants that may match a caller with this client ID, in order. The others do not match.
    pub fn places(&self, client_id: Option<&str>) -> impl Iterator<Item = usize> {
        let named = client_id.and_then(|client_id| self.named.get(client_id)).map(Vec::as_slice).unwrap_or_default();
        let (mut named, mut others) = (named.iter().peekable(), self.others.iter().peekable());
        std::iter::from_fn(move || match (named.peek(), others.peek()) {
            (Some(first), Some(second)) if first > second => others.next(),
            (Some(_), _) => named.next(),
            (None, _) => others.next(),
        })
        .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Caller, PeerIdentity};
    use crate::policy::KeyPatterns;
    use proptest::prelude::*;

    fn matcher(client_ids: Option<Vec<&str>>) -> CallerMatcher {
        let patterns = |texts: Vec<&str>| texts.into_iter().map(|text| KeyPattern::parse(text).unwrap()).collect();
        CallerMatcher { client_id: client_ids.map(|texts| KeyPatterns(patterns(texts))), ..CallerMatcher::default() }
    }

    proptest! {
        #[test]
        fn index_finds_what_a_search_finds(
            lists in prop::collection::vec(
                prop::option::of(prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "a*", "/[bc]/"]), 1..3)),
                0..8,
            ),
            client_id in prop::option::of(prop::sample::select(vec!["a", "b", "c", "aa", "x"])),
        ) {
            let callers: Vec<CallerMatcher> = lists.into_iter().map(matcher).collect();
            let caller = Caller { client_id: client_id.map(str::to_owned), ..Caller::default() };
            let matches = |at: &usize| callers[*at].matches(&caller, &PeerIdentity::default());
            let index = ClientIndex::new(callers.iter());
            let mut found: Vec<usize> = index.places(client_id).filter(matches).collect();
            found.dedup();
            prop_assert_eq!(found, (0..callers.len()).filter(matches).collect::<Vec<_>>());
        }
    }
}
