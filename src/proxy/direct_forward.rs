//! Plain pass-through requests that are forwarded without a session of Pingora's, to providers that speak HTTP/1.
//!
//! The connection to the provider and the parser of its responses are Pingora's. What Pingora's own forwarding
//! does beyond that is for streams in both directions: two futures and channels between them. With its session, that was
//! a third of a request. Here the whole request is sent, and then the response is read.

use super::client_presence::attended;
use super::context::Context;
use super::direct_client::DirectClient;
use super::idle_connections::IdleConnections;
use super::not_served::NotServed;
use super::peer::{self, Needs, ProviderCertificates, Versions, versions};
use super::upstream_error::{self, MAX_TRIES};
use super::{first_byte, logout, pass_through, reject, upstream_request, upstream_response};
use crate::client::Attempts;
use crate::descriptors;
use crate::edge::OutOfMemory;
use crate::gateway::Upstream;
use crate::model::Operation;
use crate::provider::heads;
use crate::telemetry::Shed;
use crate::wire::http1::fields;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Version};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::Peer;
use pingora::{ErrorType, OrErr, Result};
use std::sync::Arc;
use std::time::Duration;

/// How many headers of the gateway's own a request may get.
const OWN_HEADERS: usize = 8;

/// Forwards requests.
pub(super) struct Forwarder {
    connector: TransportConnector,
    idle: Arc<IdleConnections>,
    certificates: ProviderCertificates,
}

impl Forwarder {
    /// Call inside a tokio runtime.
    pub fn new() -> Forwarder {
        let idle = IdleConnections::new(descriptors::max_idle_per_pool());
        // Its own pool is not used.
        let connector = TransportConnector::new(Some(ConnectorOptions::new(0)));
        Forwarder { connector, idle, certificates: ProviderCertificates::default() }
    }

    /// Whether a pass-through request is forwarded here: its body is here completely, its provider gets it over HTTP/1,
    /// and it is no logout that has to be read first.
    pub fn takes(&self, client: &DirectClient<'_>, context: &Context, upstream: &Upstream) -> bool {
        client.stream.has_whole_request()
            && versions(context, &client.request, false) == Versions::Http1
            && logout::logout(&client.request, context, upstream).is_none()
    }

    /// Forwards a request as soon as a slot is free.
    pub async fn forward(
        &self,
        client: &mut DirectClient<'_>,
        context: &mut Context,
        upstream: Arc<Upstream>,
        operation: Operation,
    ) -> Result<(), NotServed> {
        let body = client.whole_body().await.map_err(|error| error.into_down())?;
        context.body_came(None, true);
        pass_through::begin(client, context, &upstream, operation).await?;
        // Each try may go through all addresses.
        let mut left = MAX_TRIES * Attempts::MAX;
        loop {
            left -= 1;
            match self.send(client, context, &body).await {
                Err(error) if error.retry() && left > 0 => {}
                result => return Ok(result?),
            }
        }
    }

    /// Sends a request once, and its response to the client.
    async fn send(&self, client: &mut DirectClient<'_>, context: &mut Context, body: &Bytes) -> Result<()> {
        let needs = Needs { versions: Versions::Http1, is_upgrade: false, is_whole: true };
        let peer = peer::peer(context, &self.certificates, &needs)?;
        let key = peer.reuse_hash();
        let (stream, is_reused) = match self.idle.take(key) {
            Some(stream) => (stream, true),
            // Boxed, so that the future of a request on a kept connection stays small.
            None => match Box::pin(self.connector.new_stream(&*peer)).await {
                Ok(stream) => (stream, false),
                Err(error) => return Err(peer::go_on(context, &peer, error.into_up()).into_up()),
            },
        };
        let mut session = HttpSession::new(stream);
        peer::connected(context, &peer, is_reused);
        (session.read_timeout, session.write_timeout) = (peer.options.read_timeout, peer.options.write_timeout);
        let connection = Connection { session, idle: &self.idle, key, keepalive: peer.idle_timeout() };
        exchange(client, context, connection, body).await.map_err(|mut error| {
            upstream_error::set_retry(&mut error, context, &client.request.method, true, is_reused);
            error
        })
    }
}

/// A connection to a provider.
struct Connection<'a> {
    session: HttpSession,
    idle: &'a IdleConnections,
    key: u64,
    /// How long it is kept without a request. `None` if it must not be used again.
    keepalive: Option<Duration>,
}

impl Connection<'_> {
    /// The response is here completely: the connection, and the slot of the request, are free for another one. The
    /// client may send it as soon as it has the response.
    async fn free(self, context: &mut Context) {
        let Connection { mut session, idle, key, keepalive } = self;
        match keepalive {
            Some(keepalive) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    idle.put(key, stream, keepalive);
                }
            }
            None => drop(session),
        }
        context.slot = None;
    }
}

/// Sends a request on a connection, and its response to the client.
async fn exchange(
    client: &mut DirectClient<'_>,
    context: &mut Context,
    mut connection: Connection<'_>,
    body: &Bytes,
) -> Result<()> {
    let Connection { session, keepalive, .. } = &mut connection;
    let mut request = copy(client)?;
    upstream_request::rewrite(context, &client.request, &mut request)?;
    context.body_passes(body.len()).map_err(|OutOfMemory| reject::end(context, Shed::Request))?;
    session.write_request_header(Box::new(request)).await.map_err(|error| error.into_up())?;
    let sent = match body.is_empty() {
        true => Ok(()),
        false => write_body(session, body).await,
    };
    context.body_sent();
    first_byte::start(context);
    let response = match head(client, context, session).await {
        Ok(response) => response,
        // The provider may respond before it has read all of a request, and close its connection.
        Err(error) => return Err(sent.err().unwrap_or(error)),
    };
    *keepalive = keepalive.filter(|_| sent.is_ok());
    relay(client, context, connection, response).await
}

async fn write_body(session: &mut HttpSession, body: &Bytes) -> Result<()> {
    session.write_body(body).await.map_err(|error| error.into_up())?;
    session.finish_body().await.map_err(|error| error.into_up())?;
    Ok(())
}

/// A copy of a request, as Pingora would send it: with its headers as they were spelled, without those for the
/// connection. `Host`, whose value may have been normalized since, is set later.
fn copy(client: &DirectClient<'_>) -> Result<RequestHeader> {
    let DirectClient { request, head, .. } = client;
    let headers = Some(request.headers.len() + OWN_HEADERS);
    let mut copy = RequestHeader::build(request.method.clone(), request.raw_path(), headers)?;
    for (name, value) in fields(head) {
        let is = |own: &HeaderName| name.eq_ignore_ascii_case(own.as_str().as_bytes());
        // Some were removed because their sender must not set them. A plain request names none in `Connection`.
        let is_left = str::from_utf8(name).is_ok_and(|name| request.headers.contains_key(name));
        if is_left && !heads::HOP_BY_HOP.iter().any(is) && !is(&PROXY_AUTHORIZATION) {
            let value = HeaderValue::from_maybe_shared(head.slice_ref(value));
            let value = value.or_err(ErrorType::InvalidHTTPHeader, "a header of the request")?;
            copy.append_header(head.slice_ref(name), value)?;
        }
    }
    Ok(copy)
}

/// The head of the final response. Informational ones go to the client.
async fn head(
    client: &mut DirectClient<'_>,
    context: &mut Context,
    session: &mut HttpSession,
) -> Result<Box<ResponseHeader>> {
    loop {
        let head = attended(client, context, session.read_resp_header_parts()).await?;
        let mut head = head.map_err(|error| error.into_up())?;
        upstream_response::begins(context, &head, false)?;
        if !head.status.is_informational() {
            return Ok(head);
        }
        upstream_response::frame(client, &mut head)?;
        client.write_informational(&head).await?;
    }
}

/// Sends a response to the client, at the client's pace.
async fn relay(
    client: &mut DirectClient<'_>,
    context: &mut Context,
    mut connection: Connection<'_>,
    mut response: Box<ResponseHeader>,
) -> Result<()> {
    let is_over = connection.session.is_body_done();
    let is_framed = response.headers.contains_key(TRANSFER_ENCODING) || response.headers.contains_key(CONTENT_LENGTH);
    if !is_over && !is_framed {
        // It ends with the provider's connection, which the client does not see.
        response.set_version(Version::HTTP_11);
        response.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    upstream_response::frame(client, &mut response)?;
    upstream_response::finish(client, context, &mut response)?;
    let mut left = Some(connection);
    if let Some(done) = left.take_if(|connection| connection.session.is_body_done()) {
        done.free(context).await;
    }
    client.begin_response(*response).await?;
    while let Some(Connection { session, .. }) = &mut left {
        let part = match session.read_body_bytes().now_or_never() {
            Some(part) => part,
            None => {
                // What has come is not kept back.
                client.flush().await?;
                attended(client, context, session.read_body_bytes()).await?
            }
        };
        let part = part.map_err(|error| error.into_up())?.unwrap_or_default();
        let held = context.response_passes(part.len(), client.sent, false);
        held.map_err(|OutOfMemory| reject::end(context, Shed::Response))?;
        if let Some(done) = left.take_if(|connection| connection.session.is_body_done()) {
            done.free(context).await;
        }
        client.write_part(&part).await?;
    }
    client.end_response().await
}
