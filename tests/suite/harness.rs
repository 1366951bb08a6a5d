//! What the tests share: gateways and sandboxes as processes, HTTP/1.1 as bytes, and providers.
//!
//! Each wait has a deadline, so that a hanging test fails instead of blocking the others.

mod authority;
mod dns;
pub mod documented;
mod fleet;
mod environment;
mod forward_proxy;
mod fronts;
mod gate;
mod generated;
pub mod grpc;
mod h2;
mod http;
mod http2_client;
mod instance;
pub mod issuer;
pub mod kubernetes;
mod path_readers;
mod process;
mod prometheus;
mod prometheus_server;
mod provider;
mod random;
pub mod recorder;
mod redis;
mod rejections;
pub mod replica;
mod series;
mod tls_client;

pub use self::h2::{Arrived, Frame, FrameProvider, Frames, H2Provider, Part, Reply, frame, read_frame};
pub use authority::{Authority, server_config};
pub use dns::{DnsServer, Said, addresses};
pub use environment::EmptyEnvironment;
pub use fleet::{Fleet, Known, LoadReport, SESSIONS};
pub use forward_proxy::{Behaviour, ESTABLISHED, ForwardProxy, TinyProxy};
pub use fronts::{Front, Kind};
pub use gate::Gate;
pub use generated::{generated_file, generated_part, markdown_table};
pub use http::{Connection, Request, Response, address, raw, unused_address};
pub use http2_client::Http2Client;
pub use instance::Instance;
pub use path_readers::{decoded, path_readers};
pub use process::{Finished, Gateway, Process, SANDBOX_ADDRESSES, Sandbox, finish, project, sessiongate, write_config};
pub use prometheus::{alerts, check_queries, prometheus_installed, promtool};
pub use prometheus_server::Prometheus;
pub use provider::{Received, Scripted, Tenant, json_response};
pub use random::{Random, proptest_cases, seed};
pub use redis::{RedisCluster, RedisServer, Sentinels, redis_installed};
pub use rejections::rejections;
pub use series::{Series, series};
pub use tls_client::{TlsClient, on_runtime};

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. Machines that run tests are slow at times.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Says that something was not tested, where `cargo test` does not catch it, and to `tests/run`, which repeats it at
/// the end.
pub fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "skipped: {what}");
    if let Some(path) = std::env::var_os("SESSIONGATE_SKIPPED") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

/// Whether the SDKs are there; fails where they are not, unless they may be left out.
pub fn sdks_installed() -> bool {
    if std::env::var("SESSIONGATE_SKIP_SDK").is_ok_and(|value| value == "1") {
        skipped("the official SDKs (SESSIONGATE_SKIP_SDK=1)");
        return false;
    }
    let installed = project().join("tests/.tools/stamp").exists();
    assert!(
        installed,
        "the official SDKs are not installed: run tests/setup, or set SESSIONGATE_SKIP_SDK=1 to leave them out"
    );
    true
}

/// Whether tests may take minutes: `tests/run --long`.
pub fn long() -> bool {
    std::env::var("SESSIONGATE_LONG").is_ok_and(|value| value == "1")
}

/// Polls until there is a result. After [`TIMEOUT`] the test fails, and the message names `what`.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(PAUSE);
    }
}
