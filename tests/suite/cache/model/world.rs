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

/// What happens, how often at the most, and which part of the protocol is left out.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub reads: usize,
    pub writes: usize,
    /// Steps that come late or never, or whose answer is lost; and responses of the provider that are lost.
    pub losses: u8,
    /// Steps that are carried out a second time, later.
    pub repeats: u8,
    pub crashes: u8,
    pub evictions: u8,
    /// How often marks run out, once their writes are over.
    pub expiries: u8,
    /// How often the store falls back to an older copy of itself.
    pub setbacks: u8,
    /// How often the provider may reject a write.
    pub rejections: u8,
    /// How often the provider may fail a read.
    pub failures: u8,
    /// Whether the first write may change any session.
    pub wide: bool,
    /// How many of the writes, the first ones, are of unverified callers, and share a mark in their process.
    pub sharing: usize,
    /// Of sharing, parts left out: whether who joins a mark does without the store's confirmation; ...
    pub joined_unconfirmed: bool,
    /// ... whether a mark ends as unchanged although not all of its writes left everything as it was; ...
    pub changes_forgotten: bool,
    /// ... whether a write whose outcome is not known leaves its mark like any other; ...
    pub left_unknown: bool,
    /// ... and whether a mark that was ended is joined again.
    pub joined_again: bool,
    /// Whether the store compares before it fills, as the one in memory does.
    pub comparing: bool,
    /// Whether all readers are in one process, and not every other one: then few of them can share a fetch.
    pub together: bool,
    /// Whether writes whose mark cannot be placed are forwarded all the same, and acknowledged once the store confirms
    /// their end.
    pub held: bool,
    /// Whether local steps are apart from the steps of others that they follow: more states, and the same verdicts.
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
    /// Whether processes may stay with the server that was set aside, and it with them.
    pub split: bool,
    /// Other protocols: writes delete what is stored, where this one marks and mints; ...
    pub deleting: bool,
    /// ... and only who has the lease may fill.
    pub filled_by_lease: bool,
    /// Whether nobody joins a fetch of another.
    pub unjoined: bool,
    /// How often the session changes at the provider without a write of the gateway's.
    pub outside: u8,
    /// Whether every other such change takes the session away, so that its response cannot be stored.
    pub ending: bool,
    /// How many of the readers, the last of them, want a fetch of their own.
    pub fresh: usize,
    /// How often a read of the provider shows the version before the last, and whether responses tell their version.
    pub lags: u8,
    pub versioned: bool,
    /// Whether a response replaces another that is newer.
    pub unordered: bool,
    /// Whether what cannot be stored leaves what is.
    pub unended: bool,
    /// Whether a fetch is joined that began before what is known.
    pub joined_late: bool,
    /// Whether what a fetch brought is shown before it is kept.
    pub hasty: bool,
    /// Whether readers ask by two names, each of which has entries of its own; writers use the first of them.
    pub named: bool,
    /// Whether the two names are those of two tenants, and writes delete the session of the first.
    pub tenants: bool,
    /// Whether a write marks what is known by its own name only.
    pub marked_apart: bool,
    /// Whether a deletion is every tenant's.
    pub deleted_for_all: bool,
    /// How many of the readers, the last of them, may not have stored what they fetch.
    pub no_store: usize,
    /// Whether responses are over at the next step of time, and are not remembered for longer than an older one may be on
    /// its way.
    pub short: bool,
    /// Whether responses are never fresh, and do while they are refreshed or where the provider fails.
    pub windows: bool,
    /// Whether a response that is shown and not stored leaves what is older.
    pub unsuperseded: bool,
    /// Whether nothing is remembered of a response that is over early.
    pub forgotten: bool,
    /// Whether every other change without the gateway brings back what was there before.
    pub returning: bool,
    /// Whether it is forgotten when a response was known, so that only the starts of fetches are compared.
    pub unlanded: bool,
    /// Whether who waits for a fetch is shown what it brought although something else is stored.
    pub shown_apart: bool,
    /// Whether a response that is the same once more says nothing of when the session was so.
    pub unrenewed: bool,
}

const PROCESSES: usize = 2;
/// Longer than anything lasts here, where only marks run out.
const EVER: u64 = 1 << 40;
/// For how long older responses may be on their way: less than what is not over early lasts.
const KEPT: u64 = EVER / 2;
/// What is between two eras on the clock that orders fetches, in microseconds.
const BEGUN: u64 = 1_000;
/// A mark outlasts no step of time.
const GUARD: u64 = 1;
/// The names of readers and writers are above all generations.
const READERS: u128 = GENERATIONS;
const WRITERS: u128 = 2 * GENERATIONS;
/// Those of marks that writers share.
const SHARED: u128 = 3 * GENERATIONS;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Store {
    session: CoherenceState,
    /// What is marked under the second name, where names are marked apart.
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
    /// Its question is under way.
    Asks(Option<Token>, u8),
    /// The epoch was read; the session's part is under way.
    KnowsEpoch(Option<Token>, u8, CoherenceState),
    /// The session's part was carried out under this epoch; the epoch is still to be read.
    KnowsSession(Acquired<u8>, u8, CoherenceState),
    /// The response is under way, or there: over this link, from this time on the store's clock.
    Told(Acquired<u8>, ConnectionId, u64),
    /// For the fetch of this reader, with what it is answered if the provider fails.
    Waits(usize, Option<u8>),
    /// Since this time, as far as the store has said it.
    Bypasses(u64),
    /// The provider has answered, and the store is to be told.
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
    /// Nobody waits for it any more, but the provider may still carry it out.
    Late,
    /// Its outcome is known: this version, or none where it was rejected.
    Settles(Where, Option<u8>),
    /// It records what it changed, while others need the mark that it shares.
    Records(Where, Option<u8>),
    /// It ends a mark that was shared, as unchanged or not.
    Ends(Where, Option<u8>, bool),
    /// It hands over a mark that it shares, since nobody knows its outcome; whether the provider is done with it.
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

/// A step that nobody waits for, which is carried out at some time or never. The last number is the era of its
/// connection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stray {
    Acquire(usize, u8),
    /// Of this writer, under this token.
    Begin(usize, u128, u8),
    End(usize, u128, bool, u8),
    /// What this reader's fetch brought: see [`Now::entries`].
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

    /// Whether a reader asks for the session of the second tenant, which nobody writes.
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
