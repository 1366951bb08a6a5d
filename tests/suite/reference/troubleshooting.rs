//! docs/guides/troubleshooting.md has each rejection, under its status and with its messages.

use crate::harness::{project, rejections};
use regex::Regex;
use serde_json::Value;
use sessiongate::dialect::{DIALECTS, Dialect};
use sessiongate::model::Rejection;
use sessiongate::wire::carrier::Carrier;
use std::collections::BTreeMap;
use std::fs;

const PAGE: &str = "docs/guides/troubleshooting.md";

/// A row of the page.
struct Row {
    /// The statuses of its table.
    statuses: Vec<u16>,
    cells: Vec<String>,
}

/// The rows of the tables between `<!-- reasons: STATUS… -->` and `<!-- end: … -->`, by their reason.
fn rows(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for part in page.split("<!-- reasons: ").skip(1) {
        let (statuses, rest) = part.split_once(" -->\n").unwrap();
        let statuses: Vec<u16> = statuses.split(' ').map(|status| status.parse().unwrap()).collect();
        let table = rest.split("<!-- end: ").next().unwrap();
        for line in table.lines().skip(2) {
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            let reason = cells[2].trim_matches('`').to_owned();
            let before = rows.insert(reason, Row { statuses: statuses.clone(), cells });
            assert!(before.is_none(), "{line}: a reason twice");
        }
    }
    rows
}

/// The message of a rejection in this dialect, without the error ID that ZITADEL's have.
fn message(dialect: &Dialect, rejection: &Rejection) -> String {
    let response = dialect.rejections.response(rejection, Carrier::Rest);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    let text = body.get("message").or(body.get("errorSummary")).unwrap().as_str().unwrap();
    text.split(" (GATE-").next().unwrap().to_owned()
}

/// Whether one of a cell's code spans is the message, with `…` for any part of it.
fn shows(cell: &str, message: &str) -> bool {
    let span = Regex::new("``(.+?)``|`([^`]+)`").unwrap();
    span.captures_iter(cell).any(|found| {
        let text = found.get(1).or(found.get(2)).unwrap().as_str().trim();
        let parts: Vec<String> = text.replace("RULE", "…").split('…').map(regex::escape).collect();
        Regex::new(&format!("(?i)^{}[.']*( on property id\\.)?$", parts.join(".*"))).unwrap().is_match(message)
    })
}

#[test]
fn troubleshooting_lists_every_rejection() {
    let page = fs::read_to_string(project().join(PAGE)).unwrap();
    let rows = rows(&page);
    let mut faults = Vec::new();
    for rejection in rejections() {
        let (name, about) = (rejection.name(), rejection.reason().row());
        let Some(row) = rows.get(name) else {
            faults.push(format!("{name} is missing"));
            continue;
        };
        if !row.statuses.contains(&about.status) {
            faults.push(format!("{name}: has the status {}", about.status));
        }
        if row.statuses.len() > 1 && !row.cells[4].starts_with(&format!("{}: ", about.status)) {
            faults.push(format!("{name}: does not begin with the status {}", about.status));
        }
        if row.cells[3] != about.grpc_code.name().to_uppercase() {
            faults.push(format!("{name}: has the code {}", about.grpc_code.name().to_uppercase()));
        }
        for dialect in DIALECTS {
            let message = message(dialect, &rejection);
            if !shows(&row.cells[1], &message) {
                faults.push(format!("{name}: {} has the message {message:?}", dialect.name));
            }
        }
    }
    let unknown = rows.keys().filter(|name| !Rejection::names().contains(&name.as_str()));
    faults.extend(unknown.map(|name| format!("{name} is no reason")));
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
}
