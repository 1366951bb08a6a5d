//! Where the links in mails may lead. Their templates are Go's: what stands before the end of the authority has to be
//! literal, so that nothing behind it can lead elsewhere.

use crate::model::{Rule, Violation, Violations};
use std::fmt;

/// Where links may lead: anywhere, unless one of the lists is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateRule {
    /// Only with these schemes. Where only `hosts` are declared: only with `https`.
    pub schemes: Option<Vec<Scheme>>,
    /// Only to these hosts.
    pub hosts: Option<Vec<HostPattern>>,
}

/// A scheme of URLs, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme(String);

/// A host in lower case, or, written `*.example.com`, everything below it but not itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    below: bool,
}

impl TemplateRule {
    /// Whether links may lead anywhere.
    pub(super) fn is_free(&self) -> bool {
        self.schemes.is_none() && self.hosts.is_none()
    }

    /// What is wrong with a template. What is in doubt is wrong.
    pub(super) fn check(&self, path: &str, template: &str, violations: &mut Violations) {
        if self.is_free() {
            return;
        }
        let report = |violations: &mut Violations, message: &str| {
            violations.push(Violation { path: path.to_owned(), rule: Rule::UrlTemplate, message: message.into() });
        };
        let (scheme, authority) = match beginning(template) {
            Ok(found) => found,
            Err(message) => return report(violations, message),
        };
        let https = [Scheme("https".into())];
        let schemes = self.schemes.as_deref().unwrap_or(&https);
        if !schemes.contains(&scheme) {
            let what = format!("has the scheme `{scheme}`");
            violations.report(path, Rule::UrlTemplate, &what, || format!("; allowed are {}", listed(schemes)), &what);
        }
        match (host(authority), &self.hosts) {
            (Err(message), _) => report(violations, message),
            (Ok(host), Some(hosts)) if !hosts.iter().any(|pattern| pattern.matches(&host)) => {
                let what = format!("leads to `{host}`");
                violations.report(path, Rule::UrlTemplate, &what, || format!("; allowed are {}", listed(hosts)), &what);
            }
            (Ok(_), Some(_) | None) => {}
        }
    }
}

impl Scheme {
    /// A letter, then letters, digits, `+`, `-` and `.`.
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
    /// A host of plain ASCII labels, or `*.` and one.
    pub fn parse(text: &str) -> Option<HostPattern> {
        let (below, host) = text.strip_prefix("*.").map_or((false, text), |host| (true, host));
        is_host(host).then(|| HostPattern { host: host.to_ascii_lowercase(), below })
    }

    /// Whether a host, in lower case, is meant.
    fn matches(&self, host: &str) -> bool {
        match host.strip_suffix(self.host.as_str()) {
            Some(rest) if self.below => rest.ends_with('.'),
            Some(rest) => rest.is_empty(),
            None => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.host)
    }
}

/// The scheme and the authority of an absolute URL.
fn beginning(template: &str) -> Result<(Scheme, &str), &'static str> {
    let found = template.split_once("://").and_then(|(scheme, rest)| Some((Scheme::parse(scheme)?, rest)));
    let (scheme, rest) = found.ok_or("is not an absolute URL: expected a literal scheme, `://`, and a literal host")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // An action that begins before the first of these characters may hold it, as in `{{"/"}}`.
    if authority.contains("{{") {
        return Err("has a `{{` before the end of its host and port, which have to be literal");
    }
    Ok((scheme, authority))
}

/// The host of an authority, in lower case and without its port.
fn host(authority: &str) -> Result<String, &'static str> {
    if authority.contains('@') {
        return Err("has user information, or an `@`, before its host");
    }
    if authority.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err("has a backslash, white space or a control character in its host or port");
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    if !is_host(host) {
        return Err("has a host that is not made of labels of ASCII letters, digits and hyphens; \
                    expected international names in punycode, and no address in brackets");
    }
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || port.parse::<u16>().is_err()) {
        return Err("has a port that is not a number up to 65535");
    }
    Ok(host.to_ascii_lowercase())
}

/// Whether it is made of labels of letters, digits and hyphens, as DNS has them.
fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn listed(all: &[impl fmt::Display]) -> String {
    all.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")
}
