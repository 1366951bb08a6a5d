//! HTTP/2 frames, 22 of them invalid.

use super::{Guarded, json_lines};
use crate::harness::{TIMEOUT, read_frame};
use std::io::Write;
use std::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0whatever";

/// How the gateway takes a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The connection stays open: it responds to a PING.
    GoesOn,
    /// The stream is reset.
    Reset,
    /// The connection ends, with or without GOAWAY.
    Ends,
}

fn taken(guarded: &Guarded, frame: &[u8]) -> Taken {
    let mut stream = TcpStream::connect(guarded.gateway.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(PREFACE).unwrap();
    // A gateway that rejects may close before it has read everything.
    let _ = stream.write_all(&[frame, PING].concat());
    let mut reset = false;
    while let Ok(came) = read_frame(&mut stream) {
        match (came.kind, came.flags) {
            (3, _) => reset = true,
            (7, _) => return Taken::Ends,
            (6, 1) if came.payload == b"whatever" => return if reset { Taken::Reset } else { Taken::GoesOn },
            _ => {}
        }
    }
    Taken::Ends
}

#[test]
fn invalid_frames_end_only_their_stream_or_connection() {
    let cases = json_lines("http2/frames.jsonl");
    let wrong = cases.iter().filter(|case| !case["error"].is_null()).count();
    assert_eq!((cases.len(), wrong), (34, 22), "another corpus than this test expects");
    let guarded = Guarded::start();
    let mut faults = Vec::new();
    let mut counts = [0; 3];
    for case in &cases {
        let wire = case["wire"].as_str().unwrap();
        let frame: Vec<u8> =
            (0..wire.len()).step_by(2).map(|at| u8::from_str_radix(&wire[at..at + 2], 16).unwrap()).collect();
        let taken = taken(&guarded, &frame);
        counts[taken as usize] += 1;
        if !case["error"].is_null() && taken == Taken::GoesOn {
            faults.push(format!("{}: {wire} is taken", case["description"]));
        }
        guarded.settle();
    }
    println!("frames: {} go on, {} reset, {} end their connection", counts[0], counts[1], counts[2]);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(guarded.recorder.seen().iter().all(|seen| seen.target == "/honest"), "no frame was a request");
}
