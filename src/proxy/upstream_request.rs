//! What the provider sees of a pass-through request that is streamed to it.

use super::context::Context;
use super::head::is_http2;
use super::peer::{Versions, versions};
use crate::provider::RequestKind;
use http::header::{EXPECT, TE};
use http::{Uri, Version};
use pingora::http::RequestHeader;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};

/// Turns the client's request into the provider's: with the provider's host and path, and without headers that only
/// proxies may set.
pub(super) async fn request(context: &mut Context, session: &mut Session, request: &mut RequestHeader) -> Result<()> {
    // Pingora may have connected to another address than the gateway would, which may speak another version.
    context.over_http2 |= request.version == Version::HTTP_2;
    if request.version == Version::HTTP_2 && request.remove_header(&EXPECT).is_some() && context.tries == 0 {
        // Pingora ignores the provider's 100 over HTTP/2, and some clients wait for it without a timeout.
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    check_version(request, versions(context, session.req_header(), session.is_upgrade_req()))?;
    rewrite(context, session.req_header(), request)?;
    // Pingora removes it when it retries a request.
    let te = session.req_header().headers.get(TE).filter(|_| request.version == Version::HTTP_2 && is_http2(session));
    if let Some(te) = te.cloned() {
        request.insert_header(TE, te)?;
    }
    Ok(())
}

/// Gives a copy of the client's request the provider's host and path, and the headers that the gateway sets.
pub(super) fn rewrite(context: &mut Context, client: &RequestHeader, request: &mut RequestHeader) -> Result<()> {
    context.tries += 1;
    let Some(upstream) = &context.upstream else {
        return Ok(());
    };
    let Some(headers) = context.provider().map(|provider| provider.headers().clone()) else {
        return Ok(());
    };
    let origin = context.origin(client);
    let set = headers.set(&request.headers, &origin, RequestKind::Streamed);
    for name in headers.removed(&request.headers, &origin, RequestKind::Streamed) {
        request.remove_header(&name);
    }
    for (name, value) in set {
        match value {
            Some(value) => request.insert_header(name, value)?,
            None => drop(request.remove_header(&name)),
        }
    }
    let path = upstream.matcher.upstream_path(request.uri.path());
    let moved = path.len() != request.uri.path().len() || !upstream.target.base_path.is_empty();
    // An absolute target has the gateway's host, not the provider's.
    if moved || !request.raw_path().starts_with(b"/") && request.uri.path() != "*" {
        let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{}{path}{query}", upstream.target.base_path);
        let uri: Uri = uri.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the path"))?;
        request.set_uri(uri);
    }
    Ok(())
}

/// Fails if a request that needs HTTP/2 got HTTP/1.1: Pingora falls back to it if ALPN agrees on nothing.
fn check_version(request: &RequestHeader, versions: Versions) -> Result<()> {
    if request.version != Version::HTTP_2 && versions == Versions::Http2 {
        return Err(Error::explain(ErrorType::ConnectError, "the provider does not support HTTP/2").into_up());
    }
    Ok(())
}
