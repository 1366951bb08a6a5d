//! What the access log and the metrics say of requests to the provider: a slow provider, one that is down, rejects, or
//! closes a connection that is used again.

use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::{Connection, Gate, Gateway, Request, unused_address, wait_for};
use serde_json::{Value, json};
use std::io;

const QUOTA: &str = "X-RateLimit-Limit: 50\r\nX-RateLimit-Remaining: 7\r\nX-RateLimit-Reset: 1700000000\r\n";

fn session() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

/// A gateway before a provider.
struct Place {
    provider: Recorder,
    gateway: Gateway,
}

impl Place {
    /// The provider responds as the test says. `more` lines of the upstream.
    fn start(more: &str, act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Place {
        let provider = Recorder::start(act);
        let gateway = Gateway::start(&provider.upstream(more));
        gateway.ready();
        Place { provider, gateway }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).bearer(&self.provider.token())
    }

    fn read(&self) -> Request {
        self.request("GET", &session())
    }

    fn write(&self) -> Request {
        self.request("PATCH", &session()).json(r#"{"session_metadata":{"team":"blue"}}"#)
    }

    /// Sends a request; its response is read later.
    fn begin(&self, request: &Request) -> Connection {
        let mut connection = Connection::open(self.gateway.address()).unwrap();
        connection.write(&request.bytes(self.gateway.address())).unwrap();
        connection
    }

    /// Sends a request, and gives its access log line.
    fn line(&self, request: &Request) -> Value {
        let before = lines(&self.gateway).len();
        request.send(&self.gateway.url());
        wait_for("the line of a request", || lines(&self.gateway).get(before).cloned())
    }
}

/// The access log lines so far.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.iter().filter(|line| line.contains(r#""message":"request""#));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The fields of a line that say what happened at the provider, but for the duration, which must be there if there was
/// an attempt.
fn exchange(line: &Value) -> Value {
    let names = ["upstream_status", "upstream_attempts", "quota_limit", "quota_remaining", "quota_reset"];
    let fields = names.into_iter().filter_map(|name| Some((name.to_owned(), line.get(name)?.clone())));
    let duration = line.get("upstream_duration_us").and_then(Value::as_u64);
    assert_eq!(duration.is_some(), line.get("upstream_attempts").is_some(), "{line}");
    assert!(duration.unwrap_or_default() <= line["duration_us"].as_u64().unwrap(), "{line}");
    Value::Object(fields.collect())
}

fn exchange_with_quota(status: u16) -> Value {
    json!({
        "upstream_status": status, "upstream_attempts": 1,
        "quota_limit": 50, "quota_remaining": 7, "quota_reset": 1_700_000_000,
    })
}

#[test]
fn log_tells_what_happened_at_the_provider() {
    let place = Place::start("cache: {}", |call: &mut Call| {
        call.body()?;
        let status = if call.seen.target.ends_with("/limited") { 429 } else { 200 };
        call.response(status, QUOTA, &crate::harness::recorder::session(&json!({"team": "blue"})).to_string())
    });
    let [miss, hit] = [(); 2].map(|()| place.line(&place.read()));
    assert_eq!((&miss["cache"], exchange(&miss)), (&json!("miss"), exchange_with_quota(200)));
    assert_eq!((&hit["cache"], exchange(&hit)), (&json!("hit"), json!({})));
    let uncached = place.line(&place.request("GET", "/api/v2/refresh-tokens/rt_0123456789abcdef"));
    assert_eq!((&uncached["operation"], exchange(&uncached)), (&json!("read_refresh_token"), exchange_with_quota(200)));
    assert_eq!(exchange(&place.line(&place.write())), exchange_with_quota(200));
    let invalidating = place.line(&place.request("PATCH", "/api/v2/users/auth0%7Cx").json("{}"));
    assert_eq!(
        (&invalidating["operation"], exchange(&invalidating)),
        (&json!("change_related"), exchange_with_quota(200))
    );
    assert_eq!(exchange(&place.line(&place.request("GET", "/api/v2/clients"))), exchange_with_quota(200));
    let limited = place.line(&place.request("GET", "/api/v2/limited"));
    assert_eq!((&limited["status"], exchange(&limited)), (&json!(429), exchange_with_quota(429)));
    let rejected = place.line(&Request::new("GET", &session()));
    assert_eq!((&rejected["status"], exchange(&rejected)), (&json!(401), json!({})));
}

#[test]
fn read_that_joins_another_fetch_has_no_exchange_of_its_own() {
    let gate = Gate::closed();
    let own = gate.clone();
    let place = Place::start("cache: {}", move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    let mut all = vec![place.begin(&place.read())];
    place.provider.wait(1);
    all.push(place.begin(&place.read()));
    gate.set(true);
    for connection in &mut all {
        assert_eq!(connection.response(false).unwrap().status, 200);
    }
    let lines = wait_for("two lines", || Some(lines(&place.gateway)).filter(|lines| lines.len() == 2));
    for line in lines {
        let fetched = line["cache"] == "miss";
        let expected = if fetched { json!({"upstream_status": 200, "upstream_attempts": 1}) } else { json!({}) };
        assert_eq!(exchange(&line), expected, "{line}");
    }
    assert_eq!(place.provider.count(), 1);
}

/// The second request of each kind finds its connection closed, and is sent again.
#[test]
fn attempts_are_counted() {
    for path in [session(), "/api/v2/clients".to_owned()] {
        let place = Place::start("", |call: &mut Call| match call.turn {
            1 => Ok(Then::Close),
            _ => call.as_auth0(),
        });
        let attempts = [(); 2].map(|()| exchange(&place.line(&place.request("GET", &path))));
        let with = |attempts: u64| json!({"upstream_status": 200, "upstream_attempts": attempts});
        assert_eq!(attempts, [with(1), with(2)], "{path}");
    }
}

/// Governed, invalidating and pass-through requests.
fn kinds(place: &Place) -> [Request; 4] {
    let change = place.request("PATCH", "/api/v2/users/auth0%7Cx").json("{}");
    [place.read(), place.write(), change, place.request("GET", "/api/v2/clients")]
}

#[test]
fn failure_has_duration_and_attempts_but_no_status() {
    let place = Place::start("timeouts: { first_byte: 100ms }", |call: &mut Call| {
        call.body()?;
        // Until the gateway gives up.
        let _ = call.take(1);
        Ok(Then::Close)
    });
    for request in kinds(&place) {
        let line = place.line(&request);
        assert_eq!((&line["status"], exchange(&line)), (&json!(504), json!({"upstream_attempts": 1})), "{line}");
        assert!(line["upstream_duration_us"].as_u64().unwrap() >= 50_000, "{line}");
    }
}

#[test]
fn attempt_without_a_connection_counts() {
    let mut place = Place::start("", |call: &mut Call| call.as_auth0());
    let yaml = place.provider.upstream("").replace(
        &format!("    url: {}\n", place.provider.url()),
        &format!("    url: http://{}\n", unused_address([127, 0, 9, 44])),
    );
    place.gateway = Gateway::start(&yaml);
    place.gateway.ready();
    for request in kinds(&place) {
        let line = place.line(&request);
        assert_eq!((&line["status"], exchange(&line)), (&json!(502), json!({"upstream_attempts": 1})), "{line}");
    }
}

#[test]
fn request_whose_client_leaves_shows_that_it_was_at_the_provider() {
    let gate = Gate::closed();
    let own = gate.clone();
    let place = Place::start("", move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    for (turn, request) in [place.read(), place.request("GET", "/api/v2/clients")].iter().enumerate() {
        let client = place.begin(request);
        place.provider.wait(turn + 1);
        drop(client);
        let line = wait_for("the line of a request", || lines(&place.gateway).get(turn).cloned());
        assert_eq!((&line["decision"], exchange(&line)), (&json!("client_gone"), json!({"upstream_attempts": 1})));
    }
    gate.set(true);
}
