//! Pass-through requests that the gateway sends by itself, and the streaming of their responses.

use super::client_presence::attended;
use super::context::Context;
use super::head::REQUEST_ID;
use super::pingora_session::write_head;
use super::{peer, reject, upstream_response};
use crate::client::{Part, Response};
use crate::edge::OutOfMemory;
use crate::gateway::Upstream;
use crate::provider::{ExchangeRecord, Fetch, Provider, Slot};
use crate::telemetry::Shed;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::time::Duration;

/// A response to be streamed to the client: the parts that were read already, and the rest.
pub(super) struct Relayed {
    pub response: Response,
    pub read: Vec<Part>,
    /// Its slot, if the context does not have it.
    pub slot: Option<Slot>,
}

/// The request to the provider for a pass-through request.
pub(super) fn fetch(
    session: &Session,
    context: &mut Context,
    upstream: &Upstream,
    provider: &Provider,
    body: Bytes,
) -> Fetch {
    let header = session.req_header();
    let grpc = peer::is_grpc(context, &header.headers);
    let query = header.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Fetch {
        method: header.method.clone(),
        path: [&upstream.target.base_path, upstream.matcher.upstream_path(header.uri.path()), &query].concat(),
        headers: provider.headers().relayed(&header.headers, &context.origin(header), grpc),
        body: Some(body),
        http2: grpc,
        reads: false,
        record: context.record.insert(ExchangeRecord::default()).clone(),
    }
}

/// Streams a response to the client, at the client's pace, until it ends or the client leaves.
pub(super) async fn relay(
    session: &mut Session,
    context: &mut Context,
    relayed: Relayed,
    idle: Duration,
) -> Result<()> {
    let Relayed { response, read, slot } = relayed;
    context.slot = slot.or(context.slot.take());
    context.ahead = response.body.read_ahead();
    let header = head(session, context, &response)?;
    let mut over = read.is_empty() && response.body.is_over();
    let mut left = Some(response);
    free_slot(context, &mut left, over);
    write_head(session, header, over).await?;
    let mut read = read.into_iter();
    while !over {
        let part = match read.next() {
            Some(part) => Some(part),
            None => match &mut left {
                Some(response) => attended(session, context, next(response, idle)).await??,
                None => None,
            },
        };
        over = match part {
            Some(Part::Data(data)) => {
                let last = read.len() == 0 && left.as_ref().is_none_or(|response| response.body.is_over());
                free_slot(context, &mut left, last);
                let held = context.response_passes(data.len(), session.body_bytes_sent(), session.is_http2());
                held.map_err(|OutOfMemory| reject::end(context, Shed::Response))?;
                session.write_response_body(Some(data), last).await.map_err(|error| error.into_down())?;
                last
            }
            // HTTP/1 clients get no trailers, as Pingora writes none either.
            Some(Part::Trailers(trailers)) if session.is_http2() => {
                upstream_response::check_trailers(&trailers)?;
                free_slot(context, &mut left, true);
                session.write_response_trailers(trailers).await.map_err(|error| error.into_down())?;
                true
            }
            Some(Part::Trailers(_)) | None => {
                free_slot(context, &mut left, true);
                session.write_response_body(None, true).await.map_err(|error| error.into_down())?;
                true
            }
        };
    }
    Ok(())
}

/// Ends the exchange with the provider once all of the response is here, and then frees its slot. The client may send its
/// next request as soon as it has the response, and that must find the slot free.
fn free_slot(context: &mut Context, left: &mut Option<Response>, is_over: bool) {
    if is_over {
        // What the provider has not read of the request is not sent any more.
        *left = None;
        context.slot = None;
    }
}

/// The next part of a body, which has to come within `idle`.
async fn next(response: &mut Response, idle: Duration) -> Result<Option<Part>> {
    match tokio::time::timeout(idle, response.body.next()).await {
        Ok(part) => part.map_err(|error| Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
        Err(_) => {
            response.body.mark_hung();
            Err(Error::explain(ErrorType::ReadTimedout, "the response stalled").into_up())
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
            // The body ends with the connection.
            session.set_keepalive(None);
        }
    }
    if context.runtime.is_stopping() {
        session.set_keepalive(None);
    }
    Ok(header)
}
