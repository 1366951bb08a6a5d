//! Pass-through requests that may change cached sessions. Each is read whole before anything is marked or sent, so that
//! one that never ends costs nobody a hit; it is sent and settled in a task of its own, so that a client that leaves
//! does not stop that; and its response passes part by part, so that a change that was made does not fail because the
//! response is large.

use super::context::{Context, InFlight};
use super::governed::{Stop, provider};
use super::hooks::REQUEST_ID;
use super::response::write_head;
use super::slot::attended;
use super::{body, overloaded, pass_through, slot};
use crate::cache::{Mark, MarkFailurePolicy, Scope, Sessions};
use crate::client::{Part, Response};
use crate::edge::MemoryShort;
use crate::gateway::{Upstream, WriteOutcome, settle_related};
use crate::model::{Operation, Rejection};
use crate::provider::{Failure, Fetch, Provider, Slot};
use crate::runtime::Runtime;
use crate::telemetry::Shed;
use crate::wire::call_end::CallEnd;
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that is ready to be sent, with all that its task needs.
struct Sending {
    runtime: Arc<Runtime>,
    provider: Arc<Provider>,
    upstream: Arc<Upstream>,
    fetch: Fetch,
    /// What it may change, if anything.
    marks: Vec<Marking>,
    /// Whether it removes something for a verified caller: see [`settle_related`].
    repeatable: bool,
    /// How calls carry their status; none where the status is HTTP's own.
    carrier: Option<Carrier>,
    slot: Slot,
}

/// What a request marks, and how.
pub(super) struct Marking {
    /// What it may change.
    pub scope: Scope,
    /// What becomes of it without the store.
    pub on_mark_failure: MarkFailurePolicy,
    /// Whether it has a mark of its own. Only where the gateway itself has checked that the caller may change anything:
    /// those who may not would otherwise use up the marks that are told apart.
    pub apart: bool,
}

/// A response that goes on to the client: what was read of its body already, and the rest. It holds the slot until it
/// is over.
pub(super) struct Relayed {
    pub response: Response,
    pub read: Vec<Part>,
    pub _slot: Option<Slot>,
}

/// Forwards a request of an admitted caller, and its response.
pub(super) async fn forward(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    on_mark_failure: MarkFailurePolicy,
) -> Result<(), Stop> {
    context.passes(&upstream, Operation::ChangeRelated);
    let body = read_body(session, context, &upstream).await?;
    let apart = context.verified && upstream.dialect.scoped;
    let marks = vec![Marking { scope: Scope::Upstream(upstream.scope), on_mark_failure, apart }];
    send(session, context, upstream, Operation::ChangeRelated, body, marks).await
}

/// The same of a request that has been read, with what it marks.
pub(super) async fn send(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    operation: Operation,
    body: Bytes,
    marks: Vec<Marking>,
) -> Result<(), Stop> {
    context.passes(&upstream, operation);
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, &upstream)?;
    let fetch = fetch(session, context, &upstream, &provider, body);
    let carrier = carrier(&upstream, &session.req_header().headers);
    // Of callers whose rights are checked: any other could empty the cache by deleting what is not there.
    let idempotent = matches!(fetch.method, Method::DELETE | Method::PUT);
    let repeatable = context.verified && upstream.dialect.scoped && idempotent;
    // Before the mark, and while nothing has been sent: whoever leaves meanwhile has changed nothing.
    let slot = slot::take(session, context, &upstream).await?;
    let idle = upstream.target.timeouts.idle;
    let in_flight = InFlight::new(&runtime);
    let sending = Sending { runtime, provider, upstream, fetch, marks, repeatable, carrier, slot };
    let task = tokio::spawn(async move {
        let relayed = sending.carry_out().await;
        drop(in_flight);
        relayed
    });
    let relayed = task.await.unwrap_or(Err(Rejection::UpstreamFailed))?;
    // It had time to leave.
    slot::attended(session, context, std::future::ready(())).await?;
    Ok(relay(session, context, relayed, idle).await?)
}

/// A pass-through request as it goes to the provider.
pub(super) fn fetch(
    session: &Session,
    context: &Context,
    upstream: &Upstream,
    provider: &Provider,
    body: Bytes,
) -> Fetch {
    let header = session.req_header();
    let grpc = pass_through::is_grpc(context, &header.headers);
    let query = header.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Fetch {
        method: header.method.clone(),
        path: [&upstream.target.base_path, upstream.matcher.inner(header.uri.path()), &query].concat(),
        headers: provider.passed_headers(&header.headers, &context.origin(session), grpc),
        body: Some(body),
        http2: grpc,
        reads: false,
    }
}

/// The whole body: of any type, and of undeclared length too.
pub(super) async fn read_body(
    session: &mut Session,
    context: &mut Context,
    upstream: &Upstream,
) -> Result<Bytes, Stop> {
    let limits = upstream.body;
    let declared =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: usize| declared > limits.max) {
        return Err(Rejection::TooLarge(limits.max).into());
    }
    body::whole(session, context, limits.max, Rejection::TooLarge(limits.max), limits.timeout).await
}

/// The carrier of a call whose status does not stand in the head of its response, but behind it.
fn carrier(upstream: &Upstream, headers: &HeaderMap) -> Option<Carrier> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(Carrier::of_caller(content_type)).filter(|carrier| upstream.dialect.has_calls && carrier.is_framed())
}

impl Sending {
    /// Marks what it may change, sends the request, and settles it as soon as the response says how it ended.
    async fn carry_out(self) -> Result<Relayed, Rejection> {
        let Sending { runtime, provider, upstream, fetch, marks, repeatable, carrier, slot } = self;
        let (sessions, timeouts) = (runtime.sessions(), upstream.target.timeouts);
        let marks = begin(sessions, marks, timeouts.guard()).await?;
        let began = Instant::now();
        let sent = match provider.forward(&fetch).await {
            // The mark stands for longer than this.
            Ok(response) => ended(response, carrier, (timeouts.first_byte * 2).saturating_sub(began.elapsed())).await,
            Err(failure) => Err(failure),
        };
        let status = sent.as_ref().ok().map(|(status, ..)| *status);
        runtime.metrics.fetch(upstream.index, status.map(|status| status.as_u16()));
        let write_outcome = match &sent {
            Ok((status, ..)) => settle_related(*status, repeatable),
            Err(Failure { sent: false, .. }) => WriteOutcome::UNCHANGED,
            Err(Failure { sent: true, .. }) => WriteOutcome::KeepMark,
        };
        for mark in marks {
            sessions.end(mark, write_outcome).await;
        }
        let (_, response, read) = sent.map_err(|failure| failure.rejection)?;
        Ok(Relayed { response, read, _slot: Some(slot) })
    }
}

/// Marks all that a request may change, or nothing.
async fn begin(sessions: &Sessions, marks: Vec<Marking>, guard: Duration) -> Result<Vec<Mark>, Rejection> {
    let mut begun = Vec::with_capacity(marks.len());
    for Marking { scope, on_mark_failure, apart } in marks {
        let mark = match apart {
            true => sessions.begin(scope, guard, on_mark_failure).await,
            false => sessions.begin_shared(scope, guard, on_mark_failure).await,
        };
        match mark {
            Ok(mark) => begun.push(mark),
            Err(rejection) => {
                for mark in begun {
                    sessions.end(mark, WriteOutcome::UNCHANGED).await;
                }
                return Err(rejection);
            }
        }
    }
    Ok(begun)
}

/// How a request ended: by the head of its response, or, for calls, by what follows it. Whatever of the body had to be
/// read for that comes along: one part at the most and a status, since a call that begins to send a message has done
/// something.
async fn ended(
    mut response: Response,
    carrier: Option<Carrier>,
    within: Duration,
) -> Result<(StatusCode, Response, Vec<Part>), Failure> {
    let Some(carrier) = carrier else {
        return Ok((response.status, response, Vec::new()));
    };
    let mut end = CallEnd::new(carrier, response.status, &response.headers);
    let mut read = Vec::new();
    let whole = async {
        loop {
            if let Some(status) = end.status() {
                return Ok(status);
            }
            match response.body.next().await? {
                Some(part) => {
                    match &part {
                        // They say nothing, and would add up.
                        Part::Data(data) if data.is_empty() => continue,
                        Part::Data(data) => end.data(data),
                        Part::Trailers(trailers) => end.trailers(trailers),
                    }
                    read.push(part);
                }
                None => return Ok(end.over()),
            }
        }
    };
    match tokio::time::timeout(within, whole).await {
        Ok(Ok(status)) => Ok((status, response, read)),
        Ok(Err::<_, crate::client::ExchangeError>(_)) => {
            Err(Failure { rejection: Rejection::UpstreamFailed, sent: true, status: None })
        }
        Err(_) => {
            response.body.hangs();
            Err(Failure { rejection: Rejection::UpstreamTimeout(within), sent: true, status: None })
        }
    }
}

/// Passes a response on, as fast as the client takes it, and for as long as it is there.
pub(super) async fn relay(
    session: &mut Session,
    context: &mut Context,
    relayed: Relayed,
    idle: Duration,
) -> Result<()> {
    let Relayed { mut response, read, _slot } = relayed;
    context.ahead = response.body.ahead();
    let header = head(session, context, &response)?;
    let mut over = read.is_empty() && response.body.is_over();
    write_head(session, header, over).await?;
    let mut read = read.into_iter();
    while !over {
        let part = match read.next() {
            Some(part) => Some(part),
            None => attended(session, context, next(&mut response, idle)).await??,
        };
        over = match part {
            Some(Part::Data(data)) => {
                let last = read.len() == 0 && response.body.is_over();
                let held = context.response_passes(data.len(), session.body_bytes_sent(), session.is_http2());
                held.map_err(|MemoryShort| overloaded::end(context, Shed::Response))?;
                session.write_response_body(Some(data), last).await.map_err(|error| error.into_down())?;
                last
            }
            // To HTTP/1 they are not written, as other pass-through responses' are not.
            Some(Part::Trailers(trailers)) if session.is_http2() => {
                pass_through::check_trailers(&trailers)?;
                session.write_response_trailers(trailers).await.map_err(|error| error.into_down())?;
                true
            }
            Some(Part::Trailers(_)) | None => {
                session.write_response_body(None, true).await.map_err(|error| error.into_down())?;
                true
            }
        };
    }
    Ok(())
}

/// The next part of a body, which may take no longer than this.
async fn next(response: &mut Response, idle: Duration) -> Result<Option<Part>> {
    match tokio::time::timeout(idle, response.body.next()).await {
        Ok(part) => part.map_err(|error| Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
        Err(_) => {
            response.body.hangs();
            Err(Error::explain(ErrorType::ReadTimedout, "the response stands still").into_up())
        }
    }
}

fn head(session: &mut Session, context: &Context, response: &Response) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build_no_case(response.status, Some(response.headers.len() + 2))?;
    for (name, value) in &response.headers {
        header.append_header(name.clone(), value.as_bytes())?;
    }
    header.insert_header(REQUEST_ID, context.id.clone())?;
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status);
    if !session.is_http2() && !bodiless && !response.headers.contains_key(CONTENT_LENGTH) {
        if session.req_header().version == Version::HTTP_11 {
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        } else {
            // Its end is that of the connection.
            session.set_keepalive(None);
        }
    }
    if context.runtime.is_stopping() {
        session.set_keepalive(None);
    }
    Ok(header)
}
