//! Reads the tests of llhttp (the parser of Node.js): requests and responses in Markdown, with the parser's log.

use std::path::Path;

/// One of them.
pub struct Sample {
    /// The document and its heading.
    pub name: String,
    /// What is parsed, and how leniently: `request`, `response-lenient-headers`, …
    pub kind: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The parser's log.
    pub log: String,
}

impl Sample {
    /// How many messages the parser has found the beginning of.
    pub fn messages(&self) -> usize {
        self.log.lines().filter(|line| line.ends_with("message begin")).count()
    }

    pub fn has_error(&self) -> bool {
        self.log.contains(" error code=")
    }

    /// The body, or the bodies.
    pub fn body(&self) -> String {
        let spans = self.log.lines().filter_map(|line| line.split_once("span[body]=").map(|(_, text)| text));
        let text = |span: &str| match span {
            "cr" => "\r".to_owned(),
            "lf" => "\n".to_owned(),
            "tab" => "\t".to_owned(),
            quoted => quoted.trim_matches('"').to_owned(),
        };
        spans.map(text).collect()
    }
}

/// All samples in the documents of a folder.
pub fn samples(folder: &Path) -> Vec<Sample> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut samples = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (mut heading, mut kind) = (String::new(), String::new());
        let mut lines = text.split_inclusive('\n');
        while let Some(line) = lines.next() {
            if let Some(title) = line.strip_prefix('#') {
                heading = title.trim_start_matches('#').trim().to_owned();
            } else if line.starts_with("<!-- meta=") {
                let found = line.split_once("\"type\"").map_or("", |(_, rest)| rest);
                kind = found.split('"').nth(1).unwrap_or_default().to_owned();
            } else if let Some(language) = line.trim_end().strip_prefix("```") {
                let block: String = lines.by_ref().take_while(|line| line.trim_end() != "```").collect();
                match (language, samples.last_mut()) {
                    ("http", _) => samples.push(Sample {
                        name: format!("{name}: {heading}"),
                        kind: kind.clone(),
                        bytes: unescaped(&block),
                        log: String::new(),
                    }),
                    ("log", Some(sample)) => sample.log = block,
                    _ => {}
                }
            }
        }
    }
    samples
}

/// The bytes that a block stands for: lines end in CR LF, but for those that end in a backslash, and escapes are as in
/// JavaScript.
fn unescaped(block: &str) -> Vec<u8> {
    let text = block.strip_suffix('\n').unwrap_or(block).replace("\\\n", "").replace('\n', "\r\n");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (code, behind) = (rest[at + 1..].chars().next(), &rest[(at + 2).min(rest.len())..]);
        rest = behind;
        match code {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('f') => bytes.push(0x0c),
            Some('x') => {
                let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
                bytes.push(u32::from_str_radix(&behind[..digits], 16).unwrap() as u8);
                rest = &behind[digits..];
            }
            Some('0') => {
                let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_digit(8)).len();
                bytes.push(u32::from_str_radix(&format!("0{}", &behind[..digits.min(2)]), 8).unwrap() as u8);
                rest = &behind[digits.min(2)..];
            }
            Some(other) => bytes.extend(format!("\\{other}").bytes()),
            None => bytes.push(b'\\'),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[test]
fn blocks_are_unescaped() {
    assert_eq!(unescaped("a\nb\n\n"), b"a\r\nb\r\n");
    assert_eq!(unescaped("a\\\nb\\r\\n\\t\\x41\\x0z\n"), b"ab\r\n\tA\0z");
    assert_eq!(unescaped("F\\01\\033\\\\x\n"), b"F\x01\x1b\\\\x");
}
