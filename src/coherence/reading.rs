//! What a reader makes of what it finds in the store.

use super::{Acquired, Entry, Millis, Stamp, Token};

/// The connection over which a step was carried out. Stores that lose acknowledged steps do so with their connections: when
/// another server takes over, or when one begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// Another connection has another number.
    pub number: u64,
    /// What was fetched before this may have outlived a mark that the store has lost.
    pub fence: Millis,
}

/// For how long an answer that is no longer fresh may still do, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Windows {
    /// While it is refreshed.
    pub revalidate: Millis,
    /// If the provider fails.
    pub error: Millis,
}

/// What a reader does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<T> {
    /// It answers with this.
    Answer(Entry<T>),
    /// It answers with this, and begins a fetch that nobody waits for.
    Refresh(Entry<T>, Fetch<T>),
    /// It joins the fetch in this process that began under this stamp and over this link, or begins it.
    Fetch(Fetch<T>),
    /// Somebody else fetches: it joins them if they are in this process, and otherwise looks again a little later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// Who fetches.
        reader: Token,
    },
    /// It asks the provider, and stores nothing.
    Bypass,
    /// It answers that there is no such session.
    Deleted,
}

/// A fetch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch<T> {
    /// The generations to fill under.
    pub stamp: Stamp,
    /// The version below which an answer is too old to store.
    pub floor: Option<u64>,
    /// What to answer with if the provider fails.
    pub fallback: Option<Entry<T>>,
}

/// Decides what to do. `now` is the store's time when it answered.
pub fn next<T: Clone>(acquired: Acquired<T>, link: Link, now: Millis, windows: Windows) -> Next<T> {
    let trusted = |entry: &Entry<T>| entry.fetched_at >= link.fence;
    let within =
        |entry: &Entry<T>, window: Millis| now < entry.fresh_until.saturating_add(window).min(entry.stale_until);
    match acquired {
        Acquired::Bypass => Next::Bypass,
        Acquired::Deleted => Next::Deleted,
        Acquired::Hit(entry, _) if trusted(&entry) => Next::Answer(entry),
        // Without a lease: the place is taken by what cannot be trusted, and the fill replaces it.
        Acquired::Hit(entry, floor) => Next::Fetch(Fetch { stamp: entry.stamp, floor, fallback: None }),
        Acquired::Wait { stale: Some(entry), .. } if trusted(&entry) && within(&entry, windows.revalidate) => {
            Next::Answer(entry)
        }
        Acquired::Wait { stamp, reader, .. } => Next::Wait { stamp, reader },
        Acquired::Lead { stamp, floor, stale } => {
            let stale = stale.filter(trusted);
            let fallback = stale.clone().filter(|entry| within(entry, windows.error));
            let fetch = Fetch { stamp, floor, fallback };
            match stale.filter(|entry| within(entry, windows.revalidate)) {
                Some(entry) => Next::Refresh(entry, fetch),
                None => Next::Fetch(fetch),
            }
        }
    }
}

/// What a fetch of this process is known by beside the answer that it is for. A reader may join it only if it has found the same
/// stamp over the same link by itself: known by the answer alone, a fetch that began before a write would be joined after it, and
/// known by the stamp alone, one that began before the store lost a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Joint {
    stamp: Stamp,
    link: u64,
}

impl Joint {
    /// What a fetch is known by that begins under this stamp over this link, or what a reader looks for who found them.
    pub fn new(stamp: Stamp, link: Link) -> Joint {
        Joint { stamp, link: link.number }
    }
}
