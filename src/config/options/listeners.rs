//! The options of listeners.

use super::declare::{Chosen, Opt, Plain, Switch};
use super::kind::{Loopback, Structure, TEXT, TextOr, Words, boolean, choice};
use super::table::{Format, NamedMaps, Options, Sample};

/// TLS versions, and whether TLS 1.2 is rejected.
const VERSIONS: Words<bool> = &[("1.2", false), ("1.3", true)];

/// Whether connections begin with a PROXY protocol header.
const PROXY_PROTOCOL_USE: Words<bool> = &[("off", false), ("required", true)];

/// The listeners.
pub const BY_NAME: NamedMaps = NamedMaps {
    options: &OPTIONS,
    restricted: true,
    required: true,
    samples: &[
        Sample { name: "main", comment: "", lines: &[] },
        Sample { name: "pod", comment: "", lines: &["address: unix:/run/sessiongate/gate.sock"] },
    ],
};

pub static LISTEN: Opt<Loopback> = Opt::new(
    "listen",
    Loopback { port: 8080, shape: Structure::Text(Format::ListenAddress) },
    "Listen address of a single listener without TLS, named `main`.",
)
.allowed("IP address and port; port `0` for any free one; `unix:` and an absolute path")
.restart("")
.comment("Listen address: an IP address and a port, or `unix:` and an absolute path.");

pub static LISTENERS: Plain =
    Opt::new("listeners", Structure::Named(BY_NAME), "The listeners, by name, for `match.listener`.")
        .default("`listen`")
        .allowed("map with at least one [listener](#a-listener); not with `listen`")
        .restart("except certificates")
        .comment(
            "Instead of `listen`: several listeners by name, for `match.listener`. The listener of `listen` is named \
             main.",
        )
        .off();

pub static ADDRESS: Plain = Opt::new("address", Structure::Text(Format::ListenAddress), "Listen address.")
    .required()
    .allowed("IP address and port; port `0` for any free one; `unix:` and an absolute path")
    .shown("0.0.0.0:8443")
    .comment("An IP address and a port, or `unix:` and an absolute path.");

pub static MODE: Opt<TextOr> = Opt::new(
    "mode",
    TextOr { format: Format::Any, default: "0660" },
    "Permissions of a Unix socket. The socket is created with them; a stale socket file without a listening process \
        is replaced.",
)
.allowed("octal digits; only with `unix:`")
.shown("\"0660\"")
.comment("Permissions of the socket, in octal.")
.second();

pub static OWNER: Plain = Opt::new("owner", TEXT, "User ID and group ID of the socket.")
    .default("those of the process")
    .allowed("`\"1000:1000\"`; only with `unix:`")
    .shown("\"1000:1000\"")
    .second();

pub static PROXY_PROTOCOL: Chosen<bool> = Opt::new(
    "proxy_protocol",
    choice(PROXY_PROTOCOL_USE, false),
    "`required`: each connection begins with a header of the PROXY protocol, version 1 or 2, and comes from one of \
        `clients.trusted_peers`; all others are closed. The address in the header is the client's address: in limits, in \
        the log, in `X-Forwarded-For`, and for `trusted_peers`. The header comes before TLS, within \
        `clients.head_timeout`. See [Behind other proxies](../guides/behind-proxies.md#the-proxy-protocol).",
)
.allowed("`required` needs `clients.trusted_peers`, and an IP address")
.comment("off, or required: connections begin with a PROXY protocol header of a trusted peer.");

pub static TLS: Plain = Opt::new("tls", Structure::Map(&TLS_OPTIONS), "TLS towards clients.")
    .default("without TLS")
    .comment("HTTP/2 and HTTP/1.1, negotiated by ALPN.");

/// The options of a listener.
pub static OPTIONS: Options = Options {
    heading: "A listener",
    comments_above: false,
    rules: &[],
    rows: &[&ADDRESS, &MODE, &OWNER, &PROXY_PROTOCOL, &TLS],
};

pub static CERTIFICATES: Plain = Opt::new(
    "certificates",
    Structure::List(&Structure::Map(&CERTIFICATE_OPTIONS)),
    "Server certificates. The gateway presents the first one that matches the client's SNI, otherwise the first in \
        the list.",
)
.required()
.allowed("list of maps with `certificate` and `key`")
.comment("Selected by SNI; the first one for all other names.");

pub static MIN_VERSION: Chosen<bool> =
    Opt::new("min_version", choice(VERSIONS, false), "Minimum TLS version.").shown("\"1.2\"");

pub static CLIENT_CERTIFICATES: Plain = Opt::new(
    "client_certificates",
    Structure::Map(&CLIENT_CERTIFICATES_OPTIONS),
    "Request client certificates: a map with `ca_file` and `required`.",
)
.default("not requested")
.comment("Request client certificates.");

/// The options of `tls` of a listener.
pub static TLS_OPTIONS: Options = Options {
    heading: "tls of a listener",
    comments_above: false,
    rules: &[],
    rows: &[&CERTIFICATES, &MIN_VERSION, &CLIENT_CERTIFICATES],
};

pub static CERTIFICATE: Plain = Opt::new("certificate", TEXT, "A certificate, followed by its chain.")
    .required()
    .allowed("PEM file")
    .shown("/run/secrets/gate.pem")
    .comment("PEM, with its chain; read again on reload.");

pub static KEY: Plain = Opt::new("key", TEXT, "The private key of the certificate.")
    .required()
    .allowed("PEM file, unencrypted")
    .shown("/run/secrets/gate.key")
    .comment("Private key, unencrypted PEM.");

/// A certificate of a listener.
pub static CERTIFICATE_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&CERTIFICATE, &KEY] };

pub static CA_FILE: Plain = Opt::new("ca_file", TEXT, "CA certificates that client certificates are verified against.")
    .required()
    .allowed("PEM file")
    .shown("/etc/ssl/certs/ca-certificates.crt")
    .comment("Their CA certificates, PEM.");

pub static REQUIRED: Switch = Opt::new(
    "required",
    boolean(true),
    "Whether to reject clients without a certificate. A certificate that is presented must always be valid.",
);

/// Which client certificates a listener accepts.
pub static CLIENT_CERTIFICATES_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&CA_FILE, &REQUIRED] };
