//! Log level and format.

use crate::config::{Config, LogFormat, LogLevel};
use crate::log_writer::LogWriter;
use crate::reload::Follower;
use tracing_subscriber::EnvFilter;

/// The filter for `level`.
fn filter(level: LogLevel) -> EnvFilter {
    // What libraries log about single connections is in the access log.
    let quiet = ["pingora_core", "pingora_proxy", "hyper", "h2", "rustls", "hickory_resolver", "hickory_net"]
        .map(|name| format!("{name}=error"))
        .join(",");
    EnvFilter::new(format!("{},{quiet}", level.name()))
}

/// Starts the log, and returns the follower that changes its level.
pub(super) fn start(config: &Config, log_writer: &LogWriter) -> Follower {
    let log_writer = log_writer.clone();
    let level = filter(config.log.level);
    let builder =
        tracing_subscriber::fmt().with_env_filter(level).with_writer(move || log_writer.clone()).with_ansi(false);
    // An error means that a log was started before, as in tests.
    match config.log.format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |config| handle.reload(filter(config.log.level)).map_err(|error| error.to_string()))
        }
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |config| handle.reload(filter(config.log.level)).map_err(|error| error.to_string()))
        }
    }
}
