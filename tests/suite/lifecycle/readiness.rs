//! Readiness: at start, until all upstreams can be served, and afterwards until shutdown.

use crate::harness::recorder::SESSION;
use crate::harness::{DnsServer, Gateway, Request, Scripted, addresses, json_response, unused_address, wait_for};
use serde_json::Value;

/// Two upstreams, one of them with a name that does not resolve.
fn config(dns: &DnsServer, provider: &Scripted, timeout: &str) -> String {
    let port = provider.port();
    format!(
        "readiness_timeout: {timeout}
dns: {{ servers: ['{}'] }}
upstreams:
  good: {{ dialect: auth0, url: http://good.test:{port}, auth: none, match: {{ host: good }}, cache: {{}} }}
  lost: {{ dialect: auth0, url: http://lost.test:{port}, auth: none, match: {{ host: lost }} }}
",
        dns.address()
    )
}

fn probe(gateway: &Gateway) -> (u16, Value) {
    let response = Request::new("GET", "/readyz").send(&gateway.admin_url());
    (response.status, response.json())
}

fn read(gateway: &Gateway, host: &str) -> u16 {
    let request = Request::new("GET", &format!("/api/v2/sessions/{SESSION}")).header("Host", host);
    request.send(&gateway.url()).status
}

#[test]
fn start_waits_for_unresolved_names_up_to_a_timeout() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let dns = DnsServer::start(&[("good.test", addresses(&["127.0.0.1"], 60))]);
    let gateway = Gateway::start(&config(&dns, &provider, "1h"));
    wait_for("the good one to serve", || (read(&gateway, "good") == 200).then_some(()));
    let (status, body) = probe(&gateway);
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)), "{body}");
    assert_eq!(body["reasons"].to_string(), r#"["upstream.lost.dns: cannot resolve the host name"]"#);
    assert_eq!((&body["checks"]["upstream.good.dns"], &body["checks"]["store"]), (&"ok".into(), &"ok".into()));
    // Once it is known, nothing is missing; once it was ready, it stays so.
    dns.say("lost.test", addresses(&["127.0.0.1"], 60));
    gateway.ready();
    let (_, body) = probe(&gateway);
    let names: Vec<&str> = body["checks"].as_object().unwrap().keys().map(String::as_str).collect();
    let of_good = ["upstream.good.dns", "upstream.good.provider"];
    let expected = [&["config", "draining", "store"], &of_good[..], &["upstream.lost.dns", "upstream.lost.provider"]];
    assert_eq!((names, &body["reasons"]), (expected.concat(), &Value::Null), "{body}");

    let gateway = Gateway::start(&config(&DnsServer::start(&[]), &provider, "0s"));
    assert_eq!(probe(&gateway).0, 503, "where none serves, time alone makes nothing ready");
    let dns = DnsServer::start(&[("good.test", addresses(&["127.0.0.1"], 60))]);
    let gateway = Gateway::start(&config(&dns, &provider, "0s"));
    // Without a request of `/readyz`.
    gateway.wait_for_log(|line| line.contains("ready, although not all upstreams can be served"));
    gateway.ready();
    let (_, body) = probe(&gateway);
    assert_eq!(body["checks"]["upstream.lost.dns"], "cannot resolve the host name", "{body}");
    assert_eq!((read(&gateway, "good"), read(&gateway, "lost")), (200, 503));
    assert_eq!(gateway.log().iter().filter(|line| line.contains(r#""message":"ready"#)).count(), 1);
}

#[test]
fn later_failures_are_reported_and_do_not_end_readiness() {
    let away = unused_address([127, 0, 9, 3]);
    let text = format!("upstreams:\n  a: {{ dialect: auth0, url: http://{away}, auth: none, cache: {{}} }}\n");
    let gateway = Gateway::start_with(&text, &[("HTTPS_PROXY", "http://user:secret@proxy.example:3128")]);
    gateway.wait_for_log(|line| line.contains(r#""message":"ready""#));
    assert_eq!(probe(&gateway).1["checks"]["upstream.a.provider"], "ok");
    assert_eq!(read(&gateway, "any"), 502);
    let (status, body) = probe(&gateway);
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)), "{body}");
    assert_eq!(body["checks"]["upstream.a.provider"], "requests to the provider fail", "{body}");
    let line = gateway.wait_for_log(|line| line.contains("proxy environment variables are ignored"));
    assert!(line.contains("HTTPS_PROXY") && !line.contains("secret"), "{line}");
}
