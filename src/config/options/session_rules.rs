//! The options of a policy for lifetimes, checks and challenges.

use super::super::value::{millis, minutes};
use super::declare::{Chosen, Opt, Plain, Switch};
use super::kind::{DurationIn, Structure, TEXTS, Words, boolean, choice};
use super::table::Options;
use crate::model::CheckKind;
use crate::policy::{OutsideBounds, ReturnCode};
use crate::telemetry::Label;

/// A bound of a lifetime: at most ten years.
const LIFETIME: DurationIn = DurationIn { min: millis(1), max: minutes(3650 * 24 * 60) };
const CHECK: Structure = Structure::Words(CheckKind::names);
const OUTSIDE_WORDS: Words<OutsideBounds> = &[("reject", OutsideBounds::Reject), ("clamp", OutsideBounds::Clamp)];
const RETURNS: Words<ReturnCode> =
    &[("allow", ReturnCode::Allow), ("reject", ReturnCode::Reject), ("strip", ReturnCode::Strip)];

pub static MIN: Opt<DurationIn> =
    Opt::new("min", LIFETIME, "Minimum lifetime.").default("unlimited").allowed("at most `max`").shown("5m");

pub static MAX: Opt<DurationIn> = Opt::new("max", LIFETIME, "Maximum lifetime.")
    .default("unlimited")
    .shown("12h")
    .comment("Maximum lifetime; a new session without a lifetime exceeds it.");

pub static OUTSIDE: Chosen<OutsideBounds> = Opt::new(
    "outside",
    choice(OUTSIDE_WORDS, OutsideBounds::Reject),
    "How to treat other lifetimes: reject the write, or clamp the lifetime to the bound.",
)
.allowed("`clamp` only with `min` or `max`")
.shown("clamp")
.comment("Other lifetimes: reject the write, or clamp to the bound.");

pub static REQUIRED: Switch = Opt::new(
    "required",
    boolean(false),
    "Whether a write that can set a lifetime must set it, even if `clamp` would add `max`.",
)
.shown("true")
.comment("Whether a write must set it.");

/// The options in `lifetime`.
pub static LIFETIME_OPTIONS: Options =
    Options { heading: "lifetime", comments_above: false, rules: &[], rows: &[&MIN, &MAX, &OUTSIDE, &REQUIRED] };

pub static CHECKS_ALLOWED: Plain = Opt::new("allowed", Structure::List(&CHECK), "Allowed checks.")
    .default("any check")
    .shown("[user, password, totp]")
    .comment("No other check may be requested.");

/// The options in `checks`.
pub static CHECKS_OPTIONS: Options =
    Options { heading: "checks", comments_above: false, rules: &[], rows: &[&CHECKS_ALLOWED] };

pub static RETURN_CODE: Chosen<ReturnCode> = Opt::new(
    "return_code",
    choice(RETURNS, ReturnCode::Allow),
    "How to treat a challenge that returns the one-time code in the response instead of sending it to the user. \
        `strip` forwards the request and removes the code from the response; with `mode: audit` the response stays \
        unchanged.",
)
.shown("reject")
.comment("One-time codes in responses: allow, reject, or strip from the response.");

pub static URL_TEMPLATE: Plain =
    Opt::new("url_template", Structure::Map(&URL_TEMPLATE_OPTIONS), "Allowed targets of links in mails.")
        .default("any")
        .allowed("with `schemes` and `hosts`");

/// The options in `challenges`.
pub static CHALLENGES_OPTIONS: Options =
    Options { heading: "challenges", comments_above: false, rules: &[], rows: &[&RETURN_CODE, &URL_TEMPLATE] };

pub static SCHEMES: Plain = Opt::new("schemes", TEXTS, "Allowed schemes.")
    .default("`https` if `hosts` is set, otherwise any")
    .allowed("list of schemes")
    .shown("[https]")
    .comment("Allowed schemes.");

pub static HOSTS: Plain = Opt::new(
    "hosts",
    TEXTS,
    "Allowed hosts, with any port: `login.example.com`, or `*.example.com` for all subdomains of `example.com`, but \
        not `example.com` itself.",
)
.default("any")
.allowed("list of ASCII host names (international ones in punycode)")
.shown("[login.example.com, \"*.login.example.com\"]")
.comment("*. is any subdomain.");

/// The options in `url_template`.
pub static URL_TEMPLATE_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&SCHEMES, &HOSTS] };
