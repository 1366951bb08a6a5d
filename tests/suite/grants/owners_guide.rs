//! The page docs/guides/several-owners.md: its configuration does what each row of its table says.

use crate::harness::documented::{self, blocks_in};
use crate::harness::{Gateway, Request, Tenant, finish, sessiongate};
use serde_json::{Map, Value, json};

const PAGE: &str = "docs/guides/several-owners.md";
/// The row whose keys are too many to list.
const TOO_MANY: &str = "24 keys `cart_1` to `cart_24`";

/// A row of the table.
struct Row {
    caller: String,
    metadata: Value,
    status: u16,
    message: Option<String>,
    /// What the session has then; `None` if it stays as it is.
    stored: Option<Value>,
}

fn rows(page: &str) -> Vec<Row> {
    let table = page.lines().skip_while(|line| !line.starts_with("| caller | sends"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [caller, sent, response, stored] = cells.as_slice() else { panic!("{line}") };
        let json = |text: &str| serde_json::from_str(text.trim_matches('`')).unwrap_or_else(|_| panic!("{line}"));
        let many: Map<String, Value> = (1..=24).map(|at| (format!("cart_{at}"), "v".into())).collect();
        let (status, message) = response.split_once(": ").unwrap_or((response, ""));
        Row {
            caller: caller.trim_matches('`').to_owned(),
            metadata: if *sent == TOO_MANY { many.into() } else { json(sent) },
            status: status.parse().unwrap(),
            message: Some(message.trim_start_matches("``").trim_end_matches("``").to_owned()).filter(|m| !m.is_empty()),
            stored: (*stored != "as before").then(|| json(stored)),
        }
    })
    .collect()
}

#[test]
fn each_owner_gets_what_the_table_says() {
    let (tenant, page) = (Tenant::start(), documented::page(PAGE));
    let yaml = blocks_in(&page, "yaml").remove(0).replace("https://acme.eu.auth0.com", &tenant.url());
    let gateway = Gateway::start(&yaml);
    gateway.ready();
    let path = tenant.session_path();
    let patch = |url: &str, token: &str, metadata: &Value| {
        let body = json!({ "session_metadata": metadata }).to_string();
        Request::new("PATCH", &path).json(&body).bearer(token).send(url)
    };
    let mut expected = json!({ "tier": "pro" });
    assert_eq!(patch(&tenant.url(), &tenant.token(), &expected).status, 200);
    let rows = rows(&page);
    assert_eq!(rows.len(), 10);
    for Row { caller, metadata, status, message, stored } in rows {
        let calls = tenant.calls();
        let found = patch(&gateway.url(), &tenant.sign(json!({ "azp": caller })), &metadata);
        assert_eq!(found.status, status, "{caller} {metadata}: {}", found.text());
        if let Some(message) = message {
            assert_eq!(found.json()["message"], message.as_str(), "{caller} {metadata}");
        }
        if status == 200 {
            assert_eq!(tenant.calls() - calls, 2, "a read and a write: {caller} {metadata}");
        }
        expected = stored.unwrap_or(expected);
        let session = Request::new("GET", &path).bearer(&tenant.token()).send(&tenant.url()).json();
        assert_eq!(session["session_metadata"], expected, "after {caller} {metadata}");
    }
}

#[test]
fn configuration_of_two_owners_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessiongate.yaml");
    for yaml in blocks_in(&documented::page(PAGE), "yaml") {
        std::fs::write(&path, &yaml).unwrap();
        let finished = finish(sessiongate(&["check", "--format", "json", "-c", path.to_str().unwrap()]));
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(report["findings"], json!([]), "{yaml}");
    }
}
