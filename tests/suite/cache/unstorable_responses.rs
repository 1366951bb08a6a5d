//! How a response that cannot be stored affects the entry, and which of several responses is newer: with the in-memory
//! store and with Redis.

use crate::harness::recorder::{Call, Recorder, SESSION, Then, session};
use crate::harness::replica::{SEAL_KEY, status};
use crate::harness::{Connection, Gate, Gateway, RedisServer, Request, Response, redis_installed, wait_for};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

/// A gateway with a cache before a provider, with its store.
struct Cached {
    recorder: Recorder,
    gateway: Gateway,
    /// One credential, and not a new one for each request.
    token: String,
    _redis: Option<RedisServer>,
}

type Act = dyn Fn(&mut Call) -> io::Result<Then> + Send + Sync;

/// One for each store that there is.
fn each(cache: &str, act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static, test: impl Fn(&Cached)) {
    let act: Arc<Act> = Arc::new(act);
    for redis in [false, true] {
        if redis && !redis_installed() {
            continue;
        }
        let own = act.clone();
        let recorder = Recorder::start(move |call: &mut Call| own(call));
        let redis = redis.then(RedisServer::start);
        let store = redis.as_ref().map_or(String::new(), |server| {
            let timeouts = crate::harness::replica::STORE_TIMEOUTS;
            let url = server.url();
            format!("store: {{ redis: {{ settle: 0s, timeouts: {timeouts}, url: \"{url}\", seal_keys: [{{ env: SEAL }}] }} }}\n")
        });
        let config = format!("hash_key: {{ env: HASH }}\n{store}{}", recorder.upstream(&format!("cache: {cache}")));
        let gateway = Gateway::start_with(&config, &[("HASH", "a hash key of all the replicas"), ("SEAL", SEAL_KEY)]);
        gateway.ready();
        if redis.is_some() {
            wait_for("a connection to the store", || {
                gateway.metrics().lines().any(|line| line == "sessiongate_store_connections 1").then_some(())
            });
        }
        test(&Cached { token: recorder.token(), recorder, gateway, _redis: redis });
    }
}

impl Cached {
    fn get_as(&self, token: &str, headers: &[(&str, &str)]) -> Response {
        let request = Request::new("GET", &path()).bearer(token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(&self.gateway.url())
    }

    fn get(&self) -> Response {
        self.get_as(&self.token, &[])
    }

    fn fresh(&self) -> Response {
        self.get_as(&self.token, &[("Cache-Control", "no-cache")])
    }
}

fn is_hit(response: &Response) -> bool {
    status(response).starts_with("sessiongate; hit")
}

/// Which response the provider gives: an index in a list.
#[derive(Clone, Default)]
struct Turn(Arc<AtomicU64>);

impl Turn {
    fn set(&self, turn: u64) {
        self.0.store(turn, Ordering::SeqCst);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Answers, by number: 0 is a good one.
fn responses() -> Vec<(u16, String, String)> {
    let good = session(&json!({})).to_string();
    let with = |status: u16, head: &str, body: &str| (status, head.to_owned(), body.to_owned());
    let mut all = vec![with(200, "", &good)];
    for status in [400, 401, 403, 404, 405, 410, 418, 301, 202] {
        all.push(with(status, "", &json!({ "statusCode": status }).to_string()));
    }
    all.push(with(200, "Set-Cookie: a=b\r\n", &good));
    all.push(with(200, "", "<html>"));
    all.push(with(200, "", &json!({ "id": "another" }).to_string()));
    all.push(with(200, "", &json!({ "id": SESSION, "session_metadata": { "a": "x".repeat(70_000) } }).to_string()));
    // More than is read at all.
    all.push(with(200, "", &"x".repeat(5 << 20)));
    all
}

fn responding(turn: &Turn) -> impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + use<> {
    let (turn, responses) = (turn.clone(), responses());
    move |call: &mut Call| {
        call.body()?;
        match turn.get() {
            failed @ 429..=600 => call.json(failed as u16, &json!({ "statusCode": failed })),
            turn => {
                let (status, head, body) = &responses[turn as usize];
                call.response(*status, head, body)
            }
        }
    }
}

#[test]
fn unstorable_response_drops_the_entry() {
    let turn = Turn::default();
    each("{ ttl: 5m }", responding(&turn), |cached| {
        for at in 1..responses().len() as u64 {
            let what = &responses()[at as usize];
            let what = format!("{} {}{}", what.0, what.1, &what.2[..what.2.len().min(30)]);
            turn.set(0);
            let other = cached.recorder.token_of("other@clients");
            cached.get_as(&other, &[("Cache-Control", "no-cache")]);
            assert!(is_hit(&cached.get_as(&other, &[])), "{what}");
            turn.set(at);
            assert!(!is_hit(&cached.fresh()));
            // Of 401 and 403 others see nothing; the rest holds for all.
            let spares = matches!(responses()[at as usize].0, 401 | 403);
            assert_eq!(is_hit(&cached.get_as(&other, &[])), spares, "{what}");
            assert!(!is_hit(&cached.get()), "{what}");
        }
    });
}

#[test]
fn provider_errors_do_not_drop_the_entry() {
    let turn = Turn::default();
    each("{ ttl: 5m }", responding(&turn), |cached| {
        for failed in [429, 500, 502, 503, 504] {
            turn.set(0);
            cached.fresh();
            turn.set(failed);
            assert_eq!(u64::from(cached.fresh().status), failed);
            assert!(is_hit(&cached.get()), "{failed}");
        }
    });
}

#[test]
fn stale_entry_is_not_served_after_a_contradicting_response() {
    for speaks in [2, 3, 4, 10] {
        let turn = Turn::default();
        each("{ ttl: 1s, stale_while_revalidate: 5m, stale_if_error: 5m }", responding(&turn), |cached| {
            turn.set(0);
            assert_eq!(cached.get().status, 200);
            turn.set(speaks);
            // The first that find it stale are still shown it, and one of them asks again.
            wait_for("the response to be fetched again", || (!is_hit(&cached.get())).then_some(()));
            let before = cached.recorder.count();
            for _ in 0..3 {
                assert!(!is_hit(&cached.get()));
            }
            assert_eq!(cached.recorder.count(), before + 3);
            turn.set(503);
            assert_eq!(cached.get().status, 503, "what was there before does not come back");
        });
    }
}

#[test]
fn entry_is_not_served_after_a_404() {
    for speaks in [4, 6] {
        let turn = Turn::default();
        each("{ ttl: 5m, stale_if_error: 5m }", responding(&turn), |cached| {
            turn.set(0);
            cached.get();
            assert!(is_hit(&cached.get()));
            turn.set(speaks);
            assert!(cached.fresh().status >= 404);
            turn.set(503);
            let other = cached.recorder.token_of("other@clients");
            assert_eq!((cached.get().status, cached.get_as(&other, &[]).status), (503, 503));
        });
    }
}

#[test]
fn denied_caller_gets_no_hits() {
    let denied = Arc::new(Mutex::new(String::new()));
    let own = denied.clone();
    let act = move |call: &mut Call| match call.seen.header("Authorization") {
        Some(token) if token == *own.lock().unwrap() => call.json(403, &json!({ "statusCode": 403 })),
        _ => call.as_auth0(),
    };
    each("{ ttl: 5m, stale_if_error: 5m }", act, |cached| {
        let [one, other] = ["one@clients", "other@clients"].map(|who| cached.recorder.token_of(who));
        denied.lock().unwrap().clear();
        assert_eq!(cached.get_as(&one, &[]).status, 200);
        assert!(is_hit(&cached.get_as(&one, &[])) && is_hit(&cached.get_as(&other, &[])));
        *denied.lock().unwrap() = format!("Bearer {one}");
        assert_eq!(cached.get_as(&one, &[("Cache-Control", "no-cache")]).status, 403);
        for _ in 0..2 {
            assert_eq!(cached.get_as(&one, &[]).status, 403);
            assert!(is_hit(&cached.get_as(&other, &[])), "others may go on");
        }
        // Also where the provider would let it again: it is asked.
        denied.lock().unwrap().clear();
        let response = cached.get_as(&one, &[]);
        assert_eq!((response.status, is_hit(&response)), (200, false));
    });
}

/// A caller is denied first; then another caller's read is stored.
#[test]
fn denial_is_recorded_without_an_entry() {
    let act = |call: &mut Call| match call.turn {
        0 => call.json(401, &json!({ "statusCode": 401 })),
        _ => call.as_auth0(),
    };
    each("{ ttl: 5m }", act, |cached| {
        let other = cached.recorder.token_of("other@clients");
        assert_eq!(cached.get().status, 401);
        assert_eq!(cached.get_as(&other, &[]).status, 200);
        assert!(is_hit(&cached.get_as(&other, &[])));
        assert!(!is_hit(&cached.get()));
    });
}

#[test]
fn stored_404_is_per_credential() {
    let turn = Turn::default();
    each("{ ttl: 5m, negative_ttl: 2s }", responding(&turn), |cached| {
        let other = cached.recorder.token_of("other@clients");
        turn.set(4);
        wait_for("a hit before it is forgotten", || {
            assert_eq!(cached.fresh().status, 404);
            let again = cached.get();
            (again.status == 404 && is_hit(&again)).then_some(())
        });
        turn.set(0);
        let response = cached.get_as(&other, &[]);
        assert_eq!((response.status, is_hit(&response)), (200, false), "another is not told so");
    });
}

/// A slow read begins. A `no-cache` read is faster. The response of the slow one must not be served afterwards.
#[test]
fn slow_fetch_does_not_replace_a_newer_entry() {
    const SLOW: &str = "2026-01-01T00:00:05.000Z";
    const FAST: &str = "2026-01-01T00:00:09.000Z";
    for (slow, fast, status_, shown, expected) in [
        (SLOW, FAST, 200, "slow", Some("fast")),
        // Without versions that differ the later start counts, also for who waits for the other.
        (SLOW, SLOW, 200, "fast", Some("fast")),
        // What ends it is newer than what was on its way.
        (SLOW, FAST, 404, "slow", None),
        (FAST, SLOW, 200, "slow", Some("slow")),
    ] {
        let gate = Gate::closed();
        let own = gate.clone();
        let act = move |call: &mut Call| {
            let (which, version, status) = match call.turn {
                0 => ("slow", slow, 200),
                1 => ("fast", fast, status_),
                _ => ("later", "2026-01-01T00:00:30.000Z", 200),
            };
            if call.turn == 0 {
                own.pass();
            }
            let mut body = session(&json!({ "which": which }));
            body["updated_at"] = json!(version);
            call.json(status, &body)
        };
        each("{ ttl: 5m }", act, |cached| {
            gate.set(false);
            let address = cached.gateway.address();
            let mut first = Connection::open(address).unwrap();
            first.write(&Request::new("GET", &path()).bearer(&cached.token).bytes(address)).unwrap();
            cached.recorder.wait(1);
            assert_eq!(cached.fresh().status, status_);
            gate.set(true);
            assert_eq!(which(&first.response(false).unwrap()), shown, "{slow} {fast} {status_}");
            let response = cached.get();
            let expected = (expected.unwrap_or("later"), expected.is_some());
            assert_eq!((which(&response).as_str(), is_hit(&response)), expected, "{slow} {fast} {status_}");
        });
    }
}

/// A read begins, then a `no-cache` read. The provider may have processed them in either order. Both get their
/// response, and neither is served afterwards.
#[test]
fn concurrent_fetches_leave_no_older_entry() {
    for version in [Some(STORED), None] {
        let (first, second) = (Gate::closed(), Gate::closed());
        let gates = [first.clone(), second.clone()];
        let act = move |call: &mut Call| {
            if let Some(gate) = gates.get(call.turn) {
                gate.pass();
            }
            call.json(200, &shown(version, ["new", "old"].get(call.turn).unwrap_or(&"now")))
        };
        each("{ ttl: 5m, stale_if_error: 5m }", act, |cached| {
            first.set(false);
            second.set(false);
            let mut one = cached.reading(&[]);
            let mut other = cached.reading(&[("Cache-Control", "no-cache")]);
            first.set(true);
            assert_eq!(which(&one.response(false).unwrap()), "new");
            assert_eq!(which(&cached.get()), "new");
            second.set(true);
            assert_eq!(which(&other.response(false).unwrap()), "old");
            let response = cached.get();
            assert_eq!((which(&response).as_str(), is_hit(&response)), ("now", false), "{version:?}");
            assert!(is_hit(&cached.get()));
        });
    }
}

#[test]
fn no_cache_request_bypasses_the_entry_and_reports_it() {
    each(
        "{ ttl: 5m }",
        |call: &mut Call| call.as_auth0(),
        |cached| {
            cached.get();
            for (header, value, expected) in [
                ("Cache-Control", "no-cache", "sessiongate; fwd=request; stored"),
                ("Cache-Control", "max-age=0", "sessiongate; fwd=request; stored"),
                ("Cache-Control", "min-fresh=100000", "sessiongate; fwd=request; stored"),
                ("Cache-Control", "no-cache, no-store", "sessiongate; fwd=request"),
                ("Pragma", "no-cache", "sessiongate; fwd=request; stored"),
            ] {
                let response = cached.get_as(&cached.token, &[(header, value)]);
                assert_eq!(status(&response), expected, "{header}: {value}");
            }
            for value in ["max-age=100000", "no-store", "max-stale", "only-if-cached", "No-Transform"] {
                assert!(is_hit(&cached.get_as(&cached.token, &[("Cache-Control", value)])), "{value}");
            }
            assert!(is_hit(
                &cached.get_as(&cached.token, &[("Cache-Control", "max-age=1000"), ("Pragma", "no-cache")])
            ));
        },
    );
}

#[test]
fn no_store_request_neither_stores_nor_drops() {
    each(
        "{ ttl: 5m }",
        |call: &mut Call| call.as_auth0(),
        |cached| {
            let no_store = |value| status(&cached.get_as(&cached.token, &[("Cache-Control", value)])).to_owned();
            for _ in 0..2 {
                assert_eq!(no_store("no-store"), "sessiongate; fwd=miss");
            }
            assert_eq!(status(&cached.get()), "sessiongate; fwd=miss; stored");
            assert_eq!(no_store("no-cache, no-store"), "sessiongate; fwd=request");
            assert!(is_hit(&cached.get()));
        },
    );
}

#[test]
fn client_preferences_are_not_sent_on_shared_fetches() {
    each(
        "{ ttl: 5m }",
        |call: &mut Call| call.as_auth0(),
        |cached| {
            let liked = [
                ("Cookie", "a=b"),
                ("Accept-Language", "de"),
                ("Accept", "text/html"),
                ("Accept-Charset", "utf-16"),
                ("Origin", "https://a.example"),
                ("Referer", "https://a.example/"),
                ("Proxy-Authorization", "Basic x"),
                ("Prefer", "return=minimal"),
                ("X-Anything", "1"),
                ("User-Agent", "test"),
                ("Auth0-Client", "x"),
            ];
            assert_eq!(status(&cached.get_as(&cached.token, &liked)), "sessiongate; fwd=miss; stored");
            let seen = cached.recorder.seen().pop().unwrap();
            let mut names: Vec<String> = seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.sort();
            let sent =
                ["accept", "accept-encoding", "auth0-client", "authorization", "host", "traceparent", "user-agent"];
            assert_eq!(names, sent);
            assert_eq!(seen.header("Accept"), Some("application/json"));
            assert_eq!(seen.header("Accept-Encoding"), Some("identity"));
        },
    );
}

#[test]
fn response_with_unsupported_vary_is_not_stored() {
    let vary = Arc::new(Mutex::new(""));
    let own = vary.clone();
    let act = move |call: &mut Call| {
        let head = format!("Vary: {}\r\n", own.lock().unwrap());
        call.response(200, &head, &session(&json!({})).to_string())
    };
    each("{ ttl: 5m }", act, |cached| {
        for (value, stored) in [
            ("*", false),
            ("Origin, *", false),
            ("User-Agent", false),
            ("Authorization", false),
            ("origin,accept-encoding", true),
            ("Cookie, Accept-Language", true),
        ] {
            *vary.lock().unwrap() = value;
            cached.fresh();
            assert_eq!(is_hit(&cached.get()), stored, "{value}");
        }
    });
}

/// A session as of this version, where there is one.
fn shown(version: Option<&str>, which: &str) -> Value {
    let mut body = session(&json!({ "which": which }));
    match version {
        Some(version) => body["updated_at"] = json!(version),
        None => drop(body.as_object_mut().unwrap().remove("updated_at")),
    }
    body
}

fn which(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["session_metadata"]["which"].as_str().unwrap().to_owned()
}

const OLD: &str = "2026-01-01T00:00:03.000Z";
const STORED: &str = "2026-01-01T00:00:05.000Z";
const NEW: &str = "2026-01-01T00:00:09.000Z";

/// A provider that shows one session after another, and rejects writes once their gate is open.
struct Shows {
    session: Mutex<Value>,
    reads: Gate,
    writes: Gate,
}

impl Shows {
    fn new() -> Arc<Shows> {
        Arc::new(Shows { session: Mutex::new(json!({})), reads: Gate::closed(), writes: Gate::closed() })
    }

    fn act(self: &Arc<Shows>) -> impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + use<> {
        let own = self.clone();
        move |call: &mut Call| {
            call.body()?;
            if call.seen.method == "GET" {
                let session = own.session.lock().unwrap().clone();
                own.reads.pass();
                return call.json(200, &session);
            }
            own.writes.pass();
            call.json(400, &json!({ "statusCode": 400 }))
        }
    }

    fn begin(&self, session: Value) {
        self.set(session);
        self.reads.set(true);
        self.writes.set(false);
    }

    fn set(&self, session: Value) {
        *self.session.lock().unwrap() = session;
    }
}

impl Cached {
    /// A request whose response is read later.
    fn sent(&self, request: Request) -> Connection {
        let address = self.gateway.address();
        let mut connection = Connection::open(address).unwrap();
        connection.write(&request.bearer(&self.token).bytes(address)).unwrap();
        connection
    }

    /// A write that the provider has, and holds: the session is marked.
    fn writing(&self) -> Connection {
        let request = Request::new("PATCH", &path()).json(r#"{"session_metadata":{"a":"b"}}"#);
        let (before, connection) = (self.recorder.count_of("PATCH"), self.sent(request));
        wait_for("the write at the provider", || (self.recorder.count_of("PATCH") > before).then_some(()));
        connection
    }

    fn reading(&self, headers: &[(&str, &str)]) -> Connection {
        let request = Request::new("GET", &path());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let (before, connection) = (self.recorder.count_of("GET"), self.sent(request));
        wait_for("the read at the provider", || (self.recorder.count_of("GET") > before).then_some(()));
        connection
    }
}

const UNSTORED: &[(&str, &str)] = &[("Cache-Control", "no-cache, no-store")];

#[test]
fn newer_unstorable_response_drops_the_entry() {
    let shows = Shows::new();
    each("{ ttl: 5m, stale_if_error: 5m }", shows.act(), |cached| {
        let cases = [
            (Some(NEW), "second", true),
            // Without versions, the later start counts, unless the response is the same.
            (Some(STORED), "second", true),
            (Some(STORED), "first", false),
            (None, "second", true),
            (Some(OLD), "second", false),
        ];
        for (day, (version, second, ends)) in cases.into_iter().enumerate() {
            for bypassed in [false, true] {
                // What an earlier case has left is older than all of this.
                let day = format!("2026-02-{:02}", 10 + 2 * day + usize::from(bypassed));
                let on_day = |version: &'static str| version.replace("2026-01-01", &day);
                shows.begin(shown(Some(&on_day(STORED)), "first"));
                assert_eq!(which(&cached.fresh()), "first");
                assert!(is_hit(&cached.get()));
                shows.set(shown(version.map(on_day).as_deref(), second));
                let seen = if bypassed {
                    let mut write = cached.writing();
                    let seen = cached.get();
                    assert_eq!(status(&seen), "sessiongate; fwd=bypass");
                    shows.writes.set(true);
                    assert_eq!(write.response(false).unwrap().status, 400, "it changed nothing");
                    seen
                } else {
                    cached.get_as(&cached.token, UNSTORED)
                };
                assert_eq!(which(&seen), second);
                let what = format!("{version:?} {second} bypassed {bypassed}");
                assert_eq!(is_hit(&cached.get()), !ends, "{what}");
            }
        }
    });
}

#[test]
fn unstored_404_drops_the_entry() {
    let turn = Turn::default();
    each("{ ttl: 5m, stale_if_error: 5m, negative_ttl: 2s }", responding(&turn), |cached| {
        turn.set(0);
        cached.fresh();
        assert!(is_hit(&cached.get()));
        turn.set(4);
        assert_eq!(cached.get_as(&cached.token, UNSTORED).status, 404);
        turn.set(503);
        assert_eq!(cached.get().status, 503);
    });
}

/// A slow read begins. Another one is faster, and its response cannot be stored. The slow response must not be stored
/// after it.
#[test]
fn slow_fetch_is_not_stored_after_an_unstorable_response() {
    for version in [Some(NEW), Some(STORED), None] {
        let gate = Gate::closed();
        let own = gate.clone();
        let act = move |call: &mut Call| match call.turn {
            0 => {
                own.pass();
                call.json(200, &shown(Some(STORED), "first"))
            }
            _ => call.json(200, &shown(version, "second")),
        };
        each("{ ttl: 5m }", act, |cached| {
            gate.set(false);
            let mut slow = cached.reading(&[]);
            assert_eq!(which(&cached.get_as(&cached.token, UNSTORED)), "second");
            gate.set(true);
            assert_eq!(which(&slow.response(false).unwrap()), "first");
            let response = cached.get();
            assert_eq!((which(&response).as_str(), is_hit(&response)), ("second", false), "{version:?}");
        });
    }
}

/// A read begins, and then a write that the provider will reject. The response to the read arrives while the write is
/// in flight.
#[test]
fn newer_response_during_a_write_drops_the_entry() {
    let shows = Shows::new();
    each("{ ttl: 5m }", shows.act(), |cached| {
        for version in [Some(STORED), None, Some(NEW)] {
            shows.begin(shown(Some(STORED), "first"));
            cached.fresh();
            assert!(is_hit(&cached.get()));
            shows.set(shown(version, "second"));
            shows.reads.set(false);
            let mut read = cached.reading(&[("Cache-Control", "no-cache")]);
            let mut write = cached.writing();
            shows.reads.set(true);
            assert_eq!(which(&read.response(false).unwrap()), "second");
            shows.writes.set(true);
            assert_eq!(write.response(false).unwrap().status, 400);
            assert_eq!(which(&cached.get()), "second", "{version:?}");
        }
    });
}
