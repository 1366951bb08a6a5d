//! Requests to the introspection endpoint.

use crate::client::{
    Addresses, Client, ConnectError, Destination, DestinationError, Exchange, ExchangeError, PRODUCT, Resolver,
};
use crate::gateway::{ClientAuthentication, IntrospectionSource};
use crate::model::truncated;
use crate::telemetry::IntrospectionFailure;
use crate::wire::{coding, hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The largest response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// The maximum length of a reason, in bytes.
const MAX_REASON: usize = 500;
/// How long an idle connection is kept.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// What is encoded in a form (RFC 6749, appendix B).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ASSERTION_TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// The introspection endpoint of an issuer.
pub(super) struct Endpoint {
    source: Arc<IntrospectionSource>,
    destination: Destination,
    client: Client,
}

/// Why an introspection failed.
#[derive(Debug)]
pub(super) struct CallError {
    /// The kind of failure.
    pub cause: IntrospectionFailure,
    /// What is wrong. Bounded in length.
    pub reason: String,
    /// Whether it is an outage of the endpoint: no response, or one with status 5xx. Others may concern one token only.
    pub is_outage: bool,
}

/// The cause of a failure, whether it is an outage, and the reason.
type Failure = (IntrospectionFailure, bool, String);

impl CallError {
    fn new(cause: IntrospectionFailure, is_outage: bool, url: &str, reason: &str) -> CallError {
        CallError { cause, reason: truncated(format!("{url}: {reason}"), MAX_REASON), is_outage }
    }

    /// The response says nothing of the token.
    pub fn unusable(url: &str) -> CallError {
        let reason = "not an introspection response: expected a JSON object with `active`, true or false";
        CallError::new(IntrospectionFailure::Document, false, url, reason)
    }
}

impl Endpoint {
    /// The endpoint, with a client of its own. Fails if the TLS settings are invalid.
    pub fn new(source: Arc<IntrospectionSource>, resolver: &Arc<Resolver>) -> Result<Endpoint, rustls::Error> {
        let destination = Destination::new(&source.url, source.host.as_ref(), source.proxy.as_deref(), resolver);
        let destination = destination.map_err(|error| match error {
            DestinationError::Tls(error) => error,
            other => rustls::Error::General(format!("{}: {other}", source.url)),
        })?;
        let client = destination.client(source.authorities.clone(), source.timeout, KEEPALIVE)?;
        Ok(Endpoint { source, destination, client })
    }

    /// The addresses to connect to: the endpoint's, or those of the forward proxy.
    pub fn addresses(&self) -> &Arc<Addresses> {
        self.destination.addresses()
    }

    /// The response of an introspection at `now` (seconds since the epoch), which ends before `until`. `works` says
    /// whether an introspection succeeded before.
    pub async fn call(&self, token: &str, now: u64, until: Instant, works: bool) -> Result<Bytes, CallError> {
        let failed = |(cause, is_outage, reason): Failure| CallError::new(cause, is_outage, &self.source.url, &reason);
        if !self.addresses().are_known() {
            let resolved = self.destination.look_up(until).await;
            resolved.map_err(|reason| failed((IntrospectionFailure::Dns, true, reason)))?;
        }
        let response = match self.once(token, now, until).await {
            // It was not seen.
            Err(ExchangeError::Closed | ExchangeError::Refused(_)) => self.once(token, now, until).await,
            other => other,
        };
        let response = response.map_err(|error| failed(no_response(&error)))?;
        check_response(&response, works).map_err(failed)?;
        Ok(response.body)
    }

    async fn once(&self, token: &str, now: u64, until: Instant) -> Result<Exchange, ExchangeError> {
        let request = self.request(token, now)?;
        let within = until.saturating_duration_since(Instant::now());
        self.client.exchange(request, MAX_RESPONSE, within, true).await
    }

    fn request(&self, token: &str, now: u64) -> Result<Request<Bytes>, ExchangeError> {
        // Nothing was sent.
        let unsent = |error: String| ExchangeError::from(ConnectError::Unreachable(error));
        let mut form = format!("token={}&token_type_hint=access_token", encoded(token));
        let mut request = Request::post(self.destination.uri())
            .header(USER_AGENT, PRODUCT)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let client_id = &self.source.client_id;
        match &self.source.authentication {
            ClientAuthentication::Secret(secret) => {
                let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
                let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
                let mut value = value.map_err(|error| unsent(error.to_string()))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            ClientAuthentication::PrivateKey(key) => {
                let unique = unique().ok_or_else(|| unsent("the system has no random numbers".to_owned()))?;
                let assertion = key.assertion(client_id, &self.source.issuer, &unique, now);
                let assertion = assertion.map_err(|error| unsent(error.to_string()))?;
                form += &format!("&client_assertion_type={ASSERTION_TYPE}&client_assertion={assertion}");
            }
        }
        request.body(Bytes::from(form)).map_err(|error| unsent(error.to_string()))
    }
}

/// A text as it stands in a form.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// A random text that is never used again.
pub(super) fn unique() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex::text(&bytes))
}

fn no_response(error: &ExchangeError) -> Failure {
    let (cause, is_outage) = match error {
        ExchangeError::Connect(ConnectError::Unreachable(_)) => (IntrospectionFailure::Connect, true),
        ExchangeError::Connect(ConnectError::Tls(_)) => (IntrospectionFailure::Tls, true),
        ExchangeError::Timeout(_) => (IntrospectionFailure::Timeout, true),
        ExchangeError::Broken(_) | ExchangeError::Refused(_) | ExchangeError::Closed => {
            (IntrospectionFailure::Response, true)
        }
        ExchangeError::TooLarge(_, status) => (IntrospectionFailure::Response, status.is_server_error()),
        ExchangeError::OutOfMemory => (IntrospectionFailure::Response, false),
    };
    (cause, is_outage, error.to_string())
}

/// Checks that a response may be that of an introspection. A 403 may concern one token only, if an introspection
/// succeeded before.
fn check_response(response: &Exchange, works: bool) -> Result<(), Failure> {
    let status = response.status;
    match status.as_u16() {
        200 => {}
        401 | 403 if status == StatusCode::UNAUTHORIZED || !works => {
            let reason = format!("response {status}: the endpoint does not accept the gateway's client");
            return Err((IntrospectionFailure::Client, false, reason));
        }
        _ => return Err((IntrospectionFailure::Status, status.is_server_error(), format!("response {status}"))),
    }
    match coding::remaining(&response.headers) {
        Some(coding) => {
            let reason = format!("the response is compressed (`{coding}`), although `identity` was requested");
            Err((IntrospectionFailure::Response, false, reason))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_forms_are_encoded() {
        assert_eq!(encoded("a b+c%&=é:-_.~"), "a%20b%2Bc%25%26%3D%C3%A9%3A-_.~");
        assert_ne!(unique(), unique());
    }
}
