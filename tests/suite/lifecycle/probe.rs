//! `sessiongate probe`: one line and an exit status, whatever the other side does.

use crate::harness::{
    Authority, DnsServer, Finished, Gateway, Scripted, addresses, finish, json_response, sessiongate, unused_address,
    wait_for,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Runs the command. Returns its status and its only line.
fn probe(args: &[&str]) -> (i32, String) {
    let Finished { code, stdout, stderr } = finish(sessiongate(&[&["probe"], args].concat()));
    let code = code.unwrap();
    let (said, silent) = if code == 0 { (stdout, stderr) } else { (stderr, stdout) };
    assert_eq!((said.lines().count(), silent.as_str()), (1, ""), "{args:?}: {said}{silent}");
    assert!(!said.contains("panicked"), "{said}");
    (code, said.trim_end().to_owned())
}

/// A server that does this with each connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads a request's head.
fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
}

const LOST: &str = "not ready: upstream.lost.dns: cannot resolve the host name";

#[test]
fn probe_reports_readiness_and_liveness() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let dns = DnsServer::start(&[]);
    let (server, port) = (dns.address(), provider.port());
    let gateway = Gateway::start(&format!(
        "shutdown: {{ drain_delay: 10m }}\nreadiness_timeout: 1h\ndns: {{ servers: ['{server}'] }}
upstreams:\n  lost: {{ dialect: auth0, url: http://lost.test:{port}, auth: none }}\n"
    ));
    let url = gateway.admin_url();
    assert_eq!(probe(&["--url", &url, "--timeout", "30s"]), (1, format!("sessiongate: {LOST}")));
    assert_eq!(probe(&["--live", "--url", &url, "--timeout", "30s"]), (0, "live".to_owned()));
    dns.say("lost.test", addresses(&["127.0.0.1"], 60));
    gateway.ready();
    for args in [&["--url", &url][..], &["--ready", "--url", &url], &["--url", &format!("{url}/")]] {
        assert_eq!(probe(&[args, &["--timeout", "30s"]].concat()), (0, "ready".to_owned()), "{args:?}");
    }
    let metrics = format!("{url}/metrics");
    assert_eq!(probe(&["--url", &metrics, "--timeout", "30s"]), (0, format!("OK: {metrics} responded with 200 OK")));
    let (code, said) = probe(&["--url", &format!("{url}/cache"), "--timeout", "30s"]);
    assert_eq!((code, said), (1, format!("sessiongate: {url}/cache responded with 404 Not Found")));
    gateway.terminate();
    let draining =
        wait_for("it to drain", || Some(probe(&["--url", &url, "--timeout", "30s"])).filter(|found| found.0 == 1));
    assert_eq!(draining.1, "sessiongate: not ready: draining: the process is stopping");
    assert_eq!(probe(&["--live", "--url", &url, "--timeout", "30s"]), (0, "live".to_owned()));
    gateway.terminate();
}

#[test]
fn probe_uses_tls_and_unix_sockets() {
    let authority = Authority::new("probe");
    let (certificate, key) = authority.certify_in_files("admin", &["another.example"]);
    let (certificate, key) = (certificate.display(), key.display());
    let upstream = "upstreams: { a: { dialect: auth0, url: 'http://127.0.0.1:1', auth: none } }\n";
    let tls = format!("admin: {{ address: 127.0.0.1:0, tls: {{ certificate: {certificate}, key: {key} }} }}\n");
    let gateway = Gateway::start(&(tls + upstream));
    let admin = gateway.admin_url().replace("http://", "");
    wait_for("it to be ready", || {
        let found = probe(&["--url", &format!("https://{admin}"), "--timeout", "30s"]);
        (found == (0, "ready".to_owned())).then_some(())
    });
    let (code, said) = probe(&["--url", &format!("http://{admin}"), "--timeout", "30s"]);
    assert!(code == 1 && said.contains("no valid HTTP response"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let url = format!("unix:{}", socket.display());
    let (code, said) = probe(&["--url", &url]);
    assert!(code == 1 && said.contains(&format!("cannot reach the gateway at {url}: No such file")), "{said}");
    let gateway = Gateway::start(&format!("admin: \"{url}\"\n{upstream}"));
    wait_for("it to be ready", || (probe(&["--url", &url, "--timeout", "30s"]).0 == 0).then_some(()));
    assert_eq!(probe(&["--live", "--url", &url, "--timeout", "30s"]), (0, "live".to_owned()));
    drop(gateway);
    let (code, said) = probe(&["--url", &url]);
    assert!(code == 1 && said.contains("Connection refused"), "{said}");

    let plain = server(|mut stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")));
    let (code, said) = probe(&["--url", &format!("https://{plain}"), "--timeout", "30s"]);
    assert!(code == 1 && said.contains("the TLS handshake with"), "{said}");
}

#[test]
fn probe_fails_with_one_line_for_any_server() {
    let dead = unused_address([127, 0, 9, 41]);
    let (code, said) = probe(&["--url", &format!("http://{dead}")]);
    assert!(code == 1 && said.contains(&format!("cannot reach the gateway at {dead}: ")), "{said}");
    let (code, said) = probe(&["--url", "http://gate.invalid:9090", "--timeout", "30s"]);
    assert!(code == 1 && said.contains("cannot reach the gateway at gate.invalid:9090: "), "{said}");

    let responses: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", Vec::new(), "no valid HTTP response"),
        ("garbage", b"\x00\xff\x1b[31m\r\n\r\n".to_vec(), "no valid HTTP response"),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no valid HTTP response"),
        ("HTTP/2", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec(), "no valid HTTP response"),
        ("a large head", [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(), "no valid HTTP response"),
        (
            "an incomplete body",
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\n{".to_vec(),
            "responded with 503",
        ),
        (
            "another's body",
            b"HTTP/1.1 503 X\r\ncontent-length: 14\r\n\r\n{\"reasons\": 1}".to_vec(),
            "responded with 503",
        ),
        (
            "a redirect",
            b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "responded with 302 Found",
        ),
        (
            "lines in a reason",
            b"HTTP/1.1 503 X\r\ncontent-length: 26\r\n\r\n{\"reasons\":[\"a\\nb\\u001b\"]}".to_vec(),
            "not ready: a b",
        ),
    ];
    for (name, bytes, expected) in responses {
        let address = server(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(&bytes);
        });
        let (code, said) = probe(&["--url", &format!("http://{address}"), "--timeout", "30s"]);
        assert!(code == 1 && said.contains(expected), "{name}: {said}");
    }
}

/// The deadline covers everything: a server that accepts nothing, says nothing, or goes on for ever.
#[test]
fn probe_ends_at_its_deadline() {
    let endless = |begin: &'static str, part: &'static str| {
        server(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(begin.as_bytes());
            while stream.write_all(part.as_bytes()).is_ok() {}
        })
    };
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = server(|mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    });
    let no_response = "within 300ms";
    for (name, address) in [
        ("accepts nothing", listening.local_addr().unwrap()),
        ("says nothing", silent),
        ("endless informational responses", endless("", "HTTP/1.1 103 Early Hints\r\n\r\n")),
    ] {
        let (code, said) = probe(&["--url", &format!("http://{address}"), "--timeout", "300ms"]);
        assert!(code == 1 && said.contains(no_response), "{name}: {said}");
    }
    let (code, said) = probe(&["--url", &format!("https://{silent}"), "--timeout", "300ms"]);
    assert!(code == 1 && said.contains(no_response), "{said}");
    let large = endless("HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n", "4\r\nxxxx\r\n");
    let (code, said) = probe(&["--url", &format!("http://{large}"), "--timeout", "30s"]);
    assert!(code == 1 && said.contains("responded with 503"), "an endless body: {said}");
    let slow = server(|mut stream| {
        read_head(&mut stream);
        while stream.write_all(b"X").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(probe(&["--url", &format!("http://{slow}"), "--timeout", "300ms"]).0, 1);
}

#[test]
fn probe_sends_a_plain_request() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let own = seen.clone();
    let address = server(move |mut stream| {
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).unwrap_or_default();
        *own.lock().unwrap() = String::from_utf8_lossy(&head[..length]).into_owned();
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let url = format!("http://{address}/healthz?full=1");
    assert_eq!(probe(&["--url", &url, "--timeout", "30s"]).0, 0);
    let head = seen.lock().unwrap().clone();
    let expected = format!("GET /healthz?full=1 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nuser-agent: ");
    assert!(head.starts_with(&expected), "{head}");
}

#[test]
fn invalid_arguments_of_probe_are_errors_of_the_command_line() {
    for args in [
        &["--live", "--ready"][..],
        &["--url", "127.0.0.1:9090"],
        &["--url", "ftp://127.0.0.1"],
        &["--url", "http://user:secret@127.0.0.1"],
        &["--url", "unix:relative.sock"],
        &["--timeout", "1"],
        &["--timeout", "0s"],
        &["--timeout", "99999999999999999999s"],
        &["--admin", "127.0.0.1:9090"],
    ] {
        let finished = finish(sessiongate(&[&["probe"], args].concat()));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    let finished = finish(sessiongate(&["ready"]));
    assert_eq!(finished.code, Some(2));
}
