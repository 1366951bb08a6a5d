//! Signals that do not stop the process: while it serves, while it stops, and while it waits for an upgrade.

use crate::harness::{Gateway, Process, Request, Scripted, json_response, sessiongate, wait_for, write_config};

const IGNORED: &str = "signal ignored: the log goes to standard output, and SIGHUP reloads the configuration";
/// The signals whose default action ends a process, but for those that stop this one.
const HARMLESS: [&str; 4] = ["USR1", "USR2", "PIPE", "HUP"];

fn upstream(provider: &Scripted) -> String {
    format!("upstreams:\n  auth0: {{ dialect: auth0, url: '{}', auth: none }}\n", provider.url())
}

fn logs_signal(line: &str, name: &str) -> bool {
    line.contains(IGNORED) && line.contains(&format!(r#""signal":"SIG{name}""#)) && line.contains(r#""level":"INFO""#)
}

#[test]
fn harmless_signals_are_logged_and_do_not_stop_the_process() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let mut gateway = Gateway::start(&(upstream(&provider) + "shutdown: { drain_delay: 10m }\n"));
    let serves = || assert_eq!(Request::new("GET", "/api/v2/passed").send(&gateway.url()).status, 200);
    HARMLESS.iter().for_each(|name| gateway.signal(name));
    gateway.wait_for_log(|line| logs_signal(line, "USR1"));
    gateway.wait_for_log(|line| logs_signal(line, "USR2"));
    gateway.wait_for_log(|line| line.contains("configuration unchanged"));
    serves();
    gateway.terminate();
    gateway.wait_for_log(|line| line.contains(r#""message":"stopping""#));
    HARMLESS.iter().for_each(|name| gateway.signal(name));
    let both = || gateway.log().iter().filter(|line| logs_signal(line, "USR2")).count() == 2;
    wait_for("the signal to be logged again", || both().then_some(()));
    serves();
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn harmless_signals_do_not_stop_a_process_that_waits_for_an_upgrade() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("upgrade.sock");
    let shutdown = format!("shutdown: {{ upgrade_socket: {} }}\n", socket.display());
    let path = write_config(folder.path(), &(upstream(&provider) + &shutdown));
    let run = |more: &[&str]| Process::start(sessiongate(&[&["run", "-c", path.to_str().unwrap()], more].concat()));
    let mut old = run(&[]);
    old.wait_for_line(|line| line.contains("serving"));
    let mut next = run(&["--upgrade"]);
    wait_for("the next process to wait", || socket.exists().then_some(()));
    HARMLESS.iter().for_each(|name| next.signal(name));
    old.signal("QUIT");
    assert!(old.wait().success(), "{:?}", old.stderr());
    next.wait_for_line(|line| line.contains("serving"));
    next.wait_for_line(|line| logs_signal(line, "USR1"));
    next.wait_for_line(|line| logs_signal(line, "USR2"));
    next.wait_for_line(|line| line.contains("configuration unchanged"));
    next.signal("TERM");
    assert!(next.wait().success(), "{:?}", next.stderr());
}
