//! The traits that Pingora needs beyond reading and writing.

use super::{ClientStream, LINGER};
use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

impl ClientStream {
    /// Whether the client has closed the connection, even if bytes that it sent before have not been read.
    pub fn is_disconnected(&self) -> bool {
        self.transport.is_closed()
    }

    /// Rejects a connection that begins like HTTP/2 without being it: sends PROTOCOL_ERROR and closes.
    pub async fn reject_preface(mut self) {
        // SETTINGS, which comes first, and GOAWAY with PROTOCOL_ERROR (RFC 9113, section 3.4).
        self.out.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        self.out.extend_from_slice(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        self.linger_until = Some(Instant::now() + LINGER);
        let _ = std::future::poll_fn(|cx| self.poll_linger(cx)).await;
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.transport.fd()
    }
}

impl Ssl for ClientStream {}

impl Peek for ClientStream {}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }

    fn set_proxy_digest(&mut self, _: ProxyDigest) {}
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.digest = Arc::new(digest);
    }
}
