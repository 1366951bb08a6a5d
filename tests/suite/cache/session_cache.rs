//! The session cache on real sockets: what is stored and for how long, who shares it, what a write invalidates, and
//! that concurrent misses cause one fetch.

use crate::harness::recorder::{Call, Recorder, SESSION, Then, session};
use crate::harness::{Connection, Gate, Gateway, Request, Response, wait_for};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

struct Cached {
    recorder: Recorder,
    gateway: Gateway,
    token: String,
}

fn cached(cache: &str, act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Cached {
    let recorder = Recorder::start(act);
    let gateway = Gateway::start(&recorder.upstream(&format!("cache: {cache}")));
    gateway.ready();
    Cached { token: recorder.token(), recorder, gateway }
}

impl Cached {
    fn send(&self, method: &str, path: &str) -> Response {
        Request::new(method, path).bearer(&self.token).send(&self.gateway.url())
    }

    fn get(&self) -> Response {
        self.send("GET", &path())
    }

    fn patch(&self) -> Response {
        let request = Request::new("PATCH", &path()).bearer(&self.token);
        request.json(r#"{"session_metadata":{"team":"blue"}}"#).send(&self.gateway.url())
    }

    /// Sends a read; its response is read later.
    fn asked(&self) -> Connection {
        self.asked_by(&self.token)
    }

    fn asked_by(&self, token: &str) -> Connection {
        let address = self.gateway.address();
        let mut connection = Connection::open(address).unwrap();
        let request = Request::new("GET", &path()).bearer(token);
        connection.write(&request.bytes(address)).unwrap();
        connection
    }

    /// Waits until that many requests are in the gateway.
    fn wait_in_flight(&self, count: usize) {
        wait_for(&format!("{count} requests in flight"), || {
            let metrics = self.gateway.metrics();
            let line = metrics.lines().find(|line| line.starts_with("sessiongate_requests_in_flight "))?;
            (line.rsplit(' ').next()?.parse::<usize>().ok()? >= count).then_some(())
        });
    }
}

fn status(response: &Response) -> &str {
    response.header("Cache-Status").unwrap_or("none")
}

fn is_hit(response: &Response) -> bool {
    status(response).starts_with("sessiongate; hit")
}

/// RFC 3339 in this many milliseconds from now.
fn in_millis(millis: i64) -> String {
    let now = SystemTime::now();
    let time = match u64::try_from(millis) {
        Ok(ahead) => now + Duration::from_millis(ahead),
        Err(_) => now - Duration::from_millis(millis.unsigned_abs()),
    };
    // Without a crate for dates: the provider of the sandbox writes them too.
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (days, rest) = (seconds.as_secs() / 86_400, seconds.as_secs() % 86_400);
    let (mut year, mut left) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!(
        "{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        month + 1,
        left + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        seconds.subsec_millis()
    )
}

/// Many readers and writers through a gateway before a provider that takes its time: no response from the cache is older
/// than what had been acknowledged when the read began.
#[test]
fn no_stale_read_after_an_acknowledged_write() {
    const READERS: u64 = 6;
    const WRITERS: u64 = 3;
    let reads: u64 = if std::env::var_os("SESSIONGATE_LONG").is_some() { 5_000 } else { 500 };
    let (version, ticks) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    let own = version.clone();
    let cached = cached("{ ttl: 30s }", move |call: &mut Call| {
        call.body()?;
        // Anything between nothing and two milliseconds, before and after.
        let tick = ticks.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slow = |bits: u64| thread::sleep(Duration::from_micros((tick >> bits) % 2000));
        slow(20);
        let version = match call.seen.method.as_str() {
            "PATCH" => own.fetch_add(1, Ordering::SeqCst) + 1,
            _ => own.load(Ordering::SeqCst),
        };
        slow(40);
        call.json(200, &session(&json!({ "v": version.to_string() })))
    });
    let acknowledged = AtomicU64::new(0);
    let (hits, collapsed, stale) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let shown = |response: &Response| -> u64 {
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["session_metadata"]["v"].as_str().unwrap().parse().unwrap()
    };
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let response = cached.patch();
                    acknowledged.fetch_max(shown(&response), Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(cached.gateway.address()).unwrap();
                    for _ in 0..reads {
                        let before = acknowledged.load(Ordering::SeqCst);
                        let request = Request::new("GET", &path()).bearer(&cached.token);
                        let response = connection.exchange(&request).unwrap();
                        let counter = match status(&response) {
                            text if text.starts_with("sessiongate; hit") => &hits,
                            text if text.ends_with("collapsed") => &collapsed,
                            _ => continue,
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                        if shown(&response) < before {
                            stale.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    println!("hits {hits:?}, collapsed {collapsed:?}, stale {stale:?}, writes {version:?}");
    assert_eq!(stale.into_inner(), 0);
    assert!(hits.into_inner() > reads / 10 && collapsed.into_inner() > 0, "the cache did nothing");
}

#[test]
fn fifty_concurrent_misses_cause_one_fetch() {
    let gate = Gate::closed();
    let own = gate.clone();
    let cached = cached("{}", move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    let mut asked: Vec<Connection> = (0..50).map(|_| cached.asked()).collect();
    cached.wait_in_flight(50);
    gate.set(true);
    let responses: Vec<Response> = asked.iter_mut().map(|one| one.response(false).unwrap()).collect();
    assert_eq!(cached.recorder.count(), 1);
    let of = |text: &str| responses.iter().filter(|response| status(response) == text).count();
    assert_eq!(of("sessiongate; fwd=miss; stored"), 1);
    assert!(of("sessiongate; fwd=miss; collapsed") > 0);
    for response in &responses {
        assert_eq!((response.status, &response.body), (200, &responses[0].body));
    }
}

#[test]
fn shared_fetch_continues_after_its_first_client_leaves() {
    let gate = Gate::closed();
    let own = gate.clone();
    let cached = cached("{}", move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    let first = cached.asked();
    cached.recorder.wait(1);
    let mut second = cached.asked();
    cached.wait_in_flight(2);
    drop(first);
    let mut third = cached.asked();
    // One more than those that are left: the first may be noticed to be gone, or not.
    cached.wait_in_flight(2);
    gate.set(true);
    for one in [&mut second, &mut third] {
        assert_eq!(one.response(false).unwrap().status, 200);
    }
    assert_eq!(cached.recorder.count(), 1);
}

#[test]
fn fetch_fills_the_cache_after_its_only_client_left() {
    let gate = Gate::closed();
    let own = gate.clone();
    let cached = cached("{}", move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    drop(cached.asked());
    // The client may be gone before the gateway has read its request: ask until one got through.
    wait_for("a fetch", || {
        if cached.recorder.count() == 0 {
            drop(cached.asked());
        }
        (cached.recorder.count() == 1).then_some(())
    });
    gate.set(true);
    assert_eq!(cached.get().status, 200);
    assert_eq!(cached.recorder.count(), 1);
}

#[test]
fn write_is_completed_after_its_client_left() {
    let gate = Gate::closed();
    let own = gate.clone();
    let version = AtomicU64::new(1);
    let cached = cached("{}", move |call: &mut Call| {
        call.body()?;
        if call.seen.method == "PATCH" {
            own.pass();
            version.store(2, Ordering::SeqCst);
        }
        call.json(200, &session(&json!({ "v": version.load(Ordering::SeqCst).to_string() })))
    });
    let shown = |response: &Response| response.json()["session_metadata"]["v"].clone();
    assert_eq!(shown(&cached.get()), "1");
    assert!(is_hit(&cached.get()));
    let address = cached.gateway.address();
    let mut writer = Connection::open(address).unwrap();
    let request = Request::new("PATCH", &path()).bearer(&cached.token);
    let request = request.json(r#"{"session_metadata":{"v":"2"}}"#);
    writer.write(&request.bytes(address)).unwrap();
    wait_for("the write at the provider", || (cached.recorder.count_of("PATCH") == 1).then_some(()));
    drop(writer);
    let beside = cached.get();
    assert_eq!((shown(&beside), status(&beside)), (json!("1"), "sessiongate; fwd=bypass"));
    gate.set(true);
    wait_for("the end of the write", || is_hit(&cached.get()).then_some(()));
    assert_eq!(shown(&cached.get()), "2");
    assert_eq!(cached.recorder.count_of("PATCH"), 1);
}

#[test]
fn hit_has_an_age_and_a_write_invalidates_it() {
    let cached = cached("{ ttl: 30s }", |call: &mut Call| {
        call.body()?;
        let body = session(&json!({"team": "blue"})).to_string();
        call.response(200, "Age: 77\r\nX-RateLimit-Remaining: 9\r\nCache-Control: no-cache\r\nVary: Origin\r\n", &body)
    });
    let miss = cached.get();
    assert_eq!((status(&miss), miss.header("Age")), ("sessiongate; fwd=miss; stored", None));
    assert_eq!(miss.header("X-RateLimit-Remaining"), Some("9"));
    let hit = cached.get();
    assert!(hit.header("Age").unwrap().parse::<u64>().unwrap() <= 30);
    let ttl: u64 = status(&hit).strip_prefix("sessiongate; hit; ttl=").unwrap().parse().unwrap();
    assert!(ttl < 30);
    assert_eq!(hit.body, miss.body);
    // What speaks of the exchange with the provider is not repeated; what speaks of the session is.
    assert_eq!(hit.header("X-RateLimit-Remaining"), None);
    assert_eq!(hit.header("Cache-Control"), Some("no-cache"));
    assert_eq!(hit.header("Content-Type"), Some("application/json; charset=utf-8"));
    assert_ne!(hit.header("X-Request-Id"), miss.header("X-Request-Id"));
    assert_eq!(cached.recorder.count(), 1);
    let write = cached.patch();
    assert_eq!((write.status, status(&write)), (200, "sessiongate; fwd=method"));
    assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored");
    assert!(is_hit(&cached.get()));
}

#[test]
fn rejected_write_leaves_no_stale_entry_and_caching_continues() {
    for rejected in [400, 403, 404, 429] {
        let cached = cached("{}", move |call: &mut Call| {
            call.body()?;
            match call.seen.method.as_str() {
                "GET" => call.as_auth0(),
                _ => call.json(rejected, &json!({})),
            }
        });
        cached.get();
        assert!(is_hit(&cached.get()));
        assert_eq!(cached.patch().status, rejected);
        // What was stored holds where the write certainly changed nothing. A session that is not there is another
        // matter.
        let after = cached.get();
        assert_eq!(is_hit(&after), rejected != 404, "{rejected}: {}", status(&after));
        assert!(is_hit(&cached.get()));
        // A session that could not be deleted is not taken for deleted.
        assert_eq!(cached.send("DELETE", &path()).status, rejected);
        assert_eq!(cached.get().status, 200);
    }
}

#[test]
fn write_with_unknown_outcome_bypasses_the_cache() {
    for failed in [500, 502, 503, 504] {
        let cached = cached("{}", move |call: &mut Call| {
            call.body()?;
            match call.seen.method.as_str() {
                "GET" => call.as_auth0(),
                _ => call.json(failed, &json!({})),
            }
        });
        cached.get();
        assert_eq!(cached.patch().status, failed);
        assert_eq!(cached.recorder.count_of("PATCH"), 1);
        for _ in 0..3 {
            assert_eq!(status(&cached.get()), "sessiongate; fwd=bypass");
        }
    }
}

#[test]
fn deleted_session_is_gone_while_the_provider_still_returns_it() {
    let revoke = path() + "/revoke";
    for (method, target) in [("DELETE", path()), ("POST", revoke)] {
        let cached = cached("{ ttl: 1s }", |call: &mut Call| call.as_auth0());
        assert_eq!(cached.get().status, 200);
        assert_eq!(cached.send(method, &target).status, 202);
        let before = cached.recorder.count();
        let gone = cached.get();
        // On a slow machine the second may have passed; then this proves nothing.
        if cached.recorder.count() == before {
            assert_eq!(gone.status, 404);
            let body = gone.json();
            assert_eq!((&body["statusCode"], &body["error"]), (&json!(404), &json!("Not Found")));
            assert_eq!(status(&gone), "sessiongate; hit; detail=deleted");
        }
        wait_for("the end of the deletion", || (cached.get().status == 200).then_some(()));
    }
}

#[test]
fn deleted_session_stays_gone_for_all_callers_and_after_other_writes() {
    let cached = cached("{ ttl: 5m }", |call: &mut Call| call.as_auth0());
    cached.send("DELETE", &path());
    let other = cached.recorder.token_of("other@clients");
    let response = Request::new("GET", &path()).bearer(&other).send(&cached.gateway.url());
    assert_eq!(response.status, 404);
    // The provider responds to writes.
    assert_eq!(cached.patch().status, 200);
    assert_eq!(cached.get().status, 404);
    assert_eq!(cached.send("DELETE", &path()).status, 202);
    assert_eq!(cached.get().status, 404);
    assert_eq!(cached.recorder.count_of("GET"), 0);
    // Another session is another.
    assert_eq!(cached.send("GET", "/api/v2/sessions/other").status, 200);
}

/// Every write of the Management API that makes sessions stale without naming them.
const USER_WIDE: [(&str, &str, &str); 18] = [
    ("DELETE", "/api/v2/users/auth0%7Cx/sessions", ""),
    ("POST", "/api/v2/users/auth0%7Cx/revoke-access", ""),
    ("POST", "/api/v2/users/auth0%7Cx/revoke-access", r#"{"preserve_refresh_tokens":true}"#),
    ("DELETE", "/api/v2/users/auth0%7Cx/refresh-tokens", ""),
    ("POST", "/api/v2/refresh-tokens/revoke", r#"{"user_id":"auth0|x"}"#),
    ("POST", "/api/v2/refresh-tokens/revoke", r#"{"user_id":"auth0|x","client_id":"c"}"#),
    ("DELETE", "/api/v2/users/auth0%7Cx", ""),
    ("PATCH", "/api/v2/users/auth0%7Cx", r#"{"password":"x"}"#),
    ("PATCH", "/api/v2/users/auth0%7Cx", r#"{"blocked":true}"#),
    ("POST", "/api/v2/tickets/password-change", r#"{"user_id":"auth0|x"}"#),
    ("DELETE", "/api/v2/connections/con_x", ""),
    ("DELETE", "/api/v2/connections/con_x/users?email=a%40b.c", ""),
    ("DELETE", "/api/v2/clients/x", ""),
    ("PATCH", "/api/v2/tenants/settings", r#"{"session_lifetime":1}"#),
    ("POST", "/api/v2/users/auth0%7Cx/identities", r#"{"link_with":"t"}"#),
    ("DELETE", "/api/v2/users/auth0%7Cx/identities/google-oauth2/1", ""),
    ("DELETE", "/api/v2/organizations/org_x/members", r#"{"members":["auth0|x"]}"#),
    ("DELETE", "/API/v2/users/auth0%7Cx", ""),
];

/// Proxies may repeat a DELETE or a PUT. If the second copy finds nothing, the first has removed or renamed it.
#[test]
fn not_found_on_a_repeatable_write_invalidates_for_verified_callers() {
    for (verified, method, answered, stale) in [
        (true, "DELETE", 404, true),
        (true, "DELETE", 410, true),
        (true, "PUT", 404, true),
        (true, "PUT", 410, true),
        (true, "PUT", 403, false),
        (true, "DELETE", 403, false),
        (true, "DELETE", 409, false),
        (true, "PATCH", 404, false),
        (false, "DELETE", 404, false),
        (false, "DELETE", 410, false),
        (false, "PUT", 404, false),
    ] {
        let recorder = Recorder::start(move |call: &mut Call| match call.seen.method.as_str() {
            "GET" => call.as_auth0(),
            _ => {
                call.body()?;
                call.json(answered, &json!({ "statusCode": answered }))
            }
        });
        let upstream =
            if verified { recorder.upstream("cache: {}") } else { recorder.upstream_as("forward", "cache: {}") };
        let (gateway, token) = (Gateway::start(&upstream), recorder.token());
        gateway.ready();
        let cached = Cached { recorder, gateway, token };
        cached.get();
        assert!(is_hit(&cached.get()));
        let request = Request::new(method, "/api/v2/users/auth0%7Cx").bearer(&cached.token);
        let request = if method == "DELETE" { request } else { request.json("{}") };
        assert_eq!(request.send(&cached.gateway.url()).status, answered);
        assert_eq!(is_hit(&cached.get()), !stale, "{method} {answered} verified: {verified}");
    }
}

/// Its own operations, and the one that revokes a user's access to the session.
#[test]
fn write_of_a_session_invalidates_only_that_session() {
    let cached = cached("{}", |call: &mut Call| {
        call.body()?;
        let mut body = session(&json!({}));
        body["id"] = json!(call.seen.target.rsplit('/').next());
        if call.seen.method == "GET" { call.json(200, &body) } else { call.json(202, &json!({})) }
    });
    let other = "/api/v2/sessions/another";
    cached.send("GET", other);
    for (method, target, body, ends) in [
        ("PATCH", "/api/v2/sessions/s1", r#"{"session_metadata":null}"#, false),
        ("DELETE", "/api/v2/sessions/s2", "", true),
        ("POST", "/api/v2/sessions/s3/revoke", "", true),
        ("POST", "/api/v2/users/auth0%7Cx/revoke-access", r#"{"session_id":"s4"}"#, true),
        (
            "POST",
            "/api/v2/users/auth0%7Cx/revoke-access",
            r#"{"session_id":"s5","preserve_refresh_tokens":true}"#,
            true,
        ),
    ] {
        let id =
            ["s1", "s2", "s3", "s4", "s5"].into_iter().find(|id| target.contains(id) || body.contains(id)).unwrap();
        let own = format!("/api/v2/sessions/{id}");
        cached.send("GET", &own);
        assert!(is_hit(&cached.send("GET", &own)) && is_hit(&cached.send("GET", other)), "{method} {target}");
        let request = Request::new(method, target).bearer(&cached.token);
        let request = if body.is_empty() { request } else { request.json(body) };
        assert_eq!(request.send(&cached.gateway.url()).status, 202, "{method} {target}");
        let after = cached.send("GET", &own);
        let expected = if ends { "sessiongate; hit; detail=deleted" } else { "sessiongate; fwd=miss; stored" };
        assert_eq!((status(&after), after.status), (expected, if ends { 404 } else { 200 }), "{method} {target}");
        assert!(is_hit(&cached.send("GET", other)), "{method} {target}");
    }
}

#[test]
fn write_of_refresh_tokens_does_not_invalidate_sessions() {
    let cached = cached("{}", |call: &mut Call| call.as_auth0());
    cached.get();
    for (method, target, body) in [
        ("PATCH", "/api/v2/refresh-tokens/x", r#"{"refresh_token_metadata":{"a":"b"}}"#),
        ("DELETE", "/api/v2/refresh-tokens/x", ""),
        ("POST", "/api/v2/refresh-tokens/revoke", r#"{"ids":["x","y"]}"#),
    ] {
        let request = Request::new(method, target).bearer(&cached.token);
        let request = if body.is_empty() { request } else { request.json(body) };
        assert!(request.send(&cached.gateway.url()).status < 300, "{method} {target}");
        assert!(is_hit(&cached.get()), "{method} {target}");
    }
}

#[test]
fn write_of_a_user_invalidates_every_session() {
    let gate = Gate::closed();
    let own = gate.clone();
    let cached = cached("{}", move |call: &mut Call| {
        if call.seen.method != "GET" {
            own.pass();
        }
        call.as_auth0()
    });
    for (method, target, body) in USER_WIDE {
        cached.get();
        assert!(is_hit(&cached.get()), "{target}");
        gate.set(false);
        let address = cached.gateway.address();
        let mut writer = Connection::open(address).unwrap();
        let before = cached.recorder.count();
        let request = Request::new(method, target).bearer(&cached.token);
        let request = if body.is_empty() { request } else { request.json(body) };
        writer.write(&request.bytes(address)).unwrap();
        cached.recorder.wait(before + 1);
        assert_eq!(status(&cached.get()), "sessiongate; fwd=bypass", "{method} {target}");
        gate.set(true);
        assert!(writer.response(false).unwrap().status < 300, "{method} {target}");
        assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored", "{method} {target}");
    }
    // Without a good token nothing is made stale: anybody could keep the cache empty.
    assert!(is_hit(&cached.get()));
    let rejected = Request::new("DELETE", "/api/v2/users/auth0%7Cx/sessions").send(&cached.gateway.url());
    assert_eq!(rejected.status, 401);
    assert!(is_hit(&cached.get()));
}

#[test]
fn rejected_write_of_a_user_invalidates_nothing() {
    for rejected in [403, 429] {
        let cached = cached("{}", move |call: &mut Call| {
            call.body()?;
            match call.seen.method.as_str() {
                "GET" => call.as_auth0(),
                _ => call.json(rejected, &json!({})),
            }
        });
        cached.get();
        assert_eq!(cached.send("PATCH", "/api/v2/users/auth0%7Cx").status, rejected);
        assert!(is_hit(&cached.get()), "{rejected}");
    }
}

#[test]
fn only_valid_responses_are_stored() {
    let responses: Vec<(&str, u16, String, String)> = {
        let good = session(&json!({})).to_string();
        let plain = |name, status: u16| (name, status, String::new(), json!({"statusCode": status}).to_string());
        let with = |name, head: &str| (name, 200, format!("{head}\r\n"), good.clone());
        let mut all: Vec<_> =
            [401, 403, 404, 429, 500, 502, 503, 201, 203, 206, 301].map(|status| plain("status", status)).into();
        all.push(with("a cookie", "Set-Cookie: a=b"));
        all.push(with("compressed", "Content-Encoding: gzip"));
        all.push(("no JSON", 200, String::new(), "<html>".into()));
        all.push(("an array", 200, String::new(), "[]".into()));
        all.push(("a key twice", 200, String::new(), r#"{"id":"a","id":"b"}"#.into()));
        all.push(("empty", 200, String::new(), String::new()));
        let large = json!({"id": "x", "session_metadata": {"a": "x".repeat(70_000)}});
        all.push(("large", 200, String::new(), large.to_string()));
        for (name, field, value) in [
            ("ended", "expires_at", json!(in_millis(-5000))),
            ("ends now", "expires_at", json!(in_millis(900))),
            ("idle for too long", "idle_expires_at", json!(in_millis(-5000))),
            ("no time", "expires_at", json!("soon")),
            ("a number", "expires_at", json!(1)),
            ("an object", "idle_expires_at", json!({})),
            ("no version", "updated_at", json!("yesterday")),
        ] {
            let mut body = session(&json!({}));
            body[field] = value;
            all.push((name, 200, String::new(), body.to_string()));
        }
        all
    };
    let turn = Arc::new(AtomicU64::new(0));
    let (own, script) = (turn.clone(), responses.clone());
    let cached = cached("{}", move |call: &mut Call| {
        let (_, status, head, body) = &script[own.load(Ordering::SeqCst) as usize];
        call.response(*status, head, body)
    });
    for (at, (name, status_, _, body)) in responses.iter().enumerate() {
        turn.store(at as u64, Ordering::SeqCst);
        let before = cached.recorder.count();
        for _ in 0..2 {
            let response = cached.get();
            assert_eq!((response.status, &response.text()), (*status_, body), "{name} {status_}");
            assert_eq!(status(&response), "sessiongate; fwd=miss", "{name} {status_}");
        }
        assert_eq!(cached.recorder.count() - before, 2, "{name} {status_}");
    }
}

/// The body happens to be complete, which the gateway cannot know.
#[test]
fn truncated_response_is_not_stored() {
    let whole = session(&json!({})).to_string();
    let length = whole.len();
    for broken in [
        format!("Content-Length: {}\r\n\r\n{whole}", length + 1),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{whole}\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{whole}\r\n0\r\n"),
    ] {
        let breaks = Arc::new(AtomicBool::new(true));
        let (own, good, cut) = (breaks.clone(), whole.clone(), broken.clone());
        let cached = cached("{}", move |call: &mut Call| {
            if !own.load(Ordering::SeqCst) {
                return call.response(200, "", &good);
            }
            call.body()?;
            call.send(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{cut}")).map(|()| Then::Close)
        });
        assert_eq!(cached.get().status, 502, "{broken}");
        breaks.store(false, Ordering::SeqCst);
        assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored", "{broken}");
    }
}

#[test]
fn entry_expires_no_later_than_the_session() {
    let body = Arc::new(Mutex::new(Value::Null));
    let own = body.clone();
    let cached = cached("{ ttl: 5m }", move |call: &mut Call| {
        call.body()?;
        let body = own.lock().unwrap().clone();
        call.json(200, &body)
    });
    let ttl = |expires: Value, idle: Value| -> u64 {
        let mut response = session(&json!({}));
        response["expires_at"] = expires;
        response["idle_expires_at"] = idle;
        *body.lock().unwrap() = response;
        cached.patch();
        assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored");
        let hit = cached.get();
        status(&hit).strip_prefix("sessiongate; hit; ttl=").unwrap().parse().unwrap()
    };
    let far = json!("2999-01-01T00:00:00.000Z");
    assert!((200..=300).contains(&ttl(far.clone(), far.clone())));
    assert!((200..=300).contains(&ttl(Value::Null, Value::Null)));
    // Less a second for clocks that differ.
    assert!((50..=99).contains(&ttl(json!(in_millis(100_000)), far.clone())));
    assert!((50..=99).contains(&ttl(far.clone(), json!(in_millis(100_000)))));
    assert!((50..=99).contains(&ttl(json!(in_millis(200_000)), json!(in_millis(100_000)))));
    // An offset is a spelling like another: an hour ahead of UTC it is over already.
    let ahead = in_millis(100_000).replace('Z', "+01:00");
    *body.lock().unwrap() = session(&json!({}));
    body.lock().unwrap()["expires_at"] = json!(ahead);
    cached.patch();
    assert_eq!(status(&cached.get()), "sessiongate; fwd=miss");
}

#[test]
fn response_older_than_the_last_write_is_not_stored() {
    let updated = Arc::new(Mutex::new("2026-01-02T03:04:05.678Z".to_owned()));
    let own = updated.clone();
    let cached = cached("{}", move |call: &mut Call| {
        call.body()?;
        let mut body = session(&json!({}));
        body["updated_at"] = json!(own.lock().unwrap().clone());
        call.json(200, &body)
    });
    cached.patch();
    *updated.lock().unwrap() = "2026-01-02T03:04:05.677Z".into();
    for _ in 0..2 {
        assert_eq!(status(&cached.get()), "sessiongate; fwd=miss", "one millisecond older");
    }
    *updated.lock().unwrap() = "2026-01-02T03:04:05.678Z".into();
    assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored");
    assert!(is_hit(&cached.get()));
}

#[test]
fn set_cookie_is_not_shared() {
    let gate = Gate::closed();
    let own = gate.clone();
    let cached = cached("{}", move |call: &mut Call| {
        own.pass();
        let body = session(&json!({})).to_string();
        call.response(200, &format!("Set-Cookie: secret={}\r\n", call.turn), &body)
    });
    let mut asked: Vec<Connection> = (0..8).map(|_| cached.asked()).collect();
    cached.wait_in_flight(8);
    gate.set(true);
    let responses: Vec<Response> = asked.iter_mut().map(|one| one.response(false).unwrap()).collect();
    for response in &responses {
        let cookie = response.header("Set-Cookie").is_some();
        assert_eq!(cookie, !status(response).ends_with("collapsed"), "{response:?}");
    }
    let with = responses.iter().filter(|response| response.header("Set-Cookie").is_some()).count();
    assert_eq!(with, cached.recorder.count(), "each cookie went to one client");
}

#[test]
fn verified_callers_share_entries() {
    let cached = cached("{}", |call: &mut Call| call.as_auth0());
    cached.get();
    let other = cached.recorder.token_of("other@clients");
    let response = Request::new("GET", &path()).bearer(&other).send(&cached.gateway.url());
    assert!(is_hit(&response));
    assert_eq!(cached.recorder.count(), 1);
    // Who may not read gets nothing, also not from the cache.
    for token in ["", "x.y.z", &format!("{other}x")] {
        let response = Request::new("GET", &path()).bearer(token).send(&cached.gateway.url());
        assert!(response.status >= 400 && !is_hit(&response), "{token}");
    }
}

#[test]
fn unverified_callers_do_not_share_entries() {
    let recorder = Recorder::start(|call: &mut Call| {
        let who = call.seen.header("Authorization").unwrap_or("nobody").to_owned();
        call.json(200, &session(&json!({ "who": who })))
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    let get = |credential: Option<&str>| {
        let request = Request::new("GET", &path());
        let request = match credential {
            Some(credential) => request.header("Authorization", credential),
            None => request,
        };
        let response = request.send(&gateway.url());
        assert_eq!(response.json()["session_metadata"]["who"], credential.unwrap_or("nobody"));
        is_hit(&response)
    };
    assert_eq!([get(Some("Bearer a")), get(Some("Bearer a"))], [false, true]);
    assert_eq!([get(Some("Bearer b")), get(Some("Bearer b"))], [false, true]);
    assert_eq!([get(Some("bearer a")), get(Some("Bearer A")), get(Some("Basic a"))], [false; 3]);
    assert_eq!([get(None), get(None)], [false; 2], "nothing is kept for nobody");
    // A write of anybody makes it stale for all.
    let write = Request::new("PATCH", &path()).header("Authorization", "Bearer c");
    assert_eq!(write.json(r#"{"session_metadata":null}"#).send(&gateway.url()).status, 200);
    assert_eq!([get(Some("Bearer a")), get(Some("Bearer b"))], [false; 2]);
}

#[test]
fn provider_rejection_of_one_caller_is_not_shared() {
    for rejected in [401, 403, 429] {
        let gate = Gate::closed();
        let own = gate.clone();
        let cached = cached("{}", move |call: &mut Call| {
            own.pass();
            match call.turn {
                0 => call.response(rejected, "X-RateLimit-Remaining: 0\r\n", "{}"),
                _ => call.as_auth0(),
            }
        });
        let mut first = cached.asked();
        cached.recorder.wait(1);
        let other = cached.recorder.token_of("other@clients");
        let mut others: Vec<Connection> = (0..4).map(|_| cached.asked_by(&other)).collect();
        cached.wait_in_flight(5);
        gate.set(true);
        assert_eq!(first.response(false).unwrap().status, rejected);
        for one in &mut others {
            assert_eq!(one.response(false).unwrap().status, 200, "after a {rejected}");
        }
        assert!(cached.recorder.count() <= 5);
    }
}

#[test]
fn without_a_cache_every_read_goes_to_the_provider() {
    let cached = cached("off", |call: &mut Call| call.as_auth0());
    for _ in 0..2 {
        let response = cached.get();
        assert_eq!((response.status, status(&response)), (200, "none"));
    }
    assert_eq!(cached.recorder.count(), 2);
    assert_eq!(cached.send("DELETE", &path()).status, 202);
    assert_eq!(cached.get().status, 200, "nothing is remembered");
}

/// Two upstreams may have sessions with the same ID.
#[test]
fn upstreams_do_not_share_entries() {
    let one = Recorder::start(|call: &mut Call| call.json(200, &session(&json!({"of": "one"}))));
    let two = Recorder::start(|call: &mut Call| call.json(200, &session(&json!({"of": "two"}))));
    let upstream = |name: &str, recorder: &Recorder, more: &str| {
        format!(
            "  {name}: {{ dialect: auth0, url: \"{}\", auth: none, cache: {{}}, match: {{ path_prefix: /{name}, strip_prefix: true }}{more} }}\n",
            recorder.url()
        )
    };
    let gateway = Gateway::start(&format!("upstreams:\n{}{}", upstream("one", &one, ""), upstream("two", &two, "")));
    for _ in 0..2 {
        for name in ["one", "two"] {
            let request = Request::new("GET", &format!("/{name}{}", path())).header("Authorization", "Bearer x");
            let response = request.send(&gateway.url());
            assert_eq!(response.json()["session_metadata"]["of"], name);
        }
    }
    assert_eq!((one.count(), two.count()), (1, 1));
    let deleted = Request::new("DELETE", &format!("/one{}", path())).header("Authorization", "Bearer x");
    assert_eq!(deleted.send(&gateway.url()).status, 200);
    let request = Request::new("GET", &format!("/two{}", path())).header("Authorization", "Bearer x");
    assert!(is_hit(&request.send(&gateway.url())));
}
