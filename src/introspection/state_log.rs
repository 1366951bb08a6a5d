//! The lines of the log about introspection: each is logged when a state changes, and not repeated while it lasts.

use super::Introspector;
use super::endpoint::CallError;
use crate::model::{Rejection, truncated};
use crate::telemetry::Label;
use std::sync::atomic::Ordering;

/// The maximum length of a list of accepted values, in bytes.
const MAX_LIST: usize = 500;

impl Introspector {
    /// Records the result of an introspection, and logs a change: also if the cause changes.
    pub(super) fn record(&self, error: Option<&CallError>) {
        let cause = error.map(|error| error.cause);
        let mut failing = self.failing.lock();
        if *failing == cause {
            return;
        }
        *failing = cause;
        match error {
            Some(CallError { cause, reason }) => {
                tracing::warn!(upstream = self.name, cause = cause.name(), reason, "cannot introspect tokens");
            }
            None => tracing::info!(upstream = self.name, "tokens can be introspected again"),
        }
    }

    /// Logs an active token whose issuer or audience is not accepted, if none was accepted before: then the option is
    /// probably wrong, and not the token.
    pub(super) fn record_rejection(&self, rejection: &Rejection) {
        let (option, accepted) = match rejection {
            Rejection::TokenIssuer => ("issuer", &self.expected.issuers),
            Rejection::TokenAudience(_) => ("audience", &self.expected.audiences),
            _ => return,
        };
        if self.knows_token.swap(true, Ordering::Relaxed) {
            return;
        }
        let (cause, expected) = (rejection.name(), truncated(accepted.join(" "), MAX_LIST));
        let option = format!("upstreams.{}.auth.{option}", self.name);
        tracing::warn!(
            upstream = self.name,
            cause,
            option,
            expected,
            "first token of the issuer rejected; the option may be wrong"
        );
    }
}
