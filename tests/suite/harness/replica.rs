//! Gateways on one Redis before a provider of one session.

use super::recorder::{Call, Recorder, SESSION, Then, session};
use super::{Gate, Gateway, RedisServer, Request, Response, wait_for};
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const HASH_KEY: &str = "a-hash-key-of-all-replicas";
pub const SEAL_KEY: &str = "the-first-of-the-keys-that-seal-entries";
/// Long enough for a busy machine: a request that misses one bypasses the cache, and the counts would differ.
pub const STORE_TIMEOUTS: &str = "{ connect: 2s, read: 400ms, write: 400ms }";
pub const NEXT_SEAL_KEY: &str = "the-second-of-the-keys-that-seal-entries";

/// A provider of one session, whose metadata contain the number of writes.
pub struct Provider {
    pub recorder: Recorder,
    pub version: Arc<AtomicU64>,
    /// The status of every response instead; 0 for none.
    pub fault: Arc<AtomicU64>,
    pub gate: Gate,
}

impl Provider {
    pub fn start() -> Provider {
        let (version, fault) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let gate = Gate::closed();
        gate.set(true);
        let (own, own_fault, own_gate) = (version.clone(), fault.clone(), gate.clone());
        let recorder = Recorder::start(move |call: &mut Call| -> io::Result<Then> {
            call.body()?;
            match (own_fault.load(Ordering::SeqCst), call.seen.method.as_str()) {
                (0, "PATCH") => {
                    let version = own.fetch_add(1, Ordering::SeqCst) + 1;
                    call.json(200, &session(&json!({ "v": version.to_string() })))
                }
                (0, _) => {
                    let version = own.load(Ordering::SeqCst);
                    own_gate.pass();
                    call.json(200, &session(&json!({ "v": version.to_string() })))
                }
                (status, method) => {
                    if method == "GET" {
                        own_gate.pass();
                    }
                    call.json(status as u16, &json!({ "statusCode": status }))
                }
            }
        });
        Provider { recorder, version, fault, gate }
    }

    /// The part of a configuration that every replica has.
    pub fn config(&self, cache: &str, store: &str) -> String {
        format!(
            "hash_key: {{ env: HASH }}\nstore: {{ redis: {{ settle: 0s, timeouts: {STORE_TIMEOUTS}, {store} }} }}\n{}",
            self.recorder.upstream(&format!("cache: {cache}"))
        )
    }

    /// A replica, ready and connected to the store.
    pub fn replica(&self, server: &RedisServer, cache: &str) -> Replica {
        let store = format!("url: \"{}\", seal_keys: [{{ env: SEAL }}]", server.url());
        Replica::start(&self.config(cache, &store), &self.recorder.token())
    }

    pub fn replica_of(&self, config: &str) -> Replica {
        Replica::start_unconnected(config, &self.recorder.token())
    }

    pub fn reads(&self) -> usize {
        self.recorder.count_of("GET")
    }

    pub fn writes(&self) -> usize {
        self.recorder.count_of("PATCH")
    }
}

/// A gateway before the provider.
pub struct Replica {
    pub gateway: Gateway,
    pub token: String,
}

impl Replica {
    /// A replica, ready and connected to the store.
    pub fn start(config: &str, token: &str) -> Replica {
        let replica = Replica::start_unconnected(config, token);
        replica.wait_connected();
        replica
    }

    pub fn start_unconnected(config: &str, token: &str) -> Replica {
        let variables = [("HASH", HASH_KEY), ("SEAL", SEAL_KEY), ("NEXT", NEXT_SEAL_KEY), ("PASSWORD", "open-sesame")];
        let gateway = Gateway::start_with(config, &variables);
        gateway.ready();
        Replica { gateway, token: token.to_owned() }
    }

    pub fn get(&self) -> Response {
        self.get_with(&[])
    }

    pub fn get_with(&self, headers: &[(&str, &str)]) -> Response {
        let request = Request::new("GET", &path()).bearer(&self.token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(&self.gateway.url())
    }

    pub fn patch(&self) -> Response {
        let request = Request::new("PATCH", &path()).bearer(&self.token);
        request.json(r#"{"session_metadata":{"team":"blue"}}"#).send(&self.gateway.url())
    }

    /// A metric without labels, or with these.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.gateway.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub fn event(&self, name: &str) -> u64 {
        self.metric(&format!("sessiongate_cache_events_total{{event=\"{name}\"}}"))
    }

    pub fn wait_connected(&self) {
        wait_for("a connection to the store", || (self.metric("sessiongate_store_connections") > 0).then_some(()));
    }

    pub fn wait_disconnected(&self) {
        wait_for("the connection to the store to end", || {
            (self.metric("sessiongate_store_connections") == 0).then_some(())
        });
    }

    /// Reads until the response comes from the cache: fills go on behind the responses that they are of.
    pub fn wait_hit(&self) -> Response {
        wait_for("a hit", || Some(self.get()).filter(|response| status(response).contains("; hit")))
    }
}

pub fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

pub fn status(response: &Response) -> &str {
    response.header("Cache-Status").unwrap_or("none")
}

pub fn version(response: &Response) -> u64 {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["session_metadata"]["v"].as_str().unwrap().parse().unwrap()
}
