//! The reads of the current state before a write.

use super::current_state::CurrentState;
use super::decoded::DecodedRequest;
use super::provider_response::{DecodedResponse, Released};
use super::write_outcome::is_inconclusive;
use super::{Governed, ProviderResponse, Read};
use crate::model::Rejection;
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use bytes::Bytes;
use http::StatusCode;
use http::header::RETRY_AFTER;
use std::time::Duration;

/// What the response to a read of the current state gives.
#[derive(Debug)]
pub enum CurrentResponse {
    /// The current state.
    State(CurrentState),
    /// None: the response, which the caller may see.
    None(Released),
}

impl Released {
    /// The rejection of a call, in place of the response to the read before it: that is for REST.
    pub fn rejection(&self) -> Rejection {
        match self.status {
            StatusCode::UNAUTHORIZED => Rejection::CredentialRefused,
            StatusCode::FORBIDDEN => Rejection::ReadDenied,
            StatusCode::NOT_FOUND | StatusCode::GONE => Rejection::ForeignSession,
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = self.headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
                Rejection::ProviderLimit(Duration::from_secs(wait.unwrap_or(1)))
            }
            _ => Rejection::UpstreamFailed,
        }
    }
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
        // With another one's metadata, or with none by mistake, owners would lose their keys.
        let id = self.session.as_ref().map(|(_, id)| id.as_str());
        let is_other = || !dialect.shows_resource(self.governed().route, &response.body, id);
        let merges = self.upstream().scope_owns_keys && self.changes_metadata();
        if metadata.is_none() && !proves || merges && is_other() {
            return Err(Rejection::UpstreamFailed);
        }
        let route = self.authorized.read_route().filter(|_| plain && proves);
        let user = route.and_then(|route| dialect.user_in_response(route, Carrier::Rest, &response.body));
        let session = route.and_then(|_| dialect.session_in_response(&response.body));
        let version = self.version(&response.body);
        Ok(CurrentResponse::State(CurrentState { metadata, user, session, version }))
    }

    /// The version of the session in the response to a read of it.
    fn version(&self, body: &Bytes) -> Option<u64> {
        let ((_, id), route) = self.session.as_ref().zip(self.authorized.read_route())?;
        self.upstream().dialect.response_facts(route, Carrier::Rest, body, Some(id))?.version
    }
}

impl Read {
    /// What the exclusive right of a write on the same session would be for, and the version of the session in a
    /// response. `None` if there are no owned keys: no write depends on it.
    pub fn shown_version(&self, decoded: &DecodedResponse) -> Option<([u8; 16], u64)> {
        let (session, id) = self.session.zip(self.id.as_ref()).filter(|_| self.upstream.scope_owns_keys)?;
        let message = decoded.call.message.as_ref().filter(|_| decoded.status() == StatusCode::OK)?;
        let facts = self.upstream.dialect.response_facts(self.route, self.carrier, message, Some(id))?;
        Some((session, facts.version?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use std::sync::Arc;

    #[test]
    fn a_limit_of_the_provider_says_when_to_retry() {
        for (value, seconds) in [(None, 1), (Some("7"), 7), (Some("0"), 0), (Some("soon"), 1), (Some("-1"), 1)] {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (RETRY_AFTER, HeaderValue::from_static(value))));
            let response = ProviderResponse::new(StatusCode::TOO_MANY_REQUESTS, headers, Bytes::new(), None);
            let rejection = Released::new(Arc::new(response)).rejection();
            assert_eq!(rejection, Rejection::ProviderLimit(Duration::from_secs(seconds)));
            assert_eq!(rejection.retry_after(), Some(seconds));
        }
    }
}
