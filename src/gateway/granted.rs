//! The proof that a write changes only metadata keys that its caller's grant allows.

use super::authorized::AuthorizedRequest;
use super::current_state::CurrentState;
use super::governed::Governed;
use crate::grant::{Grant, KeyDecision};
use crate::model::{Edit, Rejection};
use bytes::Bytes;

/// A body that may be forwarded, as far as metadata keys are concerned. No write is made without it.
#[derive(Debug)]
pub(super) struct Granted(Bytes);

impl Granted {
    /// Checks the keys in a body of this request, which is decoded again: it may differ from the caller's own. What the
    /// policy itself has inserted needs no grant. `None` if the current state is needed, but not here.
    ///
    /// # Errors
    ///
    /// Rejects keys that the caller may not set or clear, and a caller who may not read the current state if it is
    /// needed.
    pub fn check(
        request: &AuthorizedRequest,
        body: Bytes,
        edits: &[Edit],
        current: Option<&[CurrentState]>,
    ) -> Result<Option<Granted>, Rejection> {
        let Some(grant) = request.grant.as_ref().filter(|grant| !grant.keys.is_unrestricted()) else {
            return Ok(Some(Granted(body)));
        };
        let Governed { upstream, route, carrier, .. } = &request.governed;
        let message = carrier.request_message(&body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let decoded = upstream.dialect.read_body(route, *carrier, message)?;
        let Some(patch) = upstream.dialect.session_patch(route, &decoded)? else {
            return Ok(Some(Granted(body)));
        };
        let inserted = |key: &str| edits.iter().any(|edit| matches!(edit, Edit::Insert { key: own, .. } if own == key));
        let sees = |key: &str| shows(grant, patch.name, key);
        let metadata = current.map(|current| current.first().and_then(|state| state.metadata.as_deref()));
        match grant.keys.decide(&patch, inserted, sees, metadata.flatten()) {
            KeyDecision::Granted => Ok(Some(Granted(body))),
            KeyDecision::Rejected(what) => Err(Rejection::Grant(what)),
            // The provider shows no metadata.
            KeyDecision::NeedsCurrent if current.is_some() => Err(Rejection::UpstreamFailed),
            KeyDecision::NeedsCurrent => request.check_read_scope().map(|()| None),
        }
    }

    pub fn into_body(self) -> Bytes {
        self.0
    }
}

/// Whether the caller sees the value of a metadata key.
fn shows(grant: &Grant, name: &str, key: &str) -> bool {
    let Some(masks) = &grant.masks else {
        return true;
    };
    let covers = |path: &[String]| match path {
        [own] => own == name,
        [own, member, ..] => own == name && member == key,
        [] => false,
    };
    masks.shows_key(key) && !masks.masked().iter().chain(masks.dropped()).any(|path| covers(path))
}
