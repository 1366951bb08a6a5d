//! Gateways on one Redis under load, and what their clients see.

use super::recorder::{self, Call, Recorder, Then};
use super::replica::{Replica, status, version};
use super::{Connection, Random, Request, seed};
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What is known of a session: what the provider has, what was acknowledged, what was seen.
#[derive(Default)]
pub struct Known {
    pub version: AtomicU64,
    pub acknowledged: AtomicU64,
    seen: AtomicU64,
}

/// What a run has found.
#[derive(Default)]
pub struct LoadReport {
    pub hits: AtomicU64,
    pub others: AtomicU64,
    pub writes: AtomicU64,
    /// Writes that never reached the provider.
    pub rejected: AtomicU64,
    pub stale: AtomicU64,
    pub backwards: AtomicU64,
    /// Reads that were shown a session that their tenant had deleted, and those that were not shown one that another
    /// tenant had.
    pub undeleted: AtomicU64,
    pub others_deleted: AtomicU64,
}

impl Known {
    /// What no response to a read that begins now may be older than.
    pub fn bounds(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::SeqCst), self.seen.load(Ordering::SeqCst))
    }

    pub fn check(&self, (acknowledged, seen): (u64, u64), shown: u64, hit: bool, found: &LoadReport) {
        let count = |counter: &AtomicU64, what: bool| counter.fetch_add(u64::from(what), Ordering::Relaxed);
        count(&found.hits, hit);
        count(&found.others, !hit);
        count(&found.stale, shown < acknowledged);
        count(&found.backwards, shown < seen);
        self.seen.fetch_max(shown, Ordering::SeqCst);
    }
}

impl LoadReport {
    pub fn operations(&self) -> u64 {
        [&self.hits, &self.others, &self.writes].iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    pub fn print(&self, what: &str) {
        let LoadReport { hits, others, writes, rejected, stale, backwards, undeleted, others_deleted } = self;
        println!(
            "{what}: hits {hits:?}, other reads {others:?}, writes {writes:?}, rejected {rejected:?}, stale {stale:?}, \
             backwards {backwards:?}, undeleted {undeleted:?}, deleted for others {others_deleted:?}"
        );
    }
}

/// How many ids of sessions there are. Each is that of two sessions, one of each tenant.
pub const SESSIONS: usize = 12;
/// The hosts that the tenants are known by.
const TENANTS: [&str; 2] = ["one.example", "two.example"];
/// The first tenant's session with this number is deleted repeatedly, and the provider still returns it.
const GONE: usize = SESSIONS;
/// What the provider takes from callers whom the gateway has not verified, and what it does not.
const OPAQUE: &str = "Bearer opaque";
const JUNK: &str = "Bearer junk";

/// `Cache-Control` of some readers.
const LIKES: [&str; 4] = ["no-store", "no-cache", "no-cache, no-store", "max-age=0, no-store"];

fn session_path(session: usize) -> String {
    format!("/api/v2/sessions/fleet_{session}")
}

/// What is known of a tenant's session.
fn known_as(tenant: usize, session: usize) -> usize {
    tenant * (SESSIONS + 1) + session
}

/// A provider of several sessions that takes anything between nothing and two milliseconds, before and after.
fn slow_provider(known: &Arc<Vec<Known>>) -> Recorder {
    let (known, ticks) = (known.clone(), AtomicU64::new(0));
    Recorder::start(move |call: &mut Call| -> io::Result<Then> {
        call.body()?;
        let junk = call.seen.header("Authorization") == Some(JUNK);
        let tick = ticks.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slow = |bits: u64| thread::sleep(Duration::from_micros((tick >> bits) % 2000));
        let number: usize = call.seen.target.rsplit('_').next().and_then(|number| number.parse().ok()).unwrap();
        let tenant = TENANTS.iter().position(|host| call.seen.header("Host") == Some(host)).unwrap();
        let session = &known[known_as(tenant, number)];
        slow(20);
        if junk {
            return call.json(401, &json!({ "statusCode": 401 }));
        }
        let version = match call.seen.method.as_str() {
            "DELETE" => return call.json(202, &json!({})),
            "PATCH" => session.version.fetch_add(1, Ordering::SeqCst) + 1,
            _ => session.version.load(Ordering::SeqCst),
        };
        slow(40);
        let mut body = recorder::session(&json!({ "v": version.to_string() }));
        body["id"] = json!(format!("fleet_{number}"));
        call.json(200, &body)
    })
}

/// Gateways on one store, before one provider.
pub struct Fleet {
    known: Arc<Vec<Known>>,
    recorder: Recorder,
    pub replicas: Vec<Replica>,
}

impl Fleet {
    /// Starts so many, on a store that this text describes.
    pub fn start(store: &str, count: usize) -> Fleet {
        Fleet::with("ttl: 5m", store, count)
    }

    /// The same with another cache.
    pub fn with(cache: &str, store: &str, count: usize) -> Fleet {
        let count_of = known_as(TENANTS.len(), 0);
        let known: Arc<Vec<Known>> = Arc::new((0..count_of).map(|_| Known::default()).collect());
        let recorder = slow_provider(&known);
        let url = recorder.url();
        let auth = format!("{{ issuer: {url}/, audience: {url}/api/v2/, opaque: forward }}");
        let config = format!(
            "hash_key: {{ env: HASH }}\nlog: {{ requests: false }}\n\
             store: {{ redis: {{ seal_keys: [{{ env: SEAL }}], {store} }} }}\n{}",
            recorder.upstream_as(&auth, &format!("preserve_host: true\ncache: {{ {cache} }}"))
        );
        let replicas = (0..count).map(|_| Replica::start(&config, &recorder.token())).collect();
        Fleet { known, recorder, replicas }
    }

    /// Reads and writes through all replicas until `act` is over, and what was found.
    pub fn under_load(&self, act: impl FnOnce(&LoadReport)) -> LoadReport {
        const CLIENTS: u64 = 8;
        let (seed, found, over) = (seed(), LoadReport::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (found, over) = (&found, &over);
                scope.spawn(move || {
                    let mut random = Random::of(seed, client);
                    let open = |replica: &Replica| Connection::open(replica.gateway.address()).unwrap();
                    let mut connections: Vec<Connection> = self.replicas.iter().map(open).collect();
                    let token = self.recorder.token();
                    while !over.load(Ordering::Relaxed) {
                        let connection = &mut connections[random.below(self.replicas.len() as u64) as usize];
                        self.once(connection, &token, &mut random, found);
                    }
                });
            }
            // What fails in here must not leave the clients running.
            let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&found)));
            over.store(true, Ordering::Relaxed);
            if let Err(panic) = acted {
                std::panic::resume_unwind(panic);
            }
        });
        found
    }

    /// How often something happened in any of the replicas.
    pub fn event(&self, name: &str) -> u64 {
        self.replicas.iter().map(|replica| replica.event(name)).sum()
    }

    fn once(&self, connection: &mut Connection, token: &str, random: &mut Random, found: &LoadReport) {
        let (number, tenant) = (random.below(SESSIONS as u64 + 1) as usize, random.below(2) as usize);
        let session = &self.known[known_as(tenant, number)];
        let request = |method: &str| Request::new(method, &session_path(number)).header("Host", TENANTS[tenant]);
        if number == GONE {
            return gone(connection, &request, tenant, token, session, random, found);
        }
        if random.below(100) < 3 {
            let own = format!("Bearer {token}");
            let credential = [&own, OPAQUE, JUNK][random.below(3) as usize];
            let patch = request("PATCH").header("Authorization", credential);
            let response = connection.exchange(&patch.json(r#"{"session_metadata":{"team":"blue"}}"#)).unwrap();
            if response.status == 503 {
                found.rejected.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if credential == JUNK {
                assert_eq!(response.status, 401);
                return;
            }
            session.acknowledged.fetch_max(version(&response), Ordering::SeqCst);
            found.writes.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let bounds = session.bounds();
        let read = request("GET").bearer(token);
        // Some ask for a new response, or for one that is not stored.
        let read = match LIKES.get(random.below(40) as usize) {
            Some(likes) => read.header("Cache-Control", likes),
            None => read,
        };
        let response = connection.exchange(&read).unwrap();
        assert_eq!(response.json()["id"], format!("fleet_{number}"), "the response to another request");
        session.check(bounds, version(&response), status(&response).contains("; hit"), found);
    }
}

/// A step on the session that the first tenant deletes. What is acknowledged is 1 once it did.
fn gone(
    connection: &mut Connection,
    request: &dyn Fn(&str) -> Request,
    tenant: usize,
    token: &str,
    session: &Known,
    random: &mut Random,
    found: &LoadReport,
) {
    let count = |counter: &AtomicU64, what: bool| counter.fetch_add(u64::from(what), Ordering::Relaxed);
    if tenant == 0 && random.below(20) == 0 {
        let response = connection.exchange(&request("DELETE").bearer(token)).unwrap();
        count(&found.rejected, response.status == 503);
        count(&found.writes, response.status == 202);
        session.acknowledged.fetch_max(u64::from(response.status == 202), Ordering::SeqCst);
        return;
    }
    let deleted = session.acknowledged.load(Ordering::SeqCst) == 1;
    let response = connection.exchange(&request("GET").bearer(token)).unwrap();
    let shown = response.status == 200;
    assert!(shown || response.status == 404, "{}", response.status);
    count(&found.undeleted, deleted && shown);
    count(&found.others_deleted, tenant != 0 && !shown);
    count(&found.others, true);
}
