//! The Grafana dashboard `deploy/grafana/sessiongate.json`, rendered from the table of its panels.

mod panels;

use crate::harness::generated_file;
use panels::ROWS;
use serde_json::{Value, json};
use sessiongate::model::{Cause, Reason};
use strum::VariantArray;

/// What a panel looks like.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Lines over time.
    Lines,
    /// Areas over time, one on top of the other: the parts of a whole.
    Stacked,
    /// The current value, with the values from which on it is orange and red.
    Stat(Option<[f64; 2]>),
    /// 1 or 0 over time, with the texts for 1 and 0.
    States([&'static str; 2]),
    /// The labels of the current series.
    Table,
}

/// A panel.
struct Panel {
    title: &'static str,
    /// What it shows, and what follows from it.
    description: &'static str,
    kind: Kind,
    /// The id of a unit of Grafana's.
    unit: &'static str,
    /// In the 24 columns of a dashboard.
    width: u64,
    queries: &'static [Query],
}

/// The text of the legend, and a query. In the query `@process` stands for the matchers of job and instance,
/// `@upstream` for these and that of the upstream, `@provider`, for example, for all reasons with this cause, and
/// `@failures` for those with any cause but the client.
type Query = (&'static str, &'static str);

/// A row of panels.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// Grafana replaces the variable with the data source that the user selects.
fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${DS_PROMETHEUS}" })
}

fn reasons(fits: fn(Cause) -> bool) -> String {
    let own = Reason::VARIANTS.iter().filter(|reason| fits(reason.row().cause));
    own.map(|reason| reason.name()).collect::<Vec<_>>().join("|")
}

fn expression(query: &str) -> String {
    let process = r#"job=~"$job", instance=~"$instance""#;
    let mut text = query.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, value) in [
        ("@process", process.to_owned()),
        ("@upstream", format!(r#"{process}, upstream=~"$upstream""#)),
        ("@failures", reasons(|cause| cause != Cause::Client)),
        ("@issuer", reasons(|cause| cause == Cause::Issuer)),
        ("@store", reasons(|cause| cause == Cause::Store)),
        ("@provider", reasons(|cause| cause == Cause::Provider)),
        ("@gateway", reasons(|cause| cause == Cause::Gateway)),
    ] {
        text = text.replace(name, &value);
    }
    text
}

fn targets(panel: &Panel) -> Vec<Value> {
    let instant = matches!(panel.kind, Kind::Table | Kind::Stat(_));
    let target = |(id, (legend, query)): (char, &Query)| {
        json!({
            "datasource": data_source(),
            "editorMode": "code",
            "expr": expression(query),
            "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
            "instant": instant,
            "legendFormat": legend,
            "range": !instant,
            "refId": id.to_string(),
        })
    };
    ('A'..='Z').zip(panel.queries).map(target).collect()
}

fn steps(steps: &[(Option<f64>, &str)]) -> Value {
    let steps: Vec<Value> = steps.iter().map(|(value, color)| json!({ "color": color, "value": value })).collect();
    json!({ "mode": "absolute", "steps": steps })
}

/// The type of the panel, its height, the defaults of its fields, and its options.
fn form(panel: &Panel) -> (&'static str, u64, Value, Value) {
    let lines = |stacked: bool| {
        let stacking = if stacked { "normal" } else { "none" };
        let custom = json!({
            "fillOpacity": if stacked { 30 } else { 0 },
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": { "group": "A", "mode": stacking },
        });
        let calculated = ["lastNotNull", "max"];
        let options = json!({
            "legend": { "calcs": calculated, "displayMode": "table", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        ("timeseries", 8, json!({ "custom": custom, "unit": panel.unit }), options)
    };
    match panel.kind {
        Kind::Lines => lines(false),
        Kind::Stacked => lines(true),
        Kind::Stat(limits) => {
            let thresholds = match limits {
                Some([orange, red]) => steps(&[(None, "green"), (Some(orange), "orange"), (Some(red), "red")]),
                None => steps(&[(None, "text")]),
            };
            let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
            let options =
                json!({ "colorMode": "value", "graphMode": "none", "reduceOptions": reduce, "textMode": "auto" });
            ("stat", 4, json!({ "thresholds": thresholds, "unit": panel.unit }), options)
        }
        Kind::States([good, bad]) => {
            let values = json!({ "0": { "color": "red", "text": bad }, "1": { "color": "green", "text": good } });
            let defaults = json!({
                "custom": { "fillOpacity": 70, "lineWidth": 0 },
                "mappings": [{ "options": values, "type": "value" }],
                "thresholds": steps(&[(None, "text")]),
                "unit": panel.unit,
            });
            let legend = json!({ "displayMode": "list", "placement": "bottom", "showLegend": true });
            ("state-timeline", 8, defaults, json!({ "legend": legend, "mergeValues": true, "showValue": "auto" }))
        }
        Kind::Table => ("table", 8, json!({ "unit": panel.unit }), json!({ "showHeader": true })),
    }
}

fn rendered_panel(panel: &Panel, id: u64, x: u64, y: u64) -> Value {
    let (kind, height, defaults, options) = form(panel);
    let mut value = json!({
        "datasource": data_source(),
        "description": panel.description,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
        "gridPos": { "h": height, "w": panel.width, "x": x, "y": y },
        "id": id,
        "options": options,
        "targets": targets(panel),
        "title": panel.title,
        "type": kind,
    });
    if panel.kind == Kind::Table {
        let hidden = json!({ "Time": true, "Value": true });
        value["transformations"] = json!([{ "id": "organize", "options": { "excludeByName": hidden } }]);
    }
    value
}

/// The rows one below the other, their panels from left to right.
fn rendered_rows() -> Vec<Value> {
    let (mut id, mut y, mut all) = (0, 0, Vec::new());
    let mut next_id = || {
        id += 1;
        id
    };
    for row in ROWS {
        all.push(json!({
            "collapsed": false,
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": y },
            "id": next_id(),
            "panels": [],
            "title": row.title,
            "type": "row",
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in row.panels {
            if x + panel.width > 24 {
                (x, y, height) = (0, y + height, 0);
            }
            height = height.max(form(panel).1);
            all.push(rendered_panel(panel, next_id(), x, y));
            x += panel.width;
        }
        y += height;
    }
    all
}

/// A variable of all values of a label.
fn label_variable(name: &str, label: &str, query: &str, all: &str) -> Value {
    json!({
        "allValue": all,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "datasource": data_source(),
        "definition": query,
        "includeAll": true,
        "label": label,
        "hide": 0,
        "multi": true,
        "name": name,
        "options": [],
        "query": { "query": query, "refId": name },
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "type": "query",
    })
}

fn variables() -> Vec<Value> {
    // A variable and no `__inputs`: so the file works both imported by hand and provisioned, and the data source can be
    // changed afterwards.
    let source = json!({
        "current": {},
        "hide": 0,
        "includeAll": false,
        "label": "Data source",
        "multi": false,
        "name": "DS_PROMETHEUS",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    });
    let upstreams = r#"label_values(sessiongate_upstream_requests_in_flight{job=~"$job"}, upstream)"#;
    vec![
        source,
        label_variable("job", "Job", "label_values(sessiongate_build_info, job)", ".+"),
        label_variable("instance", "Replica", r#"label_values(sessiongate_build_info{job=~"$job"}, instance)"#, ".+"),
        // Requests that no upstream matches have an empty label.
        label_variable("upstream", "Upstream", upstreams, ".*"),
    ]
}

/// A vertical line at each time that is the value of a metric.
fn annotation(name: &str, color: &str, query: &str) -> Value {
    json!({
        "datasource": data_source(),
        "enable": true,
        "expr": expression(query),
        "iconColor": color,
        "name": name,
        "tagKeys": "instance",
        "titleFormat": name,
        "useValueForTime": true,
    })
}

fn dashboard() -> Value {
    let activated = "sessiongate_config_last_reload_success_timestamp_seconds{@process} * 1000";
    json!({
        "annotations": {
            "list": [
                annotation("Configuration activated", "blue", activated),
                annotation("Process started", "purple", "process_start_time_seconds{@process} * 1000"),
            ],
        },
        "description": "Is it the gateway or the provider? From the first question of an incident to the details.",
        "editable": true,
        "graphTooltip": 1,
        "panels": rendered_rows(),
        "refresh": "30s",
        "schemaVersion": 38,
        "tags": ["sessiongate"],
        "templating": { "list": variables() },
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "",
        "title": "sessiongate",
        "uid": "sessiongate",
        "version": 1,
    })
}

#[test]
fn grafana_dashboard() {
    let text = serde_json::to_string_pretty(&dashboard()).unwrap() + "\n";
    generated_file("deploy/grafana/sessiongate.json", &text);
}
