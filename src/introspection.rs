//! Introspection of opaque tokens (RFC 7662): requests to the issuer's endpoint, and the cache of what they said.
//!
//! Strangers can send any number of tokens, so unknown tokens have bounds of their own: introspections in flight, in
//! total and per source, and cached rejections. Tokens that were active before have a reserve that strangers cannot
//! use.

mod token_cache;
mod calls;
mod counters;
mod endpoint;
mod state_log;

pub use counters::IntrospectionCounters;

use crate::client::{Addresses, Resolver};
use crate::gateway::IntrospectionSource;
use crate::model::Rejection;
use crate::telemetry::{IntrospectionCache, IntrospectionFailure, IntrospectionResult};
use crate::token::{Expectations, IntrospectionError, MAX_TOKEN, Verified, introspected};
use calls::{Calls, Permit};
use endpoint::{CallError, Endpoint, unique};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use token_cache::{Cached, Known, TokenCache};
use tokio::sync::watch;
use tokio::time::Instant;

/// What an introspector needs from outside.
#[derive(Clone)]
pub struct IntrospectionContext {
    /// Resolves the endpoint's host.
    pub resolver: Arc<Resolver>,
    /// Its counters.
    pub counters: Arc<IntrospectionCounters>,
}

/// The result of an introspection, for all requests that wait for it.
#[derive(Debug, Clone)]
enum Outcome {
    /// The token is active and accepted.
    Accepted(Arc<Verified>),
    /// It is not.
    Rejected(Rejection),
    /// It failed, which says nothing of the token.
    Failed(Rejection),
}

/// Introspects the opaque tokens of one upstream.
pub struct Introspector {
    name: String,
    source: Arc<IntrospectionSource>,
    expected: Expectations,
    endpoint: Endpoint,
    tokens: Arc<TokenCache>,
    calls: Arc<Calls<Outcome>>,
    /// The cause of the last failure; `None` if the last introspection succeeded.
    failing: Mutex<Option<IntrospectionFailure>>,
    /// Whether an active token was accepted or rejected.
    knows_token: AtomicBool,
    context: IntrospectionContext,
}

impl Introspector {
    /// The introspector of the upstream `name`. It takes over the tokens of the one before if they are of the same
    /// endpoint, for the same client, and with the same expectations.
    ///
    /// # Errors
    ///
    /// If the TLS settings are invalid, or the system has no random numbers.
    pub fn new(
        name: &str,
        source: Arc<IntrospectionSource>,
        expected: Expectations,
        context: IntrospectionContext,
        before: Option<&Introspector>,
    ) -> Result<Arc<Introspector>, rustls::Error> {
        let same = before.filter(|before| before.has_same_tokens(&source, &expected));
        Ok(Arc::new(Introspector {
            name: name.to_owned(),
            endpoint: Endpoint::new(source.clone(), &context.resolver)?,
            tokens: match same {
                Some(before) => before.tokens.clone(),
                None => Arc::new(TokenCache::new()?),
            },
            calls: Calls::new(source.in_flight, source.per_source),
            source,
            expected,
            failing: Mutex::new(None),
            knows_token: AtomicBool::new(false),
            context,
        }))
    }

    fn has_same_tokens(&self, source: &IntrospectionSource, expected: &Expectations) -> bool {
        let who = |of: &IntrospectionSource| (of.url.clone(), of.host.clone(), of.client_id.clone());
        who(&self.source) == who(source) && self.expected == *expected
    }

    /// Whether it can be reused for an upstream with these settings.
    pub fn matches(&self, source: &IntrospectionSource, expected: &Expectations, resolver: &Arc<Resolver>) -> bool {
        *self.source == *source && self.expected == *expected && Arc::ptr_eq(&self.context.resolver, resolver)
    }

    /// Whether the last introspection failed.
    pub fn is_failing(&self) -> bool {
        self.failing.lock().is_some()
    }

    /// Its counters.
    pub fn counters(&self) -> &IntrospectionCounters {
        &self.context.counters
    }

    /// The addresses to connect to: the endpoint's, or those of the forward proxy.
    pub fn addresses(&self) -> &Arc<Addresses> {
        self.endpoint.addresses()
    }

    /// The caller of a token at `now` (seconds since the epoch). `source` is the client's address, which limits how many
    /// unknown tokens of one source are introspected at a time.
    pub async fn verify(
        self: &Arc<Introspector>,
        token: &str,
        now: u64,
        source: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Arc<Verified>, Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(Rejection::TokenTooLong);
        }
        let key = self.tokens.key_of(token);
        let known = match self.tokens.find(&key, &self.source, now) {
            Cached::Accepted(verified) => return Ok(self.cached(IntrospectionCache::Active, verified)),
            Cached::Stale(verified) => return Ok(self.cached(IntrospectionCache::Stale, verified)),
            Cached::Rejected(rejection) => {
                self.context.counters.cached(IntrospectionCache::Inactive);
                return Err(rejection);
            }
            Cached::Expired(known) => Some(known),
            Cached::Unknown => None,
        };
        let source = if known.is_some() { None } else { source() };
        let outcome = self.start(key, token, now, known.is_some(), source);
        if let Some(Known { stale: Some(verified), has_failed: true }) = &known {
            // Its introspection failed before, and another one is on its way.
            return Ok(self.cached(IntrospectionCache::Stale, verified.clone()));
        }
        match waited(outcome).await {
            Outcome::Accepted(verified) => Ok(verified),
            Outcome::Rejected(rejection) => Err(rejection),
            Outcome::Failed(rejection) => match known.and_then(|known| known.stale) {
                Some(verified) => Ok(self.cached(IntrospectionCache::Stale, verified)),
                None => Err(rejection),
            },
        }
    }

    /// The caller whom this token identifies, if that is known without an introspection.
    pub fn recognized(&self, token: &str, now: u64) -> Option<Arc<Verified>> {
        match self.tokens.find(&self.tokens.key_of(token), &self.source, now) {
            Cached::Accepted(verified) => Some(self.cached(IntrospectionCache::Active, verified)),
            Cached::Stale(_) | Cached::Rejected(_) | Cached::Expired(_) | Cached::Unknown => None,
        }
    }

    /// Introspects a random token at `now` (seconds since the epoch), which must not be active.
    ///
    /// # Errors
    ///
    /// If the endpoint gives no usable response, or says that the token is active.
    pub async fn trial(&self, now: u64) -> Result<(), String> {
        let token = unique().unwrap_or_default();
        let until = Instant::now() + self.source.timeout;
        let response = self.endpoint.call(&token, now, until).await.map_err(|error| error.reason)?;
        match introspected(&response, &token, &self.expected, now) {
            Err(IntrospectionError::Rejected(Rejection::TokenInactive)) => Ok(()),
            Err(IntrospectionError::Unusable) => Err(CallError::unusable(&self.source.url).reason),
            Err(IntrospectionError::Rejected(_)) | Ok(_) => {
                Err(format!("{}: the endpoint says that a random token is active", self.source.url))
            }
        }
    }

    fn cached(&self, how: IntrospectionCache, verified: Arc<Verified>) -> Arc<Verified> {
        self.context.counters.cached(how);
        verified
    }

    /// Starts an introspection in a task of its own, so that it goes on if its client leaves; or joins the one of the
    /// same token.
    fn start(
        self: &Arc<Introspector>,
        key: [u8; 32],
        token: &str,
        now: u64,
        known: bool,
        source: Option<IpAddr>,
    ) -> Result<watch::Receiver<Option<Outcome>>, Rejection> {
        let (own, token) = (self.clone(), token.to_owned());
        self.calls.join(key, known, source, |call| {
            tokio::spawn(async move {
                let began = Instant::now();
                // The other half is for the response.
                let outcome = match call.permit(began + own.source.timeout / 2).await {
                    Some(permit) => own.introspect(&key, &token, now, began, permit).await,
                    None => Outcome::Failed(Rejection::IntrospectionBusy),
                };
                call.end(outcome);
            });
        })
    }

    async fn introspect(&self, key: &[u8; 32], token: &str, now: u64, began: Instant, _permit: Permit) -> Outcome {
        let until = began + self.source.timeout;
        // The response may be as old as its request.
        let sent = Instant::now();
        let at = || now.saturating_add(began.elapsed().as_secs());
        let response = self.endpoint.call(token, at(), until).await;
        let checked = match response {
            Ok(response) => introspected(&response, token, &self.expected, at()).map_err(|error| match error {
                IntrospectionError::Rejected(rejection) => Ok(rejection),
                IntrospectionError::Unusable => Err(CallError::unusable(&self.source.url)),
            }),
            Err(error) => Err(Err(error)),
        };
        self.record(checked.as_ref().err().and_then(|error| error.as_ref().err()));
        match checked {
            Ok(verified) => {
                self.context.counters.introspected(IntrospectionResult::Active);
                let verified = Arc::new(verified);
                self.knows_token.store(true, Ordering::Relaxed);
                self.tokens.accept(*key, sent, verified.clone());
                Outcome::Accepted(verified)
            }
            Err(Ok(rejection)) => {
                let inactive = rejection == Rejection::TokenInactive;
                let result = if inactive { IntrospectionResult::Inactive } else { IntrospectionResult::Rejected };
                self.context.counters.introspected(result);
                self.record_rejection(&rejection);
                self.tokens.reject(*key, Instant::now() + self.source.negative_ttl, rejection.clone());
                Outcome::Rejected(rejection)
            }
            Err(Err(_)) => {
                self.context.counters.introspected(IntrospectionResult::Failed);
                self.tokens.failed(key);
                Outcome::Failed(Rejection::IntrospectionFailed)
            }
        }
    }
}

/// The outcome, once it is there.
async fn waited(outcome: Result<watch::Receiver<Option<Outcome>>, Rejection>) -> Outcome {
    let mut outcome = match outcome {
        Ok(outcome) => outcome,
        Err(rejection) => return Outcome::Failed(rejection),
    };
    let found = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    // The task ended without an outcome: the process stops.
    found.unwrap_or(Outcome::Failed(Rejection::IntrospectionFailed))
}

#[cfg(test)]
mod tests;
