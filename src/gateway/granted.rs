//! The proof that a write changes only metadata keys that its caller's grant allows.

use super::authorized::AuthorizedRequest;
use super::current_state::CurrentState;
use super::governed::Governed;
use crate::dialect::{DecodedBody, StoredMetadata};
use crate::grant::{Grant, KeyDecision, MergeFault, removes_any};
use crate::model::{Edit, Field, MetadataChange, Rejection, Rule, SessionPatch, Violation};
use crate::policy::{Mode, Policy};
use bytes::Bytes;

/// A body that may be forwarded, as far as metadata keys are concerned. No write is made without it.
#[derive(Debug)]
pub(super) struct Granted {
    pub body: Bytes,
    /// If it is merged: the keys that it keeps for others.
    pub kept: Option<Vec<String>>,
}

impl Granted {
    /// Checks the keys in a body of this request, which is decoded again: it may differ from the caller's own. What the
    /// policy itself has inserted needs no grant. Keys that the policy protects and the caller does not see stay as they
    /// are: the policy does not know them. The body of a caller who owns keys is merged with the other keys. `None` if
    /// the current state is needed, but not here.
    ///
    /// # Errors
    ///
    /// Rejects keys that the caller may not set or clear, a caller who may not read the current state if it is needed,
    /// and what cannot be merged.
    pub fn check(
        request: &AuthorizedRequest,
        policy: &Policy,
        body: Bytes,
        edits: &[Edit],
        current: Option<&[CurrentState]>,
    ) -> Result<Option<Granted>, Rejection> {
        let Some(grant) = &request.grant else {
            return Ok(Some(Granted::unchanged(body)));
        };
        let protects = policy.mode == Mode::Enforce && !policy.protected.is_empty();
        let reads = request.may_read();
        let is_unrestricted = grant.keys.is_unrestricted() && (reads || !protects);
        if is_unrestricted && grant.masks.is_none() {
            // Whatever keys it has.
            return Ok(Some(Granted::unchanged(body)));
        }
        let Governed { upstream, route, carrier, .. } = &request.governed;
        let message = carrier.request_message(&body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let decoded = upstream.dialect.read_body(route, *carrier, message)?;
        let Some(patch) = upstream.dialect.session_patch(route, &decoded)? else {
            return Ok(Some(Granted::unchanged(body)));
        };
        let inserted = |key: &str| edits.iter().any(|edit| matches!(edit, Edit::Insert { key: own, .. } if own == key));
        if is_unrestricted && grant.shows_all(patch.name) {
            return Ok(Some(Granted::unchanged(body)));
        }
        let shows = |key: &str| grant.shows_value(patch.name, key);
        let stored = current.and_then(|current| current.first()?.metadata.as_ref());
        let metadata = stored.map(StoredMetadata::fields);
        let decision = match grant.keys.decide(&patch, inserted, shows, reads, metadata) {
            KeyDecision::Granted if protects => decide_protected(grant, policy, &patch, metadata, reads),
            decision => decision,
        };
        match (decision, stored) {
            (KeyDecision::Granted, Some(stored)) if grant.keys.own.is_some() => {
                Granted::merge(request, grant, (&decoded, &patch), stored, body).map(Some)
            }
            (KeyDecision::Granted, _) => Ok(Some(Granted::unchanged(body))),
            (KeyDecision::Rejected(what), _) => Err(Rejection::Grant(what)),
            // The provider shows no metadata.
            (KeyDecision::NeedsCurrent, _) if current.is_some() => Err(Rejection::UpstreamFailed),
            (KeyDecision::NeedsCurrent, _) => request.check_read_scope().map(|()| None),
        }
    }

    fn unchanged(body: Bytes) -> Granted {
        Granted { body, kept: None }
    }

    /// The body of an owner with what it keeps of the current metadata. If it keeps and clears nothing, the body is what
    /// it was.
    fn merge(
        request: &AuthorizedRequest,
        grant: &Grant,
        (decoded, patch): (&DecodedBody, &SessionPatch),
        stored: &StoredMetadata,
        body: Bytes,
    ) -> Result<Granted, Rejection> {
        let Governed { upstream, carrier, .. } = &request.governed;
        let merge = grant.keys.merge(patch, stored.fields(), upstream.dialect.limits.properties);
        let Some(merge) = merge.map_err(|fault| rejection(patch, fault))? else {
            return Ok(Granted::unchanged(body));
        };
        let key = |at: &usize| stored.fields().get(*at).map(|field| field.key.to_string());
        let kept = Some(merge.kept.iter().filter_map(key).collect());
        if merge.kept.is_empty() && merge.cleared.is_empty() {
            return Ok(Granted { body, kept });
        }
        let message = upstream.dialect.merged(decoded, stored, &merge).ok_or(Rejection::UpstreamFailed)?;
        Ok(Granted { body: carrier.request_body(message), kept })
    }
}

/// Whether protected keys that the caller does not see stay. An owner's write keeps those of others.
fn decide_protected(
    grant: &Grant,
    policy: &Policy,
    patch: &SessionPatch,
    metadata: Option<&[Field]>,
    reads: bool,
) -> KeyDecision {
    let sees = |key: &str| reads && grant.shows_value(patch.name, key);
    let replaced = |key: &str| grant.keys.own.is_none() || grant.keys.owns(key);
    let hidden = |field: &&Field| policy.protected.matches(&field.key) && replaced(&field.key) && !sees(&field.key);
    match metadata {
        Some(metadata) if removes_any(patch, &metadata.iter().filter(hidden).cloned().collect::<Vec<Field>>()) => {
            KeyDecision::Rejected(format!("clearing other keys of `{}`, which the write would remove", patch.name))
        }
        Some(_) => KeyDecision::Granted,
        None if patch.creates || patch.metadata == MetadataChange::Absent => KeyDecision::Granted,
        None => KeyDecision::NeedsCurrent,
    }
}

/// Says nothing of other owners' keys.
fn rejection(patch: &SessionPatch, fault: MergeFault) -> Rejection {
    let (rule, message) = match fault {
        MergeFault::Full => (Rule::Count, "is full"),
        MergeFault::Last => (Rule::Wipe, "would be removed entirely: the provider cannot remove the last key"),
    };
    let violation = Violation { path: patch.name.into(), rule, message: message.into() };
    Rejection::Violations([violation].into_iter().collect())
}
