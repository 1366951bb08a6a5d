//! Readers, as `cache/read.rs` and `cache/flight.rs` have them, and how `cache/redis.rs` asks for them.

use super::*;
use sessiongate::coherence::reading::{Fetch, FreshnessWindows, ReadStep, next};
use sessiongate::coherence::{Observed, RetireCause};

/// When a bypass began of which the store has said nothing.
const UNKNOWN: u64 = u64::MAX;

impl World {
    pub(super) fn reader_goes_on(&self, reader: usize, all: &mut Following) {
        let variant = self.process_of_reader(reader);
        let process = &self.now.processes[variant];
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
                self.then(all, "its connection is gone: read", reader, |world| {
                    world.reads(reader, Reads::Bypasses(UNKNOWN))
                });
            }
            Reads::Asks(steal, era) => self.asks(reader, *steal, *era, all),
            Reads::KnowsEpoch(steal, era, epoch) => self.then(all, "the session is read:", reader, |world| {
                let found = world.acquire(reader, *steal, &mut epoch.clone());
                world.tell(reader, found, *era);
            }),
            Reads::KnowsSession(found, era, guess) => self.then(all, "the epoch is read:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[variant].epoch = epoch.clone();
                match epoch {
                    _ if matches!(found, Acquired::Bypass | Acquired::Deleted) => {
                        world.tell(reader, found.clone(), *era)
                    }
                    Some(epoch) if epoch == *guess => world.tell(reader, found.clone(), *era),
                    Some(_) => world.reads(reader, Reads::Asks(None, *era)),
                    None => world.tell(reader, Acquired::Bypass, *era),
                }
            }),
            Reads::Told(found, connection_id, began) => self.is_told(reader, found, *connection_id, *began, all),
            Reads::Bypasses(_) if !self.is_ordered() => {
                self.then(all, "the provider responds, bypassing the cache: read", reader, |world| {
                    world.response(reader, world.version_for(reader), false);
                });
            }
            Reads::Bypasses(began) => self.then(all, "the provider reads past the cache for read", reader, |world| {
                world.reads(reader, Reads::Bypassed(*began, world.version_for(reader)));
            }),
            Reads::Bypassed(began, version) => {
                self.then(all, "it gets a response that bypasses the cache: read", reader, |world| {
                    world.observe(reader, *began, *version);
                    world.response(reader, *version, false);
                })
            }
            // Until it is handed over.
            Reads::Waits(..) => {}
        }
    }

    fn read_begins(&mut self, reader: usize) {
        let era = self.now.processes[self.process_of_reader(reader)].era;
        let of_others = self.is_of_others(reader);
        let (acknowledged, seen) = if of_others { (0, 0) } else { (self.now.acknowledged, self.now.seen) };
        let does = era.map_or(Reads::Bypasses(UNKNOWN), |era| Reads::Asks(None, era));
        self.now.readers[reader] = Reader { does, acknowledged, seen };
    }

    fn asks(&self, reader: usize, steal: Option<Token>, era: u8, all: &mut Following) {
        let variant = self.process_of_reader(reader);
        if self.setting.wide {
            self.then(all, "the epoch is read first:", reader, |world| {
                let epoch = world.open_epoch();
                world.now.processes[variant].epoch = epoch.clone();
                match epoch {
                    Some(epoch) => world.reads(reader, Reads::KnowsEpoch(steal, era, epoch)),
                    None => world.tell(reader, Acquired::Bypass, era),
                }
            });
            if let Some(guess) = &self.now.processes[variant].epoch {
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
            self.then(all, "the store responds to read", reader, told);
            if self.now.left.repeats > 0 {
                self.then(all, "the store responds, and is asked again later by read", reader, |world| {
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
                world.reads(reader, Reads::Bypasses(UNKNOWN));
            });
            if !self.setting.wide {
                self.then(all, "the store's response is lost: read", reader, |world| {
                    world.now.left.losses -= 1;
                    world.acquire_whole(reader, steal);
                    world.reads(reader, Reads::Bypasses(UNKNOWN));
                });
            }
        }
    }

    /// The store's response is on its way. Those that need nothing but to be passed on are passed on at once: the earlier
    /// a reader answers, the more have to keep to it.
    fn tell(&mut self, reader: usize, found: Acquired<u8>, era: u8) {
        let connection_id = self.connection_id(era);
        if self.setting.tenants {
            let deleted = found == Acquired::Deleted;
            // A session that is gone is gone for its own tenant, and for no other. A write of the upstream deletes
            // nothing.
            let after = self.now.readers[reader].acknowledged > 0 && !self.setting.wide;
            let shown = after && !deleted && found != Acquired::Bypass;
            self.stale |= if self.is_of_others(reader) { deleted } else { shown };
        }
        match next(found.clone(), connection_id, self.now.time, self.windows(reader)) {
            // A reader that polls begins no fetch: counting polls would make the number of states infinite.
            ReadStep::Respond(_) | ReadStep::Wait { .. } if self.setting.slowly => {
                self.reads(reader, Reads::Told(found, connection_id, 0));
            }
            _ if self.setting.slowly => {
                let began = self.begins();
                self.reads(reader, Reads::Told(found, connection_id, began));
            }
            ReadStep::Respond(entry) => self.response(reader, entry.response, true),
            ReadStep::Refresh(entry, fetch) => {
                let began = self.begins();
                self.refresh(reader, entry.response, fetch.stamp, (connection_id, began));
            }
            ReadStep::Bypass | ReadStep::Deleted => {
                let began = if self.is_ordered() { self.begins() } else { UNKNOWN };
                self.reads(reader, Reads::Bypasses(began));
            }
            ReadStep::Fetch(_) => {
                let began = self.begins();
                self.reads(reader, Reads::Told(found, connection_id, began));
            }
            ReadStep::Wait { .. } => self.reads(reader, Reads::Told(found, connection_id, 0)),
        }
    }

    fn is_told(
        &self,
        reader: usize,
        found: &Acquired<u8>,
        connection_id: ConnectionId,
        began: u64,
        all: &mut Following,
    ) {
        let variant = self.process_of_reader(reader);
        match next(found.clone(), connection_id, self.now.time, self.windows(reader)) {
            ReadStep::Respond(entry) => {
                self.then(all, "a hit: read", reader, |world| world.response(reader, entry.response, true));
            }
            ReadStep::Refresh(entry, fetch) => {
                self.then(all, "a hit, and it fetches: read", reader, |world| {
                    world.refresh(reader, entry.response, fetch.stamp, (connection_id, began));
                });
            }
            ReadStep::Fetch(Fetch { stamp, since, fallback, .. }) => {
                let fallback = fallback.map(|entry| entry.response);
                let joint = self.joint(reader, stamp, connection_id);
                match self.joined(variant, reader, joint, since).filter(|_| !self.wants_fresh(reader)) {
                    Some(leader) => {
                        self.then(all, "it joins a fetch: read", reader, |world| {
                            world.reads(reader, Reads::Waits(leader, fallback))
                        });
                    }
                    None => self.then(all, "it fetches: read", reader, |world| {
                        let fetch = Running { joint, stamp, began, leader: reader, brought: None };
                        world.now.processes[variant].fetches.push(fetch);
                        world.reads(reader, Reads::Waits(reader, fallback));
                    }),
                }
            }
            ReadStep::Wait { stamp, reader: other, since } => {
                let joint = self.joint(reader, stamp, connection_id);
                if let Some(leader) = self.joined(variant, reader, joint, since) {
                    self.then(all, "it joins the fetch: read", reader, |world| {
                        world.reads(reader, Reads::Waits(leader, None))
                    });
                } else {
                    let again = |steal| match self.now.processes[variant].era {
                        Some(era) => Reads::Asks(steal, era),
                        None => Reads::Bypasses(UNKNOWN),
                    };
                    self.then(all, "it looks again: read", reader, |world| world.reads(reader, again(None)));
                    self.then(all, "it takes over: read", reader, |world| world.reads(reader, again(Some(other))));
                }
            }
            ReadStep::Bypass | ReadStep::Deleted => {
                self.then(all, "it leaves the cache out: read", reader, |world| {
                    world.reads(reader, Reads::Bypasses(began))
                });
            }
        }
    }

    fn windows(&self, reader: usize) -> FreshnessWindows {
        let window = if self.setting.windows { EVER } else { 0 };
        let revalidate = if self.is_unstored(reader) { 0 } else { window };
        FreshnessWindows { revalidate, error: window, ..FreshnessWindows::default() }
    }

    /// It gets a stale entry, and begins a fetch in the background.
    fn refresh(&mut self, reader: usize, version: u8, stamp: Stamp, (connection_id, began): (ConnectionId, u64)) {
        let (joint, variant) = (self.joint(reader, stamp, connection_id), self.process_of_reader(reader));
        let fetch = Running { joint, stamp, began, leader: reader, brought: None };
        self.now.processes[variant].fetches.push(fetch);
        self.response(reader, version, true);
    }

    /// A response is shown and not stored.
    pub(super) fn observe(&mut self, reader: usize, began: u64, version: u8) {
        let told = self.setting.versioned.then_some(u64::from(version));
        let observed = Observed { began, version: told, digest: u64::from(self.content(version)) };
        let ends = if self.is_gone(version) { RetireCause::Invalidated } else { RetireCause::Superseded(observed) };
        self.retire(reader, ends);
    }

    fn reads(&mut self, reader: usize, does: Reads) {
        self.now.readers[reader].does = does;
    }

    /// Whose fetch a reader may join: the last that is known by this, unless it began too early.
    fn joined(&self, process: usize, reader: usize, joint: FlightKey, since: u64) -> Option<usize> {
        let fetches = &self.now.processes[process].fetches;
        let same = |fetch: &&Running| fetch.joint == joint && self.name_of(fetch.leader) == self.name_of(reader);
        let last = fetches.iter().rev().find(same);
        last.filter(|fetch| fetch.began >= since || self.setting.joined_late).map(|fetch| fetch.leader)
    }

    fn response(&mut self, reader: usize, version: u8, cached: bool) {
        let Reader { acknowledged, seen, .. } = self.now.readers[reader];
        self.stale |= cached && version < acknowledged;
        // Where the provider lags, what it says by itself goes back; what is stored must not.
        let older = version < seen && self.content(version) != self.content(seen);
        self.backwards |= older && (cached || self.setting.lags == 0);
        let own = &mut self.now.readers[reader];
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
            let version = world.version_for(fetch.leader);
            world.now.processes[process].fetches[at].brought = Some(version);
            if world.setting.hasty {
                world.hand_over(process, fetch.leader, version, false);
            }
        });
        if self.now.left.lags > 0 && self.now.version > 0 {
            self.then(all, "the provider lags behind for read", fetch.leader, |world| {
                world.now.left.lags -= 1;
                world.now.processes[process].fetches[at].brought = Some(world.now.version - 1);
            });
        }
        if self.now.left.failures > 0 {
            self.then(all, "the provider fails read", fetch.leader, |world| {
                world.now.left.failures -= 1;
                world.now.processes[process].fetches.remove(at);
                for reader in world.waiting(process, fetch.leader) {
                    match world.now.readers[reader].does {
                        Reads::Waits(_, Some(fallback)) => world.response(reader, fallback, true),
                        _ => world.now.readers[reader] = Reader { does: Reads::Over, acknowledged: 0, seen: 0 },
                    }
                }
                if let Some(era) = world.now.processes[process].era {
                    world.stray(Stray::Release(fetch.leader, era));
                }
            });
        }
    }

    /// Other reads can join the fetch until the store has its response, or can no longer get it.
    fn fetch_is_kept(&self, process: usize, at: usize, fetch: &Running, all: &mut Following) {
        let lands = |world: &mut World, instead: Option<u8>| {
            let shown = instead.or(fetch.brought).unwrap_or_default();
            world.hand_over(process, fetch.leader, shown, instead.is_some());
            world.now.processes[process].fetches.remove(at);
        };
        self.then(all, "the response is stored of read", fetch.leader, |world| {
            let connected = world.now.processes[process].era == Some(world.now.era);
            let instead = if connected { world.keep(fetch) } else { None };
            lands(world, instead);
        });
        let Some(era) = self.now.processes[process].era.filter(|era| *era == self.now.era) else { return };
        if self.now.left.losses > 0 {
            self.then(all, "the response is stored late or never of read", fetch.leader, |world| {
                lands(world, None);
                world.now.left.losses -= 1;
                world.fill_later(fetch, era);
            });
        }
        if self.now.left.repeats > 0 {
            self.then(all, "the response is stored, and again later, of read", fetch.leader, |world| {
                world.now.left.repeats -= 1;
                let instead = world.keep(fetch);
                lands(world, instead);
                world.fill_later(fetch, era);
            });
        }
    }

    fn waiting(&self, process: usize, leader: usize) -> Vec<usize> {
        let waits = |reader: &usize| matches!(self.now.readers[*reader].does, Reads::Waits(one, _) if one == leader);
        let own = |reader: &usize| self.process_of_reader(*reader) == process;
        (0..self.now.readers.len()).filter(own).filter(waits).collect()
    }

    /// Those who joined a fetch have its response, whether they have looked at it or not.
    fn hand_over(&mut self, process: usize, leader: usize, version: u8, stored: bool) {
        for reader in self.waiting(process, leader) {
            self.response(reader, version, stored || leader != reader);
        }
    }
}
