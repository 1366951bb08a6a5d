//! The chart of deploy/helm, rendered and validated with the tools that tests/setup installs.

use super::prometheus::tool;
use super::{project, skipped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// The folder of the chart.
pub const CHART: &str = "deploy/helm/sessiongate";

/// Whether the tools for the chart are installed. Fails if not, unless they may be skipped.
pub fn kubernetes_installed() -> bool {
    if std::env::var("SESSIONGATE_SKIP_KUBERNETES").is_ok_and(|value| value == "1") {
        skipped("the Helm chart and the manifests for Kubernetes (SESSIONGATE_SKIP_KUBERNETES=1)");
        return false;
    }
    assert!(
        tool("kubernetes/stamp").exists(),
        "the tools for Kubernetes are not installed: run tests/setup, or set SESSIONGATE_SKIP_KUBERNETES=1 to leave \
            them out"
    );
    true
}

/// What tests/kubernetes/chart.py says to these requests.
pub fn chart_tool(requests: &Value) -> Value {
    let mut command = Command::new(tool("kubernetes/bin/python"));
    command.arg("tests/kubernetes/chart.py").current_dir(project());
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the chart renders to.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// The text of each template, by the name of its file.
    pub texts: BTreeMap<String, String>,
    pub objects: Vec<Value>,
    /// The text of the gateway's configuration.
    pub config: String,
    /// The same, parsed.
    pub options: Value,
}

impl Rendered {
    fn new(found: &Value) -> Rendered {
        let texts = found["texts"].as_object().unwrap().iter();
        let file = |path: &str| path.split_once("/templates/").unwrap_or(("", path)).1.to_owned();
        let texts = texts.map(|(path, text)| (file(path), text.as_str().unwrap().to_owned())).collect();
        let objects: Vec<Value> = found["objects"].as_array().unwrap().clone();
        let config = objects.iter().find_map(|object| object["data"]["sessiongate.yaml"].as_str());
        let config = config.unwrap_or_default().to_owned();
        Rendered { texts, config, options: found["config"][0].clone(), objects }
    }

    /// The objects of this kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of this kind with this name.
    pub fn object(&self, kind: &str, name: &str) -> &Value {
        let found: Vec<&Value> =
            self.of_kind(kind).into_iter().filter(|object| object["metadata"]["name"] == name).collect();
        assert_eq!(found.len(), 1, "{kind} {name}");
        found[0]
    }

    /// The specifications of all pods: of workloads, and of tests.
    pub fn pods(&self) -> Vec<&Value> {
        let spec = |object| object_spec(object).filter(|spec: &&Value| spec["containers"].is_array());
        self.objects.iter().filter_map(spec).collect()
    }

    /// A container of the gateway, in the init containers too.
    pub fn container(&self, name: &str) -> &Value {
        let pods = self.pods();
        let containers = pods.iter().flat_map(|pod| containers(pod));
        let found: Vec<&Value> = containers.filter(|container| container["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    }
}

/// The specification of a pod, or of the pods of a workload.
fn object_spec(object: &Value) -> Option<&Value> {
    object.pointer(if object["kind"] == "Pod" { "/spec" } else { "/spec/template/spec" })
}

/// All containers of a pod, init containers too.
pub fn containers(pod: &Value) -> Vec<&Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array());
    lists.flatten().collect()
}

/// Renders a chart with values, or with the file of values that is named; an error is Helm's.
pub fn render_chart(chart: &str, release: &str, values: &Value) -> Result<Rendered, String> {
    render_requests(&[json!({"chart": chart, "release": release, "values": values})]).remove(0)
}

/// Renders charts, as tests/kubernetes/chart.py reads the requests.
pub fn render_requests(requests: &[Value]) -> Vec<Result<Rendered, String>> {
    let results = chart_tool(&json!({"render": requests}));
    let result = |found: &Value| match found["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(Rendered::new(found)),
    };
    results["render"].as_array().unwrap().iter().map(result).collect()
}
