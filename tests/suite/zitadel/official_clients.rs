//! ZITADEL's official clients, Connect's and curl, through the gateway of the sandbox: the same calls on every carrier
//! and in both versions of the API. Each client gets its result, and raises its own error for a rejection, with the
//! field named.
//!
//! Programs in `tests/sdk` and `tests/clients` make the calls and print the results.

use crate::harness::{Front, Kind, Sandbox, address, finish, project, sdks_installed};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};
use std::process::Command;

/// The calls of a run in v2; one in v2beta has one more.
const CALLS: usize = 20;
/// The sandbox's user.
const PASSWORD: &str = "Passw0rd!";

/// What came of one client's calls over one carrier in one version.
struct Run {
    carrier: String,
    results: Vec<Value>,
}

impl Run {
    fn result(&self, case: &str) -> &Value {
        let found = self.results.iter().find(|one| one["case"] == case);
        &found.unwrap_or_else(|| panic!("no {case} over {}", self.carrier))["result"]
    }

    /// The response to a call that has to do well.
    fn good(&self, case: &str) -> &Value {
        let result = self.result(case);
        assert!(result["ok"].is_object(), "{}, {case}: {result}", self.carrier);
        &result["ok"]
    }

    /// An error of the client's own type, with this code; its details by their type.
    fn rejected(&self, case: &str, class: &str, code: u64) -> Vec<(String, String)> {
        let error = &self.result(case)["error"];
        let name = match code {
            3 => "invalid_argument",
            5 => "not_found",
            _ => panic!("no name for {code}"),
        };
        assert_eq!(error["class"], class, "{}, {case}: {error}", self.carrier);
        assert!(error["code"] == code || error["code"] == name, "{}, {case}: {error}", self.carrier);
        let details = error["details"].as_array().unwrap_or_else(|| panic!("{}, {case}: {error}", self.carrier));
        details.iter().map(|detail| (detail["type"].as_str().unwrap().to_owned(), said(detail))).collect()
    }

    /// A field's path as the encoding spells it: callers find what they wrote.
    fn spelled(&self, field: &str) -> String {
        if !["rest", "python", "connect json"].iter().any(|json| self.carrier.starts_with(json)) {
            return field.to_owned();
        }
        let mut words = field.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |path, word| path + &word[..1].to_uppercase() + &word[1..])
    }

    fn message(&self, case: &str) -> &str {
        self.result(case)["error"]["message"].as_str().unwrap_or_default()
    }
}

/// The content of a detail: its bytes as text, or its JSON.
fn said(detail: &Value) -> String {
    match detail["value"].as_str() {
        Some(encoded) => {
            let bytes = STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => detail["value"].to_string(),
    }
}

/// What is expected of every run.
fn does_well(run: &Run, class: &str, version: &str) {
    let carrier = &run.carrier;
    assert_eq!(run.results.len(), CALLS + usize::from(version == "v2beta"), "{carrier}");
    gets_what_it_asks_for(run);
    let policy = [
        ("rejected create", vec![("metadata.tier", "one_of")]),
        ("rejected key", vec![("metadata.tier", "one_of")]),
        ("rejected code", vec![("challenges.otp_email.return_code", "return_code")]),
        ("rejected link", vec![("challenges.otp_email.send_code.url_template", "evil.example")]),
        (
            "rejected everything",
            vec![("metadata.tier", "one_of"), ("challenges.otp_email.send_code.url_template", "evil.example")],
        ),
    ];
    if version == "v2beta" {
        assert!(run.good("without token")["sessionToken"].is_string(), "{carrier}: the provider does not look at it");
    }
    for (case, fields) in &policy {
        let details = run.rejected(case, class, 3);
        let named = details.iter().find(|(kind, _)| kind == "google.rpc.BadRequest");
        let named = &named.unwrap_or_else(|| panic!("{carrier}, {case}: no field is named: {details:?}")).1;
        for (field, word) in fields {
            let field = &run.spelled(field);
            assert!(named.contains(field) && named.contains(word), "{carrier}, {case}: {named}");
            assert!(run.message(case).contains(field), "{carrier}, {case}: {}", run.message(case));
        }
        assert!(!named.contains("gold"), "{carrier}, {case} repeats a value: {named}");
    }
    let case = "rejected by the provider's rules";
    let details = run.rejected(case, class, 3);
    assert!(details.iter().any(|(kind, _)| kind == "google.rpc.BadRequest"), "{carrier}: {details:?}");
    assert!(run.message(case).contains("invalid CheckTOTP.Code: value length must be 6 runes"), "{carrier}");
    // These are the provider's own rejections, forwarded.
    for (case, code, kind, word) in [
        ("wrong password", 3, "zitadel.v1.CredentialsCheckError", "COMMAND-3M0fs"),
        ("get missing", 5, "zitadel.v1.ErrorDetail", "Session does not exist"),
        ("get deleted", 5, "zitadel.v1.ErrorDetail", "Session does not exist"),
    ] {
        let details = run.rejected(case, class, code);
        assert!(details.iter().any(|(found, _)| found == kind), "{carrier}, {case}: {details:?}");
        assert!(run.message(case).contains(word), "{carrier}, {case}: {}", run.message(case));
    }
}

fn gets_what_it_asks_for(run: &Run) {
    let carrier = &run.carrier;
    let tier = |case: &str| {
        let encoded = run.good(case)["session"]["metadata"]["tier"].as_str().unwrap_or_default();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    };
    let sequence = |case: &str| {
        let ok = run.good(case);
        let sequence = ok["session"].get("sequence").unwrap_or(&ok["details"]["sequence"]);
        sequence.as_str().unwrap_or_else(|| panic!("{carrier}, {case}: {ok}")).to_owned()
    };
    for (case, expected) in [("get", "free"), ("get after", "pro"), ("get everything", "enterprise")] {
        assert_eq!(tier(case), expected, "{carrier}, {case}");
    }
    for (write, read) in [("set", "get after"), ("set everything", "get everything"), ("clamped", "get clamped")] {
        assert_eq!(sequence(write), sequence(read), "{carrier}: no stale read follows {write}");
    }
    let tokens = ["create", "set", "set everything", "clamped"].map(|case| run.good(case)["sessionToken"].as_str());
    for (at, token) in tokens.iter().enumerate() {
        assert!(token.is_some_and(|token| !token.is_empty()), "{carrier}: {tokens:?}");
        assert!(!tokens[..at].contains(token), "{carrier}: each change makes a new token");
    }
    let unchanged = run.good("nothing")["sessionToken"].as_str().unwrap_or_default();
    assert_eq!(unchanged, "", "{carrier}: an empty token stays empty");
    let options = &run.good("set everything")["challenges"]["webAuthN"]["publicKeyCredentialRequestOptions"];
    // The Python client takes the response's WebAuthN for the request's, and drops what the latter lacks.
    let dropped = carrier.starts_with("python") && options.is_null();
    assert!(dropped || options["publicKey"]["rpId"] == "login.example.com", "{carrier}: {options}");
    let session = &run.good("get everything")["session"];
    assert_eq!(session["factors"]["user"]["loginName"], "ada@example.com", "{carrier}: {session}");
    assert!(session["factors"]["password"]["verifiedAt"].is_string(), "{carrier}: {session}");
    assert_eq!(lifetime(session), 7200, "{carrier}: {session}");
    assert_eq!(lifetime(&run.good("get clamped")["session"]), 12 * 3600, "{carrier}: clamped");
    let listed = run.good("list")["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{carrier}: {listed:?}");
    assert_eq!(listed[0]["id"], session["id"], "{carrier}");
    run.good("delete");
}

/// Seconds from the last change to the end.
fn lifetime(session: &Value) -> u64 {
    let time = |name: &str| {
        let text = session[name].as_str().unwrap().replace("+00:00", "Z");
        humantime::parse_rfc3339(&text).unwrap()
    };
    time("expirationDate").duration_since(time("changeDate")).unwrap().as_secs()
}

/// Runs a client's program, and every test of what came of it.
fn calls(program: &str, script: Option<&str>, class: &str, carriers: &[&str]) {
    if !sdks_installed() {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    calls_to(&sandbox, &sandbox.gateway, program, script, class, carriers);
}

/// The same for a sandbox that is reached at this address.
fn calls_to(sandbox: &Sandbox, base: &str, program: &str, script: Option<&str>, class: &str, carriers: &[&str]) {
    let at = |path: &str| project().join("tests").join(path);
    let mut command = Command::new(if program.contains('/') { at(program) } else { program.into() });
    command.args(script.map(at)).arg(given(sandbox, base).to_string());
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let results: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", finished.stdout.len(), finished.stderr);
    });
    let versions = ["v2", "v2beta"];
    assert_eq!(results.len(), carriers.len() * (2 * CALLS + 1));
    for (carrier, version) in carriers.iter().flat_map(|carrier| versions.map(|version| (carrier, version))) {
        let carrier = format!("{carrier} {version}");
        let results = results.iter().filter(|one| one["carrier"] == *carrier).cloned().collect();
        does_well(&Run { carrier, results }, class, version);
    }
}

fn given(sandbox: &Sandbox, base: &str) -> Value {
    json!({
        "base": base,
        "token": sandbox.zitadel["token"],
        "user_id": sandbox.zitadel["user_id"],
        "password": PASSWORD,
    })
}

#[test]
fn node_and_connect_clients_work() {
    let carriers = ["grpc", "grpc-web", "connect json", "connect proto", "connect proto over http2"];
    calls("node", Some("sdk/zitadel.mjs"), "ConnectError", &carriers);
}

#[test]
fn python_client_works() {
    calls(".tools/python/bin/python", Some("sdk/zitadel.py"), "ApiError", &["python"]);
}

#[test]
fn rust_client_works() {
    calls(".tools/clients/debug/zitadel", None, "Status", &["grpc"]);
}

/// Every call of the official client, and every error with its details, through a proxy that carries gRPC.
fn zitadels_rust_client_does_well_behind(kind: Kind, host: [u8; 4]) {
    if !sdks_installed() {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    if let Some(front) = Front::start(kind, host, address(&sandbox.gateway)) {
        let base = format!("http://{}", front.address());
        calls_to(&sandbox, &base, ".tools/clients/debug/zitadel", None, "Status", &["grpc"]);
    }
}

#[test]
fn rust_client_works_behind_nginx() {
    zitadels_rust_client_does_well_behind(Kind::Nginx, [127, 0, 9, 20]);
}

#[test]
fn rust_client_works_behind_haproxy() {
    zitadels_rust_client_does_well_behind(Kind::HAProxy, [127, 0, 9, 21]);
}

/// curl against the REST API.
struct Curl {
    base: String,
    bearer: String,
    version: &'static str,
    results: Vec<Value>,
    session_id: String,
    session_token: String,
}

impl Curl {
    fn call(&mut self, case: &str, method: &str, path: &str, body: Option<Value>) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30", "--request", method]);
        command.args(["--header", &self.bearer, "--header", "Content-Type: application/json"]);
        if let Some(body) = body {
            command.args(["--data", &body.to_string()]);
        }
        command.arg(format!("{}/{}/sessions{path}", self.base, self.version));
        let finished = finish(command);
        let response: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
            panic!("{case} over {}: {error}: {:?} {:?}", self.version, finished.stdout, finished.stderr)
        });
        if let Some(token) = response["sessionToken"].as_str().filter(|token| !token.is_empty()) {
            self.session_token = token.to_owned();
        }
        let result = match finished.code {
            Some(0) => json!({ "ok": response }),
            code => {
                let kind = |detail: &Value| detail["@type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
                let details = response["details"].as_array().cloned().unwrap_or_default();
                let details: Vec<Value> =
                    details.iter().map(|one| json!({ "type": kind(one), "value": one })).collect();
                json!({ "error": {
                    "class": format!("curl {}", code.unwrap_or_default()),
                    "code": response["code"], "message": response["message"], "details": details,
                } })
            }
        };
        self.results.push(json!({ "case": case, "result": result }));
    }

    fn get(&mut self, case: &str, query: &str) {
        let path = format!("/{}{query}", self.session_id);
        self.call(case, "GET", &path, None);
    }

    fn set(&mut self, case: &str, mut change: Value) {
        if self.version == "v2beta" && change.get("sessionToken").is_none() {
            change["sessionToken"] = json!(self.session_token);
        }
        let path = format!("/{}", self.session_id);
        self.call(case, "PATCH", &path, Some(change));
    }
}

fn curls_the_rest_api(version: &'static str) {
    if !sdks_installed() {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let given = given(&sandbox, &sandbox.gateway);
    let bearer = format!("Authorization: Bearer {}", given["token"].as_str().unwrap());
    let base = given["base"].as_str().unwrap().to_owned();
    let none = String::new;
    let mut curl = Curl { base, bearer, version, results: Vec::new(), session_id: none(), session_token: none() };
    let tier = |value: &str| json!({ "tier": STANDARD.encode(value) });
    let checks =
        |password: &str| json!({ "user": { "userId": given["user_id"] }, "password": { "password": password } });
    let link = |link: &str| json!({ "sendCode": { "urlTemplate": link } });
    let (good, evil) = (link("https://login.example.com/otp?code={{.Code}}"), link("https://evil.example/{{.Code}}"));
    let everything = |value: &str, link: &Value| {
        let web_auth_n = json!({ "domain": "login.example.com", "userVerificationRequirement": "USER_VERIFICATION_REQUIREMENT_REQUIRED" });
        json!({
            "metadata": tier(value), "lifetime": "7200s", "checks": checks(PASSWORD),
            "challenges": { "otpEmail": link, "webAuthN": web_auth_n },
        })
    };
    curl.call("create", "POST", "", Some(json!({ "metadata": tier("free"), "lifetime": "3600s" })));
    curl.session_id = curl.results[0]["result"]["ok"]["sessionId"].as_str().unwrap().to_owned();
    curl.call("rejected create", "POST", "", Some(json!({ "metadata": tier("gold"), "lifetime": "3600s" })));
    curl.get("get", &format!("?sessionToken={}", curl.session_token));
    curl.set("set", json!({ "metadata": tier("pro") }));
    curl.get("get after", "");
    curl.set("set everything", everything("enterprise", &good));
    curl.get("get everything", "");
    curl.set("clamped", json!({ "lifetime": "99999999s" }));
    curl.get("get clamped", "");
    curl.set("rejected key", json!({ "metadata": tier("gold") }));
    curl.set("rejected code", json!({ "challenges": { "otpEmail": { "returnCode": {} } } }));
    curl.set("rejected link", json!({ "challenges": { "otpEmail": evil } }));
    curl.set("rejected everything", everything("gold", &evil));
    curl.set("rejected by the provider's rules", json!({ "checks": { "totp": { "code": "12" } } }));
    curl.set("wrong password", json!({ "checks": checks("wrong") }));
    curl.set("nothing", json!({}));
    if version == "v2beta" {
        curl.set("without token", json!({ "sessionToken": "", "metadata": tier("pro") }));
    }
    let session_id = std::mem::replace(&mut curl.session_id, "404".to_owned());
    curl.call("list", "POST", "/search", Some(json!({ "queries": [{ "idsQuery": { "ids": [session_id] } }] })));
    curl.get("get missing", "");
    curl.session_id = session_id;
    curl.call("delete", "DELETE", &format!("/{}", curl.session_id), None);
    curl.get("get deleted", "");
    does_well(&Run { carrier: format!("rest {version}"), results: curl.results }, "curl 22", version);
}

#[test]
fn curl_works_with_v2() {
    curls_the_rest_api("v2");
}

#[test]
fn curl_works_with_v2beta() {
    curls_the_rest_api("v2beta");
}
