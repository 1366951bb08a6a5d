//! The options of a grant.

use super::declare::{Chosen, Opt, Plain};
use super::kind::{Structure, TEXT, TEXTS, Words, choice};
use super::table::Options;
use crate::grant::SessionScope;

/// One of these texts and patterns, or several.
const PATTERNS: Structure = Structure::OneOrSeveral(&TEXT);
/// Metadata keys, or none of them.
const KEYS_OR_NONE: Structure = Structure::WordsOr(&[NONE], &TEXTS);
const UID: Structure = Structure::Count(0, u32::MAX as usize);
const SCOPES_OF_SESSIONS: Words<SessionScope> =
    &[("any", SessionScope::Any), ("own", SessionScope::Own), ("user", SessionScope::User)];

/// The word for no metadata key.
pub const NONE: &str = "none";
/// The word for requests that are no operation of the dialect.
pub const PASS_THROUGH: &str = "pass_through";
/// The word for requests that may change any session.
pub const INVALIDATING: &str = "invalidating";

const PATTERN: &str = "text, `*` pattern or `/regular expression/`, or a list";
const KEY_PATTERNS: &str = "list of keys and patterns, `none`";

pub static NAME: Plain = Opt::new("name", TEXT, "Name of the grant in the log and in metrics.")
    .required()
    .allowed("at most 64 characters from `a-z`, `0-9`, `_`, `-`; each name once")
    .shown("support");

pub static CALLERS: Plain = Opt::new("callers", Structure::Map(&CALLERS_OPTIONS), "Callers that have this grant.")
    .default("every caller")
    .comment("Callers that have this grant: all that is set must match.");

pub static OPERATIONS: Plain = Opt::new(
    "operations",
    PATTERNS,
    "What these callers may do. A pattern matches operations of the dialect (`read_*`, `\"*\"`), but never \
        `pass_through` (requests that are no operation) and `invalidating` (those of them that may change any \
        session). See [operations](#operations).",
)
.required()
.allowed("operation, `*` pattern, `/regular expression/`, `pass_through`, `invalidating`, or a list")
.shown("[read_session, update_session, list_sessions]")
.comment("What they may do; `*` is every operation, but neither pass_through nor invalidating.");

pub static SESSIONS: Chosen<SessionScope> = Opt::new(
    "sessions",
    choice(SCOPES_OF_SESSIONS, SessionScope::Any),
    "With which sessions. `own`: the session that the caller's token names (`auth.claims.session`). `user`: the \
        sessions of the user who is the token's `sub`. See [sessions of a grant](#sessions-of-a-grant).",
)
.comment("With which sessions: any, own (the token names it), user (of the token's subject).");

pub static POLICY: Plain = Opt::new("policy", TEXT, "Policy for the writes of these callers.")
    .default("that of the upstream")
    .allowed("name of a policy")
    .shown("support");

pub static KEYS: Plain =
    Opt::new("keys", Structure::Map(&KEYS_OPTIONS), "Metadata keys that these callers may see, set and clear.")
        .comment("Exact keys, patterns with *, or /regular expressions/; none for no key.");

pub static MASKED: Plain = Opt::new(
    "masked",
    TEXTS,
    "Fields of sessions whose texts these callers see as `***`. Numbers, booleans and times below such a field are \
        absent. See [fields of sessions](#fields-of-sessions).",
)
.default("none")
.allowed("list of fields")
.shown("[device.last_user_agent]")
.comment("Fields whose texts they see as ***.");

pub static DROPPED: Plain = Opt::new(
    "dropped",
    TEXTS,
    "Fields of sessions that these callers do not see. See [fields of sessions](#fields-of-sessions).",
)
.default("none")
.allowed("list of fields")
.shown("[device.initial_ip, device.last_ip]")
.comment("Fields that they do not see.");

/// The options of a grant.
pub static OPTIONS: Options = Options {
    heading: "grants",
    comments_above: false,
    rules: &[],
    rows: &[&NAME, &CALLERS, &OPERATIONS, &SESSIONS, &POLICY, &KEYS, &MASKED, &DROPPED],
};

pub static CLIENT_ID: Plain = Opt::new("client_id", PATTERNS, "The client that the token was issued to.")
    .default("any")
    .allowed(PATTERN)
    .shown("[crm, \"support-*\"]");

pub static SUBJECT: Plain =
    Opt::new("subject", PATTERNS, "The token's `sub`.").default("any").allowed(PATTERN).shown("/auth0\\|[0-9a-f]+/");

pub static ISSUER: Plain = Opt::new("issuer", PATTERNS, "The token's `iss`.")
    .default("any")
    .allowed(PATTERN)
    .shown("https://acme.eu.auth0.com/");

pub static ORGANIZATION: Plain =
    Opt::new("organization", PATTERNS, "The organization.").default("any").allowed(PATTERN).shown("org_support");

pub static SCOPES: Plain = Opt::new("scopes", PATTERNS, "One of the token's scopes.")
    .default("any")
    .allowed(PATTERN)
    .shown("\"read:sessions\"");

pub static ROLES: Plain =
    Opt::new("roles", PATTERNS, "One of the roles.").default("any").allowed(PATTERN).shown("[support, admin]");

pub static GROUPS: Plain =
    Opt::new("groups", PATTERNS, "One of the groups.").default("any").allowed(PATTERN).shown("\"eu-*\"");

pub static CLAIMS: Plain = Opt::new(
    "claims",
    Structure::ByName(&PATTERNS),
    "Other claims of the token, by name: one of the values of each must match.",
)
.default("any")
.allowed("map of text, `*` pattern or `/regular expression/`, or a list")
.shown("{ gty: client-credentials, \"https://acme.example/region\": [eu, us] }");

pub static CERTIFICATE: Plain = Opt::new(
    "certificate",
    Structure::Map(&CERTIFICATE_OPTIONS),
    "Names in the client's certificate, which `tls.client_certificates` of the listener has verified: a map with \
        `san`, `subject` or both.",
)
.default("any, or none")
.comment("Names in the client's certificate.")
.off();

pub static UNIX_UID: Plain = Opt::new(
    "unix_uid",
    Structure::OneOrSeveral(&UID),
    "The user ID of the process at the other end of a Unix socket.",
)
.default("any")
.allowed("user ID, or a list")
.shown("[1000, 1001]")
.off();

/// The options in `callers`.
pub static CALLERS_OPTIONS: Options = Options {
    heading: "callers",
    comments_above: false,
    rules: &[],
    rows: &[&CLIENT_ID, &SUBJECT, &ISSUER, &ORGANIZATION, &SCOPES, &ROLES, &GROUPS, &CLAIMS, &CERTIFICATE, &UNIX_UID],
};

pub static SAN: Plain = Opt::new("san", PATTERNS, "One of the subject alternative names, after its type.")
    .default("any")
    .allowed("`DNS:`, `URI:`, `email:` or `IP:` and a text, `*` pattern or `/regular expression/`, or a list")
    .shown("\"URI:spiffe://acme.example/support/*\"");

pub static CERTIFICATE_SUBJECT: Plain =
    Opt::new("subject", PATTERNS, "The subject, as RFC 4514 writes it; a `*` does not go beyond an attribute.")
        .default("any")
        .allowed(PATTERN)
        .shown("\"CN=support,O=Acme\"");

/// The options in `certificate` of `callers`.
pub static CERTIFICATE_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&SAN, &CERTIFICATE_SUBJECT] };

pub static SEE: Plain = Opt::new("see", KEYS_OR_NONE, "Metadata keys that these callers see.")
    .default("every key")
    .allowed(KEY_PATTERNS)
    .shown("[\"cart_*\", team]");

pub static SET: Plain = Opt::new("set", KEYS_OR_NONE, "Metadata keys that these callers may add or change.")
    .default("the keys that they see")
    .allowed(KEY_PATTERNS)
    .shown("[\"cart_*\"]");

pub static CLEAR: Plain = Opt::new("clear", KEYS_OR_NONE, "Metadata keys that these callers may remove.")
    .default("as `set`")
    .allowed(KEY_PATTERNS)
    .shown("none");

pub static OWN: Plain = Opt::new(
    "own",
    TEXTS,
    "Metadata keys that these callers own: they set and clear these and no others, and each of their writes keeps the \
        other keys of the session. Each key has one owner. Not together with `set` and `clear`. See [owners of \
        keys](#owners-of-keys).",
)
.default("no key")
.allowed("list of keys and patterns")
.shown("[\"cart_*\"]")
.off();

/// The options in `keys` of a grant.
pub static KEYS_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&SEE, &SET, &CLEAR, &OWN] };
