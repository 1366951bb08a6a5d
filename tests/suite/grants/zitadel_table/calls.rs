//! A client that sends the requests of the table on every carrier.

use crate::harness::grpc::{exchange, field, frame};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::runtime::Runtime;

/// How a call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Rest,
    ConnectJson,
    ConnectProto,
    Grpc,
    GrpcWeb,
}

impl Carrier {
    pub const ALL: [Carrier; 5] =
        [Carrier::Rest, Carrier::ConnectJson, Carrier::ConnectProto, Carrier::Grpc, Carrier::GrpcWeb];

    fn content_type(self) -> &'static str {
        match self {
            Carrier::Rest | Carrier::ConnectJson => "application/json",
            Carrier::ConnectProto => "application/proto",
            Carrier::Grpc => "application/grpc+proto",
            Carrier::GrpcWeb => "application/grpc-web+proto",
        }
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// `ok`, `denied`, `missing`, or the status.
    pub result: String,
    body: Vec<u8>,
    /// Headers and trailers, but for those that differ in each response.
    fields: Vec<String>,
}

impl Found {
    /// All bytes of the response as text. Base64 of metadata is decoded too.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let decoded = text.split('"').filter_map(|part| STANDARD.decode(part).ok());
        let decoded: Vec<String> = decoded.map(|part| String::from_utf8_lossy(&part).into_owned()).collect();
        format!("{text} {} {}", decoded.join(" "), self.fields.join(" "))
    }
}

pub struct Client {
    runtime: Runtime,
    address: SocketAddr,
    version: &'static str,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client::of_version(address, "v2")
    }

    /// A client of this version of the API.
    pub fn of_version(address: SocketAddr, version: &'static str) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Client { runtime, address, version }
    }

    /// Sends a request of the table.
    pub fn send(&self, carrier: Carrier, request: &str, token: &str) -> Found {
        let words: Vec<&str> = request.split(' ').collect();
        let (method, path, body) = match carrier {
            Carrier::Rest => rest(self.version, &words),
            Carrier::ConnectJson => rpc(self.version, &words, json_message(&words).to_string().into_bytes()),
            Carrier::ConnectProto => rpc(self.version, &words, proto_message(&words)),
            Carrier::Grpc | Carrier::GrpcWeb => rpc(self.version, &words, frame(&proto_message(&words))),
        };
        let request = http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", carrier.content_type()).header("te", "trailers");
        let body = Some(body).filter(|body| !body.is_empty()).map(Bytes::from);
        let (head, body, trailers) = self.runtime.block_on(exchange(self.address, request.body(()).unwrap(), body));
        let status = head.status.as_u16().to_string();
        let result = match carrier {
            Carrier::Grpc => text(&trailers, "grpc-status").or(text(&head.headers, "grpc-status")).unwrap_or(status),
            Carrier::GrpcWeb => text(&head.headers, "grpc-status").or_else(|| web_status(&body)).unwrap_or(status),
            Carrier::Rest | Carrier::ConnectJson | Carrier::ConnectProto => status,
        };
        let result = match result.as_str() {
            "0" | "200" => "ok",
            "7" | "403" => "denied",
            "5" | "404" => "missing",
            other => other,
        };
        let moving = ["date", "x-request-id"];
        let fields = head.headers.iter().chain(&trailers).filter(|(name, _)| !moving.contains(&name.as_str()));
        let mut fields: Vec<String> = fields.map(|(name, value)| format!("{name}: {value:?}")).collect();
        fields.sort();
        Found { result: result.to_owned(), body, fields }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().unwrap().to_owned())
}

/// The status in the trailers frame of gRPC-web.
fn web_status(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.rsplit_once("grpc-status:")?;
    Some(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
}

fn rpc(version: &str, words: &[&str], body: Vec<u8>) -> (Method, String, Vec<u8>) {
    let name = match words[0] {
        "get" => "GetSession",
        "set" => "SetSession",
        "delete" => "DeleteSession",
        "create" => "CreateSession",
        _ => "ListSessions",
    };
    (Method::POST, format!("/zitadel.session.{version}.SessionService/{name}"), body)
}

fn rest(version: &str, words: &[&str]) -> (Method, String, Vec<u8>) {
    let mut body = json_message(words);
    if let Some(body) = body.as_object_mut() {
        body.remove("sessionId");
    }
    let body = body.to_string().into_bytes();
    let path = |id: &str| format!("/{version}/sessions/{id}");
    match words[0] {
        "get" => (Method::GET, path(words[1]), Vec::new()),
        "set" => (Method::PATCH, path(words[1]), body),
        "delete" => (Method::DELETE, path(words[1]), Vec::new()),
        "create" => (Method::POST, format!("/{version}/sessions"), body),
        _ => (Method::POST, format!("/{version}/sessions/search"), body),
    }
}

fn json_message(words: &[&str]) -> Value {
    let pair = words.get(2).or(words.get(1)).and_then(|pair| pair.split_once('='));
    match (words[0], pair) {
        ("set", Some((key, value))) => {
            json!({ "sessionId": words[1], "metadata": { key: STANDARD.encode(value) } })
        }
        ("create", Some(("id", user))) => json!({ "checks": { "user": { "userId": user } } }),
        ("create", Some((_, name))) => json!({ "checks": { "user": { "loginName": name } } }),
        ("create", None) | ("list", None) => json!({}),
        ("list", Some(("user", id))) => json!({ "queries": [{ "userIdQuery": { "id": id } }] }),
        ("list", Some(_)) => json!({ "queries": [{ "userAgentQuery": { "fingerprintId": "f" } }] }),
        _ => json!({ "sessionId": words[1] }),
    }
}

fn proto_message(words: &[&str]) -> Vec<u8> {
    let pair = words.get(2).or(words.get(1)).and_then(|pair| pair.split_once('='));
    let id = || field(1, words[1].as_bytes());
    match (words[0], pair) {
        ("set", Some((key, value))) => {
            let entry = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
            [id(), field(4, &entry)].concat()
        }
        ("create", Some(("id", user))) => field(1, &field(1, &field(1, user.as_bytes()))),
        ("create", Some((_, name))) => field(1, &field(1, &field(2, name.as_bytes()))),
        ("create", None) | ("list", None) => Vec::new(),
        ("list", Some(("user", id))) => field(2, &field(2, &field(1, id.as_bytes()))),
        ("list", Some(_)) => field(2, &field(5, &field(1, b"f"))),
        _ => id(),
    }
}
