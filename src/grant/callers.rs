//! Which callers a grant is for.

use super::certificate_patterns::{AlternativeNamePattern, SubjectPattern};
use crate::model::{Caller, CertificateNames, PeerIdentity};
use crate::policy::KeyPatterns;

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
