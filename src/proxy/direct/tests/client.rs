//! A client of a gateway that sends and reads bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client's connection. It is opened when it is used, and again after it was closed.
pub(super) struct Client {
    pub stream: Option<TcpStream>,
    unread: Vec<u8>,
    address: SocketAddr,
    own: Ipv4Addr,
    /// What was sent last, for messages.
    sent: Vec<u8>,
}

impl Client {
    /// A client of this address, with an address of its own.
    pub fn new(address: SocketAddr, own: Ipv4Addr) -> Client {
        Client { stream: None, unread: Vec::new(), address, own, sent: Vec::new() }
    }

    pub async fn send(&mut self, parts: &[&[u8]]) {
        if self.stream.is_none() {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((self.own, 0).into()).unwrap();
            let stream = socket.connect(self.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            (self.stream, self.unread) = (Some(stream), Vec::new());
        }
        self.sent = parts.concat();
        for part in parts {
            // The gateway may have closed the connection after an earlier part.
            let _ = self.stream.as_mut().unwrap().write_all(part).await;
            tokio::task::yield_now().await;
        }
    }

    /// Reads more. `false` at the end of the connection.
    pub async fn more(&mut self) -> bool {
        let mut part = [0; 8192];
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let read = tokio::time::timeout(TIMEOUT, stream.read(&mut part)).await;
        let late = |_| panic!("no response to {}", String::from_utf8_lossy(&self.sent));
        let read = read.unwrap_or_else(late).unwrap_or(0);
        self.unread.extend_from_slice(&part[..read]);
        read > 0
    }

    /// The bytes up to `end`, with it. `None` if the connection ends before.
    pub async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|own| own == end) {
                return Some(self.taken(at + end.len()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// This many bytes; less if the connection ends before.
    pub async fn take(&mut self, length: usize) -> String {
        while self.unread.len() < length && self.more().await {}
        self.taken(length.min(self.unread.len()))
    }

    /// The connection is over: what is left.
    pub fn closed(&mut self) -> String {
        self.stream = None;
        format!("(closed){}", self.taken(self.unread.len()))
    }

    fn taken(&mut self, length: usize) -> String {
        let taken: Vec<u8> = self.unread.drain(..length).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }
}

/// The lines of a head by their names: the order of headers with different names means nothing.
pub(super) fn sorted(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.collect();
    lines[1..].sort_by_key(|line| line.split(':').next().unwrap().to_ascii_lowercase());
    lines.join("\n") + "\n"
}
