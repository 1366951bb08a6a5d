//! Requests that carry no credential by design, and so need no grant.

use super::head::RequestHead;
use super::upstream::Upstream;
use crate::dialect::path::canonical;
use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use std::borrow::Cow;

impl Upstream {
    /// Whether a pass-through request carries no credential by design: a CORS preflight, or one of the dialect's public
    /// paths in canonical spelling.
    pub fn is_public(&self, head: &RequestHead) -> bool {
        if head.method_override().is_some() {
            return false;
        }
        if head.method == Method::OPTIONS {
            return head.headers.contains_key(ORIGIN) && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        }
        let path = self.matcher.upstream_path(head.path);
        matches!(canonical(path), Some(Cow::Borrowed(_))) && self.dialect.is_public(path)
    }
}
