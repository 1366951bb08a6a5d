//! The outcome of a request, for metrics and the access log.

use super::policy_findings::PolicyFindings;
use crate::dialect::Route;
use crate::model::{Operation, Quota, Violations};
use crate::telemetry::{CacheStatus, Decision, RightResult};
use crate::token::Verified;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// The outcome of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The upstream's index in the configuration; `None` if none matched.
    pub upstream: Option<usize>,
    /// The operation.
    pub operation: Operation,
    /// What the gateway did.
    pub decision: Decision,
    /// How the cache took part.
    pub cache: CacheStatus,
    /// The name of the rejection.
    pub rejection: Option<&'static str>,
    /// What the policy found, if one evaluated the request.
    pub findings: Option<Box<PolicyFindings>>,
    /// The governed operation's row, if the request matches one.
    pub route: Option<&'static Route>,
    /// The caller, as soon as the token is verified.
    pub caller: Option<Arc<Verified>>,
    /// The name of the caller's grant; empty if the upstream has grants and none is the caller's.
    pub grant: Option<Arc<str>>,
    /// What no grant allows the caller, if that rejected the request.
    pub not_granted: Option<Box<str>>,
    /// The keyed hash of the session ID.
    pub session: Option<[u8; 16]>,
    /// The exclusive right that a write took, or tried to take.
    pub right: Option<RightUse>,
    /// The last request that was sent to the provider for this one; `None` if there was none, as for a cache hit or a
    /// read that joined the fetch of another.
    pub exchange: Option<UpstreamExchange>,
}

/// A write's use of an exclusive right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RightUse {
    /// What came of it.
    pub result: RightResult,
    /// How long it took to get the right, or to give up.
    pub wait: Duration,
}

/// What happened to a request at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamExchange {
    /// What came of it.
    pub result: UpstreamResult,
    /// Time from sending, including the connection if a new one was needed, to the end of the response head, or to the
    /// failure.
    pub duration: Duration,
    /// How often the request was sent. An attempt without a connection counts.
    pub attempts: u32,
    /// The provider's request limit, as the response reports it.
    pub quota: Quota,
}

/// What came of a request to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamResult {
    /// Nothing yet: the client's request ended before the provider responded.
    #[default]
    Pending,
    /// A response. For calls that the gateway reads, the HTTP equivalent of their status.
    Status(StatusCode),
    /// No response, or an unusable one.
    Failed,
}

impl UpstreamResult {
    /// The status of the response, if there is one.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            UpstreamResult::Status(status) => Some(status),
            UpstreamResult::Pending | UpstreamResult::Failed => None,
        }
    }
}

impl Outcome {
    /// These violations rejected the request. If they are not a policy's, the log has only their rules: the fields of a
    /// body that is no metadata may be anything.
    pub fn add_violations(&mut self, violations: &Violations) {
        match &mut self.findings {
            Some(findings) => findings.violations = violations.clone(),
            None => self.findings.get_or_insert_default().violations = violations.rules_only(),
        }
    }
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome {
            upstream: None,
            operation: Operation::Other,
            decision: Decision::Rejected,
            cache: CacheStatus::None,
            rejection: None,
            findings: None,
            caller: None,
            grant: None,
            not_granted: None,
            route: None,
            session: None,
            right: None,
            exchange: None,
        }
    }
}
