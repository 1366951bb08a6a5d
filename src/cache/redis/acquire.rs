//! A read begins: what is asked, and what is made of the answers.

use super::entry::{Epoch, Keys, read_reply};
use super::scripts::ACQUIRE;
use super::{Known, RedisStore, STATE_KEPT, entry};
use crate::cache::{Acquisition, Ask};
use crate::coherence::reading::Link;
use crate::coherence::{Acquired, Generation, Micros};
use crate::gateway::{CacheKey, Event, Failure};
use redis::Value;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How often a reader asks again because the epoch has changed.
const TRIES: usize = 3;

impl RedisStore {
    pub(super) async fn try_acquire(&self, key: &CacheKey, ask: Ask) -> Result<Acquisition, Failure> {
        let _permits = self.permits.try_acquire_many(2).map_err(|_| Failure::Busy)?;
        let keys = Keys::new(&self.namespace, key);
        let epoch = self.epoch_of(key.upstream);
        let (epoch_key, known) = (epoch.key.as_str(), &epoch.last);
        let token = entry::token(ask.reader);
        let steal = ask.steal.map(entry::token).unwrap_or_default();
        let (kept, lease) = (STATE_KEPT.to_string(), self.lease.load(Ordering::Relaxed).to_string());
        let mode = match ask {
            Ask { fresh: true, .. } => "fresh",
            Ask { unstored: true, .. } => "unstored",
            Ask { .. } => "",
        };
        let (asker, deadline) = (entry::asker(&ask.asker), self.read_by());
        let mut moment = Micros::MAX;
        for _ in 0..TRIES {
            let Some(guess) = self.last_epoch(&epoch, &token, deadline).await? else {
                return self.acquire_marked(&keys, &token, deadline).await;
            };
            let generation = entry::generation(guess);
            let arguments = [token.as_str(), &steal, &generation, &kept, &lease, mode, &asker];
            let names = [keys.state.as_str(), &keys.place];
            let session = self.run(&ACQUIRE, &names, &arguments, deadline);
            let (session, epoch) = tokio::join!(session, self.read_epoch(epoch_key, &token, deadline));
            let ((value, session_link), (epoch, epoch_link)) = (session?, epoch?);
            let link = both(session_link, epoch_link);
            let Value::BulkString(text) = value else { return Err(Failure::Nonsense) };
            let open = |entry: &[u8]| {
                self.listener.read(entry.len());
                self.seal.open(&keys.place, entry, entry::HEAD)
            };
            let reply = read_reply(&text, guess, open).ok_or(Failure::Nonsense)?;
            moment = reply.now;
            let acquired = match epoch {
                // The deletion of a session does not hang on the epoch.
                _ if matches!(reply.acquired, Acquired::Deleted | Acquired::Bypass) => reply.acquired,
                Epoch::Open(now) if now == guess => {
                    if reply.unreadable {
                        self.tally.count(Event::Unreadable);
                    }
                    reply.acquired
                }
                Epoch::Open(now) => {
                    *known.lock() = Some(now);
                    continue;
                }
                Epoch::Marked => Acquired::Bypass,
            };
            if let Acquired::Hit(entry, _) = &acquired
                && entry.fetched_at() < link.fence
            {
                self.tally.count(Event::Fenced);
            }
            return Ok(Acquisition { acquired, link, now: reply.now });
        }
        // Writes of the upstream follow one another faster than a read can ask.
        Ok(Acquisition { acquired: Acquired::Bypass, link: Link::default(), now: moment })
    }

    /// The epoch that was seen last, or what it is now where this is the first read of all; none where it is marked.
    async fn last_epoch(&self, known: &Known, token: &str, deadline: Instant) -> Result<Option<Generation>, Failure> {
        let last = *known.last.lock();
        if last.is_some() {
            return Ok(last);
        }
        let Epoch::Open(now) = self.read_epoch(&known.key, token, deadline).await?.0 else { return Ok(None) };
        *known.last.lock() = Some(now);
        Ok(Some(now))
    }

    /// The same while all that is known of the epoch is that it is marked: nothing is a hit, but what is deleted is.
    async fn acquire_marked(&self, keys: &Keys, token: &str, deadline: Instant) -> Result<Acquisition, Failure> {
        let (none, kept) = (Generation(0), STATE_KEPT.to_string());
        let generation = entry::generation(none);
        let arguments = [token, "", &generation, &kept, "0", "fresh", ""];
        let (value, link) = self.run(&ACQUIRE, &[&keys.state, &keys.place], &arguments, deadline).await?;
        let Value::BulkString(text) = value else { return Err(Failure::Nonsense) };
        let reply = read_reply(&text, none, |_| None).ok_or(Failure::Nonsense)?;
        let deleted = matches!(reply.acquired, Acquired::Deleted);
        let acquired = if deleted { Acquired::Deleted } else { Acquired::Bypass };
        Ok(Acquisition { acquired, link, now: reply.now })
    }
}

/// What was found over two links holds as long as both do.
fn both(one: Link, other: Link) -> Link {
    let number = one.number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ other.number;
    Link { number, fence: one.fence.max(other.fence) }
}
