//! The command `init`: prints a first configuration.
//!
//! What is wrong with the arguments, the configuration's own compiler says: it reads the text that would be printed,
//! but for files, and each finding at an option is one at the argument that the option came from. Its warnings are
//! errors here, so what is printed passes `check --deploy`.

mod text;

use crate::config::{self, ConfigError, Environment, is_loopback};
use crate::dialect::{DIALECTS, Dialect};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use http::Uri;
use std::path::Path;
use text::Parts;

/// Where the gateway listens without `--listen`, and with `--tls`.
const LISTEN: [&str; 2] = ["127.0.0.1:8080", "0.0.0.0:8443"];

#[derive(Args)]
pub(super) struct InitArgs {
    /// API of the provider
    #[arg(long, value_name = "NAME", value_parser = dialect_names())]
    dialect: String,
    /// Address of the provider: https://HOST[:PORT], or http:// on this machine
    #[arg(long, value_name = "URL")]
    url: String,
    /// Issuer of access tokens, exactly as in `iss` [default: that of the provider's tokens, if it follows from --url]
    ///
    /// Without issuer and audience the provider alone verifies credentials (`auth: forward`).
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Audience of access tokens, one of those in `aud` [default: the provider's API, if it follows from --url]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Listen with TLS: the PEM files of a certificate, with its chain, and of its private key
    #[arg(long, value_name = "CERTIFICATE,KEY", value_parser = tls_files)]
    tls: Option<(String, String)>,
    /// Cache in this Redis instead of in memory, for several replicas: redis[s]://HOST[:PORT]
    #[arg(long = "redis", value_name = "URL")]
    store: Option<String>,
    /// Listen address: IP:PORT or unix:/PATH [default: 127.0.0.1:8080, with --tls 0.0.0.0:8443]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// CA certificates for the provider, if it has none of a public CA: a PEM file
    #[arg(long, value_name = "FILE", value_parser = file_name)]
    ca_file: Option<String>,
}

fn dialect_names() -> PossibleValuesParser {
    PossibleValuesParser::new(DIALECTS.iter().map(|dialect| PossibleValue::new(dialect.name).help(dialect.title)))
}

fn tls_files(text: &str) -> Result<(String, String), String> {
    let files = text.split_once(',').filter(|(_, key)| !key.contains(','));
    let (certificate, key) = files.ok_or("expected two files: CERTIFICATE,KEY")?;
    Ok((file_name(certificate)?, file_name(key)?))
}

/// A file name, which also stands in a comment: with a line break, its rest would be options.
fn file_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a file name, without control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// The configuration, or everything that is wrong with the arguments.
pub(super) fn configuration(args: &InitArgs) -> Result<String, Vec<String>> {
    let dialect = DIALECTS.iter().find(|dialect| dialect.name == args.dialect);
    let dialect = dialect.ok_or_else(|| vec![format!("--dialect: unknown dialect `{}`", args.dialect)])?;
    let origin = Origin::of(&args.url);
    let mut reasons: Vec<String> = origin.as_ref().err().map(|reason| format!("--url: {reason}")).into_iter().collect();
    let has_bad_url = !reasons.is_empty();
    let origin = origin.ok().flatten();
    let tokens = tokens(args, dialect, origin.as_ref()).unwrap_or_else(|reason| {
        reasons.push(reason);
        None
    });
    let is_tls = origin.as_ref().is_none_or(|origin| origin.url.starts_with("https:"));
    if args.ca_file.is_some() && !is_tls {
        reasons.push("--ca-file: --url does not use TLS; use `https://` there, or omit it".to_owned());
    }
    let parts = Parts {
        dialect,
        url: origin.as_ref().map_or(&args.url, |origin| &origin.url),
        tokens,
        listen: args.listen.as_deref().unwrap_or(if args.tls.is_some() { LISTEN[1] } else { LISTEN[0] }),
        tls: args.tls.as_ref(),
        store: args.store.as_deref(),
        ca_file: args.ca_file.as_deref(),
    };
    let findings = findings(&Parts { tls: None, ca_file: None, ..parts.clone() }.text());
    let of_url = |reason: &String| reason.starts_with("--url: ");
    let found = findings.iter().map(|finding| at_argument(args, dialect, finding));
    reasons.extend(found.filter(|reason| !has_bad_url || !of_url(reason)));
    if reasons.is_empty() { Ok(parts.text()) } else { Err(reasons) }
}

/// The part of a URL before its path, in the form that issuers and audiences have: in lower case, without the default
/// port and without a final dot.
struct Origin {
    url: String,
    host: String,
}

impl Origin {
    /// `None` if the text is not the URL of a host: the configuration's own message says why.
    ///
    /// # Errors
    ///
    /// Why a URL with a path is not accepted: a path is more often copied from the API's documentation than meant as a
    /// base path. And why one without TLS is not, if it is on another machine.
    fn of(text: &str) -> Result<Option<Origin>, String> {
        let uri = text.parse::<Uri>().ok().filter(|_| !text.contains(['@', '?', '#']));
        let Some((scheme, authority)) = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?))) else {
            return Ok(None);
        };
        // The configuration says what is wrong with a port such as 70000.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Ok(None);
        }
        let default_port = if scheme == "https" { 443 } else { 80 };
        let port = authority.port_u16().filter(|port| *port != default_port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let (url, host) = (format!("{scheme}://{name}{port}"), name.trim_matches(['[', ']']).to_owned());
        match uri.as_ref().map_or("", Uri::path).trim_end_matches('/') {
            "" if scheme == "http" && !is_loopback(&host) => Err("sends tokens and sessions over the network in \
                cleartext; use `https://`. If the network is encrypted otherwise, set `url` and `allow_http: true` in \
                the configuration"
                .to_owned()),
            "" => Ok(Some(Origin { url, host })),
            path => Err(format!("has the path `{path}`; expected `{url}`: requests have the whole path of the API")),
        }
    }
}

/// The issuer and the audience of access tokens; `None` if the provider alone verifies credentials.
fn tokens(args: &InitArgs, dialect: &Dialect, origin: Option<&Origin>) -> Result<Option<(String, String)>, String> {
    let InitArgs { issuer, audience, .. } = args;
    let Some(form) = &dialect.token_form else {
        let missing = |given: &str, other: &str| {
            format!("{other}: is missing, but {given} is set; for dialect `{}` set both or neither", dialect.name)
        };
        return match (issuer, audience) {
            (None, None) => Ok(None),
            (Some(issuer), Some(audience)) => Ok(Some((issuer.clone(), audience.clone()))),
            (Some(_), None) => Err(missing("--issuer", "--audience")),
            (None, Some(_)) => Err(missing("--audience", "--issuer")),
        };
    };
    let Some(origin) = origin else {
        return Ok(issuer.clone().zip(audience.clone()));
    };
    let issuer = issuer.clone().unwrap_or_else(|| form.issuer(&origin.url));
    let own = form.is_tenant_host(&origin.host) || is_loopback(&origin.host);
    let audience = audience.clone().or_else(|| own.then(|| form.audience(&origin.url))).ok_or_else(|| {
        let (hosts, path) = (form.tenant_hosts, form.audience_path);
        format!(
            "--audience: is missing; `{}` is a domain of your own, and the audience keeps that of the provider; \
             expected `https://TENANT{hosts}{path}`",
            origin.host
        )
    })?;
    Ok(Some((issuer, audience)))
}

/// The errors of a text, or its warnings if it has no errors.
fn findings(text: &str) -> Vec<ConfigError> {
    match config::compile("", text, &AnySecret, [0; 32]) {
        Ok(compiled) => compiled.warnings,
        Err(errors) => errors,
    }
}

/// The secrets that the configuration refers to exist only later.
struct AnySecret;

impl Environment for AnySecret {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Ok(vec![b'x'; 64])
    }
}

/// What is wrong with the argument that the option of a finding came from.
fn at_argument(args: &InitArgs, dialect: &Dialect, finding: &ConfigError) -> String {
    let upstream = format!("upstreams.{}.", dialect.name);
    let option = finding.path.strip_prefix(&upstream).unwrap_or(&finding.path);
    let given = |value: &Option<String>, name| if value.is_some() { name } else { "--url" };
    let argument = match option {
        "url" => "--url",
        "auth.issuer" => given(&args.issuer, "--issuer"),
        "auth.audience" => given(&args.audience, "--audience"),
        "listen" => "--listen",
        "store.redis.url" => "--redis",
        other => other,
    };
    format!("{argument}: {}", finding.text())
}
