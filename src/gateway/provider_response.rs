//! A provider's whole response, and its decoded call.

use super::MaskedForms;
use crate::dialect::Dialect;
use crate::wire::carrier::{Carrier, DecodedCall, ends_of, tells_end};
use crate::wire::coding;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::digest::{Context, SHA256};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A provider's whole response.
#[derive(Debug, Clone)]
pub struct ProviderResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the connection.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// The user of the session that it shows. Parsed at most once: a hit costs no parsing.
    user: OnceLock<Option<Box<str>>>,
    /// What callers see of it who may not see all of it.
    pub(super) masked_forms: MaskedForms<ProviderResponse>,
    /// Set if it is stored: otherwise each cache hit would look at all headers.
    size: KnownSize,
}

/// How many bytes the parts of a response need, if that is known. It is not known of a copy, which is made to be changed.
#[derive(Debug, Default)]
struct KnownSize(Option<usize>);

impl Clone for KnownSize {
    fn clone(&self) -> KnownSize {
        KnownSize::default()
    }
}

/// A response as its caller may see it. Only [`super::Read::released`], writes, and reads before a write make it.
#[derive(Debug, Clone)]
pub struct Released(Arc<ProviderResponse>);

impl Released {
    pub(super) fn new(response: Arc<ProviderResponse>) -> Released {
        Released(response)
    }
}

impl Deref for Released {
    type Target = ProviderResponse;

    fn deref(&self) -> &ProviderResponse {
        &self.0
    }
}

/// A provider's response, decoded once.
#[derive(Debug)]
pub struct DecodedResponse {
    pub(super) response: ProviderResponse,
    pub(super) call: DecodedCall,
}

impl DecodedResponse {
    /// The status of the call: HTTP's, or the HTTP equivalent of gRPC's.
    pub fn status(&self) -> StatusCode {
        self.call.status
    }
}

impl From<DecodedResponse> for ProviderResponse {
    fn from(decoded: DecodedResponse) -> ProviderResponse {
        decoded.response
    }
}

/// The headers that a stored response keeps: those about the session, not about the exchange.
const STORED_HEADERS: [HeaderName; 7] = [
    http::header::CONTENT_TYPE,
    http::header::CONTENT_LANGUAGE,
    http::header::CACHE_CONTROL,
    http::header::VARY,
    http::header::DATE,
    http::header::STRICT_TRANSPORT_SECURITY,
    http::header::X_CONTENT_TYPE_OPTIONS,
];

/// The headers that a caller sees who may not see all of a response, beside [`STORED_HEADERS`] and those of the limit of
/// its requests. Others may tell what is hidden: as a digest, a cursor, or a detail of an error.
const BARE_HEADERS: [HeaderName; 5] = [
    http::header::RETRY_AFTER,
    http::header::WWW_AUTHENTICATE,
    http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
    http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    http::header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

impl ProviderResponse {
    /// Removes the headers and trailers that may tell what is hidden.
    pub(super) fn keep_bare_headers(&mut self, dialect: &Dialect) {
        let quota = dialect.headers.quota.as_ref();
        let is_quota =
            |name: &HeaderName| quota.is_some_and(|own| [&own.limit, &own.remaining, &own.reset].contains(&name));
        let is_kept = |name: &HeaderName| {
            STORED_HEADERS.contains(name) || BARE_HEADERS.contains(name) || is_quota(name) || tells_end(name)
        };
        self.headers = copied(self.headers.iter().filter(|(name, _)| is_kept(name)));
        self.trailers = self.trailers.take().map(|trailers| ends_of(&trailers));
    }

    /// How much memory it needs, in bytes, with its masked forms.
    pub fn size(&self) -> usize {
        /// The response itself, the index of its headers, the ID of its user, and the counter of those who share its
        /// buffer.
        const OVERHEAD: usize = 400;
        let parts = self.size.0.unwrap_or_else(|| self.size_of_parts());
        parts + OVERHEAD + self.masked_forms.size(ProviderResponse::size)
    }

    /// How many bytes the headers, the body and the trailers need.
    fn size_of_parts(&self) -> usize {
        /// A header without its value. The names of most stored headers are static.
        const HEADER: usize = 104;
        let values = self.headers.values().chain(self.trailers.iter().flat_map(HeaderMap::values));
        self.body.len() + values.map(|value| HEADER + value.len()).sum::<usize>()
    }

    /// A whole response.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes, trailers: Option<HeaderMap>) -> ProviderResponse {
        ProviderResponse {
            status,
            headers,
            body,
            trailers,
            user: OnceLock::new(),
            masked_forms: MaskedForms::default(),
            size: KnownSize::default(),
        }
    }

    /// The user of the session that it shows. The first call finds it in the body.
    pub(super) fn user(&self, find: impl FnOnce() -> Option<String>) -> Option<&str> {
        let found = self.user.get_or_init(|| find().map(String::into_boxed_str));
        found.as_deref()
    }

    /// The message of the call in the response, unless it is compressed.
    pub(super) fn plain_message(&self, carrier: Carrier) -> Option<Bytes> {
        self.call(carrier).message.filter(|_| coding::remaining(&self.headers).is_none())
    }

    /// Decodes the call in the response.
    pub fn decoded(self, carrier: Carrier) -> DecodedResponse {
        let call = self.call(carrier);
        DecodedResponse { response: self, call }
    }

    /// The text that identifies an error.
    pub(super) fn error_text(&self, dialect: &Dialect, carrier: Carrier) -> Option<String> {
        carrier.error_text(dialect.names.error, &self.headers, &self.body, self.trailers.as_ref())
    }

    /// The status of the call, whatever its encoding.
    pub fn call_status(&self, carrier: Carrier) -> StatusCode {
        self.call(carrier).status
    }

    pub(super) fn call(&self, carrier: Carrier) -> DecodedCall {
        carrier.decode_response(self.status, &self.headers, &self.body, self.trailers.as_ref())
    }

    /// A hash that identifies the response. Headers are left out, because they describe the exchange.
    pub fn digest(&self) -> u64 {
        let mut context = Context::new(&SHA256);
        context.update(&self.status.as_u16().to_be_bytes());
        context.update(&(self.body.len() as u64).to_be_bytes());
        context.update(&self.body);
        for (name, value) in self.trailers.iter().flatten() {
            context.update(name.as_str().as_bytes());
            context.update(value.as_bytes());
        }
        context.finish().as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// The part of the response that is stored and that other callers may see. It is copied, so that it does not keep
    /// the connection's whole buffers alive.
    pub fn cacheable_copy(&self) -> ProviderResponse {
        let (headers, body) = packed(&self.headers, &self.body);
        let mut copy = ProviderResponse {
            status: self.status,
            headers,
            body,
            trailers: self.trailers.as_ref().map(|trailers| copied(trailers.iter())),
            user: self.user.clone(),
            masked_forms: MaskedForms::default(),
            size: KnownSize::default(),
        };
        copy.size = KnownSize(Some(copy.size_of_parts()));
        copy
    }
}

/// Copies of the headers that are stored and of the body, with their bytes in one buffer: a hit among many sessions waits
/// for each place in memory that it needs.
fn packed(headers: &HeaderMap, body: &Bytes) -> (HeaderMap, Bytes) {
    let kept = || headers.iter().filter(|(name, _)| STORED_HEADERS.contains(name));
    let (number, values) = kept().fold((0, 0), |(number, sum), (_, value)| (number + 1, sum + value.len()));
    let mut bytes = Vec::with_capacity(values + body.len());
    kept().for_each(|(_, value)| bytes.extend_from_slice(value.as_bytes()));
    bytes.extend_from_slice(body);
    let (mut rest, mut copies) = (Bytes::from(bytes), HeaderMap::try_with_capacity(number).unwrap_or_default());
    for (name, value) in kept() {
        if let Ok(copy) = HeaderValue::from_maybe_shared(rest.split_to(value.len())) {
            copies.append(name.clone(), copy);
        }
    }
    (copies, rest)
}

/// Copies of headers, in a map that has no room for others.
fn copied<'a>(all: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> HeaderMap {
    let all: Vec<_> = all.collect();
    let mut copies = HeaderMap::try_with_capacity(all.len()).unwrap_or_default();
    for (name, value) in all {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copies.append(name.clone(), copy);
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::AUTH0;

    #[test]
    fn bare_headers_tell_nothing_of_what_is_hidden() {
        const KEPT: [&str; 8] = [
            "content-type",
            "cache-control",
            "retry-after",
            "www-authenticate",
            "access-control-allow-origin",
            "x-ratelimit-remaining",
            "grpc-status",
            "grpc-message",
        ];
        const GONE: [&str; 8] = [
            "etag",
            "x-checksum",
            "x-content-digest",
            "link",
            "location",
            "set-cookie",
            "grpc-status-details-bin",
            "x-session",
        ];
        let map = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))).collect()
        };
        let all = map(&[&KEPT[..], &GONE].concat());
        let mut response = ProviderResponse::new(StatusCode::OK, all.clone(), Bytes::new(), Some(all));
        response.keep_bare_headers(&AUTH0);
        assert_eq!(response.headers, map(&KEPT));
        assert_eq!(response.trailers, Some(map(&KEPT[6..])));
    }

    #[test]
    fn size_is_that_of_each_copy() {
        let map: HeaderMap = [("content-type", "text/plain"), ("vary", "accept")]
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let response =
            |trailers| ProviderResponse::new(StatusCode::OK, map.clone(), vec![b'x'; 1_000].into(), trailers);
        let stored = response(None).cacheable_copy();
        assert_eq!((stored.size(), &stored.headers, stored.body.len()), (response(None).size(), &map, 1_000));
        // What a caller may see of it has another body.
        let mut form = stored.clone();
        form.body = Bytes::from_static(b"x");
        assert_eq!(stored.size() - form.size(), 999);
        let call = response(Some(map.clone())).cacheable_copy();
        assert_eq!(call.trailers, Some(map.clone()));
        assert!(call.size() - stored.size() > 200);
    }
}
