//! Why a gateway cannot run.

use crate::cache;

/// Why the runtime cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The client of a provider cannot be set up.
    #[error("upstreams.{upstream}: TLS: {error}")]
    Client {
        /// The upstream.
        upstream: String,
        /// The cause.
        error: rustls::Error,
    },
    /// The store cannot be set up.
    #[error(transparent)]
    Store(#[from] cache::SetupError),
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
