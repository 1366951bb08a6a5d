//! The verified tokens of an issuer, limited in bytes.

use super::token_hash::TokenHash;
use crate::token::Verified;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes of a token with few scopes: 100,000 took 0.7 kB each.
const USUAL_SIZE: usize = 700;

/// The verified tokens of an issuer. Those that were not used for a long time make room for others.
pub(super) struct VerifiedTokens(Cache<TokenHash, Remembered, BySize>);

#[derive(Clone)]
struct Remembered {
    /// The key set that it was verified with.
    serial: u64,
    verified: Arc<Verified>,
    bytes: u64,
}

#[derive(Clone)]
struct BySize;

impl Weighter<TokenHash, Remembered> for BySize {
    fn weight(&self, _: &TokenHash, token: &Remembered) -> u64 {
        token.bytes
    }
}

impl VerifiedTokens {
    /// Tokens of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> VerifiedTokens {
        VerifiedTokens(Cache::with_weighter(max_bytes / USUAL_SIZE, max_bytes as u64, BySize))
    }

    /// A token, and the serial number of the key set that it was verified with.
    pub fn get(&self, hash: &TokenHash) -> Option<(u64, Arc<Verified>)> {
        self.0.get(hash).map(|known| (known.serial, known.verified))
    }

    /// Whether this token is known. It does not count as its use.
    pub fn has(&self, hash: &TokenHash) -> bool {
        self.0.peek(hash).is_some()
    }

    /// Remembers a token that was verified with this key set.
    pub fn insert(&self, hash: TokenHash, serial: u64, verified: Arc<Verified>) {
        let bytes = verified.size() as u64;
        self.0.insert(hash, Remembered { serial, verified, bytes });
    }

    /// Forgets a token.
    pub fn remove(&self, hash: &TokenHash) {
        self.0.remove(hash);
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

    fn known(tokens: &VerifiedTokens, range: std::ops::Range<usize>) -> usize {
        range.filter(|number| tokens.has(&TokenHash::of(&number.to_string()))).count()
    }

    #[test]
    fn tokens_of_a_hundred_thousand_callers_fit() {
        let tokens = VerifiedTokens::new(128 << 20);
        let one = verified(4);
        (0..100_000).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, one.clone()));
        assert_eq!(known(&tokens, 0..100_000), 100_000);
    }

    #[test]
    fn large_tokens_take_the_place_of_more_small_ones() {
        let (small, large) = (verified(4), verified(400));
        assert!(large.size() > 20 * small.size());
        let tokens = VerifiedTokens::new(1_000 * small.size());
        (0..900).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, small.clone()));
        assert!(known(&tokens, 0..900) > 800);
        (900..1_800).for_each(|number| tokens.insert(TokenHash::of(&number.to_string()), 1, large.clone()));
        assert!(known(&tokens, 900..1_800) * large.size() <= 1_000 * small.size());
    }
}
