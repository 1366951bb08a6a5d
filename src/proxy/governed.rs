//! Governed requests: admitted, evaluated, answered.

use super::body;
use super::context::{Context, InFlight};
use super::head::credential;
use super::hooks::on_mark_failure;
use super::reading;
use super::response::{Source, response_response, write};
use super::slot::{self, attended};
use crate::cache::Scope;
use crate::gateway::{
    AuthorizedRequest, Changes, Credential, Decided, DecodedRequest, Governed, ProviderResponse, Write, WriteOutcome,
};
use crate::model::{Field, Rejection};
use crate::policy::Need;
use crate::provider::{Failure, Fetch, Provider, Slot};
use crate::runtime::Runtime;
use crate::telemetry::{CacheStatus, Decision};
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora::Error;
use pingora::prelude::Session;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why a governed request gets no response of the provider's.
pub(super) enum Stop {
    /// The gateway answers.
    Rejected(Rejection),
    /// The client cannot be answered.
    Broken(Box<Error>),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Stop {
        Stop::Rejected(rejection)
    }
}

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Stop {
        Stop::Broken(error)
    }
}

/// Answers a governed request, within the time that its caller gives it.
pub(super) async fn response(session: &mut Session, context: &mut Context, governed: Governed) -> Result<(), Stop> {
    let runtime = context.runtime.clone();
    let credential = credential(context, governed.upstream(), session).await?;
    context.verified = matches!(credential, Credential::Verified(_));
    let authorized = governed.authorize(credential)?;
    let dialect = authorized.upstream().dialect;
    let body = checked_body(session, context, &authorized).await?;
    let decoded = authorized.read_body(&runtime.gateway, body)?;
    context.outcome.session = decoded.session_hash();
    context.outcome.decision = Decision::Responded;
    let limit = deadline(decoded.carrier(), &session.req_header().headers);
    let left = limit.map(|limit| limit.saturating_sub(context.started.elapsed()));
    if let Some((limit, Duration::ZERO)) = limit.zip(left) {
        return Err(Rejection::UpstreamTimeout(limit).into());
    }
    let answered = async {
        if decoded.operation().reads() {
            return reading::read(session, context, decoded.read(&runtime.gateway)?).await;
        }
        // Boxed, as hits are to be small.
        Ok((Box::pin(changed(session, context, decoded)).await?, Source::Write))
    };
    let (response, source) = match limit.zip(left) {
        Some((limit, left)) => {
            tokio::time::timeout(left, answered).await.map_err(|_| Rejection::UpstreamTimeout(limit))??
        }
        None => answered.await?,
    };
    context.outcome.cache = source.status();
    if !matches!(source, Source::Hit { .. }) {
        // It had time to leave.
        attended(session, context, std::future::ready(())).await?;
    }
    let header = response_response(&response, source, &context.id, dialect, session.req_header())?;
    write(session, context, header, response.body.clone(), response.trailers.clone()).await?;
    Ok(())
}

/// How long a caller waits, from the head of its request on: what `grpc-timeout` (gRPC, gRPC-web) or
/// `connect-timeout-ms` (Connect) says. To other carriers these headers mean nothing.
fn deadline(carrier: Carrier, headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match carrier {
        Carrier::Rest => return None,
        Carrier::Connect(_) => return text("connect-timeout-ms")?.parse().ok().map(Duration::from_millis),
        Carrier::Grpc(_) | Carrier::GrpcWeb(_) => {}
    }
    let (number, unit) = text("grpc-timeout").and_then(|text| text.split_at_checked(text.len().checked_sub(1)?))?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The body of a evaluated request, within its bounds of size and time.
async fn checked_body(
    session: &mut Session,
    context: &mut Context,
    authorized: &AuthorizedRequest,
) -> Result<Bytes, Stop> {
    authorized.check_size()?;
    let (most, too_large) = authorized.body_limit();
    body::whole(session, context, most, too_large, authorized.upstream().body.timeout).await
}

pub(super) fn provider(runtime: &Runtime, upstream: &crate::gateway::Upstream) -> Result<Arc<Provider>, Rejection> {
    runtime.provider(upstream).cloned().ok_or(Rejection::Unavailable)
}

/// Judges a write and carries it out.
async fn changed(
    session: &mut Session,
    context: &mut Context,
    decoded: DecodedRequest,
) -> Result<Arc<ProviderResponse>, Stop> {
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, decoded.upstream())?;
    let origin = context.origin(session);
    let decided = match decoded.decide(None)? {
        Decided::Need(Need::CurrentMetadata) => {
            let headers = provider.headers(&session.req_header().headers, &origin, Carrier::Rest);
            let source = slot::source(context, session);
            match attended(session, context, current(&runtime, &provider, &decoded, headers, source)).await? {
                Ok(Ok(fields)) => decoded.decide(Some(&fields))?,
                Ok(Err(_)) | Err(_) if decoded.only_records() => Decided::Forward(decoded.unevaluated()?),
                // It speaks of a read that the caller did not ask for, in a carrier that may not be its own.
                Ok(Err(response)) if decoded.carrier() == Carrier::Rest => return Ok(response),
                Ok(Err(_)) => return Err(Rejection::UpstreamFailed.into()),
                Err(rejection) => return Err(rejection.into()),
            }
        }
        decided @ Decided::Forward(_) => decided,
    };
    let Decided::Forward(write) = decided else {
        return Err(Rejection::UpstreamFailed.into());
    };
    context.outcome.note(write.findings());
    let headers = provider.headers(&session.req_header().headers, &origin, write.carrier());
    // Before the write is marked, and while nothing has been sent: whoever leaves meanwhile has changed nothing.
    let slot = slot::take(session, context, write.upstream()).await?;
    // In a task of its own: once a write is on its way, it is settled, whatever becomes of the client.
    let in_flight = InFlight::new(&runtime);
    let task = tokio::spawn(async move {
        let response = carry_out(&runtime, &provider, write, headers, slot).await;
        drop(in_flight);
        response
    });
    Ok(task.await.unwrap_or(Err(Rejection::UpstreamFailed)).map(Arc::new)?)
}

/// The metadata of what is written as it is now; the provider's response where it shows none.
async fn current(
    runtime: &Runtime,
    provider: &Provider,
    decoded: &DecodedRequest,
    mut headers: HeaderMap,
    source: Option<IpAddr>,
) -> Result<Result<Vec<Field>, Arc<ProviderResponse>>, Rejection> {
    // Given back before the write takes its own: nobody waits for one while they hold one.
    let _slot = runtime.slot(decoded.upstream(), source).await?;
    headers.remove(http::header::CONTENT_TYPE);
    let path = decoded.evidence_path();
    let fetch = Fetch { method: Method::GET, path, headers, body: None, http2: false, reads: true };
    let response = provider.fetch(fetch).await;
    runtime.metrics.fetch(decoded.upstream().index, response.as_ref().ok().map(|response| response.status.as_u16()));
    let response = response.map_err(|failure| failure.rejection)?;
    if response.status != StatusCode::OK {
        return Ok(Err(Arc::new(response)));
    }
    decoded.current_metadata(&response).map(Ok).ok_or(Rejection::UpstreamFailed)
}

/// Marks what is changed, forwards the write, and settles it before it is acknowledged.
async fn carry_out(
    runtime: &Runtime,
    provider: &Provider,
    write: Write,
    headers: HeaderMap,
    slot: Slot,
) -> Result<ProviderResponse, Rejection> {
    let guard = write.upstream().target.timeouts.guard();
    let scope = match write.changes() {
        Changes::Nothing => None,
        Changes::Session(session) => Some(Scope::Session(write.upstream().scope, session)),
        Changes::AnySession => Some(Scope::Upstream(write.upstream().scope)),
    };
    let mark = match scope.zip(on_mark_failure(write.upstream())) {
        Some((scope, on_mark_failure)) if write.is_entitled() => {
            Some(runtime.sessions().begin(scope, guard, on_mark_failure).await?)
        }
        Some((scope, on_mark_failure)) => Some(runtime.sessions().begin_shared(scope, guard, on_mark_failure).await?),
        None => None,
    };
    let (method, path, body) = write.request();
    let path = path.to_owned();
    let http2 = write.carrier().is_grpc();
    let response = provider.fetch(Fetch { method, path, headers, body, http2, reads: false }).await;
    drop(slot);
    runtime
        .metrics
        .fetch(write.upstream().index, response.as_ref().ok().map(|response| write.status(response).as_u16()));
    let write_outcome = match &response {
        Ok(response) => write.settle(response),
        Err(Failure { sent: false, .. }) => WriteOutcome::UNCHANGED,
        Err(Failure { sent: true, .. }) => WriteOutcome::KeepMark,
    };
    if let Some(mark) = mark {
        runtime.sessions().end(mark, write_outcome).await;
    }
    if response.as_ref().is_ok_and(|response| write.says_locked(response)) {
        locked_out(runtime, write.upstream()).await;
    }
    response.map(|response| write.shown(response)).map_err(|failure| failure.rejection)
}

/// A user of this upstream is locked: no session is answered any more from before that. Where the store cannot be told,
/// their time bounds it.
async fn locked_out(runtime: &Runtime, upstream: &crate::gateway::Upstream) {
    let renewed = async { drop(runtime.sessions().renew(Scope::Upstream(upstream.scope)).await) };
    if on_mark_failure(upstream).is_some() {
        runtime.lockouts().join(upstream.scope, renewed).await;
    }
}

impl Source {
    fn status(self) -> CacheStatus {
        match self {
            Source::Hit { .. } => CacheStatus::Hit,
            Source::Miss { .. } => CacheStatus::Miss,
            Source::Coalesced => CacheStatus::Coalesced,
            Source::Bypass => CacheStatus::Bypass,
            Source::Uncached | Source::Write => CacheStatus::None,
        }
    }
}
