//! Redis with Sentinel, as a cluster, and over TLS. Under load, servers fail and slots move: no client sees an error,
//! no response is stale, and caching works again afterwards.

use crate::harness::replica::{Provider, Replica, STORE_TIMEOUTS, path, status, version};
use crate::harness::{
    Authority, Fleet, LoadReport, RedisCluster, RedisServer, Request, SESSIONS, Sandbox, Sentinels, redis_installed,
    wait_for,
};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Waits for that many more hits.
fn wait_hits(found: &LoadReport, count: u64) {
    let before = found.hits.load(Ordering::Relaxed);
    wait_for("hits", || (found.hits.load(Ordering::Relaxed) > before + count).then_some(()));
}

fn assert_good(what: &str, found: LoadReport) {
    found.print(what);
    assert_eq!((found.stale.into_inner(), found.others_deleted.into_inner()), (0, 0));
}

#[test]
fn server_restarts_under_load() {
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

/// Reads proceed without the server, writes that cannot set a mark are rejected, and pending commands are executed when
/// it resumes: no response is stale, and no session goes back.
#[test]
fn server_hangs_under_load() {
    const ROUNDS: usize = 6;
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let fleet = Fleet::with("ttl: 5m, on_unreachable: reject", &format!("url: \"{}\"", server.url()), 3);
    let found = fleet.under_load(|found| {
        for _ in 0..ROUNDS {
            wait_hits(found, 50);
            let before = found.rejected.load(Ordering::Relaxed);
            server.hold();
            wait_for("writes to be rejected", || (found.rejected.load(Ordering::Relaxed) > before + 2).then_some(()));
            server.go_on();
            fleet.replicas.iter().for_each(|replica| replica.wait_connected());
        }
        wait_hits(found, 50);
    });
    assert_eq!(found.backwards.load(Ordering::Relaxed), 0);
    assert_good("a server stands still", found);
}

fn listed(urls: &[String]) -> String {
    urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ")
}

#[test]
fn sentinel_failover_under_load() {
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

/// The rights that the documentation names, at the servers and at the sentinels.
const RIGHTS: &str = "~sessiongate1:* +get +set +del +time +evalsha +script|load +ping +hello +role";
const SENTINEL_RIGHTS: &str = "+ping +hello +sentinel|master";

/// A replica that has no more rights than it needs.
fn with_rights(sentinels: &Sentinels, provider: &Provider) -> Replica {
    let allow = |server: &RedisServer, rights: &str| {
        let words: Vec<&str> = rights.split(' ').collect();
        let _: () = server.ask(&[&["ACL", "SETUSER", "gate", "on", ">open-sesame"], &words[..]].concat());
    };
    sentinels.servers.iter().for_each(|server| allow(server, RIGHTS));
    sentinels.each().iter().for_each(|sentinel| allow(sentinel, SENTINEL_RIGHTS));
    let login = "username: gate, password: { env: PASSWORD }";
    let store = format!(
        "sentinel: {{ service: sessions, nodes: [{}], {login} }}, {login}, seal_keys: [{{ env: SEAL }}]",
        listed(&sentinels.urls())
    );
    provider.replica_of(&provider.config("{ ttl: 5m }", &store))
}

#[test]
fn documented_permissions_suffice_with_sentinels() {
    if !redis_installed() {
        return;
    }
    let (sentinels, provider) = (Sentinels::start(), Provider::start());
    let replica = with_rights(&sentinels, &provider);
    replica.wait_connected();
    replica.get();
    replica.wait_hit();
    assert_eq!(version(&replica.patch()), 1);
    assert_eq!(version(&replica.get()), 1);
}

/// The server responds to the gateway but not to the sentinels: a failover may happen at any moment.
#[test]
fn server_that_sentinels_consider_down_is_not_used() {
    if !redis_installed() {
        return;
    }
    let (sentinels, provider) = (Sentinels::start(), Provider::start());
    for sentinel in sentinels.each() {
        // Never enough of them to let another server take over.
        let _: () = sentinel.ask(&["SENTINEL", "SET", "sessions", "quorum", "9"]);
    }
    let down = |expected: bool| {
        wait_for("the sentinels' opinion", || {
            let is_down = |sentinel: &RedisServer| {
                let master: HashMap<String, String> = sentinel.ask(&["SENTINEL", "MASTER", "sessions"]);
                master["flags"].contains("s_down")
            };
            sentinels.each().iter().all(|one| is_down(one) == expected).then_some(())
        });
    };
    let _: () = sentinels.servers[0].ask(&["ACL", "SETUSER", "default", "-ping"]);
    down(true);
    let replica = with_rights(&sentinels, &provider);
    let line = replica.gateway.wait_for_log(|line| line.contains("cannot connect to the store"));
    assert!(line.contains("down"), "{line}");
    assert_eq!(replica.metric("sessiongate_store_connections"), 0);
    let _: () = sentinels.servers[0].ask(&["ACL", "SETUSER", "default", "+ping"]);
    down(false);
    replica.wait_connected();
}

#[test]
fn cluster_slots_move_under_load() {
    if !redis_installed() {
        return;
    }
    let cluster = RedisCluster::start(false);
    // One server is enough to find the others.
    let fleet = Fleet::start(&format!("cluster: [\"{}\"]", cluster.primaries[1].url()), 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 200);
        // Each session's, and the upstream's: on which servers they are is left to chance.
        let states = wait_for("all states", || {
            let keys = cluster.primaries.iter().flat_map(RedisServer::keys);
            let states: Vec<String> = keys.filter(|key| key.ends_with(":s") || key.ends_with(":e")).collect();
            (states.len() > SESSIONS).then_some(states)
        });
        for _ in 0..2 {
            states.iter().for_each(|key| cluster.move_slot(key));
            wait_hits(found, 100);
        }
    });
    assert_good("keys of a cluster move", found);
}

#[test]
fn cluster_failover_under_load() {
    if !redis_installed() {
        return;
    }
    let mut cluster = RedisCluster::start(true);
    let fleet = Fleet::start(&format!("cluster: [\"{}\"]", cluster.primaries[0].url()), 2);
    let found = fleet.under_load(|found| {
        // One that has sessions: on which servers they are is left to chance.
        let lost = wait_for("a server with sessions", || {
            cluster.primaries.iter().position(|server| server.keys().iter().any(|key| key.ends_with(":s")))
        });
        wait_hits(found, 200);
        cluster.primaries[lost].kill();
        let replica = &cluster.replicas[lost];
        wait_for("its replica to take over", || {
            let role: String = replica.ask(&["INFO", "replication"]);
            role.contains("role:master").then_some(())
        });
        let before = replica.calls("evalsha");
        wait_for("the replica to be used", || (replica.calls("evalsha") > before + 100).then_some(()));
        wait_hits(found, 200);
    });
    assert_good("a server of a cluster is lost", found);
}

/// The name of a key of a cluster.
fn find(cluster: &RedisCluster, part: &str) -> String {
    let mut keys = cluster.primaries.iter().flat_map(RedisServer::keys);
    keys.find(|key| key.contains(part)).unwrap_or_else(|| panic!("no key with {part}"))
}

fn delete(replica: &Replica) -> u16 {
    let request = Request::new("DELETE", &path()).bearer(&replica.token);
    request.send(&replica.gateway.url()).status
}

/// The test checks each step of the migration.
#[test]
fn session_is_served_throughout_a_slot_migration() {
    if !redis_installed() {
        return;
    }
    let (cluster, provider) = (RedisCluster::start(false), Provider::start());
    let store = format!("cluster: [\"{}\"], seal_keys: [{{ env: SEAL }}]", cluster.primaries[0].url());
    let replica = provider.replica_of(&provider.config("{ ttl: 5m, stale_while_revalidate: 1m }", &store));
    wait_for("all servers to be connected", || (replica.metric("sessiongate_store_connections") == 3).then_some(()));
    replica.get();
    replica.wait_hit();
    let (state, place) = (find(&cluster, "}:s"), find(&cluster, "}:v2:"));
    let hit = |expected: u64, what: &str| {
        let response = replica.get();
        assert!(version(&response) == expected && status(&response).contains("; hit"), "{what}: {}", status(&response));
    };
    let moving = cluster.begin_move(&state);
    hit(0, "nothing has moved yet");
    moving.take_along(&state);
    let response = replica.get();
    assert_eq!((version(&response), status(&response)), (0, "sessiongate; fwd=bypass"), "its keys are apart");
    assert!(replica.metric(r#"sessiongate_store_errors_total{reason="moving",step="acquire"}"#) > 0);
    assert_eq!(version(&replica.patch()), 1);
    assert_eq!(version(&replica.get()), 1, "a write is marked wherever its session is");
    moving.take_along(&place);
    assert_eq!(version(&replica.get()), 1, "what moved is from before the write");
    assert_eq!(version(&replica.wait_hit()), 1);
    assert_eq!(version(&replica.patch()), 2);
    assert_eq!(version(&replica.get()), 2);
    assert_eq!(version(&replica.wait_hit()), 2, "everything has moved, but the slot");
    cluster.end_move(moving);
    assert_eq!(version(&replica.get()), 2);
    assert_eq!(version(&replica.wait_hit()), 2);
    assert_eq!(replica.event("invalidation_failed"), 0);
}

/// Data about tenants has a key of its own, which usually does not exist yet. No step may create it during the
/// migration.
#[test]
fn session_deleted_during_a_slot_migration_is_gone_at_once() {
    if !redis_installed() {
        return;
    }
    let (cluster, provider) = (RedisCluster::start(false), Provider::start());
    let store = format!("cluster: [\"{}\"], seal_keys: [{{ env: SEAL }}]", cluster.primaries[0].url());
    let replica = provider.replica_of(&provider.config("{ ttl: 5m }", &store));
    wait_for("all servers to be connected", || (replica.metric("sessiongate_store_connections") == 3).then_some(()));
    replica.get();
    replica.wait_hit();
    let (state, place) = (find(&cluster, "}:s"), find(&cluster, "}:v2:"));
    let gone = |what: &str| {
        let response = replica.get();
        assert_eq!((response.status, status(&response)), (404, "sessiongate; hit; detail=deleted"), "{what}");
    };
    let moving = cluster.begin_move(&state);
    assert_eq!(delete(&replica), 200);
    gone("nothing has moved yet");
    [&state, &place].into_iter().for_each(|key| moving.take_along(key));
    gone("everything has moved, but the slot");
    assert_eq!(delete(&replica), 200);
    gone("it was deleted at the other server");
    cluster.end_move(moving);
    gone("the slot has moved");
}

/// Before a deletion is recorded, the last purge of the upstream is read, possibly from another server.
#[test]
fn deletion_is_recorded_while_the_server_of_the_epoch_hangs() {
    if !redis_installed() {
        return;
    }
    let cluster = RedisCluster::with(false, &["--cluster-require-full-coverage", "no"]);
    let provider = Provider::start();
    let store = format!("cluster: [\"{}\"], seal_keys: [{{ env: SEAL }}]", cluster.primaries[0].url());
    let config = provider.config("{ ttl: 5m }", &store);
    let replica = provider.replica_of(&config.replace(STORE_TIMEOUTS, "{ connect: 2s, read: 400ms, write: 600ms }"));
    wait_for("all servers to be connected", || (replica.metric("sessiongate_store_connections") == 3).then_some(()));
    replica.get();
    replica.wait_hit();
    let (state, epoch) = (find(&cluster, "}:s"), find(&cluster, "}:e"));
    let owner = |key: &String| cluster.primaries.iter().position(|server| server.keys().contains(key)).unwrap();
    // On which servers they are is left to chance.
    if owner(&state) == owner(&epoch) {
        cluster.move_slot(&epoch);
        replica.wait_hit();
    }
    let (own, hanging) = (&cluster.primaries[owner(&state)], &cluster.primaries[owner(&epoch)]);
    let before = provider.recorder.count();
    provider.gate.set(false);
    thread::scope(|scope| {
        let deleted = scope.spawn(|| delete(&replica));
        provider.recorder.wait(before + 1);
        hanging.hold();
        // The session's own server responds, but not at once.
        let _: () = own.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        provider.gate.set(true);
        wait_for("the end of the write to arrive", || {
            let info: String = own.ask(&["INFO", "clients"]);
            (!info.contains("blocked_clients:0")).then_some(())
        });
        let _: () = own.ask(&["CLIENT", "UNPAUSE"]);
        assert_eq!(deleted.join().unwrap(), 200);
    });
    hanging.go_on();
    let timeouts = replica.metric(r#"sessiongate_store_errors_total{reason="timeout",step="end"}"#);
    assert_eq!(timeouts, 0, "the server of the session is a good one");
    wait_for("the deletion to be seen", || (replica.get().status == 404).then_some(()));
}

/// In a cluster, most keys are on other servers, so readers would not notice a broken connection early.
#[test]
fn idle_connections_are_probed() {
    if !redis_installed() {
        return;
    }
    let (cluster, provider) = (RedisCluster::start(false), Provider::start());
    let store = format!("cluster: [\"{}\"], seal_keys: [{{ env: SEAL }}]", cluster.primaries[0].url());
    let replica = provider.replica_of(&provider.config("{}", &store));
    let connected = |count: u64| {
        wait_for("connections to come or go", || {
            (replica.metric("sessiongate_store_connections") == count).then_some(())
        });
    };
    connected(3);
    for server in &cluster.primaries {
        let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    }
    // A connection that was given up is made again, and tried again.
    wait_for("every server to reject", || {
        let rejected = cluster.primaries.iter().all(|server| {
            let stats: String = server.ask(&["INFO", "errorstats"]);
            stats.contains("errorstat_OOM")
        });
        (rejected && replica.metric("sessiongate_store_disconnects_total") >= 3).then_some(())
    });
    for server in &cluster.primaries {
        let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    }
    connected(3);
    replica.get();
    replica.wait_hit();
}

/// The options of a server that talks to those it knows only.
fn secret_from_strangers<'a>(authority: &'a Path, certificate: &'a Path, key: &'a Path) -> Vec<&'a str> {
    let text = |path: &'a Path| path.to_str().unwrap();
    let files =
        ["--tls-cert-file", text(certificate), "--tls-key-file", text(key), "--tls-ca-cert-file", text(authority)];
    [["--tls-port", "TLS_PORT", "--tls-auth-clients", "yes"].as_slice(), &files].concat()
}

#[test]
fn sentinels_and_their_servers_over_tls() {
    if !redis_installed() {
        return;
    }
    let (authority, stranger) = (Authority::new("ours"), Authority::new("somebody else's"));
    let (certificate, key) = authority.certify_in_files("server", &["127.0.0.1"]);
    let (own, own_key) = authority.certify_in_files("gateway", &["gateway"]);
    let mut options = secret_from_strangers(&authority.file, &certificate, &key);
    options.extend(["--tls-replication", "yes"]);
    let mut sentinels = Sentinels::with(&options);
    let client = format!("certificate: \"{}\", key: \"{}\"", own.display(), own_key.display());
    let store = |authority: &Path| {
        format!(
            "sentinel: {{ service: sessions, nodes: [{}] }}, tls: {{ ca_file: \"{}\", {client} }}",
            listed(&sentinels.urls()),
            authority.display(),
        )
    };
    let provider = Provider::start();
    let wary = store(&stranger.file);
    let replica = provider.replica_of(&provider.config("{}", &format!("{wary}, seal_keys: [{{ env: SEAL }}]")));
    replica.gateway.wait_for_log(|line| line.contains("cannot connect to the store"));
    assert_eq!(status(&replica.get()), "sessiongate; fwd=bypass", "sentinels of somebody else's");
    let fleet = Fleet::start(&format!("{}, timeouts: {STORE_TIMEOUTS}", store(&authority.file)), 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 100);
        sentinels.servers[0].kill();
        let other = sentinels.servers[1].port();
        wait_for("the failover", || (sentinels.primary() == other).then_some(()));
        fleet.replicas.iter().for_each(|replica| replica.wait_connected());
        wait_hits(found, 200);
        assert!(sentinels.servers[1].calls("evalsha") > 100, "the other server works");
    });
    assert_good("failover by sentinels over TLS", found);
}

/// Sentinels and clusters report addresses, while certificates contain names.
#[test]
fn tls_server_name_can_differ_from_the_address() {
    if !redis_installed() {
        return;
    }
    let authority = Authority::new("ours");
    let (certificate, key) = authority.certify_in_files("server", &["redis.example"]);
    let (own, own_key) = authority.certify_in_files("gateway", &["gateway"]);
    let tls = |more: &str| {
        let files = [&authority.file, &own, &own_key].map(|file| file.display().to_string());
        let [ca_file, certificate, key] = files;
        format!("tls: {{ ca_file: \"{ca_file}\", certificate: \"{certificate}\", key: \"{key}\"{more} }}")
    };
    let options = secret_from_strangers(&authority.file, &certificate, &key);
    let provider = Provider::start();
    let replica = |servers: &str, name: &str| {
        let store = format!("{servers}, {}, seal_keys: [{{ env: SEAL }}]", tls(name));
        provider.replica_of(&provider.config("{}", &store))
    };
    let server = RedisServer::with(&options);
    let mut sentinels = Sentinels::with(&[&options[..], &["--tls-replication", "yes"]].concat());
    let cluster = RedisCluster::with(false, &[&options[..], &["--tls-cluster", "yes"]].concat());
    let by_sentinels = format!("sentinel: {{ service: sessions, nodes: [{}] }}", listed(&sentinels.urls()));
    for servers in [
        format!("url: \"{}\"", server.url()),
        by_sentinels.clone(),
        format!("cluster: [\"{}\"]", cluster.primaries[0].url()),
    ] {
        for wrong in ["", ", server_name: other.example"] {
            let replica = replica(&servers, wrong);
            let line = replica.gateway.wait_for_log(|line| line.contains("cannot connect to the store"));
            assert!(line.to_lowercase().contains("certificate"), "{servers}: {line}");
            assert_eq!(status(&replica.get()), "sessiongate; fwd=bypass", "{servers}");
        }
        let replica = replica(&servers, ", server_name: redis.example");
        replica.wait_connected();
        replica.get();
        replica.wait_hit();
    }
    // The server that takes over has the same name.
    let replica = replica(&by_sentinels, ", server_name: redis.example");
    replica.wait_connected();
    sentinels.servers[0].kill();
    let other = sentinels.servers[1].port();
    wait_for("the failover", || (sentinels.primary() == other).then_some(()));
    replica.wait_connected();
    replica.get();
    replica.wait_hit();
    assert!(sentinels.servers[1].calls("evalsha") > 0, "the other server works");
}

#[test]
fn cluster_over_tls() {
    if !redis_installed() {
        return;
    }
    let authority = Authority::new("ours");
    let (certificate, key) = authority.certify_in_files("server", &["127.0.0.1"]);
    let (own, own_key) = authority.certify_in_files("gateway", &["gateway"]);
    let mut options = secret_from_strangers(&authority.file, &certificate, &key);
    options.extend(["--tls-cluster", "yes"]);
    let cluster = RedisCluster::with(false, &options);
    let store = format!(
        "cluster: [\"{}\"], timeouts: {STORE_TIMEOUTS}, tls: {{ ca_file: \"{}\", certificate: \"{}\", key: \"{}\" }}",
        cluster.primaries[0].url(),
        authority.file.display(),
        own.display(),
        own_key.display(),
    );
    let fleet = Fleet::start(&store, 2);
    let found = fleet.under_load(|found| {
        wait_hits(found, 200);
        // Also the server that holds no key of the session: idle connections are probed.
        wait_for("all servers to be asked", || {
            cluster.primaries.iter().all(|server| server.calls("evalsha") > 0).then_some(())
        });
    });
    assert_good("a cluster over TLS", found);
}

#[test]
fn redis_over_tls_with_client_certificates() {
    if !redis_installed() {
        return;
    }
    let (authority, stranger) = (Authority::new("ours"), Authority::new("somebody else's"));
    let (certificate, key) = authority.certify_in_files("server", &["127.0.0.1", "localhost"]);
    let (own, own_key) = authority.certify_in_files("gateway", &["gateway"]);
    let server = RedisServer::with(&secret_from_strangers(&authority.file, &certificate, &key));
    let provider = Provider::start();
    let replica = |tls: &str| {
        let url = format!("rediss://localhost:{}", server.port());
        let store = format!("url: \"{url}\", tls: {{ {tls} }}, seal_keys: [{{ env: SEAL }}]");
        provider.replica_of(&provider.config("{}", &store))
    };
    let (ours, theirs) = (authority.file.display(), stranger.file.display());
    let client = format!("certificate: \"{}\", key: \"{}\"", own.display(), own_key.display());
    let good = replica(&format!("ca_file: \"{ours}\", {client}"));
    good.wait_connected();
    good.get();
    good.wait_hit();
    for (tls, what) in [
        (format!("ca_file: \"{ours}\""), "without a certificate"),
        (format!("ca_file: \"{theirs}\", {client}"), "with another authority"),
    ] {
        let replica = replica(&tls);
        let line = replica.gateway.wait_for_log(|line| line.contains("cannot connect to the store"));
        assert!(line.to_lowercase().contains("certificate"), "{what}: {line}");
        assert_eq!(status(&replica.get()), "sessiongate; fwd=bypass", "{what}");
        assert_eq!(replica.patch().status, 200, "{what}");
    }
}

#[test]
fn sandbox_runs_on_a_real_redis() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let sandbox = Sandbox::start(&["--redis", &server.url()]);
    let read = || Request::new("GET", &sandbox.session_path()).bearer(&sandbox.token).send(&sandbox.gateway);
    wait_for("a hit", || status(&read()).contains("; hit").then_some(()));
    // Beside the version that the gateway announces.
    assert_eq!(server.keys().iter().filter(|key| !key.ends_with(":protocol:3")).count(), 3);
    // The server is new, so that rights count only after the longest write, which takes seconds in the sandbox.
    let write = Request::new("PATCH", &sandbox.session_path()).json(r#"{"session_metadata":{"tier":"pro"}}"#);
    let write = write.bearer(&sandbox.token);
    wait_for("a write of metadata", || (write.send(&sandbox.gateway).status == 200).then_some(()));
}

/// Hands bytes on to a server and back; on demand it breaks off in the middle of a response.
struct Breaking {
    port: u16,
    /// After how many bytes the next response breaks off, or [`WHOLE`].
    cut: Arc<AtomicUsize>,
}

const WHOLE: usize = usize::MAX;

impl Breaking {
    fn start(server: u16) -> Breaking {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let cut = Arc::new(AtomicUsize::new(WHOLE));
        let breaking = Breaking { port: listener.local_addr().unwrap().port(), cut };
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

    /// Lets the next response that is long enough break off after so many bytes, or before its last one.
    fn cut(&self, after: usize) {
        self.cut.store(after, Ordering::SeqCst);
    }

    fn wait_cut(&self) {
        wait_for("a truncated reply", || (self.cut.load(Ordering::SeqCst) == WHOLE).then_some(()));
    }
}

fn hand_on(mut server: TcpStream, mut client: TcpStream, cut: &AtomicUsize) -> io::Result<()> {
    let mut part = [0; 16_384];
    loop {
        let length = server.read(&mut part)?;
        // Only in what is long enough to be an entry, or the responses to several commands.
        if length > 350 {
            let after = cut.swap(WHOLE, Ordering::SeqCst);
            if after != WHOLE {
                client.write_all(&part[..after.min(length - 1)])?;
                return client.shutdown(Shutdown::Both);
            }
        }
        if length == 0 {
            return client.shutdown(Shutdown::Both);
        }
        client.write_all(&part[..length])?;
    }
}

#[test]
fn truncated_redis_replies_under_load() {
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
            breaking.cut(400);
            breaking.wait_cut();
        }
        // And a server that hangs for longer than all timeouts.
        let _: () = server.ask(&["DEBUG", "SLEEP", "0.5"]);
        wait_hits(found, 50);
    });
    assert_good("truncated replies", found);
}

/// The response to a hit is cut in the text before it, in the entry's head, in the sealed part, and in the last bytes.
#[test]
fn truncated_entry_is_not_a_hit() {
    if !redis_installed() {
        return;
    }
    let (server, provider) = (RedisServer::start(), Provider::start());
    let breaking = Breaking::start(server.port());
    let store = format!("url: \"redis://127.0.0.1:{}\", seal_keys: [{{ env: SEAL }}]", breaking.port);
    let replica = provider.replica_of(&provider.config("{}", &store));
    replica.wait_connected();
    replica.get();
    replica.wait_hit();
    for after in (0..48).step_by(3).chain((48..450).step_by(29)).chain([WHOLE - 1]) {
        breaking.cut(after);
        let response = replica.get();
        assert_eq!((version(&response), status(&response)), (0, "sessiongate; fwd=bypass"), "after {after} bytes");
        breaking.wait_cut();
        replica.wait_connected();
        assert_eq!(version(&replica.wait_hit()), 0, "after {after} bytes");
    }
    assert_eq!(replica.event("unreadable"), 0);
}

#[test]
fn commands_in_flight_are_bounded() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let fleet = Fleet::start(&format!("url: \"{}\", max_in_flight: 2", server.url()), 2);
    let busy = |replica: &Replica| replica.metric(r#"sessiongate_store_errors_total{reason="busy",step="acquire"}"#);
    let found = fleet.under_load(|found| {
        wait_hits(found, 300);
        wait_for("one too many", || (fleet.replicas.iter().map(busy).sum::<u64>() > 0).then_some(()));
    });
    assert_good("one read at a time", found);
}
