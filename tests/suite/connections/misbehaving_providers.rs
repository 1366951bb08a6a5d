//! Providers that reject, hang, close early or send invalid responses. A write reaches the provider at most once, a
//! read at most twice. The client gets a response in Auth0's shape, or a truncated one if a pass-through response had
//! begun. The gateway serves the next request as usual.

use crate::harness::recorder::{Call, Recorder, SESSION, Then, session};
use crate::harness::{Gateway, Request, Response, wait_for};
use serde_json::json;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

type Act = fn(&mut Call) -> io::Result<Then>;

/// A kind of misbehaviour.
struct Mode {
    name: &'static str,
    act: Act,
    /// The status of a governed request.
    governed: &'static [u16],
    /// The status of a pass-through request; 0 for a truncated response.
    passed: &'static [u16],
}

const BROKEN: &[u16] = &[502];
const CUT: &[u16] = &[502, 0];
const LATE: &[u16] = &[504];

fn modes() -> Vec<Mode> {
    let mode = |name, governed, passed, act| Mode { name, act, governed, passed };
    vec![
        mode("closes at the head", BROKEN, BROKEN, |_| Ok(Then::Close)),
        mode("resets at the head", BROKEN, BROKEN, |_| Ok(Then::Reset)),
        mode("closes after the body", BROKEN, BROKEN, |call| call.body().map(|_| Then::Close)),
        mode("resets after the body", BROKEN, BROKEN, |call| call.body().map(|_| Then::Reset)),
        mode("half a status line", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("HTTP/1.1 20").map(|()| Then::Close)
        }),
        mode("half a head", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nContent-Len").map(|()| Then::Close)
        }),
        mode("garbage", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send(b"\x16\x03\x01\x02\x00garbage\r\n\r\n").map(|()| Then::Close)
        }),
        mode("another protocol", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("SSH-2.0-OpenSSH_9.9\r\n\r\n").map(|()| Then::Close)
        }),
        mode("a status that is none", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Close)
        }),
        mode("a head of two megabytes", BROKEN, BROKEN, |call| {
            call.body()?;
            let _ = call.send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2 << 20)));
            Ok(Then::Close)
        }),
        mode("ten thousand headers", BROKEN, BROKEN, |call| {
            call.body()?;
            let _ = call.send(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(10_000)));
            Ok(Then::Close)
        }),
        mode("a body that breaks off", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").map(|()| Then::Close)
        }),
        mode("a chunk that breaks off", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{").map(|()| Then::Close)
        }),
        mode("no last chunk", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n").map(|()| Then::Close)
        }),
        mode("a bad chunk", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
                .map(|()| Then::Close)
        }),
        mode("two lengths that differ", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x").map(|()| Then::Close)
        }),
        mode("a length that is none", BROKEN, BROKEN, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}").map(|()| Then::Close)
        }),
        mode("never responds", LATE, LATE, |call| {
            call.body()?;
            // Until the gateway gives up.
            let _ = call.take(1);
            Ok(Then::Close)
        }),
        mode("never ends its head", LATE, LATE, |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nX: y")?;
            let _ = call.take(1);
            Ok(Then::Close)
        }),
        mode("never ends its body", LATE, &[504, 0], |call| {
            call.body()?;
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")?;
            let _ = call.take(1);
            Ok(Then::Close)
        }),
        mode("an early hint and nothing more", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n").map(|()| Then::Close)
        }),
        mode("a switch of protocols that nobody asked for", BROKEN, CUT, |call| {
            call.body()?;
            call.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
                .map(|()| Then::Close)
        }),
    ]
}

/// What is sent: the request, its method, and whether it is governed.
pub fn requests() -> Vec<(Request, &'static str, bool)> {
    let session = format!("/api/v2/sessions/{SESSION}");
    let body = r#"{"session_metadata":{"team":"blue"}}"#;
    vec![
        (Request::new("GET", &session), "GET", true),
        (Request::new("PATCH", &session).json(body), "PATCH", true),
        (Request::new("DELETE", &session), "DELETE", true),
        (Request::new("POST", &format!("{session}/revoke")), "POST", true),
        (Request::new("GET", "/api/v2/clients"), "GET", false),
        (Request::new("POST", "/oauth/token").json("{}"), "POST", false),
        (Request::new("PUT", "/x").json("{}"), "PUT", false),
        (Request::new("DELETE", "/api/v2/users/auth0%7Cx/sessions"), "DELETE", false),
        (Request::new("PATCH", "/api/v2/users/auth0%7Cx").json("{}"), "PATCH", false),
    ]
}

/// What is wrong with a response of the gateway's own.
fn shape_fault(response: &Response) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let fits = body["statusCode"] == response.status
        && body["error"].is_string()
        && body["message"].is_string()
        && response.header("Content-Type") == Some("application/json; charset=utf-8")
        && response.header("X-Request-Id").is_some();
    (!fits).then(|| format!("{response:?} is not in Auth0's shape"))
}

#[test]
fn writes_are_sent_at_most_once() {
    let (late, others): (Vec<Mode>, Vec<Mode>) = modes().into_iter().partition(|mode| mode.governed == LATE);
    thread::scope(|scope| {
        let others = scope.spawn(|| check(others, "", requests()));
        // Those that wait for a deadline are few: a read and a write of each way, and all of them at the same time.
        let few: Vec<_> =
            requests().into_iter().enumerate().filter(|(place, _)| [0, 1, 4, 5].contains(place)).collect();
        for mode in late {
            let few = few.iter().map(|(_, request)| request.clone()).collect();
            scope.spawn(move || check(vec![mode], "timeouts: { first_byte: 2s, idle: 2s }", few));
        }
        others.join().unwrap();
    });
}

/// Sends requests to a provider that misbehaves in each of these ways.
fn check(modes: Vec<Mode>, timeouts: &str, requests: Vec<(Request, &'static str, bool)>) {
    let act: Arc<Mutex<Option<Act>>> = Arc::default();
    let own = act.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        let hostile = *own.lock().unwrap();
        match hostile {
            Some(act) if call.seen.target != "/prime" && call.seen.target != "/prime-and-close" => act(call),
            _ if call.seen.target == "/prime-and-close" => {
                call.response(200, "Connection: close\r\n", "{}").map(|_| Then::Close)
            }
            _ => call.as_auth0(),
        }
    });
    let gateway = Gateway::start(&recorder.upstream(timeouts));
    gateway.ready();
    let token = recorder.token();
    let mut faults = String::new();
    for mode in modes {
        for reused in [false, true] {
            for (request, method, governed) in requests.clone() {
                // A read of a session primes the pool of governed requests, another path that of pass-through requests.
                let (prime, path) = match (governed, reused) {
                    (_, false) => ("/prime-and-close", "/prime-and-close".to_owned()),
                    (true, true) => ("", format!("/api/v2/sessions/{SESSION}")),
                    (false, true) => ("/prime", "/prime".to_owned()),
                };
                *act.lock().unwrap() = None;
                let primed = Request::new("GET", &path).bearer(&token).send(&gateway.url());
                assert_eq!(primed.status, 200, "{}: {prime}", mode.name);
                *act.lock().unwrap() = Some(mode.act);
                let before = recorder.count();
                let response = request.clone().bearer(&token).try_send(&gateway.url());
                let reached = recorder.count() - before;
                let what = format!("{}, {method}, governed {governed}, reused {reused}", mode.name);
                let status = response.as_ref().map_or(0, |response| response.status);
                let expected = if governed { mode.governed } else { mode.passed };
                if !expected.contains(&status) {
                    let _ = writeln!(faults, "{what}: {response:?}");
                } else if let Ok(response) = &response
                    && let Some(fault) = shape_fault(response)
                {
                    let _ = writeln!(faults, "{what}: {fault}");
                }
                // Where a response has begun, nothing is sent again: of a governed one that is an informational one.
                let begun = mode.passed == CUT && (!governed || mode.name.contains("hint"));
                let most = if method == "GET" && !begun { 2 } else { 1 };
                if reached == 0 || reached > most {
                    let _ = writeln!(faults, "{what}: reached the provider {reached} times");
                }
                // Next, please.
                *act.lock().unwrap() = None;
                for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
                    let next = Request::new("GET", &path).bearer(&token).try_send(&gateway.url());
                    if !next.as_ref().is_ok_and(|next| next.status == 200) {
                        let _ = writeln!(faults, "{what}: then {path} got {next:?}");
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Other servers might read its body differently.
#[test]
fn response_with_a_transfer_encoding_other_than_chunked_fails() {
    for (coding, status) in [
        ("chunked", 200),
        ("Chunked", 200),
        ("gzip, chunked", 502),
        ("chunked\r\nTransfer-Encoding: chunked", 502),
        ("chunkedchunked", 502),
        ("identity", 502),
    ] {
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            let body = session(&json!({})).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n");
            call.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))?;
            Ok(Then::Close)
        });
        let gateway = Gateway::start(&recorder.upstream(""));
        gateway.ready();
        for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
            let response = Request::new("GET", &path).bearer(&recorder.token()).send(&gateway.url());
            assert_eq!(response.status, status, "{coding:?} at {path}");
        }
    }
}

/// Clients may read a repeated length in another way than the gateway, or not at all.
#[test]
fn repeated_length_reaches_clients_once() {
    for lengths in ["Content-Length: 2, 2", "Content-Length: 2,2", "Content-Length: 2\r\nContent-Length: 2"] {
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            call.send(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\n{{}}"))?;
            Ok(Then::Keep)
        });
        let gateway = Gateway::start(&recorder.upstream("cache: { ttl: 5m }"));
        gateway.ready();
        // Served without Pingora, by Pingora, and sent by the gateway itself, since it may change sessions.
        let plain = Request::new("GET", "/x");
        let by_pingora = Request::new("GET", "/x").header("HTTP2-Settings", "AA");
        let changing = Request::new("DELETE", "/api/v2/users/auth0%7Ca");
        for request in [plain, by_pingora, changing] {
            let response = request.bearer(&recorder.token()).send(&gateway.url());
            let is_length = |name: &str| name.eq_ignore_ascii_case("content-length");
            let lines = response.headers.iter().filter(|(name, _)| is_length(name));
            let found: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
            assert_eq!((response.status, found, &*response.text()), (200, vec!["2"], "{}"), "{lengths:?}");
        }
    }
}

/// On a pooled connection, the next request may be another client's.
#[test]
fn surplus_response_is_not_given_to_the_next_request() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for head in [
        "Content-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 0\r\n\r\n",
        "Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: identity, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            if call.turn % 2 == 1 {
                return call.as_auth0();
            }
            call.send(format!("HTTP/1.1 200 OK\r\n{head}{EVIL}"))?;
            Ok(Then::Keep)
        });
        let gateway = Gateway::start(&recorder.upstream(""));
        gateway.ready();
        for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
            for _ in 0..4 {
                let response = Request::new("GET", &path).bearer(&recorder.token()).try_send(&gateway.url());
                if let Ok(response) = response {
                    assert!(!response.text().contains("evil"), "{head:?} {path}: {response:?}");
                }
            }
        }
    }
}

/// The same if it arrives while the connection is idle.
#[test]
fn unsolicited_response_on_an_idle_connection_is_dropped() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.body()?;
        call.json(200, &session(&json!({})))?;
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    gateway.ready();
    for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
        for method in ["GET", "DELETE"] {
            for _ in 0..4 {
                let request = Request::new(method, &path).bearer(&recorder.token());
                if let Ok(response) = request.try_send(&gateway.url()) {
                    assert!(!response.text().contains("evil"), "{method} {path}: {response:?}");
                }
            }
        }
    }
}

/// The provider closes an idle connection. The request was not processed, or this cannot be known.
#[test]
fn closed_idle_connections_fail_no_read() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.as_auth0()?;
        Ok(Then::Close)
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    gateway.ready();
    for _ in 0..30 {
        for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
            let response = Request::new("GET", &path).bearer(&recorder.token()).send(&gateway.url());
            assert_eq!(response.status, 200);
        }
    }
}

#[test]
fn unreachable_provider_gives_502() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = Recorder::auth0();
    let url = keys.url();
    let gateway = Gateway::start(&format!(
        "upstreams:\n  auth0:\n    dialect: auth0\n    url: http://{free}\n    auth: {{ issuer: {url}/, audience: {url}/api/v2/ }}\n    cache: {{}}\n"
    ));
    gateway.ready();
    for _ in 0..2 {
        for (request, method, governed) in requests() {
            let response = request.bearer(&keys.token()).send(&gateway.url());
            assert_eq!((response.status, shape_fault(&response)), (502, None), "{method} {governed}");
        }
    }
    assert_eq!(keys.count(), 0);
    // Nothing was sent, so no mark was left behind: the next who listens there is cached again.
    let listener = std::net::TcpListener::bind(free).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut part = [0; 4096];
                while io::Read::read(&mut stream, &mut part).is_ok_and(|length| length > 0) {
                    let body = session(&json!({})).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    let _ = io::Write::write_all(&mut stream, head.as_bytes());
                }
            });
        }
    });
    let get = || {
        let request = Request::new("GET", &format!("/api/v2/sessions/{SESSION}"));
        request.bearer(&keys.token()).send(&gateway.url())
    };
    assert_eq!(get().header("Cache-Status"), Some("sessiongate; fwd=miss; stored"));
    assert!(get().header("Cache-Status").unwrap().starts_with("sessiongate; hit"));
}

#[test]
fn unresolvable_provider_gives_503() {
    let gateway =
        Gateway::start("upstreams:\n  auth0:\n    dialect: auth0\n    url: http://provider.invalid\n    auth: none\n");
    for (request, method, governed) in requests() {
        let response = request.send(&gateway.url());
        assert_eq!((response.status, shape_fault(&response)), (503, None), "{method} {governed}");
        assert_eq!(response.header("Retry-After"), Some("1"));
    }
}

/// Pass-through responses may have any size.
#[test]
fn buffered_responses_are_limited_to_4_mib() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.body()?;
        let body = "x".repeat((4 << 20) + 1);
        let _ = call.response(200, "", &body);
        Ok(Then::Close)
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    gateway.ready();
    let get = |path: &str| Request::new("GET", path).bearer(&recorder.token()).send(&gateway.url());
    let response = get(&format!("/api/v2/sessions/{SESSION}"));
    assert_eq!((response.status, shape_fault(&response)), (502, None));
    assert_eq!(recorder.count(), 1);
    assert_eq!(get("/x").body.len(), (4 << 20) + 1);
}

#[test]
fn slow_response_does_not_block_others() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.body()?;
        if call.seen.target.ends_with("slow") {
            let _ = call.take(1);
            return Ok(Then::Close);
        }
        call.as_auth0()
    });
    let gateway = Gateway::start(&recorder.upstream("timeouts: { first_byte: 20s }"));
    gateway.ready();
    let address = gateway.address();
    let slow: Vec<_> = (0..50)
        .map(|turn| {
            let mut connection = crate::harness::Connection::open(address).unwrap();
            let path = if turn % 2 == 0 { "/api/v2/sessions/slow" } else { "/slow" };
            let request = Request::new("GET", path).bearer(&recorder.token());
            connection.write(&request.bytes(address)).unwrap();
            connection
        })
        .collect();
    recorder.wait(50);
    for path in [format!("/api/v2/sessions/{SESSION}"), "/x".into()] {
        let response = Request::new("GET", &path).bearer(&recorder.token()).send(&gateway.url());
        assert_eq!(response.status, 200);
    }
    drop(slow);
}

#[test]
fn disconnect_ends_a_pass_through_request() {
    let ended = Arc::new(Mutex::new(false));
    let own = ended.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        let _ = call.take(1);
        *own.lock().unwrap() = true;
        Ok(Then::Close)
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    let address = gateway.address();
    let mut connection = crate::harness::Connection::open(address).unwrap();
    connection.write(&Request::new("GET", "/slow").bytes(address)).unwrap();
    recorder.wait(1);
    drop(connection);
    wait_for("the end of the request at the provider", || (*ended.lock().unwrap()).then_some(()));
}
