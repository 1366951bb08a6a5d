//! Which instance a request is for: ZITADEL serves many and selects one by the host of the request.

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;

use super::error::{ApiError, Code};

/// The origin that the client sent the request to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Host and port.
    pub(super) host: String,
    /// The host with the scheme: the issuer of the tokens that are valid here.
    pub(super) url: String,
    public_host: Option<String>,
}

impl Origin {
    /// Reads it from the request. Headers of proxies win over `Host`, and `secure` (the instance is known to clients by
    /// https) wins over theirs about the scheme.
    pub(super) fn of(parts: &Parts, secure: bool) -> Self {
        let headers = &parts.headers;
        let own = || {
            parts
                .uri
                .authority()
                .map(|authority| authority.as_str().to_owned())
                .or_else(|| text(headers, HOST.as_str()))
        };
        let host = instance_host(headers).or_else(own).unwrap_or_default();
        let forwarded = || forwarded(headers, "forwarded", "proto");
        let proto = text(headers, "x-forwarded-proto").or_else(forwarded);
        let proto = if secure || proto.as_deref() == Some("https") { "https" } else { "http" };
        Self { url: format!("{proto}://{host}"), host, public_host: text(headers, "x-zitadel-public-host") }
    }

    /// Rejects hosts of unknown instances.
    pub(super) fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        let unset = |id, public: &str| {
            let (url, host) = (&self.url, &self.host);
            let text = format!("unable to set instance using origin &{{{host} {public} {url}}}");
            Err(ApiError::new(Code::NotFound, id, &text))
        };
        if !known(&self.host) {
            return unset("QUERY-IuGh1", self.public_host.as_deref().unwrap_or_default());
        }
        match &self.public_host {
            Some(public) if *public != self.host && !known(public) => unset("QUERY-n0wng", public),
            _ => Ok(()),
        }
    }
}

fn instance_host(headers: &HeaderMap) -> Option<String> {
    let parsed = ["forwarded", "x-zitadel-forwarded", "x-forwarded-for"];
    text(headers, "x-zitadel-instance-host")
        .or_else(|| parsed.into_iter().find_map(|name| forwarded(headers, name, "host")))
        .or_else(|| text(headers, "x-forwarded-host"))
}

/// A parameter of the first element of a `Forwarded` header (RFC 7239).
fn forwarded(headers: &HeaderMap, header: &str, parameter: &str) -> Option<String> {
    let value = text(headers, header)?;
    let mut pairs = value.split(',').next().unwrap_or_default().split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter))?;
    let value = value.trim().trim_matches('"');
    if value.is_empty() { None } else { Some(value.to_owned()) }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    if value.is_empty() { None } else { Some(value.to_owned()) }
}
