//! What the access log and the metrics say of requests to the provider: a slow provider, one that is down, rejects, or
//! closes a connection that is used again.

use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::{Connection, Gate, Gateway, H2Provider, Reply, Request, Series, series, unused_address, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

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

/// The sum of all series of this name with these labels.
fn sum(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |one: &Series| {
        one.name == name && labels.iter().all(|(label, value)| one.labels.get(*label).is_some_and(|own| own == value))
    };
    series(&gateway.metrics()).iter().filter(|one| fits(one)).map(|one| one.value).sum()
}

/// How many requests were at the provider, by operation and outcome.
fn exchanges(gateway: &Gateway) -> BTreeMap<(String, String), f64> {
    let all = series(&gateway.metrics()).into_iter();
    let all = all.filter(|one| one.name == "sessiongate_upstream_duration_seconds_count");
    all.map(|one| ((one.labels["operation"].clone(), one.labels["outcome"].clone()), one.value)).collect()
}

fn counted(expected: &[(&str, &str, f64)]) -> BTreeMap<(String, String), f64> {
    expected.iter().map(|(operation, outcome, count)| (((*operation).into(), (*outcome).into()), *count)).collect()
}

/// The gauges of the provider's limit, without the age, which must be there if they are.
fn quota(gateway: &Gateway) -> Vec<f64> {
    let all = series(&gateway.metrics());
    let of = |name: &str| all.iter().filter(|one| one.name == name).map(|one| one.value).collect::<Vec<_>>();
    let values = ["sessiongate_upstream_quota_limit", "sessiongate_upstream_quota_remaining"].map(of).concat();
    assert_eq!(of("sessiongate_upstream_quota_age_seconds").len(), values.len() / 2);
    values
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
fn metrics_count_requests_at_the_provider_by_outcome() {
    let place = Place::start("cache: {}", |call: &mut Call| match call.seen.target.rsplit('/').next() {
        Some("limited") => call.response(429, "", "{}"),
        Some("missing") => call.response(404, "", "{}"),
        Some("down") => call.response(503, "", "{}"),
        _ => call.as_auth0(),
    });
    let gateway = &place.gateway;
    assert_eq!(exchanges(gateway), counted(&[]));
    for request in [place.read(), place.read()].into_iter().chain(kinds(&place)) {
        assert_eq!(request.send(&gateway.url()).status, 200);
    }
    for (path, status) in [("limited", 429), ("missing", 404), ("down", 503)] {
        assert_eq!(place.request("GET", &format!("/api/v2/{path}")).send(&gateway.url()).status, status);
    }
    let expected = counted(&[
        ("read_session", "2xx", 1.0),
        ("update_session", "2xx", 1.0),
        ("change_related", "2xx", 1.0),
        ("other", "2xx", 1.0),
        ("other", "429", 1.0),
        ("other", "4xx", 1.0),
        ("other", "5xx", 1.0),
    ]);
    assert_eq!(exchanges(gateway), expected, "a hit is not at the provider");
    assert_eq!(sum(gateway, "sessiongate_upstream_fetches_total", &[]), 3.0, "pass-through requests are no fetches");
    let requests = |status: &str| {
        let counted = || sum(gateway, "sessiongate_requests_total", &[("status", status)]);
        wait_for("the requests to be counted", || (counted() > 0.0).then(counted))
    };
    assert_eq!(["429", "4xx", "5xx"].map(requests), [1.0, 1.0, 1.0]);
}

#[test]
fn time_at_a_slow_provider_is_measured() {
    const DELAY: Duration = Duration::from_millis(300);
    let place = Place::start("cache: {}", |call: &mut Call| {
        call.body()?;
        thread::sleep(DELAY);
        call.as_auth0()
    });
    for request in kinds(&place) {
        let line = place.line(&request);
        assert!(line["upstream_duration_us"].as_u64().unwrap() >= DELAY.as_micros() as u64, "{line}");
    }
    let sum = |name: &str, labels: &[(&str, &str)]| sum(&place.gateway, name, labels);
    assert!(sum("sessiongate_upstream_duration_seconds_sum", &[]) >= 4.0 * DELAY.as_secs_f64());
    assert_eq!(sum("sessiongate_upstream_duration_seconds_bucket", &[("le", "0.25")]), 0.0);
    assert_eq!(sum("sessiongate_upstream_duration_seconds_bucket", &[("le", "+Inf")]), 4.0);
}

/// Reports a limit in the response, and what is left of it in the path of the request.
fn report(call: &mut Call) -> io::Result<Then> {
    call.body()?;
    let left = call.seen.target.rsplit('/').next().unwrap().to_owned();
    match left.parse::<u64>() {
        Ok(0) => call.response(429, "X-RateLimit-Limit: 50\r\nX-RateLimit-Remaining: 0\r\n", "{}"),
        Ok(left) => call.response(200, &format!("X-RateLimit-Limit: 50\r\nX-RateLimit-Remaining: {left}\r\n"), "{}"),
        Err(_) => call.response(200, QUOTA, &crate::harness::recorder::session(&json!({})).to_string()),
    }
}

#[test]
fn quota_is_shown_as_last_reported() {
    let place = Place::start("", report);
    let gateway = &place.gateway;
    let send = |path: &str| place.request("GET", path).send(&gateway.url()).status;
    assert_eq!(quota(gateway), [0.0; 0]);
    assert_eq!((send("/api/v2/9"), quota(gateway)), (200, vec![50.0, 9.0]));
    assert_eq!((send(&session()), quota(gateway)), (200, vec![50.0, 7.0]), "a governed read");
    assert_eq!((send("/api/v2/0"), quota(gateway)), (429, vec![50.0, 0.0]));
    let age = || sum(gateway, "sessiongate_upstream_quota_age_seconds", &[("upstream", "auth0")]);
    wait_for("the report to age", || (age() >= 1.0).then_some(()));
    assert_eq!(quota(gateway), [50.0, 0.0]);
    // An upstream that is not configured has no gauges.
    gateway.rewrite(&place.provider.upstream("").replace("  auth0:\n", "  other:\n"));
    gateway.signal("HUP");
    wait_for("the gauges to go", || quota(gateway).is_empty().then_some(()));
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
        assert_eq!(sum(&place.gateway, "sessiongate_upstream_duration_seconds_count", &[("outcome", "2xx")]), 2.0);
    }
}

/// Governed, invalidating and pass-through requests.
fn kinds(place: &Place) -> [Request; 4] {
    let change = place.request("PATCH", "/api/v2/users/auth0%7Cx").json("{}");
    [place.read(), place.write(), change, place.request("GET", "/api/v2/clients")]
}

#[test]
fn failure_has_duration_and_attempts_but_no_status() {
    let place = Place::start("cache: {}\ntimeouts: { first_byte: 100ms }", |call: &mut Call| {
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
    assert_eq!(exchanges(&place.gateway), one_failure_of_each_kind());
    assert_eq!(sum(&place.gateway, "sessiongate_upstream_fetches_total", &[("status", "failed")]), 3.0);
}

fn one_failure_of_each_kind() -> BTreeMap<(String, String), f64> {
    counted(&["read_session", "update_session", "change_related", "other"].map(|kind| (kind, "failed", 1.0)))
}

#[test]
fn attempt_without_a_connection_counts() {
    let mut place = Place::start("", |call: &mut Call| call.as_auth0());
    let yaml = place.provider.upstream("cache: {}").replace(
        &format!("    url: {}\n", place.provider.url()),
        &format!("    url: http://{}\n", unused_address([127, 0, 9, 44])),
    );
    place.gateway = Gateway::start(&yaml);
    place.gateway.ready();
    for request in kinds(&place) {
        let line = place.line(&request);
        assert_eq!((&line["status"], exchange(&line)), (&json!(502), json!({"upstream_attempts": 1})), "{line}");
    }
    assert_eq!(exchanges(&place.gateway), one_failure_of_each_kind());
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
    // Slow providers show in the times, even if no client waits for them.
    let expected = counted(&[("read_session", "none", 1.0), ("other", "none", 1.0)]);
    wait_for("both requests to be counted", || (exchanges(&place.gateway) == expected).then_some(()));
    gate.set(true);
}

/// Sends reads until the provider has got a second one, and gives the lines of all.
fn lines_until_stale(place: &Place) -> Vec<Value> {
    wait_for("the response to be stale", || {
        assert_eq!(place.read().send(&place.gateway.url()).status, 200);
        (place.provider.count() > 1).then_some(())
    });
    // The line of the read that came last is the last one.
    place.line(&place.read());
    lines(&place.gateway)
}

#[test]
fn fetch_in_the_background_is_counted_but_in_no_line() {
    let place = Place::start("cache: { ttl: 1s, stale_while_revalidate: 5m }", |call: &mut Call| call.as_auth0());
    let lines = lines_until_stale(&place);
    assert_eq!(lines.iter().filter(|line| exchange(line) != json!({})).count(), 1, "the first one: {lines:#?}");
    assert_eq!(lines[0]["cache"], "miss");
    wait_for("two requests at the provider", || {
        (sum(&place.gateway, "sessiongate_upstream_duration_seconds_count", &[("outcome", "2xx")]) >= 2.0).then_some(())
    });
}

#[test]
fn stale_hit_shows_the_failure_that_caused_it() {
    let place = Place::start("cache: { ttl: 1s, stale_if_error: 5m }", |call: &mut Call| match call.turn {
        0 => call.as_auth0(),
        _ => call.json(503, &json!({})),
    });
    lines_until_stale(&place);
    let failed = place.gateway.wait_for_log(|line| line.contains("\"upstream_status\":503"));
    let failed: Value = serde_json::from_str(&failed).unwrap();
    assert_eq!((&failed["status"], &failed["cache"]), (&json!(200), &json!("hit")), "{failed}");
}

#[test]
fn requests_over_http2_are_recorded_too() {
    let provider = H2Provider::start(None, |_| Reply::json(crate::harness::recorder::session(&json!({})).to_string()));
    let gateway = Gateway::start(&format!(
        "upstreams:\n  a: {{ dialect: auth0, url: \"http://{}\", auth: none, protocol: http2 }}\n",
        provider.address()
    ));
    for request in [
        Request::new("GET", &session()).bearer("x"),
        Request::new("GET", "/api/v2/clients"),
        Request::new("POST", "/api/v2/clients").json("{}"),
    ] {
        assert_eq!(request.send(&gateway.url()).status, 200);
    }
    let lines = wait_for("three lines", || Some(lines(&gateway)).filter(|lines| lines.len() == 3));
    for line in lines {
        assert_eq!(exchange(&line), json!({"upstream_status": 200, "upstream_attempts": 1}), "{line}");
    }
    let all = exchanges(&gateway);
    assert_eq!(all.values().sum::<f64>(), 3.0, "{all:?}");
}

/// A gRPC-web read of a session at ZITADEL.
fn call(gateway: &Gateway, timeout: &str) -> Value {
    let message = b"\0\0\0\0\x05\x0a\x03123";
    let request = Request::new("POST", "/zitadel.session.v2.SessionService/GetSession")
        .header("Content-Type", "application/grpc-web+proto")
        .header("Grpc-Timeout", timeout)
        .bearer("x");
    request.body(*message).send(&gateway.url());
    wait_for("the line of a call", || lines(gateway).pop())
}

fn zitadel(provider: &Recorder) -> Gateway {
    Gateway::start(&provider.upstream_as("none", "").replace("dialect: auth0", "dialect: zitadel"))
}

#[test]
fn call_has_the_status_that_its_trailers_have() {
    let provider = Recorder::start(|call: &mut Call| {
        call.body()?;
        let trailers = "grpc-status:5\r\n";
        let length = trailers.len();
        call.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: {}\r\n\r\n",
            length + 5
        ))?;
        call.send([0x80, 0, 0, 0, u8::try_from(length).unwrap()])?;
        call.send(trailers).map(|()| Then::Keep)
    });
    let gateway = zitadel(&provider);
    let line = call(&gateway, "1M");
    let expected = json!({"upstream_status": 404, "upstream_attempts": 1});
    assert_eq!((&line["status"], exchange(&line)), (&json!(200), expected), "{line}");
    assert_eq!(exchanges(&gateway), counted(&[("read_session", "4xx", 1.0)]));
}

#[test]
fn call_whose_own_deadline_passes_shows_that_it_was_at_the_provider() {
    let gate = Gate::closed();
    let own = gate.clone();
    let provider = Recorder::start(move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    let gateway = zitadel(&provider);
    let line = call(&gateway, "2S");
    gate.set(true);
    assert_eq!((&line["reason"], exchange(&line)), (&json!("upstream_timeout"), json!({"upstream_attempts": 1})));
    let expected = counted(&[("read_session", "none", 1.0)]);
    wait_for("the exchange to be counted", || (exchanges(&gateway) == expected).then_some(()));
}
