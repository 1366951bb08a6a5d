//! The scripts that run in Redis do what the rules of coherence do: random sequences of steps meet the same answers from a real
//! server and from the rules. Time is made to pass by moving every time that the server has stored.

use crate::harness::{Random, RedisServer, redis_installed};
use redis::{Connection, Value};
use sessiongate::coherence::{
    Acquired, CROWD, Ended, Entry, Generation, MAX_SESSION_WRITES, MAX_UPSTREAM_WRITES, Place, Reach, Reading, Settled,
    Stamp, State, Token, acquire, begin, end, release,
};
use std::collections::HashMap;

const SEQUENCES: u64 = 150;
const STEPS: u64 = 80;
/// Everything takes a multiple of this and a half, or passes by multiples of it, so that the time that a test takes is nothing.
const TICK: u64 = 60_000;
const KEPT: &str = "100000000000";

const ACQUIRE: &str = include_str!("../../src/cache/redis/acquire.lua");
const OPEN: &str = include_str!("../../src/cache/redis/open.lua");
const BEGIN: &str = include_str!("../../src/cache/redis/begin.lua");
const END: &str = include_str!("../../src/cache/redis/end.lua");
const DELETED: &str = include_str!("../../src/cache/redis/deleted.lua");
const RELEASE: &str = include_str!("../../src/cache/redis/release.lua");

/// The same session at the server and by the rules.
struct Both {
    connection: Connection,
    session: State,
    epoch: State,
    place: Place<u64>,
    now: u64,
    minted: u128,
    /// The rules' generations by the server's.
    known: HashMap<String, Generation>,
    told: Vec<String>,
}

fn token(token: u64) -> String {
    format!("{token:016x}")
}

impl Both {
    fn new(server: &RedisServer) -> Both {
        let mut connection = server.connection();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let (session, epoch, place, known) = (State::default(), State::default(), Place::Empty, HashMap::new());
        Both { connection, session, epoch, place, now: 0, minted: 0, known, told: Vec::new() }
    }

    fn run(&mut self, script: &str, keys: &[&str], arguments: &[&str]) -> Value {
        self.told.push(format!("{} {arguments:?}", script.lines().next().unwrap()));
        let mut run = redis::cmd("EVAL");
        run.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        run.query(&mut self.connection).unwrap()
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what} after\n{}", self.told.join("\n"));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, servers: T, rules: T) {
        if servers != rules {
            self.fail(&format!("the server says {servers:?}, the rules {rules:?}"));
        }
    }

    /// The two name generations each in its own way, but always the same ones.
    fn same_generation(&mut self, servers: &str, rules: Generation) {
        if let Some(known) = self.known.get(servers) {
            return self.same(*known, rules);
        }
        if self.known.values().any(|known| *known == rules) {
            self.fail("the server minted a generation, the rules did not");
        }
        self.known.insert(servers.to_owned(), rules);
    }

    /// With `moving` the key of the refresh cannot be had: then what is no longer fresh is nothing.
    fn acquire(&mut self, reader: u64, steal: Option<u64>, fresh: bool, moving: bool) -> Acquired<u64> {
        let lease = TICK + TICK / 2;
        let reading = Reading {
            reader: Token(reader.into()),
            steal: steal.map(|steal| Token(steal.into())),
            fresh,
            lease,
            now: self.now,
        };
        let epoch_marked = self.epoch.is_marked(self.now);
        let looked_at = !fresh && !epoch_marked && !self.session.matters(self.now);
        if moving && looked_at && matches!(&self.place, Place::Data { entry, .. } if entry.fresh_until <= self.now) {
            self.place = Place::Empty;
        }
        let minted = &mut self.minted;
        let rules = acquire(&mut self.session, &mut self.epoch, &mut self.place, reading, || {
            *minted += 1;
            Generation(*minted)
        });
        let own = token(reader);
        let opened = text(&self.run(OPEN, &["{a}e"], &[&own, KEPT]));
        self.same(opened == "W", epoch_marked);
        if epoch_marked {
            let expected = matches!(rules, Acquired::Bypass | Acquired::Deleted);
            self.same(true, expected);
            return rules;
        }
        let other = steal.map(token).unwrap_or_default();
        let arguments = [own.as_str(), &other, &opened, KEPT, &lease.to_string(), if fresh { "fresh" } else { "" }];
        let keys = ["{a}s", "{a}v", "{a}r"];
        let answer = text(&self.run(ACQUIRE, if moving { &keys[..2] } else { &keys }, &arguments));
        self.told.push(format!("  = {answer}"));
        self.compare(&answer, &rules, &opened);
        rules
    }

    fn compare(&mut self, answer: &str, rules: &Acquired<u64>, epoch: &str) {
        let (floor, rest) = (answer[14..34].parse::<u64>().unwrap(), answer[34..].to_owned());
        let letter = &answer[..1];
        match rules {
            Acquired::Deleted => self.same(letter, "X"),
            Acquired::Bypass => self.same(letter, "W"),
            Acquired::Hit(entry, known) => {
                self.same(letter, "D");
                self.same(floor, known.unwrap_or(0));
                self.same_entry(&rest, entry);
            }
            Acquired::Lead { stamp, floor: known, stale } => {
                self.same(floor, known.unwrap_or(0));
                self.same_generation(epoch, stamp.epoch);
                match stale {
                    Some(entry) => {
                        self.same(letter, "S");
                        self.same_entry(&rest, entry);
                    }
                    None => {
                        self.same(letter, "G");
                        self.same_generation(&rest[..32], stamp.session);
                    }
                }
            }
            Acquired::Wait { stamp, reader, stale: None } => {
                self.same(letter, "L");
                self.same_generation(&rest[..32], stamp.session);
                self.same(&rest[32..], &token(reader.0 as u64));
            }
            Acquired::Wait { reader, stale: Some(entry), .. } => {
                self.same(letter, "R");
                self.same(&rest[..16], &token(reader.0 as u64));
                self.same_entry(&rest[16..], entry);
            }
        }
    }

    fn same_entry(&mut self, servers: &str, rules: &Entry<u64>) {
        self.same_generation(&servers[1..33], rules.stamp.session);
        self.same_generation(&servers[33..65], rules.stamp.epoch);
        self.same(servers[104..].parse().unwrap(), rules.answer);
    }

    /// The server's own names of a stamp.
    fn names(&self, stamp: Stamp) -> String {
        let name =
            |wanted: Generation| self.known.iter().find(|(_, known)| **known == wanted).map(|(name, _)| name.clone());
        name(stamp.session).unwrap() + &name(stamp.epoch).unwrap()
    }

    fn servers_now(&mut self) -> u64 {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut self.connection).unwrap();
        seconds * 1000 + micros / 1000
    }

    fn fill(&mut self, stamp: Stamp, answer: u64, fresh: u64, stale: u64) {
        let (fetched_at, fresh_until) = (self.now, self.now + fresh);
        let entry = Entry { stamp, fetched_at, fresh_until, stale_until: fresh_until + stale, answer };
        // A late one replaces what is there: servers do not compare.
        self.place = Place::Data { entry, refresh: None };
        let now = self.servers_now();
        let (fresh_until, stale_until) = (now + fresh, now + fresh + stale);
        let text = format!("D{}{now:013}{fresh_until:013}{stale_until:013}{answer}", self.names(stamp));
        self.told.push(format!("fill {text}"));
        redis::cmd("SET").arg("{a}v").arg(text).arg("PX").arg(fresh + stale).exec(&mut self.connection).unwrap();
        redis::cmd("DEL").arg("{a}r").exec(&mut self.connection).unwrap();
    }

    fn release(&mut self, reader: u64, moving: bool) {
        if !(moving && matches!(self.place, Place::Data { .. })) {
            release(&mut self.place, Token(reader.into()));
        }
        let keys = ["{a}v", "{a}r"];
        self.run(RELEASE, if moving { &keys[..1] } else { &keys }, &[&token(reader)]);
    }

    fn begin(&mut self, reach: Reach, writer: u64, guard: u64) {
        let (state, key, most, beyond) = match reach {
            Reach::Upstream => (&mut self.epoch, "{a}e", MAX_UPSTREAM_WRITES, "crowd"),
            Reach::Session => (&mut self.session, "{a}s", MAX_SESSION_WRITES, "refuse"),
            Reach::Unverified => (&mut self.session, "{a}s", MAX_SESSION_WRITES, "crowd"),
        };
        let begun = begin(state, Token(writer.into()), guard, self.now, reach).is_ok();
        let arguments = [&token(writer), &guard.to_string(), &most.to_string(), beyond, KEPT];
        let answer = self.run(BEGIN, &[key], &arguments);
        self.same(answer, Value::Int(i64::from(begun)));
    }

    fn end(&mut self, wide: bool, writer: u64, settled: Settled) {
        let (state, key) = if wide { (&mut self.epoch, "{a}e") } else { (&mut self.session, "{a}s") };
        let minted = &mut self.minted;
        let ended = end(state, Token(writer.into()), settled, self.now, || {
            *minted += 1;
            Generation(*minted)
        });
        let floor = format!("{:020}", settled.version.unwrap_or_default());
        let unchanged = if settled.unchanged { "unchanged" } else { "" };
        let deleted = settled.deleted_for.unwrap_or_default().to_string();
        let answer = self.run(END, &[key], &[&token(writer), &floor, unchanged, &deleted, KEPT]);
        let expected = match ended {
            Ended::OthersInFlight => 0,
            Ended::Reopened => 1,
            Ended::MarkLost => 2,
        };
        self.same(answer, Value::Int(expected));
    }

    fn is_deleted(&mut self) -> bool {
        let rules = self.session.is_deleted(self.now);
        let answer = self.run(DELETED, &["{a}s"], &[]);
        self.same(answer, Value::Int(i64::from(rules)));
        rules
    }

    /// Moves all that the server has stored into the past.
    fn pass(&mut self, long: u64) {
        self.told.push(format!("{long} ms pass"));
        self.now += long;
        let earlier = |digits: &str| format!("{:013}", digits.parse::<u64>().unwrap().saturating_sub(long));
        for key in ["{a}s", "{a}e", "{a}v", "{a}r"] {
            let Some(text): Option<String> = redis::cmd("GET").arg(key).query(&mut self.connection).unwrap() else {
                continue;
            };
            let left: i64 = redis::cmd("PTTL").arg(key).query(&mut self.connection).unwrap();
            let left = left - long as i64;
            if left <= 0 {
                redis::cmd("DEL").arg(key).exec(&mut self.connection).unwrap();
                continue;
            }
            let moved = match key {
                "{a}v" if text.starts_with('D') => {
                    let times = [65, 78, 91].map(|at| earlier(&text[at..at + 13])).concat();
                    format!("{}{times}{}", &text[..65], &text[104..])
                }
                "{a}v" | "{a}r" => text,
                _ => {
                    let marks: Vec<String> = text.as_bytes()[65..]
                        .chunks(29)
                        .map(|mark| std::str::from_utf8(mark).unwrap())
                        .map(|mark| format!("{}{}", &mark[..16], earlier(&mark[16..])))
                        .collect();
                    format!("{}{}{}", &text[..52], earlier(&text[52..65]), marks.concat())
                }
            };
            redis::cmd("SET").arg(key).arg(moved).arg("PX").arg(left).exec(&mut self.connection).unwrap();
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?} is no text"),
    }
}

/// How often the session was found deleted.
fn sequence(both: &mut Both, random: &mut Random) -> u64 {
    let mut led: Vec<(u64, Stamp)> = Vec::new();
    let mut deleted = 0;
    for step in 1..=STEPS {
        // Few writers, so that they place marks again that stand already; the first is the one whose mark nobody takes away.
        let (wide, writer) = (random.below(4) == 0, random.below(5));
        match random.below(12) {
            0..=4 => {
                let steal = (random.below(4) == 0).then(|| 1 + random.below(step));
                let (fresh, moving) = (random.below(8) == 0, random.below(6) == 0);
                if let Acquired::Lead { stamp, .. } = both.acquire(1000 + step, steal, fresh, moving) {
                    led.push((1000 + step, stamp));
                }
            }
            5 | 6 => {
                if let Some((_, stamp)) = led.pop() {
                    both.fill(stamp, step, TICK / 2 + TICK * random.below(3), TICK * random.below(3));
                }
            }
            7 => {
                let reader = led.first().map_or(step, |(reader, _)| *reader);
                both.release(reader, random.below(6) == 0);
            }
            8 | 9 => {
                let session = if random.below(2) == 0 { Reach::Session } else { Reach::Unverified };
                both.begin(if wide { Reach::Upstream } else { session }, writer, TICK / 2 + TICK * random.below(3));
            }
            10 => {
                let settled = Settled {
                    version: (random.below(2) == 0).then(|| random.below(100)),
                    unchanged: random.below(3) == 0,
                    deleted_for: (!wide && random.below(6) == 0).then(|| TICK / 2 + TICK * random.below(2)),
                };
                both.end(wide, writer, settled);
            }
            _ => both.pass(TICK * (1 + random.below(2))),
        }
        deleted += u64::from(both.is_deleted());
    }
    deleted
}

#[test]
fn the_scripts_do_what_the_rules_do() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut random = Random::of(0x5EED_5EED_5EED_5EED, 0);
    let deleted: u64 = (0..SEQUENCES).map(|_| sequence(&mut Both::new(&server), &mut random)).sum();
    assert!(deleted > SEQUENCES && deleted < SEQUENCES * STEPS, "found deleted {deleted} times");
}

#[test]
fn the_scripts_bound_the_writes_in_flight_as_the_rules_do() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut both = Both::new(&server);
    (1..=MAX_SESSION_WRITES as u64 + 2).for_each(|writer| both.begin(Reach::Session, writer, TICK));
    both.begin(Reach::Session, 3, TICK);
    for writer in [900, 901, 3] {
        both.begin(Reach::Unverified, writer, TICK);
    }
    (1..=MAX_UPSTREAM_WRITES as u64 + 3).for_each(|writer| both.begin(Reach::Upstream, writer, TICK));
    assert_eq!(CROWD, Token(0));
    (1..=MAX_UPSTREAM_WRITES as u64 + 3).for_each(|writer| both.end(true, writer, Settled::default()));
    (1..=MAX_SESSION_WRITES as u64).for_each(|writer| both.end(false, writer, Settled::default()));
    assert_eq!(both.acquire(1, None, false, false), Acquired::Bypass, "what is beyond the most runs out by itself");
    both.pass(TICK * 2);
    assert!(matches!(both.acquire(2, None, false, false), Acquired::Lead { .. }));
}
