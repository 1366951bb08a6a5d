//! The tokio runtime of a command.

use super::command_error::{CommandError, other};

/// Runs a command on a tokio runtime with `threads` threads (`None`: one per CPU), and does not wait for its background
/// tasks.
pub(super) fn on_runtime(
    threads: Option<usize>,
    command: impl Future<Output = Result<(), CommandError>>,
) -> Result<(), CommandError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("gateway");
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.build().map_err(other)?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
