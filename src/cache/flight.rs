//! Fetches in flight, which several reads may wait for. A fetch runs in a task of its own, so that it goes on when the read that
//! began it is given up. It is known by the answer's key *and* the stamp under which it began: a read that starts after a write
//! has another stamp and can never join a fetch that started before. See [`Joint`].

use super::Fetched;
use crate::coherence::reading::Joint;
use crate::coherence::{Micros, Token};
use crate::gateway::{CacheKey, Storable};
use crate::model::Rejection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

type Landed = Option<Fetched>;
type Name = (CacheKey, Joint);
type Airborne = Arc<Mutex<HashMap<Name, Flight>>>;

/// All fetches in flight.
#[derive(Default)]
pub(super) struct Flights {
    airborne: Airborne,
}

/// One fetch in flight.
#[derive(Clone)]
pub(super) struct Flight {
    reader: Token,
    began: Micros,
    landed: watch::Receiver<Landed>,
}

impl Flight {
    /// Its answer.
    pub async fn landed(mut self) -> Fetched {
        let landed = self.landed.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        // Without an answer the task is gone: it panicked, or the runtime stops.
        landed.unwrap_or(Fetched {
            answer: Err(Rejection::UpstreamFailed),
            storable: Storable::Nothing,
            failed: true,
            asker: [0; 16],
        })
    }
}

/// Takes a flight off the list, also if its task panics; but not one that took its place.
struct Landing {
    airborne: Airborne,
    name: Name,
    own: watch::Receiver<Landed>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut airborne = self.airborne.lock();
        if airborne.get(&self.name).is_some_and(|flight| flight.landed.same_channel(&self.own)) {
            airborne.remove(&self.name);
        }
    }
}

impl Flights {
    /// Starts a fetch. What it brings is kept for others before it is handed over: nobody who has seen it may find something older
    /// in the store. `keep` says what is handed over. Until then it can be joined.
    pub fn start<W, K>(
        &self,
        name: Name,
        (reader, began): (Token, Micros),
        fetch: W,
        keep: impl FnOnce(Fetched) -> K + Send + 'static,
    ) -> Flight
    where
        W: Future<Output = Fetched> + Send + 'static,
        K: Future<Output = Fetched> + Send,
    {
        let (sender, landed) = watch::channel(None);
        let flight = Flight { reader, began, landed };
        self.airborne.lock().insert(name, flight.clone());
        let landing = Landing { airborne: self.airborne.clone(), name, own: flight.landed.clone() };
        tokio::spawn(async move {
            let answer = keep(fetch.await).await;
            drop(landing);
            sender.send_replace(Some(answer));
        });
        flight
    }

    /// A fetch of this answer that may be joined: one that did not begin before `since`.
    pub fn join(&self, key: &CacheKey, joint: Joint, since: Micros) -> Option<Flight> {
        self.airborne.lock().get(&(*key, joint)).filter(|flight| flight.began >= since).cloned()
    }

    /// Whether this reader has begun the fetch of this answer that is in flight.
    pub fn is_flown_by(&self, key: &CacheKey, joint: Joint, reader: Token) -> bool {
        self.airborne.lock().get(&(*key, joint)).is_some_and(|flight| flight.reader == reader)
    }
}
