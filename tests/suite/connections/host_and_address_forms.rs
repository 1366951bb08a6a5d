//! Hosts with a trailing dot (`gate.ns.svc.cluster.local.`) are the same hosts as without it. IPv4 clients of an IPv6
//! socket are the same clients.

use crate::harness::recorder::Recorder;
use crate::harness::{DnsServer, Gateway, Request, Said, TIMEOUT, addresses, wait_for};
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};

const READ: &str = "/v2/sessions/s1";
const RESPONSE: &str = r#"{"session":{"id":"s1","sequence":"5"}}"#;

fn zitadel() -> Recorder {
    Recorder::start(|call| {
        call.body()?;
        call.response(200, "", RESPONSE)
    })
}

/// A ZITADEL that gets the host of the client's request.
fn upstream(recorder: &Recorder, more: &str) -> String {
    recorder.upstream_as("forward", more).replace("dialect: auth0", "dialect: zitadel")
}

/// A request over HTTP/2 with this `:authority`.
fn over_http2(gateway: &Gateway, authority: &str, path: &str) -> u16 {
    let address = gateway.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://{authority}{path}")).header("authorization", "Bearer pat");
        let (response, _): (_, h2::SendStream<Bytes>) = client.send_request(request.body(()).unwrap(), true).unwrap();
        tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().status().as_u16()
    })
}

#[test]
fn host_with_a_trailing_dot_is_the_same_host() {
    for declared in ["gate.example", "Gate.Example."] {
        let recorder = zitadel();
        let more = format!("match: {{ host: {declared} }}\npreserve_host: true\ncache: {{}}");
        let gateway = Gateway::start(&upstream(&recorder, &more));
        let hosts = ["gate.example", "gate.example.", "GATE.example.:8080", "gate.example.:443"];
        for host in hosts {
            for path in [READ, "/v2/users/1"] {
                let response = Request::new("GET", path).bearer("pat").header("Host", host).send(&gateway.url());
                assert_eq!(response.status, 200, "{declared} {host} {path}");
                assert_eq!(over_http2(&gateway, host, path), 200, "{declared} {host} {path}");
            }
        }
        for seen in recorder.seen() {
            for name in ["Host", "X-Forwarded-Host"] {
                let host = seen.header(name).unwrap();
                assert!(
                    !host.trim_end_matches(|last: char| last.is_ascii_digit() || last == ':').ends_with('.'),
                    "{host}"
                );
            }
        }
        // One name, one entry: only the port and the case that the provider sees differ.
        let read = |host: &str| Request::new("GET", READ).bearer("pat").header("Host", host).send(&gateway.url());
        let hit = read("gate.example.");
        assert!(hit.header("Cache-Status").unwrap().starts_with("sessiongate; hit"), "{declared}");
        for other in ["gate.example..", ".", "gate.example.:x", "other.example."] {
            let status = read(other).status;
            assert!([400, 404].contains(&status), "{declared} {other}: {status}");
        }
    }
}

/// The trailing dot disables search domains. The provider sees its name without the dot.
#[test]
fn provider_url_may_have_a_trailing_dot() {
    let recorder = Recorder::auth0();
    let dns = DnsServer::start(&[("provider.test", addresses(&["127.0.0.1"], 100))]);
    let (port, servers) = (recorder.address().port(), dns.address());
    let gateway = Gateway::start(&format!(
        "dns: {{ servers: ['{servers}'] }}\nupstreams:\n  a: {{ dialect: auth0, url: \"http://Provider.test.:{port}\", auth: none }}\n"
    ));
    let ask = || Request::new("GET", "/x").send(&gateway.url()).status;
    wait_for("the name", || (ask() == 200).then_some(()));
    assert_eq!(dns.asked("provider.test"), 1);
    let own = format!("provider.test:{port}");
    assert!(recorder.seen().iter().all(|seen| seen.header("Host") == Some(&own)));
    let session = format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION);
    assert_eq!(Request::new("GET", &session).send(&gateway.url()).status, 200);
    assert_eq!(recorder.seen().last().unwrap().header("Host"), Some(own.as_str()));
    dns.say("provider.test", Said::Code(3));
}

/// A dual-stack socket shows IPv4 clients as IPv6 addresses.
#[test]
fn ipv4_mapped_addresses_are_ipv4_clients() {
    let recorder = zitadel();
    let more = "listen: \"[::]:0\"\nclients: { trusted_peers: [127.0.0.1] }\n";
    let gateway = Gateway::start(&format!("{more}{}", upstream(&recorder, "")));
    let port = gateway.address().port();
    let here = format!("http://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for path in [READ, "/v2/users/1"] {
        let request = Request::new("GET", path).bearer("pat").header("X-Zitadel-Instance-Host", "one.example");
        assert_eq!(request.header("X-Request-Id", "own-name").send(&here).status, 200);
        let seen = recorder.seen().last().unwrap().clone();
        assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.1"), "{path}");
        // It is the trusted peer.
        assert_eq!(seen.header("X-Zitadel-Instance-Host"), Some("one.example"), "{path}");
    }
    let line = gateway.wait_for_log(|line| line.contains("own-name"));
    assert!(line.contains("\"client.address\":\"127.0.0.1\""), "{line}");
}
