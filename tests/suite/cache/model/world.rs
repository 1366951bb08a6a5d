//! A state of the world, and the states that can follow it.

use super::search::GENERATIONS;
use sessiongate::coherence::reading::{ConnectionId, FlightKey};
use sessiongate::coherence::sharing::SharedMark;
use sessiongate::coherence::writing::MarkPlacement;
use sessiongate::coherence::{Acquired, CoherenceState, Entry, Generation, Stamp, Token, VariantState};
use std::hash::{Hash, Hasher};

mod readers;
mod store;
mod writers;

/// A configuration of the model: how many reads and writes, how often each failure at most, and which part of the
/// protocol is left out.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub reads: usize,
    pub writes: usize,
    /// Steps of the store that run late or never, or whose result is lost, and lost responses of the provider.
    pub losses: u8,
    /// Steps that run a second time, later.
    pub repeats: u8,
    pub crashes: u8,
    pub evictions: u8,
    /// How often marks expire after their writes have ended.
    pub expiries: u8,
    /// How often the store falls back to an older copy.
    pub setbacks: u8,
    /// How often the provider may reject a write.
    pub rejections: u8,
    /// How often the provider may fail a read.
    pub failures: u8,
    /// Whether the first write is upstream-wide.
    pub wide: bool,
    /// How many of the writes (the first ones) are by unverified callers and share a mark in their process.
    pub sharing: usize,
    /// Parts of sharing left out: whether a write joins a mark that the store has not confirmed; ...
    pub joined_unconfirmed: bool,
    /// ... whether a mark ends as unchanged although one of its writes changed something; ...
    pub changes_forgotten: bool,
    /// ... whether a write with an unknown outcome ends its mark like any other; ...
    pub left_unknown: bool,
    /// ... and whether a write joins a mark that has ended.
    pub joined_again: bool,
    /// Whether the store compares before it fills, as the one in memory does.
    pub comparing: bool,
    /// Whether all readers are in one process, so that they can share a fetch, instead of alternating between two.
    pub together: bool,
    /// Whether writes whose mark cannot be set are forwarded anyway, and acknowledged once the store confirms
    /// their end.
    pub held: bool,
    /// Whether local steps are separate from the steps that they follow: more states, with the same results.
    pub slowly: bool,
    pub unmarked: bool,
    pub overwriting: bool,
    pub joined_by_place: bool,
    pub joined_across_links: bool,
    pub forwarded_without_mark: bool,
    pub acknowledged_unconfirmed: bool,
    pub without_end: bool,
    pub early_expiry: bool,
    pub without_fence: bool,
    pub minted_by_clients: bool,
    /// Whether only a write that finds its own mark ends it.
    pub own_ends: bool,
    /// Whether processes may stay connected to the replaced server after a failover.
    pub split: bool,
    /// Other protocols: writes delete the entry instead of setting a mark and a new generation; ...
    pub deleting: bool,
    /// ... and only the reader with the lease may fill.
    pub filled_by_lease: bool,
    /// Whether readers never join a fetch.
    pub unjoined: bool,
    /// How often the session changes at the provider without a write through the gateway.
    pub outside: u8,
    /// Whether every other such change removes the session, so that the response cannot be stored.
    pub ending: bool,
    /// How many of the readers (the last ones) send `no-cache`.
    pub fresh: usize,
    /// How often the provider returns the previous version, and whether responses contain their version.
    pub lags: u8,
    pub versioned: bool,
    /// Left out: the order of responses, so that an older one replaces a newer one.
    pub unordered: bool,
    /// Left out: an unstorable response drops the entry.
    pub unended: bool,
    /// Left out: a fetch that began before a newer response is not joined.
    pub joined_late: bool,
    /// Left out: a response is stored before it is given to readers.
    pub hasty: bool,
    /// Whether readers use two host names, each with entries of its own; writers use the first.
    pub named: bool,
    /// Whether the two host names are those of two tenants, and writes delete the session of the first.
    pub tenants: bool,
    /// Left out: a write marks the session under all host names.
    pub marked_apart: bool,
    /// Left out: a deletion belongs to one tenant.
    pub deleted_for_all: bool,
    /// How many of the readers (the last ones) send `no-store`.
    pub no_store: usize,
    /// Whether responses are over at the next step of time, and are not remembered for longer than an older one may be on
    /// its way.
    pub short: bool,
    /// Whether responses are always stale, and served while they are refreshed or if the provider fails.
    pub windows: bool,
    /// Left out: a response that is served and not stored drops older ones.
    pub unsuperseded: bool,
    /// Left out: a response that expires early keeps older ones out.
    pub forgotten: bool,
    /// Whether every other change without the gateway restores the previous content.
    pub returning: bool,
    /// Left out: the time at which a response arrived, so that only the starts of fetches are compared.
    pub unlanded: bool,
    /// Left out: a waiting reader gets the stored entry instead of an older response of the fetch.
    pub shown_apart: bool,
    /// Left out: an equal response confirms the entry.
    pub unrenewed: bool,
}

const PROCESSES: usize = 2;
/// Longer than anything in the model; only marks expire.
const EVER: u64 = 1 << 40;
/// How long older responses may be in flight: less than the TTL of entries that do not expire early.
const KEPT: u64 = EVER / 2;
/// Microseconds between two eras on the clock that orders fetches.
const BEGUN: u64 = 1_000;
/// A mark expires at the next step of time.
const GUARD: u64 = 1;
/// The names of readers and writers are above all generations.
const READERS: u128 = GENERATIONS;
const WRITERS: u128 = 2 * GENERATIONS;
/// The names of shared marks.
const SHARED: u128 = 3 * GENERATIONS;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Store {
    session: CoherenceState,
    /// The state under the second host name, with `marked_apart`.
    apart: CoherenceState,
    epoch: CoherenceState,
    /// By name.
    variants: [VariantState<u8>; 2],
}

/// A process: its connection, which is known by the era of the store in which it began, what it knows of the epoch, its
/// fetches.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Process {
    alive: bool,
    era: Option<u8>,
    epoch: Option<CoherenceState>,
    fetches: Vec<Running>,
    /// The mark that the unverified writes of the session share in it, and of the upstream.
    shared: [SharedMark; 2],
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Running {
    joint: FlightKey,
    stamp: Stamp,
    began: u64,
    leader: usize,
    brought: Option<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Reads {
    Idle,
    /// Its step is on the way to the store.
    Asks(Option<Token>, u8),
    /// The epoch was read; the step for the session is on the way.
    KnowsEpoch(Option<Token>, u8, CoherenceState),
    /// The step for the session ran under this epoch; the epoch is still to be read.
    KnowsSession(Acquired<u8>, u8, CoherenceState),
    /// The result is on the way, or has arrived: over this connection, from this time on the store's clock.
    Told(Acquired<u8>, ConnectionId, u64),
    /// For the fetch of this reader, with the entry that it gets if the provider fails.
    Waits(usize, Option<u8>),
    /// Since this time, as far as the store has reported it.
    Bypasses(u64),
    /// The provider has responded; the store must still be informed.
    Bypassed(u64, u8),
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Reader {
    does: Reads,
    /// What was acknowledged, and what was seen, when it began.
    acknowledged: u8,
    seen: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Writes {
    Idle,
    Marks(u8),
    /// At the provider.
    Forwarded(Where),
    /// No client waits for it any more, but the provider may still execute it.
    Late,
    /// Its outcome is known: this version, or `None` if it was rejected.
    Settles(Where, Option<u8>),
    /// It records what it changed, while others need the mark that it shares.
    Records(Where, Option<u8>),
    /// It ends a mark that was shared, as unchanged or not.
    Ends(Where, Option<u8>, bool),
    /// Its outcome is unknown, so it hands over its shared mark; whether the provider has finished it.
    HandsOver(Where, bool),
    Over,
}

/// [`MarkPlacement`], in a form that can be hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Where {
    Confirmed(ConnectionId),
    Unknown,
}

impl Where {
    fn placed(self) -> MarkPlacement {
        match self {
            Where::Confirmed(connection_id) => MarkPlacement::Confirmed(connection_id),
            Where::Unknown => MarkPlacement::Unknown,
        }
    }
}

/// A step that no process waits for, and that runs at some time or never. The last number is the era of its
/// connection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stray {
    Acquire(usize, u8),
    /// Of this writer, under this token.
    Begin(usize, u128, u8),
    End(usize, u128, bool, u8),
    /// The response of this reader's fetch: see [`Now::entries`].
    Fill(usize, u8),
    Release(usize, u8),
}

impl Stray {
    fn era(&self) -> u8 {
        match self {
            Stray::Acquire(_, era)
            | Stray::Begin(_, _, era)
            | Stray::End(_, _, _, era)
            | Stray::Fill(_, era)
            | Stray::Release(_, era) => *era,
        }
    }
}

/// A state of the world, and what the step that led to it has shown.
#[derive(Clone)]
pub struct World {
    setting: Setting,
    pub stale: bool,
    pub backwards: bool,
    /// How many generations there were. No part of the state: which numbers they have makes no difference.
    minted: u128,
    now: Now,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Now {
    left: Left,
    store: Store,
    copy: Option<Box<Store>>,
    /// The server that some processes stay with, and its era.
    aside: Option<Box<(Store, u8)>>,
    time: u64,
    era: u8,
    version: u8,
    acknowledged: u8,
    seen: u8,
    processes: [Process; PROCESSES],
    readers: Vec<Reader>,
    writers: Vec<Writes>,
    /// By writer: the mark that it shares, and whether it relies on it without a confirmation of its own.
    shares: Vec<Option<(Token, bool)>>,
    strays: Vec<Stray>,
    /// By reader: what its fetch brought, while that is still on its way to the store.
    entries: Vec<Option<Entry<u8>>>,
    /// How many fetches have begun, where their order matters.
    begun: u64,
}

/// How often things may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    losses: u8,
    repeats: u8,
    crashes: u8,
    evictions: u8,
    expiries: u8,
    setbacks: u8,
    rejections: u8,
    failures: u8,
    outside: u8,
    lags: u8,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.now.hash(hasher);
    }
}

/// What happened, and to whom: in words only once somebody wants to read it.
pub type Label = (&'static str, usize);
type Following = Vec<(Label, World)>;

impl World {
    pub fn new(setting: Setting) -> World {
        let Setting {
            losses,
            repeats,
            crashes,
            evictions,
            expiries,
            setbacks,
            rejections,
            failures,
            outside,
            lags,
            ..
        } = setting;
        let store = Store {
            session: CoherenceState::default(),
            apart: CoherenceState::default(),
            epoch: CoherenceState::default(),
            variants: Default::default(),
        };
        let process =
            Process { alive: true, era: Some(0), epoch: None, fetches: Vec::new(), shared: Default::default() };
        let reader = Reader { does: Reads::Idle, acknowledged: 0, seen: 0 };
        let now = Now {
            left: Left { losses, repeats, crashes, evictions, expiries, setbacks, rejections, failures, outside, lags },
            store,
            copy: None,
            aside: None,
            time: 0,
            era: 0,
            version: 0,
            acknowledged: 0,
            seen: 0,
            processes: [process.clone(), process],
            readers: vec![reader; setting.reads],
            writers: vec![Writes::Idle; setting.writes],
            shares: vec![None; setting.writes],
            strays: Vec::new(),
            entries: vec![None; setting.reads],
            begun: 0,
        };
        World { setting, stale: false, backwards: false, minted: 0, now }
    }

    /// Every state that can follow, with what happened.
    pub fn successors(&self) -> Following {
        let mut all = Vec::new();
        let era = |process: usize| self.now.processes[process].era;
        for reader in 0..self.now.readers.len() {
            let era = era(self.process_of_reader(reader));
            self.with_server_of(era, &mut all, |world, all| world.reader_goes_on(reader, all));
        }
        for writer in 0..self.now.writers.len() {
            let era = era(self.process_of_writer(writer));
            self.with_server_of(era, &mut all, |world, all| world.writer_goes_on(writer, all));
        }
        for process in 0..PROCESSES {
            self.with_server_of(era(process), &mut all, |world, all| world.process_goes_on(process, all));
        }
        for (at, stray) in self.now.strays.iter().enumerate() {
            self.with_server_of(Some(stray.era()), &mut all, |world, all| world.stray_arrives(at, all));
        }
        self.fate(&mut all);
        all
    }

    /// What follows where those act who are connected to the server of this era: mostly there is one, and this is it.
    fn with_server_of(&self, era: Option<u8>, all: &mut Following, act: impl FnOnce(&World, &mut Following)) {
        if self.now.aside.as_ref().is_none_or(|aside| Some(aside.1) != era) {
            return act(self, all);
        }
        let mut there = self.clone();
        there.change_sides();
        let mut following = Vec::new();
        act(&there, &mut following);
        for (label, mut world) in following {
            world.change_sides();
            all.push((label, world));
        }
    }

    fn change_sides(&mut self) {
        if let Some(aside) = &mut self.now.aside {
            std::mem::swap(&mut self.now.store, &mut aside.0);
            std::mem::swap(&mut self.now.era, &mut aside.1);
        }
    }

    /// Adds what follows if this is done.
    fn then(&self, all: &mut Following, what: &'static str, number: usize, act: impl FnOnce(&mut World)) {
        let mut world = self.clone();
        act(&mut world);
        all.push(((what, number), world));
    }

    /// Whether reads and writes begin apart from their first step. They need not: what begins later has more to keep
    /// to. But a process that dies may have begun something.
    fn begins_apart(&self) -> bool {
        self.setting.slowly || self.setting.crashes > 0
    }

    fn process_of_reader(&self, reader: usize) -> usize {
        if self.setting.together { 0 } else { reader % PROCESSES }
    }

    /// By which name a reader asks: both names are used in each process.
    fn name_of(&self, reader: usize) -> usize {
        if self.setting.named { (reader + reader / 2) % 2 } else { 0 }
    }

    /// Whether a reader reads the session of the second tenant, which no writer writes.
    fn is_of_others(&self, reader: usize) -> bool {
        self.setting.tenants && self.name_of(reader) == 1
    }

    /// What the provider has for a reader.
    fn version_for(&self, reader: usize) -> u8 {
        if self.is_of_others(reader) { 0 } else { self.now.version }
    }

    /// Those that share a mark are in one process.
    fn process_of_writer(&self, writer: usize) -> usize {
        if writer < self.setting.sharing { 1 } else { (writer + 1) % PROCESSES }
    }

    fn connection_id(&self, era: u8) -> ConnectionId {
        let fence = if self.setting.without_fence { 0 } else { u64::from(era) };
        ConnectionId { number: u64::from(era), fence }
    }

    fn joint(&self, reader: usize, stamp: Stamp, connection_id: ConnectionId) -> FlightKey {
        const NONE: Stamp = Stamp { session: Generation(0), epoch: Generation(0) };
        if self.setting.unjoined {
            return FlightKey::new(stamp, ConnectionId { number: reader as u64, fence: 0 });
        }
        match (self.setting.joined_by_place, self.setting.joined_across_links) {
            (true, _) => FlightKey::new(NONE, ConnectionId::default()),
            (_, true) => FlightKey::new(stamp, ConnectionId::default()),
            (false, false) => FlightKey::new(stamp, connection_id),
        }
    }

    /// Whether it matters in which order fetches begin.
    fn is_ordered(&self) -> bool {
        self.setting.outside > 0
    }

    fn wants_fresh(&self, reader: usize) -> bool {
        reader + self.setting.fresh >= self.setting.reads
    }

    fn is_unstored(&self, reader: usize) -> bool {
        reader + self.setting.no_store >= self.setting.reads
    }

    /// Whether a response with this version cannot be stored, since the session is gone.
    fn is_gone(&self, version: u8) -> bool {
        self.setting.ending && version % 2 == 1
    }

    /// What a version shows.
    fn content(&self, version: u8) -> u8 {
        if self.setting.returning { version % 2 } else { version }
    }

    fn stray(&mut self, stray: Stray) {
        self.now.strays.push(stray);
        self.now.strays.sort();
    }

    fn dies(&mut self, process: usize) {
        self.now.left.crashes -= 1;
        let era = self.now.era;
        for fetch in std::mem::take(&mut self.now.processes[process].fetches) {
            if fetch.brought.is_some() {
                self.fill_later(&fetch, era);
            }
        }
        let shared = Default::default();
        self.now.processes[process] = Process { alive: false, era: None, epoch: None, fetches: Vec::new(), shared };
        for reader in 0..self.now.readers.len() {
            if self.process_of_reader(reader) != process {
                continue;
            }
            if let Reads::Asks(_, era) = self.now.readers[reader].does {
                self.stray(Stray::Acquire(reader, era));
            }
            self.now.readers[reader] = Reader { does: Reads::Over, acknowledged: 0, seen: 0 };
        }
        for writer in 0..self.now.writers.len() {
            if self.process_of_writer(writer) == process {
                self.writer_dies(writer);
            }
        }
    }
}
