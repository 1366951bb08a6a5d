//! Requests over Unix sockets. Some clients send the path of the socket as host.

use crate::harness::grpc::{Grpc, field};
use crate::harness::recorder::{Recorder, SESSION, session};
use crate::harness::{Gateway, H2Provider, Reply, TIMEOUT, finish, project, read_frame, sdks_installed, skipped};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const GET: &str = "/zitadel.session.v2.SessionService/GetSession";
const SET: &str = "/zitadel.session.v2.SessionService/SetSession";
const PASSED: &str = "/zitadel.user.v2.UserService/GetUserByID";

/// A gateway with a socket in a folder of its own.
struct Place {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Place {
    fn start(config: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let listeners = format!(
            "log: {{ level: debug }}\nlisteners:\n  main: {{ address: 127.0.0.1:0 }}\n  pod: {{ address: \"unix:{}\" }}\n",
            socket(folder.path()).display()
        );
        Place { gateway: Gateway::start(&(listeners + config)), folder }
    }

    fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    /// Sends a request of HTTP/1.1 with this `Host`, or without any, and returns the status and the body of its
    /// response.
    fn get(&self, host: Option<&str>) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
        stream.write_all(format!("GET /x HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("gate.sock")
}

/// A way of naming a host, and what the provider gets to see: none where that is its own name.
const HOSTS: [(&str, Option<&str>); 9] = [
    ("a.example:8080", Some("a.example:8080")),
    ("localhost", Some("localhost")),
    ("b.example.", Some("b.example")),
    ("", None),
    ("run%2Fgate.sock", None),
    ("%2Frun%2Fgate.sock", None),
    ("/run/gate.sock", None),
    ("unix:/run/gate.sock", None),
    ("a.example, b.example", None),
];

#[test]
fn grpcio_works_over_a_unix_socket() {
    if !sdks_installed() {
        return;
    }
    let python = project().join("tests/.tools/python/bin/python");
    let mut has = Command::new(&python);
    has.args(["-c", "import grpc"]);
    if finish(has).code != Some(0) {
        return skipped("grpcio (tests/setup has not run since it was added)");
    }
    let provider = Grpc::start();
    let place = Place::start(&format!(
        "upstreams:
  z:
    dialect: zitadel
    url: http://{}
    auth: forward
    preserve_host: true
    policy: strict
    cache: {{}}
  other: {{ dialect: zitadel, url: http://127.0.0.1:1, auth: forward, match: {{ host: other.example }} }}
policies:
  strict: {{ keys: {{ allowed: [team] }} }}
",
        provider.address
    ));
    let read = field(1, b"s1");
    let set = |key: &str| [field(1, b"s1"), field(4, &[field(1, key.as_bytes()), field(2, b"blue")].concat())].concat();
    let call = |method: &str, body: &[u8]| {
        let body: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"method": method, "body": body})
    };
    let for_host = |mut call: Value, authority: &str| {
        call["authority"] = authority.into();
        call
    };
    let calls = [
        call(GET, &read),
        // Another path of the same socket is no other host.
        for_host(call(GET, &read), "elsewhere%2Fgate.sock"),
        call(SET, &set("team")),
        call(SET, &set("role")),
        call(PASSED, &field(1, b"u1")),
        for_host(call(PASSED, &field(1, b"u1")), "localhost"),
        for_host(call(GET, &read), "other.example"),
    ];
    let mut command = Command::new(&python);
    command.arg(project().join("tests/sdk/grpc_calls.py"));
    command.arg(json!({"target": format!("unix:{}", place.socket().display()), "calls": calls}).to_string());
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let results: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
    for at in [0, 1, 2, 4, 5] {
        assert!(results[at]["ok"].is_string(), "{at}: {results:?}");
    }
    assert_eq!(results[0], results[1], "the second read is a hit");
    assert_eq!(results[3]["error"]["code"], "INVALID_ARGUMENT");
    assert!(results[3]["error"]["message"].as_str().unwrap().contains("metadata.role"), "{results:?}");
    assert_eq!(results[6]["error"]["code"], "UNAVAILABLE", "hosts count");
    let seen = provider.seen.lock().unwrap().clone();
    let own = provider.address.to_string();
    let expected = [(GET, own.as_str()), (SET, &own), (PASSED, &own), (PASSED, "localhost")];
    let told: Vec<(&str, &str)> =
        seen.iter().map(|(path, headers, _)| (path.as_str(), headers["x-forwarded-host"].to_str().unwrap())).collect();
    assert_eq!(told, expected);
    assert!(!format!("{seen:?}").contains("gate.sock"), "{seen:?}");
}

#[test]
fn socket_path_as_http1_host_counts_as_no_host() {
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let place = Place::start(&recorder.upstream("preserve_host: true"));
    for (host, expected) in HOSTS {
        assert_eq!(place.get(Some(host)), (200, "here".into()), "{host}");
        let own = recorder.address().to_string();
        assert_eq!(recorder.seen().last().unwrap().header("host"), Some(expected.unwrap_or(&own)), "{host}");
    }
    let count = recorder.count();
    assert_eq!(place.get(None).0, 400, "every request of HTTP/1.1 has a Host");
    assert_eq!(place.get(Some("a@b")).0, 400);
    // Over a network it stays what it was.
    for (host, expected) in HOSTS {
        let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = crate::harness::raw(place.gateway.address(), request.as_bytes());
        let status = if expected.is_some() { "HTTP/1.1 200" } else { "HTTP/1.1 400" };
        assert!(response.starts_with(status.as_bytes()), "{host}: {}", String::from_utf8_lossy(&response));
    }
    assert_eq!(recorder.count(), count + 3);
}

/// A block of fields without tables, with this `:authority`, or `host`, where there is one.
fn block(authority: Option<&str>, host: Option<&str>) -> Vec<u8> {
    let path = format!("/api/v2/sessions/{SESSION}");
    let fields = [
        (":method", Some("GET")),
        (":scheme", Some("http")),
        (":path", Some(path.as_str())),
        (":authority", authority),
        ("host", host),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields
        .into_iter()
        .filter_map(|(name, value)| Some([vec![0], text(name), text(value?)].concat()))
        .flatten()
        .collect()
}

/// The status of a request of HTTP/2 that is these fields; none where its stream is reset.
fn ask(stream: &mut (impl Read + Write), fields: &[u8]) -> Option<u16> {
    let frame = crate::harness::frame;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // However it is cut.
    for byte in frame(1, 5, 1, fields) {
        stream.write_all(&[byte]).unwrap();
    }
    loop {
        let frame = read_frame(stream).unwrap();
        match (frame.kind, frame.stream) {
            (1, 1) => return Some(if frame.payload[0] == 0x88 { 200 } else { 400 }),
            (3, 1) => return None,
            _ => {}
        }
    }
}

#[test]
fn socket_path_as_http2_authority_counts_as_no_host() {
    let provider = H2Provider::start(None, |_| Reply::json(session(&json!({})).to_string()));
    let place = Place::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"http://{}\", auth: none, protocol: http2, preserve_host: true }}\n",
        provider.address()
    ));
    let own = provider.address().to_string();
    let over_socket = |fields: &[u8]| {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        ask(&mut stream, fields)
    };
    for (host, expected) in HOSTS {
        for (name, fields) in [(":authority", block(Some(host), None)), ("host", block(None, Some(host)))] {
            assert_eq!(over_socket(&fields), Some(200), "{name}: {host}");
            let arrived = provider.arrived();
            let told = arrived.last().unwrap().head.uri.authority().unwrap().to_string();
            assert_eq!(told, expected.unwrap_or(&own), "{name}: {host}");
        }
    }
    let count = provider.arrived().len();
    // Over a network the stream is reset, which is counted and can be seen.
    let mut stream = std::net::TcpStream::connect(place.gateway.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(ask(&mut stream, &block(Some("run%2Fgate.sock"), None)), None);
    assert_eq!(provider.arrived().len(), count);
    place.gateway.wait_for_log(|line| line.contains("stream reset before it became a request"));
    place.gateway.wait_for_metric("sessiongate_connections_cut_total{reason=\"rejected_stream\"} 1");
}

/// An authority that is not a host counts as absent. Both HTTP versions reject the same requests.
#[test]
fn host_header_counts_if_the_authority_is_a_socket_path() {
    let provider = H2Provider::start(None, |_| Reply::json(session(&json!({})).to_string()));
    let place = Place::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"http://{}\", auth: none, protocol: http2, preserve_host: true }}\n",
        provider.address()
    ));
    let own = provider.address().to_string();
    let (path, host) = (Some("run%2Fgate.sock"), Some("api.example"));
    for (authority, other, expected) in [
        (path, host, Some("api.example")),
        (Some(""), host, Some("api.example")),
        (path, path, Some(own.as_str())),
        (host, path, Some("api.example")),
        (host, host, Some("api.example")),
        (None, None, None),
        (host, Some("b.example"), None),
        (Some("a@b"), None, None),
        (Some("a@api.example"), host, None),
        (path, Some("a@b"), None),
    ] {
        let count = provider.arrived().len();
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let status = ask(&mut stream, &block(authority, other));
        let arrived = provider.arrived();
        let told = arrived.get(count).map(|last| last.head.uri.authority().unwrap().to_string());
        assert_eq!(told.as_deref(), expected, "{authority:?}, {other:?}");
        assert_eq!(status == Some(200), expected.is_some(), "{authority:?}, {other:?}: {status:?}");
    }
}

/// Also requests that the HTTP/2 library rejects by itself.
#[test]
fn requests_that_name_two_hosts_are_counted() {
    let place = Place::start("upstreams:\n  a: { dialect: auth0, url: \"http://127.0.0.1:1\", auth: none }\n");
    for (at, fields) in [block(Some("a.example"), Some("b.example")), block(None, None)].iter().enumerate() {
        let mut stream = std::net::TcpStream::connect(place.gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(ask(&mut stream, fields), Some(400));
        let counted = at + 1;
        place
            .gateway
            .wait_for_metric(&format!("sessiongate_connections_cut_total{{reason=\"rejected_stream\"}} {counted}"));
    }
    place.gateway.wait_for_log(|line| line.contains("request rejected before it was served"));
}

#[test]
fn curl_works_over_a_unix_socket() {
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let place = Place::start(&recorder.upstream("preserve_host: true"));
    let own = recorder.address().to_string();
    for version in ["--http1.1", "--http2-prior-knowledge", "--http2"] {
        for (host, expected) in [("localhost", "localhost"), ("run%2Fgate.sock", &own)] {
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--fail", version, "--unix-socket"]).arg(place.socket());
            command.args(["--header", &format!("Host: {host}"), "http://localhost/x"]);
            let finished = finish(command);
            assert_eq!((finished.code, finished.stdout.trim()), (Some(0), "here"), "{version}: {}", finished.stderr);
            assert_eq!(recorder.seen().last().unwrap().header("host"), Some(expected), "{version}: {host}");
        }
    }
}
