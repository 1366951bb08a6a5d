//! ZITADEL's session service through the gateway, on every carrier, byte by byte. The provider records the requests.

use crate::harness::grpc::{Grpc, POLICY, field, frame, session};
use crate::harness::recorder::{Call, Recorder, Then};
use crate::harness::{Gateway, Request, Sandbox};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io;

const SET: &str = "/zitadel.session.v2.SessionService/SetSession";
const GET: &str = "/zitadel.session.v2.SessionService/GetSession";

/// `SetSessionRequest` of session `s1` with one entry of metadata.
fn set(key: &str) -> Vec<u8> {
    [field(1, b"s1"), field(4, &[field(1, key.as_bytes()), field(2, b"blue")].concat())].concat()
}

fn set_json(key: &str) -> String {
    json!({"sessionId": "s1", "metadata": {key: "Ymx1ZQ=="}}).to_string()
}

#[test]
fn grpc_writes_are_validated_and_forwarded_unchanged() {
    let provider = Grpc::start();
    let gateway = provider.gateway("");
    // An unknown field is kept.
    let good = frame(&[set("team"), field(15, b"unknown")].concat());
    let response = provider.call(&gateway, SET, &good);
    assert_eq!((response.status, response.trailer("grpc-status")), (200, "0"));
    assert_eq!(response.body, frame(&field(1, &[8, 1])));
    let seen = provider.seen.lock().unwrap().remove(0);
    assert_eq!((seen.0.as_str(), seen.2), (SET, good));
    assert_eq!(seen.1["te"], "trailers");
    assert_eq!(seen.1["x-forwarded-for"], "127.0.0.1");

    let response = provider.call(&gateway, SET, &frame(&set("role")));
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(response.headers["content-type"], "application/grpc+proto");
    assert_eq!(response.trailer("grpc-status"), "3");
    assert!(response.trailer("grpc-message").contains("metadata.role"), "{}", response.trailer("grpc-message"));
    assert!(response.headers.contains_key("grpc-status-details-bin"));
    assert_eq!(provider.count(), 0);
}

#[test]
fn grpc_read_is_a_hit_until_a_write() {
    let provider = Grpc::start();
    let gateway = provider.gateway("    cache: {}\n");
    let read = || provider.call(&gateway, GET, &frame(&field(1, b"s1")));
    let first = read();
    assert_eq!((first.cache(), first.trailer("grpc-status")), ("sessiongate; fwd=miss; stored", "0"));
    let hit = read();
    assert!(hit.cache().starts_with("sessiongate; hit"), "{}", hit.cache());
    assert_eq!((hit.body.as_slice(), hit.trailer("grpc-status")), (frame(&session(1)).as_slice(), "0"));
    assert_eq!(provider.count(), 1);
    // Another credential, another token: other responses.
    let other = frame(&[field(1, b"s1"), field(2, b"token")].concat());
    assert_eq!(provider.call(&gateway, GET, &other).cache(), "sessiongate; fwd=miss; stored");
    provider.call(&gateway, SET, &frame(&set("team")));
    let fresh = read();
    assert_eq!(fresh.cache(), "sessiongate; fwd=miss; stored");
    assert_eq!(fresh.body, frame(&session(4)));
}

#[test]
fn response_older_than_a_write_is_not_stored() {
    let provider = Grpc::start();
    let gateway = provider.gateway("    cache: {}\n");
    let read = || provider.call(&gateway, GET, &frame(&field(1, b"s1")));
    for _ in 0..3 {
        provider.call(&gateway, SET, &frame(&set("team")));
    }
    // The provider counts anew: a replica of it that lags behind.
    provider.seen.lock().unwrap().clear();
    assert_eq!((read().cache(), read().cache()), ("sessiongate; fwd=miss", "sessiongate; fwd=miss"));
    assert_eq!(read().cache(), "sessiongate; fwd=miss; stored", "as new as the last write");
}

#[test]
fn other_grpc_calls_pass_through_with_trailers() {
    let provider = Grpc::start();
    let gateway = provider.gateway("");
    let path = "/zitadel.user.v2.UserService/GetUserByID";
    let hidden = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-metadata-authorization", "Bearer other"),
        ("x-zitadel-instance-host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
    ];
    let response = provider.call_with(&gateway, path, &frame(b"\x0a\x01x"), &hidden);
    assert_eq!((response.status, response.trailer("grpc-status")), (200, "0"));
    let seen = provider.seen.lock().unwrap().remove(0);
    assert_eq!((seen.0.as_str(), seen.2.as_slice()), (path, frame(b"\x0a\x01x").as_slice()));
    assert_eq!(seen.1["te"], "trailers");
    assert_eq!(seen.1["x-forwarded-host"], provider.address.to_string());
    for name in ["grpc-metadata-authorization", "x-zitadel-instance-host"] {
        assert!(!seen.1.contains_key(name), "{name}");
    }
}

/// Headers of a client about others: the instance, the protocol, the source.
const FOR_OTHERS: [(&str, &str); 8] = [
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("x-zitadel-instance-host", "one.example"),
    ("x-zitadel-public-host", "login.example"),
    ("x-forwarded-host", "one.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "192.0.2.7"),
    ("grpc-metadata-x-zitadel-orgid", "1"),
];

#[test]
fn only_trusted_peers_may_set_forwarded_headers() {
    let provider = Grpc::start();
    let own = provider.address.to_string();
    for (trusted, host, proto, client) in [
        ("[127.0.0.0/8, \"::1\"]", "one.example", "https", "192.0.2.7, 127.0.0.1"),
        ("[10.0.0.0/8]", own.as_str(), "http", "127.0.0.1"),
    ] {
        let gateway = provider.gateway(&format!("    cache: {{}}\nclients: {{ trusted_peers: {trusted} }}\n"));
        for path in [SET, "/zitadel.user.v2.UserService/GetUserByID"] {
            let response = provider.call_with(&gateway, path, &frame(&set("team")), &FOR_OTHERS);
            assert_eq!(response.trailer("grpc-status"), "0");
            let seen = provider.seen.lock().unwrap().remove(0).1;
            let all = |name: &str| seen.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
            assert_eq!(all("x-forwarded-host"), [host], "{path}");
            assert_eq!(all("x-forwarded-proto"), [proto], "{path}");
            assert_eq!(all("x-forwarded-for"), [client], "{path}");
            let names = if trusted.starts_with("[127") { vec!["one.example"] } else { vec![] };
            assert_eq!(all("x-zitadel-instance-host"), names, "{path}");
            assert!(!seen.contains_key("grpc-metadata-x-zitadel-orgid"), "{path}");
        }
    }
}

/// A proxy forwards a header that it does not write as its client sends it, and `host` selects the instance.
#[test]
fn forwarding_headers_that_trusted_peers_do_not_write_are_dropped() {
    let provider = Grpc::start();
    let headers = [FOR_OTHERS.as_slice(), &[("forwarded", "for=192.0.2.9;host=two.example")]].concat();
    for (written, has_x_forwarded, has_forwarded) in
        [("x-forwarded", true, false), ("forwarded", false, true), ("both", true, true)]
    {
        let clients = format!("clients: {{ trusted_peers: [127.0.0.1], forwarding_headers: {written} }}\n");
        let gateway = provider.gateway(&format!("    cache: {{}}\n{clients}"));
        for path in [SET, "/zitadel.user.v2.UserService/GetUserByID"] {
            let response = provider.call_with(&gateway, path, &frame(&set("team")), &headers);
            assert_eq!(response.trailer("grpc-status"), "0");
            let seen = provider.seen.lock().unwrap().remove(0).1;
            let text = |name: &str| seen.get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(text("forwarded").contains("two.example"), has_forwarded, "{written} {path}");
            assert_eq!(text("x-forwarded-host") == "one.example", has_x_forwarded, "{written} {path}");
            assert_eq!(text("x-forwarded-for").contains("192.0.2.7"), has_x_forwarded, "{written} {path}");
            assert_eq!(text("x-zitadel-instance-host"), "one.example", "{written} {path}");
        }
    }
}

#[test]
fn entries_are_per_instance() {
    let provider = Grpc::start();
    let gateway = provider.gateway("    cache: {}\nclients: { trusted_peers: [127.0.0.1] }\n");
    let read = |instance: &str| {
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("x-zitadel-instance-host", instance)];
        let response = provider.call_with(&gateway, GET, &frame(&field(1, b"s1")), &headers);
        (response.cache().split(';').nth(1).unwrap().trim().to_owned(), response.body)
    };
    let (first, one) = read("one.example");
    let (second, other) = read("two.example");
    assert_eq!((first.as_str(), second.as_str()), ("fwd=miss", "fwd=miss"));
    assert_ne!(one, other);
    assert_eq!(read("one.example"), ("hit".into(), one));
}

/// A name, a path, a body, headers, and the code of the rejection.
type Row = (&'static str, &'static str, Vec<u8>, Vec<(&'static str, &'static str)>, &'static str);

#[test]
fn unreadable_calls_are_rejected() {
    let provider = Grpc::start();
    let gateway = provider.gateway("");
    let grpc = [("content-type", "application/grpc")];
    let good = frame(&set("team"));
    let with = |more: (&'static str, &'static str)| vec![grpc[0], more];
    let rows: Vec<Row> = vec![
        ("two messages", SET, [good.clone(), good.clone()].concat(), grpc.to_vec(), "3"),
        ("no message", SET, Vec::new(), grpc.to_vec(), "3"),
        ("half a message", SET, good[..9].to_vec(), grpc.to_vec(), "3"),
        ("a compressed message", SET, [&[1], &good[1..]].concat(), grpc.to_vec(), "12"),
        ("a coding", SET, good.clone(), with(("grpc-encoding", "gzip")), "12"),
        ("a session twice", SET, frame(&[field(1, b"s1"), set("team")].concat()), grpc.to_vec(), "3"),
        ("an override", SET, good.clone(), with(("x-http-method-override", "GET")), "3"),
        ("a query", "/zitadel.session.v2.SessionService/SetSession?a=b", good.clone(), grpc.to_vec(), "3"),
        ("a dot in the path", "/zitadel.session%2Ev2.SessionService/SetSession", good.clone(), grpc.to_vec(), "3"),
        ("another case", "/zitadel.session.v2.sessionservice/SetSession", good.clone(), grpc.to_vec(), "3"),
        ("an older version", "/zitadel.session.v2alpha.SessionService/SetSession", good.clone(), grpc.to_vec(), "5"),
        ("an unknown procedure", "/zitadel.session.v2.SessionService/DropSession", good.clone(), grpc.to_vec(), "5"),
        ("a session of other characters", SET, frame(&field(1, b"s/1")), grpc.to_vec(), "3"),
        ("no session", SET, frame(&field(4, b"")), grpc.to_vec(), "3"),
    ];
    for (name, path, body, headers, code) in rows {
        let response = provider.call_with(&gateway, path, &body, &headers);
        assert_eq!((response.status, response.trailer("grpc-status")), (200, code), "{name}");
        assert_eq!(provider.count(), 0, "{name}");
    }
}

/// v2beta deprecates the token of a write: the provider accepts the write without it.
#[test]
fn session_token_is_required_if_the_policy_says_so() {
    let provider = Grpc::start();
    let beta = SET.replace("v2", "v2beta");
    let body = frame(&set("team"));
    let grpc = [("content-type", "application/grpc")];
    let response = provider.call_with(&provider.gateway(""), &beta, &body, &grpc);
    assert_eq!((response.trailer("grpc-status"), provider.count()), ("0", 1));
    let strict = POLICY.replace("  strict:\n", "  strict:\n    session_token: required\n");
    let upstream = format!("    dialect: zitadel\n    url: http://{}\n    auth: forward\n", provider.address);
    let strict = Gateway::start(&format!("upstreams:\n  idp:\n{upstream}    policy: strict\n{strict}"));
    strict.ready();
    let response = provider.call_with(&strict, &beta, &body, &grpc);
    assert!(response.trailer("grpc-message").contains("session_token"), "{}", response.trailer("grpc-message"));
    assert_eq!(provider.call_with(&strict, SET, &body, &grpc).trailer("grpc-status"), "0", "v2 does not look at it");
    assert_eq!(provider.count(), 2);
}

/// A provider that records REST, Connect and gRPC-web.
fn recorded(act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static, more: &str) -> (Recorder, Gateway) {
    let recorder = Recorder::start(act);
    let upstream = recorder.upstream_as("forward", &format!("policy: strict\n{more}"));
    let gateway = Gateway::start(&(upstream.replace("dialect: auth0", "dialect: zitadel") + POLICY));
    gateway.ready();
    (recorder, gateway)
}

/// The same change on every carrier that goes over HTTP/1: the name, and the request.
fn carriers(key: &str) -> Vec<(&'static str, Request)> {
    let call = |content_type: &str, body: Vec<u8>| {
        Request::new("POST", SET).header("Content-Type", content_type).bearer("pat").body(body)
    };
    vec![
        ("rest", Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(&set_json(key))),
        ("connect", call("application/json", set_json(key).into_bytes())),
        ("connect proto", call("application/proto", set(key))),
        ("grpc-web", call("application/grpc-web+proto", frame(&set(key)))),
        ("grpc-web json", call("application/grpc-web+json", frame(set_json(key).as_bytes()))),
    ]
}

/// For writes, reads and pass-through searches.
#[test]
fn spellings_of_a_path_are_forwarded_in_canonical_form() {
    let body = r#"{"session":{"id":"s1","sequence":"5"},"sessions":[]}"#;
    let act = move |call: &mut Call| {
        call.body()?;
        call.response(200, "", body)
    };
    let (recorder, gateway) = recorded(act, "match: { path_prefix: /idp, strip_prefix: true }\n");
    const LISTS: &str = "/zitadel.session.v2.SessionService/ListSessions";
    let rows = [
        ("PATCH", "/v2/sess%69ons/%731", "/v2/sessions/s1"),
        ("GET", "/v2beta/sessions/s%31?sessionToken=t", "/v2beta/sessions/s1?sessionToken=t"),
        ("POST", "/v2/sess%69ons/se%61rch", "/v2/sessions/search"),
        ("POST", "/zitadel.session.v2.SessionService/%53etSession", SET),
        ("POST", "/zitadel.session.v2.SessionService/ListSession%73", LISTS),
    ];
    for (method, sent, expected) in rows {
        let text = if expected == SET || method == "PATCH" { set_json("team") } else { "{}".into() };
        let text = if method == "PATCH" { text.replace(r#""sessionId":"s1","#, "") } else { text };
        let request = Request::new(method, &format!("/idp{sent}")).bearer("pat");
        let request = if method == "GET" { request } else { request.json(&text) };
        let before = recorder.count();
        assert_eq!(request.send(&gateway.url()).status, 200, "{sent}");
        let reached: Vec<String> = recorder.seen()[before..].iter().map(|seen| seen.target.clone()).collect();
        assert_eq!(reached, [expected], "{sent}");
    }
}

/// An HTTP/2 body that ends with an empty frame becomes one HTTP/1 request with one end.
#[test]
fn empty_http2_data_frames_do_not_end_a_body_twice() {
    let client = Grpc::start();
    let (recorder, gateway) = recorded(|call| call.as_auth0(), "");
    let path = "/zitadel.user.v2.UserService/GetUserByID";
    for count in 1..4 {
        let response = client.call_with(&gateway, path, b"", &[("content-type", "application/proto")]);
        assert_eq!((response.status, recorder.count()), (202, count));
    }
    let connection = &recorder.seen()[0];
    assert_eq!((connection.header("Transfer-Encoding"), connection.body.len()), (Some("chunked"), 0));
}

fn details(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn every_carrier_rejects_and_forwards_the_same_write() {
    let (recorder, gateway) = recorded(|call| call.as_auth0(), "");
    for (name, request) in carriers("role") {
        let response = request.send(&gateway.url());
        let text = response.text();
        match name {
            "rest" => {
                assert_eq!((response.status, details(&text)["code"].clone()), (400, json!(3)), "{text}");
                assert_eq!(details(&text)["details"][1]["fieldViolations"][0]["field"], "metadata.role");
            }
            "connect" | "connect proto" => {
                assert_eq!(
                    (response.status, details(&text)["code"].clone()),
                    (400, json!("invalid_argument")),
                    "{text}"
                );
            }
            _ => assert!(response.status == 200 && text.contains("grpc-status: 3\r\n"), "{name}: {text}"),
        }
        assert!(text.contains("metadata.role"), "{name}: {text}");
        assert_eq!(recorder.count(), 0, "{name}");
    }
    for (name, request) in carriers("team") {
        let sent = request.clone().header("Connection", "close").bytes(gateway.address());
        request.send(&gateway.url());
        let seen = recorder.seen().pop().unwrap();
        assert!(sent.ends_with(&seen.body) && !seen.body.is_empty(), "{name}: the very same bytes");
    }
    assert_eq!(recorder.count(), 5);
}

#[test]
fn lifetimes_are_clamped_in_place() {
    let (recorder, gateway) = recorded(|call| call.as_auth0(), "");
    let send = |body: &str| {
        Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(body).send(&gateway.url());
        recorder.seen().pop().unwrap().text()
    };
    assert_eq!(send(r#"{ "lifetime": "18000s", "x": 1 }"#), r#"{ "lifetime": "3600s", "x": 1 }"#);
    assert_eq!(send(r#"{ "lifetime": "60s", "x": 1 }"#), r#"{ "lifetime": "60s", "x": 1 }"#);
    let create = Request::new("POST", "/v2/sessions").bearer("pat").json("{}");
    create.send(&gateway.url());
    assert_eq!(recorder.seen().pop().unwrap().text(), r#"{"lifetime":"3600s"}"#);
    // SetSession{s1, lifetime 18000s}: 3600 is 0x90 0x1c as a varint.
    let body = [field(1, b"s1"), field(6, b"\x08\xd0\x8c\x01")].concat();
    let call = Request::new("POST", SET).header("Content-Type", "application/proto").bearer("pat").body(body);
    call.send(&gateway.url());
    assert_eq!(recorder.seen().pop().unwrap().body, [field(1, b"s1"), field(6, b"\x08\x90\x1c")].concat());
}

#[test]
fn no_bypass_of_the_policy() {
    let (recorder, gateway) = recorded(|call| call.as_auth0(), "");
    let rest = || Request::new("PATCH", "/v2/sessions/s1").bearer("pat");
    let call = |content_type: &str| Request::new("POST", SET).header("Content-Type", content_type).bearer("pat");
    let evil = set_json("role");
    let form = "application/x-www-form-urlencoded";
    let rows: Vec<(&str, Request)> = vec![
        ("no content type", rest().body(evil.clone())),
        ("text", rest().header("Content-Type", "text/plain").body(evil.clone())),
        ("a form", rest().header("Content-Type", form).body("metadata=x")),
        ("two types", rest().header("Content-Type", "text/plain").json(&evil)),
        (
            "an override",
            Request::new("POST", "/v2/sessions/s1")
                .header("X-HTTP-Method-Override", "PATCH")
                .bearer("pat")
                .header("Content-Type", form)
                .body("a=b"),
        ),
        (
            "an override of a search",
            Request::new("POST", "/v2/sessions/search")
                .header("X-HTTP-Method-Override", "PATCH")
                .bearer("pat")
                .json(&evil),
        ),
        (
            "a form of a search",
            Request::new("POST", "/v2/sessions/search").header("Content-Type", form).bearer("pat").body("a=b"),
        ),
        ("letters in the path", Request::new("PATCH", "/v2/sess%69ons/s1").bearer("pat").json(&evil)),
        ("an encoded slash", Request::new("PATCH", "/v2/sessions%2Fs1").bearer("pat").json(&evil)),
        ("two slashes", Request::new("PATCH", "/v2//sessions/s1").bearer("pat").json(&evil)),
        ("dots", Request::new("PATCH", "/v2/x/../sessions/s1").bearer("pat").json(&evil)),
        ("another case", Request::new("PATCH", "/V2/Sessions/s1").bearer("pat").json(&evil)),
        ("a slash at the end", Request::new("PATCH", "/v2/sessions/s1/").bearer("pat").json(&evil)),
        ("two sessions", rest().json(r#"{"sessionId":"s2"}"#)),
        ("both spellings", rest().json(r#"{"session_token":"a","sessionToken":"a"}"#)),
        ("a twin", rest().json(r#"{"Metadata":{"role":"YQ=="}}"#)),
        ("a key twice", rest().json(r#"{"metadata":{},"metadata":{"role":"YQ=="}}"#)),
        ("an escaped key twice", rest().json(r#"{"metadata":{},"met\u0061data":{"role":"YQ=="}}"#)),
        ("a second value", rest().json(r#"{} {"metadata":{"role":"YQ=="}}"#)),
        ("two members of a oneof", rest().json(r#"{"challenges":{"otpEmail":{"sendCode":{},"returnCode":{}}}}"#)),
        ("a code for the caller", rest().json(r#"{"challenges":{"otpSms":{"returnCode":true}}}"#)),
        (
            "a link elsewhere",
            rest().json(r#"{"challenges":{"otpEmail":{"sendCode":{"urlTemplate":"https://evil.example/"}}}}"#),
        ),
        ("a coding", rest().header("Content-Encoding", "gzip").json(&evil)),
        ("a query", Request::new("PATCH", "/v2/sessions/s1?a=b").bearer("pat").json(&evil)),
        ("two credentials", rest().bearer("other").json(&set_json("team"))),
        ("no credential", Request::new("PATCH", "/v2/sessions/s1").json(&set_json("team"))),
        ("grpc over HTTP/1", call("application/grpc").body(frame(&set("team")))),
        ("grpc-web as text", call("application/grpc-web-text").body("AAAA")),
        ("another codec", call("application/cbor").body("x")),
        ("a streaming call of connect", call("application/connect+proto").body(frame(&set("team")))),
        ("connect with GET", Request::new("GET", &format!("{SET}?message=x")).bearer("pat")),
        ("an empty body of connect", call("application/json")),
        ("version 3", Request::new("PATCH", "/v3alpha/sessions/s1").bearer("pat").json(&evil)),
    ];
    let count = rows.len();
    for (name, request) in rows {
        let response = request.send(&gateway.url());
        let rejected = response.status >= 400
            || response.text().contains("grpc-status: ")
            || response.header("grpc-status").is_some();
        assert!(rejected && response.status < 500, "{name}: {} {}", response.status, response.text());
        assert_eq!(recorder.count(), 0, "{name}");
    }
    assert!(count > 30);
}

#[test]
fn reads_and_deletions_work_and_tokens_are_not_logged() {
    let body = r#"{"session":{"id":"s1","sequence":"5"}}"#;
    let (recorder, gateway) = recorded(
        move |call| {
            call.body()?;
            call.response(200, "", body)
        },
        "cache: {}",
    );
    let read = |token: &str| Request::new("GET", &format!("/v2/sessions/s1{token}")).bearer("pat").send(&gateway.url());
    let status = |response: &crate::harness::Response| response.header("Cache-Status").unwrap().to_owned();
    assert_eq!(status(&read("?sessionToken=secret-token")), "sessiongate; fwd=miss; stored");
    assert!(status(&read("?session_token=secret-token")).starts_with("sessiongate; hit"));
    assert_eq!(status(&read("")), "sessiongate; fwd=miss; stored");
    assert_eq!(recorder.seen()[0].target, "/v2/sessions/s1?sessionToken=secret-token");
    let end = Request::new("DELETE", "/v2/sessions/s1").bearer("pat").json(r#"{"sessionToken":"secret-token"}"#);
    assert_eq!(end.send(&gateway.url()).status, 200);
    assert_eq!(recorder.seen().pop().unwrap().text(), r#"{"sessionToken":"secret-token"}"#);
    let listed = Request::new("POST", "/v2/sessions/search").bearer("pat").json("{}").send(&gateway.url());
    assert_eq!((listed.status, listed.header("Cache-Status")), (200, None));
    let preflight =
        Request::new("OPTIONS", "/v2/sessions/s1").header("Origin", "https://a.example").send(&gateway.url());
    assert_eq!(preflight.status, 200);
    assert!(!gateway.log().join("\n").contains("secret-token"));
}

/// Each carrier has its own deadline header. If the deadline has passed, no request is sent.
#[test]
fn deadline_headers_apply_per_carrier() {
    let body = r#"{"session":{"id":"s1","sequence":"5"}}"#;
    let (recorder, gateway) = recorded(
        move |call| {
            call.body()?;
            call.response(200, "", body)
        },
        "",
    );
    let both = |request: Request, deadline: &str| {
        let request = request.header("Connect-Timeout-Ms", deadline).header("Grpc-Timeout", &format!("{deadline}m"));
        request.bearer("pat").send(&gateway.url())
    };
    let rest =
        || [Request::new("GET", "/v2/sessions/s1"), Request::new("PATCH", "/v2/sessions/s1").json(&set_json("team"))];
    for request in rest() {
        assert_eq!(both(request, "0").status, 200);
    }
    assert_eq!(recorder.count(), 2);
    let call = |path: &str, content_type: &str, body: Vec<u8>| {
        both(Request::new("POST", path).header("Content-Type", content_type).body(body), "0")
    };
    for (path, message) in [(GET, field(1, b"s1")), (SET, set("team"))] {
        let response = call(path, "application/proto", message.clone());
        assert_eq!((response.status, response.json()["code"].as_str()), (504, Some("deadline_exceeded")), "{path}");
        let response = call(path, "application/grpc-web+proto", frame(&message));
        assert!(response.text().contains("grpc-status: 4"), "{path}: {}", response.text());
    }
    assert_eq!(recorder.count(), 2, "nothing was begun");
}

/// The simulated ZITADEL was built from the published definitions alone, and understands the gateway's requests.
#[test]
fn sandbox_gives_the_same_responses_through_the_gateway() {
    let sandbox = crate::harness::Sandbox::start(&[]);
    let said = |name: &str| sandbox.zitadel[name].as_str().unwrap().to_owned();
    let (id, upstream) = (said("session_id"), said("upstream"));
    for token in [said("token"), said("jwt")] {
        let call = |name: &str, body: Value| {
            let path = format!("/zitadel.session.v2.SessionService/{name}");
            Request::new("POST", &path).bearer(&token).json(&body.to_string())
        };
        let read = call("GetSession", json!({"sessionId": id}));
        let (direct, through) = (read.send(&upstream), read.send(&sandbox.gateway));
        assert_eq!((direct.status, direct.text()), (200, through.text()));
        let hit = read.send(&sandbox.gateway);
        assert!(hit.header("Cache-Status").unwrap().starts_with("sessiongate; hit"));
        let good = call("SetSession", json!({"sessionId": id, "metadata": {"tier": "cHJv"}})).send(&sandbox.gateway);
        assert_eq!(good.status, 200, "{}", good.text());
        assert!(!details(&good.text())["sessionToken"].as_str().unwrap().is_empty());
        let fresh = details(&read.send(&sandbox.gateway).text());
        assert_eq!(fresh["session"]["metadata"]["tier"], "cHJv");
        assert_eq!(fresh["session"]["sequence"], details(&good.text())["details"]["sequence"]);
        let gold = json!({"metadata": {"tier": "Z29sZA=="}});
        let rest = Request::new("PATCH", &format!("/v2/sessions/{id}")).bearer(&token).json(&gold.to_string());
        assert_eq!(rest.send(&sandbox.gateway).status, 400);
        let named = json!({"sessionId": id, "metadata": {"tier": "Z29sZA=="}});
        assert_eq!(call("SetSession", named).send(&sandbox.gateway).status, 400);
        let made = call("CreateSession", json!({})).send(&sandbox.gateway);
        let made = details(&made.text())["sessionId"].as_str().unwrap().to_owned();
        let made = Request::new("GET", &format!("/v2/sessions/{made}")).bearer(&token).send(&upstream);
        assert!(details(&made.text())["session"]["expirationDate"].is_string(), "a new session has an end");
    }
}

/// The gateway rejects what the provider's validation would reject, with the same message.
#[test]
fn rejections_of_provider_rules_use_the_providers_messages() {
    let sandbox = crate::harness::Sandbox::start(&[]);
    let token = sandbox.zitadel["token"].as_str().unwrap();
    let upstream = sandbox.zitadel["upstream"].as_str().unwrap();
    let id = sandbox.zitadel["session_id"].as_str().unwrap();
    for body in [
        json!({"checks": {"totp": {"code": "12"}}}),
        json!({"lifetime": "0s"}),
        json!({"lifetime": "-1.5s"}),
        json!({"checks": {"user": {}}}),
        json!({"checks": {"user": {"userId": ""}}}),
        json!({"checks": {"password": {"password": "x".repeat(201)}}}),
        json!({"checks": {"otpSms": {"code": ""}}}),
        json!({"challenges": {"otpEmail": {"sendCode": {"urlTemplate": ""}}}}),
    ] {
        let mut named = body.clone();
        named["sessionId"] = id.into();
        for (path, method, body) in [
            (format!("/v2/sessions/{id}"), "PATCH", &body),
            ("/zitadel.session.v2.SessionService/SetSession".to_owned(), "POST", &named),
        ] {
            let request = Request::new(method, &path).bearer(token).json(&body.to_string());
            let (direct, through) = (request.send(upstream), request.send(&sandbox.gateway));
            let (direct, through) = (details(&direct.text()), details(&through.text()));
            assert_eq!((&direct["code"], &direct["message"]), (&through["code"], &through["message"]), "{body}");
        }
    }
}

#[test]
fn ending_a_users_sessions_invalidates() {
    let body = r#"{"session":{"id":"s1","sequence":"5"}}"#;
    let act = move |call: &mut Call| {
        call.body()?;
        call.response(200, "", body)
    };
    let (_recorder, gateway) = recorded(act, "cache: {}");
    let read = || {
        let response = Request::new("GET", "/v2/sessions/s1").bearer("pat").send(&gateway.url());
        response.header("Cache-Status").unwrap().to_owned()
    };
    for (method, path, stale) in [
        ("DELETE", "/v2/users/u1", true),
        ("POST", "/v2/users/u1/password", true),
        ("POST", "/zitadel.user.v2.UserService/LockUser", true),
        ("POST", "/zitadel.management.v1.ManagementService/RemoveUser", true),
        ("GET", "/v2/users/u1", false),
        ("POST", "/v2/users", false),
        ("POST", "/zitadel.user.v2.UserService/GetUserByID", false),
        ("DELETE", "/auth/v1/users/me", true),
        ("PUT", "/auth/v1/users/me/password", true),
        ("POST", "/zitadel.auth.v1.AuthService/RemoveMyUser", true),
        ("DELETE", "/management/v1/orgs/me", true),
        ("POST", "/management/v1/orgs/me/_deactivate", true),
        ("POST", "/management/v1/users/_search", false),
        ("POST", "/admin/v1/orgs/_search", false),
        ("DELETE", "/system/v1/instances/1", true),
        ("PATCH", "/scim/v2/1/Users/1", true),
        ("POST", "/oauth/v2/token", false),
        ("GET", "/oidc/v1/end_session", false),
    ] {
        read();
        assert!(read().starts_with("sessiongate; hit"));
        let sent = Request::new(method, path).bearer("pat").json("{}").send(&gateway.url());
        assert_eq!(sent.status, 200, "{path}");
        assert_eq!(read() == "sessiongate; fwd=miss; stored", stale, "{method} {path}");
    }
}

#[test]
fn cors_headers_are_on_hits_and_rejections() {
    let body = r#"{"session":{"id":"s1","sequence":"5"}}"#;
    let (_recorder, gateway) = recorded(move |call| call.response(200, "", body), "cache: {}");
    let shared = |response: &crate::harness::Response| {
        let all = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"];
        all.map(|name| response.header(name).unwrap_or("").to_owned())
    };
    let read = |origin: &str| Request::new("GET", "/v2/sessions/s1").bearer("pat").header("Origin", origin);
    // As ZITADEL does: the headers name the origin of each page, and allow credentials.
    for (turn, origin) in
        ["https://a.example", "https://b.example", "null", "https://a.example"].into_iter().enumerate()
    {
        let response = read(origin).send(&gateway.url());
        assert_eq!(response.header("Cache-Status").unwrap().starts_with("sessiongate; hit"), turn > 0);
        assert_eq!(shared(&response), [origin, "true", "Origin"]);
        assert!(response.header("Access-Control-Expose-Headers").unwrap().contains("grpc-status"));
        let rejected = Request::new("PATCH", "/v2/sessions/s1").bearer("pat").header("Origin", origin);
        let rejected = rejected.json(r#"{"metadata":{"role":"YQ=="}}"#).send(&gateway.url());
        assert_eq!((rejected.status, shared(&rejected)), (400, [origin, "true", "Origin"].map(str::to_owned)));
    }
    let plain = Request::new("GET", "/v2/sessions/s1").bearer("pat").send(&gateway.url());
    assert_eq!(shared(&plain), ["", "", "Origin"], "only who asks is told");
}

/// The client learns what is accepted, so that it can repeat the call uncompressed.
#[test]
fn compressed_calls_are_rejected_with_the_accepted_encoding() {
    let provider = Grpc::start();
    let gateway = provider.gateway("");
    let good = frame(&set("team"));
    let coded = [&[1], &good[1..]].concat();
    let json = set_json("team");
    let rows: Vec<(&str, &[u8], &str, &str, &str)> = vec![
        ("application/grpc", &good, "grpc-encoding", "gzip", "grpc-accept-encoding"),
        ("application/grpc", &coded, "grpc-encoding", "identity", "grpc-accept-encoding"),
        ("application/grpc-web", &good, "grpc-encoding", "gzip", "grpc-accept-encoding"),
        ("application/grpc-web", &coded, "x-own", "1", "grpc-accept-encoding"),
        ("application/proto", b"x", "content-encoding", "gzip", "accept-encoding"),
        ("application/json", json.as_bytes(), "content-encoding", "br", "accept-encoding"),
    ];
    for (content_type, body, name, value, told) in rows {
        let headers = [("content-type", content_type), (name, value)];
        let response = provider.call_with(&gateway, SET, body, &headers);
        assert_eq!(
            response.headers.get(told).map(|value| value.to_str().unwrap()),
            Some("identity"),
            "{content_type} {name}"
        );
        if content_type == "application/grpc" {
            assert_eq!(response.trailer("grpc-status"), "12", "{name}");
        }
    }
    let rest = Request::new("PATCH", "/v2/sessions/s1").bearer("pat").header("Content-Encoding", "gzip").json("{}");
    let response = rest.send(&gateway.url());
    assert_eq!((response.status, response.header("Accept-Encoding")), (415, Some("identity")));
}

#[test]
fn one_time_codes_are_stripped_from_responses() {
    let body = r#"{"details":{"sequence":"5"},"sessionToken":"t","challenges":{"otpEmail":"123456"}}"#;
    let recorder = Recorder::start(move |call| call.response(200, "", body));
    let policy = "policies:\n  strip: { challenges: { return_code: strip } }\n";
    let upstream = recorder.upstream_as("forward", "policy: strip").replace("dialect: auth0", "dialect: zitadel");
    let gateway = Gateway::start(&(upstream + policy));
    gateway.ready();
    let ask = r#"{"challenges":{"otpEmail":{"returnCode":{}}}}"#;
    let response = Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(ask).send(&gateway.url());
    assert_eq!(response.text(), r#"{"details":{"sequence":"5"},"sessionToken":"t","challenges":{}}"#);
}

/// If `opaque` says so.
#[test]
fn instance_jwts_are_verified_and_opaque_tokens_forwarded() {
    let sandbox = Sandbox::start(&[]);
    let text = |name: &str| sandbox.zitadel[name].as_str().unwrap();
    let (instance, jwt, pat) = (text("upstream"), text("jwt"), text("token"));
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let audience = claims["aud"][1].as_str().unwrap();
    let gateway = |more: &str| {
        let auth = format!("{{ issuer: \"{instance}\", audience: \"{audience}\", algorithms: [ES256]{more} }}");
        let upstream = format!("    dialect: zitadel\n    url: {instance}\n    auth: {auth}\n    cache: {{}}\n");
        let gateway = Gateway::start(&format!("upstreams:\n  idp:\n{upstream}"));
        gateway.ready();
        gateway
    };
    let path = format!("/v2/sessions/{}", text("session_id"));
    let read = |gateway: &Gateway, token: &str| {
        let response = Request::new("GET", &path).bearer(token).send(&gateway.url());
        let cache = response.header("cache-status").unwrap_or_default().split(';').nth(1).unwrap_or_default().trim();
        (response.status, cache.to_owned(), response.json()["code"].as_u64())
    };
    let (miss, hit) = ((200, "fwd=miss".to_owned(), None), (200, "hit".to_owned(), None));
    let rejected = (401, String::new(), Some(16));

    let strict = gateway("");
    assert_eq!(read(&strict, jwt), miss);
    assert_eq!(read(&strict, jwt), hit);
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    assert_eq!(read(&strict, &format!("{signed}.{first}{}", &signature[1..])), rejected);
    assert_eq!(read(&strict, pat), rejected);

    let mixed = gateway(", opaque: forward");
    for token in [jwt, pat] {
        assert_eq!(read(&mixed, token), miss, "each credential has its own");
        assert_eq!(read(&mixed, token), hit);
    }
    assert_eq!(read(&mixed, &format!("{signed}.{first}{}", &signature[1..])), rejected);
    assert_eq!(read(&mixed, "nobody's"), (401, "fwd=miss".to_owned(), Some(16)), "the provider's word");
    let change = Request::new("PATCH", &path).bearer(jwt).json(r#"{"metadata":{"tier":"cHJv"}}"#);
    assert_eq!(change.send(&mixed.url()).status, 200);
    assert_eq!((read(&mixed, jwt), read(&mixed, pat)), (miss.clone(), miss));
}
