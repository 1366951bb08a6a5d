//! The dialects.

use crate::harness::generated_part;
use sessiongate::dialect::{DIALECTS, Dialect};

#[test]
fn dialects() {
    let rows = DIALECTS.iter().map(|dialect| {
        let preview = if dialect.preview { " (preview)" } else { "" };
        format!("| `{}` | {}{preview} |\n", dialect.name, dialect.title)
    });
    let rows: String = rows.collect();
    generated_part("docs/configuration.md", "dialects", &format!("| Dialect | Provider |\n|---|---|\n{rows}"));
}

/// The limits of metadata that the providers have on their own.
#[test]
fn limits_of_providers() {
    let cell = |limit: Option<usize>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let row = |dialect: &&Dialect| {
        let limits = &dialect.limits;
        let cells = [limits.properties, limits.key_length, limits.value_length].map(cell).join(" | ");
        format!("| `{}` | {cells} |\n", dialect.name)
    };
    let rows: String = DIALECTS.iter().map(row).collect();
    let head = "| Dialect | `properties` | `key_length` | `value_length` |\n|---|---|---|---|\n";
    generated_part("docs/configuration.md", "limits of providers", &format!("{head}{rows}"));
}
