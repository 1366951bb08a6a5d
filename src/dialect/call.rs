//! Decoding of request bodies and responses: a JSON document, or a message with a schema.

use super::resource::current_metadata;
use super::{BodyKind, Call, Dialect, ResponseFacts, Revocation, Route};
use crate::model::{
    Challenge, ChallengeKind, Check, CheckKind, Edit, Field, Lifetime, MetadataChange, Operation, Rejection, Rule,
    SessionId, SessionPatch, SessionTokenPresence, SignedDuration, Value, Violation, field_path,
};
use crate::telemetry::Label;
use crate::wire::carrier::Carrier;
use crate::wire::json::Document;
use crate::wire::message::{
    Codec, Edit as MessageEdit, Entry, Item, Object, Parsed, SecondsNanos, Value as FieldValue,
};
use bytes::Bytes;
use strum::VariantArray;

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
    fn text(&self, name: &str) -> Option<&str> {
        match self {
            DecodedBody::Message(parsed) => parsed.root().text(name),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Revocation(_) => None,
        }
    }

    /// The session that the body names.
    pub fn session(&self) -> Option<&str> {
        match self {
            DecodedBody::Revocation(revocation) => revocation.session.as_ref().map(SessionId::as_str),
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Message(_) => self.text("session_id"),
        }
    }

    /// Whether the body names a user, and so all sessions of that user.
    pub fn names_user(&self) -> bool {
        match self {
            DecodedBody::Revocation(revocation) => revocation.names_user,
            DecodedBody::None | DecodedBody::Document(..) | DecodedBody::Message(_) => false,
        }
    }

    /// The session's token in the body; `None` if empty.
    pub fn token(&self) -> Option<&str> {
        self.text("session_token").filter(|token| !token.is_empty())
    }
}

impl Dialect {
    /// Decodes a request body that its carrier has unwrapped.
    pub fn read_body(&self, route: &Route, carrier: Carrier, body: Bytes) -> Result<DecodedBody, Rejection> {
        let malformed = |what: String| Rejection::Malformed(what);
        match (route.call, route.body) {
            (Some(call), _) => {
                // ZITADEL's REST gateway accepts no body as an empty message.
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
                let changes: Vec<MessageEdit> = edits.iter().cloned().map(change).collect();
                Some(parsed.edited(self.json.metadata, &changes))
            }
        }
    }

    fn view(&self, route: &Route, call: &Call, parsed: &Parsed) -> SessionPatch {
        let root = parsed.root();
        let name = self.json.metadata;
        let metadata = match root.entries(name) {
            Some(entries) if !entries.is_empty() => MetadataChange::Replace(entries.iter().map(field).collect()),
            Some(_) | None => MetadataChange::Absent,
        };
        // On a resource, the path names the session, and the path is already validated.
        let (checks, unknown_checks) = checks(root);
        let (challenges, unknown_challenges) = challenges(root);
        let in_path = |path: &str| !call.is_rpc && matches!(path, "session_id" | "sessionId");
        let constraint_violations = parsed.constraint_violations().into_iter().filter(|breach| !in_path(&breach.path));
        SessionPatch {
            name,
            empty: false,
            metadata,
            creates: route.operation == Operation::CreateSession,
            empty_map_clears: self.empty_map_clears,
            lifetime: lifetime(call, parsed),
            token: match root.text("session_token") {
                _ if !call.takes_session_token => SessionTokenPresence::NotRequested,
                Some(token) if !token.is_empty() => SessionTokenPresence::Given,
                Some(_) | None => SessionTokenPresence::Absent(parsed.spelling("session_token").to_owned()),
            },
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
    pub fn metadata_in_response(&self, route: &Route, response: &Bytes) -> Option<Vec<Field>> {
        let name = match route.body {
            BodyKind::Metadata(name) => name,
            BodyKind::Nothing | BodyKind::Revocation(_) => self.json.metadata,
        };
        match self.read_route(route.operation)?.call {
            None => current_metadata(name, &Document::parse(response.clone()).ok()?),
            Some(call) => {
                let parsed = Parsed::read(call.response, Codec::Json, response.clone()).ok()?;
                let session = parsed.root().message("session")?;
                Some(session.entries(self.json.metadata).unwrap_or_default().iter().map(field).collect())
            }
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
            return Some(ResponseFacts { expires_at: None, version: root.message("details")?.number("sequence") });
        };
        let session = root.message("session").filter(|session| session.text("id") == Some(requested.as_str()))?;
        let expires = match session.item("expiration_date").map(|item| &item.value) {
            Some(FieldValue::Timestamp(SecondsNanos { seconds, nanos })) => {
                let millis = seconds.saturating_mul(1000).saturating_add(i64::from(*nanos) / 1_000_000);
                Some(u64::try_from(millis).unwrap_or(0))
            }
            Some(_) | None => None,
        };
        Some(ResponseFacts { expires_at: expires, version: session.number("sequence") })
    }

    /// The response without one-time codes. `None` if it cannot be parsed: it must not reach the caller then.
    pub fn without_codes(&self, route: &Route, carrier: Carrier, response: &Bytes) -> Option<Bytes> {
        let call = route.call?;
        let parsed = Parsed::read(call.response, carrier.codec(), response.clone()).ok()?;
        Some(parsed.without("challenges", &["otp_sms", "otp_email"]))
    }
}

fn field(entry: &Entry) -> Field {
    let value = match String::from_utf8(entry.value.clone()) {
        Ok(text) => Value::Text(text),
        Err(error) => Value::Bytes(error.into_bytes()),
    };
    Field { key: entry.key.clone(), value }
}

fn lifetime(call: &Call, parsed: &Parsed) -> Lifetime {
    if call.request.field("lifetime").is_none() {
        return Lifetime::NotOffered;
    }
    match parsed.root().item("lifetime") {
        Some(Item { value: FieldValue::Duration(SecondsNanos { seconds, nanos }), spelling, .. }) => {
            let length = SignedDuration { seconds: *seconds, nanos: *nanos };
            Lifetime::Given { path: spelling.clone(), length }
        }
        Some(_) | None => Lifetime::Absent(parsed.spelling("lifetime").to_owned()),
    }
}

/// The requested checks, and the paths of unknown fields in them.
fn checks(root: &Object) -> (Vec<Check>, Vec<String>) {
    let Some((requested, object)) = root.item("checks").zip(root.message("checks")) else {
        return Default::default();
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for item in &object.items {
        let path = format!("{}.{}", requested.spelling, item.spelling);
        match CheckKind::VARIANTS.iter().copied().find(|kind| kind.name() == item.field.name) {
            Some(kind) => known.push(Check { path, kind }),
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
fn challenges(root: &Object) -> (Vec<Challenge>, Vec<String>) {
    let Some((requested, object)) = root.item("challenges").zip(root.message("challenges")) else {
        return Default::default();
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let challenge = |item: &Item| {
        let path = format!("{}.{}", requested.spelling, item.spelling);
        let FieldValue::Message(inner) = &item.value else {
            return None;
        };
        // For SMS the field is a boolean and may be false; for email it is a message and counts if present.
        let returned = inner.item("return_code").filter(|item| !matches!(item.value, FieldValue::Bool(false)));
        let returns_code = returned.is_some();
        let kind = match item.field.name {
            "web_auth_n" => ChallengeKind::WebAuthN,
            "otp_sms" => ChallengeKind::OtpSms { returns_code },
            "otp_email" => ChallengeKind::OtpEmail { returns_code, url_template: link(inner, &path) },
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
fn link(mail: &Object, path: &str) -> Option<(String, String)> {
    let (send, message) = mail.item("send_code").zip(mail.message("send_code"))?;
    let (link, template) = message.item("url_template").zip(message.text("url_template"))?;
    Some((format!("{path}.{}.{}", send.spelling, link.spelling), template.to_owned()))
}

fn change(edit: Edit) -> MessageEdit {
    match edit {
        Edit::Rename { field, key } => MessageEdit::Key(field, key),
        Edit::Set { field, value } => MessageEdit::Value(field, value.into_bytes()),
        Edit::Remove { field } => MessageEdit::Remove(field),
        Edit::Insert { key, value } => MessageEdit::Add(key, value.into_bytes()),
        Edit::Lifetime(SignedDuration { seconds, nanos }) => {
            MessageEdit::Duration("lifetime", SecondsNanos { seconds, nanos })
        }
    }
}
