//! The Redis store on real servers: what replicas share, how they see each other's writes, what is stored, and how
//! requests fare when the store fails.

use crate::harness::recorder::{Call, Recorder, SESSION, Then, session};
use crate::harness::replica::{Provider, Replica, STORE_TIMEOUTS, path, status, version};
use crate::harness::{Gate, RedisServer, Request, Response, redis_installed, wait_for};
use serde_json::json;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the tests of one server begin with; none where there is no server.
fn fleet<const REPLICAS: usize>(cache: &str) -> Option<(RedisServer, Provider, [Replica; REPLICAS])> {
    if !redis_installed() {
        return None;
    }
    let (server, provider) = (RedisServer::start(), Provider::start());
    let replicas = std::array::from_fn(|_| provider.replica(&server, cache));
    Some((server, provider, replicas))
}

#[test]
fn replicas_share_entries_and_see_each_others_writes() {
    let Some((_server, provider, [one, other])) = fleet("{}") else { return };
    assert_eq!(version(&one.get()), 0);
    let hit = other.wait_hit();
    assert_eq!((version(&hit), provider.reads()), (0, 1), "one fetch for both");
    assert!(status(&hit).starts_with("sessiongate; hit; ttl="), "{}", status(&hit));
    assert!(hit.header("Age").unwrap().parse::<u64>().unwrap() <= 30);
    for expected in 1..5 {
        assert_eq!(version(&one.patch()), expected);
        assert_eq!(version(&other.get()), expected, "a write through one is seen through the other");
        assert_eq!(version(&one.wait_hit()), expected);
        assert_eq!(version(&other.wait_hit()), expected);
    }
    assert_eq!(provider.reads(), 5);
}

/// A new replica does not know the epoch. While a write marks it, deletions must count anyway.
#[test]
fn replica_started_during_an_upstream_wide_write_knows_deletions() {
    let Some((server, provider, [one])) = fleet("{}") else { return };
    one.get();
    let delete = |path: &str| Request::new("DELETE", path).bearer(&one.token).send(&one.gateway.url()).status;
    assert_eq!(delete(&path()), 200);
    assert_eq!(one.get().status, 404);
    provider.gate.set(false);
    thread::scope(|scope| {
        let before = provider.recorder.count();
        let write = scope.spawn(|| delete("/api/v2/users/auth0%7Cx"));
        provider.recorder.wait(before + 1);
        let other = provider.replica(&server, "{}");
        let response = other.get();
        assert_eq!((response.status, status(&response)), (404, "sessiongate; hit; detail=deleted"));
        let another = format!("{}x", path());
        let own = Request::new("GET", &another).bearer(&other.token);
        scope.spawn(move || {
            let response = own.send(&other.gateway.url());
            assert_eq!((response.status, status(&response)), (200, "sessiongate; fwd=bypass"), "others are not");
        });
        provider.recorder.wait(before + 2);
        provider.gate.set(true);
        assert_eq!(write.join().unwrap(), 200);
    });
}

#[test]
fn cold_sessions_are_fetched_once_for_all_replicas() {
    let Some((_server, provider, replicas)) = fleet::<2>("{}") else { return };
    provider.gate.set(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..20)
            .map(|reader| {
                let replica = &replicas[reader % 2];
                scope.spawn(move || version(&replica.get()))
            })
            .collect();
        let in_flight = |replica: &Replica| replica.metric("sessiongate_requests_in_flight");
        wait_for("all reads to wait", || (replicas.iter().map(in_flight).sum::<u64>() == 20).then_some(()));
        provider.gate.set(true);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() == 0));
    });
    assert_eq!(provider.reads(), 1);
}

#[test]
fn dead_reader_delays_others_only_briefly() {
    let Some((_server, provider, [dying, other])) = fleet("{}") else { return };
    provider.gate.set(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let request = Request::new("GET", &path()).bearer(&dying.token);
            assert!(request.try_send(&dying.gateway.url()).is_err(), "its gateway died");
        });
        provider.recorder.wait(1);
        dying.gateway.signal("KILL");
        provider.gate.set(true);
        let began = Instant::now();
        assert_eq!(version(&other.get()), 0);
        assert!(began.elapsed() < Duration::from_secs(10), "as long as the lease");
    });
    assert_eq!((provider.reads(), other.event("lease_lost")), (2, 1));
}

/// A server that hangs executes pending commands when it resumes, also for readers that have left or have fetched from
/// the provider.
#[test]
fn reader_that_gives_up_leaves_no_lease() {
    let Some((server, provider, [one, other])) = fleet("{}") else { return };
    one.get();
    other.wait_hit();
    let expected = version(&one.patch());
    server.hold();
    assert_eq!(status(&one.get()), "sessiongate; fwd=bypass", "the store is too slow");
    server.go_on();
    assert_eq!(version(&other.get()), expected);
    assert_eq!(other.event("lease_lost"), 0);
    assert_eq!(version(&other.wait_hit()), expected);
    assert_eq!(provider.writes(), 1);
}

/// The same after the deadline that the caller sets.
#[test]
fn reader_past_its_deadline_leaves_no_lease() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let recorder =
        Recorder::start(|call: &mut Call| call.json(200, &json!({ "session": { "id": "s1", "sequence": "5" } })));
    let config = format!(
        "hash_key: {{ env: HASH }}\nstore: {{ redis: {{ settle: 0s, timeouts: {STORE_TIMEOUTS}, url: \"{}\", seal_keys: [{{ env: SEAL }}] }} }}\n{}",
        server.url(),
        recorder.upstream_as("forward", "cache: {}").replace("dialect: auth0", "dialect: zitadel")
    );
    let [one, other] = std::array::from_fn(|_| Replica::start(&config, "pat"));
    let call = |replica: &Replica, deadline: &str| {
        let call = Request::new("POST", "/zitadel.session.v2.SessionService/GetSession").bearer("pat");
        call.json(r#"{"sessionId":"s1"}"#).header("Connect-Timeout-Ms", deadline).send(&replica.gateway.url())
    };
    server.hold();
    assert_eq!(call(&one, "100").status, 504);
    server.go_on();
    assert_eq!(call(&other, "60000").status, 200);
    assert_eq!((other.event("lease_lost"), recorder.count()), (0, 1));
}

/// A `no-cache` request fetches without a lease. A reader that joins it may have acquired one that no fetch uses.
#[test]
fn reader_that_joins_a_fetch_leaves_no_lease() {
    let Some((server, provider, [one, other])) = fleet("{}") else { return };
    provider.fault.store(503, Ordering::SeqCst);
    // Its lease is in the store a moment before it joins: then the fetch may have ended, and it begins its own.
    wait_for("a read that joins a fetch", || {
        let before = provider.reads();
        provider.gate.set(false);
        thread::scope(|scope| {
            let fresh = scope.spawn(|| one.get_with(&[("Cache-Control", "no-cache")]).status);
            provider.recorder.wait(before + 1);
            let joins = scope.spawn(|| one.get().status);
            wait_for("a lease", || server.keys().iter().any(|key| key.contains(":v2:")).then_some(()));
            provider.gate.set(true);
            assert_eq!((fresh.join().unwrap(), joins.join().unwrap()), (503, 503));
        });
        (provider.reads() == before + 1).then_some(())
    });
    provider.fault.store(0, Ordering::SeqCst);
    let before = provider.reads();
    assert_eq!((version(&other.get()), other.event("lease_lost")), (0, 0));
    assert_eq!(provider.reads(), before + 1);
}

#[test]
fn number_of_round_trips_per_step() {
    let Some((server, _provider, [replica])) = fleet("{}") else { return };
    replica.get();
    replica.wait_hit();
    let counted = |act: &dyn Fn() -> Response| {
        let before = ["evalsha", "set", "get"].map(|command| server.calls(command));
        act();
        let after = ["evalsha", "set", "get"].map(|command| server.calls(command));
        [0, 1, 2].map(|at| after[at] - before[at])
    };
    // What looks after the connection runs a script now and then: what is counted beside it is more, never less.
    let takes = |what: &str, expected: [u64; 3], act: &dyn Fn() -> Response| {
        wait_for(what, || (counted(act) == expected).then_some(()));
    };
    // The script reads the state and the place; the epoch is read beside it, in the same round trip.
    takes("a hit in one round trip", [1, 0, 3], &|| replica.get());
    // Each of the two scripts of a write reads the state, and writes it.
    takes("a write in two round trips", [2, 2, 2], &|| replica.patch());
    // Beside the write before it: the script that takes the lease, and the one that fills, each with the state and the
    // place.
    takes("a miss in two round trips", [4, 4, 7], &|| {
        replica.patch();
        replica.get()
    });
}

#[test]
fn stored_data_is_encrypted() {
    let Some((server, provider, [replica])) = fleet("{}") else { return };
    replica.get();
    replica.wait_hit();
    replica.patch();
    replica.get();
    replica.wait_hit();
    // The set of key versions is not secret. It takes a moment to be published.
    let own = |key: &String| key.ends_with(":protocol:3");
    wait_for("the version to be announced", || server.keys().iter().any(own).then_some(()));
    let keys: Vec<String> = server.keys().into_iter().filter(|key| !own(key)).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let secret = [SESSION, "auth0|65f0", "65f0", "team", "blue", "session_metadata", &provider.recorder.token()[..40]];
    for key in keys {
        let stored: Vec<u8> = server.ask(&["GET", &key]);
        let stored = String::from_utf8_lossy(&stored);
        for secret in secret {
            assert!(!key.contains(secret) && !stored.contains(secret), "{secret} stands in {key}");
        }
        let left: i64 = server.ask(&["PTTL", &key]);
        assert!(left > 0, "{key} never ends");
    }
}

#[test]
fn sealed_entries_cannot_be_moved_to_another_key() {
    let Some((server, provider, [replica])) = fleet("{}") else { return };
    replica.get();
    replica.wait_hit();
    let key = server.keys().into_iter().find(|key| key.contains(":v2:")).unwrap();
    for spoil in [1, 100, 110, 130] {
        // What is being stored would come in the place of what is spoilt.
        replica.wait_hit();
        let mut spoilt: Vec<u8> = server.ask(&["GET", &key]);
        let place = spoilt.len() - spoil;
        spoilt[place] ^= 1;
        redis::cmd("SET").arg(&key).arg(spoilt).arg("PX").arg(60_000).exec(&mut server.connection()).unwrap();
        let before = provider.reads();
        assert_eq!(version(&replica.get()), 0);
        assert_eq!(
            provider.reads(),
            before + 1,
            "the provider responds instead of an entry that is damaged {spoil} bytes before its end"
        );
    }
    assert!(replica.event("unreadable") >= 4);
    replica.wait_hit();
}

#[test]
fn seal_keys_can_be_rotated() {
    let Some((server, provider, [old])) = fleet("{}") else { return };
    let store = format!("url: \"{}\", seal_keys: [{{ env: NEXT }}, {{ env: SEAL }}]", server.url());
    let both = provider.replica_of(&provider.config("{}", &store));
    both.wait_connected();
    old.get();
    old.wait_hit();
    assert!(status(&both.get()).contains("; hit"), "the old key opens");
    both.patch();
    both.get();
    both.wait_hit();
    let before = provider.reads();
    assert_eq!(version(&old.get()), 1);
    assert_eq!(provider.reads(), before + 1, "what the new key sealed is none to who does not have it");
}

#[test]
fn without_the_store_requests_go_to_the_provider() {
    let Some((mut server, provider, [one, other])) = fleet("{}") else { return };
    one.get();
    one.wait_hit();
    server.kill();
    for replica in [&one, &other] {
        let response = replica.get();
        assert_eq!((version(&response), status(&response)), (0, "sessiongate; fwd=bypass"));
    }
    assert_eq!(version(&one.patch()), 1);
    assert_eq!(version(&other.get()), 1);
    assert_eq!(one.event("invalidation_failed"), 1);
    server.restart();
    one.wait_connected();
    other.wait_connected();
    assert_eq!(version(&other.get()), 1);
    assert_eq!((version(&one.wait_hit()), version(&other.wait_hit())), (1, 1));
    assert_eq!(provider.writes(), 1);
}

/// The store returns in a state before a write that it missed, as after a failover that loses acknowledged data.
#[test]
fn entries_from_before_a_reconnect_are_not_served() {
    let Some((mut server, provider, [replica])) = fleet("{ ttl: 5m }") else { return };
    replica.get();
    replica.wait_hit();
    let kept: Vec<(String, Vec<u8>)> =
        server.keys().into_iter().map(|key| (key.clone(), server.ask(&["GET", &key]))).collect();
    server.kill();
    replica.wait_disconnected();
    assert_eq!(version(&replica.patch()), 1);
    server.restart();
    let mut connection = server.connection();
    for (key, value) in kept {
        redis::cmd("SET").arg(key).arg(value).arg("PX").arg(300_000).exec(&mut connection).unwrap();
    }
    replica.wait_connected();
    let response = replica.get();
    assert_eq!((version(&response), provider.reads()), (1, 2), "{}", status(&response));
    assert_eq!(version(&replica.wait_hit()), 1);
}

#[test]
fn hanging_store_delays_reads_but_fails_none() {
    let Some((server, provider, [one, other])) = fleet("{}") else { return };
    one.get();
    one.wait_hit();
    server.hold();
    let response = one.get();
    assert_eq!((version(&response), status(&response)), (0, "sessiongate; fwd=bypass"));
    assert_eq!(version(&one.patch()), 1);
    (0..8).for_each(|_| assert_eq!(version(&one.get()), 1));
    one.wait_disconnected();
    let before = one.metric(r#"sessiongate_store_errors_total{reason="timeout",step="acquire"}"#);
    (0..20).for_each(|_| assert_eq!(version(&one.get()), 1));
    let after = one.metric(r#"sessiongate_store_errors_total{reason="timeout",step="acquire"}"#);
    assert_eq!(before, after, "nobody waits for a store that is given up");
    server.go_on();
    // Commands that were sent while it hung are executed now, marks before anything that is sent from now on.
    assert_eq!(version(&other.get()), 1);
    one.wait_connected();
    assert_eq!((version(&one.wait_hit()), version(&other.wait_hit())), (1, 1));
    assert_eq!(provider.writes(), 1);
}

#[test]
fn on_unreachable_reject_rejects_writes() {
    let Some((mut server, provider, [replica])) = fleet("{ on_unreachable: reject }") else { return };
    assert_eq!(version(&replica.patch()), 1);
    server.kill();
    replica.wait_disconnected();
    let response = replica.patch();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    assert_eq!(response.json()["statusCode"], 503);
    assert_eq!(provider.writes(), 1, "it never reached the provider");
    assert_eq!(version(&replica.get()), 1, "reads do not need the store");
    server.restart();
    replica.wait_connected();
    assert_eq!(version(&replica.patch()), 2);
}

#[test]
fn on_unreachable_hold_delays_writes() {
    let Some((mut server, provider, [replica])) = fleet("{ ttl: 2s, on_unreachable: hold }") else { return };
    server.kill();
    replica.wait_disconnected();
    let began = Instant::now();
    assert_eq!(version(&replica.patch()), 1);
    assert!(began.elapsed() >= Duration::from_secs(2), "nothing older can be served any more");
    assert_eq!(provider.writes(), 1);
}

/// An outage is one line in the log, however often the gateway tries again.
#[test]
fn full_server_is_logged_once_with_its_code() {
    let Some((server, _provider, [replica])) = fleet("{}") else { return };
    let logged = |message: &str| replica.gateway.log().iter().filter(|line| line.contains(message)).count();
    let store = || {
        let ready = Request::new("GET", "/readyz").send(&replica.gateway.admin_url());
        ready.json()["checks"]["store"].as_str().unwrap().to_owned()
    };
    replica.gateway.wait_for_log(|line| line.contains("store usable"));
    assert_eq!(store(), "ok");
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]);
    let line = replica.gateway.wait_for_log(|line| line.contains("store rejects commands; connection closed"));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let reason = "command not allowed when used memory > 'maxmemory'";
    assert_eq!((line["code"].as_str(), line["reason"].as_str()), (Some("OOM"), Some(reason)), "{line}");
    wait_for("attempts to connect", || {
        let failed = replica.metric(r#"sessiongate_store_connect_failures_total{code="OOM"}"#);
        assert_eq!(replica.metric("sessiongate_store_connections"), 0, "a connection alone does not count");
        (failed >= 4).then_some(())
    });
    assert_eq!((logged("store rejects"), logged("store usable")), (1, 1));
    assert_eq!(replica.metric("sessiongate_store_disconnects_total"), 1);
    let text = store();
    let lasted = text.strip_prefix("unusable for ").and_then(|text| text.strip_suffix(&format!(" s: OOM {reason}")));
    assert!(lasted.is_some_and(|lasted| lasted.parse::<u64>().is_ok()), "{text}");
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_for("the store to be usable", || (logged("store usable") == 2).then_some(()));
    assert_eq!((store().as_str(), logged("store rejects")), ("ok", 1));
}

#[test]
fn store_errors_are_treated_as_no_store() {
    let Some((server, provider, [replica])) = fleet("{}") else { return };
    let works = |expected: u64, what: &str| {
        assert_eq!(version(&replica.get()), expected, "{what}");
        assert_eq!(version(&replica.patch()), expected + 1, "{what}");
        assert_eq!(version(&replica.get()), expected + 1, "{what}");
    };
    works(0, "at first");
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    works(1, "out of memory");
    assert!(replica.metric(r#"sessiongate_store_errors_total{reason="server_error",step="acquire"}"#) > 0);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    replica.wait_connected();
    replica.get();
    assert_eq!(version(&replica.wait_hit()), 2);
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    works(2, "read-only");
    let _: () = server.ask(&["REPLICAOF", "NO", "ONE"]);
    replica.wait_connected();
    replica.get();
    assert_eq!(version(&replica.wait_hit()), 3);
    let _: () = server.ask(&["SCRIPT", "FLUSH"]);
    works(3, "without its scripts");
    assert_eq!(version(&replica.wait_hit()), 4, "it was taught them again");
    let _: () = server.ask(&["FLUSHALL"]);
    works(4, "empty");
    assert_eq!(provider.writes(), 5);
}

/// The server rejects writes and would still return entries. Writes proceed without marks, so no entry may be served.
#[test]
fn read_only_store_serves_no_reads() {
    let Some((server, provider, [one, other])) = fleet("{ ttl: 5m }") else { return };
    let hit = |expected: u64| {
        one.get();
        assert_eq!((version(&one.wait_hit()), version(&other.wait_hit())), (expected, expected));
    };
    hit(0);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(version(&one.patch()), 1);
    assert_eq!(version(&other.get()), 1, "out of memory");
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(version(&other.get()), 1, "no longer out of memory");
    [&one, &other].iter().for_each(|replica| replica.wait_connected());
    hit(1);
    let _: () = server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(version(&one.patch()), 2);
    assert_eq!(version(&other.get()), 2, "without enough replicas");
    let _: () = server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(version(&other.get()), 2, "with enough replicas");
    [&one, &other].iter().for_each(|replica| replica.wait_connected());
    hit(2);
    assert_eq!(provider.writes(), 2);
}

/// The server loads its data: after it was killed, and again as a replica does with a new copy.
#[test]
fn loading_store_is_treated_as_no_store() {
    if !redis_installed() {
        return;
    }
    // Much to load, slowly, and with an ear for others after every key.
    let mut server =
        RedisServer::with(&["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]);
    let _: () = server.ask(&["DEBUG", "POPULATE", "1000", "load", "4096"]);
    let provider = Provider::start();
    let [one, other] = [(); 2].map(|()| provider.replica(&server, "{ ttl: 5m }"));
    let cached = |expected: u64| {
        [&one, &other].iter().for_each(|replica| replica.wait_connected());
        assert_eq!((version(&one.get()), version(&other.get())), (expected, expected), "nothing older comes back");
        assert_eq!((version(&one.wait_hit()), version(&other.wait_hit())), (expected, expected));
    };
    let is_loading = |server: &RedisServer| server.ask::<String>(&["INFO", "persistence"]).contains("\nloading:1");
    let works_meanwhile = |server: &RedisServer, expected: u64| {
        wait_for("the server to load", || is_loading(server).then_some(()));
        let response = one.get();
        assert_eq!((version(&response), status(&response)), (expected, "sessiongate; fwd=bypass"));
        assert_eq!(version(&one.patch()), expected + 1);
        assert_eq!(version(&other.get()), expected + 1);
        assert!(is_loading(server), "it was loading all the time");
        let _: () = server.ask(&["CONFIG", "SET", "key-load-delay", "0"]);
        wait_for("the server to have loaded", || (!is_loading(server)).then_some(()));
    };
    cached(0);
    let _: () = server.ask(&["SAVE"]);
    server.restart();
    works_meanwhile(&server, 0);
    cached(1);
    let _: () = server.ask(&["CONFIG", "SET", "key-load-delay", "20000"]);
    thread::scope(|scope| {
        // It keeps its connections, and rejects over them.
        scope.spawn(|| server.ask::<()>(&["DEBUG", "RELOAD"]));
        works_meanwhile(&server, 1);
    });
    one.gateway.wait_for_log(|line| line.contains("store rejects commands") && line.contains("LOADING"));
    cached(2);
    assert_eq!((provider.writes(), one.event("invalidation_failed")), (2, 2));
}

/// The user may still read, but marks cannot be set, so no entry may be served.
#[test]
fn revoked_write_permission_stops_hits_on_all_replicas() {
    let Some((server, provider, _)) = fleet::<0>("{}") else { return };
    let _: () = server.ask(&["ACL", "SETUSER", "gate", "on", ">open-sesame", "~*", "+@all"]);
    let store = format!(
        "url: \"{}\", username: gate, password: {{ env: PASSWORD }}, seal_keys: [{{ env: SEAL }}]",
        server.url()
    );
    let [one, other] = [(); 2].map(|()| provider.replica_of(&provider.config("{ ttl: 5m }", &store)));
    [&one, &other].iter().for_each(|replica| replica.wait_connected());
    for (at, (taken, given)) in [("-set", "+set"), ("-evalsha", "+evalsha"), ("-@all", "+@all")].iter().enumerate() {
        let expected = at as u64;
        one.get();
        assert_eq!((version(&one.wait_hit()), version(&other.wait_hit())), (expected, expected));
        let _: () = server.ask(&["ACL", "SETUSER", "gate", taken]);
        assert_eq!(version(&one.patch()), expected + 1, "{taken}");
        assert_eq!((version(&other.get()), version(&one.get())), (expected + 1, expected + 1), "{taken}");
        let _: () = server.ask(&["ACL", "SETUSER", "gate", given]);
        [&one, &other].iter().for_each(|replica| replica.wait_connected());
        assert_eq!(version(&other.get()), expected + 1, "{given}");
    }
    assert_eq!(provider.writes(), 3);
}

#[test]
fn documented_redis_permissions_suffice_and_missing_ones_fail_no_request() {
    if !redis_installed() {
        return;
    }
    let provider = Provider::start();
    let rights = "~sessiongate1:* +get +set +del +time +evalsha +script|load +ping +hello";
    let good = format!("user gate on >open-sesame {rights}");
    for (user, works) in [(good.as_str(), true), ("user gate on >open-sesame ~* +ping +hello", false)] {
        let words: Vec<&str> = user.split(' ').collect();
        let server = RedisServer::start();
        let _: () = server.ask(&[&["ACL", "SETUSER"], &words[1..]].concat());
        let store = format!(
            "url: \"{}\", username: gate, password: {{ env: PASSWORD }}, seal_keys: [{{ env: SEAL }}]",
            server.url()
        );
        let replica = provider.replica_of(&provider.config("{}", &store));
        if works {
            replica.wait_connected();
            replica.get();
            replica.wait_hit();
            replica.patch();
        } else {
            let line = replica.gateway.wait_for_log(|line| line.contains("store rejects commands"));
            assert!(line.contains("NOPERM") && line.contains("permission") && !line.contains("open-sesame"), "{line}");
            assert_eq!(status(&replica.get()), "sessiongate; fwd=bypass");
            assert_eq!(replica.patch().status, 200);
        }
    }
}

/// Two replicas while seal keys rotate, before a provider that holds back its first response; what it shows as the
/// version of the first and of later ones.
fn rotating(keys: [&str; 2], shown: [u64; 2]) -> (RedisServer, Gate, Recorder, [Replica; 2]) {
    let (server, gate) = (RedisServer::start(), Gate::closed());
    let (own, reads) = (gate.clone(), AtomicU64::new(0));
    let recorder = Recorder::start(move |call: &mut Call| -> io::Result<Then> {
        call.body()?;
        let first = reads.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            own.pass();
        }
        call.json(200, &session(&json!({ "v": shown[usize::from(!first)].to_string() })))
    });
    let replicas = keys.map(|keys| {
        let config = format!(
            "hash_key: {{ env: HASH }}\n\
             store: {{ redis: {{ settle: 0s, timeouts: {STORE_TIMEOUTS}, url: \"{}\", seal_keys: [{keys}] }} }}\n{}",
            server.url(),
            recorder.upstream("cache: { ttl: 5m }")
        );
        Replica::start(&config, &recorder.token())
    });
    (server, gate, recorder, replicas)
}

#[test]
fn no_older_response_after_one_sealed_with_an_unknown_key() {
    if !redis_installed() {
        return;
    }
    let (_server, gate, recorder, [one, other]) = rotating(["{ env: SEAL }", "{ env: NEXT }"], [1, 0]);
    thread::scope(|scope| {
        let slow = scope.spawn(|| one.get());
        recorder.wait(1);
        assert_eq!(version(&other.get_with(&[("Cache-Control", "no-cache")])), 0);
        assert_eq!(version(&other.wait_hit()), 0);
        gate.set(true);
        assert_eq!(version(&slow.join().unwrap()), 1);
    });
    let next = other.get();
    assert!(!status(&next).contains("; hit"), "{}", status(&next));
    assert_eq!(one.event("unreadable"), 1);
}

#[test]
fn same_response_is_recognized_during_seal_key_rotation() {
    if !redis_installed() {
        return;
    }
    let both = ["{ env: SEAL }, { env: NEXT }", "{ env: NEXT }, { env: SEAL }"];
    let (_server, gate, recorder, [one, other]) = rotating(both, [0, 0]);
    thread::scope(|scope| {
        let slow = scope.spawn(|| one.get_with(&[("Cache-Control", "no-cache, no-store")]));
        recorder.wait(1);
        other.get();
        other.wait_hit();
        gate.set(true);
        assert_eq!(version(&slow.join().unwrap()), 0);
    });
    let next = other.get();
    assert!(status(&next).contains("; hit"), "{}", status(&next));
}

#[test]
fn no_cache_request_refreshes_the_entry() {
    let Some((_server, provider, [replica])) = fleet("{}") else { return };
    replica.get();
    replica.wait_hit();
    // As if somebody changed it without the gateway.
    provider.version.fetch_add(1, Ordering::SeqCst);
    assert_eq!(version(&replica.get()), 0);
    let fresh = replica.get_with(&[("Cache-Control", "max-age=0, No-Cache")]);
    assert_eq!((version(&fresh), provider.reads()), (1, 2));
    wait_for("the cache to have it too", || (version(&replica.get()) == 1).then_some(()));
    assert!(status(&replica.get()).contains("; hit"));
}

#[test]
fn stale_while_revalidate_serves_stale_during_a_fetch() {
    let windows = "{ ttl: 1s, stale_while_revalidate: 5m }";
    let Some((_server, provider, [one, other])) = fleet(windows) else { return };
    one.get();
    one.wait_hit();
    provider.version.fetch_add(1, Ordering::SeqCst);
    // The fetch is held, so that the entry stays stale for as long as this takes.
    provider.gate.set(false);
    let stale = |replica: &Replica| {
        wait_for("a stale response", || Some(replica.get()).filter(|one| status(one).contains("ttl=-")))
    };
    assert_eq!(version(&stale(&one)), 0);
    wait_for("the fetch to reach the provider", || (provider.reads() == 2).then_some(()));
    for replica in [&other, &one, &other] {
        assert_eq!(version(&stale(replica)), 0);
    }
    assert_eq!(provider.reads(), 2, "one fetch for all replicas");
    provider.gate.set(true);
    wait_for("the fetched response", || (version(&other.get()) == 1).then_some(()));
}

#[test]
fn stale_if_error_serves_stale_while_the_provider_fails() {
    let windows = "{ ttl: 1s, stale_if_error: 5m }";
    let Some((_server, provider, [one, other])) = fleet(windows) else { return };
    one.get();
    one.wait_hit();
    provider.fault.store(503, Ordering::SeqCst);
    wait_for("the provider to be asked in vain", || {
        one.get();
        (one.event("stale_if_error") > 0).then_some(())
    });
    let response = other.get();
    assert_eq!((version(&response), response.status), (0, 200));
    assert!(status(&response).starts_with("sessiongate; hit; ttl=-"), "{}", status(&response));
    // After a write only the provider's own response will do.
    provider.fault.store(0, Ordering::SeqCst);
    assert_eq!(version(&one.patch()), 1);
    provider.fault.store(503, Ordering::SeqCst);
    assert_eq!(other.get().status, 503);
}

#[test]
fn negative_ttl_caches_404() {
    let Some((_server, provider, [one, mut other])) = fleet("{ negative_ttl: 2s }") else { return };
    // The 404 is stored for this credential.
    other.token.clone_from(&one.token);
    provider.fault.store(404, Ordering::SeqCst);
    assert_eq!(one.get().status, 404);
    // On a machine that is too slow for it, it is forgotten meanwhile, and fetched again.
    let (hit, reads) = wait_for("a hit", || {
        let before = provider.reads();
        let response = other.get();
        status(&response).contains("; hit").then(|| (response.status, provider.reads() - before))
    });
    assert_eq!((hit, reads), (404, 0));
    provider.fault.store(0, Ordering::SeqCst);
    wait_for("it to be forgotten", || (other.get().status == 200).then_some(()));
}
