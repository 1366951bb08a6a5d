//! The lines of the log about an issuer: each is logged when a state changes, and not repeated while it lasts.

use super::{FetchError, Issuer, IssuerMismatch, LoggedFailure};
use crate::model::Rejection;
use crate::telemetry::Label;
use crate::token::{KeySet, SuspectOption, UnusedKey, describe_unused};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Issuer {
    /// Logs a token that the issuer signed and that is not accepted, if it is the first one and none was accepted
    /// before: then the option is probably wrong, and not the token. Other rejections do not say that: anybody can
    /// cause them.
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

    /// Records whether the discovery document names another issuer, and logs a change.
    pub(super) fn record_mismatch(&self, found: Option<IssuerMismatch>) {
        let last = self.mismatch.swap(found.clone().map(Arc::new));
        self.has_discovery.store(true, Ordering::Release);
        if last.as_deref() == found.as_ref() {
            return;
        }
        match found {
            Some(IssuerMismatch { configured, discovered, hint }) => tracing::error!(
                upstream = self.name,
                configured,
                discovered,
                hint,
                "the issuer's discovery document names another issuer"
            ),
            None => tracing::info!(
                upstream = self.name,
                issuer = self.source.issuer,
                "the issuer's discovery document names the configured issuer"
            ),
        }
    }

    /// Logs new keys and those that are unusable: tokens signed with the latter are rejected. Without `had_keys` they
    /// are the first ones, and no rotation: a reload may make a new issuer with the same keys.
    pub(super) fn log_keys(&self, keys: &KeySet, had_keys: bool) {
        if had_keys {
            tracing::info!(upstream = self.name, issuer = self.source.issuer, keys = keys.len(), "issuer keys updated");
        } else {
            tracing::info!(upstream = self.name, issuer = self.source.issuer, keys = keys.len(), "issuer keys fetched");
        }
        let named = |may_sign: bool| keys.unused_keys().iter().filter(move |one: &&UnusedKey| one.may_sign == may_sign);
        if named(true).next().is_some() {
            let unused_keys = describe_unused(named(true));
            tracing::warn!(
                upstream = self.name,
                issuer = self.source.issuer,
                left_out = unused_keys,
                "issuer keys not usable; tokens signed with them are rejected"
            );
        }
        if named(false).next().is_some() {
            let unused_keys = describe_unused(named(false));
            tracing::info!(
                upstream = self.name,
                issuer = self.source.issuer,
                left_out = unused_keys,
                "issuer keys for other uses ignored"
            );
        }
    }

    /// Records the result of a fetch, and logs a change: also if the cause changes, or the previous keys become too old.
    pub(super) fn record_result(&self, error: Option<&FetchError>) {
        let has_keys = self.keys.load().as_ref().is_some_and(|fetched| self.holds(fetched));
        let failure = error.map(|error| LoggedFailure { cause: error.cause, has_keys });
        let mut failing = self.failing.lock();
        if *failing == failure {
            return;
        }
        *failing = failure;
        let Some(error) = error else {
            tracing::info!(upstream = self.name, issuer = self.source.issuer, "issuer keys can be fetched again");
            return;
        };
        let (cause, reason) = (error.cause.name(), error.to_string());
        if has_keys {
            tracing::warn!(
                upstream = self.name,
                issuer = self.source.issuer,
                cause,
                reason,
                "cannot fetch issuer keys; still using the previous keys"
            );
        } else {
            tracing::warn!(
                upstream = self.name,
                issuer = self.source.issuer,
                cause,
                reason,
                "cannot fetch issuer keys"
            );
        }
    }
}
