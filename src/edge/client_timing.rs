//! What a connection of HTTP/1, or a stream of HTTP/2, is doing: what says how long its client may be waited for.

use super::flood_guard::FloodGuard;
use super::memory_share::MemoryShare;
use super::uploads::Uploads;
use crate::config::Clients;
use crate::metrics::Metrics;
use crate::telemetry::DisconnectReason;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// For how long a body may come as slowly as it likes, waits added up.
const SLOW_START: Duration = Duration::from_secs(10);

/// How long clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientTimeouts {
    /// See [`Clients::head_timeout`].
    pub head: Duration,
    /// See [`Clients::idle_timeout`].
    pub idle: Duration,
    /// See [`Clients::write_timeout`].
    pub write: Duration,
    /// See [`Clients::min_body_rate`].
    pub body_rate: usize,
}

impl ClientTimeouts {
    pub fn new(clients: &Clients) -> ClientTimeouts {
        ClientTimeouts {
            head: clients.head_timeout,
            idle: clients.idle_timeout,
            write: clients.write_timeout,
            body_rate: clients.min_body_rate,
        }
    }
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of it is here yet.
    UnreadBytes,
    /// Its head is coming.
    Head,
    /// Its body is coming.
    Body,
    /// All of it is here, or nobody wants the rest.
    Busy,
}

/// Where a request came in.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The name of the listener.
    pub listener: Arc<str>,
    /// Whether its client speaks TLS.
    pub tls: bool,
    /// Whether its client has come over a socket in the file system, which it may take for the host.
    pub over_socket: bool,
    /// How many requests of HTTP/2 the connection has had, and how many of their heads were rejected.
    pub requests: Arc<AtomicU32>,
    pub rejected: Arc<AtomicU32>,
    /// Where streams are counted that are reset before they become requests.
    pub metrics: Arc<Metrics>,
    /// What its connection holds.
    pub share: Arc<MemoryShare>,
    /// The bodies that are coming on it: of HTTP/2.
    pub(super) uploads: Arc<Uploads>,
}

impl Arrival {
    /// The frames of a connection of HTTP/2 whose heads may have so many fields.
    pub(super) fn frames(&self, fields: usize) -> FloodGuard {
        let counts = (self.requests.clone(), self.rejected.clone());
        FloodGuard::new(Instant::now(), fields, counts, self.uploads.clone())
    }
}

/// What a connection of HTTP/1, or a stream of HTTP/2, is doing. Shared by the connection and the request that is on
/// it.
#[derive(Debug)]
pub(crate) struct ClientTiming {
    pub arrival: Arrival,
    pub timeouts: ClientTimeouts,
    state: Mutex<State>,
    /// The request is watched from now on, or for another time.
    watched: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when it is waited for what the phase says. The first request is waited for since the connection was
    /// opened.
    since: Instant,
    /// Whether a request was answered before.
    kept: bool,
    body: u64,
    /// How long the body was waited for, without the wait that lasts.
    waited: Duration,
    /// Since when the client is waited for, where it is.
    waiting: Option<Instant>,
    cut: Option<DisconnectReason>,
    /// What the provider of a pass-through request is waited for, where that ends here.
    due: Option<Due>,
    /// How long it was waited for in vain.
    late: Option<Duration>,
    /// When the request is given up, unless something of it moves: how long that may take, and until when.
    stuck: Option<(Duration, Instant)>,
}

/// A wait for the provider.
#[derive(Debug, Clone, Copy)]
struct Due {
    within: Duration,
    /// Since when it is waited for: not while something is written that came before.
    since: Option<Instant>,
}

impl ClientTiming {
    /// A connection that was opened just now.
    pub fn new(arrival: Arrival, timeouts: ClientTimeouts) -> ClientTiming {
        let state = State {
            phase: Phase::UnreadBytes,
            since: Instant::now(),
            kept: false,
            body: 0,
            waited: Duration::ZERO,
            waiting: None,
            cut: None,
            due: None,
            late: None,
            stuck: None,
        };
        ClientTiming { arrival, timeouts, state: Mutex::new(state), watched: Notify::new() }
    }

    /// Bytes came from the client.
    pub fn received(&self, bytes: usize) {
        let mut state = self.state.lock();
        if let Some(since) = state.waiting.take()
            && state.phase == Phase::Body
        {
            state.waited += since.elapsed();
        }
        match state.phase {
            Phase::UnreadBytes => {
                state.phase = Phase::Head;
                // The first request has to be here in time from the connection on.
                if state.kept {
                    state.since = Instant::now();
                }
            }
            Phase::Body => state.body += bytes as u64,
            Phase::Head | Phase::Busy => {}
        }
    }

    /// Until when the client may be waited for, from now on, and what it is cut off for then; none where it may take as
    /// long as it likes.
    pub fn deadline(&self) -> Option<(Instant, DisconnectReason)> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::UnreadBytes if state.kept => Some((state.since + self.timeouts.idle, DisconnectReason::IdleTimeout)),
            Phase::UnreadBytes | Phase::Head => Some((state.since + self.timeouts.head, DisconnectReason::HeadTimeout)),
            Phase::Body => {
                let since = *state.waiting.get_or_insert_with(Instant::now);
                let stalled = since + self.timeouts.idle;
                let Some(seconds) = state.body.checked_div(self.timeouts.body_rate as u64) else {
                    return Some((stalled, DisconnectReason::MinBodyRate));
                };
                let allowed = SLOW_START.max(Duration::from_secs(seconds));
                Some((stalled.min(since + allowed.saturating_sub(state.waited)), DisconnectReason::MinBodyRate))
            }
            Phase::Busy => None,
        }
    }

    /// Whether a head is coming of which nothing has been answered, and so can be: the gateway writes nothing else
    /// meanwhile.
    pub fn is_in_head(&self) -> bool {
        self.state.lock().phase == Phase::Head
    }

    /// Something of the provider's is due, so long after the gateway has begun to wait for it.
    pub fn response_is_due(&self, within: Duration) {
        self.state.lock().due = Some(Due { within, since: None });
    }

    /// Something of the response has come. Where it was waited for here, the next part is due within `next`, if that is
    /// set.
    pub fn response_came(&self, next: Option<Duration>) {
        let mut state = self.state.lock();
        state.due = state.due.and(next).map(|within| Due { within, since: None });
    }

    /// When what is waited for is due: it is waited for from now on at the latest.
    pub fn response_due(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let due = state.due.as_mut()?;
        Some(*due.since.get_or_insert_with(Instant::now) + due.within)
    }

    /// It did not come in time: nobody waits for it any more.
    pub fn response_is_late(&self) {
        let mut state = self.state.lock();
        state.late = state.due.take().map(|due| due.within);
    }

    /// For how long it was waited for, where it did not come in time.
    pub fn was_late(&self) -> Option<Duration> {
        self.state.lock().late
    }

    /// A part of the request or of its response is on its way: the next one is waited for from its end on.
    pub fn moves(&self) {
        let mut state = self.state.lock();
        if let Some(due) = &mut state.due {
            due.since = None;
        }
        if let Some((limit, until)) = &mut state.stuck {
            *until = Instant::now() + *limit;
        }
    }

    /// From now on the request is given up where nothing of it moves for so long.
    pub fn gives_up_after(&self, limit: Duration) {
        self.state.lock().stuck = Some((limit, Instant::now() + limit));
        self.watched.notify_one();
    }

    /// Ends where nothing of a request moves any more. Needs a timer only while a request is watched, and ends with who
    /// waits: most requests are over long before.
    pub async fn stands_still(&self) {
        loop {
            let until = self.state.lock().stuck.map(|(_, until)| until);
            match until {
                Some(until) if until <= Instant::now() => return,
                // The time may change meanwhile.
                Some(until) => drop(tokio::time::timeout_at(until.into(), self.watched.notified()).await),
                None => self.watched.notified().await,
            }
        }
    }

    /// Whether nothing of the request moves any more.
    pub fn is_stuck(&self) -> bool {
        self.state.lock().stuck.is_some_and(|(_, until)| until <= Instant::now())
    }

    /// Neither the provider nor the request as a whole is timed from now on.
    pub fn is_not_timed(&self) {
        let mut state = self.state.lock();
        (state.due, state.stuck) = (None, None);
    }

    /// Whether all was read that has come of a body of HTTP/2 whose end has not. The connection times those of HTTP/1.
    pub fn client_is_silent(&self) -> bool {
        let read = self.state.lock().body;
        self.arrival.uploads.are_read(read)
    }

    /// Why the client was cut off, where it was.
    pub fn cut(&self) -> Option<DisconnectReason> {
        self.state.lock().cut
    }

    /// The client is cut off.
    pub fn note_cut(&self, cut: DisconnectReason) {
        self.state.lock().cut.get_or_insert(cut);
    }

    /// The head of a request is whole.
    pub fn head_is_here(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Busy;
        state.kept = true;
        (state.due, state.late, state.stuck) = (None, None, None);
    }

    /// The head of a request was rejected, before anything of it counted.
    pub fn head_is_rejected(&self) {
        self.arrival.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream of HTTP/2 was reset, with this code, before it became a request.
    pub fn stream_was_rejected(&self, stream: u32, code: u32) {
        let Arrival { listener, metrics, .. } = &self.arrival;
        metrics.cut(DisconnectReason::RejectedStream);
        tracing::debug!(listener = &**listener, stream, code, "a stream was reset before it became a request");
    }

    /// A request of HTTP/2 was answered, or its stream reset, by Pingora itself.
    pub fn request_was_rejected(&self) {
        let Arrival { listener, metrics, requests, .. } = &self.arrival;
        // So that its reset is not counted as that of a stream that became no request.
        requests.fetch_add(1, Ordering::Relaxed);
        metrics.cut(DisconnectReason::RejectedStream);
        tracing::debug!(listener = &**listener, "a request was rejected before it was served");
    }

    /// A body follows the head.
    pub fn expect_body(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Body;
        state.body = 0;
        state.waited = Duration::ZERO;
        state.waiting = None;
    }

    /// The body is whole, or nobody wants the rest.
    pub fn body_is_here(&self) {
        self.state.lock().phase = Phase::Busy;
    }

    /// A request is over.
    pub fn request_is_over(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::UnreadBytes;
        state.since = Instant::now();
        (state.due, state.stuck) = (None, None);
    }

    /// So much of the body of a stream of HTTP/2 has been read, all in all.
    pub fn has_read(&self, bytes: u64) {
        self.state.lock().body = bytes;
    }

    /// Whether the body of a stream of HTTP/2 comes too slowly.
    pub fn is_slow(&self) -> bool {
        let (phase, read) = {
            let state = self.state.lock();
            (state.phase, state.body)
        };
        phase == Phase::Body && self.arrival.uploads.are_slow(read, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_share::MemoryShares;
    use super::*;
    use crate::memory::Memory;
    use tokio::runtime::{Builder, Runtime};

    const PATIENCE: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn timing() -> Arc<ClientTiming> {
        let metrics = Arc::new(Metrics::new().unwrap());
        let arrival = Arrival {
            listener: "main".into(),
            tls: false,
            over_socket: false,
            requests: Arc::default(),
            rejected: Arc::default(),
            metrics,
            share: MemoryShares::new(Memory::new(None, 0)).open(false),
            uploads: Arc::default(),
        };
        Arc::new(ClientTiming::new(arrival, ClientTimeouts { head: LONG, idle: LONG, write: LONG, body_rate: 0 }))
    }

    #[test]
    fn a_request_that_is_over_leaves_nothing_behind() {
        runtime().block_on(async {
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let (base, kept) = (tasks(), timing());
            for _ in 0..1000 {
                // A stream of HTTP/2, and one more request of a connection that is kept.
                timing().gives_up_after(LONG);
                kept.head_is_here();
                kept.gives_up_after(LONG);
                kept.request_is_over();
            }
            tokio::task::yield_now().await;
            assert_eq!((tasks(), Arc::weak_count(&kept)), (base, 0));
        });
    }

    #[test]
    fn a_request_is_given_up_however_often_it_was_watched_before() {
        runtime().block_on(async {
            let timing = timing();
            for _ in 0..3 {
                timing.gives_up_after(Duration::from_millis(1));
                tokio::time::timeout(PATIENCE, timing.stands_still()).await.unwrap();
            }
            // It is watched while it is waited for already.
            timing.head_is_here();
            let watch = async {
                tokio::task::yield_now().await;
                timing.gives_up_after(Duration::from_millis(1));
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = timing.stands_still() => {}
                () = watch => {}
                () = tokio::time::sleep(PATIENCE) => panic!("it is not given up"),
            }
        });
    }

    #[test]
    fn another_try_is_not_held_to_the_deadlines_of_the_one_before() {
        runtime().block_on(async {
            let timing = timing();
            timing.gives_up_after(Duration::ZERO);
            timing.response_is_due(Duration::ZERO);
            timing.is_not_timed();
            timing.moves();
            assert_eq!((is_given_up(&timing).await, timing.response_due()), (false, None));
        });
    }

    /// Whether it is given up, where it is looked at once.
    async fn is_given_up(timing: &ClientTiming) -> bool {
        tokio::select! {
            biased;
            () = timing.stands_still() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn a_request_that_moves_is_not_given_up() {
        runtime().block_on(async {
            let timing = timing();
            timing.gives_up_after(LONG);
            assert!(!is_given_up(&timing).await);
            timing.gives_up_after(Duration::ZERO);
            assert!(is_given_up(&timing).await);
            timing.head_is_here();
            assert!(!is_given_up(&timing).await, "it is another");
        });
    }

    #[test]
    fn a_request_that_is_not_timed_needs_no_timer() {
        // A runtime without one.
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(!runtime.block_on(is_given_up(&timing())));
    }
}
