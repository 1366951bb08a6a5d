//! The admin listener: probes, metrics, cache purge. It runs on a thread of its own, so that it responds however busy
//! the gateway is.

mod listener;
mod purge;
mod socket;

pub use socket::AdminSocket;

use crate::runtime::CurrentRuntime;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::Notify;

/// A running admin listener.
pub struct AdminServer {
    socket: TcpListener,
    stop: Arc<Notify>,
}

impl AdminServer {
    /// The listening socket, for a handover.
    pub fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Stops accepting connections, since another process has taken over.
    pub fn end(&self) {
        self.stop.notify_one();
    }
}

/// Serves the admin pages on a bound socket until [`AdminServer::end`] or the end of the process.
pub fn serve(running: Arc<CurrentRuntime>, bound: AdminSocket) -> io::Result<AdminServer> {
    let listener = bound.into_listener();
    let served = AdminServer { socket: listener.try_clone()?, stop: Arc::default() };
    let stop = served.stop.clone();
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        let served: io::Result<()> = own.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listener::serve(listener, router(running), stop.notified()).await;
            Ok(())
        });
        if let Err(error) = served {
            tracing::error!(%error, "the admin listener stopped");
        }
    })?;
    Ok(served)
}

/// The routes of the admin listener.
pub fn router(running: Arc<CurrentRuntime>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/cache/purge", post(purge::purge).layer(DefaultBodyLimit::max(purge::MAX_BODY)))
        .with_state(running)
}

async fn ready(State(running): State<Arc<CurrentRuntime>>) -> Response {
    let (readiness, details) = (running.now().readiness(), running.details());
    let ready = readiness.is_ready();
    let checks = readiness.checks.into_iter().map(|(name, result)| {
        let body = result.map_or_else(|wrong| json!(wrong), |()| json!("ok"));
        (name, body)
    });
    let checks: Map<String, Value> = checks.collect();
    let mut body = Map::from_iter([("ready".to_owned(), json!(ready)), ("checks".to_owned(), json!(checks))]);
    let lines = [("reasons", readiness.reasons), ("details", details)];
    let lines = lines.into_iter().filter(|(_, lines)| !lines.is_empty());
    body.extend(lines.map(|(name, lines)| (name.to_owned(), json!(lines))));
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

async fn metrics(State(running): State<Arc<CurrentRuntime>>) -> Response {
    match running.metrics.text(&running.now().reading()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
