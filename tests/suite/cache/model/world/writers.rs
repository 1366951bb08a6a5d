//! Writers, as `cache/write.rs` and `proxy/governed.rs` have them.

use super::*;
use sessiongate::coherence::SHARED_WRITER;
use sessiongate::coherence::sharing::LeaveAction;
use sessiongate::coherence::writing::{UnconfirmedAction, unconfirmed};

impl World {
    pub(super) fn is_wide(&self, writer: usize) -> bool {
        self.setting.wide && writer == 0
    }

    fn writes(&mut self, writer: usize, does: Writes) {
        self.now.writers[writer] = does;
        if does == Writes::Over {
            self.now.shares[writer] = None;
        }
    }

    fn own_token(writer: usize) -> Token {
        Token(WRITERS + writer as u128)
    }

    /// The token of the mark that stands for a write: its own, or the one that it shares.
    fn mark_of(&self, writer: usize) -> Token {
        self.now.shares[writer].map_or(World::own_token(writer), |(mark, _)| mark)
    }

    fn shared_mark(&mut self, writer: usize) -> &mut SharedMark {
        let (process, wide) = (self.process_of_writer(writer), usize::from(self.is_wide(writer)));
        &mut self.now.processes[process].shared[wide]
    }

    /// A write joins the mark that it shares with others.
    fn joins(&mut self, writer: usize) {
        if writer >= self.setting.sharing {
            return;
        }
        let again = self.setting.joined_again;
        let new = SHARED + if again { usize::from(self.is_wide(writer)) } else { 10 + writer } as u128;
        let mark = self.shared_mark(writer).join(|| Token(new));
        self.now.shares[writer] = Some((mark, false));
        let stands = |other: usize| {
            let same = self.now.shares[other].is_some_and(|(other, _)| other == mark);
            same && matches!(self.now.writers[other], Writes::Forwarded(Where::Confirmed(_)))
        };
        let placed = (0..self.now.writers.len()).any(stands);
        if let (true, Writes::Marks(era)) = (self.setting.joined_unconfirmed && placed, self.now.writers[writer]) {
            self.now.shares[writer] = Some((mark, true));
            self.now.writers[writer] = Writes::Forwarded(Where::Confirmed(self.connection_id(era)));
        }
    }

    pub(super) fn writer_dies(&mut self, writer: usize) {
        let (era, mark) = (self.now.era, self.mark_of(writer).0);
        let own = World::own_token(writer).0;
        match self.now.writers[writer] {
            Writes::Marks(era) => self.stray(Stray::Begin(writer, mark, era)),
            Writes::Settles(_, version) if self.now.shares[writer].is_none() => {
                self.stray(Stray::End(writer, own, version.is_none(), era));
            }
            Writes::Records(..) => self.stray(Stray::End(writer, own, false, era)),
            Writes::Ends(_, _, unchanged) => self.stray(Stray::End(writer, mark, unchanged, era)),
            Writes::HandsOver(..) => self.stray(Stray::Begin(writer, SHARED_WRITER.0, era)),
            Writes::Idle | Writes::Forwarded(_) | Writes::Late | Writes::Settles(..) | Writes::Over => {}
        }
        let does = match self.now.writers[writer] {
            Writes::Forwarded(_) | Writes::Late | Writes::HandsOver(_, false) => Writes::Late,
            _ => Writes::Over,
        };
        self.writes(writer, does);
    }

    pub(super) fn writer_goes_on(&self, writer: usize, all: &mut Following) {
        let process = &self.now.processes[self.process_of_writer(writer)];
        match self.now.writers[writer] {
            Writes::Over => {}
            Writes::Idle if !process.alive => {}
            Writes::Idle => {
                let first = match process.era {
                    _ if self.setting.unmarked => Writes::Forwarded(Where::Unknown),
                    Some(era) => Writes::Marks(era),
                    None => self.without_mark(),
                };
                let begins = |world: &mut World| {
                    world.writes(writer, first);
                    if first != Writes::Over {
                        world.joins(writer);
                    }
                };
                if self.begins_apart() {
                    return self.then(all, "a write begins:", writer, begins);
                }
                let mut begun = self.clone();
                begins(&mut begun);
                if first == Writes::Over {
                    all.push((("without the store it is rejected: write", writer), begun));
                } else if begun.now.shares[writer].is_some_and(|(_, unconfirmed)| unconfirmed) {
                    all.push((("it relies on the mark of another: write", writer), begun));
                } else {
                    begun.writer_goes_on(writer, all);
                }
            }
            Writes::Marks(era) if era != self.now.era => {
                let does = self.without_mark();
                self.then(all, "its connection is gone: write", writer, |world| {
                    if does == Writes::Over {
                        world.takes_back(writer, None);
                    }
                    world.writes(writer, does);
                });
            }
            Writes::Marks(era) => self.marks(writer, era, all),
            Writes::Forwarded(mark) => self.is_forwarded(writer, mark, all),
            Writes::Late => {
                self.then(all, "the provider carries it out late: write", writer, |world| {
                    world.now.version += 1;
                    world.writes(writer, Writes::Over);
                });
                self.then(all, "it is forgotten: write", writer, |world| world.writes(writer, Writes::Over));
            }
            Writes::Settles(mark, version) if self.now.shares[writer].is_some() => {
                self.then(all, "it leaves the mark that it shares: write", writer, |world| {
                    world.leaves(writer, mark, version);
                });
            }
            Writes::Settles(mark, version) => {
                self.settles(writer, mark, version, World::own_token(writer), version.is_none(), all);
            }
            Writes::Records(mark, version) => {
                self.settles(writer, mark, version, World::own_token(writer), false, all);
            }
            Writes::Ends(mark, version, unchanged) => {
                self.settles(writer, mark, version, self.mark_of(writer), unchanged, all);
            }
            Writes::HandsOver(_, over) => self.hands_over(writer, over, all),
        }
    }

    /// The outcome of a write that shares its mark is known.
    fn leaves(&mut self, writer: usize, mark: Where, version: Option<u8>) {
        let unchanged = version.is_none() || self.setting.changes_forgotten;
        let own = self.mark_of(writer);
        match self.shared_mark(writer).leave(own, unchanged) {
            LeaveAction::End { unchanged } => self.writes(writer, Writes::Ends(mark, version, unchanged)),
            LeaveAction::Record => self.writes(writer, Writes::Records(mark, version)),
            LeaveAction::Retired if !unchanged => self.writes(writer, Writes::Records(mark, version)),
            LeaveAction::Others | LeaveAction::Retired => self.acknowledge(writer, version),
        }
    }

    /// A write that is not sent leaves its mark, or takes it back where it may have come to stand.
    fn takes_back(&mut self, writer: usize, era: Option<u8>) {
        let mark = self.mark_of(writer);
        let ends = match self.now.shares[writer] {
            None => Some(true),
            Some(_) => match self.shared_mark(writer).leave(mark, true) {
                LeaveAction::End { unchanged } => Some(unchanged),
                LeaveAction::Record | LeaveAction::Others | LeaveAction::Retired => None,
            },
        };
        if let (Some(unchanged), Some(era)) = (ends, era) {
            self.stray(Stray::End(writer, mark.0, unchanged, era));
        }
    }

    /// Nobody knows whether the provider carries it out, and when: another mark takes over, or the shared one has to
    /// stand.
    fn hands_over(&self, writer: usize, over: bool, all: &mut Following) {
        let mark = self.mark_of(writer);
        let after = if over { Writes::Over } else { Writes::Late };
        if !over {
            self.then(all, "the provider carries it out late: write", writer, |world| {
                world.now.version += 1;
                world.writer_is(writer, Writes::HandsOver(Where::Unknown, true));
            });
        }
        if self.now.processes[self.process_of_writer(writer)].era == Some(self.now.era) {
            self.then(all, "another mark takes over from write", writer, |world| {
                let era = world.now.era;
                if !world.setting.left_unknown {
                    world.begin(writer, SHARED_WRITER);
                }
                let left = match world.setting.left_unknown {
                    true => world.shared_mark(writer).leave(mark, true),
                    false => world.shared_mark(writer).leave_unknown(mark),
                };
                if let LeaveAction::End { unchanged } = left {
                    world.stray(Stray::End(writer, mark.0, unchanged, era));
                }
                world.writes(writer, after);
            });
        }
        self.then(all, "its mark is left to run out: write", writer, |world| {
            if !world.setting.left_unknown {
                world.shared_mark(writer).retire(mark);
            }
            world.writes(writer, after);
        });
    }

    fn writer_is(&mut self, writer: usize, does: Writes) {
        self.now.writers[writer] = does;
    }

    /// Continues a write whose mark could not be set.
    fn without_mark(&self) -> Writes {
        if self.setting.forwarded_without_mark || self.setting.held {
            Writes::Forwarded(Where::Unknown)
        } else {
            Writes::Over
        }
    }

    fn marks(&self, writer: usize, era: u8, all: &mut Following) {
        let mark = self.mark_of(writer);
        let marked = Writes::Forwarded(Where::Confirmed(self.connection_id(era)));
        self.then(all, "the store marks write", writer, |world| {
            world.begin(writer, mark);
            world.writes(writer, marked);
        });
        if self.now.left.repeats > 0 {
            self.then(all, "the store marks, and again later, write", writer, |world| {
                world.begin(writer, mark);
                world.now.left.repeats -= 1;
                world.stray(Stray::Begin(writer, mark.0, era));
                world.writes(writer, marked);
            });
        }
        if self.now.left.losses > 0 {
            for carried_out in [false, true] {
                self.then(
                    all,
                    if carried_out {
                        "its mark is not confirmed: write"
                    } else {
                        "its mark comes late or never: write"
                    },
                    writer,
                    |world| {
                        world.now.left.losses -= 1;
                        if carried_out {
                            world.begin(writer, mark);
                        } else {
                            world.stray(Stray::Begin(writer, mark.0, era));
                        }
                        let does = world.without_mark();
                        if does == Writes::Over {
                            world.takes_back(writer, Some(era));
                        }
                        world.writes(writer, does);
                    },
                );
            }
        }
    }

    fn is_forwarded(&self, writer: usize, mark: Where, all: &mut Following) {
        self.then(all, "the provider carries out write", writer, |world| {
            world.now.version += 1;
            let version = world.now.version;
            world.writes(writer, Writes::Settles(mark, Some(version)));
        });
        if self.now.left.rejections > 0 {
            self.then(all, "the provider rejects write", writer, |world| {
                world.now.left.rejections -= 1;
                world.writes(writer, Writes::Settles(mark, None));
            });
        }
        if self.now.left.losses > 0 {
            self.then(all, "the provider does not respond in time: write", writer, |world| {
                world.now.left.losses -= 1;
                let shares = world.now.shares[writer].is_some();
                world.writes(writer, if shares { Writes::HandsOver(mark, false) } else { Writes::Late });
            });
        }
    }

    /// The store is told of an outcome under this token; then the write is acknowledged, or ends the mark that it
    /// shares.
    fn settles(
        &self,
        writer: usize,
        mark: Where,
        version: Option<u8>,
        token: Token,
        unchanged: bool,
        all: &mut Following,
    ) {
        let era = self.now.processes[self.process_of_writer(writer)].era;
        if self.setting.without_end {
            return self.then(all, "it is acknowledged: write", writer, |world| world.acknowledge(writer, version));
        }
        if era == Some(self.now.era) {
            self.then(all, "the store ends, and it is acknowledged: write", writer, |world| {
                world.end(writer, token, unchanged);
                world.settled(writer, mark, version);
            });
            if self.now.left.repeats > 0 {
                self.then(all, "the store ends, and again later: write", writer, |world| {
                    world.end(writer, token, unchanged);
                    world.now.left.repeats -= 1;
                    let era = world.now.era;
                    world.stray(Stray::End(writer, token.0, unchanged, era));
                    world.settled(writer, mark, version);
                });
            }
        }
        let unconfirmed = |world: &mut World, carried_out: bool| {
            if carried_out {
                world.end(writer, token, unchanged);
            }
            let connection_id = era.map(|era| world.connection_id(era));
            let enough = unconfirmed(mark.placed(), connection_id, 0, 1 << 20) == UnconfirmedAction::Acknowledge;
            let variant = world.setting.acknowledged_unconfirmed
                || (world.setting.forwarded_without_mark && mark == Where::Unknown)
                || (world.setting.unmarked);
            if enough || variant || unchanged {
                // It is tried again behind the acknowledgement.
                let era = world.now.era;
                world.stray(Stray::End(writer, token.0, unchanged, era));
                let shared = world.mark_of(writer);
                if matches!(world.now.writers[writer], Writes::Records(..)) {
                    world.shared_mark(writer).retire(shared);
                }
                world.acknowledge(writer, version);
            }
        };
        if era != Some(self.now.era) {
            self.then(all, "its end cannot be sent: write", writer, |world| unconfirmed(world, false));
        } else if self.now.left.losses > 0 {
            for carried_out in [false, true] {
                self.then(
                    all,
                    if carried_out { "its end is not confirmed: write" } else { "its end comes late or never: write" },
                    writer,
                    |world| {
                        world.now.left.losses -= 1;
                        unconfirmed(world, carried_out);
                    },
                );
            }
        }
    }

    /// The store has confirmed the step.
    fn settled(&mut self, writer: usize, mark: Where, version: Option<u8>) {
        let own = self.mark_of(writer);
        if let Writes::Records(..) = self.now.writers[writer]
            && let LeaveAction::End { unchanged } = self.shared_mark(writer).recorded(own)
        {
            return self.writes(writer, Writes::Ends(mark, version, unchanged));
        }
        self.acknowledge(writer, version);
    }

    fn acknowledge(&mut self, writer: usize, version: Option<u8>) {
        self.now.acknowledged = self.now.acknowledged.max(version.unwrap_or_default());
        self.writes(writer, Writes::Over);
    }
}
