//! Where a request shows its credential, and what the scopes of access tokens mean.

use crate::model::{Caller, Rejection};
use http::HeaderMap;
use http::header::COOKIE;

/// Where a request shows its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialPlace {
    /// A header with a scheme: `Authorization: Bearer …`.
    Scheme {
        /// The header, in lower case.
        header: &'static str,
        /// The scheme.
        scheme: &'static str,
    },
    /// The whole value of a header, in lower case.
    Header(&'static str),
    /// A cookie.
    Cookie(&'static str),
}

/// `Authorization: Bearer …` (RFC 6750, section 2.1).
pub const BEARER: CredentialPlace = CredentialPlace::Scheme { header: "authorization", scheme: "bearer" };

impl CredentialPlace {
    /// The header that contains the credential.
    pub fn header(self) -> &'static str {
        match self {
            CredentialPlace::Scheme { header, .. } | CredentialPlace::Header(header) => header,
            CredentialPlace::Cookie(_) => COOKIE.as_str(),
        }
    }

    /// The values that a request has here: of a header all, of a cookie those with its name.
    pub fn values(self, headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let cookie = match self {
            CredentialPlace::Cookie(name) => Some(name),
            CredentialPlace::Scheme { .. } | CredentialPlace::Header(_) => None,
        };
        let whole = headers.get_all(self.header()).iter().map(|value| value.as_bytes());
        whole.flat_map(move |value| {
            // A header is one part; cookies are separated (RFC 6265, section 4.2.1).
            value.split(move |byte| cookie.is_some() && *byte == b';').filter_map(move |part| match cookie {
                None => Some(part),
                Some(name) => part.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="),
            })
        })
    }

    /// The token in a value of [`CredentialPlace::values`]; `None` if the value is malformed.
    fn token(self, value: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(value).ok()?;
        let token = match self {
            CredentialPlace::Scheme { scheme, .. } => {
                let (found, token) = text.split_once(' ')?;
                found.eq_ignore_ascii_case(scheme).then_some(token)?
            }
            CredentialPlace::Header(_) | CredentialPlace::Cookie(_) => text,
        };
        // A loop without branches: tokens are long, and this runs on every request.
        let plain = token.bytes().fold(true, |plain, b| plain & (b > b' ') & (b < 0x7f) & (b != b','));
        Some(token).filter(|token| !token.is_empty() && plain)
    }
}

/// The token that a request shows in the first of these places that has one.
///
/// # Errors
///
/// Rejects a request without a credential, with several in one place, or with a malformed one.
pub(super) fn token<'h>(places: &[CredentialPlace], headers: &'h HeaderMap) -> Result<&'h str, Rejection> {
    for place in places {
        let mut values = place.values(headers);
        if let Some(value) = values.next() {
            check_single(*place, values)?;
            return place.token(value).ok_or(Rejection::CredentialMalformed);
        }
    }
    Err(Rejection::CredentialMissing)
}

/// Rejects a second credential in the same place: servers differ in which of them they use.
pub(super) fn check_single<'h>(
    place: CredentialPlace,
    mut others: impl Iterator<Item = &'h [u8]>,
) -> Result<(), Rejection> {
    let shown = match place {
        CredentialPlace::Scheme { header: "authorization", .. } => "Authorization",
        CredentialPlace::Cookie(_) => "Cookie",
        CredentialPlace::Scheme { header, .. } | CredentialPlace::Header(header) => header,
    };
    if others.next().is_some() { Err(Rejection::Header(shown, "occurs more than once")) } else { Ok(()) }
}

/// The scopes of access tokens.
#[derive(Debug)]
pub struct Scopes {
    /// The claim that lists them.
    pub claim: &'static str,
    /// Which scopes only read. A caller who has no other scope cannot change anything.
    pub read_only: ReadOnlyScopes,
    /// Whether the scopes alone decide what a caller may do. If not, roles do too, and only the provider knows them.
    pub decide: bool,
}

/// The claims of access tokens that say who the caller is, unless the configuration names others. `None` has no default.
#[derive(Debug)]
pub struct IdentityClaims {
    /// The client, in the order in which they are tried. RFC 9068 (section 2.2) has `client_id`.
    pub client_id: &'static [&'static str],
    /// The roles.
    pub roles: Option<&'static str>,
    /// The groups.
    pub groups: Option<&'static str>,
    /// The organization.
    pub organization: Option<&'static str>,
    /// The ID of the caller's own session.
    pub session: Option<&'static str>,
}

/// Which scopes only read.
#[derive(Debug, Clone, Copy)]
pub enum ReadOnlyScopes {
    /// Those with this beginning.
    Prefix(&'static str),
    /// Those with this ending.
    Suffix(&'static str),
    /// Unknown: scopes do not limit what a caller may change.
    Unknown,
}

impl Scopes {
    /// Whether the caller's token allows any write at the provider.
    pub(super) fn allow_writes(&self, caller: &Caller) -> bool {
        match self.read_only {
            ReadOnlyScopes::Prefix(prefix) => caller.scopes.iter().any(|scope| !scope.starts_with(prefix)),
            ReadOnlyScopes::Suffix(suffix) => caller.scopes.iter().any(|scope| !scope.ends_with(suffix)),
            ReadOnlyScopes::Unknown => true,
        }
    }
}
