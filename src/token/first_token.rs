//! Whether an option for the tokens of an issuer may be wrong.

use super::Expectations;
use crate::model::{Rejection, truncated};
use std::sync::atomic::{AtomicBool, Ordering};

/// The maximum length of a list of accepted values, in bytes.
const MAX_LIST: usize = 500;

/// Whether the issuer's first token was seen: one that it signed, or says that it is active. If that is rejected, the
/// option is probably wrong, and not the token.
#[derive(Debug, Default)]
pub struct FirstToken(AtomicBool);

/// An option that may be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct SuspectOption {
    /// Its path in the configuration.
    pub option: String,
    /// What it accepts. Bounded in length.
    pub accepted: String,
}

impl FirstToken {
    /// A token was accepted.
    pub fn accepted(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A token was rejected. The option that may be wrong, if it was the first token: one of those at the path `auth`.
    /// Other rejections than for its issuer or audience do not count: anybody can cause them.
    pub fn rejected(&self, auth: &str, expected: &Expectations, rejection: &Rejection) -> Option<SuspectOption> {
        let (option, accepted) = match rejection {
            Rejection::TokenIssuer => ("issuer", &expected.issuers),
            Rejection::TokenAudience(_) => ("audience", &expected.audiences),
            _ => return None,
        };
        let is_first = !self.0.swap(true, Ordering::Relaxed);
        is_first.then(|| SuspectOption {
            option: format!("{auth}.{option}"),
            accepted: truncated(accepted.join(" "), MAX_LIST),
        })
    }
}
