//! The state of an introspection endpoint. Strangers choose tokens, so what one token may cause is not the endpoint's
//! state.

use super::endpoint::CallError;
use crate::telemetry::IntrospectionFailure;
use enum_map::EnumMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long the same cause is not logged again.
const QUIET: Duration = Duration::from_secs(30);

/// The state of an introspection endpoint.
#[derive(Debug, Default)]
pub(super) struct EndpointState {
    works: bool,
    is_failing: bool,
    outage: Option<Instant>,
    /// The cause in the log, if it says that the endpoint fails.
    announced: Option<IntrospectionFailure>,
    logged: EnumMap<IntrospectionFailure, Option<Instant>>,
}

/// A change to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The endpoint fails, or does so for another cause.
    Fails,
    /// The endpoint works, but not for a token.
    FailsForToken,
    /// It works again.
    Recovered,
}

impl EndpointState {
    /// Whether an introspection has succeeded.
    pub fn works(&self) -> bool {
        self.works
    }

    /// Whether the endpoint fails: it has an outage, does not accept the gateway's client, or has never worked.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// When the last introspection failed, if that was because of an outage.
    pub fn outage(&self) -> Option<Instant> {
        self.outage
    }

    /// An introspection has ended.
    pub fn finished(&mut self, error: Option<&CallError>) -> Option<Change> {
        self.outage = error.filter(|error| error.is_outage).map(|_| Instant::now());
        let Some(CallError { cause, is_outage, .. }) = error else {
            self.works = true;
            self.is_failing = false;
            return self.announced.take().map(|_| Change::Recovered);
        };
        if self.works && !is_outage && *cause != IntrospectionFailure::Client {
            return self.may_log(*cause).then_some(Change::FailsForToken);
        }
        self.is_failing = true;
        if self.announced == Some(*cause) || !self.may_log(*cause) {
            return None;
        }
        self.announced = Some(*cause);
        Some(Change::Fails)
    }

    /// Whether the log has no line of this cause that is too young.
    fn may_log(&mut self, cause: IntrospectionFailure) -> bool {
        let may = self.logged[cause].is_none_or(|at| at.elapsed() >= QUIET);
        if may {
            self.logged[cause] = Some(Instant::now());
        }
        may
    }
}
