//! What a path may be read as.
//!
//! Servers decode, fold and resolve paths in different ways. A path that *any* of these readings takes to a guarded place is
//! guarded, and then it has to be spelled in the one way that all of them read alike. A place is a path in which [`ANY`] may stand for
//! a part; everything below it belongs to it.

use crate::wire::folded;

/// What stands in a place for any one part.
pub const ANY: &str = "{}";

/// How often percent-encodings are decoded: a server and a proxy before it do it twice, one more is for safety.
const ROUNDS: usize = 3;

/// A path and its readings.
#[derive(Debug)]
pub struct Spelling {
    readings: Vec<Vec<String>>,
    /// The text after each round of decoding, in lower case.
    texts: Vec<String>,
}

impl Spelling {
    /// The readings of a path: decoded once, twice, …; in lower case; with back slashes as slashes; without parameters behind
    /// `;`, empty parts and dot segments.
    pub fn of(raw: &str) -> Spelling {
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
        Spelling { readings, texts }
    }

    /// Whether the path has dot segments, in any round of decoding.
    pub fn has_dots(&self) -> bool {
        let dots = |part: &str| matches!(part.split(';').next().unwrap_or_default().trim(), "." | "..");
        self.texts.iter().any(|text| text.split(['/', '\\']).any(dots))
    }

    /// Whether the path has anything in it that servers resolve in an order of their own: dot segments, parameters,
    /// back slashes, what ends a path.
    pub fn is_odd(&self) -> bool {
        // Two slashes in front begin a host to some.
        let odd = |text: &String| text.starts_with("//") || text.contains(['\\', ';', '?', '#', '\0']);
        self.has_dots() || self.texts.iter().any(odd)
    }

    /// Whether the path is odd and names the last word of a place anywhere: then some order of resolving may end there.
    pub fn may_reach(&self, place: &str) -> bool {
        let word = folded(place.rsplit('/').next().unwrap_or_default());
        self.is_odd() && self.texts.iter().any(|text| text.contains(&word))
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

/// Whether the path is spelled in the one way in which a governed operation may be: the place to the letter, in it a canonical part
/// for any, then plain parts of unreserved characters.
pub fn is_canonical_below(path: &str, place: &str) -> bool {
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

/// What a part says whose identifier may have any characters, such as that of a user; none where it is not canonical: unreserved
/// characters stand for themselves, and all others as `%` and two digits, the letters among them in upper case. Either way may stand
/// what RFC 3986 lets stand in a part, and what encoders therefore differ about. What some server would give a meaning to once it is
/// decoded may not stand in it at all.
pub fn decoded_part(part: &str) -> Option<String> {
    let text = decoded_text(part, b"!$&'()*+:=@")?;
    let odd = |c: char| matches!(c, '/' | '\\' | '%' | ';' | '?' | '#');
    let dots = matches!(text.as_str(), "" | "." | "..");
    Some(text).filter(|text| !dots && text.trim() == text && !text.contains(odd))
}

/// Whether a value in a query stands in a spelling that all servers read alike: as [`decoded_part`] wants it, but with anything
/// encoded, and without `+`, which is a space to some.
pub fn is_plain_value(value: &str) -> bool {
    decoded_text(value, b"!'()*,:@").is_some()
}

/// A text of unreserved characters, of these, and of percent-encoded ones; none where it is spelled in another way, or holds
/// control characters.
fn decoded_text(text: &str, these: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = match first {
            b'%' => canonical_octet(tail)?,
            own if is_unreserved(*own) || these.contains(own) => (*own, tail),
            _ => return None,
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

/// An octet that has to be percent-encoded, behind its `%`.
fn canonical_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = text.split_at_checked(2)?;
    let digits = pair.iter().all(|digit| digit.is_ascii_digit() || matches!(digit, b'A'..=b'F'));
    let value = hex(pair.first()?)? << 4 | hex(pair.get(1)?)?;
    Some((value, rest)).filter(|_| digits && !is_unreserved(value))
}

/// What RFC 3986 calls so: it never has to be encoded.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Whether no reading can take the path below `root`: it has nothing that could be read in two ways, and another beginning.
pub fn is_plainly_outside(path: &str, root: &str) -> bool {
    let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'\\' | b';' | b'?' | b'#');
    let beginning = path.get(..root.len()).is_some_and(|start| start.eq_ignore_ascii_case(root));
    // Each passed request is asked this for each root: two bytes need no searcher of texts.
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
        let digits = (*first == b'%').then(|| tail.split_at_checked(2)).flatten();
        let value = digits.and_then(|(pair, tail)| Some((hex(pair.first()?)? << 4 | hex(pair.get(1)?)?, tail)));
        match value {
            Some((value, tail)) => {
                out.push(value);
                rest = tail;
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
