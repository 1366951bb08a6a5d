//! Governed requests: the caller, the body and the response on the wire. [`crate::serve`] does what is between them.

use super::body;
use super::caller::{credential, source};
use super::client_presence::attended;
use super::context::Context;
use super::downstream::Downstream;
use super::not_served::NotServed;
use super::reject::finish;
use super::response::{response_head, write};
use crate::gateway::{Governed, Outcome};
use crate::provider::{ExchangeRecord, Origin};
use crate::serve::{ClientRequest, Served, ServedFrom};
use http::HeaderMap;
use pingora::{Error, Result};
use std::net::IpAddr;
use std::time::Instant;

/// Responds to a governed request.
pub(super) async fn respond<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    governed: Governed,
) -> Result<bool> {
    context.matches(Some(governed.route()));
    context.outcome.upstream = Some(governed.upstream().index);
    context.upstream = Some(governed.upstream().clone());
    let served = serve(downstream, context, governed).await;
    finish(downstream, context, served.map(|()| true)).await
}

async fn serve<D: Downstream>(downstream: &mut D, context: &mut Context, governed: Governed) -> Result<(), NotServed> {
    let runtime = context.runtime.clone();
    let credential = credential(context, governed.upstream(), &downstream.request().headers).await?;
    let caller = context.matched(governed.upstream(), credential)?;
    let authorized = governed.authorize(caller)?;
    let dialect = authorized.upstream().dialect;
    authorized.check_size()?;
    let (most, too_large) = authorized.body_limit();
    let body = body::whole(downstream, context, most, too_large, authorized.upstream().body.timeout).await?;
    let carrier = authorized.carrier();
    let request = authorized.read_body(&runtime.gateway, body)?;
    let mut client = Client { downstream, context };
    let Served { response, source } = runtime.service.respond(&mut client, request).await?;
    let Client { downstream, context } = client;
    context.has_failed_call = context.samples() && carrier.is_framed() && !response.call_status(carrier).is_success();
    if !matches!(source, ServedFrom::Hit { .. }) {
        // The client may have left meanwhile.
        attended(downstream, context, std::future::ready(())).await?;
    }
    let header = response_head(&response, source, &context.id, dialect, downstream.request())?;
    write(downstream, context, header, response.body.clone(), response.trailers.clone()).await?;
    Ok(())
}

/// The client of a governed request.
struct Client<'a, D> {
    downstream: &'a mut D,
    context: &'a mut Context,
}

impl<D: Downstream> ClientRequest for Client<'_, D> {
    type Gone = Box<Error>;

    fn headers(&self) -> &HeaderMap {
        &self.downstream.request().headers
    }

    fn origin(&self) -> Origin {
        self.context.origin(self.downstream.request())
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
        attended(self.downstream, self.context, work).await
    }
}
