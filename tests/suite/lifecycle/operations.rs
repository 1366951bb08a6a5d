//! The listeners for operations: `admin` with probes and metrics, `control` with commands, and who may use them.

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{
    Authority, Connection, Finished, Gateway, Process, Request, TIMEOUT, address, finish, sessiongate, wait_for,
    write_config,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::TempDir;

const TOKEN: &str = "correct-horse-battery";
const BY_SIGNAL: &str = "reload: { watch: false }\n";
const PURGE: &str = r#"{"upstream":"auth0"}"#;

fn start(options: &str) -> Gateway {
    Gateway::start(&format!("{BY_SIGNAL}{options}\n{}", upstream()))
}

fn upstream() -> &'static str {
    "upstreams: { auth0: { dialect: auth0, url: 'http://127.0.0.1:1', auth: none, cache: {} } }\n"
}

/// Reads the configuration again and waits for it.
fn reload(gateway: &Gateway, options: &str) {
    let applied = |gateway: &Gateway| {
        let lines = gateway.log();
        lines.iter().filter(|line| line.contains("configuration applied")).count()
    };
    let before = applied(gateway);
    gateway.rewrite(&format!("{BY_SIGNAL}{options}\n{}", upstream()));
    gateway.signal("HUP");
    wait_for("the configuration to be applied", || (applied(gateway) > before).then_some(()));
}

fn purge() -> Request {
    Request::new("POST", "/cache/purge").json(PURGE)
}

/// Sends a request over a stream, and reads until the end.
fn over(mut stream: impl Read + Write, request: &Request) -> io::Result<(u16, String)> {
    let host = SocketAddr::from(([127, 0, 0, 1], 1));
    stream.write_all(&request.clone().header("Connection", "close").bytes(host))?;
    let mut response = Vec::new();
    // A peer that closes without a notification of TLS has sent everything as well.
    let read = stream.read_to_end(&mut response);
    let text = String::from_utf8_lossy(&response).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    match (status.zip(body), read) {
        (Some(found), _) => Ok(found),
        (None, read) => Err(read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// A client of TLS that trusts an authority.
fn tls(
    address: SocketAddr,
    authority: &Authority,
    shows: Option<&(PathBuf, PathBuf)>,
    alpn: &[&str],
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, tcp(address)?))
}

/// The address of a listener in a line of the log, where a wildcard stands for loopback.
fn bound(url: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address(url).port()))
}

#[test]
fn admin_may_listen_on_any_address() {
    let options = "admin: 0.0.0.0:0";
    let gateway = start(options);
    let admin = format!("http://{}", bound(&gateway.admin_url()));
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Request::new("GET", path).send(&admin).status, 200, "{path}");
    }
    assert_eq!(gateway.stderr(), [""; 0]);
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &format!("{options}\n{}", upstream()));
    let checked = finish(sessiongate(&["check", "--deploy", "-c", path.to_str().unwrap()]));
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
}

#[test]
fn admin_only_reads() {
    let gateway = start("");
    let admin = gateway.admin_url();
    for path in ["/livez", "/readyz", "/metrics"] {
        let head = Request::new("HEAD", path).send(&admin);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let length: usize = head.header("Content-Length").unwrap().parse().unwrap();
        assert!(length > 2, "{path}: {length}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let response = Request::new(method, path).send(&admin);
            assert_eq!((response.status, response.header("Allow")), (405, Some("GET,HEAD")), "{method} {path}");
        }
    }
    for (method, path) in [("POST", "/cache/purge"), ("GET", "/cache/purge"), ("GET", "/"), ("GET", "/livez/")] {
        assert_eq!(Request::new(method, path).json(PURGE).send(&admin).status, 404, "{method} {path}");
    }
    for path in ["/livez", "/readyz", "/metrics", "/"] {
        assert_eq!(Request::new("GET", path).send(&gateway.control_url()).status, 404, "{path} of `control`");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn both_listen_on_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let [admin, control] = ["admin.sock", "control.sock"].map(|name| folder.path().join(name));
    let options = format!("admin: \"unix:{}\"\ncontrol: \"unix:{}\"", admin.display(), control.display());
    // What a process has left behind is replaced.
    drop(UnixListener::bind(&admin).unwrap());
    let gateway = start(&options);
    assert_eq!((mode(&admin), mode(&control)), (0o660, 0o600));
    let (status, body) = over(UnixStream::connect(&admin).unwrap(), &Request::new("GET", "/livez")).unwrap();
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let purged = |request: Request| over(UnixStream::connect(&control).unwrap(), &request).unwrap();
    let done = (200, r#"{"purged":true}"#.to_owned());
    assert_eq!(purged(purge()), done);
    assert_eq!(purged(purge().header("Host", "evil.example")), done, "a socket has no host");
    assert_eq!(purged(purge().header("Origin", "http://localhost")).0, 403);
    let at = format!("unix:{}", control.display());
    let finished = finish(sessiongate(&["purge", "--upstream", "auth0", "--control", &at]));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "purged\n"), "{}", finished.stderr);
    // A socket in use is not taken away from its process.
    let path = write_config(folder.path(), &format!("{options}\n{}", upstream()));
    let second = finish(sessiongate(&["run", "-c", path.to_str().unwrap()]));
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("`admin` cannot listen on unix:"), "{}", second.stderr);
    drop(gateway);
}

#[test]
fn admin_uses_tls_and_reloads_its_certificate() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["tls.pem", "tls.key"].map(|name| folder.path().join(name));
    let install = |authority: &Authority| {
        let (own, own_key) = authority.certify_in_files("admin", &["127.0.0.1"]);
        fs::copy(own, &certificate).unwrap();
        fs::copy(own_key, &key).unwrap();
    };
    install(&old);
    let (certificate, key) = (certificate.display(), key.display());
    let options = format!("admin: {{ address: 127.0.0.1:0, tls: {{ certificate: {certificate}, key: {key} }} }}");
    let gateway = start(&options);
    let admin = address(&gateway.admin_url());
    let live = |authority: &Authority, alpn: &[&str]| {
        let response =
            tls(admin, authority, None, alpn).and_then(|stream| over(stream, &Request::new("GET", "/livez")));
        response.map(|(status, _)| status)
    };
    assert_eq!(live(&old, &[]).unwrap(), 200);
    assert_eq!(live(&old, &["h2", "http/1.1"]).unwrap(), 200);
    assert!(live(&old, &["h2"]).is_err(), "there is no HTTP/2");
    assert!(over(tcp(admin).unwrap(), &Request::new("GET", "/livez")).is_err(), "there is no plaintext");
    install(&new);
    reload(&gateway, &options);
    assert_eq!(live(&new, &[]).unwrap(), 200);
    assert!(live(&old, &[]).is_err());
}

/// Connections without a handshake, or without a request, do not keep probes out.
#[test]
fn probes_work_beside_many_silent_connections() {
    let authority = Authority::new("flood");
    let (certificate, key) = authority.certify_in_files("admin", &["127.0.0.1"]);
    let (certificate, key) = (certificate.display(), key.display());
    let tls = format!("tls: {{ certificate: {certificate}, key: {key} }}");
    for (scheme, options) in [("http", ""), ("https", &*tls)] {
        let gateway = start(&format!("admin: {{ address: 127.0.0.1:0, {options} }}"));
        let admin = address(&gateway.admin_url());
        let url = format!("{scheme}://{admin}");
        let mut silent: Vec<TcpStream> = Vec::new();
        for _ in 0..10 {
            silent.extend((0..64).map(|_| TcpStream::connect(admin).unwrap()));
            let probed = finish(sessiongate(&["probe", "--live", "--timeout", "30s", "--url", &url]));
            assert_eq!((probed.code, probed.stdout.as_str()), (Some(0), "live\n"), "{scheme}: {}", probed.stderr);
        }
    }
}

/// Pipelined requests do not keep probes out, and a connection ends after its last response.
#[test]
fn probes_work_beside_pipelined_requests() {
    let gateway = start("");
    let admin = address(&gateway.admin_url());
    let request = Request::new("GET", "/metrics").bytes(admin);
    let mut last = tcp(admin).unwrap();
    last.write_all(&request.repeat(100)).unwrap();
    let mut responses = String::new();
    last.read_to_string(&mut responses).unwrap();
    let responses: Vec<&str> = responses.split("HTTP/1.1 200 OK").skip(1).collect();
    let closing = |head: &&&str| head.to_lowercase().contains("connection: close");
    let closes: Vec<usize> = (0..).zip(&responses).filter(|(_, head)| closing(head)).map(|(at, _)| at).collect();
    assert_eq!((responses.len(), closes), (100, vec![99]));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let mut stream = tcp(admin).unwrap();
                    // The gateway may close the connection first.
                    if stream.write_all(&request.repeat(100)).is_ok() {
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                }
            });
        }
        let url = gateway.admin_url();
        let probed = finish(sessiongate(&["probe", "--live", "--timeout", "30s", "--url", &url]));
        stop.store(true, Ordering::SeqCst);
        assert_eq!((probed.code, probed.stdout.as_str()), (Some(0), "live\n"), "{}", probed.stderr);
    });
}

/// Nothing is sent before the command knows that nobody else can read the token.
#[test]
fn purge_sends_its_token_to_other_machines_only_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let mut command = sessiongate(&["purge", "--upstream", "auth0", "--control", "gate.invalid:9091", "--token-file"]);
    command.arg(&file);
    let finished = finish(command);
    assert!(finished.code == Some(1) && finished.stderr.contains("use TLS with --ca-file"), "{}", finished.stderr);
}

/// A configuration with commands for anybody is rejected when it is checked, at the start, and by a reload.
#[test]
fn control_beyond_loopback_needs_authentication() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("control");
    let (certificate, key) = authority.certify_in_files("control", &["127.0.0.1"]);
    let tls = format!("certificate: {}, key: {}", certificate.display(), key.display());
    let run = |args: &[&str], options: &str| {
        let path = write_config(folder.path(), &format!("{options}\n{}", upstream()));
        let mut command = sessiongate(&[args, &["-c", path.to_str().unwrap()]].concat());
        command.env("TOKEN", TOKEN);
        finish(command)
    };
    let [bare, encrypted] =
        ["control: 0.0.0.0:0".to_owned(), format!("control: {{ address: 0.0.0.0:0, tls: {{ {tls} }} }}")];
    for options in [&bare, &encrypted] {
        for args in [&["check"][..], &["check", "--deploy"], &["run"]] {
            let finished = run(args, options);
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{args:?} {options}");
            let expected = "0.0.0.0:0 is reachable from other machines without authentication; expected a `token`";
            assert!(finished.stderr.contains(expected), "{}", finished.stderr);
        }
    }
    let certified =
        format!("control: {{ address: 0.0.0.0:0, tls: {{ {tls}, client_ca_file: {} }} }}", authority.file.display());
    let secret = format!("control: {{ address: 0.0.0.0:0, tls: {{ {tls} }}, token: {{ env: TOKEN }} }}");
    for options in [certified, secret, "control: 127.0.0.1:0".to_owned(), "control: '[::1]:0'".to_owned()] {
        let checked = run(&["check", "--deploy"], &options);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{options}");
    }
    let clear = "control: { address: 0.0.0.0:0, token: { env: TOKEN } }";
    let checked = run(&["check"], clear);
    assert!(checked.code == Some(0) && checked.stderr.contains("the token is sent in clear"), "{checked:?}");
    assert_eq!(run(&["check", "--deploy"], clear).code, Some(1));
    let gateway = start("");
    gateway.rewrite(&format!("{BY_SIGNAL}{bare}\n{}", upstream()));
    gateway.signal("HUP");
    gateway.wait_for_log(|line| line.contains("configuration rejected") && line.contains("without authentication"));
}

#[test]
fn token_is_required_and_can_be_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let options = format!("control: {{ address: 127.0.0.1:0, token: {{ file: {} }} }}", file.display());
    let gateway = start(&options);
    let control = gateway.control_url();
    let status = |token: &str| purge().bearer(token).send(&control).status;
    let missing = purge().send(&control);
    assert_eq!((missing.status, missing.header("WWW-Authenticate")), (401, Some("Bearer")));
    assert_eq!(missing.text(), r#"{"error":"a bearer token is required"}"#);
    assert_eq!(purge().header("Authorization", "Basic eDp5").send(&control).status, 401);
    for wrong in ["", "x", &TOKEN[1..], &format!("{TOKEN}x"), &TOKEN.to_uppercase()] {
        assert_eq!(status(wrong), 401, "{wrong}");
    }
    assert_eq!(status(TOKEN), 200);
    let with = |name: &str, value: &str| purge().bearer(TOKEN).header(name, value).send(&control).status;
    assert_eq!((with("Origin", "http://localhost"), with("Host", "evil.example")), (403, 403));
    assert_eq!(Request::new("GET", "/unknown").send(&control).status, 401, "who has no token learns nothing");
    // The body of a request without a token is not waited for.
    let mut connection = Connection::open(address(&control)).unwrap();
    connection.write(b"POST /cache/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n").unwrap();
    let response = connection.response(false).unwrap();
    assert_eq!((response.status, response.header("Connection")), (401, Some("close")));

    let command = |file: Option<&Path>| {
        let at = control.trim_start_matches("http://");
        let mut command = sessiongate(&["purge", "--upstream", "auth0", "--control", at]);
        if let Some(file) = file {
            command.arg("--token-file").arg(file);
        }
        finish(command)
    };
    let finished = command(Some(&file));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "purged\n"), "{}", finished.stderr);
    let finished = command(None);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("a bearer token is required"), "{}", finished.stderr);

    let mut kept = Connection::open(address(&control)).unwrap();
    assert_eq!(kept.exchange(&purge().bearer(TOKEN)).unwrap().status, 200);
    fs::write(&file, "another-horse-battery").unwrap();
    reload(&gateway, &options);
    assert_eq!(kept.exchange(&purge().bearer("another-horse-battery")).unwrap().status, 200);
    assert_eq!((status(TOKEN), status("another-horse-battery")), (401, 200));
    let text = gateway.log().join("\n");
    assert!(!text.contains("horse"), "{text}");
}

/// An open listener keeps its token if a reload would put another listener in its place.
#[test]
fn listener_that_waits_for_a_restart_keeps_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let gateway = start(&format!("control: {{ address: 127.0.0.1:0, token: {{ file: {} }} }}", file.display()));
    let control = gateway.control_url();
    let other = folder.path().join("other");
    fs::write(&other, "another-horse-battery").unwrap();
    reload(&gateway, &format!("control: {{ address: 127.0.0.1:1, token: {{ file: {} }} }}", other.display()));
    let status = |token: &str| purge().bearer(token).send(&control).status;
    assert_eq!((status(TOKEN), status("another-horse-battery")), (401, 200));
    gateway.wait_for_log(|line| line.contains("rejected requests without a valid token"));
    fs::write(&other, TOKEN).unwrap();
    reload(&gateway, &format!("control: {{ address: 127.0.0.1:1, token: {{ file: {} }} }}", other.display()));
    reload(&gateway, "control: 127.0.0.1:1");
    assert_eq!((purge().send(&control).status, purge().bearer(TOKEN).send(&control).status), (401, 200));
    gateway.wait_for_log(|line| line.contains("need a restart") && line.contains("control"));
    gateway.wait_for_log(|line| line.contains("the previous token stays valid until a restart"));
    reload(&gateway, "control: off");
    assert_eq!(purge().send(&control).status, 401);
}

#[test]
fn client_certificates_are_verified() {
    let [servers, clients, strangers] = ["servers", "clients", "strangers"].map(Authority::new);
    let (certificate, key) = servers.certify_in_files("control", &["127.0.0.1"]);
    let options = format!(
        "control: {{ address: 0.0.0.0:0, tls: {{ certificate: {}, key: {}, client_ca_file: {} }} }}",
        certificate.display(),
        key.display(),
        clients.file.display()
    );
    let gateway = start(&options);
    let control = bound(&gateway.control_url());
    let (good, bad) = (clients.certify_in_files("me", &["me"]), strangers.certify_in_files("me", &["me"]));
    let status = |shows: Option<&(PathBuf, PathBuf)>, request: Request| {
        let response = tls(control, &servers, shows, &[]).and_then(|stream| over(stream, &request));
        response.map(|(status, _)| status).ok()
    };
    assert_eq!(status(Some(&good), purge()), Some(200));
    assert_eq!(status(Some(&good), purge().header("Host", "gate.example")), Some(200));
    assert_eq!(status(Some(&good), purge().header("Origin", "https://gate.example")), Some(403));
    assert_eq!((status(None, purge()), status(Some(&bad), purge())), (None, None));
    let command = |more: &[&Path]| {
        let at = control.to_string();
        let mut command = sessiongate(&["purge", "--upstream", "auth0", "--control", &at, "--ca-file"]);
        command.arg(&servers.file);
        for (option, file) in ["--cert", "--key"].iter().zip(more) {
            command.arg(option).arg(file);
        }
        finish(command)
    };
    let finished = command(&[&good.0, &good.1]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "purged\n"), "{}", finished.stderr);
    for more in [&[][..], &[bad.0.as_path(), &bad.1]] {
        let Finished { code, stdout, stderr } = command(more);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    }
    wait_for("the server's alert", || command(&[]).stderr.contains("CertificateRequired").then_some(()));
    // With another authority the same certificate is a stranger's.
    reload(&gateway, &options.replace(clients.file.to_str().unwrap(), strangers.file.to_str().unwrap()));
    assert_eq!((status(Some(&good), purge()), status(Some(&bad), purge())), (None, Some(200)));
}

/// A process from which another one takes over; its output is read.
struct Upgrade {
    folder: TempDir,
    config: PathBuf,
}

impl Upgrade {
    fn start(&self, more: &[&str]) -> Process {
        Process::start(sessiongate(&[&["run", "-c", self.config.to_str().unwrap()], more].concat()))
    }
}

fn addresses(process: &Process) -> [String; 2] {
    let line = process.wait_for_line(|line| line.contains(r#""message":"serving""#));
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    ["admin", "control"].map(|name| said[name].as_str().unwrap().to_owned())
}

#[test]
fn upgrade_hands_both_listeners_over() {
    let recorder = Recorder::auth0();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let sockets = folder.path().display();
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: \"unix:{sockets}/admin.sock\"\ncontrol: 127.0.0.1:0\n\
         shutdown: {{ upgrade_socket: {sockets}/upgrade.sock }}\n{}",
        recorder.upstream("cache: {}")
    );
    fs::write(&config, text).unwrap();
    let upgrade = Upgrade { folder, config };
    let mut old = upgrade.start(&[]);
    let [admin, control] = addresses(&old);
    let socket = upgrade.folder.path().join("admin.sock");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let probes = scope.spawn(|| {
            let mut probes = 0;
            while !stop.load(Ordering::SeqCst) {
                let stream = UnixStream::connect(&socket).unwrap();
                assert_eq!(over(stream, &Request::new("GET", "/livez")).unwrap().0, 200);
                probes += 1;
            }
            probes
        });
        let mut next = upgrade.start(&["--upgrade"]);
        old.signal("QUIT");
        assert_eq!(addresses(&next), [admin.clone(), control.clone()]);
        assert!(old.wait().success());
        let url = format!("http://{control}");
        let purge = Request::new("POST", "/cache/purge");
        let body = format!(r#"{{"upstream":"auth0","session":"{SESSION}"}}"#);
        assert_eq!(purge.json(&body).send(&url).text(), r#"{"purged":true}"#);
        stop.store(true, Ordering::SeqCst);
        assert!(probes.join().unwrap() > 0);
        next.signal("TERM");
        assert!(next.wait().success());
    });
}
