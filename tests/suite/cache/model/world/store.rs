//! The store: the shipped rules, carried out on its state, and what befalls it.

use super::*;
use sessiongate::coherence::{
    AcquireInput, DEFAULT_TENANT, RetireCause, Retired, Settled, TenantId, WriteEnd, WriteScope, acquire, begin, end,
    fill, release, retire,
};

impl World {
    /// The store mints; or, where that part of the protocol is left out, the client does, and says so in its step.
    fn mint<'w>(minted: &'w mut u128, by_client: Option<u128>) -> impl FnMut() -> Generation + 'w {
        move || match by_client {
            Some(own) => Generation(10 * GENERATIONS + own),
            None => {
                *minted += 1;
                assert!(*minted < GENERATIONS);
                Generation(*minted)
            }
        }
    }

    fn reading(&self, reader: Token) -> AcquireInput {
        let (caller, lease, now) = ([1; 16], EVER, self.now.time);
        AcquireInput { reader, steal: None, fresh: false, no_store: false, caller, tenant: DEFAULT_TENANT, lease, now }
    }

    /// The tenant that a reader asks.
    fn tenant_of(&self, reader: usize) -> TenantId {
        if self.is_of_others(reader) && !self.setting.deleted_for_all { [7; 16] } else { DEFAULT_TENANT }
    }

    pub(super) fn acquire(&mut self, reader: usize, steal: Option<Token>, epoch: &mut CoherenceState) -> Acquired<u8> {
        let by_client = self.setting.minted_by_clients.then_some(reader as u128);
        let token = Token(READERS + reader as u128);
        let fresh = self.wants_fresh(reader);
        let (tenant, no_store) = (self.tenant_of(reader), self.is_unstored(reader));
        let reading = AcquireInput { steal, fresh, no_store, tenant, ..self.reading(token) };
        let name = self.name_of(reader);
        let is_apart = self.setting.marked_apart && name == 1;
        let Store { session, apart, variants, .. } = &mut self.now.store;
        let session = if is_apart { apart } else { session };
        acquire(session, epoch, &mut variants[name], reading, World::mint(&mut self.minted, by_client))
    }

    /// The whole question at once, where no write of the upstream can come between its parts.
    pub(super) fn acquire_whole(&mut self, reader: usize, steal: Option<Token>) -> Acquired<u8> {
        let mut epoch = self.now.store.epoch.clone();
        let found = self.acquire(reader, steal, &mut epoch);
        self.now.store.epoch = epoch;
        found
    }

    /// The epoch as it is, with a generation; none where it is marked.
    pub(super) fn open_epoch(&mut self) -> Option<CoherenceState> {
        let reading = AcquireInput { fresh: true, ..self.reading(Token(READERS)) };
        let epoch = &mut self.now.store.epoch;
        let mint = World::mint(&mut self.minted, None);
        // The other state is of no session, and forgotten at once.
        let found = acquire::<u8>(&mut CoherenceState::default(), epoch, &mut VariantState::default(), reading, mint);
        matches!(found, Acquired::Lead { .. }).then(|| epoch.clone())
    }

    pub(super) fn begin(&mut self, writer: usize, token: Token) {
        if self.setting.deleting {
            self.now.store.variants = Default::default();
            return;
        }
        let wide = self.is_wide(writer);
        let time = self.now.time;
        let Store { session, epoch, .. } = &mut self.now.store;
        let reach = if writer < self.setting.sharing { WriteScope::Unverified } else { WriteScope::Session };
        let (state, reach) = if wide { (epoch, WriteScope::Upstream) } else { (session, reach) };
        if self.setting.overwriting {
            *state = CoherenceState::default();
        }
        begin(state, token, GUARD, time, reach).unwrap();
    }

    pub(super) fn end(&mut self, writer: usize, token: Token, unchanged: bool) {
        if self.setting.deleting {
            self.now.store.variants = Default::default();
            return;
        }
        let wide = self.is_wide(writer);
        let by_client = self.setting.minted_by_clients.then_some(50 + writer as u128);
        let time = self.now.time;
        let Store { session, epoch, .. } = &mut self.now.store;
        let state = if wide { epoch } else { session };
        let deleted_for = (self.setting.tenants && !unchanged && !wide).then_some(EVER);
        let settled = Settled { unchanged, deleted_for, ..Settled::default() };
        let before = state.clone();
        let ended = end(state, token, settled, time, World::mint(&mut self.minted, by_client));
        if self.setting.own_ends && ended == WriteEnd::MarkLost {
            *state = before;
        }
    }

    fn entry(&self, fetch: &Running) -> Entry<u8> {
        let response = fetch.brought.unwrap_or_default();
        let over = if self.setting.short { self.now.time + GUARD } else { EVER };
        Entry {
            stamp: fetch.stamp,
            began: fetch.began,
            fresh_until: if self.setting.windows { self.now.time } else { over },
            stale_until: over,
            version: self.setting.versioned.then_some(u64::from(response)),
            only: None,
            missing: false,
            digest: u64::from(self.content(response)),
            response,
        }
    }

    /// The time in microseconds. Only the order of fetches is told by it, and where nobody asks for that it stands
    /// still in an era.
    pub(super) fn clock(&self) -> u64 {
        let passed = if self.setting.short { self.now.time } else { 0 };
        (u64::from(self.now.era) + passed) * BEGUN + self.now.begun
    }

    /// When a fetch begins that is acquired now.
    pub(super) fn begins(&mut self) -> u64 {
        let now = self.clock();
        self.now.begun += u64::from(self.is_ordered());
        now
    }

    /// What the store makes of a response. Gives what is shown instead.
    pub(super) fn keep(&mut self, fetch: &Running) -> Option<u8> {
        match fetch.brought {
            Some(version) if self.is_gone(version) || self.is_unstored(fetch.leader) => {
                self.observe(fetch.leader, fetch.began, version);
                None
            }
            _ => self.store_entry(fetch.leader, self.entry(fetch)).filter(|_| !self.setting.shown_apart),
        }
    }

    /// A response that is not stored speaks against what is.
    pub(super) fn retire(&mut self, reader: usize, cause: RetireCause) {
        let now = self.clock();
        let name = self.name_of(reader);
        let (variant, token) = (&mut self.now.store.variants[name], Token(READERS + reader as u128));
        let left_out = match cause {
            RetireCause::Invalidated | RetireCause::Denied(_) => self.setting.unended,
            RetireCause::Superseded(_) => self.setting.unsuperseded,
        };
        if left_out {
            return release(variant, token);
        }
        if let Some(newest) = variant.newest.as_mut().filter(|_| self.setting.unlanded) {
            newest.at = 0;
        }
        let before = variant.newest;
        retire(variant, token, Retired { kept: KEPT, cause }, now);
        if let (Some(newest), Some(before), true) = (variant.newest.as_mut(), before, self.setting.unrenewed)
            && newest.digest == before.digest
        {
            *newest = before;
        }
    }

    /// A server compares neither epochs nor, where that part of the protocol is left out, which of two responses is
    /// newer.
    fn store_entry(&mut self, reader: usize, entry: Entry<u8>) -> Option<u8> {
        let time = self.clock();
        let kept = if self.setting.forgotten { 0 } else { KEPT };
        let name = self.name_of(reader);
        let is_apart = self.setting.marked_apart && name == 1;
        let Store { session, apart, epoch, variants } = &mut self.now.store;
        let (session, variant) = (if is_apart { apart } else { session }, &mut variants[name]);
        let token = Token(READERS + reader as u128);
        let own = matches!(variant.lease, Some(lease) if lease.reader == token);
        if self.setting.filled_by_lease && !own {
            return None;
        }
        if let Some(newest) = variant.newest.as_mut().filter(|_| self.setting.unlanded) {
            newest.at = 0;
        }
        let instead = if self.setting.unordered {
            *variant = VariantState { entry: Some(entry), ..VariantState::default() };
            None
        } else if self.setting.comparing {
            fill(session, epoch, variant, token, entry, kept, time)
        } else {
            variant.store(token, entry, kept, time)
        };
        instead.map(|entry| entry.response)
    }

    pub(super) fn fill_later(&mut self, fetch: &Running, era: u8) {
        if self.is_unstored(fetch.leader) {
            return self.stray(Stray::Release(fetch.leader, era));
        }
        self.now.entries[fetch.leader] = Some(self.entry(fetch));
        self.stray(Stray::Fill(fetch.leader, era));
    }

    pub(super) fn stray_arrives(&self, stray: usize, all: &mut Following) {
        let (what, whose) = match self.now.strays[stray] {
            Stray::Acquire(reader, _) => ("a late question arrives of read", reader),
            Stray::Begin(writer, ..) => ("a late mark arrives of write", writer),
            Stray::End(writer, ..) => ("a late end arrives of write", writer),
            Stray::Fill(reader, _) => ("a late response is stored of read", reader),
            Stray::Release(reader, _) => ("a lease ends of read", reader),
        };
        if self.now.strays[stray].era() != self.now.era {
            return;
        }
        self.then(all, what, whose, |world| match world.now.strays.remove(stray) {
            Stray::Acquire(reader, _) => drop(world.acquire_whole(reader, None)),
            Stray::Begin(writer, token, _) => world.begin(writer, Token(token)),
            Stray::End(writer, token, unchanged, _) => world.end(writer, Token(token), unchanged),
            Stray::Fill(reader, _) => {
                if let Some(entry) = world.now.entries[reader].take() {
                    world.store_entry(reader, entry);
                }
            }
            Stray::Release(reader, _) => {
                let name = world.name_of(reader);
                release(&mut world.now.store.variants[name], Token(READERS + reader as u128));
            }
        });
    }

    /// What befalls the store.
    pub(super) fn fate(&self, all: &mut Following) {
        if self.now.left.evictions > 0 {
            self.then(all, "the session's state is evicted", 0, |world| {
                world.now.left.evictions -= 1;
                world.now.store.session = CoherenceState::default();
            });
            if self.setting.wide {
                self.then(all, "the epoch is evicted", 0, |world| {
                    world.now.left.evictions -= 1;
                    world.now.store.epoch = CoherenceState::default();
                });
            }
        }
        // A mark outlasts all writes for which the store has confirmed it.
        let busy = |writer: usize| {
            let relies = self.now.shares[writer].is_none_or(|(_, unconfirmed)| !unconfirmed);
            relies && !matches!(self.now.writers[writer], Writes::Idle | Writes::Over)
        };
        if self.now.left.expiries > 0 && (self.setting.early_expiry || !(0..self.now.writers.len()).any(busy)) {
            self.then(all, "marks run out", 0, |world| {
                world.now.left.expiries -= 1;
                world.now.time += GUARD;
            });
        }
        if self.now.left.outside > 0 {
            self.then(all, "the session changes without the gateway", 0, |world| {
                world.now.left.outside -= 1;
                world.now.version += 1;
            });
        }
        if self.now.left.setbacks > 0 && self.now.copy.is_none() {
            self.then(all, "the store is copied", 0, |world| world.now.copy = Some(Box::new(world.now.store.clone())));
        }
        if let Some(copy) = self.now.copy.as_ref().filter(|_| self.now.left.setbacks > 0) {
            self.then(all, "the store is set back", 0, |world| world.set_back(copy));
        }
    }

    /// Another server takes over with an older copy. Steps that were under way are lost with their connections, but for
    /// the ends of writes: processes that live try them again over the next.
    fn set_back(&mut self, copy: &Store) {
        self.now.left.setbacks -= 1;
        let before = std::mem::replace(&mut self.now.store, copy.clone());
        self.now.copy = None;
        self.now.era += 1;
        if self.setting.split {
            self.now.aside = Some(Box::new((before, self.now.era - 1)));
            return;
        }
        let alive: Vec<bool> = (0..self.now.writers.len())
            .map(|writer| self.now.processes[self.process_of_writer(writer)].alive)
            .collect();
        let Now { strays, era: now, .. } = &mut self.now;
        strays.retain_mut(|stray| match stray {
            Stray::End(writer, _, _, era) => {
                *era = *now;
                alive[*writer]
            }
            Stray::Acquire(..) | Stray::Begin(..) | Stray::Fill(..) | Stray::Release(..) => false,
        });
        self.now.entries.fill(None);
        self.now.processes.iter_mut().for_each(|process| process.era = None);
    }
}
