//! What a path may be read as.
//!
//! Servers decode, fold and resolve paths in different ways. A path that *any* of these readings takes to a guarded prefix is
//! guarded, and then it has to be spelled in the one way that all of them read alike.

use crate::wire::folded;

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
        Spelling { readings: texts.iter().map(|text| parts(text)).collect(), texts }
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

    /// Whether the path is odd and names the last word of a prefix anywhere: then some order of resolving may end there.
    pub fn may_reach(&self, prefix: &str) -> bool {
        let word = folded(prefix.rsplit('/').next().unwrap_or_default());
        self.is_odd() && self.texts.iter().any(|text| text.contains(&word))
    }

    /// Whether any reading fits.
    pub fn any(&self, fits: impl Fn(&[String]) -> bool) -> bool {
        self.readings.iter().any(|reading| fits(reading))
    }

    /// Whether any reading is at or below a prefix.
    pub fn reaches(&self, prefix: &str) -> bool {
        let prefix = folded(prefix);
        let prefix: Vec<&str> = prefix.trim_start_matches('/').split('/').collect();
        self.any(|parts| parts.len() >= prefix.len() && parts.iter().zip(&prefix).all(|(part, own)| part == own))
    }
}

/// Whether the path is spelled in the one way in which a governed operation may be: the prefix to the letter, then plain parts
/// of unreserved characters.
pub fn is_canonical_below(path: &str, prefix: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part)))
}

/// Whether no reading can take the path below `root`: it has nothing that could be read in two ways, and another beginning.
pub fn is_plainly_outside(path: &str, root: &str) -> bool {
    let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'\\' | b';' | b'?' | b'#');
    let beginning = path.get(..root.len()).is_some_and(|start| start.eq_ignore_ascii_case(root));
    !beginning && !path.bytes().any(odd) && !path.contains("//") && !path.contains("/.")
}

/// The parts of a path in the most lenient reading.
fn parts(path: &str) -> Vec<String> {
    let text = path.replace('\\', "/");
    let mut parts: Vec<String> = Vec::new();
    for part in text.split('/') {
        let part = part.split([';', '\0', '?', '#']).next().unwrap_or_default().trim();
        match part {
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
