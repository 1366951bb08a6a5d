//! The kinds of findings of `check`: `docs/reference/check.md`.

use crate::harness::{generated_part, markdown_table};
use sessiongate::config::FindingId;
use sessiongate::telemetry::label_values;
use strum::VariantArray;

#[test]
fn findings() {
    let values = FindingId::VARIANTS.iter().zip(label_values::<FindingId>());
    let rows = values.map(|(id, value)| {
        let level = if id.is_warning() { "warning" } else { "error" };
        [format!("`{}`", value.name), level.to_owned(), value.meaning.to_owned()]
    });
    generated_part("docs/reference/check.md", "findings", &markdown_table(["ID", "level", "meaning"], rows));
}
