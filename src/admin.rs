//! The two listeners for operations: `admin` has probes and metrics, `control` has commands. Each runs on a thread of
//! its own, so that it responds however busy the gateway is.

mod access;
mod bound;
mod listener;
mod purge;

pub use access::Access;
pub use bound::OperationsSocket;

use crate::config::{ListenAddress, OperationsListener};
use crate::edge::{BoundListener, TlsError};
use crate::metrics::Metrics;
use crate::runtime::CurrentRuntime;
use access::{CurrentAccess, Guard};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;
use tokio::sync::Notify;

/// What a listener for operations is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Probes and metrics. Nothing here changes anything, or needs a credential.
    Admin,
    /// Commands.
    Control,
}

impl Role {
    /// The option in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Control => "control",
        }
    }

    /// The most open connections. Both together use less than the reserved descriptors.
    fn max_connections(self) -> usize {
        match self {
            Role::Admin => 32,
            Role::Control => 16,
        }
    }

    fn router(self, running: Arc<CurrentRuntime>, access: &CurrentAccess) -> Router {
        match self {
            Role::Admin => Router::new()
                .route("/livez", get(|| async { "ok\n" }))
                .route("/readyz", get(ready))
                .route("/metrics", get(metrics))
                .with_state(running),
            Role::Control => Router::new()
                .route("/cache/purge", post(purge::purge))
                .with_state(running)
                .layer(middleware::from_fn_with_state(Arc::new(Guard::new(access.clone())), access::guard)),
        }
    }
}

/// A running listener for operations.
pub struct OperationsServer {
    role: Role,
    /// Its options at the start.
    options: OperationsListener,
    bound: Arc<BoundListener>,
    access: CurrentAccess,
    metrics: Arc<Metrics>,
    stop: Arc<Notify>,
}

impl OperationsServer {
    /// Serves on a bound socket until [`OperationsServer::end`] or the end of the process.
    pub fn start(
        role: Role,
        options: OperationsListener,
        OperationsSocket { runtime, bound }: OperationsSocket,
        running: Arc<CurrentRuntime>,
    ) -> io::Result<OperationsServer> {
        let access = Access::new(&options).map_err(io::Error::other)?;
        let metrics = running.metrics.clone();
        metrics.set_certificate_expiry(role.name(), access.expiry);
        let access: CurrentAccess = Arc::new(ArcSwap::from_pointee(access));
        let service = listener::Service { app: role.router(running, &access), access: access.clone() };
        let server = OperationsServer { role, options, bound: bound.clone(), access, metrics, stop: Arc::default() };
        let stop = server.stop.clone();
        let serve = move || {
            runtime.run(listener::serve(&bound, role.max_connections(), service, stop.notified()));
        };
        std::thread::Builder::new().name(role.name().into()).spawn(serve)?;
        Ok(server)
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The configured address.
    pub fn address(&self) -> &ListenAddress {
        &self.options.address
    }

    /// The listening socket, for a handover.
    pub fn socket(&self) -> Arc<BoundListener> {
        self.bound.clone()
    }

    /// Stops accepting connections, since another process has taken over.
    pub fn end(&self) {
        self.stop.notify_one();
    }

    /// Builds the access of a new configuration. If the listener that is open is not the one of `options`, only its
    /// token changes, and only if both have one; otherwise `None`.
    pub fn access(&self, options: Option<&OperationsListener>) -> Result<Option<Access>, TlsError> {
        let Some(options) = options else {
            return Ok(None);
        };
        if self.options.differs_only_in_credentials(options) {
            return Access::new(options).map(Some);
        }
        // The previous token may have been stolen: it must not stay valid until a restart.
        let current = self.access.load();
        let token = options.token.as_ref().filter(|_| current.has_token());
        Ok(token.map(|token| current.with_token(token)))
    }

    /// Whether requests need a token.
    pub fn has_token(&self) -> bool {
        self.access.load().has_token()
    }

    /// Uses other certificates for new connections, and another token for new requests.
    pub fn renew(&self, access: Access) {
        self.metrics.set_certificate_expiry(self.role.name(), access.expiry);
        self.access.store(Arc::new(access));
    }
}

async fn ready(State(running): State<Arc<CurrentRuntime>>) -> Response {
    let readiness = running.readiness();
    let ready = readiness.is_ready();
    let checks = readiness.checks.into_iter().map(|(name, result)| {
        let body = result.map_or_else(|wrong| json!(wrong), |()| json!("ok"));
        (name, body)
    });
    let checks: Map<String, Value> = checks.collect();
    let mut body = Map::from_iter([("ready".to_owned(), json!(ready)), ("checks".to_owned(), json!(checks))]);
    if !ready {
        body.insert("reasons".to_owned(), json!(readiness.reasons));
    }
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

async fn metrics(State(running): State<Arc<CurrentRuntime>>) -> Response {
    match running.metrics.text(&running.now().reading()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
