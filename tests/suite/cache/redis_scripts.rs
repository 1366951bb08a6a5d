//! The Redis scripts match the rules of [`sessiongate::coherence`]: random sequences of steps give the same results on
//! a real server and with the rules. The test moves all stored times instead of waiting.

use crate::harness::{Random, RedisServer, redis_installed};
use redis::{Connection, Value};
use sessiongate::coherence::exclusive::{ExclusiveRight, RESERVED, RightReply, RightStep};
use sessiongate::coherence::{
    AcquireInput, Acquired, CallerDigest, CoherenceState, DEFAULT_TENANT, DeletionState, Entry, FLOOR_KEPT, Generation,
    MAX_DENIED, MAX_SESSION_WRITES, MAX_TENANTS, MAX_UPSTREAM_WRITES, Observed, RetireCause, Retired, SHARED_WRITER,
    Settled, Stamp, TenantId, Token, VariantState, WriteEnd, WriteScope, acquire, begin, end, fill, release, retire,
};
use std::collections::HashMap;

const SEQUENCES: u64 = 300;
const STEPS: u64 = 80;
/// Everything takes a multiple of this and a half, or passes by multiples of it, so that the time that a test takes is
/// nothing.
const TICK: u64 = 60_000;
const KEPT: &str = "100000000000";

const VARIANT: &str = include_str!("../../../src/cache/redis/variant.lua");
const ACQUIRE: &str = include_str!("../../../src/cache/redis/acquire.lua");
const FILL: &str = include_str!("../../../src/cache/redis/fill.lua");
const RETIRE: &str = include_str!("../../../src/cache/redis/retire.lua");
const OPEN: &str = include_str!("../../../src/cache/redis/open.lua");
const BEGIN: &str = include_str!("../../../src/cache/redis/begin.lua");
const END: &str = include_str!("../../../src/cache/redis/end.lua");
const DELETED: &str = include_str!("../../../src/cache/redis/deleted.lua");
const TENANTS: &str = include_str!("../../../src/cache/redis/tenants.lua");
const RIGHT: &str = include_str!("../../../src/cache/redis/right.lua");
const RELEASE: &str = include_str!("../../../src/cache/redis/release.lua");

/// A fetch that has begun: for whom, when by the rules, and when by the server, where so much time had been made to
/// pass.
struct Led {
    reader: u64,
    stamp: Stamp,
    /// The epoch as it was then.
    epoch: CoherenceState,
    began: u64,
    servers: u64,
    passed: u64,
}

/// The same session at the server and by the rules.
struct Both {
    connection: Connection,
    session: CoherenceState,
    epoch: CoherenceState,
    variant: VariantState<u64>,
    right: ExclusiveRight,
    now: u64,
    /// How many steps there were: the rules order steps by it while the clock stands still.
    step: u64,
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
        let (session, epoch, variant, known) =
            (CoherenceState::default(), CoherenceState::default(), VariantState::default(), HashMap::new());
        let right = ExclusiveRight::default();
        Both { connection, session, epoch, variant, right, now: 0, step: 0, minted: 0, known, told: Vec::new() }
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

    /// Now, in microseconds, by the rules.
    fn moment(&mut self) -> u64 {
        self.step += 1;
        assert!(self.step < 1_000);
        self.now * 1_000 + self.step
    }

    fn acquire(&mut self, reading: AcquireInput) -> (Acquired<u64>, Option<Led>) {
        let began = self.moment();
        let AcquireInput { reader, steal, fresh, no_store, caller, tenant, lease, .. } = reading;
        let reading = AcquireInput { now: self.now, ..reading };
        let epoch_marked = self.epoch.is_marked(self.now);
        let minted = &mut self.minted;
        let rules = acquire(&mut self.session, &mut self.epoch, &mut self.variant, reading, || {
            *minted += 1;
            Generation(*minted)
        });
        let own = token(reader.0 as u64);
        let opened = text(&self.run(OPEN, &["{a}e"], &[&own, KEPT]));
        self.same(opened == "W", epoch_marked);
        if epoch_marked {
            let expected = matches!(rules, Acquired::Bypass | Acquired::Deleted);
            self.same(true, expected);
            return (rules, None);
        }
        let other = steal.map(|steal| token(steal.0 as u64)).unwrap_or_default();
        let mode = match (fresh, no_store) {
            (true, _) => "fresh",
            (false, true) => "unstored",
            (false, false) => "",
        };
        let (lease, purged) = (lease.to_string(), self.servers_purged());
        let arguments = [own.as_str(), &other, &opened, KEPT, &lease, mode, &hex(&caller), &hex(&tenant), &purged];
        let response = text(&self.run(&[VARIANT, TENANTS, ACQUIRE].concat(), &["{a}s", "{a}v", "{a}t"], &arguments));
        self.told.push(format!("  = {response}"));
        self.compare(&response, &rules, &opened);
        let servers = response[1..17].parse().unwrap();
        let led = match &rules {
            Acquired::Lead { stamp, .. } | Acquired::Denied { stamp, .. } => {
                let (epoch, passed) = (self.epoch.clone(), self.now);
                Some(Led { reader: reader.0 as u64, stamp: *stamp, epoch, began, servers, passed })
            }
            _ => None,
        };
        (rules, led)
    }

    fn compare(&mut self, response: &str, rules: &Acquired<u64>, epoch: &str) {
        let (floor, rest) = (response[17..37].parse::<u64>().unwrap(), response[37..].to_owned());
        let letter = &response[..1];
        let rest = if matches!(letter, "X" | "W") { "" } else { &rest[16..] };
        match rules {
            Acquired::Deleted => self.same(letter, "X"),
            Acquired::Bypass => self.same(letter, "W"),
            Acquired::Denied { stamp, floor: known } => {
                self.same(letter, "N");
                self.same(floor, known.unwrap_or(0));
                self.same_generation(&rest[..32], stamp.session);
                self.same_generation(epoch, stamp.epoch);
            }
            Acquired::Hit(entry, known, since) => {
                self.same(response[37..53].parse::<u64>().unwrap() > 0, *since > 0);
                self.same(letter, "D");
                self.same(floor, known.unwrap_or(0));
                self.same_entry(rest, entry);
            }
            Acquired::Lead { stamp, floor: known, stale, since } => {
                self.same(floor, known.unwrap_or(0));
                self.same_generation(epoch, stamp.epoch);
                self.same(response[37..53].parse::<u64>().unwrap() > 0, *since > 0);
                match stale {
                    Some(entry) => {
                        self.same(letter, "S");
                        self.same_entry(rest, entry);
                    }
                    None => {
                        self.same(letter, "G");
                        self.same_generation(&rest[..32], stamp.session);
                    }
                }
            }
            Acquired::Wait { stamp, reader, stale: None, .. } => {
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
        self.same(servers[65..85].parse().unwrap(), rules.version.unwrap_or(0));
        self.same(&servers[127..159], &hex(&rules.only.unwrap_or_default()));
        self.same(u64::from_str_radix(&servers[159..175], 16).unwrap(), rules.digest);
        self.same(servers[175..].parse().unwrap(), rules.response);
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

    /// When a fetch began by the server's clock, less the time that the test has skipped since.
    fn servers_began(&self, led: &Led) -> u64 {
        led.servers - (self.now - led.passed) * 1_000
    }

    /// Says whether something else is shown.
    fn fill(&mut self, led: Led, entry: Entry<u64>, kept: u64) -> bool {
        let now = self.moment();
        let fresh = entry.fresh_until - self.now;
        let stale = entry.stale_until - self.now;
        let servers_now = self.servers_now();
        let text = format!(
            "D{}{:020}{:016}{:013}{:013}{}{:016x}{}",
            self.names(led.stamp),
            entry.version.unwrap_or(0),
            self.servers_began(&led),
            servers_now + fresh,
            servers_now + stale,
            hex(&entry.only.unwrap_or_default()),
            entry.digest,
            entry.response
        );
        let missing = if entry.missing { "missing" } else { "" };
        // Of the epoch the server knows nothing; readers look by themselves. To it, it is as it was when the fetch
        // began.
        let instead = fill(&self.session, &led.epoch, &mut self.variant, Token(led.reader.into()), entry, kept, now);
        let arguments = [token(led.reader), text, kept.to_string(), missing.to_owned()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let servers = self.run(&[VARIANT, FILL].concat(), &["{a}s", "{a}v"], &arguments);
        match (servers, instead) {
            (Value::BulkString(servers), Some(rules)) => {
                self.same(rules.stamp, led.stamp);
                self.same_entry(std::str::from_utf8(&servers).unwrap(), &rules);
                true
            }
            (servers, rules) => {
                self.same(matches!(servers, Value::Int(0 | 1)), rules.is_none());
                false
            }
        }
    }

    fn retire(&mut self, led: Led, cause: RetireCause, kept: u64) {
        let now = self.moment();
        retire(&mut self.variant, Token(led.reader.into()), Retired { kept, cause }, now);
        let denied = if let RetireCause::Denied(caller) = cause { hex(&caller) } else { String::new() };
        let mut arguments = vec![token(led.reader), kept.to_string(), denied, MAX_DENIED.to_string()];
        if let RetireCause::Superseded(Observed { began, version, digest }) = cause {
            let began = if began == u64::MAX { 10_u64.pow(16) - 1 } else { self.servers_began(&led) };
            let version = version.unwrap_or_default();
            arguments.extend([format!("{began:016}"), format!("{version:020}"), format!("{digest:016x}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&[VARIANT, RETIRE].concat(), &["{a}v"], &arguments);
    }

    fn release(&mut self, reader: u64) {
        release(&mut self.variant, Token(reader.into()));
        self.run(&[VARIANT, RELEASE].concat(), &["{a}v"], &[&token(reader)]);
    }

    fn begin(&mut self, reach: WriteScope, writer: u64, guard: u64) {
        let (state, key, most, beyond) = match reach {
            WriteScope::Upstream => (&mut self.epoch, "{a}e", MAX_UPSTREAM_WRITES, "crowd"),
            WriteScope::Session => (&mut self.session, "{a}s", MAX_SESSION_WRITES, "refuse"),
            WriteScope::Unverified => (&mut self.session, "{a}s", MAX_SESSION_WRITES, "crowd"),
        };
        let begun = begin(state, Token(writer.into()), guard, self.now, reach).is_ok();
        let arguments = [&token(writer), &guard.to_string(), &most.to_string(), beyond, KEPT];
        let response = self.run(BEGIN, &[key], &arguments);
        self.same(response, Value::Int(i64::from(begun)));
    }

    fn end(&mut self, wide: bool, writer: u64, settled: Settled) {
        let purged = if settled.deleted_for.is_some() { self.servers_purged() } else { format!("{:013}", 0) };
        let settled = Settled { purged: self.epoch.purged(), ..settled };
        if wide && settled.lifted {
            self.epoch.purge(self.now);
        }
        let (state, keys) =
            if wide { (&mut self.epoch, &["{a}e"][..]) } else { (&mut self.session, &["{a}s", "{a}t"][..]) };
        let minted = &mut self.minted;
        let ended = end(state, Token(writer.into()), settled, self.now, || {
            *minted += 1;
            Generation(*minted)
        });
        let floor = format!("{:020}", settled.version.unwrap_or_default());
        let unchanged = if settled.unchanged { "unchanged" } else { "" };
        let deleted = settled.deleted_for.unwrap_or_default().to_string();
        let lifted = if wide { "purged" } else { "lifted" };
        let deleted = if settled.lifted { lifted.to_owned() } else { deleted };
        let (kept, most, tenant) = (FLOOR_KEPT.to_string(), MAX_TENANTS.to_string(), hex(&settled.tenant));
        let arguments = [&token(writer), &floor, unchanged, &deleted, KEPT, &tenant, &purged, &kept, &most];
        let response = self.run(&[TENANTS, END].concat(), keys, &arguments);
        let expected = match ended {
            WriteEnd::OthersInFlight => 0,
            WriteEnd::Reopened => 1,
            WriteEnd::MarkLost => 2,
        };
        self.same(response, Value::Int(expected));
    }

    fn gone(&mut self, tenant: TenantId) -> DeletionState {
        let rules = self.session.deletion_state(&tenant, self.epoch.purged(), self.now);
        let arguments = [hex(&tenant), self.servers_purged()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let response = self.run(&[TENANTS, DELETED].concat(), &["{a}s", "{a}t"], &arguments);
        self.same(response, Value::Int(i64::from(rules == DeletionState::Deleted)));
        rules
    }

    fn right(&mut self, writer: u64, step: RightStep) -> RightReply {
        let rules = self.right.step(Token(writer.into()), step, self.now);
        let digits = |version: Option<u64>| version.map(|version| format!("{version:020}")).unwrap_or_default();
        let (tenant, version) = (hex(&step.tenant()), digits(step.version()));
        // A reservation is shorter than the test may take.
        let [lifetime, reserved, kept] = [step.lifetime(), TICK / 2, FLOOR_KEPT].map(|millis| millis.to_string());
        let arguments = [&token(writer), step.name(), &tenant, &lifetime, &reserved, &version, &kept];
        let response = self.run(RIGHT, &["{a}x", &format!("{{a}}n{tenant}")], &arguments);
        let Value::Array(parts) = response else { self.fail(&format!("{response:?}")) };
        let [Value::Int(servers), Value::Int(servers_left), Value::BulkString(servers_newest)] = &parts[..] else {
            self.fail("no two numbers and a version")
        };
        let (servers, servers_left) = (*servers, *servers_left);
        let (held, left) = match rules {
            RightReply::Held { left, newest } => {
                self.same(servers_newest.as_slice(), digits(newest).as_bytes());
                (1, left)
            }
            RightReply::NotHeld(left) => (0, left),
        };
        self.same(servers, held);
        self.same(servers_left > 0, left > 0);
        if left > RESERVED {
            self.same((0..TICK as i64 / 2).contains(&(left as i64 - servers_left)), true);
        }
        rules
    }

    /// When the upstream was purged last, by the server's clock.
    fn servers_purged(&mut self) -> String {
        let epoch: Option<String> = redis::cmd("GET").arg("{a}e").query(&mut self.connection).unwrap();
        format!("{:013}", epoch.map_or(0, |epoch| epoch[32..52].parse::<u64>().unwrap()))
    }

    /// Moves all that the server has stored into the past.
    fn pass(&mut self, long: u64) {
        self.told.push(format!("{long} ms pass"));
        self.now += long;
        let earlier = |digits: &str| format!("{:013}", digits.parse::<u64>().unwrap().saturating_sub(long));
        let newest = [0, 1].map(|number| format!("{{a}}n{}", hex(&tenant(number))));
        for key in ["{a}s", "{a}e", "{a}v", "{a}t", "{a}x", &newest[0], &newest[1]] {
            let Some(text): Option<String> = redis::cmd("GET").arg(key).query(&mut self.connection).unwrap() else {
                continue;
            };
            let left: i64 = redis::cmd("PTTL").arg(key).query(&mut self.connection).unwrap();
            let left = left - long as i64;
            if left <= 0 {
                redis::cmd("DEL").arg(key).exec(&mut self.connection).unwrap();
                continue;
            }
            let moved = if key == "{a}v" {
                moved_variant(&text, long)
            } else if key == "{a}t" {
                let parts = text.as_bytes().chunks(91).map(|one| std::str::from_utf8(one).unwrap());
                let moved =
                    parts.map(|one| [&one[..52], &earlier(&one[52..65]), &earlier(&one[65..78]), &one[78..]].concat());
                moved.collect()
            } else if newest.iter().any(|newest| newest == key) {
                text
            } else if key == "{a}x" {
                [&text[..48], &earlier(&text[48..61]), &text[61..77], &earlier(&text[77..])].concat()
            } else {
                let marks: Vec<String> = text.as_bytes()[65..]
                    .chunks(29)
                    .map(|mark| std::str::from_utf8(mark).unwrap())
                    .map(|mark| format!("{}{}", &mark[..16], earlier(&mark[16..])))
                    .collect();
                format!("{}{}{}", &text[..52], earlier(&text[52..65]), marks.concat())
            };
            redis::cmd("SET").arg(key).arg(moved).arg("PX").arg(left).exec(&mut self.connection).unwrap();
        }
    }
}

/// A variant as it would be if everything had happened this much earlier.
fn moved_variant(text: &str, long: u64) -> String {
    let number = |digits: &str| digits.parse::<u64>().unwrap();
    let millis = |digits: &str| format!("{:013}", number(digits).saturating_sub(long));
    let micros = |digits: &str| format!("{:016}", number(digits).saturating_sub(long * 1_000));
    let count = number(&text[187..189]) as usize;
    let (head, rest) = text.split_at(189 + 45 * count);
    let denied: Vec<String> = (0..count)
        .map(|at| &head[189 + 45 * at..][..45])
        .map(|one| format!("{}{}", &one[..32], millis(&one[32..])))
        .collect();
    let entry = if rest.is_empty() {
        String::new()
    } else {
        let times = [micros(&rest[85..101]), millis(&rest[101..114]), millis(&rest[114..127])].concat();
        format!("{}{times}{}", &rest[..85], &rest[127..])
    };
    let (lease, watermark) = (millis(&head[80..93]), [micros(&head[93..109]), millis(&head[109..122])].concat());
    let newest = [&head[122..158], &micros(&head[158..174]), &millis(&head[174..187])].concat();
    format!("{}{lease}{watermark}{newest}{}{}{entry}", &head[..80], &head[187..189], denied.concat())
}

fn hex(caller: &CallerDigest) -> String {
    caller.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One of several credentials.
fn caller(number: u64) -> CallerDigest {
    let mut caller = [0; 16];
    caller[15] = 1 + number as u8;
    caller
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?} is no text"),
    }
}

/// One of several tenants, the own one among them.
fn tenant(number: u64) -> TenantId {
    let mut tenant = DEFAULT_TENANT;
    tenant[15] = number as u8;
    tenant
}

/// What a sequence did: the test asserts that sequences reach every outcome.
#[derive(Default)]
struct Came {
    deleted: u64,
    hits: u64,
    stale: u64,
    denied: u64,
    floors: u64,
    /// Answers in whose place what is stored was shown.
    instead: u64,
    /// Deletions by tenants, and those of them that were none for another tenant at the same time.
    others: u64,
}

fn sequence(both: &mut Both, random: &mut Random, came: &mut Came) {
    let mut led: Vec<Led> = Vec::new();
    for step in 1..=STEPS {
        // Few writers, so that they place marks again that stand already; the first is the one whose mark nobody takes
        // away.
        let (wide, writer) = (random.below(4) == 0, random.below(5));
        let taken = random.below(led.len().max(1) as u64) as usize;
        match random.below(16) {
            0..=5 => {
                let reading = AcquireInput {
                    reader: Token((1000 + step).into()),
                    steal: (random.below(4) == 0).then(|| Token((1000 + random.below(step)).into())),
                    fresh: random.below(8) == 0,
                    no_store: random.below(8) == 0,
                    caller: caller(random.below(3)),
                    tenant: tenant(random.below(3)),
                    lease: TICK + TICK / 2,
                    now: 0,
                };
                let (acquired, begun) = both.acquire(reading);
                led.extend(begun);
                came.hits += u64::from(matches!(acquired, Acquired::Hit(..)));
                came.stale += u64::from(matches!(acquired, Acquired::Lead { stale: Some(_), .. }));
                came.denied += u64::from(matches!(acquired, Acquired::Denied { .. }));
                let floor = matches!(acquired, Acquired::Lead { floor: Some(_), .. });
                came.floors += u64::from(floor && reading.tenant != DEFAULT_TENANT);
            }
            6..=8 if !led.is_empty() => {
                // In any order: slow ones come behind those that began later.
                let led = led.remove(taken);
                let missing = random.below(6) == 0;
                let fresh_until = both.now + TICK / 2 + TICK * random.below(3);
                let entry = Entry {
                    stamp: led.stamp,
                    began: led.began,
                    fresh_until,
                    stale_until: fresh_until + TICK * random.below(3),
                    version: (!missing && random.below(4) > 0).then(|| 1 + random.below(4)),
                    only: missing.then(|| caller(random.below(3))),
                    missing,
                    digest: random.below(2),
                    response: step,
                };
                came.instead += u64::from(both.fill(led, entry, TICK / 2 + TICK * random.below(4)));
            }
            9 if !led.is_empty() => {
                let led = led.remove(taken);
                let cause = match random.below(4) {
                    0 => RetireCause::Invalidated,
                    1 => RetireCause::Denied(caller(random.below(3))),
                    _ => RetireCause::Superseded(Observed {
                        began: if random.below(4) == 0 { u64::MAX } else { led.began },
                        version: (random.below(4) > 0).then(|| 1 + random.below(4)),
                        digest: random.below(2),
                    }),
                };
                both.retire(led, cause, TICK / 2 + TICK * random.below(3));
            }
            10 => {
                let reader = led.first().map_or(step, |led| led.reader);
                both.release(reader);
            }
            11 | 12 => {
                let session = if random.below(2) == 0 { WriteScope::Session } else { WriteScope::Unverified };
                both.begin(
                    if wide { WriteScope::Upstream } else { session },
                    writer,
                    TICK / 2 + TICK * random.below(3),
                );
            }
            13 => {
                let settled = Settled {
                    version: (!wide && random.below(2) == 0).then(|| random.below(100)),
                    unchanged: random.below(3) == 0,
                    deleted_for: (!wide && random.below(8) == 0).then(|| TICK / 2 + TICK * random.below(4)),
                    tenant: tenant(if wide { 0 } else { random.below(3) }),
                    ..Settled::default()
                };
                let lifted = settled.deleted_for.is_none() && random.below(5) == 0;
                both.end(wide, writer, Settled { lifted, ..settled });
            }
            14 => both.pass(TICK * (1 + random.below(2))),
            _ => {}
        }
        let gone = [0, 1, 2].map(|number| both.gone(tenant(number)) == DeletionState::Deleted);
        came.deleted += u64::from(gone.contains(&true));
        came.others += u64::from(gone[0] != gone[1] || gone[1] != gone[2]);
    }
}

#[test]
fn scripts_match_the_rules() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut random = Random::of(0x5EED_5EED_5EED_5EED, 0);
    let mut came = Came::default();
    (0..SEQUENCES).for_each(|_| sequence(&mut Both::new(&server), &mut random, &mut came));
    let Came { deleted, hits, stale, denied, floors, instead, others } = came;
    println!("deleted {deleted}, for some {others}, hits {hits}, stale {stale}, denied {denied}, floors {floors}");
    println!("shown instead {instead}");
    assert!(deleted > 0 && deleted < SEQUENCES * STEPS, "found deleted {deleted} times");
    assert!([hits, stale, denied, floors, instead, others].iter().all(|count| *count > 0), "little came of it");
}

#[test]
fn script_of_the_exclusive_right_matches_the_rules() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut random = Random::of(0x5EED_5EED_5EED_5EED, 1);
    let (mut held, mut known, mut taken_by_others, mut reserved) = (0, 0, 0, 0);
    for _ in 0..SEQUENCES {
        let mut both = Both::new(&server);
        for _ in 0..STEPS {
            let (writer, lifetime) = (1 + random.below(3), TICK / 2 + TICK * random.below(3));
            let step = match random.below(9) {
                0..=2 => RightStep::Take { tenant: tenant(random.below(2)), lifetime },
                3 => RightStep::Renew { tenant: tenant(random.below(2)), lifetime },
                4 | 5 => {
                    let version = Some(random.below(1_000)).filter(|version| version % 3 > 0);
                    RightStep::GiveBack { tenant: tenant(random.below(2)), version }
                }
                6 => RightStep::Saw { tenant: tenant(random.below(2)), version: random.below(1_000) },
                7 => RightStep::End { tenant: tenant(random.below(2)) },
                _ => {
                    both.pass(TICK);
                    continue;
                }
            };
            match both.right(writer, step) {
                RightReply::Held { newest, .. } => (held, known) = (held + 1, known + u64::from(newest.is_some())),
                RightReply::NotHeld(left) if left > RESERVED => taken_by_others += 1,
                RightReply::NotHeld(left) => reserved += u64::from(left > 0),
            }
        }
    }
    println!("held {held}, versions {known}, taken by others {taken_by_others}, reserved {reserved}");
    assert!([held, known, taken_by_others, reserved].iter().all(|count| *count > SEQUENCES));
}

#[test]
fn scripts_match_the_rules_for_superseded_fills() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    for (digest, only, denied, late, expected) in [
        (1, None, false, false, true),
        // Those who wait had found the epoch before it ended.
        (1, None, false, true, true),
        (2, None, false, false, false),
        (1, Some(caller(1)), false, false, false),
        (1, None, true, false, false),
    ] {
        let mut both = Both::new(&server);
        let read = |both: &mut Both, reader: u64| {
            let (steal, fresh, no_store, lease, now) = (None, true, false, TICK, 0);
            let (reader, caller, tenant) = (Token(reader.into()), caller(100), DEFAULT_TENANT);
            both.acquire(AcquireInput { reader, steal, fresh, no_store, caller, tenant, lease, now })
        };
        let [first, second] = [1, 2].map(|reader| read(&mut both, reader).1.unwrap());
        let entry = |led: &Led, digest, only| Entry {
            stamp: led.stamp,
            began: led.began,
            fresh_until: TICK * 9,
            stale_until: TICK * 9,
            version: None,
            only,
            missing: false,
            digest,
            response: digest,
        };
        let stored = entry(&second, 2, only);
        assert!(!both.fill(second, stored, TICK * 9));
        if denied {
            let led = read(&mut both, 3).1.unwrap();
            both.retire(led, RetireCause::Denied(caller(5)), TICK);
        }
        if late {
            both.begin(WriteScope::Upstream, 7, TICK);
            both.end(true, 7, Settled::default());
            assert_ne!(both.epoch.generation(), Some(first.stamp.epoch));
        }
        let slow = entry(&first, digest, None);
        assert_eq!(both.fill(first, slow, TICK * 9), expected, "{digest} {only:?} {denied} {late}");
        read(&mut both, 4);
    }
}

#[test]
fn scripts_deny_to_all_callers_beyond_the_limit_of_denials() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut both = Both::new(&server);
    let read = |both: &mut Both, reader: u64, number: u64| {
        let (steal, fresh, no_store, lease, now) = (None, true, false, TICK, 0);
        let (reader, caller, tenant) = (Token(reader.into()), caller(number), DEFAULT_TENANT);
        both.acquire(AcquireInput { reader, steal, fresh, no_store, caller, tenant, lease, now })
    };
    for number in 0..=MAX_DENIED as u64 {
        let led = read(&mut both, 1 + number, 100).1.unwrap();
        both.retire(led, RetireCause::Denied(caller(number)), TICK);
    }
    assert!(matches!(read(&mut both, 90, 100).0, Acquired::Denied { .. }));
    both.pass(TICK * 2);
    assert!(matches!(read(&mut both, 91, 100).0, Acquired::Lead { .. }));
}

#[test]
fn scripts_bound_writes_in_flight_like_the_rules() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut both = Both::new(&server);
    (1..=MAX_SESSION_WRITES as u64 + 2).for_each(|writer| both.begin(WriteScope::Session, writer, TICK));
    both.begin(WriteScope::Session, 3, TICK);
    for writer in [900, 901, 3] {
        both.begin(WriteScope::Unverified, writer, TICK);
    }
    (1..=MAX_UPSTREAM_WRITES as u64 + 3).for_each(|writer| both.begin(WriteScope::Upstream, writer, TICK));
    assert_eq!(SHARED_WRITER, Token(0));
    (1..=MAX_UPSTREAM_WRITES as u64 + 3).for_each(|writer| both.end(true, writer, Settled::default()));
    (1..=MAX_SESSION_WRITES as u64).for_each(|writer| both.end(false, writer, Settled::default()));
    let read = |both: &mut Both| {
        let (reader, steal, fresh, no_store, lease, now) = (Token(1), None, false, false, TICK, 0);
        both.acquire(AcquireInput {
            reader,
            steal,
            fresh,
            no_store,
            caller: caller(0),
            tenant: DEFAULT_TENANT,
            lease,
            now,
        })
        .0
    };
    assert_eq!(read(&mut both), Acquired::Bypass, "what is beyond the most runs out by itself");
    both.pass(TICK * 2);
    assert!(matches!(read(&mut both), Acquired::Lead { .. }));
}

/// Concurrent deletions may read the last purge in another order than they are recorded.
#[test]
fn scripts_keep_the_later_purge_of_two_deletions() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut both = Both::new(&server);
    let (kept, most) = (FLOOR_KEPT.to_string(), MAX_TENANTS.to_string());
    let (floor, tenant, deleted) = ("0".repeat(20), hex(&tenant(1)), TICK.to_string());
    for purged in ["0000000000007", "0000000000005"] {
        let writer = token(1);
        let arguments = [&writer, &floor, "", &deleted, KEPT, &tenant, purged, &kept, &most];
        both.run(&[TENANTS, END].concat(), &["{a}s", "{a}t"], &arguments);
    }
    let mut gone = |purged: &str| both.run(&[TENANTS, DELETED].concat(), &["{a}s", "{a}t"], &[&tenant, purged]);
    assert_eq!((gone("0000000000007"), gone("0000000000008")), (Value::Int(1), Value::Int(0)));
}

#[test]
fn scripts_bound_tenants_and_drop_the_first_to_expire() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut both = Both::new(&server);
    let settled = |number: u64, long: u64| Settled {
        deleted_for: Some(TICK / 2 + TICK * long),
        tenant: tenant(number),
        ..Settled::default()
    };
    let most = MAX_TENANTS as u64;
    for number in 1..=most {
        both.end(false, number, settled(number, if number == 7 { 1 } else { 3 }));
    }
    assert!((1..=most).all(|number| both.gone(tenant(number)) == DeletionState::Deleted));
    both.end(false, 100, settled(100, 2));
    assert_eq!((both.gone(tenant(7)), both.gone(tenant(100))), (DeletionState::No, DeletionState::Deleted));
    assert!((1..=most).filter(|number| *number != 7).all(|number| both.gone(tenant(number)) == DeletionState::Deleted));
    both.end(false, 101, Settled { lifted: true, ..Settled::default() });
    assert!((1..=most).all(|number| both.gone(tenant(number)) == DeletionState::No), "for every tenant");
}
