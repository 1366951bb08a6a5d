//! Keyed hashes that identify providers, upstreams and callers in the cache and in the log.
//!
//! They depend on what they identify, never on its position in the configuration. So they are the same in every process
//! and across reloads, and an upstream that changes gets another ID.

use super::{CallerCheck, Freshness, IntrospectionSource, KeySource, OpaqueTokens, Target, TokenIssuer, Upstream};
use crate::token::Expectations;
use ring::hmac;
use std::time::Duration;

/// A keyed hash of an identifier.
pub(super) fn keyed_hash(secret: &hmac::Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut context = hmac::Context::with_key(secret);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 16];
    hash.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// The ID of a provider. It is the same for all upstreams for which [`Target::is_same_provider`] is true.
pub(super) fn provider(secret: &hmac::Key, target: &Target) -> u64 {
    let (tls, host, port, base_path) = target.provider_identity();
    let hash = keyed_hash(
        secret,
        &[b"provider", &[u8::from(tls)], host.as_bytes(), &port.to_be_bytes(), base_path.as_bytes()],
    );
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The ID of an upstream's cached responses. It covers everything that decides what the provider responds, who may see
/// it, and how long it is fresh. So a change of these makes all cached responses unreachable.
pub(super) fn responses(secret: &hmac::Key, upstream: &Upstream) -> [u8; 16] {
    // No `..`: a new field must be classified here.
    let Upstream {
        name,
        index: _,
        scope,
        scope_cache: _,
        scope_owns_keys: _,
        response_id: _,
        dialect,
        matcher: _,
        unmatched: _,
        check,
        // Grants decide who is shown which part of a response, not what the provider responds.
        grants: _,
        policy: _,
        refresh_token_policy: _,
        cache,
        body: _,
        preserve_host,
        target: _,
        slots: _,
    } = upstream;
    let mut parts = vec![b"answers".to_vec(), name.clone().into_bytes(), scope.to_be_bytes().to_vec()];
    parts.push(dialect.name.as_bytes().to_vec());
    parts.push(vec![u8::from(*preserve_host)]);
    parts.extend(cache.iter().flat_map(times).map(|time| time.as_millis().to_be_bytes().to_vec()));
    parts.extend(callers(check));
    keyed_hash(secret, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn times(cache: &Freshness) -> [Duration; 4] {
    let Freshness { ttl, max_body: _, stale_while_revalidate, stale_if_error, negative_ttl, on_unreachable: _ } = cache;
    [*ttl, *stale_while_revalidate, *stale_if_error, *negative_ttl]
}

/// The ID of the responses that callers of this issuer share, on its own if the upstream has several: a provider may
/// treat callers of another issuer differently, and each issuer's tokens may be revoked or rejected on their own.
pub(super) fn responses_of_issuer(secret: &hmac::Key, upstream: &Upstream, issuer: &TokenIssuer) -> [u8; 16] {
    match upstream.check.issuers() {
        [_] => upstream.response_id,
        _ => {
            let names = issuer.expected.issuers.iter().map(String::as_bytes);
            let parts: Vec<&[u8]> = [&b"issuer"[..], &upstream.response_id].into_iter().chain(names).collect();
            keyed_hash(secret, &parts)
        }
    }
}

/// Which callers the gateway accepts.
fn callers(check: &CallerCheck) -> Vec<Vec<u8>> {
    match check {
        CallerCheck::Forward => vec![b"forward".to_vec()],
        CallerCheck::None => vec![b"none".to_vec()],
        CallerCheck::Token(issuers) => {
            let several = (issuers.len() > 1).then(|| (issuers.len() as u64).to_be_bytes().to_vec());
            let mut issuers: Vec<Vec<Vec<u8>>> = issuers.iter().map(tokens).collect();
            issuers.sort();
            several.into_iter().chain(issuers.into_iter().flatten()).collect()
        }
    }
}

/// Which tokens of an issuer the gateway accepts.
fn tokens(issuer: &TokenIssuer) -> Vec<Vec<u8>> {
    let TokenIssuer { option: _, expected, keys, opaque, response_id: _ } = issuer;
    let Expectations { issuers, audiences, algorithms, leeway: _, claims: _, token_type: _ } = expected;
    let KeySource {
        jwks,
        host,
        issuer,
        refresh: _,
        min_interval: _,
        max_stale: _,
        timeout: _,
        authorities: _,
        proxy: _,
    } = keys;
    let (opaque, introspection) = match opaque {
        OpaqueTokens::Reject => (0, None),
        OpaqueTokens::Forward => (1, None),
        OpaqueTokens::Introspect(source) => (2, Some(introspection(source))),
    };
    let mut parts = vec![b"token".to_vec(), vec![opaque], issuer.clone().into_bytes()];
    parts.extend(introspection.into_iter().flatten());
    parts.push(jwks.clone().unwrap_or_default().into_bytes());
    parts.extend(host.iter().map(|host| host.as_str().as_bytes().to_vec()));
    for list in [issuers, audiences] {
        parts.push((list.len() as u64).to_be_bytes().to_vec());
        parts.extend(list.iter().map(|one| one.clone().into_bytes()));
    }
    parts.extend(algorithms.iter().map(|algorithm| format!("{algorithm:?}").into_bytes()));
    parts
}

/// Who says which opaque tokens are accepted.
fn introspection(source: &IntrospectionSource) -> [Vec<u8>; 3] {
    let IntrospectionSource {
        url,
        host,
        issuer: _,
        client_id,
        authentication: _,
        ttl: _,
        negative_ttl: _,
        max_stale: _,
        timeout: _,
        in_flight: _,
        per_source: _,
        authorities: _,
        proxy: _,
    } = source;
    let host = host.as_ref().map_or("", |host| host.as_str());
    [url, host, client_id.as_str()].map(|text| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
