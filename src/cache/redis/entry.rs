//! What stands in the store, as text: the names of keys, the heads of entries, the responses of scripts.

use crate::coherence::{
    ALL_CALLERS, Acquired, CallerDigest, Entry, Generation, Micros, Millis, Observed, Stamp, Token,
};
use crate::gateway::{CacheKey, ProviderResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;

/// The length of an entry's head: the letter, two generations, the version, three times, a credential, the digest.
pub(super) const HEAD_LENGTH: usize = 1 + 2 * GENERATION + VERSION + MOMENT + 2 * TIME + CALLER + DIGEST;
const VERSION: usize = 20;
const DIGEST: usize = 16;
/// The greatest time in microseconds that has no more digits than others.
const LAST_MOMENT: Micros = 9_999_999_999_999_999;
/// A time in microseconds.
const MOMENT: usize = 16;
const CALLER: usize = 32;
const GENERATION: usize = 32;
const TOKEN: usize = 16;
const TIME: usize = 13;
const FLOOR: usize = 20;

/// The keys of one cached response: all have one hash tag, so that a cluster keeps them together.
pub(super) struct Keys {
    pub state: String,
    pub variant: String,
    pub tenants: String,
}

impl Keys {
    pub fn new(namespace: &str, key: &CacheKey) -> Keys {
        let state = state(namespace, &key.session);
        let variant = URL_SAFE_NO_PAD.encode(key.variant);
        // Those of the version before end in `v:` and know nothing of what is in these.
        let variant = format!("{}v2:{variant}", state.trim_end_matches('s'));
        Keys { tenants: tenants(&state), state, variant }
    }

    /// The names as scripts take them, with what is remembered for tenants or without it.
    pub fn names(&self, with_tenants: bool) -> Vec<&str> {
        let mut names = vec![self.state.as_str(), &self.variant];
        names.extend(with_tenants.then_some(self.tenants.as_str()));
        names
    }
}

/// The key of a session's state. The number is that of the format.
pub(super) fn state(namespace: &str, session: &[u8; 16]) -> String {
    format!("{namespace}1:{{{}}}:s", URL_SAFE_NO_PAD.encode(session))
}

/// The key of what is remembered for the tenants of a session, beside that of its state.
pub(super) fn tenants(state: &str) -> String {
    format!("{}t", state.trim_end_matches('s'))
}

/// The key of the epoch of a scope.
pub(super) fn epoch(namespace: &str, scope: u64) -> String {
    format!("{namespace}1:{{{scope:016x}}}:e")
}

/// A token as text. Stores draw them at random; half of their bits are enough to tell those apart that are in flight.
pub(super) fn token(token: Token) -> String {
    format!("{:016x}", token.0)
}

pub(super) fn generation(generation: Generation) -> String {
    format!("{:032x}", generation.0)
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

/// An epoch, as `GET` shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch {
    /// Its generation; none where a write is in flight that may change any session.
    pub generation: Option<Generation>,
    /// When the upstream was purged last.
    pub purged: Millis,
}

/// Reads an epoch's state. Marks that ran out count as marks: only the server knows what time it is.
pub(super) fn read_epoch(text: &[u8]) -> Option<Epoch> {
    let (generation, rest) = text.split_at_checked(GENERATION)?;
    let (purged, rest) = rest.split_at_checked(FLOOR)?;
    let generation = if rest.len() == TIME { Some(read_generation(generation)?) } else { None };
    Some(Epoch { generation, purged: read_number(purged)? })
}

/// Reads a generation alone.
pub(super) fn read_opened(text: &[u8]) -> Option<Generation> {
    read_generation(text).filter(|_| text.len() == GENERATION)
}

/// When an upstream was purged last, as scripts are told.
pub(super) fn purged(purged: Millis) -> String {
    format!("{purged:013}")
}

/// A credential as text, or a tenant.
pub(super) fn caller(caller: &CallerDigest) -> String {
    format!("{:032x}", u128::from_be_bytes(*caller))
}

/// A response that was shown, in the form in which entries have it: when its fetch began, its version, its digest as
/// stores know it.
pub(super) fn observed(observed: &Observed, digest: u64) -> [String; 3] {
    let Observed { began, version, digest: _ } = observed;
    let began = format!("{:016}", began.min(&LAST_MOMENT));
    [began, format!("{:020}", version.unwrap_or_default()), format!("{digest:016x}")]
}

/// The head of an entry, with its digest as stores know it.
pub(super) fn head(entry: &Entry<Arc<ProviderResponse>>, digest: u64) -> Vec<u8> {
    let Entry { stamp, began, fresh_until, stale_until, version, only, missing: _, digest: _, response: _ } = entry;
    let (session, epoch) = (generation(stamp.session), generation(stamp.epoch));
    let (version, only) = (version.unwrap_or_default(), caller(&only.unwrap_or(ALL_CALLERS)));
    format!("D{session}{epoch}{version:020}{began:016}{fresh_until:013}{stale_until:013}{only}{digest:016x}")
        .into_bytes()
}

/// What the script `acquire` answered.
pub(super) struct AcquireReply {
    /// The store's time.
    pub now: Micros,
    /// What the reader finds.
    pub acquired: Acquired<Arc<ProviderResponse>>,
    /// Whether an entry was there that could not be opened.
    pub unreadable: bool,
}

/// Reads the response of `acquire`, which was asked with this generation of the epoch. An entry that cannot be opened
/// is none: the reader leads without a lease, and its fill replaces the entry.
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
        // Only servers compare them.
        digest: 0,
        response: Arc::new(open(text)?),
    })
}
