//! The dialects.

use crate::harness::generated_part;
use sessiongate::dialect::DIALECTS;

#[test]
fn dialects() {
    let rows = DIALECTS.iter().map(|dialect| format!("| `{}` | {} |\n", dialect.name, dialect.title));
    let rows: String = rows.collect();
    generated_part("docs/configuration.md", "dialects", &format!("| Dialect | Provider |\n|---|---|\n{rows}"));
}
