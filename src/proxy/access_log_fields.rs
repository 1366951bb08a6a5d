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
    /// What precedes the value in JSON, in one piece: most of a line is names, and each request has a line.
    pub(super) json: &'static str,
    /// What precedes the value in the text format.
    pub(super) text: &'static str,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFieldKind {
    /// A string.
    String,
    /// A number.
    Number,
}

/// The quotation mark before a value of this type.
macro_rules! quote {
    (String) => {
        "\""
    };
    (Number) => {
        ""
    };
}

/// Declares each field, and the list of all of them.
macro_rules! fields {
    ($($field:ident = $kind:ident $name:literal, $presence:literal, $meaning:literal;)*) => {
        $(pub(super) static $field: LogField = LogField {
            name: $name,
            kind: LogFieldKind::$kind,
            presence: $presence,
            meaning: $meaning,
            json: concat!(",\"", $name, "\":", quote!($kind)),
            text: concat!(" ", $name, "="),
        };)*

        /// The fields of the access log, in the order in which a line has them.
        pub static ACCESS_LOG: &[&LogField] = &[$(&$field),*];
    };
}

// The first three are those of every line of the log. They have no names in the text format.
fields! {
    TIMESTAMP = String "timestamp", "all",
        "Time when the request ended, in UTC, with milliseconds (RFC 3339).";
    LEVEL = String "level", "all",
        "`INFO`; `DEBUG` if `decision` is `client_gone`.";
    MESSAGE = String "message", "all",
        "`request`.";
    REQUEST_ID = String "request_id", "all",
        "Request ID, also in `X-Request-Id` of the response: see [below](#traces-and-request-ids).";
    TRACE_ID = String "trace_id", "all",
        "Trace ID: see [below](#traces-and-request-ids).";
    CLIENT_ADDRESS = String "client.address", "all",
        "Remote address of the connection.";
    METHOD = String "method", "all",
        "Method of the request; `-` if it has none.";
    STATUS = Number "status", "all",
        "Status of the response; 0 if no response was written.";
    UPSTREAM = String "upstream", "all",
        "As in the metrics.";
    OPERATION = String "operation", "all",
        "As in the metrics.";
    DECISION = String "decision", "all",
        "As in the metrics.";
    CACHE = String "cache", "all",
        "As in the metrics.";
    REASON = String "reason", "rejected and failed requests, and reads of deleted sessions",
        "Why the gateway rejected the request, or why it failed: see [Reasons of rejections](#reasons-of-rejections).";
    RULES = String "rules", "writes that violate a policy",
        "Violated [rules of the policy](#rules-of-policies), separated by commas; also with `mode: audit`.";
    SESSION_HASH = String "session_hash", "authorized requests that name a session",
        "Keyed hash of the session ID (`hash_key`).";
    BYTES = Number "bytes", "all",
        "Size of the response body, in bytes.";
    DURATION_US = Number "duration_us", "all",
        "Time from the request head to the end of the response, in microseconds.";
    UPSTREAM_STATUS = Number "upstream_status", "requests that the provider responded to",
        "Status of the provider's response. For calls that the gateway reads, the HTTP equivalent of the call's status.";
    UPSTREAM_DURATION_US = Number "upstream_duration_us", "requests that were sent to the provider",
        "Time at the provider: from sending, with the connection if a new one was needed, to the end of the response \
         head, or to the failure, in microseconds. Without the wait for a slot.";
    UPSTREAM_ATTEMPTS = Number "upstream_attempts", "requests that were sent to the provider",
        "How often the request was sent to the provider. An attempt without a connection counts; further addresses \
         belong to the same attempt.";
    QUOTA_LIMIT = Number "quota_limit", "requests to which the provider reported its request limit",
        "How many requests the provider's limit allows: see [Quota](#quota).";
    QUOTA_REMAINING = Number "quota_remaining", "requests to which the provider reported its request limit",
        "How many requests of the provider's limit are left.";
    QUOTA_RESET = Number "quota_reset", "requests to which the provider reported its request limit",
        "When the provider allows more requests, in seconds since the epoch.";
}
