//! The ways to a store in Redis: through sentinels, in a cluster, over TLS. Servers are lost under load, and keys move; no client
//! sees an error, nothing is stale, and the cache works again afterwards.

use crate::fleet::{Fleet, Found};
use crate::harness::{RedisCluster, RedisServer, Request, Sandbox, Sentinels, redis_installed, wait_for};
use crate::provider_tls::Authority;
use crate::shared::{Provider, status};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Waits until the cache has answered that often again.
fn wait_hits(found: &Found, count: u64) {
    let before = found.hits.load(Ordering::Relaxed);
    wait_for("hits", || (found.hits.load(Ordering::Relaxed) > before + count).then_some(()));
}

fn assert_good(what: &str, found: Found) {
    found.tell(what);
    assert_eq!(found.stale.into_inner(), 0);
}

#[test]
fn a_server_comes_and_goes_under_load() {
    const ROUNDS: usize = 4;
    if !redis_installed() {
        return;
    }
    let mut server = RedisServer::start();
    let fleet = Fleet::start(&format!("url: \"{}\"", server.url()), 2);
    let found = fleet.under_load(|found| {
        for _ in 0..ROUNDS {
            wait_hits(found, 50);
            server.kill();
            fleet.replicas.iter().for_each(|replica| replica.wait_disconnected());
            server.restart();
            fleet.replicas.iter().for_each(|replica| replica.wait_connected());
        }
        wait_hits(found, 50);
    });
    assert_good("a server comes and goes", found);
}

fn listed(urls: &[String]) -> String {
    urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ")
}

#[test]
fn another_server_takes_over_where_sentinels_say_so() {
    if !redis_installed() {
        return;
    }
    let mut sentinels = Sentinels::start();
    let store = format!("sentinel: {{ service: sessions, nodes: [{}] }}", listed(&sentinels.urls()));
    let fleet = Fleet::start(&store, 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 100);
        // The machine of a primary takes its sentinel along.
        sentinels.hold_first();
        sentinels.servers[0].kill();
        let other = sentinels.servers[1].port();
        wait_for("the failover", || (sentinels.primary() == other).then_some(()));
        fleet.replicas.iter().for_each(|replica| replica.wait_connected());
        wait_hits(found, 200);
        assert!(sentinels.servers[1].calls("evalsha") > 100, "the other server works");
    });
    assert_good("failover by sentinels", found);
}

#[test]
fn keys_of_a_cluster_move_under_load() {
    if !redis_installed() {
        return;
    }
    let cluster = RedisCluster::start(false);
    // One server is enough to find the others.
    let fleet = Fleet::start(&format!("cluster: [\"{}\"]", cluster.primaries[1].url()), 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 200);
        assert!(cluster.primaries.iter().all(|server| !server.keys().is_empty()), "keys are on all servers");
        let keys = cluster.primaries.iter().flat_map(RedisServer::keys);
        let states: Vec<String> = keys.filter(|key| key.ends_with(":s") || key.ends_with(":e")).collect();
        assert!(states.len() > 8, "{states:?}");
        for _ in 0..2 {
            states.iter().for_each(|key| cluster.move_slot(key));
            wait_hits(found, 100);
        }
    });
    assert_good("keys of a cluster move", found);
}

#[test]
fn a_server_of_a_cluster_is_lost_and_its_replica_takes_over() {
    if !redis_installed() {
        return;
    }
    let mut cluster = RedisCluster::start(true);
    let fleet = Fleet::start(&format!("cluster: [\"{}\"]", cluster.primaries[0].url()), 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 200);
        cluster.primaries[1].kill();
        wait_for("its replica to take over", || {
            let role: String = cluster.replicas[1].ask(&["INFO", "replication"]);
            role.contains("role:master").then_some(())
        });
        let before = cluster.replicas[1].calls("evalsha");
        wait_for("the replica to be used", || (cluster.replicas[1].calls("evalsha") > before + 100).then_some(()));
        wait_hits(found, 200);
    });
    assert_good("a server of a cluster is lost", found);
}

#[test]
fn servers_are_reached_over_tls_by_those_they_know() {
    if !redis_installed() {
        return;
    }
    let (authority, stranger) = (Authority::new("ours"), Authority::new("somebody else's"));
    let (certificate, key) = authority.certify_in_files("server", &["127.0.0.1", "localhost"]);
    let (own, own_key) = authority.certify_in_files("gateway", &["gateway"]);
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let server = RedisServer::with(&[
        "--tls-port",
        "TLS_PORT",
        "--tls-cert-file",
        &text(&certificate),
        "--tls-key-file",
        &text(&key),
        "--tls-ca-cert-file",
        &text(&authority.file),
        "--tls-auth-clients",
        "yes",
    ]);
    let provider = Provider::start();
    let replica = |tls: &str| {
        let url = format!("rediss://localhost:{}", server.port());
        let store = format!("url: \"{url}\", tls: {{ {tls} }}, seal_keys: [{{ env: SEAL }}]");
        provider.replica_of(&provider.config("{}", &store))
    };
    let (ours, theirs) = (text(&authority.file), text(&stranger.file));
    let client = format!("certificate: \"{}\", key: \"{}\"", text(&own), text(&own_key));
    let good = replica(&format!("ca_file: \"{ours}\", {client}"));
    good.wait_connected();
    good.get();
    good.wait_hit();
    for (tls, what) in [
        (format!("ca_file: \"{ours}\""), "without a certificate"),
        (format!("ca_file: \"{theirs}\", {client}"), "with another authority"),
    ] {
        let replica = replica(&tls);
        let line = replica.gateway.wait_for_log(|line| line.contains("the store cannot be connected"));
        assert!(line.to_lowercase().contains("certificate"), "{what}: {line}");
        assert_eq!(status(&replica.get()), "sessiongate; fwd=bypass", "{what}");
        assert_eq!(replica.patch().status, 200, "{what}");
    }
}

#[test]
fn the_sandbox_can_be_tried_on_a_real_server() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let sandbox = Sandbox::start(&["--redis", &server.url()]);
    let read = || Request::new("GET", &sandbox.session_path()).bearer(&sandbox.token).send(&sandbox.gateway);
    wait_for("a hit", || status(&read()).contains("; hit").then_some(()));
    assert_eq!(server.keys().len(), 3);
}

/// Hands bytes on to a server and back; on demand it breaks off in the middle of an answer.
struct Breaking {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Breaking {
    fn start(server: u16) -> Breaking {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let breaking = Breaking { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = breaking.cut.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || io::copy(&mut from, &mut to));
                let cut = cut.clone();
                thread::spawn(move || hand_on(server, client, &cut));
            }
        });
        breaking
    }
}

fn hand_on(mut server: TcpStream, mut client: TcpStream, cut: &AtomicBool) -> io::Result<()> {
    let mut part = [0; 16_384];
    loop {
        let length = server.read(&mut part)?;
        // Only in what is long enough to be an entry, or the answers to several commands.
        if length > 600 && cut.swap(false, Ordering::SeqCst) {
            client.write_all(&part[..length / 2])?;
            return client.shutdown(Shutdown::Both);
        }
        if length == 0 {
            return client.shutdown(Shutdown::Both);
        }
        client.write_all(&part[..length])?;
    }
}

#[test]
fn answers_that_break_off_are_nobodys() {
    const ROUNDS: usize = 3;
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let breaking = Breaking::start(server.port());
    let fleet = Fleet::start(&format!("url: \"redis://127.0.0.1:{}\"", breaking.port), 2);
    let found = fleet.under_load(|found| {
        for _ in 0..ROUNDS {
            wait_hits(found, 50);
            breaking.cut.store(true, Ordering::SeqCst);
            wait_for("an answer to break off", || (!breaking.cut.load(Ordering::SeqCst)).then_some(()));
        }
        // And a server that stands still for longer than anybody waits.
        let _: () = server.ask(&["DEBUG", "SLEEP", "0.5"]);
        wait_hits(found, 50);
    });
    assert_good("answers break off", found);
}

#[test]
fn commands_on_their_way_are_bounded() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let fleet = Fleet::start(&format!("url: \"{}\", max_in_flight: 2", server.url()), 2);
    let found = fleet.under_load(|found| wait_hits(found, 300));
    assert_good("one read at a time", found);
}
