//! Listeners: TLS, Unix sockets, and upstreams that match by listener.

use crate::harness::recorder::Recorder;
use crate::harness::{Authority, Gateway, Request, TlsClient, finish, on_runtime, sessiongate, wait_for, write_config};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

fn certificate((certificate, key): &(PathBuf, PathBuf)) -> String {
    format!("{{ certificate: {}, key: {} }}", certificate.display(), key.display())
}

fn encrypted(recorder: &Recorder, certificates: &[&(PathBuf, PathBuf)], more: &str) -> Gateway {
    let certificates: Vec<String> = certificates.iter().map(|one| certificate(one)).collect();
    Gateway::start(&format!(
        "listeners:\n  public: {{ address: 127.0.0.1:0, tls: {{ certificates: [{}]{more} }} }}\n{}",
        certificates.join(", "),
        recorder.upstream("preserve_host: true")
    ))
}

fn here() -> Recorder {
    Recorder::start(|call| call.response(200, "", "here"))
}

#[test]
fn certificates_are_selected_by_sni_with_the_first_as_default() {
    let authority = Authority::new("ca");
    let first = authority.certify_in_files("first", &["one.example"]);
    let second = authority.certify_in_files("second", &["two.example", "*.three.example"]);
    let recorder = here();
    let gateway = encrypted(&recorder, &[&first, &second], "");
    let client = TlsClient::new(&authority);
    for name in ["one.example", "two.example", "x.three.example"] {
        assert!(client.ask(&gateway, name).is_some_and(|response| response.ends_with("here")), "{name}");
    }
    // The client is shown the first one, and does not take it.
    assert_eq!(client.ask(&gateway, "four.example"), None);
    assert_eq!(client.ask(&gateway, "a.b.three.example"), None);
    wait_for("the failed handshakes", || gateway.metrics().contains("reason=\"tls_handshake\"} 2").then_some(()));
    assert_eq!(recorder.seen().len(), 3);
}

#[test]
fn alpn_selects_http2_or_http1() {
    let authority = Authority::new("ca");
    let own = authority.certify_in_files("own", &["one.example"]);
    let recorder = here();
    let gateway = encrypted(&recorder, &[&own], "");
    let client = TlsClient { alpn: &["h2", "http/1.1"], ..TlsClient::new(&authority) };
    let status = on_runtime(async {
        let stream = client.connect(&gateway, "one.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://one.example/x").body(()).unwrap();
        requests.send_request(request, true).unwrap().0.await.unwrap().status()
    });
    assert_eq!(status, 200);
    let client = TlsClient { alpn: &["http/1.1"], ..TlsClient::new(&authority) };
    assert!(client.ask(&gateway, "one.example").is_some());
    assert_eq!(recorder.seen().len(), 2);
    // Without ALPN the protocol is HTTP/1.1; unknown protocols are rejected.
    assert!(TlsClient::new(&authority).ask(&gateway, "one.example").is_some());
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let other = TlsClient { alpn: &["spdy/3", "h3"], versions, ..TlsClient::new(&authority) };
        let error = on_runtime(other.connect(&gateway, "one.example")).unwrap_err();
        let told = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(told, Some(&rustls::Error::AlertReceived(alert)), "{versions:?}");
    }
}

#[test]
fn min_version_rejects_older_tls() {
    let authority = Authority::new("ca");
    let own = authority.certify_in_files("own", &["one.example"]);
    let recorder = here();
    let old = [&rustls::version::TLS12];
    let client = TlsClient { versions: &old, ..TlsClient::new(&authority) };
    assert!(client.ask(&encrypted(&recorder, &[&own], ""), "one.example").is_some());
    let strict = encrypted(&recorder, &[&own], ", min_version: \"1.3\"");
    assert_eq!(client.ask(&strict, "one.example"), None);
    assert!(TlsClient::new(&authority).ask(&strict, "one.example").is_some());
}

#[test]
fn client_certificates_are_requested_and_verified() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let own = authority.certify_in_files("own", &["one.example"]);
    let (good, strange) = (staff.certify_in_files("good", &["app"]), authority.certify_in_files("strange", &["app"]));
    let recorder = here();
    let asked = |required: bool| {
        let file = staff.file.display();
        encrypted(&recorder, &[&own], &format!(", client_certificates: {{ ca_file: {file}, required: {required} }}"))
    };
    let with = |shows| TlsClient { shows, ..TlsClient::new(&authority) };
    let (required, optional) = (asked(true), asked(false));
    assert!(with(Some(&good)).ask(&required, "one.example").is_some());
    assert!(with(Some(&good)).ask(&optional, "one.example").is_some());
    assert!(with(None).ask(&optional, "one.example").is_some());
    assert_eq!(with(None).ask(&required, "one.example"), None);
    assert_eq!(with(Some(&strange)).ask(&required, "one.example"), None);
    assert_eq!(with(Some(&strange)).ask(&optional, "one.example"), None);
    assert_eq!(recorder.seen().len(), 3);
}

#[test]
fn tls_listener_rejects_plain_http_and_forwards_proto_https() {
    let authority = Authority::new("ca");
    let own = authority.certify_in_files("own", &["one.example"]);
    let recorder = here();
    let gateway = Gateway::start(&format!(
        "listeners:\n  public: {{ address: 127.0.0.1:0, tls: {{ certificates: [{}] }} }}\nupstreams:\n  z: {{ dialect: zitadel, \
         url: \"http://{}\", auth: none, preserve_host: true }}\n",
        certificate(&own),
        recorder.address()
    ));
    assert!(Request::new("GET", "/x").try_send(&gateway.url()).is_err());
    assert!(recorder.seen().is_empty());
    assert!(TlsClient::new(&authority).ask(&gateway, "one.example").is_some());
    assert_eq!(recorder.seen()[0].header("x-forwarded-proto"), Some("https"));
}

/// What comes over a socket in the file system.
fn ask_socket(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn unix_socket_has_its_mode_and_replaces_an_abandoned_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let own = std::fs::metadata(folder.path()).unwrap();
    let recorder = here();
    let text = format!(
        "listeners:\n  main: {{ address: 127.0.0.1:0 }}\n  pod: {{ address: \"unix:{}\", mode: \"0606\", owner: \"{}:{}\" }}\n{}",
        path.display(),
        own.uid(),
        own.gid(),
        recorder.upstream("")
    );
    let gateway = Gateway::start(&text);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o606);
    assert!(ask_socket(&path).unwrap().ends_with("here"));
    // Another process does not take it away from one that listens.
    let second = folder.path().join("second");
    std::fs::create_dir(&second).unwrap();
    let config = write_config(&second, &text);
    let rejected = finish(sessiongate(&["run", "-c", config.to_str().unwrap()]));
    assert_eq!(rejected.code, Some(1));
    assert!(rejected.stderr.contains("`pod` cannot listen on unix:"), "{}", rejected.stderr);
    assert!(rejected.stderr.contains("another process listens on this socket"), "{}", rejected.stderr);
    // One that was killed leaves its socket behind.
    gateway.signal("KILL");
    drop(gateway);
    let gateway = Gateway::start(&text);
    assert!(ask_socket(&path).unwrap().ends_with("here"));
    assert_eq!(gateway.addresses().len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn unix_socket_does_not_replace_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    std::fs::write(&path, "precious").unwrap();
    let recorder = here();
    let text = format!("listeners:\n  pod: {{ address: \"unix:{}\" }}\n{}", path.display(), recorder.upstream(""));
    let config = write_config(folder.path(), &text);
    let rejected = finish(sessiongate(&["run", "-c", config.to_str().unwrap()]));
    assert_eq!(rejected.code, Some(1));
    assert!(rejected.stderr.contains("the path exists and is not a socket"), "{}", rejected.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn upstreams_can_match_by_listener() {
    let [one, other] = [1, 2].map(|number| Recorder::start(move |call| call.response(200, "", &number.to_string())));
    let gateway = Gateway::start(&format!(
        "listeners:\n  here: {{ address: 127.0.0.1:0 }}\n  there: {{ address: 127.0.0.1:0 }}\nupstreams:\n  one: {{ dialect: auth0, url: \
         \"http://{}\", auth: none, match: {{ listener: here }} }}\n  other: {{ dialect: auth0, url: \"http://{}\", auth: none, match: {{ \
         listener: there }} }}\n",
        one.address(),
        other.address()
    ));
    let said: Vec<String> = gateway
        .addresses()
        .iter()
        .map(|address| Request::new("GET", "/x").send(&format!("http://{address}")).text())
        .collect();
    assert_eq!(said, ["1", "2"]);
}
