//! What the client sees of a pass-through response that is streamed to it.

use super::context::Context;
use super::downstream::Downstream;
use super::first_byte;
use super::head::REQUEST_ID;
use crate::client;
use crate::provider::heads;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use std::time::Instant;

/// A head has come from the provider. Fails if it must not be forwarded.
pub(super) fn begins(context: &mut Context, response: &ResponseHeader, is_upgrade: bool) -> Result<()> {
    context.begun = true;
    context.ahead = if response.version == Version::HTTP_2 { client::STREAMING_WINDOW as usize } else { 0 };
    first_byte::begins(context);
    check(response, is_upgrade)?;
    // An informational response precedes the final one, unless it switches protocols.
    let is_final = !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(provider) = context.provider() {
        provider.note(None);
        if let Some(record) = context.record.as_ref().filter(|_| is_final) {
            provider.responded(record, response.status, &response.headers, Instant::now());
        }
    }
    if is_final {
        context.observed = None;
    }
    Ok(())
}

/// Turns the head of a final response into the client's.
pub(super) fn finish<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    response: &mut ResponseHeader,
) -> Result<()> {
    context.status = response.status.as_u16();
    response.insert_header(REQUEST_ID, context.id.clone())?;
    if context.runtime.is_stopping() {
        downstream.close();
    }
    Ok(())
}

/// A copy of a response's head that shares no memory with the buffer that it was read into. An HTTP/2 connection keeps
/// headers in its HPACK table, and would keep the whole buffer with them.
pub(super) fn released(response: &ResponseHeader) -> Result<ResponseHeader> {
    let mut own = ResponseHeader::build(response.status, Some(response.headers.len() + 1))?;
    own.set_version(response.version);
    for (name, value) in &response.headers {
        own.append_header(name.clone(), value.as_bytes())?;
    }
    Ok(own)
}

/// Frames a response for its client, and removes the headers of the provider's connection. An HTTP/1.0 client cannot
/// read chunks: for it the response ends with the connection (RFC 9112, section 6.1).
pub(super) fn frame<D: Downstream>(downstream: &mut D, response: &mut ResponseHeader) -> Result<()> {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    for name in heads::of_connection(&response.headers) {
        // `Trailer` is for the reader of the body.
        if name != TRAILER && (!switches || ![CONNECTION, UPGRADE].contains(&name)) {
            response.remove_header(&name);
        }
    }
    let old = downstream.request().version < Version::HTTP_11;
    if old && !response.headers.contains_key(CONTENT_LENGTH) {
        downstream.close();
    }
    if old || heads::has_no_length(response.status) {
        response.remove_header(&TRANSFER_ENCODING);
    }
    if heads::has_no_length(response.status) {
        response.remove_header(&CONTENT_LENGTH);
    }
    if let Some(length) = heads::repeated_length(&response.headers) {
        response.insert_header(CONTENT_LENGTH, length)?;
    }
    Ok(())
}

/// Fails on a response that the client could read with another end than the gateway: Pingora forwards unknown transfer
/// codings, and a switch of protocols that the client did not request.
fn check(response: &ResponseHeader, upgrades: bool) -> Result<()> {
    let wrong = if response.status == StatusCode::SWITCHING_PROTOCOLS && !upgrades {
        "a protocol switch that the client did not request"
    } else if let Some(fault) = heads::fault(&response.headers) {
        fault
    } else {
        return Ok(());
    };
    Err(Error::explain(ErrorType::InvalidHTTPHeader, wrong).into_up())
}

/// Fails on trailers that are too large.
pub(super) fn check_trailers(trailers: &HeaderMap) -> Result<()> {
    if heads::are_bounded(trailers) {
        return Ok(());
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "the response has too many trailers").into_up())
}
