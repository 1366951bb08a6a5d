//! Listeners that require the PROXY protocol: whose address counts, and which connections are closed.

use crate::harness::recorder::{Recorder, Seen};
use crate::harness::{
    Authority, Gateway, Process, Request, TIMEOUT, TlsClient, sessiongate, skipped, wait_for, write_config,
};
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A far client, and one that is a trusted peer by itself.
const FAR: &str = "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\r\n";
const NEAR: &str = "PROXY TCP4 198.51.100.7 127.0.0.1 1000 443\r\n";
const NO_ADDRESS: &str = "PROXY UNKNOWN\r\n";

/// A header of version 2 with addresses of IPv6.
fn version2(command: u8, client: &str, extensions: &[u8]) -> Vec<u8> {
    let client: std::net::Ipv6Addr = client.parse().unwrap();
    let block = [&client.octets()[..], &[0; 16], &[3, 232, 1, 187], extensions].concat();
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, 0x21], &length, &block].concat()
}

struct Place {
    gateway: Gateway,
    recorder: Recorder,
}

/// A gateway with a listener that requires the header, in front of a ZITADEL, which reads forwarding headers.
fn place(listener: &str, clients: &str) -> Place {
    place_of(&options(&format!(", proxy_protocol: required{listener}"), &format!("127.0.0.1, 198.51.100.7]{clients}")))
}

fn options(listener: &str, clients: &str) -> String {
    format!("listeners:\n  edge: {{ address: 127.0.0.1:0{listener} }}\nclients: {{ trusted_peers: [{clients} }}\n")
}

fn place_of(options: &str) -> Place {
    let recorder = Recorder::start(|call| {
        call.body()?;
        call.response(200, "", "{}")
    });
    let gateway = Gateway::start(&whole(&recorder, options));
    Place { gateway, recorder }
}

/// The configuration with these options.
fn whole(recorder: &Recorder, options: &str) -> String {
    let upstream = recorder.upstream_as("forward", "preserve_host: true");
    format!("reload: {{ watch: false }}\n{options}{}", upstream.replace("dialect: auth0", "dialect: zitadel"))
}

/// A connection from this address of the machine.
fn open_from(local: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((local, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn request(name: &str, close: &str) -> Vec<u8> {
    let forwarded = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: forged\r\n";
    format!("GET /v2/users/{name} HTTP/1.1\r\nHost: a\r\n{close}{forwarded}\r\n").into_bytes()
}

impl Place {
    fn open(&self) -> TcpStream {
        open_from([127, 0, 0, 1], self.gateway.address())
    }

    /// What comes back until the gateway closes the connection; nothing where it does so at once.
    fn send(&self, bytes: &[u8]) -> String {
        rest(self.open(), bytes)
    }

    /// Sends a request after a header. What reached the provider, and the line of the log.
    fn through(&self, header: &[u8], name: &str) -> (Seen, Value) {
        let response = self.send(&[header, &request(name, "Connection: close\r\n")].concat());
        assert!(response.starts_with("HTTP/1.1 200 "), "{name}: {response}");
        self.arrived(&response)
    }

    /// The last request at the provider, and its line of the log.
    fn arrived(&self, response: &str) -> (Seen, Value) {
        let id = response.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        (self.recorder.seen().last().unwrap().clone(), self.line(|line| line.contains(id)))
    }

    fn line(&self, fits: impl Fn(&str) -> bool) -> Value {
        serde_json::from_str(&self.gateway.wait_for_log(|line| line.contains("request_id") && fits(line))).unwrap()
    }

    /// Reloads the configuration with these options. What `/readyz` says then.
    fn reload(&self, options: &str) -> String {
        let applied = || self.gateway.log().iter().filter(|line| line.contains("configuration applied")).count();
        let before = applied();
        self.gateway.rewrite(&whole(&self.recorder, options));
        self.gateway.signal("HUP");
        wait_for("the reload", || (applied() > before).then_some(()));
        let ready = Request::new("GET", "/readyz").send(&self.gateway.admin_url()).json();
        ready["checks"]["config"].as_str().unwrap().to_owned()
    }

    fn cut(&self, reason: &str) -> usize {
        let start = format!("sessiongate_connections_cut_total{{reason=\"{reason}\"}} ");
        let text = self.gateway.metrics();
        text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
    }

    /// Waits until this many connections were accepted, and all of them have ended.
    fn wait_for_end(&self, count: usize) {
        let lines = [format!("sessiongate_connections_total {count}"), "sessiongate_open_connections 0".to_owned()];
        wait_for("the end of the connections", || {
            let text = self.gateway.metrics();
            lines.iter().all(|line| text.lines().any(|own| own == line)).then_some(())
        });
    }

    fn wait_for_cut(&self, reason: &str, count: usize) {
        wait_for(&format!("{count} of {reason}"), || (self.cut(reason) == count).then_some(()));
    }
}

/// Ends a connection with RST.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn rest(mut stream: TcpStream, bytes: &[u8]) -> String {
    let _ = stream.write_all(bytes);
    let mut read = Vec::new();
    // It may end with a reset, as bytes are left unread.
    let _ = stream.read_to_end(&mut read);
    String::from_utf8_lossy(&read).to_lowercase().replacen("http/1.1", "HTTP/1.1", 1)
}

/// Where a client stands, as the provider and the log see it.
fn seen_as((seen, line): &(Seen, Value)) -> [String; 4] {
    let header = |name: &str| seen.header(name).unwrap_or("-").to_owned();
    let field = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
    [header("X-Forwarded-For"), header("X-Forwarded-Host"), field("client.address"), field("network.peer.address")]
}

/// The far client is not trusted because the proxy is. Headers of a client count if its own address is a trusted peer's.
#[test]
fn client_is_the_one_in_the_header() {
    let place = place("", "");
    let cases: [(&str, Vec<u8>, [&str; 4]); 7] = [
        ("version 1", FAR.into(), ["192.0.2.1", "a", "192.0.2.1", "127.0.0.1"]),
        ("version 2", version2(0x21, "2001:db8::1", b""), ["2001:db8::1", "a", "2001:db8::1", "127.0.0.1"]),
        ("mapped", version2(0x21, "::ffff:192.0.2.9", b""), ["192.0.2.9", "a", "192.0.2.9", "127.0.0.1"]),
        ("trusted", NEAR.into(), ["203.0.113.9, 198.51.100.7", "forged", "203.0.113.9", "127.0.0.1"]),
        // Anyone may be behind the proxy.
        ("no address", NO_ADDRESS.into(), ["127.0.0.1", "a", "127.0.0.1", "-"]),
        ("UNSPEC", [SIGNATURE, b"\x21\0\0\0"].concat(), ["127.0.0.1", "a", "127.0.0.1", "-"]),
        ("LOCAL", version2(0x20, "2001:db8::1", b""), ["127.0.0.1", "a", "127.0.0.1", "-"]),
    ];
    for (name, header, expected) in cases {
        assert_eq!(seen_as(&place.through(&header, "1")), expected, "{name}");
    }
    // All requests of a connection are the client's.
    let mut stream = place.open();
    stream.write_all(&[FAR.as_bytes(), &request("first", "")].concat()).unwrap();
    place.recorder.wait(8);
    let response = rest(stream, &request("second", "Connection: close\r\n"));
    assert_eq!(response.matches(" 200 ").count(), 2, "{response}");
    assert_eq!(place.recorder.seen()[8].header("X-Forwarded-For"), Some("192.0.2.1"));
    assert_eq!(place.cut("proxy_header_invalid"), 0);
}

/// The header may come in any pieces, and what follows it may come with it.
#[test]
fn header_may_come_in_pieces() {
    let place = place("", "");
    for header in [FAR.as_bytes(), &version2(0x21, "2001:db8::1", &[&b"\x04\x01\x2c"[..], &[0; 300]].concat())] {
        let mut stream = place.open();
        stream.set_nodelay(true).unwrap();
        header.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
        let response = rest(stream, &request("1", "Connection: close\r\n"));
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}

#[test]
fn header_comes_before_tls_and_http2() {
    let authority = Authority::new("ca");
    let (certificate, key) = authority.certify_in_files("own", &["one.example"]);
    let (certificate, key) = (certificate.display(), key.display());
    let place = place(&format!(", tls: {{ certificates: [{{ certificate: {certificate}, key: {key} }}] }}"), "");
    let client = TlsClient { alpn: &["h2"], ..TlsClient::new(&authority) };
    crate::harness::on_runtime(async {
        for header in [FAR.as_bytes(), &version2(0x21, "2001:db8::1", b"")] {
            let stream = client.connect_after(&place.gateway, "one.example", header).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("https://one.example/v2/users/1").body(()).unwrap();
            assert_eq!(requests.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
        }
    });
    let from: Vec<String> =
        place.recorder.seen().iter().map(|seen| seen.header("X-Forwarded-For").unwrap().into()).collect();
    assert_eq!(from, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(place.recorder.seen()[0].header("X-Forwarded-Proto"), Some("https"));
    // The header is not encrypted.
    let late = crate::harness::on_runtime(client.connect_after(&place.gateway, "one.example", b""));
    assert!(late.is_err());
    place.wait_for_cut("proxy_header_invalid", 1);
}

/// HTTP/2 without TLS; and the proxy may say that the client's connection uses TLS.
#[test]
fn proxy_may_terminate_tls() {
    let place = place("", "");
    let tls = version2(0x21, "2001:db8::1", b"\x20\0\x05\x01\0\0\0\0");
    crate::harness::on_runtime(async {
        let mut stream = tokio::net::TcpStream::connect(place.gateway.address()).await.unwrap();
        stream.write_all(&tls).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..2 {
            let request = http::Request::get("http://a/v2/users/1").header("x-forwarded-for", "203.0.113.9");
            let (response, _): (_, h2::SendStream<Bytes>) =
                client.send_request(request.body(()).unwrap(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
    });
    let (seen, _) = place.through(FAR.as_bytes(), "1");
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("http"));
    for seen in &place.recorder.seen()[..2] {
        assert_eq!(seen.header("X-Forwarded-For"), Some("2001:db8::1"));
        assert_eq!(seen.header("X-Forwarded-Proto"), Some("https"));
    }
    assert_eq!(place.line(|line| line.contains("2001:db8::1"))["client.address"], "2001:db8::1");
}

#[test]
fn connection_without_a_valid_header_is_closed() {
    let place = place("", "");
    let request = request("1", "Connection: close\r\n");
    let invalid: [&[u8]; 7] = [
        b"",
        b"\x16\x03\x01\x00\xa5\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 1000\r\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\n",
        &[SIGNATURE, b"\x21\x11\0\x04abcd"].concat(),
        &[SIGNATURE, b"\x21\x11\xff\xff"].concat(),
    ];
    for (count, header) in invalid.iter().enumerate() {
        assert_eq!(place.send(&[header, &request[..]].concat()), "", "{header:?}");
        place.wait_for_cut("proxy_header_invalid", count + 1);
    }
    // One that ends within its header.
    let mut stream = place.open();
    stream.write_all(&FAR.as_bytes()[..20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    place.wait_for_cut("proxy_header_invalid", invalid.len() + 1);
    // A second header is no request.
    let response = place.send(&[FAR.as_bytes(), FAR.as_bytes(), &request].concat());
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    // A peer that is not trusted.
    let stream = open_from([127, 0, 0, 2], place.gateway.address());
    assert_eq!(rest(stream, &[FAR.as_bytes(), &request].concat()), "");
    place.wait_for_cut("proxy_peer_untrusted", 1);
    assert_eq!(place.recorder.count(), 0);
    // The first of each reason is logged, and the others within the minute are only counted.
    for (reason, peer) in [("proxy_header_invalid", "127.0.0.1"), ("proxy_peer_untrusted", "127.0.0.2")] {
        let reason = format!("\"reason\":\"{reason}\"");
        let line = place.gateway.wait_for_log(|line| line.contains("connections closed") && line.contains(&reason));
        for part in ["\"listener\":\"edge\"", &format!("\"peer\":\"{peer}\""), "\"count\":1"] {
            assert!(line.contains(part), "{line}");
        }
    }
    assert_eq!(place.gateway.log().iter().filter(|line| line.contains("connections closed")).count(), 2);
}

/// Health checks that only connect are no error, and those with a header of their own may send a request.
#[test]
fn connection_that_ends_before_its_header_is_ignored() {
    let place = place("", "");
    for _ in 0..3 {
        let stream = place.open();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream, b""), "");
        reset(place.open());
    }
    place.through(NO_ADDRESS.as_bytes(), "1");
    place.wait_for_end(7);
    for reason in ["proxy_header_invalid", "proxy_header_timeout", "proxy_peer_untrusted"] {
        assert_eq!(place.cut(reason), 0, "{reason}");
    }
    assert!(!place.gateway.log().iter().any(|line| line.contains("connections closed")));
}

/// So does HAProxy with `send-proxy-v2 check`.
#[test]
fn health_check_that_sends_only_its_header_is_ignored() {
    let authority = Authority::new("ca");
    let (certificate, key) = authority.certify_in_files("own", &["one.example"]);
    let (certificate, key) = (certificate.display(), key.display());
    let place = place(&format!(", tls: {{ certificates: [{{ certificate: {certificate}, key: {key} }}] }}"), "");
    let local = version2(0x20, "::", b"");
    for header in [&local[..], FAR.as_bytes()] {
        let mut stream = place.open();
        stream.write_all(header).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream, b""), "");
        let mut stream = place.open();
        stream.write_all(header).unwrap();
        reset(stream);
    }
    place.wait_for_end(4);
    for reason in ["tls_handshake", "proxy_header_invalid"] {
        assert_eq!(place.cut(reason), 0, "{reason}");
    }
    let mut stream = place.open();
    stream.write_all(&[&local[..], b"\x16"].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    place.wait_for_cut("tls_handshake", 1);
}

#[test]
fn header_has_to_arrive_in_time() {
    let place = place("", ", head_timeout: 300ms");
    assert_eq!(rest(place.open(), b""), "");
    place.wait_for_cut("proxy_header_timeout", 1);
    assert_eq!(rest(place.open(), &FAR.as_bytes()[..20]), "");
    place.wait_for_cut("proxy_header_timeout", 2);
    // The timeout goes on after the header.
    let response = place.send(&[FAR.as_bytes(), b"GET / HTTP/1.1\r\n"].concat());
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    place.wait_for_cut("head_timeout", 1);
}

/// Each client has its own limit. The proxy has none, except if it does not name the client.
#[test]
fn limit_per_source_is_that_of_the_client() {
    let place = place("", ", limits: { per_source: 2 }");
    let served = |header: &str| {
        let mut stream = place.open();
        stream.write_all(&[header.as_bytes(), &request("1", "")].concat()).unwrap();
        let mut response = [0; 12];
        stream.read_exact(&mut response).ok().map(|()| stream)
    };
    let mut kept = Vec::new();
    for (count, header) in [FAR, NO_ADDRESS].into_iter().enumerate() {
        kept.extend([served(header).unwrap(), served(header).unwrap()]);
        assert!(served(header).is_none(), "{header}");
        place.wait_for_cut("per_source", count + 1);
    }
    kept.extend((0..4).map(|_| served(NEAR).unwrap()));
    kept.extend((10..15).map(|last| served(&FAR.replace("192.0.2.1", &format!("192.0.2.{last}"))).unwrap()));
    drop(kept.drain(..2));
    wait_for("a place", || served(FAR));
}

/// More than wait for their header than may do so, of one peer; others are served.
#[test]
fn waiting_connections_of_a_peer_are_limited() {
    // Both processes have more open files than many shells allow.
    let files = getrlimit(Resource::Nofile);
    if files.maximum.is_some_and(|most| most < 4096) {
        return skipped("1,024 connections that wait for their PROXY header (too few files may be open)");
    }
    setrlimit(Resource::Nofile, Rlimit { current: files.current.max(Some(4096)), ..files }).unwrap();
    let place = place("", ", head_timeout: 10m");
    let mut waiting: Vec<TcpStream> = (0..1024).map(|_| place.open()).collect();
    let open = "sessiongate_open_connections 1024";
    place.gateway.wait_for_metric(open);
    assert_eq!(place.send(&[FAR.as_bytes(), &request("1", "")].concat()), "");
    place.wait_for_cut("proxy_header_timeout", 1);
    let last = waiting.pop().unwrap();
    assert!(rest(last, &[FAR.as_bytes(), &request("1", "Connection: close\r\n")].concat()).contains(" 200 "));
    place.through(FAR.as_bytes(), "1");
}

/// A listener that has no header yet must not believe the clients of the proxy that will send one.
#[test]
fn trusted_peers_change_with_the_header() {
    let place = place_of(&options("", "198.51.100.7]"));
    let needed = "listeners: the change needs a restart; clients.trusted_peers: the change needs a restart";
    let required = ", proxy_protocol: required";
    assert_eq!(place.reload(&options(required, "127.0.0.1]")), needed);
    let from_client = ["127.0.0.1", "a", "127.0.0.1", "-"];
    assert_eq!(seen_as(&place.through(b"", "1")), from_client);
    // What else changes applies.
    assert_eq!(place.reload(&options(required, "127.0.0.1], limits: { uri: 256B }")), needed);
    assert!(place.send(&request(&"1".repeat(300), "Connection: close\r\n")).starts_with("HTTP/1.1 414 "));
    assert_eq!(seen_as(&place.through(b"", "1")), from_client);
    assert_eq!(place.reload(&options("", "127.0.0.1]")), "ok");
    assert_eq!(seen_as(&place.through(b"", "1")), ["203.0.113.9, 127.0.0.1", "forged", "203.0.113.9", "127.0.0.1"]);
}

/// A listener that still requires the header accepts its proxies until the restart.
#[test]
fn trusted_peers_stay_while_the_header_is_required() {
    let place = place_of(&options(", proxy_protocol: required", "127.0.0.1]"));
    let without = "listeners:\n  edge: { address: 127.0.0.1:0 }\n";
    assert!(place.reload(without).contains("clients.trusted_peers: the change needs a restart"));
    assert_eq!(seen_as(&place.through(FAR.as_bytes(), "1")), ["192.0.2.1", "a", "192.0.2.1", "127.0.0.1"]);
    assert_eq!(place.cut("proxy_peer_untrusted"), 0);
}

/// The process that takes the listener over requires the header too.
#[test]
fn handover_keeps_requiring_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::auth0());
    let socket = folder.path().join("upgrade.sock");
    let text = format!(
        "listeners:\n  edge: {{ address: 127.0.0.1:0, proxy_protocol: required }}\nclients: {{ trusted_peers: [127.0.0.1] }}\n\
         shutdown: {{ upgrade_socket: {}, drain_delay: 0s }}\n{}",
        socket.display(),
        recorder.upstream("")
    );
    let config = write_config(folder.path(), &text);
    let mut old = Gateway::start_from(folder, &config, &[]);
    let address = old.address();
    let next = Process::start(sessiongate(&["run", "--upgrade", "-c", config.to_str().unwrap()]));
    old.signal("QUIT");
    next.wait_for_line(|line| line.contains("serving"));
    assert!(old.wait().success());
    let request = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let response = rest(open_from([127, 0, 0, 1], address), &[FAR.as_bytes(), request].concat());
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(rest(open_from([127, 0, 0, 1], address), request), "");
    assert_eq!(recorder.count(), 1);
}
