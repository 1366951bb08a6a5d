//! Hop-by-hop headers: how responses are framed for each HTTP version, and which headers of providers are removed.

use crate::harness::recorder::{Recorder, SESSION, Then};
use crate::harness::{Gateway, H2Provider, Part, Reply, Request, TIMEOUT};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Sends a request over HTTP/1.0, and reads until the connection ends.
fn old(gateway: &Gateway, fields: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET /x HTTP/1.0\r\nHost: x\r\n{fields}\r\n").unwrap();
    let mut whole = String::new();
    stream.read_to_string(&mut whole).unwrap();
    whole
}

#[test]
fn http_1_0_clients_get_no_chunked_responses() {
    for response in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nfirstlast",
        "HTTP/1.0 200 OK\r\n\r\nfirstlast",
    ] {
        let recorder = Recorder::start(move |call| {
            call.send(response)?;
            Ok(Then::Close)
        });
        let gateway = Gateway::start(&recorder.upstream_as("none", ""));
        for fields in ["", "Connection: keep-alive\r\n"] {
            let whole = old(&gateway, fields);
            let (head, body) = whole.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, "firstlast", "{response:?}: {whole}");
            assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{response:?}: {whole}");
            assert!(head.to_ascii_lowercase().contains("connection: close"), "{response:?}: {whole}");
        }
    }
    let provider = H2Provider::start(None, |_| {
        let head = http::Response::builder().body(()).unwrap();
        Reply { head, parts: vec![Part::Bytes("first".into()), Part::Bytes("last".into())], trailers: None }
    });
    let address = provider.address();
    let gateway = Gateway::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"http://{address}\", protocol: http2, auth: none }}\n"
    ));
    let whole = old(&gateway, "");
    assert!(
        whole.ends_with("\r\n\r\nfirstlast") && !whole.to_ascii_lowercase().contains("transfer-encoding"),
        "{whole}"
    );
}

/// A body that is too large to buffer is streamed, whichever HTTP version the provider uses.
#[test]
fn http_1_0_clients_can_upload_large_bodies() {
    const LENGTH: usize = 300_000;
    let provider = H2Provider::start(None, |_| {
        let head = http::Response::builder().body(()).unwrap();
        Reply { head, parts: vec![Part::Bytes("first".into()), Part::Bytes("last".into())], trailers: None }
    });
    let recorder = Recorder::start(|call| {
        let length = call.body()?.len();
        assert_eq!(length, LENGTH);
        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nfirstlast\r\n0\r\n\r\n")?;
        Ok(Then::Close)
    });
    for (protocol, address) in [("http2", provider.address()), ("auto", recorder.address())] {
        let gateway = Gateway::start(&format!(
            "upstreams:\n  a: {{ dialect: auth0, url: \"http://{address}\", protocol: {protocol}, auth: none }}\n"
        ));
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "POST /x HTTP/1.0\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
        stream.write_all(&vec![b'x'; LENGTH]).unwrap();
        let mut whole = String::new();
        stream.read_to_string(&mut whole).unwrap();
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("\r\n\r\nfirstlast"), "{protocol}: {whole}");
        let head = whole.to_ascii_lowercase();
        assert!(head.contains("connection: close") && !head.contains("transfer-encoding"), "{protocol}: {whole}");
    }
    assert_eq!(provider.arrived().first().unwrap().body.len(), LENGTH);
}

#[test]
fn http_1_0_keep_alive_works_with_content_length() {
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let gateway = Gateway::start(&recorder.upstream_as("none", ""));
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    for _ in 0..2 {
        write!(stream, "GET /x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nhere") {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&part[..length]);
        }
    }
}

/// On every path of a response: governed, pass-through, and pass-through that invalidates.
#[test]
fn hop_by_hop_headers_of_providers_are_removed() {
    const OWN: &str = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 1\r\nX-Named: 1\r\n\
        X-Other: 1\r\nConnection: keep-alive, X-Named\r\nConnection: x-other, content-type\r\n";
    let recorder = Recorder::start(|call| {
        call.body()?;
        call.response(200, OWN, "{}")
    });
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    let session = format!("/api/v2/sessions/{SESSION}");
    for (method, path) in [("GET", session.as_str()), ("GET", "/api/v2/rules"), ("PATCH", "/api/v2/users/auth0%7C1")] {
        let request = Request::new(method, path).bearer(&recorder.token()).header("Connection", "keep-alive");
        let request = if method == "PATCH" { request.json("{}") } else { request };
        let mut connection = crate::harness::Connection::open(gateway.address()).unwrap();
        let response = connection.exchange(&request).unwrap();
        assert_eq!((response.status, response.header("X-Kept")), (200, Some("1")), "{method} {path}");
        assert_eq!(response.header("Content-Type"), Some("application/json; charset=utf-8"), "{method} {path}");
        for name in ["Keep-Alive", "Proxy-Connection", "Upgrade", "X-Named", "X-Other"] {
            assert_eq!(response.header(name), None, "{method} {path}");
        }
    }
}

#[test]
fn responses_without_a_body_have_no_content_length() {
    for more in ["Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let recorder = Recorder::start(move |call| {
            call.body()?;
            call.send(format!("HTTP/1.1 204 No Content\r\n{more}\r\n"))?;
            Ok(Then::Close)
        });
        let gateway = Gateway::start(&recorder.upstream("cache: {}"));
        gateway.ready();
        let session = format!("/api/v2/sessions/{SESSION}");
        for (method, path) in
            [("DELETE", session.as_str()), ("DELETE", "/api/v2/rules/x"), ("DELETE", "/api/v2/clients/x")]
        {
            let response = Request::new(method, path).bearer(&recorder.token()).send(&gateway.url());
            assert_eq!(response.status, 204, "{method} {path} {more:?}");
            for name in ["Content-Length", "Transfer-Encoding"] {
                assert_eq!(response.header(name), None, "{method} {path} {more:?}");
            }
        }
    }
}
