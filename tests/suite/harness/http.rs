//! HTTP/1.1 as bytes.

use super::TIMEOUT;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection is silent when its response is over.
const QUIET: Duration = Duration::from_millis(500);

/// A request, sent as it is written.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// `path` is sent unchanged.
    pub fn new(method: &str, path: &str) -> Request {
        Request { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header. `Host` and `Content-Length` are added where they are not given.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a bearer token.
    pub fn bearer(self, token: &str) -> Request {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    /// Sets a body of JSON, with its content type.
    pub fn json(self, body: &str) -> Request {
        self.header("Content-Type", "application/json").body(body)
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// The bytes on the wire.
    pub fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.has("Host") {
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = !self.body.is_empty() || ["PATCH", "POST", "PUT"].contains(&self.method.as_str());
        if length && !self.has("Content-Length") && !self.has("Transfer-Encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it over a connection of its own, to `http://127.0.0.1:1234`.
    pub fn send(&self, url: &str) -> Response {
        self.try_send(url).unwrap_or_else(|error| panic!("{} {} to {url}: {error}", self.method, self.path))
    }

    /// The same, where it may fail.
    pub fn try_send(&self, url: &str) -> io::Result<Response> {
        let request = if self.has("Connection") { self.clone() } else { self.clone().header("Connection", "close") };
        Connection::open(address(url))?.exchange(&request)
    }
}

/// The address in `http://127.0.0.1:1234`.
pub fn address(url: &str) -> SocketAddr {
    let text = url.strip_prefix("http://").unwrap_or(url);
    text.trim_end_matches('/').parse().unwrap()
}

/// An address without a listener. It stays unused if each test names a host of its own: `127.0.9.x`.
pub fn unused_address(host: [u8; 4]) -> SocketAddr {
    TcpListener::bind(SocketAddr::from((host, 0))).unwrap().local_addr().unwrap()
}

pub(super) fn value_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A connection that is kept for several requests.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    peer: SocketAddr,
}

/// What a connection runs over.
pub(super) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Connection {
    /// Connects.
    pub fn open(peer: SocketAddr) -> io::Result<Connection> {
        Ok(Connection::of(Box::new(connect(peer)?), peer))
    }

    /// Connects. A response may take so long.
    pub fn open_within(peer: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let stream = connect(peer)?;
        stream.set_read_timeout(Some(timeout))?;
        Ok(Connection::of(Box::new(stream), peer))
    }

    /// Where it leads.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn of(stream: Box<dyn Stream>, peer: SocketAddr) -> Connection {
        Connection { stream: BufReader::new(stream), peer }
    }

    /// Sends a request and reads its response.
    pub fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        let bytes = request.bytes(self.peer);
        // A server that rejects a body early may close before the body is complete; the response is there anyway.
        let sent = self.write(&bytes);
        match self.response(request.method == "HEAD") {
            Ok(response) => Ok(response),
            Err(error) => sent.and(Err(error)),
        }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Reads one response; informational ones are left out.
    pub fn response(&mut self, head_only: bool) -> io::Result<Response> {
        loop {
            let (status, headers) = self.head()?;
            let mut response = Response { status, headers, body: Vec::new() };
            if !(100..200).contains(&status) {
                if !head_only && status != 204 && status != 304 {
                    response.body = self.body(&response.headers)?;
                }
                return Ok(response);
            }
        }
    }

    /// Reads one response's head, informational or not.
    pub fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP/1.1 response: {first:?}")))?;
        Ok((status, self.fields()?))
    }

    pub(super) fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(super) fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended in a head, after {line:?}"),
            )),
        }
    }

    /// Reads the body behind a head.
    pub fn body(&mut self, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if value_of(headers, "Transfer-Encoding").is_some() {
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk)?;
                body.extend_from_slice(&chunk);
                self.line()?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        match value_of(headers, "Content-Length") {
            Some(length) => {
                body.resize(length.parse().map_err(io::Error::other)?, 0);
                self.stream.read_exact(&mut body)?;
            }
            None => drop(self.stream.read_to_end(&mut body)?),
        }
        Ok(body)
    }
}

fn connect(peer: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&peer, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes the bytes, keeps its own side open, and reads until the other side closes or stops sending.
pub fn raw(peer: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(peer).unwrap();
    // A gateway that rejects may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut response = Vec::new();
    let mut part = [0; 4096];
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => response.extend_from_slice(&part[..length]),
        }
        stream.set_read_timeout(Some(QUIET)).unwrap();
    }
    let _ = stream.shutdown(Shutdown::Both);
    response
}
