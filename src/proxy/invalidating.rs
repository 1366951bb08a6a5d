//! Pass-through requests that may change cached sessions. Each is read completely before anything is marked or sent, so
//! that a request that never ends costs no cache hits. It is sent and settled in a task of its own, so that a client
//! that leaves does not stop that. Its response is streamed, so that a change does not fail because the response is
//! large.

use super::body;
use super::client_presence::{attended, take_slot};
use super::context::Context;
use super::not_served::NotServed;
use super::pass_through::pass;
use super::relay::{Relayed, fetch, relay};
use crate::cache::{Mark, MarkFailurePolicy, Scope, Sessions};
use crate::client::{Part, Response};
use crate::gateway::{Upstream, WriteOutcome, settle_invalidating};
use crate::model::{Operation, Rejection};
use crate::provider::{Failure, Fetch, Provider, Slot};
use crate::runtime::Runtime;
use crate::serve::ObservedExchange;
use crate::wire::call_end::CallEnd;
use crate::wire::carrier::Carrier;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use pingora::Result;
use pingora::prelude::Session;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a body that are read before the response is relayed.
const SMALL_BODY: usize = 16 << 10;

/// A request that is ready to be sent, with all that its task uses.
struct Sending {
    runtime: Arc<Runtime>,
    provider: Arc<Provider>,
    upstream: Arc<Upstream>,
    operation: Operation,
    fetch: Fetch,
    invalidation: Invalidation,
    /// Whether it removes something for a verified caller: see [`settle_invalidating`].
    repeatable: bool,
    /// How the response carries the status of a call; `None` if the HTTP status is the status.
    carrier: Option<Carrier>,
    slot: Slot,
}

/// How a request invalidates what it changes.
pub(super) enum Invalidation {
    /// With these marks, which are set before it is sent; none if it changes nothing that is cached.
    Marked(Vec<Marking>),
    /// After the provider accepted it, all sessions of the upstream. Anybody can send it, so it sets no mark.
    IfAccepted,
}

/// A mark that a request needs.
pub(super) struct Marking {
    /// What the request may change.
    pub scope: Scope,
    /// What to do if the mark cannot be set.
    pub policy: MarkFailurePolicy,
    /// Whether the mark is the request's own, not shared with other requests. Only if the gateway itself has checked
    /// that the caller may change sessions: other callers could use up the limited number of marks.
    pub apart: bool,
}

/// Forwards a request of an authorized caller, and its response.
pub(super) async fn forward(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    policy: MarkFailurePolicy,
) -> Result<(), NotServed> {
    context.passes(&upstream, Operation::ChangeRelated);
    let body = read_body(session, context, &upstream).await?;
    let apart = context.is_verified() && upstream.dialect.scopes.decide;
    let marks = vec![Marking { scope: Scope::Upstream(upstream.scope), policy, apart }];
    send(session, context, upstream, Operation::ChangeRelated, body, Invalidation::Marked(marks)).await
}

/// Forwards a request whose credential only the provider can check, and its response. If it succeeds, cached sessions
/// are stale before the client learns of it.
pub(super) async fn forward_if_accepted(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
) -> Result<bool, NotServed> {
    context.passes(&upstream, Operation::ChangeRelated);
    if MarkFailurePolicy::of(&upstream).is_none() {
        return pass(session, context, upstream, Operation::ChangeRelated).await;
    }
    let body = read_body(session, context, &upstream).await?;
    send(session, context, upstream, Operation::ChangeRelated, body, Invalidation::IfAccepted).await.map(|()| true)
}

/// Forwards a request whose body has been read, and its response.
pub(super) async fn send(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    operation: Operation,
    body: Bytes,
    invalidation: Invalidation,
) -> Result<(), NotServed> {
    context.passes(&upstream, operation);
    let runtime = context.runtime.clone();
    let provider = runtime.service.backend(&upstream)?.provider.clone();
    let fetch = fetch(session, context, &upstream, &provider, body);
    let carrier = carrier(&upstream, &session.req_header().headers);
    // Only for callers whose rights are checked: others could empty the cache by deleting what does not exist.
    let idempotent = matches!(fetch.method, Method::DELETE | Method::PUT);
    let repeatable = context.is_verified() && upstream.dialect.scopes.decide && idempotent;
    // Before the mark is set and anything is sent: a client that leaves now has changed nothing.
    let slot = take_slot(session, context, &upstream).await?;
    let idle = upstream.target.timeouts.idle;
    let in_flight = runtime.metrics.begin_request();
    let sending = Sending { runtime, provider, upstream, operation, fetch, invalidation, repeatable, carrier, slot };
    // Boxed, because tokio moves the future of a task several times.
    let task = tokio::spawn(Box::pin(async move {
        let relayed = sending.carry_out().await;
        drop(in_flight);
        relayed
    }));
    // Without a response the task has panicked.
    let relayed = task.await.unwrap_or(Err(Rejection::InternalError))?;
    // The client may have left meanwhile.
    attended(session, context, std::future::ready(())).await?;
    Ok(relay(session, context, relayed, idle).await?)
}

/// Reads the whole body, of any type, with or without a declared length.
pub(super) async fn read_body(
    session: &mut Session,
    context: &mut Context,
    upstream: &Upstream,
) -> Result<Bytes, NotServed> {
    let limits = upstream.body;
    let declared =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: usize| declared > limits.max) {
        return Err(Rejection::TooLarge(limits.max).into());
    }
    body::whole(session, context, limits.max, Rejection::TooLarge(limits.max), limits.timeout).await
}

/// The carrier of a call whose status comes after the head of its response.
fn carrier(upstream: &Upstream, headers: &HeaderMap) -> Option<Carrier> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(Carrier::of_caller(content_type)).filter(|carrier| upstream.dialect.has_grpc && carrier.is_framed())
}

impl Sending {
    /// Sets the marks, sends the request, and settles it as soon as its status is known.
    async fn carry_out(self) -> Result<Relayed, Rejection> {
        let Sending { runtime, provider, upstream, operation, fetch, invalidation, repeatable, carrier, slot } = self;
        let (sessions, timeouts) = (runtime.sessions(), upstream.target.timeouts);
        let (marks, if_accepted) = match invalidation {
            Invalidation::Marked(marks) => (begin(sessions, marks, timeouts.guard()).await?, false),
            Invalidation::IfAccepted => (Vec::new(), true),
        };
        let observed = ObservedExchange::fetch(&runtime.metrics, &upstream, operation, &fetch.record);
        let began = Instant::now();
        let sent = match provider.forward(&fetch).await {
            // The mark lasts longer than this.
            Ok(response) => ended(response, carrier, (timeouts.first_byte * 2).saturating_sub(began.elapsed())).await,
            Err(failure) => Err(failure),
        };
        let status = sent.as_ref().ok().map(|(status, ..)| *status);
        match status {
            Some(status) => fetch.record.set_status(status),
            None => fetch.record.failed(),
        }
        drop(observed);
        let write_outcome = match &sent {
            Ok((status, ..)) => settle_invalidating(*status, repeatable),
            Err(Failure { sent: false, .. }) => WriteOutcome::UNCHANGED,
            Err(Failure { sent: true, .. }) => WriteOutcome::KeepMark,
        };
        for mark in marks {
            sessions.end(mark, write_outcome).await;
        }
        let (status, mut response, mut read) = sent.map_err(|failure| failure.rejection)?;
        let mut slot = Some(slot);
        if if_accepted && status.is_success() {
            // This may wait for others. The request is in flight at the provider only as long as the body is.
            let mut invalidated = pin!(runtime.service.invalidate_all(&upstream));
            let mut ahead = Ahead::default();
            let over = tokio::select! {
                biased;
                () = &mut invalidated => None,
                over = ahead.read(&mut response) => Some(over),
            };
            if let Some(over) = over {
                slot = slot.filter(|_| !matches!(over, Ok(true)));
                invalidated.await;
                over?;
            }
            read.extend(ahead.parts());
        }
        Ok(Relayed { response, read, slot })
    }
}

/// What was read of a body before its response is relayed.
#[derive(Default)]
struct Ahead {
    data: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Ahead {
    /// Reads a small body to its end. `false` if it is larger: the request stays in flight until all of it is relayed.
    /// What was read stays here if this is dropped.
    async fn read(&mut self, response: &mut Response) -> Result<bool, Rejection> {
        while !response.body.is_over() && self.trailers.is_none() {
            if self.data.len() > SMALL_BODY {
                return Ok(false);
            }
            match response.body.next().await {
                // Copied: a small part would keep the whole buffer of its connection.
                Ok(Some(Part::Data(data))) => self.data.extend_from_slice(&data),
                Ok(Some(Part::Trailers(trailers))) => self.trailers = Some(trailers),
                Ok(None) => break,
                Err(_) => return Err(Rejection::UpstreamFailed),
            }
        }
        Ok(true)
    }

    fn parts(self) -> impl Iterator<Item = Part> {
        let data = Some(self.data.freeze()).filter(|data| !data.is_empty()).map(Part::Data);
        data.into_iter().chain(self.trailers.map(Part::Trailers))
    }
}

/// Sets all marks, or none.
async fn begin(sessions: &Sessions, marks: Vec<Marking>, guard: Duration) -> Result<Vec<Mark>, Rejection> {
    let mut begun = Vec::with_capacity(marks.len());
    for Marking { scope, policy, apart } in marks {
        let mark = match apart {
            true => sessions.begin(scope, guard, policy).await,
            false => sessions.begin_shared(scope, guard, policy).await,
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

/// Waits for the status of a request: in the head of its response, or, for calls, after it. Also gives the parts of the
/// body that were read for that: one at most, and the status, since a call that begins to send a message has succeeded.
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
                        // Empty parts have no meaning, and would add up.
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
            response.body.mark_hung();
            Err(Failure { rejection: Rejection::UpstreamTimeout(within), sent: true, status: None })
        }
    }
}
