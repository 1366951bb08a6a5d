//! The mark that writes of unverified callers share.
//!
//! Anyone can send such writes, in any number. In each process those of one scope share one mark: they cannot use up a
//! session's marks, so they never cause another caller's write to be rejected. [`SharedMark`] decides which mark a
//! write joins, and what remains to be done when it leaves.

use super::Token;

/// The mark that the unverified writes in flight on one scope share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SharedMark {
    open: Option<OpenMark>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OpenMark {
    mark: Token,
    writers: usize,
    /// Whether any of its writes has changed something, or may have.
    changed: bool,
}

/// What remains to be done for a write whose outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveAction {
    /// It was the last write: end the mark, which also records the change. No later write joins this mark.
    End {
        /// Whether none of the mark's writes changed anything.
        unchanged: bool,
    },
    /// Other writes still use the mark. Record the change under a new token, then leave with [`SharedMark::recorded`].
    Record,
    /// Other writes still use the mark, and there is nothing to record. The write has left.
    Others,
    /// The mark expires on its own. Record the change under a new token.
    Retired,
}

impl SharedMark {
    /// Adds a write. It may be sent once the store has confirmed this mark for as long as the write may take. `new`
    /// creates a mark if none is open.
    pub fn join(&mut self, new: impl FnOnce() -> Token) -> Token {
        let open = self.open.get_or_insert_with(|| OpenMark { mark: new(), writers: 0, changed: false });
        open.writers += 1;
        open.mark
    }

    /// Reports a write's outcome. Its change counts from now on, whether or not the store confirms the rest.
    pub fn leave(&mut self, mark: Token, unchanged: bool) -> LeaveAction {
        let Some(open) = self.open.as_mut().filter(|open| open.mark == mark) else {
            return LeaveAction::Retired;
        };
        open.changed |= !unchanged;
        if open.writers > 1 && !unchanged {
            return LeaveAction::Record;
        }
        self.recorded(mark)
    }

    /// Removes a write whose outcome is unknown. Another mark, which expires on its own, covers what it may still
    /// change.
    pub fn leave_unknown(&mut self, mark: Token) -> LeaveAction {
        if let Some(open) = self.open.as_mut().filter(|open| open.mark == mark) {
            open.changed = true;
        }
        self.recorded(mark)
    }

    /// Removes a write whose change is recorded.
    pub fn recorded(&mut self, mark: Token) -> LeaveAction {
        let Some(open) = self.open.as_mut().filter(|open| open.mark == mark) else {
            return LeaveAction::Retired;
        };
        open.writers = open.writers.saturating_sub(1);
        if open.writers > 0 {
            return LeaveAction::Others;
        }
        let unchanged = !open.changed;
        self.open = None;
        LeaveAction::End { unchanged }
    }

    /// Lets the mark expire on its own: it is not ended, and later writes get a new one.
    pub fn retire(&mut self, mark: Token) {
        if self.open.as_ref().is_some_and(|open| open.mark == mark) {
            self.open = None;
        }
    }

    /// Whether no write uses it, so it can be dropped.
    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }
}
