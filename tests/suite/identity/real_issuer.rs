//! npm `oidc-provider` as issuer: opaque access tokens and JWTs of one client, introspection with a secret and with a
//! private key, revocation, and keys that rotate under traffic.

use crate::harness::{
    Gateway, Process, Request, Response, Scripted, json_response, project, sdks_installed, series, wait_for,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SESSION: &str = "/api/v2/sessions/tokens";
const OPAQUE: &str = "https://sessions.example/opaque";
const JWT: &str = "https://sessions.example/jwt";

/// The issuer, and a provider that accepts every token.
struct Issuer {
    url: String,
    folder: tempfile::TempDir,
    provider: Scripted,
    process: Process,
}

impl Issuer {
    fn start() -> Issuer {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret %+/:~").unwrap();
        let mut command = Command::new("node");
        command.arg(project().join("tests/sdk/issuer.mjs"));
        command.arg(json!({ "key": folder.path().join("key.pem") }).to_string());
        // It ends with the test.
        command.stdin(Stdio::piped());
        let process = Process::start(command);
        let url = process.wait_for_line(|line| line.starts_with("http://"));
        let provider = Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#));
        Issuer { url, folder, provider, process }
    }

    fn post(&self, path: &str, client: &str, form: &str) -> Response {
        let request = Request::new("POST", path).header("Content-Type", "application/x-www-form-urlencoded");
        let request = request.header("Authorization", &format!("Basic {}", STANDARD.encode(client)));
        request.body(form).send(&self.url)
    }

    /// A new token for a resource; for the client itself if it is empty.
    fn token(&self, resource: &str) -> String {
        let mut form = "grant_type=client_credentials&scope=read:sessions".to_owned();
        if !resource.is_empty() {
            form += &format!("&resource={resource}");
        }
        let response = self.post("/token", "shop:shop-secret", &form);
        assert_eq!(response.status, 200, "{}\n{}", response.text(), self.process.stderr().join("\n"));
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn control(&self, what: &str) -> String {
        let response = Request::new("POST", &format!("/control/{what}")).send(&self.url);
        assert_eq!(response.status, 200, "{}", self.process.stderr().join("\n"));
        response.text()
    }

    /// A gateway that introspects with a secret, or with the private key.
    fn gateway(&self, with_secret: bool, more: &str) -> Gateway {
        let (url, folder) = (&self.url, self.folder.path().display());
        let client = match with_secret {
            true => format!("client_id: 'gate way:1', client_secret: {{ file: {folder}/secret }}"),
            false => format!("client_id: gate, private_key: {{ file: {folder}/key.pem }}, key_id: gate-key"),
        };
        let gateway = Gateway::start(&format!(
            "upstreams:
  auth0:
    dialect: auth0
    url: {}
    cache: {{}}
    auth:
      issuer: {url}
      audience: https://sessions.example/
      min_interval: 1s
      introspection: {{ url: {url}/token/introspection, {client}{more} }}
",
            self.provider.url()
        ));
        gateway.ready();
        gateway
    }
}

fn read(gateway: &Gateway, token: &str) -> Response {
    Request::new("GET", SESSION).bearer(token).send(&gateway.url())
}

/// The `reason` of a rejection.
fn reason(gateway: &Gateway, response: &Response) -> String {
    let id = response.header("X-Request-Id").unwrap();
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
    serde_json::from_str::<Value>(&line).unwrap()["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn real_issuer_verifies_opaque_tokens_for_each_way_to_authenticate() {
    if !sdks_installed() {
        return;
    }
    let issuer = Issuer::start();
    let (opaque, jwt) = (issuer.token(OPAQUE), issuer.token(JWT));
    assert_eq!((opaque.matches('.').count(), jwt.matches('.').count()), (0, 2));
    for with_secret in [true, false] {
        let gateway = issuer.gateway(with_secret, "");
        for token in [&opaque, &jwt, &opaque] {
            let response = read(&gateway, token);
            assert_eq!(response.status, 200, "secret: {with_secret}: {}", gateway.log().join("\n"));
        }
        // A refresh token is active too when it is introspected, and an access token without a resource as well.
        for (why, token, expected) in [
            ("another API", issuer.token("https://other.example/"), "token_audience"),
            ("no API", issuer.token(""), "token_malformed"),
            ("a refresh token", issuer.control("refresh_token"), "token_malformed"),
            ("unknown", "unknown-token".to_owned(), "token_inactive"),
        ] {
            let response = read(&gateway, &token);
            assert_eq!((response.status, reason(&gateway, &response).as_str()), (401, expected), "{why}");
        }
        assert!(!gateway.log().iter().any(|line| line.contains("cannot introspect tokens")));
    }
    assert_eq!(issuer.provider.received().len(), 2, "one read for each gateway");
}

#[test]
fn token_that_a_real_issuer_revoked_is_rejected_after_ttl() {
    if !sdks_installed() {
        return;
    }
    let issuer = Issuer::start();
    let gateway = issuer.gateway(false, ", ttl: 2s");
    let (revoked, other) = (issuer.token(OPAQUE), issuer.token(OPAQUE));
    for token in [&revoked, &other] {
        assert_eq!(read(&gateway, token).status, 200);
    }
    assert_eq!(issuer.post("/token/revocation", "shop:shop-secret", &format!("token={revoked}")).status, 200);
    let since = Instant::now();
    wait_for("the revoked token to be rejected", || {
        let asked = since.elapsed();
        let status = read(&gateway, &revoked).status;
        assert!(status == 401 || asked < Duration::from_secs(2), "accepted after {asked:?}");
        (status == 401).then_some(())
    });
    assert_eq!(read(&gateway, &other).status, 200);
}

/// Sets a flag in the end, also if the test fails.
struct InTheEnd<'a>(&'a AtomicBool);

impl Drop for InTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// New keys sign from one moment to the next. No valid token is rejected meanwhile, of either kind.
#[test]
fn keys_of_a_real_issuer_rotate_under_traffic() {
    if !sdks_installed() {
        return;
    }
    let issuer = Issuer::start();
    let gateway = issuer.gateway(true, ", ttl: 1s");
    let (ended, served) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let traffic = |kind: usize| {
        let _ended = InTheEnd(&ended);
        while !ended.load(Ordering::Relaxed) {
            let token = issuer.token([OPAQUE, JWT][kind]);
            for _ in 0..5 {
                let response = read(&gateway, &token);
                assert_eq!(response.status, 200, "{}", response.text());
                served[kind].fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let keys = || Request::new("GET", "/jwks").send(&issuer.url).json()["keys"].as_array().unwrap().len();
    thread::scope(|scope| {
        for kind in [0, 1, 0, 1] {
            scope.spawn(move || traffic(kind));
        }
        let _ended = InTheEnd(&ended);
        for _ in 0..3 {
            let before = [0, 1].map(|kind| served[kind].load(Ordering::Relaxed));
            issuer.control("rotate");
            wait_for("tokens of the new key to be accepted", || {
                assert!(!ended.load(Ordering::Relaxed), "a token was rejected");
                (0..2).all(|kind| served[kind].load(Ordering::Relaxed) >= before[kind] + 20).then_some(())
            });
        }
    });
    assert_eq!(keys(), 3);
    let all = series(&gateway.metrics());
    let introspected = all.iter().filter(|one| one.name == "sessiongate_introspections_total" && one.value > 0.0);
    let results: Vec<&str> = introspected.map(|one| one.labels["result"].as_str()).collect();
    assert_eq!(results, ["active"]);
}

#[test]
fn two_real_issuers_verify_their_own_tokens_alone() {
    if !sdks_installed() {
        return;
    }
    let (one, two) = (Issuer::start(), Issuer::start());
    let gateway = Gateway::start(&format!(
        "upstreams:
  auth0:
    dialect: auth0
    url: {}
    auth:
      - {{ issuer: {}, audience: https://sessions.example/ }}
      - issuer: {url}
        audience: https://sessions.example/
        introspection: {{ url: {url}/token/introspection, client_id: 'gate way:1',
          client_secret: {{ file: {}/secret }} }}
",
        one.provider.url(),
        one.url,
        two.folder.path().display(),
        url = two.url,
    ));
    gateway.ready();
    for (why, token, status) in [
        ("a JWT of the first", one.token(JWT), 200),
        ("a JWT of the second", two.token(JWT), 200),
        ("an opaque token of the second", two.token(OPAQUE), 200),
        ("an opaque token of the first, which nobody introspects", one.token(OPAQUE), 401),
    ] {
        assert_eq!(read(&gateway, &token).status, status, "{why}: {}", gateway.log().join("\n"));
    }
    two.control("rotate");
    assert_eq!(read(&gateway, &two.token(JWT)).status, 200, "a new key of the second");
}
