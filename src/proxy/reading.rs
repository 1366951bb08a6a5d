//! Reads: answered from the cache, or by the provider.

use super::context::Context;
use super::governed::{Stop, provider};
use super::response::Source;
use super::slot::{self, attended};
use crate::cache::{FetchedResponse, ReadOptions, ReadResult};
use crate::coherence::Micros;
use crate::coherence::reading::{ForwardReason, Limits};
use crate::gateway::{ProviderResponse, Read, Storable};
use crate::model::Rejection;
use crate::provider::{Failure, Fetch, Provider};
use crate::runtime::{Runtime, clock};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, StatusCode};
use pingora::prelude::Session;
use std::net::IpAddr;
use std::sync::Arc;

/// A fetch of a read, with what it needs beyond the life of the client that asked.
struct DetachedFetch {
    runtime: Arc<Runtime>,
    provider: Arc<Provider>,
    read: Arc<Read>,
    headers: HeaderMap,
    source: Option<IpAddr>,
}

impl DetachedFetch {
    fn new(session: &Session, context: &Context, provider: &Arc<Provider>, read: &Arc<Read>) -> DetachedFetch {
        DetachedFetch {
            headers: {
                let (from, shared) = (&session.req_header().headers, read.key().is_some());
                provider.read_headers(from, &context.origin(session), read.carrier(), shared)
            },
            source: slot::source(context, session),
            runtime: context.runtime.clone(),
            provider: provider.clone(),
            read: read.clone(),
        }
    }

    async fn fetch(self, floor: Option<u64>) -> FetchedResponse {
        let DetachedFetch { runtime, provider, read, headers, source } = self;
        let caller = read.caller();
        let none = |rejection, storable, failed| FetchedResponse { response: Err(rejection), storable, failed, caller };
        let _slot = match runtime.slot(read.upstream(), source).await {
            Ok(slot) => slot,
            Err(rejection) => return none(rejection.clone(), Storable::Nothing, rejection.is_failure()),
        };
        let wall = clock::millis();
        let (method, path, body) = read.request();
        let (path, http2) = (path.to_owned(), read.carrier().is_grpc());
        let response = provider.fetch(Fetch { method, path, headers, body, http2, reads: true }).await;
        runtime
            .metrics
            .fetch(read.upstream().index, response.as_ref().ok().map(|response| read.status(response).as_u16()));
        match response {
            Ok(response) => {
                let storable = read.check(&response, floor, wall);
                let failed = read.status(&response).is_server_error();
                FetchedResponse { response: Ok(Arc::new(response)), storable, failed, caller }
            }
            Err(Failure { rejection, status, .. }) => {
                let failed = status.is_none_or(|status| status.is_server_error());
                none(rejection, read.check_unread(status), failed)
            }
        }
    }
}

/// Answers a read: from the cache, or from the provider.
pub(super) async fn read(
    session: &mut Session,
    context: &Context,
    read: Read,
) -> Result<(Arc<ProviderResponse>, Source), Stop> {
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, read.upstream())?;
    let read = Arc::new(read);
    let Some(key) = read.key().copied() else {
        let response = alone(session, context, &provider, &read).await?.response?;
        return Ok((listed(&runtime, &read, response).await?, Source::Uncached));
    };
    let own = read.caller();
    let mut read_options = read_options(&read, &session.req_header().headers);
    let fresh = read_options.fresh;
    loop {
        // Only for those that fetch: most reads are answered from the cache.
        let fetch = |floor: Option<u64>| DetachedFetch::new(session, context, &provider, &read).fetch(floor);
        return match runtime.sessions().read(key, read_options, fetch).await {
            ReadResult::Hit { response, age, left } => Ok((response, Source::Hit { age, left })),
            // Whom the gateway has not verified is answered by the provider, which may not tell them that there was a
            // session.
            ReadResult::Deleted if !read.is_shared() => {
                let response = alone(session, context, &provider, &read).await?.response?;
                if read.status(&response) == StatusCode::OK {
                    Err(Rejection::Deleted.into())
                } else {
                    Ok((response, Source::Bypass))
                }
            }
            ReadResult::Deleted => Err(Rejection::Deleted.into()),
            ReadResult::Miss(fetched, why) => {
                // Whoever fetches for itself after all has not asked for that.
                let why = if why == ForwardReason::Requested && read_options.fresh != fresh {
                    ForwardReason::Missing
                } else {
                    why
                };
                let stored = matches!(fetched.storable, Storable::For { .. }) && !read_options.unstored;
                Ok((fetched.response?, Source::Miss { why, stored }))
            }
            // What the provider responses to one caller's credential or request says nothing of another's.
            ReadResult::Coalesced(FetchedResponse { response: Ok(response), caller, .. })
                if caller != own && !is_for_all(read.status(&response)) =>
            {
                read_options.fresh = true;
                continue;
            }
            ReadResult::Bypass(began) => past(session, context, &provider, &read, (read_options, began)).await,
            // It is another's source that has too much in flight. When that one began says nothing of the fetch that
            // follows.
            ReadResult::Coalesced(FetchedResponse { response: Err(Rejection::SourceBusy), .. }) => {
                past(session, context, &provider, &read, (read_options, None)).await
            }
            ReadResult::Coalesced(fetched) => {
                let response = fetched.response?;
                let response =
                    if fetched.caller == own { without_cookies(response) } else { Arc::new(response.stored()) };
                Ok((response, Source::Coalesced))
            }
        };
    }
}

/// What a read wants of the cache, by what its client says (RFC 9111, section 5.2.1). `max-stale` and `only-if-cached`
/// change nothing: a cache need not follow them.
fn read_options(read: &Read, headers: &HeaderMap) -> ReadOptions {
    let mut windows = read.windows();
    let said = Directives::of(headers);
    windows.limits = said.limits;
    // What is fetched behind a stale response would only be stored.
    windows.revalidate = if said.no_store { 0 } else { windows.revalidate };
    let (caller, tenant) = (read.caller(), *read.tenant());
    ReadOptions { fresh: said.no_cache, unstored: said.no_store, caller, tenant, kept: read.kept(), windows }
}

/// A fetch that fills nothing: it ends where its client leaves.
async fn alone(
    session: &mut Session,
    context: &Context,
    provider: &Arc<Provider>,
    read: &Arc<Read>,
) -> Result<FetchedResponse, Stop> {
    let reading = DetachedFetch::new(session, context, provider, read);
    Ok(attended(session, context, reading.fetch(None)).await?)
}

/// A read that leaves the cache out, with a time before which its fetch did not begin.
async fn past(
    session: &mut Session,
    context: &Context,
    provider: &Arc<Provider>,
    read: &Arc<Read>,
    (read_options, began): (ReadOptions, Option<Micros>),
) -> Result<(Arc<ProviderResponse>, Source), Stop> {
    let fetched = alone(session, context, provider, read).await?;
    if let Some(key) = read.key() {
        context.runtime.sessions().bypassed(key, read_options, began, &fetched).await;
    }
    Ok((fetched.response?, Source::Bypass))
}

/// A response as the caller may see it: where it lists sessions, without those that were deleted through the gateway.
async fn listed(
    runtime: &Runtime,
    read: &Read,
    response: Arc<ProviderResponse>,
) -> Result<Arc<ProviderResponse>, Rejection> {
    let Some(listing) = read.listing(&runtime.gateway, &response)? else {
        return Ok(response);
    };
    // Asked for after the fetch: what was deleted before this read began is known by now.
    let deleted = runtime.sessions().deleted(read.upstream().scope, read.tenant(), &listing.sessions()).await;
    Ok(Arc::new(listing.without(&deleted, ProviderResponse::clone(&response))))
}

/// What a client says to caches.
#[derive(Default)]
struct Directives {
    no_cache: bool,
    no_store: bool,
    limits: Limits,
}

impl Directives {
    fn of(headers: &HeaderMap) -> Directives {
        let mut said = Directives::default();
        let values = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        for directive in values(CACHE_CONTROL).flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let millis = || value.trim().trim_matches('"').parse::<u64>().map(|seconds| seconds.saturating_mul(1_000));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => said.no_cache = true,
                "no-store" => said.no_store = true,
                // What cannot be read asks for the youngest that there is.
                "max-age" => said.limits.max_age = said.limits.max_age.min(millis().unwrap_or(0)),
                "min-fresh" => said.limits.min_fresh = millis().unwrap_or(u64::MAX),
                _ => {}
            }
        }
        // Only where nothing newer is said (RFC 9111, section 5.4).
        let pragma = || values(PRAGMA).flat_map(|value| value.split(',')).any(|one| one.trim() == "no-cache");
        said.no_cache |= said.limits.max_age == 0 || (!headers.contains_key(CACHE_CONTROL) && pragma());
        said
    }
}

/// A cookie is for the one who asked.
fn without_cookies(response: Arc<ProviderResponse>) -> Arc<ProviderResponse> {
    if !response.headers.contains_key(http::header::SET_COOKIE) {
        return response;
    }
    let mut own = ProviderResponse::clone(&response);
    own.headers.remove(http::header::SET_COOKIE);
    Arc::new(own)
}

/// Whether a response speaks of the session as everybody may see it, or of the provider, and not of who asked or how.
/// That there is no session is for the one who was told.
fn is_for_all(status: StatusCode) -> bool {
    status == StatusCode::OK || status.is_server_error()
}
