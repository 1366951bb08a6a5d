//! Request smuggling: requests, targets, frames and responses that other projects collected because servers read them
//! differently. `tests/corpora` contains the data. The provider records every byte.
//!
//! Each request is rejected, or it reaches the provider once, in canonical form, and no part of it reaches the provider
//! as another request. Each response passes, or becomes an error of the gateway, and the next request gets its own
//! response.

mod frames;
mod llhttp;
mod mutations;
mod requests;
mod responses;
mod targets;

use crate::harness::recorder::{Call, Recorder, Seen};
use crate::harness::{Gateway, Request, TIMEOUT, project};
use serde_json::Value;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

const EVIL: &str = r#"{"session_metadata":{"evil":"1"}}"#;
/// How many gateways share the work.
const WORKERS: usize = 4;
/// How long the provider waits for the rest of a body: what is cut on purpose never comes.
const HASTE: Duration = Duration::from_secs(1);

/// A file or folder of `tests/corpora`.
fn corpus(path: &str) -> PathBuf {
    project().join("tests/corpora").join(path)
}

/// The lines of a file with one JSON object per line.
fn json_lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(corpus(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A gateway whose policy forbids the key `evil`, before a recording provider.
struct Guarded {
    recorder: Recorder,
    gateway: Gateway,
    token: String,
    host: String,
}

/// What came of the bytes on one connection.
struct Ran {
    /// The statuses of the responses, in their order, and what reached the provider; both without the last request, which
    /// is ours.
    statuses: Vec<u16>,
    seen: Vec<Seen>,
}

impl Guarded {
    fn start() -> Guarded {
        let recorder = Recorder::start(|call: &mut Call| {
            call.in_haste(HASTE)?;
            let then = call.as_auth0()?;
            // A kept connection may wait.
            call.in_haste(TIMEOUT)?;
            Ok(then)
        });
        let upstream =
            recorder.upstream("policy: guard\nbody: { timeout: 1s }\ntimeouts: { first_byte: 10s, idle: 10s }");
        let gateway = Gateway::start(&format!(
            "clients: {{ head_timeout: 1s, idle_timeout: 1s }}\n{upstream}policies:\n  guard:\n    keys: {{ allowed: [team, plan] }}\n"
        ));
        gateway.ready();
        Guarded { token: recorder.token(), host: gateway.address().to_string(), recorder, gateway }
    }

    /// Sends bytes, and behind them one more request of ours, and reads to the end of the connection, which the gateway
    /// sees to.
    fn run(&self, bytes: &[u8]) -> Ran {
        let before = self.recorder.count();
        let last = format!("GET /last HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host);
        let responses = self.raw(&[bytes, last.as_bytes()].concat());
        let mut seen = self.recorder.seen().split_off(before);
        let mut statuses = statuses(&responses);
        if seen.iter().any(|seen| seen.target == "/last") {
            seen.retain(|seen| seen.target != "/last");
            statuses.pop();
        }
        Ran { statuses, seen }
    }

    fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        // A gateway that rejects may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut responses = Vec::new();
        if let Err(error) = stream.read_to_end(&mut responses) {
            assert!(
                error.kind() == io::ErrorKind::ConnectionReset,
                "{error} behind {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let _ = stream.shutdown(Shutdown::Both);
        // Pingora's own responses have neither a body nor a line in the log.
        let text = String::from_utf8_lossy(&responses);
        assert!(!text.contains("Server: Pingora"), "{text} to {:?}", String::from_utf8_lossy(bytes));
        responses
    }

    /// Sees to it that whatever was on its way to the provider has arrived: an honest request comes behind it on each
    /// connection.
    fn settle(&self) {
        for _ in 0..8 {
            let response = Request::new("GET", "/honest").send(&self.gateway.url());
            assert_eq!(response.status, 200, "the gateway goes on serving");
        }
    }

    /// What is wrong with any request that reached the provider so far.
    fn faults(&self) -> Vec<String> {
        let own = self.recorder.address().to_string();
        let fault =
            |seen: &Seen| Some(format!("{}: {:?}", canonical_fault(seen, &own)?, String::from_utf8_lossy(&seen.head)));
        self.recorder.seen().iter().filter_map(fault).collect()
    }
}

/// The statuses of responses of HTTP/1.1 in their order, less those that are informational.
fn statuses(responses: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(responses);
    let all = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok());
    all.filter(|status| *status >= 200).collect()
}

/// What is not canonical in a request that reached the provider: read by rules of its own, not by those of the gateway.
fn canonical_fault(seen: &Seen, host: &str) -> Option<&'static str> {
    let Some(head) = seen.head.strip_suffix(b"\r\n\r\n") else {
        return Some("the head does not end in an empty line");
    };
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = first[..] else {
        return Some("the request line has not three parts");
    };
    let token = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c))
    };
    let path = target.starts_with('/') || target == "*";
    if !token(method) || !path || !target.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        return Some("the request line is odd");
    }
    let mut counts = [0; 3];
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Some("a line is no header");
        };
        if !token(name) || value.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Some("a header is odd");
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" if value == host => counts[0] += 1,
            "content-length" if value.parse::<u64>().is_ok_and(|length| length.to_string() == value) => counts[1] += 1,
            "transfer-encoding" if value == "chunked" => counts[2] += 1,
            "host" | "content-length" | "transfer-encoding" => return Some("the host or the framing is odd"),
            name if ["content-length", "transfer-encoding", "content-type"]
                .contains(&name.replace('_', "-").as_str())
                && name.contains('_') =>
            {
                return Some("a header has the name of another");
            }
            _ => {}
        }
    }
    match counts {
        [1, 0 | 1, 0] | [1, 0, 1] => None,
        [1, ..] => Some("it is framed in two ways"),
        _ => Some("it has no host, or two"),
    }
}

/// Checks each item at one of several gateways; all faults come back, and what each gateway counted.
fn at_all<T: Sync, C: Send>(items: &[T], check: impl Fn(&Guarded, &T) -> Result<C, String> + Sync) -> Vec<C> {
    let size = items.len().div_ceil(WORKERS).max(1);
    let results: Vec<(Vec<C>, Vec<String>)> = std::thread::scope(|scope| {
        let work = |part| {
            let check = &check;
            scope.spawn(move || {
                let guarded = Guarded::start();
                let (mut good, mut faults) = (Vec::new(), Vec::new());
                for item in part {
                    match check(&guarded, item) {
                        Ok(count) => good.push(count),
                        Err(fault) => faults.push(fault),
                    }
                }
                guarded.settle();
                faults.extend(guarded.faults());
                let evil = |seen: &&Seen| seen.text().contains("evil") && seen.target.starts_with("/api/v2/sessions");
                faults.extend(guarded.recorder.seen().iter().filter(evil).map(|seen| format!("{seen:?} is forbidden")));
                (good, faults)
            })
        };
        let workers: Vec<_> = items.chunks(size).map(work).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let faults: Vec<String> = results.iter().flat_map(|(_, faults)| faults.clone()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    results.into_iter().flat_map(|(good, _)| good).collect()
}

/// Whether a request was rejected: with a status of the gateway's, or by the end of the connection.
fn is_rejection(statuses: &[u16]) -> bool {
    statuses.iter().all(|status| (400..500).contains(status) || *status == 501 || *status == 505)
}
