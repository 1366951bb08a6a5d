//! docs/guides/sdks.md as a reader follows it: the programs of the page, its commands and what they print, in the
//! environment that `sandbox --tls` prints. The SDKs are used through their public clients, over TLS.

use crate::harness::{Process, SANDBOX_ADDRESSES, finish, project, sdks_installed, sessiongate, skipped};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/guides/sdks.md";

/// A fenced block.
struct Block<'a> {
    language: &'a str,
    text: String,
    by_hand: bool,
}

/// A part of the page under a heading of the second level.
struct Section<'a> {
    heading: &'a str,
    blocks: Vec<Block<'a>>,
    /// The file that a program is to be saved as: the last name at the end of a line, with a colon.
    file: Option<&'a str>,
}

fn sections(page: &str) -> Vec<Section<'_>> {
    let parts = page.split("\n## ").skip(1);
    parts
        .map(|part| {
            let mut names = part.lines().filter_map(|line| line.strip_suffix("`:")?.rsplit('`').next());
            Section {
                heading: part.lines().next().unwrap(),
                blocks: blocks(part),
                file: names.rfind(|name| name.contains('.')),
            }
        })
        .collect()
}

fn blocks(part: &str) -> Vec<Block<'_>> {
    let pieces: Vec<&str> = part.split("\n```").collect();
    let fenced = pieces.windows(2).step_by(2).filter_map(|pair| <&[&str; 2]>::try_from(pair).ok());
    fenced
        .map(|[before, block]| {
            let (language, text) = block.split_once('\n').unwrap();
            Block { language, text: text.to_owned() + "\n", by_hand: before.ends_with("<!-- by hand -->") }
        })
        .collect()
}

/// Where a section's SDK is, and whether it is there.
struct Tools {
    folder: tempfile::TempDir,
}

impl Tools {
    /// A folder with the page's commands `python`, `go` and `grpcurl`, and its jars and Node modules beside the
    /// program.
    fn new() -> Tools {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // `go run .` is the program that tests/setup has built of the same file.
        for (name, tool) in [("python", "python/bin/python"), ("go", "go/session"), ("grpcurl", "grpcurl/grpcurl")] {
            let script = bin.join(name);
            let arguments = if name == "go" { "" } else { r#" "$@""# };
            fs::write(&script, format!("#!/bin/sh\nexec '{}'{arguments}\n", tool_path(tool).display())).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_sessiongate"), bin.join("sessiongate")).unwrap();
        symlink(tool_path("node/node_modules"), folder.path().join("node_modules")).unwrap();
        symlink(tool_path("java3"), folder.path().join("jars")).unwrap();
        Tools { folder }
    }

    /// Whether a section can run here; says so if not.
    fn has(&self, heading: &str) -> bool {
        if heading == "A gateway of your own" && Command::new("openssl").arg("version").output().is_err() {
            skipped("a gateway of the reader's own (there is no openssl)");
            return false;
        }
        let needed = match heading {
            "Auth0: Go" => ("go/session", "go-auth0 over TLS (there is no Go 1.24, or tests/setup has not run)"),
            "Auth0: Java" => {
                ("java3/auth0-3.2.0.jar", "auth0-java 3 (there is no JDK 17 with Maven, or tests/setup has not run)")
            }
            "ZITADEL: grpcurl" => ("grpcurl/grpcurl", "grpcurl (there is no Go 1.25, or tests/setup has not run)"),
            _ => return true,
        };
        let there = tool_path(needed.0).exists();
        if !there {
            skipped(needed.1);
        }
        there
    }

    /// Runs a command of the page with these variables, and gives what it prints.
    fn run(&self, exports: &str, command: &str) -> String {
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!("{exports}\nset -e\n{command}"));
        bash.current_dir(self.folder.path()).env("PATH", path);
        let finished = finish(bash);
        assert_eq!(finished.code, Some(0), "{command}\n{}\n{}", finished.stdout, finished.stderr);
        finished.stdout
    }
}

fn tool_path(path: &str) -> PathBuf {
    project().join("tests/.tools").join(path)
}

/// The program of a section.
fn save(section: &Section<'_>, folder: &Path) {
    const PROGRAMS: [&str; 5] = ["js", "python", "go", "java", "proto"];
    let program = section.blocks.iter().find(|block| PROGRAMS.contains(&block.language));
    if let Some(program) = program {
        fs::write(folder.join(section.file.unwrap()), &program.text).unwrap();
    }
}

#[test]
fn programs_of_the_sdk_guide_work_over_tls() {
    if !sdks_installed() {
        return;
    }
    let tools = Tools::new();
    let mut command = sessiongate(&["sandbox", "--tls"]);
    command.env("TMPDIR", tools.folder.path());
    for option in SANDBOX_ADDRESSES {
        command.args([option, "127.0.0.1:0"]);
    }
    let sandbox = Process::start(command);
    sandbox.wait_for_line(|line| line.starts_with("Stop it with"));
    let exports: Vec<String> = sandbox.stdout().into_iter().filter(|line| line.starts_with("export ")).collect();
    let exports = exports.join("\n");

    let page = fs::read_to_string(project().join(PAGE)).unwrap();
    let mut ran = 0;
    for section in sections(&page) {
        if section.heading == "Try it in the sandbox" || !tools.has(section.heading) {
            continue;
        }
        save(&section, tools.folder.path());
        let mut blocks = section.blocks.iter().peekable();
        while let Some(block) = blocks.next() {
            if block.language != "sh" || block.by_hand {
                continue;
            }
            let printed = tools.run(&exports, &block.text);
            let shown = blocks.next_if(|next| next.language == "text").unwrap();
            assert_eq!(printed, shown.text, "{}", section.heading);
            ran += 1;
        }
    }
    assert!(ran >= 6, "{ran}");
    for variable in ["CA", "AUTH0_SESSION_ID", "ZITADEL_SESSION_ID"] {
        assert!(exports.contains(&format!("{variable}=")) && page.contains(&format!("`{variable}`")), "{variable}");
    }
    // A token request reaches the tenant through the gateway.
    let log = sandbox.stderr().join("\n");
    assert!(log.contains("upstream=auth0_oauth") && log.contains("decision=passed_through"), "{log}");
}
