//! Signals that do not stop the process, although their default action would.

use super::command_error::{CommandError, other};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that were caught early, so that they never end the process. Those that have arrived are kept.
pub(super) struct CaughtSignals {
    /// Reloads the configuration.
    pub hangup: Signal,
    ignored: [(&'static str, Signal); 2],
}

impl CaughtSignals {
    /// Catches them from now on. Call inside a tokio runtime.
    pub fn new() -> io::Result<CaughtSignals> {
        let ignored =
            [("SIGUSR1", signal(SignalKind::user_defined1())?), ("SIGUSR2", signal(SignalKind::user_defined2())?)];
        Ok(CaughtSignals { hangup: signal(SignalKind::hangup())?, ignored })
    }

    /// Logs the signals without an effect until the process ends. Returns SIGHUP. Call once the log has started.
    pub fn log_ignored(self) -> Signal {
        for (name, mut arrived) in self.ignored {
            tokio::spawn(async move {
                while arrived.recv().await.is_some() {
                    tracing::info!(
                        signal = name,
                        "signal ignored: the log goes to standard output, and SIGHUP reloads the configuration"
                    );
                }
            });
        }
        self.hangup
    }
}

/// Catches the signals before there is a runtime. Those that arrive until [`CaughtSignals::new`] may be lost.
pub(super) fn catch_early() -> Result<(), CommandError> {
    // A handler that is once installed stays until the process ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(other)?;
    runtime.block_on(async { CaughtSignals::new().map(drop) }).map_err(other)
}
