//! Who a caller is: by the claims of its token, its client certificate, and its user ID on a Unix socket.

use crate::harness::issuer::{SESSION, Signer, World};
use crate::harness::{Authority, Gateway, Request, TIMEOUT, TlsClient, on_runtime, wait_for};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An issuer with one key, and a provider that takes everything.
struct Callers {
    key: Signer,
    world: World,
}

impl Callers {
    fn new() -> Callers {
        let key = Signer::new("one");
        Callers { world: World::new(&[&key]), key }
    }

    /// A configuration with these listeners, names of claims and grants, each of one line.
    fn config(&self, listeners: &str, claims: &str, grants: &[&str]) -> String {
        let grants: String = grants.iter().map(|grant| format!("      - {grant}\n")).collect();
        let upstream = self.world.config().trim_end().to_owned();
        format!("{listeners}\n{upstream}\n      claims: {{ {claims} }}\n    grants:\n{grants}")
    }

    fn gateway(&self, claims: &str, grants: &[&str]) -> Gateway {
        let gateway = Gateway::start(&self.config("", claims, grants));
        gateway.ready();
        gateway
    }

    fn token(&self, claims: Value) -> String {
        self.key.token(json!({}), claims)
    }

    /// The status of a read by a caller with these claims.
    fn read(&self, gateway: &Gateway, claims: Value) -> u16 {
        Request::new("GET", SESSION).bearer(&self.token(claims)).send(&gateway.url()).status
    }

    /// A read as bytes.
    fn request(&self) -> String {
        let token = self.token(json!({}));
        format!("GET {SESSION} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
    }
}

fn status(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn claims_decide_which_grant_a_caller_has() {
    let callers = Callers::new();
    let gateway = callers.gateway(
        "roles: \"https://acme.example/roles\", groups: groups, scopes: scp",
        &[
            "{ name: shop, callers: { client_id: [shop, \"shop-*\"] }, operations: [read_session] }",
            "{ name: support, callers: { roles: support }, operations: [read_session] }",
            "{ name: staff, callers: { groups: \"eu-*\", organization: org_1 }, operations: [read_session] }",
            "{ name: batch, callers: { claims: { gty: client-credentials }, scopes: batch }, operations: [read_session] }",
            "{ name: none, callers: { subject: nobody }, operations: [read_session] }",
        ],
    );
    let long = "x".repeat(1025);
    for (claims, expected) in [
        (json!({}), 403),
        (json!({ "azp": "shop" }), 200),
        (json!({ "client_id": "shop-7" }), 200),
        (json!({ "azp": "shops" }), 403),
        (json!({ "azp": ["shop", "other"] }), 401),
        (json!({ "https://acme.example/roles": ["billing", "support"] }), 200),
        (json!({ "https://acme.example/roles": "support" }), 200),
        (json!({ "https://acme.example/roles": "support billing" }), 403),
        (json!({ "https://acme.example/roles": ["supporter"], "roles": ["support"] }), 403),
        (json!({ "https://acme.example/roles": ["support", { "a": 1 }] }), 401),
        (json!({ "https://acme.example/roles": ["support", long] }), 401),
        (json!({ "groups": ["x", "eu-1"], "org_id": "org_1" }), 200),
        (json!({ "groups": ["eu-1"] }), 403),
        (json!({ "groups": ["eu-1"], "org_id": ["org_1", "org_2"] }), 401),
        (json!({ "gty": "client-credentials", "scp": "a read:sessions batch" }), 200),
        (json!({ "gty": "client-credentials", "scp": ["read:sessions", "batch"] }), 200),
        (json!({ "gty": "client-credentials", "scp": "read:sessions" }), 403),
        // The operation needs its scope too.
        (json!({ "gty": "client-credentials", "scp": "batch" }), 403),
        (json!({ "sub": "nobody" }), 200),
    ] {
        let mut with = json!({ "scp": "read:sessions" });
        with.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        assert_eq!(callers.read(&gateway, with), expected, "{claims}");
    }
}

/// ZITADEL's roles are the keys of an object.
#[test]
fn role_objects_name_roles() {
    let callers = Callers::new();
    let grants = ["{ name: admins, callers: { roles: admin, organization: \"7\" }, operations: [read_session] }"];
    let config = callers.config("", "", &grants).replace("dialect: auth0", "dialect: zitadel");
    let gateway = Gateway::start(&config);
    gateway.ready();
    let read = |roles: Value, organization: &str| {
        let claims = json!({
            "urn:zitadel:iam:org:project:roles": roles,
            "urn:zitadel:iam:user:resourceowner:id": organization,
        });
        Request::new("GET", "/v2/sessions/x").bearer(&callers.token(claims)).send(&gateway.url()).status
    };
    let of = |name: &str| json!({ name: { "7": "acme.example" } });
    assert_eq!(read(of("admin"), "7"), 200);
    assert_eq!(
        (read(of("user"), "7"), read(of("admin"), "8"), read(json!({ "user": { "admin": 1 } }), "7")),
        (403, 403, 403)
    );
}

/// A cached token has only the claims that its configuration needs.
#[test]
fn after_a_reload_tokens_have_the_claims_of_the_new_configuration() {
    let callers = Callers::new();
    let before = ["{ name: all, callers: { issuer: \"*\" }, operations: [read_session] }"];
    let gateway = callers.gateway("roles: roles", &before);
    let (support, other) = (callers.token(json!({ "roles": ["support"] })), callers.token(json!({ "roles": ["x"] })));
    let read = |token: &str| Request::new("GET", SESSION).bearer(token).send(&gateway.url()).status;
    assert_eq!((read(&support), read(&other)), (200, 200));
    let grants = ["{ name: support, callers: { roles: support }, operations: [read_session] }"];
    let after = callers.config("", "roles: roles", &grants);
    gateway.rewrite(&after);
    gateway.signal("HUP");
    wait_for("the new grants", || (read(&other) == 403).then_some(()));
    assert_eq!(read(&support), 200);
}

/// Where a client connects with this configuration of TLS, the status of its read; and how the handshake was.
fn read_over_tls(gateway: &Gateway, config: &Arc<ClientConfig>, request: &str) -> (u16, HandshakeKind) {
    on_runtime(async {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let name = ServerName::try_from("one.example").unwrap();
        let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        (status(&String::from_utf8_lossy(&response)), kind)
    })
}

fn client(
    authority: &Authority,
    shows: Option<&(PathBuf, PathBuf)>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    })
}

/// A listener with TLS at this address, which requests certificates of this authority.
fn listener(address: &str, authority: &Authority, clients: &Authority) -> String {
    let (certificate, key) = authority.certify_in_files("own", &["one.example"]);
    format!(
        "listeners:\n  public:\n    address: \"{address}\"\n    tls:\n      certificates: [{{ certificate: {}, key: {} \
         }}]\n      client_certificates: {{ ca_file: {}, required: false }}",
        certificate.display(),
        key.display(),
        clients.file.display()
    )
}

/// A certificate qualifies a caller; it does not replace the token. Sessions with one are not resumed: it would stay
/// when it is no longer valid.
#[test]
fn client_certificates_qualify_callers() {
    let callers = Callers::new();
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let listeners = listener("127.0.0.1:0", &authority, &staff);
    let grants = [
        "{ name: support, callers: { certificate: { san: \"URI:spiffe://acme.example/support/*\" } }, operations: [read_session] }",
        "{ name: admin, callers: { certificate: { subject: \"CN=admin,O=Acme\\\\, Inc.\" } }, operations: [read_session] }",
    ];
    let gateway = Gateway::start(&callers.config(&listeners, "", &grants));
    gateway.ready();
    let names = |name: &str, uri: &str, parts: &[(rcgen::DnType, &str)]| {
        staff.certify_in_files_as(name, &["x.example"], |params| {
            params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
            params.distinguished_name = rcgen::DistinguishedName::new();
            parts.iter().for_each(|(kind, text)| params.distinguished_name.push(kind.clone(), *text));
        })
    };
    let acme = (rcgen::DnType::OrganizationName, "Acme, Inc.");
    let support = names("support", "spiffe://acme.example/support/1", &[]);
    let admin = names("admin", "spiffe://other", &[acme.clone(), (rcgen::DnType::CommonName, "admin")]);
    let other = names("other", "spiffe://other", &[(rcgen::DnType::CommonName, "admin"), acme]);
    let request = callers.request();
    for (shown, expected) in [(Some(&support), 200), (Some(&admin), 200), (Some(&other), 403), (None, 403)] {
        for version in rustls::ALL_VERSIONS {
            let client = client(&authority, shown, version);
            for _ in 0..2 {
                assert_eq!(read_over_tls(&gateway, &client, &request), (expected, HandshakeKind::Full), "{shown:?}");
            }
        }
    }
    let without = listeners.split("      client_certificates").next().unwrap();
    let resuming = Gateway::start(&callers.config(without, "", &["{ name: all, operations: [read_session] }"]));
    resuming.ready();
    for version in rustls::ALL_VERSIONS {
        let client = client(&authority, None, version);
        assert_eq!(read_over_tls(&resuming, &client, &request), (200, HandshakeKind::Full));
        assert_eq!(read_over_tls(&resuming, &client, &request), (200, HandshakeKind::Resumed));
    }
    let anonymous = format!("GET {SESSION} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let newest = client(&authority, Some(&support), &rustls::version::TLS13);
    assert_eq!(read_over_tls(&gateway, &newest, &anonymous).0, 401);
    let over_http2 = TlsClient { alpn: &["h2"], shows: Some(&support), ..TlsClient::new(&authority) };
    let token = callers.token(json!({}));
    let status = on_runtime(async {
        let stream = over_http2.connect(&gateway, "one.example").await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("https://one.example{SESSION}"));
        let request = request.header("authorization", format!("Bearer {token}")).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().status().as_u16()
    });
    assert_eq!(status, 200);
}

/// A connection stays open after its certificate has expired. The caller does not get a wider grant then.
#[test]
fn expired_certificates_do_not_count() {
    let callers = Callers::new();
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let grants = [
        "{ name: contractor, callers: { certificate: { subject: CN=contractor } }, operations: [read_session] }",
        "{ name: everyone, operations: [\"*\"] }",
    ];
    let gateway = Gateway::start(&callers.config(&listener("127.0.0.1:0", &authority, &staff), "", &grants));
    gateway.ready();
    let mut soon = 0;
    let shown = staff.certify_in_files_as("contractor", &["x.example"], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "contractor");
        params.not_after = SystemTime::now().into();
        params.not_after += Duration::from_secs(3);
        soon = params.not_after.unix_timestamp();
    });
    let client = TlsClient { shows: Some(&shown), ..TlsClient::new(&authority) };
    let request = callers.request().replace("Connection: close\r\n", "");
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let response = on_runtime(async {
        let mut stream = client.connect(&gateway, "one.example").await.unwrap();
        let begun = now();
        loop {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = Vec::new();
            while !response.ends_with(b"}") {
                assert!(stream.read_buf(&mut response).await.unwrap() > 0);
            }
            let response = String::from_utf8(response).unwrap();
            if status(&response) != 200 || now() > begun + 10 {
                return response;
            }
        }
    });
    assert!(now() > soon, "{response}");
    assert_eq!(status(&response), 403);
    assert!(response.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{response}");
    assert!(response.contains("requests with an expired or unusable client certificate"), "{response}");
}

fn read_over_socket(socket: &Path, request: &str) -> u16 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    status(&response)
}

#[test]
fn user_ids_of_unix_peers_qualify_callers() {
    let callers = Callers::new();
    let own = std::fs::metadata("/proc/self").unwrap().uid();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gate.sock");
    let listeners =
        format!("listeners:\n  main: {{ address: 127.0.0.1:0 }}\n  pod: {{ address: \"unix:{}\" }}", socket.display());
    for (uids, expected) in [(format!("[{}, {own}]", own + 1), 200), ((own + 1).to_string(), 403)] {
        let grant = format!("{{ name: pod, callers: {{ unix_uid: {uids} }}, operations: [read_session] }}");
        let gateway = Gateway::start(&callers.config(&listeners, "", &[&grant]));
        gateway.ready();
        assert_eq!(read_over_socket(&socket, &callers.request()), expected, "{uids}");
        assert_eq!(callers.read(&gateway, json!({})), 403, "there is no user ID over TCP");
    }
}

/// Over a Unix socket with TLS a caller proves both.
#[test]
fn certificate_and_user_id_count_together() {
    let callers = Callers::new();
    let own = std::fs::metadata("/proc/self").unwrap().uid();
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gate.sock");
    let tls = listener(&format!("unix:{}", socket.display()), &authority, &staff);
    let listeners = tls.replacen("listeners:\n", "listeners:\n  main: { address: 127.0.0.1:0 }\n", 1);
    let shown = staff.certify_in_files_as("contractor", &["x.example"], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "contractor");
    });
    let contractor = "certificate: { subject: CN=contractor }";
    for (matchers, expected) in [
        (contractor.to_owned(), 403),
        (format!("unix_uid: {own}"), 403),
        (format!("{contractor}, unix_uid: {own}"), 403),
        (format!("{contractor}, unix_uid: {}", own + 1), 200),
    ] {
        let restricted = format!("{{ name: contractor, callers: {{ {matchers} }}, operations: [delete_session] }}");
        let grants = [&*restricted, "{ name: everyone, operations: [read_session] }"];
        let gateway = Gateway::start(&callers.config(&listeners, "", &grants));
        gateway.ready();
        let config = client(&authority, Some(&shown), &rustls::version::TLS13);
        let found = on_runtime(async {
            let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
            let name = ServerName::try_from("one.example").unwrap();
            let mut stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
            stream.write_all(callers.request().as_bytes()).await.unwrap();
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response).await;
            status(&String::from_utf8_lossy(&response))
        });
        assert_eq!(found, expected, "{matchers}");
    }
}
