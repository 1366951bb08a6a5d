//! What holds for everything that the chart renders.

use super::cases::{auth0, cases};
use crate::harness::kubernetes::{CHART, chart_tool, containers, kubernetes_installed};
use crate::harness::project;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Kinds whose definitions are not part of Kubernetes, with the schemas of tests/kubernetes/schemas.
const OTHER_KINDS: [&str; 6] =
    ["Certificate", "ExternalSecret", "GRPCRoute", "HTTPRoute", "PodMonitor", "PrometheusRule"];

#[test]
fn helm_lint_finds_nothing() {
    if kubernetes_installed() {
        let files = ["shared-gateway", "sidecar"].map(|name| json!(format!("{CHART}/ci/{name}.yaml")));
        let values = files.into_iter().chain([json!({"config": auth0()})]);
        let requests: Vec<Value> = values.map(|values| json!({"chart": CHART, "values": values})).collect();
        assert_eq!(chart_tool(&json!({"lint": requests}))["lint"], json!([[], [], []]));
    }
}

#[test]
fn yamllint_finds_nothing() {
    if !kubernetes_installed() {
        return;
    }
    let mut texts: Map<String, Value> = Map::new();
    for (name, rendered) in cases() {
        let files = rendered.texts.iter().filter(|(path, _)| path.ends_with(".yaml"));
        texts.extend(files.map(|(path, text)| (format!("{name}: {path}"), json!(text))));
    }
    for file in ["Chart.yaml", "values.yaml", "ci/shared-gateway.yaml", "ci/sidecar.yaml"] {
        texts.insert(file.to_owned(), json!(fs::read_to_string(project().join(CHART).join(file)).unwrap()));
    }
    for file in fs::read_dir(project().join("deploy/kubernetes")).unwrap() {
        let path = file.unwrap().path();
        texts.insert(path.display().to_string(), json!(fs::read_to_string(&path).unwrap()));
    }
    assert_eq!(chart_tool(&json!({"yaml": texts}))["yaml"], json!([]));
}

#[test]
fn objects_have_the_fields_of_their_kinds() {
    if !kubernetes_installed() {
        return;
    }
    let mut objects: Vec<(&str, &Value)> = Vec::new();
    for (name, rendered) in cases() {
        objects.extend(rendered.objects.iter().map(|object| (*name, object)));
    }
    let (others, own): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|(_, object)| OTHER_KINDS.contains(&object["kind"].as_str().unwrap()));
    let found = chart_tool(&json!({"valid": own.iter().map(|(_, object)| object).collect::<Vec<_>>()}));
    for ((name, object), problems) in own.iter().zip(found["valid"].as_array().unwrap()) {
        assert_eq!(problems, &json!([]), "{name}: {object:#}");
    }
    let mut seen = BTreeMap::new();
    for (name, object) in others {
        let kind = object["kind"].as_str().unwrap();
        let path = project().join(format!("tests/kubernetes/schemas/{kind}.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(object).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, [""; 0], "{name}: {object:#}");
        *seen.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), OTHER_KINDS);
}

#[test]
fn validators_find_unknown_fields_and_values() {
    if !kubernetes_installed() {
        return;
    }
    let (_, rendered) = &cases()[0];
    let mut deployment = rendered.object("Deployment", "sessiongate").clone();
    deployment["spec"]["replicaz"] = json!(1);
    let mut budget = rendered.object("PodDisruptionBudget", "sessiongate").clone();
    budget["spec"]["unhealthyPodEvictionPolicy"] = json!(true);
    let found = chart_tool(&json!({"valid": [deployment, budget, {"apiVersion": "v1", "kind": "Nothing"}]}));
    let problems = |index: usize| found["valid"][index].as_array().unwrap().clone();
    for (index, part) in [(0, "replicaz"), (1, "unhealthyPodEvictionPolicy"), (2, "unknown kind")] {
        assert!(problems(index)[0].as_str().unwrap().contains(part), "{:?}", problems(index));
    }
    assert_eq!(problems(0).len(), 3, "one for each version of Kubernetes: {:?}", problems(0));
}

/// The kinds of volumes that the profile "restricted" allows, as far as the chart has any.
const VOLUMES: [&str; 4] = ["configMap", "emptyDir", "projected", "secret"];

#[test]
fn pods_fit_the_restricted_profile_of_pod_security() {
    if !kubernetes_installed() {
        return;
    }
    let mut seen = 0;
    for (name, rendered) in cases() {
        for pod in rendered.pods() {
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[key].is_null(), "{name}: {key}");
            }
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                let mut kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
                assert!(kinds.all(|kind| VOLUMES.contains(&kind.as_str())), "{name}: {volume}");
            }
            for container in containers(pod) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}: {container}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}: {container}");
                assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}: {container}");
                assert_eq!(context["runAsNonRoot"], true, "{name}: {container}");
                assert!(context["privileged"].is_null() && context["procMount"].is_null(), "{name}: {container}");
                assert!(context["runAsUser"] != 0, "{name}: {container}");
                let ports = container["ports"].as_array().into_iter().flatten();
                assert!(ports.clone().all(|port| port["hostPort"].is_null()), "{name}: {container}");
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    for way in ["httpGet", "tcpSocket"] {
                        assert!(container[probe][way]["host"].is_null(), "{name}: {probe}");
                    }
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn pods_have_no_token_and_all_containers_have_resources() {
    if !kubernetes_installed() {
        return;
    }
    for (name, rendered) in cases() {
        for pod in rendered.pods() {
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["enableServiceLinks"], false, "{name}");
            for container in containers(pod) {
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}: {container}");
                let own = container["name"] != "application";
                assert!(!own || container["resources"]["requests"]["cpu"].is_string(), "{name}: {container}");
                assert!(!own || container["securityContext"]["readOnlyRootFilesystem"] == true, "{name}: {container}");
            }
        }
        for account in rendered.of_kind("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        }
    }
}

/// Whether labels contain all labels of a selector.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn names_and_selectors_refer_to_what_exists() {
    if !kubernetes_installed() {
        return;
    }
    for (name, rendered) in cases() {
        let templates: Vec<&Value> =
            rendered.of_kind("Deployment").into_iter().map(|one| &one["spec"]["template"]).collect();
        for deployment in rendered.of_kind("Deployment") {
            let template = &deployment["spec"]["template"];
            let selector = &deployment["spec"]["selector"]["matchLabels"];
            assert!(selects(selector, &template["metadata"]["labels"]), "{name}");
            let found = templates.iter().filter(|other| selects(selector, &other["metadata"]["labels"])).count();
            assert_eq!(found, 1, "{name}: {selector}");
        }
        let of_kind = |kind: &str, pointer: &str| -> Vec<Value> {
            rendered.of_kind(kind).into_iter().map(|one| one.pointer(pointer).unwrap().clone()).collect()
        };
        let selectors = [
            of_kind("Service", "/spec/selector"),
            of_kind("PodDisruptionBudget", "/spec/selector/matchLabels"),
            of_kind("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ];
        for selector in selectors.concat() {
            let found = templates.iter().filter(|one| selects(&selector, &one["metadata"]["labels"])).count();
            assert_eq!(found, 1, "{name}: {selector}");
        }
        if !templates.is_empty() {
            for selector in of_kind("PodMonitor", "/spec/selector/matchLabels") {
                let found = templates.iter().filter(|one| selects(&selector, &one["metadata"]["labels"])).count();
                assert_eq!(found, 1, "{name}: {selector}");
            }
        }
        for pod in rendered.pods() {
            let volumes: Vec<&Value> = pod["volumes"].as_array().into_iter().flatten().map(|v| &v["name"]).collect();
            for container in containers(pod) {
                for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                    assert!(volumes.contains(&&mount["name"]), "{name}: {mount}");
                    assert!(mount["subPath"].is_null(), "{name}: Kubernetes never updates {mount}");
                }
                let ports: Vec<&Value> =
                    container["ports"].as_array().into_iter().flatten().map(|p| &p["name"]).collect();
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    for way in ["httpGet", "tcpSocket"] {
                        let port = &container[probe][way]["port"];
                        assert!(port.is_null() || ports.contains(&port), "{name}: {probe} {port}");
                    }
                }
            }
        }
        for service in rendered.of_kind("Service") {
            let template =
                templates.iter().find(|one| selects(&service["spec"]["selector"], &one["metadata"]["labels"]));
            let containers = containers(&template.unwrap()["spec"]);
            let ports: Vec<&Value> =
                containers.iter().filter_map(|one| one["ports"].as_array()).flatten().map(|p| &p["name"]).collect();
            for port in service["spec"]["ports"].as_array().unwrap() {
                assert!(ports.contains(&&port["targetPort"]), "{name}: {port}");
            }
        }
    }
}

#[test]
fn objects_have_the_recommended_labels() {
    if !kubernetes_installed() {
        return;
    }
    let wanted = ["name", "instance", "version", "component", "part-of", "managed-by"];
    for (name, rendered) in cases() {
        for object in &rendered.objects {
            let labels = &object["metadata"]["labels"];
            for label in wanted {
                assert!(labels[format!("app.kubernetes.io/{label}")].is_string(), "{name}: {label}: {object:#}");
            }
            assert!(labels["helm.sh/chart"].is_string(), "{name}: {object:#}");
        }
        for deployment in rendered.of_kind("Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            let changing = ["helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"];
            assert!(changing.iter().all(|label| labels[label].is_null()), "{name}: {labels}");
        }
    }
}
