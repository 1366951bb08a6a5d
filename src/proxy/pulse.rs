//! What a connection of HTTP/1, or a stream of HTTP/2, is doing: what says how long its client may be waited for.

use super::frames::Frames;
use super::share::Share;
use super::uploads::Uploads;
use crate::config::Clients;
use crate::metrics::Metrics;
use crate::telemetry::DisconnectReason;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// For how long a body may come as slowly as it likes, waits added up.
const SLOW_START: Duration = Duration::from_secs(10);

/// How long clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// See [`Clients::head_timeout`].
    pub head: Duration,
    /// See [`Clients::idle_timeout`].
    pub idle: Duration,
    /// See [`Clients::write_timeout`].
    pub write: Duration,
    /// See [`Clients::min_body_rate`].
    pub body_rate: usize,
}

impl Patience {
    pub fn new(clients: &Clients) -> Patience {
        Patience {
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
    Waiting,
    /// Its head is coming.
    Head,
    /// Its body is coming.
    Body,
    /// All of it is here, or nobody wants the rest.
    Busy,
}

/// Where a request came in.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
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
    pub share: Arc<Share>,
    /// The bodies that are coming on it: of HTTP/2.
    pub uploads: Arc<Uploads>,
}

impl Arrival {
    /// The frames of a connection of HTTP/2 whose heads may have so many fields.
    pub fn frames(&self, fields: usize) -> Frames {
        let counts = (self.requests.clone(), self.rejected.clone());
        Frames::new(Instant::now(), fields, counts, self.uploads.clone())
    }
}

/// What a connection of HTTP/1, or a stream of HTTP/2, is doing. Shared by the connection and the request that is on it.
#[derive(Debug)]
pub(super) struct Pulse {
    pub arrival: Arrival,
    pub patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when it is waited for what the phase says. The first request is waited for since the connection was opened.
    since: Instant,
    /// Whether a request was answered before.
    kept: bool,
    body: u64,
    /// How long the body was waited for, without the wait that lasts.
    waited: Duration,
    /// Since when the client is waited for, where it is.
    waiting: Option<Instant>,
    cut: Option<DisconnectReason>,
    /// When the response of a passed request is due, where it has not begun.
    due: Option<Instant>,
    /// Whether it did not come in time.
    late: bool,
}

impl Pulse {
    /// A connection that was opened just now.
    pub fn new(arrival: Arrival, patience: Patience) -> Pulse {
        let state = State {
            phase: Phase::Waiting,
            since: Instant::now(),
            kept: false,
            body: 0,
            waited: Duration::ZERO,
            waiting: None,
            cut: None,
            due: None,
            late: false,
        };
        Pulse { arrival, patience, state: Mutex::new(state) }
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
            Phase::Waiting => {
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

    /// Until when the client may be waited for, from now on, and what it is cut off for then; none where it may take as long as it
    /// likes.
    pub fn deadline(&self) -> Option<(Instant, DisconnectReason)> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Waiting if state.kept => Some((state.since + self.patience.idle, DisconnectReason::IdleTimeout)),
            Phase::Waiting | Phase::Head => Some((state.since + self.patience.head, DisconnectReason::HeadTimeout)),
            Phase::Body => {
                let since = *state.waiting.get_or_insert_with(Instant::now);
                let stalled = since + self.patience.idle;
                let Some(seconds) = state.body.checked_div(self.patience.body_rate as u64) else {
                    return Some((stalled, DisconnectReason::MinBodyRate));
                };
                let allowed = SLOW_START.max(Duration::from_secs(seconds));
                Some((stalled.min(since + allowed.saturating_sub(state.waited)), DisconnectReason::MinBodyRate))
            }
            Phase::Busy => None,
        }
    }

    /// Whether a head is coming of which nothing has been answered, and so can be: the gateway writes nothing else meanwhile.
    pub fn is_in_head(&self) -> bool {
        self.state.lock().phase == Phase::Head
    }

    /// The response is due within this time.
    pub fn response_is_due(&self, within: Duration) {
        self.state.lock().due = Some(Instant::now() + within);
    }

    /// The response has begun.
    pub fn response_began(&self) {
        self.state.lock().due = None;
    }

    /// When the response is due, where it is waited for.
    pub fn response_due(&self) -> Option<Instant> {
        self.state.lock().due
    }

    /// The response did not come in time: nobody waits for it any more.
    pub fn response_is_late(&self) {
        let mut state = self.state.lock();
        (state.due, state.late) = (None, true);
    }

    /// Whether the response did not come in time.
    pub fn was_late(&self) -> bool {
        self.state.lock().late
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
        (state.due, state.late) = (None, false);
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
        state.phase = Phase::Waiting;
        state.since = Instant::now();
        state.due = None;
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
