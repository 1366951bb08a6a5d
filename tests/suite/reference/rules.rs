//! The rules of policies: `rule` in the metrics, `rules` in the access log.

use super::metrics::values_table;
use crate::harness::generated_part;
use sessiongate::model::Rule;
use sessiongate::telemetry::label_values;

#[test]
fn rules() {
    generated_part("docs/operations.md", "rules", &values_table("rule", &label_values::<Rule>()));
}
