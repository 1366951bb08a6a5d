//! A proxy that opens no tunnel, or misbehaves.

use super::upstream;
use crate::harness::recorder::SESSION;
use crate::harness::{
    Authority, Behaviour, ESTABLISHED, ForwardProxy, Gateway, Request, Scripted, TIMEOUT, finish, json_response,
    sessiongate, unused_address, wait_for,
};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A provider that keeps no connection.
fn provider() -> Scripted {
    Scripted::start(|_| {
        let mut response = json_response(200, &format!(r#"{{"id":"{SESSION}"}}"#));
        response.headers.push(("Connection".into(), "close".into()));
        response
    })
}

fn close(text: &str) -> Behaviour {
    Behaviour::Close(text.into())
}

fn hang(text: &str) -> Behaviour {
    Behaviour::Hang(text.into())
}

/// What a proxy does, and what the log says about it.
fn failures() -> Vec<(Behaviour, &'static str)> {
    let invalid = "sent an invalid response to CONNECT: ";
    let closed = "closed the connection before its response to CONNECT";
    let late = "did not respond to CONNECT in time";
    vec![
        (
            close("HTTP/1.1 407 Whatever s3cret\r\nProxy-Authenticate: Basic realm=\"s3cret\"\r\n\r\n"),
            "responded with 407 Proxy Authentication Required",
        ),
        (close("HTTP/1.0 403 Filtered\r\nContent-Length: 3\r\n\r\nno!"), "responded with 403 Forbidden"),
        (hang("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "responded with 502 Bad Gateway"),
        (hang("HTTP/1.1 101 x\r\n\r\n"), "responded with 101 Switching Protocols"),
        (hang("HTTP/1.1 100 Continue\r\n\r\n"), late),
        (close("HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n"), "responded with 302 Found"),
        (close("HTTP/1.1 200 OK\n\n"), invalid),
        (close("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), invalid),
        (close("\x15\x03\x03\0\x02\x02\x46"), invalid),
        (Behaviour::Repeat("HTTP/1.1 200 OK\r\nA: b\r\n"), invalid),
        (Behaviour::Repeat("x"), "the head has more than 8192 bytes"),
        (close("HTTP/1.1 200 OK\r\nA: "), closed),
        (Behaviour::Reset, closed),
        (hang(""), late),
        (hang("HTTP/1.1 200 OK\r\nA: "), late),
    ]
}

/// Each is named in the log, for governed and pass-through requests alike, without texts of the proxy.
#[test]
fn failures_of_the_proxy_are_named() {
    let (provider, proxy) = (provider(), ForwardProxy::start());
    let options = format!("egress_proxy: {{ url: {} }}\n    timeouts: {{ connect: 1s }}", proxy.url());
    let gateway = Gateway::start(&upstream(&provider.url(), &options));
    let status = |path: &str| Request::new("GET", path).send(&gateway.url()).status;
    let named = |reason: &str| {
        let what = format!("the egress proxy {} {reason}", proxy.address());
        let fails = |line: &&String| line.contains("requests to the provider fail");
        gateway.log().iter().filter(fails).filter(|line| line.contains(what.trim()) || line.contains(reason)).count()
    };
    for (behaviour, reason) in failures() {
        for path in [&format!("/api/v2/sessions/{SESSION}"), "/x"] {
            proxy.behave(Behaviour::Tunnel(ESTABLISHED));
            wait_for("a success, so that the next failure is logged", || (status(path) == 200).then_some(()));
            let (before, received) = (named(reason), provider.received().len());
            proxy.behave(behaviour.clone());
            let failed = status(path);
            assert!([502, 504].contains(&failed), "{path} {reason}: {failed}");
            wait_for(reason, || (named(reason) > before).then_some(()));
            assert_eq!(provider.received().len(), received, "{path} {reason}");
        }
    }
    let log = gateway.log().join("\n");
    assert!(!log.contains("s3cret"), "{log}");
}

/// The length of a 2xx means nothing, and so does its version.
#[test]
fn tunnels_open_with_any_2xx() {
    let (provider, proxy) = (provider(), ForwardProxy::start());
    let options = format!("egress_proxy: {{ url: {} }}", proxy.url());
    let gateway = Gateway::start(&upstream(&provider.url(), &options));
    for head in [
        "HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
    ] {
        proxy.behave(Behaviour::Tunnel(head));
        for path in [&format!("/api/v2/sessions/{SESSION}"), "/x"] {
            assert_eq!(Request::new("GET", path).send(&gateway.url()).status, 200, "{head:?} {path}");
        }
    }
}

/// Bytes behind the head belong to the tunnel: a server may speak first, and what is no TLS fails its handshake.
#[test]
fn bytes_behind_the_head_belong_to_the_tunnel() {
    let proxy = ForwardProxy::start();
    let sink = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in sink.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut seen, mut part) = (Vec::new(), [0; 4096]);
                while !seen.ends_with(b"ping") {
                    match stream.read(&mut part) {
                        Ok(length @ 1..) => seen.extend_from_slice(&part[..length]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(b"bye");
            });
        }
    });
    let options = format!("egress_proxy: {{ url: {} }}", proxy.url());
    let gateway = Gateway::start(&upstream(&format!("http://127.0.0.1:{port}"), &options));
    proxy.behave(Behaviour::Tunnel(
        "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    ));
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    let request = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut seen = Vec::new();
    for (end, next) in [("hello", "ping"), ("bye", "")] {
        while !seen.ends_with(end.as_bytes()) {
            let mut part = [0; 1024];
            let length = client.read(&mut part).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&part[..length]);
        }
        client.write_all(next.as_bytes()).unwrap();
    }

    let authority = Authority::new("ours");
    let provider =
        Scripted::start_tls(Arc::new(authority.certify(&["localhost"], |_| {})), |_| json_response(200, "{}"));
    let options = format!("{options}\n    tls: {{ ca_file: {} }}", authority.file.display());
    let gateway = Gateway::start(&upstream(&format!("https://localhost:{}", provider.port()), &options));
    proxy.behave(Behaviour::Tunnel("HTTP/1.1 200 OK\r\n\r\njunk and more junk"));
    for path in [&format!("/api/v2/sessions/{SESSION}"), "/x"] {
        assert_eq!(Request::new("GET", path).send(&gateway.url()).status, 502, "{path}");
    }
    assert!(provider.received().is_empty());
}

/// `check --online` goes the same way, and says what the proxy said and what to do.
#[test]
fn check_online_tries_the_proxy() {
    let (provider, proxy) = (provider(), ForwardProxy::start());
    let url = format!("http://provider.test:{}", provider.port());
    let closed = unused_address([127, 0, 0, 91]);
    let online = |proxy: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret").unwrap();
        let options = format!(
            "timeouts: {{ connect: 500ms }}\n    \
            egress_proxy: {{ url: \"{proxy}\", username: gate, password: {{ file: secret }} }}"
        );
        std::fs::write(folder.path().join("gateway.yaml"), upstream(&url, &options)).unwrap();
        let mut command = sessiongate(&["check", "-c", "gateway.yaml", "--online", "--format", "json"]);
        command.current_dir(folder.path());
        let finished = finish(command);
        assert!(!finished.stdout.contains("s3cret") && !finished.stderr.contains("s3cret"), "{finished:?}");
        let document: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let checks = document["checks"].as_array().unwrap().iter();
        checks.map(|check| [text(check, "name"), text(check, "message"), text(check, "hint")]).collect::<Vec<_>>()
    };
    let address = proxy.address();
    let [dns, connect, request] = online(&proxy.url()).try_into().unwrap();
    assert_eq!(dns[1], "127.0.0.1 (egress proxy) is an IP address");
    assert_eq!(connect[1], format!("{address} (egress proxy), no TLS"));
    assert_eq!(request[1], "GET /: response 200 OK");
    for (behaviour, message, hint) in [
        (close("HTTP/1.1 407 x\r\n\r\n"), "responded with 407 Proxy Authentication Required", "`password`"),
        (close("HTTP/1.1 403 x\r\n\r\n"), "responded with 403 Forbidden", "allows CONNECT"),
        (close("HTTP/1.1 502 x\r\n\r\n"), "responded with 502 Bad Gateway", "cannot reach"),
        (hang(""), "did not respond to CONNECT in time", "timeouts.connect"),
        (close("SSH-2.0-x\r\n"), "sent an invalid response", "egress_proxy.url"),
        (close("HTTP/1.1 302 x\r\n\r\n"), "responded with 302 Found", "opens no tunnel"),
        (close("HTTP/1.1 429 x\r\n\r\n"), "responded with 429 Too Many Requests", "opens no tunnel"),
    ] {
        proxy.behave(behaviour);
        let [_, connect, request] = online(&proxy.url()).try_into().unwrap();
        assert!(connect[1].starts_with(&format!("the egress proxy {address} {message}")), "{connect:?}");
        assert!(connect[2].contains(hint), "{connect:?}");
        assert_eq!(request[1], "no connection");
    }
    let [_, connect, _] = online(&format!("http://{closed}")).try_into().unwrap();
    assert!(connect[1].starts_with(&format!("cannot connect to the egress proxy {closed}: Connection refused")));
    assert!(connect[2].contains("egress_proxy.url"), "{connect:?}");
    let checks = online("http://proxy.invalid:3128");
    let dns = &checks[0];
    assert!(dns[1].starts_with("proxy.invalid (egress proxy): "), "{dns:?}");
    assert!(dns[2].contains("egress_proxy.url"), "{dns:?}");
}
