//! `check --online`: what it tries, and how it reports what fails.

use super::check_formats::valid_json;
use crate::harness::issuer::Signer;
use crate::harness::{
    Authority, DnsServer, Finished, RedisCluster, RedisServer, Response, Scripted, Sentinels, Tenant, addresses,
    finish, json_response, redis_installed, sessiongate, unused_address,
};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::{fs, thread};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Runs the command on a configuration that may refer to the secrets `key` and `wrong`.
fn online(text: &str, format: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("gateway.yaml", text), ("key", KEY), ("wrong", "wrong-password")] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let mut command = sessiongate(&["check", "-c", "gateway.yaml", "--online", "--format", format]);
    command.current_dir(folder.path());
    finish(command)
}

/// The document, and the checks in it by name; servers of a store follow the name.
fn checks(text: &str) -> (Finished, Value, BTreeMap<String, Value>) {
    let finished = online(text, "json");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
    valid_json(&document);
    let name = |check: &Value| check["name"].as_str().unwrap().to_owned();
    let checks = document["checks"].as_array().unwrap().iter().map(|check| (name(check), check.clone())).collect();
    (finished, document, checks)
}

/// The option `store.redis` with these options, and what it needs.
fn redis(options: &str) -> String {
    format!("hash_key: {{ file: key }}\nstore: {{ redis: {{ {options}, seal_keys: [{{ file: key }}] }} }}\n")
}

/// An upstream that is reached by its own host name.
fn upstream(name: &str, options: &str) -> String {
    format!("  {name}: {{ dialect: auth0, match: {{ host: {name}.test }}, {options} }}\n")
}

/// An issuer with these documents.
fn issuer(discovery: impl Fn(&str) -> Response + Send + Sync + 'static, keys: Response) -> Scripted {
    Scripted::start(move |request| match request.path.as_str() {
        "/.well-known/openid-configuration" => discovery(&format!("http://{}", request.header("Host").unwrap())),
        path if path.starts_with("/keys") => keys.clone(),
        _ => json_response(404, "{}"),
    })
}

/// A discovery document that names this issuer, after the address of the server.
fn names(rest: &'static str) -> impl Fn(&str) -> Response + Send + Sync {
    move |own| {
        let document = json!({"issuer": format!("{own}{rest}"), "jwks_uri": format!("{own}/keys")});
        json_response(200, &document.to_string())
    }
}

fn key_document() -> Response {
    json_response(200, &json!({"keys": [Signer::new("one").jwk()]}).to_string())
}

#[test]
fn all_that_works_is_reported_with_its_time() {
    let (tenant, dns) = (Tenant::start(), DnsServer::start(&[("tenant.test", addresses(&["127.0.0.1"], 60))]));
    let url = tenant.url().replace("127.0.0.1", "tenant.test");
    let server = redis_installed().then(RedisServer::start);
    let store = server.as_ref().map(|server| redis(&format!("url: \"{}\"", server.url()))).unwrap_or_default();
    let text = format!(
        "dns: {{ servers: [\"{}\"] }}\n{store}{}",
        dns.address(),
        tenant.upstream("").replace(&format!("url: {}", tenant.url()), &format!("url: {url}\n    allow_http: true"))
    );
    let finished = online(&text, "text");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let masked = Regex::new(r" +\d+\.\d ms").unwrap().replace_all(&finished.stdout, " TIME");
    let masked = Regex::new(r"127\.0\.0\.1:\d+").unwrap().replace_all(&masked, "SERVER").into_owned();
    let of_store = "ok TIME  store.connect: SERVER: connected and logged in\n\
                    ok TIME  store.round_trip: SERVER: a key was written and deleted\n";
    let expected = format!(
        "ok TIME  upstream.auth0.dns: tenant.test: 127.0.0.1\n\
         ok TIME  upstream.auth0.connect: SERVER, no TLS\n\
         ok TIME  upstream.auth0.provider: GET /: response 404 Not Found\n\
         ok TIME  upstream.auth0.issuer: the discovery document names http://SERVER/\n\
         ok TIME  upstream.auth0.keys: 1 usable keys\n\
         {}gateway.yaml: OK\n",
        if server.is_some() { of_store } else { "" }
    );
    assert_eq!(masked, expected);
    let (finished, document, checks) = checks(&text);
    assert_eq!((finished.code, &document["findings"]), (Some(0), &json!([])));
    assert!(checks.values().all(|check| check["duration_ms"].as_f64().is_some_and(|took| took > 0.0)), "{checks:?}");
}

/// A server that responds to everything with plain HTTP at once.
fn plaintext_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    port
}

#[test]
fn failing_providers_are_all_reported_with_a_hint() {
    let dns = DnsServer::start(&[]);
    let authority = Authority::new("right");
    let tls =
        |names: &[&str]| Scripted::start_tls(Arc::new(authority.certify(names, |_| {})), |_| json_response(401, "{}"));
    let (untrusted, misnamed, trusted) = (tls(&["localhost"]), tls(&["other.test"]), tls(&["127.0.0.1"]));
    // The system accepts connections, and nothing reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |name: &str, url: String, more: &str| upstream(name, &format!("url: \"{url}\", auth: none, {more}"));
    let ca = format!("tls: {{ ca_file: {} }}", authority.file.display());
    let text = [
        format!("dns: {{ servers: [\"{}\"] }}\nupstreams:\n", dns.address()),
        at("refused", format!("http://{}", unused_address([127, 0, 0, 1])), "allow_http: true"),
        at("unknown", "http://unknown.test".into(), "allow_http: true"),
        at("untrusted", format!("https://127.0.0.1:{}", untrusted.port()), "body: {}"),
        at("misnamed", format!("https://127.0.0.1:{}", misnamed.port()), &ca),
        at("trusted", format!("https://127.0.0.1:{}", trusted.port()), &ca),
        at("plain", format!("https://127.0.0.1:{}", plaintext_server()), "body: {}"),
        at("silent", format!("http://{}", silent.local_addr().unwrap()), "timeouts: { first_byte: 300ms }"),
    ]
    .concat();
    let (finished, document, checks) = checks(&text);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    for (name, message, hint) in [
        ("refused.connect", "Connection refused", "check the port in `url`"),
        ("unknown.dns", "unknown.test: unknown host", "`dns.servers`"),
        ("untrusted.connect", "UnknownIssuer", "set `tls.ca_file`"),
        ("misnamed.connect", "not valid for name", "set `host`"),
        ("plain.connect", "corrupt message", "use `http://`"),
        ("silent.provider", "GET /: no complete response within 300 ms", "`timeouts.first_byte`"),
    ] {
        let check = &checks[&format!("upstream.{name}")];
        assert_eq!(check["status"], "failed", "{name}: {check}");
        assert!(check["message"].as_str().unwrap().contains(message), "{name}: {check}");
        assert!(check["hint"].as_str().unwrap().contains(hint), "{name}: {check}");
        assert!(check["duration_ms"].is_number(), "{name}: {check}");
    }
    assert_eq!(checks["upstream.trusted.provider"]["message"], "GET /: response 401 Unauthorized");
    assert!(checks["upstream.trusted.connect"]["message"].as_str().unwrap().ends_with(", TLS 1.3"));
    for name in ["refused.provider", "unknown.connect", "unknown.provider", "plain.provider", "silent.dns"] {
        let check = &checks[&format!("upstream.{name}")];
        assert_eq!((&check["status"], check.get("duration_ms")), (&json!("skipped"), None), "{name}");
    }
    // Each failure is a finding at its option.
    let findings = document["findings"].as_array().unwrap();
    let found: Vec<(&str, &str, u64)> = findings
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["path"].as_str().unwrap(), one["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(document["summary"], json!({"errors": 6, "warnings": 0}));
    assert_eq!(
        found,
        [
            ("online-connect", "upstreams.refused.url", 3),
            ("online-dns", "upstreams.unknown.url", 4),
            ("online-connect", "upstreams.untrusted.url", 5),
            ("online-connect", "upstreams.misnamed.url", 6),
            ("online-connect", "upstreams.plain.url", 8),
            ("online-provider", "upstreams.silent.url", 9),
        ]
    );
    let finished = online(&text, "text");
    assert_eq!(finished.stderr, "sessiongate: gateway.yaml: 6 of 21 online checks failed\n");
    assert_eq!(finished.stdout.matches("FAILED ").count(), 6, "{}", finished.stdout);
    assert_eq!(finished.stdout.matches("\n                    hint: ").count(), 6, "{}", finished.stdout);
    assert!(!finished.stdout.contains("OK"), "{}", finished.stdout);
}

#[test]
fn each_of_several_issuers_is_checked() {
    let (good, misspelled) = (issuer(names(""), key_document()), issuer(names("/"), key_document()));
    let options = |issuer: &Scripted| format!("{{ issuer: \"{}\", audience: a, algorithms: [EdDSA] }}", issuer.url());
    let auth = format!("url: {}, auth: [{}, {}]", good.url(), options(&good), options(&misspelled));
    let (finished, document, checks) = checks(&format!("upstreams:\n{}", upstream("several", &auth)));
    let of = |name: &str| checks[&format!("upstream.several.{name}")].clone();
    for (name, result) in [("issuer[0]", "ok"), ("keys[0]", "ok"), ("issuer[1]", "failed"), ("keys[1]", "ok")] {
        assert_eq!(of(name)["status"], result, "{name}: {finished:?}");
    }
    let findings = document["findings"].as_array().unwrap();
    let places: Vec<&str> = findings.iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(places.contains(&"upstreams.several.auth[1].issuer"), "{finished:?}");
    let hint = of("issuer[1]")["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("set `upstreams.several.auth[1].issuer` to"), "{hint}");
}

#[test]
fn issuer_that_names_another_and_unusable_keys_are_errors() {
    let misspelled = issuer(names("/"), key_document());
    let right = issuer(names(""), key_document());
    let keyless = issuer(names(""), json_response(404, "{}"));
    let silent = issuer(|_| json_response(404, "{}"), key_document());
    let moved = issuer(
        |own| Response { status: 302, headers: vec![("Location".into(), format!("{own}/x"))], body: Vec::new() },
        key_document(),
    );
    let by = |name: &str, issuer: &Scripted, more: &str| {
        let url = issuer.url();
        upstream(name, &format!("url: {url}, auth: {{ issuer: \"{url}\", audience: a, algorithms: [EdDSA]{more} }}"))
    };
    let jwks = |issuer: &Scripted| format!(", jwks: \"{}/keys?code=secret\"", issuer.url());
    let text = [
        "upstreams:\n".to_owned(),
        by("right", &right, ""),
        by("misspelled", &misspelled, ""),
        by("misspelled_jwks", &misspelled, &jwks(&misspelled)),
        by("keyless", &keyless, ""),
        by("silent", &silent, ""),
        by("silent_jwks", &silent, &jwks(&silent)),
        by("keyless_jwks", &keyless, &jwks(&keyless)),
        by("moved", &moved, ""),
        by("algorithm", &right, "").replace("EdDSA", "RS256"),
    ]
    .concat();
    let (finished, document, checks) = checks(&text);
    assert_eq!(finished.code, Some(1));
    let other = "the discovery document names the issuer `";
    for (name, status, message, hint) in [
        ("right.issuer", "ok", "the discovery document names ", ""),
        ("right.keys", "ok", "1 usable keys", ""),
        ("misspelled.issuer", "failed", other, "the configured value lacks the final `/`"),
        ("misspelled.keys", "ok", "1 usable keys", ""),
        ("misspelled_jwks.issuer", "failed", other, "the configured value lacks the final `/`"),
        ("misspelled_jwks.keys", "ok", "1 usable keys", ""),
        ("keyless.issuer", "ok", "the discovery document names ", ""),
        ("keyless.keys", "failed", "/keys: response 404 Not Found", "`jwks_uri`"),
        ("keyless_jwks.keys", "failed", "/keys: response 404 Not Found", "check `auth.jwks`"),
        ("silent.issuer", "failed", "response 404 Not Found", "set `auth.jwks`"),
        ("silent.keys", "skipped", "no discovery document", ""),
        ("silent_jwks.issuer", "skipped", "not needed, since `jwks` is set: ", ""),
        ("silent_jwks.keys", "ok", "1 usable keys", ""),
        ("moved.issuer", "failed", "a redirect", "redirects are not followed"),
        ("algorithm.keys", "failed", "has no usable key", "check `auth.algorithms`"),
    ] {
        let check = &checks[&format!("upstream.{name}")];
        assert_eq!(check["status"], status, "{name}: {check}");
        assert!(check["message"].as_str().unwrap().contains(message), "{name}: {check}");
        assert!(check["hint"].as_str().unwrap_or_default().contains(hint), "{name}: {check}");
    }
    let findings = document["findings"].as_array().unwrap().iter();
    let failed = findings.filter(|one| one["level"] == "error").map(|one| one["path"].as_str().unwrap());
    let expected = ["misspelled", "misspelled_jwks", "keyless", "silent", "keyless_jwks", "moved", "algorithm"];
    let part = |name: &str| if name == "keyless_jwks" { "jwks" } else { "issuer" };
    assert_eq!(failed.collect::<Vec<_>>(), expected.map(|name| format!("upstreams.{name}.auth.{}", part(name))));
    assert!(!finished.stdout.contains("secret"), "no query: {}", finished.stdout);
}

#[test]
fn store_is_connected_to_with_its_login() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let _: () = server.ask(&["CONFIG", "SET", "requirepass", KEY]);
    let upstreams = "upstreams: { a: { dialect: auth0, url: \"http://127.0.0.1:9\", auth: none } }\n";
    let checks = |options: &str| {
        let (finished, _, checks) = checks(&format!("{}{upstreams}", redis(options)));
        assert!(!finished.stdout.contains("wrong-password") && !finished.stdout.contains(KEY), "{finished:?}");
        let text = |check: &str, member: &str| checks[&format!("store.{check}")][member].as_str().map(str::to_owned);
        (text("connect", "status").unwrap(), text("connect", "hint"), text("round_trip", "status").unwrap())
    };
    let url = format!("url: \"{}\"", server.url());
    let good = checks(&format!("{url}, password: {{ file: key }}"));
    assert_eq!(good, ("ok".into(), None, "ok".into()));
    for (options, part) in [
        (format!("{url}, password: {{ file: wrong }}"), "`store.redis.password`"),
        (url.clone(), "set `store.redis.password`"),
        (format!("url: \"redis://{}\"", unused_address([127, 0, 0, 1])), "check the address in `store.redis`"),
    ] {
        let (connect, hint, round_trip) = checks(&options);
        assert_eq!((connect.as_str(), round_trip.as_str()), ("failed", "skipped"), "{options}");
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(part)), "{options}: {hint:?}");
    }
    server.hold();
    let (connect, hint, _) = checks(&format!("{url}, password: {{ file: key }}, timeouts: {{ connect: 100ms }}"));
    server.go_on();
    assert_eq!(connect, "failed");
    assert!(hint.unwrap().contains("`store.redis.timeouts.connect`"));
}

/// A full server accepts connections and rejects writes.
#[test]
fn round_trip_notices_a_server_that_is_full_or_will_be() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let upstreams = "upstreams: { a: { dialect: auth0, url: \"http://127.0.0.1:9\", auth: none } }\n";
    let round_trip = |limit: &str, policy: &str| {
        let _: () = server.ask(&["CONFIG", "SET", "maxmemory", limit, "maxmemory-policy", policy]);
        let (_, _, checks) = checks(&format!("{}{upstreams}", redis(&format!("url: \"{}\"", server.url()))));
        checks["store.round_trip"].clone()
    };
    for (limit, policy, warns) in
        [("0", "noeviction", false), ("1gb", "noeviction", true), ("1gb", "allkeys-lru", false)]
    {
        let check = round_trip(limit, policy);
        assert_eq!(check["status"], "ok", "{check}");
        assert_eq!(check["message"].as_str().unwrap().contains("`noeviction`"), warns, "{limit} {policy}: {check}");
    }
    let check = round_trip("1", "noeviction");
    assert_eq!(check["status"], "failed", "{check}");
    assert!(check["message"].as_str().unwrap().contains("OOM command not allowed"), "{check}");
    assert!(check["hint"].as_str().unwrap().contains("`allkeys-lru`"), "{check}");
}

#[test]
fn servers_of_sentinels_and_clusters_are_found() {
    if !redis_installed() {
        return;
    }
    let upstreams = "upstreams: { a: { dialect: auth0, url: \"http://127.0.0.1:9\", auth: none } }\n";
    let store = |options: &str| {
        let (_, document, _) = checks(&format!("{}{upstreams}", redis(options)));
        let of_store = |check: &&Value| check["name"].as_str().unwrap().starts_with("store.");
        document["checks"].as_array().unwrap().iter().filter(of_store).cloned().collect::<Vec<_>>()
    };
    let sentinels = Sentinels::start();
    let nodes = |urls: &[String]| urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    let at = nodes(&sentinels.urls());
    let found = store(&format!("sentinel: {{ service: sessions, nodes: [{at}] }}, timeouts: {{ connect: 2s }}"));
    assert_eq!(found.iter().map(|check| check["status"].as_str().unwrap()).collect::<Vec<_>>(), ["ok", "ok"]);
    let found = store(&format!("sentinel: {{ service: absent, nodes: [{at}] }}"));
    assert_eq!(found[0]["status"], "failed", "{found:?}");
    assert!(found[0]["hint"].as_str().unwrap().contains("`store.redis.sentinel.service`"), "{found:?}");
    let cluster = RedisCluster::start(false);
    let seed = nodes(&[cluster.primaries[1].url()]);
    let found = store(&format!("cluster: [{seed}], timeouts: {{ connect: 2s }}"));
    assert_eq!(found.len(), 6, "connections and round trips with three servers: {found:?}");
    assert!(found.iter().all(|check| check["status"] == "ok"), "{found:?}");
}

/// Three providers that respond only when each of them has been asked.
#[test]
fn checks_run_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(3));
    let providers: Vec<Scripted> = (0..3)
        .map(|_| {
            let barrier = barrier.clone();
            Scripted::start(move |_| {
                barrier.wait();
                json_response(200, "{}")
            })
        })
        .collect();
    let each = providers.iter().enumerate();
    let each = each.map(|(n, one)| upstream(&format!("u{n}"), &format!("url: {}, auth: none", one.url())));
    let (finished, _, _) = checks(&format!("upstreams:\n{}", each.collect::<String>()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// What is sent has no credential, and the base path of the provider.
#[test]
fn request_to_a_provider_is_harmless() {
    let provider = Scripted::start(|_| json_response(500, "{}"));
    let options = format!("url: {}/base/, host: virtual.test, auth: none", provider.url());
    let (finished, _, checks) = checks(&format!("upstreams:\n{}", upstream("a", &options)));
    assert_eq!(finished.code, Some(0));
    assert_eq!(checks["upstream.a.provider"]["message"], "GET /base/: response 500 Internal Server Error");
    let received = provider.received();
    let [request] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!((request.path.as_str(), request.header("Host")), ("/base/", Some("virtual.test")));
    assert!(request.header("Authorization").is_none() && request.body.is_empty(), "{request:?}");
}

#[test]
fn nothing_is_checked_if_the_configuration_has_errors() {
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let options = format!("url: {}, auth: none, absent: 1", provider.url());
    let finished = online(&format!("upstreams:\n{}", upstream("a", &options)), "json");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    valid_json(&document);
    assert_eq!((finished.code, document.get("checks")), (Some(1), None));
    assert!(provider.received().is_empty());
}

#[test]
fn introspection_of_a_random_token_is_tried() {
    let keys = issuer(names("/"), key_document());
    let trial = |response: Response| {
        let endpoint = Scripted::start(move |_| response.clone());
        let introspection = format!(
            "introspection: {{ url: {}/introspect, client_id: gate, client_secret: {{ file: key }} }}",
            endpoint.url()
        );
        let auth = format!("auth: {{ issuer: {}/, audience: here, algorithms: [EdDSA], {introspection} }}", keys.url());
        let url = format!("url: {}, {auth}", keys.url());
        let (finished, _, mut checks) = checks(&format!("upstreams:\n{}", upstream("a", &url)));
        let form = String::from_utf8(endpoint.received()[0].body.clone()).unwrap();
        assert!(form.starts_with("token=") && form.len() > 40, "{form}");
        (finished.code, checks.remove("upstream.a.introspection").unwrap())
    };
    let (code, check) = trial(json_response(200, r#"{"active":false}"#));
    assert_eq!(
        (code, &check["status"], &check["message"]),
        (Some(0), &json!("ok"), &json!("a random token is not active"))
    );
    for (response, message, hint) in [
        (json_response(200, r#"{"active":true}"#), "says that a random token is active", "`auth.introspection.url`"),
        (json_response(200, "<html>"), "not an introspection response", "`auth.introspection.url`"),
        (json_response(404, "{}"), "response 404", "`auth.introspection.url`"),
        (json_response(401, "{}"), "does not accept the gateway's client", "`client_id`"),
    ] {
        let (code, check) = trial(response);
        assert_eq!((code, &check["status"]), (Some(1), &json!("failed")), "{check}");
        assert!(check["message"].as_str().unwrap().contains(message), "{check}");
        assert!(check["hint"].as_str().unwrap().contains(hint), "{check}");
    }
}
