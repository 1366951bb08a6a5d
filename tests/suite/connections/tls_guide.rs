//! docs/guides/tls.md, step by step: its commands make a CA and certificates, its configuration uses them.

use crate::harness::documented::{blocks_in, page};
use crate::harness::{Gateway, Tenant, finish, sessiongate, skipped, wait_for, write_config};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PAGE: &str = "docs/guides/tls.md";

/// Runs a command of the page in a folder; gives what it prints.
fn run(command: &str, folder: &Path) -> Result<String, String> {
    let done = Command::new("sh").arg("-c").arg(format!("set -e\n{command}")).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// A configuration of the page, with its files in this folder.
fn absolute(yaml: &str, tls: &Path) -> String {
    yaml.replace("tls/", &format!("{}/", tls.display()))
}

/// The gateway of the page on a free port.
fn start(yaml: &str, tls: &Path) -> Gateway {
    let yaml = absolute(yaml, tls).replace("0.0.0.0:8443", "127.0.0.1:0");
    let gateway = Gateway::start(&format!("reload: {{ interval: 100ms }}\n{yaml}"));
    gateway.ready();
    gateway
}

#[test]
fn tls_guide_works_as_written() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("the commands of docs/guides/tls.md (openssl is not installed)");
    }
    let page = page(PAGE);
    let [own_ca, plain_call, client_certificate, mutual_call, rotate, inspect] =
        blocks_in(&page, "sh").try_into().unwrap();
    let [listener, clients, provider] = blocks_in(&page, "yaml").try_into().unwrap();
    let tenant = Tenant::start();
    let folder: TempDir = tempfile::tempdir().unwrap();
    let (here, tls) = (folder.path(), folder.path().join("tls"));
    run(&own_ca, here).unwrap();
    let listener = listener.replace("https://acme.eu.auth0.com", &tenant.url());
    let on = |command: &str, gateway: &Gateway| {
        run(&command.replace("localhost:8443", &format!("localhost:{}", gateway.address().port())), here)
    };
    let served = |found: Result<String, String>| {
        assert!(found.as_ref().unwrap().contains("Missing authentication"), "{found:?}")
    };

    let gateway = start(&listener, &tls);
    served(on(&plain_call, &gateway));
    let before = on(&inspect, &gateway).unwrap();
    assert!(before.contains("serial=") && before.contains("notAfter="), "{before}");
    run(&rotate, here).unwrap();
    wait_for("the new certificate", || (on(&inspect, &gateway).unwrap() != before).then_some(()));
    served(on(&plain_call, &gateway));

    run(&client_certificate, here).unwrap();
    let mutual = listener.replace("      min_version", &format!("{clients}      min_version"));
    let gateway = start(&mutual, &tls);
    served(on(&mutual_call, &gateway));
    assert!(on(&plain_call, &gateway).is_err(), "a client without a certificate");

    let path = write_config(here, &absolute(&provider, &tls));
    let checked = finish(sessiongate(&["check", "--deploy", "-c", path.to_str().unwrap()]));
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}
