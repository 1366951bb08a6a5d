//! Which callers a grant is for.

use super::certificate_patterns::{AlternativeNamePattern, SubjectPattern};
use crate::model::{Caller, CertificateNames, PeerIdentity};
use crate::policy::KeyPatterns;
use std::collections::BTreeSet;

/// The number of combinations of patterns that are compared with other matchers.
const MAX_COMBINATIONS: usize = 1000;

/// Which callers a grant is for. What is `None` or empty matches every caller; the others must all match.
#[derive(Debug, Clone, Default)]
pub struct CallerMatcher {
    /// The client that the token was issued to.
    pub client_id: Option<KeyPatterns>,
    /// The subject of the token.
    pub subject: Option<KeyPatterns>,
    /// The issuer of the token.
    pub issuer: Option<KeyPatterns>,
    /// The organization.
    pub organization: Option<KeyPatterns>,
    /// One of the scopes.
    pub scopes: Option<KeyPatterns>,
    /// One of the roles.
    pub roles: Option<KeyPatterns>,
    /// One of the groups.
    pub groups: Option<KeyPatterns>,
    /// One of the values of each of these claims.
    pub claims: Vec<(String, KeyPatterns)>,
    /// One of the alternative names of the client certificate.
    pub certificate_name: Option<Vec<AlternativeNamePattern>>,
    /// The subject of the client certificate.
    pub certificate_subject: Option<Vec<SubjectPattern>>,
    /// The user ID of the process at the other end of a Unix socket: one of these.
    pub unix_uid: Option<Vec<u32>>,
}

impl CallerMatcher {
    /// Whether the caller, on this connection, is one of them.
    pub fn matches(&self, caller: &Caller, peer: &PeerIdentity) -> bool {
        one(&self.client_id, caller.client_id.as_deref())
            && one(&self.subject, Some(caller.subject.as_str()))
            && one(&self.issuer, Some(caller.issuer.as_str()))
            && one(&self.organization, caller.organization.as_deref())
            && any(&self.scopes, &caller.scopes)
            && any(&self.roles, &caller.roles)
            && any(&self.groups, &caller.groups)
            && self.claims.iter().all(|(name, patterns)| has_match(patterns, caller.claim(name)))
            && self.has_certificate(peer.certificate.as_ref())
            && self.unix_uid.as_ref().is_none_or(|uids| peer.uid.is_some_and(|uid| uids.contains(&uid)))
    }

    fn has_certificate(&self, found: Option<&CertificateNames>) -> bool {
        let none = CertificateNames::default();
        let CertificateNames { subject, alternative, not_after: _ } = found.unwrap_or(&none);
        let name = |patterns: &Vec<AlternativeNamePattern>| {
            patterns.iter().any(|pattern| alternative.iter().any(|name| pattern.matches(name)))
        };
        let is_subject = |patterns: &Vec<SubjectPattern>| patterns.iter().any(|pattern| pattern.matches(subject));
        self.certificate_name.as_ref().is_none_or(name)
            && self.certificate_subject.as_ref().is_none_or(|patterns| !subject.is_empty() && is_subject(patterns))
    }

    /// Whether names in the client certificate matter.
    pub fn names_certificate(&self) -> bool {
        self.certificate_name.is_some() || self.certificate_subject.is_some()
    }

    /// Whether it tells callers apart by what their tokens say, beside the issuer.
    pub fn names_claim(&self) -> bool {
        let CallerMatcher { client_id, subject, organization, scopes, roles, groups, claims, .. } = self;
        let lists = [client_id, subject, organization, scopes, roles, groups];
        lists.iter().any(|patterns| patterns.is_some()) || !claims.is_empty()
    }

    /// Which of `others` certainly match every caller who matches this: the first that does, or else several together.
    /// Empty if none do.
    ///
    /// A caller who matches has a value for each matcher that one of its patterns matches. So several do if, for each
    /// combination of one pattern of each matcher, one of them does.
    pub fn covered_by(&self, others: &[&CallerMatcher]) -> Vec<usize> {
        if let Some(one) = others.iter().position(|other| other.covers(self)) {
            return vec![one];
        }
        let all = self.combinations().unwrap_or_default();
        let covering = all.iter().map(|combination| others.iter().position(|other| other.covers(combination)));
        covering.collect::<Option<BTreeSet<usize>>>().into_iter().flatten().collect()
    }

    /// The matchers with one pattern each that match the same callers together. `None` if they are too many.
    fn combinations(&self) -> Option<Vec<CallerMatcher>> {
        const TEXTS: [fn(&mut CallerMatcher) -> &mut Option<KeyPatterns>; 7] = [
            |matcher| &mut matcher.client_id,
            |matcher| &mut matcher.subject,
            |matcher| &mut matcher.issuer,
            |matcher| &mut matcher.organization,
            |matcher| &mut matcher.scopes,
            |matcher| &mut matcher.roles,
            |matcher| &mut matcher.groups,
        ];
        let mut all = vec![self.clone()];
        for texts in TEXTS {
            all = separated(all, |matcher| texts(matcher).as_mut().map(|patterns| &mut patterns.0))?;
        }
        for at in 0..self.claims.len() {
            all = separated(all, |matcher| matcher.claims.get_mut(at).map(|(_, patterns)| &mut patterns.0))?;
        }
        all = separated(all, |matcher| matcher.certificate_name.as_mut())?;
        all = separated(all, |matcher| matcher.certificate_subject.as_mut())?;
        separated(all, |matcher| matcher.unix_uid.as_mut())
    }

    /// Whether every caller who matches `other` certainly matches this.
    pub fn covers(&self, other: &CallerMatcher) -> bool {
        let pairs = [
            (&self.client_id, &other.client_id),
            (&self.subject, &other.subject),
            (&self.issuer, &other.issuer),
            (&self.organization, &other.organization),
            (&self.scopes, &other.scopes),
            (&self.roles, &other.roles),
            (&self.groups, &other.groups),
        ];
        let covers = |own: &Option<KeyPatterns>, other: Option<&KeyPatterns>| {
            own.as_ref().is_none_or(|own| other.is_some_and(|other| own.cover(other)))
        };
        let claim = |(name, own): &(String, KeyPatterns)| {
            other.claims.iter().any(|(found, other)| found == name && own.cover(other))
        };
        let uids =
            |own: &Vec<u32>| other.unix_uid.as_ref().is_some_and(|other| other.iter().all(|uid| own.contains(uid)));
        pairs.into_iter().all(|(own, other)| covers(own, other.as_ref()))
            && all_covered(&self.certificate_name, &other.certificate_name, AlternativeNamePattern::covers)
            && all_covered(&self.certificate_subject, &other.certificate_subject, SubjectPattern::covers)
            && self.claims.iter().all(claim)
            && self.unix_uid.as_ref().is_none_or(uids)
    }
}

/// Several matchers in place of each: with one pattern of a list each. `None` if they are too many.
fn separated<P: Clone>(
    all: Vec<CallerMatcher>,
    list: impl Fn(&mut CallerMatcher) -> Option<&mut Vec<P>>,
) -> Option<Vec<CallerMatcher>> {
    let mut found = Vec::new();
    for mut matcher in all {
        let Some(patterns) = list(&mut matcher).map(std::mem::take) else {
            found.push(matcher);
            continue;
        };
        if found.len() + patterns.len() > MAX_COMBINATIONS {
            return None;
        }
        for pattern in patterns {
            let mut one = matcher.clone();
            list(&mut one)?.push(pattern);
            found.push(one);
        }
    }
    Some(found)
}

/// Whether each pattern of `other` is covered by one of these.
fn all_covered<P>(own: &Option<Vec<P>>, other: &Option<Vec<P>>, covers: impl Fn(&P, &P) -> bool) -> bool {
    let Some(own) = own else {
        return true;
    };
    other.as_ref().is_some_and(|other| other.iter().all(|other| own.iter().any(|own| covers(own, other))))
}

/// Whether the text matches. An absent or empty one matches no pattern, not even `*`.
fn one(patterns: &Option<KeyPatterns>, text: Option<&str>) -> bool {
    let matches = |patterns: &KeyPatterns| text.is_some_and(|text| !text.is_empty() && patterns.matches(text));
    patterns.as_ref().is_none_or(matches)
}

/// Whether one of the texts matches.
fn any(patterns: &Option<KeyPatterns>, texts: &[String]) -> bool {
    patterns.as_ref().is_none_or(|patterns| has_match(patterns, texts))
}

fn has_match(patterns: &KeyPatterns, texts: &[String]) -> bool {
    texts.iter().any(|text| !text.is_empty() && patterns.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::KeyPattern;
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    /// Some of these patterns; `None` is no matcher.
    fn some(sources: &'static [&'static str]) -> impl Strategy<Value = Option<KeyPatterns>> {
        let patterns = subsequence(sources, 0..=sources.len());
        patterns.prop_map(|sources| {
            let patterns = sources.into_iter().map(|source| KeyPattern::parse(source).unwrap()).collect::<Vec<_>>();
            (!patterns.is_empty()).then_some(KeyPatterns(patterns))
        })
    }

    fn matcher() -> impl Strategy<Value = CallerMatcher> {
        let uids = subsequence(&[0, 1][..], 0..=2).prop_map(|uids| (!uids.is_empty()).then_some(uids));
        let claims = some(&["x", "y"]).prop_map(|patterns| patterns.map(|patterns| ("c".to_owned(), patterns)));
        let texts = (some(&["a", "b*", "/c|b/"]), some(&["r", "s", "*"]));
        (texts, claims, uids).prop_map(|((client_id, roles), claims, unix_uid)| {
            let claims = claims.into_iter().collect();
            CallerMatcher { client_id, roles, claims, unix_uid, ..CallerMatcher::default() }
        })
    }

    fn all_callers() -> Vec<(Caller, PeerIdentity)> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        let mut all = Vec::new();
        for client_id in [None, Some("a"), Some("b"), Some("bb"), Some("c"), Some("d")] {
            for roles in [&[][..], &["r"], &["s"], &["t"], &["r", "s"], &["s", "t"]] {
                for claims in [&[][..], &["x"], &["y"], &["x", "y"]] {
                    for uid in [None, Some(0), Some(1)] {
                        let caller = Caller {
                            client_id: client_id.map(str::to_owned),
                            roles: texts(roles),
                            claims: vec![("c".to_owned(), texts(claims))],
                            ..Caller::default()
                        };
                        all.push((caller, PeerIdentity { uid, ..PeerIdentity::default() }));
                    }
                }
            }
        }
        all
    }

    proptest! {
        /// What is covered never decides: each of its callers matches one of those that cover it.
        #[test]
        fn callers_of_a_covered_matcher_match_those_that_cover_it(
            matcher in matcher(),
            others in prop::collection::vec(matcher(), 0..5),
        ) {
            let others: Vec<&CallerMatcher> = others.iter().collect();
            let covering = matcher.covered_by(&others);
            for (caller, peer) in all_callers().iter().filter(|(caller, peer)| matcher.matches(caller, peer)) {
                let is_covered = covering.iter().any(|at| others[*at].matches(caller, peer));
                prop_assert!(covering.is_empty() || is_covered, "{caller:?}");
            }
        }
    }

    #[test]
    fn too_many_combinations_are_not_compared() {
        let texts = |from: usize, to: usize| {
            Some(KeyPatterns((from..to).map(|text| KeyPattern::of_text(&text.to_string())).collect()))
        };
        let of = |client_id, roles| CallerMatcher { client_id, roles, ..CallerMatcher::default() };
        let others = [of(texts(0, 20), None), of(texts(20, 50), None)];
        let others: Vec<&CallerMatcher> = others.iter().collect();
        assert_eq!(of(texts(10, 50), texts(0, 25)).covered_by(&others), [0, 1]);
        assert_eq!(of(texts(10, 51), texts(0, 24)).covered_by(&others), [] as [usize; 0]);
        assert_eq!(of(texts(10, 50), texts(0, 26)).covered_by(&others), [] as [usize; 0]);
        assert_eq!(of(texts(10, 20), texts(0, 2000)).covered_by(&others), [0]);
    }
}
