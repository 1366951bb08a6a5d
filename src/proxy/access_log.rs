//! The end of a request: its metrics and its access log line.

use super::access_log_fields::{self as fields, LogField};
use super::context::Context;
use crate::gateway::{Outcome, UpstreamExchange};
use crate::provider::ExchangeRecord;
use crate::runtime::LineFormat;
use crate::telemetry::{Decision, Label};
use crate::wire::hex;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Counts a finished request and writes its access log line, with the status and the bytes of its response.
pub(super) fn account(context: &mut Context, status: u16, bytes: usize) {
    context.is_accounted_for = true;
    let took = context.started.elapsed();
    if let Some(observed) = context.observed.take().filter(|_| context.outcome.decision == Decision::Failed) {
        observed.failed();
    }
    context.outcome.exchange = context.record.as_ref().and_then(ExchangeRecord::read);
    context.runtime.metrics.request(&context.outcome, status, took);
    if let Some(format) = context.runtime.log_requests {
        context.runtime.log_writer.line(line(context, (status, bytes), took, format).as_bytes());
    }
}

/// Formats the line. It has no path, since paths contain identifiers, and nothing that could forge another line:
/// methods and addresses have no quotes or line feeds.
fn line(context: &Context, (status, bytes): (u16, usize), took: Duration, format: LineFormat) -> String {
    let mut line = Line { text: String::with_capacity(512), format };
    let Outcome { upstream, operation, decision, cache, rejection, rules, session: hash, exchange } = &context.outcome;
    let upstreams = context.runtime.gateway.upstreams();
    // A client that leaves needs no operator's attention.
    line.begin(*decision == Decision::ClientGone);
    line.word(&fields::REQUEST_ID, context.id.to_str().unwrap_or_default());
    line.word(&fields::TRACE_ID, context.trace.id());
    if let Some(address) = context.client {
        line.address(&fields::CLIENT_ADDRESS, address);
    }
    line.word(&fields::METHOD, context.method.as_str());
    line.number(&fields::STATUS, u64::from(status));
    line.word(&fields::UPSTREAM, upstream.and_then(|at| upstreams.get(at)).map_or("", |one| one.name.as_str()));
    line.word(&fields::OPERATION, operation.name());
    line.word(&fields::DECISION, decision.name());
    line.word(&fields::CACHE, cache.name());
    if let Some(rejection) = rejection {
        line.word(&fields::REASON, rejection);
    }
    if !rules.is_empty() {
        let rules: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
        line.word(&fields::RULES, &rules.join(","));
    }
    if let Some(hash) = hash {
        line.word(&fields::SESSION_HASH, &hex::text(hash));
    }
    line.number(&fields::BYTES, bytes as u64);
    line.number(&fields::DURATION_US, micros(took));
    if let Some(exchange) = exchange {
        line.exchange(exchange);
    }
    line.end()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

struct Line {
    text: String,
    format: LineFormat,
}

impl Line {
    /// Writes the fields that every line of the log has: `TIMESTAMP`, `LEVEL` and `MESSAGE`.
    fn begin(&mut self, minor: bool) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let (before, after) = match (self.format, minor) {
            (LineFormat::Json, false) => ("{\"timestamp\":\"", "\",\"level\":\"INFO\",\"message\":\"request\""),
            (LineFormat::Json, true) => ("{\"timestamp\":\"", "\",\"level\":\"DEBUG\",\"message\":\"request\""),
            (LineFormat::Text, false) => ("", "  INFO request"),
            (LineFormat::Text, true) => ("", " DEBUG request"),
        };
        self.text.push_str(before);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{time}");
        self.text.push_str(after);
    }

    /// Writes what happened at the provider.
    fn exchange(&mut self, UpstreamExchange { result, duration, attempts, quota }: &UpstreamExchange) {
        if let Some(status) = result.status() {
            self.number(&fields::UPSTREAM_STATUS, u64::from(status.as_u16()));
        }
        self.number(&fields::UPSTREAM_DURATION_US, micros(*duration));
        self.number(&fields::UPSTREAM_ATTEMPTS, u64::from(*attempts));
        let quotas = [
            (&fields::QUOTA_LIMIT, quota.limit),
            (&fields::QUOTA_REMAINING, quota.remaining),
            (&fields::QUOTA_RESET, quota.reset),
        ];
        for (field, value) in quotas {
            if let Some(value) = value {
                self.number(field, value);
            }
        }
    }

    fn word(&mut self, field: &LogField, value: &str) {
        self.open(field);
        self.text.push_str(value);
        self.close();
    }

    fn address(&mut self, field: &LogField, address: IpAddr) {
        self.open(field);
        match address {
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.text.push('.');
                    }
                    self.digits(u64::from(octet));
                }
            }
            IpAddr::V6(address) => drop(write!(self.text, "{address}")),
        }
        self.close();
    }

    fn number(&mut self, field: &LogField, value: u64) {
        self.open(field);
        self.digits(value);
    }

    fn open(&mut self, field: &LogField) {
        self.text.push_str(match self.format {
            LineFormat::Json => field.json,
            LineFormat::Text => field.text,
        });
    }

    fn close(&mut self) {
        if self.format == LineFormat::Json {
            self.text.push('"');
        }
    }

    fn digits(&mut self, value: u64) {
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    fn end(mut self) -> String {
        self.text.push_str(match self.format {
            LineFormat::Json => "}\n",
            LineFormat::Text => "\n",
        });
        self.text
    }
}
