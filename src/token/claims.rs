//! The claims of a token, in the only forms that RFC 7519 allows. Errors name the claim and never its value.

use super::claim_names::ClaimNames;
use crate::model::{Caller, Rejection};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// The error for a payload that is not a JSON object.
pub(super) const NOT_CLAIMS: &str = "its claims are not a JSON object";

/// The error for a sender-constrained token (RFC 7800, RFC 8705, RFC 9449).
const BOUND: &str = "its claim `cnf` binds it to a key, and only bearer tokens are accepted";

/// The maximum length of a client ID, in bytes. Providers have at most 64; a client ID may also be a URL.
const MAX_IDENTIFIER: usize = 1024;
/// The maximum number of values of a claim that grants match, except scopes.
const MAX_VALUES: usize = 256;
/// The maximum number of scopes. Tokens for the whole API of a provider have more than 200.
const MAX_SCOPES: usize = 512;
/// The maximum length of such a value, or of a scope, in bytes.
const MAX_VALUE: usize = 1024;
/// The maximum length of all values of a claim, in bytes: that of a JWT.
const MAX_CLAIM: usize = 8 * 1024;

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
        if members.optional::<&RawValue>("cnf")?.is_some_and(|value| value.get() != "null") {
            return Err(Rejection::TokenMalformed(BOUND.into()));
        }
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

/// The issuer that a payload names.
pub(super) fn issuer(payload: &[u8]) -> Result<String, Rejection> {
    Members::parse(payload)?.required("iss")
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
        let all = |name: &Option<String>| name.as_ref().map_or(Ok(Vec::new()), |name| self.values(name));
        let one = |name: &Option<String>| name.as_ref().map_or(Ok(None), |name| self.value(name));
        let others = names.others.iter().map(|name| Ok((name.clone(), self.values(name)?)));
        Ok(Caller {
            issuer: self.required("iss")?,
            client_id: self.client_id(names)?,
            subject: self.optional("sub")?.unwrap_or_default(),
            scopes: self.scopes(&names.scopes)?,
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
            if let Some(text) = self.value(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A claim that only identifies: `None` if it is missing, duplicated, not a string, empty or too long.
    fn identifier(&self, name: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.raw(name).ok()??.get()).ok()?;
        (1..=MAX_IDENTIFIER).contains(&text.len()).then_some(text)
    }

    /// The values of a claim: of a text, a number or a boolean one, of a list all, of an object the keys that are
    /// granted. None if it is missing or `null`.
    fn values(&self, name: &str) -> Result<Vec<String>, Rejection> {
        let Some(value) = self.raw(name)? else {
            return Ok(Vec::new());
        };
        bounded(name, values(value).ok_or_else(|| fault(name, "malformed"))?, MAX_VALUES)
    }

    /// The value of a claim that has at most one text, plain or in a list. `None` if the text is empty.
    fn value(&self, name: &str) -> Result<Option<String>, Rejection> {
        let values = self.optional::<OneOrMany>(name)?.map_or_else(Vec::new, OneOrMany::all);
        let mut values = bounded(name, values, MAX_VALUES)?;
        let value = values.pop().filter(|value| !value.is_empty());
        if values.is_empty() { Ok(value) } else { Err(fault(name, "malformed")) }
    }

    /// The scopes: in a text with spaces, or in a list of texts.
    fn scopes(&self, name: &str) -> Result<Vec<String>, Rejection> {
        let scopes = match self.optional::<OneOrMany>(name)? {
            None => Vec::new(),
            Some(OneOrMany::One(text)) => text.split(' ').map(str::to_owned).collect(),
            Some(OneOrMany::Several(scopes)) => scopes,
        };
        bounded(name, scopes.into_iter().filter(|scope| !scope.is_empty()).collect(), MAX_SCOPES)
    }
}

/// The values of a claim, unless they are too many or too long.
fn bounded(name: &str, values: Vec<String>, most: usize) -> Result<Vec<String>, Rejection> {
    let is_long = values.iter().any(|value| value.len() > MAX_VALUE);
    if values.len() > most || is_long || values.iter().map(String::len).sum::<usize>() > MAX_CLAIM {
        return Err(fault(name, "too large"));
    }
    Ok(values)
}

fn fault(name: &str, what: &str) -> Rejection {
    Rejection::TokenMalformed(format!("its claim `{name}` is {what}"))
}

/// `None` for a list with a member that has values of its own, or is `null`, and for an object with duplicate keys.
fn values(value: &RawValue) -> Option<Vec<String>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'n' => Some(Vec::new()),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().map(scalar).collect(),
        b'{' => keys(serde_json::from_str::<Members>(text).ok()?),
        _ => Some(vec![scalar(value)?]),
    }
}

/// The keys of an object whose values are objects, texts or `true`: a role with `false` or `null` is not granted.
fn keys(members: Members) -> Option<Vec<String>> {
    let mut seen = HashSet::new();
    if !members.0.iter().all(|(key, _)| seen.insert(key.as_str())) {
        return None;
    }
    let is_granted = |value: &RawValue| matches!(value.get().as_bytes().first(), Some(b'{' | b'"' | b't'));
    Some(members.0.into_iter().filter(|(_, value)| is_granted(value)).map(|(key, _)| key).collect())
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
