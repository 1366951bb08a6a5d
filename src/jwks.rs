//! Issuers' keys (JWKS), and the cache of tokens that were verified with them.
//!
//! Key sets are fetched in the background; if that fails, the last one stays. Verified tokens are cached by hash, so
//! that a frequent caller costs no signature check.

mod documents;
mod fetches;
mod issuer_mismatch;
mod state_log;
mod token_hash;
mod verified_tokens;

pub use documents::{Discovery, Documents, FetchError};
pub use issuer_mismatch::IssuerMismatch;
pub use token_hash::TokenHash;
pub use verified_tokens::VerifiedTokens;

use crate::client::Resolver;
use crate::gateway::{KeySource, TokenIssuer};
use crate::model::Rejection;
use crate::telemetry::KeyFetchFailure;
use crate::token::{Expectations, FirstToken, KeySet, VerificationError, Verified, id_token_session, verify};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fetches::{Fetches, NewerKeys};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use verified_tokens::IssuerTokens;

/// Delay before a failed fetch is retried; doubles each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// A fetched key set.
struct FetchedKeys {
    keys: KeySet,
    /// The JWKS document.
    document: Bytes,
    /// Number of the document: a cached token is valid only with the keys that verified it.
    serial: u64,
    at: Instant,
}

impl FetchedKeys {
    /// The same document with the keys for these expectations; `None` if it is unusable.
    fn filtered_for(&self, expected: &Expectations) -> Option<Arc<FetchedKeys>> {
        let keys = KeySet::parse(&self.document, &expected.algorithms).ok()?;
        Some(Arc::new(FetchedKeys { keys, document: self.document.clone(), serial: self.serial, at: self.at }))
    }
}

/// The state of an issuer's keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyHealth {
    /// Usable keys.
    pub keys: usize,
    /// Successful fetches since the start.
    pub fetched: u64,
    /// Failed fetches since the start.
    pub failed: u64,
    /// Seconds since the last successful fetch.
    pub age: Option<u64>,
    /// Tokens verified by signature, since the start.
    pub verified: u64,
    /// Tokens found in the cache, since the start.
    pub cached: u64,
}

/// Counters of an upstream's issuers since the start; they continue when the issuer is replaced.
#[derive(Debug, Default)]
pub struct JwksCounters {
    fetched: AtomicU64,
    failed: AtomicU64,
    verified: AtomicU64,
    cached: AtomicU64,
}

/// What was logged of a failed fetch. Another failure is logged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LoggedFailure {
    cause: KeyFetchFailure,
    /// Whether previous keys are still used.
    has_keys: bool,
}

/// What an issuer needs from outside.
#[derive(Clone)]
pub struct IssuerContext {
    /// Resolves its host.
    pub resolver: Arc<Resolver>,
    /// Its counters.
    pub counters: Arc<JwksCounters>,
    /// The verified tokens, with those of other issuers.
    pub tokens: Arc<VerifiedTokens>,
}

/// An issuer of one upstream: its keys, and the tokens verified with them.
pub struct Issuer {
    /// The upstream's name.
    name: String,
    /// The path of its options, for messages.
    option: Mutex<String>,
    source: KeySource,
    expected: Expectations,
    keys: ArcSwapOption<FetchedKeys>,
    tokens: IssuerTokens,
    fetches: Fetches,
    /// The last logged failure of a fetch; `None` if the last fetch succeeded.
    failing: Mutex<Option<LoggedFailure>>,
    /// Its first token with a valid signature.
    first: FirstToken,
    /// What the last discovery document said of the issuer, if it named another one.
    mismatch: ArcSwapOption<IssuerMismatch>,
    /// Whether a discovery document was fetched.
    has_discovery: AtomicBool,
    context: IssuerContext,
}

impl Issuer {
    /// An issuer of the upstream `name`. [`Issuer::keep_current`] fetches its keys. It takes over the keys of the issuer
    /// `before` if they have the same source, but no tokens, since its expectations may differ.
    pub fn new(name: &str, issuer: &TokenIssuer, context: IssuerContext, before: Option<&Issuer>) -> Arc<Issuer> {
        let TokenIssuer { option, expected, keys: source, opaque: _, response_id: _ } = issuer.clone();
        let before = before.filter(|before| before.shares_source(&source));
        let keys =
            before.and_then(|before| before.keys.load_full()).and_then(|fetched| fetched.filtered_for(&expected));
        Arc::new(Issuer {
            name: name.to_owned(),
            option: Mutex::new(option),
            source,
            expected,
            keys: ArcSwapOption::new(keys),
            tokens: context.tokens.of_issuer(),
            fetches: Fetches::default(),
            failing: Mutex::default(),
            first: FirstToken::default(),
            mismatch: ArcSwapOption::empty(),
            has_discovery: AtomicBool::new(false),
            context,
        })
    }

    /// Whether it can be reused for an upstream with these settings.
    pub fn matches(&self, issuer: &TokenIssuer, resolver: &Arc<Resolver>) -> bool {
        let same = (&self.source, &self.expected) == (&issuer.keys, &issuer.expected);
        same && Arc::ptr_eq(&self.context.resolver, resolver)
    }

    /// Its options are now at this path: the others in the list have changed.
    pub fn move_to(&self, option: &str) {
        option.clone_into(&mut self.option.lock());
    }

    /// Its name, for messages: the first of its names.
    pub fn issuer(&self) -> &str {
        &self.source.issuer
    }

    /// Whether it issues tokens with this `iss`.
    pub fn accepts(&self, iss: &str) -> bool {
        self.expected.issuers.iter().any(|own| own == iss)
    }

    /// Whether this token has been verified by this issuer. It may have expired since, or its key may be gone.
    pub fn knows(&self, token: &TokenHash) -> bool {
        self.tokens.has(token)
    }

    /// Whether both fetch their keys from the same place.
    pub fn shares_keys(&self, other: &Issuer) -> bool {
        self.shares_source(&other.source)
    }

    /// Whether its keys come from there.
    pub fn shares_source(&self, source: &KeySource) -> bool {
        (&self.source.jwks, &self.source.host, &self.source.issuer) == (&source.jwks, &source.host, &source.issuer)
    }

    /// Whether the last fetch failed.
    pub fn is_failing(&self) -> bool {
        self.failing.lock().is_some()
    }

    /// Whether the URL of its keys comes from its discovery document.
    pub fn is_discovered(&self) -> bool {
        self.source.jwks.is_none()
    }

    /// Whether a discovery document was fetched.
    pub fn has_discovery(&self) -> bool {
        self.has_discovery.load(Ordering::Acquire)
    }

    /// Whether its last discovery document named another issuer.
    pub fn mismatch(&self) -> Option<Arc<IssuerMismatch>> {
        self.mismatch.load_full()
    }

    /// The state of an issuer's keys.
    pub fn health(&self) -> KeyHealth {
        let keys = self.keys.load();
        KeyHealth {
            keys: keys.as_ref().filter(|fetched| self.holds(fetched)).map_or(0, |fetched| fetched.keys.len()),
            fetched: self.context.counters.fetched.load(Ordering::Relaxed),
            failed: self.context.counters.failed.load(Ordering::Relaxed),
            age: keys.as_ref().map(|fetched| fetched.at.elapsed().as_secs()),
            verified: self.context.counters.verified.load(Ordering::Relaxed),
            cached: self.context.counters.cached.load(Ordering::Relaxed),
        }
    }

    /// Verifies a token at `now` (seconds since the epoch). `source` is the client's address, which limits how many
    /// requests wait for keys.
    pub async fn verify(
        &self,
        token: &str,
        now: u64,
        source: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Arc<Verified>, Rejection> {
        let hash = TokenHash::of(token);
        if let Some(known) = self.cached(&hash, now) {
            return Ok(known);
        }
        let verified = match self.check(token, now) {
            Err(Some(VerificationError::UnknownKey)) | Err(None) => self.check_with_newer(token, now, source()).await?,
            verified => verified,
        };
        match verified {
            Ok((serial, verified)) => Ok(self.cache_token(hash, serial, verified)),
            Err(None) => Err(Rejection::KeysUnavailable),
            Err(Some(VerificationError::UnknownKey)) => Err(Rejection::TokenKey),
            Err(Some(VerificationError::Rejected(rejection))) => {
                self.record_rejection(&rejection);
                Err(rejection)
            }
        }
    }

    /// The caller whom this token identifies, if it is valid with the keys at hand.
    pub fn recognized(&self, token: &str, now: u64) -> Option<Arc<Verified>> {
        let hash = TokenHash::of(token);
        let checked = || self.check(token, now).ok().map(|(serial, verified)| self.cache_token(hash, serial, verified));
        self.cached(&hash, now).or_else(checked)
    }

    fn cached(&self, hash: &TokenHash, now: u64) -> Option<Arc<Verified>> {
        let (serial, known) = self.tokens.get(hash)?;
        let current = self.keys.load().as_ref().is_some_and(|keys| keys.serial == serial && self.holds(keys));
        if current && known.is_valid_at(now) {
            self.context.counters.cached.fetch_add(1, Ordering::Relaxed);
            return Some(known);
        }
        self.tokens.remove(hash);
        None
    }

    fn cache_token(&self, hash: TokenHash, serial: u64, verified: Verified) -> Arc<Verified> {
        let verified = Arc::new(verified);
        self.context.counters.verified.fetch_add(1, Ordering::Relaxed);
        self.first.accepted();
        self.tokens.insert(hash, serial, verified.clone());
        verified
    }

    /// The session that an ID token of this issuer names. Uses only keys at hand, since its sender is not
    /// authenticated.
    pub fn id_token_session(&self, token: &str) -> Option<String> {
        let keys = self.keys.load();
        let fetched = keys.as_ref().filter(|fetched| self.holds(fetched))?;
        id_token_session(token, &fetched.keys, &self.expected)
    }

    /// Whether the keys are younger than `max_stale`.
    fn holds(&self, fetched: &FetchedKeys) -> bool {
        fetched.at.elapsed() < self.source.max_stale
    }

    /// Verifies a token with the keys at hand; `Err(None)` if there are none, or they are too old.
    fn check(&self, token: &str, now: u64) -> Result<(u64, Verified), Option<VerificationError>> {
        let keys = self.keys.load();
        let fetched = keys.as_ref().filter(|fetched| self.holds(fetched)).ok_or(None)?;
        let verified = verify(token, &fetched.keys, &self.expected, now).map_err(Some)?;
        Ok((fetched.serial, verified))
    }

    /// Verifies a token with newer keys, if they arrive in time. A key is unknown only if a fetch that started after
    /// the request lacks it.
    async fn check_with_newer(
        &self,
        token: &str,
        now: u64,
        source: Option<IpAddr>,
    ) -> Result<Result<(u64, Verified), Option<VerificationError>>, Rejection> {
        let interval = self.source.min_interval;
        let mut waiting = self.fetches.wait(source, interval).map_err(Rejection::KeyPending)?;
        loop {
            let new_enough = waiting.has_newer();
            let checked = self.check(token, now);
            match &checked {
                Err(None) if !waiting.fetch_is_near(interval) => return Ok(checked),
                Err(Some(VerificationError::UnknownKey)) | Err(None) => {}
                Ok(_) | Err(Some(VerificationError::Rejected(_))) => return Ok(checked),
            }
            match waiting.wait_for_newer(new_enough, interval).await {
                NewerKeys::Retry => {}
                NewerKeys::Current => return Ok(checked),
                NewerKeys::Later(_) if matches!(checked, Err(None)) => return Ok(checked),
                NewerKeys::Later(rest) => return Err(Rejection::KeyPending(rest)),
            }
        }
    }

    /// Keeps the keys current, until the issuer is dropped elsewhere.
    pub async fn keep_current(self: Arc<Issuer>) {
        let mut retry = FIRST_RETRY;
        while Arc::strong_count(&self) > 1 {
            self.fetches.begin();
            let result = self.fetch().await;
            let succeeded = result.is_ok();
            let pause = match result {
                Ok((keys, document)) => {
                    self.record_result(None);
                    self.store(keys, document);
                    retry = FIRST_RETRY;
                    self.source.refresh
                }
                Err(error) => {
                    self.context.counters.failed.fetch_add(1, Ordering::Relaxed);
                    self.record_result(Some(&error));
                    let pause = retry;
                    retry = (retry * 2).min(self.source.refresh).min(MAX_RETRY);
                    pause
                }
            };
            self.fetches.end(succeeded);
            self.fetches.wait_until_due(pause, self.source.min_interval).await;
        }
    }

    /// Fetches the keys and their document.
    async fn fetch(&self) -> Result<(KeySet, Bytes), FetchError> {
        let documents = Documents::new(&self.source, &self.context.resolver);
        let algorithms = &self.expected.algorithms;
        match &self.source.jwks {
            Some(url) => documents.keys(url, algorithms).await,
            None => {
                let discovery = documents.discovery().await?;
                self.record_mismatch(IssuerMismatch::of(&discovery, &self.expected, &self.option.lock()));
                documents.keys(discovery.jwks_uri(), algorithms).await
            }
        }
    }

    fn store(&self, keys: KeySet, document: Bytes) {
        self.context.counters.fetched.fetch_add(1, Ordering::Relaxed);
        let last = self.keys.load();
        let same = last.as_ref().is_some_and(|last| last.document == document);
        let serial = last.as_ref().map_or(0, |last| if same { last.serial } else { last.serial + 1 });
        if !same {
            self.log_keys(&keys, last.is_some());
        }
        self.keys.store(Some(Arc::new(FetchedKeys { keys, document, serial, at: Instant::now() })));
    }
}
