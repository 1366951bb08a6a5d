//! Forward proxies: governed requests, pass-through requests and keys reach their servers through tunnels, pools never
//! mix ways, and whatever the proxy does wrong is named in the log.

mod failures;
mod guide;
mod tinyproxy;
mod ways;

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{Authority, DnsServer, ForwardProxy, Gateway, H2Provider, Reply, Request, Tenant, wait_for};
use serde_json::json;

/// The statuses of a governed read, a governed write, and pass-through requests without and with a body; 200 for each
/// success.
fn all(gateway: &Gateway) -> [u16; 4] {
    let session = format!("/api/v2/sessions/{SESSION}");
    [
        Request::new("GET", &session),
        Request::new("PATCH", &session).json(r#"{"session_metadata":{"team":"blue"}}"#),
        Request::new("GET", "/x"),
        Request::new("POST", "/x").json("{}"),
    ]
    .map(|request| match request.send(&gateway.url()).status {
        202 => 200,
        status => status,
    })
}

/// An upstream with this URL and more options, without authentication.
fn upstream(url: &str, more: &str) -> String {
    format!("upstreams:\n  a:\n    dialect: auth0\n    url: {url}\n    auth: none\n    allow_http: true\n    {more}\n")
}

/// The targets of CONNECT requests.
fn targets(proxy: &ForwardProxy) -> Vec<String> {
    proxy.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
}

/// Governed requests, pass-through requests, keys and discovery. Only the proxy resolves the name of the provider.
#[test]
fn every_request_and_the_keys_go_through_the_tunnel() {
    let (tenant, proxy, dns) = (Tenant::start(), ForwardProxy::start(), DnsServer::start(&[]));
    let port = tenant.url().rsplit(':').next().unwrap().to_owned();
    let own = tenant.url();
    let text = tenant.upstream(&format!("egress_proxy: {{ url: {} }}\nallow_http: true", proxy.url()));
    let text = text.replace(&format!("url: {own}\n"), &format!("url: http://provider.test:{port}\n"));
    let jwks = format!("auth: {{ jwks: http://issuer.test:{port}/.well-known/jwks.json, allow_http: true, ");
    let text = text.replace("auth: { ", &jwks);
    let gateway = Gateway::start(&format!("dns: {{ servers: [\"{}\"] }}\n{text}", dns.address()));
    gateway.ready();
    let send = |request: Request| request.bearer(&tenant.token()).send(&gateway.url()).status;
    assert_eq!(send(Request::new("GET", &tenant.session_path())), 200);
    let change = Request::new("PATCH", &tenant.session_path()).json(r#"{"session_metadata":{"team":"blue"}}"#);
    assert_eq!(send(change), 200);
    for _ in 0..10 {
        assert_eq!(send(Request::new("GET", "/x")), 404);
    }
    let (issuer, provider) = (format!("issuer.test:{port}"), format!("provider.test:{port}"));
    let seen = targets(&proxy);
    assert!(seen.iter().all(|target| *target == issuer || *target == provider), "{seen:?}");
    assert!(seen.contains(&issuer), "{seen:?}");
    // One pool for governed requests, one for pass-through requests, and their connections are kept: a response may reach
    // its client before its connection is back in the pool, but not each time.
    let to_provider = seen.iter().filter(|target| **target == provider).count();
    assert!((2..10).contains(&to_provider), "{seen:?}");
    assert_eq!(dns.names(), [""; 0], "the gateway resolves neither name");
    for head in proxy.heads() {
        let target = head.split(' ').nth(1).unwrap();
        let expected = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: sessiongate/0.1.0\r\n\r\n");
        assert_eq!(head, expected, "no token of a caller");
    }
}

/// The provider's certificate is verified behind the tunnel, for the name of the provider.
#[test]
fn tls_is_verified_with_the_provider_over_each_version() {
    let (authority, other) = (Authority::new("ours"), Authority::new("other"));
    let good = |_: &crate::harness::Arrived| Reply::json(crate::harness::recorder::session(&json!({})).to_string());
    let provider = |authority: &Authority, name: &str, protocols: &[&str]| {
        let mut config = authority.certify(&[name], |_| {});
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        H2Provider::start(Some(config), good)
    };
    for with_tls in [false, true] {
        let proxy = match with_tls {
            true => ForwardProxy::start_tls(authority.certify(&["127.0.0.1"], |_| {})),
            false => ForwardProxy::start(),
        };
        let scheme = if with_tls { "https" } else { "http" };
        let own = if with_tls { format!(", ca_file: {}", authority.file.display()) } else { String::new() };
        for (name, signer, protocols, protocol, expected) in [
            ("provider.test", &authority, &["h2"][..], "http2", 200),
            ("provider.test", &authority, &["h2", "http/1.1"], "auto", 200),
            ("provider.test", &authority, &["http/1.1"], "auto", 200),
            ("provider.test", &authority, &["http/1.1"], "http1", 200),
            ("127.0.0.1", &authority, &["http/1.1"], "http1", 502),
            ("provider.test", &other, &["http/1.1"], "http1", 502),
        ] {
            let provider = provider(signer, name, protocols);
            let options = format!(
                "protocol: {protocol}\n    tls: {{ ca_file: {} }}\n    \
                egress_proxy: {{ url: \"{scheme}://{}\"{own} }}",
                authority.file.display(),
                proxy.address()
            );
            let url = format!("https://provider.test:{}", provider.address().port());
            let gateway = Gateway::start(&upstream(&url, &options));
            let what = format!("{with_tls} {name} {protocols:?} {protocol}");
            assert_eq!(all(&gateway), [expected; 4], "{what}: {:?}", gateway.log());
            if expected != 200 {
                gateway.wait_for_log(|line| line.contains("invalid peer certificate"));
            }
        }
        assert!(targets(&proxy).iter().all(|target| target.starts_with("provider.test:")));
    }
}

/// HTTP/2 without TLS, and a switch of protocols.
#[test]
fn prior_knowledge_and_websockets_work_through_the_tunnel() {
    let proxy = ForwardProxy::start();
    let good = |_: &crate::harness::Arrived| Reply::json(crate::harness::recorder::session(&json!({})).to_string());
    let provider = H2Provider::start(None, good);
    let options = format!("protocol: http2\n    egress_proxy: {{ url: {} }}", proxy.url());
    let url = format!("http://provider.test:{}", provider.address().port());
    let gateway = Gateway::start(&upstream(&url, &options));
    assert_eq!(all(&gateway), [200; 4]);
    assert!(!proxy.heads().is_empty());

    let recorder = Recorder::start(|call| {
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        call.take(4)?;
        call.send("bye")?;
        Ok(crate::harness::recorder::Then::Close)
    });
    let authority = Authority::new("ours");
    let over_tls = ForwardProxy::start_tls(authority.certify(&["localhost"], |_| {}));
    let file = authority.file.display();
    for (way, proxy) in [
        (format!("url: {}", proxy.url()), &proxy),
        (format!("url: \"https://localhost:{}\", ca_file: {file}", over_tls.address().port()), &over_tls),
    ] {
        let url = format!("http://provider.test:{}", recorder.address().port());
        let gateway = Gateway::start(&upstream(&url, &format!("egress_proxy: {{ {way} }}")));
        gateway.ready();
        let mut client = std::net::TcpStream::connect(gateway.address()).unwrap();
        use std::io::{Read, Write};
        let request = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).unwrap();
        client.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
        let mut seen = Vec::new();
        let mut read_until = |client: &mut std::net::TcpStream, end: &[u8]| {
            while !seen.ends_with(end) {
                let mut part = [0; 1024];
                let length = client.read(&mut part).unwrap();
                assert!(length > 0, "{way}: {}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&part[..length]);
            }
        };
        read_until(&mut client, b"hello");
        client.write_all(b"ping").unwrap();
        read_until(&mut client, b"bye");
        assert_eq!(targets(proxy).last(), Some(&format!("provider.test:{}", recorder.address().port())));
    }
}

/// The name of the proxy is what readiness waits for.
#[test]
fn readiness_waits_for_the_name_of_the_proxy() {
    let (recorder, proxy, dns) = (Recorder::auth0(), ForwardProxy::start(), DnsServer::start(&[]));
    let port = proxy.address().port();
    let url = format!("http://provider.test:{}", recorder.address().port());
    let text = upstream(&url, &format!("egress_proxy: {{ url: \"http://proxy.test:{port}\" }}"));
    let gateway = Gateway::start(&format!("dns: {{ servers: [\"{}\"] }}\n{text}", dns.address()));
    let readiness = || Request::new("GET", "/readyz").send(&gateway.admin_url());
    let waiting = readiness();
    assert_eq!(waiting.status, 503, "{}", waiting.text());
    let why = "cannot resolve the host name of the egress proxy";
    assert_eq!(waiting.json()["checks"]["upstream.a.dns"], json!(why), "{}", waiting.text());
    dns.say("proxy.test", crate::harness::addresses(&["127.0.0.1"], 60));
    wait_for("the name", || (readiness().status == 200).then_some(()));
    assert_eq!(all(&gateway), [200; 4]);
    assert_eq!(dns.asked("provider.test"), 0);
}
