//! Readers, as `cache/read.rs` and `cache/flight.rs` have them, and how `cache/redis.rs` asks for them.

use super::*;
use sessiongate::coherence::reading::{Fetch, Next, Windows, next};

impl World {
    pub(super) fn reader_goes_on(&self, reader: usize, all: &mut Following) {
        let place = self.process_of_reader(reader);
        let process = &self.now.processes[place];
        let does = &self.now.readers[reader].does;
        match does {
            Reads::Over => {}
            Reads::Idle if !process.alive => {}
            Reads::Idle if self.begins_apart() => {
                self.then(all, "a read begins:", reader, |world| world.read_begins(reader));
            }
            Reads::Idle => {
                let mut begun = self.clone();
                begun.read_begins(reader);
                begun.reader_goes_on(reader, all);
            }
            Reads::Asks(_, era) | Reads::KnowsEpoch(_, era, _) | Reads::KnowsSession(_, era, _)
                if *era != self.now.era =>
            {
                self.then(all, "its connection is gone: read", reader, |world| world.reads(reader, Reads::Bypasses));
            }
            Reads::Asks(steal, era) => self.asks(reader, *steal, *era, all),
            Reads::KnowsEpoch(steal, era, epoch) => self.then(all, "the session is read:", reader, |world| {
                let found = world.acquire(reader, *steal, &mut epoch.clone());
                world.tell(reader, found, *era);
            }),
            Reads::KnowsSession(found, era, guess) => self.then(all, "the epoch is read:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[place].epoch = epoch.clone();
                match epoch {
                    _ if *found == Acquired::Bypass => world.tell(reader, Acquired::Bypass, *era),
                    Some(epoch) if epoch == *guess => world.tell(reader, found.clone(), *era),
                    Some(_) => world.reads(reader, Reads::Asks(None, *era)),
                    None => world.tell(reader, Acquired::Bypass, *era),
                }
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

    fn read_begins(&mut self, reader: usize) {
        let era = self.now.processes[self.process_of_reader(reader)].era;
        let (acknowledged, seen) = (self.now.acknowledged, self.now.seen);
        let does = era.map_or(Reads::Bypasses, |era| Reads::Asks(None, era));
        self.now.readers[reader] = Reader { does, acknowledged, seen };
    }

    fn asks(&self, reader: usize, steal: Option<Token>, era: u8, all: &mut Following) {
        let place = self.process_of_reader(reader);
        if self.setting.wide {
            self.then(all, "the epoch is read first:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[place].epoch = epoch.clone();
                match epoch {
                    Some(epoch) => world.reads(reader, Reads::KnowsEpoch(steal, era, epoch)),
                    None => world.tell(reader, Acquired::Bypass, era),
                }
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
                world.tell(reader, found, era);
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
            self.then(all, "the question comes late or never: read", reader, |world| {
                world.now.left.losses -= 1;
                if !world.setting.wide {
                    world.stray(Stray::Acquire(reader, era));
                }
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

    /// The store's answer is on its way. Those that need nothing but to be passed on are passed on at once: the earlier a reader
    /// answers, the more have to keep to it.
    fn tell(&mut self, reader: usize, found: Acquired<u8>, era: u8) {
        let link = self.link(era);
        match next(found.clone(), link, self.now.time, Windows::default()) {
            _ if self.setting.slowly => self.reads(reader, Reads::Told(found, link, era)),
            Next::Answer(entry) | Next::Refresh(entry, _) => self.answer(reader, entry.answer, true),
            Next::Bypass | Next::Deleted => self.reads(reader, Reads::Bypasses),
            Next::Fetch(_) | Next::Wait { .. } => self.reads(reader, Reads::Told(found, link, era)),
        }
    }

    fn is_told(&self, reader: usize, found: &Acquired<u8>, link: Link, era: u8, all: &mut Following) {
        let place = self.process_of_reader(reader);
        let fetches = &self.now.processes[place].fetches;
        match next(found.clone(), link, self.now.time, Windows::default()) {
            Next::Answer(entry) | Next::Refresh(entry, _) => {
                self.then(all, "a hit: read", reader, |world| world.answer(reader, entry.answer, true));
            }
            Next::Fetch(Fetch { stamp, .. }) => {
                let joint = self.joint(reader, stamp, link);
                if fetches.iter().any(|fetch| fetch.joint == joint) {
                    self.then(all, "it joins a fetch: read", reader, |world| world.waits(reader, joint));
                } else {
                    self.then(all, "it fetches: read", reader, |world| {
                        let fetch = Running { joint, stamp, fetched_at: era, leader: reader, brought: None };
                        world.now.processes[place].fetches.push(fetch);
                        world.waits(reader, joint);
                    });
                }
            }
            Next::Wait { stamp, reader: other } => {
                let joint = self.joint(reader, stamp, link);
                if fetches.iter().any(|fetch| fetch.joint == joint) {
                    self.then(all, "it joins the fetch: read", reader, |world| world.waits(reader, joint));
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

    /// What a fetch has brought already is answered with at once.
    fn waits(&mut self, reader: usize, joint: Joint) {
        self.reads(reader, Reads::Waits(joint));
        if !self.setting.slowly {
            self.hand_over(self.process_of_reader(reader), joint);
        }
    }

    fn answer(&mut self, reader: usize, version: u8, cached: bool) {
        let own = &mut self.now.readers[reader];
        self.stale |= cached && version < own.acknowledged;
        self.backwards |= version < own.seen;
        own.does = Reads::Over;
        (own.acknowledged, own.seen) = (0, 0);
        self.now.seen = self.now.seen.max(version);
    }

    pub(super) fn process_goes_on(&self, process: usize, all: &mut Following) {
        let own = &self.now.processes[process];
        if own.alive && own.era.is_none() {
            self.then(all, "it connects again: process", process, |world| {
                world.now.processes[process].era = Some(world.now.era);
            });
        }
        if own.alive
            && own.era == Some(self.now.era)
            && self.now.aside.as_ref().is_some_and(|aside| aside.1 > self.now.era)
        {
            self.then(all, "it leaves the server that was set aside: process", process, |world| {
                world.now.processes[process].era = None;
            });
        }
        for (at, fetch) in own.fetches.iter().enumerate() {
            if fetch.brought.is_none() {
                self.fetch_goes_on(process, at, fetch, all);
            } else {
                self.fetch_is_kept(process, at, fetch, all);
            }
        }
        if own.alive && self.now.left.crashes > 0 {
            self.then(all, "it dies: process", process, |world| world.dies(process));
        }
    }

    fn fetch_goes_on(&self, process: usize, at: usize, fetch: &Running, all: &mut Following) {
        self.then(all, "the provider reads for read", fetch.leader, |world| {
            world.now.processes[process].fetches[at].brought = Some(world.now.version);
            if !world.setting.slowly {
                world.hand_over(process, fetch.joint);
            }
        });
        if self.now.left.failures > 0 {
            self.then(all, "the provider fails read", fetch.leader, |world| {
                world.now.left.failures -= 1;
                world.now.processes[process].fetches.remove(at);
                for reader in world.waiting(process, fetch.joint) {
                    world.now.readers[reader] = Reader { does: Reads::Over, acknowledged: 0, seen: 0 };
                }
                if let Some(era) = world.now.processes[process].era {
                    world.stray(Stray::Release(fetch.leader, era));
                }
            });
        }
    }

    /// Until the store has the answer, or will never have it, the fetch can be joined.
    fn fetch_is_kept(&self, process: usize, at: usize, fetch: &Running, all: &mut Following) {
        let lands = |world: &mut World| {
            world.hand_over(process, fetch.joint);
            world.now.processes[process].fetches.remove(at);
        };
        self.then(all, "the answer is stored of read", fetch.leader, |world| {
            lands(world);
            if world.now.processes[process].era == Some(world.now.era) {
                world.fill(fetch);
            }
        });
        let Some(era) = self.now.processes[process].era.filter(|era| *era == self.now.era) else { return };
        if self.now.left.losses > 0 {
            self.then(all, "the answer is stored late or never of read", fetch.leader, |world| {
                lands(world);
                world.now.left.losses -= 1;
                world.fill_later(fetch, era);
            });
        }
        if self.now.left.repeats > 0 {
            self.then(all, "the answer is stored, and again later, of read", fetch.leader, |world| {
                lands(world);
                world.now.left.repeats -= 1;
                world.fill(fetch);
                world.fill_later(fetch, era);
            });
        }
    }

    fn waiting(&self, process: usize, joint: Joint) -> Vec<usize> {
        let waits = |reader: &usize| self.now.readers[*reader].does == Reads::Waits(joint);
        let own = |reader: &usize| self.process_of_reader(*reader) == process;
        (0..self.now.readers.len()).filter(own).filter(waits).collect()
    }

    /// Those who joined a fetch have its answer, whether they have looked at it or not.
    fn hand_over(&mut self, process: usize, joint: Joint) {
        let fetch = self.now.processes[process].fetches.iter().find(|fetch| fetch.joint == joint);
        let Some((leader, version)) = fetch.and_then(|fetch| Some((fetch.leader, fetch.brought?))) else { return };
        for reader in self.waiting(process, joint) {
            self.answer(reader, version, leader != reader);
        }
    }
}
