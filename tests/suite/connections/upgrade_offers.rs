//! Clients that offer to upgrade to another protocol: they are served over HTTP/1.1, and the provider does not see the
//! offer.

use crate::harness::recorder::{Recorder, SESSION, Then};
use crate::harness::{Connection, Gateway, TIMEOUT, finish, project, skipped};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;

const CHANGE: &str = r#"{"session_metadata":{"team":"blue"}}"#;

/// A method, a path and a body each: a read and a write of a session, and pass-through requests.
fn requests() -> Vec<[String; 3]> {
    let session = format!("/api/v2/sessions/{SESSION}");
    let row = |method: &str, path: &str, body: &str| [method.into(), path.into(), body.into()];
    vec![
        row("GET", &session, ""),
        row("PATCH", &session, CHANGE),
        row("GET", "/api/v2/rules", ""),
        row("PUT", "/api/v2/rules/x", "{}"),
        row("GET", &session, ""),
    ]
}

fn start() -> (Recorder, Gateway) {
    // A provider that would take the offer up.
    let recorder = Recorder::start(|call| {
        if !call.seen.all("Upgrade").is_empty() {
            return call
                .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
                .map(|()| Then::Close);
        }
        call.as_auth0()
    });
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    (recorder, gateway)
}

/// Each request reached the provider once, but for reads that were cached, and none with an offer.
fn check(recorder: &Recorder, responses: &[String]) {
    assert_eq!(responses.len(), requests().len(), "{responses:?}");
    assert!(responses.iter().all(|response| response.starts_with("200 ")), "{responses:?}");
    let seen = recorder.seen();
    assert_eq!(seen.len(), requests().len(), "the change ends what was cached");
    for (seen, [method, path, body]) in seen.iter().zip(requests()) {
        assert_eq!((&seen.method, &seen.target, seen.text()), (&method, &path, body));
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{seen:?}");
        }
        assert!(!seen.all("connection").iter().any(|value| value.to_ascii_lowercase().contains("upgrade")), "{seen:?}");
    }
}

#[test]
fn curl_with_an_h2c_upgrade_is_served_over_http1() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("curl's offer of HTTP/2 (there is no curl)");
    }
    let (recorder, gateway) = start();
    let token = recorder.token();
    // One connection for all: what follows on it is HTTP/1.1 still.
    let mut command = Command::new("curl");
    for (place, [method, path, body]) in requests().into_iter().enumerate() {
        if place > 0 {
            command.arg("--next");
        }
        command.args(["-sS", "--http2", "-X", &method, "-H", &format!("Authorization: Bearer {token}")]);
        command.args(["-o", "/dev/null", "-w", "%{http_code} %{http_version} %{num_connects}\\n"]);
        if !body.is_empty() {
            command.args(["-H", "Content-Type: application/json", "-d", &body]);
        }
        command.arg(gateway.url() + &path);
    }
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let responses: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    check(&recorder, &responses);
    let connects: Vec<&str> = responses.iter().map(|response| response.rsplit(' ').next().unwrap()).collect();
    assert_eq!(connects, ["1", "0", "0", "0", "0"], "{responses:?}");
}

#[test]
fn jdk_client_with_an_h2c_upgrade_is_served_over_http1() {
    if !Command::new("java").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skipped("the JDK's client (there is no Java)");
    }
    let (recorder, gateway) = start();
    let mut command = Command::new("java");
    command.arg(project().join("tests/sdk/Offers.java")).arg(gateway.url()).arg(recorder.token());
    command.args(requests().into_iter().flatten());
    let finished = finish(command);
    if finished.stderr.contains("jdk.compiler") {
        return skipped("the JDK's client (there is a Java, but no JDK)");
    }
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    check(&recorder, &finished.stdout.lines().map(str::to_owned).collect::<Vec<_>>());
}

/// Even if the provider announces keep-alive.
#[test]
fn connections_with_a_declined_upgrade_are_closed() {
    const REQUESTS: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (closed, ends) = mpsc::channel();
    // Says how many requests each connection had when it was closed.
    let serve = move |mut stream: TcpStream| {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (mut head, mut count, mut bytes) = (Vec::new(), 0, [0; 1024]);
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return count,
                Ok(read) => head.extend_from_slice(&bytes[..read]),
                Err(_) => return usize::MAX,
            }
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                count += 1;
                let response = b"HTTP/1.1 401 Unauthorized\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(response).unwrap();
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().take(REQUESTS) {
            let (serve, closed, stream) = (serve, closed.clone(), stream.unwrap());
            std::thread::spawn(move || closed.send(serve(stream)));
        }
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"{url}\", auth: none, timeouts: {{ keepalive: 10m }} }}\n"
    ));
    // All at once, so that each has a connection while the others have theirs.
    let mut clients: Vec<Connection> = (0..REQUESTS).map(|_| Connection::open(gateway.address()).unwrap()).collect();
    for client in &mut clients {
        let head = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write(head.as_bytes()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response(false).unwrap().status, 401);
    }
    for _ in 0..REQUESTS {
        assert_eq!(ends.recv_timeout(TIMEOUT), Ok(1));
    }
}
