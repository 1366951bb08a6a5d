//! Okta's Sessions API through the gateway, against a simulated org.

use crate::harness::{Connection, Gate, Gateway, Request, Response, Scripted, json_response, wait_for};
use serde_json::{Value, json};
use sessiongate::sandbox::okta::Org;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

const USER: &str = "00ubgaSARVOQDIOXMORI";
const OTHER_USER: &str = "00uit00ZK6ELuzPoD0g3";
const HOUR: Duration = Duration::from_secs(3600);

/// A simulated org, and a gateway in front of it that verifies its tokens.
struct Okta {
    _runtime: Runtime,
    org: Org,
    gateway: Gateway,
    token: String,
}

impl Okta {
    fn start() -> Okta {
        Okta::start_with(|url| format!("{{ issuer: {url}, audience: {url}, jwks: {url}/oauth2/v1/keys }}"))
    }

    fn start_with(auth: impl Fn(&str) -> String) -> Okta {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let org = runtime.block_on(Org::start(([127, 0, 0, 1], 0).into())).unwrap();
        let (url, auth) = (org.url().to_owned(), auth(org.url()));
        let upstream = format!("dialect: okta\n    url: {url}\n    auth: {auth}\n    cache: {{ ttl: 5m }}\n");
        let gateway = Gateway::start(&format!("upstreams:\n  okta:\n    {upstream}"));
        gateway.ready();
        let token = org.sign(json!({}));
        Okta { _runtime: runtime, org, gateway, token }
    }

    fn send(&self, request: &Request) -> Response {
        request.send(&self.gateway.url())
    }

    /// Sends a request with the token of every scope.
    fn call(&self, method: &str, path: &str) -> Response {
        self.send(&Request::new(method, path).bearer(&self.token))
    }

    fn read(&self, id: &str) -> Response {
        self.call("GET", &session(id))
    }

    /// A session whose next read is a hit.
    fn cached(&self, user: &str) -> String {
        let (id, _) = self.org.sign_in(user, HOUR);
        assert_eq!(served_from(&self.read(&id)), "fwd=miss");
        assert_eq!(served_from(&self.read(&id)), "hit");
        id
    }

    /// A request of a browser.
    fn browse(&self, method: &str, path: &str, cookie: &str) -> Response {
        self.send(&Request::new(method, path).header("Cookie", &format!("sid={cookie}")))
    }
}

fn session(id: &str) -> String {
    format!("/api/v1/sessions/{id}")
}

fn served_from(response: &Response) -> String {
    let from = response.header("cache-status").unwrap_or_default().split(';').nth(1).unwrap_or_default();
    from.trim().to_owned()
}

fn expiry(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["expiresAt"].clone()
}

/// Expects an error in Okta's shape.
fn expect_error(response: &Response, status: u16, code: &str) {
    let body = response.json();
    assert_eq!((response.status, body["errorCode"].as_str()), (status, Some(code)), "{body}");
    let texts = ["errorSummary", "errorLink", "errorId"];
    assert!(texts.iter().all(|name| body[*name].is_string()) && body["errorCauses"].is_array(), "{body}");
}

#[test]
fn a_refresh_is_visible_in_the_next_read() {
    let okta = Okta::start();
    let id = okta.cached(USER);
    let before = expiry(&okta.read(&id));
    let refreshed = expiry(&okta.call("POST", &format!("{}/lifecycle/refresh", session(&id))));
    assert_ne!(before, refreshed);
    let after = okta.read(&id);
    assert_eq!((served_from(&after).as_str(), expiry(&after)), ("fwd=miss", refreshed));
    assert_eq!(served_from(&okta.read(&id)), "hit");
    let refresh = Request::new("POST", &format!("{}/lifecycle/refresh", session(&id))).bearer(&okta.token);
    let minimal = okta.send(&refresh.header("Prefer", "return=minimal"));
    assert_eq!(minimal.status, 204);
    assert_eq!(served_from(&okta.read(&id)), "fwd=miss");
}

#[test]
fn a_revoked_session_is_not_found() {
    let okta = Okta::start();
    let (id, other) = (okta.cached(USER), okta.cached(USER));
    assert_eq!(okta.call("DELETE", &session(&id)).status, 204);
    expect_error(&okta.read(&id), 404, "E0000007");
    assert_eq!(served_from(&okta.read(&other)), "hit");
    expect_error(&okta.call("DELETE", &session(&id)), 404, "E0000007");
}

#[test]
fn ending_all_sessions_of_a_user_invalidates_all() {
    let okta = Okta::start();
    for (method, path, status) in [
        ("DELETE", format!("/api/v1/users/{USER}/sessions?oauthTokens=true"), 204),
        ("POST", format!("/api/v1/users/{USER}/lifecycle/suspend"), 200),
    ] {
        let (first, second, other) = (okta.cached(USER), okta.cached(USER), okta.cached(OTHER_USER));
        assert_eq!(okta.call(method, &path).status, status, "{method} {path}");
        for id in [first, second] {
            expect_error(&okta.read(&id), 404, "E0000007");
        }
        assert_eq!(served_from(&okta.read(&other)), "fwd=miss");
    }
}

#[test]
fn no_read_shows_a_session_after_its_expiry() {
    let okta = Okta::start();
    let (id, _) = okta.org.sign_in(USER, Duration::from_secs(2));
    let expires = humantime::parse_rfc3339(expiry(&okta.read(&id)).as_str().unwrap()).unwrap();
    wait_for("the session to expire", || {
        let is_over = SystemTime::now() > expires;
        let response = okta.read(&id);
        if is_over {
            expect_error(&response, 404, "E0000007");
        }
        is_over.then_some(())
    });
}

#[test]
fn scopes_are_a_list_and_are_checked_before_the_provider() {
    let okta = Okta::start();
    let id = okta.cached(USER);
    let calls = okta.org.calls();
    let reader = okta.org.sign(json!({ "scp": ["openid", "okta.sessions.read"] }));
    let manager = okta.org.sign(json!({ "scp": ["okta.sessions.manage"] }));
    let send = |method: &str, path: &str, token: &str| okta.send(&Request::new(method, path).bearer(token));
    expect_error(&send("DELETE", &session(&id), &reader), 403, "E0000006");
    expect_error(&send("GET", &session(&id), &manager), 403, "E0000006");
    expect_error(&send("DELETE", &format!("/api/v1/users/{USER}/sessions"), &manager), 403, "E0000006");
    let missing = okta.send(&Request::new("GET", &session(&id)));
    expect_error(&missing, 401, "E0000011");
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    assert_eq!(okta.org.calls(), calls);
    let with_cookie = Request::new("GET", &session(&id)).bearer(&okta.token).header("Cookie", "sid=102");
    assert_eq!(served_from(&okta.send(&with_cookie)), "fwd=miss", "Okta may read the cookie");
    // Administrators' roles differ, so each token has its own entry.
    assert_eq!(served_from(&send("GET", &session(&id), &reader)), "fwd=miss");
    assert_eq!(served_from(&send("GET", &session(&id), &reader)), "hit");
}

#[test]
fn api_tokens_are_left_to_okta() {
    let okta = Okta::start_with(|_| "forward".to_owned());
    let (id, _) = okta.org.sign_in(USER, HOUR);
    let read =
        |token: &str| okta.send(&Request::new("GET", &session(&id)).header("Authorization", &format!("SSWS {token}")));
    let found: Vec<String> = ["00a", "00a", "00b"].iter().map(|token| served_from(&read(token))).collect();
    assert_eq!(found, ["fwd=miss", "hit", "fwd=miss"]);
}

#[test]
fn reads_of_the_current_session_pass_through() {
    let okta = Okta::start();
    let (id, cookie) = okta.org.sign_in(USER, HOUR);
    let calls = okta.org.calls();
    for _ in 0..2 {
        let response = okta.browse("GET", "/api/v1/sessions/me", &cookie);
        assert_eq!((response.status, response.json()["id"].as_str()), (200, Some(id.as_str())));
        assert_ne!(served_from(&response), "hit");
    }
    assert_eq!(okta.org.calls(), calls + 2);
    expect_error(&okta.browse("GET", "/api/v1/sessions/me", "102unknown"), 404, "E0000007");
}

#[test]
fn a_write_with_a_cookie_that_okta_accepts_is_visible_in_the_next_read() {
    let okta = Okta::start();
    let (id, cookie) = okta.org.sign_in(USER, HOUR);
    let before = expiry(&okta.read(&id));
    let refreshed = expiry(&okta.browse("POST", "/api/v1/sessions/me/lifecycle/refresh", &cookie));
    assert_ne!(before, refreshed);
    assert_eq!(expiry(&okta.read(&id)), refreshed);
    let other = okta.cached(OTHER_USER);
    assert_eq!(okta.browse("DELETE", "/api/v1/sessions/me", &cookie).status, 204);
    expect_error(&okta.read(&id), 404, "E0000007");
    assert_eq!(served_from(&okta.read(&other)), "fwd=miss", "the gateway cannot tell which session it was");
}

#[test]
fn a_write_with_a_cookie_that_okta_rejects_invalidates_nothing() {
    let okta = Okta::start();
    let id = okta.cached(USER);
    for cookie in ["", "102unknown", &id] {
        expect_error(&okta.browse("DELETE", "/api/v1/sessions/me", cookie), 404, "E0000007");
        expect_error(&okta.browse("POST", "/api/v1/sessions/me/lifecycle/refresh", cookie), 404, "E0000007");
        assert_eq!(served_from(&okta.read(&id)), "hit", "{cookie}");
    }
    expect_error(&okta.send(&Request::new("DELETE", "/api/v1/sessions/me")), 404, "E0000007");
    // Another spelling could reach the operation at Okta, and be another path here.
    expect_error(&okta.send(&Request::new("DELETE", "/api/v1/sessions/%6de")), 400, "E0000001");
    expect_error(
        &okta.send(&Request::new("POST", &format!("/api/v1/users/{USER}/lifecycle/suspend"))),
        401,
        "E0000011",
    );
    assert_eq!(served_from(&okta.read(&id)), "hit");
}

#[test]
fn a_fetch_from_before_a_write_with_a_cookie_is_not_shown_after_it() {
    let (gate, ended) = (Gate::closed(), Arc::new(AtomicBool::new(false)));
    let (held, over) = (gate.clone(), ended.clone());
    let provider = Scripted::start(move |request| match request.path.as_str() {
        "/api/v1/sessions/me" => {
            over.store(true, Ordering::SeqCst);
            Response { status: 204, headers: Vec::new(), body: Vec::new() }
        }
        _ if over.load(Ordering::SeqCst) => json_response(404, r#"{"errorCode":"E0000007"}"#),
        _ => {
            held.pass();
            json_response(200, r#"{"id":"s1","expiresAt":"2999-01-01T00:00:00.000Z"}"#)
        }
    });
    let upstream = format!("dialect: okta\n    url: {}\n    auth: forward\n    cache: {{ ttl: 5m }}\n", provider.url());
    let gateway = Gateway::start(&format!("upstreams:\n  okta:\n    {upstream}"));
    let read = Request::new("GET", &session("s1")).bearer("t");
    let mut earlier = Connection::open(gateway.address()).unwrap();
    earlier.write(&read.bytes(gateway.address())).unwrap();
    wait_for("the read to reach the provider", || (provider.received().len() == 1).then_some(()));
    let closed = Request::new("DELETE", "/api/v1/sessions/me").header("Cookie", "sid=1").send(&gateway.url());
    assert_eq!(closed.status, 204);
    assert_eq!(read.send(&gateway.url()).status, 404, "it does not join the earlier fetch");
    gate.set(true);
    assert_eq!(earlier.response(false).unwrap().status, 200);
    assert_eq!(read.send(&gateway.url()).status, 404, "the earlier response is not stored");
}

#[test]
fn only_trusted_peers_may_set_forwarding_headers() {
    let provider = Scripted::start(|_| json_response(200, r#"{"id":"s1","expiresAt":"2999-01-01T00:00:00.000Z"}"#));
    let own = format!("127.0.0.1:{}", provider.port());
    let upstream = format!("dialect: okta\n    url: {}\n    auth: forward\n    cache: {{}}\n", provider.url());
    for (trusted, host, proto, client) in [
        ("[127.0.0.0/8]", "one.example", "https", "192.0.2.7, 127.0.0.1"),
        ("[10.0.0.0/8]", own.as_str(), "http", "127.0.0.1"),
    ] {
        let clients = format!("clients: {{ trusted_peers: {trusted} }}\n");
        let gateway = Gateway::start(&format!("upstreams:\n  okta:\n    {upstream}{clients}"));
        for (method, path) in [("GET", session("s1")), ("DELETE", session("s1")), ("GET", "/api/v1/users/1".into())] {
            let request = Request::new(method, &path).bearer("t").header("X-Forwarded-Host", "one.example");
            let request = request.header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7");
            assert_eq!(request.send(&gateway.url()).status, 200, "{method} {path}");
            let received = provider.received().pop().unwrap();
            let seen = ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"].map(|name| {
                let named = received.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
            });
            assert_eq!(seen, [vec![host], vec![proto], vec![client]], "{method} {path}, {trusted}");
        }
    }
}

/// Invalidations are at least a second apart. A write that waits for the next one is no request in flight at Okta.
#[test]
fn a_write_with_a_cookie_holds_no_slot_while_it_waits_for_the_invalidation() {
    let (close, refresh) = ("/api/v1/sessions/me", "/api/v1/sessions/me/lifecycle/refresh");
    let provider = Scripted::start(move |request| match request.path.as_str() {
        path if path == close => Response { status: 204, headers: Vec::new(), body: Vec::new() },
        _ => json_response(200, r#"{"id":"s1"}"#),
    });
    let limited = "auth: forward\n    cache: {}\n    limits: { in_flight: 1, wait: 10s }";
    let upstream = format!("dialect: okta\n    url: {}\n    {limited}\n", provider.url());
    let gateway = Gateway::start(&format!("upstreams:\n  okta:\n    {upstream}"));
    gateway.ready();
    for (method, path, end) in [("DELETE", close, "\r\n\r\n"), ("POST", refresh, r#"{"id":"s1"}"#)] {
        let write = Request::new(method, path).header("Cookie", "sid=1").header("Connection", "close");
        // The first write does not wait, and a slow machine may miss the wait of another.
        wait_for("a slot that is free during the wait", || {
            let before = provider.received().len();
            let mut stream = TcpStream::connect(gateway.address()).unwrap();
            stream.write_all(&write.bytes(gateway.address())).unwrap();
            stream.set_nonblocking(true).unwrap();
            let is_pending = || stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            wait_for("the write to arrive", || (provider.received().len() > before || !is_pending()).then_some(()));
            let mut found = None;
            while found.is_none() && is_pending() {
                let read = Request::new("GET", "/api/v1/users/1").bearer("t").send(&gateway.url());
                // A slot that is held until the response is sent would be free only after that.
                assert_eq!(read.status, 200);
                found = is_pending().then_some(());
            }
            stream.set_nonblocking(false).unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.1 20") && response.ends_with(end), "{response}");
            found
        });
    }
}
