//! Why the gateway responds in place of the provider: one row per reason.

use super::reason_row::Cause::{Gateway, Issuer, Provider, Store};
use super::reason_row::GrpcCode::{
    DeadlineExceeded, Internal, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated,
    Unavailable, Unimplemented,
};
use super::reason_row::{Cause, Parameter, Row, client, failure, filled};
use super::{IdForm, Violations};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray, VariantNames};

/// Declares [`Rejection`] and [`Reason`] from rows:
///
/// ```text
/// /// The meaning, for the documentation of the source and for that of operators (docs/reference/reasons.md).
/// Variant(parameter: Type, …) = a row: client(status, code, "text with {parameter}");
/// ```
macro_rules! reasons {
    ($(
        $(#[doc = $meaning:literal])+
        $(#[strum($($name:tt)+)])?
        $reason:ident $(($($parameter:ident: $type:ty),+))? = $row:expr;
    )+) => {
        /// Why the gateway responds in place of the provider. Dialects render each in the provider's shape.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Rejection {
            $(
                $(#[doc = $meaning])+
                $(#[doc = concat!("\n\nParameters:" $(, " `", stringify!($parameter), "`")+)])?
                $reason $(($($type),+))?,
            )+
        }

        /// The reason of a rejection, without its parameters: the `reason` label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray, VariantNames)]
        #[strum(serialize_all = "snake_case")]
        pub enum Reason {
            $($(#[doc = $meaning])+ $(#[strum($($name)+)])? $reason,)+
        }

        impl Reason {
            /// What is known of the reason.
            pub fn row(self) -> &'static Row {
                match self {
                    $(Reason::$reason => const {
                        let parameters: &[&str] = &[$($(stringify!($parameter)),+)?];
                        &Row { meaning: concat!($($meaning),+), parameters, ..$row }
                    })+
                }
            }
        }

        impl Rejection {
            /// The reason.
            pub fn reason(&self) -> Reason {
                match self {
                    $(Rejection::$reason { .. } => Reason::$reason,)+
                }
            }

            fn parameters(&self) -> Vec<(&'static str, &dyn Parameter)> {
                match self {
                    $(Rejection::$reason $(($($parameter),+))? => {
                        vec![$($((stringify!($parameter), $parameter as &dyn Parameter)),+)?]
                    })+
                }
            }
        }
    };
}

reasons! {
    /// Invalid HTTP: see [What is rejected](requests.md).
    Framing(what: String) = client(400, InvalidArgument, "malformed request: {what}");

    /// Too many or too large headers: `clients.limits`.
    HeadTooLarge(limit: String) = client(431, ResourceExhausted, "request headers too large: {limit}");

    /// The path with its query exceeds `clients.limits.uri`.
    TargetTooLong(limit: usize) = client(414, InvalidArgument, "the URI has more than {limit} bytes");

    /// Servers may read the path differently: see [spellings of paths](routes.md#spellings-of-paths).
    Path = client(400, InvalidArgument, "the path is not in canonical form");

    /// A path below a governed one that is no operation; any pass-through request with `unmatched: reject`.
    UnknownOperation = client(404, NotFound, "no operation has this path");

    /// The path has no operation with this method; `TRACE`, `CONNECT`.
    Method(allowed: String) = client(405, Unimplemented, "method not allowed; allowed: {allowed}");

    /// A query parameter that the operation does not have, a repeated one, or one in another spelling.
    Query(allowed: &'static [&'static str]) = client(400, InvalidArgument,
        "invalid query; allowed parameters, each at most once and percent-encoded: {allowed}");

    /// A header that is not allowed here: a method override, an `Upgrade`, a second `Authorization`.
    Header(name: &'static str, fault: &'static str) = client(400, InvalidArgument, "the header `{name}` {fault}");

    /// The session ID has an invalid form.
    SessionId(form: IdForm) = client(400, InvalidArgument, "invalid session ID; expected {form}");

    /// The refresh token ID has an invalid form.
    RefreshTokenId(form: IdForm) = client(400, InvalidArgument, "invalid refresh token ID; expected {form}");

    /// The user ID has an invalid form.
    UserId(limit: usize) = client(400, InvalidArgument, "invalid user ID; expected at most {limit} characters");

    /// No upstream matches listener, host and path.
    NoUpstream = client(404, NotFound, "no upstream matches this host and path")
        .alert("if you expect no such requests: DNS or `match` may be wrong");

    /// No credential.
    CredentialMissing = client(401, Unauthenticated, "missing credential");

    /// The credential is not a well-formed bearer token.
    CredentialMalformed = client(401, Unauthenticated, "the credential is not a well-formed bearer token");

    /// `exp` of the token is past: the client has to request a new one. If new tokens are rejected, compare the clocks;
    /// see `leeway`.
    TokenExpired = client(401, Unauthenticated, "the token has expired");

    /// `nbf` of the token is in the future: compare the clocks of the gateway and the issuer; see `leeway`.
    TokenNotYetValid = client(401, Unauthenticated, "invalid token: it is not valid yet").error_id("token_invalid")
        .alert("if it rises for all callers: a clock is wrong");

    /// `iss` of the token is not one of `issuer`. A final `/` counts: see [auth](configuration.md#auth).
    TokenIssuer = client(401, Unauthenticated, "invalid token: its issuer is not allowed").error_id("token_invalid")
        .alert("if it rises for all callers: `issuer` is wrong");

    /// `aud` of the token has none of `audience`: the client requests tokens for another API, or `audience` is wrong.
    TokenAudience(expected: String) = client(401, Unauthenticated, "the token is not for the audience {expected}")
        .alert("if it rises for all callers: `audience` is wrong");

    /// The signature algorithm of the token is not one of `algorithms`. Compare these with the issuer's own.
    TokenAlgorithm = client(401, Unauthenticated, "invalid token: its algorithm is not allowed")
        .error_id("token_invalid").alert("if it rises for all callers: `algorithms` is wrong");

    /// No key of the issuer has the token's `kid` and algorithm, also after a new fetch: the token is of another
    /// issuer, or the gateway cannot use the key (see `issuer keys not usable` in [the
    /// log](log.md#lines-for-state-changes)).
    TokenKey = client(401, Unauthenticated, "the token is not signed by the issuer").error_id("token_signature")
        .alert("if it rises for all callers: `jwks` or `issuer` is wrong, or the issuer's keys have changed");

    /// The token has no `kid`, and several keys of the issuer have its algorithm: the issuer has to add `kid`.
    TokenKidMissing = client(401, Unauthenticated, "invalid token: it has no `kid`, and several keys match")
        .error_id("token_invalid");

    /// The key that the token names did not sign it: the token was changed, or is of an issuer with a key of that name.
    TokenSignature = client(401, Unauthenticated, "the token is not signed by the issuer")
        .alert("if it rises for all callers: `jwks` or `issuer` is wrong, or the issuer's keys have changed");

    /// `typ` of the token is not that of an access token: the client sends a token of another kind.
    TokenType = client(401, Unauthenticated, "invalid token: its `typ` is not that of an access token")
        .error_id("token_invalid");

    /// The header of the token has `crit` or `b64`, which access tokens do not have.
    TokenExtension(member: &'static str) = client(401, Unauthenticated, "invalid token: its header has `{member}`")
        .error_id("token_invalid");

    /// The token has more than 8 KiB: let the issuer leave out claims.
    TokenTooLong = client(401, Unauthenticated, "invalid token: it is too long").error_id("token_invalid");

    /// The issuer says that the opaque token is not active: it has expired or was revoked, is of another issuer, or is of
    /// a kind that the issuer does not introspect, such as a session token.
    TokenInactive = client(401, Unauthenticated, "invalid token: it is not active").error_id("token_invalid");

    /// The claims are not a JSON object, or one is missing, malformed or duplicated. The response says which.
    TokenMalformed(fault: String) = client(401, Unauthenticated, "invalid token: {fault}")
        .error_id("token_invalid");

    /// The token lacks the scope of the operation.
    Scope(scope: &'static str) = client(403, PermissionDenied, "the token lacks the scope {scope}");

    /// No grant of the upstream allows this to the caller: see [Grants](../guides/several-applications.md).
    Grant(what: String) = client(403, PermissionDenied, "not granted: {what:.500}");

    /// The provider responded with 401 to the read before a write. A REST caller gets that response instead.
    CredentialRefused = client(401, Unauthenticated, "the provider does not accept the credential");

    /// The provider responded with 403 to the read before a write. A REST caller gets that response instead.
    ReadDenied = client(403, PermissionDenied, "the provider does not let the caller read what the request changes");

    /// The provider responded with 429 to the read before a write. A REST caller gets that response instead.
    ProviderLimit(wait: Duration) = client(429, ResourceExhausted, "the provider's rate limit is reached")
        .retry_after(0);

    /// The issuer's keys were never fetched, or are older than `max_stale`.
    KeysUnavailable = failure(Issuer, 503, Unavailable, "the issuer's signing keys are not available yet")
        .retry_after(1).alert("yes: all requests with tokens fail");

    /// The token has an unknown key, and no newer keys could be fetched in time.
    KeyPending(next_fetch: Duration) = failure(Issuer, 503, Unavailable, "the token's signing key is not known yet")
        .retry_after(1).alert("if it lasts longer than `min_interval`");

    /// The opaque token could not be introspected: see `cannot introspect tokens` in [the
    /// log](log.md#lines-for-state-changes).
    IntrospectionFailed = failure(Issuer, 503, Unavailable, "the token cannot be verified at the moment")
        .retry_after(1).alert("yes: requests with opaque tokens fail");

    /// `introspection.in_flight` is reached.
    IntrospectionBusy = failure(Gateway, 503, Unavailable, "too many tokens are being verified")
        .retry_after(1).alert("if it lasts: the issuer is slow, the limit is too low, or many unknown tokens arrive");

    /// The operation takes no body.
    UnexpectedBody = client(400, InvalidArgument, "this operation takes no body");

    /// A body of more than 64 KiB without `Content-Length`.
    LengthRequired(limit: usize) = client(411, ResourceExhausted,
        "a body of more than {limit} bytes needs a Content-Length header");

    /// The body exceeds `body.max`.
    TooLarge(limit: usize) = client(413, ResourceExhausted, "the body has more than {limit} bytes");

    /// The content type is not supported.
    ContentType = client(415, InvalidArgument, "unsupported content type");

    /// The body is compressed.
    ContentCoding = client(415, Unimplemented, "compressed requests are not supported");

    /// The body did not arrive in time.
    BodyTimeout(limit: Duration) = client(408, DeadlineExceeded, "the body did not arrive within {limit} s");

    /// The body is invalid or ambiguous.
    Malformed(what: String) = client(400, InvalidArgument, "malformed body: {what:.500}");

    /// The policy does not allow the write: see `sessiongate_violations_total`.
    #[strum(serialize = "policy")]
    Violations(violations: Violations) = client(400, InvalidArgument, "{violations}");

    /// The session was deleted or revoked through the gateway.
    Deleted = client(404, NotFound, "the session does not exist");

    /// The caller's grant has `sessions: own` or `user`, and the session or refresh token is not the caller's, or does not
    /// exist: the response is the same in both cases. Also a call that changes a session that does not exist, if the
    /// gateway had to read its metadata first.
    ForeignSession = client(404, NotFound, "the session does not exist").error_id("deleted");

    /// 64 writes are in flight on the session.
    TooManyWrites = client(429, ResourceExhausted, "too many concurrent writes to this session").retry_after(1);

    /// Other writes change the metadata of the same session or refresh token, and did not end in time.
    MetadataBusy = client(429, ResourceExhausted, "other writes change the same metadata at the moment").retry_after(1);

    /// The exclusive right to change metadata could not be taken: the store did not confirm it, or has lost rights, whose
    /// writes may still be in flight.
    RightUnavailable(wait: Duration) = failure(Store, 503, Unavailable,
        "the exclusive right to change metadata is unavailable")
        .retry_after(1).alert("yes: writes of metadata fail");

    /// The exclusive right to change metadata was lost before the write was sent: it had expired, the session was
    /// deleted, or the store lost it. Nothing was sent.
    RightLost = failure(Store, 503, Unavailable, "the exclusive right to change metadata was lost; nothing was changed")
        .retry_after(1).alert("if it rises: the provider is slow, or the store loses data");

    /// The provider shows an older state of the session than it has acknowledged or shown before, so the write would undo
    /// changes of others. Nothing was sent.
    OutdatedState = failure(Provider, 503, Unavailable,
        "the provider shows an older state of the session than before; nothing was changed")
        .retry_after(1).alert("if it rises: replicas of the provider lag");

    /// The invalidation mark could not be set, with `on_unreachable: reject`.
    StoreUnavailable = failure(Store, 503, Unavailable, "cache invalidation unavailable; write rejected")
        .retry_after(1).alert("yes: writes fail");

    /// No connection to the provider, a broken or invalid response.
    UpstreamFailed = failure(Provider, 502, Unavailable, "the request to the provider failed")
        .alert("yes: see [Alerts](../operations/monitoring.md#alerts)");

    /// The provider did not respond in time.
    UpstreamTimeout(limit: Duration) = failure(Provider, 504, DeadlineExceeded,
        "the provider did not respond within {limit:ms} ms").alert("yes: see [Alerts](../operations/monitoring.md#alerts)");

    /// The host name of the provider was never resolved.
    Unavailable = failure(Provider, 503, Unavailable, "the provider's address is not available")
        .retry_after(1).alert("yes: see [Alerts](../operations/monitoring.md#alerts)");

    /// `limits.in_flight` of the upstream is reached, or the process has no file descriptor left.
    UpstreamBusy = failure(Gateway, 503, Unavailable, "too many requests to the provider are in flight")
        .retry_after(1).alert("yes: the provider is slow, or the limit is too low");

    /// `limits.per_source` or `introspection.per_source` of the upstream is reached.
    SourceBusy = client(429, ResourceExhausted, "too many requests from this address are in flight")
        .retry_after(1).alert("if the source is your own: raise the limit");

    /// The memory budget is used up: see [Memory](../operations/memory.md).
    Overloaded = failure(Gateway, 503, Unavailable, "the gateway is low on memory")
        .retry_after(1).alert("yes: raise the memory limit, or add replicas");

    /// A bug in the gateway: a panic, whose message is on standard error.
    InternalError = failure(Gateway, 500, Internal, "an internal error of the gateway")
        .alert("yes: report it, with the message of the panic");

    /// The provider's response to a governed request is larger than 4 MiB.
    #[strum(serialize = "answer_too_large")]
    ResponseTooLarge(limit: usize) = failure(Provider, 502, Internal,
        "the provider's response has more than {limit} bytes").alert("yes: that request never succeeds");
}

impl Reason {
    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Rejection {
    /// The name of the reason in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.reason().name()
    }

    /// The name of the reason in the error IDs of responses.
    pub fn error_id(&self) -> &'static str {
        match self.reason().row().error_id {
            "" => self.name(),
            older => older,
        }
    }

    /// Every name, in the order of declaration.
    pub fn names() -> &'static [&'static str] {
        <Reason as VariantNames>::VARIANTS
    }

    /// A text of the reason, with the parameters in place of `{name}`. Violations have about `most` bytes at most.
    pub fn filled(&self, text: &str, most: usize) -> String {
        filled(text, &self.parameters(), most)
    }

    /// The value of `Retry-After`, in seconds, if a retry may soon succeed.
    pub fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Rejection::KeyPending(wait) | Rejection::ProviderLimit(wait) | Rejection::RightUnavailable(wait) => {
                wait.as_secs()
            }
            _ => 0,
        };
        self.reason().row().retry_after.map(|seconds| seconds.saturating_add(wait))
    }

    /// Whether the provider failed.
    pub fn is_provider_failure(&self) -> bool {
        self.reason().row().cause == Cause::Provider
    }

    /// Whether the gateway, the provider, the issuer or the store failed, rather than the caller.
    pub fn is_failure(&self) -> bool {
        self.reason().row().cause != Cause::Client
    }
}
