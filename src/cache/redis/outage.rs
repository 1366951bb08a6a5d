//! Why a server is not used, and since when. The log has one line when an outage begins, one for each new reason, and
//! one when it ends; attempts in between are only counted.

use crate::cache::StoreOutage;
use crate::telemetry::StoreRefusal;
use parking_lot::Mutex;
use redis::{ErrorKind, RedisError};
use std::time::Instant;

/// The most reasons of one outage that are logged.
const MAX_REASONS: usize = 16;
/// The most characters of a reason.
const MAX_REASON: usize = 200;

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// No connection could be opened.
    Unreachable(String),
    /// The connection ended, or was closed because commands timed out.
    Lost(String),
    /// The server replied with an error, and the gateway closed the connection.
    Rejected { code: String, reason: String },
}

impl Cause {
    /// The cause of an error while connecting.
    pub fn of(error: &RedisError) -> Cause {
        let reason = describe(error);
        match code(error) {
            Some(code) => Cause::Rejected { code: code.to_owned(), reason },
            None => Cause::Unreachable(reason),
        }
    }

    /// The label in metrics.
    pub fn refusal(&self) -> StoreRefusal {
        match self {
            Cause::Unreachable(_) | Cause::Lost(_) => StoreRefusal::None,
            Cause::Rejected { code, .. } => StoreRefusal::of(code),
        }
    }

    /// The code, if there is one, and the reason.
    pub fn text(&self) -> String {
        match self {
            Cause::Unreachable(reason) | Cause::Lost(reason) => reason.clone(),
            Cause::Rejected { code, reason } => format!("{code} {reason}"),
        }
    }

    fn log(&self, server: &str) {
        match self {
            Cause::Unreachable(reason) => tracing::warn!(server, reason, "cannot connect to the store; retrying"),
            Cause::Lost(reason) => tracing::warn!(server, reason, "store disconnected"),
            Cause::Rejected { code, reason } => {
                tracing::warn!(server, code, reason, "store rejects commands; connection closed");
            }
        }
    }
}

/// Whether a server is usable.
pub(super) struct Health {
    outage: Mutex<Option<Outage>>,
}

struct Outage {
    since: Instant,
    last: Option<Cause>,
    /// What the log has about this outage.
    logged: Vec<Cause>,
}

impl Health {
    /// A server that has not been connected yet.
    pub fn new() -> Health {
        Health { outage: Mutex::new(Some(Outage { since: Instant::now(), last: None, logged: Vec::new() })) }
    }

    /// The server cannot be used.
    pub fn failed(&self, server: &str, cause: Cause) {
        let mut outage = self.outage.lock();
        let outage = outage.get_or_insert_with(|| Outage { since: Instant::now(), last: None, logged: Vec::new() });
        if !outage.logged.contains(&cause) && outage.logged.len() < MAX_REASONS {
            cause.log(server);
            outage.logged.push(cause.clone());
        }
        outage.last = Some(cause);
    }

    /// The server has proven usable.
    pub fn usable(&self, server: &str) {
        if let Some(outage) = self.outage.lock().take() {
            let unusable_s = outage.since.elapsed().as_secs();
            tracing::info!(server, unusable_s, "store usable");
        }
    }

    /// The current outage. An open connection ends it only after a heartbeat, except after the start.
    pub fn outage(&self, connected: bool) -> Option<StoreOutage> {
        let outage = self.outage.lock();
        let outage = outage.as_ref().filter(|outage| !connected || outage.last.is_some())?;
        let reason = outage.last.as_ref().map_or_else(|| "not connected yet".to_owned(), Cause::text);
        Some(StoreOutage { lasted: outage.since.elapsed(), reason })
    }
}

/// The code of an error reply.
fn code(error: &RedisError) -> Option<&str> {
    match error.kind() {
        // The client library drops the code of a failed login.
        ErrorKind::AuthenticationFailed => Some("WRONGPASS"),
        _ => error.code(),
    }
}

/// Describes an error without the text of commands and without the script that it came from.
pub(super) fn describe(error: &RedisError) -> String {
    let text = match error.detail() {
        Some(detail) if code(error).is_some() => detail.to_owned(),
        Some(detail) => format!("{:?}: {detail}", error.kind()),
        None => error.to_string(),
    };
    let text = text.split(" script: ").next().unwrap_or_default();
    text.trim_end_matches([' ', ',', '.']).chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(line: &str) -> Cause {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let error: Result<redis::Value, RedisError> = value.extract_error();
        Cause::of(&error.unwrap_err())
    }

    #[test]
    fn causes_have_the_code_of_redis_and_no_script() {
        let oom = "OOM command not allowed when used memory > 'maxmemory'. script: 8247, on @user_script:140.";
        for (line, text, refusal) in [
            (oom, "OOM command not allowed when used memory > 'maxmemory'", StoreRefusal::Oom),
            (
                "READONLY You can't write against a read only replica.",
                "READONLY You can't write against a read only replica",
                StoreRefusal::Readonly,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "NOREPLICAS Not enough good replicas to write",
                StoreRefusal::Noreplicas,
            ),
            ("NEWCODE something", "NEWCODE something", StoreRefusal::Other),
        ] {
            let cause = rejected(line);
            assert_eq!((cause.text().as_str(), cause.refusal()), (text, refusal), "{line}");
        }
    }

    #[test]
    fn outage_lasts_until_the_server_is_usable() {
        let health = Health::new();
        assert_eq!(health.outage(false).unwrap().reason, "not connected yet");
        assert_eq!(health.outage(true), None, "the first connection");
        health.usable("one");
        assert_eq!(health.outage(false), None);
        health.failed("one", rejected("OOM full"));
        health.failed("one", Cause::Lost("gone".to_owned()));
        health.failed("one", rejected("OOM full"));
        assert_eq!(health.outage(true).unwrap().reason, "OOM full", "a connection alone does not end it");
        assert_eq!(health.outage.lock().as_ref().unwrap().logged.len(), 2, "each reason once");
        health.usable("one");
        assert_eq!(health.outage(true), None);
    }
}
