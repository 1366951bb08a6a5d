//! `sessiongate init`, and the same by hand in README.md: first configurations that `check` accepts.

use crate::harness::{
    Authority, Finished, RedisServer, Scripted, Tenant, finish, json_response, project, redis_installed, sessiongate,
    skipped,
};
use regex::Regex;
use sessiongate::dialect::DIALECTS;
use sessiongate::sandbox::Zitadel;
use sessiongate::sandbox::okta::Org;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The most lines of the configuration in README.md.
const README_LINES: usize = 12;

fn init(args: &[&str]) -> Finished {
    finish(sessiongate(&[&["init"], args].concat()))
}

/// A configuration of `init`.
fn printed(args: &[&str]) -> String {
    let finished = init(args);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{args:?}");
    finished.stdout
}

/// Checks a configuration in a folder, against what it names, with warnings as errors.
fn check(folder: &Path, text: &str) -> Finished {
    fs::write(folder.join("sessiongate.yaml"), text).unwrap();
    let mut command = sessiongate(&["check", "-c", "sessiongate.yaml", "--deploy", "--online"]);
    command.current_dir(folder).env_remove("CREDENTIALS_DIRECTORY");
    finish(command)
}

fn accepted(folder: &Path, text: &str) {
    let finished = check(folder, text);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{text}\n{}", finished.stdout);
}

/// Runs the commands in the comments of a configuration that make its secrets and certificates.
fn make_files(folder: &Path, text: &str) {
    let commands = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let script: Vec<&str> = commands.filter(|line| !line.starts_with("sessiongate ")).collect();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &script.join("\n")]).current_dir(folder);
    let finished = finish(shell);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// The simulated providers, by the name of their dialect.
struct Simulated {
    runtime: Runtime,
    tenant: Tenant,
    zitadel: Zitadel,
    okta: Org,
}

impl Simulated {
    fn start() -> Simulated {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let free = || ([127, 0, 0, 1], 0).into();
        let zitadel = runtime.block_on(Zitadel::start(free(), Default::default(), None)).unwrap();
        let okta = runtime.block_on(Org::start(free())).unwrap();
        Simulated { runtime, tenant: Tenant::start(), zitadel, okta }
    }

    fn url(&self, dialect: &str) -> String {
        match dialect {
            "auth0" => self.tenant.url(),
            "zitadel" => self.zitadel.url(),
            "okta" => self.okta.url().to_owned(),
            other => panic!("no simulated provider for dialect `{other}`"),
        }
    }
}

#[test]
fn printed_configurations_of_every_dialect_pass_the_online_check() {
    let simulated = Simulated::start();
    let redis = redis_installed().then(RedisServer::start);
    let redis = redis.as_ref().map(RedisServer::url);
    let has_openssl = Command::new("openssl").arg("version").output().is_ok();
    if !has_openssl {
        skipped("configurations of `init --tls` (there is no openssl)");
    }
    for dialect in DIALECTS {
        let url = simulated.url(dialect.name);
        for (tls, shared) in [(false, false), (true, false), (false, true), (true, true)] {
            if tls && !has_openssl || shared && redis.is_none() {
                continue;
            }
            let mut args = vec!["--dialect", dialect.name, "--url", &url];
            if tls {
                args.extend(["--tls", "tls/gate.pem,own keys/gate key.pem"]);
            }
            if let Some(store) = redis.as_ref().filter(|_| shared) {
                args.extend(["--redis", store]);
            }
            let folder = tempfile::tempdir().unwrap();
            let text = printed(&args);
            make_files(folder.path(), &text);
            accepted(folder.path(), &text);
        }
    }
    let url = simulated.zitadel.url();
    let folder = tempfile::tempdir().unwrap();
    let verified = printed(&["--dialect", "zitadel", "--url", &url, "--issuer", &url, "--audience", "$a ${B} \"'é"]);
    assert!(verified.contains("audience: \"$$a $${B} \\\"'é\""), "{verified}");
    // The keys of the simulation are of another kind than those of most instances.
    accepted(folder.path(), &verified.replace("      audience:", "      algorithms: [ES256]\n      audience:"));
    drop(simulated.runtime);
}

#[test]
fn provider_with_an_own_authority_needs_its_file() {
    let authority = Authority::new("own");
    let certificate = Arc::new(authority.certify(&["127.0.0.1"], |_| {}));
    let provider = Scripted::start_tls(certificate, |_| json_response(401, "{}"));
    let url = format!("https://127.0.0.1:{}", provider.port());
    let folder = tempfile::tempdir().unwrap();
    let args = ["--dialect", "zitadel", "--url", &url];
    let finished = check(folder.path(), &printed(&args));
    assert!(finished.stdout.contains("set `tls.ca_file` to it"), "{finished:?}");
    let file = authority.file.to_str().unwrap();
    accepted(folder.path(), &printed(&[&args[..], &["--ca-file", file]].concat()));
    let verified = printed(&["--dialect", "auth0", "--url", &url, "--ca-file", file]);
    assert_eq!(verified.matches(&format!("ca_file: {file}")).count(), 2, "for the provider and its keys: {verified}");
}

#[test]
fn text_is_the_same_each_time_and_short() {
    let pages = Regex::new(r"docs/[a-z/-]+\.md").unwrap();
    for dialect in DIALECTS {
        let base = ["--dialect", dialect.name, "--url", "https://acme.eu.auth0.com"];
        let full = ["--tls", "/etc/gate/tls.crt,/etc/gate/tls.key", "--redis", "rediss://cache.example"];
        let args = [&base[..], &full].concat();
        let text = printed(&args);
        assert_eq!(text, printed(&args));
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(text.lines().count() <= 60, "{text}");
        for page in pages.find_iter(&text) {
            assert!(project().join(page.as_str()).exists(), "{} does not exist", page.as_str());
        }
        let (short, capital) = (printed(&base), printed(&[&base[..3], &["HTTPS://Acme.eu.auth0.com/"]].concat()));
        assert_eq!(short, capital);
        assert!(short.contains("listen: 127.0.0.1:8080\n"), "{short}");
        assert!(short.contains("Only this machine"), "{short}");
        let open = printed(&[&base[..], &["--listen", "[::]:8080"]].concat());
        assert!(open.contains("listen: \"[::]:8080\"\n") && open.contains("in cleartext"), "{open}");
    }
}

#[test]
fn wrong_arguments_have_precise_errors() {
    const URL: &str = "https://acme.eu.auth0.com";
    for (args, expected) in [
        (&["--dialect", "keycloak", "--url", URL][..], &["possible values: auth0, zitadel, okta"][..]),
        (&["--dialect", "auth0"], &["--url <URL>"]),
        (
            &["--dialect", "auth0", "--url", "https://acme.eu.auth0.com/api/v2/"],
            &["error: --url: has the path `/api/v2`; expected `https://acme.eu.auth0.com`: "],
        ),
        (
            &["--dialect", "auth0", "--url", "acme.eu.auth0.com"],
            &["error: --url: `acme.eu.auth0.com` does not begin with `http://` or `https://`; "],
        ),
        (&["--dialect", "okta", "--url", "https://a.okta.com?x=1"], &["error: --url: has a query; "]),
        (&["--dialect", "okta", "--url", "http://a.okta.com"], &["error: --url: ", "in cleartext; use `https://`."]),
        (&["--dialect", "zitadel", "--url", "https://me:horse@z.example"], &["error: --url: contains credentials"]),
        (
            &["--dialect", "zitadel", "--url", URL, "--redis", "redis://:horse@cache"],
            &["error: --redis: contains credentials", "options `username` and `password`"],
        ),
        (
            &["--dialect", "zitadel", "--url", "ftp://x", "--listen", "8080", "--redis", "cache:6379"],
            &["--listen: `8080` is not", "--redis: `cache:6379` does not begin with", "--url: `ftp://x` does not"],
        ),
        (
            &["--dialect", "auth0", "--url", "https://login.acme.example"],
            &["error: --audience: is missing; ", "`https://TENANT.auth0.com/api/v2/`"],
        ),
        (
            &["--dialect", "auth0", "--url", URL, "--issuer", URL],
            &["error: --issuer: does not end with `/`; ", "compared exactly"],
        ),
        (
            &["--dialect", "okta", "--url", URL, "--issuer", URL],
            &["error: --audience: is missing, but --issuer is set"],
        ),
        (&["--dialect", "okta", "--url", URL, "--audience", "a"], &["error: --issuer: is missing, but --audience is"]),
        (&["--dialect", "okta", "--url", URL, "--tls", "a.pem"], &["expected two files: CERTIFICATE,KEY"]),
        (
            &["--dialect", "okta", "--url", URL, "--tls", "a\nclients: {},k"],
            &["a file name, without control characters"],
        ),
        (&["--dialect", "okta", "--url", URL, "--tls", ",k"], &["a file name, without control characters"]),
        (&["--dialect", "okta", "--url", URL, "--ca-file", ""], &["a file name, without control characters"]),
        (&["--dialect", "okta", "--url", "https://a.okta.com:70000"], &["error: --url: "]),
        (
            &["--dialect", "okta", "--url", "http://127.0.0.1:1", "--ca-file", "x"],
            &["error: --ca-file: --url does not use TLS"],
        ),
    ] {
        let finished = init(args);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}");
        for part in expected {
            assert!(finished.stderr.contains(part), "{args:?}: no {part}\n{}", finished.stderr);
        }
        assert!(!finished.stderr.contains("horse"), "{}", finished.stderr);
    }
    let several = init(&["--dialect", "okta", "--url", "https://x/api", "--listen", "x"]);
    assert_eq!(several.stderr.matches("--url: ").count(), 1, "{}", several.stderr);
    assert!(several.stderr.contains("Usage: sessiongate init"), "{}", several.stderr);
    let own_domain = ["--dialect", "auth0", "--url", "https://login.acme.example", "--audience", "https://a/api/v2/"];
    assert!(printed(&own_domain).contains("issuer: https://login.acme.example/\n"));
}

#[test]
fn values_mean_the_same_to_every_yaml_parser() {
    let base = ["--dialect", "zitadel", "--url", "https://z.example", "--issuer", "https://z.example", "--audience"];
    for audience in ["312909075212468481", "0x10", "1_000", "1e3", "true", "No", "null", "~", "-", "a: b", "a #b"] {
        let text = printed(&[&base[..], &[audience]].concat());
        assert!(text.contains(&format!("audience: \"{audience}\"\n")), "{text}");
    }
    let names = printed(&["--dialect", "zitadel", "--url", "https://z.example", "--tls", "null,true"]);
    assert!(names.contains("{ certificate: \"null\", key: \"true\" }"), "{names}");
}

#[test]
fn default_port_and_final_dot_are_not_in_issuer_and_audience() {
    let plain = printed(&["--dialect", "auth0", "--url", "https://acme.eu.auth0.com"]);
    for url in ["https://acme.eu.auth0.com:443", "https://ACME.eu.auth0.com.:443/"] {
        assert_eq!(printed(&["--dialect", "auth0", "--url", url]), plain, "{url}");
    }
}

#[test]
fn issuer_on_another_host_has_not_the_authority_of_the_provider() {
    let args = ["--dialect", "zitadel", "--url", "https://z.example", "--ca-file", "ca.pem", "--audience", "1"];
    for (issuer, files) in [("https://z.example", 2), ("https://login.example", 1)] {
        let text = printed(&[&args[..], &["--issuer", issuer]].concat());
        assert_eq!(text.matches("ca_file: ca.pem").count(), files, "{text}");
    }
}

#[test]
fn configuration_in_the_readme_is_short_and_accepted() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Run it in front of a tenant\n").expect("no such section");
    let block = section.split_once("```yaml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    assert!(block.lines().count() <= README_LINES, "{block}");
    let tenant = Tenant::start();
    let text = block.replace("https://acme.eu.auth0.com", &tenant.url());
    assert_ne!(text, block);
    let folder = tempfile::tempdir().unwrap();
    accepted(folder.path(), &text);
}
