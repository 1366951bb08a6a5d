//! The cache protocol's decisions, as a pure state machine. Stores only execute them: each function below has to run in one piece.
//!
//! What a session's cached answers hang on is its *generation*. A write puts a *mark* in the generation's place before it is
//! forwarded, and a fresh generation when its outcome is known. A reader that finds a mark goes to the provider and stores nothing.
//! An entry carries the generation under which its fetch began and is a hit only under the very same one: a late fill is
//! harmless, and so is a mark that nobody takes away, since it runs out by itself.
//!
//! The *epoch* of an upstream has the same states. Writes that may change any session mark it, and every entry carries its
//! generation too.

/// A value that is never used twice: the store mints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub u128);

/// Names one read or write, so that doing a step twice does no harm. Never used twice either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;

/// The most writes in flight on one session.
pub const MAX_SESSION_WRITES: usize = 64;
/// The most writes in flight that may change any session of an upstream.
pub const MAX_UPSTREAM_WRITES: usize = 10_000;

/// How long the version of an acknowledged write is remembered, in milliseconds.
const FLOOR_KEPT: Millis = 600_000;

/// A write in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    writer: Token,
    deadline: Millis,
}

/// What the coherence of one session, or of one upstream's epoch, hangs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    marks: Vec<Mark>,
    generation: Option<Generation>,
    /// The generation before the only write in flight: what it returns to if that write changes nothing.
    before: Option<Generation>,
    floor: Option<u64>,
    floor_set: Millis,
    deleted_until: Option<Millis>,
}

/// What a write that is over leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// The version that the provider gave the session: older answers are not stored.
    pub version: Option<u64>,
    /// Whether the write certainly changed nothing, so that what was stored before it still holds.
    pub unchanged: bool,
    /// Until when the session counts as deleted, whatever a provider that deletes late still answers.
    pub deleted_until: Option<Millis>,
}

/// The generations under which an answer is fetched: of the session and of the upstream's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The session's.
    pub session: Generation,
    /// The upstream's.
    pub epoch: Generation,
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// The generations under which its fetch began.
    pub stamp: Stamp,
    /// When it stops being an answer, counted from the start of its fetch.
    pub fresh_until: Millis,
    /// The answer.
    pub answer: T,
}

/// The place of one cached answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place<T> {
    /// Nothing.
    #[default]
    Empty,
    /// Somebody is fetching it.
    Lease {
        /// The generations of the fetch.
        stamp: Stamp,
        /// Who fetches.
        reader: Token,
        /// When nobody waits for it any more.
        until: Millis,
    },
    /// An answer.
    Data(Entry<T>),
}

/// What a reader has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired<T> {
    /// Answer with this.
    Hit(Entry<T>),
    /// Fetch, and fill under this stamp, unless the answer is older than the floor.
    Lead {
        /// The generations to fill under.
        stamp: Stamp,
        /// The version below which an answer is too old to store.
        floor: Option<u64>,
    },
    /// Somebody fetches under this stamp: join them, or look again a little later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// Who fetches: what to take over from if they never finish.
        reader: Token,
    },
    /// A write is in flight: fetch, and store nothing.
    Bypass,
    /// The session was deleted.
    Deleted,
}

/// The reader's side of an acquisition.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The reader.
    pub reader: Token,
    /// A reader that is taken for dead.
    pub steal: Option<Token>,
    /// How long the lease lasts, should the reader lead, in milliseconds.
    pub lease: Millis,
    /// Now.
    pub now: Millis,
}

/// What the end of a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Other writes are in flight: the last of them opens the session again.
    OthersInFlight,
    /// Answers may be stored again.
    Reopened,
    /// The same, but the write's own mark was gone: it had run out, or the store lost it.
    MarkLost,
}

/// As many writes are in flight as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many writes in flight")]
pub struct TooManyWrites;

impl State {
    /// Drops marks whose time is over. A state that loses its last mark that way has no generation: what was fetched while the
    /// mark stood was fetched under none.
    fn prune(&mut self, now: Millis) {
        let marks = self.marks.len();
        self.marks.retain(|mark| mark.deadline > now);
        if self.marks.len() < marks {
            self.before = None;
        }
        if self.deleted_until.is_some_and(|until| until <= now) {
            self.deleted_until = None;
        }
    }

    /// Whether anything would be lost if the store forgot this state: a mark or a deletion.
    pub fn matters(&self, now: Millis) -> bool {
        self.is_marked(now) || self.deleted_until.is_some_and(|until| until > now)
    }

    /// Whether a write is in flight.
    pub fn is_marked(&self, now: Millis) -> bool {
        self.marks.iter().any(|mark| mark.deadline > now)
    }

    /// Whether a store that has room should remember this state: it matters, or it knows which answers are too old. Providers may
    /// lag behind their own acknowledgements for a while.
    pub fn is_worth_keeping(&self, now: Millis) -> bool {
        self.matters(now) || (self.floor.is_some() && now.saturating_sub(self.floor_set) < FLOOR_KEPT)
    }

    /// The generation, minted now where there is none.
    fn open(&mut self, mint: &mut impl FnMut() -> Generation) -> Generation {
        *self.generation.get_or_insert_with(mint)
    }
}

/// A read begins.
pub fn acquire<T: Clone>(
    session: &mut State,
    epoch: &mut State,
    place: &mut Place<T>,
    reading: Reading,
    mut mint: impl FnMut() -> Generation,
) -> Acquired<T> {
    session.prune(reading.now);
    epoch.prune(reading.now);
    if session.deleted_until.is_some() {
        return Acquired::Deleted;
    }
    if !session.marks.is_empty() || !epoch.marks.is_empty() {
        return Acquired::Bypass;
    }
    let stamp = Stamp { session: session.open(&mut mint), epoch: epoch.open(&mut mint) };
    match place {
        Place::Data(entry) if entry.stamp == stamp && reading.now < entry.fresh_until => {
            return Acquired::Hit(entry.clone());
        }
        Place::Lease { stamp: leased, reader, until }
            if *leased == stamp
                && reading.now < *until
                && *reader != reading.reader
                && Some(*reader) != reading.steal =>
        {
            return Acquired::Wait { stamp, reader: *reader };
        }
        Place::Empty | Place::Lease { .. } | Place::Data(_) => {}
    }
    *place = Place::Lease { stamp, reader: reading.reader, until: reading.now.saturating_add(reading.lease) };
    Acquired::Lead { stamp, floor: session.floor }
}

/// A fetch is over and its answer may be stored. A fill under a stamp that is no longer the current one changes nothing that a
/// reader could see, so a store that cannot compare may fill in any case.
pub fn fill<T>(session: &State, epoch: &State, place: &mut Place<T>, entry: Entry<T>) {
    if session.generation == Some(entry.stamp.session) && epoch.generation == Some(entry.stamp.epoch) {
        *place = Place::Data(entry);
    }
}

/// A fetch is over and its answer may not be stored: the reader's lease ends.
pub fn release<T>(place: &mut Place<T>, own: Token) {
    if matches!(place, Place::Lease { reader, .. } if *reader == own) {
        *place = Place::Empty;
    }
}

/// A write begins; it may be forwarded once this is done. `guard` is longer than any write can take, in milliseconds; `most` is
/// how many may be in flight.
pub fn begin(state: &mut State, writer: Token, guard: Millis, now: Millis, most: usize) -> Result<(), TooManyWrites> {
    state.prune(now);
    state.marks.retain(|mark| mark.writer != writer);
    if state.marks.len() >= most {
        return Err(TooManyWrites);
    }
    let alone = state.marks.is_empty();
    state.marks.push(Mark { writer, deadline: now.saturating_add(guard) });
    // Beside another write nothing is certain any more. Doing the step twice finds no generation, and forgets the one before.
    state.before = state.generation.take().filter(|_| alone);
    Ok(())
}

/// A write's outcome is known; it may be acknowledged once this is done. Where the outcome is not known this is not called, and
/// the mark runs out.
pub fn end(
    state: &mut State,
    writer: Token,
    settled: Settled,
    now: Millis,
    mint: impl FnOnce() -> Generation,
) -> Ended {
    state.prune(now);
    state.floor = state.floor.max(settled.version);
    state.floor_set = now;
    state.deleted_until = state.deleted_until.max(settled.deleted_until);
    let marks = state.marks.len();
    state.marks.retain(|mark| mark.writer != writer);
    let found = state.marks.len() < marks;
    if !state.marks.is_empty() {
        return Ended::OthersInFlight;
    }
    let before = state.before.take().filter(|_| found && settled.unchanged);
    state.generation = Some(before.unwrap_or_else(mint));
    if found { Ended::Reopened } else { Ended::MarkLost }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        session: State,
        epoch: State,
        place: Place<&'static str>,
        minted: u128,
        now: Millis,
    }

    impl World {
        fn new() -> World {
            World { session: State::default(), epoch: State::default(), place: Place::Empty, minted: 0, now: 0 }
        }

        fn acquire(&mut self, reader: u128) -> Acquired<&'static str> {
            self.steal(reader, None)
        }

        fn steal(&mut self, reader: u128, steal: Option<u128>) -> Acquired<&'static str> {
            let reading = Reading { reader: Token(reader), steal: steal.map(Token), lease: 100, now: self.now };
            let minted = &mut self.minted;
            acquire(&mut self.session, &mut self.epoch, &mut self.place, reading, || {
                *minted += 1;
                Generation(*minted)
            })
        }

        fn lead(&mut self, reader: u128) -> Stamp {
            match self.acquire(reader) {
                Acquired::Lead { stamp, .. } => stamp,
                other => panic!("not leading: {other:?}"),
            }
        }

        fn fill(&mut self, stamp: Stamp, answer: &'static str) {
            let entry = Entry { stamp, fresh_until: self.now + 1000, answer };
            fill(&self.session, &self.epoch, &mut self.place, entry);
        }

        fn begin(&mut self, writer: u128) {
            begin(&mut self.session, Token(writer), 500, self.now, MAX_SESSION_WRITES).unwrap();
        }

        fn end(&mut self, writer: u128, settled: Settled) -> Ended {
            self.minted += 1;
            let generation = Generation(self.minted);
            end(&mut self.session, Token(writer), settled, self.now, || generation)
        }

        fn hit(&mut self, reader: u128) -> Option<&'static str> {
            match self.acquire(reader) {
                Acquired::Hit(entry) => Some(entry.answer),
                Acquired::Lead { .. } | Acquired::Wait { .. } | Acquired::Bypass | Acquired::Deleted => None,
            }
        }
    }

    #[test]
    fn a_filled_answer_is_a_hit_until_it_is_no_longer_fresh() {
        let mut world = World::new();
        let stamp = world.lead(1);
        assert!(matches!(world.acquire(2), Acquired::Wait { reader: Token(1), .. }));
        world.fill(stamp, "a");
        assert_eq!(world.hit(3), Some("a"));
        world.now += 1000;
        assert!(matches!(world.acquire(4), Acquired::Lead { .. }));
    }

    #[test]
    fn a_fetch_that_was_in_flight_during_a_write_is_never_a_hit() {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.begin(10);
        world.fill(stamp, "old");
        assert_eq!(world.acquire(2), Acquired::Bypass);
        assert_eq!(world.end(10, Settled::default()), Ended::Reopened);
        world.fill(stamp, "old");
        assert!(matches!(world.acquire(3), Acquired::Lead { .. }));
    }

    #[test]
    fn overlapping_writes_all_stay_marked() {
        let mut world = World::new();
        world.begin(10);
        world.begin(11);
        assert_eq!(world.end(11, Settled::default()), Ended::OthersInFlight);
        assert_eq!(world.acquire(1), Acquired::Bypass);
        assert_eq!(world.end(10, Settled::default()), Ended::Reopened);
        assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
    }

    #[test]
    fn a_write_that_changed_nothing_leaves_what_was_stored() {
        const UNCHANGED: Settled = Settled { version: None, unchanged: true, deleted_until: None };
        let mut world = World::new();
        let stamp = world.lead(1);
        world.fill(stamp, "a");
        world.begin(10);
        assert_eq!(world.acquire(2), Acquired::Bypass);
        world.end(10, UNCHANGED);
        assert_eq!(world.hit(3), Some("a"));

        for (first, second) in [(UNCHANGED, Settled::default()), (Settled::default(), UNCHANGED)] {
            let stamp = world.session.generation.map(|session| Stamp { session, epoch: stamp.epoch }).unwrap();
            world.fill(stamp, "b");
            world.begin(11);
            world.begin(12);
            world.end(11, first);
            world.end(12, second);
            assert_eq!(world.hit(4), None, "another write overlapped");
        }

        let stamp = Stamp { session: world.session.generation.unwrap(), epoch: stamp.epoch };
        world.fill(stamp, "c");
        world.begin(13);
        world.now += 500;
        world.end(13, UNCHANGED);
        assert_eq!(world.hit(5), None, "its mark had run out");
    }

    #[test]
    fn a_mark_that_nobody_takes_away_runs_out_and_old_fetches_stay_dead() {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.begin(10);
        world.now += 500;
        world.fill(stamp, "old");
        assert!(matches!(world.acquire(2), Acquired::Lead { .. }));
        assert_eq!(world.end(10, Settled::default()), Ended::MarkLost);
    }

    #[test]
    fn a_deleted_session_stays_deleted_even_if_another_write_overlaps() {
        let mut world = World::new();
        world.begin(10);
        world.begin(11);
        world.end(10, Settled { deleted_until: Some(world.now + 300), ..Settled::default() });
        assert_eq!(world.acquire(1), Acquired::Deleted);
        world.end(11, Settled::default());
        assert_eq!(world.acquire(1), Acquired::Deleted);
        world.now += 300;
        assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
    }

    #[test]
    fn a_change_of_the_epoch_makes_every_answer_stale() {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.fill(stamp, "a");
        begin(&mut world.epoch, Token(10), 500, world.now, MAX_UPSTREAM_WRITES).unwrap();
        assert_eq!(world.acquire(2), Acquired::Bypass);
        end(&mut world.epoch, Token(10), Settled::default(), world.now, || Generation(99));
        assert!(matches!(world.acquire(3), Acquired::Lead { .. }));
    }

    #[test]
    fn a_dead_reader_is_taken_over_and_its_release_does_not_hurt() {
        let mut world = World::new();
        world.lead(1);
        assert!(matches!(world.steal(2, Some(1)), Acquired::Lead { .. }));
        release(&mut world.place, Token(1));
        assert!(matches!(world.acquire(3), Acquired::Wait { reader: Token(2), .. }));
        release(&mut world.place, Token(2));
        assert!(matches!(world.acquire(3), Acquired::Lead { .. }));
    }

    #[test]
    fn the_floor_rises_and_never_falls() {
        let mut world = World::new();
        for version in [5, 3] {
            world.begin(10);
            world.end(10, Settled { version: Some(version), ..Settled::default() });
        }
        assert!(matches!(world.acquire(1), Acquired::Lead { floor: Some(5), .. }));
    }

    #[test]
    fn the_number_of_writes_in_flight_is_bounded() {
        let mut world = World::new();
        (0..MAX_SESSION_WRITES as u128).for_each(|writer| world.begin(writer));
        assert_eq!(begin(&mut world.session, Token(999), 500, 0, MAX_SESSION_WRITES), Err(TooManyWrites));
        assert_eq!(begin(&mut world.session, Token(3), 500, 0, MAX_SESSION_WRITES), Ok(()), "the same write again");
    }
}
