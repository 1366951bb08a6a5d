use super::*;

const TENANT: TenantId = [1; 16];
const TAKE: RightStep = RightStep::Take { tenant: TENANT, lifetime: 100 };
const RENEW: RightStep = RightStep::Renew { tenant: TENANT, lifetime: 100 };
const GIVE_BACK: RightStep = RightStep::GiveBack { tenant: TENANT, version: None };

fn held(left: Millis) -> RightReply {
    RightReply::Held { left, newest: None }
}

/// A right, and the time.
#[derive(Default)]
struct World {
    right: ExclusiveRight,
    now: Millis,
}

impl World {
    fn step(&mut self, writer: u128, step: RightStep) -> RightReply {
        self.right.step(Token(writer), step, self.now)
    }
}

#[test]
fn only_one_write_holds_the_right() {
    let mut world = World::default();
    assert_eq!(world.step(1, TAKE), held(100));
    assert_eq!(world.step(2, TAKE), RightReply::NotHeld(100));
    assert_eq!(world.step(2, RENEW), RightReply::NotHeld(100));
    assert_eq!(world.step(1, GIVE_BACK), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(2, TAKE), held(100));
}

#[test]
fn right_expires() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.now = 99;
    assert_eq!(world.step(2, GIVE_BACK), RightReply::NotHeld(1));
    world.now = 100;
    assert_eq!(world.step(1, RENEW), RightReply::NotHeld(0), "what has expired cannot be renewed");
    assert_eq!(world.step(2, TAKE), held(100));
}

#[test]
fn repeated_steps_do_no_harm() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.now = 50;
    assert_eq!(world.step(1, RightStep::Take { tenant: TENANT, lifetime: 10 }), held(50), "never shorter");
    assert_eq!(world.step(1, RENEW), held(100));
    world.step(1, GIVE_BACK);
    world.step(2, TAKE);
    assert_eq!(world.step(1, GIVE_BACK), RightReply::NotHeld(100), "it is another's");
    assert_eq!(world.step(2, RENEW), held(100));
}

#[test]
fn first_to_find_the_right_taken_has_it_next() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.step(2, TAKE);
    world.step(3, TAKE);
    world.step(1, GIVE_BACK);
    assert_eq!(world.step(3, TAKE), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(1, TAKE), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(2, TAKE), held(100));
    assert_eq!(world.step(2, GIVE_BACK), RightReply::NotHeld(0));
}

#[test]
fn reservation_ends() {
    for gives_up in [true, false] {
        let mut world = World::default();
        world.step(1, TAKE);
        world.step(2, TAKE);
        world.step(1, GIVE_BACK);
        if gives_up {
            world.step(2, GIVE_BACK);
        } else {
            world.now = RESERVED;
        }
        assert_eq!(world.step(3, TAKE), held(100), "{gives_up}");
        world.step(3, GIVE_BACK);
        assert!(world.right.is_idle(world.now));
    }
}

#[test]
fn deletion_ends_the_right_of_its_tenant() {
    let mut world = World::default();
    world.step(1, TAKE);
    assert_eq!(world.step(9, RightStep::End { tenant: [2; 16] }), RightReply::NotHeld(100));
    assert_eq!(world.step(1, RENEW), held(100));
    assert_eq!(world.step(9, RightStep::End { tenant: TENANT }), RightReply::NotHeld(0));
    assert_eq!(world.step(1, RENEW), RightReply::NotHeld(0));
}

#[test]
fn newest_version_is_kept_between_writes() {
    let mut world = World::default();
    let newest = |world: &mut World, tenant| {
        let reply = world.step(3, RightStep::Take { tenant, lifetime: 100 });
        world.step(3, RightStep::GiveBack { tenant, version: None });
        let RightReply::Held { newest, .. } = reply else { panic!("{reply:?}") };
        newest
    };
    world.step(1, TAKE);
    world.step(1, RightStep::GiveBack { tenant: TENANT, version: Some(7) });
    assert_eq!(newest(&mut world, TENANT), Some(7));
    assert_eq!(newest(&mut world, [2; 16]), None, "another tenant's session");
    world.step(1, RightStep::GiveBack { tenant: TENANT, version: Some(5) });
    assert_eq!(newest(&mut world, TENANT), Some(7), "late");
    assert!(world.right.is_free(world.now) && !world.right.is_idle(world.now));
    world.now = FLOOR_KEPT - 1;
    world.step(1, RightStep::Saw { tenant: TENANT, version: 6 });
    world.step(1, RightStep::GiveBack { tenant: TENANT, version: Some(6) });
    assert_eq!(newest(&mut world, TENANT), Some(7));
    world.now = FLOOR_KEPT;
    assert_eq!(newest(&mut world, TENANT), None, "what is lower keeps it no longer");
    assert!(world.right.is_idle(world.now));
}

#[test]
fn lower_version_of_the_holder_counts() {
    let mut world = World::default();
    let give_back = |version| RightStep::GiveBack { tenant: TENANT, version: Some(version) };
    world.step(1, TAKE);
    world.step(1, give_back(7));
    world.step(2, TAKE);
    world.step(2, give_back(5));
    world.step(1, give_back(4));
    assert_eq!(world.step(3, TAKE), RightReply::Held { left: 100, newest: Some(5) });
}

#[test]
fn versions_of_reads_matter_to_writes_only() {
    let mut world = World::default();
    let saw = |version| RightStep::Saw { tenant: TENANT, version };
    world.step(9, saw(3));
    assert!(world.right.is_idle(world.now));
    world.step(1, TAKE);
    assert_eq!(world.step(9, saw(4)), RightReply::NotHeld(100));
    assert_eq!(world.step(1, RENEW), RightReply::Held { left: 100, newest: Some(4) });
    world.step(1, GIVE_BACK);
    world.step(9, saw(6));
    world.step(9, saw(5));
    assert_eq!(world.step(2, TAKE), RightReply::Held { left: 100, newest: Some(6) });
    world.step(9, RightStep::End { tenant: TENANT });
    assert_eq!(world.step(2, TAKE), held(100), "a session that is created again starts over");
}

#[test]
fn only_a_lower_version_is_outdated() {
    for (read, newest, outdated) in [
        (Some(1), Some(2), true),
        (Some(2), Some(2), false),
        (Some(3), Some(2), false),
        (Some(3), None, false),
        (None, Some(2), false),
    ] {
        assert_eq!(is_outdated(read, newest), outdated, "{read:?} {newest:?}");
    }
}

#[test]
fn right_with_a_gap_is_not_renewed() {
    let connection = |number| ConnectionId { number, fence: 0 };
    for (renewed, elapsed, held) in [(1, 99, true), (1, 100, false), (2, 0, false)] {
        assert_eq!(is_continuous(connection(1), connection(renewed), 100, elapsed), held, "{renewed} {elapsed}");
    }
}

#[test]
fn write_is_sent_only_within_its_right_and_over_one_connection() {
    let connection = |number| ConnectionId { number, fence: 0 };
    for (current, elapsed, sent) in [
        (Some(connection(1)), 39, true),
        (Some(connection(1)), 40, false),
        (Some(connection(1)), Millis::MAX, false),
        (Some(connection(2)), 0, false),
        (None, 0, false),
    ] {
        assert_eq!(may_send(connection(1), current, 100, elapsed, 60), sent, "{current:?} {elapsed}");
    }
}
