//! Finds the upstream of a request, at a cost that does not grow with the number of upstreams.

use super::upstream::{RequestMatcher, Upstream, plain_host};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The upstreams, by what they match.
#[derive(Debug, Default)]
pub(super) struct UpstreamIndex {
    /// Those that match a host, by its name.
    of_host: BTreeMap<Box<str>, Prefixes>,
    /// The others.
    of_any: Prefixes,
}

/// Upstreams by path prefix.
#[derive(Debug, Default)]
struct Prefixes {
    /// Those without a prefix, which need no search. A search would compare with an empty text, which has no address:
    /// `memcmp` of glibc loads from there with an empty mask, and that takes processors with AVX-512 60 ns.
    of_any_path: Vec<Arc<Upstream>>,
    /// The others, in the order of the prefixes. Those of one prefix differ in their listeners.
    of_prefix: Vec<Arc<Upstream>>,
    /// The most segments of a prefix.
    depth: usize,
}

impl UpstreamIndex {
    pub fn new(upstreams: &[Arc<Upstream>]) -> UpstreamIndex {
        let mut index = UpstreamIndex::default();
        for upstream in upstreams {
            let RequestMatcher { host, path_prefix, .. } = &upstream.matcher;
            let group = match host {
                Some(host) => index.of_host.entry(host.to_ascii_lowercase().into()).or_default(),
                None => &mut index.of_any,
            };
            group.depth = group.depth.max(path_prefix.matches('/').count());
            let upstreams = if path_prefix.is_empty() { &mut group.of_any_path } else { &mut group.of_prefix };
            upstreams.push(upstream.clone());
        }
        // Stable: of two that match the same, the last one of the configuration stays the last.
        let sort = |group: &mut Prefixes| group.of_prefix.sort_by(|one, other| prefix(one).cmp(prefix(other)));
        index.of_host.values_mut().for_each(sort);
        sort(&mut index.of_any);
        index
    }

    /// The upstream for a listener, a host and a path: the most specific match.
    pub fn find(&self, listener: &str, host: &str, path: &str) -> Option<&Arc<Upstream>> {
        let of_host = || {
            let host = plain_host(host);
            let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
            let host = if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) };
            self.of_host.get(&*host)?.find(listener, path)
        };
        let found = if self.of_host.is_empty() { None } else { of_host() };
        found.or_else(|| self.of_any.find(listener, path))
    }
}

impl Prefixes {
    fn find(&self, listener: &str, path: &str) -> Option<&Arc<Upstream>> {
        let ends = path.bytes().zip(0..).filter(|(byte, at)| *byte == b'/' && *at > 0).map(|(_, at)| at);
        let prefixes = ends.chain([path.len()]).take(self.depth);
        let prefixed = prefixes.flat_map(|end| self.of_prefix(path.get(..end).unwrap_or_default()));
        let candidates = self.of_any_path.iter().chain(prefixed);
        let here = candidates.filter(|one| one.matcher.listener.as_ref().is_none_or(|own| own == listener));
        here.max_by_key(|one| one.matcher.specificity())
    }

    fn of_prefix(&self, wanted: &str) -> &[Arc<Upstream>] {
        let begin = self.of_prefix.partition_point(|one| prefix(one) < wanted);
        let from = self.of_prefix.get(begin..).unwrap_or_default();
        from.get(..from.partition_point(|one| prefix(one) == wanted)).unwrap_or_default()
    }
}

fn prefix(upstream: &Upstream) -> &str {
    &upstream.matcher.path_prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmptyEnvironment, compile};
    use proptest::prelude::*;

    fn upstreams(matchers: Vec<RequestMatcher>) -> Vec<Arc<Upstream>> {
        let text = "upstreams: { a: { url: https://a.example, dialect: auth0, auth: forward } }";
        let compiled = compile("c", text, &EmptyEnvironment, [7; 32]).unwrap();
        let one = compiled.config.gateway.upstreams()[0].clone();
        matchers.into_iter().map(|matcher| Arc::new(Upstream { matcher, ..Upstream::clone(&one) })).collect()
    }

    fn matcher() -> impl Strategy<Value = RequestMatcher> {
        let (listener, host) = (prop::option::of("[lm]"), prop::option::of("[ab](\\.[ab])?"));
        (listener, host, "(/[ab]{1,2}){0,3}").prop_map(|(listener, host, path_prefix)| RequestMatcher {
            listener,
            host,
            path_prefix,
            strip_prefix: false,
        })
    }

    proptest! {
        /// The index finds what a look at each upstream finds.
        #[test]
        fn index_finds_the_most_specific_match(
            matchers in prop::collection::vec(matcher(), 0..12),
            listener in "[lmn]",
            host in "[abAB](\\.[abAB])?\\.?(:8?)?",
            path in prop_oneof!["(/{1,2}[ab]{0,2}){0,4}/?", "\\*", "[ab/]{0,3}"],
        ) {
            let upstreams = upstreams(matchers);
            let all = upstreams.iter().filter(|one| one.matcher.matches(&listener, &host, &path));
            let expected = all.max_by_key(|one| one.matcher.specificity()).map(|one| one.matcher.clone());
            let index = UpstreamIndex::new(&upstreams);
            let found = index.find(&listener, &host, &path);
            prop_assert_eq!(found.map(|one| one.matcher.clone()), expected);
        }
    }

    #[test]
    fn of_two_equal_matches_the_last_one_is_found() {
        let both = upstreams(vec![RequestMatcher::default(), RequestMatcher::default()]);
        let found = UpstreamIndex::new(&both);
        assert!(Arc::ptr_eq(found.find("l", "a", "/x").unwrap(), &both[1]));
    }
}
