//! What to do about a failed check: the first row with its kind and a part of its message applies.

use crate::config::FindingId::{
    self, OnlineConnect, OnlineDns, OnlineIntrospection, OnlineIssuer, OnlineKeys, OnlineProvider, OnlineStore,
};

/// Kinds, parts of the message with ` … ` between them, and the hint.
type Hint = (&'static [FindingId], &'static str, &'static str);

const PROVIDER: &[FindingId] = &[OnlineConnect, OnlineProvider];
const DOCUMENTS: &[FindingId] = &[OnlineIssuer, OnlineKeys];
const PROXY: &[FindingId] = &[OnlineConnect, OnlineProvider, OnlineIssuer, OnlineKeys, OnlineIntrospection];

/// In messages about failures that are none of the proxy itself.
pub(super) const BEHIND: &str = "behind the egress proxy";

/// The last row of each kind applies to all other messages.
const HINTS: &[Hint] = &[
    (&[OnlineDns], "(egress proxy)", "check the host in `egress_proxy.url`, and `dns.servers`"),
    (PROXY, "responded with 407", "check `username` and `password` of `egress_proxy`"),
    (PROXY, "responded with 403", "check that the egress proxy allows CONNECT to this host and port"),
    (PROXY, "responded with 50", "the egress proxy cannot reach or resolve the host: check its log and `no_proxy`"),
    (PROXY, "respond to CONNECT in time", "the egress proxy cannot reach the host; otherwise raise `timeouts.connect`"),
    (PROXY, "TLS handshake with the egress proxy", "check `egress_proxy.ca_file`, and the host in `egress_proxy.url`"),
    (PROXY, "responded with", "the egress proxy opens no tunnel: see its log, and check `egress_proxy.url`"),
    (
        PROVIDER,
        "no TLS through the egress proxy",
        "the tunnel is open, and the provider does not respond; otherwise raise `timeouts.connect`",
    ),
    (
        DOCUMENTS,
        "no TLS through the egress proxy",
        "the tunnel is open, and the issuer does not respond; otherwise raise `auth.fetch_timeout`",
    ),
    (PROXY, "the egress proxy … unknown host", "check the host in `egress_proxy.url`, and `dns.servers`"),
    (PROXY, "the egress proxy … not resolved", "check the host in `egress_proxy.url`, and `dns.servers`"),
    (PROXY, "behind the egress proxy … corrupt message", "no TLS behind the egress proxy: check the port in `url`"),
    (PROXY, "the egress proxy", "check `egress_proxy.url`: no forward proxy responds there"),
    (&[OnlineDns], "", "check the host in `url`, and `dns.servers` or else the DNS configuration of this machine"),
    (PROVIDER, "onnection refused", "no server listens there: check the port in `url`, and whether the provider is up"),
    (
        PROVIDER,
        "no connection within",
        "a firewall or egress policy may drop packets; otherwise raise `timeouts.connect`",
    ),
    (PROVIDER, "nreachable", "there is no route to the address: check the network and its policies"),
    (PROVIDER, "UnknownIssuer", "the provider's CA is not trusted: set `tls.ca_file` to it"),
    (PROVIDER, "not valid for name", "set `host` to a name in the provider's certificate, or correct `url`"),
    (PROVIDER, "xpired", "the provider's certificate has expired, or the clock of this machine is wrong"),
    (PROVIDER, "corrupt message", "the port does not use TLS: check the port in `url`, or use `http://`"),
    (
        PROVIDER,
        "CertificateRequired",
        "the provider requires a client certificate: set `tls.certificate` and `tls.key`",
    ),
    (PROVIDER, "UnknownCA", "the provider does not trust the client certificate: check `tls.certificate`"),
    (PROVIDER, "ApplicationProtocol", "the provider does not support this HTTP version: check `protocol`"),
    (PROVIDER, "HTTP/2", "the provider does not support this HTTP version: check `protocol`"),
    (
        PROVIDER,
        "no complete response",
        "the provider accepts connections and does not respond; otherwise raise `timeouts.first_byte`",
    ),
    (&[OnlineProvider], "", "check whether `url` needs `https://` or `http://`, and `protocol`"),
    (&[OnlineConnect], "", "check `url` and the options in `tls`"),
    (DOCUMENTS, "unknown host", "check the host in `auth.issuer` or `auth.jwks`, and `dns.servers`"),
    (DOCUMENTS, "onnection refused", "no server listens there: check `auth.issuer` or `auth.jwks`"),
    (
        DOCUMENTS,
        "no complete response",
        "a firewall or egress policy may drop packets; otherwise raise `auth.fetch_timeout`",
    ),
    (
        DOCUMENTS,
        "no connection within",
        "a firewall or egress policy may drop packets; otherwise raise `auth.fetch_timeout`",
    ),
    (DOCUMENTS, "UnknownIssuer", "the issuer's CA is not trusted: set `auth.ca_file` to it"),
    (DOCUMENTS, "not valid for name", "set `auth.host` to a name in the certificate, or correct the URL"),
    (DOCUMENTS, "a redirect", "redirects are not followed: configure the URL that the redirect names"),
    (&[OnlineKeys], "no usable key", "check `auth.algorithms`: it must name the algorithms of the issuer's keys"),
    (&[OnlineIssuer], "", "check `auth.issuer`, or set `auth.jwks` to the URL of the issuer's keys"),
    (&[OnlineKeys], "", "check `auth.jwks`, or the `jwks_uri` of the issuer's discovery document"),
    (&[OnlineIntrospection], "does not accept", "check `client_id` and the secret or key of `auth.introspection`"),
    (&[OnlineIntrospection], "unknown host", "check the host in `auth.introspection.url`, and `dns.servers`"),
    (
        &[OnlineIntrospection],
        "no complete response",
        "the issuer is slow; otherwise raise `auth.introspection.timeout`",
    ),
    (&[OnlineIntrospection], "UnknownIssuer", "the issuer's CA is not trusted: set `auth.ca_file` to it"),
    (&[OnlineIntrospection], "", "check `auth.introspection.url`: see docs/guides/opaque-tokens.md"),
    (&[OnlineStore], "onnection refused", "no server listens there: check the address in `store.redis`"),
    (
        &[OnlineStore],
        "timed out",
        "a firewall or network policy may drop packets; otherwise raise `store.redis.timeouts.connect`",
    ),
    (&[OnlineStore], "username-password pair", "check `store.redis.username` and `store.redis.password`"),
    (&[OnlineStore], "already authenticated", "the server requires a login: set `store.redis.password`"),
    (
        &[OnlineStore],
        "OOM ",
        "the server is full and evicts nothing: raise `maxmemory`, and set `maxmemory-policy` to `allkeys-lru`",
    ),
    (&[OnlineStore], "READONLY ", "the server is a replica: set `store.redis` to the primary"),
    (&[OnlineStore], "no permissions", "the user may not run the gateway's commands: see docs/operations/redis.md"),
    (&[OnlineStore], "UnknownIssuer", "the server's CA is not trusted: set `store.redis.tls.ca_file` to it"),
    (&[OnlineStore], "not valid for name", "set `store.redis.tls.server_name` to the name in the certificates"),
    (&[OnlineStore], "corrupt message", "the port does not use TLS: check the port, or use `redis://`"),
    (&[OnlineStore], "No such master", "check `store.redis.sentinel.service`"),
    (&[OnlineStore], "entinel", "check `store.redis.sentinel.service` and `nodes`"),
    (&[OnlineStore], "", "check the address in `store.redis`, `redis://` or `rediss://`, and the login"),
];

/// What to do about a failed check.
pub(super) fn hint(id: FindingId, message: &str) -> &'static str {
    // A failure behind the proxy is none of the proxy itself.
    let is_behind = message.contains(BEHIND);
    let applies = |(ids, parts, _): &&Hint| {
        let has_all = parts.split(" … ").all(|part| message.contains(part));
        ids.contains(&id) && has_all && !(is_behind && *parts == "the egress proxy")
    };
    let row = HINTS.iter().find(applies);
    row.map_or("see docs/reference/check.md", |(_, _, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_about_the_egress_proxy_differ_by_cause() {
        for (id, message, expected) in [
            (OnlineConnect, "no TLS through the egress proxy p:1 within 1000 ms", "timeouts.connect"),
            (OnlineKeys, "u: no TLS through the egress proxy p:1 within 1000 ms", "auth.fetch_timeout"),
            (OnlineConnect, "the egress proxy p:1 responded with 302 Found", "opens no tunnel"),
            (OnlineConnect, "the egress proxy p:1 responded with 407 x", "`password`"),
            (OnlineIssuer, "u: the egress proxy p:1: unknown host", "dns.servers"),
            (OnlineIssuer, "u: the egress proxy p:1: the host name was not resolved in time", "dns.servers"),
            (OnlineConnect, "cannot connect to the egress proxy p:1: Connection refused", "no forward proxy responds"),
            (OnlineConnect, "behind the egress proxy p:1: received corrupt message of type x", "no TLS behind"),
            (OnlineConnect, "behind the egress proxy p:1: invalid peer certificate: UnknownIssuer", "`tls.ca_file`"),
            (OnlineConnect, "received corrupt message of type x", "`http://`"),
        ] {
            let found = hint(id, message);
            assert!(found.contains(expected), "{message}: {found}");
        }
    }
}
