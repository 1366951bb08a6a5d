//! The text formats in the store: key names, entry heads, script replies.

use crate::coherence::{
    ALL_CALLERS, Acquired, CallerDigest, Entry, Generation, Micros, Millis, Observed, Stamp, Token,
};
use crate::gateway::{CacheKey, ProviderResponse};
use crate::wire::hex;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;

/// Length of an entry's head: type letter, two generations, version, three times, credential, digest.
pub(super) const HEAD_LENGTH: usize = 1 + 2 * GENERATION + VERSION + MOMENT + 2 * TIME + CALLER + DIGEST;
const VERSION: usize = 20;
const DIGEST: usize = 16;
/// The largest time in microseconds that fits the digits.
const LAST_MOMENT: Micros = 9_999_999_999_999_999;
/// Digits of a time in microseconds.
const MOMENT: usize = 16;
const CALLER: usize = 32;
const GENERATION: usize = 32;
const TOKEN: usize = 16;
const TIME: usize = 13;
const FLOOR: usize = 20;

/// The keys of one cached response. They share one hash tag, so a cluster keeps them on one server.
pub(super) struct Keys {
    pub state: String,
    pub variant: String,
    pub tenants: String,
}

impl Keys {
    pub fn new(namespace: &str, key: &CacheKey) -> Keys {
        let state = state(namespace, &key.session);
        let variant = URL_SAFE_NO_PAD.encode(key.variant);
        // Those of version 1 end in `v:` and lack fields of this format.
        let variant = format!("{}v2:{variant}", state.trim_end_matches('s'));
        Keys { tenants: tenants(&state), state, variant }
    }

    /// The key names for scripts, with the tenants' key or without it.
    pub fn names(&self, with_tenants: bool) -> Vec<&str> {
        let mut names = vec![self.state.as_str(), &self.variant];
        names.extend(with_tenants.then_some(self.tenants.as_str()));
        names
    }
}

/// The key of a session's state; `1` is the version of the format.
pub(super) fn state(namespace: &str, session: &[u8; 16]) -> String {
    format!("{namespace}1:{{{}}}:s", URL_SAFE_NO_PAD.encode(session))
}

/// The key of the per-tenant state of a session, derived from that of its state.
pub(super) fn tenants(state: &str) -> String {
    format!("{}t", state.trim_end_matches('s'))
}

/// The key of a session's exclusive right, derived from that of its state.
pub(super) fn right(state: &str) -> String {
    format!("{}x", state.trim_end_matches('s'))
}

/// The key of the newest version known of a tenant's session, derived from that of its state.
pub(super) fn newest(state: &str, tenant: &str) -> String {
    format!("{}n{tenant}", state.trim_end_matches('s'))
}

/// The key of an upstream's epoch.
pub(super) fn epoch(namespace: &str, scope: u64) -> String {
    format!("{namespace}1:{{{scope:016x}}}:e")
}

/// A token as text. Tokens are random; 64 bits are enough to tell apart those in flight.
pub(super) fn token(token: Token) -> String {
    let bytes = token.0.to_be_bytes();
    hex::text(bytes.split_at(bytes.len() / 2).1)
}

pub(super) fn generation(generation: Generation) -> String {
    hex::text(&generation.0.to_be_bytes())
}

fn read_generation(text: &[u8]) -> Option<Generation> {
    u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(Generation)
}

fn read_token(text: &[u8]) -> Option<Token> {
    u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(Token)
}

fn read_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An epoch, as `GET` returns it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch {
    /// Its generation; `None` while a write that may change any session is in flight.
    pub generation: Option<Generation>,
    /// When the upstream was last purged, in milliseconds.
    pub purged: Millis,
}

/// Parses an epoch's state. Expired marks count as marks, since only the server knows the time.
pub(super) fn read_epoch(text: &[u8]) -> Option<Epoch> {
    let (generation, rest) = text.split_at_checked(GENERATION)?;
    let (purged, rest) = rest.split_at_checked(FLOOR)?;
    let generation = if rest.len() == TIME { Some(read_generation(generation)?) } else { None };
    Some(Epoch { generation, purged: read_number(purged)? })
}

/// Parses a generation.
pub(super) fn read_opened(text: &[u8]) -> Option<Generation> {
    read_generation(text).filter(|_| text.len() == GENERATION)
}

/// When the upstream was last purged, as scripts expect it.
pub(super) fn purged(purged: Millis) -> String {
    format!("{purged:013}")
}

/// A credential's or a tenant's digest as text.
pub(super) fn caller(caller: &CallerDigest) -> String {
    hex::text(caller)
}

/// A response that was shown, in the format of entries: start of its fetch, version, stored digest.
pub(super) fn observed(observed: &Observed, digest: u64) -> [String; 3] {
    let Observed { began, version, digest: _ } = observed;
    let began = format!("{:016}", began.min(&LAST_MOMENT));
    [began, format!("{:020}", version.unwrap_or_default()), format!("{digest:016x}")]
}

/// The head of an entry, with its stored digest.
pub(super) fn head(entry: &Entry<Arc<ProviderResponse>>, digest: u64) -> Vec<u8> {
    let Entry { stamp, began, fresh_until, stale_until, version, only, missing: _, digest: _, response: _ } = entry;
    let (session, epoch) = (generation(stamp.session), generation(stamp.epoch));
    let (version, only) = (version.unwrap_or_default(), caller(&only.unwrap_or(ALL_CALLERS)));
    format!("D{session}{epoch}{version:020}{began:016}{fresh_until:013}{stale_until:013}{only}{digest:016x}")
        .into_bytes()
}

/// The reply of the script `acquire`.
pub(super) struct AcquireReply {
    /// The store's clock.
    pub now: Micros,
    /// What the read found.
    pub acquired: Acquired<Arc<ProviderResponse>>,
    /// Whether there was an entry that could not be decrypted.
    pub unreadable: bool,
}

/// Parses the reply of `acquire` for this generation of the epoch. An entry that cannot be decrypted counts as missing:
/// the read fetches without a lease, and its response replaces the entry.
pub(super) fn read_reply(
    text: &[u8],
    epoch: Generation,
    open: impl Fn(&[u8]) -> Option<ProviderResponse>,
) -> Option<AcquireReply> {
    let (letter, rest) = text.split_first()?;
    let (now, rest) = rest.split_at_checked(MOMENT)?;
    let (floor, rest) = rest.split_at_checked(FLOOR)?;
    let now = read_number(now)?;
    let floor = Some(read_number(floor)?).filter(|floor| *floor > 0);
    let (since, rest) = match letter {
        b'X' | b'W' => (0, rest),
        _ => rest.split_at_checked(MOMENT).and_then(|(since, rest)| Some((read_number(since)?, rest)))?,
    };
    let lead = |stamp: Stamp, stale| Acquired::Lead { stamp, floor, stale, since };
    let stamp = |text: &[u8]| Some(Stamp { session: read_generation(text.get(..GENERATION)?)?, epoch });
    let mut unreadable = false;
    let acquired = match letter {
        b'X' => Acquired::Deleted,
        b'W' => Acquired::Bypass,
        b'N' => Acquired::Denied { stamp: stamp(rest)?, floor },
        b'G' => lead(stamp(rest)?, None),
        b'L' => {
            let reader = read_token(rest.get(GENERATION..)?)?;
            Acquired::Wait { stamp: stamp(rest)?, reader, stale: None, since }
        }
        b'D' | b'S' => {
            let stamp = stamp(rest.get(1..)?)?;
            match (read_entry(rest, stamp, open), letter) {
                (Some(entry), b'D') => Acquired::Hit(entry, floor, since),
                (Some(entry), _) => lead(stamp, Some(entry)),
                (None, _) => {
                    unreadable = true;
                    lead(stamp, None)
                }
            }
        }
        b'R' => {
            let (reader, rest) = rest.split_at_checked(TOKEN)?;
            let stamp = stamp(rest.get(1..)?)?;
            let stale = read_entry(rest, stamp, open);
            unreadable = stale.is_none();
            Acquired::Wait { stamp, reader: read_token(reader)?, stale, since }
        }
        _ => return None,
    };
    Some(AcquireReply { now, acquired, unreadable })
}

fn read_entry(
    text: &[u8],
    stamp: Stamp,
    open: impl Fn(&[u8]) -> Option<ProviderResponse>,
) -> Option<Entry<Arc<ProviderResponse>>> {
    let head = text.get(1 + 2 * GENERATION..HEAD_LENGTH)?;
    let (version, head) = head.split_at_checked(VERSION)?;
    let (began, head) = head.split_at_checked(MOMENT)?;
    let (fresh, head) = head.split_at_checked(TIME)?;
    let (stale, head) = head.split_at_checked(TIME)?;
    let (only, _) = head.split_at_checked(CALLER)?;
    let only = u128::from_str_radix(std::str::from_utf8(only).ok()?, 16).ok()?.to_be_bytes();
    Some(Entry {
        stamp,
        began: read_number(began)?,
        fresh_until: read_number(fresh)?,
        stale_until: read_number(stale)?,
        version: Some(read_number(version)?).filter(|version| *version > 0),
        only: Some(only).filter(|only| *only != ALL_CALLERS),
        missing: false,
        // Only the scripts compare digests.
        digest: 0,
        response: Arc::new(open(text)?),
    })
}
