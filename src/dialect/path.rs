//! The ways in which servers may read a path.
//!
//! Servers decode, fold and resolve paths in different ways. If *any* reading of a path leads below a protected prefix,
//! the request is protected: its canonical form ([`canonical`]) must then be one that all servers read alike, and that
//! form is forwarded. In a prefix, [`ANY`] stands for any one segment.

use crate::wire::folded;
use crate::wire::hex;
use std::borrow::Cow;

/// In a prefix: any one segment.
pub const ANY: &str = "{}";

/// How many rounds of percent-decoding are tried: a proxy and a server make two, and one more is for safety.
const ROUNDS: usize = 3;

/// A path and its possible readings.
#[derive(Debug)]
pub struct PathReadings {
    readings: Vec<Vec<String>>,
    /// The text after each round of decoding, in lower case.
    texts: Vec<String>,
}

impl PathReadings {
    /// Computes the readings of a path: decoded once, twice and so on; in lower case; with backslashes as slashes;
    /// without parameters after `;`, empty segments and dot segments.
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
        // Servers that do not trim white space see it as part of a segment.
        let spaced = |text: &&String| text.contains(char::is_whitespace);
        readings.extend(texts.iter().filter(spaced).map(|text| parts(text, |part| part)));
        PathReadings { readings, texts }
    }

    /// Whether the path has dot segments, in any round of decoding.
    pub fn has_dots(&self) -> bool {
        let dots = |part: &str| matches!(part.split(';').next().unwrap_or_default().trim(), "." | "..");
        self.texts.iter().any(|text| text.split(['/', '\\']).any(dots))
    }

    /// Whether the path contains anything that servers resolve in different orders: dot segments, parameters,
    /// backslashes, or characters that end a path.
    pub fn is_ambiguous(&self) -> bool {
        // Some servers read a host after two leading slashes.
        let odd = |text: &String| text.starts_with("//") || text.contains(['\\', ';', '?', '#', '\0']);
        self.has_dots() || self.texts.iter().any(odd)
    }

    /// Whether the path is ambiguous and contains the last word of the prefix, so that some order of resolving may lead
    /// there.
    pub fn may_reach(&self, prefix: &str) -> bool {
        let word = folded(prefix.rsplit('/').find(|part| *part != ANY).unwrap_or_default());
        self.is_ambiguous() && self.texts.iter().any(|text| text.contains(&word))
    }

    /// Whether any reading satisfies the predicate.
    pub fn any(&self, fits: impl Fn(&[String]) -> bool) -> bool {
        self.readings.iter().any(|reading| fits(reading))
    }

    /// The greatest of what the readings give.
    pub fn greatest<T: Ord>(&self, of: impl Fn(&[String]) -> T) -> Option<T> {
        self.readings.iter().map(|reading| of(reading)).max()
    }

    /// Whether any reading is at or below the prefix.
    pub fn reaches(&self, prefix: &str) -> bool {
        let prefix = folded(prefix);
        let prefix: Vec<&str> = prefix.trim_start_matches('/').split('/').collect();
        let fits = |(part, own): (&String, &&str)| *own == ANY || part == own;
        self.any(|parts| parts.len() >= prefix.len() && parts.iter().zip(&prefix).all(fits))
    }
}

/// The canonical form of a path, in which no character has two spellings: unreserved characters and slashes are raw,
/// every other character is percent-encoded, with digits in upper case (RFC 3986, 6.2.2). Clients differ in which
/// characters of a segment they encode, such as `|`, `@` or `'`. `None` if servers differ in what the path means:
/// parameters after `;`, backslashes, and encoded dots, which are dot segments before or after decoding.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    let dot = |raw: &[u8]| raw.eq_ignore_ascii_case(b"%2e");
    canonicalized(path, b"/", b"\\;?#").filter(|_| !path.as_bytes().windows(3).any(dot))
}

/// The canonical form of a query value. `None` if servers differ in what it means (some read `+` as a space), or if it
/// contains control characters.
pub fn canonical_value(value: &str) -> Option<Cow<'_, str>> {
    canonicalized(value, b"", b"\\;#&=+").filter(|value| decoded_text(value).is_some())
}

/// The text with unreserved characters and those of `raw` raw, and all others percent-encoded. `None` if it contains a
/// raw character of `odd`, a `%` without two digits, or a raw character that clients must encode.
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

/// The canonical form of a path, if all servers read it as at or below one of these prefixes.
pub fn canonical_below<'a>(path: &'a str, prefixes: &[&str]) -> Option<Cow<'a, str>> {
    let path = canonical(path)?;
    is_below_any(&path, prefixes).then_some(path)
}

/// Whether a path begins with this prefix; [`ANY`] is any segment. What follows may be anything.
pub fn looks_below(path: &str, prefix: &str) -> bool {
    match around_any(prefix) {
        None => path.starts_with(prefix),
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let any = rest.find('/').unwrap_or(rest.len());
            rest.get(any..).is_some_and(|rest| rest.starts_with(after))
        }),
    }
}

/// Whether a canonical path is at or below one of these prefixes.
pub fn is_below_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| is_canonical_below(path, prefix))
}

/// What is before and after [`ANY`]. No other part of a prefix has a brace.
fn around_any(prefix: &str) -> Option<(&str, &str)> {
    // A search for a text costs more than the comparison with the path.
    let (before, rest) = prefix.split_at_checked(prefix.bytes().position(|byte| byte == b'{')?)?;
    Some((before, rest.strip_prefix(ANY)?))
}

/// Whether a canonical path is at or below the prefix: the same characters, one plain segment for [`ANY`], then
/// segments of unreserved characters.
fn is_canonical_below(path: &str, prefix: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_unreserved);
    let rest = match around_any(prefix) {
        None => path.strip_prefix(prefix),
        Some((before, after)) => path.strip_prefix(before).and_then(|rest| {
            let (any, rest) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
            rest.strip_prefix(after).filter(|_| decoded_part(any).is_some())
        }),
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part)))
}

/// The decoded value of a canonical segment that may contain any characters, such as a user ID. `None` if a server
/// could interpret the decoded value.
pub fn decoded_part(part: &str) -> Option<String> {
    let text = decoded_text(part)?;
    let odd = |c: char| matches!(c, '/' | '\\' | '%' | ';' | '?' | '#');
    let dots = matches!(text.as_str(), "" | "." | "..");
    Some(text).filter(|text| !dots && text.trim() == text && !text.contains(odd))
}

/// The decoded value of a canonical query value. `None` if it contains control characters or is not UTF-8.
pub fn decoded_value(value: &str) -> Option<String> {
    decoded_text(value)
}

/// The decoded value of a canonical text. `None` if it contains control characters or is not UTF-8.
fn decoded_text(text: &str) -> Option<String> {
    let text = String::from_utf8(decoded(text.as_bytes())).ok()?;
    Some(text).filter(|text| !text.contains(char::is_control))
}

/// The octet of the two hexadecimal digits at the start, and the rest.
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = text.split_at_checked(2)?;
    Some((hex::value(*pair.first()?)? << 4 | hex::value(*pair.get(1)?)?, rest))
}

/// The hexadecimal digit of a number below 16, in upper case.
fn upper_digit(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

/// Whether RFC 3986 calls the character unreserved, so that it never needs encoding.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Whether no reading can lead below one of `roots`: the path has another beginning and nothing ambiguous.
pub fn is_clearly_outside(path: &str, roots: &[&str]) -> bool {
    let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'\\' | b';' | b'?' | b'#');
    let begins = |root: &&str| path.get(..root.len()).is_some_and(|start| start.eq_ignore_ascii_case(root));
    // This runs on each pass-through request: a substring search would cost more.
    let empty_or_dotted = |rest: &[u8]| matches!(rest, [b'/', b'/', ..]) || is_dotted(rest);
    let anywhere = || (0..path.len()).filter_map(|at| path.as_bytes().get(at..)).any(empty_or_dotted);
    !roots.iter().any(begins) && !path.bytes().any(odd) && !anywhere()
}

/// Whether a text begins with a slash and a dot segment. Other segments may begin with dots, such as `/.well-known`.
fn is_dotted(rest: &[u8]) -> bool {
    matches!(rest, [b'/', b'.'] | [b'/', b'.', b'/', ..] | [b'/', b'.', b'.'] | [b'/', b'.', b'.', b'/', ..])
}

/// The segments of a path in the most lenient reading. `trimmed` handles white space around a segment.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_may_end_with_any_segment() {
        let below = |path| canonical_below(path, &["/api/sessions/{}"]).is_some();
        for path in ["/api/sessions/1", "/api/sessions/1/refresh", "/api/%73essions/1"] {
            assert!(below(path), "{path}");
        }
        for path in ["/api/sessions", "/api/sessions/", "/api/sessions//", "/api/sessions/./x", "/api/other/1"] {
            assert!(!below(path), "{path}");
        }
        let reaches = |path| {
            let readings = PathReadings::of(path);
            readings.reaches("/api/sessions/{}") || readings.may_reach("/api/sessions/{}")
        };
        assert!(reaches("/api/x/../sessions/1") && reaches("/api/..;/sessions") && reaches("/API/Sessions/1;v=1"));
        assert!(!reaches("/api/sessions") && !reaches("/api/x;v=1/1"));
    }

    proptest::proptest! {
        /// A path of which no reading is looked at has none below the root, and means the same to all servers.
        #[test]
        fn what_is_clearly_outside_has_no_reading_inside(path in "/([aA/.;%\\\\~?# ]|%2[eEfF]|\\.\\.|api|\\.well){0,12}") {
            if is_clearly_outside(&path, &["/api"]) {
                let readings = PathReadings::of(&path);
                assert!(!readings.reaches("/api") && !readings.may_reach("/api") && !readings.has_dots(), "{path}");
            }
        }
    }

    #[test]
    fn plain_paths_are_clearly_outside() {
        for path in ["/", "/x", "/.well-known/openid-configuration", "/a/...", "/a/..b", "/a/.b/c", "/oauth/v2/keys"] {
            assert!(is_clearly_outside(path, &["/api"]), "{path}");
        }
        for path in ["/api", "/API/x", "/a/.", "/a/..", "/./a", "/../a", "//a", "/a//b", "/a;b", "/a%41", "/a\\b", "/é"]
        {
            assert!(!is_clearly_outside(path, &["/api"]), "{path}");
        }
    }
}
