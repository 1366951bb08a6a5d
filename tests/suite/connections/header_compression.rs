//! Header compression of HTTP/2 (HPACK, RFC 7541): what the gateway lets a client keep for the next response.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, TIMEOUT, frame, read_frame};
use std::io::Write;
use std::net::TcpStream;

const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// A literal field that is never indexed, with a literal name: `x-request-id` in the code of HPACK, and its length.
const REQUEST_ID: [u8; 11] = [0x10, 0x89, 0xf2, 0xb5, 0x85, 0xed, 0x69, 0x50, 0x95, 0x8d, 0x27];

/// No other response has the ID of a request. Indexed IDs would take the place of headers that repeat, and the next one
/// would be compared with each of them.
#[test]
fn request_ids_are_not_indexed() {
    let recorder = Recorder::start(|call| call.response(204, "", ""));
    let gateway = Gateway::start(&recorder.upstream(""));
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()).unwrap();
    for number in [1, 3, 5] {
        // GET, http, the authority `a`, the path `/x`.
        let head = [0x82, 0x86, 0x01, 1, b'a', 0x04, 2, b'/', b'x'];
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, number, &head)).unwrap();
        let head = loop {
            let frame = read_frame(&mut stream).unwrap();
            if frame.kind == HEADERS {
                break frame;
            }
        };
        assert_eq!(head.flags, END_STREAM | END_HEADERS);
        let block = head.payload;
        assert!(block.windows(REQUEST_ID.len()).any(|bytes| bytes == REQUEST_ID), "{number}: {block:02x?}");
    }
}
