//! A provider that records every byte: the requests that reached it, and how many. It publishes the keys of its tokens,
//! and responds as the test says.

use crate::harness::{TIMEOUT, wait_for};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sessiongate::sandbox::auth0::{Options, Tenant};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The session that the tests speak of.
pub const SESSION: &str = "375UIp_ID5mCTClIeBEHpXfGwq51tF_L";

/// A session of Auth0's as response.
pub fn session(metadata: &Value) -> Value {
    json!({
        "id": SESSION,
        "user_id": "auth0|65f0",
        "updated_at": "2026-01-02T03:04:05.678Z",
        "expires_at": "2999-01-01T00:00:00.000Z",
        "session_metadata": metadata,
    })
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The head, to the byte, with the empty line.
    pub head: Vec<u8>,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body without its framing, as far as it was read.
    pub body: Vec<u8>,
}

impl Seen {
    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let own = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "`{name}` stands twice in {self:?}");
        all.first().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What happens to the connection after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    /// With RST.
    Reset,
}

/// A request whose head has arrived.
pub struct Call<'a> {
    pub seen: Seen,
    /// How many requests came before it, on all connections.
    pub turn: usize,
    stream: &'a mut BufReader<TcpStream>,
    log: &'a Log,
}

impl Call<'_> {
    /// Reads the body as its head frames it.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        if !self.seen.all("Transfer-Encoding").is_empty() {
            while self.chunk()? {}
        } else if let Some(length) = self.seen.all("Content-Length").first() {
            let mut body = vec![0; length.trim().parse().map_err(io::Error::other)?];
            self.stream.read_exact(&mut body)?;
            self.add(&body);
        }
        Ok(self.seen.body.clone())
    }

    /// Reads one chunk of a chunked body; false at the last one.
    pub fn chunk(&mut self) -> io::Result<bool> {
        let size = line(self.stream)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        line(self.stream)?;
        self.add(&chunk);
        Ok(size > 0)
    }

    /// Reads this many bytes of a body.
    pub fn take(&mut self, length: usize) -> io::Result<()> {
        let mut part = vec![0; length];
        self.stream.read_exact(&mut part)?;
        self.add(&part);
        Ok(())
    }

    fn add(&mut self, part: &[u8]) {
        self.seen.body.extend_from_slice(part);
        self.log.lock()[self.turn].body.extend_from_slice(part);
    }

    /// Gives up on a body that does not come within this time.
    pub fn in_haste(&mut self, haste: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(haste))
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Answers with JSON.
    pub fn json(&mut self, status: u16, body: &Value) -> io::Result<Then> {
        self.response(status, "", &body.to_string())
    }

    /// Answers with JSON and further lines of the head, each with its line end.
    pub fn response(&mut self, status: u16, more: &str, body: &str) -> io::Result<Then> {
        let length = body.len();
        self.send(format!(
            "HTTP/1.1 {status} Recorded\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        ))?;
        Ok(Then::Keep)
    }

    /// Answers as Auth0 does where all is well.
    pub fn as_auth0(&mut self) -> io::Result<Then> {
        self.body()?;
        let body = serde_json::from_slice::<Value>(&self.seen.body).unwrap_or_default();
        match self.seen.method.as_str() {
            "PATCH" => self.json(200, &session(&body["session_metadata"])),
            "DELETE" | "POST" => self.json(202, &json!({})),
            "HEAD" => self.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").map(|()| Then::Keep),
            _ => self.json(200, &session(&json!({"team": "blue"}))),
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The provider.
pub struct Recorder {
    address: SocketAddr,
    log: Log,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    tenant: Tenant,
}

impl Recorder {
    /// One that responds like Auth0.
    pub fn auth0() -> Recorder {
        Recorder::start(|call: &mut Call| call.as_auth0())
    }

    /// One that responds as the test says. Requests for keys are neither recorded nor counted.
    pub fn start(act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Recorder {
        Recorder::start_at(([127, 0, 0, 1], 0).into(), act).unwrap()
    }

    /// The same at this address, which may be taken.
    pub fn start_at(
        address: SocketAddr,
        act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static,
    ) -> io::Result<Recorder> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let tenant = Tenant::new(&format!("http://{address}"), Options::default(), [7; 32]).unwrap();
        let recorder = Recorder {
            address,
            log: Log::default(),
            connections: Arc::default(),
            stopping: Arc::default(),
            tenant: tenant.clone(),
        };
        let (log, stopping, connections) =
            (recorder.log.clone(), recorder.stopping.clone(), recorder.connections.clone());
        let keys = key_set(&tenant);
        let act = Arc::new(act);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let (act, log, keys) = (act.clone(), log.clone(), keys.clone());
                thread::spawn(move || serve(stream, &keys, &log, &*act));
            }
        });
        Ok(recorder)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A token with every scope.
    pub fn token(&self) -> String {
        self.tenant.tokens().full
    }

    /// A token with every scope of this client.
    pub fn token_of_client(&self, client: &str) -> String {
        self.tenant.token_of(client)
    }

    /// A token of this subject.
    pub fn token_of(&self, subject: &str) -> String {
        self.tenant.sign(json!({ "sub": subject }))
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.log.lock().len()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests of this method came so far.
    pub fn count_of(&self, method: &str) -> usize {
        self.log.lock().iter().filter(|seen| seen.method == method).count()
    }

    /// Waits until that many requests have come.
    pub fn wait(&self, count: usize) {
        wait_for(&format!("request {count} at the provider"), || (self.count() >= count).then_some(()));
    }

    /// The part `upstreams` of a configuration: this provider, tokens checked, and `more` lines of the upstream.
    pub fn upstream(&self, more: &str) -> String {
        let url = self.url();
        self.upstream_as(&format!("{{ issuer: {url}/, audience: {url}/api/v2/ }}"), more)
    }

    /// The same with another `auth`.
    pub fn upstream_as(&self, auth: &str, more: &str) -> String {
        let url = self.url();
        let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
        format!("upstreams:\n  auth0:\n    dialect: auth0\n    url: {url}\n    auth: {auth}\n{more}")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    keys: &str,
    log: &Log,
    act: &(dyn Fn(&mut Call) -> io::Result<Then> + Send + Sync),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut stream = BufReader::new(stream);
    loop {
        let seen = head(&mut stream)?;
        if seen.target == "/.well-known/jwks.json" || seen.target == "/.well-known/openid-configuration" {
            let document = if seen.target.ends_with("jwks.json") {
                keys.to_owned()
            } else {
                let host = seen.header("Host").unwrap_or_default();
                json!({"issuer": format!("http://{host}/"), "jwks_uri": format!("http://{host}/.well-known/jwks.json")})
                    .to_string()
            };
            let length = document.len();
            write!(
                stream.get_mut(),
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
            )?;
            continue;
        }
        let turn = {
            let mut all = log.lock();
            all.push(seen.clone());
            all.len() - 1
        };
        let mut call = Call { seen, turn, stream: &mut stream, log };
        match act(&mut call)? {
            Then::Keep => {}
            Then::Close => return Ok(()),
            Then::Reset => return reset(stream.get_ref()),
        }
    }
}

/// Closes with RST: what was not read or not sent is lost.
fn reset(stream: &TcpStream) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = stream.try_clone()?;
    stream.set_nonblocking(true)?;
    runtime.block_on(async move { tokio::net::TcpStream::from_std(stream)?.set_zero_linger() })
}

fn head(stream: &mut BufReader<TcpStream>) -> io::Result<Seen> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if before > 0 && matches!(&head[before..], b"\r\n" | b"\n") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let (method, rest) = first.split_once(' ').unwrap_or_default();
    let target = rest.rsplit_once(' ').map_or(rest, |(target, _)| target);
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Ok(Seen {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.collect(),
        head,
        body: Vec::new(),
    })
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

/// The key set of a tenant, as its own service gives it out.
pub fn key_set(tenant: &Tenant) -> String {
    use tower_service::Service;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = http::Request::get("/.well-known/jwks.json").body(axum::body::Body::empty());
        let response = tenant.router().call(request.unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    })
}
