//! The `host` option: providers that are connected to under another name than their own, such as the name of a service
//! in a cluster.

use crate::harness::issuer::{AUDIENCE, ISSUER, Signer, read};
use crate::harness::{Authority, Gateway, Request, Scripted, json_response};
use serde_json::json;
use std::sync::Arc;

const OWN: &str = "id.example";

/// Upstream options with this address, and keys from it.
fn config(url: &str, more: &str, auth: &str) -> String {
    format!(
        "upstreams:
  a:
    dialect: auth0
    url: {url}
    {more}
    auth: {{ issuer: {ISSUER}, audience: {AUDIENCE}, jwks: {url}/jwks, algorithms: [EdDSA]{auth} }}
"
    )
}

#[test]
fn host_option_sets_the_host_header() {
    let key = Signer::new("one");
    let jwk = key.jwk();
    let provider = Scripted::start(move |request| match (request.header("Host"), request.path.as_str()) {
        (Some(OWN), "/jwks") => json_response(200, &json!({ "keys": [jwk] }).to_string()),
        (Some(OWN), _) => json_response(200, "{}"),
        _ => json_response(404, r#"{"message":"unable to find instance"}"#),
    });
    let gateway = Gateway::start(&config(&provider.url(), &format!("host: {OWN}"), ""));
    gateway.ready();
    assert_eq!(read(&gateway, &key.good()).status, 200, "governed");
    let passed = Request::new("GET", "/x").header("Host", "gate.example").send(&gateway.url());
    assert_eq!(passed.status, 200, "passed");
    let hosts: Vec<String> = provider.received().iter().map(|seen| seen.header("Host").unwrap().to_owned()).collect();
    assert!(hosts.len() >= 3 && hosts.iter().all(|host| host == OWN), "{hosts:?}");
}

#[test]
fn host_option_sets_the_certificate_name() {
    let key = Signer::new("one");
    let authority = Authority::new("ours");
    let file = authority.file.display();
    let start = |names: &[&str]| {
        let jwk = key.jwk();
        let config = authority.certify(names, |_| {});
        Scripted::start_tls(Arc::new(config), move |request| match request.path.as_str() {
            "/jwks" => json_response(200, &json!({ "keys": [jwk] }).to_string()),
            _ => json_response(200, "{}"),
        })
    };
    let more = format!("host: {OWN}:8443\n    tls: {{ ca_file: {file} }}");
    let good = start(&[OWN]);
    let url = format!("https://localhost:{}", good.port());
    let gateway = Gateway::start(&config(&url, &more, &format!(", ca_file: {file}")));
    gateway.ready();
    assert_eq!(read(&gateway, &key.good()).status, 200, "governed");
    assert_eq!(Request::new("GET", "/x").send(&gateway.url()).status, 200, "passed");
    let received = good.received();
    assert!(received.iter().all(|seen| seen.header("Host") == Some("id.example:8443")), "{received:?}");

    // The certificate no longer has the name that is connected to.
    let other = start(&["localhost"]);
    let url = format!("https://localhost:{}", other.port());
    let keys = format!(", ca_file: {file}, host: localhost");
    let gateway = Gateway::start(&config(&url, &more, &keys));
    gateway.ready();
    assert_eq!(read(&gateway, &key.good()).status, 502, "governed");
    assert_eq!(Request::new("GET", "/x").send(&gateway.url()).status, 502, "passed");
}
