//! When keys are fetched, and who waits for it.
//!
//! A token whose key is not known says nothing of its caller until a fetch that began after the token came has ended
//! without the key: the issuer may have begun to use it just before. How often keys are fetched for such tokens is
//! bounded; so they wait.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many requests may wait at once, and how many of them from one source.
const MOST_WAITING: usize = 1024;
const MOST_OF_A_SOURCE: usize = 64;
/// How long a request waits at the most.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The fetches of an issuer's keys.
#[derive(Default)]
pub(super) struct Fetches {
    /// Woken by requests that need newer keys.
    wanted: Notify,
    state: Mutex<FetchState>,
    ended: watch::Sender<FinishedFetch>,
}

#[derive(Default)]
struct FetchState {
    begun: u64,
    /// When the last one began.
    last: Option<Instant>,
    running: bool,
    waiting: usize,
    sources: HashMap<IpAddr, usize>,
}

/// The last fetch that has ended.
#[derive(Debug, Clone, Copy, Default)]
struct FinishedFetch {
    number: u64,
    good: bool,
}

/// What a request finds that needs newer keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewerKeys {
    /// There may be some: it has to look again.
    Look,
    /// The keys that it has seen are those that there are.
    Same,
    /// It is not known, and may be after this time.
    Later(Duration),
}

/// A request that needs newer keys.
pub(super) struct KeyWait<'f> {
    fetches: &'f Fetches,
    source: Option<IpAddr>,
    seen: watch::Receiver<FinishedFetch>,
    /// The fetches up to this one began before the request came.
    before: u64,
    until: Instant,
}

impl Fetches {
    /// One begins.
    pub fn begin(&self) {
        let mut state = self.state.lock();
        state.begun += 1;
        state.last = Some(Instant::now());
        state.running = true;
    }

    /// The last one that has begun has ended; what it brought is in place.
    pub fn end(&self, good: bool) {
        let mut state = self.state.lock();
        state.running = false;
        self.ended.send_replace(FinishedFetch { number: state.begun, good });
    }

    /// Waits until the next one is to begin: after `pause`, or sooner where a request needs newer keys, but not within
    /// `interval`.
    pub async fn due(&self, pause: Duration, interval: Duration) {
        let next = Instant::now() + pause;
        if timeout_at(next, self.wanted.notified()).await.is_ok() {
            let allowed = self.state.lock().last.map_or_else(Instant::now, |last| last + interval);
            sleep_until(allowed.min(next)).await;
        }
    }

    /// A request comes that needs newer keys; or why it cannot wait for them.
    pub fn wait(&self, source: Option<IpAddr>, interval: Duration) -> Result<KeyWait<'_>, Duration> {
        let seen = self.ended.subscribe();
        let mut state = self.state.lock();
        let crowded = source.is_some_and(|source| state.sources.get(&source).is_some_and(|n| *n >= MOST_OF_A_SOURCE));
        if crowded || state.waiting >= MOST_WAITING {
            return Err(state.rest(interval));
        }
        if let Some(source) = source {
            *state.sources.entry(source).or_default() += 1;
        }
        state.waiting += 1;
        let before = state.begun;
        Ok(KeyWait { fetches: self, source, seen, before, until: Instant::now() + LONGEST_WAIT })
    }
}

impl FetchState {
    /// How long until the next fetch may begin.
    fn rest(&self, interval: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()))
    }
}

impl KeyWait<'_> {
    /// What is known of fetches before the keys are looked at: for [`KeyWait::newer`].
    pub fn mark(&mut self) -> bool {
        let ended = *self.seen.borrow_and_update();
        ended.good && ended.number > self.before
    }

    /// Whether a fetch is under way, or may begin at once.
    pub fn is_near(&self, interval: Duration) -> bool {
        let state = self.fetches.state.lock();
        state.running || state.rest(interval).is_zero()
    }

    /// Waits for newer keys than those that were looked at after the last [`KeyWait::mark`], which has said whether
    /// those are new enough.
    pub async fn newer(&mut self, new_enough: bool, interval: Duration) -> NewerKeys {
        if new_enough {
            return NewerKeys::Same;
        }
        let rest = {
            let state = self.fetches.state.lock();
            let rest = state.rest(interval);
            if !state.running {
                if Instant::now() + rest > self.until {
                    return NewerKeys::Later(rest);
                }
                self.fetches.wanted.notify_one();
            }
            rest
        };
        match timeout_at(self.until, self.seen.changed()).await {
            Ok(Ok(())) => {
                let ended = *self.seen.borrow();
                let failed = !ended.good && ended.number > self.before;
                if failed { NewerKeys::Later(self.fetches.state.lock().rest(interval)) } else { NewerKeys::Look }
            }
            Ok(Err(_)) | Err(_) => NewerKeys::Later(rest),
        }
    }
}

impl Drop for KeyWait<'_> {
    fn drop(&mut self) {
        let mut state = self.fetches.state.lock();
        state.waiting -= 1;
        if let Some(source) = self.source
            && let Some(count) = state.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                state.sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// Fetches of which one has ended just now.
    fn fetches() -> Fetches {
        let fetches = Fetches::default();
        fetches.begin();
        fetches.end(true);
        fetches
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unknown_is_so_only_after_a_fetch_that_began_later() {
        let fetches = fetches();
        fetches.begin();
        let mut waiting = fetches.wait(ONE, INTERVAL).unwrap();
        assert!(!waiting.mark());
        let (newer, ()) = tokio::join!(waiting.newer(false, INTERVAL), async { fetches.end(true) });
        assert_eq!(newer, NewerKeys::Look, "that one had begun before");
        assert!(!waiting.mark());
        let next = async {
            fetches.due(INTERVAL * 9, INTERVAL).await;
            fetches.begin();
            fetches.end(true);
        };
        let began = Instant::now();
        assert_eq!(tokio::join!(waiting.newer(false, INTERVAL), next).0, NewerKeys::Look);
        assert_eq!(began.elapsed().as_secs(), INTERVAL.as_secs(), "not sooner than it may begin");
        assert!(waiting.mark());
        assert_eq!(waiting.newer(true, INTERVAL).await, NewerKeys::Same);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_fetch_that_is_too_far_away_or_fails() {
        let fetches = fetches();
        let hour = Duration::from_secs(3600);
        let mut waiting = fetches.wait(ONE, hour).unwrap();
        waiting.mark();
        assert!(matches!(waiting.newer(false, hour).await, NewerKeys::Later(rest) if rest > hour / 2));
        let failing = async {
            fetches.due(INTERVAL * 9, INTERVAL).await;
            fetches.begin();
            fetches.end(false);
        };
        let (newer, ()) = tokio::join!(waiting.newer(false, INTERVAL), failing);
        assert!(matches!(newer, NewerKeys::Later(_)), "{newer:?}");
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more_and_fewer_of_one_source() {
        let fetches = fetches();
        let of_one: Vec<KeyWait> = (0..MOST_OF_A_SOURCE).map(|_| fetches.wait(ONE, INTERVAL).unwrap()).collect();
        assert!(fetches.wait(ONE, INTERVAL).is_err_and(|rest| rest > Duration::ZERO && rest <= INTERVAL));
        let others: Vec<KeyWait> =
            (of_one.len()..MOST_WAITING).map(|_| fetches.wait(None, INTERVAL).unwrap()).collect();
        assert!(fetches.wait(None, INTERVAL).is_err());
        drop((of_one, others));
        assert!(fetches.wait(ONE, INTERVAL).is_ok());
        let state = fetches.state.lock();
        assert!(state.sources.is_empty() && state.waiting == 0);
    }
}
