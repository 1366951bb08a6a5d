//! The reference documentation says what the tables in the source say: it is rendered from them.

mod command_line;
mod dashboard;
mod dialects;
mod example;
mod findings;
mod log;
mod metrics;
mod operations;
mod options;
mod rejections;
mod schema;
mod sdks;
mod threats;
mod troubleshooting;
