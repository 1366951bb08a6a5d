//! A thousand deliberately slow clients (slowhttptest): all are cut off, and an ordinary client is served meanwhile.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, Request, skipped};
use rustix::process::{Resource, getrlimit};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const CLIENTS: usize = 1000;

/// What it costs them to be slow: times are short, so that a test does not take long.
const TERMS: &str =
    "clients: { head_timeout: 2s, idle_timeout: 2s, write_timeout: 2s, limits: { per_source: 1100 } }\n";

fn installed() -> bool {
    let there = Command::new("slowhttptest").arg("-h").output().is_ok();
    if !there {
        skipped("a thousand slow clients (there is no slowhttptest)");
    }
    // The test process holds what the gateway passes, and the program's limit is inherited.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if there && files < 4096 {
        skipped("a thousand slow clients (fewer than 4096 open files are allowed)");
    }
    there && files >= 4096
}

/// Lets clients be slow in a way that slowhttptest knows, until none of them has a connection any more. They must all
/// have been cut off for this reason.
fn attack(how: &[&str], reason: &str) {
    if !installed() {
        return;
    }
    let recorder = Recorder::start(|call| {
        if call.seen.target == "/large" {
            let body = "x".repeat(1 << 20);
            return call.response(200, "", &body);
        }
        call.body()?;
        call.response(200, "", "here")
    });
    // The good client comes from the same address as the slow ones.
    let limits = "limits: { in_flight: 2000, per_source: 2000 }";
    let gateway = Gateway::start(&format!("{TERMS}{}", recorder.upstream(limits)));
    let over = AtomicBool::new(false);
    let (said, served) = thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(Request::new("GET", "/good").send(&gateway.url()).text(), "here");
                served += 1;
            }
            served
        });
        let mut command = Command::new("slowhttptest");
        command.args(["-c", &CLIENTS.to_string(), "-r", "500", "-l", "120", "-p", "5"]).args(how);
        let said = command.args(["-u", &format!("{}/large", gateway.url())]).output();
        over.store(true, Ordering::Relaxed);
        (said.unwrap(), good.join().unwrap())
    });
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("No open connections left"), "{said}");
    let line = format!("sessiongate_connections_cut_total{{reason=\"{reason}\"}} {CLIENTS}");
    gateway.wait_for_metric(&line);
    assert!(served > 100, "{served}");
}

#[test]
fn slow_headers_are_cut_off() {
    attack(&["-H", "-i", "1"], "head_timeout");
}

#[test]
fn slow_bodies_are_cut_off() {
    attack(&["-B", "-i", "1", "-s", "8192", "-x", "10"], "min_body_rate");
}

#[test]
fn slow_readers_are_cut_off() {
    attack(&["-X", "-n", "6", "-z", "65536", "-w", "1", "-y", "64"], "write_timeout");
}
