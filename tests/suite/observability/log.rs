//! The log: one access log line per request, and no secrets.

use crate::harness::{Gateway, Request, Response, Tenant, raw, wait_for};
use serde_json::{Value, json};
use sessiongate::proxy::{ACCESS_LOG, LogFieldKind};
use sessiongate::sandbox::auth0::{Options, Rate};
use std::collections::BTreeSet;

/// Metadata that must not appear in the log.
const CONFIDENTIAL: [&str; 4] = ["marigold", "larkspur", "foxglove", "hyacinth"];

const POLICY: &str = "
policies:
  strict:
    fields: { tier: { one_of: [marigold, larkspur] } }
    wipe: reject
";

/// A request, and its expected access log line.
struct Step {
    request: Request,
    line: Value,
}

fn step(request: Request, line: Value) -> Step {
    Step { request, line }
}

fn line(status: u16, operation: &str, decision: &str, cache: &str, reason: Option<&str>) -> Value {
    let mut line =
        json!({"status": status, "upstream": "auth0", "operation": operation, "decision": decision, "cache": cache});
    if let Some(reason) = reason {
        line["reason"] = json!(reason);
    }
    line
}

/// Every operation, decision and cache status that one caller can bring about.
fn steps(tenant: &Tenant) -> Vec<Step> {
    let token = tenant.token();
    let session = tenant.session_path();
    let (deleted, revoked) = (tenant.create_session(), tenant.create_session());
    let deleted = format!("/api/v2/sessions/{deleted}");
    let revoke = format!("/api/v2/sessions/{revoked}/revoke");
    let user = format!("/api/v2/users/{}", tenant.user_id().replace('|', "%7C"));
    let with = |method: &str, path: &str| Request::new(method, path).bearer(&token);
    let patch = |body: &str| with("PATCH", &session).json(body);
    let garbage = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    let rejected =
        |operation: &str, status: u16, reason: &str| line(status, operation, "rejected", "none", Some(reason));
    vec![
        step(with("GET", &session), line(200, "read_session", "responded", "miss", None)),
        step(with("GET", &session), line(200, "read_session", "responded", "hit", None)),
        step(
            patch(r#"{"session_metadata":{"tier":"marigold"}}"#),
            line(200, "update_session", "responded", "none", None),
        ),
        step(patch(r#"{"session_metadata":{"tier":"foxglove","other":1}}"#), rejected("update_session", 400, "policy")),
        step(patch(r#"{"session_metadata":"hyacinth"}"#), rejected("update_session", 400, "policy")),
        step(patch(r#"{"session_metadata":{"tier":"foxglove"#), rejected("update_session", 400, "malformed")),
        step(with("DELETE", &deleted), line(202, "delete_session", "responded", "none", None)),
        step(with("GET", &deleted), line(404, "read_session", "responded", "deleted", Some("deleted"))),
        step(with("POST", &revoke), line(202, "revoke_session", "responded", "none", None)),
        step(with("GET", &format!("{user}/sessions")), line(200, "list_sessions", "responded", "none", None)),
        step(
            with("DELETE", &format!("{user}/refresh-tokens")),
            line(202, "delete_user_refresh_tokens", "responded", "none", None),
        ),
        step(
            with("POST", &format!("{user}/revoke-access")).json(r#"{"foxglove":1}"#),
            rejected("revoke_access", 400, "policy"),
        ),
        step(
            with("PATCH", &user).json(r#"{"blocked":true}"#),
            line(200, "change_related", "passed_through", "none", None),
        ),
        step(with("GET", "/api/v2/foxglove"), line(404, "other", "passed_through", "none", None)),
        step(Request::new("GET", &session), rejected("read_session", 401, "credential_missing")),
        step(Request::new("GET", &session).bearer(garbage), rejected("read_session", 401, "token_signature")),
        step(
            Request::new("GET", &session).bearer(&tenant.tokens().expired),
            rejected("read_session", 401, "token_expired"),
        ),
        step(
            Request::new("DELETE", &session).bearer(&tenant.tokens().read_only),
            rejected("delete_session", 403, "scope"),
        ),
        step(with("GET", &format!("{session}?foxglove=1")), rejected("read_session", 400, "query")),
        step(with("GET", &format!("{session}/../foxglove")), rejected("other", 400, "path")),
    ]
}

/// The members in which a line has to agree.
fn agrees(line: &Value, expected: &Value) -> bool {
    let expected = expected.as_object().unwrap();
    expected.iter().all(|(name, value)| line[name] == *value) && line.get("reason") == expected.get("reason")
}

/// Sends everything and waits until every request has its line.
fn exercise(gateway: &Gateway, steps: &[Step]) -> Vec<Response> {
    gateway.ready();
    let responses = steps.iter().map(|step| step.request.send(&gateway.url())).collect();
    wait_for("the lines of all requests", || (requests(&gateway.log()).len() >= steps.len()).then_some(()));
    responses
}

fn requests(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| line.contains(r#""message":"request""#)).collect()
}

#[test]
fn each_request_has_one_access_log_line() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&(tenant.upstream("cache: {}\npolicy: strict") + POLICY));
    let steps = steps(&tenant);
    let responses = exercise(&gateway, &steps);
    let log = gateway.log();
    let lines: Vec<Value> = requests(&log).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), steps.len());
    let mut ids = BTreeSet::new();
    let mut faults = Vec::new();
    for (step, response) in steps.iter().zip(&responses) {
        // Lines are written when requests are over, so they need not have the order of their responses.
        let id = response.header("X-Request-Id").unwrap();
        let line = lines.iter().find(|line| line["request_id"] == id).unwrap();
        assert!(ids.insert(id), "{id} names two requests");
        if response.status != step.line["status"] || !agrees(line, &step.line) {
            faults.push(format!("{:?}\n  expected {}\n  found    {line}", step.request, step.line));
        }
        assert_eq!(line["client.address"], "127.0.0.1");
        assert!(line["method"].is_string() && line["timestamp"].is_string(), "{line}");
        assert_eq!(line["bytes"], response.body.len(), "{line}");
        assert!(line["duration_us"].as_u64().unwrap() > 0, "{line}");
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whether a value is of this type.
fn has_kind(value: &Value, kind: LogFieldKind) -> bool {
    match kind {
        LogFieldKind::String | LogFieldKind::Text => value.is_string(),
        LogFieldKind::List => value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string)),
        LogFieldKind::Number => value.is_number(),
        LogFieldKind::Boolean => value.is_boolean(),
    }
}

/// The fields of the reference, which is rendered from the declaration, are those of the log.
#[test]
fn access_log_lines_have_the_declared_fields() {
    // Its responses report a limit that no request reaches.
    let tenant = Tenant::start_with(Options { rate: Some(Rate { burst: 1_000, per_second: 0 }), ..Options::default() });
    let gateway = Gateway::start(&(tenant.upstream("cache: {}\npolicy: strict") + POLICY));
    exercise(&gateway, &steps(&tenant));
    let more = "log: { sample: 0.5 }\nclients: { trusted_peers: [127.0.0.0/8] }\n";
    let audit = POLICY.replace("  strict:\n", "  strict:\n    mode: audit\n    normalize: { key_case: lower }\n");
    let other = Gateway::start(&(tenant.upstream("cache: {}\npolicy: strict") + &audit + more));
    other.ready();
    let with = |method: &str| {
        let request = Request::new(method, &tenant.session_path()).bearer(&tenant.token());
        request.header("X-Forwarded-For", "203.0.113.7").header("User-Agent", "test")
    };
    assert_eq!(with("PATCH").json(r#"{"session_metadata":{"Note":"a"}}"#).send(&other.url()).status, 200);
    let log = wait_for("a line of a read and one of a write", || {
        assert_eq!(with("GET").send(&other.url()).status, 200);
        Some(other.log()).filter(|log| requests(log).len() > 1)
    });
    let owner = "callers: { scopes: \"read:*\" }, operations: [update_session], keys: { own: [note] }";
    let granted = tenant.upstream(&format!("grants: [{{ name: owner, {owner} }}]"));
    // Of several issuers, the line names the one of the token.
    let keys = format!("jwks: '{}/.well-known/jwks.json'", tenant.url());
    let second = format!("auth: [{{ issuer: https://other.example/, audience: x, {keys} }}, {{");
    let granted = granted.replacen("auth: {", &second, 1).replacen("/api/v2/ }", "/api/v2/ }]", 1);
    let granted = Gateway::start(&granted);
    granted.ready();
    assert_eq!(with("DELETE").send(&granted.url()).status, 403);
    assert_eq!(with("PATCH").json(r#"{"session_metadata":{"note":"a"}}"#).send(&granted.url()).status, 200);
    let denied = wait_for("the lines of both", || Some(granted.log()).filter(|log| requests(log).len() > 1));
    let mut optional = BTreeSet::new();
    for line in requests(&gateway.log()).into_iter().chain(requests(&log)).chain(requests(&denied)) {
        let value: Value = serde_json::from_str(line).unwrap();
        let mut found = value.as_object().unwrap().clone();
        let mut end = 0;
        for field in ACCESS_LOG {
            match found.remove(field.name) {
                Some(value) => {
                    assert!(has_kind(&value, field.kind), "{}: {value} is no {:?}", field.name, field.kind);
                    let at = line.find(&format!("\"{}\":", field.name)).unwrap();
                    assert!(at >= end, "{} has another place: {line}", field.name);
                    end = at;
                }
                None => assert!(field.presence != "all", "no {}: {line}", field.name),
            }
            if value.get(field.name).is_some() && field.presence != "all" {
                optional.insert(field.name);
            }
        }
        assert!(found.is_empty(), "not declared: {found:?}");
    }
    let declared = ACCESS_LOG.iter().filter(|field| field.presence != "all").map(|field| field.name);
    assert_eq!(optional, declared.collect(), "fields that some line has");
}

#[test]
fn access_log_names_violated_rules() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&(tenant.upstream("policy: strict") + POLICY));
    gateway.ready();
    let patch = Request::new("PATCH", &tenant.session_path()).bearer(&tenant.token());
    let body = r#"{"session_metadata":{"tier":"foxglove","other":1,"third":2}}"#;
    assert_eq!(patch.json(body).send(&gateway.url()).status, 400);
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["rules"], "type,one_of");
}

#[test]
fn session_hash_identifies_a_session() {
    let tenant = Tenant::start();
    let text = tenant.upstream("cache: {}") + "hash_key: { env: HASH_KEY }\n";
    let hash = |key: &str| {
        let gateway = Gateway::start_with(&text, &[("HASH_KEY", key)]);
        gateway.ready();
        let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
        for _ in 0..2 {
            assert_eq!(read.send(&gateway.url()).status, 200);
        }
        let log = wait_for("two lines", || Some(gateway.log()).filter(|log| requests(log).len() == 2));
        let hash = |line: &&String| serde_json::from_str::<Value>(line).unwrap()["session_hash"].to_string();
        let hashes: BTreeSet<String> = requests(&log).iter().map(hash).collect();
        assert_eq!(hashes.len(), 1);
        hashes.into_iter().next().unwrap()
    };
    let one = hash("0123456789abcdef");
    assert_eq!(one.len(), 34, "{one}");
    assert_eq!(one, hash("0123456789abcdef"), "the same key, the same hash");
    assert_ne!(one, hash("another key of 24 bytes!"));
}

/// Everything that callers send or read and that is confidential.
fn confidential(tenant: &Tenant, steps: &[Step]) -> Vec<String> {
    let mut all: Vec<String> = CONFIDENTIAL.map(String::from).into();
    all.push(tenant.session_id().into());
    all.push(tenant.user_id().into());
    all.push(tenant.user_id().split('|').next_back().unwrap().into());
    for step in steps {
        let bytes = step.request.bytes(([127, 0, 0, 1], 80).into());
        let text = String::from_utf8(bytes).unwrap();
        let first = text.lines().next().unwrap();
        // Session ids of the steps, and each part of each token.
        all.extend(first.split(['/', ' ', '?']).filter(|part| part.len() > 20).map(str::to_owned));
        let token = text.lines().find_map(|line| line.strip_prefix("Authorization: Bearer "));
        all.extend(token.iter().flat_map(|token| token.split('.')).map(str::to_owned));
    }
    all.sort();
    all.dedup();
    all
}

fn nothing_confidential(level: &str) {
    let tenant = Tenant::start();
    let text = tenant.upstream("cache: {}\npolicy: strict") + POLICY;
    let mut gateway = Gateway::start(&format!("{text}log: {{ level: {level} }}\n"));
    let steps = steps(&tenant);
    exercise(&gateway, &steps);
    let token = tenant.token();
    let session = tenant.session_path();
    for broken in [
        format!("GET {session} HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer {token}\r\n\r\n"),
        format!("GET {session}\r\n\r\n"),
        format!("GET {session} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nfoxglove\r\n\r\n"),
        format!(
            "PATCH {session} HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\nAuthorization: Bearer {token}\r\n\r\nhyacinth"
        ),
    ] {
        raw(gateway.address(), broken.as_bytes());
    }
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    let log = gateway.log();
    for line in &log {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.is_object() && line["message"].is_string(), "{line}");
    }
    let whole = format!("{}\n{}", log.join("\n"), gateway.stderr().join("\n"));
    for word in confidential(&tenant, &steps) {
        let found = whole.lines().find(|line| line.contains(&word));
        assert!(found.is_none(), "`{word}` stands in the log: {}", found.unwrap_or_default());
    }
    assert_eq!(gateway.stderr(), [""; 0]);
}

#[test]
fn log_contains_no_secrets() {
    nothing_confidential("info");
}

#[test]
fn log_contains_no_secrets_at_level_trace() {
    nothing_confidential("trace");
}

/// If a field has two names, a log collector misses half of the lines.
#[test]
fn all_log_lines_name_time_and_level_alike() {
    let tenant = Tenant::start();
    let mut gateway = Gateway::start(&tenant.upstream("cache: {}"));
    exercise(&gateway, &steps(&tenant));
    gateway.terminate();
    gateway.wait();
    let log = gateway.log();
    let frames = log.iter().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let time = ["time", "timestamp"].into_iter().filter(|name| line[*name].is_string());
        let upper = line["level"].as_str().unwrap().chars().all(char::is_uppercase);
        (time.collect::<Vec<_>>(), upper)
    });
    let frames: BTreeSet<_> = frames.collect();
    assert_eq!(frames.len(), 1, "names of times, and whether levels are in capitals: {frames:?}");
}

#[test]
fn access_log_can_be_disabled() {
    let tenant = Tenant::start();
    let mut gateway = Gateway::start(&(tenant.upstream("cache: {}") + "log: { requests: false }\n"));
    gateway.ready();
    let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    assert_eq!(read.send(&gateway.url()).status, 200);
    gateway.terminate();
    gateway.wait();
    assert_eq!(requests(&gateway.log()), [""; 0]);
    assert!(gateway.log().iter().any(|line| line.contains("serving")));
}

#[test]
fn text_format_has_the_same_content() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&(tenant.upstream("cache: {}") + "log: { format: text }\n"));
    gateway.ready();
    let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    let response = read.send(&gateway.url());
    let id = response.header("X-Request-Id").unwrap();
    let line = gateway.wait_for_log(|line| line.contains(" request request_id="));
    let words: Vec<&str> = line.split_whitespace().collect();
    for word in [
        &format!("request_id={id}"),
        "client.address=127.0.0.1",
        "method=GET",
        "status=200",
        "upstream=auth0",
        "operation=read_session",
        "decision=responded",
        "cache=miss",
    ] {
        assert!(words.contains(&word), "no {word} in {line}");
    }
    assert!(!line.contains(tenant.session_id()));
    assert!(gateway.log().iter().all(|line| !line.starts_with('{') && line.contains(" INFO ")));
}
