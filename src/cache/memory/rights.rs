//! The exclusive rights of the store in memory.

use crate::cache::{SessionName, StoreError};
use crate::coherence::exclusive::{ExclusiveRight, RightReply, RightStep};
use crate::coherence::{Millis, Token};
use crate::telemetry::StoreFailure;
use parking_lot::Mutex;
use std::collections::HashMap;

/// The most sessions with a right that is held or reserved, or whose version is known. Beyond it versions are forgotten,
/// and if that does not suffice, no right is taken, since none may be evicted.
const MAX_RIGHTS: usize = 100_000;

/// The rights that are held or reserved, and the newest versions.
#[derive(Default)]
pub(super) struct Rights(Mutex<HashMap<SessionName, ExclusiveRight>>);

impl Rights {
    pub fn step(
        &self,
        name: SessionName,
        writer: Token,
        step: RightStep,
        now: Millis,
    ) -> Result<RightReply, StoreError> {
        let mut rights = self.0.lock();
        let records = matches!(step, RightStep::Take { .. } | RightStep::GiveBack { version: Some(_), .. });
        if !records && !rights.contains_key(&name) {
            return Ok(RightReply::NotHeld(0));
        }
        if rights.len() >= MAX_RIGHTS && !rights.contains_key(&name) {
            rights.retain(|_, right| !right.is_idle(now));
            if rights.len() >= MAX_RIGHTS {
                rights.retain(|_, right| !right.is_free(now));
            }
            if rights.len() >= MAX_RIGHTS {
                return Err(StoreFailure::Busy.into());
            }
        }
        let right = rights.entry(name).or_default();
        let reply = right.step(writer, step, now);
        if right.is_idle(now) {
            rights.remove(&name);
        }
        Ok(reply)
    }

    /// Removes what has expired.
    pub fn sweep(&self, now: Millis) {
        self.0.lock().retain(|_, right| !right.is_idle(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_bounded_and_none_is_evicted() {
        let (rights, session) = (Rights::default(), |number: usize| (number as u64, [0; 16]));
        let take = |number, now| {
            let step = RightStep::Take { tenant: [0; 16], lifetime: 10 };
            rights.step(session(number), Token(number as u128), step, now)
        };
        let give_back = |number: usize, version, now| {
            let step = RightStep::GiveBack { tenant: [0; 16], version };
            rights.step(session(number), Token(number as u128), step, now).unwrap();
        };
        let held = Ok(RightReply::Held { left: 10, newest: None });
        assert!((0..MAX_RIGHTS).all(|number| take(number, 0) == held));
        assert_eq!(take(MAX_RIGHTS, 9), Err(StoreFailure::Busy.into()));
        assert_eq!(take(7, 9), held, "the holder's own");
        give_back(8, Some(1), 9);
        assert_eq!(take(MAX_RIGHTS, 9), held, "only a version was known");
        assert_eq!(take(MAX_RIGHTS + 1, 10), held, "the others have expired");
        assert_eq!(rights.0.lock().len(), 3);
        give_back(7, None, 10);
        rights.sweep(20);
        assert!(rights.0.lock().is_empty());
    }
}
