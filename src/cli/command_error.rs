//! Why a command failed.

use crate::config::ConfigError;
use crate::reload::Unusable;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The configuration is invalid: all its faults.
    #[error("{}", .0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<ConfigError>),
    /// Anything else.
    #[error("sessiongate: {0}")]
    Other(String),
}

pub(super) fn other(error: impl std::fmt::Display) -> CommandError {
    CommandError::Other(error.to_string())
}

impl From<Unusable> for CommandError {
    fn from(unusable: Unusable) -> CommandError {
        match unusable {
            Unusable::Invalid(faults) => CommandError::Config(faults),
            Unusable::Unreadable(_) | Unusable::NoDescriptors => CommandError::Other(unusable.to_string()),
        }
    }
}
