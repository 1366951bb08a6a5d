//! What values do: each case has values, and what is then where in the rendered objects.

use super::cases::{application, auth0, auth0_with, cached};
use crate::harness::kubernetes::{CHART, Rendered, kubernetes_installed, render_requests};
use serde_json::{Value, json};

/// Where a value is: in the gateway's configuration, in the object of a kind with the name `sessiongate`, or in the
/// container of the gateway.
#[derive(Debug, Clone, Copy)]
enum Place {
    Config(&'static str),
    Object(&'static str, &'static str),
    Container(&'static str),
}

use Place::{Config, Container, Object};

fn at(rendered: &Rendered, place: Place) -> Value {
    let (value, pointer) = match place {
        Config(pointer) => (&rendered.options, pointer),
        Object(kind, pointer) => (rendered.object(kind, "sessiongate"), pointer),
        Container(pointer) => (rendered.container("sessiongate"), pointer),
    };
    value.pointer(pointer).cloned().unwrap_or_default()
}

type Case = (&'static str, Value, Vec<(Place, Value)>);

fn replicas_and_threads() -> Vec<Case> {
    let limits = |cpu: Value| json!({"limits": {"cpu": cpu, "memory": "256Mi"}});
    let threads = |name, cpu: Value, threads: u64| -> Case {
        (name, json!({"config": auth0(), "resources": limits(cpu)}), vec![(Config("/threads"), json!(threads))])
    };
    vec![
        ("threads without a CPU limit", json!({"config": auth0()}), vec![(Config("/threads"), json!(2))]),
        threads("threads of a CPU limit", json!(3), 3),
        threads("threads of a limit as text", json!("4"), 4),
        threads("threads of part of a CPU", json!("100m"), 1),
        threads("threads of a limit in thousandths, rounded up", json!("2500m"), 3),
        threads("threads of a fraction, rounded up", json!(1.5), 2),
        (
            "threads of the configuration",
            json!({"config": auth0_with(json!({"threads": 7})), "resources": limits(json!(3))}),
            vec![(Config("/threads"), json!(7))],
        ),
        (
            "replicas",
            json!({"config": auth0(), "replicaCount": 5}),
            vec![(Config("/replicas"), json!(5)), (Object("Deployment", "/spec/replicas"), json!(5))],
        ),
        (
            "autoscaling: the Deployment has no replicas, the configuration the maximum",
            json!({"config": auth0(), "autoscaling": {"enabled": true, "maxReplicas": 9}}),
            vec![
                (Config("/replicas"), json!(9)),
                (Object("Deployment", "/spec/replicas"), Value::Null),
                (Object("HorizontalPodAutoscaler", "/spec/maxReplicas"), json!(9)),
                (Object("HorizontalPodAutoscaler", "/spec/scaleTargetRef/name"), json!("sessiongate")),
                (Object("HorizontalPodAutoscaler", "/spec/behavior/scaleDown/stabilizationWindowSeconds"), json!(300)),
            ],
        ),
    ]
}

fn images_and_listeners() -> Vec<Case> {
    let digest = format!("sha256:{}", "0f".repeat(32));
    let port = |index: usize, key: &str| -> Place {
        let pointer: &'static str = Box::leak(format!("/spec/ports/{index}/{key}").into_boxed_str());
        Object("Service", pointer)
    };
    vec![
        (
            "image by version",
            json!({"config": auth0(), "image": {"repository": "registry.example/gate"}}),
            vec![(Container("/image"), json!(format!("registry.example/gate:{}", env!("CARGO_PKG_VERSION"))))],
        ),
        (
            "image by tag",
            json!({"config": auth0(), "image": {"tag": "1.2.3-rc.1"}}),
            vec![(Container("/image"), json!("sessiongate:1.2.3-rc.1"))],
        ),
        (
            "image by digest",
            json!({"config": auth0(), "image": {"tag": "1.2.3", "digest": digest}}),
            vec![(Container("/image"), json!(format!("sessiongate@{digest}")))],
        ),
        (
            "HTTP and gRPC on one listener",
            json!({"config": auth0()}),
            vec![
                (Config("/listen"), json!("0.0.0.0:8080")),
                (port(0, "appProtocol"), json!("http")),
                (port(0, "port"), json!(80)),
                (port(1, "appProtocol"), json!("kubernetes.io/h2c")),
                (port(1, "targetPort"), json!("http")),
            ],
        ),
        (
            "TLS",
            json!({"config": auth0(), "tls": {"secretName": "gate"}, "service": {"httpsPort": 8443}}),
            vec![
                (Config("/listen"), Value::Null),
                (Config("/listeners/main/address"), json!("0.0.0.0:8443")),
                (Config("/listeners/main/tls/certificates/0/key"), json!("/run/secrets/tls/tls.key")),
                (port(0, "appProtocol"), json!("https")),
                (port(0, "port"), json!(8443)),
                (port(1, "port"), Value::Null),
            ],
        ),
        (
            "main is the first of several listeners",
            json!({"config": auth0_with(json!({"listeners": {
                "a_second_listener": {"address": "0.0.0.0:7000"},
                "local": {"address": "127.0.0.1:7001"},
                "main": {"address": "[::]:7002"}
            }}))}),
            vec![
                (port(0, "targetPort"), json!("http")),
                (Container("/ports/0"), json!({"name": "http", "containerPort": 7002})),
                (port(2, "targetPort"), json!("in-a-second-lis")),
                (port(2, "port"), json!(7000)),
                (port(3, "port"), Value::Null),
            ],
        ),
        (
            "a large number stays a number",
            json!({"config": auth0_with(json!({"clients": {"limits": {"connections": 1_000_000}}}))}),
            vec![(Config("/clients/limits/connections"), json!(1_000_000))],
        ),
        (
            "references to variables stay as they are",
            json!({"config": auth0_with(json!({"log": {"level": "${LEVEL:-info}"}}))}),
            vec![(Config("/log/level"), json!("${LEVEL:-info}"))],
        ),
    ]
}

fn networks() -> Vec<Case> {
    let egress = |index: usize, key: &str| -> Place {
        let pointer: &'static str = Box::leak(format!("/spec/egress/{index}/{key}").into_boxed_str());
        Object("NetworkPolicy", pointer)
    };
    let tcp = |ports: &[u16]| -> Value {
        ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect::<Vec<_>>().into()
    };
    let mut several = auth0();
    several["upstreams"]["other"] = json!({
        "dialect": "zitadel", "url": "http://u@z.example:8081/base", "match": {"host": "z.example"},
        "auth": {"issuer": ["https://i.example:444/"], "audience": "a", "jwks": "https://[fd00::1]:445/keys"}
    });
    several["upstreams"]["variable"] = json!({
        "dialect": "okta", "url": "${URL:?set it}", "match": {"host": "o.example"}, "auth": "none"
    });
    let mut proxied = auth0();
    proxied["upstreams"]["auth0"]["egress_proxy"] = json!({"url": "http://proxy.example:3128"});
    proxied["upstreams"]["auth0"]["auth"]["egress_proxy"] = json!({"url": "http://other.example"});
    let mut stored = cached();
    stored["hash_key"] = json!({"env": "K"});
    let redis = |server: Value| {
        let mut config = stored.clone();
        config["store"] = json!({"redis": server});
        config["store"]["redis"]["seal_keys"] = json!([{"env": "S"}]);
        json!({"config": config})
    };
    let named = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"protocol": "TCP", "port": name})).collect::<Vec<_>>().into()
    };
    let monitoring = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    vec![
        (
            "the policy has both directions, and DNS and providers",
            json!({"config": auth0()}),
            vec![
                (Object("NetworkPolicy", "/spec/policyTypes"), json!(["Ingress", "Egress"])),
                (Object("NetworkPolicy", "/spec/ingress/0/ports"), named(&["http", "https"])),
                (Object("NetworkPolicy", "/spec/ingress/0/from/0"), json!({"podSelector": {}})),
                (Object("NetworkPolicy", "/spec/ingress/1/ports"), named(&["admin"])),
                (Object("NetworkPolicy", "/spec/ingress/1/from"), monitoring),
                (egress(0, "ports/0"), json!({"protocol": "UDP", "port": 53})),
                (egress(0, "ports/1"), json!({"protocol": "TCP", "port": 53})),
                (egress(1, "ports"), tcp(&[443])),
                (egress(1, "to"), Value::Null),
                (egress(2, "ports"), Value::Null),
            ],
        ),
        (
            "the policy has the names of ports, which old and new pods have in a rollout",
            json!({"config": auth0_with(json!({
                "admin": "0.0.0.0:9999",
                "listeners": {"main": {"address": "0.0.0.0:8081"}, "other": {"address": "0.0.0.0:8082"}}
            }))}),
            vec![
                (Object("NetworkPolicy", "/spec/ingress/0/ports"), named(&["http", "https", "in-other"])),
                (Object("NetworkPolicy", "/spec/ingress/1/ports"), named(&["admin"])),
            ],
        ),
        (
            "ports of providers and keys come from the configuration",
            json!({"config": several}),
            vec![(egress(1, "ports"), tcp(&[443, 8081, 445]))],
        ),
        ("ports of forward proxies", json!({"config": proxied}), vec![(egress(1, "ports"), tcp(&[443, 3128, 80]))]),
        (
            "the port of a server of Redis",
            redis(json!({"url": "rediss://r.example:6380"})),
            vec![(egress(2, "ports"), tcp(&[6380]))],
        ),
        (
            "the ports of a cluster",
            redis(json!({"cluster": ["rediss://a.example", "rediss://b.example:7001"]})),
            vec![(egress(2, "ports"), tcp(&[6379, 7001]))],
        ),
        (
            "the ports of sentinels and of their servers",
            redis(json!({"sentinel": {"service": "s", "nodes": ["rediss://a.example", "rediss://b.example:26380"]}})),
            vec![(egress(2, "ports"), tcp(&[26379, 26380, 6379]))],
        ),
    ]
}

fn secrets_and_stores() -> Vec<Case> {
    vec![
        (
            "secrets are files of a projected volume",
            json!({"config": auth0(), "secretName": "gate"}),
            vec![
                (
                    Object("Deployment", "/spec/template/spec/volumes/1"),
                    json!({"name": "sessiongate-secrets", "projected": {
                        "defaultMode": 0o440, "sources": [{"secret": {"name": "gate"}}]
                    }}),
                ),
                (Container("/volumeMounts/1/mountPath"), json!("/run/secrets/sessiongate")),
            ],
        ),
        (
            "the store is the server of the chart",
            json!({
                "config": cached(), "secretName": "gate", "redis": {"enabled": true, "tls": {"secretName": "r"}}
            }),
            vec![
                (Config("/store/redis/url"), json!("rediss://sessiongate-redis:6379")),
                (Config("/store/redis/tls/ca_file"), json!("/run/secrets/redis-tls/ca.crt")),
                (Config("/store/redis/allow_plaintext"), Value::Null),
                (Config("/hash_key/file"), json!("/run/secrets/sessiongate/hash-key")),
            ],
        ),
        (
            "the server of the chart without TLS",
            json!({"config": cached(), "secretName": "gate", "redis": {"enabled": true}}),
            vec![
                (Config("/store/redis/url"), json!("redis://sessiongate-redis:6379")),
                (Config("/store/redis/allow_plaintext"), json!(true)),
            ],
        ),
        (
            "an ExternalSecret writes the Secret",
            json!({
                "config": auth0(), "secretName": "sessiongate",
                "externalSecret": {"enabled": true, "storeRef": {"name": "vault"}, "data": [{"secretKey": "a"}]}
            }),
            vec![(Object("ExternalSecret", "/spec/target"), json!({"name": "sessiongate", "creationPolicy": "Owner"}))],
        ),
    ]
}

fn sidecars() -> Vec<Case> {
    let with = |context: Value| {
        let mut sidecar = application();
        sidecar["application"]["securityContext"] = context;
        json!({"mode": "sidecar", "config": auth0(), "sidecar": sidecar})
    };
    let context = |key: &str| -> Place {
        let pointer: &'static str =
            Box::leak(format!("/spec/template/spec/containers/0/securityContext/{key}").into_boxed_str());
        Object("Deployment", pointer)
    };
    vec![
        (
            "the application keeps the restrictions that it does not set",
            with(json!({"runAsUser": 1000, "runAsNonRoot": false, "capabilities": {"add": ["NET_BIND_SERVICE"]}})),
            vec![
                (context("runAsUser"), json!(1000)),
                (context("runAsNonRoot"), json!(false)),
                (context("capabilities"), json!({"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]})),
                (context("allowPrivilegeEscalation"), json!(false)),
                (context("readOnlyRootFilesystem"), Value::Null),
            ],
        ),
        (
            "the application may drop other capabilities",
            with(json!({"capabilities": {"drop": ["NET_RAW"]}})),
            vec![(context("capabilities"), json!({"drop": ["NET_RAW"]}))],
        ),
        (
            "a listener on loopback needs no socket",
            json!({
                "mode": "sidecar", "config": auth0_with(json!({"listen": "127.0.0.1:8080"})), "sidecar": application()
            }),
            vec![
                (Config("/listen"), json!("127.0.0.1:8080")),
                (Object("Deployment", "/spec/template/spec/volumes/1"), Value::Null),
            ],
        ),
    ]
}

fn routes_and_monitoring() -> Vec<Case> {
    let mut slow = auth0();
    slow["upstreams"]["auth0"]["timeouts"] = json!({"first_byte": "1m30s"});
    let parents = json!([{"name": "public"}]);
    let endpoint = |key: &str| -> Place {
        let pointer: &'static str = Box::leak(format!("/spec/podMetricsEndpoints/0/{key}").into_boxed_str());
        Object("PodMonitor", pointer)
    };
    let tls = json!({"certificate": "/run/secrets/tls/tls.crt", "key": "/run/secrets/tls/tls.key"});
    vec![
        (
            "the timeout of a route is longer than that of the slowest provider",
            json!({"config": slow, "httpRoute": {"enabled": true, "parentRefs": parents, "hostnames": ["a.example"]}}),
            vec![
                (Object("HTTPRoute", "/spec/rules/0/timeouts/request"), json!("105s")),
                (Object("HTTPRoute", "/spec/rules/0/backendRefs/0/port"), json!(80)),
            ],
        ),
        (
            "a route to a listener with TLS",
            json!({
                "config": auth0(), "tls": {"secretName": "gate"},
                "httpRoute": {"enabled": true, "parentRefs": parents}
            }),
            vec![(Object("HTTPRoute", "/spec/rules/0/backendRefs/0/port"), json!(443))],
        ),
        (
            "gRPC to a listener with TLS",
            json!({
                "config": auth0(), "tls": {"secretName": "gate"},
                "grpcRoute": {"enabled": true, "parentRefs": parents}
            }),
            vec![(Object("GRPCRoute", "/spec/rules/0/backendRefs/0/port"), json!(443))],
        ),
        (
            "a route for some paths",
            json!({"config": auth0(), "httpRoute": {
                "enabled": true, "parentRefs": parents, "matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}]
            }}),
            vec![(Object("HTTPRoute", "/spec/rules/0/matches/0/path/value"), json!("/v2"))],
        ),
        (
            "gRPC goes to the port for HTTP/2",
            json!({"config": auth0(), "grpcRoute": {
                "enabled": true, "parentRefs": parents, "services": ["zitadel.session.v2.SessionService"]
            }}),
            vec![
                (Object("GRPCRoute", "/spec/rules/0/backendRefs/0/port"), json!(50051)),
                (
                    Object("GRPCRoute", "/spec/rules/0/matches/0/method/service"),
                    json!("zitadel.session.v2.SessionService"),
                ),
            ],
        ),
        (
            "a PodMonitor scrapes admin, with a bound on its samples",
            json!({"config": auth0(), "podMonitor": {"enabled": true}}),
            vec![
                (endpoint("port"), json!("admin")),
                (endpoint("scheme"), Value::Null),
                (Object("PodMonitor", "/spec/sampleLimit"), json!(5000)),
            ],
        ),
        (
            "admin with TLS",
            json!({
                "config": auth0_with(json!({"admin": {"address": "0.0.0.0:9443", "tls": tls}})),
                "tls": {"secretName": "gate"},
                "podMonitor": {"enabled": true, "tlsConfig": {"insecureSkipVerify": true}}
            }),
            vec![
                (endpoint("scheme"), json!("https")),
                (endpoint("tlsConfig/insecureSkipVerify"), json!(true)),
                (Container("/readinessProbe/httpGet/scheme"), json!("HTTPS")),
                (Container("/ports/1/containerPort"), json!(9443)),
            ],
        ),
        (
            "a sidecar is selected by a label of its own",
            json!({
                "mode": "sidecar", "config": auth0(), "podMonitor": {"enabled": true}, "sidecar": application()
            }),
            vec![
                (Object("PodMonitor", "/spec/selector/matchLabels/sessiongate-sidecar"), json!("sessiongate")),
                (Object("Deployment", "/spec/template/metadata/labels/sessiongate-sidecar"), json!("sessiongate")),
            ],
        ),
    ]
}

#[test]
fn values_have_their_effect() {
    if !kubernetes_installed() {
        return;
    }
    let cases = [
        replicas_and_threads(),
        images_and_listeners(),
        networks(),
        secrets_and_stores(),
        sidecars(),
        routes_and_monitoring(),
    ]
    .concat();
    let request = |(_, values, _): &Case| json!({"chart": CHART, "release": "sessiongate", "values": values});
    let rendered = render_requests(&cases.iter().map(request).collect::<Vec<_>>());
    for ((name, _, expected), result) in cases.iter().zip(rendered) {
        let rendered = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        for (place, value) in expected {
            assert_eq!(at(&rendered, *place), *value, "{name}: {place:?}");
        }
    }
}

/// Renders all of these values, which are valid.
fn render_all(values: &[Value]) -> Vec<Rendered> {
    let request = |values| json!({"chart": CHART, "release": "sessiongate", "values": values});
    let results = render_requests(&values.iter().map(request).collect::<Vec<_>>());
    let rendered = values.iter().zip(results).map(|(values, result)| match result {
        Ok(rendered) => rendered,
        Err(error) => panic!("{values}: {error}"),
    });
    rendered.collect()
}

/// The annotation whose change restarts the pods.
fn restarts(rendered: &Rendered) -> Value {
    let annotations = "/spec/template/metadata/annotations/checksum~1restart-required";
    let found = at(rendered, Object("Deployment", annotations));
    assert_eq!(found.as_str().unwrap().len(), 64, "{found}");
    found
}

#[test]
fn only_options_that_need_a_restart_restart_the_pods() {
    if !kubernetes_installed() {
        return;
    }
    let tls = |certificate: &str, version: &str| {
        let certificates = json!([{"certificate": certificate, "key": "/k"}]);
        json!({"listeners": {"main": {
            "address": "0.0.0.0:8443", "tls": {"certificates": certificates, "min_version": version}
        }}})
    };
    let with = |options: &Value| json!({"config": auth0_with(options.clone())});
    let mut other_upstream = auth0();
    other_upstream["upstreams"]["auth0"]["unmatched"] = json!("reject");
    let reloaded = [
        json!({"log": {"level": "debug"}}),
        json!({"shutdown": {"grace": "5s"}}),
        json!({"readiness_timeout": "2m"}),
        json!({"policies": {"p": {"wipe": "reject"}}}),
        json!({"dns": {"servers": ["10.0.0.1"]}}),
        json!({"clients": {"trusted_peers": ["10.0.0.0/8"]}}),
        json!({"reload": {"watch": false}}),
        other_upstream,
    ];
    // As src/config/restart_required.rs says.
    let restarting = [
        json!({"listen": "0.0.0.0:8081"}),
        json!({"admin": "0.0.0.0:9092"}),
        json!({"control": "off"}),
        json!({"threads": 3}),
        json!({"log": {"format": "text"}}),
        json!({"hash_key": {"env": "K"}}),
        json!({"store": {"memory": {"max_bytes": "1MiB"}}}),
        tls("/a", "1.2"),
    ];
    let certificates = [tls("/a", "1.2"), tls("/b", "1.2"), tls("/a", "1.3")];
    let options = [&[json!({})][..], &reloaded, &restarting, &certificates].concat();
    let rendered = render_all(&options.iter().map(with).collect::<Vec<_>>());
    let found: Vec<(&Value, Value)> = options.iter().zip(rendered.iter().map(restarts)).collect();
    let (plain, found) = found.split_first().unwrap();
    let (reloaded, found) = found.split_at(reloaded.len());
    let (restarting, certificates) = found.split_at(restarting.len());
    for (options, found) in reloaded {
        assert_eq!(*found, plain.1, "{options}");
    }
    for (options, found) in restarting {
        assert_ne!(*found, plain.1, "{options}");
    }
    assert_eq!(certificates[0].1, certificates[1].1, "certificates are reloaded");
    assert_ne!(certificates[0].1, certificates[2].1);
}

#[test]
fn notes_warn_of_what_is_risky() {
    if !kubernetes_installed() {
        return;
    }
    let mut audited = auth0_with(json!({"policies": {"soft": {"mode": "audit"}, "hard": {"mode": "enforce"}}}));
    audited["upstreams"]["auth0"]["policy"] = json!("soft");
    let redis = json!({"enabled": true});
    let no_tls = "without TLS";
    let cases: [(Value, &[&str]); 9] = [
        (json!({"config": auth0(), "tls": {"secretName": "gate"}}), &[]),
        (
            json!({"config": auth0(), "tls": {"secretName": "gate"}, "httpRoute": {"enabled": true}}),
            &["BackendTLSPolicy for the port https of the Service\nsessiongate"],
        ),
        (json!({"config": auth0()}), &[no_tls]),
        (json!({"config": audited}), &[no_tls, "mode: audit): soft."]),
        (json!({"config": cached(), "checkBeforeStart": false}), &[no_tls, "auth0: 2 processes cache in memory"]),
        (json!({"config": cached(), "secretName": "gate", "redis": redis}), &[no_tls, "the Redis server has no TLS"]),
        (
            json!({"config": auth0(), "fullnameOverride": "gate", "podMonitor": {"enabled": true}}),
            &[no_tls, "the job default/gate does not contain the word sessiongate"],
        ),
        (
            json!({"config": auth0_with(json!({"replicas": 5}))}),
            &[no_tls, "config.replicas is 5, and this release has 2 pods."],
        ),
        (json!({"config": auth0(), "mode": "sidecar"}), &[]),
    ];
    let rendered = render_all(&cases.clone().map(|(values, _)| values));
    for ((_, expected), rendered) in cases.iter().zip(rendered) {
        let notes = &rendered.texts["NOTES.txt"];
        assert_eq!(notes.matches("WARNING").count(), expected.len(), "{notes}");
        assert!(expected.iter().all(|part| notes.contains(part)), "{notes}");
        assert!(notes.lines().all(|line| line.len() <= 120), "{notes}");
        assert!(!notes.contains('%') && !notes.contains("<nil>") && !notes.contains("<no value>"), "{notes}");
    }
}

#[test]
fn names_come_from_the_release() {
    if !kubernetes_installed() {
        return;
    }
    let cases = [
        ("sessiongate".to_owned(), json!({}), "sessiongate".to_owned()),
        ("my-sessiongate".to_owned(), json!({}), "my-sessiongate".to_owned()),
        ("gate".to_owned(), json!({}), "gate-sessiongate".to_owned()),
        ("gate".to_owned(), json!({"nameOverride": "proxy"}), "gate-proxy".to_owned()),
        ("gate".to_owned(), json!({"fullnameOverride": "eu-sessiongate"}), "eu-sessiongate".to_owned()),
        // With `-dashboard` it still fits into a label.
        ("a".repeat(53), json!({}), "a".repeat(52)),
    ];
    let request = |(release, values, _): &(String, Value, String)| {
        let mut values = values.clone();
        values["config"] = auth0();
        json!({"chart": CHART, "release": release, "values": values})
    };
    let results = render_requests(&cases.iter().map(request).collect::<Vec<_>>());
    for ((release, values, name), result) in cases.iter().zip(results) {
        let rendered = result.unwrap();
        assert_eq!(rendered.of_kind("Deployment")[0]["metadata"]["name"], *name, "{release} {values}");
    }
}
