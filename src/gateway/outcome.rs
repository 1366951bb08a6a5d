//! The outcome of a request, for metrics and the access log.

use crate::model::{Operation, Rule, Violations};
use crate::telemetry::{CacheStatus, Decision};

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The violated rules, each once.
    pub rules: Vec<Rule>,
    /// The keyed hash of the session ID.
    pub session: Option<[u8; 16]>,
}

impl Outcome {
    /// Adds the violated rules, each once.
    pub fn add_rules(&mut self, violations: &Violations) {
        self.rules.extend(violations.rules());
        self.rules.sort_unstable();
        self.rules.dedup();
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
            rules: Vec::new(),
            session: None,
        }
    }
}
