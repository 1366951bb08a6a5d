//! The client that a task serves: Pingora's hooks get a session, which does not carry it.

use super::client_timing::ClientTiming;
use super::strict_http1::StrictRequests;
use crate::wire::http1::Fault;
use std::sync::Arc;

tokio::task_local! {
    static DOWNSTREAM: Downstream;
}

/// The connection of HTTP/1, or the stream of HTTP/2, that a task serves.
pub(super) struct Downstream {
    pub timing: Arc<ClientTiming>,
    /// The requests of a connection of HTTP/1.
    pub requests: Option<Arc<StrictRequests>>,
}

/// Serves a client in the task that this is called in.
pub(super) async fn serve<T>(downstream: Downstream, serving: impl Future<Output = T>) -> T {
    DOWNSTREAM.scope(downstream, serving).await
}

/// What the client of this task is doing; `None` in a task that serves none.
pub(crate) fn client_timing() -> Option<Arc<ClientTiming>> {
    DOWNSTREAM.try_with(|downstream| downstream.timing.clone()).ok()
}

/// What is wrong with the framing of this task's request.
pub(crate) fn fault() -> Option<Fault> {
    DOWNSTREAM.try_with(|downstream| downstream.requests.as_ref()?.fault()).ok().flatten()
}

/// From here on the connection of this task does not speak HTTP any more.
pub(crate) fn open_tunnel() {
    let _ = DOWNSTREAM.try_with(|downstream| downstream.requests.iter().for_each(|requests| requests.open_tunnel()));
}
