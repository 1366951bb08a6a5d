//! The options of a forward proxy.

use super::declare::{Opt, Plain};
use super::kind::{SecretOf, Structure, TEXT, TEXTS, URL as URL_TEXT};
use super::table::{Options, Rule};

/// The words instead of a map.
pub const WORDS: &[&str] = &["off", "environment"];
/// A proxy, or one of the words.
pub const PROXY: Structure = Structure::WordsOr(WORDS, &Structure::Map(&OPTIONS));

pub static URL: Plain = Opt::new(
    "url",
    URL_TEXT,
    "URL of the proxy. With `https://` the connection to the proxy itself uses TLS. The ports are 80 and 443 unless \
        it names one.",
)
.required()
.allowed("`http[s]://HOST[:PORT]`; no path, query or user information")
.shown("http://proxy.example:3128")
.comment("URL of the proxy, http[s]://HOST[:PORT].");

pub static USERNAME: Plain = Opt::new("username", TEXT, "Username at the proxy (`Proxy-Authorization: Basic`).")
    .default("no credentials")
    .allowed("string without `:`; only with `password`")
    .shown("gate");

pub static PASSWORD: Opt<SecretOf> = Opt::new("password", SecretOf { min: 1 }, "Password at the proxy.")
    .default("none")
    .allowed("[reference](#secrets) to UTF-8 text; only with `username`")
    .shown("{ file: /run/secrets/proxy }")
    .comment("Password, by reference.");

pub static NO_PROXY: Plain = Opt::new(
    "no_proxy",
    TEXTS,
    "Hosts that are reached directly, compared with the host of the URL: `example.com` and its subdomains, \
        `.example.com` only the subdomains, an IP address or a network such as `10.0.0.0/8` if the URL has an IP \
        address, `*` every host. All but networks may have a port. Names are not resolved for the comparison.",
)
.default("none: loopback addresses too are reached through the proxy")
.allowed("list of hosts, domains, IP addresses, networks, `*`")
.shown("[.svc, 10.0.0.0/8]")
.comment("Hosts that are reached directly.");

pub static CA_FILE: Plain = Opt::new("ca_file", TEXT, "CA certificates to trust for the proxy itself.")
    .default("the system's")
    .allowed("PEM file with at least one certificate; only with `https://`")
    .shown("/etc/ssl/certs/ca-certificates.crt")
    .comment("CA certificates to trust for the proxy itself, PEM; only with https://.")
    .off();

/// The options of a forward proxy.
pub static OPTIONS: Options = Options {
    heading: "egress_proxy",
    comments_above: false,
    rules: &[Rule::Needs("username", "password"), Rule::Needs("password", "username")],
    rows: &[&URL, &USERNAME, &PASSWORD, &NO_PROXY, &CA_FILE],
};
