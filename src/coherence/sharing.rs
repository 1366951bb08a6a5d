//! The mark that writes share whose callers the gateway has not verified.
//!
//! Anybody can send such writes, so how many there are says nothing. In each process those of one scope share one mark:
//! they cannot fill a session's marks, and so never get another caller's write rejected. [`SharedMark`] says which mark
//! a write joins, and what remains to be done when it leaves.

use super::Token;

/// The mark that the unverified writes in flight on one scope share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SharedMark {
    open: Option<Open>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Open {
    mark: Token,
    writers: usize,
    /// Whether any of its writes so far has changed something, or may have.
    changed: bool,
}

/// What remains to be done for a write whose outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveAction {
    /// It was the last: it ends the mark, and so records what it changed too. Nobody joins this mark any more.
    End {
        /// Whether none of the mark's writes changed anything.
        unchanged: bool,
    },
    /// Others still need the mark. It records what it changed under a token of its own, and then leaves by
    /// [`SharedMark::recorded`].
    Record,
    /// Others still need the mark, and there is nothing to record: it has left.
    Others,
    /// The mark runs out by itself. It records what it changed under a token of its own.
    Retired,
}

impl SharedMark {
    /// A write joins. It may be sent once the store has confirmed this mark for as long as the write may take; `new`
    /// names a mark where there is none to join.
    pub fn join(&mut self, new: impl FnOnce() -> Token) -> Token {
        let open = self.open.get_or_insert_with(|| Open { mark: new(), writers: 0, changed: false });
        open.writers += 1;
        open.mark
    }

    /// The outcome of a write is known. What it changed counts from here on, whether the store confirms the rest or
    /// not.
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

    /// A write whose outcome is not known leaves: another mark, which nobody takes away, stands for what it may still
    /// change.
    pub fn handed_over(&mut self, mark: Token) -> LeaveAction {
        if let Some(open) = self.open.as_mut().filter(|open| open.mark == mark) {
            open.changed = true;
        }
        self.recorded(mark)
    }

    /// A write that has recorded what it changed leaves.
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

    /// The mark has to stand until it runs out: nobody ends it any more, and later writes take a new one.
    pub fn retire(&mut self, mark: Token) {
        if self.open.as_ref().is_some_and(|open| open.mark == mark) {
            self.open = None;
        }
    }

    /// Whether no write needs it, so that it can be forgotten.
    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }
}
