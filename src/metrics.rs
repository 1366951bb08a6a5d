//! Every metric with its name, labels and help text. Label values come only from closed sets and from the
//! configuration.

mod counted;
mod load;
mod meter;
mod meters;
mod process_metrics;
mod registrar;
mod request_metrics;
mod snapshot;
mod snapshot_metrics;
mod store;

pub use counted::Counted;
pub use meters::Meters;
pub use process_metrics::Metrics;
pub use snapshot::{IssuerReading, MetricsSnapshot};
pub use store::StoreMetrics;
