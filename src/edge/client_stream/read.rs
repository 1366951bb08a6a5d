//! Reads: bytes from the flood guard, and for HTTP/2 over a Unix socket through the authority rewriter.

use super::ClientStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(mut authorities) = this.authorities.take() else {
            return this.poll_guarded(cx, buf);
        };
        let read = authorities.poll_read(buf, |part| this.poll_guarded(cx, part));
        if let Some((before, now)) = authorities.memory_change() {
            this.share().replace_bytes(before, now);
        }
        this.authorities = Some(authorities);
        read
    }
}
