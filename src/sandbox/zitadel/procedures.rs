//! The procedures about users and organizations (npm `@zitadel/proto`): their names, paths and effects.

/// What a procedure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Lock,
    Unlock,
    Deactivate,
    Reactivate,
    Remove,
    SetPassword,
    DeactivateOrg,
    ReactivateOrg,
    RemoveOrg,
    /// Only lists.
    Nothing,
}

/// How a procedure names its user or organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A user, in `user_id`.
    User,
    /// A user or an organization, in `id`.
    Id,
    /// The caller, or the caller's organization.
    Caller,
}

/// A procedure about users or organizations.
#[derive(Debug)]
struct Procedure {
    /// Its services; several may have it.
    services: &'static [&'static str],
    name: &'static str,
    named: Named,
    effect: Effect,
    /// The methods and paths of its REST resources; `*` is the id.
    resources: &'static [&'static str],
}

/// A procedure about users or organizations: its index in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account(usize);

const USERS: &[&str] = &["zitadel.user.v2.UserService", "zitadel.user.v2beta.UserService"];
const MANAGEMENT: &[&str] = &["zitadel.management.v1.ManagementService"];
const AUTH: &[&str] = &["zitadel.auth.v1.AuthService"];
const ORGANIZATIONS: &[&str] = &["zitadel.org.v2beta.OrganizationService"];

const fn procedure(
    services: &'static [&'static str],
    name: &'static str,
    named: Named,
    effect: Effect,
    resources: &'static [&'static str],
) -> Procedure {
    Procedure { services, name, named, effect, resources }
}

static PROCEDURES: &[Procedure] = &[
    procedure(USERS, "LockUser", Named::User, Effect::Lock, &["POST /v2/users/*/lock", "POST /v2beta/users/*/lock"]),
    procedure(USERS, "UnlockUser", Named::User, Effect::Unlock, &["POST /v2/users/*/unlock"]),
    procedure(USERS, "DeactivateUser", Named::User, Effect::Deactivate, &["POST /v2/users/*/deactivate"]),
    procedure(USERS, "ReactivateUser", Named::User, Effect::Reactivate, &["POST /v2/users/*/reactivate"]),
    procedure(USERS, "DeleteUser", Named::User, Effect::Remove, &["DELETE /v2/users/*", "DELETE /v2beta/users/*"]),
    procedure(USERS, "SetPassword", Named::User, Effect::SetPassword, &["POST /v2/users/*/password"]),
    procedure(USERS, "ListUsers", Named::Caller, Effect::Nothing, &["POST /v2/users", "POST /v2beta/users"]),
    procedure(MANAGEMENT, "LockUser", Named::Id, Effect::Lock, &["POST /management/v1/users/*/_lock"]),
    procedure(MANAGEMENT, "UnlockUser", Named::Id, Effect::Unlock, &["POST /management/v1/users/*/_unlock"]),
    procedure(
        MANAGEMENT,
        "DeactivateUser",
        Named::Id,
        Effect::Deactivate,
        &["POST /management/v1/users/*/_deactivate"],
    ),
    procedure(
        MANAGEMENT,
        "ReactivateUser",
        Named::Id,
        Effect::Reactivate,
        &["POST /management/v1/users/*/_reactivate"],
    ),
    procedure(MANAGEMENT, "RemoveUser", Named::Id, Effect::Remove, &["DELETE /management/v1/users/*"]),
    procedure(MANAGEMENT, "ListUsers", Named::Caller, Effect::Nothing, &["POST /management/v1/users/_search"]),
    procedure(
        MANAGEMENT,
        "DeactivateOrg",
        Named::Caller,
        Effect::DeactivateOrg,
        &["POST /management/v1/orgs/me/_deactivate"],
    ),
    procedure(
        MANAGEMENT,
        "ReactivateOrg",
        Named::Caller,
        Effect::ReactivateOrg,
        &["POST /management/v1/orgs/me/_reactivate"],
    ),
    procedure(MANAGEMENT, "RemoveOrg", Named::Caller, Effect::RemoveOrg, &["DELETE /management/v1/orgs/me"]),
    procedure(AUTH, "RemoveMyUser", Named::Caller, Effect::Remove, &["DELETE /auth/v1/users/me"]),
    procedure(AUTH, "UpdateMyPassword", Named::Caller, Effect::SetPassword, &["PUT /auth/v1/users/me/password"]),
    procedure(
        ORGANIZATIONS,
        "DeactivateOrganization",
        Named::Id,
        Effect::DeactivateOrg,
        &["POST /v2beta/organizations/*/deactivate"],
    ),
    procedure(
        ORGANIZATIONS,
        "ActivateOrganization",
        Named::Id,
        Effect::ReactivateOrg,
        &["POST /v2beta/organizations/*/activate"],
    ),
    procedure(ORGANIZATIONS, "DeleteOrganization", Named::Id, Effect::RemoveOrg, &["DELETE /v2beta/organizations/*"]),
];

/// For an index outside the table, which cannot occur.
static NONE: Procedure = procedure(&[], "", Named::Caller, Effect::Nothing, &[]);

impl Account {
    /// The procedure of this name.
    pub(super) fn of(service: &str, method: &str) -> Option<Account> {
        let is = |one: &Procedure| one.services.contains(&service) && one.name == method;
        PROCEDURES.iter().position(is).map(Account)
    }

    /// The procedure of a REST resource, and the id in its path.
    pub(super) fn at(method: &str, components: &[&str]) -> Option<(Account, Option<String>)> {
        PROCEDURES.iter().enumerate().find_map(|(at, procedure)| {
            let id = procedure.resources.iter().find_map(|resource| fits(resource, method, components))?;
            Some((Account(at), id))
        })
    }

    fn procedure(self) -> &'static Procedure {
        PROCEDURES.get(self.0).unwrap_or(&NONE)
    }

    pub(super) fn name(self) -> &'static str {
        self.procedure().name
    }

    /// How it names its user or organization.
    pub(super) fn named(self) -> Named {
        self.procedure().named
    }

    pub(super) fn effect(self) -> Effect {
        self.procedure().effect
    }

    /// Whether it needs no role, since it affects only the caller.
    pub(super) fn is_own(self) -> bool {
        let procedure = self.procedure();
        procedure.services == AUTH && procedure.named == Named::Caller
    }
}

/// The id in a path, if the path is this resource's; `Some(None)` if the resource has no id.
fn fits(resource: &str, method: &str, components: &[&str]) -> Option<Option<String>> {
    let (own, path) = resource.split_once(" /")?;
    let parts: Vec<&str> = path.split('/').collect();
    if own != method || parts.len() != components.len() {
        return None;
    }
    let mut id = None;
    for (part, component) in parts.iter().zip(components) {
        match *part {
            "*" => id = Some((*component).to_owned()),
            part if part == *component => {}
            _ => return None,
        }
    }
    Some(id)
}
