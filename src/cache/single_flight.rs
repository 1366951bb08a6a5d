//! Single flight: fetches in flight that several reads may wait for. A fetch runs in a task of its own, so it continues
//! when the read that started it is dropped. Its key is the response's key *and* the stamp under which it started: a
//! read that starts after a write has another stamp and can never join an older fetch. See [`FlightKey`].

use super::fetched::FetchedResponse;
use crate::coherence::reading::FlightKey;
use crate::coherence::{Micros, Token};
use crate::gateway::{CacheKey, Cacheability};
use crate::model::Rejection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

type FetchResult = Option<FetchedResponse>;
type FetchKey = (CacheKey, FlightKey);
type InFlightMap = Arc<Mutex<HashMap<FetchKey, InFlightFetch>>>;

/// The fetches in flight.
#[derive(Default)]
pub(super) struct SingleFlight {
    in_flight: InFlightMap,
}

/// A fetch in flight.
#[derive(Clone)]
pub(super) struct InFlightFetch {
    reader: Token,
    began: Micros,
    finished: watch::Receiver<FetchResult>,
}

impl InFlightFetch {
    /// Waits for its response.
    pub async fn finished(mut self) -> FetchedResponse {
        let finished = self.finished.wait_for(Option::is_some).await.ok().and_then(|finished| finished.clone());
        // Without a response the task has ended: it panicked, or the runtime stops.
        finished.unwrap_or(FetchedResponse {
            response: Err(Rejection::InternalError),
            status: None,
            storable: Cacheability::Unrelated,
            failed: true,
            caller: [0; 16],
        })
    }
}

/// Removes a fetch from the map, also if its task panics; but not a fetch that replaced it.
struct RemoveOnDrop {
    in_flight: InFlightMap,
    name: FetchKey,
    own: watch::Receiver<FetchResult>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        if in_flight.get(&self.name).is_some_and(|flight| flight.finished.same_channel(&self.own)) {
            in_flight.remove(&self.name);
        }
    }
}

impl SingleFlight {
    /// Starts a fetch. `apply` applies the response to the store before it is delivered: a client that
    /// has seen it must not find something older in the store. `apply` returns what is delivered. Until then the fetch can be joined.
    pub fn start<W, K>(
        &self,
        name: FetchKey,
        (reader, began): (Token, Micros),
        fetch: W,
        apply: impl FnOnce(FetchedResponse) -> K + Send + 'static,
    ) -> InFlightFetch
    where
        W: Future<Output = FetchedResponse> + Send + 'static,
        K: Future<Output = FetchedResponse> + Send,
    {
        let (sender, finished) = watch::channel(None);
        let flight = InFlightFetch { reader, began, finished };
        self.in_flight.lock().insert(name, flight.clone());
        let remove = RemoveOnDrop { in_flight: self.in_flight.clone(), name, own: flight.finished.clone() };
        // Boxed, because tokio moves the future of a task several times.
        tokio::spawn(Box::pin(async move {
            let response = apply(fetch.await).await;
            drop(remove);
            sender.send_replace(Some(response));
        }));
        flight
    }

    /// A fetch of this response that started at `since` or later, if there is one.
    pub fn join(&self, key: &CacheKey, flight_key: FlightKey, since: Micros) -> Option<InFlightFetch> {
        self.in_flight.lock().get(&(*key, flight_key)).filter(|flight| flight.began >= since).cloned()
    }

    /// Whether this read started the fetch of this response that is in flight.
    pub fn is_led_by(&self, key: &CacheKey, flight_key: FlightKey, reader: Token) -> bool {
        self.in_flight.lock().get(&(*key, flight_key)).is_some_and(|flight| flight.reader == reader)
    }
}
