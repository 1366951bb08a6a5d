//! What became of a request: what metrics and the log line tell.

use crate::model::{Operation, Rule, Violations};
use crate::telemetry::{CacheStatus, Decision};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The upstream's place in the configuration; none where the request was for none.
    pub upstream: Option<usize>,
    /// The operation.
    pub operation: Operation,
    /// What the gateway did.
    pub decision: Decision,
    /// What the cache had to do with it.
    pub cache: CacheStatus,
    /// Why it was rejected, by name.
    pub rejection: Option<&'static str>,
    /// The rules that were broken, each once.
    pub rules: Vec<Rule>,
    /// What stands for the session.
    pub session: Option<[u8; 16]>,
}

impl Outcome {
    /// Notes the rules that were broken, each once.
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
