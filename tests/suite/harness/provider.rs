//! Providers: a simulated tenant in the test's process, and servers whose responses a test determines.

use super::http::{Connection, Response, Stream, value_of};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use sessiongate::sandbox::auth0::{Options, Tokens};
use sessiongate::sandbox::{Auth0, Certificate};
use std::future::IntoFuture;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A simulated Auth0 tenant in the test's own process.
pub struct Tenant {
    _runtime: Runtime,
    auth0: Auth0,
    /// Where the test itself sends requests.
    url: String,
    /// The certificates of a tenant with TLS.
    certificates: Option<TempDir>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Tenant {
    /// Starts one without a rate limit on a free port.
    pub fn start() -> Tenant {
        Tenant::start_with(Options { rate: None, ..Options::default() })
    }

    /// The same, with options.
    pub fn start_with(options: Options) -> Tenant {
        let runtime = runtime();
        let auth0 = runtime.block_on(Auth0::start(([127, 0, 0, 1], 0).into(), options, None)).unwrap();
        Tenant { url: auth0.url(), auth0, certificates: None, _runtime: runtime }
    }

    /// One with TLS, for SDKs, which insist on it. [`Tenant::url`] is the same tenant without TLS, for the test itself.
    pub fn start_with_tls(options: Options) -> Tenant {
        let runtime = runtime();
        let certificate = Certificate::new([]).unwrap();
        let auth0 = runtime.block_on(Auth0::start(([127, 0, 0, 1], 0).into(), options, Some(&certificate))).unwrap();
        let plain = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", plain.local_addr().unwrap());
        runtime.spawn(axum::serve(plain, auth0.tenant().router()).into_future());
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("ca.pem", &certificate.authority), ("own.pem", &certificate.certificate), ("own.key", &certificate.key)]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Tenant { auth0, url, certificates: Some(folder), _runtime: runtime }
    }

    /// Its address without TLS: `http://127.0.0.1:1234`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Its own address, with TLS if it has that.
    pub fn own_url(&self) -> String {
        self.auth0.url()
    }

    fn certificate_file(&self, name: &str) -> PathBuf {
        self.certificates.as_ref().unwrap().path().join(name)
    }

    /// The file of the CA of a tenant with TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.certificate_file("ca.pem")
    }

    /// The part `listeners` of a configuration: one with a certificate of that CA.
    pub fn listener(&self) -> String {
        let [certificate, key] = ["own.pem", "own.key"].map(|name| self.certificate_file(name).display().to_string());
        let own = format!("{{ certificate: {certificate}, key: {key} }}");
        format!("listeners:\n  main: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{own}] }} }}\n")
    }

    /// A token with every scope.
    pub fn token(&self) -> String {
        self.auth0.tokens().full
    }

    /// All its tokens.
    pub fn tokens(&self) -> Tokens {
        self.auth0.tokens()
    }

    /// Signs a token: the claims are laid over those of the full token, and a `null` removes a claim.
    pub fn sign(&self, claims: Value) -> String {
        self.auth0.tenant().sign(claims)
    }

    /// The id of the session that exists from the start.
    pub fn session_id(&self) -> &str {
        self.auth0.tenant().session_id()
    }

    /// The path of that session.
    pub fn session_path(&self) -> String {
        format!("/api/v2/sessions/{}", self.session_id())
    }

    /// The id of the sample user.
    pub fn user_id(&self) -> &str {
        self.auth0.tenant().user_id()
    }

    /// Makes another session and gives its id.
    pub fn create_session(&self) -> String {
        self.auth0.tenant().create_session()
    }

    /// How many requests have reached its API.
    pub fn calls(&self) -> u64 {
        self.auth0.tenant().calls()
    }

    /// The part `upstreams` of a configuration: this tenant with its tokens checked, and `more` keys of the upstream,
    /// such as `cache: { ttl: 30s }`, one a line.
    pub fn upstream(&self, more: &str) -> String {
        let url = self.own_url();
        let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
        let (tls, keys) = match &self.certificates {
            None => (String::new(), String::new()),
            Some(_) => {
                let ca_file = self.ca_file().display().to_string();
                (format!("    tls: {{ ca_file: {ca_file} }}\n"), format!(", ca_file: {ca_file}"))
            }
        };
        let auth = format!("{{ issuer: {url}/, audience: {url}/api/v2/{keys} }}");
        format!("upstreams:\n  auth0:\n    dialect: auth0\n    url: {url}\n{tls}    auth: {auth}\n{more}")
    }
}

/// A request as a scripted provider received it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }
}

/// A response of JSON.
pub fn json_response(status: u16, body: &str) -> Response {
    Response {
        status,
        headers: vec![("Content-Type".into(), "application/json; charset=utf-8".into())],
        body: body.into(),
    }
}

/// A provider whose responses the test determines. Each connection has a thread, so a response may wait for the test.
pub struct Scripted {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    stopping: Arc<AtomicBool>,
}

impl Scripted {
    /// Starts one on a free port.
    pub fn start(response: impl Fn(&Received) -> Response + Send + Sync + 'static) -> Scripted {
        Scripted::start_at(([127, 0, 0, 1], 0).into(), response)
    }

    /// Starts one on this port.
    pub fn start_at(address: SocketAddr, response: impl Fn(&Received) -> Response + Send + Sync + 'static) -> Scripted {
        Scripted::start_over(address, None, response)
    }

    /// Starts one on a free port that speaks TLS.
    pub fn start_tls(
        config: Arc<ServerConfig>,
        response: impl Fn(&Received) -> Response + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::start_over(([127, 0, 0, 1], 0).into(), Some(config), response)
    }

    fn start_over(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        response: impl Fn(&Received) -> Response + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind(address).unwrap();
        let scripted =
            Scripted { address: listener.local_addr().unwrap(), received: Arc::default(), stopping: Arc::default() };
        let (received, stopping) = (scripted.received.clone(), scripted.stopping.clone());
        let response = Arc::new(response);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (response, received, tls) = (response.clone(), received.clone(), tls.clone());
                // A connection that breaks is the other side's affair.
                thread::spawn(move || serve(stream, tls, &*response, &received));
            }
        });
        scripted
    }

    /// Its address: `http://127.0.0.1:1234`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    response: &(dyn Fn(&Received) -> Response + Send + Sync),
    received: &Mutex<Vec<Received>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let stream: Box<dyn Stream> = match tls {
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, stream))
        }
        None => Box::new(stream),
    };
    let mut connection = Connection::of(stream, peer);
    loop {
        let first = connection.line()?;
        let mut request = Received {
            method: first.split(' ').next().unwrap_or_default().to_owned(),
            path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
            headers: connection.fields()?,
            body: Vec::new(),
        };
        if request.header("Content-Length").is_some() || request.header("Transfer-Encoding").is_some() {
            request.body = connection.body(&request.headers)?;
        }
        received.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let response = response(&request);
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if response.header("Content-Length").is_none() && response.status != 204 && response.status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&response.body);
        connection.write(&bytes)?;
    }
}
