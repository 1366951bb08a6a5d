//! What a response means for the cache.

use super::{Changes, Freshness, Read, Write};
use crate::coherence::millis;
use crate::coherence::reading::{FreshnessWindows, Limits};
use crate::coherence::{DEFAULT_TENANT, Millis, Settled};
use crate::dialect::NotFoundMeaning;
use crate::model::Operation;
use crate::wire::carrier::{Carrier, DecodedCall};
use crate::wire::coding;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::digest::{Context, SHA256};

/// A provider's response.
#[derive(Debug, Clone)]
pub struct ProviderResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, less those that speak of the connection.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// What stood behind the body.
    pub trailers: Option<HeaderMap>,
}

/// A provider's response, decoded once.
#[derive(Debug)]
pub struct DecodedResponse {
    pub(super) response: ProviderResponse,
    pub(super) call: DecodedCall,
}

impl DecodedResponse {
    /// The status of the call: of HTTP, or what HTTP has for that of gRPC.
    pub fn status(&self) -> StatusCode {
        self.call.status
    }
}

impl From<DecodedResponse> for ProviderResponse {
    fn from(decoded: DecodedResponse) -> ProviderResponse {
        decoded.response
    }
}

/// The headers that a stored response keeps: those that speak of the session, not of the exchange that fetched it.
const STORED_HEADERS: [HeaderName; 7] = [
    http::header::CONTENT_TYPE,
    http::header::CONTENT_LANGUAGE,
    http::header::CACHE_CONTROL,
    http::header::VARY,
    http::header::DATE,
    http::header::STRICT_TRANSPORT_SECURITY,
    http::header::X_CONTENT_TYPE_OPTIONS,
];

impl ProviderResponse {
    /// The response with its decoded call.
    pub fn decoded(self, carrier: Carrier) -> DecodedResponse {
        let call = self.call(carrier);
        DecodedResponse { response: self, call }
    }

    pub(super) fn call(&self, carrier: Carrier) -> DecodedCall {
        carrier.decode_response(self.status, &self.headers, &self.body, self.trailers.as_ref())
    }

    /// The same for the same response; what speaks of the exchange alone does not count.
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

    /// What is stored of it, and what others than the one who asked may see. It shares no memory with the response,
    /// whose parts hold the whole buffers of the connection that they came from.
    pub fn cacheable_copy(&self) -> ProviderResponse {
        let kept = self.headers.iter().filter(|(name, _)| STORED_HEADERS.contains(name));
        ProviderResponse {
            status: self.status,
            headers: copied(kept),
            body: Bytes::copy_from_slice(&self.body),
            trailers: self.trailers.as_ref().map(|trailers| copied(trailers.iter())),
        }
    }
}

fn copied<'a>(all: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> HeaderMap {
    all.filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?))).collect()
}

/// What a response to a read means for what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheability {
    /// It may be stored.
    Store {
        /// How long it is fresh, counted from the start of the fetch.
        fresh: Millis,
        /// How much longer it may do where it is fetched anew, or the provider fails.
        stale: Millis,
        /// Its version.
        version: Option<u64>,
        /// Whether it says that there is no session.
        missing: bool,
        /// Whether it is for this credential only, also where others share what is stored.
        only: bool,
    },
    /// It is older than a write that was acknowledged: what is stored may be newer.
    TooOld {
        /// Its version.
        version: u64,
    },
    /// It may not be stored, but what is stored holds no longer (RFC 9111, section 4.3.3).
    Invalidate,
    /// It speaks of this credential alone: others may go on sharing what is stored.
    Deny,
    /// It says nothing of the session: the provider failed, or would not say.
    Unrelated,
}

/// Whether a response with this status says nothing of the session: the provider failed, was too slow, or would not
/// say.
pub fn is_inconclusive(status: StatusCode) -> bool {
    // What stands for gRPC's CANCELLED has no name here.
    const CANCELLED: u16 = 499;
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || status.as_u16() == CANCELLED
}

/// Request headers that go out on shared reads, but are no part of the key. Others are part of it, or are not sent.
const UNKEYED: [&str; 6] =
    ["user-agent", "auth0-client", "traceparent", "tracestate", "x-forwarded-for", "x-request-id"];

/// What an answered write leaves to be done before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Its outcome is known: the mark ends.
    End(Settled),
    /// Its outcome is not known: the mark stays until it runs out.
    KeepMark,
}

impl Read {
    /// What this response means for what is stored. `floor` is the version below which it is too old, `wall` the time
    /// of the fetch's start in milliseconds since the epoch.
    pub fn cacheability(&self, decoded: &DecodedResponse, floor: Option<u64>, wall: u64) -> Cacheability {
        let Some(cache) = self.upstream.cache.filter(|_| self.key().is_some()) else {
            return Cacheability::Unrelated;
        };
        let DecodedResponse { response, call } = decoded;
        let denies = if self.is_shared() { Cacheability::Deny } else { Cacheability::Invalidate };
        match call.status {
            status if is_inconclusive(status) => Cacheability::Unrelated,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => denies,
            StatusCode::NOT_FOUND | StatusCode::GONE if !self.is_about_session(response) => denies,
            StatusCode::NOT_FOUND if !cache.negative_ttl.is_zero() && self.may_be_stored(response, &cache) => {
                // That there is none is for the one who was told.
                Cacheability::Store {
                    fresh: millis(cache.negative_ttl),
                    stale: 0,
                    version: None,
                    missing: true,
                    only: self.is_shared(),
                }
            }
            StatusCode::OK if response.status == StatusCode::OK && self.may_be_stored(response, &cache) => {
                self.session_cacheability(call.message.as_ref(), &cache, floor, wall)
            }
            _ => Cacheability::Invalidate,
        }
    }

    /// The same for a response that shows a session.
    fn session_cacheability(
        &self,
        message: Option<&Bytes>,
        cache: &Freshness,
        floor: Option<u64>,
        wall: u64,
    ) -> Cacheability {
        const MARGIN: Millis = 1_000;
        let facts = |message| self.upstream.dialect.response_facts(self.route, self.carrier, message, self.id.as_ref());
        let Some(facts) = message.and_then(facts) else {
            return Cacheability::Invalidate;
        };
        match (floor, facts.version) {
            (Some(floor), Some(version)) if version < floor => return Cacheability::TooOld { version },
            // Nobody knows how old it is.
            (Some(_), None) => return Cacheability::Invalidate,
            (Some(_) | None, _) => {}
        }
        // Nothing outlives the session.
        let left = facts.expires_at.map_or(Millis::MAX, |at| at.saturating_sub(wall).saturating_sub(MARGIN));
        let fresh = millis(cache.ttl).min(left);
        let stale = millis(cache.stale_while_revalidate.max(cache.stale_if_error)).min(left - fresh);
        if fresh == 0 {
            return Cacheability::Invalidate;
        }
        Cacheability::Store { fresh, stale, version: facts.version, missing: false, only: false }
    }

    /// What a response means that was too large to be read; `None` for one that never came.
    pub fn cacheability_unread(&self, status: Option<StatusCode>) -> Cacheability {
        match status.filter(|status| self.key().is_some() && !is_inconclusive(*status)) {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.is_shared() => Cacheability::Deny,
            Some(_) => Cacheability::Invalidate,
            None => Cacheability::Unrelated,
        }
    }

    /// Whether a response may be stored as far as its head and its size speak of it.
    fn may_be_stored(&self, response: &ProviderResponse, cache: &Freshness) -> bool {
        let has = |name| response.headers.contains_key(name);
        let plain = response.body.len() <= cache.max_body
            && !has(http::header::SET_COOKIE)
            && !has(http::header::CONTENT_ENCODING);
        plain && !self.varies(response)
    }

    /// Whether a response would be another for other requests with the same key (RFC 9111, section 4.1).
    fn varies(&self, response: &ProviderResponse) -> bool {
        let values = response.headers.get_all(http::header::VARY).iter();
        let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        names.any(|name| {
            let unkeyed = UNKEYED.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
            name == b"*" || unkeyed || (self.is_shared() && name.eq_ignore_ascii_case(b"authorization"))
        })
    }

    /// Whether a response that there is none speaks of the session, and not of who asked.
    fn is_about_session(&self, response: &ProviderResponse) -> bool {
        if matches!(self.upstream.dialect.not_found, NotFoundMeaning::Any) {
            return true;
        }
        let text = self.carrier.error_text(&response.headers, &response.body, response.trailers.as_ref());
        text.is_some_and(|text| self.upstream.dialect.not_found.is_about_session(&text))
    }

    /// For how long a response may be good at the most, in milliseconds.
    pub fn kept(&self) -> Millis {
        self.upstream.cache.map_or(0, |cache| millis(cache.kept()))
    }

    /// For how long responses may do.
    pub fn windows(&self) -> FreshnessWindows {
        let windows = |cache: Freshness| FreshnessWindows {
            fresh: millis(cache.ttl),
            revalidate: millis(cache.stale_while_revalidate),
            error: millis(cache.stale_if_error),
            limits: Limits::default(),
        };
        self.upstream.cache.map(windows).unwrap_or_default()
    }
}

impl Write {
    /// What to do before this response is passed on.
    pub fn settle(&self, response: &DecodedResponse) -> WriteOutcome {
        match status_meaning(response.status()) {
            StatusMeaning::Applied => WriteOutcome::End(self.applied(response)),
            // What failed may have been counted: then the session is read anew.
            StatusMeaning::Rejected if self.may_count(response) => WriteOutcome::End(Settled::default()),
            StatusMeaning::Rejected => WriteOutcome::UNCHANGED,
            StatusMeaning::NotApplied => WriteOutcome::End(Settled::default()),
            StatusMeaning::Unknown => WriteOutcome::KeepMark,
        }
    }

    /// Whether a response that says that a write was bad leaves it open what else it did.
    fn may_count(&self, response: &DecodedResponse) -> bool {
        self.upstream.dialect.bad_request_has_effects && response.status() == StatusCode::BAD_REQUEST
    }

    /// Whether a response says by itself that the user is locked: every session of the user has ended then, and nobody
    /// knows which these are.
    pub fn is_lockout(&self, decoded: &DecodedResponse) -> bool {
        if !self.may_count(decoded) {
            return false;
        }
        let response = &decoded.response;
        // What cannot be read may say so.
        let unread = coding::of(&response.headers).is_some();
        let text = self.carrier.error_text(&response.headers, &response.body, response.trailers.as_ref());
        unread || text.is_some_and(|text| self.upstream.dialect.is_lockout(&text))
    }

    fn applied(&self, response: &DecodedResponse) -> Settled {
        match self.changes() {
            Changes::Session(_) => {}
            // What is known of one session says nothing of all.
            Changes::AnySession | Changes::Nothing => return Settled::default(),
        }
        let ends =
            matches!(self.operation(), Operation::DeleteSession | Operation::RevokeSession | Operation::RevokeAccess);
        let deleted_for = self.upstream.scope_cache.map(|cache| millis(cache.ttl)).filter(|_| ends);
        let message = response.call.message.as_ref();
        let facts =
            message.and_then(|message| self.upstream.dialect.response_facts(self.route, self.carrier, message, None));
        let (version, tenant) = (facts.and_then(|facts| facts.version), self.tenant);
        Settled { version, deleted_for, tenant, ..Settled::default() }
    }
}

/// Whether a write's outcome is known by its status.
enum StatusMeaning {
    /// It was carried out.
    Applied,
    /// It was rejected for what it is or for who sent it: nothing changed.
    Rejected,
    /// It was not carried out, but what it names may have changed all the same.
    NotApplied,
    Unknown,
}

fn status_meaning(status: StatusCode) -> StatusMeaning {
    match status.as_u16() {
        400 | 401 | 403 | 429 => StatusMeaning::Rejected,
        // Not a method, a form or a version that is taken there, or not there at all: nobody looked at what it asks
        // for.
        301 | 307 | 308 | 405 | 411 | 413 | 414 | 415 | 417 | 421 | 426 | 431 | 501 | 505 => StatusMeaning::Rejected,
        // Somebody gave up waiting (499: what HTTP has for gRPC's CANCELLED).
        408 | 499 => StatusMeaning::Unknown,
        200..=299 => StatusMeaning::Applied,
        300..=499 => StatusMeaning::NotApplied,
        _ => StatusMeaning::Unknown,
    }
}

impl WriteOutcome {
    /// What remains of a write that certainly changed nothing, or never reached the provider.
    pub const UNCHANGED: WriteOutcome = WriteOutcome::End(Settled {
        version: None,
        unchanged: true,
        deleted_for: None,
        lifted: false,
        tenant: DEFAULT_TENANT,
        purged: 0,
    });
}

/// What an answered write that may change any session leaves to be done. What a provider does not know by this name,
/// nobody's change of it makes stale: otherwise anybody could empty the cache by asking for what is not there.
/// `repeatable` says that whatever stands between gateway and provider may have sent the request twice (RFC 9110,
/// section 9.2.2), and that its caller's rights are checked: what it does not find may then be what its first copy has
/// removed or renamed.
pub fn settle_invalidating(status: StatusCode, repeatable: bool) -> WriteOutcome {
    match status_meaning(status) {
        StatusMeaning::NotApplied if repeatable && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
            WriteOutcome::End(Settled::default())
        }
        StatusMeaning::NotApplied if status.is_client_error() => WriteOutcome::UNCHANGED,
        StatusMeaning::Applied | StatusMeaning::NotApplied => WriteOutcome::End(Settled::default()),
        StatusMeaning::Rejected => WriteOutcome::UNCHANGED,
        StatusMeaning::Unknown => WriteOutcome::KeepMark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each status leaves of a change of any session: `u` unchanged, `c` changed, `k` its mark.
    #[test]
    fn statuses_say_what_became_of_a_change() {
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299, 302, 303][..], 'c'),
            (&[301, 307, 308, 400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 415, 422, 429, 431, 501, 505], 'u'),
            (&[408, 499, 500, 502, 503, 504, 599], 'k'),
        ] {
            for status in statuses {
                for repeatable in [false, true] {
                    let said = match settle_invalidating(StatusCode::from_u16(*status).unwrap(), repeatable) {
                        WriteOutcome::End(Settled { unchanged: true, .. }) => 'u',
                        WriteOutcome::End(_) => 'c',
                        WriteOutcome::KeepMark => 'k',
                    };
                    let expected = if repeatable && matches!(status, 404 | 410) { 'c' } else { expected };
                    assert_eq!(said, expected, "{status} {repeatable}");
                }
            }
        }
    }
}
