//! The scanner that parses bytes into nodes.

use super::node::{JsonError, Kind, MAX_DEPTH, Member, Node};
use compact_str::CompactString;
use memchr::memchr2;
use std::collections::HashSet;

/// Parses one document from front to back.
pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    tokens: usize,
    most: usize,
    /// Whether there are control characters, which may be white space between values.
    has_controls: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner of at most `most` values and keys.
    pub(super) fn new(source: &'a [u8], most: usize) -> Result<Scanner<'a>, JsonError> {
        let text = std::str::from_utf8(source)
            .map_err(|e| JsonError { what: "found invalid UTF-8".into(), offset: e.valid_up_to() })?;
        if text.starts_with('\u{feff}') {
            return Err(JsonError { what: "found a byte order mark".into(), offset: 0 });
        }
        let has_controls = source.iter().fold(false, |found, byte| found | (*byte < b' '));
        Ok(Scanner { text, bytes: source, at: 0, depth: 0, tokens: 0, most, has_controls })
    }

    /// Parses the whole document: one value and nothing after it.
    pub(super) fn document(mut self) -> Result<Node, JsonError> {
        self.skip_space();
        let root = self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(root),
            Some(_) => Err(self.found("the end of the document")),
        }
    }

    fn value(&mut self) -> Result<Node, JsonError> {
        self.count()?;
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Kind::Bool(true))?,
            Some(b'f') => self.word("false", Kind::Bool(false))?,
            Some(b'n') => self.word("null", Kind::Null)?,
            Some(_) | None => return Err(self.found("a value")),
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn object(&mut self) -> Result<Kind, JsonError> {
        self.enter()?;
        let mut members = Vec::new();
        if !self.closes(b'}') {
            loop {
                let member = self.member()?;
                if member.key == "__proto__" {
                    return Err(fault(
                        "found the key `__proto__`, which some parsers treat specially",
                        member.key_span.start,
                    ));
                }
                members.push(member);
                if self.separator(b'}', "`,` or `}`")? {
                    break;
                }
            }
        }
        self.depth -= 1;
        check_keys(&members)?;
        Ok(Kind::Object(members))
    }

    fn member(&mut self) -> Result<Member, JsonError> {
        self.count()?;
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.found("a key in quotes"));
        }
        let key = self.string()?;
        let key_span = start..self.at;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.found("`:`"));
        }
        self.at += 1;
        self.skip_space();
        Ok(Member { key_span, key, value: self.value()? })
    }

    fn array(&mut self) -> Result<Kind, JsonError> {
        self.enter()?;
        let mut items = Vec::new();
        if !self.closes(b']') {
            loop {
                items.push(self.value()?);
                if self.separator(b']', "`,` or `]`")? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Kind::Array(items))
    }

    /// Skips the opening bracket.
    fn enter(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fault(&format!("found more than {MAX_DEPTH} levels of nesting"), self.at));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
        }
        closes
    }

    /// After an item: `true` at the closing bracket, `false` after a comma.
    fn separator(&mut self, bracket: u8, expected: &str) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(false)
            }
            Some(found) if found == bracket => {
                self.at += 1;
                Ok(true)
            }
            Some(_) | None => Err(self.found(expected)),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.found("a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Parses the string at the opening quote. serde_json unescapes it, as everywhere in the program.
    fn string(&mut self) -> Result<CompactString, JsonError> {
        let start = self.at;
        let mut end = start + 1;
        let mut plain = true;
        loop {
            let rest = self.bytes.get(end..).unwrap_or_default();
            let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            let part = rest.get(..length).unwrap_or_default();
            if self.has_controls
                && let Some(at) = part.iter().position(|byte| *byte < b' ')
            {
                return Err(fault("found a control character in a string", end + at));
            }
            end += length;
            match self.bytes.get(end) {
                None => return Err(fault("found an unterminated string", start)),
                Some(b'"') => break,
                Some(_) => {
                    plain = false;
                    end += 2;
                }
            }
        }
        self.at = end + 1;
        if plain {
            return Ok(self.text.get(start + 1..end).unwrap_or_default().into());
        }
        let literal = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str::<String>(literal)
            .map(CompactString::from)
            .map_err(|_| fault("found an invalid escape in a string", start))
    }

    fn number(&mut self) -> Result<Kind, JsonError> {
        let start = self.at;
        self.eat(|b| b == b'-', 1);
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.eat(|b| b.is_ascii_digit(), usize::MAX);
        let mut valid = whole > 0 && !(leading_zero && whole > 1);
        let mut integer = true;
        if self.eat(|b| b == b'.', 1) == 1 {
            integer = false;
            valid &= self.eat(|b| b.is_ascii_digit(), usize::MAX) > 0;
        }
        if self.eat(|b| b == b'e' || b == b'E', 1) == 1 {
            integer = false;
            self.eat(|b| b == b'+' || b == b'-', 1);
            valid &= self.eat(|b| b.is_ascii_digit(), usize::MAX) > 0;
        }
        let spelling = self.text.get(start..self.at).unwrap_or_default();
        if !valid {
            return Err(fault("found an invalid number", start));
        }
        if !is_portable(spelling, integer) {
            return Err(fault("found a number that parsers read differently", start));
        }
        Ok(Kind::Number)
    }

    /// Skips at most `most` bytes that match, and returns how many.
    fn eat(&mut self, kind: impl Fn(u8) -> bool, most: usize) -> usize {
        let count = self.bytes.iter().skip(self.at).take(most).take_while(|b| kind(**b)).count();
        self.at += count;
        count
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn count(&mut self) -> Result<(), JsonError> {
        self.tokens += 1;
        if self.tokens > self.most { Err(self.too_many()) } else { Ok(()) }
    }

    #[cold]
    fn too_many(&self) -> JsonError {
        fault(&format!("found more than {} keys and values", self.most), self.at)
    }

    fn found(&self, expected: &str) -> JsonError {
        let what = match self.rest().chars().next() {
            Some(c) => format!("expected {expected}, found `{}`", c.escape_default()),
            None => format!("expected {expected}, found the end"),
        };
        JsonError { what, offset: self.at }
    }
}

/// Up to so many keys are compared with each other: that costs less than hashing them.
const FEW_KEYS: usize = 16;

/// Rejects duplicate keys. It does not copy the keys, which may be as long as the document.
fn check_keys(members: &[Member]) -> Result<(), JsonError> {
    let twice = if members.len() <= FEW_KEYS {
        let mut marks = [0; FEW_KEYS];
        marks.iter_mut().zip(members).for_each(|(own, member)| *own = mark(&member.key));
        let marked = || members.iter().zip(&marks);
        let is_before = |(member, own): (&Member, &u32), at| {
            marked().take(at).any(|(other, mark)| mark == own && other.key == member.key)
        };
        marked().zip(0..).find(|(one, at)| is_before(*one, *at)).map(|((member, _), _)| member)
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        members.iter().find(|member| !seen.insert(member.key.as_str()))
    };
    match twice {
        Some(twice) => Err(fault("found a duplicate key", twice.key_span.start)),
        None => Ok(()),
    }
}

/// What two equal keys have in common: the ends, and as much of the length as fits.
fn mark(key: &str) -> u32 {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
    let [first, last] = [key.as_bytes().first(), key.as_bytes().last()].map(|byte| byte.copied().unwrap_or_default());
    u32::from_be_bytes([length[0], length[1], first, last])
}

fn fault(what: &str, offset: usize) -> JsonError {
    JsonError { what: what.to_owned(), offset }
}

/// Whether all parsers read the same number: integers within 2^53, others finite and not rounded to zero.
fn is_portable(spelling: &str, integer: bool) -> bool {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    let Ok(value) = spelling.parse::<f64>() else {
        return false;
    };
    if integer {
        return value.abs() <= EXACT;
    }
    let mantissa = spelling.split(['e', 'E']).next().unwrap_or_default();
    let zero = mantissa.bytes().all(|b| matches!(b, b'-' | b'.' | b'0'));
    value.is_finite() && (zero || value != 0.0)
}
