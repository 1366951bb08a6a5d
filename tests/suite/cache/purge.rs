//! The purge endpoint and command: what they drop, on which replicas, and who may use them. Also: which cache
//! configurations `check --deploy` rejects.

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::replica::{Provider, Replica, path, status};
use crate::harness::{
    Authority, Gateway, RedisCluster, RedisServer, Request, Response, finish, project, redis_installed, sessiongate,
    wait_for,
};
use std::fs;

fn purge(gateway: &Gateway, body: &str) -> Response {
    Request::new("POST", "/cache/purge").json(body).send(&gateway.control_url())
}

fn cached() -> (Recorder, Gateway) {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    (recorder, gateway)
}

fn is_hit(recorder: &Recorder, gateway: &Gateway) -> bool {
    let response = Request::new("GET", &path()).bearer(&recorder.token()).send(&gateway.url());
    status(&response).contains("; hit")
}

#[test]
fn purge_drops_one_session_or_all() {
    let (recorder, gateway) = cached();
    for body in [format!(r#"{{"upstream":"auth0","session":"{SESSION}"}}"#), r#"{"upstream":"auth0"}"#.to_owned()] {
        assert!(!is_hit(&recorder, &gateway));
        assert!(is_hit(&recorder, &gateway));
        let response = purge(&gateway, &body);
        assert_eq!((response.status, response.text()), (200, r#"{"purged":true}"#.to_owned()));
        assert!(!is_hit(&recorder, &gateway), "purged by {body}");
        assert!(is_hit(&recorder, &gateway));
        let other = purge(&gateway, r#"{"upstream":"auth0","session":"another"}"#);
        assert_eq!(other.status, 200, "nobody says which sessions there are");
        assert!(is_hit(&recorder, &gateway));
        purge(&gateway, r#"{"upstream":"auth0"}"#);
    }
    assert!(gateway.log().iter().all(|line| !line.contains(SESSION)), "no id stands in the log");
    assert!(gateway.metrics().contains(r#"sessiongate_cache_purges_total{purged="session",upstream="auth0"}"#));
}

#[test]
fn invalid_purge_requests_are_rejected() {
    let (recorder, gateway) = cached();
    is_hit(&recorder, &gateway);
    let large = format!(r#"{{"upstream":"{}"}}"#, "a".repeat(5000));
    for (body, expected, word) in [
        ("", 400, "EOF"),
        (r#"{"upstream":"none"}"#, 400, "not a configured upstream"),
        (r#"{"upstream":"auth0","session":"a/b"}"#, 400, "not a valid session ID"),
        (r#"{"upstream":"auth0","sesion":"a"}"#, 400, "unknown field `sesion`"),
        (r#"{"session":"a"}"#, 400, "missing field `upstream`"),
        (&large, 413, ""),
    ] {
        let response = purge(&gateway, body);
        assert_eq!(response.status, expected, "{body}: {}", response.text());
        assert!(response.text().contains(word), "{body}: {}", response.text());
    }
    let good = || Request::new("POST", "/cache/purge");
    let json = r#"{"upstream":"auth0"}"#;
    for (request, expected) in [
        (good().header("Content-Type", "text/plain").body(json), 415),
        (good().header("Origin", "https://evil.example").json(json), 403),
        (good().header("Origin", "null").json(json), 403),
        (good().header("Host", "evil.example:9090").json(json), 403),
        (Request::new("GET", "/cache/purge"), 405),
        (Request::new("DELETE", "/cache/purge"), 405),
    ] {
        let response = request.send(&gateway.control_url());
        assert_eq!(response.status, expected, "{}", response.text());
    }
    let response = good().json(json).send(&gateway.admin_url());
    assert_eq!((response.status, response.text()), (404, String::new()), "`admin` has no commands");
    assert!(is_hit(&recorder, &gateway), "nothing was purged");
}

#[test]
fn purge_reaches_all_replicas_or_reports_failure() {
    if !redis_installed() {
        return;
    }
    let (mut server, provider) = (RedisServer::start(), Provider::start());
    let [one, other] = [(); 2].map(|()| provider.replica(&server, "{}"));
    purge_both_ways(&provider, &one, &other);
    server.kill();
    one.wait_disconnected();
    let response = purge(&one.gateway, r#"{"upstream":"auth0"}"#);
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    assert_eq!(response.json()["purged"], false);
}

/// Drops the session, and then everything, through one replica; the other one sees it.
fn purge_both_ways(provider: &Provider, one: &Replica, other: &Replica) {
    for body in [format!(r#"{{"upstream":"auth0","session":"{SESSION}"}}"#), r#"{"upstream":"auth0"}"#.to_owned()] {
        one.get();
        other.wait_hit();
        let before = provider.reads();
        assert_eq!(purge(&one.gateway, &body).status, 200);
        other.get();
        assert_eq!(provider.reads(), before + 1, "purged by {body}");
    }
}

#[test]
fn purge_works_in_a_redis_cluster() {
    if !redis_installed() {
        return;
    }
    let (cluster, provider) = (RedisCluster::start(false), Provider::start());
    let store = format!("cluster: [\"{}\"], seal_keys: [{{ env: SEAL }}]", cluster.primaries[0].url());
    let [one, other] = [(); 2].map(|()| provider.replica_of(&provider.config("{}", &store)));
    for replica in [&one, &other] {
        wait_for("all servers to be connected", || {
            (replica.metric("sessiongate_store_connections") == 3).then_some(())
        });
    }
    purge_both_ways(&provider, &one, &other);
}

#[test]
fn purge_command_reports_its_result() {
    let (recorder, gateway) = cached();
    let control = gateway.control_url().replace("http://", "");
    is_hit(&recorder, &gateway);
    let finished =
        finish(sessiongate(&["purge", "--upstream", "auth0", "--session", SESSION, "--control", control.as_str()]));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "purged\n"), "{}", finished.stderr);
    assert!(!is_hit(&recorder, &gateway));
    let finished = finish(sessiongate(&["purge", "--upstream", "none", "--control", control.as_str()]));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert!(finished.stderr.contains("not a configured upstream"), "{}", finished.stderr);
    drop(gateway);
    let finished = finish(sessiongate(&["purge", "--upstream", "auth0", "--control", control.as_str()]));
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("cannot reach the gateway"), "{}", finished.stderr);
}

/// The configuration in the Kubernetes example, with and without its store.
#[test]
fn check_for_a_deployment_requires_a_shared_store_for_replicas() {
    let text = fs::read_to_string(project().join("deploy/kubernetes/shared-gateway.yaml")).unwrap();
    let block = text.split("  sessiongate.yaml: |\n").nth(1).unwrap().split("\n---").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("kubernetes");
    let block = block.replace("/run/secrets/sessiongate", folder.path().to_str().unwrap());
    let block = block.replace("/run/secrets/redis-tls/ca.crt", authority.file.to_str().unwrap());
    let config: String = block.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    for name in ["hash-key", "seal-key", "redis-password"] {
        fs::write(folder.path().join(name), "0123456789abcdef0123456789abcdef").unwrap();
    }
    let check = |config: &str, deploy: bool| {
        let file = folder.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let mut args = vec!["check", "-c", file.to_str().unwrap()];
        if deploy {
            args.push("--deploy");
        }
        finish(sessiongate(&args))
    };
    let finished = check(&config, true);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let (before, after) = config.split_once("store:\n").unwrap();
    let own = format!("{before}{}", &after[after.find("upstreams:").unwrap()..]);
    let finished = check(&own, false);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("warning: ") && finished.stderr.contains("replicas"), "{}", finished.stderr);
    let finished = check(&own, true);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
}
