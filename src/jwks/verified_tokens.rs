//! The verified tokens of all issuers, limited in bytes.

use super::token_hash::TokenHash;
use crate::token::Verified;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a token with few scopes: 100,000 took 0.7 kB each.
const USUAL_SIZE: usize = 700;

/// The verified tokens of all issuers. Those that were not used for a long time make room for others.
pub struct VerifiedTokens {
    /// By the number of their issuer.
    known: Cache<(u64, TokenHash), Remembered, BySize>,
    issuers: AtomicU64,
}

/// The verified tokens of one issuer.
pub(super) struct IssuerTokens {
    all: Arc<VerifiedTokens>,
    /// No other issuer has this number, also none of a configuration before.
    issuer: u64,
}

#[derive(Clone)]
struct Remembered {
    /// The key set that it was verified with.
    serial: u64,
    verified: Arc<Verified>,
    bytes: u64,
}

#[derive(Clone)]
struct BySize;

impl Weighter<(u64, TokenHash), Remembered> for BySize {
    fn weight(&self, _: &(u64, TokenHash), token: &Remembered) -> u64 {
        token.bytes
    }
}

impl VerifiedTokens {
    /// Tokens of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Arc<VerifiedTokens> {
        let known = Cache::with_weighter(max_bytes / USUAL_SIZE, max_bytes as u64, BySize);
        Arc::new(VerifiedTokens { known, issuers: AtomicU64::new(0) })
    }

    /// Tokens of at most `max_bytes` from now on.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        self.known.set_capacity(max_bytes as u64);
    }

    /// Those of a new issuer.
    pub(super) fn of_issuer(self: &Arc<VerifiedTokens>) -> IssuerTokens {
        IssuerTokens { all: self.clone(), issuer: self.issuers.fetch_add(1, Ordering::Relaxed) }
    }
}

impl IssuerTokens {
    /// A token, and the serial number of the key set that it was verified with.
    pub fn get(&self, hash: &TokenHash) -> Option<(u64, Arc<Verified>)> {
        self.all.known.get(&(self.issuer, *hash)).map(|known| (known.serial, known.verified))
    }

    /// Whether this token is known. It does not count as its use.
    pub fn has(&self, hash: &TokenHash) -> bool {
        self.all.known.peek(&(self.issuer, *hash)).is_some()
    }

    /// Remembers a token that was verified with this key set.
    pub fn insert(&self, hash: TokenHash, serial: u64, verified: Arc<Verified>) {
        let bytes = verified.size() as u64;
        self.all.known.insert((self.issuer, hash), Remembered { serial, verified, bytes });
    }

    /// Forgets a token.
    pub fn remove(&self, hash: &TokenHash) {
        self.all.known.remove(&(self.issuer, *hash));
    }
}

impl Drop for IssuerTokens {
    /// Removes its tokens: no other issuer has its number, so nothing would find them again.
    fn drop(&mut self) {
        self.all.known.retain(|(issuer, _), _| *issuer != self.issuer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Caller;

    fn verified(scopes: usize) -> Arc<Verified> {
        let scopes = (0..scopes).map(|number| format!("read:resource_{number}")).collect();
        Arc::new(Verified::for_test(Caller { scopes, ..Caller::default() }))
    }

    fn known(tokens: &IssuerTokens, range: std::ops::Range<usize>) -> usize {
        range.filter(|number| tokens.has(&TokenHash::of(&number.to_string()))).count()
    }

    #[test]
    fn tokens_of_a_hundred_thousand_callers_fit() {
        let tokens = VerifiedTokens::new(128 << 20).of_issuer();
        let one = verified(4);
        (0..100_000).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, one.clone()));
        assert_eq!(known(&tokens, 0..100_000), 100_000);
    }

    #[test]
    fn large_tokens_take_the_place_of_more_small_ones() {
        let (small, large) = (verified(4), verified(400));
        assert!(large.size() > 20 * small.size());
        let tokens = VerifiedTokens::new(1_000 * small.size()).of_issuer();
        (0..900).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, small.clone()));
        assert!(known(&tokens, 0..900) > 800);
        (900..1_800).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, large.clone()));
        assert!(known(&tokens, 900..1_800) * large.size() <= 1_000 * small.size());
    }

    #[test]
    fn issuers_share_the_limit_and_no_token() {
        let one = verified(4);
        let all = VerifiedTokens::new(1_000 * one.size());
        let issuers = [all.of_issuer(), all.of_issuer(), all.of_issuer()];
        issuers[0].insert(TokenHash::of("0"), 1, one.clone());
        assert!(issuers[1].get(&TokenHash::of("0")).is_none() && !issuers[1].has(&TokenHash::of("0")));
        issuers[1].remove(&TokenHash::of("0"));
        assert!(issuers[0].get(&TokenHash::of("0")).is_some());
        for issuer in &issuers {
            (0..1_000).for_each(|number| issuer.insert(TokenHash::of(&number.to_string()), 1, one.clone()));
        }
        let count = || issuers.iter().map(|issuer| known(issuer, 0..1_000)).sum::<usize>();
        assert!((900..=1_000).contains(&count()), "{}", count());
        // A reload with another limit.
        all.set_max_bytes(100 * one.size());
        assert!((1..=100).contains(&count()), "{}", count());
        all.set_max_bytes(1_000 * one.size());
        (0..500).for_each(|number| issuers[2].insert(TokenHash::of(&number.to_string()), 1, one.clone()));
        assert!(count() > 400, "{}", count());
        assert!(all.known.len() > 400);
        drop(issuers);
        assert_eq!(all.known.len(), 0);
    }
}
