//! What an owner's write leaves of the current metadata.

use super::keys::{KeyGrant, clears, replaces, sent_fields};
use crate::model::{Field, SessionPatch};

/// What an owner's write leaves of the current metadata: indexes of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merge {
    /// What stays as it is.
    pub kept: Vec<usize>,
    /// The owner's keys that the write does not name, and so removes.
    pub cleared: Vec<usize>,
}

/// Why a write cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeFault {
    /// There would be more entries than the provider allows.
    Full,
    /// Nothing would remain, but the provider cannot remove the last key.
    Last,
}

impl KeyGrant {
    /// What a write of an owner, as it is forwarded, leaves of the current metadata. `most` is how many entries the
    /// provider allows. `None` if the write does not name the metadata.
    pub fn merge(
        &self,
        patch: &SessionPatch,
        current: &[Field],
        most: Option<usize>,
    ) -> Result<Option<Merge>, MergeFault> {
        let Some(fields) = sent_fields(patch) else { return Ok(None) };
        let replaces = replaces(patch, fields);
        let mut merge = Merge::default();
        for (at, stored) in current.iter().enumerate() {
            let is_sent = || fields.iter().any(|field| field.key == stored.key);
            if !self.owns(&stored.key) {
                merge.kept.push(at);
            } else if !is_sent() {
                (if replaces { &mut merge.cleared } else { &mut merge.kept }).push(at);
            }
        }
        if most.is_some_and(|most| !merge.kept.is_empty() && merge.kept.len() + fields.len() > most) {
            return Err(MergeFault::Full);
        }
        let stays = |field: &Field| !clears(patch, field);
        let mut kept = merge.kept.iter().filter_map(|at| current.get(*at));
        let remains = fields.iter().any(stays) || kept.any(stays);
        if !patch.empty_map_clears && !remains && current.iter().any(stays) {
            return Err(MergeFault::Last);
        }
        Ok(Some(merge))
    }
}

#[cfg(test)]
mod tests;
