//! docs/guides/redis.md: its server, its user and its configurations work as written.

use crate::harness::documented::{blocks_in, page};
use crate::harness::replica::{Replica, status};
use crate::harness::{Authority, RedisServer, Tenant, finish, redis_installed, sessiongate, skipped};
use crate::harness::{Request, wait_for, write_config};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/guides/redis.md";

/// A configuration of the page, with its files in this folder.
fn absolute(yaml: &str, folder: &Path) -> String {
    yaml.replace("secrets/", &format!("{}/secrets/", folder.display()))
}

#[test]
fn redis_guide_works_as_written() {
    if !redis_installed() {
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("the commands of docs/guides/redis.md (openssl is not installed)");
    }
    let page = page(PAGE);
    let folder = tempfile::tempdir().unwrap();
    let secrets = Command::new("sh").arg("-c").arg(&blocks_in(&page, "sh")[0]).current_dir(folder.path()).status();
    assert!(secrets.unwrap().success());

    let [settings, user] = blocks_in(&page, "text").try_into().unwrap();
    let settings: Vec<String> = settings
        .lines()
        .flat_map(|line| {
            line.split_once(' ').map(|(name, value)| [format!("--{name}"), value.trim_matches('"').into()])
        })
        .flatten()
        .collect();
    let server = RedisServer::with(&settings.iter().map(String::as_str).collect::<Vec<_>>());
    let _: () = server.ask(&user.split_whitespace().collect::<Vec<_>>());

    let [whole, stores @ ..]: [String; 4] = blocks_in(&page, "yaml").try_into().unwrap();
    let tenant = Tenant::start();
    let yaml = whole.replace("rediss://cache.example:6379", &server.url());
    let yaml = absolute(&yaml, folder.path()).replace("https://acme.eu.auth0.com", &tenant.url());
    let replicas = [(); 2].map(|()| Replica::start(&yaml, &tenant.token()));
    let get = |replica: &Replica| {
        Request::new("GET", &tenant.session_path()).bearer(&tenant.token()).send(&replica.gateway.url())
    };
    // What was fetched within `settle` after the connection began is not served.
    wait_for("a hit through the other replica", || {
        get(&replicas[0]);
        Some(get(&replicas[1])).filter(|response| status(response).contains("; hit"))
    });

    // The other stores in place of the first.
    let authority = Authority::new("redis");
    fs::copy(&authority.file, folder.path().join("secrets/redis-ca.pem")).unwrap();
    let (before, rest) = whole.split_once("store:\n").unwrap();
    let after = rest.split_once("upstreams:\n").unwrap().1;
    for store in stores {
        let text = absolute(&format!("{before}{store}upstreams:\n{after}"), folder.path());
        let file = write_config(folder.path(), &text);
        let checked = finish(sessiongate(&["check", "--deploy", "-c", file.to_str().unwrap()]));
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{store}");
    }
}
