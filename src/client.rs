//! Outbound HTTP: trusted CAs, addresses that are resolved in the background, and buffered requests with limits.

mod addresses;
mod connected;
mod connect_options;
mod connector;
mod destination;
mod exchange;
mod failure;
mod http2;
mod part;
mod product;
mod resolver;
mod response;
mod tls;
mod transport;
mod tunnel;
mod tunnel_error;

pub use addresses::{Addresses, Attempts};
pub use connect_options::ConnectOptions;
pub use connected::{Connected, ConnectionTrial};
pub use destination::{Destination, DestinationError};
pub use exchange::{ConnectError, Exchange, ExchangeError};
pub use failure::{described, is_address_failure, is_final, was_refused};
pub use http2::{CONNECTION_WINDOW, STREAMING_WINDOW};
pub use part::Part;
pub use product::PRODUCT;
pub use resolver::{Files, LookupError, Resolver};
pub use response::{Body, Response};
pub use transport::Transport;
pub use tunnel::Tunnel;
pub use tunnel_error::TunnelError;

use crate::descriptors;
use crate::gateway::Protocol;
use crate::memory::Memory;
use bytes::Bytes;
use connector::{Connector, connector};
use http::{Request, Uri};
use http_body_util::Full;
use http2::Http2;
use hyper_util::client::legacy::connect::{HttpInfo, capture_connection};
use hyper_util::client::legacy::{Builder, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tls::client_config;
use tokio::time::{Instant, timeout_at};

/// An HTTP client with a connection pool. It always verifies certificates and never follows redirects.
#[derive(Clone)]
pub struct Client {
    addresses: Arc<Addresses>,
    http1: Option<Pool<Connector, Full<Bytes>>>,
    http2: Option<Arc<Http2>>,
    memory: Option<Arc<Memory>>,
}

impl Client {
    /// A client for one host. Fails if the TLS settings are invalid.
    pub fn new(options: &ConnectOptions) -> Result<Client, rustls::Error> {
        let tls = client_config(options.authorities.as_ref(), options.identity.as_ref())?;
        let memory = options.memory.clone();
        let mut client = Client { addresses: options.addresses.clone(), http1: None, http2: None, memory };
        if options.protocol != Protocol::Http2 {
            let mut builder = Builder::new(TokioExecutor::new());
            builder.pool_idle_timeout(options.keepalive).pool_timer(TokioTimer::new());
            builder.pool_max_idle_per_host(descriptors::max_idle_per_pool());
            client.http1 = Some(builder.build(connector(options, tls.clone(), Protocol::Http1)));
        }
        if options.protocol != Protocol::Http1 {
            client.http2 = Some(Arc::new(Http2::new(options, connector(options, tls, options.protocol))));
        }
        Ok(client)
    }

    /// The same client with an HTTP/2 connection of its own, so that slow readers of streamed responses do not delay
    /// others.
    pub fn for_streaming(&self) -> Client {
        Client { http2: self.http2.as_ref().map(|http2| Arc::new(http2.for_streaming())), ..self.clone() }
    }

    /// Sends a request and reads the complete response, within `within` and up to `most` bytes. The URI names the host
    /// to connect to, the `Host` header the virtual host if it differs. Only `repeatable` requests fail if memory is
    /// short.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        most: usize,
        within: Duration,
        repeatable: bool,
    ) -> Result<Exchange, ExchangeError> {
        let memory = self.memory.as_ref().filter(|_| repeatable);
        let whole = async { self.response(request).await?.collect(most, memory).await };
        tokio::time::timeout(within, whole).await.unwrap_or(Err(ExchangeError::Timeout(within)))
    }

    /// Whether requests to this URI use HTTP/2, as far as that can be determined.
    pub async fn speaks_http2(&self, to: &Uri) -> bool {
        match &self.http2 {
            Some(http2) => matches!(http2.connection(to).await, Ok(Some(_))),
            None => false,
        }
    }

    /// Sends a request and waits for the head of the response, within `within`. The caller reads the body; it may drop
    /// both at any time.
    pub async fn open(&self, request: Request<Bytes>, within: Duration) -> Result<Response, ExchangeError> {
        let until = Instant::now() + within;
        let late = |_| ExchangeError::Timeout(within);
        if let Some(http2) = &self.http2
            && let Some(connection) = timeout_at(until, http2.connection(request.uri())).await.map_err(late)??
        {
            let reused = connection.is_reused();
            let (head, body) = connection.open_until(request, until).await.map_err(late)??;
            return Ok(Response::new(head, Body::http2(body), reused));
        }
        let opened = timeout_at(until, self.without_http2(request)).await.map_err(late)?;
        let mut response = opened?;
        response.body.release();
        Ok(response)
    }

    /// Boxed, because it is large and would be moved with every request, even if nothing is sent.
    fn response(&self, request: Request<Bytes>) -> Pin<Box<impl Future<Output = Result<Response, ExchangeError>>>> {
        Box::pin(self.respond(request))
    }

    async fn respond(&self, request: Request<Bytes>) -> Result<Response, ExchangeError> {
        if let Some(http2) = &self.http2
            && let Some(connection) = http2.connection(request.uri()).await?
        {
            let reused = connection.is_reused();
            let (head, body) = connection.open(request).await?;
            return Ok(Response::new(head, Body::http2(body), reused));
        }
        self.without_http2(request).await
    }

    async fn without_http2(&self, request: Request<Bytes>) -> Result<Response, ExchangeError> {
        let Some(http1) = &self.http1 else {
            return Err(ConnectError::Unreachable("the server does not support HTTP/2".into()).into());
        };
        let result = self.over_http1(http1, request).await;
        if let (Err(ExchangeError::Connect(_)), Some(http2)) = (&result, &self.http2) {
            http2.forget_version().await;
        }
        result
    }

    async fn over_http1(
        &self,
        pool: &Pool<Connector, Full<Bytes>>,
        request: Request<Bytes>,
    ) -> Result<Response, ExchangeError> {
        let mut request = request.map(Full::new);
        let connection = capture_connection(&mut request);
        // A server that sent an informational response has seen the request: the connection was not closed before it.
        let begun = Arc::new(AtomicBool::new(false));
        let seen = begun.clone();
        hyper::ext::on_informational(&mut request, move |_| seen.store(true, Ordering::Relaxed));
        let failed = |error| match failure::classify(&error) {
            ExchangeError::Closed if begun.load(Ordering::Relaxed) => {
                ExchangeError::Broken("the connection was closed after an informational response".into())
            }
            other => other,
        };
        let response = pool.request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let moved = |info: &HttpInfo| !self.addresses.contains(info.remote_addr());
        if let Some(connected) = connection.connection_metadata().as_ref()
            && head.extensions.get::<HttpInfo>().is_some_and(moved)
        {
            // The name no longer resolves to this address: do not reuse the connection.
            connected.poison();
        }
        if head.status.is_informational() {
            return Err(ExchangeError::Broken(format!("unexpected response {}", head.status)));
        }
        Ok(Response::new(head, Body::http1(body), false))
    }
}
