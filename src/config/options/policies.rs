//! The options of a policy.

use super::declare::{Chosen, Opt, Plain, Switch};
use super::kind::{CountIn, Structure, TEXT, TEXTS, Words, boolean, choice};
use super::session_rules::{CHALLENGES_OPTIONS, CHECKS_OPTIONS, LIFETIME_OPTIONS};
use super::table::{NamedMaps, Options, Sample};
use crate::policy::{KeyCase, Mode, SessionTokenRule, Wipe};

/// The maximum of any limit: more than any provider allows, and too small to overflow.
const MAX_LIMIT: usize = 1_000_000;
const LENGTH: CountIn = CountIn { min: 0, max: MAX_LIMIT };
const LIMIT: CountIn = CountIn { min: 1, max: MAX_LIMIT };
const MODES: Words<Mode> = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];
const WIPES: Words<Wipe> = &[("allow", Wipe::Allow), ("reject", Wipe::Reject)];
const TOKENS: Words<SessionTokenRule> =
    &[("required", SessionTokenRule::Required), ("optional", SessionTokenRule::Optional)];
const CASES: Words<KeyCase> = &[("keep", KeyCase::Keep), ("lower", KeyCase::Lower), ("upper", KeyCase::Upper)];

/// The policies.
pub const BY_NAME: NamedMaps = NamedMaps {
    options: &OPTIONS,
    restricted: true,
    required: false,
    samples: &[
        Sample { name: "support", comment: "", lines: &[] },
        Sample {
            name: "logins",
            comment: "Options that only some dialects support: with the others they cause a warning.",
            lines: &[],
        },
    ],
};

/// Rules for values.
const FIELDS_BY_KEY: NamedMaps = NamedMaps {
    options: &FIELD_OPTIONS,
    restricted: false,
    required: false,
    samples: &[Sample { name: "team", comment: "", lines: &[] }],
};

pub static MODE: Chosen<Mode> = Opt::new(
    "mode",
    choice(MODES, Mode::Enforce),
    "`enforce`: reject requests with violations. `audit`: record violations, and forward requests unchanged.",
)
.comment("Enforce, or audit to only record violations.");

pub static KEYS: Plain = Opt::new("keys", Structure::Map(&KEYS_OPTIONS), "Keys of the metadata.")
    .comment("Exact keys, patterns with *, or /regular expressions/.");

pub static FIELDS: Plain =
    Opt::new("fields", Structure::Named(FIELDS_BY_KEY), "Rules for values, by key or pattern. See [fields](#fields).")
        .default("none")
        .allowed("map of rules")
        .comment("Rules by key or pattern: an exact key takes precedence, then the first pattern that matches.");

pub static LIMITS: Plain = Opt::new("limits", Structure::Map(&LIMITS_OPTIONS), "Limits of the metadata.")
    .comment("May only be tighter than those of the provider.");

pub static WIPE: Chosen<Wipe> = Opt::new(
    "wipe",
    choice(WIPES, Wipe::Allow),
    "Whether a request may remove all metadata. It may never remove required or protected keys.",
)
.shown("reject")
.comment("Removal of all metadata.");

pub static NORMALIZE: Plain = Opt::new(
    "normalize",
    Structure::Map(&NORMALIZE_OPTIONS),
    "Normalization before a request is validated and forwarded.",
)
.default("nothing");

pub static LIFETIME: Plain =
    Opt::new("lifetime", Structure::Map(&LIFETIME_OPTIONS), "Limits of the session lifetime that a write may set.")
        .second();

pub static SESSION_TOKEN: Chosen<SessionTokenRule> = Opt::new(
    "session_token",
    choice(TOKENS, SessionTokenRule::Optional),
    "Whether a write that can contain the session token must contain it.",
)
.shown("required")
.comment("Whether a write must contain the session token.")
.second();

pub static CHECKS: Plain =
    Opt::new("checks", Structure::Map(&CHECKS_OPTIONS), "Checks that a write may request.").second();

pub static CHALLENGES: Plain =
    Opt::new("challenges", Structure::Map(&CHALLENGES_OPTIONS), "Challenges that a write may request.").second();

/// The options of a policy.
pub static OPTIONS: Options = Options {
    heading: "A policy",
    comments_above: false,
    rules: &[],
    rows: &[&MODE, &KEYS, &FIELDS, &LIMITS, &WIPE, &NORMALIZE, &LIFETIME, &SESSION_TOKEN, &CHECKS, &CHALLENGES],
};

pub static ALLOWED: Plain = Opt::new("allowed", TEXTS, "Keys that a write may set, in addition to protected ones.")
    .default("any key")
    .allowed("list of keys")
    .shown("[team, \"flag_*\", \"/region_[a-z]{2}/\", tenant]")
    .comment("No other key may be set.");

pub static REQUIRED: Plain =
    Opt::new("required", TEXTS, "Keys that a write must contain: at least one for each pattern.")
        .default("none")
        .allowed("list of keys")
        .shown("[team]")
        .comment("Keys that a write must contain.");

pub static PROTECTED: Plain = Opt::new("protected", TEXTS, "Keys that callers must not add, change or remove.")
    .default("none")
    .allowed("list of keys")
    .shown("[tenant]");

/// The options in `keys`.
pub static KEYS_OPTIONS: Options =
    Options { heading: "keys", comments_above: false, rules: &[], rows: &[&ALLOWED, &REQUIRED, &PROTECTED] };

pub static REGEX: Plain = Opt::new("regex", TEXT, "Pattern that the whole value must match.")
    .default("none")
    .allowed("regular expression")
    .shown("\"[a-z]+\"")
    .comment("Must match the whole value.");

pub static ONE_OF: Plain =
    Opt::new("one_of", TEXTS, "Allowed values.").default("any").allowed("list of strings").shown("[blue, green]");

pub static MIN_LENGTH: Opt<CountIn> =
    Opt::new("min_length", LENGTH, "Minimum length, in characters.").default("0").shown("1");

pub static MAX_LENGTH: Opt<CountIn> = Opt::new("max_length", LENGTH, "Maximum length, in characters.")
    .default("unlimited")
    .allowed("at least `min_length`")
    .shown("64");

pub static DEFAULT: Plain = Opt::new(
    "default",
    TEXT,
    "Value that is added if a write omits the key. Only for exact keys that are not protected.",
)
.default("none")
.allowed("string that satisfies the rule")
.shown("blue")
.comment("Added if a write omits the key; for exact keys only.");

/// The rules for the values of a key.
pub static FIELD_OPTIONS: Options = Options {
    heading: "fields",
    comments_above: false,
    rules: &[],
    rows: &[&REGEX, &ONE_OF, &MIN_LENGTH, &MAX_LENGTH, &DEFAULT],
};

pub static PROPERTIES: Opt<CountIn> =
    Opt::new("properties", LIMIT, "Maximum number of keys.").default("the provider's").shown("20");

pub static KEY_LENGTH: Opt<CountIn> =
    Opt::new("key_length", LIMIT, "Maximum length of a key, in characters.").default("the provider's").shown("64");

pub static VALUE_LENGTH: Opt<CountIn> =
    Opt::new("value_length", LIMIT, "Maximum length of a value, in characters.").default("the provider's").shown("200");

/// The options in `limits` of a policy.
pub static LIMITS_OPTIONS: Options =
    Options { heading: "limits", comments_above: false, rules: &[], rows: &[&PROPERTIES, &KEY_LENGTH, &VALUE_LENGTH] };

pub static UNICODE: Chosen<bool> = Opt::new(
    "unicode",
    choice(&[("none", false), ("nfc", true)], false),
    "Unicode normalization of keys and values: `nfc` is Normalization Form C.",
)
.shown("nfc")
.comment("Unicode normalization; nfc is Normalization Form C.");

pub static TRIM: Switch =
    Opt::new("trim", boolean(false), "Whether to remove white space at both ends of keys and values.")
        .shown("true")
        .comment("Remove white space around keys and values.");

pub static KEY_CASE: Chosen<KeyCase> =
    Opt::new("key_case", choice(CASES, KeyCase::Keep), "Case of keys.").shown("lower");

pub static SCALARS: Chosen<bool> = Opt::new(
    "scalars",
    choice(&[("keep", false), ("to_strings", true)], false),
    "Whether to convert numbers and booleans to strings.",
)
.shown("to_strings")
.comment("Numbers and booleans.");

pub static EMPTY_VALUES: Chosen<bool> = Opt::new(
    "empty_values",
    choice(&[("keep", false), ("drop", true)], false),
    "Whether to drop keys whose value is an empty string.",
)
.shown("drop")
.comment("Keys whose value is an empty string.");

/// The options in `normalize`.
pub static NORMALIZE_OPTIONS: Options = Options {
    heading: "normalize",
    comments_above: false,
    rules: &[],
    rows: &[&UNICODE, &TRIM, &KEY_CASE, &SCALARS, &EMPTY_VALUES],
};
