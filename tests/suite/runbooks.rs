//! The runbooks (docs/runbooks): each alert has a page, and what a page names exists: metrics, label values, fields and
//! messages of the log, commands and their options.

use crate::harness::{alerts, check_queries, finish, project, prometheus_installed, sessiongate};
use regex::Regex;
use serde_json::{Value, json};
use sessiongate::metrics::{LabelValues, METRICS};
use sessiongate::proxy::ACCESS_LOG;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const FOLDER: &str = "docs/runbooks";
const HEADINGS: [&str; 6] =
    ["What it means", "Who is affected", "What to look at", "What to do", "What not to do", "When it resolves"];

/// The text of each page, by its name.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(project().join(FOLDER)).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).map(str::to_owned).collect()
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let (mut pages, alerts) = (pages(), alerts());
    let index = pages.remove("README").unwrap();
    assert!(pages.keys().eq(alerts.keys()), "pages: {:?}\nalerts: {:?}", pages.keys(), alerts.keys());
    for (name, severities) in &alerts {
        let page = &pages[name];
        assert!(page.starts_with(&format!("# {name}\n\n**")), "{name}: the heading");
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let summary = page.split("## ").next().unwrap().to_lowercase();
        for severity in ["page", "ticket"] {
            assert_eq!(summary.contains(&format!("**{severity}")), severities.contains(severity), "{name}: {severity}");
        }
        assert_eq!(index.matches(&format!("[{name}]({name}.md)")).count(), 1, "{name} in the index");
    }
}

#[test]
fn queries_of_runbooks_use_existing_metrics_and_labels() {
    if !prometheus_installed() {
        return;
    }
    let mut queries: Vec<Value> = Vec::new();
    for (name, page) in pages() {
        queries.extend(blocks(&page, "promql").into_iter().map(|expr| json!({ "where": name, "expr": expr })));
    }
    assert!(queries.len() > 50, "{}", queries.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runbooks.json");
    fs::write(&path, json!(queries).to_string()).unwrap();
    let errors = check_queries(&[Path::new("deploy/prometheus/rules.yaml"), &path]);
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The values of all closed labels with this name.
fn values(label: &str) -> BTreeSet<&'static str> {
    let labels = METRICS.iter().flat_map(|metric| metric.labels).filter(|one| one.name == label);
    let closed = labels.filter_map(|one| match one.values {
        LabelValues::Closed(values) => Some(values()),
        LabelValues::Open => None,
    });
    closed.flatten().map(|value| value.name).collect()
}

/// Tables that explain values of a label: the label is the heading of their first column.
#[test]
fn tables_of_runbooks_name_existing_label_values() {
    let mut tables = 0;
    for (name, page) in pages() {
        let mut known = BTreeSet::new();
        for line in page.lines().map(str::trim) {
            let Some(cell) = line.strip_prefix('|').and_then(|row| row.split('|').next()) else {
                known.clear();
                continue;
            };
            if known.is_empty() {
                known = values(cell.trim().trim_matches('`'));
                tables += usize::from(!known.is_empty());
                continue;
            }
            for value in cell.split('`').skip(1).step_by(2) {
                assert!(known.contains(value), "{name}: {value} is none of {known:?}");
            }
        }
    }
    assert!(tables > 5, "{tables}");
}

/// Fields of the lines for state changes, and their messages, as docs/reference/log.md lists them.
fn state_changes() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = fs::read_to_string(project().join("docs/reference/log.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| message | level |")).skip(2);
    let (mut messages, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        messages.insert(cells[1].trim_matches('`').to_owned());
        fields.extend(cells[3].split_whitespace().map(|field| field.trim_matches('`').to_owned()));
    }
    (messages, fields)
}

#[test]
fn filters_of_the_log_use_existing_fields_and_messages() {
    let (mut messages, mut fields) = state_changes();
    messages.insert("request".to_owned());
    fields.extend(ACCESS_LOG.iter().map(|field| field.name.to_owned()));
    let program = Regex::new(r"jq -[a-zA-Z]+ '([^']*)'").unwrap();
    let text = Regex::new(r#""[^"]*""#).unwrap();
    let quoted = Regex::new(r#"\."([^"]+)""#).unwrap();
    let plain = Regex::new(r"\.([a-z_]+)").unwrap();
    let object = Regex::new(r"\{([^}]*)\}").unwrap();
    let compared = Regex::new(r#"\.(\w+) == "([^"]*)""#).unwrap();
    let mut programs = 0;
    for (name, page) in pages() {
        for found in blocks(&page, "sh").iter().flat_map(|block| program.captures_iter(block)) {
            programs += 1;
            let mut used: Vec<String> = quoted.captures_iter(&found[1]).map(|field| field[1].to_owned()).collect();
            let bare = text.replace_all(&found[1], "");
            used.extend(plain.captures_iter(&bare).map(|field| field[1].to_owned()));
            let members = object
                .captures_iter(&bare)
                .flat_map(|object| object[1].split(',').map(|member| member.trim().to_owned()).collect::<Vec<_>>());
            used.extend(members);
            for field in used {
                assert!(fields.contains(&field), "{name}: the log has no field {field}");
            }
            for compared in compared.captures_iter(&found[1]) {
                let known = match &compared[1] {
                    "message" => messages.contains(&compared[2]),
                    "method" => true,
                    label => values(label).contains(&compared[2]),
                };
                assert!(known, "{name}: {} is never {}", &compared[1], &compared[2]);
            }
        }
    }
    assert!(programs > 15, "{programs}");
}

#[test]
fn commands_of_runbooks_exist() {
    let command = Regex::new(r"(?m)(?:^\s*|/usr/local/bin/)sessiongate ([a-z]+)([^|\n]*)").unwrap();
    let option = Regex::new(r" (--[a-z-]+)").unwrap();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in pages().into_values() {
        // `gateway_check` is a function that docs/runbooks/README.md defines.
        let blocks = blocks(&page, "sh").into_iter().map(|block| block.replace("gateway_check", "sessiongate check"));
        for found in blocks.collect::<Vec<_>>().iter().flat_map(|block| command.captures_iter(block)) {
            let options = option.captures_iter(&found[2]).map(|option| option[1].to_owned());
            used.entry(found[1].to_owned()).or_default().extend(options);
        }
    }
    assert!(used.len() > 2, "{used:?}");
    for (name, options) in used {
        let help = finish(sessiongate(&[&name, "--help"]));
        assert_eq!(help.code, Some(0), "sessiongate {name}");
        for option in options {
            assert!(help.stdout.contains(&option), "sessiongate {name} {option}");
        }
    }
}
