//! Lists of sessions: what a caller may see of one session holds for each of a list.

use super::{Gateway, ProviderResponse, Read};
use crate::dialect::SessionList;
use crate::model::{Operation, Rejection};
use crate::wire::coding;

/// The sessions of a response that lists some.
#[derive(Debug)]
pub struct Listing {
    listed: SessionList,
    /// Those that may have been deleted through the gateway: where they stand in the list, and what stands for them in
    /// the cache.
    sessions: Vec<(usize, [u8; 16])>,
}

impl Read {
    /// The sessions that a response lists; none where it lists none that the gateway knows anything of. A list that
    /// cannot be read is rejected, since it may hold what nobody is to see.
    pub fn listing(&self, gateway: &Gateway, response: &ProviderResponse) -> Result<Option<Listing>, Rejection> {
        let lists = self.route.operation == Operation::ListSessions && self.upstream.cache.is_some();
        if !lists || !response.status.is_success() {
            return Ok(None);
        }
        let read = coding::of(&response.headers)
            .is_none()
            .then(|| self.upstream.dialect.session_list(&response.body))
            .flatten();
        let listed = read.ok_or(Rejection::UpstreamFailed)?;
        // What is no id of a session here was never deleted here.
        let known =
            listed.ids().enumerate().filter_map(|(at, id)| Some((at, self.upstream.dialect.session_id(id).ok()?)));
        let sessions = known.map(|(at, id)| (at, gateway.session_hash(&self.upstream, &id))).collect();
        Ok(Some(Listing { listed, sessions }))
    }
}

impl Listing {
    /// What stands for the sessions in the cache.
    pub fn sessions(&self) -> Vec<[u8; 16]> {
        self.sessions.iter().map(|(_, session)| *session).collect()
    }

    /// The response without those of [`Listing::sessions`] that are deleted. Counts that the provider gives stay as
    /// they are.
    pub fn without(&self, deleted: &[bool], mut response: ProviderResponse) -> ProviderResponse {
        let gone = self.sessions.iter().zip(deleted).filter(|(_, deleted)| **deleted);
        let gone: Vec<usize> = gone.map(|((at, _), _)| *at).collect();
        if !gone.is_empty() {
            response.body = self.listed.without(&gone);
        }
        response
    }
}
