//! What the access log says of callers, their software and address, of policies, and which requests it leaves out.

use crate::harness::grpc::{Grpc, MISSING, field, frame};
use crate::harness::{Connection, Gate, Gateway, Request, Scripted, Tenant, json_response, raw, series, wait_for};
use serde_json::{Value, json};

const TRUSTED: &str = "clients: { trusted_peers: [127.0.0.0/8], forwarding_headers: both }\n";

/// The access log lines so far.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let requests = log.iter().filter(|line| line.contains(r#""message":"request""#));
    requests.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Sends a request, and gives its status and its line.
fn sent(gateway: &Gateway, request: &Request) -> (u16, Value) {
    let response = request.send(&gateway.url());
    let id = response.header("X-Request-Id").unwrap().to_owned();
    let line = wait_for("the line of a request", || lines(gateway).into_iter().find(|line| line["request_id"] == id));
    (response.status, line)
}

fn started(text: &str) -> Gateway {
    let gateway = Gateway::start(text);
    gateway.ready();
    gateway
}

#[test]
fn callers_are_logged_as_configured() {
    let tenant = Tenant::start();
    let token = tenant.sign(json!({"azp": "batch", "sub": "auth0|ann"}));
    let caller = |log: &str| {
        let gateway = started(&(tenant.upstream("cache: {}") + log));
        let (status, line) = sent(&gateway, &Request::new("GET", &tenant.session_path()).bearer(&token));
        assert_eq!(status, 200);
        (line["caller.client_id"].clone(), line["caller.subject"].clone())
    };
    let (client, subject) = caller("");
    let is_hash = |value: &Value| value.as_str().is_some_and(|text| text.len() == 32 && text != "auth0|ann");
    assert!(client == "batch" && is_hash(&subject), "{client} {subject}");
    let (client, subject) = caller("log: { caller: { client_id: hash, subject: plain } }\n");
    assert!(is_hash(&client) && subject == "auth0|ann", "{client} {subject}");
    assert_eq!(caller("log: { caller: { client_id: off, subject: off } }\n"), (Value::Null, Value::Null));
}

#[test]
fn caller_is_logged_as_soon_as_the_token_is_verified() {
    let tenant = Tenant::start();
    let gateway = started(&tenant.upstream("cache: {}"));
    let session = tenant.session_path();
    let with = |method: &str, path: &str, claims: Value| Request::new(method, path).bearer(&tenant.sign(claims));
    let reads = || json!({"azp": "batch", "scope": "read:sessions"});
    for (status, request, checked) in [
        (403, with("DELETE", &session, reads()), true),
        (400, with("GET", &format!("{session}?x=1"), json!({"azp": "batch"})), false),
        (400, with("PATCH", &session, json!({"azp": "batch"})).json("{"), true),
        (200, with("GET", "/api/v2/clients", json!({"azp": "batch"})), true),
        (
            200,
            with("PATCH", &format!("/api/v2/users/{}", tenant.user_id()), json!({"azp": "batch"}))
                .json(r#"{"blocked":false}"#),
            true,
        ),
    ] {
        let (found, line) = sent(&gateway, &request);
        let expected = if checked { json!("batch") } else { Value::Null };
        assert_eq!((found, &line["caller.client_id"]), (status, &expected), "{line}");
    }
    let (status, line) = sent(&gateway, &with("GET", &session, json!({"azp": "batch", "exp": 1})));
    assert_eq!((status, &line["caller.client_id"], &line["caller.subject"]), (401, &Value::Null, &Value::Null));
}

#[test]
fn texts_of_clients_are_escaped_and_bounded() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("") + "log: { caller: { subject: plain } }\n"));
    let subject = format!("a\"b\\\n\u{2028}{}", "é".repeat(400));
    let token = tenant.sign(json!({"sub": subject}));
    let agent = [&b"evil\"\\}\t\x80\xff"[..], &[b'x'; 400]].concat();
    let head = format!("GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", tenant.session_path());
    let request = [head.as_bytes(), b"User-Agent: ", &agent, b"\r\n", b"Authorization: Bearer ", token.as_bytes()];
    let response = raw(gateway.address(), &[&request.concat()[..], b"\r\n\r\n"].concat());
    assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#));
    assert!(line.chars().all(|c| !c.is_control() && c != '\u{2028}'), "{line}");
    let line: Value = serde_json::from_str(&line).unwrap();
    let (logged, software) = (line["caller.subject"].as_str().unwrap(), line["user_agent"].as_str().unwrap());
    assert!(subject.starts_with(logged) && (250..=256).contains(&logged.len()), "{logged}");
    assert!(
        software.starts_with("evil\"\\}\t\u{fffd}\u{fffd}xxx") && (250..=256).contains(&software.len()),
        "{software}"
    );
}

#[test]
fn client_address_is_the_one_that_a_trusted_proxy_reports() {
    let tenant = Tenant::start();
    let read = || Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    let cases = [
        (read(), "127.0.0.1", None),
        (read().header("X-Forwarded-For", "6.6.6.6, 203.0.113.7"), "203.0.113.7", Some("127.0.0.1")),
        (read().header("X-Forwarded-For", "203.0.113.7, 127.0.0.9"), "203.0.113.7", Some("127.0.0.1")),
        (read().header("Forwarded", "for=\"[2001:db8::7]:80\""), "2001:db8::7", Some("127.0.0.1")),
        (read().header("X-Forwarded-For", "unknown"), "127.0.0.1", None),
    ];
    let trusting = started(&(tenant.upstream("cache: {}") + TRUSTED));
    for (request, address, peer) in &cases {
        let (_, line) = sent(&trusting, request);
        let found = (line["client.address"].as_str().unwrap(), line["network.peer.address"].as_str());
        assert_eq!(found, (*address, *peer), "{request:?}");
    }
    let other = started(&tenant.upstream("cache: {}"));
    for (request, ..) in &cases {
        let (_, line) = sent(&other, request);
        assert_eq!((&line["client.address"], &line["network.peer.address"]), (&json!("127.0.0.1"), &Value::Null));
    }
}

/// A proxy forwards a header that it does not write as its client sends it.
#[test]
fn client_address_is_in_the_headers_that_trusted_proxies_write() {
    let tenant = Tenant::start();
    let read = || Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    let (x_forwarded, forwarded) = (("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=198.51.100.9"));
    let [one, other, own] = ["203.0.113.7", "198.51.100.9", "127.0.0.1"];
    for (written, expected) in [
        ("", [one, own, one]),
        (", forwarding_headers: x-forwarded", [one, own, one]),
        (", forwarding_headers: forwarded", [own, other, other]),
        (", forwarding_headers: both", [one, other, one]),
    ] {
        let clients = format!("clients: {{ trusted_peers: [127.0.0.1]{written} }}\n");
        let gateway = started(&(tenant.upstream("cache: {}") + &clients));
        let sends = [vec![x_forwarded], vec![forwarded], vec![forwarded, x_forwarded]];
        for (headers, expected) in sends.iter().zip(expected) {
            let request = headers.iter().fold(read(), |request, (name, value)| request.header(name, value));
            assert_eq!(sent(&gateway, &request).1["client.address"], expected, "{written} {headers:?}");
        }
    }
}

const POLICY: &str = "
policies:
  support:
    mode: MODE
    keys: { allowed: [tier, team, tenant], protected: [tenant] }
    fields: { tier: { one_of: [pro, free], default: free } }
    normalize: { key_case: lower, trim: true, empty_values: drop }
";

/// A write's line: what the policy found, without what depends on the request alone.
fn findings(line: &Value) -> Value {
    let all = ["policy", "mode", "would_reject", "rules", "violations", "edits"];
    all.iter().filter(|name| !line[**name].is_null()).map(|name| ((*name).to_owned(), line[*name].clone())).collect()
}

#[test]
fn what_a_policy_finds_is_logged_in_both_modes() {
    let tenant = Tenant::start();
    let session = tenant.session_path();
    let patch = |body: &str| Request::new("PATCH", &session).bearer(&tenant.token()).json(body);
    let good = patch(r#"{"session_metadata":{"Team":" blue ","note":""}}"#);
    let bad = patch(r#"{"session_metadata":{"tier":"gold","x":"1"}}"#);
    let edits = json!([
        "key_normalized:session_metadata.Team",
        "value_normalized:session_metadata.Team",
        "entry_dropped:session_metadata.note",
        "default_added:session_metadata.tier"
    ]);
    let violations = json!(["one_of:session_metadata.tier", "allowed:session_metadata.x"]);
    for (mode, rejected) in [("enforce", 400), ("audit", 200)] {
        let gateway = started(&(tenant.upstream("cache: {}\npolicy: support") + &POLICY.replace("MODE", mode)));
        let (status, line) = sent(&gateway, &good);
        let mut expected = json!({"policy": "support", "mode": mode, "edits": edits});
        if mode == "audit" {
            expected["would_reject"] = json!(false);
        }
        assert_eq!((status, findings(&line)), (200, expected), "{line}");
        let (status, line) = sent(&gateway, &bad);
        let mut expected =
            json!({"policy": "support", "mode": mode, "rules": "allowed,one_of", "violations": violations});
        if mode == "audit" {
            expected["would_reject"] = json!(true);
        }
        assert_eq!((status, findings(&line)), (rejected, expected), "{line}");
        let (_, line) = sent(&gateway, &Request::new("GET", &session).bearer(&tenant.token()));
        assert_eq!(findings(&line), json!({}), "a read is not evaluated");
        let counted = |name: &str, label: &str, value: &str| {
            let all = series(&gateway.metrics());
            let own =
                all.iter().filter(|one| one.name == name && one.labels[label] == value && one.labels["mode"] == mode);
            own.map(|one| one.value).sum::<f64>()
        };
        assert_eq!(counted("sessiongate_violations_total", "rule", "one_of"), 1.0);
        assert_eq!(counted("sessiongate_edits_total", "kind", "default_added"), 1.0);
    }
}

/// In audit mode a write is forwarded although the metadata that it would be compared with is not available.
#[test]
fn audit_mode_says_that_a_write_could_not_be_evaluated() {
    let provider = Scripted::start(|request| match request.body.is_empty() {
        true => json_response(500, "{}"),
        false => json_response(200, r#"{"id":"s"}"#),
    });
    let text = format!(
        "upstreams:\n  auth0: {{ dialect: auth0, url: {}, auth: none, policy: support }}\n{}",
        provider.url(),
        POLICY.replace("MODE", "audit")
    );
    let gateway = started(&text);
    let (status, line) =
        sent(&gateway, &Request::new("PATCH", "/api/v2/sessions/s").json(r#"{"session_metadata":{"team":"a"}}"#));
    let expected = json!({"policy": "support", "mode": "audit", "would_reject": true});
    assert_eq!((status, findings(&line)), (200, expected), "{line}");
}

/// The client leaves while the metadata is read that its write would be compared with.
#[test]
fn write_that_was_not_evaluated_does_not_count_as_allowed() {
    let gate = Gate::closed();
    let provider = Scripted::start({
        let gate = gate.clone();
        move |_| {
            gate.pass();
            json_response(200, "{}")
        }
    });
    let text = format!(
        "upstreams:\n  auth0: {{ dialect: auth0, url: {}, auth: none, policy: support }}\n{}",
        provider.url(),
        POLICY.replace("MODE", "audit")
    );
    let gateway = started(&text);
    let patch = Request::new("PATCH", "/api/v2/sessions/s").json(r#"{"session_metadata":{"team":"a"}}"#);
    let mut connection = Connection::open(gateway.address()).unwrap();
    connection.write(&patch.bytes(gateway.address())).unwrap();
    wait_for("the read of the metadata", || (!provider.received().is_empty()).then_some(()));
    drop(connection);
    let line = wait_for("the line of a request", || lines(&gateway).into_iter().next());
    gate.set(true);
    assert_eq!((&line["decision"], &line["would_reject"]), (&json!("client_gone"), &json!(true)), "{line}");
}

#[test]
fn members_of_other_bodies_are_not_logged() {
    let tenant = Tenant::start();
    let gateway = started(&tenant.upstream(""));
    let path = format!("/api/v2/users/{}/revoke-access", tenant.user_id().replace('|', "%7C"));
    let (status, line) = sent(&gateway, &Request::new("POST", &path).bearer(&tenant.token()).json(r#"{"secret":1}"#));
    assert_eq!((status, &line["rules"], &line["violations"]), (400, &json!("provider"), &Value::Null), "{line}");
}

#[test]
fn many_violations_and_long_keys_are_bounded() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("policy: support") + &POLICY.replace("MODE", "enforce")));
    let keys: Vec<String> = (0..24).map(|n| format!("\"k{n}{}\":\"v\"", "x".repeat(200))).collect();
    let body = format!("{{\"session_metadata\":{{{}}}}}", keys.join(","));
    let patch = Request::new("PATCH", &tenant.session_path()).bearer(&tenant.token()).json(&body);
    let (status, line) = sent(&gateway, &patch);
    let listed = line["violations"].as_array().unwrap();
    assert_eq!((status, listed.len()), (400, 10), "{line}");
    assert!(listed.iter().all(|one| one.as_str().unwrap().len() <= "allowed:".len() + 100), "{line}");
}

#[test]
fn route_is_the_template_of_the_path() {
    let tenant = Tenant::start();
    let gateway = started(&tenant.upstream("match: { path_prefix: /idp, strip_prefix: true }"));
    let with = |method: &str, path: &str| Request::new(method, &format!("/idp{path}")).bearer(&tenant.token());
    let user = tenant.user_id().replace('|', "%7C");
    for (request, route) in [
        (with("GET", &tenant.session_path()), json!("/api/v2/sessions/{session}")),
        (with("GET", &format!("/api/v2/users/{user}/sessions")), json!("/api/v2/users/{user}/sessions")),
        (with("GET", "/api/v2/refresh-tokens/rt_1"), json!("/api/v2/refresh-tokens/{refresh_token}")),
        (with("GET", "/api/v2/clients"), Value::Null),
    ] {
        let (_, line) = sent(&gateway, &request);
        assert_eq!(line["http.route"], route, "{line}");
    }
}

#[test]
fn only_successful_reads_are_left_out_of_the_log() {
    let tenant = Tenant::start();
    let gateway = started(
        &(tenant.upstream("cache: {}\npolicy: support\n") + &POLICY.replace("MODE", "audit") + "log: { sample: 0 }\n"),
    );
    let (session, token) = (tenant.session_path(), tenant.token());
    let with = |method: &str, path: &str| Request::new(method, path).bearer(&token);
    let left_out = [
        with("GET", &session),
        with("GET", &session),
        with("GET", &format!("/api/v2/users/{}/sessions", tenant.user_id().replace('|', "%7C"))),
        with("GET", "/api/v2/clients"),
        with("HEAD", "/api/v2/clients"),
    ];
    let logged = [
        with("PATCH", &session).json(r#"{"session_metadata":{"tier":"pro"}}"#),
        with("PATCH", &session).json(r#"{"session_metadata":{"tier":"gold"}}"#),
        with("PATCH", &format!("/api/v2/users/{}", tenant.user_id())).json("{}"),
        with("POST", "/api/v2/clients").json("{}"),
        with("GET", "/api/v2/sessions/none"),
        with("GET", "/api/v2/nothing"),
        Request::new("GET", &session),
        with("GET", &format!("{session}?x=1")),
    ];
    for request in &left_out {
        assert_eq!(request.send(&gateway.url()).status, 200, "{request:?}");
    }
    let ids: Vec<String> =
        logged.iter().map(|request| request.send(&gateway.url()).header("X-Request-Id").unwrap().to_owned()).collect();
    let lines = wait_for("the lines", || Some(lines(&gateway)).filter(|lines| lines.len() >= logged.len()));
    let found: Vec<&str> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(lines.len(), logged.len(), "{lines:#?}");
    assert!(ids.iter().all(|id| found.contains(&id.as_str())), "{lines:#?}");
    let counted = series(&gateway.metrics_when_idle())
        .iter()
        .filter(|one| one.name == "sessiongate_requests_total")
        .map(|one| one.value)
        .sum::<f64>();
    assert_eq!(counted, (left_out.len() + logged.len()) as f64, "metrics count every request");
}

/// The status of a call stands in its trailers: its HTTP status is 200 although it failed.
#[test]
fn a_failed_call_is_never_left_out_of_the_log() {
    let provider = Grpc::start();
    let gateway = provider.gateway("log: { sample: 0 }\n");
    let path = "/zitadel.session.v2.SessionService/GetSession";
    let read = |id: &[u8]| provider.call(&gateway, path, &frame(&field(1, id)));
    assert_eq!(read(b"s1").trailer("grpc-status"), "0");
    assert_eq!(read(MISSING).trailer("grpc-status"), "5");
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["status"], &line["http.route"], &line["upstream_status"]),
        (&json!(200), &json!(path), &json!(404))
    );
}

#[test]
fn sampled_lines_name_the_ratio() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("cache: {}") + "log: { sample: 0.5 }\n"));
    let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    let line = wait_for("a line of a read", || {
        assert_eq!(read.send(&gateway.url()).status, 200);
        lines(&gateway).into_iter().next()
    });
    assert_eq!(line["sample"], 0.5);
    let (_, line) = sent(&gateway, &Request::new("GET", &tenant.session_path()));
    assert_eq!(line["sample"], Value::Null, "a rejection is not sampled");
}

/// A logout ends a session, although its method is safe.
#[test]
fn logouts_and_overridden_methods_are_never_left_out_of_the_log() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("cache: {}") + "log: { sample: 0 }\n"));
    let logout = |path: &str| Request::new("GET", path);
    for request in [
        logout("/oidc/logout"),
        logout("/oidc/logout?id_token_hint=a.b.c"),
        logout("/oidc/%6Cogout"),
        Request::new("GET", "/api/v2/clients").bearer(&tenant.token()).header("X-HTTP-Method-Override", "DELETE"),
    ] {
        let (_, line) = sent(&gateway, &request);
        assert_eq!(line["decision"], "passed_through", "{line}");
    }
}

/// Otherwise a client could choose an ID with which none of its reads is ever logged.
#[test]
fn sampling_does_not_depend_on_the_request_id() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("cache: {}") + "log: { sample: 0.5 }\n" + TRUSTED));
    let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token()).header("X-Request-Id", "same");
    let mut sent = 0;
    let logged = wait_for("some lines and some that are left out", || {
        assert_eq!(read.send(&gateway.url()).status, 200);
        sent += 1;
        let logged = lines(&gateway).len();
        (logged > 2 && sent > logged + 2).then_some(logged)
    });
    assert!(logged < sent);
}

/// The gateway accepts bytes in header values that are not ASCII, and so may a client's proxy.
#[test]
fn what_is_no_address_is_never_skipped() {
    let tenant = Tenant::start();
    let gateway = started(&(tenant.upstream("cache: {}") + TRUSTED));
    let address = |forwarding: &[u8]| {
        let before = lines(&gateway).len();
        let head = format!("GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", tenant.session_path());
        let token = format!("Authorization: Bearer {}\r\n\r\n", tenant.token());
        let response = raw(gateway.address(), &[head.as_bytes(), forwarding, token.as_bytes()].concat());
        assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
        wait_for("the line of a request", || lines(&gateway).get(before).cloned())["client.address"].clone()
    };
    assert_eq!(address(b"X-Forwarded-For: 6.6.6.6, \xff, 9.9.9.9\r\n"), "9.9.9.9");
    assert_eq!(address(b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: \xff, 9.9.9.9\r\n"), "9.9.9.9");
    assert_eq!(address(b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: \xff\r\n"), "127.0.0.1");
    assert_eq!(address(b"Forwarded: for=9.9.9.9;host=\"x,for=6.6.6.6\"\r\n"), "9.9.9.9");
}
