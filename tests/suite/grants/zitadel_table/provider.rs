//! A provider that knows two users, on every carrier. Its lists have another user's session too, so that what is not
//! checked again would be seen.

use crate::harness::grpc::{field, frame};
use crate::harness::{Arrived, Part, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use serde_json::{Value, json};

/// The ID that does not exist.
const MISSING: &str = "none";

/// Whether a request changes something.
pub fn is_write(request: &Arrived) -> bool {
    let (method, path) = (&request.head.method, request.head.uri.path());
    let reads = *method == Method::GET || path.ends_with("GetSession") || path.ends_with("ListSessions");
    !reads && !path.ends_with("/search")
}

/// Responds to a request of any carrier.
pub fn respond(request: &Arrived) -> Reply {
    let content_type = request.all("content-type").first().copied().unwrap_or_default().to_owned();
    let framed = content_type.starts_with("application/grpc");
    let is_json = content_type.ends_with("json") || content_type.is_empty();
    let path = request.head.uri.path().to_owned();
    let is_rest = path.starts_with("/v2/");
    let message = if framed { &request.body[5..] } else { &request.body[..] };
    let id = match path.strip_prefix("/v2/sessions/") {
        Some(id) => id.to_owned(),
        None if is_json => {
            let body: Value = serde_json::from_slice(message).unwrap_or_default();
            body["sessionId"].as_str().unwrap_or_default().to_owned()
        }
        None => {
            String::from_utf8_lossy(message.get(2..2 + usize::from(*message.get(1).unwrap_or(&0))).unwrap_or_default())
                .into_owned()
        }
    };
    let reads_one = path.ends_with("GetSession") || (is_rest && request.head.method == Method::GET);
    let lists = path.ends_with("ListSessions") || path.ends_with("/search");
    if reads_one && id == MISSING {
        return missing(&content_type, is_rest, framed);
    }
    let message: Vec<u8> = match (reads_one, lists, is_json) {
        (true, _, true) => json!({ "session": session_json(&id) }).to_string().into(),
        (true, _, false) => field_long(1, &session_proto(&id)),
        (_, true, true) => {
            let sessions: Vec<Value> = ["a1", "a2", "b1"].map(session_json).into();
            json!({ "details": { "totalResult": "3" }, "sessions": sessions }).to_string().into()
        }
        (_, true, false) => {
            let sessions = ["a1", "a2", "b1"].map(|id| field_long(2, &session_proto(id))).concat();
            [field(1, &[1 << 3, 3]), sessions].concat()
        }
        (_, _, true) => json!({ "details": { "sequence": "9" } }).to_string().into(),
        (_, _, false) => field(1, &[1 << 3, 9]),
    };
    let content_type = if is_rest { "application/json" } else { &content_type };
    let head = Response::builder().header("content-type", content_type).body(()).unwrap();
    let (mut body, mut trailers) = (if framed { frame(&message) } else { message }, None);
    match content_type {
        own if own.starts_with("application/grpc-web") => body.extend(trailers_frame("grpc-status: 0\r\n")),
        _ if framed => trailers = Some([status("0")].into_iter().collect()),
        _ => {}
    }
    Reply { head, parts: vec![Part::Bytes(body.into())], trailers }
}

fn status(code: &'static str) -> (http::HeaderName, http::HeaderValue) {
    (http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static(code))
}

fn trailers_frame(text: &str) -> Vec<u8> {
    let mut frame = frame(text.as_bytes());
    frame[0] = 0x80;
    frame
}

/// `Session does not exist`, in the form of each carrier.
fn missing(content_type: &str, is_rest: bool, framed: bool) -> Reply {
    const TEXT: &str = "Session does not exist (QUERY-SFeaa)";
    if framed {
        let head = Response::builder().header("content-type", content_type);
        if content_type.starts_with("application/grpc-web") {
            let body = trailers_frame(&format!("grpc-status: 5\r\ngrpc-message: {TEXT}\r\n"));
            return Reply { head: head.body(()).unwrap(), parts: vec![Part::Bytes(body.into())], trailers: None };
        }
        let mut trailers: HeaderMap = [status("5")].into_iter().collect();
        trailers.insert("grpc-message", http::HeaderValue::from_static(TEXT));
        return Reply { head: head.body(()).unwrap(), parts: Vec::new(), trailers: Some(trailers) };
    }
    let code = if is_rest { json!(5) } else { json!("not_found") };
    let body = json!({ "code": code, "message": TEXT }).to_string();
    let head = Response::builder().status(404).header("content-type", "application/json").body(()).unwrap();
    Reply { head, parts: vec![Part::Bytes(Bytes::from(body))], trailers: None }
}

/// A field whose content may be longer than 127 bytes.
fn field_long(number: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut all = vec![number << 3 | 2];
    if length < 128 {
        all.push(length as u8);
    } else {
        all.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    }
    [all.as_slice(), content].concat()
}

fn session_json(id: &str) -> Value {
    let user = &id[..1];
    json!({
        "id": id, "sequence": "9", "creationDate": "2030-01-01T00:00:00Z",
        "factors": { "user": { "id": user, "loginName": format!("{user}@login.example"), "displayName": "Name" } },
        "metadata": { "team": STANDARD.encode("t"), "cart": STANDARD.encode("c") },
        "userAgent": { "fingerprintId": "fingerprint", "ip": "203.0.113.2" },
    })
}

fn session_proto(id: &str) -> Vec<u8> {
    let user = &id[..1];
    let entry = |key: &str, value: &str| field(6, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let login = format!("{user}@login.example");
    let user = [field(2, user.as_bytes()), field(3, login.as_bytes()), field(4, b"Name")].concat();
    [
        field(1, id.as_bytes()),
        vec![4 << 3, 9],
        field(5, &field(1, &user)),
        entry("team", "t"),
        entry("cart", "c"),
        field(7, &[field(1, b"fingerprint"), field(2, b"203.0.113.2")].concat()),
    ]
    .concat()
}
