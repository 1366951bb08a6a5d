//! The command `ready`: reports whether a running gateway is ready. It is for probes on the same machine or in the same
//! pod, if the admin listener is on the loopback address.

use super::command_error::{CommandError, other};
use super::purge::send;
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct ReadyArgs {
    /// Address of the gateway's admin listener
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

/// Queries the gateway; an error if it is not ready.
pub(super) async fn ready(args: &ReadyArgs) -> Result<(), CommandError> {
    let request = Request::get("/readyz").body(Bytes::new()).map_err(other)?;
    let response = tokio::time::timeout(TIMEOUT, send(args.admin, request)).await;
    let (status, body) =
        response.map_err(|_| other(format!("no response from {} within {} s", args.admin, TIMEOUT.as_secs())))??;
    if status == StatusCode::OK {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reasons = body.get("reasons").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let reasons: Vec<&str> = reasons.collect();
    let why = if reasons.is_empty() { format!("{} responded with {status}", args.admin) } else { reasons.join("; ") };
    Err(other(format!("not ready: {why}")))
}
