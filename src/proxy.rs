//! The gateway on the wire: Pingora carries the bytes, the core decides. Nothing else in the program names Pingora.

mod answer;
mod connection;
mod exchange;
mod framing;
mod governed;
mod head;
mod line;
mod passed;

pub use connection::Patience;

use crate::runtime::{Bound, Runtime};
use connection::Connections;
use exchange::Edge;
use parking_lot::Mutex;
use pingora::proxy::http_proxy;
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a request may be tried at a provider, the first time included.
const MAX_TRIES: usize = 2;
/// Connections to providers that are kept open.
const KEPT_CONNECTIONS: usize = 512;
/// How often a stopping gateway looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_millis(10);

/// A gateway that serves.
pub struct Serving {
    runtime: Arc<Runtime>,
    stop: watch::Sender<bool>,
}

impl Serving {
    /// Serves on a bound listener, on the tokio runtime that this is called in.
    pub fn start(runtime: Arc<Runtime>, bound: Bound, patience: Patience) -> Serving {
        let (stop, stopping) = watch::channel(false);
        let conf = Arc::new(ServerConf {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            upstream_keepalive_pool_size: KEPT_CONNECTIONS,
            max_retries: MAX_TRIES,
            ..ServerConf::default()
        });
        let proxy = http_proxy(&conf, Edge::new(runtime.clone()));
        let mut service = Service::new("gateway".into(), Connections::new(runtime.clone(), patience, proxy));
        let name = bound.address().to_string();
        service.add_tcp(&name);
        let mut fds = Fds::new();
        fds.add(name, bound.into_listener().into_raw_fd());
        tokio::spawn(async move {
            service.start_service(Some(Arc::new(Mutex::new(fds))), stopping, 1).await;
        });
        Serving { runtime, stop }
    }

    /// Stops: no longer ready at once; no new connections after `drain_delay`; then it waits until nothing is in flight, for
    /// `grace` at the most. Says how many requests were cut off.
    pub async fn stop(self, drain_delay: Duration, grace: Duration) -> u64 {
        self.runtime.stop();
        tokio::time::sleep(drain_delay).await;
        let _ = self.stop.send(true);
        let deadline = Instant::now() + grace;
        // One pause in any case: a request that was accepted just now has not been counted yet.
        loop {
            tokio::time::sleep(IDLE_CHECK).await;
            let left = self.runtime.metrics.in_flight.get();
            if left <= 0 || Instant::now() >= deadline {
                return u64::try_from(left).unwrap_or(0);
            }
        }
    }
}
