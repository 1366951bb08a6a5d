//! Searching, filtering and sorting by what a caller may not see.

use super::authorized::AuthorizedRequest;
use super::masking::masks;
use super::session_proof::SessionProof;
use crate::dialect::{DecodedBody, Effect};
use crate::model::Rejection;

impl AuthorizedRequest {
    /// Rejects a list by a field that its caller may not see: what is in the list, and in which order, tells the field.
    pub(super) fn check_search(&self, body: &DecodedBody, proof: &SessionProof) -> Result<(), Rejection> {
        let Some(masks) = masks(&self.grant) else {
            return Ok(());
        };
        match self.governed.route.effect {
            Effect::ListsSessions | Effect::Reads(_) => {}
            _ => return Ok(()),
        }
        let dialect = self.governed.upstream.dialect;
        // A caller who sees only its own sessions knows their user: such a list must be filtered by it.
        let knows = |field: &[&str]| proof.owner().is_some() && field == dialect.names.user;
        let hides = |field: &[&str]| !field.is_empty() && masks.hides(field) && !knows(field);
        let route = self.governed.route;
        let mut terms = dialect.search_terms(route, body, self.governed.query.as_deref()).into_iter();
        match terms.find(|term| term.field.is_none_or(hides)) {
            Some(term) => Err(Rejection::Grant(term.text)),
            None => Ok(()),
        }
    }
}
