//! Which ungoverned requests of ZITADEL's APIs may change sessions. `docs/concepts/invalidation.md` gives the reasons.
//!
//! Sources: the services in ZITADEL's proto files, with the rules that name their resources, its SCIM interface, and
//! the events that change sessions (`internal/query/projection/session.go`: users that are locked, deactivated or
//! removed, passwords that change, names that are read together with them, instances that are removed).

use super::super::PathPart::{Any, EndsWith, OneOf, Rest, StartsWith, Word};
use super::super::{InvalidationRule, PathPart};

/// Resources of the services of version 2 and later.
const V2: PathPart = StartsWith(&["v2", "v3"]);
const SERVICE: PathPart = StartsWith(&["zitadel."]);
const USERS: PathPart = Word("users");
const MANAGEMENT: PathPart = Word("management");
const AUTH: PathPart = Word("auth");
const V1: PathPart = Word("v1");

/// Endings of POST paths that only read.
const SEARCHES: &[&str] = &["_search", "search", ".search"];
/// Prefixes of procedures that only read.
const READS: &[&str] = &["get", "list", "search"];
const OTHER_READS: &[&str] =
    &["exportdata", "existsdomain", "healthz", "isorgunique", "isuserunique", "retrieveidentityproviderintent"];

pub(super) const RULES: &[InvalidationRule] = &[
    InvalidationRule::keeps(&[EndsWith(SEARCHES)]).with_method("POST"),
    InvalidationRule::keeps(&[SERVICE, StartsWith(READS)]),
    InvalidationRule::keeps(&[SERVICE, OneOf(OTHER_READS)]),
    InvalidationRule::keeps(&[Word("admin"), V1, Word("export")]).with_method("POST"),
    InvalidationRule::keeps(&[Word("system"), V1, Word("domains"), Any, Word("_exists")]).with_method("POST"),
    // Lists users.
    InvalidationRule::keeps(&[V2, USERS]).with_method("POST"),
    // A new user, organization or instance has no sessions yet.
    InvalidationRule::keeps(&[StartsWith(&["zitadel.user.v2"]), OneOf(&["addhumanuser", "createuser"])]),
    InvalidationRule::keeps(&[V2, USERS, OneOf(&["human", "new"])]).with_method("POST"),
    InvalidationRule::keeps(&[
        MANAGEMENT_SERVICE,
        OneOf(&["addhumanuser", "importhumanuser", "addmachineuser", "addorg"]),
    ]),
    InvalidationRule::keeps(&[MANAGEMENT, V1, USERS, OneOf(&["human", "machine"])]).with_method("POST"),
    InvalidationRule::keeps(&[MANAGEMENT, V1, USERS, Word("human"), Word("_import")]).with_method("POST"),
    InvalidationRule::keeps(&[MANAGEMENT, V1, Word("orgs")]).with_method("POST"),
    InvalidationRule::keeps(&[StartsWith(&["zitadel.org.v2"]), OneOf(&["addorganization", "createorganization"])]),
    InvalidationRule::keeps(&[V2, Word("organizations")]).with_method("POST"),
    InvalidationRule::keeps(&[Word("scim"), Word("v2"), Any, USERS]).with_method("POST"),
    InvalidationRule::keeps(&[SYSTEM_SERVICE, OneOf(&["addinstance", "createinstance"])]),
    InvalidationRule::keeps(&[Word("system"), V1, Word("instances")]).with_method("POST"),
    InvalidationRule::keeps(&[Word("system"), V1, Word("instances"), Word("_create")]).with_method("POST"),
    // Logins at applications use a session but do not change it.
    InvalidationRule::keeps(&[StartsWith(&["zitadel.oidc.", "zitadel.saml."]), Any]),
    InvalidationRule::keeps(&[V2, OneOf(&["oidc", "saml"]), Rest]),
    InvalidationRule::keeps(&[StartsWith(&["zitadel.user.v2"]), Word("startidentityproviderintent")]),
    InvalidationRule::keeps(&[V2, Word("idp_intents"), Rest]).with_method("POST"),
    // Requests that send codes or links, or begin the registration of a factor.
    InvalidationRule::keeps(&[StartsWith(&["zitadel.user.v2"]), OneOf(SEND_PROCEDURES)]),
    InvalidationRule::keeps(&[V2, USERS, Any, OneOf(&["email", "phone", "invite_code"]), OneOf(&["resend", "send"])])
        .with_method("POST"),
    InvalidationRule::keeps(&[V2, USERS, Any, Word("passkeys"), Word("registration_link")]).with_method("POST"),
    InvalidationRule::keeps(&[V2, USERS, Any, OneOf(SEND_RESOURCES)]).with_method("POST"),
    InvalidationRule::keeps(&[MANAGEMENT_SERVICE, OneOf(SEND_MANAGEMENT)]),
    InvalidationRule::keeps(&[
        MANAGEMENT,
        V1,
        USERS,
        Any,
        EndsWith(&["_resend_initialization", "_resend_verification", "_send_link"]),
    ])
    .with_method("POST"),
    InvalidationRule::keeps(&[MANAGEMENT, V1, USERS, Any, Word("password"), Word("_reset")]).with_method("POST"),
    InvalidationRule::keeps(&[MANAGEMENT, V1, USERS, Any, Word("passwordless"), Word("_link")]).with_method("POST"),
    InvalidationRule::keeps(&[
        AUTH_SERVICE,
        OneOf(&[
            "resendmyemailverification",
            "resendmyphoneverification",
            "addmypasswordlesslink",
            "sendmypasswordlesslink",
        ]),
    ]),
    InvalidationRule::keeps(&[AUTH, V1, USERS, Word("me"), EndsWith(&["_resend_verification", "_link", "_send_link"])])
        .with_method("POST"),
    // Not part of a session: metadata of users and organizations, and grants at projects.
    InvalidationRule::keeps(&[StartsWith(&["zitadel.user.v2"]), OneOf(&["setusermetadata", "deleteusermetadata"])]),
    InvalidationRule::keeps(&[V2, USERS, Any, Word("metadata")]),
    InvalidationRule::keeps(&[
        StartsWith(&["zitadel.org.v2"]),
        OneOf(&["setorganizationmetadata", "deleteorganizationmetadata"]),
    ]),
    InvalidationRule::keeps(&[V2, Word("organizations"), Any, Word("metadata")]),
    InvalidationRule::keeps(&[MANAGEMENT_SERVICE, OneOf(UNRELATED_MANAGEMENT)]),
    InvalidationRule::keeps(&[MANAGEMENT, V1, USERS, Any, OneOf(&["metadata", "grants"]), Rest]),
    InvalidationRule::keeps(&[MANAGEMENT, V1, Word("metadata"), Rest]),
    InvalidationRule::keeps(&[MANAGEMENT, V1, Word("user_grants"), Word("_bulk")]),
    InvalidationRule::keeps(&[StartsWith(&["zitadel.authorization.", "zitadel.analytics."]), Any]),
    InvalidationRule::keeps(&[V2, Word("authorizations"), Rest]),
    // Users, organizations, instances, their settings and members, and everything unknown.
    InvalidationRule::changes(&[SERVICE, Any, Rest]),
    InvalidationRule::changes(&[V2, Any, Rest]),
    InvalidationRule::changes(&[OneOf(&["auth", "management", "admin", "system"]), V1, Rest]),
    InvalidationRule::changes(&[Word("scim"), Word("v2"), Rest]),
    InvalidationRule::changes(&[Word("resources"), StartsWith(&["v3"]), Rest]),
];

const MANAGEMENT_SERVICE: PathPart = Word("zitadel.management.v1.managementservice");
const AUTH_SERVICE: PathPart = Word("zitadel.auth.v1.authservice");
const SYSTEM_SERVICE: PathPart = Word("zitadel.system.v1.systemservice");

/// Procedures of the user services that only send a message or begin a registration.
const SEND_PROCEDURES: &[&str] = &[
    "resendemailcode",
    "sendemailcode",
    "resendphonecode",
    "passwordreset",
    "createinvitecode",
    "resendinvitecode",
    "createpasskeyregistrationlink",
    "registerpasskey",
    "registeru2f",
    "registertotp",
    "humanmfainitskipped",
];
/// The last path segments of such procedures' resources below a user.
const SEND_RESOURCES: &[&str] = &["password_reset", "invite_code", "passkeys", "u2f", "totp", "mfa_init_skipped"];
const SEND_MANAGEMENT: &[&str] = &[
    "resendhumaninitialization",
    "resendhumanemailverification",
    "resendhumanphoneverification",
    "sendhumanresetpasswordnotification",
    "addpasswordlessregistration",
    "sendpasswordlessregistration",
];
const UNRELATED_MANAGEMENT: &[&str] = &[
    "setusermetadata",
    "bulksetusermetadata",
    "removeusermetadata",
    "bulkremoveusermetadata",
    "setorgmetadata",
    "bulksetorgmetadata",
    "removeorgmetadata",
    "bulkremoveorgmetadata",
    "addusergrant",
    "updateusergrant",
    "deactivateusergrant",
    "reactivateusergrant",
    "removeusergrant",
    "bulkremoveusergrant",
];
