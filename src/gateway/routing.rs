//! Classifies a request by its head.

use super::compiled_gateway::Gateway;
use super::governed::Governed;
use super::head::{self, CheckedHead, RequestHead};
use super::invalidating_request::InvalidatingRequest;
use super::upstream::Upstream;
use crate::coherence::{DEFAULT_TENANT, TenantId};
use crate::dialect::path::PathReadings;
use crate::dialect::{Effect, Route, RouteMatch};
use crate::model::{Operation, Rejection, SessionId};
use http::Method;
use http::header::ACCESS_CONTROL_REQUEST_METHOD;
use std::sync::Arc;

/// What a request is.
#[derive(Debug)]
pub enum Routed {
    /// A governed operation, which must be authorized and evaluated.
    Governed(Governed),
    /// A pass-through request that may change any session, or a call that lists sessions. Its caller must be
    /// authorized.
    Invalidating(InvalidatingRequest),
    /// A pass-through request that may change any session if the provider accepts its credential, which the gateway
    /// cannot check.
    InvalidatingIfAccepted(Arc<Upstream>),
    /// Any other request: passed through unchanged, with the caller's own credential.
    PassThrough(Arc<Upstream>, Operation),
}

/// A rejection, and the upstream whose dialect renders it.
#[derive(Debug)]
pub struct RejectedRequest {
    /// The upstream; `None` if none matched.
    pub upstream: Option<Arc<Upstream>>,
    /// The governed operation's row, if the request matches one.
    pub route: Option<&'static Route>,
    /// The reason.
    pub rejection: Rejection,
}

impl Gateway {
    /// Classifies a request by its head alone.
    ///
    /// # Errors
    ///
    /// Rejects a request that no upstream matches, that is not a valid request for a protected path, or that is
    /// unmatched at an upstream that rejects such requests.
    pub fn route(&self, head: RequestHead) -> Result<Routed, RejectedRequest> {
        let rejected = |upstream: Option<&Arc<Upstream>>, route, rejection| RejectedRequest {
            upstream: upstream.cloned(),
            route,
            rejection,
        };
        let Some(upstream) = self.find_upstream(head.listener, head.host, head.path) else {
            return Err(rejected(None, None, Rejection::NoUpstream));
        };
        let found = match_route(upstream, &head);
        match found.map_err(|rejection| rejected(Some(upstream), None, rejection))? {
            RouteMatch::Governed { route, session, tenant, path } => {
                let governed = self.governed(upstream.clone(), &head, route, (session, tenant, path));
                governed.map_err(|rejection| rejected(Some(upstream), Some(route), rejection))
            }
            RouteMatch::Invalidating | RouteMatch::InvalidatingIfAccepted | RouteMatch::Unmatched
                if !upstream.forwards_unmatched() && !is_preflight(upstream, &head) =>
            {
                Err(rejected(Some(upstream), None, Rejection::UnknownOperation))
            }
            RouteMatch::Invalidating => {
                Ok(Routed::Invalidating(InvalidatingRequest { upstream: upstream.clone(), route: None, path: None }))
            }
            RouteMatch::InvalidatingIfAccepted => Ok(Routed::InvalidatingIfAccepted(upstream.clone())),
            RouteMatch::Unmatched => Ok(Routed::PassThrough(upstream.clone(), Operation::Other)),
        }
    }

    /// A request on a governed route, after the check of its head.
    fn governed(
        &self,
        upstream: Arc<Upstream>,
        head: &RequestHead,
        route: &'static Route,
        (session, tenant_name, path): (Option<SessionId>, Option<String>, String),
    ) -> Result<Routed, Rejection> {
        let CheckedHead { carrier, size, query, token } = head::check(upstream.dialect, route, head)?;
        // Calls that list sessions are passed through, with the canonical path, unless grants decide what they list.
        if route.effect == Effect::ListsSessions && route.call.is_some() && upstream.grants.is_empty() {
            let inner = upstream.matcher.upstream_path(head.path);
            let before = head.path.strip_suffix(inner).unwrap_or_default();
            let path = (path != inner).then(|| [before, &path].concat());
            return Ok(Routed::Invalidating(InvalidatingRequest { upstream, route: Some(route), path }));
        }
        let shared = upstream.dialect.sharing.is_shared();
        let caller = if shared { Vec::new() } else { head::caller(&upstream, head) };
        let base = upstream.target.base_path.as_str();
        let path = if base.is_empty() { path } else { [base, &path].concat() };
        let tenant = self.tenant(&upstream, head, tenant_name.as_deref());
        Ok(Routed::Governed(Governed {
            upstream,
            route,
            carrier,
            session,
            path,
            query,
            token,
            caller,
            tenant_name,
            tenant,
            size,
        }))
    }

    /// The provider's tenant that the request is for.
    fn tenant(&self, upstream: &Upstream, head: &RequestHead, in_path: Option<&str>) -> TenantId {
        if !upstream.preserve_host && !head.trusted && in_path.is_none() {
            return DEFAULT_TENANT;
        }
        match head::tenant(upstream, head, in_path) {
            names if names.is_empty() => DEFAULT_TENANT,
            names => {
                self.keyed_hash(&[&[&b"tenant"[..]], &*names.iter().map(Vec::as_slice).collect::<Vec<_>>()].concat())
            }
        }
    }
}

/// Matches a request at its upstream. An upstream's base path must not turn a request into a governed operation, and
/// dot segments must not leave the base path.
fn match_route(upstream: &Upstream, head: &RequestHead) -> Result<RouteMatch, Rejection> {
    let path = upstream.matcher.upstream_path(head.path);
    let base = upstream.target.base_path.as_str();
    let found = upstream.dialect.match_route(head.method, path, head.method_override())?;
    if base.is_empty() || matches!(found, RouteMatch::Governed { .. }) {
        return Ok(found);
    }
    if PathReadings::of(path).has_dots() {
        return Err(Rejection::Path);
    }
    let whole = [base, path].concat();
    match upstream.dialect.match_route(head.method, &whole, head.method_override()) {
        Ok(RouteMatch::Unmatched) => Ok(found),
        Ok(RouteMatch::InvalidatingIfAccepted) if matches!(found, RouteMatch::Invalidating) => Ok(found),
        Ok(whole @ (RouteMatch::Invalidating | RouteMatch::InvalidatingIfAccepted)) => Ok(whole),
        Ok(RouteMatch::Governed { .. }) | Err(_) => Err(Rejection::Path),
    }
}

/// Whether this is a CORS preflight for a governed operation. The provider responds to it, and the response contains no
/// session.
fn is_preflight(upstream: &Upstream, head: &RequestHead) -> bool {
    let path = upstream.matcher.upstream_path(head.path);
    let mut wanted = head.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = wanted.next().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let one = method.filter(|_| wanted.next().is_none() && head.method == Method::OPTIONS);
    one.is_some_and(|method| upstream.dialect.governs(&method, path))
}

#[cfg(test)]
mod tests {
    use super::super::{Credential, Upstream};
    use super::*;
    use crate::config::{EmptyEnvironment, compile};
    use crate::dialect::tests::REALMS;
    use crate::model::PeerIdentity;
    use bytes::Bytes;
    use http::HeaderMap;

    /// A gateway before a provider with realms.
    fn gateway() -> Gateway {
        let text = "upstreams: { a: { url: https://a.example, dialect: zitadel, auth: forward, cache: {} } }";
        let compiled = compile("c", text, &EmptyEnvironment, [7; 32]).unwrap();
        let upstream = Upstream { dialect: &REALMS, ..Upstream::clone(&compiled.config.gateway.upstreams()[0]) };
        Gateway::new(vec![upstream], &[7; 32])
    }

    fn head<'a>(method: &'a Method, path: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        RequestHead { listener: "main", method, path, query, host: "a.example", headers, http2: false, trusted: false }
    }

    #[test]
    fn sessions_of_two_tenants_with_the_same_id_are_apart() {
        let (gateway, headers) = (gateway(), HeaderMap::new());
        let tenant = |path: &str| match gateway.route(head(&Method::GET, path, &headers)) {
            Ok(Routed::Governed(governed)) => governed.tenant,
            other => panic!("{path}: {other:?}"),
        };
        let own = tenant("/realms/a/sessions/s1");
        assert_eq!(own, tenant("/realms/%61/sessions/s2"));
        assert_ne!(own, tenant("/realms/b/sessions/s1"));
        assert_ne!(own, DEFAULT_TENANT);
    }

    #[test]
    fn a_credential_in_a_cookie_and_the_query_are_part_of_the_cache_key() {
        let gateway = gateway();
        let key_at = |cookie: &'static str, path: &str| {
            let headers: HeaderMap =
                [(http::header::COOKIE, http::HeaderValue::from_static(cookie))].into_iter().collect();
            let Ok(Routed::Governed(governed)) = gateway.route(head(&Method::GET, path, &headers)) else { panic!() };
            let shown = governed.upstream().dialect.shown_credentials(&headers).next().map(|(_, value)| value.to_vec());
            let credential = shown.map_or(Credential::Anonymous, |value| Credential::Forwarded(Bytes::from(value)));
            let caller = governed.upstream().matched(credential, &PeerIdentity::default());
            let authorized = caller.and_then(|caller| governed.authorize(caller));
            let decoded = authorized.and_then(|request| request.read_body(&gateway, Bytes::new()));
            decoded.and_then(|decoded| decoded.read(&gateway).result).map(|read| read.key().copied())
        };
        let key = |cookie| key_at(cookie, "/realms/a/sessions/s1");
        let expanded = |query: &str| key_at("sid=x", &format!("/realms/a/sessions/s1{query}"));
        assert_eq!(expanded(""), key("sid=x"));
        assert_ne!(expanded("?expand=a"), expanded(""));
        assert_ne!(expanded("?expand=a"), expanded("?expand=b"));
        assert_eq!(key("sid=x; other=1"), key("other=2; sid=x"));
        assert!(matches!(key("sid=x"), Ok(Some(_))));
        assert_ne!(key("sid=x"), key("sid=y"));
        assert_eq!(key("other=1"), Err(Rejection::CredentialMissing));
    }
}
