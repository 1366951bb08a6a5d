//! Who sends a request, and from where.

use super::context::Context;
use super::head::head;
use super::reported_address::reported;
use crate::edge;
use crate::gateway::{Credential, Upstream};
use crate::model::{Operation, Rejection};
use crate::runtime::{Runtime, TokenVerifier};
use crate::serve::clock;
use crate::token::{Verified, is_jwt};
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::RequestHeader;
use std::net::IpAddr;
use std::sync::Arc;

/// The caller of a request with a token that the gateway knows to be valid, or can verify without a fetch.
fn recognized(runtime: &Runtime, upstream: &Upstream, headers: &HeaderMap) -> Option<Arc<Verified>> {
    let (verifiers, token) = (runtime.verifiers(upstream)?, upstream.dialect.token(headers).ok()?);
    verifiers.recognized(token, clock::seconds())
}

/// The credential of a request, verified as its upstream requires. What the credential is decides how: its form, and the
/// issuer that it names. No other way is tried if that fails.
pub(super) async fn credential(
    context: &Context,
    upstream: &Upstream,
    headers: &HeaderMap,
) -> Result<Credential, Rejection> {
    let Some(verifiers) = context.runtime.verifiers(upstream) else {
        return Ok(match upstream.dialect.shown_credentials(headers).next() {
            Some((_, value)) => Credential::Forwarded(Bytes::copy_from_slice(value)),
            None => Credential::Anonymous,
        });
    };
    let (token, source) = (upstream.dialect.token(headers)?, || source(context, headers));
    if upstream.check.forwards_opaque() && !is_jwt(token) {
        return Ok(Credential::Forwarded(Bytes::copy_from_slice(token.as_bytes())));
    }
    let verified = match verifiers.of(token)? {
        TokenVerifier::Issuer(issuer) => issuer.verify(token, clock::seconds(), source).await,
        TokenVerifier::Introspector(introspector) => introspector.verify(token, clock::seconds(), source).await,
    };
    verified.map(Credential::Verified)
}

/// Authorizes a request that the gateway only forwards. Without grants, and for requests that carry no credential by
/// design, it only recognizes the caller.
pub(super) async fn authorize_passed(
    request: &RequestHeader,
    context: &mut Context,
    upstream: &Upstream,
    operation: Operation,
) -> Result<(), Rejection> {
    let needs_grant = || !upstream.is_public(&head(request, "", false));
    let headers = &request.headers;
    if upstream.grants.is_empty() || !needs_grant() {
        context.outcome.caller = recognized(&context.runtime, upstream, headers);
        return Ok(());
    }
    context.outcome.operation = operation;
    upstream.dialect.check_credentials(headers)?;
    // Boxed, so that the future of a request without grants stays small.
    let credential = Box::pin(credential(context, upstream, headers)).await?;
    context.matched(upstream, credential)?.check(operation)
}

/// The address whose share of slots a request uses. `None` for verified callers, for clients without an IP address, and
/// for trusted peers that report no client.
pub(super) fn source(context: &Context, headers: &HeaderMap) -> Option<IpAddr> {
    if context.is_verified() {
        return None;
    }
    let client = context.client?;
    let from = if context.is_trusted { reported(&context.runtime, headers)? } else { client.to_canonical() };
    Some(edge::source(from))
}
