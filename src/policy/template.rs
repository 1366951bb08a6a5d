//! The rule for links in emails.
//!
//! Link templates are Go templates. Everything up to the end of the authority must be literal, so no template action
//! can change the host.

use crate::model::{Rule, Violation, Violations};
use std::fmt;

/// Where links may lead: anywhere, unless one of the lists is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateRule {
    /// The allowed schemes. If only `hosts` is set, only `https` is allowed.
    pub schemes: Option<Vec<Scheme>>,
    /// The allowed hosts.
    pub hosts: Option<Vec<HostPattern>>,
}

/// A URL scheme in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme(String);

/// A host in lower case. `*.example.com` means every host below `example.com`, but not `example.com` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    subdomains_only: bool,
}

impl TemplateRule {
    /// Whether links may lead anywhere.
    pub(super) fn allows_any(&self) -> bool {
        self.schemes.is_none() && self.hosts.is_none()
    }

    /// Checks a template. Anything ambiguous is a violation.
    pub(super) fn check(&self, path: &str, template: &str, violations: &mut Violations) {
        if self.allows_any() {
            return;
        }
        let report = |violations: &mut Violations, message: &str| {
            violations.push(Violation { path: path.to_owned(), rule: Rule::UrlTemplate, message: message.into() });
        };
        let (scheme, authority) = match scheme_and_authority(template) {
            Ok(found) => found,
            Err(message) => return report(violations, message),
        };
        let https = [Scheme("https".into())];
        let schemes = self.schemes.as_deref().unwrap_or(&https);
        if !schemes.contains(&scheme) {
            let what = format!("scheme `{scheme}` is not allowed");
            violations.report(path, Rule::UrlTemplate, &what, || format!("; allowed: {}", quoted_list(schemes)), &what);
        }
        match (host(authority), &self.hosts) {
            (Err(message), _) => report(violations, message),
            (Ok(host), Some(hosts)) if !hosts.iter().any(|pattern| pattern.matches(&host)) => {
                let what = format!("host `{host}` is not allowed");
                violations.report(
                    path,
                    Rule::UrlTemplate,
                    &what,
                    || format!("; allowed: {}", quoted_list(hosts)),
                    &what,
                );
            }
            (Ok(_), Some(_) | None) => {}
        }
    }
}

impl Scheme {
    /// Accepts a letter followed by letters, digits, `+`, `-` and `.`.
    pub fn parse(text: &str) -> Option<Scheme> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let fits = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(plain);
        fits.then(|| Scheme(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HostPattern {
    /// Accepts a host of plain ASCII labels, optionally after `*.`.
    pub fn parse(text: &str) -> Option<HostPattern> {
        let (subdomains_only, host) = text.strip_prefix("*.").map_or((false, text), |host| (true, host));
        is_host(host).then(|| HostPattern { host: host.to_ascii_lowercase(), subdomains_only })
    }

    /// Whether this host, in lower case, matches.
    fn matches(&self, host: &str) -> bool {
        match host.strip_suffix(self.host.as_str()) {
            Some(rest) if self.subdomains_only => rest.ends_with('.'),
            Some(rest) => rest.is_empty(),
            None => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.subdomains_only { "*." } else { "" }, self.host)
    }
}

/// The scheme and the authority of an absolute URL.
fn scheme_and_authority(template: &str) -> Result<(Scheme, &str), &'static str> {
    let found = template.split_once("://").and_then(|(scheme, rest)| Some((Scheme::parse(scheme)?, rest)));
    let (scheme, rest) = found.ok_or("is not an absolute URL: expected a literal scheme, `://`, and a literal host")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A template action may contain the character that seems to end the authority, as in `{{"/"}}`.
    if authority.contains("{{") {
        return Err("has `{{` before the end of its host and port, which must be literal");
    }
    Ok((scheme, authority))
}

/// The host of an authority, in lower case and without its port.
fn host(authority: &str) -> Result<String, &'static str> {
    if authority.contains('@') {
        return Err("has credentials or an `@` before its host");
    }
    if authority.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err("has a backslash, white space or a control character in its host or port");
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    if !is_host(host) {
        return Err("has an invalid host; expected labels of ASCII letters, digits and hyphens, \
                    international names in punycode, no address in brackets");
    }
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || port.parse::<u16>().is_err()) {
        return Err("has a port that is not a number up to 65535");
    }
    Ok(host.to_ascii_lowercase())
}

/// Whether the host consists of DNS labels: letters, digits and hyphens.
fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn quoted_list(all: &[impl fmt::Display]) -> String {
    all.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")
}
