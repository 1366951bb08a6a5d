//! Every metric: declared in one table, with its type, labels and help text. Label values come only from closed sets,
//! from the configuration, and from the build.

mod counted;
mod declaration;
mod labels;
mod load;
mod meter;
mod meters;
mod process_collector;
mod process_metrics;
mod registrar;
mod request_metrics;
mod snapshot;
mod snapshot_metrics;
mod store;
mod table;

pub use counted::Counted;
pub use declaration::{LabelValues, Metric, MetricKind, MetricLabel};
pub use meters::Meters;
pub use process_metrics::Metrics;
pub use snapshot::{IntrospectionReading, IssuerReading, MetricsSnapshot, QuotaReading, SlotReading};
pub use store::StoreMetrics;
pub use table::METRICS;
