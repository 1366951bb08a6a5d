//! Governed requests: admitted, judged, answered.

use super::answer::{Source, answer_response, write};
use super::exchange::{Context, InFlight};
use super::head::credential;
use crate::cache::{Fetched, Got, Scope};
use crate::coherence::Ended;
use crate::gateway::{
    Admitted, Answer, BodySize, CacheStatus, Decided, Decision, Governed, Read, Settlement, Storable, Write,
};
use crate::model::{Field, Operation, Refusal};
use crate::policy::Need;
use crate::runtime::{Runtime, wall_millis};
use crate::upstream::{Failure, Fetch, Provider};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use pingora::Error;
use pingora::prelude::Session;
use std::sync::Arc;
use std::time::Duration;

/// Why a governed request gets no answer of the provider's.
pub(super) enum Stop {
    /// The gateway answers.
    Refused(Refusal),
    /// The client cannot be answered.
    Broken(Box<Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Stop {
        Stop::Broken(error)
    }
}

/// Answers a governed request.
pub(super) async fn answer(session: &mut Session, context: &mut Context, governed: Governed) -> Result<(), Stop> {
    let runtime = context.runtime.clone();
    let credential = credential(&runtime, governed.upstream(), &session.req_header().headers).await?;
    let admitted = governed.admit(credential)?;
    context.outcome.session = Some(admitted.session_hash());
    context.outcome.decision = Decision::Answered;
    let body = body(session, &admitted).await?;
    let (answer, source) = if admitted.operation() == Operation::ReadSession {
        if !body.is_empty() {
            return Err(Refusal::UnexpectedBody.into());
        }
        read(session, context, admitted.read(&runtime.gateway)).await?
    } else {
        let answer = changed(session, context, admitted, body).await?;
        (answer, Source::Write)
    };
    context.outcome.cache = source.status();
    let header = answer_response(&answer, source, &context.id)?;
    write(session, &runtime, header, answer.body.clone(), answer.trailers.clone()).await?;
    Ok(())
}

/// The whole body, within its bounds of size and time.
async fn body(session: &mut Session, admitted: &Admitted) -> Result<Bytes, Stop> {
    admitted.judge_size()?;
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    let limits = admitted.upstream().body;
    if session.req_header().headers.contains_key(http::header::EXPECT) {
        session.write_continue_response().await?;
    }
    let (most, too_large) = match admitted.body_size() {
        BodySize::Known(_) => (limits.max, Refusal::TooLarge(limits.max)),
        BodySize::None | BodySize::Unknown => (limits.max_undeclared, Refusal::LengthRequired(limits.max_undeclared)),
    };
    let whole = async {
        let mut whole = BytesMut::new();
        while let Some(part) = session.read_request_body().await.map_err(|error| error.into_down())? {
            if whole.len() + part.len() > most {
                return Err(Stop::Refused(too_large));
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(limits.timeout, whole).await.map_err(|_| Refusal::BodyTimeout(limits.timeout))?
}

fn provider(runtime: &Runtime, upstream: &crate::gateway::Upstream) -> Result<Arc<Provider>, Refusal> {
    runtime.provider(upstream).cloned().ok_or(Refusal::Unavailable)
}

/// Answers a read: from the cache, or from the provider.
async fn read(session: &Session, context: &Context, read: Read) -> Result<(Arc<Answer>, Source), Refusal> {
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, read.upstream())?;
    // Only for those that fetch: most reads are answered from the cache.
    let headers = || provider.read_headers(&session.req_header().headers, &context.origin(session));
    let Some(key) = read.key().copied() else {
        let fetched = fetch_read(&runtime, &provider, &read, headers(), None).await;
        return Ok((fetched.answer?, Source::Uncached));
    };
    let read = Arc::new(read);
    let own = || runtime.gateway.asker(&session.req_header().headers);
    let fetch = |floor: Option<u64>| {
        let (runtime, provider, read, headers) = (runtime.clone(), provider.clone(), read.clone(), headers());
        async move { fetch_read(&runtime, &provider, &read, headers, floor).await }
    };
    match runtime.sessions.read(key, fetch).await {
        Got::Hit { answer, age, left } => Ok((answer, Source::Hit { age, left })),
        // Whom the gateway has not verified is answered by the provider, which may not tell them that there was a session.
        Got::Deleted if !read.is_verified() => {
            let answer = fetch_read(&runtime, &provider, &read, headers(), None).await.answer?;
            if answer.status == StatusCode::OK { Err(Refusal::Deleted) } else { Ok((answer, Source::Bypass)) }
        }
        Got::Deleted => Err(Refusal::Deleted),
        Got::Miss(fetched) => {
            let stored = fetched.storable != Storable::No;
            Ok((fetched.answer?, Source::Miss { stored }))
        }
        // What the provider answers to one caller's credential or request says nothing of another's.
        Got::Coalesced(Fetched { answer: Ok(answer), asker, .. }) if asker != own() && !is_for_all(answer.status) => {
            Ok((fetch_read(&runtime, &provider, &read, headers(), None).await.answer?, Source::Bypass))
        }
        Got::Coalesced(fetched) => {
            let answer = fetched.answer?;
            let answer = if fetched.asker == own() { without_cookies(answer) } else { Arc::new(answer.stored()) };
            Ok((answer, Source::Coalesced))
        }
        Got::Bypass => Ok((fetch_read(&runtime, &provider, &read, headers(), None).await.answer?, Source::Bypass)),
    }
}

/// A cookie is for the one who asked.
fn without_cookies(answer: Arc<Answer>) -> Arc<Answer> {
    if !answer.headers.contains_key(http::header::SET_COOKIE) {
        return answer;
    }
    let mut own = Answer::clone(&answer);
    own.headers.remove(http::header::SET_COOKIE);
    Arc::new(own)
}

/// Whether an answer speaks of the session, or of the provider, and not of who asked or how.
fn is_for_all(status: StatusCode) -> bool {
    status == StatusCode::OK || status == StatusCode::NOT_FOUND || status.is_server_error()
}

async fn fetch_read(
    runtime: &Runtime,
    provider: &Provider,
    read: &Read,
    headers: HeaderMap,
    floor: Option<u64>,
) -> Fetched {
    let wall = wall_millis();
    let asker = runtime.gateway.asker(&headers);
    let fetch = Fetch { method: Method::GET, path: read.path().to_owned(), headers, body: None, http2: false };
    let answer = provider.fetch(fetch).await;
    runtime.metrics.fetch(read.upstream().index, answer.as_ref().ok().map(|answer| answer.status.as_u16()));
    match answer {
        Ok(answer) => {
            let storable = read.judge(&answer, floor, wall);
            Fetched { answer: Ok(Arc::new(answer)), storable, asker }
        }
        Err(failure) => Fetched { answer: Err(failure.refusal), storable: Storable::No, asker },
    }
}

/// Judges a write and carries it out.
async fn changed(
    session: &Session,
    context: &mut Context,
    admitted: Admitted,
    body: Bytes,
) -> Result<Arc<Answer>, Refusal> {
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, admitted.upstream())?;
    let headers = provider.headers(&session.req_header().headers, &context.origin(session));
    let decided = match admitted.decide(body.clone(), None)? {
        Decided::Need(Need::CurrentMetadata) => match current(&runtime, &provider, &admitted, &headers).await {
            Ok(Ok(fields)) => admitted.decide(body, Some(&fields))?,
            Ok(Err(_)) | Err(_) if admitted.only_records() => Decided::Forward(admitted.unjudged(body)?),
            Ok(Err(answer)) => return Ok(answer),
            Err(refusal) => return Err(refusal),
        },
        decided @ Decided::Forward(_) => decided,
    };
    let Decided::Forward(write) = decided else {
        return Err(Refusal::UpstreamFailed);
    };
    context.outcome.note(write.findings());
    // In a task of its own: once a write is on its way, it is settled, whatever becomes of the client.
    let in_flight = InFlight::new(&runtime);
    let task = tokio::spawn(async move {
        let answer = carry_out(&runtime, &provider, write, headers).await;
        drop(in_flight);
        answer
    });
    task.await.unwrap_or(Err(Refusal::UpstreamFailed)).map(Arc::new)
}

/// The session's metadata as it is now; the provider's answer where it shows none.
async fn current(
    runtime: &Runtime,
    provider: &Provider,
    admitted: &Admitted,
    headers: &HeaderMap,
) -> Result<Result<Vec<Field>, Arc<Answer>>, Refusal> {
    let mut headers = headers.clone();
    headers.remove(http::header::CONTENT_TYPE);
    let fetch = Fetch { method: Method::GET, path: admitted.evidence_path(), headers, body: None, http2: false };
    let answer = provider.fetch(fetch).await;
    runtime.metrics.fetch(admitted.upstream().index, answer.as_ref().ok().map(|answer| answer.status.as_u16()));
    let answer = answer.map_err(|failure| failure.refusal)?;
    if answer.status != StatusCode::OK {
        return Ok(Err(Arc::new(answer)));
    }
    admitted.current_metadata(&answer).map(Ok).ok_or(Refusal::UpstreamFailed)
}

/// Marks the session, forwards the write, and settles it before it is acknowledged.
async fn carry_out(
    runtime: &Runtime,
    provider: &Provider,
    write: Write,
    headers: HeaderMap,
) -> Result<Answer, Refusal> {
    let cached = write.upstream().scope_ttl.is_some();
    let store = runtime.sessions.store();
    let scope = Scope::Session(write.upstream().scope, write.session());
    let writer = store.token();
    if cached {
        let guard = millis(write.upstream().target.timeouts.guard());
        store.begin(scope, writer, guard).await.map_err(|_| Refusal::TooManyWrites)?;
    }
    let (method, path, body) = write.request();
    let path = path.to_owned();
    let answer = provider.fetch(Fetch { method, path, headers, body, http2: false }).await;
    runtime.metrics.fetch(write.upstream().index, answer.as_ref().ok().map(|answer| answer.status.as_u16()));
    let settlement = match &answer {
        Ok(answer) => write.settle(answer, store.now()),
        Err(Failure { sent: false, .. }) => Settlement::UNCHANGED,
        Err(Failure { sent: true, .. }) => Settlement::KeepMark,
    };
    if let (true, Settlement::End(settled)) = (cached, settlement)
        && let Ok(Ended::MarkLost) = store.end(scope, writer, settled).await
    {
        runtime.metrics.mark_lost();
    }
    answer.map_err(|failure| failure.refusal)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
