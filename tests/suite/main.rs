//! The tests of the whole: the program as a process, real sockets, the official SDKs, and the order of the modules.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests stop at the first surprise"
)]

mod architecture;
mod bounded;
mod bypass;
mod cases;
mod cli;
mod clients;
mod codings;
mod coherence;
mod connections;
mod corpora;
mod dead_addresses;
mod docs;
mod fleet;
mod framing;
mod framing_h2;
mod freshness;
mod fronts;
mod harness;
mod hops;
mod hosts;
mod hostile;
mod invalidation;
mod issuer;
mod keys;
mod leaving;
mod lifecycle;
mod limits;
mod listeners;
mod log;
mod lost;
mod matrix;
mod memory;
mod metrics;
mod mixed;
mod model;
mod names;
mod offers;
mod passed;
mod pressure;
mod servers;
mod shared;
mod sharing;
mod supply;
mod surface;
mod properties;
mod provider_h2;
mod readiness;
mod provider_tls;
mod purge;
mod recorder;
mod reference;
mod revalidation;
mod reload;
mod restarts;
mod roots;
mod scripts;
mod sdk;
mod silence;
mod slots;
mod slow;
mod sockets;
mod tenants;
mod tokens;
mod traces;
mod unverified;
mod verdicts;
mod zitadel;
