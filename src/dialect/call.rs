//! Decoding of request bodies and responses: a JSON document, or a message with a schema.

use super::stored_metadata::{StoredEntry, StoredMetadata};
use super::{BodyKind, Call, Challenges, Checks, Dialect, Effect, ResponseFacts, Revocation, Route, Version};
use crate::model::{
    Challenge, ChallengeKind, Check, Edit, Field, Lifetime, MetadataChange, Rejection, Rule, SessionId, SessionPatch,
    SessionTokenPresence, SignedDuration, Value, Violation, field_path,
};
use crate::wire::carrier::Carrier;
use crate::wire::json::Document;
use crate::wire::message::{
    Codec, Edit as MessageEdit, Entry, Item, Object, Parsed, SecondsNanos, Value as FieldValue,
};
use bytes::Bytes;
use compact_str::CompactString;

/// A decoded request body.
#[derive(Debug, Clone)]
pub enum DecodedBody {
    /// The operation has no body.
    None,
    /// A JSON document, and the name of the member with the metadata.
    Document(Document, &'static str),
    /// A revocation.
    Revocation(Revocation),
    /// A message with a schema.
    Message(Parsed),
}

impl DecodedBody {
    fn text(&self, name: Option<&str>) -> Option<&str> {
        match self {
            DecodedBody::Message(parsed) => parsed.root().text(name?),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Revocation(_) => None,
        }
    }

    /// Whether the body names a user, and so all sessions of that user.
    pub fn names_user(&self) -> bool {
        match self {
            DecodedBody::Revocation(revocation) => revocation.user.is_some(),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Message(_) => false,
        }
    }

    /// The revocation.
    pub fn revocation(&self) -> Option<&Revocation> {
        match self {
            DecodedBody::Revocation(revocation) => Some(revocation),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Message(_) => None,
        }
    }
}

impl Dialect {
    /// The session that a body names.
    pub fn session_in<'b>(&self, body: &'b DecodedBody) -> Option<&'b str> {
        match body {
            DecodedBody::Revocation(revocation) => revocation.session.as_ref().map(SessionId::as_str),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Message(_) => body.text(self.names.session_id),
        }
    }

    /// The session's token in a body; `None` if empty.
    pub fn session_token_in<'b>(&self, body: &'b DecodedBody) -> Option<&'b str> {
        body.text(self.names.session_token).filter(|token| !token.is_empty())
    }

    /// Decodes a request body that its carrier has unwrapped.
    pub fn read_body(&self, route: &Route, carrier: Carrier, body: Bytes) -> Result<DecodedBody, Rejection> {
        let malformed = |what: String| Rejection::Malformed(what);
        match (route.call, route.body) {
            (Some(call), _) => {
                // Gateways from REST to gRPC accept no body as an empty message.
                let empty = body.is_empty() && carrier == Carrier::Rest;
                let read =
                    Parsed::read(call.request, carrier.codec(), if empty { Bytes::from_static(b"{}") } else { body });
                read.map(DecodedBody::Message).map_err(|error| malformed(error.to_string()))
            }
            (None, BodyKind::Metadata(name)) => {
                let document = Document::parse(body).map_err(|error| malformed(error.to_string()))?;
                Ok(DecodedBody::Document(document, name))
            }
            (None, BodyKind::Revocation(terms)) => self.read_revocation(terms, body).map(DecodedBody::Revocation),
            (None, BodyKind::Nothing) if body.is_empty() => Ok(DecodedBody::None),
            (None, BodyKind::Nothing) => Err(Rejection::UnexpectedBody),
        }
    }

    /// What the policy evaluates of a write. `None` if nothing is to be evaluated.
    pub fn session_patch(&self, route: &Route, body: &DecodedBody) -> Result<Option<SessionPatch>, Rejection> {
        match (body, route.call) {
            (DecodedBody::None | DecodedBody::Revocation(_), _) => Ok(None),
            (DecodedBody::Document(document, name), _) => self.read_patch(name, document).map(Some),
            (DecodedBody::Message(parsed), Some(call)) => Ok(Some(self.view(route, call, parsed))),
            (DecodedBody::Message(_), None) => Ok(None),
        }
    }

    /// The bytes to forward: the original bytes with the edits applied.
    pub fn apply_edits(&self, body: &DecodedBody, edits: &[Edit]) -> Option<Bytes> {
        match body {
            DecodedBody::None | DecodedBody::Revocation(_) => None,
            DecodedBody::Document(document, name) => Some(self.apply(name, document, edits)),
            DecodedBody::Message(parsed) => {
                let changes: Vec<MessageEdit> = edits.iter().cloned().filter_map(|edit| self.change(edit)).collect();
                Some(parsed.edited(self.names.metadata.unwrap_or_default(), &changes))
            }
        }
    }

    fn view(&self, route: &Route, call: &Call, parsed: &Parsed) -> SessionPatch {
        let root = parsed.root();
        let name = self.names.metadata.unwrap_or_default();
        let metadata = match root.entries(name) {
            Some(entries) if !entries.is_empty() => MetadataChange::Replace(entries.iter().map(field).collect()),
            Some(_) | None => MetadataChange::Absent,
        };
        // On a resource, the path names the session, and the path is already validated.
        let in_path = |path: &str| !call.is_rpc && self.names.session_id.is_some_and(|id| call.request.names(id, path));
        let (checks, unknown_checks) =
            self.names.checks.as_ref().map_or_else(Default::default, |own| checks(own, root));
        let challenges = self.names.challenges.as_ref();
        let (challenges, unknown_challenges) = challenges.map_or_else(Default::default, |own| challenges_of(own, root));
        let constraint_violations = parsed.constraint_violations().into_iter().filter(|breach| !in_path(&breach.path));
        SessionPatch {
            name,
            empty: false,
            metadata,
            creates: route.effect == Effect::CreatesSession,
            empty_map_clears: self.empty_map_clears,
            lifetime: self.names.lifetime.map_or(Lifetime::NotOffered, |name| lifetime(name, call, parsed)),
            token: self.names.session_token.map_or_else(Default::default, |name| token(name, call, parsed)),
            checks,
            unknown_checks,
            challenges,
            unknown_challenges,
            constraint_violations: constraint_violations
                .map(|breach| Violation { path: breach.path, rule: Rule::Provider, message: breach.text })
                .collect(),
        }
    }

    /// The metadata that `route` would change, from a response to [`Dialect::read_route`].
    pub fn metadata_in_response(&self, route: &Route, response: &Bytes) -> Option<StoredMetadata> {
        let name = match route.body {
            BodyKind::Metadata(name) => name,
            BodyKind::Nothing | BodyKind::Revocation(_) => self.names.metadata?,
        };
        match self.read_route(route)?.call {
            None => self.current_metadata(name, &Document::parse(response.clone()).ok()?),
            Some(call) => {
                let parsed = Parsed::read(call.response, Codec::Json, response.clone()).ok()?;
                let session = self.session_message(parsed.root())?;
                let entries = session.entries(name).unwrap_or_default().iter().map(field);
                Some(entries.map(|field| StoredEntry { field, spelling: None }).collect())
            }
        }
    }

    /// Whether a response to [`Dialect::read_route`] is a session or a refresh token: the one with this ID, if it is known.
    pub fn shows_resource(&self, route: &Route, response: &Bytes, id: Option<&str>) -> bool {
        let is = |found: Option<&str>| found.is_some_and(|found| id.is_none_or(|id| found == id));
        match self.read_route(route).map(|reading| reading.call) {
            None => false,
            Some(None) => Document::parse(response.clone()).is_ok_and(|document| is(self.resource_id(&document))),
            Some(Some(call)) => Parsed::read(call.response, Codec::Json, response.clone()).is_ok_and(|parsed| {
                is(self.session_message(parsed.root()).and_then(|session| session.text(self.names.id)))
            }),
        }
    }

    /// What a response tells about its session. `requested` is the session that was read; `None` for a write. `None` if
    /// the response does not parse or is about another session.
    pub fn response_facts(
        &self,
        route: &Route,
        carrier: Carrier,
        response: &Bytes,
        requested: Option<&SessionId>,
    ) -> Option<ResponseFacts> {
        let Some(call) = route.call else {
            return self.read_response(&Document::parse(response.clone()).ok()?, requested);
        };
        let parsed = Parsed::read(call.response, carrier.codec(), response.clone()).ok()?;
        let root = parsed.root();
        let Some(requested) = requested else {
            let details = self.names.write_details.map_or(Some(root), |name| root.message(name))?;
            return Some(ResponseFacts { expires_at: None, version: self.version_in(details) });
        };
        let session = self.session_message(root)?;
        if session.text(self.names.id) != Some(requested.as_str()) {
            return None;
        }
        let expires_at = self.names.expiries.iter().filter_map(|name| timestamp(session, name)).min();
        Some(ResponseFacts { expires_at, version: self.version_in(session) })
    }

    /// The session in a response to a read.
    pub(super) fn session_message<'m>(&self, response: &'m Object) -> Option<&'m Object> {
        self.names.session.map_or(Some(response), |name| response.message(name))
    }

    fn version_in(&self, message: &Object) -> Option<u64> {
        match self.names.version? {
            Version::Time(name) => timestamp(message, name),
            Version::Number(name) => message.number(name),
        }
    }

    /// The response without one-time codes. `None` if it cannot be parsed: it must not reach the caller then.
    pub fn without_codes(&self, route: &Route, carrier: Carrier, response: &Bytes) -> Option<Bytes> {
        let call = route.call?;
        let parsed = Parsed::read(call.response, carrier.codec(), response.clone()).ok()?;
        match &self.names.challenges {
            Some(names) => Some(parsed.without(names.field, &[names.otp_sms, names.otp_email])),
            None => Some(response.clone()),
        }
    }

    fn change(&self, edit: Edit) -> Option<MessageEdit> {
        match edit {
            Edit::Rename { field, key } => Some(MessageEdit::Key(field, key)),
            Edit::Set { field, value } => Some(MessageEdit::Value(field, value.into_bytes())),
            Edit::Remove { field } => Some(MessageEdit::Remove(field)),
            Edit::Insert { key, value } => Some(MessageEdit::Add(key, value.into_bytes())),
            Edit::Lifetime(SignedDuration { seconds, nanos }) => {
                Some(MessageEdit::Duration(self.names.lifetime?, SecondsNanos { seconds, nanos }))
            }
        }
    }
}

fn field(entry: &Entry) -> Field {
    let value = match CompactString::from_utf8(&entry.value) {
        Ok(text) => Value::Text(text),
        Err(_) => Value::Bytes(entry.value.clone()),
    };
    Field { key: entry.key.clone(), value }
}

/// A time, in milliseconds since the epoch.
fn timestamp(message: &Object, name: &str) -> Option<u64> {
    match message.item(name).map(|item| &item.value) {
        Some(FieldValue::Timestamp(SecondsNanos { seconds, nanos })) => {
            let millis = seconds.saturating_mul(1000).saturating_add(i64::from(*nanos) / 1_000_000);
            Some(u64::try_from(millis).unwrap_or(0))
        }
        Some(_) | None => None,
    }
}

fn token(name: &'static str, call: &Call, parsed: &Parsed) -> SessionTokenPresence {
    match parsed.root().text(name) {
        _ if !call.takes_session_token => SessionTokenPresence::NotRequested,
        Some(token) if !token.is_empty() => SessionTokenPresence::Given,
        Some(_) | None => SessionTokenPresence::Absent(parsed.spelling(name).to_owned()),
    }
}

fn lifetime(name: &'static str, call: &Call, parsed: &Parsed) -> Lifetime {
    if call.request.field(name).is_none() {
        return Lifetime::NotOffered;
    }
    match parsed.root().item(name) {
        Some(Item { value: FieldValue::Duration(SecondsNanos { seconds, nanos }), spelling, .. }) => {
            let length = SignedDuration { seconds: *seconds, nanos: *nanos };
            Lifetime::Given { path: spelling.to_string(), length }
        }
        Some(_) | None => Lifetime::Absent(parsed.spelling(name).to_owned()),
    }
}

/// The requested checks, and the paths of unknown fields in them.
fn checks(names: &Checks, root: &Object) -> (Vec<Check>, Vec<String>) {
    let Some((requested, object)) = root.item(names.field).zip(root.message(names.field)) else {
        return Default::default();
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for item in &object.items {
        let path = format!("{}.{}", requested.spelling, item.spelling);
        match names.kinds.iter().find(|(name, _)| *name == item.field.name) {
            Some((_, kind)) => known.push(Check { path, kind: *kind }),
            None => unknown.push(path),
        }
    }
    collect_unknown(&requested.spelling, object, &mut unknown);
    (known, unknown)
}

/// Collects the paths of unknown fields in a message and its nested messages.
fn collect_unknown(path: &str, object: &Object, found: &mut Vec<String>) {
    found.extend(object.unknown.iter().map(|name| field_path(path, name)));
    for item in &object.items {
        if let FieldValue::Message(inner) = &item.value {
            collect_unknown(&format!("{path}.{}", item.spelling), inner, found);
        }
    }
}

/// The requested challenges, and the paths of unknown fields in them.
fn challenges_of(names: &Challenges, root: &Object) -> (Vec<Challenge>, Vec<String>) {
    let Some((requested, object)) = root.item(names.field).zip(root.message(names.field)) else {
        return Default::default();
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let challenge = |item: &Item| {
        let path = format!("{}.{}", requested.spelling, item.spelling);
        let FieldValue::Message(inner) = &item.value else {
            return None;
        };
        // The field is a boolean, which may be false, or a message, which counts if present.
        let returned = inner.item(names.return_code).filter(|item| !matches!(item.value, FieldValue::Bool(false)));
        let returns_code = returned.is_some();
        let kind = match item.field.name {
            name if name == names.web_auth_n => ChallengeKind::WebAuthN,
            name if name == names.otp_sms => ChallengeKind::OtpSms { returns_code },
            name if name == names.otp_email => {
                ChallengeKind::OtpEmail { returns_code, url_template: link(names, inner, &path) }
            }
            _ => return None,
        };
        Some(Challenge { path: returned.map_or(path.clone(), |item| format!("{path}.{}", item.spelling)), kind })
    };
    for item in &object.items {
        match challenge(item) {
            Some(challenge) => known.push(challenge),
            None => unknown.push(format!("{}.{}", requested.spelling, item.spelling)),
        }
    }
    collect_unknown(&requested.spelling, object, &mut unknown);
    (known, unknown)
}

/// The path and the text of the link template in an email challenge.
fn link(names: &Challenges, mail: &Object, path: &str) -> Option<(String, String)> {
    let (send, message) = mail.item(names.send_code).zip(mail.message(names.send_code))?;
    let (link, template) = message.item(names.url_template).zip(message.text(names.url_template))?;
    Some((format!("{path}.{}.{}", send.spelling, link.spelling), template.to_owned()))
}
