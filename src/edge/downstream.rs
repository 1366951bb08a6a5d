//! The client that a task serves, as a task-local: Pingora's hooks receive a session, which does not carry it.

use super::client_timing::ClientTiming;
use super::strict_http1::StrictHttp1Reader;
use crate::wire::http1::RequestError;
use std::sync::Arc;

tokio::task_local! {
    static DOWNSTREAM: Downstream;
}

/// The HTTP/1 connection or HTTP/2 stream that a task serves.
pub(super) struct Downstream {
    pub timing: Arc<ClientTiming>,
    /// The strict reader; HTTP/1 only.
    pub reader: Option<Arc<StrictHttp1Reader>>,
}

/// Runs `serving` with this client as the task's downstream.
pub(super) async fn serve<T>(downstream: Downstream, serving: impl Future<Output = T>) -> T {
    DOWNSTREAM.scope(downstream, serving).await
}

/// The timing of this task's client; `None` outside a client's task.
pub(crate) fn client_timing() -> Option<Arc<ClientTiming>> {
    DOWNSTREAM.try_with(|downstream| downstream.timing.clone()).ok()
}

/// The framing fault of this task's request, if any.
pub(crate) fn fault() -> Option<RequestError> {
    DOWNSTREAM.try_with(|downstream| downstream.reader.as_ref()?.fault()).ok().flatten()
}

/// Switches this task's HTTP/1 connection to a tunnel: the bytes that follow are not HTTP.
pub(crate) fn open_tunnel() {
    let _ = DOWNSTREAM.try_with(|downstream| downstream.reader.iter().for_each(|reader| reader.open_tunnel()));
}
