//! The fields of the access log.

/// A field of the access log.
#[derive(Debug)]
pub struct LogField {
    /// The name.
    pub name: &'static str,
    /// The type in JSON.
    pub kind: LogFieldKind,
    /// Which requests have it, in Markdown.
    pub presence: &'static str,
    /// What it says, in Markdown.
    pub meaning: &'static str,
    /// The name in the semantic conventions of OpenTelemetry, or what stands for it.
    pub otel: &'static str,
    /// The name in the Elastic Common Schema.
    pub ecs: &'static str,
    /// What precedes the value in JSON, in one piece: most of a line is names, and each request has a line.
    pub(super) json: &'static str,
    /// What precedes the value in the text format.
    pub(super) text: &'static str,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFieldKind {
    /// A string of the gateway's own words, numbers and identifiers.
    String,
    /// A string that a client, a token or a configuration chooses: escaped, and bounded in size.
    Text,
    /// A list of such strings.
    List,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// The quotation mark before a value of this type in JSON.
macro_rules! quote {
    (String) => {
        "\""
    };
    (Text) => {
        "\""
    };
    ($kind:ident) => {
        ""
    };
}

/// The quotation mark before a value of this type in the text format.
macro_rules! text_quote {
    (Text) => {
        "\""
    };
    ($kind:ident) => {
        ""
    };
}

/// Declares each field, and the list of all of them.
macro_rules! fields {
    ($($field:ident = $kind:ident $name:literal, $presence:literal, $meaning:literal, [$otel:literal, $ecs:literal];)*) => {
        $(pub(super) static $field: LogField = LogField {
            name: $name,
            kind: LogFieldKind::$kind,
            presence: $presence,
            meaning: $meaning,
            otel: $otel,
            ecs: $ecs,
            json: concat!(",\"", $name, "\":", quote!($kind)),
            text: concat!(" ", $name, "=", text_quote!($kind)),
        };)*

        /// The fields of the access log, in the order in which a line has them.
        pub static ACCESS_LOG: &[&LogField] = &[$(&$field),*];
    };
}

// The first three are those of every line of the log. They have no names in the text format.
fields! {
    TIMESTAMP = String "timestamp", "all",
        "Time when the request ended, in UTC, with milliseconds (RFC 3339).",
        ["Timestamp", "@timestamp"];
    LEVEL = String "level", "all",
        "`INFO`; `DEBUG` if `decision` is `client_gone`.",
        ["SeverityText", "log.level"];
    MESSAGE = String "message", "all",
        "`request`.",
        ["Body", "message"];
    REQUEST_ID = String "request_id", "all",
        "Request ID, also in `X-Request-Id` of the response: see [below](#traces-and-request-ids).",
        ["http.request.id", "http.request.id"];
    TRACE_ID = String "trace_id", "all",
        "Trace ID: see [below](#traces-and-request-ids).",
        ["TraceId", "trace.id"];
    CLIENT_ADDRESS = String "client.address", "all but those over a Unix socket",
        "Address of the client: as a [trusted proxy](configuration.md#clients) reports it in a header of the request, \
         otherwise as the PROXY protocol header of the connection has it, otherwise that of the connection.",
        ["client.address", "client.ip"];
    PEER_ADDRESS = String "network.peer.address", "requests whose `client.address` is not that of the connection",
        "Address of the connection: that of the proxy.",
        ["network.peer.address", "source.ip"];
    ISSUER = Text "caller.issuer", "requests with a verified token, if the upstream has several issuers",
        "The issuer of the token. The hashes of client and subject do not depend on it.",
        ["sessiongate.caller.issuer", "labels.issuer"];
    CLIENT_ID = Text "caller.client_id", "requests with a verified token that names a client",
        "The application that the token was issued to; with `log.caller.client_id: hash` its keyed hash.",
        ["sessiongate.caller.client_id", "labels.client_id"];
    SUBJECT = Text "caller.subject", "requests with a verified token that has a `sub`",
        "Keyed hash of the token's `sub` (`hash_key`); with `log.caller.subject: plain` the `sub` itself.",
        ["enduser.pseudo.id; user.id if plain", "user.hash; user.id if plain"];
    USER_AGENT = Text "user_agent", "requests with a `User-Agent`",
        "The client's software, as it calls itself: at most 256 bytes.",
        ["user_agent.original", "user_agent.original"];
    METHOD = String "method", "all",
        "Method of the request; `-` if it has none.",
        ["http.request.method", "http.request.method"];
    ROUTE = Text "http.route", "governed operations",
        "Template of the path at the provider, with `{session}`, `{user}`, `{refresh_token}` and `{tenant}` in place of IDs.",
        ["http.route", "labels.http_route"];
    STATUS = Number "status", "all",
        "Status of the response; 0 if no response was written. gRPC and gRPC-web calls have 200 even if they are \
         rejected or fail: see `decision` and `reason`, and `upstream_status` for errors of the provider.",
        ["http.response.status_code", "http.response.status_code"];
    UPSTREAM = String "upstream", "all",
        "As in the metrics.",
        ["sessiongate.upstream", "labels.upstream"];
    OPERATION = String "operation", "all",
        "As in the metrics.",
        ["sessiongate.operation", "event.action"];
    DECISION = String "decision", "all",
        "As in the metrics.",
        ["sessiongate.decision", "labels.decision"];
    CACHE = String "cache", "all",
        "As in the metrics.",
        ["sessiongate.cache", "labels.cache"];
    REASON = String "reason", "rejected and failed requests, and reads of deleted sessions",
        "Why the gateway rejected the request, or why it failed: see [Reasons of rejections](reasons.md).",
        ["error.type", "event.reason"];
    GRANT = Text "grant", "requests of callers with a grant",
        "Name of the [grant](../guides/several-applications.md) of the caller.",
        ["sessiongate.grant", "labels.grant"];
    NOT_GRANTED = Text "not_granted", "requests with the reason `grant`",
        "What no grant allows the caller, as in the response: operations and names of metadata keys, never values; at most \
         500 bytes.",
        ["sessiongate.not_granted", "labels.not_granted"];
    POLICY = Text "policy", "requests that a policy of the configuration evaluated",
        "Name of the policy.",
        ["sessiongate.policy", "rule.ruleset"];
    MODE = String "mode", "requests that a policy, or the provider's own limits, evaluated",
        "Mode of the policy: `enforce` or `audit`.",
        ["sessiongate.mode", "labels.mode"];
    WOULD_REJECT = Boolean "would_reject", "the same with `mode: audit`",
        "Whether `mode: enforce` would not have forwarded the request: because of `rules`, or, without `rules`, because \
         the current metadata that protected keys are compared with was not available.",
        ["sessiongate.would_reject", "labels.would_reject"];
    RULES = String "rules", "requests that violate a policy",
        "Violated [rules of the policy](metrics.md#rules-of-policies), separated by commas.",
        ["sessiongate.rules", "rule.name"];
    VIOLATIONS = List "violations", "the same",
        "What violates which rule, as `RULE:FIELD`: `one_of:session_metadata.team`. Names of metadata keys, never their \
         values: at most 10, each of at most 100 bytes.",
        ["sessiongate.violations", "labels.violations"];
    EDITS = List "edits", "writes that the policy edits",
        "Edits that the policy decided on, as `KIND:FIELD` with the `kind` of `sessiongate_edits_total`, bounded like \
         `violations`; with `mode: audit` those that `mode: enforce` would have made.",
        ["sessiongate.edits", "labels.edits"];
    MERGED = Boolean "merged", "writes of [owners of keys](configuration.md#owners-of-keys) that were merged",
        "`true`: the write keeps the other metadata keys of the session, as the provider showed them.",
        ["sessiongate.merged", "labels.merged"];
    SESSION_HASH = String "session_hash", "authorized requests that name a session",
        "Keyed hash of the session ID (`hash_key`).",
        ["sessiongate.session_hash", "labels.session_hash"];
    SAMPLE = Number "sample", "successful reads if `log.sample` is less than 1",
        "Sampling ratio: a line of a successful read represents `1 / sample` requests.",
        ["sessiongate.sample", "labels.sample"];
    RIGHT_WAIT_US = Number "right_wait_us", "writes that needed the exclusive right to change metadata",
        "Time until the write had the right, or was rejected, in microseconds.",
        ["sessiongate.right_wait_us", "labels.right_wait_us"];
    BYTES = Number "bytes", "all",
        "Size of the response body, in bytes.",
        ["http.response.body.size", "http.response.body.bytes"];
    DURATION_US = Number "duration_us", "all",
        "Time from the request head to the end of the response, in microseconds.",
        ["sessiongate.duration_us", "event.duration (nanoseconds)"];
    UPSTREAM_STATUS = Number "upstream_status", "requests that the provider responded to",
        "Status of the provider's response. For calls that the gateway reads, the HTTP equivalent of the call's status.",
        ["sessiongate.upstream_status", "labels.upstream_status"];
    UPSTREAM_DURATION_US = Number "upstream_duration_us", "requests that were sent to the provider",
        "Time at the provider: from sending, with the connection if a new one was needed, to the end of the response \
         head, or to the failure, in microseconds. Without the wait for a slot, and without the time in which a \
         streamed body arrives.",
        ["sessiongate.upstream_duration_us", "labels.upstream_duration_us"];
    UPSTREAM_ATTEMPTS = Number "upstream_attempts", "requests that were sent to the provider",
        "How often the request was sent to the provider. An attempt without a connection counts; further addresses \
         belong to the same attempt.",
        ["http.request.resend_count + 1", "labels.upstream_attempts"];
    QUOTA_LIMIT = Number "quota_limit", "requests to which the provider reported its request limit",
        "How many requests the provider's limit allows: see [Quota](../operations/provider-failures.md#quota).",
        ["sessiongate.quota_limit", "labels.quota_limit"];
    QUOTA_REMAINING = Number "quota_remaining", "requests to which the provider reported its request limit",
        "How many requests of the provider's limit are left.",
        ["sessiongate.quota_remaining", "labels.quota_remaining"];
    QUOTA_RESET = Number "quota_reset", "requests to which the provider reported its request limit",
        "When the provider allows more requests, in seconds since the epoch.",
        ["sessiongate.quota_reset", "labels.quota_reset"];
}
