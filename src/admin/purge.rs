//! `POST /cache/purge`: makes the cached responses of one session, or of all sessions of an upstream, stale in every
//! replica that shares the store.

use crate::cache::{Scope, StoreError};
use crate::runtime::CurrentRuntime;
use crate::wire::hex;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The largest request body, in bytes.
const MAX_BODY: usize = 4096;
/// Timeout of the request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A purge request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    /// The upstream's name in the configuration.
    upstream: String,
    /// The session ID; `None` for all sessions.
    session: Option<String>,
}

pub(super) async fn purge(State(running): State<Arc<CurrentRuntime>>, request: Request) -> Response {
    if !is_json(request.headers()) {
        return reject(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be `application/json`");
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY);
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return reject(StatusCode::PAYLOAD_TOO_LARGE, "the body is incomplete or larger than 4 KiB"),
        Err(_) => return reject(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 5 s"),
    };
    let purge: Purge = match serde_json::from_slice(&body) {
        Ok(purge) => purge,
        Err(error) => return reject(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let runtime = running.now();
    let (upstream, session) = match runtime.gateway.purge_target(&purge.upstream, purge.session.as_deref()) {
        Ok(named) => named,
        Err(unnamed) => return reject(StatusCode::BAD_REQUEST, &unnamed.to_string()),
    };
    let scope = session.map_or(Scope::Upstream(upstream.scope), |session| Scope::Session(upstream.scope, session));
    let shown = session.map_or("all".to_owned(), |session| hex::text(&session));
    match runtime.sessions().purge(scope).await {
        Ok(()) => {
            runtime.metrics.purge(upstream.index, session.is_some());
            tracing::info!(upstream = upstream.name, session_hash = shown, "purged");
            Json(json!({ "purged": true })).into_response()
        }
        Err(error) => {
            tracing::warn!(upstream = upstream.name, session_hash = shown, %error, "purge failed");
            let mut response = reject(StatusCode::SERVICE_UNAVAILABLE, &told(&error));
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            response
        }
    }
}

fn told(error: &StoreError) -> String {
    format!("the store did not confirm the purge: {error}; cached responses may be served until they expire")
}

/// Web pages cannot send this type to another origin without its permission.
fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json")
}

fn reject(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "purged": false, "error": message }))).into_response()
}
