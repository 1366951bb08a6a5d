//! Several owners write the same sessions through three replicas, while gateways and Redis are killed and suspended. No
//! write changes another owner's keys, and each owner ends with the keys that were last acknowledged to it.

use crate::harness::recorder::{self, Call, Recorder, Then};
use crate::harness::replica::Replica;
use crate::harness::{Connection, Random, RedisServer, Request, Response, long, redis_installed, seed, wait_for};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const OWNERS: [&str; 3] = ["shop", "crm", "desk"];
const SESSIONS: usize = 24;
/// Writers of each owner. Each has sessions of its own, since an owner writes a session one after the other.
const WRITERS: usize = 3;
const REPLICAS: usize = 3;
/// Keys of each owner.
const KEYS: u64 = 3;
/// Longer than any right: a gateway that is suspended so long has lost its own.
const LONG_PAUSE: Duration = Duration::from_secs(14);
/// How long a client waits for a response. Waiting for a right takes less.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long after it goes on a gateway may send what it had checked before it was suspended.
const HANGOVER: Duration = Duration::from_secs(2);

type Keys = BTreeMap<String, String>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys of one owner.
fn own(owner: usize, metadata: &Keys) -> Keys {
    let prefix = format!("{}_", OWNERS[owner]);
    metadata
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The provider's sessions, and what went wrong there.
#[derive(Default)]
struct Stored {
    sessions: Vec<Mutex<Keys>>,
    in_flight: AtomicU64,
    /// Writes that changed other owners' keys.
    lost: Mutex<Vec<String>>,
    /// The same, of gateways that had just been suspended for longer than their rights.
    after_pause: AtomicU64,
    /// When a replica went on after a long pause.
    resumed: [Mutex<Option<Instant>>; REPLICAS],
    writes: AtomicU64,
}

impl Stored {
    fn new() -> Stored {
        Stored { sessions: (0..SESSIONS).map(|_| Mutex::default()).collect(), ..Stored::default() }
    }

    /// A write of an owner, as the provider executes it: it replaces all keys.
    fn replace(&self, session: usize, owner: usize, replica: usize, metadata: Keys) {
        let mut stored = lock(&self.sessions[session]);
        let others = |keys: &Keys| -> Vec<Keys> {
            (0..OWNERS.len()).filter(|other| *other != owner).map(|other| own(other, keys)).collect()
        };
        if others(&stored) != others(&metadata) {
            let after = lock(&self.resumed[replica]).is_some_and(|at| at.elapsed() < HANGOVER);
            match after {
                true => drop(self.after_pause.fetch_add(1, Ordering::SeqCst)),
                false => {
                    lock(&self.lost).push(format!("{} on {session}: {stored:?} -> {metadata:?}", OWNERS[owner]));
                }
            }
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        *stored = metadata;
    }
}

fn number(call: &Call) -> usize {
    call.seen.target.rsplit('_').next().and_then(|number| number.parse().ok()).unwrap()
}

fn shown(session: usize, metadata: &Keys) -> Value {
    let mut body = recorder::session(&json!(metadata));
    body["id"] = json!(format!("owned_{session}"));
    body
}

/// A provider that executes a write before or after its client has given up, and sometimes does not say so.
fn provider(stored: &Arc<Stored>, first_byte: Duration) -> Recorder {
    let (stored, ticks) = (stored.clone(), AtomicU64::new(0));
    Recorder::start(move |call: &mut Call| -> io::Result<Then> {
        call.body()?;
        let mut random = Random::of(7, ticks.fetch_add(1, Ordering::Relaxed));
        let session = number(call);
        let pause = |most: u64, random: &mut Random| thread::sleep(Duration::from_micros(random.below(most)));
        pause(2_000, &mut random);
        if call.seen.method != "PATCH" {
            let metadata = lock(&stored.sessions[session]).clone();
            pause(1_000, &mut random);
            return call.json(200, &shown(session, &metadata));
        }
        let body: Value = serde_json::from_slice(&call.seen.body).unwrap();
        let sent = body["session_metadata"].as_object().unwrap();
        let metadata: Keys =
            sent.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
        let by = |name: &str| call.seen.header(name).unwrap().parse::<usize>().unwrap();
        let (owner, replica) = (by("X-Owner"), by("X-Replica"));
        stored.in_flight.fetch_add(1, Ordering::SeqCst);
        let fate = random.below(400);
        if fate == 0 {
            // The gateway has given up when the write is executed.
            thread::sleep(first_byte + first_byte / 4);
        }
        stored.replace(session, owner, replica, metadata.clone());
        stored.in_flight.fetch_sub(1, Ordering::SeqCst);
        pause(1_000, &mut random);
        if fate == 1 {
            return Ok(Then::Reset);
        }
        call.json(200, &shown(session, &metadata))
    })
}

/// What an owner knows of its keys in a session.
#[derive(Default)]
struct Known {
    acknowledged: Keys,
    /// What it sent since, with an unknown outcome.
    perhaps: Vec<Keys>,
    /// What it sent to a gateway that did not respond in time: when that goes on, it may still execute it.
    given_up: Vec<Keys>,
}

impl Known {
    fn may_be(&self, keys: &Keys) -> bool {
        self.acknowledged == *keys || self.perhaps.contains(keys) || self.given_up.contains(keys)
    }
}

/// What came of a request.
enum Ended {
    Responded(Response),
    /// The connection ended.
    Broken,
    GivenUp,
}

#[derive(Default)]
struct Report {
    acknowledged: AtomicU64,
    reads: AtomicU64,
    busy: AtomicU64,
    unavailable: AtomicU64,
    unknown: AtomicU64,
}

impl Report {
    fn operations(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed) + self.reads.load(Ordering::Relaxed)
    }
}

/// The replicas, the store and the provider of a run.
struct Run {
    config: String,
    recorder: Recorder,
    stored: Arc<Stored>,
    redis: Mutex<RedisServer>,
    replicas: Vec<RwLock<Replica>>,
    report: Report,
    over: AtomicBool,
    /// By session, then by owner.
    known: Vec<[Mutex<Known>; OWNERS.len()]>,
    value: AtomicU64,
}

impl Run {
    fn start() -> Run {
        let (stored, redis) = (Arc::new(Stored::new()), RedisServer::start());
        let first_byte = Duration::from_secs(1);
        let recorder = provider(&stored, first_byte);
        let grants: String = OWNERS
            .iter()
            .map(|owner| {
                format!(
                    "  - {{ name: {owner}, callers: {{ client_id: {owner} }}, operations: [read_session, \
                     update_session], keys: {{ own: ['{owner}_*'] }} }}\n"
                )
            })
            .collect();
        let upstream = recorder.upstream(&format!(
            "cache: {{ ttl: 1m }}\ntimeouts: {{ connect: 100ms, first_byte: 1s }}\nlimits: {{ wait: 500ms }}\n\
             grants:\n{grants}"
        ));
        let config = format!(
            "hash_key: {{ env: HASH }}\nlog: {{ requests: false }}\n\
             store: {{ redis: {{ url: \"{}\", seal_keys: [{{ env: SEAL }}], settle: 0s }} }}\n{upstream}",
            redis.url()
        );
        let replica = |_| RwLock::new(Replica::start(&config, &recorder.token()));
        let replicas = (0..REPLICAS).map(replica).collect();
        let known = (0..SESSIONS).map(|_| std::array::from_fn(|_| Mutex::default())).collect();
        Run {
            replicas,
            config,
            recorder,
            stored,
            redis: Mutex::new(redis),
            report: Report::default(),
            over: AtomicBool::new(false),
            known,
            value: AtomicU64::new(0),
        }
    }

    /// Reads and writes of one owner in its sessions, one after the other, until the run is over.
    fn write(&self, owner: usize, writer: usize, seed: u64) {
        let mut random = Random::of(seed, (owner * WRITERS + writer) as u64);
        let token = self.recorder.token_of_client(OWNERS[owner]);
        let own: Vec<usize> = (0..SESSIONS).filter(|session| session % WRITERS == writer).collect();
        let mut connections: Vec<Option<Connection>> = (0..REPLICAS).map(|_| None).collect();
        while !self.over.load(Ordering::Relaxed) {
            let (session, replica) = (own[random.below(own.len() as u64) as usize], random.below(REPLICAS as u64));
            self.step(owner, session, replica as usize, &token, &mut connections[replica as usize], &mut random);
        }
    }

    fn step(
        &self,
        owner: usize,
        session: usize,
        replica: usize,
        token: &str,
        connection: &mut Option<Connection>,
        random: &mut Random,
    ) {
        let reads = random.below(10) == 0;
        let sent = if random.below(20) == 0 { Keys::new() } else { self.new_keys(owner, random) };
        let request = Request::new(if reads { "GET" } else { "PATCH" }, &format!("/api/v2/sessions/owned_{session}"));
        let request = request.bearer(token).header("X-Owner", &owner.to_string());
        let request = request.header("X-Replica", &replica.to_string());
        let request = if reads { request } else { request.json(&json!({ "session_metadata": sent }).to_string()) };
        let response = self.exchange(replica, connection, &request);
        let mut known = lock(&self.known[session][owner]);
        let keys = |response: &Response| {
            let all: Map<String, Value> = response.json()["session_metadata"].as_object().cloned().unwrap_or_default();
            all.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect::<Keys>()
        };
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match response {
            Ended::Responded(response) if response.status == 200 && reads => {
                let seen = self::own(owner, &keys(&response));
                assert!(known.may_be(&seen), "{} reads {seen:?}, wrote {:?}", OWNERS[owner], known.acknowledged);
                count(&self.report.reads);
            }
            Ended::Responded(response) if response.status == 200 => {
                assert_eq!(self::own(owner, &keys(&response)), sent, "the response to a write");
                (known.acknowledged, known.perhaps) = (sent, Vec::new());
                count(&self.report.acknowledged);
            }
            Ended::Responded(response) if response.status == 429 || response.status == 503 => {
                assert!(reads || response.header("Retry-After").is_some(), "{}", response.text());
                count(if response.status == 429 { &self.report.busy } else { &self.report.unavailable });
                // As a client that honours `Retry-After` at least a little.
                drop(known);
                thread::sleep(Duration::from_millis(100));
            }
            Ended::Responded(response) if !reads && ![502, 504].contains(&response.status) => {
                panic!("{} {}", response.status, response.text());
            }
            ended => {
                match ended {
                    _ if reads => {}
                    Ended::Responded(_) | Ended::Broken => known.perhaps.push(sent),
                    Ended::GivenUp => known.given_up.push(sent),
                }
                count(&self.report.unknown);
            }
        }
    }

    fn new_keys(&self, owner: usize, random: &mut Random) -> Keys {
        let value = self.value.fetch_add(1, Ordering::Relaxed).to_string();
        let name = |key: u64| (format!("{}_{key}", OWNERS[owner]), value.clone());
        let first = random.below(KEYS);
        (first..=first + random.below(KEYS - first)).map(name).collect()
    }

    fn exchange(&self, replica: usize, kept: &mut Option<Connection>, request: &Request) -> Ended {
        let address = self.replicas[replica].read().unwrap_or_else(PoisonError::into_inner).gateway.address();
        let kept_open = kept.take().filter(|connection| connection.peer() == address);
        let Some(mut connection) = kept_open.or_else(|| Connection::open_within(address, PATIENCE).ok()) else {
            return Ended::Broken;
        };
        match connection.exchange(request) {
            Ok(response) => {
                *kept = Some(connection);
                Ended::Responded(response)
            }
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
                Ended::GivenUp
            }
            Err(_) => Ended::Broken,
        }
    }

    /// Kills or suspends a gateway or the store.
    fn harm(&self, turn: u64, random: &mut Random) {
        let replica = random.below(REPLICAS as u64) as usize;
        let signal = |name: &str| {
            self.replicas[replica].read().unwrap_or_else(PoisonError::into_inner).gateway.signal(name);
        };
        match turn % 4 {
            0 => {
                signal("KILL");
                let fresh = Replica::start_unconnected(&self.config, &self.recorder.token());
                *self.replicas[replica].write().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            1 => lock(&self.redis).restart(),
            2 => {
                signal("STOP");
                thread::sleep(LONG_PAUSE);
                *lock(&self.stored.resumed[replica]) = Some(Instant::now());
                signal("CONT");
            }
            _ => {
                let redis = lock(&self.redis);
                redis.hold();
                thread::sleep(Duration::from_millis(random.below(1_500)));
                redis.go_on();
            }
        }
    }

    /// Runs all owners, with harm, until there were so many operations.
    fn under_harm(&self, operations: u64, harms: u64) {
        let seed = seed();
        thread::scope(|scope| {
            for owner in 0..OWNERS.len() {
                for writer in 0..WRITERS {
                    scope.spawn(move || self.write(owner, writer, seed));
                }
            }
            let act = || {
                let mut random = Random::of(seed, 1_000);
                for turn in 1..=harms {
                    self.wait_for_operations(operations * turn / (harms + 1));
                    self.harm(turn - 1, &mut random);
                }
                self.wait_for_operations(operations);
            };
            // What fails in here must not leave the writers running.
            let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            self.over.store(true, Ordering::Relaxed);
            if let Err(panic) = acted {
                std::panic::resume_unwind(panic);
            }
        });
        wait_for("writes that the provider still executes", || {
            (self.stored.in_flight.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    fn wait_for_operations(&self, operations: u64) {
        let mut before = self.report.operations();
        while before < operations {
            let reached = || Some(self.report.operations()).filter(|now| *now > before || *now >= operations);
            before = wait_for("operations", reached);
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn owners_keep_their_keys_whatever_fails() {
    if !redis_installed() {
        return;
    }
    let (operations, harms) = if long() { (100_000, 60) } else { (5_000, 4) };
    let run = Run::start();
    run.under_harm(operations, harms);
    let Report { acknowledged, reads, busy, unavailable, unknown } = &run.report;
    println!(
        "acknowledged writes {acknowledged:?}, reads {reads:?}, busy {busy:?}, unavailable {unavailable:?}, unknown \
         {unknown:?}, executed {:?}, sent after a pause {:?}",
        run.stored.writes, run.stored.after_pause
    );
    assert_eq!(*lock(&run.stored.lost), Vec::<String>::new(), "writes that changed other owners' keys");
    // At most what each writer had checked when its gateway was suspended.
    let suspended = harms.div_ceil(4) * (OWNERS.len() * WRITERS) as u64;
    assert!(run.stored.after_pause.load(Ordering::SeqCst) <= suspended);
    if run.stored.after_pause.load(Ordering::SeqCst) == 0 {
        for (session, owners) in run.known.iter().enumerate() {
            let stored = lock(&run.stored.sessions[session]).clone();
            for (owner, known) in owners.iter().enumerate() {
                let (known, keys) = (lock(known), own(owner, &stored));
                assert!(known.may_be(&keys), "{} ends with {keys:?}, wrote {:?}", OWNERS[owner], known.acknowledged);
            }
        }
    }
    assert!(acknowledged.load(Ordering::Relaxed) > operations / 2, "hardly any write was acknowledged");
}
