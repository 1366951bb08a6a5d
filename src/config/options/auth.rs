//! The options of `auth` of an upstream.

use super::super::value::{minutes, seconds};
use super::algorithms::ALGORITHM_WORDS;
use super::declare::{Chosen, Opt, Plain, Switch, Timed};
use super::egress_proxy::PROXY;
use super::introspection;
use super::kind::{DurationIn, Or, SomeOf, Structure, TEXT, URL, WholeSeconds, boolean, choice, duration};
use super::table::Options;
use jsonwebtoken::Algorithm;

/// The most issuers of an upstream: each has its own cache of tokens, and its own waits for keys.
pub const MAX_ISSUERS: usize = 16;

/// A day, in minutes.
const DAY: u64 = 24 * 60;

pub static ISSUER: Plain = Opt::new(
    "issuer",
    Structure::OneOrSeveral(&URL),
    "Accepted issuers: `iss` must equal one of these exactly; a final `/` counts. Several names have the same keys.",
)
.required()
.allowed("URL without a query, or a list")
.shown("https://acme.eu.auth0.com/")
.comment("One, or a list; exactly as in `iss`.");

pub static AUDIENCE: Plain =
    Opt::new("audience", Structure::OneOrSeveral(&TEXT), "Accepted audiences: `aud` must contain one of these.")
        .required()
        .allowed("string, or a list")
        .shown("[https://acme.eu.auth0.com/api/v2/]")
        .comment("One, or a list.");

pub static CLAIMS: Plain = Opt::new(
    "claims",
    Structure::Map(&CLAIMS_OPTIONS),
    "Names of the claims that say who the caller is. [Grants](#grants) match them.",
)
.comment("Names of the claims that grants match.");

pub static JWKS: Plain = Opt::new("jwks", URL, "URL of the issuer's JWKS document.")
    .default("discovered from the first issuer")
    .allowed("URL")
    .shown("https://acme.eu.auth0.com/.well-known/jwks.json");

pub static HOST: Plain = Opt::new("host", TEXT, "Host name of the server of `jwks`, like `host` of an upstream.")
    .default("`host` of the upstream if `jwks` has the host and port of its `url`")
    .allowed("as for an upstream; only with `jwks`")
    .shown("acme.eu.auth0.com")
    .comment("Like the upstream's, for `jwks`.");

pub static ALLOW_HTTP: Switch = Opt::new(
    "allow_http",
    boolean(false),
    "Whether `issuer` and `jwks` may be `http://` on other machines. An attacker who can change the keys in transit \
        can sign tokens.",
)
.comment("Allow http:// to other machines for `issuer` and `jwks`.");

pub static ALGORITHMS: Opt<SomeOf<Algorithm>> = Opt::new(
    "algorithms",
    SomeOf { words: ALGORITHM_WORDS, default: Algorithm::RS256 },
    "Accepted signature algorithms.",
);

pub static OPAQUE: Chosen<bool> = Opt::new(
    "opaque",
    choice(&[("reject", false), ("forward", true)], false),
    "How to treat opaque tokens (not JWTs), such as personal access tokens, without `introspection`: reject them, or \
        forward them to the provider, which verifies them. A forwarded token has its own cache entries.",
)
.allowed("`forward` not with `introspection`")
.comment("Opaque tokens: reject, or forward to the provider, which verifies them.");

pub static LEEWAY: Opt<Or<WholeSeconds>> = Opt::new(
    "leeway",
    Or { kind: WholeSeconds(DurationIn { min: seconds(0), max: minutes(5) }), default: 30 },
    "Allowed clock difference.",
)
.allowed("whole seconds");

pub static REFRESH: Timed =
    Opt::new("refresh", duration(seconds(10), minutes(DAY), minutes(10)), "Interval of key fetches.");

pub static MIN_INTERVAL: Timed = Opt::new(
    "min_interval",
    duration(seconds(1), minutes(60), seconds(10)),
    "Minimum interval of key fetches for tokens with an unknown key.",
);

pub static MAX_STALE: Timed = Opt::new(
    "max_stale",
    duration(seconds(10), minutes(7 * DAY), minutes(DAY)),
    "How long to use the previous keys if fetches fail.",
)
.allowed("at least `refresh`");

pub static FETCH_TIMEOUT: Timed = Opt::new(
    "fetch_timeout",
    duration(seconds(1), minutes(1), seconds(10)),
    "Timeout of a fetch of the keys, or of the discovery document.",
);

pub static CA_FILE: Plain = Opt::new("ca_file", TEXT, "CA certificates to trust, as in [tls](#tls).")
    .default("the system's")
    .allowed("PEM file with at least one certificate")
    .shown("/etc/ssl/certs/ca-certificates.crt")
    .comment("CA certificates to trust, PEM.");

pub static EGRESS_PROXY: Plain =
    Opt::new("egress_proxy", PROXY, "Forward proxy to the issuer, for its keys and its discovery document.")
        .default("that of the upstream")
        .comment("Forward proxy to the issuer, like that of the upstream.");

pub static INTROSPECTION: Plain = Opt::new(
    "introspection",
    Structure::Map(&introspection::OPTIONS),
    "Introspection of opaque tokens: see [Opaque tokens](../guides/opaque-tokens.md).",
)
.default("disabled")
.comment("Introspection of opaque tokens.");

/// The options in `auth`.
pub static OPTIONS: Options = Options {
    heading: "auth",
    comments_above: false,
    rules: &[],
    rows: &[
        &ISSUER,
        &AUDIENCE,
        &CLAIMS,
        &JWKS,
        &HOST,
        &ALLOW_HTTP,
        &ALGORITHMS,
        &OPAQUE,
        &INTROSPECTION,
        &LEEWAY,
        &REFRESH,
        &MIN_INTERVAL,
        &MAX_STALE,
        &FETCH_TIMEOUT,
        &CA_FILE,
        &EGRESS_PROXY,
    ],
};

const OF_DIALECT: &str = "that of the dialect";

pub static CLAIM_CLIENT_ID: Plain = Opt::new("client_id", TEXT, "Claim with the client that the token was issued to.")
    .default(OF_DIALECT)
    .allowed("name of a claim")
    .shown("azp");

pub static CLAIM_SCOPES: Plain =
    Opt::new("scopes", TEXT, "Claim with the scopes, separated by spaces or in a list. Operations need them too.")
        .default(OF_DIALECT)
        .allowed("name of a claim")
        .shown("scope")
        .comment("Claim with the scopes.");

pub static CLAIM_ROLES: Plain = Opt::new("roles", TEXT, "Claim with the roles.")
    .default(OF_DIALECT)
    .allowed("name of a claim")
    .shown("https://acme.example/roles");

pub static CLAIM_GROUPS: Plain = Opt::new("groups", TEXT, "Claim with the groups.")
    .default(OF_DIALECT)
    .allowed("name of a claim")
    .shown("https://acme.example/groups");

pub static CLAIM_ORGANIZATION: Plain = Opt::new("organization", TEXT, "Claim with the organization.")
    .default(OF_DIALECT)
    .allowed("name of a claim")
    .shown("org_id");

pub static CLAIM_SESSION: Plain =
    Opt::new("session", TEXT, "Claim with the ID of the caller's own session, for `sessions: own` of a grant.")
        .default(OF_DIALECT)
        .allowed("name of a claim")
        .shown("sid")
        .comment("Claim with the ID of the caller's own session, for `sessions: own`.")
        .off();

/// The options in `claims`.
pub static CLAIMS_OPTIONS: Options = Options {
    heading: "auth.claims",
    comments_above: false,
    rules: &[],
    rows: &[&CLAIM_CLIENT_ID, &CLAIM_SCOPES, &CLAIM_ROLES, &CLAIM_GROUPS, &CLAIM_ORGANIZATION, &CLAIM_SESSION],
};
