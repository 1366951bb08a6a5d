//! Headers of requests as text.

use http::HeaderMap;

/// A header as text, empty if it is absent.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
