//! Dialects: what a provider's API looks like. Each is a table; the code that reads the tables is the same for all.

mod auth0;
pub mod path;

pub use auth0::AUTH0;

use crate::model::{Edit, Extras, Field, MetadataChange, Operation, Refusal, SessionId, SessionPatch, Value};
use crate::policy::Limits;
use crate::wire::json::{Change, Document, Kind, Member, Node};
use crate::wire::{Reply, is_twin};
use bytes::Bytes;
use http::Method;

/// A provider's API.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The path under which all of the API lies, in lower case.
    pub root: &'static str,
    /// The paths under which every request has to be one of `routes`, in its canonical spelling.
    pub guarded: &'static [&'static str],
    /// The governed operations.
    pub routes: &'static [Route],
    /// The other operations that read or change sessions.
    pub related: &'static [Related],
    /// Where things are in requests and answers.
    pub message: Message,
    /// The longest session id.
    pub session_id_length: usize,
    /// The provider's own limits of metadata.
    pub limits: Limits,
    /// Whether the provider reads `X-Forwarded-For`, `-Proto` and `-Host`; one that does not is not told about its clients.
    pub forwarded: bool,
    /// Whether it takes calls of gRPC.
    pub has_calls: bool,
    /// The provider's form of a refusal.
    pub reply: fn(&Refusal) -> Reply,
}

/// A governed operation.
#[derive(Debug)]
pub struct Route {
    /// The method, in upper case.
    pub method: &'static str,
    /// The path, part by part.
    pub path: &'static [Part],
    /// What it does.
    pub operation: Operation,
    /// The scope that the caller's token needs.
    pub scope: &'static str,
}

/// A part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// This word.
    Word(&'static str),
    /// Any single part.
    Any,
    /// Any further parts, also none.
    Rest,
}

/// An operation that reads or changes sessions without naming one.
#[derive(Debug)]
pub struct Related {
    /// The path, part by part, in lower case.
    pub path: &'static [Part],
    /// Whether reading it reads sessions (or what belongs to them).
    pub reads: bool,
}

/// Where things are in a provider's JSON messages.
#[derive(Debug)]
pub struct Message {
    /// The member of an answer with the session's id.
    pub id: &'static str,
    /// The member with the metadata, in requests and answers.
    pub metadata: &'static str,
    /// The members of an answer with times after which it does not hold.
    pub expiries: &'static [&'static str],
    /// The member of an answer with the time of its last change.
    pub changed_at: &'static str,
}

/// What a path and a method name in a dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A governed operation on a session.
    Governed(Operation, SessionId, &'static str),
    /// An operation that reads several sessions, or may change several.
    Related(Operation),
    /// Nothing that the dialect knows.
    Unmatched,
}

/// What a session's answer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerFacts {
    /// When it stops to hold, in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// Its version: the time of the last change, in milliseconds since the epoch.
    pub version: Option<u64>,
}

impl Dialect {
    /// What this request names. `overridden` is the header that asks for another method than the request's own.
    pub fn find(&self, method: &Method, path: &str, overridden: Option<&'static str>) -> Result<Found, Refusal> {
        if self.guarded.iter().any(|prefix| path::is_canonical_below(path, prefix)) && method != Method::OPTIONS {
            return self.governed(method, path);
        }
        if path::is_plainly_outside(path, self.root) {
            return Ok(Found::Unmatched);
        }
        let spelling = path::Spelling::of(path);
        if self.guarded.iter().any(|prefix| spelling.reaches(prefix) || spelling.may_reach(prefix)) {
            return match overridden {
                Some(name) => Err(Refusal::Header(name)),
                None if method == Method::OPTIONS => Ok(Found::Unmatched),
                None => Err(Refusal::Path),
            };
        }
        let related = self.related.iter().find(|row| spelling.any(|parts| matches(row.path, parts)));
        Ok(match related {
            Some(_) if overridden.is_some() || !is_safe(method) => Found::Related(Operation::ChangeRelated),
            Some(row) if row.reads => Found::Related(Operation::ReadRelated),
            Some(_) | None => Found::Unmatched,
        })
    }

    fn governed(&self, method: &Method, path: &str) -> Result<Found, Refusal> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut here = self.routes.iter().filter(|route| matches(route.path, &parts)).peekable();
        let Some(any) = here.peek().copied() else {
            return Err(Refusal::Unknown);
        };
        let route = here.find(|route| route.method == method.as_str()).ok_or(Refusal::Method(self.methods(any)))?;
        let place = route.path.iter().position(|part| *part == Part::Any);
        let id = place.and_then(|at| parts.get(at)).and_then(|id| SessionId::parse(id, self.session_id_length));
        Ok(Found::Governed(route.operation, id.ok_or(Refusal::SessionId)?, route.scope))
    }

    /// The methods of a governed path, as `Allow` lists them.
    fn methods(&self, like: &Route) -> String {
        let here = self.routes.iter().filter(|route| route.path == like.path);
        here.map(|route| route.method).collect::<Vec<_>>().join(", ")
    }

    /// The path of a session at the provider.
    pub fn session_path(&self, operation: Operation, id: &SessionId) -> Option<String> {
        let route = self.routes.iter().find(|route| route.operation == operation)?;
        let parts = route.path.iter().map(|part| match part {
            Part::Word(word) => word,
            Part::Any => id.as_str(),
            Part::Rest => "",
        });
        Some(parts.fold(String::new(), |path, part| path + "/" + part))
    }

    /// The view of a write that the policy judges.
    pub fn read_patch(&self, document: &Document) -> Result<SessionPatch, Refusal> {
        let Some(members) = document.members() else {
            let found = document.root().kind.name();
            return Err(Refusal::Malformed(format!("expected an object, found {found}")));
        };
        let name = self.message.metadata;
        if let Some(twin) = members.iter().find(|member| is_twin(&member.key, name)) {
            return Err(Refusal::Malformed(format!("expected `{name}`, found `{}`", twin.key.escape_debug())));
        }
        let metadata = match members.iter().find(|member| member.key == name) {
            None => MetadataChange::Absent,
            Some(member) => metadata_change(document, &member.value),
        };
        Ok(SessionPatch { name, empty: members.is_empty(), metadata, empties_wipe: true, extras: Extras::default() })
    }

    /// The bytes to forward: the caller's own, but for the edits.
    pub fn apply(&self, document: &Document, edits: &[Edit]) -> Bytes {
        let metadata = document.members().and_then(|members| self.metadata_of(members));
        let changes: Vec<Change> = edits.iter().cloned().map(change).collect();
        document.edited(metadata.unwrap_or(document.root()), &changes)
    }

    fn metadata_of<'a>(&self, members: &'a [Member]) -> Option<&'a Node> {
        members.iter().find(|member| member.key == self.message.metadata).map(|member| &member.value)
    }

    /// The metadata that an answer shows; none where it shows something else.
    pub fn current_metadata(&self, answer: &Document) -> Option<Vec<Field>> {
        match self.metadata_of(answer.members()?).map(|node| metadata_change(answer, node)) {
            None | Some(MetadataChange::Wipe | MetadataChange::Absent) => Some(Vec::new()),
            Some(MetadataChange::Replace(fields)) => Some(fields),
            Some(MetadataChange::Malformed(_)) => None,
        }
    }

    /// What an answer says of itself; none where it cannot be understood, or names another session than the one that was asked
    /// for, so that nothing may be concluded from it.
    pub fn read_answer(&self, answer: &Document, asked: Option<&SessionId>) -> Option<AnswerFacts> {
        let members = answer.members()?;
        let named = members.iter().find(|member| member.key == self.message.id).map(|member| &member.value.kind);
        if let (Some(named), Some(asked)) = (named, asked)
            && !matches!(named, Kind::Text(id) if id == asked.as_str())
        {
            return None;
        }
        let time = |name: &str| match members.iter().find(|member| member.key == name).map(|member| &member.value.kind)
        {
            None | Some(Kind::Null) => Some(None),
            Some(Kind::Text(text)) => millis(text).map(Some),
            Some(Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_)) => None,
        };
        let mut expires_at: Option<u64> = None;
        for name in self.message.expiries {
            if let Some(found) = time(name)? {
                expires_at = Some(expires_at.map_or(found, |known| known.min(found)));
            }
        }
        Some(AnswerFacts { expires_at, version: time(self.message.changed_at)? })
    }
}

fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}

fn matches<S: AsRef<str>>(pattern: &[Part], parts: &[S]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((Part::Rest, _)) => true,
        Some((part, pattern)) => parts.split_first().is_some_and(|(first, parts)| {
            let fits = match part {
                Part::Word(word) => *word == first.as_ref(),
                Part::Any | Part::Rest => !first.as_ref().is_empty(),
            };
            fits && matches(pattern, parts)
        }),
    }
}

fn metadata_change(document: &Document, node: &Node) -> MetadataChange {
    match &node.kind {
        Kind::Null => MetadataChange::Wipe,
        Kind::Object(members) if members.is_empty() => MetadataChange::Wipe,
        Kind::Object(members) => MetadataChange::Replace(
            members.iter().map(|m| Field { key: m.key.clone(), value: value(document, &m.value) }).collect(),
        ),
        Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => MetadataChange::Malformed(node.kind.name()),
    }
}

fn value(document: &Document, node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Bool(truth) => Value::Bool(*truth),
        Kind::Number => Value::Number(document.spelling(node).to_owned()),
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Array(_) | Kind::Object(_) => Value::Composite(node.kind.name()),
    }
}

fn change(edit: Edit) -> Change {
    match edit {
        Edit::Rename { field, key } => Change::Key(field, key),
        Edit::Set { field, value } => Change::Text(field, value),
        Edit::Remove { field } => Change::Remove(field),
        Edit::Insert { key, value } => Change::Add(key, value),
        // Nothing of JSON's own has one: see `call.rs`.
        Edit::Lifetime(length) => Change::Add("lifetime".to_owned(), length.to_string()),
    }
}

/// Milliseconds since the epoch of an RFC 3339 time.
fn millis(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).ok()
}
