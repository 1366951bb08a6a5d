//! What became of a request: what metrics and the log line tell.

use crate::model::{Operation, Rule, Violations};

/// What the gateway did. A closed set: it is also the `decision` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Answered a governed request, from the cache or from the provider.
    Answered,
    /// Passed an ungoverned request.
    Passed,
    /// Refused the request.
    Refused,
    /// Answered in the place of a provider that failed.
    Failed,
    /// Nothing, or not all: the client left before its response was written.
    ClientGone,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Decision; 5] =
        [Decision::Answered, Decision::Passed, Decision::Refused, Decision::Failed, Decision::ClientGone];

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Answered => "answered",
            Decision::Passed => "passed",
            Decision::Refused => "refused",
            Decision::Failed => "failed",
            Decision::ClientGone => "client_gone",
        }
    }
}

/// What the cache had to do with a request. A closed set: it is also the `cache` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// Nothing.
    None,
    /// It answered.
    Hit,
    /// It answered that the session was deleted.
    Deleted,
    /// It had no answer; this request fetched one.
    Miss,
    /// It had no answer; this request shared the fetch of another.
    Coalesced,
    /// It was left out: a write was in flight, or it could not be reached.
    Bypass,
}

impl CacheStatus {
    /// Every status.
    pub const ALL: [CacheStatus; 6] = [
        CacheStatus::None,
        CacheStatus::Hit,
        CacheStatus::Deleted,
        CacheStatus::Miss,
        CacheStatus::Coalesced,
        CacheStatus::Bypass,
    ];

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            CacheStatus::None => "none",
            CacheStatus::Hit => "hit",
            CacheStatus::Deleted => "deleted",
            CacheStatus::Miss => "miss",
            CacheStatus::Coalesced => "coalesced",
            CacheStatus::Bypass => "bypass",
        }
    }
}

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
    /// Why it was refused, by name.
    pub refusal: Option<&'static str>,
    /// The rules that were broken, each once.
    pub rules: Vec<Rule>,
    /// What stands for the session.
    pub session: Option<[u8; 16]>,
}

impl Outcome {
    /// Notes the rules that were broken, each once.
    pub fn note(&mut self, violations: &Violations) {
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
            decision: Decision::Refused,
            cache: CacheStatus::None,
            refusal: None,
            rules: Vec::new(),
            session: None,
        }
    }
}
