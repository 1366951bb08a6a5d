use crate::config::{Environment, compile};
use crate::gateway::Gateway;
use std::path::Path;
use std::sync::Arc;

struct Files;

impl Environment for Files {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        Some("0123456789abcdef".into())
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Ok(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec())
    }
}

fn gateway(text: &str) -> Arc<Gateway> {
    compile("c", text, &Files, [7; 32]).unwrap().config.gateway
}

const A: &str = "url: https://a.example, dialect: auth0, match: { host: a }, cache: { ttl: 10s }, \
    auth: { issuer: https://i.example/, audience: x }, policy: p";
const B: &str = "url: https://b.example, dialect: zitadel, match: { host: b }, auth: forward";

/// The hash of a session of the upstream `a`, and the ID of its responses.
fn names(upstreams: &[(&str, &str)], more: &str) -> ([u8; 16], [u8; 16]) {
    let listed: String = upstreams.iter().map(|(name, one)| format!("  {name}: {{ {one} }}\n")).collect();
    let gateway = gateway(&format!("upstreams:\n{listed}policies: {{ p: {{ {more} }} }}\n"));
    let (upstream, session) = gateway.purge_target("a", Some("session")).unwrap();
    (session.unwrap(), upstream.response_id)
}

#[test]
fn cache_ids_do_not_depend_on_unrelated_options() {
    let twin = A.replace("match: { host: a }", "match: { host: twin }").replace("10s", "20s");
    let own = names(&[("a", A)], "mode: audit");
    for (upstreams, more) in [
        (vec![("a", A), ("b", B)], "mode: audit"),
        (vec![("b", B), ("a", A)], "mode: audit"),
        (vec![("twin", &*twin), ("b", B), ("a", A)], "mode: audit"),
        (vec![("a", A), ("twin", &*twin)], "mode: audit"),
        (vec![("a", A)], "wipe: reject"),
        (vec![("a", &A.replace("host: a", "host: elsewhere"))], "wipe: reject"),
        (vec![("a", &(A.to_owned() + ", body: { max: 1KiB }, timeouts: { connect: 2s }, unmatched: reject"))], ""),
        (vec![("a", &A.replace("https://a.example", "https://A.example:443"))], ""),
        (vec![("a", &A.replace("audience: x", "audience: x, leeway: 1s, refresh: 1m"))], ""),
    ] {
        assert_eq!(names(&upstreams, more), own, "{upstreams:?}");
    }
}

#[test]
fn cache_ids_differ_between_providers() {
    let own = names(&[("a", A)], "");
    for url in ["https://b.example", "https://a.example:444", "http://a.example:443", "https://a.example/base"] {
        let other = names(&[("a", &A.replace("https://a.example", url))], "");
        assert_ne!(other.0, own.0, "{url}");
        assert_ne!(other.1, own.1, "{url}");
    }
}

#[test]
fn cache_ids_depend_on_who_may_get_a_response_and_for_how_long() {
    let mut all = vec![names(&[("a", A)], "")];
    for (from, to) in [
        ("issuer: https://i.example/", "issuer: https://j.example/"),
        ("issuer: https://i.example/", "issuer: [https://i.example/, https://j.example/]"),
        ("audience: x", "audience: y"),
        ("audience: x", "audience: [x, y]"),
        ("audience: x", "audience: x, opaque: forward"),
        ("audience: x", "audience: x, algorithms: [RS256, ES256]"),
        ("audience: x", "audience: x, jwks: https://k.example/"),
        ("auth: { issuer: https://i.example/, audience: x }", "auth: forward"),
        ("auth: { issuer: https://i.example/, audience: x }", "auth: none"),
        ("dialect: auth0", "dialect: zitadel"),
        ("ttl: 10s", "ttl: 11s"),
        ("ttl: 10s", "ttl: 10s, stale_if_error: 1s"),
        ("ttl: 10s", "ttl: 10s, stale_while_revalidate: 1s"),
        ("ttl: 10s", "ttl: 10s, negative_ttl: 1s"),
        ("cache:", "preserve_host: true, cache:"),
    ] {
        assert!(A.contains(from), "{from}");
        all.push(names(&[("a", &A.replace(from, to))], ""));
    }
    assert!(all.iter().all(|(session, _)| *session == all[0].0), "the provider is the same");
    let mut responses: Vec<[u8; 16]> = all.iter().map(|(_, responses)| *responses).collect();
    responses.sort_unstable();
    responses.dedup();
    assert_eq!(responses.len(), all.len());
}

#[test]
fn same_secret_gives_the_same_cache_ids() {
    let text = format!("upstreams: {{ a: {{ {A} }} }}\npolicies: {{ p: {{}} }}\n");
    let keyed = gateway(&format!("{text}hash_key: {{ env: KEY }}\n"));
    let random = gateway(&text);
    assert!(!keyed.has_same_secret(&random));
    let alike = keyed.with_secret_of(&random);
    assert!(alike.has_same_secret(&random) && !alike.has_same_secret(&keyed));
    let session = |gateway: &Gateway| gateway.purge_target("a", Some("session")).map(|(_, session)| session).unwrap();
    assert_eq!(session(&alike), session(&random));
    assert_ne!(session(&alike), session(&keyed));
    assert_eq!(alike.upstreams()[0].response_id, random.upstreams()[0].response_id);
}

/// The IDs of the responses that callers of each issuer share.
fn of_issuers(auth: &str) -> Vec<[u8; 16]> {
    let one = A.replace("auth: { issuer: https://i.example/, audience: x }", &format!("auth: {auth}"));
    let gateway = gateway(&format!("upstreams: {{ a: {{ {one} }} }}\npolicies: {{ p: {{ mode: audit }} }}\n"));
    gateway.upstreams()[0].check.issuers().iter().map(|issuer| issuer.response_id).collect()
}

#[test]
fn issuers_share_no_cached_responses() {
    let (i, j) = ("{ issuer: https://i.example/, audience: x }", "{ issuer: https://j.example/, audience: x }");
    let (one, listed) = (of_issuers(i), of_issuers(&format!("[{i}]")));
    assert_eq!((one.len(), &one), (1, &listed), "a list of one issuer is that issuer");
    let two = of_issuers(&format!("[{i}, {j}]"));
    assert_ne!(two[0], two[1]);
    assert!(!two.contains(&one[0]), "another set of callers");
    let turned = of_issuers(&format!("[{j}, {i}]"));
    assert_eq!((turned[0], turned[1]), (two[1], two[0]), "the order does not matter");
    let other = of_issuers(&format!("[{i}, {}]", j.replace("audience: x", "audience: y")));
    assert!(other.iter().all(|id| !two.contains(id)), "a change of one issuer makes all unreachable");
}
