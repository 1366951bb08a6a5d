//! The proof that a write changes only metadata keys that its caller's grant allows.

use super::authorized::AuthorizedRequest;
use super::current_state::CurrentState;
use super::governed::Governed;
use crate::grant::{KeyDecision, removes_any};
use crate::model::{Edit, Field, MetadataChange, Rejection};
use crate::policy::{Mode, Policy};
use bytes::Bytes;

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
        let Some(grant) = &request.grant else {
            return Ok(Some(Granted(body)));
        };
        let Governed { upstream, route, carrier, .. } = &request.governed;
        let message = carrier.request_message(&body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let decoded = upstream.dialect.read_body(route, *carrier, message)?;
        let Some(patch) = upstream.dialect.session_patch(route, &decoded)? else {
            return Ok(Some(Granted(body)));
        };
        let inserted = |key: &str| edits.iter().any(|edit| matches!(edit, Edit::Insert { key: own, .. } if own == key));
        let protects = policy.mode == Mode::Enforce && !policy.protected.is_empty();
        let reads = request.may_read();
        if grant.keys.is_unrestricted() && grant.shows_all(patch.name) && (reads || !protects) {
            return Ok(Some(Granted(body)));
        }
        let shows = |key: &str| grant.shows_value(patch.name, key);
        let metadata = current.and_then(|current| current.first()?.metadata.as_deref());
        let decision = match grant.keys.decide(&patch, inserted, shows, reads, metadata) {
            KeyDecision::Granted if protects => match metadata {
                Some(metadata) if removes_any(&patch, &hidden(policy, metadata, |key| reads && shows(key))) => {
                    KeyDecision::Rejected(format!(
                        "clearing other keys of `{}`, which the write would remove",
                        patch.name
                    ))
                }
                Some(_) => KeyDecision::Granted,
                None if patch.creates || patch.metadata == MetadataChange::Absent => KeyDecision::Granted,
                None => KeyDecision::NeedsCurrent,
            },
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

/// The protected keys that the caller does not see.
fn hidden(policy: &Policy, metadata: &[Field], sees: impl Fn(&str) -> bool) -> Vec<Field> {
    let hidden = |field: &&Field| policy.protected.matches(&field.key) && !sees(&field.key);
    metadata.iter().filter(hidden).cloned().collect()
}
