//! Results of introspections, by a keyed hash of the token. Active tokens are apart from others, so that unknown
//! tokens cannot evict known ones.

use crate::gateway::IntrospectionSource;
use crate::model::Rejection;
use crate::token::Verified;
use quick_cache::sync::Cache;
use ring::hmac;
use ring::rand::SystemRandom;
use std::sync::Arc;
use tokio::time::Instant;

/// The most cached tokens of each kind.
const CACHED: usize = 10_000;

/// Results of introspections.
pub(super) struct TokenCache {
    secret: hmac::Key,
    active: Cache<[u8; 32], Active>,
    /// When the request was sent to the issuer, and what is wrong.
    other: Cache<[u8; 32], (Instant, Rejection)>,
}

/// A token that was active.
#[derive(Debug, Clone)]
struct Active {
    verified: Arc<Verified>,
    /// When the request was sent to the issuer.
    since: Instant,
    /// When its last introspection failed in an outage, if none has succeeded since.
    failed: Option<Instant>,
}

/// What is known of a token.
#[derive(Debug)]
pub(super) enum Cached {
    /// It is active.
    Accepted(Arc<Verified>),
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
    /// Its caller, if it is accepted during an outage.
    pub stale: Option<Arc<Verified>>,
    /// When its last introspection failed in an outage.
    pub failed: Option<Instant>,
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
                Some((since, rejection)) if since.elapsed() < source.negative_ttl => Cached::Rejected(rejection),
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
        Cached::Expired(Known { stale, failed })
    }

    /// The token is active, by a request to the issuer that was sent at `since`.
    pub fn accept(&self, key: [u8; 32], since: Instant, verified: Arc<Verified>) {
        self.other.remove(&key);
        self.active.insert(key, Active { verified, since, failed: None });
    }

    /// The token is not active or not accepted, by a request to the issuer that was sent at `since`.
    pub fn reject(&self, key: [u8; 32], since: Instant, rejection: Rejection) {
        self.active.remove(&key);
        self.other.insert(key, (since, rejection));
    }

    /// An introspection of the token failed in an outage.
    pub fn failed(&self, key: &[u8; 32]) {
        if let Some(known) = self.active.get(key) {
            self.active.insert(*key, Active { failed: Some(Instant::now()), ..known });
        }
    }
}
