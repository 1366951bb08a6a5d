//! Words that the documentation does not use, because the field has another one for the same thing.

use super::{pages, prose};
use regex::Regex;

/// Each with the word to use.
const LEFT_OUT: [(&str, &str); 12] = [
    (r"(?i)\b(refus(e|es|al|als|ing)|(is|are|was|were|be) refused)\b", "reject"),
    (r"(?i)\baskers?\b", "caller"),
    (r"(?i)\bjudg(e|es|ed|ing)\b", "evaluate, validate, check"),
    (r"(?i)\banswer(s|ed|ing)?\b", "response, respond"),
    (r"(?i)\bpassed requests?\b", "pass-through request"),
    (r"(?i)\bwhoever\b", "any caller that"),
    (r"(?i)\bnobody\b", "no one, or the subject"),
    (r"(?i)\bnone where\b", "none if"),
    (r"(?i)\bis told\b", "receives, knows"),
    (r"(?i)\blooks again\b", "checks again"),
    (r"(?i)\bentity not found\b", "file not found"),
    (r"(?i)\bclaim on\b", "lease"),
];

#[test]
fn words_that_are_left_out_do_not_occur() {
    let code = Regex::new(r"`[^`]*`").unwrap();
    let words = LEFT_OUT.map(|(word, instead)| (Regex::new(word).unwrap(), instead));
    let mut faults = Vec::new();
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        let text = prose(&page.text);
        for line in text.lines() {
            let line = code.replace_all(line, "``");
            for (word, instead) in &words {
                if let Some(found) = word.find(&line) {
                    faults.push(format!("{}: `{}` (use {instead}) in: {line}", page.path, found.as_str()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
