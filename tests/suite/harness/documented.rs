//! Blocks of documentation pages, for tests that run what a page shows.

use super::project;
use serde_json::Value;
use std::fs;

/// A fenced block of a page.
pub struct Block {
    pub language: String,
    pub text: String,
    /// Whether the line before it says that no test runs it.
    pub by_hand: bool,
}

/// The text of a page. The path is relative to the project.
pub fn page(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// The fenced blocks that begin at the start of a line.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut parts = page.split("\n```");
    let mut before = parts.next().unwrap();
    let mut blocks = Vec::new();
    while let (Some(block), Some(after)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        let by_hand = before.ends_with("<!-- by hand -->");
        blocks.push(Block { language: language.to_owned(), text: format!("{text}\n"), by_hand });
        before = after;
    }
    blocks
}

/// The texts of the blocks in this language that are not marked as run by hand.
pub fn blocks_in(page: &str, language: &str) -> Vec<String> {
    let own = blocks(page).into_iter().filter(|block| block.language == language && !block.by_hand);
    own.map(|block| block.text).collect()
}

/// A JSON value as a page shows it: long texts in it may be wrapped.
pub fn shown_json(text: &str) -> Value {
    let joined = text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    serde_json::from_str(&joined).unwrap_or_else(|error| panic!("{error}: {joined}"))
}

/// Whether a value has all members that are shown. Of metadata all are shown.
pub fn contains(found: &Value, shown: &Value) -> bool {
    match (found, shown) {
        (Value::Object(found), Value::Object(shown)) => shown.iter().all(|(name, shown)| match found.get(name) {
            Some(found) if name.ends_with("metadata") => found == shown,
            Some(found) => contains(found, shown),
            None => false,
        }),
        (found, shown) => found == shown,
    }
}
