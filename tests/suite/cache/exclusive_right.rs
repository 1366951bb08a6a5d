//! The exclusive right on a real store: writes through several replicas that are decided by the current metadata.

use super::fleet::settings;
use crate::harness::recorder::{Call, Recorder, Then, session};
use crate::harness::replica::{Replica, STORE_TIMEOUTS, path};
use crate::harness::{Gate, RedisServer, Request, Response, redis_installed, wait_for};
use serde_json::{Value, json};
use sessiongate::cache::{CacheCounters, RedisStore, RightError, RightTerms, Sessions};
use sessiongate::coherence::DEFAULT_TENANT;
use sessiongate::metrics::StoreMetrics;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What decides writes by the current metadata: protected keys, or keys that the caller owns.
const PROTECTED: &str = "policy: p";
const OWNED: &str = "grants: [{ name: own, operations: \"*\", keys: { own: [team] } }]";
const WRITE: &str = r#"{"session_metadata":{"plan":"pro","team":"blue"}}"#;
/// How long the provider may take: a right that is not given back lasts for 2 * (100 ms + this) + 6 s.
const SHORT: &str = "1s";
/// Longer than a test holds a response back.
const AMPLE: &str = "25s";

/// A provider of one session, whose reads wait at a gate. A write replaces the metadata.
struct World {
    server: RedisServer,
    recorder: Recorder,
    gate: Gate,
    on_unreachable: &'static str,
    first_byte: &'static str,
    decides: &'static str,
}

impl World {
    fn start(on_unreachable: &'static str, first_byte: &'static str) -> Option<World> {
        if !redis_installed() {
            return None;
        }
        let (gate, metadata) = (Gate::closed(), Arc::new(Mutex::new(json!({ "plan": "pro" }))));
        gate.set(true);
        let own = gate.clone();
        let recorder = Recorder::start(move |call: &mut Call| -> io::Result<Then> {
            let body = call.body()?;
            match call.seen.method.as_str() {
                "GET" => {
                    let shown = session(&metadata.lock().unwrap());
                    own.pass();
                    call.json(200, &shown)
                }
                "PATCH" => {
                    let body: Value = serde_json::from_slice(&body)?;
                    *metadata.lock().unwrap() = body["session_metadata"].clone();
                    call.json(200, &session(&body["session_metadata"]))
                }
                _ => call.json(202, &json!({})),
            }
        });
        Some(World { server: RedisServer::start(), recorder, gate, on_unreachable, first_byte, decides: PROTECTED })
    }

    fn replica(&self) -> Replica {
        let World { on_unreachable, first_byte, decides, .. } = self;
        let timeouts = format!("timeouts: {{ connect: 100ms, first_byte: {first_byte} }}");
        let more =
            format!("cache: {{ on_unreachable: {on_unreachable} }}\n{decides}\nlimits: {{ wait: 0s }}\n{timeouts}");
        let url = self.server.url();
        let config = format!(
            "hash_key: {{ env: HASH }}\npolicies: {{ p: {{ keys: {{ protected: [plan] }} }} }}\n\
             store: {{ redis: {{ settle: 0s, \
             timeouts: {STORE_TIMEOUTS}, url: \"{url}\", seal_keys: [{{ env: SEAL }}] }} }}\n{}",
            self.recorder.upstream(&more)
        );
        Replica::start(&config, &self.recorder.token())
    }

    /// The key of the right, while somebody has it.
    fn right(&self) -> Option<String> {
        self.server.keys().into_iter().find(|key| key.ends_with(":x"))
    }

    /// Waits until a write has the right, and reads the session.
    fn taken(&self) -> String {
        self.recorder.wait(1);
        self.right().unwrap()
    }

    fn methods(&self) -> Vec<String> {
        self.recorder.seen().into_iter().map(|seen| seen.method).collect()
    }
}

fn write(replica: &Replica) -> Response {
    Request::new("PATCH", &path()).bearer(&replica.token).json(WRITE).send(&replica.gateway.url())
}

fn results(replica: &Replica, result: &str) -> u64 {
    replica.metric(&format!("sessiongate_exclusive_rights_total{{result=\"{result}\",upstream=\"auth0\"}}"))
}

/// Requests are counted after their responses.
fn wait_counted(replica: &Replica, result: &str, expected: u64) {
    wait_for(result, || (results(replica, result) == expected).then_some(()));
}

#[test]
fn writes_through_two_replicas_go_one_after_the_other() {
    let Some(world) = World::start("forward", AMPLE) else { return };
    let replicas = [world.replica(), world.replica()];
    thread::scope(|scope| {
        let writers: Vec<_> = (0..12)
            .map(|writer| {
                scope.spawn({
                    let replicas = &replicas;
                    move || write(&replicas[writer % 2]).status
                })
            })
            .collect();
        assert!(writers.into_iter().all(|writer| writer.join().unwrap() == 200));
    });
    let methods = world.methods();
    assert_eq!(methods.len(), 24);
    assert!(methods.chunks(2).all(|pair| pair == ["GET", "PATCH"]), "{methods:?}");
    let counted = |result| replicas.iter().map(|replica| results(replica, result)).sum::<u64>();
    wait_for("12 writes", || (counted("taken") + counted("waited") == 12).then_some(()));
    assert!(counted("waited") > 0);
    wait_for("the right to be given back", || world.right().is_none().then_some(()));
}

#[test]
fn write_waits_for_another_replica_only_for_a_while() {
    let Some(world) = World::start("forward", AMPLE) else { return };
    let [one, other] = [world.replica(), world.replica()];
    world.gate.set(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| write(&one));
        let key = world.taken();
        let held: String = world.server.ask(&["GET", &key]);
        world.gate.set(true);
        assert_eq!(first.join().unwrap().status, 200);
        wait_for("the right to be given back", || world.right().is_none().then_some(()));
        // It is another's for longer than anybody waits.
        world.server.ask::<()>(&["SET", &key, &format!("{}{}{}", &held[..48], "9".repeat(13), &held[61..])]);
        let late = write(&other);
        assert_eq!((late.status, late.header("Retry-After")), (429, Some("1")), "{}", late.text());
    });
    wait_counted(&other, "conflict", 1);
    assert_eq!(world.methods(), ["GET", "PATCH"]);
}

#[test]
fn write_whose_right_was_lost_is_not_sent() {
    let Some(world) = World::start("forward", AMPLE) else { return };
    let replica = world.replica();
    world.gate.set(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| write(&replica));
        let key = world.taken();
        world.server.ask::<()>(&["DEL", &key]);
        world.gate.set(true);
        let lost = first.join().unwrap();
        assert_eq!((lost.status, lost.header("Retry-After")), (503, Some("1")));
        assert!(lost.text().contains("was lost"), "{}", lost.text());
    });
    wait_counted(&replica, "expired", 1);
    assert_eq!(world.methods(), ["GET"]);
    assert_eq!(write(&replica).status, 200);
}

/// A process that is suspended while it holds the right, for longer than the right lasts.
#[test]
fn suspended_holder_sends_nothing_when_it_goes_on() {
    let Some(world) = World::start("forward", SHORT) else { return };
    let [one, other] = [world.replica(), world.replica()];
    world.gate.set(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| write(&one));
        world.taken();
        one.gateway.signal("STOP");
        world.gate.set(true);
        let second = wait_for("the right to expire", || Some(write(&other)).filter(|response| response.status != 429));
        assert_eq!(second.status, 200);
        one.gateway.signal("CONT");
        assert_ne!(first.join().unwrap().status, 200);
    });
    assert_eq!(world.recorder.count_of("PATCH"), 1);
}

#[test]
fn right_of_a_killed_replica_expires() {
    let Some(world) = World::start("forward", SHORT) else { return };
    let [one, other] = [world.replica(), world.replica()];
    world.gate.set(false);
    thread::scope(|scope| {
        let request = Request::new("PATCH", &path()).bearer(&one.token).json(WRITE);
        let url = one.gateway.url();
        scope.spawn(move || assert!(request.try_send(&url).is_err(), "its gateway died"));
        world.taken();
        one.gateway.signal("KILL");
        world.gate.set(true);
        assert_eq!(write(&other).status, 429);
        let later = wait_for("the right to expire", || Some(write(&other)).filter(|response| response.status != 429));
        assert_eq!(later.status, 200);
    });
    assert_eq!(world.recorder.count_of("PATCH"), 1);
}

#[test]
fn deletion_through_another_replica_ends_the_right() {
    let Some(world) = World::start("forward", AMPLE) else { return };
    let [one, other] = [world.replica(), world.replica()];
    world.gate.set(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| write(&one));
        world.taken();
        let deletion = Request::new("DELETE", &path()).bearer(&other.token).send(&other.gateway.url());
        assert_eq!(deletion.status, 202, "it does not wait");
        wait_for("the right to end", || world.right().is_none().then_some(()));
        world.gate.set(true);
        assert_eq!(first.join().unwrap().status, 503);
    });
    assert_eq!(world.methods(), ["GET", "DELETE"]);
}

#[test]
fn without_the_store_on_unreachable_decides() {
    for (on_unreachable, status) in [("forward", 200), ("reject", 503)] {
        let Some(mut world) = World::start(on_unreachable, AMPLE) else { return };
        let replica = world.replica();
        world.gate.set(false);
        thread::scope(|scope| {
            let first = scope.spawn(|| write(&replica));
            world.taken();
            world.server.kill();
            replica.wait_disconnected();
            world.gate.set(true);
            assert_eq!(first.join().unwrap().status, status, "{on_unreachable}: lost while it is held");
        });
        let next = write(&replica);
        assert_eq!(next.status, status, "{on_unreachable}: {}", next.text());
        let sent = if status == 200 { 2 } else { 0 };
        wait_counted(&replica, "unavailable", 1);
        assert_eq!(world.recorder.count_of("PATCH"), sent);
    }
}

fn write_own(replica: &Replica) -> Response {
    let request = Request::new("PATCH", &path()).bearer(&replica.token);
    request.json(r#"{"session_metadata":{"team":"blue"}}"#).send(&replica.gateway.url())
}

#[test]
fn writes_of_owned_keys_need_the_store_whatever_on_unreachable_says() {
    let Some(world) = World::start("forward", AMPLE) else { return };
    let mut world = World { decides: OWNED, ..world };
    world.server.count_rights();
    let replica = world.replica();
    assert_eq!(write_own(&replica).status, 200);
    world.gate.set(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| write_own(&replica));
        world.recorder.wait(3);
        world.server.kill();
        replica.wait_disconnected();
        world.gate.set(true);
        assert_eq!(first.join().unwrap().status, 503, "lost while it is held");
    });
    let without = write_own(&replica);
    assert_eq!((without.status, without.header("Retry-After")), (503, Some("1")));
    world.server.restart();
    replica.wait_connected();
    let after = write_own(&replica);
    assert_eq!(after.status, 503, "writes may be in flight whose rights the server has lost");
    let seconds: u64 = after.header("Retry-After").unwrap().parse().unwrap();
    assert!(seconds > 1, "until they have ended: {seconds}");
    assert_eq!(world.methods(), ["GET", "PATCH", "GET"]);
    wait_counted(&replica, "unavailable", 3);
}

/// A replica in this process, whose writes must not meet a right that the store has lost.
struct Strict {
    sessions: Sessions,
    runtime: tokio::runtime::Runtime,
}

impl Strict {
    fn start(server: &RedisServer) -> Strict {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (counters, listener) = (Arc::new(CacheCounters::default()), Arc::new(StoreMetrics::new().unwrap()));
        let store = RedisStore::new(&settings(server), Duration::from_secs(5), counters.clone(), listener).unwrap();
        runtime.block_on(async { store.start() });
        Strict { sessions: Sessions::new(Arc::new(store), Duration::ZERO, counters), runtime }
    }

    /// Takes the right and gives it back.
    fn take(&self, longest_write: Duration) -> Result<(), RightError> {
        let (lifetime, wait) = (Duration::from_secs(60), Duration::from_secs(1));
        let terms = RightTerms { lifetime, wait, longest_write: Some(longest_write) };
        self.runtime.block_on(async {
            self.sessions.exclusive((1, [1; 16]), DEFAULT_TENANT, terms).await?.give_back(None).await;
            Ok(())
        })
    }

    fn wait(&self, what: &str, longest_write: Duration) {
        wait_for(what, || self.take(longest_write).ok());
    }
}

const LONG: Duration = Duration::from_secs(600);

/// The store is unreachable, or may have lost rights.
fn does_not_count(taken: &Result<(), RightError>) -> bool {
    match taken {
        Err(RightError::Unsettled(left)) => *left > LONG / 2,
        Err(error) => *error == RightError::Unconfirmed,
        Ok(()) => false,
    }
}

/// What a server had acknowledged may be lost with it, and writes that relied on it may still be in flight.
#[test]
fn no_right_counts_after_a_restart_until_all_writes_have_ended() {
    if !redis_installed() {
        return;
    }
    let mut server = RedisServer::start();
    let one = Strict::start(&server);
    wait_for("a step", || {
        assert!(does_not_count(&one.take(LONG)));
        (server.calls("evalsha") > 2).then_some(())
    });
    one.wait("the longest write to have ended", Duration::ZERO);
    let other = Strict::start(&server);
    other.wait("a replica that starts later to know the server", LONG);
    server.restart();
    for replica in [&one, &other, &Strict::start(&server)] {
        let before = server.calls("evalsha");
        wait_for("a step on the new server", || {
            assert!(does_not_count(&replica.take(LONG)));
            (server.calls("evalsha") > before + 2).then_some(())
        });
    }
}

/// Without a connection no step reaches the server, so there is nothing to give back in the background.
#[test]
fn nothing_is_given_back_that_was_not_taken() {
    if !redis_installed() {
        return;
    }
    let (counters, listener) = (Arc::new(CacheCounters::default()), Arc::new(StoreMetrics::new().unwrap()));
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(&server), Duration::from_secs(5), counters.clone(), listener).unwrap();
    let never_connected = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sessions = Sessions::new(never_connected.clone(), Duration::ZERO, counters);
    let users = Arc::strong_count(&never_connected);
    let terms = RightTerms { lifetime: LONG, wait: Duration::from_secs(1), longest_write: None };
    let taken = runtime.block_on(sessions.exclusive((1, [1; 16]), DEFAULT_TENANT, terms));
    assert_eq!(taken.unwrap_err(), RightError::Unconfirmed);
    assert_eq!(Arc::strong_count(&never_connected), users, "no task is left");
}

#[test]
fn no_right_is_taken_while_an_older_replica_is_there() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let replica = Strict::start(&server);
    replica.wait("the longest write to have ended", Duration::ZERO);
    server.ask::<()>(&["SET", "fleet1:protocol:2", "2"]);
    wait_for("the older replica to be seen", || {
        replica.take(Duration::ZERO).err().filter(|error| *error == RightError::OlderReplica)
    });
    server.ask::<()>(&["DEL", "fleet1:protocol:2"]);
    replica.wait("the older replica to be gone", Duration::ZERO);
}
