//! Values that the chart rejects, with the place of the error.

use super::cases::{application, auth0, auth0_with, cached};
use crate::harness::kubernetes::{CHART, kubernetes_installed, render_requests};
use serde_json::{Value, json};

/// Wrong values, and parts of the message.
fn cases() -> Vec<(Value, &'static [&'static str])> {
    let with = |options: Value| json!({"config": auth0_with(options)});
    let upstream = |key: &str, value: Value| {
        let mut config = auth0();
        config["upstreams"]["auth0"][key] = value;
        json!({"config": config})
    };
    let also = |more: Value| {
        let mut values = json!({"config": auth0()});
        values.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        values
    };
    let sidecar = |options: Value, more: Value| {
        let mut values = also(more);
        values["mode"] = json!("sidecar");
        values["config"] = auth0_with(options);
        values
    };
    let mut named = application();
    named["application"]["name"] = json!("sessiongate");
    let route = |hosts: &[&str]| json!({"enabled": true, "parentRefs": [{"name": "g"}], "hostnames": hosts});
    vec![
        (json!({}), &["'/config'", "upstreams"]),
        (with(json!({"lisen": "0.0.0.0:1"})), &["'/config'", "'lisen' not allowed"]),
        (with(json!({"listen": "0.0.0.0:1", "listeners": {"a": {"address": "0.0.0.0:2"}}})), &["'/config'"]),
        (upstream("cache", json!({"ttl": "30 parsecs"})), &["'/config/upstreams/auth0/cache", "ttl"]),
        (upstream("dialect", json!("auth")), &["'/config/upstreams/auth0/dialect'"]),
        (with(json!({"hash_key": "in the configuration itself"})), &["'/config/hash_key'"]),
        (also(json!({"image": {"digest": "sha256:123"}})), &["'/image/digest'", "sha256"]),
        (also(json!({"image": {"tag": "a b"}})), &["'/image/tag'"]),
        (also(json!({"replicas": 3})), &["'replicas' not allowed"]),
        (also(json!({"replicaCount": 0})), &["'/replicaCount'"]),
        (also(json!({"mode": "side-car"})), &["'/mode'", "sidecar"]),
        (also(json!({"podMonitor": {"interval": "2m"}})), &["'/podMonitor/interval'"]),
        (also(json!({"prometheusRule": {"runbookUrl": "https://wiki.example"}})), &["'/prometheusRule/runbookUrl'"]),
        (
            json!({"config": cached()}),
            &["config.upstreams: auth0: `cache` with 2 processes needs a store in Redis", "replicaCount: 1"],
        ),
        (with(json!({"admin": "off"})), &["config.admin: off"]),
        (with(json!({"listen": "127.0.0.1:8080"})), &["config: no listener that other pods can reach"]),
        (with(json!({"listen": "0.0.0.0:${PORT}"})), &["listener main", "without variables"]),
        (with(json!({"shutdown": {"grace": "${GRACE}"}})), &["config.shutdown.grace", "without variables"]),
        (
            with(json!({"admin": "unix:/run/a/admin.sock", "control": "unix:/run/b/control.sock"})),
            &["in one directory, found /run/a, /run/b"],
        ),
        (
            with(json!({"policies": {"p": {"fields": {"b*": {}, "/a/": {}, "exact": {}}}}})),
            &["config.policies.p.fields", "/a/, b*", "fieldPatterns: sorted"],
        ),
        (upstream("policy", json!("nope")), &["config.upstreams.auth0.policy: there is no policy `nope`"]),
        (
            upstream("refresh_token_policy", json!("nope")),
            &["config.upstreams.auth0.refresh_token_policy: there is no policy `nope`"],
        ),
        // As Helm reads 0660, and [blue, yes].
        (
            with(json!({"listeners": {"main": {"address": "0.0.0.0:1", "mode": 432}}})),
            &["config.listeners.main.mode: not a text: put it into quotation marks"],
        ),
        (
            with(json!({"policies": {"p": {"fields": {"a": {"one_of": ["blue", true], "default": true}}}}})),
            &["config.policies.p.fields.a.one_of[1]: not a text", "config.policies.p.fields.a.default: not a text"],
        ),
        (also(json!({"redis": {"enabled": true}})), &["redis.enabled: set secretName"]),
        (
            json!({
                "config": auth0_with(json!({"store": {"memory": {}}})),
                "secretName": "s", "redis": {"enabled": true}
            }),
            &["config.store is set"],
        ),
        (also(json!({"externalSecret": {"enabled": true}})), &["externalSecret.enabled: set secretName"]),
        (also(json!({"tls": {"issuerRef": {"name": "ca"}}})), &["tls.issuerRef: set tls.secretName"]),
        (
            json!({"config": auth0_with(json!({"listen": "0.0.0.0:8081"})), "tls": {"secretName": "t"}}),
            &["tls.secretName: config.listen (0.0.0.0:8081) has no TLS: remove it"],
        ),
        (
            json!({
                "config": auth0_with(json!({"listeners": {"main": {"address": "0.0.0.0:8081"}}})),
                "tls": {"secretName": "t"}
            }),
            &["tls.secretName: no listener of config.listeners has `tls`"],
        ),
        (
            sidecar(json!({"listen": "0.0.0.0:8080"}), json!({})),
            &["a listener at 0.0.0.0:8080 would accept connections without TLS", "127.0.0.1:8080"],
        ),
        (
            sidecar(
                json!({}),
                json!({
                    "tls": {"secretName": "t", "issuerRef": {"name": "ca"}}, "autoscaling": {"enabled": true},
                    "httpRoute": route(&["a.example"]), "grpcRoute": route(&["b.example"])
                }),
            ),
            &[
                "tls.secretName: with mode: sidecar only",
                "tls.issuerRef: only with mode: shared",
                "autoscaling.enabled: only with mode: shared",
                "httpRoute.enabled: only with mode: shared",
                "grpcRoute.enabled: only with mode: shared",
            ],
        ),
        (
            sidecar(json!({}), json!({"sidecar": named})),
            &["sidecar.application.name: sessiongate is the name of a container of the gateway"],
        ),
        (also(json!({"sidecar": application()})), &["sidecar.application: only with mode: sidecar"]),
        (with(json!({"replicas": 1})), &["config.replicas: 1 is less than the number of pods, 2"]),
        (
            also(json!({"terminationGracePeriodSeconds": 40})),
            &["terminationGracePeriodSeconds: 40 must be longer", "40 s"],
        ),
        (
            also(json!({"secretName": "s", "redis": {"enabled": true, "maxmemory": "1gb"}})),
            &["redis.maxmemory: the limit redis.resources.limits.memory (384Mi)"],
        ),
        (
            also(json!({"httpRoute": route(&["a.example", "b.example"]), "grpcRoute": route(&["b.example"])})),
            &["grpcRoute.hostnames: b.example is also in httpRoute.hostnames"],
        ),
        (also(json!({"httpRoute": route(&[]), "grpcRoute": route(&["b.example"])})), &["both need hostnames"]),
        (
            json!({"config": auth0_with(json!({"admin": "127.0.0.1:9090"})), "podMonitor": {"enabled": true}}),
            &["podMonitor.enabled: Prometheus cannot reach config.admin"],
        ),
    ]
}

#[test]
fn wrong_values_are_rejected_with_their_place() {
    if !kubernetes_installed() {
        return;
    }
    let cases = cases();
    let request = |(values, _): &(Value, _)| json!({"chart": CHART, "release": "sessiongate", "values": values});
    let results = render_requests(&cases.iter().map(request).collect::<Vec<_>>());
    for ((values, parts), result) in cases.iter().zip(results) {
        let error = result.err().unwrap_or_else(|| panic!("accepted: {values}"));
        assert!(parts.iter().all(|part| error.contains(part)), "{values}: {error}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    if kubernetes_installed() {
        let values = json!({
            "config": auth0_with(json!({"admin": "off"})), "redis": {"enabled": true}, "replicaCount": 1
        });
        let result = render_requests(&[json!({"chart": CHART, "values": values})]).remove(0);
        let error = result.err().unwrap();
        assert!(error.contains("- config.admin: off") && error.contains("- redis.enabled: set secretName"), "{error}");
    }
}
