//! Where each dialect reads credentials, and what of a request is part of the key of a cached response. A new dialect
//! needs no change here.

use http::{HeaderMap, HeaderName, HeaderValue};
use sessiongate::dialect::{CredentialPlace, DIALECTS, Dialect, Effect};

const TOKEN: &str = "ey-Tok.en_1";

/// The header of a request that shows a token in this place.
pub fn shown(place: CredentialPlace) -> (HeaderName, String) {
    let header = HeaderName::from_bytes(place.header().as_bytes()).unwrap();
    let value = match place {
        CredentialPlace::Scheme { scheme, .. } => format!("{scheme} {TOKEN}"),
        CredentialPlace::Header(_) => TOKEN.to_owned(),
        CredentialPlace::Cookie(name) => format!("a=1; {name}={TOKEN}; z=2"),
    };
    (header, value)
}

/// The name of a cookie, as in RFC 6265, section 4.1.1.
fn is_cookie_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte))
}

fn faults_of(dialect: &Dialect) -> Vec<String> {
    let mut faults = Vec::new();
    if dialect.credentials.is_empty() {
        faults.push("it has no credentials".to_owned());
    }
    for (at, place) in dialect.credentials.iter().enumerate() {
        let (header, value) = shown(*place);
        let headers = HeaderMap::from_iter([(header, HeaderValue::from_str(&value).unwrap())]);
        let found = dialect.token(&headers);
        if found != Ok(TOKEN) {
            faults.push(format!("{place:?}: `{value}` gives {found:?}"));
        }
        let own = match place {
            CredentialPlace::Scheme { scheme, .. } => scheme,
            CredentialPlace::Header(name) | CredentialPlace::Cookie(name) => name,
        };
        let is_lower = |text: &str| !text.is_empty() && text == text.to_lowercase();
        let is_name = if let CredentialPlace::Cookie(name) = place { is_cookie_name(name) } else { is_lower(own) };
        if !is_lower(place.header()) || !is_name {
            faults.push(format!("{place:?} is not in lower case, or no name"));
        }
        if dialect.credentials[..at].contains(place) {
            faults.push(format!("{place:?} occurs twice"));
        }
        // A read forwards the whole header, and the provider may read its other cookies.
        if let CredentialPlace::Cookie(_) = place
            && (!dialect.headers.cache_key.contains(&"cookie") || dialect.sharing.is_shared())
        {
            faults.push(format!("{place:?}: responses depend on `cookie`, which is not in the cache key"));
        }
    }
    faults
}

#[test]
fn the_token_is_found_in_each_place() {
    let of = |dialect: &&Dialect| {
        let name = dialect.name;
        faults_of(dialect).into_iter().map(move |fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    let faults: Vec<String> = DIALECTS.iter().flat_map(of).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The key of a response that callers share has neither path nor carrier: two operations that read a session, or two
/// carriers, would get each other's responses.
#[test]
fn a_response_that_callers_share_has_one_operation_and_one_carrier() {
    for dialect in DIALECTS.iter().filter(|dialect| dialect.sharing.is_shared()) {
        let reads: Vec<_> = dialect.routes.iter().filter(|route| route.effect == Effect::ReadsSession).collect();
        assert!(reads.len() <= 1, "{}: {reads:?}", dialect.name);
        assert!(reads.iter().all(|route| !route.is_rpc()), "{}: {reads:?}", dialect.name);
    }
}
