//! The option `introspection` of `auth`: how opaque tokens are introspected.

use super::FindingId;
use super::certificates;
use super::error::Problem;
use super::options::introspection as rows;
use super::options::table::Declared;
use super::secret;
use super::section::Section;
use super::url::{Url, authority};
use super::value;
use crate::gateway::{ClientAuthentication, IntrospectionSource, KeySource};
use crate::token::ClientKey;
use jsonwebtoken::Algorithm;
use secrecy::SecretSlice;

/// Reads `introspection`. Certificates and proxy are those of the issuer's keys.
pub(super) fn read(section: &mut Section, keys: &KeySource, allow_http: bool) -> Option<IntrospectionSource> {
    let url = section.required(&rows::URL, "expected the URL of the introspection endpoint");
    let url = url.and_then(|entry| Some((entry.read(section.context, Url::without_query)?, entry.location)));
    if let Some((url, location)) = &url
        && !(url.tls || url.is_loopback() || allow_http)
    {
        let problem = Problem::new("tokens and the gateway's credentials would be sent without TLS");
        let problem = problem.expected("use `https://`, or set `allow_http: true` if the network is trusted");
        section.context.reject(location, problem);
    }
    let host = section.parse(&rows::HOST, authority);
    let client_id = section.required(&rows::CLIENT_ID, "expected the client ID of the gateway");
    let client_id = client_id.and_then(|entry| entry.read(section.context, value::text));
    let authentication = authentication(section);
    let (ttl, negative_ttl) = (section.get(&rows::TTL), section.get(&rows::NEGATIVE_TTL));
    let (max_stale, timeout) = (section.get(&rows::MAX_STALE), section.get(&rows::TIMEOUT));
    let (in_flight, per_source) = (section.get(&rows::IN_FLIGHT), section.get(&rows::PER_SOURCE));
    Some(IntrospectionSource {
        url: url?.0.text,
        host,
        issuer: keys.issuer.clone(),
        client_id: client_id?,
        authentication: authentication?,
        ttl,
        negative_ttl,
        max_stale,
        timeout,
        in_flight,
        per_source,
        authorities: keys.authorities.clone(),
        proxy: keys.proxy.clone(),
    })
}

fn authentication(section: &mut Section) -> Option<ClientAuthentication> {
    let secret = secret::text(section, &rows::CLIENT_SECRET);
    let private = secret::secret(section, &rows::PRIVATE_KEY);
    let id = section.parse(&rows::KEY_ID, value::text);
    let algorithm = section.get(&rows::ALGORITHM);
    require_one(section);
    match (secret, private) {
        (Some(secret), None) => Some(ClientAuthentication::Secret(secret)),
        (None, Some(private)) => Some(ClientAuthentication::PrivateKey(key(section, &private, id?, algorithm)?)),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Rejects two ways to authenticate, none, and options that need a key.
fn require_one(section: &mut Section) {
    let (secret, private) = (section.has(&rows::CLIENT_SECRET), section.has(&rows::PRIVATE_KEY));
    let conflict = |found: &str| Problem::new(found).id(FindingId::Conflict);
    let missing = |found: &str| Problem::new(found).id(FindingId::MissingOption);
    let reject = |section: &mut Section, option: &dyn Declared, problem: Problem| {
        let location = section.location_of(option);
        section.context.reject(&location, problem);
    };
    if secret && private {
        let problem = conflict("cannot be combined with `client_secret`").expected("set one of them");
        reject(section, &rows::PRIVATE_KEY, problem);
    }
    if !secret && !private {
        let problem = missing("is missing").expected("set `client_secret`, or `private_key` with `key_id`");
        reject(section, &rows::CLIENT_SECRET, problem);
    }
    if private && !section.has(&rows::KEY_ID) {
        let problem = missing("is missing, but `private_key` is set").expected("expected the ID of the key");
        reject(section, &rows::KEY_ID, problem);
    }
    let of_key: [&dyn Declared; 2] = [&rows::KEY_ID, &rows::ALGORITHM];
    for option in of_key.into_iter().filter(|_| !private) {
        if section.has(option) {
            reject(section, option, conflict("needs `private_key`").expected("remove it, or set `private_key`"));
        }
    }
}

fn key(section: &mut Section, pem: &SecretSlice<u8>, id: String, algorithm: Algorithm) -> Option<ClientKey> {
    let location = section.location_of(&rows::PRIVATE_KEY);
    let der = certificates::private_key(section.context, &location, pem)?;
    let wrong = |_| {
        let problem = Problem::new("the private key is invalid, or not of the kind that `algorithm` needs");
        problem.id(FindingId::File).expected("expected PKCS #8, or for RSA also PKCS #1, of at least 2048 bits")
    };
    let key = ClientKey::new(id, algorithm, der.secret_der()).map_err(wrong);
    key.map_err(|problem| section.context.reject(&location, problem)).ok()
}
