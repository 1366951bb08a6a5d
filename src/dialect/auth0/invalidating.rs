//! Which ungoverned requests of the Management API may change sessions. `docs/concepts/invalidation.md` gives the reasons.
//!
//! Source: Auth0's OpenAPI document of the Management API: all operations that do not only read.

use super::super::PathPart::{Any, OneOf, Rest, Word};
use super::super::{InvalidationRule, PathPart};

const API: PathPart = Word("api");
const V2: PathPart = Word("v2");
const USERS: PathPart = Word("users");
const ORGANIZATIONS: PathPart = Word("organizations");

/// Settings of future logins, and resources without any relation to sessions.
const UNRELATED: PathPart = OneOf(&[
    "actions",
    "anomaly",
    "attack-protection",
    "branding",
    "client-grants",
    "client-profiles",
    "connection-profiles",
    "email-templates",
    "emails",
    "event-streams",
    "flows",
    "forms",
    "hooks",
    "log-streams",
    "network-acls",
    "prompts",
    "rate-limit-policies",
    "resource-servers",
    "risk-assessments",
    "roles",
    "rules",
    "rules-configs",
    "self-service-profiles",
    "supplemental-signals",
    "token-exchange-profiles",
    "user-attribute-profiles",
    "user-blocks",
    "verifiable-credentials",
]);

pub(super) const RULES: &[InvalidationRule] = &[
    InvalidationRule::keeps(&[API, V2, UNRELATED, Rest]),
    // A new user, client, connection or organization has no sessions yet.
    InvalidationRule::keeps(&[API, V2, OneOf(&["users", "clients", "connections", "organizations"])])
        .with_method("POST"),
    InvalidationRule::keeps(&[API, V2, Word("clients"), Any, OneOf(&["credentials", "rotate-secret"]), Rest]),
    InvalidationRule::keeps(&[API, V2, USERS, Any, OneOf(&["permissions", "roles"])]),
    InvalidationRule::keeps(&[API, V2, ORGANIZATIONS, Any, Word("invitations"), Rest]),
    InvalidationRule::keeps(&[API, V2, ORGANIZATIONS, Any, Word("members")]).with_method("POST"),
    InvalidationRule::keeps(&[API, V2, ORGANIZATIONS, Any, Word("members"), Any, Word("roles")]),
    InvalidationRule::keeps(&[API, V2, Word("jobs"), OneOf(&["users-exports", "verification-email"])]),
    InvalidationRule::keeps(&[API, V2, Word("tickets"), Word("email-verification")]),
    InvalidationRule::keeps(&[API, V2, Word("guardian"), OneOf(&["factors", "policies", "settings"]), Rest]),
    InvalidationRule::keeps(&[API, V2, Word("guardian"), Word("enrollments"), Word("ticket")]),
    // Users, their identities and the clients and connections of their logins, and everything unknown.
    InvalidationRule::changes(&[API, V2, Any, Rest]),
];
