//! Opaque tokens of a simulated ZITADEL, which it introspects: personal access tokens, access tokens of a machine user,
//! and session tokens, which cannot be introspected.

use crate::harness::{Gateway, Request, Response, Sandbox, wait_for};
use serde_json::Value;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn post(url: &str, path: &str, form: &str) -> Response {
    let request = Request::new("POST", path).header("Content-Type", "application/x-www-form-urlencoded");
    request.body(form).send(url)
}

/// A new opaque access token of the machine user, with the project in its audience or without it.
fn opaque(verified: &Value, with_project: bool) -> String {
    let (instance, client) = (&verified["instance"], text(&verified["introspection"], "opaque_client_id"));
    let scope = if with_project { "&scope=urn:zitadel:iam:org:project:id:zitadel:aud" } else { "" };
    let secret = text(instance, "client_secret");
    let form = format!("grant_type=client_credentials&client_id={client}&client_secret={secret}{scope}");
    let response = post(text(instance, "upstream"), "/oauth/v2/token", &form);
    assert_eq!(response.status, 200, "{}", response.text());
    text(&response.json(), "access_token").to_owned()
}

/// What `docs/guides/opaque-tokens.md` says of the sandbox.
#[test]
fn sandbox_introspects_opaque_tokens() {
    let sandbox = Sandbox::start(&[]);
    let instance = &sandbox.verified["instance"];
    let path = format!("/verified/v2/sessions/{}", text(instance, "session_id"));
    let read = |token: &str| Request::new("GET", &path).bearer(token).send(&sandbox.gateway);
    for token in [text(instance, "token"), text(instance, "jwt"), &opaque(&sandbox.verified, true)] {
        let response = read(token);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    for (why, token) in [
        ("a session token", text(instance, "session_token")),
        ("an unknown token", "unknown"),
        ("a token for no project", &opaque(&sandbox.verified, false)),
    ] {
        let response = read(token);
        assert_eq!((response.status, response.json()["code"].as_i64()), (401, Some(16)), "{why}: {}", response.text());
        assert!(response.text().contains("it is not active"), "{why}: {}", response.text());
    }
}

#[test]
fn gateway_introspects_with_a_private_key_and_revoked_tokens_are_gone() {
    let sandbox = Sandbox::start(&[]);
    let (instance, client) = (&sandbox.verified["instance"], &sandbox.verified["introspection"]);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, text(client, "private_key")).unwrap();
    let upstream = text(instance, "upstream");
    let gateway = |key_id: &str| {
        let gateway = Gateway::start(&format!(
            "upstreams:
  zitadel:
    dialect: zitadel
    url: {upstream}
    cache: {{}}
    auth:
      issuer: {upstream}
      audience: \"310000000000000001\"
      algorithms: [ES256]
      introspection:
        url: {}
        client_id: {:?}
        private_key: {{ file: {} }}
        key_id: {key_id:?}
        algorithm: ES256
        ttl: 0s
",
            text(client, "url"),
            text(client, "client_id"),
            key.display()
        ));
        gateway.ready();
        gateway
    };
    let path = format!("/v2/sessions/{}", text(instance, "session_id"));
    let read = |gateway: &Gateway, token: &str| Request::new("GET", &path).bearer(token).send(&gateway.url());
    let own = gateway(text(client, "key_id"));
    let token = opaque(&sandbox.verified, true);
    assert_eq!(read(&own, &token).status, 200);
    assert_eq!(read(&own, text(instance, "token")).status, 200, "a personal access token");
    let line = own.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains("caller.client_id"));
    assert!(!line.contains(&token), "{line}");
    let secret = text(instance, "client_secret");
    let form = format!("client_id={}&client_secret={secret}&token={token}", text(client, "opaque_client_id"));
    assert_eq!(post(upstream, "/oauth/v2/revoke", &form).status, 200);
    assert_eq!(read(&own, &token).status, 401, "although its session is cached");
    let other = gateway("another-key");
    assert_eq!(read(&other, &opaque(&sandbox.verified, true)).status, 503);
    wait_for("the cause in the log", || {
        other.log().iter().any(|line| line.contains(r#""cause":"client""#)).then_some(())
    });
}
