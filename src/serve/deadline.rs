//! The deadline that a caller sets.

use crate::wire::carrier::Carrier;
use http::HeaderMap;
use std::time::Duration;

/// How long a caller waits for the response, from the head of its request on: `grpc-timeout` (gRPC, gRPC-web) or
/// `connect-timeout-ms` (Connect). Other carriers have no such header.
pub(super) fn deadline(carrier: Carrier, headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match carrier {
        Carrier::Rest => return None,
        Carrier::Connect(_) => return text("connect-timeout-ms")?.parse().ok().map(Duration::from_millis),
        Carrier::Grpc(_) | Carrier::GrpcWeb(_) => {}
    }
    let (number, unit) = text("grpc-timeout").and_then(|text| text.split_at_checked(text.len().checked_sub(1)?))?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
