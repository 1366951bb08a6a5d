//! The command `purge`: makes a running gateway drop cached responses.

use super::command_error::{CommandError, other};
use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

/// Timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct PurgeArgs {
    /// The upstream, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    upstream: String,
    /// The session ID, or `-` to read it from standard input; default: all sessions of the upstream
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Address of the gateway's admin listener, which accepts purges only from its own machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

/// Sends the purge and waits for its result.
pub(super) async fn purge(args: &PurgeArgs) -> Result<(), CommandError> {
    let session = match args.session.as_deref() {
        Some("-") => {
            let mut session = String::new();
            std::io::stdin().read_to_string(&mut session).map_err(other)?;
            Some(session.trim().to_owned())
        }
        session => session.map(str::to_owned),
    };
    let wanted = json!({ "upstream": args.upstream, "session": session });
    let request = Request::post("/cache/purge").header(CONTENT_TYPE, "application/json");
    let request = request.body(Bytes::from(wanted.to_string())).map_err(other)?;
    let response = tokio::time::timeout(TIMEOUT, send(args.admin, request));
    let (status, body) = response
        .await
        .map_err(|_| other(format!("no response from {} within {} s", args.admin, TIMEOUT.as_secs())))??;
    if status == StatusCode::OK {
        return Ok(());
    }
    let said =
        serde_json::from_slice::<Value>(&body).ok().and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
    Err(other(said.unwrap_or_else(|| format!("{} responded with {status}", args.admin))))
}

/// Sends a request to a gateway's admin listener.
pub(super) async fn send(admin: SocketAddr, mut request: Request<Bytes>) -> Result<(StatusCode, Bytes), CommandError> {
    let stream = tokio::net::TcpStream::connect(admin).await;
    let stream = stream.map_err(|error| other(format!("cannot reach the gateway at {admin}: {error}")))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, admin.to_string().parse().map_err(other)?);
    let response = sender.send_request(request.map(Full::new)).await.map_err(other)?;
    let status = response.status();
    Ok((status, response.into_body().collect().await.map_err(other)?.to_bytes()))
}
