//! The option `egress_proxy` of an upstream and of its `auth`: forward proxies.

use super::certificates;
use super::environment::{NotUtf8, text_of};
use super::error::{Location, Problem, listed};
use super::options::declare::Plain;
use super::options::egress_proxy as rows;
use super::section::{Context, Section};
use super::url::Url;
use super::variables::Text;
use super::{FindingId, secret, value};
use crate::gateway::{EgressProxy, NoProxy, ProxyAuthorization};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret;
use std::sync::Arc;

/// The variables of the forms `NAME` and `name`. If both are set, the first counts.
const PROXY_VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The largest username, in bytes. `Proxy-Authorization` has to fit into a header.
const MAX_USERNAME: usize = 1024;

/// Reads a forward proxy. `Some(None)` if the option says that there is none, `None` if it is not set, or after an
/// error.
pub(super) fn read(section: &mut Section, option: &Plain) -> Option<Option<Arc<EgressProxy>>> {
    let entry = section.entry(option)?;
    let proxy = if entry.is_single() {
        let is_off = entry.read(section.context, |text| match text.as_str() {
            "off" => Ok(true),
            "environment" => Ok(false),
            _ => Err(Problem::new(format!("{} is not a valid value", text.shown()))
                .expected(format!("expected a map with `url`, or one of {}", listed(rows::WORDS.iter().copied())))),
        })?;
        if is_off { None } else { of_environment(section.context, &entry.location)? }
    } else {
        Some(section.context.read_map(&entry, proxy)??)
    };
    Some(proxy.map(Arc::new))
}

fn proxy(section: &mut Section) -> Option<EgressProxy> {
    let url = section.required(&rows::URL, "expected the URL of the proxy");
    let url = url.and_then(|entry| entry.read(section.context, proxy_url));
    let username = section.parse(&rows::USERNAME, username);
    let password = secret::text(section, &rows::PASSWORD);
    require_both(section);
    let mut no_proxy = NoProxy::default();
    for entry in section.list(&rows::NO_PROXY, no_proxy_entry).unwrap_or_default() {
        no_proxy.add(&entry.value);
    }
    let authorities = certificates::authorities(section, &rows::CA_FILE);
    let url = url?;
    if !url.tls && section.has(&rows::CA_FILE) {
        let location = section.location_of(&rows::CA_FILE);
        let problem = Problem::new("`url` does not use TLS").id(FindingId::Conflict);
        section.context.reject(&location, problem.expected("use `https://` there, or remove `ca_file`"));
    }
    let authorization = username.zip(password).map(|(name, password)| basic(&name, password.expose_secret()));
    Some(EgressProxy { tls: url.tls, host: url.host, port: url.port, authorization, authorities, no_proxy })
}

fn require_both(section: &mut Section) {
    let is_set = [section.has(&rows::USERNAME), section.has(&rows::PASSWORD)];
    let (location, set, expected) = match is_set {
        [true, false] => (section.location_of(&rows::PASSWORD), rows::USERNAME.key, secret::FORMS),
        [false, true] => (section.location_of(&rows::USERNAME), rows::PASSWORD.key, "expected the username"),
        [true, true] | [false, false] => return,
    };
    let problem = Problem::new(format!("is missing, but `{set}` is set")).id(FindingId::MissingOption);
    section.context.reject(&location, problem.expected(expected));
}

/// Parses the URL of a proxy.
fn proxy_url(text: &Text) -> Result<Url, Problem> {
    if text.as_str().contains('@') {
        let problem = Problem::new("contains credentials or an `@`");
        return Err(problem.expected("use the options `username` and `password`"));
    }
    let url = Url::without_query(text)?;
    check_name(&url, text.shown())?;
    if url.path.is_empty() {
        Ok(url)
    } else {
        Err(Problem::new("has a path").expected("expected a URL without a path"))
    }
}

/// A proxy with TLS has a name that a certificate can have.
fn check_name(url: &Url, shown: &str) -> Result<(), Problem> {
    if url.tls && ServerName::try_from(url.host.as_str()).is_err() {
        let problem = Problem::new(format!("the host of {shown} is no name for TLS"));
        return Err(problem.expected("expected a host name or an IP address"));
    }
    Ok(())
}

fn username(text: &Text) -> Result<String, Problem> {
    let name = value::text(text)?;
    if name.contains(':') || name.len() > MAX_USERNAME {
        let allowed = format!("expected at most {MAX_USERNAME} bytes, without `:`");
        return Err(Problem::new(format!("{} is not a valid username", text.shown())).expected(allowed));
    }
    Ok(name)
}

fn no_proxy_entry(text: &Text) -> Result<String, Problem> {
    let is_valid = NoProxy::default().add(text.as_str());
    if is_valid { Ok(text.as_str().to_owned()) } else { Err(invalid_entry(text.shown())) }
}

fn basic(username: &str, password: &str) -> ProxyAuthorization {
    ProxyAuthorization::new(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn invalid_entry(shown: &str) -> Problem {
    Problem::new(format!("{shown} is not a host, a domain, an IP address or a network"))
        .expected("expected such as `example.com`, `.svc`, `10.0.0.0/8`, `[fd00::1]:443` or `*`")
}

/// The proxy that the environment names: `Some(None)` if it names none, `None` after an error. No message contains the
/// value of a variable, since it may have credentials.
fn of_environment(context: &mut Context, location: &Location) -> Option<Option<EgressProxy>> {
    let environment = context.environment;
    // A value that cannot be read is not the same as none: then the provider would be reached directly.
    let find = |names: [&'static str; 2]| {
        let set = names.into_iter().filter_map(|name| Some((name, text_of(environment, name).transpose()?)));
        set.map(|(name, value)| value.map(|value| (name, value)).map_err(|NotUtf8| name))
            .find(|found| found.as_ref().is_ok_and(|(_, value)| !value.is_empty()) || found.is_err())
            .transpose()
    };
    let (no_proxy_variable, proxy_variable) = match (find(NO_PROXY_VARIABLES), find(PROXY_VARIABLES)) {
        (Ok(no_proxy), Ok(proxy)) => (no_proxy, proxy),
        (Err(name), _) | (_, Err(name)) => {
            let problem = Problem::new("the value is not valid UTF-8").id(FindingId::Variable);
            context.reject(location, problem.within(&format!("environment variable `{name}`")));
            return None;
        }
    };
    context.uses_proxy_variables |= proxy_variable.is_some();
    let mut wrong = |name: &str, problem: Problem| {
        context.reject(location, problem.id(FindingId::Variable).within(&format!("environment variable `{name}`")));
    };
    let mut no_proxy = NoProxy::default();
    if let Some((name, value)) = no_proxy_variable {
        let entries = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        if let Some((at, _)) = entries.enumerate().find(|(_, entry)| !no_proxy.add(entry)) {
            wrong(name, invalid_entry(&format!("entry {}", at + 1)));
            return None;
        }
    }
    let Some((name, value)) = proxy_variable else {
        return Some(None);
    };
    match proxy_of(&value) {
        Ok(proxy) => Some(Some(EgressProxy { no_proxy, ..proxy })),
        Err(problem) => {
            wrong(name, problem);
            None
        }
    }
}

/// The proxy that a variable names: `[http[s]://][USER[:PASSWORD]@]HOST[:PORT][/]`.
fn proxy_of(value: &str) -> Result<EgressProxy, Problem> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let (userinfo, host) = rest.rsplit_once('@').map_or((None, rest), |(userinfo, host)| (Some(userinfo), host));
    let url = Url::of(&format!("{}://{host}", scheme.to_ascii_lowercase()), "the value")?;
    check_name(&url, "the value")?;
    if url.query || !url.path.is_empty() {
        return Err(Problem::new("the value has a path or a query").expected("expected `http[s]://HOST[:PORT]`"));
    }
    let undecodable = || Problem::new("the credentials have an invalid `%`").expected("expected `%25` for a `%`");
    let authorization = match userinfo {
        None => None,
        Some(userinfo) => {
            let (name, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            let (name, password) = percent_decoded(name).zip(percent_decoded(password)).ok_or_else(undecodable)?;
            if name.contains(':') {
                return Err(Problem::new("the username has a `:`").expected("expected a username without `:`"));
            }
            Some(basic(&name, &password))
        }
    };
    let no_proxy = NoProxy::default();
    Ok(EgressProxy { tls: url.tls, host: url.host, port: url.port, authorization, authorities: None, no_proxy })
}

/// Decodes `%XX`; `None` if one is invalid, or the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let is_valid = |rest: &str| rest.get(..2).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    text.split('%').skip(1).all(is_valid).then(|| decoded.into_owned())
}
