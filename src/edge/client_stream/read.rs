//! What is read of a connection: as the client sends it, but for heads of HTTP/2 that need not name a host.

use super::ClientStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(mut authorities) = this.authorities.take() else {
            return this.poll_frames(cx, buf);
        };
        let read = authorities.poll_read(buf, |part| this.poll_frames(cx, part));
        if let Some((before, now)) = authorities.grown() {
            this.share().keeps(before, now);
        }
        this.authorities = Some(authorities);
        read
    }
}
