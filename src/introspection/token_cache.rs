//! What introspections said of tokens, by a keyed hash of the token. Active tokens are apart from others, so that unknown
//! tokens cannot evict known ones.

use crate::gateway::IntrospectionSource;
use crate::model::Rejection;
use crate::token::Verified;
use quick_cache::sync::Cache;
use ring::hmac;
use ring::rand::SystemRandom;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most cached tokens of each kind.
const CACHED: usize = 10_000;
/// How long a token is not introspected again after a failure, if it is accepted meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// What introspections said of tokens.
pub(super) struct TokenCache {
    secret: hmac::Key,
    active: Cache<[u8; 32], Active>,
    other: Cache<[u8; 32], (Instant, Rejection)>,
}

/// A token that was active.
#[derive(Debug, Clone)]
struct Active {
    verified: Arc<Verified>,
    /// When the issuer was asked.
    since: Instant,
    /// When its last introspection failed, if none has succeeded since.
    failed: Option<Instant>,
}

/// What is known of a token.
#[derive(Debug)]
pub(super) enum Cached {
    /// It is active.
    Accepted(Arc<Verified>),
    /// It was active, and is accepted because its introspection has just failed.
    Stale(Arc<Verified>),
    /// It is not accepted.
    Rejected(Rejection),
    /// It was active, and has to be introspected again.
    Expired(Known),
    /// Nothing.
    Unknown,
}

/// A token that was active before.
#[derive(Debug)]
pub(super) struct Known {
    /// Its caller, if it is accepted while introspection fails.
    pub stale: Option<Arc<Verified>>,
    /// Whether its last introspection failed.
    pub has_failed: bool,
}

impl TokenCache {
    /// Without tokens, and with a random secret.
    pub fn new() -> Result<TokenCache, rustls::Error> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let secret = secret.map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Ok(TokenCache { secret, active: Cache::new(CACHED), other: Cache::new(CACHED) })
    }

    /// The keyed hash of a token.
    pub fn key_of(&self, token: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let tag = hmac::sign(&self.secret, token.as_bytes());
        key.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    /// What is known of a token at `now` (seconds since the epoch). An active token is never accepted after `exp`.
    pub fn find(&self, key: &[u8; 32], source: &IntrospectionSource, now: u64) -> Cached {
        let Some(Active { verified, since, failed }) = self.active.get(key) else {
            return match self.other.get(key) {
                Some((until, rejection)) if Instant::now() < until => Cached::Rejected(rejection),
                Some(_) | None => Cached::Unknown,
            };
        };
        if !verified.is_valid_at(now) {
            self.active.remove(key);
            return Cached::Unknown;
        }
        let age = since.elapsed();
        if age < source.ttl {
            return Cached::Accepted(verified);
        }
        let stale = Some(verified).filter(|_| age < source.ttl + source.max_stale);
        match stale {
            Some(verified) if failed.is_some_and(|at| at.elapsed() < PAUSE) => Cached::Stale(verified),
            stale => Cached::Expired(Known { stale, has_failed: failed.is_some() }),
        }
    }

    /// The issuer, asked at `since`, said that the token is active.
    pub fn accept(&self, key: [u8; 32], since: Instant, verified: Arc<Verified>) {
        self.other.remove(&key);
        self.active.insert(key, Active { verified, since, failed: None });
    }

    /// The token is not accepted; it is introspected again after `until`.
    pub fn reject(&self, key: [u8; 32], until: Instant, rejection: Rejection) {
        self.active.remove(&key);
        self.other.insert(key, (until, rejection));
    }

    /// The issuer did not say anything of the token.
    pub fn failed(&self, key: &[u8; 32]) {
        if let Some(known) = self.active.get(key) {
            self.active.insert(*key, Active { failed: Some(Instant::now()), ..known });
        }
    }
}
