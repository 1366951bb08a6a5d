//! The socket of a listener for operations.

use crate::config::ListenAddress;
use crate::edge::BoundListener;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// A bound socket with the runtime that serves it: a port in use is detected before anything else starts.
pub struct OperationsSocket {
    pub(super) runtime: OwnRuntime,
    pub(super) bound: Arc<BoundListener>,
}

impl OperationsSocket {
    /// Binds an address; port 0 takes a free port.
    pub fn new(address: &ListenAddress) -> io::Result<OperationsSocket> {
        OperationsSocket::open(|| BoundListener::new(address))
    }

    /// Adopts a socket that another process has bound. Fails if its address is not `address`.
    pub fn adopt(address: &ListenAddress, socket: OwnedFd) -> io::Result<OperationsSocket> {
        OperationsSocket::open(|| BoundListener::adopt(address, socket))
    }

    fn open(bind: impl FnOnce() -> io::Result<BoundListener>) -> io::Result<OperationsSocket> {
        let runtime = OwnRuntime(Some(Builder::new_current_thread().enable_all().build()?));
        let bound = runtime.within(bind)?;
        Ok(OperationsSocket { runtime, bound: Arc::new(bound) })
    }
}

/// A tokio runtime for one thread. It may be dropped inside of another runtime, where tokio's own type would panic.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Runs `work` so that sockets belong to this runtime.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.as_ref().map(Runtime::enter);
        work()
    }

    /// Runs a future on this thread, to its end.
    pub fn run(&self, future: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(future);
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
