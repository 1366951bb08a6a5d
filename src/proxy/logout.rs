//! Logouts: pass-through requests without a credential that end the session which an ID token names. Anybody can send
//! them, so only a token with the provider's signature invalidates the cache, and only for its own session.

use super::context::Context;
use super::head::head;
use super::invalidating::{self, Invalidation, Marking};
use super::not_served::NotServed;
use super::pass_through::pass;
use crate::cache::{MarkFailurePolicy, Scope};
use crate::dialect::Logout;
use crate::dialect::path::canonical;
use crate::gateway::Upstream;
use crate::model::Operation;
use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use pingora::http::RequestHeader;
use pingora::prelude::Session;
use std::sync::Arc;

/// Whether a pass-through request only reads: no logout, and no method that a server may override.
pub(super) fn is_plain_read(request: &RequestHeader, upstream: &Upstream) -> bool {
    let overrides = head(request, "", false).method_override().is_some();
    request.method.is_safe() && !overrides && named(request, upstream).is_none()
}

/// The logout that the path of a request names. It is forwarded unchanged, so every spelling counts that a server may
/// read as a logout.
fn named(request: &RequestHeader, upstream: &Upstream) -> Option<&'static Logout> {
    let path = upstream.matcher.upstream_path(request.uri.path());
    let path = canonical(path).unwrap_or(path.into());
    upstream.dialect.logouts.iter().find(|logout| logout.path == path)
}

/// The logout that a request is, if it could make a cached session stale.
pub(super) fn logout(request: &RequestHeader, context: &Context, upstream: &Upstream) -> Option<&'static Logout> {
    let logout = named(request, upstream)?;
    let logs_out = [Method::GET, Method::POST].contains(&request.method);
    let counts = logs_out && MarkFailurePolicy::of(upstream).is_some() && context.runtime.verifiers(upstream).is_some();
    counts.then_some(logout)
}

/// Forwards a logout. A form is read completely before anything is marked or sent.
pub(super) async fn forward(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    logout: &Logout,
) -> Result<bool, NotServed> {
    let header = session.req_header();
    let content_type = header.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let form = header.method == Method::POST && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let mut hinted: Vec<String> = hints(logout, header.uri.query().unwrap_or_default()).map(str::to_owned).collect();
    let mut body = None;
    if form {
        let whole = invalidating::read_body(session, context, &upstream).await?;
        hinted.extend(std::str::from_utf8(&whole).into_iter().flat_map(|form| hints(logout, form)).map(str::to_owned));
        body = Some(whole);
    }
    let marks = marks(context, &upstream, &hinted);
    match body {
        None if marks.is_empty() => pass(session, context, upstream, Operation::Other).await,
        body => {
            let body = match body {
                Some(body) => body,
                None if session.is_body_empty() => Bytes::new(),
                None => invalidating::read_body(session, context, &upstream).await?,
            };
            invalidating::send(session, context, upstream, Operation::Other, body, Invalidation::Marked(marks))
                .await
                .map(|()| true)
        }
    }
}

/// The first and the last ID token among parameters: providers use the one or the other. Tokens have no characters that
/// need encoding.
fn hints<'p>(logout: &Logout, parameters: &'p str) -> impl Iterator<Item = &'p str> + use<'p> {
    let name = logout.token;
    let mut all = parameters.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (first, last) = (all.next(), all.next_back());
    first.into_iter().chain(last)
}

/// Marks for the sessions that these tokens name: only the provider knows which token counts.
fn marks(context: &Context, upstream: &Upstream, hinted: &[String]) -> Vec<Marking> {
    let Some(policy) = MarkFailurePolicy::of(upstream) else {
        return Vec::new();
    };
    let mut marks: Vec<Marking> = Vec::new();
    for scope in hinted.iter().filter_map(|token| scope(context, upstream, token)) {
        if marks.iter().all(|mark| mark.scope != scope) {
            // The sender's rights have not been checked.
            marks.push(Marking { scope, policy, apart: false });
        }
    }
    marks
}

/// The session that a token names.
fn scope(context: &Context, upstream: &Upstream, token: &str) -> Option<Scope> {
    let sid = context.runtime.verifiers(upstream)?.id_token_session(token)?;
    let (_, session) = context.runtime.gateway.purge_target(&upstream.name, Some(&sid)).ok()?;
    Some(Scope::Session(upstream.scope, session?))
}
