//! Marks that writes of unverified callers share within this process: see [`crate::coherence::sharing`].

use super::Scope;
use crate::coherence::Token;
use crate::coherence::sharing::{LeaveAction, SharedMark};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The shared marks of scopes with unverified writes in flight.
#[derive(Debug, Default)]
pub(super) struct SharedMarks {
    by_scope: Mutex<HashMap<Scope, SharedMark>>,
}

impl SharedMarks {
    /// Joins the mark of a scope; `new` creates its token if there is none.
    pub fn join(self: &Arc<SharedMarks>, scope: Scope, new: impl FnOnce() -> Token) -> SharedMarkPart {
        let mark = self.by_scope.lock().entry(scope).or_default().join(new);
        SharedMarkPart { marks: self.clone(), scope, mark, left: false }
    }

    fn of<R>(&self, scope: Scope, act: impl FnOnce(&mut SharedMark) -> R) -> R {
        let mut by_scope = self.by_scope.lock();
        let shared = by_scope.entry(scope).or_default();
        let result = act(shared);
        if shared.is_idle() {
            by_scope.remove(&scope);
        }
        result
    }
}

/// A write's part in a shared mark. If it is dropped in flight, the write may still be executed, so the mark is left to
/// expire.
#[derive(Debug)]
pub(super) struct SharedMarkPart {
    marks: Arc<SharedMarks>,
    scope: Scope,
    /// The mark's token in the store.
    pub mark: Token,
    left: bool,
}

impl SharedMarkPart {
    /// The write's outcome is known.
    pub fn leave(&mut self, unchanged: bool) -> LeaveAction {
        self.step(|shared, mark| shared.leave(mark, unchanged))
    }

    /// The store has recorded what the write changed.
    pub fn recorded(&mut self) -> LeaveAction {
        self.step(SharedMark::recorded)
    }

    /// Another mark covers what the write may still change.
    pub fn leave_unknown(&mut self) -> LeaveAction {
        self.step(SharedMark::leave_unknown)
    }

    /// The mark must stay until it expires.
    pub fn retire(&mut self) {
        self.left = true;
        self.marks.of(self.scope, |shared| shared.retire(self.mark));
    }

    fn step(&mut self, step: impl FnOnce(&mut SharedMark, Token) -> LeaveAction) -> LeaveAction {
        let leave = self.marks.of(self.scope, |shared| step(shared, self.mark));
        self.left |= leave != LeaveAction::Record;
        leave
    }
}

impl Drop for SharedMarkPart {
    fn drop(&mut self) {
        if !self.left {
            self.retire();
        }
    }
}
