//! The command `probe`: reports in one line whether a running gateway is ready, or alive.

use super::command_error::{CommandError, other};
use super::exchange::{self, Endpoint};
use bytes::Bytes;
use clap::Args;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, Uri};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How much of a response's body is read, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The longest message, in characters.
const MAX_MESSAGE: usize = 1000;
/// The longest timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// Succeed if the process runs: request /livez
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Succeed if the gateway is ready for requests: request /readyz (the default)
    #[arg(long)]
    ready: bool,
    /// The gateway's `admin` listener: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    ///
    /// The certificate of an https:// URL is not verified, as with HTTPS probes of Kubernetes: the request has no
    /// secret. A URL with a path is requested as it is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", value_parser = target)]
    url: Target,
    /// Timeout of the whole probe, such as 500ms or 2s
    #[arg(long, value_name = "T", default_value = "1s", value_parser = timeout)]
    timeout: Duration,
}

/// What a probe requests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// The URL as it was given, for messages.
    shown: String,
    endpoint: Endpoint,
    tls: bool,
    /// The path and query, if the URL has any.
    path: Option<String>,
}

fn target(text: &str) -> Result<Target, String> {
    const FORMS: &str = "expected http://HOST:PORT, https://HOST:PORT or unix:/PATH";
    let shown = text.to_owned();
    if let Some(endpoint) = Endpoint::unix(text) {
        return Ok(Target { shown, endpoint: endpoint?, tls: false, path: None });
    }
    let uri: Uri = text.parse().map_err(|error| format!("{error}; {FORMS}"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(FORMS.to_owned()),
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(FORMS)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => {
            if tls {
                443
            } else {
                80
            }
        }
        // `Authority::port` is also `None` for an invalid port.
        _ => authority.port_u16().ok_or_else(|| format!("the port is not a number from 0 to 65535; {FORMS}"))?,
    };
    let host = Some(host).filter(|host| !host.is_empty()).ok_or(FORMS)?;
    let endpoint = Endpoint::Tcp(host.to_owned(), port);
    let path = uri.path_and_query().map(|path| path.as_str().to_owned()).filter(|path| path != "/");
    Ok(Target { shown, endpoint, tls, path })
}

fn timeout(text: &str) -> Result<Duration, String> {
    let found = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let valid = !found.is_zero() && found <= MAX_TIMEOUT;
    valid.then_some(found).ok_or_else(|| "expected more than 0s, and at most 1h".to_owned())
}

/// Probes the gateway. Returns one line for a success; an error of one line otherwise.
pub(super) async fn probe(args: &ProbeArgs) -> Result<String, CommandError> {
    let found = attempt(args).await;
    found.map_err(|error| match error {
        CommandError::Other(message) => CommandError::Other(one_line(&message)),
        error @ CommandError::Config(_) => error,
    })
}

async fn attempt(args: &ProbeArgs) -> Result<String, CommandError> {
    let ProbeArgs { live, ready: _, url: Target { shown, endpoint, tls, path }, timeout } = args;
    let deadline = Instant::now() + *timeout;
    let own = if *live { "/livez" } else { "/readyz" };
    let request = Request::get(path.as_deref().unwrap_or(own));
    let request = request.header(HOST, endpoint.host()).header(CONNECTION, "close");
    let request = request.header(USER_AGENT, concat!("sessiongate-probe/", env!("CARGO_PKG_VERSION")));
    let request = request.body(Bytes::new()).map_err(other)?;
    let tls = if *tls { Some(exchange::unverified()?) } else { None };
    let late = |_| other(format!("no response from {shown} within {}", humantime::format_duration(*timeout)));
    let response = timeout_at(deadline, exchange::send(endpoint, tls, request)).await.map_err(late)??;
    let status = response.status();
    if status.is_success() {
        return Ok(match path {
            Some(_) => format!("OK: {} responded with {status}", one_line(shown)),
            None => if *live { "live" } else { "ready" }.to_owned(),
        });
    }
    // Without a body the status has to do.
    let body = timeout_at(deadline, exchange::body(response, MAX_BODY)).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reasons = body.get("reasons").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let reasons: Vec<&str> = reasons.collect();
    Err(other(match reasons.as_slice() {
        [] => format!("{shown} responded with {status}"),
        reasons => format!("not ready: {}", reasons.join("; ")),
    }))
}

/// A text on one line, without control characters, and cut off if it is long.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = plain.take(MAX_MESSAGE).collect();
    if text.chars().nth(MAX_MESSAGE).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn urls_are_endpoints_with_an_optional_path() {
        let tcp = |host: &str, port| Endpoint::Tcp(host.to_owned(), port);
        for (text, endpoint, tls, path) in [
            ("http://127.0.0.1:9090", tcp("127.0.0.1", 9090), false, None),
            ("http://localhost:9090/", tcp("localhost", 9090), false, None),
            ("https://gate.example", tcp("gate.example", 443), true, None),
            ("http://[::1]:9090", tcp("::1", 9090), false, None),
            ("http://svc:8080/healthz?a=b", tcp("svc", 8080), false, Some("/healthz?a=b")),
            ("unix:/run/gate.sock", Endpoint::Unix(PathBuf::from("/run/gate.sock")), false, None),
        ] {
            let path = path.map(str::to_owned);
            assert_eq!(target(text), Ok(Target { shown: text.to_owned(), endpoint, tls, path }), "{text}");
        }
        for text in ["", "127.0.0.1:9090", "ftp://a", "http://", "http://u:p@a", "unix:gate.sock", "http://a b", "/x"] {
            assert!(target(text).is_err(), "{text}");
        }
        for text in ["http://127.0.0.1:70000", "http://127.0.0.1:", "https://[::1]:x", "http://a:-1/livez"] {
            assert!(target(text).is_err_and(|error| error.contains("port") || error.contains("invalid")), "{text}");
        }
    }

    #[test]
    fn timeouts_are_bounded() {
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "1", "0s", "2h", "-1s", "99999999999999999999s", "18446744073709551615s"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(one_line(&"x".repeat(5000)).chars().count(), MAX_MESSAGE + 1);
    }
}
