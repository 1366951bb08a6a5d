//! Auth0's official SDKs give the same results through the gateway as at the tenant: over TLS, on which they insist,
//! and through their public clients.

use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, Request, Tenant, finish, project, sdks_installed, skipped};
use regex::Regex;
use serde_json::{Value, json};
use sessiongate::sandbox::auth0::Options;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What decides how an application goes on after an error. The message is for people, and differs.
const TELLING: [&str; 5] = ["class", "status", "statusCode", "error", "errorCode"];
/// Members that move with the clock.
const MOVING: [&str; 2] = ["updated_at", "last_interacted_at"];

/// An SDK.
#[derive(Clone, Copy)]
enum Sdk {
    Node,
    Python,
    /// go-auth0 1 and 2.
    Go(u8),
    /// auth0-java 2.
    Java,
}

impl Sdk {
    /// The program, which trusts the tenant's CA.
    fn command(self, tenant: &Tenant) -> Command {
        let at = |path: &str| project().join("tests").join(path);
        let (program, args) = match self {
            Sdk::Node => ("node".into(), vec![at("sdk/auth0.mjs").into_os_string()]),
            Sdk::Python => (at(".tools/python/bin/python"), vec![at("sdk/auth0.py").into_os_string()]),
            Sdk::Go(version) => (at(".tools/go/auth0"), vec![version.to_string().into()]),
            Sdk::Java => ("java".into(), vec!["-cp".into(), at(".tools/java/*").into_os_string(), "Auth0".into()]),
        };
        let mut command = Command::new(program);
        for variable in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            command.env(variable, tenant.ca_file());
        }
        if matches!(self, Sdk::Java) {
            let store = trust_store(&tenant.ca_file());
            command.arg(format!("-Djavax.net.ssl.trustStore={}", store.display()));
            command.arg("-Djavax.net.ssl.trustStorePassword=changeit");
        }
        command.args(args);
        command
    }

    /// Whether it is there: of Go and Java, which `tests/setup` leaves out where they are missing.
    fn is_built(self) -> bool {
        let (file, what) = match self {
            Sdk::Node | Sdk::Python => return sdks_installed(),
            Sdk::Go(_) => ("go/auth0", "go-auth0, versions 1 and 2 (there is no Go 1.24, or tests/setup has not run)"),
            Sdk::Java => ("java/auth0.jar", "auth0-java (there is no JDK 11 with Maven, or tests/setup has not run)"),
        };
        let built = project().join("tests/.tools").join(file).exists();
        if !built {
            skipped(what);
        }
        built && sdks_installed()
    }

    /// Runs all cases: their names, and what came of them.
    fn run(self, tenant: &Tenant, base: &str) -> Vec<(String, Value)> {
        let tokens = tenant.tokens();
        let input = json!({
            "base": base,
            "token": tokens.full,
            "read_only_token": tokens.read_only,
            "expired_token": tokens.expired,
            "session_id": tenant.session_id(),
            "sessions": self::sessions(tenant)[1..4],
            "refresh_tokens": listed(tenant, "refresh-tokens", "tokens")[..3],
            "user_id": tenant.user_id(),
        });
        self.run_on(tenant, &input)
    }

    /// The same at a provider that has nothing.
    fn run_with(self, tenant: &Tenant, base: &str, token: &str, user: &str) -> Vec<(String, Value)> {
        let input = json!({
            "base": base,
            "token": token,
            "read_only_token": token,
            "expired_token": token,
            "user_id": user,
        });
        self.run_on(tenant, &input)
    }

    fn run_on(self, tenant: &Tenant, input: &Value) -> Vec<(String, Value)> {
        let mut command = self.command(tenant);
        command.arg(input.to_string());
        let finished = finish(command);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let results: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
        let name = |result: &Value| result["case"].as_str().unwrap().to_owned();
        results.iter().map(|result| (name(result), result["result"].clone())).collect()
    }
}

/// A file with this CA for Java, beside the CA's own.
fn trust_store(ca_file: &Path) -> PathBuf {
    let store = ca_file.with_file_name("trust.p12");
    if !store.exists() {
        let mut keytool = Command::new("keytool");
        keytool.args(["-importcert", "-noprompt", "-alias", "tenant", "-storepass", "changeit", "-file"]);
        keytool.arg(ca_file).arg("-keystore").arg(&store);
        let finished = finish(keytool);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    }
    store
}

/// A gateway with TLS in front of a tenant, and its URL.
fn gateway(tenant: &Tenant, upstreams: &str) -> (Gateway, String) {
    let gateway = Gateway::start(&(tenant.listener() + upstreams));
    gateway.ready();
    let url = format!("https://{}", gateway.address());
    (gateway, url)
}

/// A tenant with TLS whose user has four sessions, and which goes on showing what was deleted: both runs find the same.
fn tenant() -> Tenant {
    let tenant =
        Tenant::start_with_tls(Options { rate: None, delete_delay: Duration::from_secs(3600), ..Options::default() });
    (0..3).for_each(|_| drop(tenant.create_session()));
    tenant
}

fn sessions(tenant: &Tenant) -> Vec<String> {
    listed(tenant, "sessions", "sessions")
}

/// The ids in a list of the user's.
fn listed(tenant: &Tenant, what: &str, member: &str) -> Vec<String> {
    let path = format!("/api/v2/users/{}/{what}", tenant.user_id().replace('|', "%7C"));
    let response = Request::new("GET", &path).bearer(&tenant.token()).send(&tenant.url());
    let items = response.json()[member].as_array().unwrap().clone();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// A value without what moves with the clock, and with one spelling of times.
fn steady(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match MOVING.contains(&name.as_str()) {
                true => (name.clone(), json!("moves")),
                false => (name.clone(), steady(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::String(text) => {
            let time = Regex::new(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\d*Z$").unwrap();
            json!(time.replace(text, "${1}Z"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What an application sees of a result.
fn seen(result: &Value) -> Value {
    match result.get("error") {
        Some(error) => TELLING.iter().map(|name| (*name, error[*name].clone())).collect(),
        None => steady(&result["ok"]),
    }
}

/// Gives the session and the refresh token the metadata that both runs begin with.
fn reset(tenant: &Tenant) {
    let token = format!("/api/v2/refresh-tokens/{}", listed(tenant, "refresh-tokens", "tokens")[0]);
    for (path, body) in [
        (tenant.session_path(), r#"{"session_metadata":{"channel":"web"}}"#),
        (token, r#"{"refresh_token_metadata":null}"#),
    ] {
        let patch = Request::new("PATCH", &path).bearer(&tenant.token()).json(body);
        assert_eq!(patch.send(&tenant.url()).status, 200);
    }
}

fn sees_no_difference(sdk: Sdk) {
    if !sdk.is_built() {
        return;
    }
    let tenant = tenant();
    let (_gateway, url) = gateway(&tenant, &tenant.upstream("cache: {}"));
    reset(&tenant);
    let straight = sdk.run(&tenant, &tenant.own_url());
    reset(&tenant);
    let through = sdk.run(&tenant, &url);
    assert!(straight.len() > 39, "{straight:?}");
    let outcome = |case: &str| straight.iter().find(|(name, _)| name == case).map(|(_, result)| &result["ok"]);
    assert_eq!(outcome("user_sessions"), Some(&json!(sessions(&tenant))), "on two pages");
    assert_eq!(outcome("token_list"), Some(&json!(listed(&tenant, "refresh-tokens", "tokens"))));
    no_differences(&straight, &through);
}

/// What an SDK makes of the gateway's responses is what it makes of the tenant's, case by case.
fn no_differences(straight: &[(String, Value)], through: &[(String, Value)]) {
    let mut differences = Vec::new();
    for ((case, tenants), (same_case, ours)) in straight.iter().zip(through) {
        assert_eq!(case, same_case);
        if seen(tenants) != seen(ours) {
            differences.push(format!("{case}:\n  tenant  {}\n  gateway {}", seen(tenants), seen(ours)));
        }
        let (theirs, own) = (&tenants["error"]["message"], &ours["error"]["message"]);
        if theirs != own {
            println!("{case}: another message\n  tenant  {theirs}\n  gateway {own}");
        }
    }
    assert_eq!(straight.len(), through.len());
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Of SDKs that list and end what a user has, with parameters of their own.
fn lists_as_at_the_tenant(sdk: Sdk, own: &[&str]) {
    if !sdk.is_built() {
        return;
    }
    let tenant = tenant();
    let (_gateway, url) = gateway(&tenant, &tenant.upstream("cache: {}"));
    let straight = sdk.run(&tenant, &tenant.own_url());
    let through = sdk.run(&tenant, &url);
    no_differences(&straight, &through);
    let failed = |(_, result): &&(String, Value)| result.get("error").is_some();
    let failed: Vec<&str> = through.iter().filter(failed).map(|(case, _)| case.as_str()).collect();
    assert_eq!(failed, ["a token that is expired", "a token without the right", "an unknown user"], "{through:?}");
    let all = through.iter().map(|(_, result)| result.to_string()).collect::<String>();
    assert!(sessions(&tenant).iter().all(|id| all.contains(id.as_str())), "{all}");
    // The provider of another test keeps what reaches it.
    let recorder = Recorder::auth0();
    let (_gateway, url) = gateway(&tenant, &recorder.upstream(""));
    drop(sdk.run_with(&tenant, &url, &recorder.token(), "auth0|x"));
    let seen: Vec<String> = recorder.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
    for line in own {
        assert!(seen.iter().any(|seen| seen == line), "{line} in {seen:#?}");
    }
}

#[test]
fn go_sdks_get_the_same_lists_as_from_the_tenant() {
    let own = [
        "GET /api/v2/users/auth0%7Cx/sessions?take=50",
        "GET /api/v2/users/auth0%7Cx/refresh-tokens?include_totals=true&per_page=50",
        "GET /api/v2/users/auth0%7Cx/refresh-tokens?include_totals=true&page=1&per_page=1",
        "DELETE /api/v2/users/auth0%7Cx/refresh-tokens",
    ];
    lists_as_at_the_tenant(Sdk::Go(1), &own);
    lists_as_at_the_tenant(
        Sdk::Go(2),
        &[
            "GET /api/v2/users/auth0%7Cx/sessions?take=50",
            "GET /api/v2/users/auth0%7Cx/refresh-tokens?take=50",
            "DELETE /api/v2/users/auth0%7Cx/sessions",
        ],
    );
}

#[test]
fn java_sdk_gets_the_same_lists_as_from_the_tenant() {
    let own = [
        "GET /api/v2/users/auth0%7Cx/sessions",
        "GET /api/v2/users/auth0%7Cx/sessions?per_page=2&page=1&include_totals=true",
        "GET /api/v2/users/auth0%7Cx/refresh-tokens?per_page=2&page=1&include_totals=true",
        "GET /api/v2/users/auth0%7Cx/sessions?take=2",
        "DELETE /api/v2/users/auth0%7Cx/sessions",
    ];
    lists_as_at_the_tenant(Sdk::Java, &own);
}

#[test]
fn node_sdk_gets_the_same_responses_as_from_the_tenant() {
    sees_no_difference(Sdk::Node);
}

#[test]
fn python_sdk_gets_the_same_responses_as_from_the_tenant() {
    sees_no_difference(Sdk::Python);
}

const STRICT: &str = "
policies:
  strict:
    keys: { allowed: [a, channel] }
    fields: { a: { one_of: [c] } }
    wipe: reject
";

/// The gateway rejects what the tenant would take: the SDK raises what it raises for the tenant's own rejections of
/// bodies.
fn understands_rejections_of_the_policy(sdk: Sdk) {
    if !sdks_installed() {
        return;
    }
    let tenant = tenant();
    let (_gateway, url) = gateway(&tenant, &(tenant.upstream("cache: {}\npolicy: strict") + STRICT));
    let results = sdk.run(&tenant, &url);
    let result = |case: &str| &results.iter().find(|(name, _)| name == case).unwrap().1;
    for (case, path, rule) in [
        ("update_pair", "session_metadata.a", "one_of"),
        ("update_empty", "session_metadata", "wipe"),
        ("update_null", "session_metadata", "wipe"),
        ("update_non_ascii", "session_metadata.name", "allowed"),
        ("update_26_properties", "session_metadata.key0", "allowed"),
        ("get_after_update", "session_metadata.a", "one_of"),
        ("token_update_pair", "refresh_token_metadata.a", "one_of"),
        ("token_update_null", "refresh_token_metadata", "wipe"),
        ("token_update_26_properties", "refresh_token_metadata.key0", "allowed"),
    ] {
        let error = &result(case)["error"];
        let expected = json!({
            "class": "BadRequestError",
            "status": 400,
            "statusCode": 400,
            "error": "Bad Request",
            "errorCode": "invalid_body",
        });
        assert_eq!(seen(result(case)), expected, "{case}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("{path}: ")) && message.contains(&format!("({rule})")), "{case}: {message}");
        assert!(!message.contains("東京"), "{case} repeats a value: {message}");
    }
    let left = Request::new("GET", &tenant.session_path()).bearer(&tenant.token()).send(&tenant.url());
    assert_eq!(left.json()["session_metadata"], json!({"channel": "web"}), "the tenant saw none of them");
}

#[test]
fn node_sdk_parses_policy_rejections() {
    understands_rejections_of_the_policy(Sdk::Node);
}

#[test]
fn python_sdk_parses_policy_rejections() {
    understands_rejections_of_the_policy(Sdk::Python);
}
