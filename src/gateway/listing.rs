//! Responses that list sessions: deleted sessions must not appear in them either.

use super::{Gateway, Owned, ProviderResponse, Read};
use crate::dialect::{Effect, SessionList};
use crate::model::Rejection;
use crate::wire::carrier::Carrier;
use std::sync::Arc;

/// The sessions of a response that lists sessions.
#[derive(Debug)]
pub struct Listing {
    listed: SessionList,
    carrier: Carrier,
    /// The index in the list and the keyed hash of each session that may have been deleted through the gateway.
    sessions: Vec<(usize, [u8; 16])>,
}

impl Read {
    /// Parses a response that lists sessions. `None` if it is not such a response or nothing is cached.
    ///
    /// # Errors
    ///
    /// If the list cannot be parsed: it may contain deleted sessions.
    pub fn listing(&self, gateway: &Gateway, Owned(response): &Owned) -> Result<Option<Listing>, Rejection> {
        let lists = self.route.effect == Effect::ListsSessions && self.upstream.cache.is_some();
        if !lists || !response.call_status(self.carrier).is_success() {
            return Ok(None);
        }
        let listed = self.session_list(response).ok_or(Rejection::UpstreamFailed)?;
        // An ID that is not valid here was never deleted here.
        let known =
            listed.ids().enumerate().filter_map(|(at, id)| Some((at, self.upstream.dialect.session_id(id).ok()?)));
        let sessions = known.map(|(at, id)| (at, gateway.session_hash(&self.upstream, &id))).collect();
        Ok(Some(Listing { listed, carrier: self.carrier, sessions }))
    }

    /// The sessions, or the refresh tokens, that a successful response lists.
    pub(super) fn session_list(&self, response: &ProviderResponse) -> Option<SessionList> {
        self.upstream.dialect.session_list(self.route, self.carrier, response.plain_message(self.carrier)?)
    }
}

impl Listing {
    /// The keyed hashes of the sessions.
    pub fn sessions(&self) -> Vec<[u8; 16]> {
        self.sessions.iter().map(|(_, session)| *session).collect()
    }

    /// The response without the deleted ones of [`Listing::sessions`]. The provider's own counts stay unchanged.
    pub fn without(&self, deleted: &[bool], mut response: Owned) -> Owned {
        let gone = self.sessions.iter().zip(deleted).filter(|(_, deleted)| **deleted);
        let gone: Vec<usize> = gone.map(|((at, _), _)| *at).collect();
        if !gone.is_empty() {
            let message = self.listed.without(&gone);
            let own = Arc::make_mut(&mut response.0);
            own.body = self.carrier.replace_message(&own.body, message);
        }
        response
    }
}
