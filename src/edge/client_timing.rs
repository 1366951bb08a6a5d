//! The timeouts of an HTTP/1 connection or an HTTP/2 stream, by the phase of its request.

use super::connection_context::ConnectionContext;
use crate::config::Clients;
use crate::telemetry::DisconnectReason;
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Total waiting time before the minimum body rate applies.
const SLOW_START: Duration = Duration::from_secs(10);

/// The client timeouts of the configuration.
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

/// The phase of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte received.
    Idle,
    /// Receiving the head.
    Head,
    /// Receiving the body.
    Body,
    /// Received, or the rest is not needed.
    Busy,
}

/// The timing of an HTTP/1 connection or an HTTP/2 stream. The connection and its current request share it.
#[derive(Debug)]
pub(crate) struct ClientTiming {
    pub connection: ConnectionContext,
    pub timeouts: ClientTimeouts,
    state: Mutex<TimingState>,
    /// Wakes the stall timer when it is started or changed.
    stall_changed: Notify,
}

#[derive(Debug)]
struct TimingState {
    phase: Phase,
    /// Start of the phase. For the first request: when the connection was accepted.
    since: Instant,
    /// Whether the connection has served a request before.
    reused: bool,
    body_bytes: u64,
    /// Total time spent waiting for the body, without the current wait.
    waited: Duration,
    /// Start of the current wait for the client, if any.
    waiting_since: Option<Instant>,
    disconnect_reason: Option<DisconnectReason>,
    /// The timer of a pass-through request's response, if it is enforced here.
    response: Option<ResponseTimer>,
    /// The timeout that the response missed.
    expired_response: Option<Duration>,
    /// The stall timeout of the request, and its current deadline.
    stall: Option<(Duration, Instant)>,
}

/// Waits for a provider.
#[derive(Debug, Clone, Copy)]
struct ResponseTimer {
    timeout: Duration,
    /// Start of the wait; `None` while earlier data is still being written.
    since: Option<Instant>,
}

impl ClientTiming {
    /// For a stream that began just now.
    pub fn new(connection: ConnectionContext, timeouts: ClientTimeouts) -> ClientTiming {
        ClientTiming::since(Instant::now(), connection, timeouts)
    }

    /// For a connection that was accepted then.
    pub fn since(accepted: Instant, connection: ConnectionContext, timeouts: ClientTimeouts) -> ClientTiming {
        let state = TimingState {
            phase: Phase::Idle,
            since: accepted,
            reused: false,
            body_bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            disconnect_reason: None,
            response: None,
            expired_response: None,
            stall: None,
        };
        ClientTiming { connection, timeouts, state: Mutex::new(state), stall_changed: Notify::new() }
    }

    /// The client sent this many bytes.
    pub fn received(&self, bytes: usize) {
        let mut state = self.state.lock();
        if let Some(since) = state.waiting_since.take()
            && state.phase == Phase::Body
        {
            state.waited += since.elapsed();
        }
        match state.phase {
            Phase::Idle => {
                state.phase = Phase::Head;
                // The head timeout of the first request starts with the connection.
                if state.reused {
                    state.since = Instant::now();
                }
            }
            Phase::Body => state.body_bytes += bytes as u64,
            Phase::Head | Phase::Busy => {}
        }
    }

    /// The deadline of the current wait for the client, and the reason to disconnect it then. `None` if there is no
    /// limit.
    pub fn deadline(&self) -> Option<(Instant, DisconnectReason)> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Idle if state.reused => Some((state.since + self.timeouts.idle, DisconnectReason::IdleTimeout)),
            Phase::Idle | Phase::Head => Some((state.since + self.timeouts.head, DisconnectReason::HeadTimeout)),
            Phase::Body => {
                let since = *state.waiting_since.get_or_insert_with(Instant::now);
                let stalled = since + self.timeouts.idle;
                let Some(seconds) = state.body_bytes.checked_div(self.timeouts.body_rate as u64) else {
                    return Some((stalled, DisconnectReason::MinBodyRate));
                };
                let allowed = SLOW_START.max(Duration::from_secs(seconds));
                Some((stalled.min(since + allowed.saturating_sub(state.waited)), DisconnectReason::MinBodyRate))
            }
            Phase::Busy => None,
        }
    }

    /// Whether a head is incomplete. A response may then be sent, since the gateway writes nothing else meanwhile.
    pub fn is_in_head(&self) -> bool {
        self.state.lock().phase == Phase::Head
    }

    /// Starts the response timeout; it counts from when the gateway begins to wait.
    pub fn expect_response(&self, timeout: Duration) {
        self.state.lock().response = Some(ResponseTimer { timeout, since: None });
    }

    /// A part of the response arrived. If the response timeout runs, it restarts with `next`, or ends if that is
    /// `None`.
    pub fn response_progressed(&self, next: Option<Duration>) {
        let mut state = self.state.lock();
        state.response = state.response.and(next).map(|timeout| ResponseTimer { timeout, since: None });
    }

    /// The response deadline. Its timeout starts now if it has not started yet.
    pub fn response_deadline(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let response = state.response.as_mut()?;
        Some(*response.since.get_or_insert_with(Instant::now) + response.timeout)
    }

    /// The response missed its deadline.
    pub fn response_is_late(&self) {
        let mut state = self.state.lock();
        state.expired_response = state.response.take().map(|response| response.timeout);
    }

    /// The timeout that the response missed, if it did.
    pub fn response_timeout(&self) -> Option<Duration> {
        self.state.lock().expired_response
    }

    /// A part of the request or response was transferred: restarts the timers.
    pub fn progressed(&self) {
        let mut state = self.state.lock();
        if let Some(response) = &mut state.response {
            response.since = None;
        }
        if let Some((limit, until)) = &mut state.stall {
            *until = Instant::now() + *limit;
        }
    }

    /// Starts the stall timeout: the longest time without any transfer on the request.
    pub fn start_stall_timer(&self, limit: Duration) {
        self.state.lock().stall = Some((limit, Instant::now() + limit));
        self.stall_changed.notify_one();
    }

    /// Completes when the request has stalled. Needs a timer only while the stall timeout runs.
    pub async fn stalled(&self) {
        loop {
            let until = self.state.lock().stall.map(|(_, until)| until);
            match until {
                Some(until) if until <= Instant::now() => return,
                // The deadline may have moved meanwhile.
                Some(until) => drop(tokio::time::timeout_at(until.into(), self.stall_changed.notified()).await),
                None => self.stall_changed.notified().await,
            }
        }
    }

    /// Whether the stall timeout has passed.
    pub fn is_stalled(&self) -> bool {
        self.state.lock().stall.is_some_and(|(_, until)| until <= Instant::now())
    }

    /// Stops the response and stall timeouts.
    pub fn stop_timers(&self) {
        let mut state = self.state.lock();
        (state.response, state.stall) = (None, None);
    }

    /// Whether an unfinished HTTP/2 body has been read as far as it has arrived. Always false for HTTP/1, where the
    /// connection times the body.
    pub fn awaits_client(&self) -> bool {
        let read = self.state.lock().body_bytes;
        self.connection.uploads.is_all_read(read)
    }

    /// Why the client was disconnected, if it was.
    pub fn disconnect_reason(&self) -> Option<DisconnectReason> {
        self.state.lock().disconnect_reason
    }

    /// Records why the client is disconnected. The first reason stays.
    pub fn set_disconnect_reason(&self, reason: DisconnectReason) {
        self.state.lock().disconnect_reason.get_or_insert(reason);
    }

    /// The head of a request is complete.
    pub fn head_complete(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Busy;
        state.reused = true;
        (state.response, state.expired_response, state.stall) = (None, None, None);
    }

    /// The head of a request was rejected.
    pub fn head_rejected(&self) {
        self.connection.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// The gateway reset an HTTP/2 stream with this code before it became a request.
    pub fn stream_rejected(&self, stream: u32, code: u32) {
        let ConnectionContext { listener, metrics, .. } = &self.connection;
        metrics.disconnected(DisconnectReason::RejectedStream);
        tracing::debug!(listener = &**listener, stream, code, "stream reset before it became a request");
    }

    /// Pingora itself rejected an HTTP/2 request.
    pub fn request_rejected(&self) {
        let ConnectionContext { listener, metrics, requests, .. } = &self.connection;
        // Otherwise its reset would count as that of a stream that never became a request.
        requests.fetch_add(1, Ordering::Relaxed);
        metrics.disconnected(DisconnectReason::RejectedStream);
        tracing::debug!(listener = &**listener, "request rejected before it was served");
    }

    /// A body follows.
    pub fn expect_body(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Body;
        state.body_bytes = 0;
        state.waited = Duration::ZERO;
        state.waiting_since = None;
    }

    /// The body is complete, or the rest is not needed.
    pub fn body_complete(&self) {
        self.state.lock().phase = Phase::Busy;
    }

    /// The request has ended.
    pub fn request_complete(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Idle;
        state.since = Instant::now();
        (state.response, state.stall) = (None, None);
    }

    /// The total bytes read of an HTTP/2 body.
    pub fn set_body_read(&self, bytes: u64) {
        self.state.lock().body_bytes = bytes;
    }

    /// Whether an HTTP/2 body arrives below the minimum rate.
    pub fn is_body_slow(&self) -> bool {
        let (phase, read) = {
            let state = self.state.lock();
            (state.phase, state.body_bytes)
        };
        phase == Phase::Body && self.connection.uploads.is_slow(read, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_share::MemoryShares;
    use super::super::proxy_header::Addresses;
    use super::*;
    use crate::memory::Memory;
    use crate::metrics::Metrics;
    use crate::wire::http1::HeadLimits;
    use std::sync::Arc;
    use tokio::runtime::{Builder, Runtime};

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn timing() -> Arc<ClientTiming> {
        let metrics = Arc::new(Metrics::new().unwrap());
        let connection = ConnectionContext {
            listener: "main".into(),
            addresses: Addresses::direct(None),
            tls: false,
            identity: std::sync::OnceLock::new(),
            unix_socket: false,
            head_limits: HeadLimits::default(),
            requests: Arc::default(),
            rejected: Arc::default(),
            metrics,
            share: MemoryShares::new(Memory::new(None, 0)).open(false),
            uploads: Arc::default(),
        };
        Arc::new(ClientTiming::new(connection, ClientTimeouts { head: LONG, idle: LONG, write: LONG, body_rate: 0 }))
    }

    #[test]
    fn completed_requests_leave_no_timer() {
        runtime().block_on(async {
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let (base, reused) = (tasks(), timing());
            for _ in 0..1000 {
                // An HTTP/2 stream, and another request on a kept connection.
                timing().start_stall_timer(LONG);
                reused.head_complete();
                reused.start_stall_timer(LONG);
                reused.request_complete();
            }
            tokio::task::yield_now().await;
            assert_eq!((tasks(), Arc::weak_count(&reused)), (base, 0));
        });
    }

    #[test]
    fn request_times_out_after_repeated_checks() {
        runtime().block_on(async {
            let timing = timing();
            for _ in 0..3 {
                timing.start_stall_timer(Duration::from_millis(1));
                tokio::time::timeout(TEST_TIMEOUT, timing.stalled()).await.unwrap();
            }
            // The timer starts while the task already waits.
            timing.head_complete();
            let watch = async {
                tokio::task::yield_now().await;
                timing.start_stall_timer(Duration::from_millis(1));
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = timing.stalled() => {}
                () = watch => {}
                () = tokio::time::sleep(TEST_TIMEOUT) => panic!("it is not given up"),
            }
        });
    }

    #[test]
    fn retry_has_its_own_deadlines() {
        runtime().block_on(async {
            let timing = timing();
            timing.start_stall_timer(Duration::ZERO);
            timing.expect_response(Duration::ZERO);
            timing.stop_timers();
            timing.progressed();
            assert_eq!((stalls_now(&timing).await, timing.response_deadline()), (false, None));
        });
    }

    /// Whether it is stalled at the first poll.
    async fn stalls_now(timing: &ClientTiming) -> bool {
        tokio::select! {
            biased;
            () = timing.stalled() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn progressing_request_does_not_time_out() {
        runtime().block_on(async {
            let timing = timing();
            timing.start_stall_timer(LONG);
            assert!(!stalls_now(&timing).await);
            timing.start_stall_timer(Duration::ZERO);
            assert!(stalls_now(&timing).await);
            timing.head_complete();
            assert!(!stalls_now(&timing).await, "it is another");
        });
    }

    #[test]
    fn untimed_request_needs_no_timer() {
        // A runtime without timers.
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(!runtime.block_on(stalls_now(&timing())));
    }
}
