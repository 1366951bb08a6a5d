//! Writers, as `cache/write.rs` and `proxy/governed.rs` have them.

use super::*;
use sessiongate::coherence::writing::{Unconfirmed, unconfirmed};

impl World {
    pub(super) fn is_wide(&self, writer: usize) -> bool {
        self.setting.wide && writer == 0
    }

    fn writes(&mut self, writer: usize, does: Writes) {
        self.now.writers[writer] = does;
    }

    pub(super) fn writer_goes_on(&self, writer: usize, all: &mut Following) {
        let process = &self.now.processes[World::process_of_writer(writer)];
        match self.now.writers[writer] {
            Writes::Over => {}
            Writes::Idle if !process.alive => {}
            Writes::Idle => {
                let first = match process.era {
                    _ if self.setting.unmarked => Writes::Forwarded(Where::Unknown),
                    Some(era) => Writes::Marks(era),
                    None => self.without_mark(),
                };
                if self.begins_apart() {
                    return self.then(all, "a write begins:", writer, |world| world.writes(writer, first));
                }
                let mut begun = self.clone();
                begun.writes(writer, first);
                if first == Writes::Over {
                    all.push((("without the store it is refused: write", writer), begun));
                } else {
                    begun.writer_goes_on(writer, all);
                }
            }
            Writes::Marks(era) if era != self.now.era => {
                let does = self.without_mark();
                self.then(all, "its connection is gone: write", writer, |world| world.writes(writer, does));
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
            Writes::Settles(mark, version) => self.settles(writer, mark, version, all),
        }
    }

    /// What becomes of a write whose mark could not be placed.
    fn without_mark(&self) -> Writes {
        if self.setting.forwarded_without_mark || self.setting.held {
            Writes::Forwarded(Where::Unknown)
        } else {
            Writes::Over
        }
    }

    fn marks(&self, writer: usize, era: u8, all: &mut Following) {
        let marked = Writes::Forwarded(Where::Confirmed(self.link(era)));
        self.then(all, "the store marks write", writer, |world| {
            world.begin(writer);
            world.writes(writer, marked);
        });
        if self.now.left.repeats > 0 {
            self.then(all, "the store marks, and again later, write", writer, |world| {
                world.begin(writer);
                world.now.left.repeats -= 1;
                world.stray(Stray::Begin(writer, era));
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
                            world.begin(writer);
                        } else {
                            world.stray(Stray::Begin(writer, era));
                        }
                        let does = world.without_mark();
                        if does == Writes::Over {
                            // It is refused, and takes back what may have come to stand.
                            world.stray(Stray::End(writer, true, era));
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
        if self.now.left.refusals > 0 {
            self.then(all, "the provider refuses write", writer, |world| {
                world.now.left.refusals -= 1;
                world.writes(writer, Writes::Settles(mark, None));
            });
        }
        if self.now.left.losses > 0 {
            self.then(all, "the provider does not answer in time: write", writer, |world| {
                world.now.left.losses -= 1;
                world.writes(writer, Writes::Late);
            });
        }
    }

    fn settles(&self, writer: usize, mark: Where, version: Option<u8>, all: &mut Following) {
        let era = self.now.processes[World::process_of_writer(writer)].era;
        if self.setting.without_end {
            return self.then(all, "it is acknowledged: write", writer, |world| world.acknowledge(writer, version));
        }
        let unchanged = version.is_none();
        if era == Some(self.now.era) {
            self.then(all, "the store ends, and it is acknowledged: write", writer, |world| {
                world.end(writer, unchanged);
                world.acknowledge(writer, version);
            });
            if self.now.left.repeats > 0 {
                self.then(all, "the store ends, and again later: write", writer, |world| {
                    world.end(writer, unchanged);
                    world.now.left.repeats -= 1;
                    let era = world.now.era;
                    world.stray(Stray::End(writer, unchanged, era));
                    world.acknowledge(writer, version);
                });
            }
        }
        let unconfirmed = |world: &mut World, carried_out: bool| {
            if carried_out {
                world.end(writer, unchanged);
            }
            let link = era.map(|era| world.link(era));
            let enough = unconfirmed(mark.placed(), link, 0, 1 << 20) == Unconfirmed::Acknowledge;
            let variant = world.setting.acknowledged_unconfirmed
                || (world.setting.forwarded_without_mark && mark == Where::Unknown)
                || (world.setting.unmarked);
            if enough || variant || unchanged {
                // It is tried again behind the acknowledgement.
                let era = world.now.era;
                world.stray(Stray::End(writer, unchanged, era));
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

    fn acknowledge(&mut self, writer: usize, version: Option<u8>) {
        self.now.acknowledged = self.now.acknowledged.max(version.unwrap_or_default());
        self.writes(writer, Writes::Over);
    }
}
