//! The ways in which servers read a path.

/// A server's way to read a path.
#[derive(Debug, Clone, Copy)]
pub struct PathReader {
    /// How often it decodes before it looks at anything.
    decodes: usize,
    /// Whether `\` is a slash.
    backslash: bool,
    /// Whether `;` begins parameters.
    parameters: bool,
    /// Whether several slashes are one.
    merges: bool,
    /// Whether an encoded `?` or `#` ends the path.
    cuts: bool,
    /// Whether it resolves dot segments at all.
    dots: bool,
    /// Whether parts are decoded once more when the dot segments are gone.
    decodes_parts: bool,
}

pub fn path_readers() -> impl Iterator<Item = PathReader> {
    (0..3usize).flat_map(|decodes| {
        (0..64u8).map(move |bits| PathReader {
            decodes,
            backslash: bits & 1 > 0,
            parameters: bits & 2 > 0,
            merges: bits & 4 > 0,
            cuts: bits & 8 > 0,
            dots: bits & 16 > 0,
            decodes_parts: bits & 32 > 0,
        })
    })
}

pub fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl PathReader {
    /// The parts of a path, when all is done.
    pub fn parts(self, path: &str) -> Vec<String> {
        let mut text = (0..self.decodes).fold(path.to_owned(), |text, _| decoded(&text));
        if self.cuts {
            text.truncate(text.find(['?', '#', '\0']).unwrap_or(text.len()));
        }
        if self.backslash {
            text = text.replace('\\', "/");
        }
        let mut parts: Vec<String> = Vec::new();
        for part in text.strip_prefix('/').unwrap_or(&text).split('/') {
            let part = if self.parameters { part.split(';').next().unwrap_or_default() } else { part };
            // URL parsers take an encoded dot for a dot.
            match part.to_lowercase().replace("%2e", ".").as_str() {
                "" if self.merges => {}
                "." if self.dots => {}
                ".." if self.dots => drop(parts.pop()),
                _ => parts.push(part.to_owned()),
            }
        }
        if self.decodes_parts {
            parts.iter_mut().for_each(|part| *part = decoded(part));
        }
        parts
    }

    /// Whether it finds a session, a refresh token, or what a user has of them.
    pub fn finds_something(self, path: &str) -> bool {
        let parts = self.parts(path);
        let named = |at: usize, name: &str| parts.get(at).is_some_and(|part| part.eq_ignore_ascii_case(name));
        let id = parts.get(3).is_some_and(|id| !id.is_empty());
        let of_a_user = ["sessions", "refresh-tokens", "revoke-access"].iter().any(|name| named(4, name));
        let found = match () {
            () if named(2, "sessions") => id,
            () if named(2, "users") => id && of_a_user,
            () => named(2, "refresh-tokens"),
        };
        named(0, "api") && named(1, "v2") && found
    }
}
