//! Requests that Pingora could not complete: the response, and whether the client left.

use super::context::Context;
use super::downstream::Downstream;
use super::head;
use super::reject::reject;
use crate::client;
use crate::edge;
use crate::gateway::Timeouts;
use crate::model::Rejection;
use crate::telemetry::{Decision, DisconnectReason};
use http::Method;
use pingora::proxy::FailToProxy;
use pingora::{Error, ErrorSource, ErrorType};
use std::time::Duration;

/// How often a request may be sent to a provider, including the first try.
pub(super) const MAX_TRIES: usize = 2;

/// Nothing more is written, and the connection or stream ends.
const OVER: FailToProxy = FailToProxy { error_code: 0, can_reuse_downstream: false };

/// Responds to a failed request, if a response can still be written.
pub(super) async fn response<D: Downstream>(downstream: &mut D, error: &Error, context: &mut Context) -> FailToProxy {
    let late = context.late();
    let slow =
        context.timing.as_ref().is_some_and(|timing| timing.disconnect_reason() == Some(DisconnectReason::MinBodyRate));
    let rejection = match edge::fault() {
        Some(fault) => head::rejection(fault),
        None if context.is_short => Rejection::Overloaded,
        None if slow => Rejection::BodyTimeout(context.started.elapsed()),
        None if let Some(within) = late
            && context.is_whole =>
        {
            provider_is_late(context, within)
        }
        // Both sides are silent, and it may be the client's turn: this is no failure of the provider.
        None if let Some(within) = late => Rejection::BodyTimeout(within),
        // The client had the whole response and did not wait for its end.
        None if is_disconnected(error) && downstream.is_response_whole() => return OVER,
        None if is_disconnected(error) => {
            (context.outcome.decision, context.outcome.rejection) = (Decision::ClientGone, None);
            return OVER;
        }
        None => failure(error, context),
    };
    if let Some(provider) = context.provider().filter(|_| rejection.is_provider_failure()) {
        let text = match late {
            Some(within) => format!("no response within {} ms", within.as_millis()),
            None => error_text(error),
        };
        // What fails behind a forward proxy names the proxy's address as that of the server.
        let tunnel = provider.tunnel().filter(|_| !is_local(error) && !text.contains("egress proxy"));
        let text = match tunnel {
            Some(tunnel) => format!("behind the egress proxy {}: {text}", tunnel.proxy()),
            None => text,
        };
        provider.note(Some(&text));
    }
    context.outcome.rejection = Some(rejection.name());
    context.outcome.decision = if rejection.is_failure() { Decision::Failed } else { Decision::Rejected };
    // After a switch of protocols no response can be written either.
    if downstream.was_upgraded() || downstream.written_status().is_some_and(|status| !status.is_informational()) {
        // What was written of the response may not have been flushed.
        downstream.shutdown().await;
        return OVER;
    }
    downstream.close();
    // A request that has reached the provider must not be retried, which the response to `Overloaded` proposes.
    let processed = rejection == Rejection::Overloaded && context.begun;
    let shown = if processed { &Rejection::InternalError } else { &rejection };
    let sent = reject(downstream, context, shown).await.is_ok();
    context.outcome.rejection = Some(rejection.name());
    if sent {
        // Otherwise what the client still sends resets the connection before the client has read the response.
        downstream.shutdown().await;
    }
    FailToProxy { error_code: if sent { 502 } else { 0 }, can_reuse_downstream: false }
}

/// Whether an error means that the client has left: it closed its connection, reset its stream, or stopped reading.
/// Streams that the HTTP/2 library itself reset were malformed.
fn is_disconnected(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    *error.esource() == ErrorSource::Downstream
        && !cause.is_some_and(|cause| cause.is_library())
        && match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError | ErrorType::WriteTimedout => {
                true
            }
            // The connection ended within the request body.
            ErrorType::Custom("PrematureBodyEnd") => true,
            // The library's error for a stream that ends while it is not read.
            ErrorType::H2Error => true,
            _ => false,
        }
}

/// Sets whether a failed request is sent again: only if its body, if any, `is_kept` completely. `is_reused` says whether
/// its connection was.
pub(super) fn set_retry(error: &mut Error, context: &Context, method: &Method, is_kept: bool, is_reused: bool) {
    // Only before any byte of a response. Over HTTP/2 Pingora does not show whether one came, so never there.
    let again = context.tries < MAX_TRIES && !context.begun && !context.over_http2;
    if !again || !is_kept || context.late().is_some() {
        error.set_retry(false);
    } else if was_refused(error) {
        error.set_retry(true);
    } else if method.is_safe() {
        error.retry.decide_reuse(is_reused);
    } else {
        error.set_retry(false);
    }
}

/// Whether the provider reports that it has not processed the request: then any request may be retried.
fn was_refused(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && client::was_refused(error.root_cause())
}

/// Whether there was no attempt to connect: no address, or no socket.
fn is_local(error: &Error) -> bool {
    use ErrorType::{BindError, ConnectNoRoute, InternalError, SocketError};
    matches!(error.etype(), BindError | ConnectNoRoute | InternalError | SocketError)
}

/// The text of an error for the log: its kind, what failed, and its causes.
fn error_text(error: &Error) -> String {
    let what = format!("{} {}", error.etype().as_str(), error.esource().as_str());
    let doing = error.context.as_ref().map(|context| context.as_str().to_owned());
    let cause = Some(error.root_cause()).filter(|cause| !cause.is::<Error>()).map(|cause| client::described(cause));
    [Some(what), doing, cause].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// The rejection for a provider that did not respond `within` this time. Its shared HTTP/2 connections may hang, so new
/// requests stop using them.
fn provider_is_late(context: &Context, within: Duration) -> Rejection {
    context.provider().into_iter().for_each(|provider| provider.retire_pool(context.pool_generation));
    Rejection::UpstreamTimeout(within)
}

/// The rejection for an error of Pingora.
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
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Rejection::Header("Connection", "is invalid"),
        (_, ErrorSource::Downstream) => {
            Rejection::Malformed("the request is incomplete or its framing is invalid".into())
        }
        (_, ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset) => Rejection::UpstreamFailed,
    }
}
