//! The claims of a token, in the only forms that RFC 7519 allows. Errors name the claim and never its value.

use super::claim_names::ClaimNames;
use crate::model::{Caller, Rejection};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// The error for a payload that is not a JSON object.
pub(super) const NOT_CLAIMS: &str = "its claims are not a JSON object";

/// The maximum length of a client ID, in bytes. Providers have at most 64; a client ID may also be a URL.
const MAX_IDENTIFIER: usize = 1024;
/// The maximum number of values of a claim that grants match.
const MAX_VALUES: usize = 256;
/// The maximum length of such a value, in bytes.
const MAX_VALUE: usize = 1024;

/// The claims of an access token.
pub(super) struct Claims {
    pub audiences: Vec<String>,
    /// `exp` and `nbf` in seconds since the epoch, as finite numbers.
    pub expires: f64,
    pub begins: f64,
    /// The caller, but for [`Caller::expires_at`].
    pub caller: Caller,
}

impl Claims {
    /// Parses the payload of an access token, or what an issuer says of a token (RFC 7662).
    pub fn parse(payload: &[u8], names: &ClaimNames) -> Result<Claims, Rejection> {
        let members = Members::parse(payload)?;
        Ok(Claims {
            audiences: members.required::<OneOrMany>("aud")?.all(),
            expires: members.required("exp")?,
            begins: members.optional("nbf")?.unwrap_or(0.0),
            caller: members.caller(names)?,
        })
    }
}

/// Whether a response of an introspection endpoint says that the token is active: only a literal `true` does. An error
/// if it is not such a response (RFC 7662, section 2.2).
pub(super) fn is_active(response: &[u8]) -> Result<bool, Rejection> {
    Members::parse(response)?.required("active")
}

/// Whether an active token may be used as a bearer token. Others are bound to a key, whose proof the gateway does not
/// check.
pub(super) fn is_bearer(response: &[u8]) -> Result<bool, Rejection> {
    let kind: Option<String> = Members::parse(response)?.optional("token_type")?;
    Ok(kind.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")))
}

/// The issuer and the session (`iss` and `sid`) of an ID token.
pub(super) fn session_claims(payload: &[u8]) -> Result<(String, String), Rejection> {
    let members = Members::parse(payload)?;
    Ok((members.required("iss")?, members.required("sid")?))
}

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
        serde_json::from_slice(payload).map_err(|_| Rejection::TokenMalformed(NOT_CLAIMS.into()))
    }

    /// The caller that they name.
    fn caller(&self, names: &ClaimNames) -> Result<Caller, Rejection> {
        let scopes = self.optional::<OneOrMany>(&names.scopes)?.map_or_else(Vec::new, OneOrMany::all);
        let scopes = scopes.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty());
        let all = |name: &Option<String>| name.as_ref().map_or(Ok(Vec::new()), |name| self.values(name));
        let one = |name: &Option<String>| name.as_ref().map_or(Ok(None), |name| self.value(name));
        let others = names.others.iter().map(|name| Ok((name.clone(), self.values(name)?)));
        Ok(Caller {
            issuer: self.required("iss")?,
            client_id: self.client_id(names)?,
            subject: self.optional("sub")?.unwrap_or_default(),
            scopes: scopes.map(str::to_owned).collect(),
            roles: all(&names.roles)?,
            groups: all(&names.groups)?,
            organization: one(&names.organization)?,
            session: one(&names.session)?,
            claims: others.collect::<Result<_, Rejection>>()?,
            expires_at: 0,
        })
    }

    /// The unparsed value of a claim that may be missing.
    fn raw(&self, name: &str) -> Result<Option<&'p RawValue>, Rejection> {
        let mut found = self.0.iter().filter(|(own, _)| own == name);
        let (first, second) = (found.next(), found.next());
        match second {
            Some(_) => Err(fault(name, "duplicated")),
            None => Ok(first.map(|(_, value)| *value)),
        }
    }

    /// A claim that may be missing or `null`.
    fn optional<T: Deserialize<'p>>(&self, name: &str) -> Result<Option<T>, Rejection> {
        let Some(value) = self.raw(name)? else {
            return Ok(None);
        };
        serde_json::from_str(value.get()).map_err(|_| fault(name, "malformed"))
    }

    fn required<T: Deserialize<'p>>(&self, name: &str) -> Result<T, Rejection> {
        self.optional(name)?.ok_or_else(|| fault(name, "missing"))
    }

    /// The client. If it only identifies, a token is not rejected because of it.
    fn client_id(&self, names: &ClaimNames) -> Result<Option<String>, Rejection> {
        if !names.client_decides {
            return Ok(names.client_id.iter().find_map(|name| self.identifier(name)));
        }
        for name in &names.client_id {
            let found: Option<String> = self.optional(name)?.filter(|text: &String| !text.is_empty());
            match found {
                Some(text) if text.len() > MAX_IDENTIFIER => return Err(fault(name, "malformed")),
                Some(text) => return Ok(Some(text)),
                None => {}
            }
        }
        Ok(None)
    }

    /// A claim that only identifies: `None` if it is missing, duplicated, not a string, empty or too long.
    fn identifier(&self, name: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.raw(name).ok()??.get()).ok()?;
        (1..=MAX_IDENTIFIER).contains(&text.len()).then_some(text)
    }

    /// The values of a claim: of a text, a number or a boolean one, of a list all, of an object its keys. None if it is
    /// missing or `null`.
    fn values(&self, name: &str) -> Result<Vec<String>, Rejection> {
        let Some(value) = self.raw(name)? else {
            return Ok(Vec::new());
        };
        let values = values(value).ok_or_else(|| fault(name, "malformed"))?;
        if values.len() > MAX_VALUES || values.iter().any(|value| value.len() > MAX_VALUE) {
            return Err(fault(name, "too large"));
        }
        Ok(values)
    }

    /// The value of a claim that has at most one, which is not empty.
    fn value(&self, name: &str) -> Result<Option<String>, Rejection> {
        let mut values = self.values(name)?;
        let value = values.pop().filter(|value| !value.is_empty());
        if values.is_empty() { Ok(value) } else { Err(fault(name, "malformed")) }
    }
}

fn fault(name: &str, what: &str) -> Rejection {
    Rejection::TokenMalformed(format!("its claim `{name}` is {what}"))
}

/// `None` for a list with a member that has values of its own, or is `null`.
fn values(value: &RawValue) -> Option<Vec<String>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'n' => Some(Vec::new()),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().map(scalar).collect(),
        b'{' => Some(serde_json::from_str::<Members>(text).ok()?.0.into_iter().map(|(key, _)| key).collect()),
        _ => Some(vec![scalar(value)?]),
    }
}

/// A text, or the spelling of a number or a boolean.
fn scalar(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'n' | b'[' | b'{' => None,
        _ => Some(text.to_owned()),
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
