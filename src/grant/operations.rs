//! The operations of a grant.

use crate::model::Operation;
use enum_map::EnumMap;

/// The operations of a grant. [`Operation::Other`] allows pass-through requests, [`Operation::ChangeRelated`] those
/// that may change any session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperationSet(EnumMap<Operation, bool>);

impl OperationSet {
    /// Whether the operation is one of them.
    pub fn contains(&self, operation: Operation) -> bool {
        self.0[operation]
    }
}

impl FromIterator<Operation> for OperationSet {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> OperationSet {
        let mut set = OperationSet::default();
        operations.into_iter().for_each(|operation| set.0[operation] = true);
        set
    }
}
