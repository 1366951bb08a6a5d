//! The reads of the current state before a write.

use super::current_state::CurrentState;
use super::decoded::DecodedRequest;
use super::provider_response::Released;
use super::write_outcome::is_inconclusive;
use super::{Governed, ProviderResponse};
use crate::model::Rejection;
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use http::StatusCode;

/// What the response to a read of the current state gives.
#[derive(Debug)]
pub enum CurrentResponse {
    /// The current state.
    State(CurrentState),
    /// None: the response, which the caller may see.
    None(Released),
}

impl DecodedRequest {
    /// The paths at the provider that read the current state of all that the request changes, over REST.
    pub fn current_paths(&self) -> Result<Vec<String>, Rejection> {
        let Governed { upstream, path, tenant_name, .. } = self.governed();
        let (dialect, base) = (upstream.dialect, &upstream.target.base_path);
        if let Some(revocation) = self.read.revocation().filter(|revocation| !revocation.refresh_tokens.is_empty()) {
            let path = |id: &String| Some(base.clone() + &dialect.refresh_token_path(id)?);
            let paths = revocation.refresh_tokens.iter().map(path).collect::<Option<_>>();
            return paths.ok_or(Rejection::RefreshTokenId(dialect.refresh_token_ids));
        }
        let id = self.session.as_ref().map(|(_, id)| id);
        Ok(match self.authorized.read_route() {
            Some(reading) if reading.path == self.governed().route.path => vec![path.clone()],
            Some(reading) => vec![base.clone() + &dialect.path(reading, id, tenant_name.as_deref())],
            None => Vec::new(),
        })
    }

    /// The current state in the response to a read of one of [`DecodedRequest::current_paths`].
    ///
    /// # Errors
    ///
    /// Rejects a request for what the provider does not show, if it must prove whose it is.
    pub fn current_state(&self, response: ProviderResponse) -> Result<CurrentResponse, Rejection> {
        let proves = self.proof.owner().is_some();
        match response.status {
            StatusCode::OK => {}
            // Part of what was read, or the answer to a condition.
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => {
                return Err(Rejection::UpstreamFailed);
            }
            status if !proves || status == StatusCode::UNAUTHORIZED || is_inconclusive(status) => {
                return Ok(CurrentResponse::None(self.released(response)?));
            }
            // That it is missing, and that the caller may not see it, are no different from that it is another's.
            _ => return Err(Rejection::ForeignSession),
        }
        let dialect = self.upstream().dialect;
        let plain = coding::remaining(&response.headers).is_none();
        let metadata = plain.then(|| dialect.metadata_in_response(self.governed().route, &response.body)).flatten();
        if metadata.is_none() && !proves {
            return Err(Rejection::UpstreamFailed);
        }
        let route = self.authorized.read_route().filter(|_| plain && proves);
        let user = route.and_then(|route| dialect.user_in_response(route, Carrier::Rest, &response.body));
        let session = route.and_then(|_| dialect.session_in_response(&response.body));
        Ok(CurrentResponse::State(CurrentState { metadata, user, session }))
    }
}
