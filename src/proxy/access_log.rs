//! The end of a request: its metrics and its access log line.

use super::access_log_fields as fields;
use super::context::Context;
use super::log_line::LogLine;
use crate::config::{Log, Ratio, ShownAs};
use crate::gateway::{Outcome, PolicyFindings, Upstream, UpstreamExchange, is_inconclusive};
use crate::model::Operation;
use crate::provider::ExchangeRecord;
use crate::telemetry::{Decision, Label};
use crate::token::IdentityHashes;
use crate::wire::hex;
use std::time::Duration;

/// How many violations and edits a line lists.
const MAX_LISTED: usize = 10;

/// Counts a finished request and writes its access log line, with the status and the bytes of its response.
pub(super) fn account(context: &mut Context, status: u16, bytes: usize) {
    context.is_accounted_for = true;
    let took = context.started.elapsed();
    if let Some(observed) = context.observed.take().filter(|_| context.outcome.decision == Decision::Failed) {
        observed.failed();
    }
    context.outcome.exchange = context.record.as_ref().and_then(ExchangeRecord::read);
    context.runtime.metrics.request(&context.outcome, status, took);
    let Some(log) = context.runtime.access_log else {
        return;
    };
    let sample = Some(log.sample).filter(|sample| *sample < Ratio::ONE && is_successful_read(context, status));
    if sample.is_none_or(|sample| sample.contains(context.runtime.random_number())) {
        context.runtime.log_writer.line(line(context, (status, bytes), took, &log, sample).as_bytes());
    }
}

/// Whether a request read something and was served. Only those can be left out of the log.
fn is_successful_read(context: &Context, status: u16) -> bool {
    let Outcome { decision, operation, rejection, findings, route, exchange, .. } = &context.outcome;
    let fetched = exchange.as_ref().and_then(|exchange| exchange.result.status());
    let failed = exchange.is_some() && fetched.is_none_or(is_inconclusive) || context.has_failed_call;
    let served = (200..400).contains(&status) && rejection.is_none() && findings.is_none() && !failed;
    let reads = match (decision, route) {
        (Decision::Responded, Some(route)) => route.effect.reads(),
        // The status of a call that is passed through is unknown.
        (Decision::PassedThrough, None) => *operation == Operation::Other && context.is_plain_read,
        _ => false,
    };
    served && reads
}

/// Formats the line. It has no path, since paths contain identifiers, and nothing that could forge another line:
/// methods and addresses have no quotes or line feeds, and other texts are escaped.
fn line(context: &Context, (status, bytes): (u16, usize), took: Duration, log: &Log, sample: Option<Ratio>) -> String {
    let Outcome { upstream, operation, decision, cache, rejection, findings, session: hash, .. } = &context.outcome;
    let upstream = upstream.and_then(|at| context.runtime.gateway.upstreams().get(at)).map(|one| &**one);
    // A client that leaves needs no operator's attention.
    let mut line = LogLine::begin(log.format, *decision == Decision::ClientGone);
    line.word(&fields::REQUEST_ID, context.id.to_str().unwrap_or_default());
    line.word(&fields::TRACE_ID, context.trace().id());
    client(&mut line, context, log, upstream);
    line.word(&fields::METHOD, context.method.as_str());
    if let Some(route) = context.outcome.route {
        line.plain_text(&fields::ROUTE, route.template());
    }
    line.number(&fields::STATUS, u64::from(status));
    line.word(&fields::UPSTREAM, upstream.map_or("", |one| one.name.as_str()));
    line.word(&fields::OPERATION, operation.name());
    line.word(&fields::DECISION, decision.name());
    line.word(&fields::CACHE, cache.name());
    if let Some(rejection) = rejection {
        line.word(&fields::REASON, rejection);
    }
    if let Some(grant) = context.outcome.grant.as_deref().filter(|name| !name.is_empty()) {
        line.text(&fields::GRANT, grant, usize::MAX);
    }
    if let Some(missing) = context.outcome.not_granted.as_deref() {
        line.text(&fields::NOT_GRANTED, missing, MAX_NOT_GRANTED);
    }
    if let Some(findings) = findings {
        policy(&mut line, findings);
    }
    if let Some(hash) = hash {
        line.word(&fields::SESSION_HASH, &hex::text(hash));
    }
    if let Some(right) = &context.outcome.right {
        line.number(&fields::RIGHT_WAIT_US, micros(right.wait));
    }
    if let Some(sample) = sample {
        line.decimal(&fields::SAMPLE, sample);
    }
    line.number(&fields::BYTES, bytes as u64);
    line.number(&fields::DURATION_US, micros(took));
    if let Some(own) = &context.outcome.exchange {
        exchange(&mut line, own);
    }
    line.end()
}

/// The longest text of what was not granted, in bytes.
const MAX_NOT_GRANTED: usize = 500;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Who sent the request.
fn client(line: &mut LogLine, context: &Context, log: &Log, upstream: Option<&Upstream>) {
    const MAX_IDENTITY: usize = 256;
    const MAX_USER_AGENT: usize = 256;
    let client = context.reported.or(context.client);
    if let Some(address) = client {
        line.address(&fields::CLIENT_ADDRESS, address);
    }
    if let Some(peer) = context.peer().filter(|peer| client != Some(*peer)) {
        line.address(&fields::PEER_ADDRESS, peer);
    }
    if let Some(verified) = &context.outcome.caller {
        let caller = verified.caller();
        if upstream.is_some_and(|upstream| upstream.check.issuers().len() > 1) {
            line.text(&fields::ISSUER, &caller.issuer, MAX_IDENTITY);
        }
        let hashes = || verified.identity_hashes(|text| hex::text(&context.runtime.gateway.identity_hash(text)));
        let mut identity = |field, value: &str, shown, hash: fn(&IdentityHashes) -> &str| match shown {
            ShownAs::Off => {}
            _ if value.is_empty() => {}
            ShownAs::Plain => line.text(field, value, MAX_IDENTITY),
            ShownAs::Hash => line.plain_text(field, [hash(hashes())]),
        };
        let client_id = caller.client_id.as_deref().unwrap_or_default();
        identity(&fields::CLIENT_ID, client_id, log.client_id, |hashes| &hashes.client_id);
        identity(&fields::SUBJECT, &caller.subject, log.subject, |hashes| &hashes.subject);
    }
    if let Some(software) = &context.user_agent {
        line.text(&fields::USER_AGENT, &String::from_utf8_lossy(software.as_bytes()), MAX_USER_AGENT);
    }
}

/// What a policy found.
fn policy(line: &mut LogLine, findings: &PolicyFindings) {
    if let Some(name) = &findings.policy {
        line.text(&fields::POLICY, name, usize::MAX);
    }
    line.word(&fields::MODE, findings.mode.name());
    if let Some(would_reject) = findings.would_reject() {
        line.boolean(&fields::WOULD_REJECT, would_reject);
    }
    if findings.violations.count() > 0 {
        let rules: Vec<&str> = findings.rules().into_iter().map(Label::name).collect();
        line.word(&fields::RULES, &rules.join(","));
    }
    if !findings.violations.is_empty() {
        let listed = findings.violations.iter().map(|one| (one.rule.name(), one.path.as_str()));
        line.list(&fields::VIOLATIONS, listed.take(MAX_LISTED));
    }
    if !findings.edits.listed().is_empty() {
        let listed = findings.edits.listed().iter().map(|one| (one.kind.name(), one.path.as_str()));
        line.list(&fields::EDITS, listed.take(MAX_LISTED));
    }
    if findings.merged {
        line.boolean(&fields::MERGED, true);
    }
}

/// What happened at the provider.
fn exchange(line: &mut LogLine, UpstreamExchange { result, duration, attempts, quota }: &UpstreamExchange) {
    if let Some(status) = result.status() {
        line.number(&fields::UPSTREAM_STATUS, u64::from(status.as_u16()));
    }
    line.number(&fields::UPSTREAM_DURATION_US, micros(*duration));
    line.number(&fields::UPSTREAM_ATTEMPTS, u64::from(*attempts));
    let quotas = [
        (&fields::QUOTA_LIMIT, quota.limit),
        (&fields::QUOTA_REMAINING, quota.remaining),
        (&fields::QUOTA_RESET, quota.reset),
    ];
    for (field, value) in quotas {
        if let Some(value) = value {
            line.number(field, value);
        }
    }
}
