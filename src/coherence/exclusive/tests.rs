use super::*;

const TENANT: TenantId = [1; 16];
const TAKE: RightStep = RightStep::Take { tenant: TENANT, lifetime: 100 };
const RENEW: RightStep = RightStep::Renew { lifetime: 100 };

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
    assert_eq!(world.step(1, TAKE), RightReply::Held(100));
    assert_eq!(world.step(2, TAKE), RightReply::NotHeld(100));
    assert_eq!(world.step(2, RENEW), RightReply::NotHeld(100));
    assert_eq!(world.step(1, RightStep::GiveBack), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(2, TAKE), RightReply::Held(100));
}

#[test]
fn right_expires() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.now = 99;
    assert_eq!(world.step(2, RightStep::GiveBack), RightReply::NotHeld(1));
    world.now = 100;
    assert_eq!(world.step(1, RENEW), RightReply::NotHeld(0), "what has expired cannot be renewed");
    assert_eq!(world.step(2, TAKE), RightReply::Held(100));
}

#[test]
fn repeated_steps_do_no_harm() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.now = 50;
    assert_eq!(world.step(1, RightStep::Take { tenant: TENANT, lifetime: 10 }), RightReply::Held(50), "never shorter");
    assert_eq!(world.step(1, RENEW), RightReply::Held(100));
    world.step(1, RightStep::GiveBack);
    world.step(2, TAKE);
    assert_eq!(world.step(1, RightStep::GiveBack), RightReply::NotHeld(100), "it is another's");
    assert_eq!(world.step(2, RENEW), RightReply::Held(100));
}

#[test]
fn first_to_find_the_right_taken_has_it_next() {
    let mut world = World::default();
    world.step(1, TAKE);
    world.step(2, TAKE);
    world.step(3, TAKE);
    world.step(1, RightStep::GiveBack);
    assert_eq!(world.step(3, TAKE), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(1, TAKE), RightReply::NotHeld(RESERVED));
    assert_eq!(world.step(2, TAKE), RightReply::Held(100));
    assert_eq!(world.step(2, RightStep::GiveBack), RightReply::NotHeld(0));
}

#[test]
fn reservation_ends() {
    for gives_up in [true, false] {
        let mut world = World::default();
        world.step(1, TAKE);
        world.step(2, TAKE);
        world.step(1, RightStep::GiveBack);
        if gives_up {
            world.step(2, RightStep::GiveBack);
        } else {
            world.now = RESERVED;
        }
        assert_eq!(world.step(3, TAKE), RightReply::Held(100), "{gives_up}");
        world.step(3, RightStep::GiveBack);
        assert!(world.right.is_idle(world.now));
    }
}

#[test]
fn deletion_ends_the_right_of_its_tenant() {
    let mut world = World::default();
    world.step(1, TAKE);
    assert_eq!(world.step(9, RightStep::End { tenant: [2; 16] }), RightReply::NotHeld(100));
    assert_eq!(world.step(1, RENEW), RightReply::Held(100));
    assert_eq!(world.step(9, RightStep::End { tenant: TENANT }), RightReply::NotHeld(0));
    assert_eq!(world.step(1, RENEW), RightReply::NotHeld(0));
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
