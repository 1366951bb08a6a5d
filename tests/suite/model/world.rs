//! A state of the world, and the states that can follow it.

use sessiongate::coherence::reading::{Fetch, Joint, Link, Next, Windows, next};
use sessiongate::coherence::writing::{Placed, Unconfirmed, unconfirmed};
use sessiongate::coherence::{
    Acquired, Entry, Generation, Place, Reach, Reading, Settled, Stamp, State, Token, acquire, begin, end,
};
use std::hash::{Hash, Hasher};

/// What happens, how often at the most, and which part of the protocol is left out.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub reads: usize,
    pub writes: usize,
    /// Steps that are not carried out, or whose answer is lost; and answers of the provider that are lost.
    pub losses: u8,
    /// Steps that are carried out a second time, later.
    pub repeats: u8,
    pub crashes: u8,
    pub evictions: u8,
    /// How often marks run out, once their writes are over.
    pub expiries: u8,
    /// How often the store falls back to an older copy of itself.
    pub setbacks: u8,
    /// How often the provider may refuse a write.
    pub refusals: u8,
    /// Whether the first write may change any session.
    pub wide: bool,
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
}

const PROCESSES: usize = 2;
/// Longer than anything lasts here, where only marks run out.
const EVER: u64 = 1 << 40;
/// A mark outlasts no step of time.
const GUARD: u64 = 1;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Store {
    session: State,
    epoch: State,
    place: Place<u8>,
}

/// A process: its connection, which is known by the era of the store in which it began, what it knows of the epoch, its fetches.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Process {
    alive: bool,
    era: Option<u8>,
    epoch: Option<State>,
    fetches: Vec<Running>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Running {
    joint: Joint,
    stamp: Stamp,
    fetched_at: u8,
    leader: usize,
    brought: Option<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Reads {
    Idle,
    /// Its question is under way.
    Asks(Option<Token>, u8),
    /// The epoch was read; the session's part is under way.
    KnowsEpoch(Option<Token>, u8, State),
    /// The session's part was carried out under this epoch; the epoch is still to be read.
    KnowsSession(Acquired<u8>, u8, State),
    /// The answer is under way, or there: over this link, from this era of the store.
    Told(Acquired<u8>, Link, u8),
    Waits(Joint),
    Bypasses,
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
    Marked(Where),
    /// At the provider.
    Forwarded(Where),
    /// Nobody waits for it any more, but the provider may still carry it out.
    Late,
    /// Its outcome is known: this version, or none where it was refused.
    Settles(Where, Option<u8>),
    Over,
}

/// [`Placed`], in a form that can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Where {
    Confirmed(Link),
    Unknown,
}

impl Where {
    fn placed(self) -> Placed {
        match self {
            Where::Confirmed(link) => Placed::Confirmed(link),
            Where::Unknown => Placed::Unknown,
        }
    }
}

/// A step that nobody waits for, which is carried out at some time or never.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stray {
    Acquire(usize, u8),
    Begin(usize, u8),
    End(usize, bool, u8),
    Fill(usize, u8),
}

/// A state of the world.
#[derive(Clone)]
pub struct World {
    setting: Setting,
    pub stale: bool,
    pub backwards: bool,
    now: Now,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Now {
    left: Left,
    store: Store,
    copy: Option<Box<Store>>,
    time: u64,
    era: u8,
    minted: u128,
    version: u8,
    acknowledged: u8,
    seen: u8,
    processes: [Process; PROCESSES],
    readers: Vec<Reader>,
    writers: Vec<Writes>,
    strays: Vec<Stray>,
    entries: Vec<Entry<u8>>,
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
    refusals: u8,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.stale, self.backwards, &self.now).hash(hasher);
    }
}

/// What happened, and to whom: in words only once somebody wants to read it.
pub type Label = (&'static str, usize);
type Following = Vec<(Label, World)>;

impl World {
    pub fn new(setting: Setting) -> World {
        let Setting { losses, repeats, crashes, evictions, expiries, setbacks, refusals, .. } = setting;
        let store = Store { session: State::default(), epoch: State::default(), place: Place::Empty };
        let process = Process { alive: true, era: Some(0), epoch: None, fetches: Vec::new() };
        let reader = Reader { does: Reads::Idle, acknowledged: 0, seen: 0 };
        let now = Now {
            left: Left { losses, repeats, crashes, evictions, expiries, setbacks, refusals },
            store,
            copy: None,
            time: 0,
            era: 0,
            minted: 0,
            version: 0,
            acknowledged: 0,
            seen: 0,
            processes: [process.clone(), process],
            readers: vec![reader; setting.reads],
            writers: vec![Writes::Idle; setting.writes],
            strays: Vec::new(),
            entries: Vec::new(),
        };
        World { setting, stale: false, backwards: false, now }
    }

    /// Every state that can follow, with what happened.
    pub fn successors(&self) -> Following {
        let mut all = Vec::new();
        (0..self.now.readers.len()).for_each(|reader| self.reader_goes_on(reader, &mut all));
        (0..self.now.writers.len()).for_each(|writer| self.writer_goes_on(writer, &mut all));
        (0..PROCESSES).for_each(|process| self.process_goes_on(process, &mut all));
        (0..self.now.strays.len()).for_each(|stray| self.stray_arrives(stray, &mut all));
        self.fate(&mut all);
        all
    }

    /// Adds what follows if this is done.
    fn then(&self, all: &mut Following, what: &'static str, number: usize, act: impl FnOnce(&mut World)) {
        let mut world = self.clone();
        act(&mut world);
        all.push(((what, number), world));
    }

    fn process_of_reader(reader: usize) -> usize {
        reader % PROCESSES
    }

    fn process_of_writer(writer: usize) -> usize {
        (writer + 1) % PROCESSES
    }

    fn link(&self, era: u8) -> Link {
        let fence = if self.setting.without_fence { 0 } else { u64::from(era) };
        Link { number: u64::from(era), fence }
    }

    fn joint(&self, stamp: Stamp, link: Link) -> Joint {
        const NONE: Stamp = Stamp { session: Generation(0), epoch: Generation(0) };
        match (self.setting.joined_by_place, self.setting.joined_across_links) {
            (true, _) => Joint::new(NONE, Link::default()),
            (_, true) => Joint::new(stamp, Link::default()),
            (false, false) => Joint::new(stamp, link),
        }
    }

    fn mint<'w>(minted: &'w mut u128, by_client: Option<u128>) -> impl FnMut() -> Generation + 'w {
        move || match by_client {
            Some(token) => Generation(1_000 + token),
            None => {
                *minted += 1;
                Generation(*minted)
            }
        }
    }

    fn acquire(&mut self, reader: usize, steal: Option<Token>, epoch: &mut State) -> Acquired<u8> {
        let by_client = self.setting.minted_by_clients.then_some(reader as u128);
        let reading =
            Reading { reader: Token(100 + reader as u128), steal, fresh: false, lease: EVER, now: self.now.time };
        let Now { store: Store { session, place, .. }, minted, .. } = &mut self.now;
        acquire(session, epoch, place, reading, World::mint(minted, by_client))
    }

    /// The whole question at once, where no write of the upstream can come between its parts.
    fn acquire_whole(&mut self, reader: usize, steal: Option<Token>) -> Acquired<u8> {
        let mut epoch = self.now.store.epoch.clone();
        let found = self.acquire(reader, steal, &mut epoch);
        self.now.store.epoch = epoch;
        found
    }

    /// The epoch as it is, with a generation; none where it is marked.
    fn open_epoch(&mut self) -> Option<State> {
        let reading = Reading { reader: Token(0), steal: None, fresh: true, lease: EVER, now: self.now.time };
        let Now { store: Store { epoch, .. }, minted, .. } = &mut self.now;
        let before = *minted;
        let mut other = State::default();
        let found = acquire::<u8>(&mut other, epoch, &mut Place::Empty, reading, World::mint(minted, None));
        // What was minted for the other state alone was never used.
        if *minted == before + 1 {
            *minted = before;
        }
        matches!(found, Acquired::Lead { .. }).then(|| epoch.clone())
    }

    fn reader_goes_on(&self, reader: usize, all: &mut Following) {
        let place = World::process_of_reader(reader);
        let process = &self.now.processes[place];
        let does = &self.now.readers[reader].does;
        match does {
            Reads::Over => {}
            Reads::Idle if !process.alive => {}
            Reads::Idle => self.then(all, "a read begins:", reader, |world| {
                let era = world.now.processes[place].era;
                let (acknowledged, seen) = (world.now.acknowledged, world.now.seen);
                let does = era.map_or(Reads::Bypasses, |era| Reads::Asks(None, era));
                world.now.readers[reader] = Reader { does, acknowledged, seen };
            }),
            Reads::Asks(_, era) | Reads::KnowsEpoch(_, era, _) | Reads::KnowsSession(_, era, _)
                if *era != self.now.era =>
            {
                self.then(all, "its connection is gone: read", reader, |world| world.reads(reader, Reads::Bypasses));
            }
            Reads::Asks(steal, era) => self.asks(reader, *steal, *era, all),
            Reads::KnowsEpoch(steal, era, epoch) => self.then(all, "the session is read:", reader, |world| {
                let found = world.acquire(reader, *steal, &mut epoch.clone());
                let link = world.link(*era);
                world.reads(reader, Reads::Told(found, link, *era));
            }),
            Reads::KnowsSession(found, era, guess) => self.then(all, "the epoch is read:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[place].epoch = epoch.clone();
                let link = world.link(*era);
                world.reads(
                    reader,
                    match epoch {
                        _ if *found == Acquired::Bypass => Reads::Told(Acquired::Bypass, link, *era),
                        Some(epoch) if epoch == *guess => Reads::Told(found.clone(), link, *era),
                        Some(_) => Reads::Asks(None, *era),
                        None => Reads::Told(Acquired::Bypass, link, *era),
                    },
                );
            }),
            Reads::Told(found, link, era) => self.is_told(reader, found, *link, *era, all),
            Reads::Bypasses => self.then(all, "the provider answers past the cache: read", reader, |world| {
                let version = world.now.version;
                world.answer(reader, version, false);
            }),
            Reads::Waits(joint) => {
                let fetch = process.fetches.iter().find(|fetch| fetch.joint == *joint);
                if let Some((leader, version)) = fetch.and_then(|fetch| Some((fetch.leader, fetch.brought?))) {
                    let joined = leader != reader;
                    self.then(all, "the fetch answers: read", reader, |world| world.answer(reader, version, joined));
                }
            }
        }
    }

    fn asks(&self, reader: usize, steal: Option<Token>, era: u8, all: &mut Following) {
        let place = World::process_of_reader(reader);
        if self.setting.wide {
            self.then(all, "the epoch is read first:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[place].epoch = epoch.clone();
                let link = world.link(era);
                world.reads(
                    reader,
                    match epoch {
                        Some(epoch) => Reads::KnowsEpoch(steal, era, epoch),
                        None => Reads::Told(Acquired::Bypass, link, era),
                    },
                );
            });
            if let Some(guess) = &self.now.processes[place].epoch {
                self.then(all, "the session is read first:", reader, |world| {
                    let found = world.acquire(reader, steal, &mut guess.clone());
                    world.reads(reader, Reads::KnowsSession(found, era, guess.clone()));
                });
            }
        } else {
            let told = |world: &mut World| {
                let found = world.acquire_whole(reader, steal);
                let link = world.link(era);
                world.reads(reader, Reads::Told(found, link, era));
            };
            self.then(all, "the store answers read", reader, told);
            if self.now.left.repeats > 0 {
                self.then(all, "the store answers, and is asked again later by read", reader, |world| {
                    told(world);
                    world.now.left.repeats -= 1;
                    world.stray(Stray::Acquire(reader, era));
                });
            }
        }
        if self.now.left.losses > 0 {
            self.then(all, "the question is lost: read", reader, |world| {
                world.now.left.losses -= 1;
                world.reads(reader, Reads::Bypasses);
            });
            if !self.setting.wide {
                self.then(all, "the store's answer is lost: read", reader, |world| {
                    world.now.left.losses -= 1;
                    world.acquire_whole(reader, steal);
                    world.reads(reader, Reads::Bypasses);
                });
            }
        }
    }

    fn is_told(&self, reader: usize, found: &Acquired<u8>, link: Link, era: u8, all: &mut Following) {
        let place = World::process_of_reader(reader);
        let fetches = &self.now.processes[place].fetches;
        match next(found.clone(), link, self.now.time, Windows::default()) {
            Next::Answer(entry) | Next::Refresh(entry, _) => {
                self.then(all, "a hit: read", reader, |world| world.answer(reader, entry.answer, true));
            }
            Next::Fetch(Fetch { stamp, .. }) => {
                let joint = self.joint(stamp, link);
                let joined = fetches.iter().any(|fetch| fetch.joint == joint);
                self.then(all, if joined { "it joins a fetch: read" } else { "it fetches: read" }, reader, |world| {
                    if !joined {
                        let fetch = Running { joint, stamp, fetched_at: era, leader: reader, brought: None };
                        world.now.processes[place].fetches.push(fetch);
                    }
                    world.reads(reader, Reads::Waits(joint));
                });
            }
            Next::Wait { stamp, reader: other } => {
                let joint = self.joint(stamp, link);
                if fetches.iter().any(|fetch| fetch.joint == joint) {
                    self.then(all, "it joins the fetch: read", reader, |world| {
                        world.reads(reader, Reads::Waits(joint))
                    });
                } else {
                    let again = |steal| match self.now.processes[place].era {
                        Some(era) => Reads::Asks(steal, era),
                        None => Reads::Bypasses,
                    };
                    self.then(all, "it looks again: read", reader, |world| world.reads(reader, again(None)));
                    self.then(all, "it takes over: read", reader, |world| world.reads(reader, again(Some(other))));
                }
            }
            Next::Bypass | Next::Deleted => {
                self.then(all, "it leaves the cache out: read", reader, |world| world.reads(reader, Reads::Bypasses));
            }
        }
    }

    fn reads(&mut self, reader: usize, does: Reads) {
        self.now.readers[reader].does = does;
    }

    fn answer(&mut self, reader: usize, version: u8, cached: bool) {
        let own = &mut self.now.readers[reader];
        self.stale |= cached && version < own.acknowledged;
        self.backwards |= version < own.seen;
        own.does = Reads::Over;
        (own.acknowledged, own.seen) = (0, 0);
        self.now.seen = self.now.seen.max(version);
    }

    fn stray(&mut self, stray: Stray) {
        self.now.strays.push(stray);
        self.now.strays.sort();
    }

    fn process_goes_on(&self, process: usize, all: &mut Following) {
        let own = &self.now.processes[process];
        if own.alive && own.era.is_none() {
            self.then(all, "it connects again: process", process, |world| {
                world.now.processes[process].era = Some(world.now.era);
            });
        }
        for (at, fetch) in own.fetches.iter().enumerate() {
            if fetch.brought.is_none() {
                self.then(all, "the provider reads for read", fetch.leader, |world| {
                    world.now.processes[process].fetches[at].brought = Some(world.now.version);
                });
                continue;
            }
            self.then(all, "the answer is stored of read", fetch.leader, |world| {
                let fetch = world.now.processes[process].fetches.remove(at);
                world.leave_to_themselves(process, &fetch);
                if world.now.processes[process].era == Some(world.now.era) {
                    world.fill(&fetch);
                }
            });
            if self.now.left.losses > 0 {
                self.then(all, "the answer is not stored yet of read", fetch.leader, |world| {
                    let fetch = world.now.processes[process].fetches.remove(at);
                    world.leave_to_themselves(process, &fetch);
                    world.now.left.losses -= 1;
                    let era = world.now.era;
                    world.fill_later(&fetch, era);
                });
            }
        }
        if own.alive && self.now.left.crashes > 0 {
            self.then(all, "it dies: process", process, |world| world.dies(process));
        }
    }

    /// Those who joined a fetch have its answer, whether they have looked at it or not.
    fn leave_to_themselves(&mut self, process: usize, fetch: &Running) {
        let waits = |world: &World, reader: usize| world.now.readers[reader].does == Reads::Waits(fetch.joint);
        for reader in 0..self.now.readers.len() {
            if World::process_of_reader(reader) == process && waits(self, reader) {
                self.answer(reader, fetch.brought.unwrap_or_default(), fetch.leader != reader);
            }
        }
    }

    fn entry(fetch: &Running) -> Entry<u8> {
        Entry {
            stamp: fetch.stamp,
            fetched_at: u64::from(fetch.fetched_at),
            fresh_until: EVER,
            stale_until: EVER,
            answer: fetch.brought.unwrap_or_default(),
        }
    }

    /// As a server that does not compare: what is there is replaced.
    fn fill(&mut self, fetch: &Running) {
        self.now.store.place = Place::Data { entry: World::entry(fetch), refresh: None };
    }

    fn fill_later(&mut self, fetch: &Running, era: u8) {
        self.now.entries.push(World::entry(fetch));
        let number = self.now.entries.len() - 1;
        self.stray(Stray::Fill(number, era));
    }

    fn dies(&mut self, process: usize) {
        self.now.left.crashes -= 1;
        let era = self.now.era;
        for fetch in std::mem::take(&mut self.now.processes[process].fetches) {
            if fetch.brought.is_some() {
                self.fill_later(&fetch, era);
            }
        }
        self.now.processes[process] = Process { alive: false, era: None, epoch: None, fetches: Vec::new() };
        for reader in (0..self.now.readers.len()).filter(|reader| World::process_of_reader(*reader) == process) {
            if let Reads::Asks(_, era) = self.now.readers[reader].does {
                self.stray(Stray::Acquire(reader, era));
            }
            self.now.readers[reader] = Reader { does: Reads::Over, acknowledged: 0, seen: 0 };
        }
        for writer in (0..self.now.writers.len()).filter(|writer| World::process_of_writer(*writer) == process) {
            if let Writes::Marks(era) = self.now.writers[writer] {
                self.stray(Stray::Begin(writer, era));
            }
            self.now.writers[writer] = match self.now.writers[writer] {
                Writes::Forwarded(_) | Writes::Late => Writes::Late,
                _ => Writes::Over,
            };
        }
    }

    fn stray_arrives(&self, stray: usize, all: &mut Following) {
        self.then(all, "a step comes late:", stray, |world| {
            let stray = world.now.strays.remove(stray);
            let current = world.now.era;
            match stray {
                Stray::Acquire(reader, era) if era == current => drop(world.acquire_whole(reader, None)),
                Stray::Begin(writer, era) if era == current => world.begin(writer),
                Stray::End(writer, unchanged, era) if era == current => world.end(writer, unchanged),
                Stray::Fill(number, era) if era == current => {
                    let entry = world.now.entries[number].clone();
                    world.now.store.place = Place::Data { entry, refresh: None };
                }
                Stray::Acquire(..) | Stray::Begin(..) | Stray::End(..) | Stray::Fill(..) => {}
            }
        });
    }

    /// What befalls the store.
    fn fate(&self, all: &mut Following) {
        if self.now.left.evictions > 0 {
            self.then(all, "the state is evicted", 0, |world| {
                world.now.left.evictions -= 1;
                world.now.store.session = State::default();
            });
        }
        let busy = |writer: &Writes| !matches!(writer, Writes::Idle | Writes::Over);
        if self.now.left.expiries > 0 && (self.setting.early_expiry || !self.now.writers.iter().any(busy)) {
            self.then(all, "marks run out", 0, |world| {
                world.now.left.expiries -= 1;
                world.now.time += GUARD;
            });
        }
        if self.now.left.setbacks > 0 && self.now.copy.is_none() {
            self.then(all, "the store is copied", 0, |world| world.now.copy = Some(Box::new(world.now.store.clone())));
        }
        if let Some(copy) = self.now.copy.as_ref().filter(|_| self.now.left.setbacks > 0) {
            self.then(all, "the store is set back", 0, |world| {
                world.now.left.setbacks -= 1;
                world.now.store = Store::clone(copy);
                world.now.copy = None;
                world.now.era += 1;
                world.now.strays.clear();
                world.now.processes.iter_mut().for_each(|process| process.era = None);
            });
        }
    }
}

mod writers;
