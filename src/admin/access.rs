//! Who may use a listener for operations: its TLS settings, and for `control` the token and the checks against requests
//! that web pages make.

use crate::config::{ListenAddress, OperationsListener};
use crate::edge::{TlsError, certificate_expiry, server_config};
use crate::log_writer::LogInterval;
use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::hmac;
use rustls::ServerConfig;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// The access to a listener, as the configuration has it now.
pub(super) type CurrentAccess = Arc<ArcSwap<Access>>;

/// The access to a listener.
pub struct Access {
    /// `None` without TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// When its certificate expires, in seconds since the epoch.
    pub(super) expiry: Option<i64>,
    token: Option<Token>,
    /// Whether the listener is on a loopback address.
    is_loopback: bool,
}

/// The address of a connection's peer; `None` on a Unix socket.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub Option<SocketAddr>);

impl Access {
    pub(super) fn new(options: &OperationsListener) -> Result<Access, TlsError> {
        let tls = options.tls.as_ref().map(|tls| server_config(tls, &["http/1.1"])).transpose()?;
        let is_loopback = match &options.address {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => false,
        };
        let expiry = options.tls.as_ref().and_then(|tls| certificate_expiry(&tls.certificates));
        Ok(Access { tls, expiry, token: options.token.as_deref().map(Token::new), is_loopback })
    }

    /// This access with another token.
    pub(super) fn with_token(&self, token: &SecretSlice<u8>) -> Access {
        let Access { tls, expiry, token: _, is_loopback } = self;
        Access { tls: tls.clone(), expiry: *expiry, token: Some(Token::new(token)), is_loopback: *is_loopback }
    }

    /// Whether requests need a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Checks the head of a request to `control`. The credential comes first, so that nothing else is done for clients
    /// without one.
    fn check(&self, Peer(peer): Peer, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some(token) = &self.token {
            let presented = headers.get(header::AUTHORIZATION).and_then(bearer);
            let presented = presented.ok_or((StatusCode::UNAUTHORIZED, "a bearer token is required"))?;
            if !token.matches(presented) {
                return Err((StatusCode::UNAUTHORIZED, "the bearer token is not the one in the configuration"));
            }
        }
        if headers.contains_key(header::ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "requests with an `Origin` header are not allowed"));
        }
        if !self.is_loopback {
            return Ok(());
        }
        if peer.is_some_and(|peer| !peer.ip().to_canonical().is_loopback()) {
            return Err((StatusCode::FORBIDDEN, "only allowed from this host"));
        }
        // A web page can have a DNS name of its own that resolves to this machine.
        if !is_local(text(header::HOST)) {
            return Err((StatusCode::FORBIDDEN, "`Host` must be `localhost` or a loopback address"));
        }
        Ok(())
    }
}

/// Rejects requests to `control` that may not use it, before their body is read.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(None));
    match guard.access.load().check(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => {
            if status == StatusCode::UNAUTHORIZED {
                guard.note_unauthorized(Instant::now());
            }
            reject(status, message)
        }
    }
}

/// The access to `control`, and the requests without a valid token.
pub(super) struct Guard {
    access: CurrentAccess,
    unauthorized: LogInterval,
}

impl Guard {
    pub fn new(access: CurrentAccess) -> Guard {
        Guard { access, unauthorized: LogInterval::default() }
    }

    fn note_unauthorized(&self, now: Instant) {
        if let Some(count) = self.unauthorized.count(now) {
            tracing::warn!(count, "control rejected requests without a valid token");
        }
    }
}

fn reject(status: StatusCode, message: &str) -> Response {
    let mut response = (status, Json(json!({ "error": message }))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A token that requests must present, compared in constant time: by its MAC under itself.
struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    fn new(token: &SecretSlice<u8>) -> Token {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret());
        let tag = hmac::sign(&key, token.expose_secret());
        Token { key, tag }
    }

    fn matches(&self, presented: &[u8]) -> bool {
        hmac::verify(&self.key, presented, self.tag.as_ref()).is_ok()
    }
}

/// The token in `Authorization: Bearer TOKEN`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_known() {
        for host in [
            "127.0.0.1:9090",
            "127.1.2.3",
            "[::1]:9090",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "[::ffff:127.0.0.1]:9091",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example:9090", "10.0.0.1", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token::new(&SecretSlice::from(b"0123456789abcdef".to_vec()));
        assert!(token.matches(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF"] {
            assert!(!token.matches(wrong), "{wrong:?}");
        }
        let read = |value| bearer(&HeaderValue::from_static(value)).map(<[u8]>::to_vec);
        assert_eq!(read("bearer abc"), Some(b"abc".to_vec()));
        assert_eq!((read("Basic abc"), read("Bearer"), read("")), (None, None, None));
    }
}
