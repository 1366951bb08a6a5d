use super::*;

struct World {
    session: CoherenceState,
    epoch: CoherenceState,
    variant: VariantState<&'static str>,
    minted: u128,
    now: Millis,
}

impl World {
    fn new() -> World {
        World {
            session: CoherenceState::default(),
            epoch: CoherenceState::default(),
            variant: VariantState::default(),
            minted: 0,
            now: 0,
        }
    }

    fn reading(&self, reader: u128) -> AcquireInput {
        let caller = [1; 16];
        let (reader, now) = (Token(reader), self.now);
        AcquireInput {
            reader,
            steal: None,
            fresh: false,
            no_store: false,
            caller,
            tenant: DEFAULT_TENANT,
            lease: 100,
            now,
        }
    }

    fn acquire(&mut self, reader: u128) -> Acquired<&'static str> {
        self.steal(reader, None)
    }

    fn steal(&mut self, reader: u128, steal: Option<u128>) -> Acquired<&'static str> {
        let reading = AcquireInput { steal: steal.map(Token), ..self.reading(reader) };
        let minted = &mut self.minted;
        acquire(&mut self.session, &mut self.epoch, &mut self.variant, reading, || {
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

    fn fill(&mut self, stamp: Stamp, response: &'static str) {
        let entry = self.entry(stamp, self.now * 1_000, None, response);
        self.put(entry);
    }

    fn entry(&self, stamp: Stamp, began: Micros, version: Option<u64>, response: &'static str) -> Entry<&'static str> {
        let fresh_until = self.now + 1000;
        let (stale_until, digest) = (fresh_until + 500, response.bytes().map(u64::from).sum());
        Entry { stamp, began, fresh_until, stale_until, version, only: None, missing: false, digest, response }
    }

    /// Fills, and returns the entry to serve instead.
    fn put(&mut self, entry: Entry<&'static str>) -> Option<&'static str> {
        let now = self.now * 1_000 + 100;
        let instead = fill(&self.session, &self.epoch, &mut self.variant, Token(0), entry, 1500, now);
        instead.map(|entry| entry.response)
    }

    fn retire(&mut self, denied: Option<CallerDigest>) {
        self.retire_for(denied.map_or(RetireCause::Invalidated, RetireCause::Denied));
    }

    /// Serves a response without storing it.
    fn supersede(&mut self, began: Micros, version: Option<u64>, response: &'static str) {
        let digest = response.bytes().map(u64::from).sum();
        self.retire_for(RetireCause::Superseded(Observed { began, version, digest }));
    }

    fn retire_for(&mut self, cause: RetireCause) {
        let retired = Retired { kept: 1500, cause };
        retire(&mut self.variant, Token(0), retired, self.now * 1_000 + 100);
    }

    fn begin(&mut self, writer: u128) {
        self.begin_for(writer, 500);
    }

    fn begin_for(&mut self, writer: u128, guard: Millis) {
        begin(&mut self.session, Token(writer), guard, self.now, WriteScope::Session).unwrap();
    }

    fn end(&mut self, writer: u128, settled: Settled) -> WriteEnd {
        self.minted += 1;
        let generation = Generation(self.minted);
        end(&mut self.session, Token(writer), settled, self.now, || generation)
    }

    fn hit(&mut self, reader: u128) -> Option<&'static str> {
        match self.acquire(reader) {
            Acquired::Hit(entry, ..) => Some(entry.response),
            Acquired::Lead { .. } | Acquired::Wait { .. } => None,
            Acquired::Denied { .. } | Acquired::Bypass | Acquired::Deleted => None,
        }
    }
}

#[test]
fn a_filled_response_is_a_hit_until_it_is_no_longer_fresh() {
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
    assert_eq!(world.end(10, Settled::default()), WriteEnd::Reopened);
    world.fill(stamp, "old");
    assert!(matches!(world.acquire(3), Acquired::Lead { .. }));
}

#[test]
fn overlapping_writes_all_stay_marked() {
    let mut world = World::new();
    world.begin(10);
    world.begin(11);
    assert_eq!(world.end(11, Settled::default()), WriteEnd::OthersInFlight);
    assert_eq!(world.acquire(1), Acquired::Bypass);
    assert_eq!(world.end(10, Settled::default()), WriteEnd::Reopened);
    assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
}

#[test]
fn a_write_that_changed_nothing_keeps_the_entry() {
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

const UNCHANGED: Settled =
    Settled { version: None, unchanged: true, deleted_for: None, lifted: false, tenant: DEFAULT_TENANT, purged: 0 };

#[test]
fn setting_a_mark_again_never_shortens_it() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.fill(stamp, "a");
    world.begin(10);
    world.now += 300;
    world.begin(10);
    world.begin_for(10, 1);
    world.now += 499;
    assert_eq!(world.acquire(2), Acquired::Bypass);
    world.end(10, UNCHANGED);
    assert_eq!(world.hit(3), Some("a"), "what was stored before is not forgotten");
    world.begin(10);
    world.now += 500;
    world.begin(10);
    world.end(10, UNCHANGED);
    assert_eq!(world.hit(4), None, "it had run out in between");
}

#[test]
fn the_end_of_a_mark_does_not_undo_a_concurrent_change() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.fill(stamp, "a");
    world.begin(10);
    assert_eq!(world.end(11, Settled { version: Some(5), ..Settled::default() }), WriteEnd::OthersInFlight);
    assert_eq!(world.end(10, UNCHANGED), WriteEnd::Reopened);
    assert!(matches!(world.acquire(2), Acquired::Lead { floor: Some(5), .. }));
}

#[test]
fn unverified_writes_always_find_room_and_take_none_of_others() {
    let mut world = World::new();
    (1..=MAX_SESSION_WRITES as u128).for_each(|writer| world.begin(writer));
    begin(&mut world.session, Token(999), 500, world.now, WriteScope::Unverified).unwrap();
    begin(&mut world.session, Token(998), 300, world.now, WriteScope::Unverified).unwrap();
    assert_eq!(world.session.marks.len(), MAX_SESSION_WRITES + 1);
    (1..=MAX_SESSION_WRITES as u128)
        .for_each(|writer| assert_eq!(world.end(writer, UNCHANGED), WriteEnd::OthersInFlight));
    assert_eq!(world.end(999, UNCHANGED), WriteEnd::OthersInFlight, "the mark of the crowd is nobody's");
    world.now += 499;
    assert_eq!(world.acquire(1), Acquired::Bypass, "for as long as the longest of them");
    world.now += 1;
    assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
}

mod sharing {
    use crate::coherence::Token;
    use crate::coherence::sharing::{LeaveAction, SharedMark};

    const FIRST: Token = Token(1);

    fn of(writers: usize) -> SharedMark {
        let mut shared = SharedMark::default();
        (0..writers).for_each(|_| assert_eq!(shared.join(|| FIRST), FIRST));
        shared
    }

    #[test]
    fn the_last_unchanged_write_ends_the_mark_as_unchanged() {
        let mut shared = of(3);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Others);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Others);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::End { unchanged: true });
        assert!(shared.is_idle());
    }

    #[test]
    fn a_change_is_recorded_and_the_mark_ends_as_changed() {
        let mut shared = of(3);
        assert_eq!(shared.leave(FIRST, false), LeaveAction::Record);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Others);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Others, "the first still records");
        assert_eq!(shared.recorded(FIRST), LeaveAction::End { unchanged: false });

        let mut shared = of(2);
        assert_eq!(shared.leave(FIRST, false), LeaveAction::Record);
        assert_eq!(shared.recorded(FIRST), LeaveAction::Others);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::End { unchanged: false });

        let mut shared = of(1);
        assert_eq!(shared.leave(FIRST, false), LeaveAction::End { unchanged: false }, "one step for both");
    }

    #[test]
    fn a_mark_that_ended_is_not_joined_again() {
        let mut shared = of(1);
        shared.leave(FIRST, true);
        assert_eq!(shared.join(|| Token(2)), Token(2));
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Retired, "nobody leaves twice");
        assert_eq!(shared.leave(Token(2), true), LeaveAction::End { unchanged: true });
    }

    #[test]
    fn a_retired_mark_is_never_ended() {
        let mut shared = of(3);
        shared.retire(FIRST);
        assert_eq!(shared.join(|| Token(2)), Token(2));
        assert_eq!(shared.leave(FIRST, true), LeaveAction::Retired);
        assert_eq!(shared.leave(FIRST, false), LeaveAction::Retired);
        shared.retire(FIRST);
        assert_eq!(shared.leave(Token(2), true), LeaveAction::End { unchanged: true });
    }

    #[test]
    fn an_unknown_outcome_counts_as_a_change() {
        let mut shared = of(2);
        assert_eq!(shared.leave_unknown(FIRST), LeaveAction::Others);
        assert_eq!(shared.leave(FIRST, true), LeaveAction::End { unchanged: false });
        let mut shared = of(1);
        assert_eq!(shared.leave_unknown(FIRST), LeaveAction::End { unchanged: false });
    }
}

#[test]
fn an_expired_mark_still_keeps_old_fetches_out() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.begin(10);
    world.now += 500;
    world.fill(stamp, "old");
    assert!(matches!(world.acquire(2), Acquired::Lead { .. }));
    assert_eq!(world.end(10, Settled::default()), WriteEnd::MarkLost);
}

#[test]
fn a_deleted_session_stays_deleted_even_if_another_write_overlaps() {
    let mut world = World::new();
    world.begin(10);
    world.begin(11);
    world.end(10, Settled { deleted_for: Some(300), ..Settled::default() });
    assert_eq!(world.acquire(1), Acquired::Deleted);
    world.end(11, Settled::default());
    assert_eq!(world.acquire(1), Acquired::Deleted);
    world.now += 300;
    assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
}

#[test]
fn a_change_of_the_epoch_makes_every_response_stale() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.fill(stamp, "a");
    begin(&mut world.epoch, Token(10), 500, world.now, WriteScope::Upstream).unwrap();
    assert_eq!(world.acquire(2), Acquired::Bypass);
    end(&mut world.epoch, Token(10), Settled::default(), world.now, || Generation(99));
    assert!(matches!(world.acquire(3), Acquired::Lead { .. }));
}

#[test]
fn a_dead_reader_loses_its_lease_and_its_release_does_no_harm() {
    let mut world = World::new();
    world.lead(1);
    assert!(matches!(world.steal(2, Some(1)), Acquired::Lead { .. }));
    release(&mut world.variant, Token(1));
    assert!(matches!(world.acquire(3), Acquired::Wait { reader: Token(2), .. }));
    release(&mut world.variant, Token(2));
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
    assert_eq!(begin(&mut world.session, Token(999), 500, 0, WriteScope::Session), Err(TooManyWrites));
    assert_eq!(begin(&mut world.session, Token(3), 500, 0, WriteScope::Session), Ok(()), "the same write again");
}

#[test]
fn writes_beyond_the_maximum_share_a_mark_that_expires() {
    let mut world = World::new();
    for writer in 1..=MAX_UPSTREAM_WRITES as u128 + 3 {
        begin(&mut world.epoch, Token(writer), 500, world.now, WriteScope::Upstream).unwrap();
    }
    assert_eq!(world.epoch.marks.len(), MAX_UPSTREAM_WRITES + 1);
    for writer in 1..=MAX_UPSTREAM_WRITES as u128 + 3 {
        let ended = end(&mut world.epoch, Token(writer), Settled::default(), world.now, || Generation(99));
        assert_eq!(ended, WriteEnd::OthersInFlight);
    }
    assert_eq!(world.acquire(1), Acquired::Bypass);
    world.now += 500;
    assert!(matches!(world.acquire(1), Acquired::Lead { .. }));
}

#[test]
fn a_stale_entry_is_fetched_by_one_reader_and_served_to_all() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.fill(stamp, "a");
    world.now += 1000;
    assert!(matches!(world.acquire(2), Acquired::Lead { stale: Some(_), .. }));
    assert!(matches!(world.acquire(3), Acquired::Wait { reader: Token(2), stale: Some(_), .. }));
    release(&mut world.variant, Token(2));
    assert!(matches!(world.acquire(4), Acquired::Lead { stale: Some(_), .. }));
    world.now += 100;
    assert!(matches!(world.acquire(5), Acquired::Lead { stale: Some(_), .. }), "the lease ran out");
    world.begin(10);
    world.end(10, Settled::default());
    assert!(matches!(world.acquire(6), Acquired::Lead { stale: None, .. }), "a write touched it");
}

#[test]
fn a_reader_with_its_own_fetch_has_neither_hit_nor_lease() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.fill(stamp, "a");
    let reading = AcquireInput { fresh: true, ..world.reading(2) };
    let acquired = acquire(&mut world.session, &mut world.epoch, &mut world.variant, reading, || Generation(9));
    assert_eq!(acquired, Acquired::Lead { stamp, floor: None, stale: None, since: 100 });
    assert_eq!(world.hit(3), Some("a"));
}

#[test]
fn the_higher_version_wins_then_the_later_fetch() {
    let mut world = World::new();
    let stamp = world.lead(1);
    let entry = |world: &World, began, version, response| world.entry(stamp, began, version, response);
    for (first, second, expected) in [
        // The slow fetch began earlier, so its response is older.
        ((20, Some(9)), (10, Some(5)), (Some("first"), "second")),
        ((20, Some(5)), (10, Some(9)), (Some("second"), "second")),
        // A lagging provider: the later fetch has the lower version.
        ((10, Some(9)), (120, Some(5)), (Some("first"), "second")),
        ((10, Some(5)), (120, Some(5)), (Some("second"), "second")),
        ((10, Some(5)), (100, None), (Some("second"), "second")),
        // Concurrent fetches: readers of the other fetch are served the stored entry only if it began later.
        ((20, Some(5)), (10, Some(5)), (Some("first"), "first")),
        ((20, None), (10, None), (Some("first"), "first")),
        ((20, Some(5)), (10, None), (Some("first"), "first")),
        ((20, None), (20, Some(5)), (Some("first"), "first")),
        ((10, Some(5)), (20, Some(5)), (None, "second")),
        ((10, Some(5)), (99, None), (None, "second")),
    ] {
        world.variant = VariantState::default();
        world.put(entry(&world, first.0, first.1, "first"));
        let shown = world.put(entry(&world, second.0, second.1, "second")).unwrap_or("second");
        assert_eq!((world.hit(2), shown), expected, "{first:?} {second:?}");
    }
}

#[test]
fn of_concurrent_fetches_of_unclear_order_none_is_kept() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.put(world.entry(stamp, 10, Some(5), "a"));
    world.now = 1;
    assert_eq!(world.put(world.entry(stamp, 90, Some(5), "b")), None);
    // Both were served, so a fetch that began before may be older than either.
    for began in [80, 1_000] {
        world.put(world.entry(stamp, began, Some(5), "a"));
        world.put(world.entry(stamp, began, Some(5), "b"));
        assert_eq!(world.hit(2), None, "{began}");
    }
    assert!(matches!(world.acquire(3), Acquired::Wait { since: 1_100, .. } | Acquired::Lead { since: 1_100, .. }));
    world.put(world.entry(stamp, 1_100, Some(5), "c"));
    assert_eq!(world.hit(4), Some("c"));
}

#[test]
fn an_equal_response_confirms_the_current_state() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.put(world.entry(stamp, 10, None, "a"));
    world.now = 5;
    world.supersede(4_000, None, "a");
    assert_eq!(world.hit(2), Some("a"));
    // This fetch saw the session between the two.
    world.put(world.entry(stamp, 3_000, None, "b"));
    assert_eq!(world.hit(3), None);
}

#[test]
fn an_entry_is_served_instead_only_to_callers_that_may_see_it() {
    for (only, fresh_until, denied, marked, expected) in [
        (None, 1_000, false, false, Some("later")),
        (None, 1_000, true, false, None),
        (None, 1_000, false, true, None),
        (Some([1; 16]), 1_000, false, false, None),
        (None, 5, false, false, None),
    ] {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.put(Entry { only, fresh_until, ..world.entry(stamp, 50, None, "later") });
        world.now = 5;
        if denied {
            world.retire(Some([9; 16]));
        }
        if marked {
            world.begin(10);
        }
        assert_eq!(
            world.put(world.entry(stamp, 40, None, "earlier")),
            expected,
            "{only:?} {fresh_until} {denied} {marked}"
        );
        let stays = world.variant.entry.is_some();
        assert_eq!(stays, expected.is_some(), "{denied} {marked}");
    }
}

#[test]
fn an_invalidated_entry_does_not_come_back() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.put(world.entry(stamp, 10, Some(5), "a"));
    world.retire(None);
    assert_eq!(world.hit(2), None);
    world.put(world.entry(stamp, 15, Some(9), "slow"));
    assert_eq!(world.hit(3), None, "its fetch began earlier");
    world.put(world.entry(stamp, 30, Some(9), "slow"));
    assert_eq!(world.hit(3), None, "nobody knows which of the two saw the session last");
    world.put(world.entry(stamp, 130, Some(9), "b"));
    assert_eq!(world.hit(4), Some("b"));
    world.retire(None);
    assert_eq!(world.hit(5), None, "whoever was told that there is none is not shown one");
    // The retired fetch began before the invalidation, so no reader waits for it or joins it.
    world.variant = VariantState::default();
    world.lead(6);
    world.retire(None);
    assert!(matches!(world.acquire(7), Acquired::Lead { since: 100, .. }));
    world.now += 1500;
    world.retire(Some([9; 16]));
    assert_eq!(world.variant.watermark, None, "nothing older can come any more");
}

#[test]
fn a_served_response_invalidates_only_what_is_older() {
    for (began, version, response, ends) in [
        (200, Some(6), "b", true),
        (100, Some(6), "b", true),
        (200, Some(5), "b", true),
        (200, None, "b", true),
        (Micros::MAX, None, "b", true),
        (200, Some(5), "a", false),
        // It began earlier, and the order of the two is unclear.
        (100, Some(5), "b", true),
        (100, Some(5), "a", false),
        (200, Some(4), "b", false),
        (Micros::MAX, Some(4), "b", false),
    ] {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.put(world.entry(stamp, 150, Some(5), "a"));
        world.now = 1;
        world.supersede(began, version, response);
        let what = format!("{began} {version:?} {response}");
        assert_eq!(world.hit(2), (!ends).then_some("a"), "{what}");
        // A fetch that began before it must not be stored after it.
        world.put(world.entry(stamp, 50, Some(4), "older"));
        world.put(world.entry(stamp, 90, None, "older"));
        assert_eq!(world.hit(3), (!ends).then_some("a"), "{what}");
    }
}

#[test]
fn a_served_response_that_cannot_be_stored_invalidates_what_is_older() {
    // It began before a 404, and is newer than what was fetched after that.
    let mut world = World::new();
    let stamp = world.lead(1);
    world.retire(None);
    world.put(world.entry(stamp, 150, Some(5), "a"));
    world.put(world.entry(stamp, 50, Some(4), "older"));
    assert_eq!(world.hit(2), Some("a"));
    world.put(world.entry(stamp, 60, Some(6), "b"));
    assert_eq!(world.hit(3), None);

    // It runs concurrently with a write that changes nothing.
    for (began, version, left) in
        [(2_000, Some(6), None), (2_000, None, None), (2_000, Some(4), Some("a")), (50, None, None)]
    {
        let mut world = World::new();
        let stamp = world.lead(1);
        world.put(world.entry(stamp, 100, Some(5), "a"));
        world.now = 3;
        world.begin(10);
        world.put(world.entry(stamp, began, version, "b"));
        world.end(10, UNCHANGED);
        assert_eq!(world.hit(2), left, "{began} {version:?}");
    }
}

#[test]
fn a_version_that_expires_early_still_keeps_older_fetches_out() {
    for (early, later) in [(true, None), (false, Some("slow"))] {
        let mut world = World::new();
        let stamp = world.lead(1);
        let short = Entry { fresh_until: 100, stale_until: 100, ..world.entry(stamp, 90, Some(5), "a") };
        let entry = if early { short } else { world.entry(stamp, 90, Some(5), "a") };
        world.put(entry);
        world.put(world.entry(stamp, 50, Some(4), "slow"));
        world.now = 100;
        let expected = if early { None } else { Some("a") };
        world.put(world.entry(stamp, 60, Some(4), "slow"));
        assert_eq!(world.hit(2), expected);
        // With versions, the fetch that began earlier may be newer, as long as the entry it replaces is stored.
        world.put(world.entry(stamp, 70, Some(6), "slow"));
        assert_eq!(world.hit(3), later);
    }
}

#[test]
fn a_served_version_keeps_lower_ones_out_whenever_their_fetch_began() {
    let mut world = World::new();
    let stamp = world.lead(1);
    // It began earlier, but has the higher version.
    world.supersede(50, Some(6), "b");
    world.put(world.entry(stamp, 90, Some(5), "a"));
    assert_eq!(world.hit(2), None);
    // A late fetch that is kept out does not extend the watermark.
    world.now = 1_000;
    world.put(world.entry(stamp, 1_000_000, Some(5), "a"));
    world.supersede(1_000_000, Some(5), "a");
    assert_eq!(world.hit(3), None);
    world.now = 1_500;
    world.put(world.entry(stamp, 1_500_000, Some(5), "a"));
    assert_eq!(world.hit(4), Some("a"));
    // The same for a stored response.
    world.put(Entry { fresh_until: 1_510, stale_until: 1_510, ..world.entry(stamp, 1_500_000, Some(6), "b") });
    world.now = 1_520;
    world.put(world.entry(stamp, 1_505_000, Some(5), "a"));
    assert_eq!(world.hit(5), None);
}

#[test]
fn a_fetch_from_before_a_newer_response_is_not_joined() {
    let since = |world: &mut World| match world.acquire(9) {
        Acquired::Lead { since, .. } | Acquired::Wait { since, .. } | Acquired::Hit(_, _, since) => since,
        other => panic!("{other:?}"),
    };
    let mut world = World::new();
    let stamp = world.lead(1);
    world.now = 5;
    // It began long before.
    world.supersede(50, Some(6), "b");
    assert_eq!(since(&mut world), 5_100);
    world.now = 6;
    world.supersede(5_500, Some(6), "b");
    assert_eq!(since(&mut world), 6_100, "the same once more says how the session is now");
    world.now = 7;
    world.put(world.entry(stamp, 5_200, Some(7), "c"));
    assert_eq!(since(&mut world), 7_100);
}

#[test]
fn a_version_that_replaces_a_later_fetch_keeps_out_fetches_between() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.now = 90;
    world.put(world.entry(stamp, 90_000, Some(5), "later"));
    world.put(Entry { fresh_until: 1_010, stale_until: 1_510, ..world.entry(stamp, 10_000, Some(6), "a") });
    assert_eq!(world.hit(2), Some("a"));
    world.now = 1_510;
    let slow = Entry { fresh_until: 1_560, stale_until: 1_560, ..world.entry(stamp, 60_000, Some(5), "between") };
    world.put(slow);
    assert_eq!(world.hit(3), None);
}

#[test]
fn a_stored_404_is_for_its_caller_and_keeps_older_responses_out() {
    let mut world = World::new();
    let stamp = world.lead(1);
    let entry = world.entry(stamp, 20, None, "404");
    let own = Entry { only: Some([1; 16]), missing: true, fresh_until: 100, stale_until: 100, ..entry };
    world.put(own);
    assert_eq!(world.hit(2), Some("404"));
    let other = AcquireInput { caller: [2; 16], ..world.reading(3) };
    let acquired = acquire(&mut world.session, &mut world.epoch, &mut world.variant, other, || Generation(9));
    assert!(matches!(acquired, Acquired::Lead { stale: None, .. }));
    world.now += 100;
    for began in [10, 30] {
        world.put(world.entry(stamp, began, Some(9), "old"));
        assert_eq!(world.hit(4), None, "it began before that was known");
    }
}

#[test]
fn a_denial_is_for_one_credential_and_too_many_are_for_all() {
    let mut world = World::new();
    let stamp = world.lead(1);
    world.put(world.entry(stamp, 10, None, "a"));
    let other = |number: u8| [number + 2; 16];
    for number in 0..MAX_DENIED as u8 {
        world.retire(Some(other(number)));
        assert_eq!(world.hit(2), Some("a"));
    }
    let denied = AcquireInput { caller: other(3), ..world.reading(3) };
    let acquired = acquire(&mut world.session, &mut world.epoch, &mut world.variant, denied, || Generation(9));
    assert_eq!(acquired, Acquired::Denied { stamp, floor: None });
    world.retire(Some(other(3)));
    assert_eq!(world.hit(4), Some("a"), "it was denied to that one before");
    world.retire(Some([99; 16]));
    assert!(matches!(world.acquire(5), Acquired::Denied { .. }));
    world.put(world.entry(stamp, 30, None, "b"));
    assert!(matches!(world.acquire(6), Acquired::Denied { .. }), "whoever was denied it is not known any more");
    world.now += 1500;
    assert!(matches!(world.acquire(7), Acquired::Lead { .. }));
}

#[test]
fn a_reader_that_does_not_store_takes_no_lease() {
    let mut world = World::new();
    let reading = AcquireInput { no_store: true, ..world.reading(1) };
    let acquired = acquire(&mut world.session, &mut world.epoch, &mut world.variant, reading, || Generation(9));
    assert!(matches!(acquired, Acquired::Lead { .. }));
    let stamp = world.lead(2);
    world.fill(stamp, "a");
    let acquired = acquire(&mut world.session, &mut world.epoch, &mut world.variant, reading, || Generation(9));
    assert!(matches!(acquired, Acquired::Hit(..)));
}

mod reading {
    use crate::coherence::reading::{
        ConnectionId, Fetch, FlightKey, ForwardReason, FreshnessWindows, Limits, ReadStep, next,
    };
    use crate::coherence::{Acquired, Entry, Generation, Stamp, Token};

    const STAMP: Stamp = Stamp { session: Generation(1), epoch: Generation(2) };
    const ENTRY: Entry<&str> = Entry {
        stamp: STAMP,
        began: 100_000,
        fresh_until: 200,
        stale_until: 290,
        version: None,
        only: None,
        missing: false,
        digest: 0,
        response: "a",
    };
    const LIMITS: Limits = Limits { max_age: u64::MAX, min_fresh: 0 };
    const WINDOWS: FreshnessWindows = FreshnessWindows { fresh: u64::MAX, revalidate: 20, error: 500, limits: LIMITS };

    fn connection_id(number: u64, fence: u64) -> ConnectionId {
        ConnectionId { number, fence }
    }

    fn fetch(fallback: Option<Entry<&'static str>>, why: ForwardReason) -> Fetch<&'static str> {
        Fetch { stamp: STAMP, floor: Some(7), fallback, since: 100_000, why }
    }

    #[test]
    fn entries_from_before_the_connection_are_fetched_again() {
        let hit = Acquired::Hit(ENTRY, Some(7), 100_000);
        assert_eq!(next(hit.clone(), connection_id(1, 100), 150, WINDOWS), ReadStep::Respond(ENTRY));
        assert_eq!(
            next(hit, connection_id(2, 101), 150, WINDOWS),
            ReadStep::Fetch(fetch(None, ForwardReason::Missing))
        );
        let lead = Acquired::Lead { stamp: STAMP, floor: Some(7), stale: Some(ENTRY), since: 100_000 };
        assert_eq!(
            next(lead, connection_id(2, 101), 210, WINDOWS),
            ReadStep::Fetch(fetch(None, ForwardReason::Missing))
        );
    }

    #[test]
    fn a_stale_entry_is_served_within_its_windows() {
        let at = |now, windows| {
            let stale = Some(ENTRY);
            next(
                Acquired::Lead { stamp: STAMP, floor: Some(7), stale, since: 100_000 },
                connection_id(1, 0),
                now,
                windows,
            )
        };
        assert_eq!(at(219, WINDOWS), ReadStep::Refresh(ENTRY, fetch(Some(ENTRY), ForwardReason::Stale)));
        assert_eq!(at(220, WINDOWS), ReadStep::Fetch(fetch(Some(ENTRY), ForwardReason::Stale)));
        assert_eq!(at(290, WINDOWS), ReadStep::Fetch(fetch(None, ForwardReason::Stale)), "never beyond its own end");
        assert_eq!(
            at(219, FreshnessWindows::default()),
            ReadStep::Fetch(fetch(None, ForwardReason::Stale)),
            "only where it is asked for"
        );
        let wait = |now| {
            let stale = Some(ENTRY);
            next(Acquired::Wait { stamp: STAMP, reader: Token(1), stale, since: 0 }, connection_id(1, 0), now, WINDOWS)
        };
        assert_eq!(wait(219), ReadStep::Respond(ENTRY));
        assert_eq!(wait(220), ReadStep::Wait { stamp: STAMP, reader: Token(1), since: 0 });
    }

    #[test]
    fn a_fetch_is_joined_only_if_its_response_would_be_a_hit() {
        let limits = |max_age, min_fresh| Limits { max_age, min_fresh };
        for (now, fresh, limits, known, since) in [
            (99, 100, LIMITS, 0, 0),
            (150, 100, LIMITS, 0, 51_000),
            (150, 100, LIMITS, 60_123, 60_123),
            (150, 100, limits(10, 0), 0, 140_000),
            (150, 100, limits(u64::MAX, 30), 0, 80_000),
            (150, 100, limits(u64::MAX, 500), 0, 150_000),
            (150, u64::MAX, LIMITS, 7, 7),
        ] {
            let windows = FreshnessWindows { fresh, limits, ..FreshnessWindows::default() };
            let case = (now, windows, known);
            let wait = Acquired::Wait::<&str> { stamp: STAMP, reader: Token(1), stale: None, since: known };
            let found = next(wait, connection_id(1, 0), now, windows);
            assert_eq!(found, ReadStep::Wait { stamp: STAMP, reader: Token(1), since }, "{case:?}");
            let lead = Acquired::Lead::<&str> { stamp: STAMP, floor: None, stale: None, since: known };
            let ReadStep::Fetch(fetch) = next(lead, connection_id(1, 0), now, windows) else { panic!("{case:?}") };
            assert_eq!(fetch.since, since, "{case:?}");
            let hit = Acquired::Hit(ENTRY, None, known);
            let ReadStep::Fetch(fetch) = next(hit, connection_id(1, 101), now, windows) else { panic!("{case:?}") };
            assert_eq!(fetch.since, since, "{case:?}");
        }
        // A fetch may be joined exactly if its response would be a hit; both count whole milliseconds.
        let (began, windows) = (100_999, FreshnessWindows { fresh: 100, ..FreshnessWindows::default() });
        for now in [199, 200] {
            let entry = Entry { began, fresh_until: began / 1_000 + 100, ..ENTRY };
            let lead = Acquired::Lead::<&str> { stamp: STAMP, floor: None, stale: None, since: 0 };
            let ReadStep::Fetch(fetch) = next(lead, connection_id(1, 0), now, windows) else { panic!("{now}") };
            assert_eq!(began >= fetch.since, now < entry.fresh_until, "{now}");
        }
    }

    #[test]
    fn fetches_are_joined_by_stamp_and_connection() {
        let later = Stamp { session: Generation(3), ..STAMP };
        let began = FlightKey::new(STAMP, connection_id(1, 0));
        assert_eq!(FlightKey::new(STAMP, connection_id(1, 9)), began);
        assert_ne!(FlightKey::new(later, connection_id(1, 0)), began);
        assert_ne!(FlightKey::new(STAMP, connection_id(2, 0)), began);
    }
}

#[test]
fn an_unconfirmed_end_suffices_only_while_the_mark_is_certainly_set() {
    use super::reading::ConnectionId;
    use super::writing::{MarkPlacement, UnconfirmedAction, unconfirmed};
    let connection_id = |number| ConnectionId { number, fence: 0 };
    let placed = MarkPlacement::Confirmed(connection_id(1));
    assert_eq!(unconfirmed(placed, Some(connection_id(1)), 3_999, 5_000), UnconfirmedAction::Acknowledge);
    assert_eq!(
        unconfirmed(placed, Some(connection_id(1)), 4_000, 5_000),
        UnconfirmedAction::TryAgain,
        "it may have run out"
    );
    assert_eq!(
        unconfirmed(placed, Some(connection_id(2)), 0, 5_000),
        UnconfirmedAction::TryAgain,
        "another server may lack it"
    );
    assert_eq!(unconfirmed(placed, None, 0, 5_000), UnconfirmedAction::TryAgain);
    assert_eq!(unconfirmed(MarkPlacement::Unknown, Some(connection_id(1)), 0, 5_000), UnconfirmedAction::TryAgain);
}

mod of_tenants {
    use super::super::*;

    const OTHER: TenantId = [1; 16];
    const THIRD: TenantId = [2; 16];

    fn settle(state: &mut CoherenceState, settled: Settled, now: Millis) {
        end(state, Token(1), settled, now, || Generation(1));
    }

    fn deleted(tenant: TenantId, purged: Millis) -> Settled {
        Settled { deleted_for: Some(100), tenant, purged, ..Settled::default() }
    }

    fn gone(state: &CoherenceState, purged: Millis, now: Millis) -> [DeletionState; 3] {
        [DEFAULT_TENANT, OTHER, THIRD].map(|tenant| state.deletion_state(&tenant, purged, now))
    }

    #[test]
    fn a_deletion_belongs_to_its_tenant() {
        use DeletionState::{Deleted, No};
        for (tenant, expected) in [(DEFAULT_TENANT, [Deleted, No, No]), (OTHER, [No, Deleted, No])] {
            let mut state = CoherenceState::default();
            settle(&mut state, deleted(tenant, 0), 0);
            assert_eq!(gone(&state, 0, 99), expected);
            assert!(state.must_keep(99));
            assert_eq!(gone(&state, 0, 100), [No; 3], "it is over");
            settle(&mut state, deleted(THIRD, 0), 50);
            settle(&mut state, Settled { lifted: true, ..Settled::default() }, 60);
            assert_eq!(gone(&state, 0, 61), [No; 3], "a purge lifts all");
        }
    }

    #[test]
    fn a_purge_lifts_earlier_deletions() {
        use DeletionState::{Deleted, No};
        let (mut state, mut epoch) = (CoherenceState::default(), CoherenceState::default());
        settle(&mut state, deleted(DEFAULT_TENANT, epoch.purged()), 0);
        settle(&mut state, deleted(OTHER, epoch.purged()), 0);
        epoch.purge(0);
        settle(&mut state, deleted(THIRD, epoch.purged()), 0);
        assert_eq!(gone(&state, epoch.purged(), 1), [No, No, Deleted]);
        settle(&mut state, deleted(DEFAULT_TENANT, epoch.purged()), 1);
        assert_eq!(gone(&state, epoch.purged(), 2), [Deleted, No, Deleted]);
        let before = epoch.purged();
        epoch.purge(0);
        assert!(epoch.purged() > before, "also within a moment");
    }

    #[test]
    fn a_purge_does_not_lift_later_deletions() {
        let mut state = CoherenceState::default();
        // The second deletion read the purge time first, but is recorded last.
        for purged in [7, 5] {
            settle(&mut state, deleted(OTHER, purged), 0);
        }
        assert_eq!(
            (state.deletion_state(&OTHER, 7, 1), state.deletion_state(&OTHER, 8, 1)),
            (DeletionState::Deleted, DeletionState::No)
        );
    }

    #[test]
    fn a_deletion_in_the_shared_state_alone_may_be_any_tenants() {
        let mut state = CoherenceState { deleted_until: Some(100), ..CoherenceState::default() };
        assert_eq!(gone(&state, 7, 99), [DeletionState::Deleted, DeletionState::Unknown, DeletionState::Unknown]);
        let (mut epoch, mut variant, now) = (CoherenceState::default(), VariantState::<()>::default(), 0);
        let (reader, steal, fresh, no_store, caller, lease) = (Token(1), None, false, false, [1; 16], 10);
        let reading = AcquireInput { reader, steal, fresh, no_store, caller, tenant: OTHER, lease, now };
        let found = acquire(&mut state, &mut epoch, &mut variant, reading, || Generation(1));
        assert_eq!(found, Acquired::Bypass);
        // A later deletion that is known to be the default tenant's does not explain the earlier one.
        settle(&mut state, Settled { deleted_for: Some(50), ..Settled::default() }, 0);
        assert_eq!(state.deletion_state(&OTHER, 0, 60), DeletionState::Unknown);
    }

    #[test]
    fn a_floor_belongs_to_its_tenant() {
        let mut state = CoherenceState::default();
        for (tenant, version) in [(DEFAULT_TENANT, 5), (OTHER, 7), (OTHER, 6)] {
            settle(&mut state, Settled { version: Some(version), tenant, ..Settled::default() }, 0);
        }
        let floors = [DEFAULT_TENANT, OTHER, THIRD].map(|tenant| state.floor(&tenant, 1));
        assert_eq!(floors, [Some(5), Some(7), None]);
        assert_eq!(state.floor(&OTHER, FLOOR_KEPT), None);
        assert!(state.should_keep(FLOOR_KEPT - 1) && !state.should_keep(FLOOR_KEPT));
    }
}
