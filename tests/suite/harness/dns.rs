//! A DNS server: it responds as the test says, over UDP and TCP, and records the queries.

use super::TIMEOUT;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What a name has.
#[derive(Clone, Debug)]
pub enum Said {
    /// These addresses, for this many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Another name, for this many seconds, whose own addresses come along.
    Alias(&'static str, u32),
    /// The same as the first, but over UDP so many that they do not fit.
    Truncated(Vec<IpAddr>, u32),
    /// Nothing, with this code: 2 for SERVFAIL, 3 for NXDOMAIN, 5 for REFUSED.
    Code(u8),
    /// No response.
    Silence,
}

/// These addresses, for this many seconds.
pub fn addresses(addresses: &[&str], ttl: u32) -> Said {
    Said::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect(), ttl)
}

/// What it knows, and what it was asked so far: the name, the kind, and whether over TCP.
#[derive(Default)]
struct State {
    names: HashMap<String, Said>,
    asked: Vec<(String, u16, bool)>,
}

/// The server.
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopping: Arc<AtomicBool>,
}

/// The kinds of records.
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

impl DnsServer {
    /// One that knows these names; all others do not exist.
    pub fn start(names: &[(&str, Said)]) -> DnsServer {
        let (udp, tcp) = sockets();
        let state = Arc::new(Mutex::new(State::default()));
        let server = DnsServer { address: udp.local_addr().unwrap(), state, stopping: Arc::default() };
        names.iter().for_each(|(name, said)| server.say(name, said.clone()));
        let (state, stopping) = (server.state.clone(), server.stopping.clone());
        thread::spawn(move || {
            let mut question = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut question) {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(response) = response(&state, &question[..length], false) {
                    udp.send_to(&response, from).unwrap();
                }
            }
        });
        let (state, stopping) = (server.state.clone(), server.stopping.clone());
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let state = state.clone();
                thread::spawn(move || serve(stream, &state));
            }
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the response for a name from now on.
    pub fn say(&self, name: &str, said: Said) {
        self.lock().names.insert(name.to_owned(), said);
    }

    /// How often it was asked for the addresses of IPv4 of a name.
    pub fn asked(&self, name: &str) -> usize {
        self.lock().asked.iter().filter(|(own, kind, _)| own == name && *kind == A).count()
    }

    /// The names whose addresses of IPv4 it was asked for, in their order.
    pub fn names(&self) -> Vec<String> {
        self.lock().asked.iter().filter(|(_, kind, _)| *kind == A).map(|(name, ..)| name.clone()).collect()
    }

    /// How often it was asked over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        self.lock().asked.iter().filter(|(.., tcp)| *tcp).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that is free for both.
fn sockets() -> (UdpSocket, TcpListener) {
    let both = || {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let tcp = TcpListener::bind(udp.local_addr()?)?;
        io::Result::Ok((udp, tcp))
    };
    (0..100).find_map(|_| both().ok()).unwrap()
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        if let Some(response) = response(state, &question, true) {
            let length = u16::try_from(response.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &response].concat())?;
        }
    }
}

/// The response to a query; `None` if the query is invalid or must not get one.
fn response(state: &Mutex<State>, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let (name, end) = name(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let mut state = lock(state);
    state.asked.push((name.clone(), kind, tcp));
    let said = state.names.get(&name).cloned().unwrap_or(Said::Code(3));
    let (code, truncated, records) = match said {
        Said::Addresses(addresses, ttl) => (0, false, records(&addresses, kind, ttl)),
        Said::Alias(other, ttl) => {
            let mut all = vec![(CNAME, ttl, encoded(other))];
            if let Some(Said::Addresses(addresses, ttl)) = state.names.get(other) {
                all.extend(records(addresses, kind, *ttl));
            }
            (0, false, all)
        }
        Said::Truncated(..) if !tcp => (0, true, Vec::new()),
        Said::Truncated(addresses, ttl) => (0, false, records(&addresses, kind, ttl)),
        Said::Code(code) => (code, false, Vec::new()),
        Said::Silence => return None,
    };
    let mut response = question[..2].to_vec();
    response.extend([
        0x81 | u8::from(truncated) << 1,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(records.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    response.extend(&question[12..end + 4]);
    let mut owner = question[12..end].to_vec();
    for (kind, ttl, data) in records {
        response.extend(&owner);
        response.extend(kind.to_be_bytes());
        response.extend([0, 1]);
        response.extend(ttl.to_be_bytes());
        response.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        response.extend(&data);
        if kind == CNAME {
            owner = data;
        }
    }
    Some(response)
}

fn records(addresses: &[IpAddr], kind: u16, ttl: u32) -> Vec<(u16, u32, Vec<u8>)> {
    let record = |address: &IpAddr| match address {
        IpAddr::V4(address) if kind == A => Some((A, ttl, address.octets().to_vec())),
        IpAddr::V6(address) if kind == AAAA => Some((AAAA, ttl, address.octets().to_vec())),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    addresses.iter().filter_map(record).collect()
}

/// A name in lower case, and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
        at += length;
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    let mut encoded: Vec<u8> = name.split('.').flat_map(label).collect();
    encoded.push(0);
    encoded
}
