//! The command line: output and exit status.

use crate::harness::documented;
use crate::harness::{
    Finished, Process, Request, SANDBOX_ADDRESSES, Sandbox, finish, project, sdks_installed, sessiongate, skipped,
    wait_for, write_config,
};
use regex::Regex;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const GOOD: &str = "
upstreams:
  auth0:
    dialect: auth0
    url: http://127.0.0.1:1
    auth: none
";

fn run(args: &[&str]) -> Finished {
    finish(sessiongate(args))
}

fn checked(text: &str) -> (Finished, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, text).unwrap();
    (run(&["check", "-c", path.to_str().unwrap()]), path, folder)
}

#[test]
fn check_accepts_a_valid_configuration() {
    let (finished, path, _folder) = checked(GOOD);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, format!("{}: OK\n", path.display()));
    assert_eq!(finished.stderr, "");
}

/// In a service mesh, plain HTTP to another host is normal, so an option allows it.
#[test]
fn check_for_a_deployment_accepts_allowed_plain_http() {
    let plain = GOOD.replace("127.0.0.1:1", "provider.example");
    assert_ne!(plain, GOOD);
    let (finished, path, _folder) = checked(&plain);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("in clear") && finished.stderr.contains("allow_http"), "{finished:?}");
    let deploy = || run(&["check", "--deploy", "-c", path.to_str().unwrap()]);
    assert_eq!(deploy().code, Some(1));
    fs::write(&path, format!("{}    allow_http: true\n", plain)).unwrap();
    let finished = deploy();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
}

#[test]
fn check_reports_every_error_with_its_location() {
    let (finished, path, _folder) = checked(
        "listen: 127.0.0.1:99999
upstreams:
  a:
    dialect: keycloak
    url: ftp://x
    auth: none
    cache: {tll: 5s}
    policy: absent
polices: {}
",
    );
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.stdout, "");
    let faults: Vec<&str> = finished.stderr.lines().collect();
    let expected = [
        ("1:9", "listen"),
        ("4:14", "upstreams.a.dialect"),
        ("5:10", "upstreams.a.url"),
        ("7:13", "upstreams.a.cache.tll"),
        ("8:13", "upstreams.a.policy"),
        ("9:1", "polices"),
    ];
    assert_eq!(faults.len(), expected.len(), "{}", finished.stderr);
    for (fault, (place, option)) in faults.iter().zip(expected) {
        let begin = format!("{}:{place}: {option}: ", path.display());
        assert!(fault.starts_with(&begin), "{fault}\ndoes not begin with\n{begin}");
    }
    assert!(faults[3].ends_with("did you mean `ttl`?"), "{}", faults[3]);
    assert!(faults[5].ends_with("did you mean `policies`?"), "{}", faults[5]);
}

#[test]
fn check_does_not_print_secrets() {
    let (finished, _, _folder) = checked(&format!("hash_key: correct-horse-battery-staple\n{GOOD}"));
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(":1:11: hash_key: "), "{}", finished.stderr);
    assert!(!finished.stderr.contains("horse"), "{}", finished.stderr);
}

#[test]
fn missing_file_is_reported_by_path() {
    for (command, code) in [("check", 2), ("run", 1)] {
        let finished = run(&[command, "-c", "/absent/gateway.yaml"]);
        assert_eq!(finished.code, Some(code));
        assert!(
            finished.stderr.contains("/absent/gateway.yaml") && finished.stderr.lines().count() == 1,
            "{finished:?}"
        );
    }
}

#[test]
fn run_reports_the_same_errors_as_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), "upstreams: { a: { dialect: auth0 } }\n");
    let of = |command: &str| run(&[command, "-c", path.to_str().unwrap()]);
    let (run, check) = (of("run"), of("check"));
    assert_eq!((run.code, check.code), (Some(1), Some(1)));
    assert_eq!(run.stderr, check.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn invalid_command_line_exits_with_status_2() {
    for args in [
        &[][..],
        &["chek"],
        &["check"],
        &["check", "-c"],
        &["run", "--config"],
        &["run", "gateway.yaml"],
        &["run", "-c", "-"],
        &["init"],
        &["check", "-c", "-", "--format", "xml"],
        &["sandbox", "--listen", "nowhere"],
        &["sandbox", "--rate", "-1"],
        &["sandbox", "--ca-file", "ca.pem"],
        &["--unknown"],
    ] {
        let finished = run(args);
        assert_eq!(finished.code, Some(2), "{args:?}");
        assert_eq!(finished.stdout, "", "{args:?}");
        assert!(finished.stderr.contains("'--help'") || finished.stderr.contains("Usage: "), "{args:?}: {finished:?}");
    }
}

#[test]
fn help_describes_each_command() {
    for (args, words) in [
        (&["--help"][..], &["run", "check", "init", "sandbox", "schema", "completions", "man", "session policies"][..]),
        (&["run", "--help"], &["serves", "SIGTERM", "status 1", "--config <FILE>"]),
        (
            &["check", "--help"],
            &["every error", "line and column", "Exit status: 0", "--config <FILE>", "--online", "--format", "sarif"],
        ),
        (
            &["sandbox", "--help"],
            &[
                "simulated Auth0 tenant",
                "--listen",
                "--admin",
                "--control",
                "--auth0",
                "--zitadel",
                "--zitadel-verified",
                "--rate",
                "--tls",
                "--json",
            ],
        ),
    ] {
        let finished = run(args);
        assert_eq!(finished.code, Some(0), "{args:?}");
        // Lines are wrapped to the width of the terminal.
        let text = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(text.contains(word), "{args:?} does not say `{word}`:\n{}", finished.stdout);
        }
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, format!("sessiongate {}\n", env!("CARGO_PKG_VERSION")));
}

/// A copy of a shipped configuration, with certificates and secrets that exist, and the variables that it refers to.
fn usable(file: &Path, folder: &Path) -> (PathBuf, Vec<String>) {
    let (authority, key) = (folder.join("ca.pem"), folder.join("client.key"));
    let certified = rcgen::generate_simple_self_signed(vec!["provider.example".into()]).unwrap();
    fs::write(&authority, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let text = fs::read_to_string(file).unwrap();
    let certificates = Regex::new(r"/[\w./-]+\.(pem|crt)\b").unwrap();
    let text = certificates.replace_all(&text, authority.to_str().unwrap());
    let text = Regex::new(r"/[\w./-]+\.key\b").unwrap().replace_all(&text, key.to_str().unwrap());
    let secret = folder.join("secret");
    fs::write(&secret, "a secret of this test").unwrap();
    let reference = format!("{{ file: {} }}", secret.display());
    let text = Regex::new(r"\{ file: /[\w./-]+ \}").unwrap().replace_all(&text, reference.as_str());
    let copy = folder.join(file.file_name().unwrap());
    fs::write(&copy, &*text).unwrap();
    let variables = Regex::new(r"\$\{([A-Z_0-9]+)|(?m)^\s*(?:\w+: \{ *)?env: (\w+)").unwrap();
    let name = |found: regex::Captures| found.get(1).or(found.get(2)).unwrap().as_str().to_owned();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names = lines.flat_map(|line| variables.captures_iter(line).map(name).collect::<Vec<_>>());
    (copy, names.collect())
}

#[test]
fn every_shipped_configuration_is_valid() {
    let mut seen = 0;
    for entry in fs::read_dir(project().join("config")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let folder = tempfile::tempdir().unwrap();
        let (copy, variables) = usable(&file, folder.path());
        let mut command = sessiongate(&["check", "-c", copy.to_str().unwrap()]);
        command.envs(variables.iter().map(|name| (name, "acme.eu.auth0.com")));
        let finished = finish(command);
        assert_eq!(finished.code, Some(0), "{}\n{}", file.display(), finished.stderr);
        if !variables.is_empty() {
            let mut command = sessiongate(&["check", "-c", copy.to_str().unwrap()]);
            for name in &variables {
                command.env_remove(name);
            }
            let finished = finish(command);
            assert_eq!(finished.code, Some(1), "{} needs no variable", file.display());
        }
    }
    assert!(seen >= 2, "config/ has {seen} configurations");
}

#[test]
fn occupied_port_ends_run_with_a_message() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen", "admin", "control"] {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(folder.path(), &format!("{key}: {address}\n{GOOD}"));
        let began = Instant::now();
        let finished = run(&["run", "-c", path.to_str().unwrap()]);
        assert!(began.elapsed() < Duration::from_secs(10), "{key} took {:?}", began.elapsed());
        assert_eq!(finished.code, Some(1), "{key}");
        assert!(finished.stderr.contains(&format!("cannot listen on {address}: ")), "{key}: {finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
    let text = address.to_string();
    for option in SANDBOX_ADDRESSES {
        let mut args = vec!["sandbox"];
        for other in SANDBOX_ADDRESSES {
            args.extend([other, if other == option { &text } else { "127.0.0.1:0" }]);
        }
        let finished = run(&args);
        assert_eq!(finished.code, Some(1), "{option}");
        assert!(finished.stderr.contains(&text), "{option}: {finished:?}");
        assert_eq!(finished.stdout, "", "{option}");
    }
}

#[test]
fn sandbox_prints_one_line_of_json() {
    let mut sandbox = Sandbox::start(&[]);
    let read = Request::new("GET", &sandbox.session_path()).bearer(&sandbox.token);
    assert_eq!(read.send(&sandbox.gateway).status, 200);
    assert_eq!(read.send(&sandbox.upstream).status, 200);
    assert_eq!(sandbox.stop().code(), Some(0));
    let stdout = sandbox.stdout();
    assert_eq!(stdout.len(), 1, "{stdout:?}");
    let said: Value = serde_json::from_str(&stdout[0]).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&said), ["admin", "applications", "auth0", "control", "gateway", "zitadel", "zitadel_verified"]);
    assert_eq!(keys(&said["zitadel_verified"]), ["id_token", "instance", "introspection", "prefix"]);
    for instance in [&said["zitadel"], &said["zitadel_verified"]["instance"]] {
        let expected =
            ["client_id", "client_secret", "jwt", "session_id", "session_token", "token", "upstream", "user_id"];
        assert_eq!(keys(instance), expected);
    }
    let client = ["audience", "client_id", "client_secret"];
    let rest = ["expired_token", "read_only_token", "session_id", "token", "upstream", "user_id"];
    assert_eq!(keys(&said["auth0"]), [&client[..], &rest].concat());
}

#[test]
fn values_printed_by_the_sandbox_work() {
    let sandbox = Sandbox::start(&[]);
    let status = |method: &str, path: &str, token: &str| {
        let request = Request::new(method, path).bearer(token);
        request.send(&sandbox.gateway).status
    };
    let session = sandbox.session_path();
    assert_eq!(status("GET", &session, &sandbox.read_only_token), 200);
    assert_eq!(status("DELETE", &session, &sandbox.read_only_token), 403);
    assert_eq!(status("GET", &session, &sandbox.expired_token), 401);
    let user = format!("/api/v2/users/{}/sessions", sandbox.user_id.replace('|', "%7C"));
    assert_eq!(status("GET", &user, &sandbox.token), 200);
    assert_eq!(Request::new("GET", "/readyz").send(&sandbox.admin).status, 200);
    let purge = Request::new("POST", "/cache/purge").json(r#"{"upstream":"zitadel"}"#);
    assert_eq!(purge.send(&sandbox.control).text(), r#"{"purged":true}"#);
    let said = |name: &str| sandbox.verified["instance"][name].as_str().unwrap().to_owned();
    let prefix = sandbox.verified["prefix"].as_str().unwrap();
    let jwt = said("jwt");
    let session = format!("{prefix}/v2/sessions/{}", said("session_id"));
    assert_eq!(status("GET", &session, &jwt), 200);
    let forged = format!("{}AAAA", &jwt[..jwt.len() - 4]);
    assert_eq!(status("GET", &session, &forged), 401, "the gateway verifies it");
    assert_eq!(status("GET", &session, &said("token")), 200, "an opaque token is left to ZITADEL");
    let logout =
        format!("{prefix}/oidc/v1/end_session?id_token_hint={}", sandbox.verified["id_token"].as_str().unwrap());
    assert_eq!(Request::new("GET", &logout).send(&sandbox.gateway).status, 302);
    assert_eq!(status("GET", &session, &jwt), 404);
}

#[test]
fn sandbox_has_a_rate_limit() {
    let sandbox = Sandbox::start(&["--rate", "3"]);
    let list = Request::new("GET", "/api/v2/clients").bearer(&sandbox.token);
    let limited =
        wait_for("a request too many", || Some(list.send(&sandbox.gateway)).filter(|response| response.status == 429));
    assert_eq!(limited.json()["errorCode"], "too_many_requests");
    assert!(limited.header("X-RateLimit-Limit").is_some(), "{limited:?}");
}

/// The certificate of the CA is there while the sandbox runs, and a named file stays.
#[test]
fn sandbox_writes_the_certificate_of_its_ca() {
    let ca_file = |sandbox: &Sandbox| {
        let line: Value = serde_json::from_str(&sandbox.stdout()[0]).unwrap();
        assert!(line["gateway"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{line}");
        PathBuf::from(line["ca_file"].as_str().unwrap())
    };
    let rights = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut sandbox = Sandbox::start(&["--tls"]);
    let path = ca_file(&sandbox);
    assert_eq!((rights(&path), rights(path.parent().unwrap())), (0o644, 0o755));
    assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(sandbox.stop().code(), Some(0));
    assert!(!path.parent().unwrap().exists(), "{}", path.display());

    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("ca.pem");
    let option = ["--tls", "--ca-file", named.to_str().unwrap()];
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut sandbox = Sandbox::start(&option);
        assert_eq!(ca_file(&sandbox), named);
        sandbox.stop();
        texts.push(fs::read_to_string(&named).unwrap());
    }
    assert_ne!(texts[0], texts[1], "each run has a CA of its own");
    fs::write(&named, "-----BEGIN PRIVATE KEY-----").unwrap();
    let free = SANDBOX_ADDRESSES.iter().flat_map(|option| [*option, "127.0.0.1:0"]);
    let finished = run(&["sandbox"].into_iter().chain(option).chain(free).collect::<Vec<_>>());
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert!(finished.stderr.contains("is not replaced: it is not a certificate"), "{}", finished.stderr);
    assert_eq!(fs::read_to_string(&named).unwrap(), "-----BEGIN PRIVATE KEY-----");
}

#[test]
fn commands_of_the_sandbox_tour_work() {
    tour_works(&[]);
}

#[test]
fn commands_of_the_sandbox_tour_work_over_tls() {
    tour_works(&["--tls"]);
}

/// The commands have the results that the comments of the tour describe.
fn tour_works(options: &[&str]) {
    const FREE: &str = "127.0.0.1:0";
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("the tour of the sandbox (there is no curl)");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = sessiongate(&["sandbox", "--rate", "0"]);
    command.args(options).env("TMPDIR", folder.path());
    for address in SANDBOX_ADDRESSES {
        command.args([address, FREE]);
    }
    let sandbox = Process::start(command);
    sandbox.wait_for_line(|line| line.starts_with("Stop it with"));
    let said = sandbox.stdout();
    let commands = said.iter().skip_while(|line| !line.starts_with("export "));
    let commands: Vec<&str> =
        commands.map(String::as_str).take_while(|line| !line.starts_with("Stop it with")).collect();
    // In an interactive shell aliases are on.
    let script = format!("shopt -s expand_aliases\n{}\n", commands.join("\n"));
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).current_dir(folder.path());
    let with_sdk = sdks_installed();
    if with_sdk {
        symlink(project().join("tests/.tools/node/node_modules"), folder.path().join("node_modules")).unwrap();
    }
    let finished = finish(bash);
    assert_eq!(finished.stderr, "");
    let said: Vec<&str> = finished.stdout.lines().collect();
    // SDKs insist on https.
    let page = documented::page("docs/guides/several-owners.md");
    let by_sdk = match (options.is_empty(), with_sdk) {
        (true, _) => String::new(),
        (false, true) => documented::blocks_in(&page, "text").remove(0),
        (false, false) => "run npm install auth0@7 first\n".to_owned(),
    };
    let (said, printed) = said.split_at(said.len() - by_sdk.lines().count());
    assert_eq!(printed, by_sdk.lines().collect::<Vec<_>>());
    let [
        changed,
        rejected,
        head @ ..,
        tier,
        calls,
        rest,
        connect,
        before,
        logged_out,
        again,
        locked,
        purged,
        after,
        token,
        shop,
        stolen,
        address,
        cart,
        hidden,
        support,
        both,
        cleared,
    ] = said
    else {
        panic!("{}", finished.stdout)
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(changed)["session_metadata"]["tier"], "pro");
    let rejected = json(rejected);
    assert_eq!(rejected["statusCode"], 400);
    for word in ["session_metadata.tier", "one_of", "session_metadata.n", "type"] {
        assert!(rejected["message"].as_str().unwrap().contains(word), "{rejected}");
    }
    let head = head.join("\n").to_lowercase();
    assert!(head.contains("cache-status: sessiongate; hit"), "{head}");
    assert!(head.contains("\nage: "), "{head}");
    assert_eq!(*tier, r#""tier":"free""#);
    assert_eq!(*calls, "calls to the tenant: 1");
    assert_eq!(*purged, r#"{"purged":true}"#);
    assert_eq!(*token, r#""token_type":"Bearer""#);
    assert_eq!([*shop, *address, *cart, *hidden], ["200", "\"last_ip\":", "\"cart_id\":\"42\"", "no address"]);
    for (rejected, what) in [(stolen, "setting `session_metadata.tier`"), (support, "operation `update_session`")] {
        assert_eq!(json(rejected)["message"], format!("Not granted: {what}."));
    }
    assert_eq!(*both, r#""session_metadata":{"cart_id":"43","team_id":"7","tier":"pro"}"#);
    assert_eq!(*cleared, r#""session_metadata":{"cart_id":"43","tier":"pro"}"#);
    assert_eq!((json(rest)["code"].clone(), json(connect)["code"].clone()), (3.into(), "invalid_argument".into()));
    assert!(rest.contains("metadata.tier") && connect.contains("metadata.tier"));
    for (line, expected) in
        [(before, "hit"), (logged_out, "fwd=miss"), (again, "hit"), (locked, "fwd=miss"), (after, "fwd=miss")]
    {
        assert!(line.to_lowercase().starts_with(&format!("cache-status: sessiongate; {expected}")), "{line}");
    }
}

/// The commands of the program, less its own help.
const COMMANDS: [&str; 9] = ["run", "check", "init", "sandbox", "purge", "probe", "schema", "completions", "man"];

#[test]
fn schema_command_prints_config_schema_json() {
    let finished = run(&["schema"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(finished.stdout, fs::read_to_string(project().join("config/schema.json")).unwrap());
}

/// Whether a program exists; reports the skipped test if not.
fn installed(program: &str, what: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skipped(&format!("{what} (there is no {program})"));
    }
    there
}

#[test]
fn completions_contain_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let finished = run(&["completions", shell]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in COMMANDS.iter().chain(&["config", "deploy", "online", "format", "sarif", "zitadel", "upstream"]) {
            assert!(finished.stdout.contains(word), "{shell} does not know `{word}`");
        }
        let script = folder.path().join(shell);
        fs::write(&script, &finished.stdout).unwrap();
        if installed(shell, &format!("the syntax of completions for {shell}")) {
            let mut command = Command::new(shell);
            command.arg(if shell == "fish" { "--no-execute" } else { "-n" }).arg(&script);
            let checked = finish(command);
            assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{shell}");
        }
    }
    // What the script does where somebody presses the key.
    let mut bash = Command::new("bash");
    let pressed =
        "COMP_WORDS=(sessiongate che); COMP_CWORD=1; _sessiongate sessiongate che sessiongate; echo ${COMPREPLY[@]}";
    bash.arg("-c").arg(format!(". {}; {pressed}", folder.path().join("bash").display()));
    assert_eq!(finish(bash).stdout, "check\n");
    assert_eq!(run(&["completions", "sh"]).code, Some(2));
}

#[test]
fn manual_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let all = std::iter::once(None).chain(COMMANDS.map(Some));
    for command in all {
        let finished = run(&[&["man"], command.as_slice()].concat());
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{command:?}");
        let name = command.map_or("sessiongate".to_owned(), |command| format!("sessiongate-{command}"));
        let title = finished.stdout.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.starts_with(&format!(".TH {name} 1 ")), "{title}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(finished.stdout.contains(&format!(".SH {section}\n")), "{command:?} has no {section}");
        }
        let page = folder.path().join("page.1");
        fs::write(&page, &finished.stdout).unwrap();
        if installed("groff", "how pages of the manual look") {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&page);
            let rendered = finish(groff);
            assert_eq!((rendered.code, rendered.stderr.as_str()), (Some(0), ""), "{command:?}");
        }
    }
    let whole = run(&["man"]).stdout;
    assert!(COMMANDS.iter().all(|command| whole.contains(&format!("sessiongate\\-{command}(1)"))), "{whole}");
    let unknown = run(&["man", "chek"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert!(unknown.stderr.contains("unknown command `chek`"), "{}", unknown.stderr);
}
