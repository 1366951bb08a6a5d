//! `POST /cache/purge`: makes the cached responses of one session, or of all sessions of an upstream, stale in every
//! replica that shares the store. Accepted only from this machine, and not from web pages in its browsers: the admin
//! listener has no authentication.

use crate::cache::{Scope, StoreError};
use crate::runtime::CurrentRuntime;
use crate::wire::hex;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// The largest request body, in bytes.
pub(super) const MAX_BODY: usize = 4096;

/// A purge request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    /// The upstream's name in the configuration.
    upstream: String,
    /// The session ID; `None` for all sessions.
    session: Option<String>,
}

pub(super) async fn purge(
    State(running): State<Arc<CurrentRuntime>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err((status, message)) = check_caller(peer, &headers) {
        return reject(status, message);
    }
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
            tracing::info!(upstream = upstream.name, session = shown, "purged");
            Json(json!({ "purged": true })).into_response()
        }
        Err(error) => {
            tracing::warn!(upstream = upstream.name, session = shown, %error, "purge failed");
            let mut response = reject(StatusCode::SERVICE_UNAVAILABLE, &told(&error));
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            response
        }
    }
}

fn told(error: &StoreError) -> String {
    format!("the store did not confirm the purge: {error}; cached responses may be served until they expire")
}

/// Checks that a request comes from this machine and not from a web page: a page can neither send JSON to another
/// origin nor omit `Origin`, and a DNS name of its own that resolves to this machine appears in `Host`.
fn check_caller(peer: SocketAddr, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !peer.ip().to_canonical().is_loopback() {
        return Err((StatusCode::FORBIDDEN, "only allowed from this host"));
    }
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "requests with an `Origin` header are not allowed"));
    }
    if !is_local(text(header::HOST)) {
        return Err((StatusCode::FORBIDDEN, "`Host` must be `localhost` or a loopback address"));
    }
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
    if !media.trim().eq_ignore_ascii_case("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be `application/json`"));
    }
    Ok(())
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn reject(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "purged": false, "error": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn hosts_of_this_machine_are_known() {
        for host in ["127.0.0.1:9090", "127.1.2.3", "[::1]:9090", "[::1]", "localhost", "LOCALHOST:1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example:9090", "10.0.0.1", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
