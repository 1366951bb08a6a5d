//! An explicit-state model checker of the exclusive right: it drives the shipped rules,
//! [`sessiongate::coherence::exclusive`], through every order of events. Each write reads the provider's state and
//! then replaces it by what it has read and its own. Steps of the store run late, twice or never, replies are lost,
//! processes die or are suspended, time passes, and the store falls back to an older copy.
//!
//! It looks for a *lost update*: a write that replaces a state with changes that it has not read. Variants without a
//! part of the protocol must have one: otherwise the model proves nothing.

use crate::harness::long;
use sessiongate::coherence::exclusive::{ExclusiveRight, RightReply, RightStep, is_continuous, is_outdated, may_send};
use sessiongate::coherence::reading::ConnectionId;
use sessiongate::coherence::{DEFAULT_TENANT, Millis, Token};
use std::collections::HashSet;

/// How often each event may happen, and which part of the protocol is left out.
#[derive(Clone, Copy)]
struct Setting {
    writers: usize,
    /// Steps whose reply is lost, and which run late or never.
    losses: u8,
    /// Steps that run a second time, late.
    repeats: u8,
    crashes: u8,
    /// Fallbacks of the store to an older copy: everybody gets a new connection.
    setbacks: u8,
    ticks: Millis,
    /// Left out: only one may hold the right.
    shared: bool,
    /// Left out: what is left of the right is compared with what the write may take.
    unexpiring: bool,
    /// Left out: the second check with the store.
    unconfirmed: bool,
    /// Left out: the comparison of connections.
    any_connection: bool,
    /// Left out: a right is not renewed after a gap.
    gap: bool,
    /// Left out: after a fallback, nobody takes a right while writes may be in flight whose right was lost.
    unsettled: bool,
    /// Left out: the right of a write with an unknown outcome is kept.
    given_back: bool,
    /// Whether a process may be suspended after its last check.
    suspended: bool,
    /// Whether the provider may show what was before its last write, until time passes.
    lags: bool,
    /// Left out: a write is decided by no older version than the newest known.
    undated: bool,
}

const PLAIN: Setting = Setting {
    writers: 2,
    losses: 0,
    repeats: 0,
    crashes: 0,
    setbacks: 0,
    ticks: 4,
    shared: false,
    unexpiring: false,
    unconfirmed: false,
    any_connection: false,
    gap: false,
    unsettled: false,
    given_back: false,
    suspended: false,
    lags: false,
    undated: false,
};

/// Writers that do not look at the store again before they send.
const UNCONFIRMED: Setting = Setting { unconfirmed: true, any_connection: true, ..PLAIN };

/// How long a right lasts when it is taken, and when it is confirmed; how long a write may take.
const LIFETIME: Millis = 3;
const CONFIRMED: Millis = 2;
const NEEDED: Millis = 1;

/// A state of the provider, and its version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Shown {
    state: u8,
    version: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Does {
    Idle,
    /// It has asked for the right at this time, over the connection with this number.
    Asks(Millis, u64),
    /// It has the right over this connection, for so long from this time on. The newest version is known.
    Has(u64, Millis, Millis, Option<u64>),
    /// It has read this state.
    Read(u64, Millis, Millis, Shown),
    /// The same; it confirms its right since the last time.
    Confirms(u64, Millis, Millis, Shown, Millis),
    /// Its right is confirmed, for so long from this time on.
    Confirmed(u64, Millis, Millis, Shown),
    /// Its last check is over.
    Sends(u8),
    /// It was sent at this time.
    Sent(Millis, u8),
    /// The provider has acknowledged it with this version.
    Done(u64),
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    right: ExclusiveRight,
    copy: ExclusiveRight,
    now: Millis,
    /// The number of the connection, and when it began.
    era: u64,
    began: Millis,
    provider: Shown,
    /// What a lagging replica of the provider still shows.
    before: Option<Shown>,
    acknowledged: u8,
    writers: Vec<Does>,
    /// Writes at the provider that nobody waits for: whose, since when, and what they leave.
    late: Vec<(usize, Millis, u8)>,
    /// Steps that run at some time or never.
    strays: Vec<(usize, RightStep, u64)>,
    losses: u8,
    repeats: u8,
    crashes: u8,
    setbacks: u8,
}

fn connection(number: u64) -> ConnectionId {
    ConnectionId { number, fence: 0 }
}

const TAKE: RightStep = RightStep::Take { tenant: DEFAULT_TENANT, lifetime: LIFETIME };
const RENEW: RightStep = RightStep::Renew { tenant: DEFAULT_TENANT, lifetime: CONFIRMED };

/// A search: the setting, and whether a lost update was found.
struct Search {
    setting: Setting,
    lost: Option<Vec<&'static str>>,
}

impl World {
    fn new(setting: Setting) -> World {
        World {
            right: ExclusiveRight::default(),
            copy: ExclusiveRight::default(),
            now: 0,
            era: 0,
            began: 0,
            provider: Shown::default(),
            before: None,
            acknowledged: 0,
            writers: vec![Does::Idle; setting.writers],
            late: Vec::new(),
            strays: Vec::new(),
            losses: setting.losses,
            repeats: setting.repeats,
            crashes: setting.crashes,
            setbacks: setting.setbacks,
        }
    }

    fn step(&mut self, writer: usize, step: RightStep, shared: bool) -> RightReply {
        let reply = self.right.step(Token(writer as u128 + 1), step, self.now);
        match step {
            RightStep::Take { lifetime: left, .. } | RightStep::Renew { lifetime: left, .. } if shared => {
                RightReply::Held { left, newest: None }
            }
            _ => reply,
        }
    }

    fn with(&self, change: impl FnOnce(&mut World)) -> World {
        let mut next = self.clone();
        change(&mut next);
        next.strays.sort_unstable();
        next.strays.dedup();
        next.late.sort_unstable();
        next
    }

    /// Executes a step that its writer waits for, in each way that it may go. `then` gets the reply, or `None` if it is
    /// lost.
    fn ask(
        &self,
        writer: usize,
        step: RightStep,
        setting: Setting,
        next: &mut Vec<(&'static str, World)>,
        then: impl Fn(&mut World, Option<RightReply>),
    ) {
        next.push((
            "a step runs",
            self.with(|world| {
                let reply = world.step(writer, step, setting.shared);
                then(world, Some(reply));
            }),
        ));
        if self.repeats > 0 {
            next.push((
                "a step runs, and will again",
                self.with(|world| {
                    world.repeats -= 1;
                    let reply = world.step(writer, step, setting.shared);
                    then(world, Some(reply));
                    world.strays.push((writer, step, world.era));
                }),
            ));
        }
        if self.losses > 0 {
            next.push((
                "a step is late",
                self.with(|world| {
                    world.losses -= 1;
                    world.strays.push((writer, step, world.era));
                    then(world, None);
                }),
            ));
            next.push((
                "a reply is lost",
                self.with(|world| {
                    world.losses -= 1;
                    world.step(writer, step, setting.shared);
                    then(world, None);
                }),
            ));
        }
    }

    /// Whether a right over the current connection counts: no write is in flight whose right the store may have lost.
    fn is_settled(&self, setting: Setting) -> bool {
        setting.unsettled || self.era == 0 || self.now > self.began + NEEDED
    }

    /// Gives a right back in the background.
    fn give_back(&mut self, writer: usize, version: Option<u64>) {
        self.writers[writer] = Does::Over;
        self.strays.push((writer, RightStep::GiveBack { tenant: DEFAULT_TENANT, version }, self.era));
    }

    /// The provider replaces its state. Its replicas follow when time passes.
    fn replace(&mut self, state: u8, setting: Setting) {
        self.before = Some(self.provider).filter(|_| setting.lags);
        self.provider = Shown { state, version: self.provider.version + u64::from(setting.lags) };
    }

    /// Whether a write with this state loses an update: any one, or one that was acknowledged if the provider lags.
    fn loses(&self, state: u8, setting: Setting) -> bool {
        let kept = if setting.lags { self.acknowledged } else { self.provider.state };
        kept & !state != 0
    }

    fn successors(&self, setting: Setting, lost: &mut bool) -> Vec<(&'static str, World)> {
        let mut next = Vec::new();
        for writer in 0..self.writers.len() {
            self.moves(writer, setting, &mut next);
            let does = self.writers[writer];
            if self.crashes > 0 && !matches!(does, Does::Idle | Does::Over) {
                next.push((
                    "a process dies",
                    self.with(|world| {
                        world.crashes -= 1;
                        if let Does::Sent(at, state) = does {
                            world.late.push((writer, at, state));
                        }
                        world.writers[writer] = Does::Over;
                    }),
                ));
            }
            if let Does::Sent(_, state) = does {
                *lost |= self.loses(state, setting);
                next.push((
                    "the provider writes",
                    self.with(|world| {
                        world.replace(state, setting);
                        world.acknowledged |= 1 << writer;
                        world.writers[writer] = Does::Done(world.provider.version);
                    }),
                ));
                next.push((
                    "the outcome is unknown",
                    self.with(|world| {
                        let Does::Sent(at, state) = does else { return };
                        world.late.push((writer, at, state));
                        world.writers[writer] = Does::Over;
                        if setting.given_back {
                            world.give_back(writer, None);
                        }
                    }),
                ));
            }
        }
        for (at, (_, _, state)) in self.late.iter().enumerate() {
            *lost |= self.loses(*state, setting);
            next.push((
                "the provider writes late",
                self.with(|world| {
                    let (_, _, state) = world.late.remove(at);
                    world.replace(state, setting);
                }),
            ));
        }
        for at in 0..self.strays.len() {
            next.push((
                "a late step runs",
                self.with(|world| {
                    let (writer, step, era) = world.strays.remove(at);
                    // A connection that has ended executes nothing any more.
                    if era == world.era {
                        world.right.step(Token(writer as u128 + 1), step, world.now);
                    }
                }),
            ));
        }
        if self.now < setting.ticks {
            next.push((
                "time passes",
                self.with(|world| {
                    (world.now, world.before) = (world.now + 1, None);
                    // No write takes longer than it may.
                    let now = world.now;
                    world.late.retain(|(_, at, _)| now - at <= NEEDED);
                }),
            ));
        }
        if self.setbacks > 0 {
            next.push(("a copy is made", self.with(|world| world.copy = world.right.clone())));
            next.push((
                "the store falls back",
                self.with(|world| {
                    world.setbacks -= 1;
                    world.right = world.copy.clone();
                    (world.era, world.began) = (world.era + 1, world.now);
                }),
            ));
        }
        // A write that is in flight for longer than it may has ended.
        next.retain(|(_, world)| {
            world.writers.iter().all(|does| !matches!(does, Does::Sent(at, _) if world.now - at > NEEDED))
        });
        next
    }

    fn moves(&self, writer: usize, setting: Setting, next: &mut Vec<(&'static str, World)>) {
        let allows = |taken: u64, left: Millis, since: Millis| {
            let current = if setting.any_connection { taken } else { self.era };
            let (left, elapsed) = if setting.unexpiring { (Millis::MAX, 0) } else { (left, self.now - since) };
            may_send(connection(taken), Some(connection(current)), left, elapsed, NEEDED)
        };
        let outdated = |shown: Shown, newest| !setting.undated && is_outdated(Some(shown.version), newest);
        match self.writers[writer] {
            Does::Idle => next.push((
                "a write asks for the right",
                self.with(|world| world.writers[writer] = Does::Asks(world.now, world.era)),
            )),
            Does::Asks(since, era) => self.ask(writer, TAKE, setting, next, |world, reply| {
                world.writers[writer] = match reply {
                    Some(RightReply::Held { left, newest }) if era == world.era && world.is_settled(setting) => {
                        Does::Has(era, left, since, newest)
                    }
                    // It asks again.
                    Some(_) => Does::Idle,
                    None => Does::Over,
                };
                if world.writers[writer] == Does::Over {
                    world.give_back(writer, None);
                }
            }),
            Does::Has(era, left, since, newest) => {
                for shown in std::iter::once(self.provider).chain(self.before) {
                    if !outdated(shown, newest) {
                        let does = Does::Read(era, left, since, shown);
                        next.push(("a write reads", self.with(|world| world.writers[writer] = does)));
                    }
                }
            }
            Does::Read(era, left, since, shown) => next.push((
                "a write confirms its right",
                self.with(|world| {
                    world.writers[writer] = if setting.unconfirmed {
                        Does::Confirmed(era, left, since, shown)
                    } else {
                        Does::Confirms(era, left, since, shown, world.now)
                    };
                }),
            )),
            Does::Confirms(era, before, taken, shown, since) => {
                self.ask(writer, RENEW, setting, next, |world, reply| {
                    let renewed = if setting.any_connection { era } else { world.era };
                    let elapsed = if setting.gap { 0 } else { world.now - taken };
                    let holds = is_continuous(connection(era), connection(renewed), before, elapsed);
                    match reply {
                        // It reads again.
                        Some(RightReply::Held { left, newest }) if holds && outdated(shown, newest) => {
                            world.writers[writer] = Does::Has(era, left, since, newest);
                        }
                        Some(RightReply::Held { left, .. }) if holds => {
                            world.writers[writer] = Does::Confirmed(era, left, since, shown);
                        }
                        Some(_) | None => world.give_back(writer, None),
                    }
                })
            }
            Does::Confirmed(era, left, since, shown) => next.push((
                "a write checks what is left",
                self.with(|world| {
                    if !allows(era, left, since) {
                        return world.give_back(writer, None);
                    }
                    let state = shown.state | 1 << writer;
                    world.writers[writer] =
                        if setting.suspended { Does::Sends(state) } else { Does::Sent(world.now, state) };
                }),
            )),
            Does::Sends(state) => {
                next.push(("a write is sent", self.with(|world| world.writers[writer] = Does::Sent(world.now, state))));
            }
            Does::Done(version) => {
                let give_back = |world: &mut World| world.give_back(writer, Some(version));
                next.push(("a write gives its right back", self.with(give_back)));
            }
            Does::Sent(..) | Does::Over => {}
        }
    }
}

impl Search {
    /// Visits every state, breadth first, until an update is lost.
    fn run(&mut self) -> usize {
        let first = World::new(self.setting);
        let mut known = HashSet::from([first.clone()]);
        // The step that led to each state, and the state before.
        let mut ways = vec![(0, "")];
        let mut front = vec![(0, first)];
        while !front.is_empty() {
            let mut next = Vec::new();
            for (from, world) in front {
                let mut lost = false;
                for (label, world) in world.successors(self.setting, &mut lost) {
                    if known.insert(world.clone()) {
                        ways.push((from, label));
                        next.push((ways.len() - 1, world));
                    }
                }
                if lost {
                    let way = std::iter::successors(Some(from), |at| Some(ways[*at].0)).take_while(|at| *at > 0);
                    self.lost = Some(way.map(|at| ways[at].1).collect::<Vec<_>>().into_iter().rev().collect());
                    return known.len();
                }
            }
            front = next;
        }
        known.len()
    }
}

fn check(name: &str, setting: Setting, holds: bool) {
    let mut search = Search { setting, lost: None };
    let states = search.run();
    let found = search.lost.as_ref().map_or("holds".to_owned(), |way| format!("broken in {} steps", way.len() + 1));
    println!("| {name} | {states} | {found} |");
    match &search.lost {
        Some(way) => assert!(!holds, "{name}: an update is lost:\n{}", way.join("\n")),
        None => assert!(holds, "{name}: no update is lost"),
    }
}

#[test]
fn exclusive_right_loses_no_update() {
    for (name, setting) in [
        ("2 writes", PLAIN),
        ("3 writes", Setting { writers: 3, ticks: 3, ..PLAIN }),
        ("2 writes, 1 loss", Setting { losses: 1, ..PLAIN }),
        ("2 writes, 2 losses", Setting { losses: 2, ..PLAIN }),
        ("2 writes, 1 repeat", Setting { repeats: 1, ..PLAIN }),
        ("2 writes, 1 crash", Setting { crashes: 1, ..PLAIN }),
        ("2 writes, 1 crash, 1 loss, 1 repeat", Setting { crashes: 1, losses: 1, repeats: 1, ..PLAIN }),
        ("2 writes, the store falls back", Setting { setbacks: 1, ..PLAIN }),
        ("3 writes, the provider lags", Setting { writers: 3, ticks: 3, lags: true, ..PLAIN }),
        ("2 writes, the provider lags, 1 crash, 1 repeat", Setting { crashes: 1, repeats: 1, lags: true, ..PLAIN }),
    ] {
        check(name, setting, true);
    }
    if long() {
        check("2 writes, the store falls back, 1 loss", Setting { setbacks: 1, losses: 1, ..PLAIN }, true);
        check("3 writes, 1 loss, 1 repeat", Setting { writers: 3, ticks: 3, losses: 1, repeats: 1, ..PLAIN }, true);
    }
}

#[test]
fn each_part_of_the_exclusive_right_is_necessary() {
    for (name, setting) in [
        ("several hold the right", Setting { shared: true, ..PLAIN }),
        ("no check of what is left", Setting { unexpiring: true, ..PLAIN }),
        ("no second check, the store falls back", Setting { setbacks: 1, ..UNCONFIRMED }),
        ("renewed after a gap, 1 repeat", Setting { gap: true, repeats: 1, ..PLAIN }),
        ("rights count at once after a fallback", Setting { unsettled: true, setbacks: 1, ..PLAIN }),
        ("given back although the outcome is unknown", Setting { given_back: true, ..PLAIN }),
        ("suspended after the last check", Setting { suspended: true, ..PLAIN }),
        ("no comparison of versions, the provider lags", Setting { undated: true, lags: true, ..PLAIN }),
    ] {
        check(name, setting, false);
    }
}
