//! Pingora's hooks: one request, from its head to its access log line.

use super::access_log;
use super::caller::{authorize_passed, credential};
use super::context::Context;
use super::declared_length::{self, Declared};
use super::downstream::Downstream;
use super::head::{self, is_http2};
use super::not_served::NotServed;
use super::pass_through::pass;
use super::peer::{Needs, ProviderCertificates};
use super::reject::{finish, reject, reject_head, reject_overloaded, reject_request};
use super::{
    chunks, first_byte, governed, invalidating, logout, peer, reject, routing, upstream_error, upstream_request,
    upstream_response,
};
use crate::cache::MarkFailurePolicy;
use crate::edge::{self, NO_KEEPALIVE_TIMEOUT, OutOfMemory};
use crate::gateway::{Credential, InvalidatingRequest, Routed, Upstream};
use crate::model::{Operation, Rejection};
use crate::runtime::CurrentRuntime;
use crate::telemetry::Shed;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::{HttpPeer, ProxyHttp, Session};
use pingora::protocols::Digest;
use pingora::proxy::FailToProxy;
use pingora::{Error, Result};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// The gateway as a Pingora application.
pub(super) struct Hooks {
    running: Arc<CurrentRuntime>,
    certificates: ProviderCertificates,
}

impl Hooks {
    pub fn new(running: Arc<CurrentRuntime>) -> Hooks {
        Hooks { running, certificates: ProviderCertificates::default() }
    }

    /// Routes the request and serves it. `true` if the response has been sent; otherwise Pingora forwards the request.
    async fn process(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        // HTTP/2 streams took their permit in `edge`, where a stream can still be refused with REFUSED_STREAM.
        if !session.is_http2() && context.admit().is_err() {
            return reject_overloaded(session, context).await;
        }
        if let Err(rejection) = Self::check_head(session, context).await {
            return reject_head(session, context, &rejection).await;
        }
        match routing::route(session.req_header_mut(), context)? {
            Err(rejected) => reject_request(session, context, rejected).await,
            Ok(Routed::PassThrough(upstream, operation)) => {
                context.upstream = Some(upstream.clone());
                if let Err(rejection) = authorize_passed(session.req_header(), context, &upstream, operation).await {
                    return reject(session, context, &rejection).await;
                }
                context.is_plain_read = context.samples() && logout::is_plain_read(session.req_header(), &upstream);
                let passed = match logout::logout(session.req_header(), context, &upstream) {
                    Some(logout) => logout::forward(session, context, upstream, logout).await,
                    None => pass(session, context, upstream, operation).await,
                };
                finish(session, context, passed).await
            }
            Ok(Routed::InvalidatingIfAccepted(upstream)) => {
                context.upstream = Some(upstream.clone());
                let operation = Operation::ChangeRelated;
                if let Err(rejection) = authorize_passed(session.req_header(), context, &upstream, operation).await {
                    return reject(session, context, &rejection).await;
                }
                let passed = invalidating::forward_if_accepted(session, context, upstream).await;
                finish(session, context, passed).await
            }
            Ok(Routed::Invalidating(related)) => {
                let passed = Self::invalidating(session, context, related).await;
                finish(session, context, passed).await
            }
            Ok(Routed::Governed(governed)) => governed::respond(session, context, governed).await,
        }
    }

    /// Checks the head of a request before anything in it is used.
    async fn check_head(session: &mut Session, context: &Context) -> Result<(), Rejection> {
        routing::check_head(session.req_header_mut(), context)?;
        let timeout = context.timing.as_ref().map(|timing| timing.timeouts.head).unwrap_or_default();
        declared_length::check_empty(session, timeout).await
    }

    /// Authorizes and forwards a call that lists sessions, or a request that may change any session. The latter sets a
    /// mark if sessions are cached.
    async fn invalidating(
        session: &mut Session,
        context: &mut Context,
        request: InvalidatingRequest,
    ) -> Result<bool, NotServed> {
        let operation = request.operation();
        context.matches(request.route());
        context.outcome.operation = operation;
        context.upstream = Some(request.upstream().clone());
        if let Some(path) = request.path() {
            head::set_path(session.req_header_mut(), path)?;
        }
        let credential = credential(context, request.upstream(), &session.req_header().headers).await?;
        let changes = request.changes();
        let caller = context.matched(request.upstream(), credential)?;
        let upstream = request.authorize(&caller)?;
        let changes = changes && may_change(&upstream, caller.credential());
        match MarkFailurePolicy::of(&upstream).filter(|_| changes) {
            Some(policy) => invalidating::forward(session, context, upstream, policy).await.map(|()| true),
            None => pass(session, context, upstream, operation).await,
        }
    }
}

/// Whether this caller can change anything at the provider. If not, no mark is set, so that callers without rights
/// cannot disable the cache.
fn may_change(upstream: &Upstream, credential: &Credential) -> bool {
    match credential {
        Credential::Verified(verified) => upstream.dialect.allows_writes(verified.caller()),
        Credential::Forwarded(_) => true,
        Credential::Anonymous => false,
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    // Boxed: the future of a request holds it, and has to stay in a smaller allocation class (see the test of memory).
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(self.running.now()))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        // Without the compression module: responses reach the client as they come.
        modules.add_module(Box::new(chunks::Builder));
    }

    async fn early_request_filter(&self, session: &mut Session, context: &mut Box<Context>) -> Result<()> {
        context.assign_ids(session.req_header_mut());
        // HTTP/1 connections have their own write timeout; an HTTP/2 stream that its client does not read needs one.
        if session.is_http2() {
            let timeout = context.timing.as_ref().map(|timing| timing.timeouts.write);
            session.set_write_timeout(timeout);
        }
        // Only if keepalive is on: Pingora switches it off after requests whose connection cannot be reused.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(NO_KEEPALIVE_TIMEOUT));
        }
        // A gRPC call may stay open without sending anything.
        let streams = session.is_http2() && peer::is_call(&session.req_header().headers);
        if let Some(timing) = context.timing.as_ref().filter(|_| !streams && !session.is_body_empty()) {
            timing.expect_body();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Box<Context>) -> Result<bool> {
        match AssertUnwindSafe(self.process(session, context)).catch_unwind().await {
            Ok(result) => result,
            // Part of a response has been written: the request is aborted.
            Err(panic) if session.response_written().is_some() => resume_unwind(panic),
            Err(_) => {
                session.set_keepalive(None);
                reject(session, context, &Rejection::InternalError).await
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Box<Context>) -> Result<Box<HttpPeer>> {
        let needs = Needs::of(session, context);
        peer::peer(context, &self.certificates, &needs)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        context: &mut Box<Context>,
        error: Box<Error>,
    ) -> Box<Error> {
        peer::go_on(context, peer, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Box<Context>,
        client_reused: bool,
    ) -> Box<Error> {
        let is_kept = !session.as_ref().retry_buffer_truncated();
        upstream_error::set_retry(&mut error, context, &session.req_header().method, is_kept, client_reused);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        context: &mut Box<Context>,
    ) -> Result<()> {
        peer::connected(context, peer, reused);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        context.declared = Declared::of(session);
        upstream_request::request(context, session, request).await?;
        if session.as_mut().is_body_done() {
            first_byte::expect(session, context);
        } else {
            first_byte::watch(session, context);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Box<Context>,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        context.body_came(session.http2_body_read(), end_of_stream);
        context.body_passes(bytes).map_err(|OutOfMemory| reject::end(context, Shed::Request))?;
        if end_of_stream {
            context.body_sent();
        }
        if let Some(declared) = &mut context.declared {
            declared.take(body, end_of_stream)?;
        }
        // Pingora would write the terminating chunk twice; the provider would parse the second as a new request.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        first_byte::progressed(context);
        if end_of_stream {
            first_byte::expect(session, context);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        upstream_response::begins(context, response, session.is_upgrade_req())
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Box<Context>,
    ) -> Result<()> {
        upstream_response::check_trailers(trailers)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS && session.is_upgrade_req() {
            edge::open_tunnel();
        }
        upstream_response::frame(session, response)?;
        if is_http2(session) {
            *response = upstream_response::released(response)?;
        }
        if !response.status.is_informational() {
            upstream_response::finish(session, context, response)?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Box<Context>,
    ) -> Result<Option<Duration>> {
        first_byte::progressed(context);
        let bytes = body.as_ref().map_or(0, Bytes::len);
        let passed = context.response_passes(bytes, session.body_bytes_sent(), is_http2(session));
        passed.map_err(|OutOfMemory| reject::end(context, Shed::Response))?;
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Box<Context>) -> FailToProxy {
        upstream_error::response(session, error, context).await
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Box<Context>) {
        // Not before: until now, the provider may get a body that is still arriving, on a connection of its own.
        (context.slot, context.is_timed) = (None, false);
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        access_log::account(context, status, session.body_bytes_sent() + context.written);
        if let Some(timing) = context.timing.as_ref().filter(|_| !is_http2(session)) {
            timing.request_complete();
        }
        context.end();
    }

    fn suppress_error_log(&self, _: &Session, _: &Box<Context>, _: &Error) -> bool {
        // The access log line has the failure.
        true
    }
}
