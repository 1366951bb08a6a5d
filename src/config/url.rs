//! URLs of providers and issuers.

use super::error::Problem;
use super::variables::Text;
use http::Uri;
use http::uri::Authority;
use std::net::IpAddr;

/// A parsed HTTP URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// The host, in lower case, without brackets and without a trailing dot.
    pub host: String,
    /// Whether the host has a trailing dot.
    pub rooted: bool,
    /// The port.
    pub port: u16,
    /// The path, without a trailing slash.
    pub path: String,
    /// Whether it has a query.
    pub query: bool,
    /// The original text.
    pub text: String,
}

impl Url {
    /// Parses a URL. Errors do not show its text if it may contain a password.
    pub fn parse(text: &Text) -> Result<Url, Problem> {
        Url::of(text.as_str(), text.shown())
    }

    /// Parses a URL, which messages show as `shown`.
    pub fn of(source: &str, shown: &str) -> Result<Url, Problem> {
        let forms = "expected `http[s]://HOST[:PORT][/PATH]`";
        let wrong = |what: &str| Problem::new(what).expected(forms);
        if source.contains('@') {
            return Err(wrong("contains credentials or an `@`"));
        }
        if source.contains('#') {
            return Err(wrong("has a fragment"));
        }
        let uri: Uri = source.parse().map_err(|_| wrong(&format!("{} is not a URL", shown)))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => {
                return Err(wrong(&format!("{} does not begin with `http://` or `https://`", shown)));
            }
        };
        let host = uri.host().map(str::to_ascii_lowercase).unwrap_or_default();
        let (host, rooted) = host.strip_suffix('.').map_or((host.as_str(), false), |host| (host, true));
        if !is_host(host) {
            return Err(wrong(&format!("{} has no valid host", shown)));
        }
        let port =
            port(&uri, if tls { 443 } else { 80 }).ok_or_else(|| wrong(&format!("{} has no valid port", shown)))?;
        let path = uri.path().trim_end_matches('/').to_owned();
        if !path.is_empty() && !is_plain_path(&path) {
            return Err(wrong(&format!("{} has an invalid path", shown)).expected(PLAIN_PATH));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Url { tls, host, rooted, port, path, query: uri.query().is_some(), text: source.to_owned() })
    }

    /// Parses a URL and rejects a query.
    pub fn without_query(text: &Text) -> Result<Url, Problem> {
        let url = Url::parse(text)?;
        if url.query { Err(Problem::new("has a query").expected("expected a URL without a query")) } else { Ok(url) }
    }

    /// Whether the host is certainly this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Whether a host, without brackets, is certainly this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Parses a `Host` value: a host, and optionally a port.
pub(super) fn authority(text: &Text) -> Result<Authority, Problem> {
    let host = text.as_str().to_ascii_lowercase();
    let found: Option<Authority> = host.parse().ok().filter(|found: &Authority| {
        let rest = found.as_str().strip_prefix(found.host()).and_then(|rest| match rest.strip_prefix(':') {
            None => rest.is_empty().then_some(()),
            Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).map(|_| ()),
        });
        is_host(found.host()) && rest.is_some()
    });
    let problem = || Problem::new(format!("{} is not a host", text.shown()));
    found.ok_or_else(|| problem().expected("expected a host name or an IP address, optionally with a port"))
}

/// Parses a host without a port. Returns it in lower case and without brackets.
pub(super) fn host(text: &Text) -> Result<String, Problem> {
    let host = text.as_str().to_ascii_lowercase();
    if is_host(&host) {
        return Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned());
    }
    Err(Problem::new(format!("{} is not a host", text.shown()))
        .expected("expected a host name or an IP address, without a port"))
}

/// Whether this is a host name, an IPv4 address, or an IPv6 address in brackets, in lower case and without a port.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    host.len() <= 253 && host.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(plain))
}

/// What [`is_plain_path`] accepts.
pub(super) const PLAIN_PATH: &str = "expected segments of `A-Z a-z 0-9 - _ . ~` such as `/a/b`";

/// Whether a path is unambiguous: `/`, then plain segments, without a trailing slash.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

/// The port of a URI, or `default`.
pub(super) fn port(uri: &Uri, default: u16) -> Option<u16> {
    let authority = uri.authority()?;
    let rest = authority.as_str().strip_prefix(authority.host())?;
    match rest.strip_prefix(':') {
        None => Some(default),
        Some(port) => port.parse().ok().filter(|port| *port != 0),
    }
}
