//! Requests that name what to revoke.
//!
//! Their content decides what becomes stale in the cache, so every member must be declared here. No policy relaxes
//! that.

use super::Dialect;
use super::revocation_body::{MemberType, RevocationBody, RevocationMember};
use crate::model::{Rejection, Rule, SessionId, Violation, Violations, truncated};
use crate::wire::json::{Document, Kind, Member, Node, member};
use bytes::Bytes;

/// What a request's body revokes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The session, if named.
    pub session: Option<SessionId>,
    /// The user, if named.
    pub user: Option<String>,
    /// The refresh tokens that it names.
    pub refresh_tokens: Vec<String>,
}

impl Dialect {
    /// Parses the body. Rejects it with all violations.
    pub(super) fn read_revocation(&self, expected: &RevocationBody, body: Bytes) -> Result<Revocation, Rejection> {
        if body.is_empty() && expected.one_of.is_empty() {
            return Ok(Revocation::default());
        }
        let document = Document::parse(body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let Some(members) = document.members() else {
            let found = document.root().kind.name();
            return Err(Rejection::Malformed(format!("expected an object, found {found}")));
        };
        let mut violations = Violations::new();
        for member in members {
            match expected.members.iter().find(|term| term.name == member.key) {
                Some(term) => self.check_term(term, &member.value, members, &mut violations),
                None => {
                    let what = "is not a property of this request";
                    violations.report(shown(&member.key), Rule::Provider, what, || allowed(expected), what);
                }
            }
        }
        check_choice(expected, members, &mut violations);
        if !violations.is_empty() {
            return Err(Rejection::Violations(violations));
        }
        let named = |wanted: fn(&MemberType) -> bool| {
            let term = expected.members.iter().find(|term| wanted(&term.member_type))?;
            member(members, term.name)
        };
        let session = named(|member_type| matches!(member_type, MemberType::Session)).and_then(text);
        let user = named(|member_type| matches!(member_type, MemberType::User)).and_then(text).map(str::to_owned);
        let listed = named(|member_type| matches!(member_type, MemberType::RefreshTokens { .. }));
        let refresh_tokens = match listed.map(|node| &node.kind) {
            Some(Kind::Array(items)) => items.iter().filter_map(text).map(str::to_owned).collect(),
            Some(_) | None => Vec::new(),
        };
        Ok(Revocation { session: session.map(|id| self.session_id(id)).transpose()?, user, refresh_tokens })
    }

    fn check_term(&self, term: &RevocationMember, found: &Node, members: &[Member], violations: &mut Violations) {
        if let Some(type_error) = self.type_error(term.member_type, &found.kind) {
            report(term.name, type_error, violations);
        }
        let missing: Vec<&str> = term.requires.iter().copied().filter(|name| member(members, name).is_none()).collect();
        if !missing.is_empty() {
            report(term.name, format!("needs `{}` too", missing.join("` and `")), violations);
        }
    }

    /// What is wrong with a value's type or length.
    fn type_error(&self, member_type: MemberType, found: &Kind) -> Option<String> {
        let expected = |what: &str| Some(format!("expected {what}, found {}", found.name()));
        match (member_type, found) {
            (MemberType::Boolean, Kind::Bool(_)) => None,
            (MemberType::Boolean, _) => expected("true or false"),
            (MemberType::Session, Kind::Text(id)) if self.session_id(id).is_ok() => None,
            (MemberType::Session, Kind::Text(_)) => {
                Some(format!("is not a valid session ID: expected {}", self.session_ids))
            }
            (MemberType::User, Kind::Text(id)) => length_fault(id, self.user_id_length),
            (MemberType::Text(most), Kind::Text(text)) => length_fault(text, most),
            (MemberType::Session | MemberType::User | MemberType::Text(_), _) => expected("a string"),
            (MemberType::RefreshTokens { most, length }, Kind::Array(items)) => {
                if items.is_empty() || items.len() > most {
                    return Some(format!("has {} items, expected 1 to {most}", items.len()));
                }
                items.iter().find_map(|item| self.type_error(MemberType::Text(length), &item.kind))
            }
            (MemberType::RefreshTokens { .. }, _) => expected("an array of strings"),
        }
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Text(text) => Some(text),
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
    }
}

/// Checks that exactly one member of `one_of` is present.
fn check_choice(expected: &RevocationBody, members: &[Member], violations: &mut Violations) {
    let there: Vec<&str> = expected.one_of.iter().copied().filter(|name| member(members, name).is_some()).collect();
    let wanted = expected.one_of.join("` or `");
    match there.as_slice() {
        [_] => {}
        [] if expected.one_of.is_empty() => {}
        [] => report("body", format!("is missing what to revoke; expected `{wanted}`"), violations),
        [first, ..] => report(first, format!("only one of `{wanted}` may be there"), violations),
    }
}

fn allowed(expected: &RevocationBody) -> String {
    let names: Vec<&str> = expected.members.iter().map(|term| term.name).collect();
    format!("; allowed: `{}`", names.join("`, `"))
}

/// The caller's name for a member, shortened and quoted for a message.
fn shown(key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let key = truncated(key.to_owned(), 300);
    if !key.is_empty() && key.chars().all(plain) { key } else { format!("{key:?}") }
}

fn length_fault(text: &str, most: usize) -> Option<String> {
    let found = text.encode_utf16().count();
    let fits = (1..=most).contains(&found);
    (!fits).then(|| format!("has {found} characters, expected 1 to {most}"))
}

fn report(path: &str, message: String, violations: &mut Violations) {
    violations.push(Violation { path: path.to_owned(), rule: Rule::Provider, message });
}
