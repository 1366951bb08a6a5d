//! The format of an access log line.

use super::access_log_fields::LogField;
use crate::config::LogFormat;
use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::time::SystemTime;

/// The maximum length of an item in a list, in bytes.
const MAX_ITEM: usize = 100;

/// A line that is being written.
pub(super) struct LogLine {
    text: String,
    format: LogFormat,
}

impl LogLine {
    /// Begins a line with the fields that every line of the log has: `TIMESTAMP`, `LEVEL` and `MESSAGE`.
    pub fn begin(format: LogFormat, minor: bool) -> LogLine {
        let mut text = String::with_capacity(1024);
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let (before, after) = match (format, minor) {
            (LogFormat::Json, false) => ("{\"timestamp\":\"", "\",\"level\":\"INFO\",\"message\":\"request\""),
            (LogFormat::Json, true) => ("{\"timestamp\":\"", "\",\"level\":\"DEBUG\",\"message\":\"request\""),
            (LogFormat::Text, false) => ("", "  INFO request"),
            (LogFormat::Text, true) => ("", " DEBUG request"),
        };
        text.push_str(before);
        // Writing to a String cannot fail.
        let _ = write!(text, "{time}");
        text.push_str(after);
        LogLine { text, format }
    }

    /// One of the gateway's own words, which need no escaping.
    pub fn word(&mut self, field: &LogField, value: &str) {
        self.open(field);
        self.text.push_str(value);
        self.close();
    }

    /// A text of any origin: escaped, and truncated to `most` bytes.
    pub fn text(&mut self, field: &LogField, value: &str, most: usize) {
        self.open(field);
        escape(&mut self.text, shortened(value, most));
        self.text.push('"');
    }

    /// The same for parts of the gateway's own words.
    pub fn plain_text<'v>(&mut self, field: &LogField, parts: impl IntoIterator<Item = &'v str>) {
        self.open(field);
        parts.into_iter().for_each(|part| self.text.push_str(part));
        self.text.push('"');
    }

    /// A list of `WORD:TEXT`.
    pub fn list<'v>(&mut self, field: &LogField, items: impl Iterator<Item = (&'static str, &'v str)>) {
        self.open(field);
        let mut before = "[\"";
        for (word, text) in items {
            self.text.push_str(before);
            self.text.push_str(word);
            self.text.push(':');
            escape(&mut self.text, shortened(text, MAX_ITEM));
            before = "\",\"";
        }
        self.text.push_str("\"]");
    }

    pub fn address(&mut self, field: &LogField, address: IpAddr) {
        self.open(field);
        match address {
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.text.push('.');
                    }
                    self.digits(u64::from(octet));
                }
            }
            IpAddr::V6(address) => drop(write!(self.text, "{address}")),
        }
        self.close();
    }

    pub fn number(&mut self, field: &LogField, value: u64) {
        self.open(field);
        self.digits(value);
    }

    /// A number with a decimal point.
    pub fn decimal(&mut self, field: &LogField, value: impl Display) {
        self.open(field);
        let _ = write!(self.text, "{value}");
    }

    pub fn boolean(&mut self, field: &LogField, value: bool) {
        self.open(field);
        self.text.push_str(if value { "true" } else { "false" });
    }

    pub fn end(mut self) -> String {
        self.text.push_str(match self.format {
            LogFormat::Json => "}\n",
            LogFormat::Text => "\n",
        });
        self.text
    }

    fn open(&mut self, field: &LogField) {
        self.text.push_str(match self.format {
            LogFormat::Json => field.json,
            LogFormat::Text => field.text,
        });
    }

    fn close(&mut self) {
        if self.format == LogFormat::Json {
            self.text.push('"');
        }
    }

    fn digits(&mut self, value: u64) {
        self.text.push_str(itoa::Buffer::new().format(value));
    }
}

/// At most so many bytes of a text, cut between two characters.
fn shortened(text: &str, most: usize) -> &str {
    if text.len() > most { text.split_at(text.floor_char_boundary(most)).0 } else { text }
}

/// Adds a text as in a JSON string. Characters that terminals or log viewers may take for a line break or a direction
/// are escaped too.
fn escape(out: &mut String, text: &str) {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() || is_layout(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
}

/// Line and paragraph separators, controls of the direction of writing, and characters without a width.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape(&mut out, text);
        out
    }

    #[test]
    fn any_text_is_a_json_string_of_one_line() {
        let hostile = "a\"b\\c\n\r\t\u{0}\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}é😀";
        let text = escaped(hostile);
        assert_eq!(serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap(), hostile);
        assert!(text.chars().all(|c| !c.is_control() && !is_layout(c)), "{text}");
        assert!(text.ends_with("é😀"), "letters stay readable");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!((shortened("aé", 2), shortened("aé", 3), shortened("", 0)), ("a", "aé", ""));
    }
}
