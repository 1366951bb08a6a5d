//! Four applications with different grants use the official SDKs on the same sessions at the same time.

use crate::harness::{Gateway, Instance, Request, Tenant, finish, project, sdks_installed};
use serde_json::{Value, json};
use sessiongate::sandbox::auth0::Options;
use std::process::Command;

const GRANTS: &str = "cache: { ttl: 30s }
grants:
  - { name: shop, callers: { client_id: shop }, operations: [read_session, update_session], keys: { set: [\"cart_*\"] } }
  - { name: crm, callers: { client_id: crm }, operations: [read_session, update_session], keys: { set: [\"team_*\"] } }
  - name: support
    callers: { client_id: support }
    operations: [read_session]
    dropped: [device.initial_ip, device.last_ip]
  - { name: job, callers: { client_id: job }, operations: [list_sessions] }
";

#[test]
fn four_applications_share_sessions() {
    if !sdks_installed() {
        return;
    }
    let tenant = Tenant::start_with_tls(Options { rate: None, ..Options::default() });
    let gateway = Gateway::start(&(tenant.listener() + &tenant.upstream(GRANTS)));
    let sessions: Vec<String> = (0..3).map(|_| tenant.create_session()).collect();
    let names = ["shop", "crm", "support", "job", "other"];
    let tokens: serde_json::Map<String, Value> =
        names.map(|name| (name.to_owned(), tenant.sign(json!({ "azp": name })).into())).into_iter().collect();
    let input = json!({
        "base": format!("https://{}", gateway.address()), "tokens": tokens, "sessions": sessions,
        "user_id": tenant.user_id(), "rounds": 10,
    });
    let mut command = Command::new("node");
    command.arg(project().join("tests/sdk/applications.mjs")).arg(input.to_string());
    command.env("NODE_EXTRA_CA_CERTS", tenant.ca_file());
    let done = finish(command);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(result["faults"], json!([]), "{result}");
    for (name, least) in [("shop", 30), ("crm", 30), ("support", 120), ("job", 40)] {
        assert!(result["counts"][name]["200"].as_u64().unwrap() >= least, "{name}: {result}");
    }
    assert_eq!(result["counts"]["other"], json!({ "403": 9 }));
    // At the tenant each key has a value of its owner.
    for id in sessions {
        let path = format!("/api/v2/sessions/{id}");
        let session = Request::new("GET", &path).bearer(&tenant.token()).send(&tenant.url()).json();
        for (key, owner) in [("cart_id", "shop-"), ("team_id", "crm-")] {
            let value = session["session_metadata"].get(key).and_then(Value::as_str);
            assert!(value.is_none_or(|value| value.starts_with(owner)), "{session}");
        }
    }
}

/// The same at ZITADEL, each application on a carrier of its own.
#[test]
fn four_applications_share_sessions_on_four_carriers() {
    if !sdks_installed() {
        return;
    }
    let zitadel = Instance::start();
    let instance = zitadel.instance();
    let grants = GRANTS
        .replace("[device.initial_ip, device.last_ip]", "[factors.user.login_name, user_agent]")
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>();
    let gateway = zitadel.gateway(&grants);
    let sessions: Vec<String> = (0..3).map(|_| instance.create_session().id).collect();
    let names = ["shop", "crm", "support", "job"];
    let tokens: serde_json::Map<String, Value> =
        names.map(|name| (name.to_owned(), instance.sign(json!({ "client_id": name })).into())).into_iter().collect();
    let input = json!({ "base": gateway.url(), "tokens": tokens, "sessions": sessions, "rounds": 8 });
    let mut command = Command::new("node");
    command.arg(project().join("tests/sdk/applications_zitadel.mjs")).arg(input.to_string());
    let done = finish(command);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(result["faults"], json!([]), "{result}");
    for (name, least) in [("shop", 24), ("crm", 24), ("support", 96), ("job", 32)] {
        assert!(result["counts"][name]["ok"].as_u64().unwrap() >= least, "{name}: {result}");
    }
}
