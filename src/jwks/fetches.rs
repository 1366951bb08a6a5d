//! When keys are fetched, and which requests wait for them.
//!
//! A token with an unknown key is not invalid until a fetch that started after the token arrived lacks the key: the
//! issuer may have started to use it just before. Such fetches are rate-limited, so requests wait for them.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The most waiting requests, in total and per source.
const MAX_WAITING: usize = 1024;
const MAX_PER_SOURCE: usize = 64;
/// The longest wait of a request.
const MAX_WAIT: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Fetches {
    /// Notified by requests that need newer keys.
    requested: Notify,
    state: Mutex<FetchState>,
    ended: watch::Sender<FinishedFetch>,
}

#[derive(Default)]
struct FetchState {
    begun: u64,
    /// Start of the last fetch.
    last: Option<Instant>,
    running: bool,
    waiting: usize,
    sources: HashMap<IpAddr, usize>,
}

/// The last finished fetch.
#[derive(Debug, Clone, Copy, Default)]
struct FinishedFetch {
    number: u64,
    succeeded: bool,
}

/// The result of waiting for newer keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewerKeys {
    /// There may be newer keys: check again.
    Retry,
    /// There are no newer keys.
    Current,
    /// Unknown; the next fetch may start after this time.
    Later(Duration),
}

/// A request that waits for newer keys.
pub(super) struct KeyWait<'f> {
    fetches: &'f Fetches,
    source: Option<IpAddr>,
    seen: watch::Receiver<FinishedFetch>,
    /// The last fetch that started before the request arrived.
    begun_before: u64,
    until: Instant,
}

impl Fetches {
    /// A fetch starts.
    pub fn begin(&self) {
        let mut state = self.state.lock();
        state.begun += 1;
        state.last = Some(Instant::now());
        state.running = true;
    }

    /// The fetch has ended, and its keys are in place.
    pub fn end(&self, succeeded: bool) {
        let mut state = self.state.lock();
        state.running = false;
        self.ended.send_replace(FinishedFetch { number: state.begun, succeeded });
    }

    /// Waits until the next fetch is due: after `pause`, or earlier if a request needs newer keys, but at least
    /// `interval` after the last one.
    pub async fn wait_until_due(&self, pause: Duration, interval: Duration) {
        let next = Instant::now() + pause;
        if timeout_at(next, self.requested.notified()).await.is_ok() {
            let allowed = self.state.lock().last.map_or_else(Instant::now, |last| last + interval);
            sleep_until(allowed.min(next)).await;
        }
    }

    /// Registers a request that needs newer keys. Fails with the time to the next fetch if too many wait.
    pub fn wait(&self, source: Option<IpAddr>, interval: Duration) -> Result<KeyWait<'_>, Duration> {
        let seen = self.ended.subscribe();
        let mut state = self.state.lock();
        let crowded = source.is_some_and(|source| state.sources.get(&source).is_some_and(|n| *n >= MAX_PER_SOURCE));
        if crowded || state.waiting >= MAX_WAITING {
            return Err(state.time_to_next(interval));
        }
        if let Some(source) = source {
            *state.sources.entry(source).or_default() += 1;
        }
        state.waiting += 1;
        let begun_before = state.begun;
        Ok(KeyWait { fetches: self, source, seen, begun_before, until: Instant::now() + MAX_WAIT })
    }
}

impl FetchState {
    /// The time until the next fetch may start.
    fn time_to_next(&self, interval: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()))
    }
}

impl KeyWait<'_> {
    /// Whether a fetch that started after the request has succeeded. Call before the keys are checked; the result is
    /// for [`KeyWait::wait_for_newer`].
    pub fn has_newer(&mut self) -> bool {
        let ended = *self.seen.borrow_and_update();
        ended.succeeded && ended.number > self.begun_before
    }

    /// Whether a fetch is running or may start at once.
    pub fn fetch_is_near(&self, interval: Duration) -> bool {
        let state = self.fetches.state.lock();
        state.running || state.time_to_next(interval).is_zero()
    }

    /// Waits for newer keys than those checked after the last [`KeyWait::has_newer`], whose result is `new_enough`.
    pub async fn wait_for_newer(&mut self, new_enough: bool, interval: Duration) -> NewerKeys {
        if new_enough {
            return NewerKeys::Current;
        }
        let time_to_next = {
            let state = self.fetches.state.lock();
            let time_to_next = state.time_to_next(interval);
            if !state.running {
                if Instant::now() + time_to_next > self.until {
                    return NewerKeys::Later(time_to_next);
                }
                self.fetches.requested.notify_one();
            }
            time_to_next
        };
        match timeout_at(self.until, self.seen.changed()).await {
            Ok(Ok(())) => {
                let ended = *self.seen.borrow();
                let failed = !ended.succeeded && ended.number > self.begun_before;
                if failed {
                    NewerKeys::Later(self.fetches.state.lock().time_to_next(interval))
                } else {
                    NewerKeys::Retry
                }
            }
            Ok(Err(_)) | Err(_) => NewerKeys::Later(time_to_next),
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

    /// Fetches of which one has just ended.
    fn fetches() -> Fetches {
        let fetches = Fetches::default();
        fetches.begin();
        fetches.end(true);
        fetches
    }

    #[tokio::test(start_paused = true)]
    async fn key_is_unknown_only_after_a_later_fetch() {
        let fetches = fetches();
        fetches.begin();
        let mut waiting = fetches.wait(ONE, INTERVAL).unwrap();
        assert!(!waiting.has_newer());
        let (wait_for_newer, ()) = tokio::join!(waiting.wait_for_newer(false, INTERVAL), async { fetches.end(true) });
        assert_eq!(wait_for_newer, NewerKeys::Retry, "that one had begun before");
        assert!(!waiting.has_newer());
        let next = async {
            fetches.wait_until_due(INTERVAL * 9, INTERVAL).await;
            fetches.begin();
            fetches.end(true);
        };
        let began = Instant::now();
        assert_eq!(tokio::join!(waiting.wait_for_newer(false, INTERVAL), next).0, NewerKeys::Retry);
        assert_eq!(began.elapsed().as_secs(), INTERVAL.as_secs(), "not sooner than it may begin");
        assert!(waiting.has_newer());
        assert_eq!(waiting.wait_for_newer(true, INTERVAL).await, NewerKeys::Current);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_if_the_next_fetch_is_late_or_fails() {
        let fetches = fetches();
        let hour = Duration::from_secs(3600);
        let mut waiting = fetches.wait(ONE, hour).unwrap();
        waiting.has_newer();
        assert!(
            matches!(waiting.wait_for_newer(false, hour).await, NewerKeys::Later(time_to_next) if time_to_next > hour / 2)
        );
        let failing = async {
            fetches.wait_until_due(INTERVAL * 9, INTERVAL).await;
            fetches.begin();
            fetches.end(false);
        };
        let (wait_for_newer, ()) = tokio::join!(waiting.wait_for_newer(false, INTERVAL), failing);
        assert!(matches!(wait_for_newer, NewerKeys::Later(_)), "{wait_for_newer:?}");
    }

    #[tokio::test]
    async fn waiting_requests_are_limited_in_total_and_per_source() {
        let fetches = fetches();
        let of_one: Vec<KeyWait> = (0..MAX_PER_SOURCE).map(|_| fetches.wait(ONE, INTERVAL).unwrap()).collect();
        assert!(
            fetches
                .wait(ONE, INTERVAL)
                .is_err_and(|time_to_next| time_to_next > Duration::ZERO && time_to_next <= INTERVAL)
        );
        let others: Vec<KeyWait> = (of_one.len()..MAX_WAITING).map(|_| fetches.wait(None, INTERVAL).unwrap()).collect();
        assert!(fetches.wait(None, INTERVAL).is_err());
        drop((of_one, others));
        assert!(fetches.wait(ONE, INTERVAL).is_ok());
        let state = fetches.state.lock();
        assert!(state.sources.is_empty() && state.waiting == 0);
    }
}
