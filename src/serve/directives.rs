//! What a client asks of caches (RFC 9111, section 5.2.1).

use crate::coherence::reading::Limits;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// The directives of a request. `max-stale` and `only-if-cached` are ignored: a cache need not follow them.
#[derive(Default)]
pub(super) struct Directives {
    pub no_cache: bool,
    pub no_store: bool,
    pub limits: Limits,
}

impl Directives {
    pub fn of(headers: &HeaderMap) -> Directives {
        let mut directives = Directives::default();
        let values = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        for directive in values(CACHE_CONTROL).flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let millis = || value.trim().trim_matches('"').parse::<u64>().map(|seconds| seconds.saturating_mul(1_000));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => directives.no_cache = true,
                "no-store" => directives.no_store = true,
                // A value that cannot be read asks for the youngest response.
                "max-age" => directives.limits.max_age = directives.limits.max_age.min(millis().unwrap_or(0)),
                "min-fresh" => directives.limits.min_fresh = millis().unwrap_or(u64::MAX),
                _ => {}
            }
        }
        // `Pragma` counts only without `Cache-Control` (RFC 9111, section 5.4).
        let pragma = || values(PRAGMA).flat_map(|value| value.split(',')).any(|one| one.trim() == "no-cache");
        directives.no_cache |= directives.limits.max_age == 0 || (!headers.contains_key(CACHE_CONTROL) && pragma());
        directives
    }
}
