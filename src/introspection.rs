//! Introspection of opaque tokens (RFC 7662): requests to the issuer's endpoint, and their cached results.
//!
//! Strangers can send any number of tokens, so unknown tokens have bounds of their own: introspections in flight, in
//! total and per source, and cached rejections. Tokens that were active before have a reserve that strangers cannot
//! use.

mod token_cache;
mod calls;
mod counters;
mod endpoint;
mod endpoint_state;
mod state_log;

pub use counters::IntrospectionCounters;

use crate::client::{Addresses, Resolver};
use crate::gateway::{IntrospectionSource, TokenIssuer};
use crate::model::Rejection;
use crate::telemetry::{IntrospectionCache, IntrospectionResult};
use crate::token::{Expectations, FirstToken, IntrospectionError, MAX_TOKEN, Verified, introspected};
use calls::{Call, Calls, Permit};
use endpoint::{CallError, Endpoint, unique};
use endpoint_state::EndpointState;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use token_cache::{Cached, Known, TokenCache};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a token is not introspected again after a failure, if it is accepted meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// There was no introspection, or it failed in an outage.
    Failed(Rejection),
    /// The endpoint responded, but said nothing of the token.
    Unusable,
}

/// Introspects the opaque tokens of one upstream.
pub struct Introspector {
    /// The upstream's name.
    name: String,
    /// The path of the options of their issuer, for messages.
    option: Mutex<String>,
    source: Arc<IntrospectionSource>,
    expected: Expectations,
    endpoint: Endpoint,
    tokens: Arc<TokenCache>,
    calls: Arc<Calls<Outcome>>,
    state: Mutex<EndpointState>,
    /// The first active token.
    first: FirstToken,
    context: IntrospectionContext,
}

impl Introspector {
    /// The introspector of the upstream `name`, for tokens of this issuer. It takes over the tokens of the one before if
    /// they are of the same endpoint, for the same client, and with the same expectations.
    ///
    /// # Errors
    ///
    /// If the TLS settings are invalid, or the system has no random numbers.
    pub fn new(
        name: &str,
        issuer: &TokenIssuer,
        source: Arc<IntrospectionSource>,
        context: IntrospectionContext,
        before: Option<&Introspector>,
    ) -> Result<Arc<Introspector>, rustls::Error> {
        let expected = issuer.expected.clone();
        let same = before.filter(|before| before.has_same_tokens(&source, &expected));
        Ok(Arc::new(Introspector {
            name: name.to_owned(),
            option: Mutex::new(issuer.option.clone()),
            endpoint: Endpoint::new(source.clone(), &context.resolver)?,
            tokens: match same {
                Some(before) => before.tokens.clone(),
                None => Arc::new(TokenCache::new()?),
            },
            calls: Calls::new(source.in_flight, source.per_source, source.ttl),
            source,
            expected,
            state: Mutex::new(EndpointState::default()),
            first: FirstToken::default(),
            context,
        }))
    }

    fn has_same_tokens(&self, source: &IntrospectionSource, expected: &Expectations) -> bool {
        let who = |of: &IntrospectionSource| (of.url.clone(), of.host.clone(), of.client_id.clone());
        who(&self.source) == who(source) && self.expected == *expected
    }

    /// Whether it can be reused for an upstream with these settings.
    pub fn matches(&self, issuer: &TokenIssuer, source: &IntrospectionSource, resolver: &Arc<Resolver>) -> bool {
        let same = (&self.expected, &*self.source) == (&issuer.expected, source);
        same && Arc::ptr_eq(&self.context.resolver, resolver)
    }

    /// The options of its issuer are now at this path: the others in the list have changed.
    pub fn move_to(&self, option: &str) {
        option.clone_into(&mut self.option.lock());
    }

    /// Whether the endpoint fails.
    pub fn is_failing(&self) -> bool {
        self.state.lock().is_failing()
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
            Cached::Rejected(rejection) => {
                self.context.counters.cached(IntrospectionCache::Inactive);
                return Err(rejection);
            }
            Cached::Expired(known) => Some(known),
            Cached::Unknown => None,
        };
        let source = if known.is_some() { None } else { source() };
        if let Some(Known { stale: Some(verified), failed: Some(failed) }) = &known
            && failed.elapsed() < self.source.timeout + PAUSE
            && self.is_out()
        {
            if failed.elapsed() >= PAUSE {
                // The request does not wait for it.
                let _outcome = self.start(key, token, now, true, source);
            }
            return Ok(self.cached(IntrospectionCache::Stale, verified.clone()));
        }
        match waited(self.start(key, token, now, known.is_some(), source)).await {
            Outcome::Accepted(verified) => Ok(verified),
            Outcome::Rejected(rejection) => Err(rejection),
            Outcome::Failed(rejection) => match known.and_then(|known| known.stale).filter(|_| self.is_out()) {
                Some(verified) => Ok(self.cached(IntrospectionCache::Stale, verified)),
                None => Err(rejection),
            },
            Outcome::Unusable => Err(Rejection::IntrospectionFailed),
        }
    }

    /// Whether the endpoint has an outage. One that was long ago may be over.
    fn is_out(&self) -> bool {
        self.state.lock().outage().is_some_and(|at| at.elapsed() < self.source.timeout + PAUSE)
    }

    /// The caller whom this token identifies, if that is known without an introspection.
    pub fn recognized(&self, token: &str, now: u64) -> Option<Arc<Verified>> {
        match self.tokens.find(&self.tokens.key_of(token), &self.source, now) {
            Cached::Accepted(verified) => Some(self.cached(IntrospectionCache::Active, verified)),
            Cached::Rejected(_) | Cached::Expired(_) | Cached::Unknown => None,
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
        let response = self.endpoint.call(&token, now, until, false).await.map_err(|error| error.reason)?;
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
                    Some(permit) => own.introspect(&call, &token, now, began, permit).await,
                    None => Outcome::Failed(Rejection::IntrospectionBusy),
                };
                call.end(outcome);
            });
        })
    }

    async fn introspect(
        &self,
        call: &Call<Outcome>,
        token: &str,
        now: u64,
        began: Instant,
        _permit: Permit,
    ) -> Outcome {
        let until = began + self.source.timeout;
        // The response may be as old as its request.
        let sent = call.sends();
        let at = || now.saturating_add(began.elapsed().as_secs());
        let works = self.state.lock().works();
        let response = self.endpoint.call(token, at(), until, works).await;
        let checked = match response {
            Ok(response) => introspected(&response, token, &self.expected, at()).map_err(|error| match error {
                IntrospectionError::Rejected(rejection) => Ok(rejection),
                IntrospectionError::Unusable => Err(CallError::unusable(&self.source.url)),
            }),
            Err(error) => Err(Err(error)),
        };
        self.record(checked.as_ref().err().and_then(|error| error.as_ref().err()));
        self.outcome(call, sent, checked)
    }

    /// Counts a result, and caches it. A newer one of the same token is never replaced.
    fn outcome(
        &self,
        call: &Call<Outcome>,
        sent: Instant,
        checked: Result<Verified, Result<Rejection, CallError>>,
    ) -> Outcome {
        let tokens = Some(&self.tokens).filter(|_| call.is_latest());
        match checked {
            Ok(verified) => {
                self.context.counters.introspected(IntrospectionResult::Active);
                let verified = Arc::new(verified);
                self.first.accepted();
                tokens.inspect(|tokens| tokens.accept(call.key(), sent, verified.clone()));
                Outcome::Accepted(verified)
            }
            Err(Ok(rejection)) => {
                let inactive = rejection == Rejection::TokenInactive;
                let result = if inactive { IntrospectionResult::Inactive } else { IntrospectionResult::Rejected };
                self.context.counters.introspected(result);
                self.record_rejection(&rejection);
                tokens.inspect(|tokens| tokens.reject(call.key(), sent, rejection.clone()));
                Outcome::Rejected(rejection)
            }
            Err(Err(error)) => {
                self.context.counters.introspected(IntrospectionResult::Failed);
                if !error.is_outage {
                    return Outcome::Unusable;
                }
                self.tokens.failed(&call.key());
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
