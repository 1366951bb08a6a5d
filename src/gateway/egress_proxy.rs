//! Forward proxies: how the gateway reaches providers and issuers in networks that let no other connection out.

use super::certificates::CaCertificates;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::IpAddr;

/// A forward proxy that the gateway asks for tunnels (CONNECT), and the hosts that are reached without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy {
    /// Whether the connection to the proxy itself uses TLS.
    pub tls: bool,
    /// Its host name or IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, if the proxy needs credentials.
    pub authorization: Option<ProxyAuthorization>,
    /// CA certificates to trust instead of the system's, for the proxy itself.
    pub authorities: Option<CaCertificates>,
    /// The hosts that are reached directly.
    pub no_proxy: NoProxy,
}

impl EgressProxy {
    /// Whether a host, without brackets, is reached through it at this port.
    pub fn applies_to(&self, host: &str, port: u16) -> bool {
        !self.no_proxy.contains(host, port)
    }

    /// Its host and port: `proxy.example:3128`.
    pub fn authority(&self) -> String {
        authority_of(&self.host, self.port)
    }
}

/// A host, without brackets, and a port.
pub fn authority_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The value of a `Proxy-Authorization` header.
#[derive(Clone)]
pub struct ProxyAuthorization(SecretString);

impl ProxyAuthorization {
    /// The value, which contains the credentials.
    pub fn new(value: String) -> ProxyAuthorization {
        ProxyAuthorization(value.into())
    }

    /// The value. It must never be logged.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ProxyAuthorization {
    fn eq(&self, other: &ProxyAuthorization) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ProxyAuthorization {}

impl fmt::Debug for ProxyAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyAuthorization")
    }
}

/// Hosts that are reached without a proxy, as `NO_PROXY` lists them. Names are never resolved for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoProxy(Vec<NoProxyEntry>);

/// An entry of the list. The port is `None` for all ports.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoProxyEntry {
    /// `*`: every host.
    All,
    /// An IP address or a network. It matches hosts that are IP addresses.
    Network(IpNet, Option<u16>),
    /// `example.com`: this host, and those below it. `.example.com`: only those below it. In lower case.
    Domain { name: String, only_below: bool, port: Option<u16> },
}

impl NoProxy {
    /// Adds an entry: a host, a domain with a leading `.` or `*.`, an IP address, a network, or `*`; with a port, but
    /// for a network. `false` if the text is none of these.
    pub fn add(&mut self, text: &str) -> bool {
        let entry = entry(&text.to_ascii_lowercase());
        let is_valid = entry.is_some();
        self.0.extend(entry);
        is_valid
    }

    /// Whether a host, without brackets, is reached directly at this port.
    pub fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_port = |own: &Option<u16>| own.is_none_or(|own| own == port);
        self.0.iter().any(|entry| match entry {
            NoProxyEntry::All => true,
            NoProxyEntry::Network(network, own) => {
                is_port(own) && address.is_some_and(|address| network.contains(&address))
            }
            NoProxyEntry::Domain { name, only_below, port: own } => {
                let rest = host.strip_suffix(name.as_str()).filter(|_| address.is_none());
                is_port(own) && rest.is_some_and(|rest| rest.ends_with('.') || (rest.is_empty() && !only_below))
            }
        })
    }
}

/// A network, or the IPv4 network that it is if it is one in `::ffff:0:0/96`.
pub fn canonical_network(network: IpNet) -> IpNet {
    let unmapped = |network: Ipv6Net| {
        let (address, length) = (network.addr().to_ipv4_mapped()?, network.prefix_len().checked_sub(96)?);
        Ipv4Net::new(address, length).ok().map(IpNet::V4)
    };
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(own) => unmapped(own).unwrap_or(network),
    }
}

fn entry(text: &str) -> Option<NoProxyEntry> {
    if text == "*" {
        return Some(NoProxyEntry::All);
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(NoProxyEntry::Network(canonical_network(network.trunc()), None));
    }
    let (host, port) = with_port(text)?;
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(NoProxyEntry::Network(address.to_canonical().into(), port));
    }
    let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
    let name = below.unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_plain));
    is_name.then(|| NoProxyEntry::Domain { name: name.to_owned(), only_below: below.is_some(), port })
}

/// A host and a port. An IPv6 address with a port is in brackets, one without may be.
fn with_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(own) => Some((host, Some(port(own)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, own)) => Some((host, Some(port(own)?))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(entry: &str, host: &str, port: u16) -> bool {
        let mut list = NoProxy::default();
        assert!(list.add(entry), "{entry}");
        list.contains(host, port)
    }

    #[test]
    fn hosts_are_matched_as_by_curl_and_go() {
        for (entry, host, port, expected) in [
            ("*", "a.example", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "www.example.com", 443, true),
            ("example.com", "notexample.com", 443, false),
            ("example.com", "example.com.evil", 443, false),
            ("EXAMPLE.com.", "Example.Com.", 443, true),
            (".example.com", "www.example.com", 443, true),
            (".example.com", "example.com", 443, false),
            ("*.example.com", "www.example.com", 443, true),
            (".svc", "auth.default.svc", 80, true),
            ("localhost", "localhost", 80, true),
            ("localhost", "127.0.0.1", 80, false),
            ("example.com:8443", "example.com", 8443, true),
            ("example.com:8443", "example.com", 443, false),
            (".example.com:443", "a.example.com", 443, true),
            ("10.0.0.1", "10.0.0.1", 80, true),
            ("10.0.0.1", "10.0.0.10", 80, false),
            ("10.0.0.1:81", "10.0.0.1", 80, false),
            ("10.0.0.1:80", "10.0.0.1", 80, true),
            ("10.0.0.0/8", "10.200.1.1", 80, true),
            ("10.3.4.5/8", "10.200.1.1", 80, true),
            ("10.0.0.0/8", "11.0.0.1", 80, false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", 80, true),
            ("::ffff:10.0.0.0/104", "10.200.1.1", 80, true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", 80, false),
            // A name that ends like an address is none.
            ("0.0.1", "10.0.0.1", 80, false),
            ("::1", "::1", 80, true),
            ("[::1]", "::1", 80, true),
            ("[::1]:80", "::1", 80, true),
            ("[::1]:80", "::1", 81, false),
            ("fd00::/8", "fd12::1", 80, true),
            ("fd00::/8", "fe00::1", 80, false),
        ] {
            assert_eq!(contains(entry, host, port), expected, "{entry} {host}:{port}");
        }
        assert!(!NoProxy::default().contains("127.0.0.1", 80), "loopback too");
    }

    #[test]
    fn other_entries_are_invalid() {
        let entries = [
            "",
            ".",
            "a..b",
            "a.*.b",
            "http://a",
            "a/b",
            "a:0",
            "a:x",
            "a:",
            "[::1",
            "[::1]x",
            "10.0.0.0/33",
            "a b",
            "*:80",
        ];
        for entry in entries {
            assert!(!NoProxy::default().add(entry), "{entry}");
        }
    }
}
