//! The store in memory: what its sessions take of the memory of the process.

use crate::harness::recorder::{Recorder, session};
use crate::harness::{Connection, Gateway, Request, skipped};
use serde_json::json;

const SESSIONS: u64 = 8_000;
/// What else may come to be in use meanwhile, in bytes.
const OTHER: u64 = 2 << 20;

/// Otherwise a process with a `max_bytes` that fits into its memory limit would be killed.
#[test]
fn sessions_take_no_more_memory_than_is_counted() {
    if !cfg!(target_os = "linux") {
        return skipped("the memory of cached sessions (it is read where Linux tells it)");
    }
    let recorder = Recorder::start(|call| {
        let mut shown = session(&json!({ "team": "blue" }));
        shown["id"] = call.seen.target.rsplit('/').next().into();
        call.response(200, "Cache-Control: private\r\nVary: Accept\r\n", &shown.to_string())
    });
    let more = "cache: { ttl: 5m }";
    let gateway = Gateway::start(&format!("store: {{ memory: {{ max_bytes: 64MiB }} }}\n{}", recorder.upstream(more)));
    gateway.ready();
    let (token, mut connection) = (recorder.token(), Connection::open(gateway.address()).unwrap());
    let mut read = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            let request = Request::new("GET", &format!("/api/v2/sessions/s{number}")).bearer(&token);
            assert_eq!(connection.exchange(&request).unwrap().status, 200);
        }
    };
    let counted = || {
        let text = gateway.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix("sessiongate_cache_bytes ")).unwrap();
        value.parse::<u64>().unwrap()
    };
    read(0..500);
    let (resident, bytes) = (gateway.resident(), counted());
    read(500..SESSIONS);
    // A first hit must not need more.
    read(500..SESSIONS);
    let (taken, bytes) = (gateway.resident().saturating_sub(resident), counted() - bytes);
    let each = |bytes: u64| bytes / (SESSIONS - 500);
    println!("{} bytes for each session, of which {} are counted", each(taken), each(bytes));
    assert!(taken <= bytes * 5 / 4 + OTHER, "{taken} bytes were taken, {bytes} counted");
    assert!(bytes <= taken * 3 / 2, "{taken} bytes were taken, {bytes} counted");
}
