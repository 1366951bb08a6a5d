//! Start and shutdown, and requests while a provider or log reader is unavailable.

use crate::harness::{
    Connection, Gateway, Request, Response, Scripted, TIMEOUT, address, json_response, sessiongate, unused_address,
    wait_for, write_config,
};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SESSION: &str = "/api/v2/sessions/lifecycle";

/// Before a provider that checks callers itself.
fn before(provider: &str, more: &str) -> String {
    format!(
        "{more}
upstreams:
  auth0:
    dialect: auth0
    url: {provider}
    auth: none
    cache: {{}}
"
    )
}

/// A provider that responds when the test says so.
struct Slow {
    provider: Scripted,
    arrived: Receiver<()>,
    release: Sender<()>,
}

impl Slow {
    fn start() -> Slow {
        let (tell, arrived) = channel();
        let (release, wait) = channel();
        let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
        let provider = Scripted::start(move |_| {
            let _ = tell.lock().unwrap().send(());
            let _ = wait.lock().unwrap().recv();
            json_response(200, r#"{"id":"lifecycle"}"#)
        });
        Slow { provider, arrived, release }
    }

    /// Sends a request in a thread, and waits until the provider has it.
    fn hold(&self, gateway: &Gateway, request: Request) -> JoinHandle<std::io::Result<Response>> {
        let url = gateway.url();
        let held = thread::spawn(move || request.try_send(&url));
        self.arrived.recv_timeout(TIMEOUT).unwrap();
        held
    }
}

fn readiness(gateway: &Gateway) -> Option<Response> {
    Request::new("GET", "/readyz").try_send(&gateway.admin_url()).ok()
}

fn wait_until_unready(gateway: &Gateway) {
    let response = wait_for("/readyz to say no", || readiness(gateway).filter(|response| response.status == 503));
    assert_eq!(response.json()["reasons"], serde_json::json!(["draining: the process is stopping"]));
    assert_eq!(response.json()["checks"]["draining"], "the process is stopping");
}

fn requests() -> [Request; 4] {
    [
        Request::new("GET", SESSION),
        Request::new("PATCH", SESSION).json(r#"{"session_metadata":{"a":"b"}}"#),
        Request::new("GET", "/api/v2/passed"),
        Request::new("PATCH", "/api/v2/users/changes-sessions").json("{}"),
    ]
}

#[test]
fn requests_in_flight_complete_before_exit() {
    for request in requests() {
        for signal in ["TERM", "INT"] {
            let slow = Slow::start();
            let mut gateway = Gateway::start(&before(&slow.provider.url(), ""));
            let held = slow.hold(&gateway, request.clone());
            gateway.signal(signal);
            wait_until_unready(&gateway);
            wait_for("new connections to be refused", || TcpStream::connect(gateway.address()).is_err().then_some(()));
            assert!(!held.is_finished(), "{request:?} was cut off");
            slow.release.send(()).unwrap();
            let released = Instant::now();
            let response = held.join().unwrap().unwrap();
            assert_eq!(response.status, 200, "{request:?}: {response:?}");
            assert_eq!(response.text(), r#"{"id":"lifecycle"}"#);
            assert_eq!(gateway.wait().code(), Some(0));
            assert!(released.elapsed() < Duration::from_secs(5), "{:?}", released.elapsed());
            gateway.wait_for_log(|line| line.contains(r#""requests_cut_off":0"#));
            gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(r#""status":200"#));
        }
    }
}

/// Otherwise a client would send its next request into a connection that is about to close.
#[test]
fn responses_during_shutdown_close_their_connections() {
    for request in requests() {
        let slow = Slow::start();
        let gateway = Gateway::start(&before(&slow.provider.url(), ""));
        let mut kept = Connection::open(gateway.address()).unwrap();
        kept.write(&request.bytes(gateway.address())).unwrap();
        slow.arrived.recv_timeout(TIMEOUT).unwrap();
        gateway.terminate();
        wait_for("new connections to be refused", || TcpStream::connect(gateway.address()).is_err().then_some(()));
        slow.release.send(()).unwrap();
        let response = kept.response(false).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Connection"), Some("close"), "{request:?}: {response:?}");
    }
}

#[test]
fn long_response_to_a_slow_reader_completes_during_shutdown() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let provider = Scripted::start(|_| json_response(200, &"x".repeat(LENGTH)));
    let mut gateway = Gateway::start(&before(&provider.url(), ""));
    let mut connection = Connection::open(gateway.address()).unwrap();
    let request = Request::new("GET", "/api/v2/passed");
    connection.write(&request.bytes(gateway.address())).unwrap();
    // The head is here, the rest fits into no buffer: the gateway cannot be done with it.
    let (status, headers) = connection.head().unwrap();
    assert_eq!(status, 200);
    gateway.terminate();
    wait_until_unready(&gateway);
    let body = connection.body(&headers).unwrap();
    assert_eq!(body.len(), LENGTH);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn drain_delay_keeps_serving_requests() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let mut gateway = Gateway::start(&before(&provider.url(), "shutdown: { drain_delay: 10m }"));
    gateway.terminate();
    wait_until_unready(&gateway);
    for request in requests() {
        assert_eq!(request.send(&gateway.url()).status, 200);
    }
    assert_eq!(Request::new("GET", "/livez").send(&gateway.admin_url()).status, 200, "it is alive all the same");
    // It does not come to its end by itself here: that it does is seen where the delay is short.
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn grace_limits_shutdown() {
    let slow = Slow::start();
    let mut gateway = Gateway::start(&before(&slow.provider.url(), "shutdown: { grace: 1s }"));
    let held = slow.hold(&gateway, Request::new("GET", "/api/v2/passed"));
    let began = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(held.join().unwrap().is_err(), "there was no response");
    gateway.wait_for_log(|line| line.contains(r#""requests_cut_off":1"#));
}

#[test]
fn second_signal_exits_at_once() {
    let slow = Slow::start();
    let mut gateway = Gateway::start(&before(&slow.provider.url(), "shutdown: { grace: 10m }"));
    let _held = slow.hold(&gateway, Request::new("GET", SESSION));
    gateway.terminate();
    wait_until_unready(&gateway);
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.wait_for_log(|line| line.contains("stopped immediately"));
}

#[test]
fn idle_connections_do_not_delay_shutdown() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let mut gateway = Gateway::start(&before(&provider.url(), "shutdown: { grace: 10m }"));
    let mut kept: Vec<Connection> = (0..20).map(|_| Connection::open(gateway.address()).unwrap()).collect();
    // Half of them have been used.
    for connection in kept.iter_mut().take(10) {
        for request in requests() {
            assert_eq!(connection.exchange(&request).unwrap().status, 200);
        }
    }
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0), "it does not wait for as long as it may");
}

#[test]
fn unreachable_provider_fails_only_its_own_requests() {
    let away = unused_address([127, 0, 9, 1]);
    let gateway = Gateway::start(&before(&format!("http://{away}"), ""));
    let admin = gateway.admin_url();
    assert_eq!(Request::new("GET", "/livez").send(&admin).status, 200);
    assert_eq!(Request::new("GET", "/readyz").send(&admin).status, 200);
    for request in requests() {
        let response = request.send(&gateway.url());
        assert_eq!(response.status, 502, "{request:?}");
        is_auth0s_shape(&response, "Bad Gateway");
    }
    let _back = Scripted::start_at(away, |_| json_response(200, "{}"));
    for request in requests() {
        assert_eq!(request.send(&gateway.url()).status, 200, "{request:?} after the provider is back");
    }
}

/// Each request has its access log line. Other lines report changes of state, and not each failure.
#[test]
fn provider_outage_does_not_flood_the_log() {
    let away = unused_address([127, 0, 9, 3]);
    let mut gateway = Gateway::start(&before(&format!("http://{away}"), ""));
    for _ in 0..10 {
        for request in requests() {
            assert_eq!(request.send(&gateway.url()).status, 502);
        }
    }
    gateway.terminate();
    gateway.wait();
    let (requests, others): (Vec<String>, Vec<String>) =
        gateway.log().into_iter().partition(|line| line.contains(r#""message":"request""#));
    assert_eq!(requests.len(), 40);
    assert!(others.len() <= 8, "{} other lines:\n{}", others.len(), others.join("\n"));
}

#[test]
fn unresolvable_provider_fails_only_its_own_requests() {
    let gateway = Gateway::start(&before("http://provider.invalid", ""));
    for request in requests() {
        let response = request.send(&gateway.url());
        assert_eq!(response.status, 503, "{request:?}");
        is_auth0s_shape(&response, "Service Unavailable");
    }
}

fn is_auth0s_shape(response: &Response, error: &str) {
    let content_type = response.header("Content-Type");
    assert_eq!(content_type, Some("application/json; charset=utf-8"));
    let body = response.json();
    assert_eq!(body["statusCode"], response.status, "{body}");
    assert_eq!(body["error"], error, "{body}");
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    assert!(response.header("X-Request-Id").is_some());
}

#[test]
fn disconnected_clients_leave_no_connections() {
    let slow = Slow::start();
    let gateway = Gateway::start(&before(&slow.provider.url(), ""));
    let gauge = |name: &str| {
        let text = gateway.metrics();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<i64>().ok()).unwrap()
    };
    for request in requests() {
        let mut connection = Connection::open(gateway.address()).unwrap();
        connection.write(&request.bytes(gateway.address())).unwrap();
        slow.arrived.recv_timeout(TIMEOUT).unwrap();
        assert!(gauge("sessiongate_requests_in_flight") >= 1);
        drop(connection);
        slow.release.send(()).unwrap();
        wait_for("nothing to be in flight", || {
            (gauge("sessiongate_requests_in_flight") == 0 && gauge("sessiongate_open_connections") == 0).then_some(())
        });
    }
    let read = thread::spawn({
        let url = gateway.url();
        move || Request::new("GET", "/api/v2/passed").send(&url).status
    });
    slow.arrived.recv_timeout(TIMEOUT).unwrap();
    slow.release.send(()).unwrap();
    assert_eq!(read.join().unwrap(), 200);
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn closed_log_pipe_does_not_block_requests() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &before(&provider.url(), ""));
    let mut command = sessiongate(&["run", "-c", path.to_str().unwrap()]);
    let mut gateway = Ending(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let mut log = BufReader::new(gateway.0.stdout.take().unwrap());
    log.read_line(&mut line).unwrap();
    drop(log);
    let said: Value = serde_json::from_str(&line).unwrap();
    let text = |value: &Value| {
        let text = value.as_str().unwrap();
        text.trim_start_matches("Some(").trim_end_matches(')').to_owned()
    };
    let (url, admin) = (text(&said["listen"]), text(&said["admin"]));
    wait_for("lines to be dropped", || {
        assert_eq!(Request::new("GET", SESSION).send(&url).status, 200);
        let metrics = Request::new("GET", "/metrics").send(&admin).text();
        let mut lines = metrics.lines();
        let dropped = lines.find_map(|line| line.strip_prefix("sessiongate_log_lines_dropped_total "));
        (dropped.unwrap() != "0").then_some(())
    });
}

#[test]
fn admin_listener_can_be_disabled_and_rejects_unknown_paths() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let gateway = Gateway::start(&before(&provider.url(), "admin: off"));
    assert_eq!(Request::new("GET", SESSION).send(&gateway.url()).status, 200);
    gateway.wait_for_log(|line| line.contains(r#""admin":"off""#));
    let gateway = Gateway::start(&before(&provider.url(), ""));
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), (SESSION, 404)] {
        assert_eq!(Request::new("GET", path).send(&gateway.admin_url()).status, status, "{path}");
    }
    assert_eq!(Request::new("POST", "/livez").send(&gateway.admin_url()).status, 405);
    assert_ne!(address(&gateway.admin_url()), gateway.address());
}
