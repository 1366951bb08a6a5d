//! Verifies tokens: from the text of a JWT to a caller. Pure: keys and time are parameters.

mod algorithm;
mod claim_names;
mod claims;
mod client_key;
mod curve;
mod first_token;
mod jwk;
mod keyset;
mod ring_provider;

pub use algorithm::algorithm;
pub use claim_names::ClaimNames;
pub use client_key::ClientKey;
pub use first_token::{FirstToken, SuspectOption};
pub use keyset::{Key, KeySet, UnusedKey, describe_unused};
pub use ring_provider::install as install_crypto_provider;

use crate::model::{Caller, Rejection};
use crate::wire::json::{Document, Kind, member};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Claims;
use jsonwebtoken::Algorithm;
use ring::digest::{SHA256, digest};
use std::sync::OnceLock;

/// The maximum length of a token, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The member of introspection responses that names the client (RFC 7662, section 2.2).
const CLIENT_ID: &str = "client_id";

/// What a token must contain to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The accepted issuers. `iss` must equal one of them exactly.
    pub issuers: Vec<String>,
    /// The accepted audiences. `aud` must contain at least one of them.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The allowed clock skew, in seconds.
    pub leeway: u64,
    /// The claims that say who the caller is.
    pub claims: ClaimNames,
    /// A further `typ` of the issuer's access tokens, besides those of RFC 9068 and RFC 7519.
    pub token_type: Option<&'static str>,
}

/// The proof that a token was verified. Only [`verify`] and [`introspected`] create it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    caller: Caller,
    fingerprint: [u8; 32],
    /// Computed once per token: it costs more than the rest of an access log line.
    identity_hashes: OnceLock<IdentityHashes>,
    /// Computed once per token: each read needs it.
    digest: OnceLock<[u8; 16]>,
}

/// The caller's identity as the log shows it: keyed hashes, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHashes {
    /// That of [`Caller::client_id`]; of an empty text if absent.
    pub client_id: String,
    /// That of [`Caller::subject`].
    pub subject: String,
}

impl Verified {
    /// The proof for tests of what follows it.
    #[cfg(test)]
    pub fn for_test(caller: Caller) -> Verified {
        let fingerprint = fingerprint(&format!("{caller:?}"));
        Verified { caller, fingerprint, identity_hashes: OnceLock::new(), digest: OnceLock::new() }
    }

    /// The caller that the token identifies.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// How much memory it needs in a cache, in bytes.
    pub fn size(&self) -> usize {
        /// Its entry in a cache, what is computed later, and what the allocator adds to the parts.
        const OVERHEAD: usize = 320;
        size_of::<Verified>() + self.caller.text_size() + OVERHEAD
    }

    /// A hash of the token's content that identifies it.
    pub fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }

    /// The keyed hash of the fingerprint. `hash` must be the same for the life of the process.
    pub fn digest(&self, hash: impl Fn(&[u8]) -> [u8; 16]) -> [u8; 16] {
        *self.digest.get_or_init(|| hash(&self.fingerprint))
    }

    /// The hashes of the caller's identity. `hash` must be the same for the life of the process.
    pub fn identity_hashes(&self, hash: impl Fn(&str) -> String) -> &IdentityHashes {
        self.identity_hashes.get_or_init(|| IdentityHashes {
            client_id: hash(self.caller.client_id.as_deref().unwrap_or_default()),
            subject: hash(&self.caller.subject),
        })
    }

    /// Whether the token is still valid at `now` (seconds since the epoch) without another verification. The leeway
    /// does not apply: never after `exp`.
    pub fn is_valid_at(&self, now: u64) -> bool {
        now < self.caller.expires_at
    }
}

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationError {
    /// The token is invalid.
    Rejected(Rejection),
    /// The token names a key that is not in the set. Newer keys may contain it.
    UnknownKey,
}

impl From<Rejection> for VerificationError {
    fn from(rejection: Rejection) -> VerificationError {
        VerificationError::Rejected(rejection)
    }
}

/// The relevant members of a token's header.
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

/// Verifies a token at `now` (seconds since the epoch).
pub fn verify(token: &str, keys: &KeySet, expected: &Expectations, now: u64) -> Result<Verified, VerificationError> {
    let payload = verified_payload(token, keys, expected)?;
    let caller = check(Claims::parse(&payload, &expected.claims)?, expected, now)?;
    Ok(Verified { caller, fingerprint: fingerprint(token), identity_hashes: OnceLock::new(), digest: OnceLock::new() })
}

/// Why an introspected token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntrospectionError {
    /// The token is invalid.
    Rejected(Rejection),
    /// The response says nothing of the token: it is not that of an introspection endpoint.
    Unusable,
}

impl From<Rejection> for IntrospectionError {
    fn from(rejection: Rejection) -> IntrospectionError {
        IntrospectionError::Rejected(rejection)
    }
}

/// The caller of an opaque token at `now` (seconds since the epoch), from the response of its introspection. The claims
/// of an active token must be those of an acceptable JWT.
pub fn introspected(
    response: &[u8],
    token: &str,
    expected: &Expectations,
    now: u64,
) -> Result<Verified, IntrospectionError> {
    if !claims::is_active(response).map_err(|_| IntrospectionError::Unusable)? {
        return Err(Rejection::TokenInactive.into());
    }
    if !claims::is_bearer(response)? {
        return Err(Rejection::TokenType.into());
    }
    let mut names = expected.claims.clone();
    if !names.client_is_declared {
        names.client_id.push(CLIENT_ID.to_owned());
    }
    let caller = check(Claims::parse(response, &names)?, expected, now)?;
    Ok(Verified { caller, fingerprint: sha256(token), identity_hashes: OnceLock::new(), digest: OnceLock::new() })
}

/// The session that an ID token names, if the issuer signed the token. Its audience and expiry are not checked: an
/// expired token still names the session to end.
pub fn id_token_session(token: &str, keys: &KeySet, expected: &Expectations) -> Option<String> {
    let (issuer, session) = claims::session_claims(&verified_payload(token, keys, expected).ok()?).ok()?;
    expected.issuers.contains(&issuer).then_some(session)
}

/// The payload, if one of the keys signed it. Several keys may have the same `kid`: each is tried.
fn verified_payload(token: &str, keys: &KeySet, expected: &Expectations) -> Result<Vec<u8>, VerificationError> {
    let header = header(token)?;
    let algorithm = algorithm_of(&header, expected)?;
    let candidates: Vec<&Key> = keys.candidates(header.kid.as_deref(), algorithm).collect();
    if candidates.is_empty() {
        return Err(VerificationError::UnknownKey);
    }
    if header.kid.is_none() && candidates.len() > 1 {
        return Err(Rejection::TokenKidMissing.into());
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::CredentialMalformed)?;
    let signs =
        |key: &&Key| jsonwebtoken::crypto::verify(signature, message.as_bytes(), key.decoding(), algorithm) == Ok(true);
    if !candidates.iter().any(signs) {
        return Err(Rejection::TokenSignature.into());
    }
    let (_, claims) = message.split_once('.').ok_or(Rejection::CredentialMalformed)?;
    Ok(decoded_claims(claims)?)
}

fn decoded_claims(encoded: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Rejection::TokenMalformed(claims::NOT_CLAIMS.into()))
}

/// The `iss` that a JWT claims. Nothing proves it yet: it only says with whose keys the token must be verified.
///
/// # Errors
///
/// Rejects a token that is too long, or whose claims cannot be read.
pub fn claimed_issuer(token: &str) -> Result<String, Rejection> {
    let (_, encoded) = parts(token)?;
    claims::issuer(&decoded_claims(encoded)?)
}

/// The encoded header and claims of a JWT.
fn parts(token: &str) -> Result<(&str, &str), Rejection> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Rejection::CredentialMalformed);
    };
    if token.len() > MAX_TOKEN {
        return Err(Rejection::TokenTooLong);
    }
    Ok((header, claims))
}

/// The hash of the signed part: the same claims may have more than one valid signature.
fn fingerprint(token: &str) -> [u8; 32] {
    sha256(token.rsplit_once('.').map_or(token, |(signed, _)| signed))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest(&SHA256, text.as_bytes());
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Whether the token has three parts, like a JWT. Other tokens are opaque to the gateway.
pub fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn header(token: &str) -> Result<Header, VerificationError> {
    let (head, _) = parts(token)?;
    let malformed = Rejection::CredentialMalformed;
    let decoded = URL_SAFE_NO_PAD.decode(head).map_err(|_| malformed.clone())?;
    // Parsed strictly: other parsers may read duplicate members differently.
    let document = Document::parse(decoded.into()).map_err(|_| malformed.clone())?;
    let members = document.members().ok_or(malformed.clone())?;
    let found = |name: &str| member(members, name).map(|value| &value.kind);
    // `crit` names extensions that must be understood, and none are supported; it is never empty (RFC 7515, section
    // 4.1.11). `b64` is one that access tokens do not have (RFC 7797, section 7).
    if found("crit").is_some() {
        return Err(Rejection::TokenExtension("crit").into());
    }
    if found("b64").is_some() {
        return Err(Rejection::TokenExtension("b64").into());
    }
    let text = |name| match found(name) {
        None => Ok(None),
        Some(Kind::Text(text)) => Ok(Some(text.to_string())),
        Some(_) => Err(malformed.clone()),
    };
    Ok(Header { alg: text("alg")?.ok_or(malformed.clone())?, kid: text("kid")?, typ: text("typ")? })
}

fn algorithm_of(header: &Header, expected: &Expectations) -> Result<Algorithm, VerificationError> {
    let known = ["jwt", "at+jwt", "application/at+jwt"].into_iter().chain(expected.token_type);
    let jwt = |typ: &str| known.clone().any(|own| typ.eq_ignore_ascii_case(own));
    if header.typ.as_deref().is_some_and(|typ| !jwt(typ)) {
        return Err(Rejection::TokenType.into());
    }
    let algorithm = algorithm(&header.alg).filter(|found| expected.algorithms.contains(found));
    algorithm.ok_or_else(|| Rejection::TokenAlgorithm.into())
}

fn check(claims: Claims, expected: &Expectations, now: u64) -> Result<Caller, Rejection> {
    if !expected.issuers.contains(&claims.caller.issuer) {
        return Err(Rejection::TokenIssuer);
    }
    if !expected.audiences.iter().any(|audience| claims.audiences.contains(audience)) {
        let expected = expected.audiences.first().cloned().unwrap_or_default();
        return Err(Rejection::TokenAudience(expected));
    }
    let expires_at = seconds(claims.expires);
    if now >= expires_at.saturating_add(expected.leeway) {
        return Err(Rejection::TokenExpired);
    }
    if seconds(claims.begins) > now.saturating_add(expected.leeway) {
        return Err(Rejection::TokenNotYetValid);
    }
    Ok(Caller { expires_at, ..claims.caller })
}

/// Whole seconds. A float-to-integer cast saturates, so this cannot overflow.
fn seconds(time: f64) -> u64 {
    time as u64
}

#[cfg(test)]
mod tests;
