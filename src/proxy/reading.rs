//! Reads: answered from the cache, or by the provider.

use super::answer::Source;
use super::context::Context;
use super::governed::{Stop, provider};
use super::slot::{self, attended};
use crate::cache::{Fetched, Got, Wanted};
use crate::coherence::Micros;
use crate::coherence::reading::{Limits, Why};
use crate::gateway::{Answer, Read, Storable};
use crate::model::Rejection;
use crate::provider::{Failure, Fetch, Provider};
use crate::runtime::{Runtime, clock};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, StatusCode};
use pingora::prelude::Session;
use std::net::IpAddr;
use std::sync::Arc;

/// A fetch of a read, with what it needs beyond the life of the client that asked.
struct Reading {
    runtime: Arc<Runtime>,
    provider: Arc<Provider>,
    read: Arc<Read>,
    headers: HeaderMap,
    source: Option<IpAddr>,
}

impl Reading {
    fn new(session: &Session, context: &Context, provider: &Arc<Provider>, read: &Arc<Read>) -> Reading {
        Reading {
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

    async fn fetch(self, floor: Option<u64>) -> Fetched {
        let Reading { runtime, provider, read, headers, source } = self;
        let asker = read.asker();
        let none = |rejection, storable, failed| Fetched { answer: Err(rejection), storable, failed, asker };
        let _slot = match runtime.slot(read.upstream(), source).await {
            Ok(slot) => slot,
            Err(rejection) => return none(rejection.clone(), Storable::Nothing, rejection.is_failure()),
        };
        let wall = clock::millis();
        let (method, path, body) = read.request();
        let (path, http2) = (path.to_owned(), read.carrier().is_grpc());
        let answer = provider.fetch(Fetch { method, path, headers, body, http2, reads: true }).await;
        runtime.metrics.fetch(read.upstream().index, answer.as_ref().ok().map(|answer| read.status(answer).as_u16()));
        match answer {
            Ok(answer) => {
                let storable = read.judge(&answer, floor, wall);
                let failed = read.status(&answer).is_server_error();
                Fetched { answer: Ok(Arc::new(answer)), storable, failed, asker }
            }
            Err(Failure { rejection, status, .. }) => {
                let failed = status.is_none_or(|status| status.is_server_error());
                none(rejection, read.judge_unread(status), failed)
            }
        }
    }
}

/// Answers a read: from the cache, or from the provider.
pub(super) async fn read(session: &mut Session, context: &Context, read: Read) -> Result<(Arc<Answer>, Source), Stop> {
    let runtime = context.runtime.clone();
    let provider = provider(&runtime, read.upstream())?;
    let read = Arc::new(read);
    let Some(key) = read.key().copied() else {
        let answer = alone(session, context, &provider, &read).await?.answer?;
        return Ok((listed(&runtime, &read, answer).await?, Source::Uncached));
    };
    let own = read.asker();
    let mut wanted = wanted(&read, &session.req_header().headers);
    let fresh = wanted.fresh;
    loop {
        // Only for those that fetch: most reads are answered from the cache.
        let fetch = |floor: Option<u64>| Reading::new(session, context, &provider, &read).fetch(floor);
        return match runtime.sessions().read(key, wanted, fetch).await {
            Got::Hit { answer, age, left } => Ok((answer, Source::Hit { age, left })),
            // Whom the gateway has not verified is answered by the provider, which may not tell them that there was a session.
            Got::Deleted if !read.is_shared() => {
                let answer = alone(session, context, &provider, &read).await?.answer?;
                if read.status(&answer) == StatusCode::OK {
                    Err(Rejection::Deleted.into())
                } else {
                    Ok((answer, Source::Bypass))
                }
            }
            Got::Deleted => Err(Rejection::Deleted.into()),
            Got::Miss(fetched, why) => {
                // Whoever fetches for itself after all has not asked for that.
                let why = if why == Why::Requested && wanted.fresh != fresh { Why::Missing } else { why };
                let stored = matches!(fetched.storable, Storable::For { .. }) && !wanted.unstored;
                Ok((fetched.answer?, Source::Miss { why, stored }))
            }
            // What the provider answers to one caller's credential or request says nothing of another's.
            Got::Coalesced(Fetched { answer: Ok(answer), asker, .. })
                if asker != own && !is_for_all(read.status(&answer)) =>
            {
                wanted.fresh = true;
                continue;
            }
            Got::Bypass(began) => past(session, context, &provider, &read, (wanted, began)).await,
            // It is another's source that has too much in flight. When that one began says nothing of the fetch that follows.
            Got::Coalesced(Fetched { answer: Err(Rejection::SourceBusy), .. }) => {
                past(session, context, &provider, &read, (wanted, None)).await
            }
            Got::Coalesced(fetched) => {
                let answer = fetched.answer?;
                let answer = if fetched.asker == own { without_cookies(answer) } else { Arc::new(answer.stored()) };
                Ok((answer, Source::Coalesced))
            }
        };
    }
}

/// What a read wants of the cache, by what its client says (RFC 9111, section 5.2.1). `max-stale` and `only-if-cached` change nothing:
/// a cache need not follow them.
fn wanted(read: &Read, headers: &HeaderMap) -> Wanted {
    let mut windows = read.windows();
    let said = Directives::of(headers);
    windows.limits = said.limits;
    // What is fetched behind a stale answer would only be stored.
    windows.revalidate = if said.no_store { 0 } else { windows.revalidate };
    let (asker, tenant) = (read.asker(), *read.tenant());
    Wanted { fresh: said.no_cache, unstored: said.no_store, asker, tenant, kept: read.kept(), windows }
}

/// A fetch that fills nothing: it ends where its client leaves.
async fn alone(
    session: &mut Session,
    context: &Context,
    provider: &Arc<Provider>,
    read: &Arc<Read>,
) -> Result<Fetched, Stop> {
    let reading = Reading::new(session, context, provider, read);
    Ok(attended(session, context, reading.fetch(None)).await?)
}

/// A read that leaves the cache out, with a time before which its fetch did not begin.
async fn past(
    session: &mut Session,
    context: &Context,
    provider: &Arc<Provider>,
    read: &Arc<Read>,
    (wanted, began): (Wanted, Option<Micros>),
) -> Result<(Arc<Answer>, Source), Stop> {
    let fetched = alone(session, context, provider, read).await?;
    if let Some(key) = read.key() {
        context.runtime.sessions().bypassed(key, wanted, began, &fetched).await;
    }
    Ok((fetched.answer?, Source::Bypass))
}

/// An answer as the caller may see it: where it lists sessions, without those that were deleted through the gateway.
async fn listed(runtime: &Runtime, read: &Read, answer: Arc<Answer>) -> Result<Arc<Answer>, Rejection> {
    let Some(listing) = read.listing(&runtime.gateway, &answer)? else {
        return Ok(answer);
    };
    // Asked for after the fetch: what was deleted before this read began is known by now.
    let deleted = runtime.sessions().deleted(read.upstream().scope, read.tenant(), &listing.sessions()).await;
    Ok(Arc::new(listing.without(&deleted, Answer::clone(&answer))))
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
fn without_cookies(answer: Arc<Answer>) -> Arc<Answer> {
    if !answer.headers.contains_key(http::header::SET_COOKIE) {
        return answer;
    }
    let mut own = Answer::clone(&answer);
    own.headers.remove(http::header::SET_COOKIE);
    Arc::new(own)
}

/// Whether an answer speaks of the session as everybody may see it, or of the provider, and not of who asked or how. That there is
/// no session is for the one who was told.
fn is_for_all(status: StatusCode) -> bool {
    status == StatusCode::OK || status.is_server_error()
}
