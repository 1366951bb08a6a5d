//! What a path may be read as.
//!
//! Servers decode, fold and resolve paths in different ways. A path that *any* of these readings takes to a guarded
//! place is guarded, and then its canonical form ([`canonical`]) has to be one that all of them read alike: it is what
//! is forwarded. A place is a path in which [`ANY`] may stand for a part; everything below it belongs to it.

use crate::wire::folded;
use crate::wire::hex;
use std::borrow::Cow;

/// What stands in a place for any one part.
pub const ANY: &str = "{}";

/// How often percent-encodings are decoded: a server and a proxy before it do it twice, one more is for safety.
const ROUNDS: usize = 3;

/// A path and its readings.
#[derive(Debug)]
pub struct PathReadings {
    readings: Vec<Vec<String>>,
    /// The text after each round of decoding, in lower case.
    texts: Vec<String>,
}

impl PathReadings {
    /// The readings of a path: decoded once, twice, …; in lower case; with back slashes as slashes; without parameters
    /// behind `;`, empty parts and dot segments.
    pub fn of(raw: &str) -> PathReadings {
        let mut texts = vec![folded(&String::from_utf8_lossy(raw.as_bytes()))];
        let mut bytes = raw.as_bytes().to_vec();
        for _ in 0..ROUNDS {
            let decoded = decoded(&bytes);
            if decoded == bytes {
                break;
            }
            texts.push(folded(&String::from_utf8_lossy(&decoded)));
            bytes = decoded;
        }
        let mut readings: Vec<Vec<String>> = texts.iter().map(|text| parts(text, str::trim)).collect();
        // To one who keeps it, white space is a part like any other.
        let spaced = |text: &&String| text.contains(char::is_whitespace);
        readings.extend(texts.iter().filter(spaced).map(|text| parts(text, |part| part)));
        PathReadings { readings, texts }
    }

    /// Whether the path has dot segments, in any round of decoding.
    pub fn has_dots(&self) -> bool {
        let dots = |part: &str| matches!(part.split(';').next().unwrap_or_default().trim(), "." | "..");
        self.texts.iter().any(|text| text.split(['/', '\\']).any(dots))
    }

    /// Whether the path has anything in it that servers resolve in an order of their own: dot segments, parameters,
    /// back slashes, what ends a path.
    pub fn is_ambiguous(&self) -> bool {
        // Two slashes in front begin a host to some.
        let odd = |text: &String| text.starts_with("//") || text.contains(['\\', ';', '?', '#', '\0']);
        self.has_dots() || self.texts.iter().any(odd)
    }

    /// Whether the path is odd and names the last word of a place anywhere: then some order of resolving may end there.
    pub fn may_reach(&self, place: &str) -> bool {
        let word = folded(place.rsplit('/').next().unwrap_or_default());
        self.is_ambiguous() && self.texts.iter().any(|text| text.contains(&word))
    }

    /// Whether any reading fits.
    pub fn any(&self, fits: impl Fn(&[String]) -> bool) -> bool {
        self.readings.iter().any(|reading| fits(reading))
    }

    /// Whether any reading is at or below a place.
    pub fn reaches(&self, place: &str) -> bool {
        let place = folded(place);
        let place: Vec<&str> = place.trim_start_matches('/').split('/').collect();
        let fits = |(part, own): (&String, &&str)| *own == ANY || part == own;
        self.any(|parts| parts.len() >= place.len() && parts.iter().zip(&place).all(fits))
    }
}

/// The canonical form of a path, in which no character has two spellings: unreserved characters and slashes are raw,
/// every other character is percent-encoded, with digits in upper case (RFC 3986, 6.2.2). Clients differ in what they
/// encode of a part, such as `|`, `@` or `'`. None where servers differ in what a spelling means: parameters behind
/// `;`, backslashes, and encoded dots, which are dot segments before or after decoding.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    let dot = |raw: &[u8]| raw.eq_ignore_ascii_case(b"%2e");
    canonicalized(path, b"/", b"\\;?#").filter(|_| !path.as_bytes().windows(3).any(dot))
}

/// The canonical form of a value in a query. None where servers differ in what it means, such as `+`, which is a space
/// to some, or where it holds control characters.
pub fn canonical_value(value: &str) -> Option<Cow<'_, str>> {
    canonicalized(value, b"", b"\\;#&=+").filter(|value| decoded_text(value).is_some())
}

/// A text in which unreserved characters and those of `raw` are raw, and all others encoded. None where it has anything
/// of `odd` raw, a `%` without two digits, or what no client may send raw.
fn canonicalized<'a>(text: &'a str, raw: &[u8], odd: &[u8]) -> Option<Cow<'a, str>> {
    let is_raw = |byte: u8| is_unreserved(byte) || raw.contains(&byte);
    if text.bytes().all(is_raw) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (byte, raw, tail) = match *first {
            b'%' => {
                let (byte, tail) = octet(tail)?;
                (byte, is_unreserved(byte), tail)
            }
            byte if !byte.is_ascii_graphic() || odd.contains(&byte) => return None,
            byte => (byte, is_raw(byte), tail),
        };
        if raw {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(upper_digit));
        }
        rest = tail;
    }
    Some(Cow::Owned(out))
}

/// The canonical form of a path, where all servers read it as one at or below any of these places.
pub fn canonical_below<'a>(path: &'a str, places: &[&str]) -> Option<Cow<'a, str>> {
    let path = canonical(path)?;
    places.iter().any(|place| is_canonical_below(&path, place)).then_some(path)
}

/// Whether a path in its canonical form is that of a governed operation: the place to the letter, in it a plain part
/// for any, then parts of unreserved characters.
fn is_canonical_below(path: &str, place: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_unreserved);
    let rest = match place.split_once(ANY) {
        None => path.strip_prefix(place),
        Some((before, after)) => path.strip_prefix(before).and_then(|rest| {
            let (any, rest) = rest.split_at_checked(rest.find('/')?)?;
            rest.strip_prefix(after).filter(|_| decoded_part(any).is_some())
        }),
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part)))
}

/// What a part of a canonical path says whose identifier may have any characters, such as that of a user. None where
/// some server would give a meaning to it once it is decoded.
pub fn decoded_part(part: &str) -> Option<String> {
    let text = decoded_text(part)?;
    let odd = |c: char| matches!(c, '/' | '\\' | '%' | ';' | '?' | '#');
    let dots = matches!(text.as_str(), "" | "." | "..");
    Some(text).filter(|text| !dots && text.trim() == text && !text.contains(odd))
}

/// What a canonical text says; none where it holds control characters, or is not in UTF-8.
fn decoded_text(text: &str) -> Option<String> {
    let text = String::from_utf8(decoded(text.as_bytes())).ok()?;
    Some(text).filter(|text| !text.contains(char::is_control))
}

/// An encoded octet, behind its `%`.
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = text.split_at_checked(2)?;
    Some((hex::value(*pair.first()?)? << 4 | hex::value(*pair.get(1)?)?, rest))
}

/// The digit of half an octet.
fn upper_digit(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

/// What RFC 3986 calls so: it never has to be encoded.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Whether no reading can take the path below `root`: it has nothing that could be read in two ways, and another
/// beginning.
pub fn is_clearly_outside(path: &str, root: &str) -> bool {
    let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'\\' | b';' | b'?' | b'#');
    let beginning = path.get(..root.len()).is_some_and(|start| start.eq_ignore_ascii_case(root));
    // Each pass-through request is asked this for each root: two bytes need no searcher of texts.
    let dotted = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    !beginning && !path.bytes().any(odd) && !path.as_bytes().windows(2).any(dotted)
}

/// The parts of a path in the most lenient reading, but for what becomes of white space around them.
fn parts(path: &str, trimmed: impl Fn(&str) -> &str) -> Vec<String> {
    let text = path.replace('\\', "/");
    let mut parts: Vec<String> = Vec::new();
    for part in text.split('/') {
        let part = part.split([';', '\0', '?', '#']).next().unwrap_or_default();
        match trimmed(part) {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = Some(tail).filter(|_| *first == b'%').and_then(octet).unwrap_or((*first, tail));
        out.push(byte);
        rest = tail;
    }
    out
}
