//! The proof that a write changes only metadata keys that its caller's grant allows.

use super::authorized::AuthorizedRequest;
use super::current_state::CurrentState;
use super::governed::Governed;
use crate::grant::{Grant, KeyDecision, KeyGrant};
use crate::model::{Edit, Field, Rejection};
use crate::policy::{KeyPatterns, Mode, Policy};
use bytes::Bytes;
use std::sync::Arc;

/// A body that may be forwarded, as far as metadata keys are concerned. No write is made without it.
#[derive(Debug)]
pub(super) struct Granted(Bytes);

impl Granted {
    /// Checks the keys in a body of this request, which is decoded again: it may differ from the caller's own. What the
    /// policy itself has inserted needs no grant. Keys that the policy protects and the caller does not see stay as they
    /// are: the policy does not know them. `None` if the current state is needed, but not here.
    ///
    /// # Errors
    ///
    /// Rejects keys that the caller may not set or clear, and a caller who may not read the current state if it is
    /// needed.
    pub fn check(
        request: &AuthorizedRequest,
        policy: &Policy,
        body: Bytes,
        edits: &[Edit],
        current: Option<&[CurrentState]>,
    ) -> Result<Option<Granted>, Rejection> {
        let protects = policy.mode == Mode::Enforce && !policy.protected.is_empty();
        let restricts = |grant: &&Arc<Grant>| !grant.keys.is_unrestricted() || protects && grant.masks.is_some();
        let Some(grant) = request.grant.as_ref().filter(restricts) else {
            return Ok(Some(Granted(body)));
        };
        let Governed { upstream, route, carrier, .. } = &request.governed;
        let message = carrier.request_message(&body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let decoded = upstream.dialect.read_body(route, *carrier, message)?;
        let Some(patch) = upstream.dialect.session_patch(route, &decoded)? else {
            return Ok(Some(Granted(body)));
        };
        let inserted = |key: &str| edits.iter().any(|edit| matches!(edit, Edit::Insert { key: own, .. } if own == key));
        let sees = |key: &str| grant.shows_value(patch.name, key);
        let metadata = current.and_then(|current| current.first()?.metadata.as_deref());
        let decision = match grant.keys.decide(&patch, inserted, sees, metadata) {
            KeyDecision::Granted if protects => {
                let hidden = |field: &&Field| policy.protected.matches(&field.key) && !sees(&field.key);
                let hidden: Vec<Field> = metadata.unwrap_or_default().iter().filter(hidden).cloned().collect();
                let kept = KeyGrant { set: None, clear: Some(KeyPatterns::default()) };
                kept.decide(&patch, inserted, |_| false, Some(&hidden))
            }
            decision => decision,
        };
        match decision {
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
