//! What has happened to a request at the provider so far.

use crate::gateway::{UpstreamExchange, UpstreamResult};
use crate::model::Quota;
use http::StatusCode;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// What has happened to a request at the provider so far. Its clones are one record: the fetch writes it, and the
/// client's request reads it, which may end before the fetch.
#[derive(Debug, Clone, Default)]
pub struct ExchangeRecord(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When the request was first sent.
    began: Option<Instant>,
    exchange: UpstreamExchange,
}

impl State {
    fn end(&mut self, result: UpstreamResult, at: Instant) {
        self.exchange.result = result;
        self.exchange.duration = self.began.map(|began| at.saturating_duration_since(began)).unwrap_or_default();
    }
}

impl ExchangeRecord {
    /// The request is sent, or sent again.
    pub fn sending(&self) {
        let mut state = self.0.lock();
        state.began.get_or_insert_with(Instant::now);
        state.exchange.attempts += 1;
    }

    /// The whole body was sent: the provider's time begins now, not while the client was still sending.
    pub fn body_sent(&self) {
        let mut state = self.0.lock();
        if state.began.is_some() && state.exchange.result == UpstreamResult::Pending {
            state.began = Some(Instant::now());
        }
    }

    /// Another request follows. What happened to the one before counts until that is sent.
    pub fn restart(&self) {
        *self.0.lock() = State::default();
    }

    /// The head of the response arrived at this time.
    pub fn responded(&self, status: StatusCode, quota: Quota, at: Instant) {
        let mut state = self.0.lock();
        state.exchange.quota = quota;
        state.end(UpstreamResult::Status(status), at);
    }

    /// Sets the status of a call, which is known later than the head of its response.
    pub fn set_status(&self, status: StatusCode) {
        self.0.lock().exchange.result = UpstreamResult::Status(status);
    }

    /// The provider gave no response, or an unusable one.
    pub fn failed(&self) {
        let mut state = self.0.lock();
        // A second call says no more.
        if state.exchange.result != UpstreamResult::Failed {
            state.end(UpstreamResult::Failed, Instant::now());
        }
    }

    /// Whether the request has ended.
    pub fn is_over(&self) -> bool {
        self.0.lock().exchange.result != UpstreamResult::Pending
    }

    /// What has happened so far; `None` if the request has not been sent.
    pub fn read(&self) -> Option<UpstreamExchange> {
        let state = self.0.lock();
        let began = state.began?;
        let mut exchange = state.exchange;
        if exchange.result == UpstreamResult::Pending {
            exchange.duration = began.elapsed();
        }
        Some(exchange)
    }
}
