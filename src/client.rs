//! Outbound HTTP: trusted roots, addresses that are looked up off the request path, and buffered exchanges with bounds.

mod addresses;
mod connector;
mod failure;
mod http2;
mod resolver;
mod part;
mod response;

pub use addresses::{Addresses, Attempts};
pub use failure::{is_address_failure, was_refused};
pub use http2::{CONNECTION_WINDOW, STREAMING_WINDOW};
pub use part::Part;
pub use resolver::{Files, LookupError, Resolver};
pub use response::{Body, Response};

use crate::descriptors;
use crate::gateway::{CaCertificates, ClientIdentity, Protocol};
use crate::memory::Memory;
use bytes::Bytes;
use connector::{Connector, connector, tls};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use http2::Http2;
use hyper_util::client::legacy::connect::{HttpInfo, capture_connection};
use hyper_util::client::legacy::{Builder, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Why an exchange brought no response.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection: nothing was sent, or nothing that could be read.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke; the request may have been carried out.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The other side says that it has not looked at the request.
    #[error("the request was not taken: {0}")]
    Refused(String),
    /// A connection that had been kept was closed before any byte of a response came.
    #[error("a kept connection was closed")]
    Closed,
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The response, which has this status, is larger than this number of bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize, StatusCode),
    /// There is too little memory for the response.
    #[error("the answer was given up because memory is short")]
    OutOfMemory,
}

/// A response as a whole.
#[derive(Debug)]
pub struct Exchange {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What stood behind the body.
    pub trailers: Option<HeaderMap>,
}

/// How a host is reached.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where it is.
    pub addresses: Arc<Addresses>,
    /// Whom to trust instead of the system's authorities.
    pub authorities: Option<CaCertificates>,
    /// Who the gateway is to it.
    pub identity: Option<ClientIdentity>,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// How long it may take to connect to one address, with TLS.
    pub connect: Duration,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
    /// Whether it may take the last descriptors of the process.
    pub may_use_reserve: bool,
    /// Where responses are counted that are read whole; none where they are few and small.
    pub memory: Option<Arc<Memory>>,
}

/// A client with kept connections. Certificates are always verified, redirects never followed.
#[derive(Clone)]
pub struct Client {
    addresses: Arc<Addresses>,
    http1: Option<Pool<Connector, Full<Bytes>>>,
    http2: Option<Arc<Http2>>,
    memory: Option<Arc<Memory>>,
}

impl Client {
    /// A client for one host.
    pub fn new(options: &ConnectOptions) -> Result<Client, rustls::Error> {
        let tls = tls(options)?;
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

    /// The same client, whose requests over HTTP/2 go over another connection: what is in the way there is in nobody's
    /// way here.
    pub fn for_streaming(&self) -> Client {
        Client { http2: self.http2.as_ref().map(|http2| Arc::new(http2.for_streaming())), ..self.clone() }
    }

    /// Sends a request and reads the whole response, all within `within` and at most `most` bytes. The URI says where
    /// to connect to, `Host` who is asked, where that is somebody else. Only what can be asked for again is given up
    /// for want of memory.
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

    /// Whether requests to here go over HTTP/2, as far as that can be found out.
    pub async fn speaks_http2(&self, to: &Uri) -> bool {
        match &self.http2 {
            Some(http2) => matches!(http2.connection(to).await, Ok(Some(_))),
            None => false,
        }
    }

    /// Sends a request and waits for the head of the response, all within `within`. The body is left to the caller, who
    /// may give it up, and so may they this.
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

    /// Boxed, since it is large: whatever holds it would be moved as a whole with each request, also where nothing is
    /// sent.
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
            return Err(ExchangeError::Connect("the other side does not speak HTTP/2".into()));
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
        // Whoever has sent an informational response has seen the request: the connection was not closed before it.
        let begun = Arc::new(AtomicBool::new(false));
        let seen = begun.clone();
        hyper::ext::on_informational(&mut request, move |_| seen.store(true, Ordering::Relaxed));
        let failed = |error| match failure::classify(&error) {
            ExchangeError::Closed if begun.load(Ordering::Relaxed) => {
                ExchangeError::Broken("the connection was closed behind an informational response".into())
            }
            other => other,
        };
        let response = pool.request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let moved = |info: &HttpInfo| !self.addresses.contains(info.remote_addr());
        if let Some(connected) = connection.connection_metadata().as_ref()
            && head.extensions.get::<HttpInfo>().is_some_and(moved)
        {
            // It leads to where the name does not lead any more: not to be used again.
            connected.poison();
        }
        if head.status.is_informational() {
            return Err(ExchangeError::Broken(format!("the answer is {}", head.status)));
        }
        Ok(Response::new(head, Body::http1(body), false))
    }
}
