//! TLS to providers: authority and name of the certificate, and client certificates, for governed and pass-through
//! requests alike.

use crate::harness::recorder::SESSION;
use crate::harness::{Authority, Gateway, Request, Response, server_config};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// The requests that came: the path, and the certificate that was shown for it.
type Shown = Vec<(String, Option<CertificateDer<'static>>)>;

/// A provider that responds to every request over TLS with `200`.
struct Provider {
    _runtime: Runtime,
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    requests: Arc<Mutex<Shown>>,
}

impl Provider {
    fn start(config: ServerConfig) -> Provider {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let requests: Arc<Mutex<Shown>> = Arc::default();
        let own = requests.clone();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let current = config.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(current.lock().unwrap().clone());
                let requests = own.clone();
                tokio::spawn(async move {
                    let mut stream = match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        Err((_, mut stream)) => {
                            // What was sent meanwhile is read to its end: otherwise the reason would be lost in a
                            // reset.
                            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    let shown = stream.get_ref().1.peer_certificates().map(|all| all[0].clone().into_owned());
                    let mut read = Vec::new();
                    let mut part = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut part).await {
                        read.extend_from_slice(&part[..length]);
                        if read.ends_with(b"\r\n\r\n") || read.ends_with(b"}") {
                            let path = String::from_utf8_lossy(&read).split(' ').nth(1).unwrap_or_default().to_owned();
                            requests.lock().unwrap().push((path, shown.clone()));
                            read.clear();
                            let body = crate::harness::recorder::session(&serde_json::json!({})).to_string();
                            let length = body.len();
                            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8";
                            let response = format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}");
                            if stream.write_all(response.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Provider { _runtime: runtime, address, config, requests }
    }

    /// From now on new connections are taken in another way.
    fn turn_into(&self, config: ServerConfig) {
        *self.config.lock().unwrap() = Arc::new(config);
    }

    /// The part of an upstream with its URL and TLS options.
    fn target(&self, host: &str, authority: Option<&Authority>) -> String {
        let port = self.address.port();
        let trust =
            authority.map_or(String::new(), |authority| format!(", tls: {{ ca_file: {} }}", authority.file.display()));
        format!("dialect: auth0, url: \"https://{host}:{port}\", auth: none{trust}")
    }

    /// The same, with a certificate to show.
    fn target_as(&self, authority: &Authority, (certificate, key): &(PathBuf, PathBuf)) -> String {
        let (file, certificate, key) = (authority.file.display(), certificate.display(), key.display());
        let tls = format!("tls: {{ ca_file: {file}, certificate: {certificate}, key: {key} }}");
        format!("dialect: auth0, url: \"https://127.0.0.1:{}\", auth: none, {tls}", self.address.port())
    }

    fn gateway(&self, host: &str, authority: Option<&Authority>) -> Gateway {
        Gateway::start(&format!("upstreams:\n  a: {{ {} }}\n", self.target(host, authority)))
    }

    fn requests(&self) -> usize {
        self.shown().len()
    }

    fn shown(&self) -> Shown {
        self.requests.lock().unwrap().clone()
    }
}

/// A governed read, a governed write, a pass-through request, and a pass-through one that may change sessions.
fn ask(gateway: &Gateway, prefix: &str) -> Vec<Response> {
    let session = format!("{prefix}/api/v2/sessions/{SESSION}");
    let body = r#"{"session_metadata":null}"#;
    let requests = [
        Request::new("GET", &session),
        Request::new("PATCH", &session).json(body),
        Request::new("GET", &format!("{prefix}/x")),
        Request::new("DELETE", &format!("{prefix}/api/v2/users/x/sessions")),
    ];
    requests.iter().map(|request| request.send(&gateway.url())).collect()
}

/// A host that is a name has to be looked up first.
fn known(gateway: &Gateway) {
    crate::harness::wait_for("the provider's address", || {
        (Request::new("GET", "/x").send(&gateway.url()).status != 503).then_some(())
    });
}

fn statuses(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status).collect()
}

fn assert_rejected(provider: &Provider, gateway: &Gateway, what: &str) {
    known(gateway);
    let responses = ask(gateway, "");
    assert_eq!(statuses(&responses), [502; 4], "{what}");
    for response in &responses {
        assert_eq!(response.json()["statusCode"], 502, "{what}: {response:?}");
    }
    assert_eq!(provider.requests(), 0, "{what}");
}

#[test]
fn matching_authority_and_name_are_trusted() {
    let authority = Authority::new("right");
    let provider = Provider::start(authority.certify(&["localhost", "127.0.0.1"], |_| {}));
    for host in ["localhost", "127.0.0.1"] {
        let gateway = provider.gateway(host, Some(&authority));
        known(&gateway);
        for _ in 0..2 {
            assert_eq!(statuses(&ask(&gateway, "")), [200; 4], "{host}");
        }
    }
}

#[test]
fn another_authority_is_not_trusted() {
    let (authority, other) = (Authority::new("right"), Authority::new("right"));
    let provider = Provider::start(authority.certify(&["localhost", "127.0.0.1"], |_| {}));
    for host in ["localhost", "127.0.0.1"] {
        assert_rejected(&provider, &provider.gateway(host, Some(&other)), host);
        assert_rejected(&provider, &provider.gateway(host, None), host);
    }
}

#[test]
fn another_name_is_not_trusted() {
    let authority = Authority::new("right");
    for names in [&["other.test"][..], &["localhost.other.test"], &["127.0.0.2"], &[]] {
        let provider = Provider::start(authority.certify(names, |_| {}));
        for host in ["localhost", "127.0.0.1"] {
            assert_rejected(&provider, &provider.gateway(host, Some(&authority)), &format!("{names:?} {host}"));
        }
    }
    // A name is no address, and an address no name.
    let provider = Provider::start(authority.certify(&["localhost"], |_| {}));
    assert_rejected(&provider, &provider.gateway("127.0.0.1", Some(&authority)), "name only");
    let provider = Provider::start(authority.certify(&["127.0.0.1"], |_| {}));
    assert_rejected(&provider, &provider.gateway("localhost", Some(&authority)), "address only");
}

#[test]
fn expired_future_or_self_signed_certificates_are_not_trusted() {
    let authority = Authority::new("right");
    let old = authority.certify(&["localhost"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let young = authority.certify(&["localhost"], |params| params.not_before = date_time_ymd(2900, 1, 1));
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let own = server_config(own.der().clone(), &key);
    for (what, config) in [("over", old), ("to come", young), ("self-signed", own)] {
        let provider = Provider::start(config);
        assert_rejected(&provider, &provider.gateway("localhost", Some(&authority)), what);
    }
}

/// Connections are pooled by their destination, but not across upstreams with different trust.
#[test]
fn upstreams_with_different_ca_files_do_not_share_connections() {
    let (authority, other) = (Authority::new("right"), Authority::new("other"));
    let provider = Provider::start(authority.certify(&["127.0.0.1"], |_| {}));
    let upstream = |name: &str, authority: &Authority| {
        let target = provider.target("127.0.0.1", Some(authority));
        format!("  {name}: {{ {target}, match: {{ path_prefix: /{name}, strip_prefix: true }} }}\n")
    };
    let gateway =
        Gateway::start(&format!("upstreams:\n{}{}", upstream("right", &authority), upstream("wrong", &other)));
    for _ in 0..3 {
        assert_eq!(statuses(&ask(&gateway, "/right")), [200; 4]);
        assert_eq!(statuses(&ask(&gateway, "/wrong")), [502; 4]);
    }
}

#[test]
fn a_provider_without_tls_gets_no_request() {
    let provider = crate::harness::recorder::Recorder::auth0();
    let port = provider.address().port();
    let gateway = Gateway::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"https://127.0.0.1:{port}\", auth: none, timeouts: {{ connect: 300ms, first_byte: 300ms }} }}\n"
    ));
    for response in ask(&gateway, "") {
        assert!(matches!(response.status, 502 | 504), "{response:?}");
    }
    assert_eq!(provider.count(), 0);
}

fn certificate_of(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn client_certificate_is_sent_on_request() {
    let (authority, clients) = (Authority::new("right"), Authority::new("clients"));
    let own = clients.certify_in_files("gateway", &["gateway.test"]);
    for version in VERSIONS {
        let provider = Provider::start(authority.certify_for(&["127.0.0.1"], &clients, &[version]));
        let gateway = Gateway::start(&format!("upstreams:\n  a: {{ {} }}\n", provider.target_as(&authority, &own)));
        for _ in 0..2 {
            assert_eq!(statuses(&ask(&gateway, "")), [200; 4], "{version:?}");
        }
        let shown = provider.shown();
        assert_eq!(shown.len(), 8);
        let own = Some(certificate_of(&own.0));
        assert!(shown.iter().all(|(_, certificate)| *certificate == own), "{version:?}: {shown:?}");
    }
}

/// The provider gets no request, and the log says why.
#[test]
fn wrong_or_missing_client_certificate_fails() {
    let (authority, clients, others) = (Authority::new("right"), Authority::new("clients"), Authority::new("others"));
    let wrong = others.certify_in_files("gateway", &["gateway.test"]);
    let old = clients.certify_in_files_as("old", &["gateway.test"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    for version in VERSIONS {
        let provider = Provider::start(authority.certify_for(&["127.0.0.1"], &clients, &[version]));
        let targets = [
            provider.target("127.0.0.1", Some(&authority)),
            provider.target_as(&authority, &wrong),
            provider.target_as(&authority, &old),
        ];
        for target in targets {
            let gateway = Gateway::start(&format!("upstreams:\n  a: {{ {target} }}\n"));
            assert_rejected(&provider, &gateway, &format!("{version:?} {target}"));
            let why = gateway.wait_for_log(|line| line.contains("requests to the provider fail"));
            assert!(why.contains("fatal alert"), "{version:?} {target}: {why}");
        }
    }
}

/// Governed and pass-through requests log the reason, whichever comes first.
#[test]
fn log_explains_tls_failures_of_pass_through_requests() {
    let (authority, clients) = (Authority::new("right"), Authority::new("clients"));
    for version in VERSIONS {
        let provider = Provider::start(authority.certify_for(&["127.0.0.1"], &clients, &[version]));
        let gateway = provider.gateway("127.0.0.1", Some(&authority));
        assert_eq!(Request::new("DELETE", "/x").send(&gateway.url()).status, 502);
        let why = gateway.wait_for_log(|line| line.contains("requests to the provider fail"));
        assert!(why.contains("fatal alert"), "{version:?}: {why}");
    }
}

/// No mark remains, and the session is cached as before.
#[test]
fn write_that_failed_in_the_handshake_does_not_invalidate() {
    let (authority, clients) = (Authority::new("right"), Authority::new("clients"));
    for version in VERSIONS {
        let provider = Provider::start(authority.certify_for(&["127.0.0.1"], &clients, &[version]));
        let target = provider.target("127.0.0.1", Some(&authority));
        let gateway = Gateway::start(&format!("upstreams:\n  a: {{ {target}, cache: {{}} }}\n"));
        let session = format!("/api/v2/sessions/{SESSION}");
        let write = Request::new("PATCH", &session).bearer("x").json(r#"{"session_metadata":null}"#);
        assert_eq!(write.send(&gateway.url()).status, 502);
        let related = Request::new("DELETE", "/api/v2/users/x/sessions").bearer("x");
        assert_eq!(related.send(&gateway.url()).status, 502);
        provider.turn_into(authority.certify(&["127.0.0.1"], |_| {}));
        for cached in ["sessiongate; fwd=miss; stored", "sessiongate; hit"] {
            let read = Request::new("GET", &session).bearer("x").send(&gateway.url());
            assert!(read.header("Cache-Status").unwrap().starts_with(cached), "{version:?}: {read:?}");
        }
    }
}

/// Connections are pooled by the serial number of the client certificate, and two authorities may use the same one.
#[test]
fn upstreams_with_different_client_certificates_do_not_share_connections() {
    let authority = Authority::new("right");
    let clients = Authority::new("clients");
    let same = |params: &mut CertificateParams| params.serial_number = Some(7.into());
    let one = clients.certify_in_files_as("one", &["one.test"], same);
    let other = clients.certify_in_files_as("other", &["other.test"], same);
    let provider = Provider::start(authority.certify_for(&["127.0.0.1"], &clients, &VERSIONS));
    let upstream = |name: &str, own: &(PathBuf, PathBuf)| {
        let target = provider.target_as(&authority, own);
        format!("  {name}: {{ {target}, match: {{ path_prefix: /{name}, strip_prefix: true }} }}\n")
    };
    let gateway = Gateway::start(&format!("upstreams:\n{}{}", upstream("one", &one), upstream("other", &other)));
    for _ in 0..3 {
        for (name, own) in [("one", &one), ("other", &other)] {
            let before = provider.requests();
            assert_eq!(statuses(&ask(&gateway, &format!("/{name}"))), [200; 4]);
            let own = Some(certificate_of(&own.0));
            assert!(provider.shown()[before..].iter().all(|(_, certificate)| *certificate == own), "{name}");
        }
    }
}
