//! The claims of a token, in the only forms that RFC 7519 allows. Errors name the claim and never its value.

use crate::model::{Claim, Rejection, claim};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// The error for a payload that is not a JSON object.
pub(super) const NOT_CLAIMS: &str = "its claims are not a JSON object";

/// The maximum length of a client ID, in bytes. Providers have at most 64; a client ID may also be a URL.
const MAX_IDENTIFIER: usize = 1024;

/// The claims of an access token.
pub(super) struct Claims {
    pub issuer: String,
    pub audiences: Vec<String>,
    /// `exp` and `nbf` in seconds since the epoch, as finite numbers.
    pub expires: f64,
    pub begins: f64,
    pub client_id: Option<String>,
    pub subject: String,
    pub scopes: Vec<String>,
}

impl Claims {
    /// Parses the payload of an access token. `scope` is the claim that lists scopes, in a string or an array;
    /// `client_id` are the claims that may name the client, in the order in which they are tried.
    pub fn parse(payload: &[u8], scope: &Claim, client_id: &[&str]) -> Result<Claims, Rejection> {
        let members = Members::parse(payload)?;
        let scopes = members.optional::<OneOrMany>(scope)?.map_or_else(Vec::new, OneOrMany::all);
        let scopes = scopes.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty());
        Ok(Claims {
            issuer: members.required(&ISS)?,
            audiences: members.required::<OneOrMany>(&AUD)?.all(),
            expires: members.required(&EXP)?,
            begins: members.optional(&NBF)?.unwrap_or(0.0),
            client_id: client_id.iter().find_map(|name| members.identifier(name)),
            subject: members.optional(&SUB)?.unwrap_or_default(),
            scopes: scopes.map(str::to_owned).collect(),
        })
    }
}

/// Whether a response of an introspection endpoint says that the token is active: only a literal `true` does. An error
/// if it is not such a response (RFC 7662, section 2.2).
pub(super) fn is_active(response: &[u8]) -> Result<bool, Rejection> {
    Members::parse(response)?.required(&ACTIVE)
}

/// Whether an active token may be used as a bearer token. Others are bound to a key, whose proof the gateway does not
/// check.
pub(super) fn is_bearer(response: &[u8]) -> Result<bool, Rejection> {
    let kind: Option<String> = Members::parse(response)?.optional(&TOKEN_TYPE)?;
    Ok(kind.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")))
}

/// The issuer and the session (`iss` and `sid`) of an ID token.
pub(super) fn session_claims(payload: &[u8]) -> Result<(String, String), Rejection> {
    let members = Members::parse(payload)?;
    Ok((members.required(&ISS)?, members.required(&SID)?))
}

const ISS: Claim = claim!("iss");
const AUD: Claim = claim!("aud");
const EXP: Claim = claim!("exp");
const NBF: Claim = claim!("nbf");
const SUB: Claim = claim!("sub");
const SID: Claim = claim!("sid");
const ACTIVE: Claim = claim!("active");
const TOKEN_TYPE: Claim = claim!("token_type");

/// A string, or an array of strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Several(Vec<String>),
}

impl OneOrMany {
    fn all(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Several(several) => several,
        }
    }
}

/// The members of a payload, unparsed.
struct Members<'p>(Vec<(String, &'p RawValue)>);

impl<'p> Members<'p> {
    fn parse(payload: &'p [u8]) -> Result<Members<'p>, Rejection> {
        serde_json::from_slice(payload).map_err(|_| Rejection::TokenMalformed(NOT_CLAIMS))
    }

    /// A claim that may be missing or `null`.
    fn optional<T: Deserialize<'p>>(&self, claim: &Claim) -> Result<Option<T>, Rejection> {
        let mut found = self.0.iter().filter(|(name, _)| name == claim.name);
        let (first, second) = (found.next(), found.next());
        if second.is_some() {
            return Err(Rejection::TokenMalformed(claim.repeated));
        }
        let Some((_, value)) = first else {
            return Ok(None);
        };
        serde_json::from_str(value.get()).map_err(|_| Rejection::TokenMalformed(claim.malformed))
    }

    /// A claim that only identifies, so a token is not rejected because of it: `None` if it is missing, duplicated, not
    /// a string, empty or too long.
    fn identifier(&self, name: &str) -> Option<String> {
        let mut found = self.0.iter().filter(|(own, _)| own == name);
        let (Some((_, value)), None) = (found.next(), found.next()) else {
            return None;
        };
        let text: String = serde_json::from_str(value.get()).ok()?;
        (1..=MAX_IDENTIFIER).contains(&text.len()).then_some(text)
    }

    fn required<T: Deserialize<'p>>(&self, claim: &Claim) -> Result<T, Rejection> {
        self.optional(claim)?.ok_or(Rejection::TokenMalformed(claim.missing))
    }
}

impl<'de: 'p, 'p> Deserialize<'de> for Members<'p> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Members<'p>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        from.deserialize_map(Object).map(Members)
    }
}
