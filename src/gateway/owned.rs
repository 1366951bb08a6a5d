//! Responses to reads whose sessions or refresh tokens must belong to an owner.

use super::current_state::Owner;
use super::masking::plain_error;
use super::write_outcome::is_inconclusive;
use super::{ProviderResponse, Read};
use crate::dialect::Effect;
use crate::model::Rejection;
use http::StatusCode;
use std::sync::Arc;

/// A response to a read that shows only what belongs to the owner, if the read has one. Only [`Read::owned`] makes it.
#[derive(Debug, Clone)]
pub struct Owned(pub(super) Arc<ProviderResponse>);

impl Read {
    /// The response, if what it shows belongs to the owner; of a list, the part that does.
    ///
    /// # Errors
    ///
    /// Rejects a response that shows what is another's. What is missing, and what the caller may not see, get the same
    /// rejection.
    pub fn owned(&self, response: Arc<ProviderResponse>) -> Result<Owned, Rejection> {
        let Some(owner) = &self.owner else {
            return Ok(Owned(response));
        };
        let status = response.call_status(self.carrier);
        let lists = self.lists();
        // By its status it is about the caller or the provider alone. Whose its content is, is not proven.
        if status == StatusCode::UNAUTHORIZED || is_inconclusive(status) || (lists && !status.is_success()) {
            return Ok(Owned(Arc::new(plain_error(&self.upstream, self.carrier, &response))));
        }
        if lists {
            return self.owned_part(owner, response).map(Owned);
        }
        let shown = status == StatusCode::OK && self.shows(owner, &response);
        shown.then_some(Owned(response)).ok_or(Rejection::ForeignSession)
    }

    /// The rejection of a read of a session that was deleted through the gateway. Its owner is no longer known.
    pub fn deleted(&self) -> Rejection {
        if self.owner.is_some() { Rejection::ForeignSession } else { Rejection::Deleted }
    }

    /// Whether it lists sessions or refresh tokens: it names none itself.
    fn lists(&self) -> bool {
        match self.route.effect {
            Effect::ListsSessions => true,
            Effect::Reads(_) => !self.route.names_refresh_token(),
            _ => false,
        }
    }

    /// Whether the session or the refresh token in a response belongs to the owner.
    fn shows(&self, owner: &Owner, response: &ProviderResponse) -> bool {
        let dialect = self.upstream.dialect;
        let message = || response.plain_message(self.carrier);
        match owner {
            Owner::User(owner) => {
                let user = response.user(|| dialect.user_in_response(self.route, self.carrier, &message()?));
                user == Some(owner.as_str())
            }
            Owner::Session(owner) => {
                message().and_then(|message| dialect.session_in_response(&message)).as_ref() == Some(owner)
            }
        }
    }

    /// A list without what does not belong to the owner. If something does not, totals count what remains, and cursors
    /// are dropped: they would tell that there is more.
    fn owned_part(
        &self,
        owner: &Owner,
        mut response: Arc<ProviderResponse>,
    ) -> Result<Arc<ProviderResponse>, Rejection> {
        let listed = self.session_list(&response).ok_or(Rejection::UpstreamFailed)?;
        let Owner::User(owner) = owner else {
            return Err(Rejection::UpstreamFailed);
        };
        let foreign = listed.users().enumerate().filter(|(_, user)| *user != Some(owner));
        let foreign: Vec<usize> = foreign.map(|(at, _)| at).collect();
        if !foreign.is_empty() {
            let message = listed.without_foreign(&foreign).ok_or(Rejection::UpstreamFailed)?;
            let own = Arc::make_mut(&mut response);
            own.body = self.carrier.bare_body(&own.body, Some(message));
            own.keep_bare_headers(self.upstream.dialect);
        }
        Ok(response)
    }
}
