//! Requests that Pingora cannot serve to their end: what is answered, and whether it was the client that left.

use super::context::Context;
use super::head::{self, is_http2};
use super::reject::reject;
use crate::client;
use crate::edge;
use crate::gateway::Timeouts;
use crate::model::Rejection;
use crate::telemetry::{Decision, DisconnectReason};
use http::header::CONTENT_LENGTH;
use pingora::prelude::Session;
use pingora::proxy::FailToProxy;
use pingora::{Error, ErrorSource, ErrorType};
use std::time::Duration;

/// Nothing is written any more, and the connection, or the stream, ends.
const OVER: FailToProxy = FailToProxy { error_code: 0, can_reuse_downstream: false };

/// Answers a request in the place of its provider, as far as that can still be done.
pub(super) async fn response(session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
    let late = context.late();
    let slow = context.timing.as_ref().is_some_and(|timing| timing.cut() == Some(DisconnectReason::MinBodyRate));
    let rejection = match edge::fault() {
        Some(fault) => head::rejection(fault),
        // What has reached the provider is not to be tried again.
        None if context.is_short && !context.begun => Rejection::Overloaded,
        None if slow => Rejection::BodyTimeout(context.started.elapsed()),
        None if let Some(within) = late
            && context.is_whole =>
        {
            provider_is_late(context, within)
        }
        // Neither side says anything, and it may be the client's turn: that tells nothing of the provider.
        None if let Some(within) = late => Rejection::BodyTimeout(within),
        // It had all of its response, and did not wait for more.
        None if has_left(error) && is_whole(session) => return OVER,
        None if has_left(error) => {
            (context.outcome.decision, context.outcome.rejection) = (Decision::ClientGone, None);
            return OVER;
        }
        None => failure(error, context),
    };
    if let Some(provider) = context.provider().filter(|_| rejection.is_failure()) {
        provider.note(Some(&told(error)));
    }
    context.outcome.rejection = Some(rejection.name());
    context.outcome.decision = if rejection.is_failure() { Decision::Failed } else { Decision::Rejected };
    // Behind a switch of protocols nothing can be answered either.
    if session.was_upgraded() || session.response_written().is_some_and(|response| !response.status.is_informational())
    {
        if !is_http2(session) {
            // Pingora has written what came of the response, but not flushed it.
            session.downstream_session.shutdown().await;
        }
        return OVER;
    }
    session.set_keepalive(None);
    let answered = reject(session, context, &rejection).await.is_ok();
    if answered && !is_http2(session) {
        // Otherwise what the client still sends would reset the connection before it has read the response.
        session.downstream_session.shutdown().await;
    }
    FailToProxy { error_code: if answered { 502 } else { 0 }, can_reuse_downstream: false }
}

/// Whether all of a response whose head says how long it is has been written.
fn is_whole(session: &Session) -> bool {
    session.response_written().is_some_and(|response| {
        let length = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        length == Some(session.body_bytes_sent())
    })
}

/// Whether an error says that the client has left: it has closed its connection or reset its stream, or takes nothing
/// any more. Streams that the library for HTTP/2 has reset were malformed.
fn has_left(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    *error.esource() == ErrorSource::Downstream
        && !cause.is_some_and(|cause| cause.is_library())
        && match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError | ErrorType::WriteTimedout => {
                true
            }
            // Its connection ended in the body of its request.
            ErrorType::Custom("PrematureBodyEnd") => true,
            // What the library says of a stream that is watched while nothing of it is read.
            ErrorType::H2Error => true,
            _ => false,
        }
}

/// Whether the provider says that it has not looked at the request, so that any may be tried again.
pub(super) fn was_refused(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && client::was_refused(error.root_cause())
}

/// What an error says, for the log: what it is, what was being done, and what it came from.
fn told(error: &Error) -> String {
    let what = format!("{} {}", error.etype().as_str(), error.esource().as_str());
    let doing = error.context.as_ref().map(|context| context.as_str().to_owned());
    let cause = Some(error.root_cause()).filter(|cause| !cause.is::<Error>()).map(ToString::to_string);
    [Some(what), doing, cause].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// What it means to the client that a provider was waited for in vain for so long. A connection of HTTP/2 that may hang
/// is left: others would wait for it too.
fn provider_is_late(context: &Context, within: Duration) -> Rejection {
    context.provider().into_iter().for_each(|provider| provider.leave(context.left));
    Rejection::UpstreamTimeout(within)
}

/// What an error of Pingora's means to the client.
fn failure(error: &Error, context: &Context) -> Rejection {
    let timeouts = context.upstream.as_ref().map(|upstream| upstream.target.timeouts);
    let known = context.provider().is_some_and(|provider| provider.addresses().are_known());
    let limit = |of: fn(&Timeouts) -> Duration| timeouts.as_ref().map_or(Duration::ZERO, of);
    match (error.etype(), error.esource()) {
        (ErrorType::ConnectNoRoute, _) if !known => Rejection::Unavailable,
        (ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout, _) => {
            Rejection::UpstreamTimeout(limit(|t| t.connect))
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => {
            Rejection::UpstreamTimeout(limit(|t| t.idle))
        }
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Rejection::BodyTimeout(limit(|t| t.idle)),
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Rejection::Header("Connection"),
        (_, ErrorSource::Downstream) => Rejection::Malformed("the request broke off or its framing is wrong".into()),
        (_, ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset) => Rejection::UpstreamFailed,
    }
}
