//! The page docs/guides/several-applications.md: its configuration of four applications does what its table says.

use crate::harness::documented::{self, blocks_in};
use crate::harness::{Connection, Gateway, Request, Tenant, finish, sessiongate, wait_for};
use serde_json::json;

/// The first configuration of the page, in front of this tenant.
fn four_applications(tenant: &Tenant) -> Gateway {
    let page = documented::page("docs/guides/several-applications.md");
    let yaml = blocks_in(&page, "yaml").remove(0).replace("https://acme.eu.auth0.com", &tenant.url());
    let gateway = Gateway::start(&yaml);
    gateway.ready();
    gateway
}

#[test]
fn four_applications_need_twelve_lines() {
    let page = documented::page("docs/guides/several-applications.md");
    let yaml = blocks_in(&page, "yaml").remove(0);
    let grants = yaml.lines().skip_while(|line| line.trim() != "grants:").count();
    assert!(grants <= 12, "{grants} lines");
}

#[test]
fn each_application_gets_what_the_page_says() {
    let tenant = Tenant::start();
    let gateway = four_applications(&tenant);
    let token = |client: &str| tenant.sign(json!({ "azp": client, "sub": format!("{client}@clients") }));
    let session = tenant.session_path();
    let read = |client: &str| Request::new("GET", &session).bearer(&token(client)).send(&gateway.url());
    let set = |client: &str, metadata: serde_json::Value| {
        let body = json!({ "session_metadata": metadata }).to_string();
        Request::new("PATCH", &session).json(&body).bearer(&token(client)).send(&gateway.url())
    };
    let list = |client: &str| {
        let path = format!("/api/v2/users/{}/sessions", tenant.user_id().replace('|', "%7C"));
        Request::new("GET", &path).bearer(&token(client)).send(&gateway.url())
    };
    let others = Request::new("PATCH", &session).json(r#"{"session_metadata": {"tier": "pro"}}"#);
    assert_eq!(others.bearer(&token("other")).send(&tenant.url()).status, 200);
    let current = read("shop").json()["session_metadata"].as_object().cloned().unwrap_or_default();
    let with = |key: &str| {
        let mut changed = current.clone();
        changed.insert(key.into(), "42".into());
        changed.into()
    };
    assert_eq!(set("shop", with("cart_id")).status, 200);
    let alone = set("shop", json!({ "cart_id": "42" }));
    assert_eq!(alone.status, 403);
    assert_eq!(alone.json()["message"], "Not granted: clearing `session_metadata.tier`.");
    let stolen = set("shop", with("team_id"));
    assert_eq!(stolen.status, 403);
    assert_eq!(stolen.json()["message"], "Not granted: setting `session_metadata.team_id`.");
    for _ in 0..2 {
        let (all, seen) = (read("shop"), read("support"));
        assert_eq!((all.status, seen.status), (200, 200));
        let (mut all, seen) = (all.json(), seen.json());
        for field in ["initial_ip", "last_ip"] {
            assert!(all["device"].as_object_mut().unwrap().remove(field).is_some(), "{field}");
        }
        assert_eq!(seen, all);
    }
    let written = set("support", json!({}));
    assert_eq!(written.json()["message"], "Not granted: operation `update_session`.");
    let listed = list("job");
    assert_eq!((written.status, listed.status, read("job").status), (403, 200, 403));
    let first = &listed.json()["sessions"][0];
    assert!(first["id"].is_string() && first["device"].is_null() && first["session_metadata"].is_null(), "{first}");
    assert_eq!(read("other").json()["message"], "Not granted: no grant matches this caller.");
    assert_eq!((read("other").status, list("other").status, set("other", json!({})).status), (403, 403, 403));
    // Discovery, keys and the token endpoint need no grant, and any other request does.
    let passed = |path: &str| Request::new("GET", path).send(&gateway.url()).status;
    assert_eq!((passed("/.well-known/jwks.json"), passed("/api/v2/clients")), (200, 401));
    let others = Request::new("GET", "/api/v2/clients").bearer(&token("shop")).send(&gateway.url());
    assert_eq!(others.status, 403);
    for series in [
        "{decision=\"rejected\",grant=\"support\",upstream=\"auth0\"} ",
        "{decision=\"rejected\",grant=\"\",upstream=\"auth0\"} 4",
    ] {
        let line = format!("sessiongate_grant_requests_total{series}");
        wait_for(&line, || gateway.metrics().lines().any(|one| one.starts_with(&line)).then_some(()));
    }
}

/// A client that still sends its body gets the rejection, and its connection stays.
#[test]
fn rejected_writes_keep_their_connection() {
    let tenant = Tenant::start();
    let gateway = four_applications(&tenant);
    let support = tenant.sign(json!({ "azp": "support" }));
    let no_scope = tenant.sign(json!({ "azp": "shop", "scope": "read:sessions" }));
    for token in [support, no_scope] {
        let mut connection = Connection::open(gateway.address()).unwrap();
        for turn in 1..=3 {
            let head = format!(
                "PATCH {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
                tenant.session_path()
            );
            for part in [head.as_str(), "2\r\n{}\r\n", "0\r\n\r\n"] {
                connection.write(part.as_bytes()).unwrap();
            }
            let response = connection.response(false).unwrap();
            assert_eq!(response.status, 403, "{turn}");
            assert_ne!(response.header("Connection"), Some("close"), "{turn}");
        }
    }
}

#[test]
fn every_configuration_of_the_page_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessiongate.yaml");
    let page = documented::page("docs/guides/several-applications.md");
    let blocks = blocks_in(&page, "yaml");
    assert!(blocks.len() > 3, "{}", blocks.len());
    for yaml in blocks {
        std::fs::write(&path, &yaml).unwrap();
        let finished = finish(sessiongate(&["check", "--format", "json", "-c", path.to_str().unwrap()]));
        let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        // The files of certificates are the reader's.
        let findings = report["findings"].as_array().unwrap().iter();
        let faults: Vec<_> = findings.filter(|finding| finding["id"] != "file").collect();
        assert!(faults.is_empty(), "{faults:#?}\n{yaml}");
    }
}
