//! The options of the two listeners for operations.

use super::declare::{Opt, Plain};
use super::kind::{Loopback, SecretOf, Structure, TEXT};
use super::listeners::{CERTIFICATE, KEY};
use super::table::{Format, Options};

const LISTEN_ADDRESS: Structure = Structure::Text(Format::ListenAddress);
const OFF_OR_ADMIN: Structure = Structure::OffOr(&Structure::AddressOr(&ADMIN_OPTIONS));
const OFF_OR_CONTROL: Structure = Structure::OffOr(&Structure::AddressOr(&CONTROL_OPTIONS));
const ALLOWED: &str = "address, map, `off`";

pub static ADMIN: Opt<Loopback> = Opt::new(
    "admin",
    Loopback { port: 9090, shape: OFF_OR_ADMIN },
    "The listener for probes and metrics: an address, or a map. It changes nothing, so that it needs no \
        authentication and may listen on any address. See [probes](../operations/probes.md).",
)
.allowed(ALLOWED)
.restart("except certificates")
.comment("Listen address of probes and metrics, `off`, or a map.");

pub static CONTROL: Plain = Opt::new(
    "control",
    OFF_OR_CONTROL,
    "The listener for commands, such as [purge](../operations/purge.md): an address, or a map.",
)
.allowed(ALLOWED)
.restart("except certificates and the token")
.comment("The listener for commands, such as purge: a loopback address, a Unix socket, or a map.")
.off();

pub static ADMIN_ADDRESS: Opt<Loopback> =
    Opt::new("address", Loopback { port: 9090, shape: LISTEN_ADDRESS }, "Listen address.")
        .allowed("IP address and port; port `0` for any free one; `unix:` and an absolute path")
        .comment("An IP address and a port, or `unix:` and an absolute path.");

pub static ADMIN_TLS: Plain = Opt::new(
    "tls",
    Structure::Map(&ADMIN_TLS_OPTIONS),
    "TLS with HTTP/1.1: a map with `certificate` and `key`. HTTPS probes of Kubernetes do not verify the certificate.",
)
.default("without TLS")
.comment("TLS with HTTP/1.1.")
.off();

/// The options of the listener for probes and metrics.
pub static ADMIN_OPTIONS: Options =
    Options { heading: "admin", comments_above: false, rules: &[], rows: &[&ADMIN_ADDRESS, &ADMIN_TLS] };

/// The options of `tls` of the listener for probes and metrics.
pub static ADMIN_TLS_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&CERTIFICATE, &KEY] };

pub static CONTROL_ADDRESS: Plain = Opt::new(
    "address",
    LISTEN_ADDRESS,
    "Listen address. Beyond loopback and Unix sockets the listener needs `tls.client_ca_file` or `token`. A Unix \
        socket has the mode 0600.",
)
.required()
.allowed("IP address and port; port `0` for any free one; `unix:` and an absolute path")
.shown("127.0.0.1:9091")
.comment("An IP address and a port, or `unix:` and an absolute path.");

pub static CONTROL_TLS: Plain = Opt::new(
    "tls",
    Structure::Map(&CONTROL_TLS_OPTIONS),
    "TLS with HTTP/1.1: a map with `certificate`, `key` and `client_ca_file`.",
)
.default("without TLS")
.comment("TLS with HTTP/1.1.");

pub static CLIENT_CA_FILE: Plain = Opt::new(
    "client_ca_file",
    TEXT,
    "CA certificates. Clients must present a certificate that one of them has issued.",
)
.default("no client certificates")
.allowed("PEM file")
.shown("/etc/ssl/certs/ca-certificates.crt")
.comment("CA certificates of clients, PEM.");

pub static TOKEN: Opt<SecretOf> = Opt::new(
    "token",
    SecretOf { min: 16 },
    "The token that requests must have: `Authorization: Bearer TOKEN`, also on loopback addresses and Unix sockets. \
        Beyond them a token without `tls` causes a warning. With `client_ca_file` both are needed.",
)
.default("no token")
.allowed("visible ASCII characters")
.shown("{ file: /run/secrets/control-token }")
.comment("Bearer token that requests must have.");

/// The options of the listener for commands.
pub static CONTROL_OPTIONS: Options =
    Options { heading: "control", comments_above: false, rules: &[], rows: &[&CONTROL_ADDRESS, &CONTROL_TLS, &TOKEN] };

/// The options of `tls` of the listener for commands.
pub static CONTROL_TLS_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&CERTIFICATE, &KEY, &CLIENT_CA_FILE] };
