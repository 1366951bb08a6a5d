//! The lines of the log about introspection.

use super::Introspector;
use super::endpoint::CallError;
use super::endpoint_state::Change;
use crate::model::Rejection;
use crate::telemetry::Label;
use crate::token::SuspectOption;

impl Introspector {
    /// Records the result of an introspection, and logs what changed.
    pub(super) fn record(&self, error: Option<&CallError>) {
        let change = self.state.lock().finished(error);
        let cause = error.map_or("", |error| error.cause.name());
        let reason = error.map_or("", |error| &error.reason);
        match change {
            Some(Change::Fails) => tracing::warn!(
                upstream = self.name,
                issuer = self.source.issuer,
                cause,
                reason,
                "cannot introspect tokens"
            ),
            Some(Change::FailsForToken) => {
                tracing::warn!(
                    upstream = self.name,
                    issuer = self.source.issuer,
                    cause,
                    reason,
                    "cannot introspect a token"
                );
            }
            Some(Change::Recovered) => {
                tracing::info!(upstream = self.name, issuer = self.source.issuer, "tokens can be introspected again")
            }
            None => {}
        }
    }

    /// Logs an active token whose issuer or audience is not accepted, if none was accepted before: then the option is
    /// probably wrong, and not the token.
    pub(super) fn record_rejection(&self, rejection: &Rejection) {
        let Some(SuspectOption { option, accepted }) =
            self.first.rejected(&self.option.lock(), &self.expected, rejection)
        else {
            return;
        };
        tracing::warn!(
            upstream = self.name,
            issuer = self.source.issuer,
            cause = rejection.name(),
            option,
            expected = accepted,
            "first token of the issuer rejected; the option may be wrong"
        );
    }
}
