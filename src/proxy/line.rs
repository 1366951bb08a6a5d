//! The end of a request: its metrics, and its line in the log.

use super::exchange::Context;
use crate::gateway::Outcome;
use crate::runtime::{LineFormat, hex};
use pingora::prelude::Session;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Accounts for a request that is over.
pub(super) fn account(session: &Session, context: &Context) {
    let took = context.started.elapsed();
    let status = session.response_written().map_or(0, |response| response.status.as_u16());
    context.runtime.metrics.request(&context.outcome, status, took);
    if let Some(format) = context.runtime.log_requests {
        context.runtime.journal.line(line(session, context, status, took, format).as_bytes());
    }
}

/// The line. It holds no path, since paths hold identifiers, and nothing that a caller could use to forge another line: methods
/// and addresses have no quotes or line feeds.
fn line(session: &Session, context: &Context, status: u16, took: Duration, format: LineFormat) -> String {
    let mut line = Line { text: String::with_capacity(512), format };
    let Outcome { upstream, operation, decision, cache, refusal, rules, session: hash } = &context.outcome;
    let upstreams = context.runtime.gateway.upstreams();
    line.begin();
    line.word("request", context.id.to_str().unwrap_or_default());
    if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
        line.shown("client", address.ip());
    }
    line.word("method", session.req_header().method.as_str());
    line.number("status", u64::from(status));
    line.word("upstream", upstream.and_then(|at| upstreams.get(at)).map_or("", |one| one.name.as_str()));
    line.word("operation", operation.name());
    line.word("decision", decision.name());
    line.word("cache", cache.name());
    if let Some(refusal) = refusal {
        line.word("reason", refusal);
    }
    if !rules.is_empty() {
        let rules: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
        line.word("rules", &rules.join(","));
    }
    if let Some(hash) = hash {
        line.word("session", &hex(hash));
    }
    line.number("bytes", session.body_bytes_sent() as u64);
    line.number("duration_us", u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    line.end()
}

struct Line {
    text: String,
    format: LineFormat,
}

impl Line {
    fn begin(&mut self) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        // Writing to a String cannot fail.
        let _ = match self.format {
            LineFormat::Json => {
                write!(self.text, "{{\"timestamp\":\"{time}\",\"level\":\"INFO\",\"message\":\"request\"")
            }
            LineFormat::Text => write!(self.text, "{time}  INFO request"),
        };
    }

    /// Without formatting: most of a line is words, and each request has a line.
    fn word(&mut self, key: &str, value: &str) {
        let [before, between, after] = match self.format {
            LineFormat::Json => [",\"", "\":\"", "\""],
            LineFormat::Text => [" ", "=", ""],
        };
        for part in [before, key, between, value, after] {
            self.text.push_str(part);
        }
    }

    fn shown(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = match self.format {
            LineFormat::Json => write!(self.text, ",\"{key}\":\"{value}\""),
            LineFormat::Text => write!(self.text, " {key}={value}"),
        };
    }

    fn number(&mut self, key: &str, value: u64) {
        let _ = match self.format {
            LineFormat::Json => write!(self.text, ",\"{key}\":{value}"),
            LineFormat::Text => write!(self.text, " {key}={value}"),
        };
    }

    fn end(mut self) -> String {
        self.text.push_str(match self.format {
            LineFormat::Json => "}\n",
            LineFormat::Text => "\n",
        });
        self.text
    }
}
