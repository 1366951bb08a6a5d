//! The table of all options: each is declared once, in a file of this folder.
//!
//! The readers take an option's key, default and bounds from its row. `config/schema.json`, `config/example.yaml` and
//! the tables of `docs/reference/configuration.md` are rendered from the rows (`tests/suite/reference/`).

pub(super) mod algorithms;
pub(super) mod auth;
pub(super) mod clients;
pub(super) mod declare;
pub(super) mod egress_proxy;
mod elsewhere;
pub(super) mod grants;
pub(super) mod introspection;
pub(super) mod kind;
pub(super) mod listeners;
pub(super) mod operations;
pub(super) mod policies;
pub(super) mod process;
mod ratio;
pub(super) mod secrets;
pub(super) mod session_rules;
pub(super) mod store;
pub(super) mod table;
pub(super) mod upstreams;

pub(super) use elsewhere::elsewhere;
pub use process::ROOT;
pub use secrets::SECRET;
pub use table::{Example, Fallback, Format, MAX_NAME, NamedMaps, Options, Row, Rule, Sample, Shape};
