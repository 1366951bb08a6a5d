//! Writers outside the gateway beside an owner's write, and replicas of the provider that lag: what the gateway has
//! acknowledged or shown is not undone, as far as the provider's versions tell.

use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::replica::{Replica, STORE_TIMEOUTS, path};
use crate::harness::{Gate, RedisServer, Request, Response, redis_installed, wait_for};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

/// What the provider stores and does.
struct Stored {
    version: u64,
    metadata: Value,
    /// Whether the response to the next read is held back, after the read.
    holds_next: bool,
    /// The state that reads still show, so many times.
    older: Option<(u64, Value)>,
    lags_for: usize,
    /// Whether reads fail.
    fails: bool,
}

impl Stored {
    fn write(&mut self, metadata: Value) {
        self.older = Some((self.version, std::mem::replace(&mut self.metadata, metadata)));
        self.version += 1;
    }
}

fn shown(version: u64, metadata: &Value) -> Value {
    let (minutes, seconds) = (version / 60, version % 60);
    json!({
        "id": SESSION,
        "user_id": "auth0|65f0",
        "updated_at": format!("2030-01-01T00:{minutes:02}:{seconds:02}.000Z"),
        "session_metadata": metadata,
    })
}

/// Two replicas in front of a provider of one session.
struct World {
    stored: Arc<Mutex<Stored>>,
    gate: Gate,
    recorder: Recorder,
    replicas: [Replica; 2],
    _server: RedisServer,
}

impl World {
    fn start(cache: &str) -> Option<World> {
        if !redis_installed() {
            return None;
        }
        let metadata = json!({ "team": "1" });
        let stored = Stored { version: 1, metadata, holds_next: false, older: None, lags_for: 0, fails: false };
        let (server, gate, stored) = (RedisServer::start(), Gate::closed(), Arc::new(Mutex::new(stored)));
        let own = (stored.clone(), gate.clone());
        let recorder = Recorder::start(move |call: &mut Call| -> io::Result<Then> {
            let (stored, gate) = &own;
            let body = call.body()?;
            if call.seen.method == "PATCH" {
                let body: Value = serde_json::from_slice(&body)?;
                let mut stored = stored.lock().unwrap();
                stored.write(body["session_metadata"].clone());
                let shown = shown(stored.version, &stored.metadata);
                drop(stored);
                return call.json(200, &shown);
            }
            let (shown, is_held) = {
                let mut stored = stored.lock().unwrap();
                if stored.fails {
                    drop(stored);
                    return call.json(429, &json!({}));
                }
                let is_held = std::mem::take(&mut stored.holds_next);
                let shown = match &stored.older {
                    Some((version, metadata)) if stored.lags_for > 0 => shown(*version, metadata),
                    Some(_) | None => shown(stored.version, &stored.metadata),
                };
                stored.lags_for = stored.lags_for.saturating_sub(1);
                (shown, is_held)
            };
            if is_held {
                gate.pass();
            }
            call.json(200, &shown)
        });
        let store = format!("settle: 0s, timeouts: {STORE_TIMEOUTS}, url: \"{}\"", server.url());
        let options = format!(
            "{cache}timeouts: {{ connect: 500ms, first_byte: 1s }}\n\
             grants: [{{ name: shop, operations: \"*\", keys: {{ own: [\"cart_*\"], see: [\"*\"] }} }}]"
        );
        let url = recorder.url();
        let config = format!(
            "hash_key: {{ env: HASH }}\n\
             policies: {{ audited: {{ mode: audit, keys: {{ protected: [team] }} }} }}\n\
             store: {{ redis: {{ {store}, seal_keys: [{{ env: SEAL }}] }} }}\n\
             {}\n  audited: {{ url: \"{url}\", dialect: auth0, match: {{ host: audited.test }}, policy: audited, \
             timeouts: {{ connect: 500ms, first_byte: 1s }}, \
             auth: {{ issuer: {url}/, audience: {url}/api/v2/ }} }}\n",
            recorder.upstream(&options)
        );
        let replicas = [(); 2].map(|()| Replica::start(&config, &recorder.token()));
        let world = World { stored, gate, recorder, replicas, _server: server };
        for replica in 0..2 {
            wait_for("rights", || (world.patch(replica, "0").status == 200).then_some(()));
        }
        Some(world)
    }

    fn patch(&self, replica: usize, cart: &str) -> Response {
        self.patch_at(replica, "localhost", &json!({ "cart_a": cart }))
    }

    fn patch_at(&self, replica: usize, host: &str, metadata: &Value) -> Response {
        let body = json!({ "session_metadata": metadata }).to_string();
        let token = &self.replicas[replica].token;
        self.send(replica, Request::new("PATCH", &path()).bearer(token).header("Host", host).json(&body))
    }

    fn read(&self, replica: usize) -> Value {
        let token = &self.replicas[replica].token;
        self.send(replica, Request::new("GET", &path()).bearer(token)).json()["session_metadata"].clone()
    }

    fn send(&self, replica: usize, request: Request) -> Response {
        request.send(&self.replicas[replica].gateway.url())
    }

    /// Begins a write at replica 0, whose read the provider has executed before anything else happens, and holds back.
    fn during_write(&self, host: &str, key: &str, act: impl FnOnce()) {
        self.stored.lock().unwrap().holds_next = true;
        thread::scope(|scope| {
            let write = scope.spawn(|| self.patch_at(0, host, &json!({ key: "1" })));
            wait_for("the read", || (!self.stored.lock().unwrap().holds_next).then_some(()));
            act();
            self.gate.set(true);
            let written = write.join().unwrap();
            assert_eq!(written.status, 200, "{}", written.text());
        });
    }

    fn metadata(&self) -> Value {
        self.stored.lock().unwrap().metadata.clone()
    }

    /// The methods of what reaches the provider meanwhile.
    fn methods_during(&self, act: impl FnOnce()) -> Vec<String> {
        let before = self.recorder.count();
        act();
        self.recorder.seen().into_iter().skip(before).map(|seen| seen.method).collect()
    }
}

/// An owner's write reads, a writer outside changes the session, and a reader is shown the change through another replica:
/// then the write is not sent as it was decided, but decided again.
#[test]
fn change_from_outside_that_a_reader_was_shown_is_kept() {
    for cache in ["cache: {}\n", ""] {
        let Some(world) = World::start(cache) else { return };
        let methods = world.methods_during(|| {
            world.during_write("localhost", "cart_a", || {
                world.stored.lock().unwrap().write(json!({ "team": "2", "cart_a": "0" }));
                assert_eq!(world.read(1)["team"], "2");
            });
        });
        assert_eq!(world.metadata(), json!({ "team": "2", "cart_a": "1" }), "{cache}");
        assert_eq!(methods, ["GET", "GET", "GET", "PATCH"]);
    }
}

/// A write of an audited caller is decided again too, and goes on as it is if that is not possible.
#[test]
fn audited_write_goes_on_without_a_newer_state() {
    let Some(world) = World::start("cache: {}\n") else { return };
    let methods = world.methods_during(|| {
        world.during_write("audited.test", "note", || {
            world.stored.lock().unwrap().write(json!({ "team": "2" }));
            assert_eq!(world.read(1)["team"], "2");
            world.stored.lock().unwrap().fails = true;
        });
    });
    assert_eq!(methods, ["GET", "GET", "GET", "PATCH"]);
    assert_eq!(world.metadata(), json!({ "note": "1" }));
}

/// No reader was shown the change, so the write overwrites it: "Best effort" in the guide says so.
#[test]
fn change_from_outside_that_no_reader_was_shown_is_overwritten() {
    let Some(world) = World::start("cache: {}\n") else { return };
    let change = || world.stored.lock().unwrap().write(json!({ "team": "2", "cart_a": "0" }));
    world.during_write("localhost", "cart_a", change);
    assert_eq!(world.metadata(), json!({ "team": "1", "cart_a": "1" }));
}

/// Versions that go back, as with clocks of the provider's servers that differ, keep no one from writing.
#[test]
fn lower_version_of_the_next_write_counts() {
    let Some(world) = World::start("cache: {}\n") else { return };
    world.stored.lock().unwrap().version = 100;
    assert_eq!(world.patch(0, "1").status, 200);
    // The next write is acknowledged with 51, whose read shows 101.
    world.during_write("localhost", "cart_a", || world.stored.lock().unwrap().version = 50);
    world.stored.lock().unwrap().older = None;
    let methods = world.methods_during(|| assert_eq!(world.patch(1, "2").status, 200));
    assert_eq!(methods, ["GET", "PATCH"]);
}

/// A read of the provider that lags behind a write which another replica of the gateway was acknowledged.
#[test]
fn write_is_not_merged_with_what_a_lagging_provider_shows() {
    for cache in ["cache: {}\n", ""] {
        let Some(world) = World::start(cache) else { return };
        world.patch(0, "1");
        {
            let mut stored = world.stored.lock().unwrap();
            (stored.older, stored.lags_for) = (Some((1, json!({ "team": "lost" }))), 2);
        }
        let methods = world.methods_during(|| assert_eq!(world.patch(1, "2").status, 200));
        assert_eq!(methods, ["GET", "GET", "GET", "PATCH"], "{cache}");
        assert_eq!(world.metadata(), json!({ "team": "1", "cart_a": "2" }));
        world.stored.lock().unwrap().lags_for = usize::MAX;
        let methods = world.methods_during(|| {
            let found = world.patch(0, "3");
            assert_eq!((found.status, found.header("Retry-After")), (503, Some("1")), "{}", found.text());
            assert!(found.text().contains("older state"), "{}", found.text());
        });
        assert!(!methods.contains(&"PATCH".to_owned()), "{methods:?}");
        assert_eq!(world.metadata(), json!({ "team": "1", "cart_a": "2" }));
        // Nothing is left behind.
        world.stored.lock().unwrap().lags_for = 0;
        assert_eq!(world.patch(1, "4").status, 200);
    }
}
