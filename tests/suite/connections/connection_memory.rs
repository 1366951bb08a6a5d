//! Memory use of an idle connection, as documented in docs/reference/limits.md.
//!
//! The resident size depends on how the allocator places objects. A future of Pingora with the size of an HTTP/2 buffer
//! once made each connection half as large again.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, TIMEOUT, frame, skipped};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const CONNECTIONS: usize = 600;

/// Opens a connection and leaves it idle, after one request where it is so.
type Open = fn(SocketAddr) -> TcpStream;

fn connected(address: SocketAddr, bytes: &[&[u8]]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&bytes.concat()).unwrap();
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut read = Vec::new();
    let mut part = [0; 4096];
    while !read.windows(end.len()).any(|window| window == end) {
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "the connection ended");
        read.extend_from_slice(&part[..length]);
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn kept(address: SocketAddr) -> TcpStream {
    let mut stream = connected(address, &[b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"]);
    read_until(&mut stream, b"here");
    stream
}

fn idle_http2(address: SocketAddr) -> TcpStream {
    let mut stream = connected(address, &[PREFACE, SETTINGS]);
    // The end of its own settings, and of the acknowledgement of ours.
    read_until(&mut stream, &[0, 0, 0, 4, 1, 0, 0, 0, 0]);
    stream
}

fn kept_http2(address: SocketAddr) -> TcpStream {
    // GET, http, the authority `a`, the path `/x`.
    let head = [0x82, 0x86, 0x41, 1, b'a', 0x04, 2, b'/', b'x'];
    let mut stream = connected(address, &[PREFACE, SETTINGS, &frame(1, 5, 1, &head)]);
    read_until(&mut stream, b"here");
    stream
}

#[test]
fn memory_per_idle_connection_is_bounded() {
    if !cfg!(target_os = "linux") {
        return skipped("the memory of connections (it is read where Linux tells it)");
    }
    for (what, open, most) in [
        ("HTTP/1.1 after a request", kept as Open, 12_000),
        ("HTTP/2", idle_http2, 35_000),
        ("HTTP/2 after a request", kept_http2, 35_000),
    ] {
        let recorder = Recorder::start(|call| call.response(200, "", "here"));
        let clients = "clients: { idle_timeout: 1h, limits: { per_source: 1000 } }\nthreads: 2\n";
        let gateway = Gateway::start(&format!("{clients}{}", recorder.upstream("")));
        let _warm: Vec<TcpStream> = (0..50).map(|_| open(gateway.address())).collect();
        let before = gateway.resident();
        let open: Vec<TcpStream> = (0..CONNECTIONS).map(|_| open(gateway.address())).collect();
        let each = gateway.resident().saturating_sub(before) / open.len() as u64;
        println!("{what}: {each} bytes");
        assert!(each <= most, "{what}: {each} bytes for each connection");
    }
}
