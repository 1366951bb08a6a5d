//! The quickstarts for Auth0 and ZITADEL: every command is run, in the order of the page, and prints what the page shows.
//! The second half of a page is for the reader's own tenant: here it is the one of a sandbox with TLS.

use crate::harness::documented::{self, Block, blocks, contains, shown_json};
use crate::harness::{Sandbox, skipped, unused_address};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The blocks of a page, but for those that a reader has to fill in.
fn run_blocks(page: &str) -> Vec<Block> {
    blocks(page).into_iter().filter(|block| !block.by_hand).collect()
}

/// A command with free ports in place of the usual ones.
fn on_free_ports(command: &str, gateway: &str, admin: &str) -> String {
    let free = "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --control 127.0.0.1:0 --auth0 127.0.0.1:0 --zitadel 127.0.0.1:0 \
                --zitadel-verified 127.0.0.1:0";
    command
        .replace("sessiongate sandbox", &format!("sessiongate sandbox {free}"))
        .replace("sessiongate init", &format!("sessiongate init --listen {gateway}"))
        .replace("127.0.0.1:8080", gateway)
        .replace("sessiongate run", &format!("echo 'admin: {admin}' >> sessiongate.yaml; sessiongate run"))
        .replace("sessiongate probe", &format!("sessiongate probe --url http://{admin}"))
        // A line is in the log a moment after its response.
        .replace(
            "jq -c 'select(.reason == \"policy\")",
            "until grep -q '\"reason\":\"policy\"' sessiongate.log; do sleep 0.1; done\njq -c 'select(.reason == \"policy\")",
        )
}

/// Runs the commands of a page in one shell; gives the output of each block.
fn run(page: &str, folder: &Path, variables: &[(&str, &str)], last: u8) -> Vec<String> {
    let [gateway, admin] = [0, 1].map(|one| unused_address([127, 0, 12, last + one]).to_string());
    let mut script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for (at, block) in run_blocks(page).iter().enumerate() {
        if block.language == "sh" {
            script += &format!("echo '=== {at}'\n{}echo\n", on_free_ports(&block.text, &gateway, &admin));
        }
    }
    let path = std::env::var("PATH").unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sessiongate")).parent().unwrap();
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).current_dir(folder).envs(variables.iter().copied());
    let done = command.env("PATH", format!("{}:{path}", program.display())).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{error}");
    out.split("=== ").skip(1).map(str::to_owned).collect()
}

/// Compares what was printed with what the page shows below each command.
fn assert_shown(page: &str, printed: &[String]) {
    let blocks = run_blocks(page);
    let mut compared = 0;
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block.language != "sh") {
        let of_command = format!("{}\n", at - 1);
        let found = printed.iter().find_map(|one| one.strip_prefix(&of_command)).unwrap();
        match block.language.as_str() {
            "json" => {
                let shown = shown_json(&block.text);
                let start = found.find('{').unwrap_or_else(|| panic!("no JSON in {found}"));
                let value: Value =
                    serde_json::Deserializer::from_str(&found[start..]).into_iter().next().unwrap().unwrap();
                assert!(contains(&value, &shown), "{}\nfound: {found}", blocks[at - 1].text);
            }
            "text" => {
                for (line, shown) in found.lines().zip(block.text.lines()) {
                    assert!(line.contains(shown), "{shown}\nfound: {found}");
                }
            }
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared >= 5, "{compared} compared");
}

/// Whether the tools that the pages use are there.
fn has_tools() -> bool {
    let missing = ["bash", "curl", "jq"].into_iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        skipped(&format!("the quickstarts ({tool} is not installed)"));
    }
    missing.is_none()
}

/// What a sandbox prints when it is ready.
fn printed(sandbox: &Sandbox) -> Value {
    let lines = sandbox.stdout();
    serde_json::from_str(lines.iter().find(|line| line.starts_with('{')).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn quickstart_of_auth0_works_as_written() {
    if !has_tools() {
        return;
    }
    let page = documented::page("docs/quickstarts/auth0.md");
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&["--tls"]);
    let printed = printed(&sandbox);
    let variables = [
        ("AUTH0_DOMAIN", sandbox.upstream.trim_start_matches("https://")),
        ("AUTH0_CLIENT_ID", text(&printed["auth0"]["client_id"])),
        ("AUTH0_CLIENT_SECRET", text(&printed["auth0"]["client_secret"])),
        ("USER_ID", &sandbox.user_id),
        ("SSL_CERT_FILE", text(&printed["ca_file"])),
    ];
    assert_shown(&page, &run(&page, folder.path(), &variables, 1));
}

#[test]
fn quickstart_of_zitadel_works_as_written() {
    if !has_tools() {
        return;
    }
    let page = documented::page("docs/quickstarts/zitadel.md");
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&["--tls"]);
    let printed = printed(&sandbox);
    let variables = [
        ("ZITADEL_DOMAIN", text(&sandbox.zitadel["upstream"]).trim_start_matches("https://")),
        ("ZITADEL_TOKEN", text(&sandbox.zitadel["token"])),
        ("USER_ID", text(&sandbox.zitadel["user_id"])),
        ("SSL_CERT_FILE", text(&printed["ca_file"])),
    ];
    assert_shown(&page, &run(&page, folder.path(), &variables, 3));
}
