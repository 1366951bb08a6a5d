//! Requests that say what is revoked. What they say decides what becomes stale, so that everything in them has to be
//! declared, and no policy relaxes that.

use super::Dialect;
use crate::model::{Rejection, Rule, SessionId, Violation, Violations, truncated};
use crate::wire::json::{Document, Kind, Member, Node};
use bytes::Bytes;

/// What such a request may say.
#[derive(Debug)]
pub struct RevocationBody {
    /// The members, each of which may be left out.
    pub members: &'static [RevocationMember],
    /// Of these exactly one has to be there. Where none has to, there may also be no body.
    pub one_of: &'static [&'static str],
}

/// A member of such a request.
#[derive(Debug)]
pub struct RevocationMember {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub member_type: MemberType,
    /// The members that have to be there with it.
    pub with: &'static [&'static str],
}

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum MemberType {
    /// The id of a session.
    Session,
    /// The id of a user.
    User,
    /// A truth value.
    Boolean,
    /// A text of at most so many characters.
    Text(usize),
    /// Texts.
    TextList {
        /// The most of them.
        most: usize,
        /// The longest, in characters.
        length: usize,
    },
}

/// What a request revokes, as far as it says so in its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The session.
    pub session: Option<SessionId>,
    /// Whether it names a user.
    pub names_user: bool,
}

impl Dialect {
    /// Reads what is revoked; rejects with everything that is wrong with it.
    pub(super) fn read_revocation(&self, terms: &RevocationBody, body: Bytes) -> Result<Revocation, Rejection> {
        if body.is_empty() && terms.one_of.is_empty() {
            return Ok(Revocation::default());
        }
        let document = Document::parse(body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let Some(members) = document.members() else {
            let found = document.root().kind.name();
            return Err(Rejection::Malformed(format!("expected an object, found {found}")));
        };
        let mut violations = Violations::new();
        for member in members {
            match terms.members.iter().find(|term| term.name == member.key) {
                Some(term) => self.check_term(term, &member.value, members, &mut violations),
                None => {
                    let what = "is no member of this request";
                    violations.report(&shown(&member.key), Rule::Provider, what, || allowed(terms), what);
                }
            }
        }
        check_choice(terms, members, &mut violations);
        if !violations.is_empty() {
            return Err(Rejection::Violations(violations));
        }
        let named = |wanted: fn(&MemberType) -> bool| {
            let term = terms.members.iter().find(|term| wanted(&term.member_type))?;
            value(members, term.name)
        };
        let session = match named(|member_type| matches!(member_type, MemberType::Session)).map(|node| &node.kind) {
            Some(Kind::Text(id)) => Some(self.session_id(id)?),
            Some(_) | None => None,
        };
        Ok(Revocation { session, names_user: named(|member_type| matches!(member_type, MemberType::User)).is_some() })
    }

    fn check_term(&self, term: &RevocationMember, found: &Node, members: &[Member], violations: &mut Violations) {
        if let Some(fault) = self.fault(term.member_type, &found.kind) {
            report(term.name, fault, violations);
        }
        let missing: Vec<&str> = term.with.iter().copied().filter(|name| value(members, name).is_none()).collect();
        if !missing.is_empty() {
            report(term.name, format!("needs `{}` beside it", missing.join("` and `")), violations);
        }
    }

    /// What is wrong with a value.
    fn fault(&self, member_type: MemberType, found: &Kind) -> Option<String> {
        let expected = |what: &str| Some(format!("expected {what}, found {}", found.name()));
        match (member_type, found) {
            (MemberType::Boolean, Kind::Bool(_)) => None,
            (MemberType::Boolean, _) => expected("true or false"),
            (MemberType::Session, Kind::Text(id)) if self.session_id(id).is_ok() => None,
            (MemberType::Session, Kind::Text(_)) => {
                let most = self.session_id_length;
                Some(format!("is no session id: expected 1 to {most} letters, numbers, underscores and hyphens"))
            }
            (MemberType::User, Kind::Text(id)) => length_fault(id, self.user_id_length),
            (MemberType::Text(most), Kind::Text(text)) => length_fault(text, most),
            (MemberType::Session | MemberType::User | MemberType::Text(_), _) => expected("a string"),
            (MemberType::TextList { most, length }, Kind::Array(items)) => {
                if items.is_empty() || items.len() > most {
                    return Some(format!("has {} items, expected 1 to {most}", items.len()));
                }
                items.iter().find_map(|item| self.fault(MemberType::Text(length), &item.kind))
            }
            (MemberType::TextList { .. }, _) => expected("an array of strings"),
        }
    }
}

/// Exactly one of some members has to be there.
fn check_choice(terms: &RevocationBody, members: &[Member], violations: &mut Violations) {
    let there: Vec<&str> = terms.one_of.iter().copied().filter(|name| value(members, name).is_some()).collect();
    let wanted = terms.one_of.join("` or `");
    match there.as_slice() {
        [_] => {}
        [] if terms.one_of.is_empty() => {}
        [] => report("body", format!("names nothing to revoke; expected `{wanted}`"), violations),
        [first, ..] => report(first, format!("only one of `{wanted}` may be there"), violations),
    }
}

fn value<'a>(members: &'a [Member], name: &str) -> Option<&'a Node> {
    members.iter().find(|member| member.key == name).map(|member| &member.value)
}

fn allowed(terms: &RevocationBody) -> String {
    let names: Vec<&str> = terms.members.iter().map(|term| term.name).collect();
    format!("; allowed are `{}`", names.join("`, `"))
}

/// A name that somebody else chose.
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
