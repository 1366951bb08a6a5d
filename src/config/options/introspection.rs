//! The options of `introspection` of `auth`.

use super::super::value::{millis, minutes, seconds};
use super::algorithms::ALGORITHM_WORDS;
use super::declare::{Chosen, Counted, Opt, Plain, Timed};
use super::kind::{SecretOf, TEXT, URL as URL_TEXT, choice, count, duration};
use super::table::{Options, Rule};
use jsonwebtoken::Algorithm;

pub static URL: Plain = Opt::new("url", URL_TEXT, "URL of the issuer's introspection endpoint (RFC 7662).")
    .required()
    .allowed("URL without a query; `https://`, or `http://` to this machine or with `allow_http`")
    .shown("https://login.example.com/oauth/v2/introspect");

pub static HOST: Plain = Opt::new("host", TEXT, "Host name of the server of `url`, like `host` of an upstream.")
    .default("`host` of the upstream if both have the same host and port in `url`")
    .allowed("as for an upstream")
    .shown("login.example.com")
    .comment("Like the upstream's, for `url`.");

pub static CLIENT_ID: Plain =
    Opt::new("client_id", TEXT, "Client ID of the gateway at the issuer.").required().shown("sessiongate");

pub static CLIENT_SECRET: Opt<SecretOf> =
    Opt::new("client_secret", SecretOf { min: 1 }, "Client secret of the gateway (`Authorization: Basic`).")
        .default("none")
        .allowed("[reference](#secrets) to UTF-8 text; not with `private_key`")
        .shown("{ file: /run/secrets/introspection }")
        .comment("Client secret, by reference.");

pub static PRIVATE_KEY: Opt<SecretOf> = Opt::new(
    "private_key",
    SecretOf { min: 1 },
    "Private key of the gateway, which signs an assertion for each introspection (`private_key_jwt`, RFC 7523). Its \
        audience is the first `issuer`.",
)
.default("none")
.allowed(
    "[reference](#secrets) to an unencrypted key in PEM format: PKCS #8, or PKCS #1 for RSA; not with \
    `client_secret`",
)
.shown("{ file: /run/secrets/introspection.key }")
.comment("Private key in PEM format, by reference, instead of a secret.")
.off();

pub static KEY_ID: Plain = Opt::new("key_id", TEXT, "ID of the key at the issuer (`kid`).")
    .default("none")
    .allowed("string; required with `private_key`")
    .shown("\"310000000000000003\"")
    .off();

pub static ALGORITHM: Chosen<Algorithm> =
    Opt::new("algorithm", choice(ALGORITHM_WORDS, Algorithm::RS256), "Signature algorithm of the assertions.")
        .allowed("only with `private_key`")
        .off();

pub static TTL: Timed = Opt::new(
    "ttl",
    duration(seconds(0), minutes(60), seconds(30)),
    "How long an active token is accepted without another introspection, but never after `exp`. So a revoked token is \
        accepted no longer than this.",
);

pub static NEGATIVE_TTL: Timed = Opt::new(
    "negative_ttl",
    duration(seconds(0), minutes(5), seconds(5)),
    "How long a token that is not accepted is rejected without another introspection.",
);

pub static MAX_STALE: Timed = Opt::new(
    "max_stale",
    duration(seconds(0), minutes(24 * 60), seconds(0)),
    "How long after `ttl` tokens that were active are accepted while introspection fails, but never after `exp`.",
)
.comment("How long after `ttl` known tokens are accepted while introspection fails.");

pub static TIMEOUT: Timed = Opt::new(
    "timeout",
    duration(millis(100), minutes(1), seconds(5)),
    "Timeout of an introspection, with the wait for its turn.",
);

pub static IN_FLIGHT: Counted = Opt::new(
    "in_flight",
    count(2, 10_000, 32),
    "Maximum number of introspections in flight. Tokens that were not active before use at most half of them.",
)
.comment("Maximum number of introspections in flight; half of them for known tokens only.");

pub static PER_SOURCE: Counted = Opt::new(
    "per_source",
    count(1, 10_000, 8),
    "Maximum number of them, in flight or waiting, for one client address. Tokens that were active before do not count.",
)
.comment("Maximum number for unknown tokens of one client address.");

/// The options in `introspection`.
pub static OPTIONS: Options = Options {
    heading: "introspection",
    comments_above: false,
    rules: &[
        Rule::ExactlyOne(&["client_secret", "private_key"]),
        Rule::Needs("private_key", "key_id"),
        Rule::Needs("key_id", "private_key"),
        Rule::Needs("algorithm", "private_key"),
    ],
    rows: &[
        &URL,
        &HOST,
        &CLIENT_ID,
        &CLIENT_SECRET,
        &PRIVATE_KEY,
        &KEY_ID,
        &ALGORITHM,
        &TTL,
        &NEGATIVE_TTL,
        &MAX_STALE,
        &TIMEOUT,
        &IN_FLIGHT,
        &PER_SOURCE,
    ],
};
