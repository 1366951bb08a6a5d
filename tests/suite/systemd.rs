//! The unit for systemd, and the guide that installs it.

use crate::harness::{EmptyEnvironment, Process, finish, project, skipped};
use regex::Regex;
use sessiongate::config;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The highest exposure that `systemd-analyze security` may report, of 10.
const MAX_EXPOSURE: f32 = 1.5;
const PROGRAM: &str = "/usr/local/bin/sessiongate";
const FOLDER: &str = "/etc/sessiongate";

fn unit() -> String {
    fs::read_to_string(project().join("deploy/systemd/sessiongate.service")).unwrap()
}

/// The values of an option of the unit, in their order.
fn values(option: &str) -> Vec<String> {
    let unit = unit();
    let values = unit.lines().filter_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

fn duration(option: &str) -> Duration {
    let [value] = &values(option)[..] else { panic!("{option} is not set once") };
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap());
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        other => panic!("{option}: {other}"),
    };
    Duration::from_secs(digits.parse::<u64>().unwrap() * seconds)
}

/// The unit in a folder, with the program that is tested.
fn installed(folder: &Path) -> PathBuf {
    let path = folder.join("sessiongate.service");
    fs::write(&path, unit().replace(PROGRAM, env!("CARGO_BIN_EXE_sessiongate"))).unwrap();
    path
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skipped(&format!("the unit for systemd (there is no {program})"));
    }
    there
}

#[test]
fn unit_is_valid_and_exposes_little() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = installed(folder.path());
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).arg(&unit);
        finish(command)
    };
    let verified = analyze(&["verify", "--man=no"]);
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""), "{verified:?}");
    let secured = analyze(&["security", "--offline=yes", "--no-pager"]);
    let level = Regex::new(r"Overall exposure level for sessiongate.service: ([\d.]+)").unwrap();
    let level = level.captures(&secured.stdout).unwrap_or_else(|| panic!("{secured:?}"));
    assert!(level[1].parse::<f32>().unwrap() <= MAX_EXPOSURE, "{}", secured.stdout);
}

#[test]
fn sysusers_file_makes_the_user_of_the_unit() {
    if !has("systemd-sysusers") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let mut command = Command::new("systemd-sysusers");
    command.arg(format!("--root={}", root.path().display())).arg(project().join("deploy/systemd/sysusers.conf"));
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert_eq!(values("User"), ["sessiongate"]);
    assert!(users.lines().any(|line| line.starts_with("sessiongate:")), "{users}");
}

#[test]
fn timeouts_of_the_unit_fit_the_graceful_shutdown() {
    let stop = duration("TimeoutStopSec");
    let least = "upstreams: { a: { dialect: auth0, url: \"https://a.example\", auth: none } }";
    let shutdown = config::compile("least", least, &EmptyEnvironment, [0; 32]).unwrap().config.shutdown;
    let graceful = shutdown.drain_delay + shutdown.grace;
    assert!(stop > graceful + Duration::from_secs(5), "{stop:?} is too short for {graceful:?}");
    let starts: u32 = values("StartLimitBurst")[0].parse().unwrap();
    let longest = (stop.max(duration("TimeoutStartSec")) + duration("RestartSec")) * starts;
    assert!(duration("StartLimitIntervalSec") > longest, "starts that take {longest:?} are never too many");
}

/// The commands of the guide that a test can run, in a folder instead of /etc/sessiongate.
fn configured() -> TempDir {
    let guide = fs::read_to_string(project().join("docs/guides/systemd.md")).unwrap();
    let block = Regex::new(r"(?s)(<!-- by hand -->\n)?```sh\n(.*?)```").unwrap();
    let blocks = block.captures_iter(&guide).filter(|found| found.get(1).is_none());
    let script: String = blocks.map(|found| found[2].to_owned()).collect();
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sessiongate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &script.replace(FOLDER, folder.path().to_str().unwrap())]);
    shell.env("PATH", path).env_remove("CREDENTIALS_DIRECTORY");
    let finished = finish(shell);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stdout.ends_with("sessiongate.yaml: OK\n"), "{finished:?}");
    folder
}

/// A command of the unit, as systemd would run it.
fn command(line: &str, folder: &Path) -> Command {
    let line = line.replace(PROGRAM, env!("CARGO_BIN_EXE_sessiongate")).replace(FOLDER, folder.to_str().unwrap());
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(folder).env_clear().env("CREDENTIALS_DIRECTORY", folder.join("secrets"));
    command
}

/// systemd itself does not run here: the commands of the unit do, one after the other.
#[test]
fn commands_of_the_unit_run_what_the_guide_configures() {
    let folder = configured();
    let file = folder.path().join("sessiongate.yaml");
    let text = fs::read_to_string(&file).unwrap();
    for credential in values("LoadCredential") {
        let (_, source) = credential.split_once(':').unwrap();
        assert!(Path::new(&source.replace(FOLDER, folder.path().to_str().unwrap())).exists(), "{source}");
    }
    // Free ports, and a provider on this machine.
    let text = text.replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0");
    fs::write(&file, text.replace("https://acme.eu.auth0.com", "http://127.0.0.1:9")).unwrap();
    let [before] = &values("ExecStartPre")[..] else { panic!("one command before the start") };
    let [start] = &values("ExecStart")[..] else { panic!("one command to start") };
    let [check, kill] = &values("ExecReload")[..] else { panic!("two commands to reload") };
    let checked = finish(command(before, folder.path()));
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    let mut process = Process::start(command(start, folder.path()));
    process.wait_for_line(|line| line.contains("serving"));
    assert_eq!(finish(command(check, folder.path())).code, Some(0));
    assert_eq!(kill, "/bin/kill -HUP $MAINPID");
    process.signal("HUP");
    process.wait_for_line(|line| line.contains("configuration unchanged"));
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.stdout());
}
