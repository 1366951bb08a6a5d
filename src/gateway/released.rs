//! What a caller sees of a provider's response.

use super::masking::{masked, masks, plain_error};
use super::provider_response::Released;
use super::{DecodedRequest, DecodedResponse, Owned, ProviderResponse, Read, Write};
use crate::dialect::{BodyKind, Route};
use crate::model::{Rejection, Rule, Violation};
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use crate::wire::message::Codec;
use bytes::Bytes;
use http::StatusCode;
use std::sync::Arc;

impl Read {
    /// The response as its caller may see it. Every response to a read goes through here, whether it comes from the
    /// provider, from the cache, or from the fetch of another caller: what is cached is never masked.
    ///
    /// # Errors
    ///
    /// Rejects a response in which something that the caller may not see cannot be masked.
    pub fn released(&self, Owned(response): Owned) -> Result<Released, Rejection> {
        let Some(masks) = masks(&self.grant) else {
            return Ok(Released::new(response));
        };
        let masked = || masked(&self.upstream, self.route, self.carrier, masks, &response);
        // All else that a form depends on is in the key of the response.
        response.masked_forms.get_or_make(masks.hash(), masked).map(Released::new).ok_or(Rejection::UpstreamFailed)
    }

    /// Whether its caller may not see all of a response.
    pub fn is_masked(&self) -> bool {
        masks(&self.grant).is_some()
    }
}

impl DecodedRequest {
    /// A response to the gateway's own read for this request, as its caller may see it.
    pub(super) fn released(&self, response: ProviderResponse) -> Result<Released, Rejection> {
        // Whose an error is, is not proven.
        let response = match self.proof.owner() {
            Some(_) if !response.status.is_success() => plain_error(self.upstream(), Carrier::Rest, &response),
            Some(_) | None => response,
        };
        let Some(masks) = masks(&self.authorized.grant) else {
            return Ok(Released::new(Arc::new(response)));
        };
        let route = self.authorized.read_route();
        let masked = route.and_then(|route| masked(self.upstream(), route, Carrier::Rest, masks, &response));
        masked.map(Arc::new).map(Released::new).ok_or(Rejection::UpstreamFailed)
    }
}

impl Write {
    /// The response as the caller may see it: without one-time codes, if the policy strips them, and without what its
    /// grant hides.
    ///
    /// # Errors
    ///
    /// Rejects a merged write in the provider's place, if the provider rejects it because of a key of others.
    pub fn released(&self, decoded: DecodedResponse) -> Result<Released, Rejection> {
        match self.kept.as_ref().filter(|kept| self.is_about(kept, &decoded)) {
            Some(_) => Err(rejected_by_provider(self.route)),
            None => Ok(Released::new(Arc::new(self.response_for_caller(decoded)))),
        }
    }

    /// Whether a response rejects the document because of one of these keys. Messages with a schema have no such errors:
    /// they take any metadata.
    fn is_about(&self, keys: &[String], decoded: &DecodedResponse) -> bool {
        let rejects = matches!(decoded.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        if !rejects || self.route.call.is_some() {
            return false;
        }
        let text = String::from_utf8_lossy(&decoded.response.body);
        // Another spelling of a key must not hide it.
        let coded = coding::remaining(&decoded.response.headers).is_some() || text.contains('\\');
        !keys.is_empty() && coded || keys.iter().any(|key| names(&text, key))
    }

    fn response_for_caller(&self, decoded: DecodedResponse) -> ProviderResponse {
        let response = self.without_codes(decoded);
        let Some(masks) = masks(&self.grant) else {
            return response;
        };
        let masked = masked(&self.upstream, self.route, self.carrier, masks, &response);
        masked.unwrap_or_else(|| self.with_empty_message(response))
    }

    fn without_codes(&self, decoded: DecodedResponse) -> ProviderResponse {
        let DecodedResponse { mut response, call } = decoded;
        let strips = self.strips_codes && self.route.call.is_some();
        let coded = coding::remaining(&response.headers).is_some();
        if !strips || !(call.status.is_success() || coded && response.status.is_success()) {
            return response;
        }
        let Some(message) = call.message.filter(|_| !coded) else {
            return self.with_empty_message(response);
        };
        let Some(without) = self.upstream.dialect.without_codes(self.route, self.carrier, &message) else {
            return self.with_empty_message(response);
        };
        if without != message {
            response.body = self.carrier.replace_message(&response.body, without);
        }
        response
    }

    /// Replaces the message of a response that cannot be parsed by an empty one. The caller must learn that the write
    /// succeeded, but the message may contain what it may not see.
    fn with_empty_message(&self, mut response: ProviderResponse) -> ProviderResponse {
        let message = match self.carrier.codec() {
            Codec::Json => Bytes::from_static(b"{}"),
            Codec::Proto => Bytes::new(),
        };
        if self.hides_fields() {
            response.body = self.carrier.bare_body(&response.body, Some(message));
            response.keep_bare_headers(self.upstream.dialect);
        } else {
            response.body = self.carrier.replace_message(&response.body, message);
        }
        coding::remove_headers(&mut response.headers);
        coding::remove_validators(&mut response.headers);
        response
    }
}

/// Whether a text has this key as a word.
fn names(text: &str, key: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !key.is_empty()
        && text.match_indices(key).any(|(at, found)| {
            let (before, behind) =
                (text.get(..at).unwrap_or_default(), text.get(at + found.len()..).unwrap_or_default());
            !before.ends_with(is_part) && !behind.starts_with(is_part)
        })
}

/// Names no key.
fn rejected_by_provider(route: &Route) -> Rejection {
    let name = match route.body {
        BodyKind::Metadata(name) => name,
        BodyKind::Nothing | BodyKind::Revocation(_) => "body",
    };
    let message = "is rejected by the provider as a whole".into();
    Rejection::Violations([Violation { path: name.into(), rule: Rule::Provider, message }].into_iter().collect())
}
