//! The kinds of errors and warnings that `sessiongate check` reports, by ID.

use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The ID of a kind of error or warning. It stays the same when the message changes. The documentation comment of an
/// ID is its meaning in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum FindingId {
    /// The file is not valid YAML, or uses what the gateway does not accept: several documents, tags, merge keys.
    Syntax,
    /// A key is defined twice in the same map.
    DuplicateKey,
    /// No such option in this map.
    UnknownOption,
    /// A required option is not set.
    MissingOption,
    /// A map, a list or a single value was expected, and another one was found, or none.
    WrongType,
    /// A value is not valid for its option.
    InvalidValue,
    /// A number, duration or size is below the minimum or above the maximum.
    OutOfRange,
    /// A reference to an environment variable is malformed, or the variable is not set.
    Variable,
    /// The name of a policy or listener that is not declared.
    UndeclaredName,
    /// Options contradict each other, or one needs another.
    Conflict,
    /// A file cannot be read, or does not contain what the option needs.
    File,
    /// A secret is in the configuration itself, or the secret that a reference names is empty, too short or not text.
    Secret,
    /// Rules of a policy contradict each other or the provider's limits.
    PolicyConflict,
    /// The listener for commands is reachable from other machines without authentication.
    ControlExposed,
    /// Tokens and sessions go to the provider in cleartext.
    CleartextProvider,
    /// `protocol: auto` without TLS means HTTP/1.1.
    ProtocolWithoutTls,
    /// The path of `url` repeats the path that requests begin with.
    RepeatedApiPath,
    /// `auth.issuer` does not have the form of the provider's issuers.
    IssuerForm,
    /// `auth.audience` is almost the provider's API, but not exactly.
    AudienceForm,
    /// An option or policy has no effect: on this provider, or beside the other options.
    NoEffect,
    /// A grant hides a field that the provider does not document: perhaps a typo, which would hide nothing.
    UnknownField,
    /// A grant can never match a caller, or allow what it lists: earlier grants match the same callers, what it matches
    /// never exists, or no such request proves that the session is the caller's own.
    IneffectiveGrant,
    /// A grant hides something of sessions, or is for some sessions only, but allows requests that the gateway passes
    /// through: the same data may be in their responses.
    GrantWithPassThrough,
    /// A grant tells callers apart by their tokens, but not by the issuer, of which the upstream has several.
    GrantForAnyIssuer,
    /// Grants own metadata keys, and callers of another upstream of the same provider can remove them.
    UnprotectedKeys,
    /// No upstream uses the policy.
    UnusedPolicy,
    /// Several replicas with in-memory stores do not see each other's writes.
    ReplicasWithoutSharedStore,
    /// The in-memory store leaves too little memory for clients.
    StoreExceedsMemory,
    /// The password of the store and all commands go over the network in cleartext.
    CleartextStore,
    /// The token of the listener for commands goes over the network in cleartext.
    CleartextToken,
    /// Every client is trusted to set forwarding headers.
    TrustsEveryClient,
    /// The host of a provider cannot be resolved (`--online`).
    OnlineDns,
    /// No connection to a provider: TCP or TLS fails (`--online`).
    OnlineConnect,
    /// A provider does not respond (`--online`).
    OnlineProvider,
    /// An issuer's discovery document cannot be fetched, or names another issuer (`--online`).
    OnlineIssuer,
    /// An issuer's keys cannot be fetched, or none can be used (`--online`).
    OnlineKeys,
    /// An issuer's introspection endpoint does not respond as such, or rejects the gateway (`--online`).
    OnlineIntrospection,
    /// The store cannot be connected to, or rejects the login or a command (`--online`).
    OnlineStore,
}

impl FindingId {
    /// Whether only `--online` finds it.
    pub fn is_online(self) -> bool {
        use FindingId::*;
        matches!(
            self,
            OnlineDns | OnlineConnect | OnlineProvider | OnlineIssuer | OnlineKeys | OnlineIntrospection | OnlineStore
        )
    }

    /// Whether it is the ID of a warning, and not of an error.
    pub fn is_warning(self) -> bool {
        use FindingId::*;
        match self {
            Syntax | DuplicateKey | UnknownOption | MissingOption | WrongType | InvalidValue | OutOfRange
            | Variable | UndeclaredName | Conflict | File | Secret | PolicyConflict | ControlExposed => false,
            CleartextProvider
            | ProtocolWithoutTls
            | RepeatedApiPath
            | IssuerForm
            | AudienceForm
            | NoEffect
            | IneffectiveGrant
            | GrantWithPassThrough
            | GrantForAnyIssuer
            | UnprotectedKeys
            | UnknownField
            | UnusedPolicy
            | ReplicasWithoutSharedStore
            | StoreExceedsMemory
            | CleartextStore
            | CleartextToken
            | TrustsEveryClient => true,
            OnlineDns | OnlineConnect | OnlineProvider | OnlineIssuer | OnlineKeys | OnlineIntrospection
            | OnlineStore => false,
        }
    }
}
