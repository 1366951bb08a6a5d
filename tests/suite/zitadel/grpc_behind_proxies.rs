//! gRPC calls through proxies in front of the gateway: status and message reach the client unchanged.

use crate::harness::grpc::{field, frame};
use crate::harness::{Front, Gateway, H2Provider, Kind, Part, Reply, TIMEOUT, unused_address};
use bytes::Bytes;
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const SET: &str = "/zitadel.session.v2.SessionService/SetSession";
const GET: &str = "/zitadel.session.v2.SessionService/GetSession";
const DROP: &str = "/zitadel.session.v2.SessionService/DropSession";
const LOCK: &str = "/zitadel.user.v2.UserService/LockUser";
const OTHER: &str = "/zitadel.user.v2.UserService/GetUserByID";

/// How a call ended.
#[derive(Debug)]
struct WriteEnd {
    status: String,
    message: String,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Whether there was nothing but a head.
    only_head: bool,
}

fn call(runtime: &Runtime, address: SocketAddr, path: &str, more: &[(&str, &str)], body: &[u8]) -> WriteEnd {
    let request = http::Request::post(format!("http://{address}{path}")).header("authorization", "Bearer pat");
    let mut request = request.header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let (request, body) = (request.body(()).unwrap(), Bytes::copy_from_slice(body));
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let (response, mut sending) = client.send_request(request, false).unwrap();
        // A call that is rejected for its head may have its response before that.
        let _ = sending.send_data(body, true);
        let (head, mut incoming) = tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().into_parts();
        let only_head = incoming.is_end_stream();
        let mut body = Vec::new();
        while let Some(part) = incoming.data().await {
            body.extend_from_slice(&part.unwrap());
        }
        let trailers = incoming.trailers().await.unwrap().unwrap_or_default();
        connection.abort();
        let said = |name: &str| {
            let value = trailers.get(name).or(head.headers.get(name));
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        WriteEnd { status: said("grpc-status"), message: said("grpc-message"), headers: head.headers, body, only_head }
    })
}

fn map(all: &[(&str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

/// Responds as the session or the path of a call says.
fn provider(late: Arc<Notify>) -> H2Provider {
    H2Provider::start(None, move |arrived| {
        let body = String::from_utf8_lossy(&arrived.body).into_owned();
        let error = [("grpc-status", "9"), ("grpc-message", "locked%20out")];
        let head = http::Response::builder().header("content-type", "application/grpc");
        if body.contains("in_head") {
            let head = error.iter().fold(head, |head, (name, value)| head.header(*name, *value));
            return Reply { head: head.body(()).unwrap(), parts: Vec::new(), trailers: None };
        }
        let head = head.header("x-own", "1").body(()).unwrap();
        if body.contains("behind") {
            return Reply { head, parts: Vec::new(), trailers: Some(map(&error)) };
        }
        let mut parts = vec![Part::Bytes(frame(&field(1, &field(1, b"s1"))).into())];
        if body.contains("late") {
            parts.push(Part::Wait(late.clone()));
        }
        Reply { head, parts, trailers: Some(map(&[("grpc-status", "0")])) }
    })
}

fn upstream(address: SocketAddr) -> String {
    format!(
        "upstreams:\n  idp:\n    dialect: zitadel\n    url: http://{address}\n    protocol: http2\n    auth: forward\n    cache: {{}}\n"
    )
}

/// What a call is, and what has to come of it: a name, a path, headers, a body, the status, and a part of the message.
type Row = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>, &'static str, &'static str);

fn named(id: &str) -> Vec<u8> {
    frame(&field(1, id.as_bytes()))
}

fn own() -> Vec<Row> {
    let good = named("s1");
    vec![
        ("a body that is none", SET, vec![], good[..4].to_vec(), "3", "malformed request"),
        ("a coding", SET, vec![("grpc-encoding", "gzip")], good.clone(), "12", "compressed"),
        ("a compressed message", SET, vec![], [&[1], &good[1..]].concat(), "12", "compressed"),
        ("an unknown procedure", DROP, vec![], good.clone(), "5", "Not Found"),
        ("a path of other letters", "/zitadel.session.v2.sessionservice/SetSession", vec![], good, "3", "canonical"),
        ("a session that cannot be", GET, vec![], named("s/1"), "3", "session ID"),
    ]
}

fn relayed() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (name, path) in [("a read", GET), ("a write", SET), ("a passed call", OTHER), ("a call that locks", LOCK)] {
        rows.push((name, path, vec![], named("in_head"), "9", "locked%20out"));
        rows.push((name, path, vec![], named("behind"), "9", "locked%20out"));
        rows.push((name, path, vec![], named("s1"), "0", ""));
        rows.push((name, path, vec![], named("s1"), "0", ""));
    }
    rows
}

/// What has to hold of every response, and of those that are the gateway's own.
fn check(runtime: &Runtime, address: SocketAddr, through: &str, is_own: bool, row: &Row) {
    let (name, path, headers, body, status, message) = row;
    let ended = call(runtime, address, path, headers, body);
    let what = format!("{name} {through}: {ended:?}");
    assert_eq!(ended.status, *status, "{what}");
    assert!(ended.message.contains(message), "{what}");
    assert_eq!(ended.headers["content-type"].to_str().unwrap().split('+').next(), Some("application/grpc"), "{what}");
    assert_eq!(ended.body.is_empty(), *status != "0", "{what}");
    if through.is_empty() {
        assert!(!ended.headers.contains_key("content-length"), "{what}");
        assert!(ended.only_head || !is_own, "{what}");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Rejections and failures of the gateway are Trailers-Only. Responses with trailers have no declared length.
#[test]
fn status_and_message_reach_the_client() {
    ends(None, [127, 0, 9, 22]);
}

#[test]
fn status_and_message_reach_the_client_behind_nginx() {
    ends(Some(Kind::Nginx), [127, 0, 9, 23]);
}

#[test]
fn status_and_message_reach_the_client_behind_haproxy() {
    ends(Some(Kind::HAProxy), [127, 0, 9, 24]);
}

fn ends(kind: Option<Kind>, host: [u8; 4]) {
    let (runtime, late) = (runtime(), Arc::new(Notify::new()));
    let provider = provider(late.clone());
    let gateway = Gateway::start(&upstream(provider.address()));
    let through = kind.map_or(String::new(), |kind| format!("through {kind:?}"));
    let front = match kind {
        Some(kind) => match Front::start(kind, host, gateway.address()) {
            Some(front) => Some(front),
            None => return,
        },
        None => None,
    };
    let address = front.as_ref().map_or(gateway.address(), Front::address);
    for (is_own, rows) in [(true, own()), (false, relayed())] {
        rows.iter().for_each(|row| check(&runtime, address, &through, is_own, row));
    }
    // The message is here, and the trailers come when they come.
    for path in [GET, SET, OTHER, LOCK] {
        late.notify_one();
        check(&runtime, address, &through, false, &("late trailers", path, vec![], named("late"), "0", ""));
    }
    // No provider: the gateway responds by itself.
    let away = Gateway::start(&upstream(unused_address(host)));
    let before = front.and_then(|_| Front::start(kind?, host, away.address()));
    let address = before.as_ref().map_or(away.address(), Front::address);
    for path in [GET, SET, OTHER, LOCK] {
        check(&runtime, address, &through, true, &("no provider", path, vec![], named("s1"), "14", "provider"));
    }
}
