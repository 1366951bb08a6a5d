//! What a provider's response means for the cache.

use super::provider_response::{DecodedResponse, ProviderResponse};
use super::{Changes, Freshness, Read, Write};
use crate::coherence::millis;
use crate::coherence::reading::{FreshnessWindows, Limits};
use crate::coherence::{DEFAULT_TENANT, Millis, Settled};
use crate::dialect::NotFoundMeaning;
use crate::wire::coding;
use bytes::Bytes;
use http::StatusCode;

/// What the response to a read means for the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheability {
    /// It may be stored.
    Store {
        /// How long it is fresh, from the start of the fetch.
        fresh: Millis,
        /// How much longer it may be served stale.
        stale: Millis,
        /// The session's version.
        version: Option<u64>,
        /// Whether it says that the session does not exist.
        missing: bool,
        /// Whether only this caller may be served it, even if callers share the variant.
        only: bool,
    },
    /// It is older than an acknowledged write. The stored entry may be newer.
    TooOld {
        /// The session's version.
        version: u64,
    },
    /// It may not be stored, and the stored entry is no longer valid (RFC 9111, section 4.3.3).
    Invalidate,
    /// It is a denial of this caller only. Other callers may still share the entry.
    Deny,
    /// It does not tell anything about the session: the provider failed or throttled the request.
    Unrelated,
}

/// Whether a status does not tell anything about the session: the provider failed, timed out, or throttled the request.
pub fn is_inconclusive(status: StatusCode) -> bool {
    // The HTTP equivalent of gRPC's CANCELLED.
    const CANCELLED: u16 = 499;
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || status.as_u16() == CANCELLED
}

/// Request headers of shared reads that are not part of the cache key. Other headers are part of it, or are not sent.
const UNKEYED: [&str; 5] = ["user-agent", "traceparent", "tracestate", "x-forwarded-for", "x-request-id"];

/// How to end a write's mark, before the write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The outcome is known: end the mark.
    End(Settled),
    /// The outcome is unknown: let the mark expire.
    KeepMark,
}

impl Read {
    /// What a response means for the cache. `floor` is the version below which it is too old, `wall` the start of the
    /// fetch in milliseconds since the epoch.
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
                // Another caller may still see the session, so a 404 is cached for this caller only.
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

    /// What a response with a session means for the cache.
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
            // Without a version it is unknown whether the response is too old.
            (Some(_), None) => return Cacheability::Invalidate,
            (Some(_) | None, _) => {}
        }
        // No response is served after its session expires.
        let left = facts.expires_at.map_or(Millis::MAX, |at| at.saturating_sub(wall).saturating_sub(MARGIN));
        let fresh = millis(cache.ttl).min(left);
        let stale = millis(cache.stale_while_revalidate.max(cache.stale_if_error)).min(left - fresh);
        if fresh == 0 {
            return Cacheability::Invalidate;
        }
        Cacheability::Store { fresh, stale, version: facts.version, missing: false, only: false }
    }

    /// What a response that was too large to read means for the cache. `None` stands for no response.
    pub fn cacheability_unread(&self, status: Option<StatusCode>) -> Cacheability {
        match status.filter(|status| self.key().is_some() && !is_inconclusive(*status)) {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.is_shared() => Cacheability::Deny,
            Some(_) => Cacheability::Invalidate,
            None => Cacheability::Unrelated,
        }
    }

    /// Whether the headers and the size of a response allow storing it.
    fn may_be_stored(&self, response: &ProviderResponse, cache: &Freshness) -> bool {
        let has = |name| response.headers.contains_key(name);
        let plain = response.body.len() <= cache.max_body
            && !has(http::header::SET_COOKIE)
            && !has(http::header::CONTENT_ENCODING);
        plain && !self.varies(response)
    }

    /// Whether the response depends on headers that are not part of the cache key (RFC 9111, section 4.1).
    fn varies(&self, response: &ProviderResponse) -> bool {
        let values = response.headers.get_all(http::header::VARY).iter();
        let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        names.any(|name| {
            let dialect = self.upstream.dialect;
            let mut unkeyed = UNKEYED.iter().chain(dialect.headers.software);
            name == b"*"
                || unkeyed.any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
                || (self.is_shared() && dialect.has_credential(name))
        })
    }

    /// Whether a 404 is about the session rather than about the caller.
    fn is_about_session(&self, response: &ProviderResponse) -> bool {
        if matches!(self.upstream.dialect.not_found, NotFoundMeaning::Any) {
            return true;
        }
        let text = response.error_text(self.upstream.dialect, self.carrier);
        text.is_some_and(|text| self.upstream.dialect.not_found.is_about_session(&text))
    }

    /// The longest time that a response is stored, in milliseconds.
    pub fn retention(&self) -> Millis {
        self.upstream.cache.map_or(0, |cache| millis(cache.retention()))
    }

    /// How long responses may be served.
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
    /// How to end this write's mark, before the response is sent.
    pub fn settle(&self, response: &DecodedResponse) -> WriteOutcome {
        match status_meaning(response.status()) {
            StatusMeaning::Applied => WriteOutcome::End(self.applied(response)),
            // A failed check may have been counted, so the session must be fetched again.
            StatusMeaning::Rejected if self.may_have_effects(response) => WriteOutcome::End(Settled::default()),
            StatusMeaning::Rejected => WriteOutcome::UNCHANGED,
            StatusMeaning::NotApplied => WriteOutcome::End(Settled::default()),
            StatusMeaning::Unknown => WriteOutcome::KeepMark,
        }
    }

    /// Whether the write may have changed something although the provider rejected it.
    fn may_have_effects(&self, response: &DecodedResponse) -> bool {
        self.upstream.dialect.bad_request_has_effects && response.status() == StatusCode::BAD_REQUEST
    }

    /// Whether the response means that the user is locked. Then all sessions of the user have ended, and it is unknown
    /// which these are.
    pub fn is_lockout(&self, decoded: &DecodedResponse) -> bool {
        if !self.may_have_effects(decoded) {
            return false;
        }
        let response = &decoded.response;
        // A response that cannot be decoded may mean it too.
        let unread = coding::remaining(&response.headers).is_some();
        let text = response.error_text(self.upstream.dialect, self.carrier);
        unread || text.is_some_and(|text| self.upstream.dialect.is_lockout(&text))
    }

    fn applied(&self, response: &DecodedResponse) -> Settled {
        match self.changes() {
            Changes::Session(_) => {}
            // The version of one session says nothing about the others.
            Changes::AnySession | Changes::Nothing => return Settled::default(),
        }
        let ends = self.route.effect.ends_session();
        let deleted_for = self.upstream.scope_cache.map(|cache| millis(cache.ttl)).filter(|_| ends);
        let message = response.call.message.as_ref();
        let facts =
            message.and_then(|message| self.upstream.dialect.response_facts(self.route, self.carrier, message, None));
        let (version, tenant) = (facts.and_then(|facts| facts.version), self.tenant);
        Settled { version, deleted_for, tenant, ..Settled::default() }
    }
}

/// What a write's status tells about its outcome.
enum StatusMeaning {
    /// The write was applied.
    Applied,
    /// The request or its caller was rejected: nothing changed.
    Rejected,
    /// The write was not applied, but the session may have changed in another way.
    NotApplied,
    Unknown,
}

fn status_meaning(status: StatusCode) -> StatusMeaning {
    match status.as_u16() {
        400 | 401 | 403 | 429 => StatusMeaning::Rejected,
        // The method, form or version is not supported, or the resource is elsewhere: the request was not evaluated.
        301 | 307 | 308 | 405 | 411 | 413 | 414 | 415 | 417 | 421 | 426 | 431 | 501 | 505 => StatusMeaning::Rejected,
        // A timeout, or 499, the HTTP equivalent of gRPC's CANCELLED.
        408 | 499 => StatusMeaning::Unknown,
        200..=299 => StatusMeaning::Applied,
        300..=499 => StatusMeaning::NotApplied,
        _ => StatusMeaning::Unknown,
    }
}

impl WriteOutcome {
    /// The outcome of a write that certainly changed nothing, or never reached the provider.
    pub const UNCHANGED: WriteOutcome = WriteOutcome::End(Settled {
        version: None,
        unchanged: true,
        deleted_for: None,
        lifted: false,
        tenant: DEFAULT_TENANT,
        purged: 0,
    });
}

/// How to end the mark of a write that may change any session. A write that does not find its target changes nothing;
/// otherwise anyone could empty the cache with writes to unknown targets. `repeatable` means that a proxy before the
/// provider may have sent the request twice (RFC 9110, section 9.2.2) and that the caller's scopes are checked: a
/// missing target may then have been removed or renamed by the first copy.
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

    /// The result for each status: `u` unchanged, `c` changed, `k` mark kept.
    #[test]
    fn statuses_decide_how_an_invalidating_write_ends() {
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
