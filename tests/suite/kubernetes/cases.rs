//! Values that the tests of all charts render.

use crate::harness::kubernetes::{CHART, Rendered, render_requests};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// A configuration with one upstream of Auth0.
pub fn auth0() -> Value {
    json!({"upstreams": {"auth0": {
        "dialect": "auth0",
        "url": "https://acme.eu.auth0.com",
        "auth": {"issuer": "https://acme.eu.auth0.com/", "audience": "https://acme.eu.auth0.com/api/v2/"}
    }}})
}

/// A configuration with these options beside one upstream of Auth0.
pub fn auth0_with(options: Value) -> Value {
    let mut config = auth0();
    config.as_object_mut().unwrap().append(&mut options.as_object().unwrap().clone());
    config
}

/// A configuration with a cached upstream.
pub fn cached() -> Value {
    let mut config = auth0();
    config["upstreams"]["auth0"]["cache"] = json!({"ttl": "30s"});
    config
}

/// The container of an application.
pub fn application() -> Value {
    json!({"application": {
        "name": "application", "image": "application", "resources": {"limits": {"memory": "64Mi"}}
    }})
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Values for everything that is off by default.
fn everything() -> Value {
    let issuer = json!({"name": "ca", "kind": "ClusterIssuer"});
    let parents = json!([{"name": "public", "namespace": "gateways"}]);
    json!({
        "config": {"upstreams": {"zitadel": {
            "dialect": "zitadel", "url": "http://zitadel.zitadel.svc:8080", "host": "login.acme.example",
            "allow_http": true, "auth": "forward", "cache": {}
        }}},
        "secretName": "gate",
        "image": {"repository": "registry.example/sessiongate", "digest": DIGEST, "pullSecrets": [{"name": "pull"}]},
        "autoscaling": {"enabled": true},
        "networkPolicy": {
            "dns": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "providers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "zitadel"}}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4317}]}]
        },
        "service": {"annotations": {"a": "b"}, "trafficDistribution": ""},
        "serviceAccount": {"name": "gate", "annotations": {"a": "b"}},
        "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true, "runbookUrl": "https://wiki.example/runbooks/"},
        "dashboard": {"enabled": true, "annotations": {"folder": "Identity"}},
        "httpRoute": {"enabled": true, "parentRefs": parents, "hostnames": ["login.acme.example"]},
        "grpcRoute": {
            "enabled": true, "parentRefs": parents, "hostnames": ["grpc.acme.example"],
            "services": ["zitadel.session.v2.SessionService", "zitadel.session.v2beta.SessionService"]
        },
        "externalSecret": {
            "enabled": true, "storeRef": {"name": "vault", "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "hash-key", "remoteRef": {"key": "gate", "property": "hash-key"}}]
        },
        "redis": {"enabled": true, "tls": {"secretName": "gate-redis", "issuerRef": issuer}},
        "podLabels": {"team": "identity"},
        "podAnnotations": {"a": "b"},
        "env": [{"name": "REGION", "value": "eu"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/run/ca", "readOnly": true}],
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "identity", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "high",
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "sessiongate"}}
        }]
    })
}

/// Values by what they are for.
fn values() -> Vec<(&'static str, Value)> {
    let issuer = json!({"name": "ca", "kind": "Issuer"});
    let listeners = json!({
        "public": {"address": "0.0.0.0:8443", "tls": {"certificates": [
            {"certificate": "/run/secrets/tls/tls.crt", "key": "/run/secrets/tls/tls.key"}
        ]}},
        "inner_plain": {"address": "[::]:8081"},
    });
    let own_store = json!({"redis": {
        "sentinel": {"service": "sessions", "nodes": ["rediss://s1.example", "rediss://s2.example:26380"]},
        "password": {"file": "/run/secrets/sessiongate/redis-password"},
        "seal_keys": [{"file": "/run/secrets/sessiongate/seal-key"}]
    }});
    let mut stored = cached();
    stored["store"] = own_store;
    stored["hash_key"] = json!({"file": "/run/secrets/sessiongate/hash-key"});
    let admin_tls = json!({"certificate": "/run/secrets/tls/tls.crt", "key": "/run/secrets/tls/tls.key"});
    vec![
        ("a shared gateway", json!({"config": auth0()})),
        ("the plain manifests", json!(format!("{CHART}/ci/shared-gateway.yaml"))),
        ("a sidecar of the plain manifests", json!(format!("{CHART}/ci/sidecar.yaml"))),
        ("everything", everything()),
        (
            "TLS",
            json!({
                "config": auth0(), "tls": {"secretName": "gate", "issuerRef": issuer, "dnsNames": ["gate.example"]},
                "httpRoute": {"enabled": true, "parentRefs": [{"name": "public"}]}
            }),
        ),
        (
            "several listeners, admin with TLS",
            json!({
                "config": auth0_with(json!({
                    "listeners": listeners, "admin": {"address": "0.0.0.0:9443", "tls": admin_tls}
                })),
                "tls": {"secretName": "gate"},
                "podMonitor": {"enabled": true, "tlsConfig": {"insecureSkipVerify": true}}
            }),
        ),
        (
            "admin and control on sockets",
            json!({"config": auth0_with(json!({
                "admin": "unix:/run/gate/admin.sock", "control": "unix:/run/gate/control.sock"
            }))}),
        ),
        ("admin on loopback", json!({"config": auth0_with(json!({"admin": {"address": "127.0.0.1:9090"}}))})),
        ("its own store", json!({"config": stored, "secretName": "gate"})),
        ("one process", json!({"config": cached(), "replicaCount": 1, "checkBeforeStart": false})),
        ("Redis without TLS", json!({"config": cached(), "secretName": "gate", "redis": {"enabled": true}})),
        (
            "a sidecar with Redis",
            json!({
                "mode": "sidecar", "config": cached(), "secretName": "gate", "redis": {"enabled": true},
                "podMonitor": {"enabled": true}, "sidecar": application()
            }),
        ),
        ("a sidecar for another chart", json!({"mode": "sidecar", "config": auth0(), "podMonitor": {"enabled": true}})),
    ]
}

/// All cases, rendered.
pub fn cases() -> &'static [(&'static str, Rendered)] {
    static CASES: OnceLock<Vec<(&'static str, Rendered)>> = OnceLock::new();
    CASES.get_or_init(|| {
        let values = values();
        let request = |(_, values): &(_, Value)| json!({"chart": CHART, "release": "sessiongate", "values": values});
        let rendered = render_requests(&values.iter().map(request).collect::<Vec<_>>());
        let named = values.iter().zip(rendered).map(|((name, _), result)| match result {
            Ok(rendered) => (*name, rendered),
            Err(error) => panic!("{name}: {error}"),
        });
        named.collect()
    })
}
