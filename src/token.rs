//! Tokens: from the text of a JWT to a verified caller. Pure: the keys and the time are passed in.

mod claims;
mod curve;
mod keyset;
mod public;
mod ring_provider;

pub use keyset::{Key, KeySet, UnusedKey, listed};
pub use ring_provider::install as install_crypto_provider;

use crate::model::{Caller, Rejection};
use crate::wire::json::{Document, Kind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Claims;
use jsonwebtoken::Algorithm;
use ring::digest::{SHA256, digest};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// What a token has to say to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The issuers that are accepted; `iss` has to be one of them, to the letter.
    pub issuers: Vec<String>,
    /// The audiences that are accepted; `aud` has to name at least one of them.
    pub audiences: Vec<String>,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may be apart, in seconds.
    pub leeway: u64,
}

/// The proof that a token was verified. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    caller: Caller,
    fingerprint: [u8; 32],
}

impl Verified {
    /// Who the token speaks of.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Tells the token from others: a hash of what it says.
    pub fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }

    /// Whether the token may still be believed at `now` (seconds since the epoch) without another look at it: never
    /// past its `exp`, whatever clocks are allowed to differ by.
    pub fn is_valid_at(&self, now: u64) -> bool {
        now < self.caller.expires_at
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationError {
    /// It is wrong.
    Rejected(Rejection),
    /// It names a key that is not in the set: newer keys may have it.
    UnknownKey,
}

impl From<Rejection> for VerificationError {
    fn from(rejection: Rejection) -> VerificationError {
        VerificationError::Rejected(rejection)
    }
}

/// The members of a header that matter.
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

/// Verifies a token at `now` (seconds since the epoch).
pub fn verify(token: &str, keys: &KeySet, expected: &Expectations, now: u64) -> Result<Verified, VerificationError> {
    let claims = verified_payload(token, keys, expected)?;
    let caller = check(Claims::parse(&claims)?, expected, now)?;
    Ok(Verified { caller, fingerprint: fingerprint(token) })
}

/// The session that an ID token names, if the issuer signed it. Whom the token is for, and whether its time is over,
/// does not matter where a session is to end that it was given out for.
pub fn id_token_session(token: &str, keys: &KeySet, expected: &Expectations) -> Option<String> {
    let (issuer, session) = claims::hint(&verified_payload(token, keys, expected).ok()?).ok()?;
    expected.issuers.contains(&issuer).then_some(session)
}

/// The text of the claims, if one of the keys signed them. Several keys may have one name: each that fits is tried.
fn verified_payload(token: &str, keys: &KeySet, expected: &Expectations) -> Result<Vec<u8>, VerificationError> {
    let header = header(token)?;
    let algorithm = algorithm_of(&header, expected)?;
    let candidates: Vec<&Key> = keys.candidates(header.kid.as_deref(), algorithm).collect();
    if candidates.is_empty() {
        return Err(VerificationError::UnknownKey);
    }
    if header.kid.is_none() && candidates.len() > 1 {
        return Err(Rejection::TokenInvalid("it does not say which of several keys signed it").into());
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::CredentialMalformed)?;
    let signs =
        |key: &&Key| jsonwebtoken::crypto::verify(signature, message.as_bytes(), key.decoding(), algorithm) == Ok(true);
    if !candidates.iter().any(signs) {
        return Err(Rejection::TokenSignature.into());
    }
    let (_, claims) = message.split_once('.').ok_or(Rejection::CredentialMalformed)?;
    URL_SAFE_NO_PAD.decode(claims).map_err(|_| Rejection::TokenInvalid(claims::NOT_CLAIMS).into())
}

/// The hash of what is signed: the same claims may have more than one good signature.
fn fingerprint(token: &str) -> [u8; 32] {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let mut hash = [0; 32];
    let digest = digest(&SHA256, signed.as_bytes());
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Whether a token has the form of a JWT: three parts. One that has not cannot be evaluated here.
pub fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn header(token: &str) -> Result<Header, VerificationError> {
    let mut parts = token.split('.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Rejection::CredentialMalformed.into());
    };
    if token.len() > MAX_TOKEN {
        return Err(Rejection::TokenInvalid("it is too long").into());
    }
    let malformed = Rejection::CredentialMalformed;
    let decoded = URL_SAFE_NO_PAD.decode(head).map_err(|_| malformed.clone())?;
    // Read strictly: a member that stands twice is one thing to us and another to somebody else.
    let document = Document::parse(decoded.into()).map_err(|_| malformed.clone())?;
    let members = document.members().ok_or(malformed.clone())?;
    let found = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value.kind);
    // `crit` names extensions that must be understood, and none are; it is never empty (RFC 7515, section 4.1.11).
    // `b64` is one that access tokens do not have (RFC 7797, section 7).
    if found("crit").is_some() {
        return Err(Rejection::TokenInvalid("its header has `crit`").into());
    }
    if found("b64").is_some() {
        return Err(Rejection::TokenInvalid("its header has `b64`").into());
    }
    let text = |name| match found(name) {
        None => Ok(None),
        Some(Kind::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed.clone()),
    };
    Ok(Header { alg: text("alg")?.ok_or(malformed.clone())?, kid: text("kid")?, typ: text("typ")? })
}

/// The algorithm of this name: RFC 9864 has a name of its own for the one curve of `EdDSA` that is supported.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

fn algorithm_of(header: &Header, expected: &Expectations) -> Result<Algorithm, VerificationError> {
    let jwt = |typ: &str| ["jwt", "at+jwt", "application/at+jwt"].iter().any(|own| typ.eq_ignore_ascii_case(own));
    if header.typ.as_deref().is_some_and(|typ| !jwt(typ)) {
        return Err(Rejection::TokenInvalid("its `typ` is not that of an access token").into());
    }
    let algorithm = algorithm(&header.alg).filter(|found| expected.algorithms.contains(found));
    algorithm.ok_or_else(|| Rejection::TokenInvalid("its algorithm is not allowed").into())
}

fn check(claims: Claims, expected: &Expectations, now: u64) -> Result<Caller, VerificationError> {
    if !expected.issuers.contains(&claims.issuer) {
        return Err(Rejection::TokenInvalid("its issuer is not accepted").into());
    }
    if !expected.audiences.iter().any(|audience| claims.audiences.contains(audience)) {
        let expected = expected.audiences.first().cloned().unwrap_or_default();
        return Err(Rejection::TokenAudience(expected).into());
    }
    let expires_at = seconds(claims.expires);
    if now >= expires_at.saturating_add(expected.leeway) {
        return Err(Rejection::TokenExpired.into());
    }
    if seconds(claims.begins) > now.saturating_add(expected.leeway) {
        return Err(Rejection::TokenInvalid("it is not valid yet").into());
    }
    Ok(Caller { subject: claims.subject, scopes: claims.scopes, expires_at })
}

/// Whole seconds; a float-to-integer cast saturates, so nothing overflows.
fn seconds(time: f64) -> u64 {
    time as u64
}

#[cfg(test)]
mod tests;
