//! The cost of a rejection: its message is bounded on every carrier, and memory use is a small multiple of the body
//! size.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, Request, TIMEOUT, skipped};
use bytes::Bytes;
use http::HeaderMap;
use std::fmt::Write as _;

const SET: &str = "/zitadel.session.v2.SessionService/SetSession";

/// 300 allowed keys, as long as they come.
fn policies() -> String {
    let keys: Vec<String> = (0..300).map(|at| format!("an_allowed_key_of_a_usual_length_{at:03}")).collect();
    format!("policies:\n  p:\n    keys: {{ allowed: [{}] }}\n", keys.join(", "))
}

fn upstream(recorder: &Recorder, dialect: &str, auth: &str, max: &str) -> Gateway {
    let url = recorder.url();
    Gateway::start(&format!(
        "upstreams:\n  a:\n    dialect: {dialect}\n    url: {url}\n    auth: {auth}\n    policy: p\n    body: {{ max: {max} }}\n{}",
        policies()
    ))
}

/// 4,990 keys of which none is allowed, each with `value`.
fn bad_keys(value: &str) -> String {
    let mut body = String::new();
    for at in 0..4990 {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(body, "{comma}\"key_{at:04}\":{value}");
    }
    format!("{{{body}}}")
}

fn check(what: &str, message: &str) {
    assert!(message.len() < 8192, "{what}: {} bytes", message.len());
    assert_eq!(message.matches("allowed:").count(), 1, "{what}: {message}");
    assert!(message.contains("key_0000") && message.contains(" more"), "{what}: {message}");
}

#[test]
fn auth0_rejection_message_is_bounded() {
    let recorder = Recorder::auth0();
    let gateway = upstream(&recorder, "auth0", "none", "1MiB");
    let body = format!("{{\"session_metadata\":{}}}", bad_keys("\"v\""));
    let request = Request::new("PATCH", &format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION)).json(&body);
    let response = request.send(&gateway.url());
    assert_eq!(response.status, 400);
    assert!(response.body.len() < 16 << 10, "{} bytes", response.body.len());
    let message = response.json()["message"].as_str().unwrap().to_owned();
    check("auth0", &message);
    assert!(message.ends_with("; and 4,971 more."), "one is the number of keys: {message}");
    assert_eq!(recorder.count(), 0);
}

#[test]
fn long_key_is_truncated_in_the_message() {
    let recorder = Recorder::auth0();
    let gateway = upstream(&recorder, "auth0", "none", "1MiB");
    for key in ["k".repeat(100_000), "é\\u0007 ".repeat(20_000)] {
        let body = format!("{{\"session_metadata\":{{\"{key}\":1}}}}");
        let request =
            Request::new("PATCH", &format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION)).json(&body);
        let response = request.send(&gateway.url());
        assert_eq!(response.status, 400);
        assert!(response.body.len() < 30 << 10, "{} bytes", response.body.len());
        assert!(response.text().contains('…'), "{}", response.text());
    }
}

/// Sends a call over HTTP/2, and takes the whole response with its trailers.
fn call(gateway: &Gateway, content_type: &str, body: Bytes) -> (http::response::Parts, Bytes, HeaderMap) {
    let address = gateway.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{address}{SET}"));
        let request = request.header("content-type", content_type).header("authorization", "Bearer pat");
        let mut client = client.ready().await.unwrap();
        let (response, mut sending) = client.send_request(request.body(()).unwrap(), false).unwrap();
        sending.send_data(body, true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        let mut whole = Vec::new();
        while let Some(part) = body.data().await {
            whole.extend_from_slice(&part.unwrap());
        }
        (head, Bytes::from(whole), body.trailers().await.unwrap().unwrap_or_default())
    };
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, exchange).await.unwrap() })
}

fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat().into()
}

#[test]
fn zitadel_rejection_message_is_bounded_on_every_carrier() {
    let recorder = Recorder::auth0();
    let gateway = upstream(&recorder, "zitadel", "forward", "1MiB");
    let body = format!("{{\"sessionId\":\"s1\",\"sessionToken\":\"t\",\"metadata\":{}}}", bad_keys("\"dg==\""));
    let rest =
        Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(&body.replacen("\"sessionId\":\"s1\",", "", 1));
    let connect = Request::new("POST", SET).bearer("pat").header("Connect-Protocol-Version", "1").json(&body);
    for (what, request) in [("rest", rest), ("connect", connect)] {
        let response = request.send(&gateway.url());
        assert_eq!(response.status, 400, "{what}: {}", response.text());
        assert!(response.body.len() < 48 << 10, "{what}: {} bytes", response.body.len());
        check(what, response.json()["message"].as_str().unwrap());
    }
    let (_, body_of_web, _) = call(&gateway, "application/grpc-web+json", framed(body.as_bytes()));
    assert!(body_of_web.len() < 64 << 10, "{} bytes", body_of_web.len());
    let (head, _, _) = call(&gateway, "application/grpc+json", framed(body.as_bytes()));
    // It is all in the head.
    let trailers = head.headers;
    assert_eq!(trailers["grpc-status"], "3");
    let size: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(size < 8192, "{size} bytes of trailers");
    let message = trailers["grpc-message"].to_str().unwrap();
    assert!(message.contains(" more (GATE-policy)"), "{message}");
    assert_eq!(recorder.count(), 0);
}

/// The most that a process has had resident, in bytes.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

const LARGE: usize = (16 << 20) - 64;

#[test]
fn memory_use_is_a_small_multiple_of_the_body_size() {
    if !cfg!(target_os = "linux") {
        return skipped("the memory of bodies (it is read where Linux tells it)");
    }
    let unknown = [&b"\x0a\x02s1"[..], &b"\x78\x01".repeat(LARGE / 2 - 8)].concat();
    // An unknown field of a nested message, and empty metadata entries.
    let inner = b"\x78\x01".repeat(LARGE / 2 - 16);
    let mut length = Vec::new();
    let mut left = inner.len();
    while left >= 128 {
        length.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    length.push(u8::try_from(left).unwrap());
    let within = [&b"\x0a\x02s1\x1a"[..], &length, &inner].concat();
    let entries = [&b"\x0a\x02s1"[..], &b"\x22\x00".repeat(LARGE / 2 - 8)].concat();
    let key = "k".repeat(3000);
    let members: Vec<String> = (0..4900).map(|at| format!("\"{at}{key}\":\"dg==\"")).collect();
    let members = format!("{{\"sessionId\":\"s1\",\"metadata\":{{{}}}}}", members.join(","));
    let numbers = format!("{{\"sessionId\":\"s1\",\"x\":[{}1]}}", "1,".repeat(LARGE / 2 - 64));
    let nested = format!("{{\"sessionId\":\"s1\",\"x\":{}", "[".repeat(LARGE - 64));
    for (what, content_type, body) in [
        ("unknown fields", "application/proto", unknown),
        ("unknown fields within", "application/proto", within),
        ("entries", "application/proto", entries),
        ("members with long keys", "application/json", members.into_bytes()),
        ("many values", "application/json", numbers.into_bytes()),
        ("brackets", "application/json", nested.into_bytes()),
    ] {
        let recorder = Recorder::auth0();
        let gateway = upstream(&recorder, "zitadel", "forward", "16MiB");
        let (before, size) = (peak(&gateway), body.len() as u64);
        let request = Request::new("POST", SET).bearer("pat").header("Connect-Protocol-Version", "1");
        let response = request.header("Content-Type", content_type).body(body).send(&gateway.url());
        assert_eq!(response.status, 400, "{what}: {}", response.text());
        assert!(response.body.len() < 64 << 10, "{what}: {} bytes", response.body.len());
        let taken = peak(&gateway).saturating_sub(before);
        println!("{what}: {} MiB for a body of {} MiB", taken >> 20, size >> 20);
        assert!(taken < 8 * size, "{what}: {} MiB for a body of {} MiB", taken >> 20, size >> 20);
    }
}
