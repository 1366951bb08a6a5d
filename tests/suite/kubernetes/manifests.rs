//! Numbers in the manifests that must fit to each other and to the program.

use super::cases::{application, auth0, auth0_with, cached, cases};
use crate::harness::kubernetes::{CHART, kubernetes_installed, render_chart};
use crate::harness::project;
use serde_json::{Value, json};
use sessiongate::config::options::{Fallback, Options, ROOT, Shape};
use std::fs;
use std::time::Duration;

/// The default of an option, such as `shutdown.grace`.
fn default(path: &str) -> Duration {
    fn find(options: &Options, path: &str) -> String {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let row = options.rows().find(|row| row.key == key).unwrap();
        match (&row.shape, &row.default) {
            (Shape::Map(inner), _) if !rest.is_empty() => find(inner, rest),
            (_, Fallback::Value(value, _)) => value.clone(),
            _ => panic!("{path} has no default"),
        }
    }
    humantime::parse_duration(&find(&ROOT, path)).unwrap()
}

fn seconds(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn duration(value: &Value) -> u64 {
    humantime::parse_duration(value.as_str().unwrap()).unwrap().as_secs()
}

/// How long a probe may fail before the kubelet acts.
fn budget(probe: &Value) -> u64 {
    seconds(&probe["periodSeconds"]) * seconds(&probe["failureThreshold"])
}

#[test]
fn sidecar_may_start_for_longer_than_readiness_may_take() {
    if !kubernetes_installed() {
        return;
    }
    let limits = [(None, default("readiness_timeout").as_secs()), (Some("5m"), 300), (Some("1s500ms"), 2)];
    for (option, limit) in limits {
        let config = option.map_or(auth0(), |text| auth0_with(json!({"readiness_timeout": text})));
        let values = json!({"mode": "sidecar", "config": config, "sidecar": application()});
        let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
        let probe = &rendered.container("sessiongate")["startupProbe"];
        assert!(budget(probe) >= limit + 30, "{option:?}: {probe}");
        let command: Vec<&str> =
            probe["exec"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let expected = ["probe", "--ready", "--url=http://127.0.0.1:9090", "--timeout=1s"];
        assert_eq!(command, [&["/usr/local/bin/sessiongate"], &expected[..]].concat());
        assert!(seconds(&probe["timeoutSeconds"]) > 1, "longer than the command's own: {probe}");
    }
}

#[test]
fn shared_gateway_starts_when_it_lives_and_serves_when_it_is_ready() {
    if !kubernetes_installed() {
        return;
    }
    let (_, rendered) = &cases()[0];
    let container = rendered.container("sessiongate");
    assert_eq!(container["startupProbe"]["httpGet"], json!({"path": "/livez", "port": "admin"}));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": "admin"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "admin"}));
    // As docs says, since a reader compares them.
    assert_eq!((budget(&container["startupProbe"]), budget(&container["livenessProbe"])), (30, 60));
    assert_eq!(budget(&container["readinessProbe"]), 10);
    let loopback = cases().iter().find(|(name, _)| *name == "admin on loopback").unwrap();
    let command = &loopback.1.container("sessiongate")["startupProbe"]["exec"]["command"];
    assert_eq!(command[2], "--live", "{command}");
    let socket = cases().iter().find(|(name, _)| *name == "admin and control on sockets").unwrap();
    let command = &socket.1.container("sessiongate")["livenessProbe"]["exec"]["command"];
    assert_eq!(command[3], "--url=unix:/run/gate/admin.sock");
}

#[test]
fn pods_have_time_to_stop() {
    if !kubernetes_installed() {
        return;
    }
    for (name, rendered) in cases() {
        let Some(deployment) = rendered
            .of_kind("Deployment")
            .into_iter()
            .find(|one| one["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway")
        else {
            continue;
        };
        let pod = &deployment["spec"]["template"]["spec"];
        let shutdown = &rendered.options["shutdown"];
        let (delay, grace) = (duration(&shutdown["drain_delay"]), duration(&shutdown["grace"]));
        let period = seconds(&pod["terminationGracePeriodSeconds"]);
        assert!(period > delay + grace, "{name}: {period} s for {shutdown}");
        let readiness = &rendered.container("sessiongate")["readinessProbe"];
        let sidecar =
            pod["initContainers"].as_array().is_some_and(|all| all.iter().any(|c| c["restartPolicy"] == "Always"));
        if sidecar {
            // The application has stopped before: there is nothing to drain.
            assert_eq!(delay, 0, "{name}");
            assert!(period >= 30 + grace, "{name}: the application has its 30 s");
        } else {
            assert!(delay >= seconds(&readiness["periodSeconds"]), "{name}: endpoints are removed in that time");
        }
        for container in crate::harness::kubernetes::containers(pod) {
            assert!(container["lifecycle"].is_null(), "{name}: drain_delay does the work of preStop");
        }
    }
    let values = json!({"config": auth0_with(json!({"shutdown": {"drain_delay": "1m", "grace": "1500ms"}}))});
    let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
    let pod = &rendered.object("Deployment", "sessiongate")["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 67);
    let mut values = values;
    values["terminationGracePeriodSeconds"] = json!(99);
    let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
    let pod = &rendered.object("Deployment", "sessiongate")["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 99);
}

#[test]
fn sidecar_is_native_and_shares_only_its_socket() {
    if !kubernetes_installed() {
        return;
    }
    let values = json!({
        "mode": "sidecar", "config": cached(), "secretName": "gate", "replicaCount": 1, "sidecar": application()
    });
    let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
    let pod = &rendered.object("Deployment", "sessiongate")["spec"]["template"]["spec"];
    let names = |list: &str| -> Vec<String> {
        let names = pod[list].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(names("initContainers"), ["sessiongate-check", "sessiongate"]);
    assert_eq!(names("containers"), ["application"]);
    assert_eq!(rendered.container("sessiongate")["restartPolicy"], "Always");
    assert!(rendered.container("sessiongate-check")["restartPolicy"].is_null());
    assert_eq!(
        rendered.container("application")["volumeMounts"],
        json!([{"name": "sessiongate-sockets", "mountPath": "/run/sessiongate", "readOnly": true}]),
        "no secrets and no configuration"
    );
    assert_eq!(rendered.options["listen"], "unix:/run/sessiongate/gateway.sock");
    let volume = pod["volumes"].as_array().unwrap().iter().find(|one| one["name"] == "sessiongate-sockets").unwrap();
    assert_eq!(volume["emptyDir"]["medium"], "Memory");
    assert_eq!(pod["securityContext"]["fsGroup"], 65532, "the group of the socket");
    let kinds: Vec<&Value> = rendered.objects.iter().map(|object| &object["kind"]).collect();
    assert_eq!(kinds, ["ConfigMap", "ServiceAccount", "Deployment"]);
}

/// A chart of somebody's application that has this one as a dependency.
pub const PARENT: [(&str, &str); 3] = [
    (
        "Chart.yaml",
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n  - { name: sessiongate, version: 0.1.0 }\n",
    ),
    ("values.yaml", "sessiongate:\n  mode: sidecar\n  config: {}\n"),
    (
        "templates/deployment.yaml",
        r#"apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  replicas: {{ .Values.sessiongate.replicaCount }}
  selector: { matchLabels: { app: shop } }
  template:
    metadata:
      labels:
        app: shop
        {{- include "sessiongate.sidecar.podLabels" .Subcharts.sessiongate | nindent 8 }}
      annotations:
        {{- include "sessiongate.sidecar.podAnnotations" .Subcharts.sessiongate | nindent 8 }}
    spec:
      securityContext: { fsGroup: 65532 }
      terminationGracePeriodSeconds: 45   # 30 s for the application, 15 s for the gateway
      initContainers:
        {{- include "sessiongate.sidecar.initContainers" .Subcharts.sessiongate | nindent 8 }}
      containers:
        - name: shop
          image: registry.example/shop:1.4.0
          volumeMounts:
            {{- include "sessiongate.sidecar.applicationVolumeMounts" .Subcharts.sessiongate | nindent 12 }}
      volumes:
        {{- include "sessiongate.sidecar.volumes" .Subcharts.sessiongate | nindent 8 }}
"#,
    ),
];

#[test]
fn another_chart_includes_the_sidecar() {
    if !kubernetes_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    PARENT.iter().for_each(|(path, text)| write(path, text));
    let chart = project().join(CHART);
    for path in ["Chart.yaml", "values.yaml", "values.schema.json"] {
        write(&format!("charts/sessiongate/{path}"), &fs::read_to_string(chart.join(path)).unwrap());
    }
    for file in fs::read_dir(chart.join("templates")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap();
            write(&format!("charts/sessiongate/templates/{name}"), &fs::read_to_string(&path).unwrap());
        }
    }
    let values = json!({"sessiongate": {"config": auth0(), "podMonitor": {"enabled": true}}});
    let rendered = render_chart(folder.path().to_str().unwrap(), "shop", &values).unwrap();
    let template = &rendered.object("Deployment", "shop")["spec"]["template"];
    assert_eq!(rendered.container("sessiongate")["restartPolicy"], "Always");
    assert_eq!(rendered.object("Deployment", "shop")["spec"]["replicas"], rendered.options["replicas"]);
    assert_eq!(template["spec"]["volumes"][0]["configMap"]["name"], "shop-sessiongate");
    assert!(rendered.object("ConfigMap", "shop-sessiongate").is_object());
    let selector = &rendered.object("PodMonitor", "shop-sessiongate")["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["sessiongate-sidecar"], template["metadata"]["labels"]["sessiongate-sidecar"]);
    let error = render_chart(
        folder.path().to_str().unwrap(),
        "shop",
        &json!({"sessiongate": {"config": auth0_with(json!({"lisen": "x"}))}}),
    );
    assert!(error.unwrap_err().contains("lisen"), "the schema of the chart applies here too");
}
