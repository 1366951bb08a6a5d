//! The names of signature algorithms.

use jsonwebtoken::Algorithm;

/// The algorithm with this name. RFC 9864 has a name of its own for the one curve of `EdDSA` that is supported.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}
