//! Request bodies that are read completely before they are used.

use super::context::Context;
use super::downstream::Downstream;
use super::not_served::NotServed;
use crate::memory::Level;
use crate::model::Rejection;
use crate::telemetry::Shed;
use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use std::time::Duration;

/// Reads a whole body of at most `most` bytes within `within`. Sends 100 to a client that expects it.
pub(super) async fn whole<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    most: usize,
    too_large: Rejection,
    within: Duration,
) -> Result<Bytes, NotServed> {
    if !downstream.has_body() {
        return Ok(Bytes::new());
    }
    if downstream.request().headers.contains_key(EXPECT) {
        downstream.send_continue().await.map_err(|error| error.into_down())?;
    }
    let whole = async {
        let mut whole = BytesMut::new();
        while let Some(part) = downstream.read_body().await.map_err(|error| error.into_down())? {
            if whole.len() + part.len() > most {
                return Err(NotServed::Rejected(too_large));
            }
            context.body_came(downstream.http2_body_read(), false);
            whole.extend_from_slice(&part);
            if context.holds_body(whole.capacity(), Level::Full).is_err() {
                context.shed(Shed::Request);
                return Err(NotServed::Rejected(Rejection::Overloaded));
            }
        }
        context.body_came(downstream.http2_body_read(), true);
        Ok(whole.freeze())
    };
    tokio::time::timeout(within, whole).await.map_err(|_| Rejection::BodyTimeout(within))?
}

/// Reads and drops the body of a rejected request, if it is small and arrives soon. Otherwise the connection, or the stream
/// of HTTP/2, would end after the response, and a client that still sends could see an error instead.
pub(super) async fn discard<D: Downstream>(downstream: &mut D) {
    const MOST: usize = 64 << 10;
    const SOON: Duration = Duration::from_secs(1);
    // A client that waits for 100 sends no body after another status.
    if !downstream.has_body() || downstream.request().headers.contains_key(EXPECT) {
        return;
    }
    let rest = async {
        let mut read = 0;
        while let Ok(Some(part)) = downstream.read_body().await {
            read += part.len();
            if read > MOST {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(SOON, rest).await;
}
