//! Encryption of stored responses: AES-256-GCM, bound to the key and the head of the entry. Access to the
//! store is not enough to read a response, to move it to another key, or to extend its lifetime.
//!
//! Each process encrypts with a key of its own, derived from the first configured key and a random number that is
//! stored in the entry. So its nonces are a counter, and no key encrypts too much.

use crate::gateway::ProviderResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Version of the format after the head of an entry.
const FORMAT: u8 = 1;
const ID_LEN: usize = 4;
const PROCESS_LEN: usize = 16;
/// Derived keys of other processes that are cached.
const CACHED_KEYS: usize = 1_000;

type Process = [u8; PROCESS_LEN];
type Id = [u8; ID_LEN];

struct RootKey {
    id: Id,
    salt: Salt,
}

/// Encrypts and decrypts responses.
pub(super) struct Seal {
    roots: Vec<RootKey>,
    own: LessSafeKey,
    digests: hmac::Key,
    process: Process,
    sealed: AtomicU64,
    derived: Cache<(Id, Process), Arc<LessSafeKey>>,
}

/// There is no key, or no random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key to encrypt cached responses with")]
pub struct NoKey;

impl RootKey {
    fn new(secret: &[u8]) -> RootKey {
        let mut id = [0; ID_LEN];
        let hash = digest(&SHA256, &[b"sessiongate seal id 1".as_slice(), secret].concat());
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        // HKDF's first step is keyed with the salt; the secret is long and random, so it can be the salt.
        RootKey { id, salt: Salt::new(HKDF_SHA256, secret) }
    }

    fn derive(&self, process: &Process) -> Option<LessSafeKey> {
        let base = self.salt.extract(b"sessiongate seal 1");
        let info = [process.as_slice()];
        let key = base.expand(&info, &AES_256_GCM).ok().map(UnboundKey::from)?;
        Some(LessSafeKey::new(key))
    }
}

/// The key of digests. It is derived from the hash key, which stays while seal keys are rotated; otherwise replicas
/// would not recognize each other's responses during a rotation.
fn digests(secret: &[u8]) -> Option<hmac::Key> {
    let base = Salt::new(HKDF_SHA256, secret).extract(b"sessiongate digest 2");
    base.expand(&[], hmac::HMAC_SHA256).ok().map(hmac::Key::from)
}

impl Seal {
    /// Encrypts with the first of `keys`, decrypts with all. `hash_key` keys the digests.
    pub fn new(keys: &[SecretSlice<u8>], hash_key: &SecretSlice<u8>) -> Result<Seal, NoKey> {
        let roots: Vec<RootKey> = keys.iter().map(|key| RootKey::new(key.expose_secret())).collect();
        let mut process = [0; PROCESS_LEN];
        SystemRandom::new().fill(&mut process).map_err(|_| NoKey)?;
        let own = roots.first().and_then(|root| root.derive(&process)).ok_or(NoKey)?;
        let digests = digests(hash_key.expose_secret()).ok_or(NoKey)?;
        Ok(Seal { roots, own, digests, process, sealed: AtomicU64::new(0), derived: Cache::new(CACHED_KEYS) })
    }

    /// The stored digest of a response: keyed, so it reveals nothing about the content.
    pub fn digest(&self, digest: u64) -> u64 {
        let tag = hmac::sign(&self.digests, &digest.to_be_bytes());
        tag.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Appends an encrypted response to the head of an entry. `key` is its key in the store.
    pub fn seal(&self, key: &str, entry: &mut Vec<u8>, response: &ProviderResponse) {
        let Some(root) = self.roots.first() else { return };
        let number = self.sealed.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        let mut text = encode(response);
        entry.push(FORMAT);
        entry.extend_from_slice(&root.id);
        entry.extend_from_slice(&self.process);
        entry.extend_from_slice(&nonce);
        let bound = Aad::from([key.as_bytes(), entry].concat());
        let nonce = Nonce::assume_unique_for_key(nonce);
        // Fails only above 64 GiB; then nothing is appended, and the entry cannot be decrypted.
        if self.own.seal_in_place_append_tag(nonce, bound, &mut text).is_ok() {
            entry.extend_from_slice(&text);
        }
    }

    /// Decrypts what follows the first `head` bytes of an entry. `None` if it is incomplete, encrypted with an unknown
    /// key, or stored under another key.
    pub fn open(&self, key: &str, entry: &[u8], head: usize) -> Option<ProviderResponse> {
        let (format, rest) = entry.get(head..)?.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID_LEN>()?;
        let (process, rest) = rest.split_first_chunk::<PROCESS_LEN>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *format != FORMAT {
            return None;
        }
        let opener = self.opener(*id, process)?;
        let bound = Aad::from([key.as_bytes(), entry.get(..entry.len() - text.len())?].concat());
        let mut text = text.to_vec();
        let open = opener.open_in_place(Nonce::assume_unique_for_key(*nonce), bound, &mut text).ok()?.len();
        text.truncate(open);
        decode(&text)
    }

    fn opener(&self, id: Id, process: &Process) -> Option<Arc<LessSafeKey>> {
        if let Some(known) = self.derived.get(&(id, *process)) {
            return Some(known);
        }
        let derived = Arc::new(self.roots.iter().find(|root| root.id == id)?.derive(process)?);
        self.derived.insert((id, *process), derived.clone());
        Some(derived)
    }
}

/// Encodes a response: status, headers and trailers with their lengths, body.
fn encode(response: &ProviderResponse) -> Vec<u8> {
    let mut text = Vec::with_capacity(response.body.len() + 512);
    text.extend_from_slice(&response.status.as_u16().to_be_bytes());
    put_headers(&mut text, Some(&response.headers));
    put_headers(&mut text, response.trailers.as_ref());
    text.extend_from_slice(&response.body);
    text
}

/// No map is encoded as the largest count, to distinguish it from an empty map.
fn put_headers(text: &mut Vec<u8>, headers: Option<&HeaderMap>) {
    let fits = |length: usize| u16::try_from(length).ok();
    let Some(headers) = headers else {
        text.extend_from_slice(&u16::MAX.to_be_bytes());
        return;
    };
    let all = headers.iter().filter_map(|(name, value)| {
        Some((fits(name.as_str().len())?, fits(value.len())?, name.as_str().as_bytes(), value.as_bytes()))
    });
    let all: Vec<_> = all.take(usize::from(u16::MAX - 1)).collect();
    text.extend_from_slice(&fits(all.len()).unwrap_or_default().to_be_bytes());
    for (name_length, value_length, name, value) in all {
        text.extend_from_slice(&name_length.to_be_bytes());
        text.extend_from_slice(&value_length.to_be_bytes());
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
}

fn decode(text: &[u8]) -> Option<ProviderResponse> {
    let (status, rest) = take_number(text)?;
    let (headers, rest) = take_headers(rest)?;
    let (trailers, body) = take_headers(rest)?;
    let status = StatusCode::from_u16(status).ok()?;
    Some(ProviderResponse::new(status, headers?, Bytes::copy_from_slice(body), trailers))
}

fn take_number(text: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = text.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn take_headers(text: &[u8]) -> Option<(Option<HeaderMap>, &[u8])> {
    let (count, mut rest) = take_number(text)?;
    if count == u16::MAX {
        return Some((None, rest));
    }
    let mut headers = HeaderMap::with_capacity(usize::from(count));
    for _ in 0..count {
        let (name_length, after) = take_number(rest)?;
        let (value_length, after) = take_number(after)?;
        let (name, after) = after.split_at_checked(usize::from(name_length))?;
        let (value, after) = after.split_at_checked(usize::from(value_length))?;
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        rest = after;
    }
    Some((Some(headers), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> Seal {
        let keys: Vec<SecretSlice<u8>> =
            secrets.iter().map(|secret| SecretSlice::from(secret.as_bytes().to_vec())).collect();
        Seal::new(&keys, &b"a hash key".to_vec().into()).unwrap()
    }

    fn response() -> ProviderResponse {
        let headers = [("content-type", "application/json"), ("vary", "a"), ("vary", "b")];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))];
        let trailers = Some(trailers.into_iter().collect());
        let body = Bytes::from_static(b"the body");
        ProviderResponse::new(StatusCode::OK, headers.into_iter().collect(), body, trailers)
    }

    fn sealed(seal: &Seal, variant: &str) -> Vec<u8> {
        let mut entry = b"head".to_vec();
        seal.seal(variant, &mut entry, &response());
        entry
    }

    fn same(one: &ProviderResponse, other: &ProviderResponse) -> bool {
        let parts = |response: &ProviderResponse| {
            (response.status, response.headers.clone(), response.body.clone(), response.trailers.clone())
        };
        parts(one) == parts(other)
    }

    #[test]
    fn sealed_entries_open_with_any_configured_key() {
        let (one, other) = (keys(&["a"]), keys(&["b", "a"]));
        let entry = sealed(&one, "place");
        for seal in [&one, &other] {
            assert!(same(&seal.open("place", &entry, 4).unwrap(), &response()));
        }
        assert!(one.open("place", &sealed(&other, "place"), 4).is_none(), "sealed with a key that it does not have");
        let mut bare = response();
        bare.trailers = None;
        let mut entry = Vec::new();
        one.seal("", &mut entry, &bare);
        assert!(same(&one.open("", &entry, 0).unwrap(), &bare), "no trailers are not empty trailers");
    }

    #[test]
    fn digests_are_stable_during_key_rotation() {
        let digests = [["a"].as_slice(), &["a", "b"], &["b", "a"], &["b"]].map(|secrets| keys(secrets).digest(7));
        assert!(digests.iter().all(|digest| *digest == digests[0] && *digest != 7));
    }

    #[test]
    fn damaged_or_moved_entries_do_not_open() {
        let seal = keys(&["a"]);
        let entry = sealed(&seal, "place");
        assert!(seal.open("another place", &entry, 4).is_none());
        for at in 0..entry.len() {
            let mut spoilt = entry.clone();
            spoilt[at] ^= 1;
            assert!(seal.open("place", &spoilt, 4).is_none(), "byte {at} was changed");
            assert!(seal.open("place", &entry[..at], 4).is_none(), "cut off at {at}");
        }
    }

    #[test]
    fn sealing_is_randomized() {
        let seal = keys(&["a"]);
        let entry = |_| sealed(&seal, "place");
        let all: std::collections::HashSet<Vec<u8>> = (0..100).map(entry).collect();
        assert_eq!(all.len(), 100);
        let text = String::from_utf8_lossy(&entry(0)).into_owned();
        assert!(!text.contains("the body") && !text.contains("application/json"));
    }
}
