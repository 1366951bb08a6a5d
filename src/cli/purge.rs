//! The command `purge`: makes a running gateway drop cached responses.

use super::command_error::{CommandError, other};
use super::exchange::{self, Endpoint};
use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a response's body is read, in bytes.
const MAX_BODY: usize = 64 << 10;

#[derive(Args)]
pub(super) struct PurgeArgs {
    /// The upstream, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    upstream: String,
    /// The session ID, or `-` to read it from standard input; default: all sessions of the upstream
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The gateway's `control` listener: HOST:PORT or unix:/PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091", value_parser = endpoint)]
    control: Endpoint,
    /// File with the bearer token of `control.token`; one trailing line break is ignored
    ///
    /// Needs --ca-file, unless the address is a loopback address or a Unix socket.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Use TLS, and accept only certificates of the CAs in this PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Client certificate with its chain, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca_file"])]
    cert: Option<PathBuf>,
    /// Private key of the client certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    if let Some(endpoint) = Endpoint::unix(text) {
        return endpoint;
    }
    let authority = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
    let found = authority.and_then(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Endpoint::Tcp(host.to_owned(), authority.port_u16()?))
    });
    found.ok_or_else(|| "expected HOST:PORT, such as 127.0.0.1:9091, or unix:/PATH".to_owned())
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
    let control = &args.control;
    if args.token_file.is_some() && args.ca_file.is_none() && !control.is_local() {
        return Err(other(format!("the token would be sent to {control} in cleartext; use TLS with --ca-file")));
    }
    let wanted = json!({ "upstream": args.upstream, "session": session });
    let mut request = Request::post("/cache/purge").header(CONTENT_TYPE, "application/json");
    request = request.header(HOST, control.host()).header(CONNECTION, "close");
    if let Some(token) = token(args)? {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Bytes::from(wanted.to_string())).map_err(other)?;
    let identity = args.cert.as_deref().zip(args.key.as_deref());
    let tls = args.ca_file.as_deref().map(|authorities| exchange::verified(authorities, identity)).transpose()?;
    let whole = async {
        let response = exchange::send(control, tls, request).await?;
        Ok::<_, CommandError>((response.status(), exchange::body(response, MAX_BODY).await))
    };
    let (status, body) = tokio::time::timeout(TIMEOUT, whole)
        .await
        .map_err(|_| other(format!("no response from {control} within {} s", TIMEOUT.as_secs())))??;
    if status == StatusCode::OK {
        return Ok(());
    }
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
    Err(other(said.unwrap_or_else(|| format!("{control} responded with {status}"))))
}

/// The value of `Authorization`, if there is a token.
fn token(args: &PurgeArgs) -> Result<Option<HeaderValue>, CommandError> {
    let Some(path) = &args.token_file else {
        return Ok(None);
    };
    let contents = exchange::contents(path)?;
    let token = contents.strip_suffix(b"\n").unwrap_or(&contents);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| other(format!("{}: a header cannot carry this token", path.display())))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
