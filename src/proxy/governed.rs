//! Governed requests: the caller, the body and the response on the wire. [`crate::serve`] does what is between them.

use super::body;
use super::caller::{credential, source};
use super::client_presence::attended;
use super::context::Context;
use super::not_served::NotServed;
use super::response::{response_head, write};
use crate::gateway::{Governed, Outcome};
use crate::provider::{ExchangeRecord, Origin};
use crate::serve::{ClientRequest, Served, ServedFrom};
use http::HeaderMap;
use pingora::Error;
use pingora::prelude::Session;
use std::net::IpAddr;
use std::time::Instant;

/// Responds to a governed request.
pub(super) async fn respond(session: &mut Session, context: &mut Context, governed: Governed) -> Result<(), NotServed> {
    let runtime = context.runtime.clone();
    let credential = credential(context, governed.upstream(), &session.req_header().headers).await?;
    let caller = context.matched(governed.upstream(), credential)?;
    let authorized = governed.authorize(caller)?;
    let dialect = authorized.upstream().dialect;
    authorized.check_size()?;
    let (most, too_large) = authorized.body_limit();
    let body = body::whole(session, context, most, too_large, authorized.upstream().body.timeout).await?;
    let carrier = authorized.carrier();
    let request = authorized.read_body(&runtime.gateway, body)?;
    let mut client = Client { session, context };
    let Served { response, source } = runtime.service.respond(&mut client, request).await?;
    let Client { session, context } = client;
    context.has_failed_call = context.samples() && carrier.is_framed() && !response.call_status(carrier).is_success();
    if !matches!(source, ServedFrom::Hit { .. }) {
        // The client may have left meanwhile.
        attended(session, context, std::future::ready(())).await?;
    }
    let header = response_head(&response, source, &context.id, dialect, session.req_header())?;
    write(session, context, header, response.body.clone(), response.trailers.clone()).await?;
    Ok(())
}

/// The client of a governed request.
struct Client<'a> {
    session: &'a mut Session,
    context: &'a mut Context,
}

impl ClientRequest for Client<'_> {
    type Gone = Box<Error>;

    fn headers(&self) -> &HeaderMap {
        &self.session.req_header().headers
    }

    fn origin(&self) -> Origin {
        self.context.origin(self.session.req_header())
    }

    fn client_ip(&self) -> Option<IpAddr> {
        source(self.context, self.headers())
    }

    fn started(&self) -> Instant {
        self.context.started
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.context.outcome
    }

    fn record(&mut self) -> &mut Option<ExchangeRecord> {
        &mut self.context.record
    }

    async fn attend<W>(&mut self, work: W) -> Result<W::Output, Box<Error>>
    where
        W: Future<Output: Send> + Send,
    {
        attended(self.session, self.context, work).await
    }
}
