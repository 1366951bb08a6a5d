//! HTTP/1.1 and HTTP/2 on one port, and the timeouts of connections.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, TIMEOUT};
use std::io::{Read, Write};
use std::net::TcpStream;

struct Place {
    gateway: Gateway,
    _recorder: Recorder,
}

fn place(clients: &str) -> Place {
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let gateway = Gateway::start(&format!("clients: {clients}\n{}", recorder.upstream("")));
    Place { gateway, _recorder: recorder }
}

impl Place {
    fn open(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    }

    /// What comes until the gateway ends the connection.
    fn rest(&self, bytes: &str) -> String {
        let mut read = Vec::new();
        self.open(bytes).read_to_end(&mut read).unwrap();
        String::from_utf8_lossy(&read).into_owned()
    }
}

#[test]
fn request_shorter_than_the_http2_preface_is_served() {
    let place = place("{}");
    let response = place.rest("GET / HTTP/1.0\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 ") || response.starts_with("HTTP/1.0 "), "{response}");
    let response = place.rest("PRI / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 "), "{response}");
}

/// The error is reported in the protocol that the client began with.
#[test]
fn invalid_http2_preface_gets_goaway() {
    const GOAWAY: [u8; 26] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let place = place("{}");
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
        "PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        "PRI * HTTP/2\n\nSM\n\n",
    ] {
        let mut read = Vec::new();
        let mut stream = place.open(bytes);
        stream.read_to_end(&mut read).unwrap();
        assert_eq!(read, GOAWAY, "{bytes:?}");
    }
    for bytes in ["PRI * HTTP/1.1\r\nHost: a\r\n\r\n", "PRI /x HTTP/2.0\r\nHost: a\r\n\r\n"] {
        let response = place.rest(bytes);
        assert!(response.starts_with("HTTP/1.1 4"), "{bytes:?}: {response}");
    }
}

#[test]
fn head_timeout_closes_connections() {
    let place = place("{ head_timeout: 300ms, idle_timeout: 1h }");
    assert_eq!(place.rest(""), "");
    for part in ["P", "PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert!(place.rest(part).starts_with("HTTP/1.1 408 "), "{part:?}");
    }
}

#[test]
fn idle_timeout_closes_keep_alive_connections() {
    let place = place("{ head_timeout: 10m, idle_timeout: 300ms }");
    let response = place.rest("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(response.ends_with("here"), "{response}");
    let both = place.rest("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(both.matches("HTTP/1.1 200").count(), 1, "{both}");
}

#[test]
fn http2_with_prior_knowledge_and_its_idle_timeout() {
    let place = place("{ head_timeout: 10m, idle_timeout: 300ms }");
    let mut stream = place.open("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // An empty SETTINGS frame.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read.get(3), Some(&4), "the gateway's own SETTINGS come first: {read:?}");
}
