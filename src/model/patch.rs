//! What a policy sees of a write, and the edits that it can make.

use super::Violation;
use compact_str::CompactString;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// A write as policies see it, whatever its provider and encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPatch {
    /// The provider's name for the metadata. Every metadata violation's path begins with it.
    pub name: &'static str,
    /// Whether the body has no member at all.
    pub empty: bool,
    /// What happens to the metadata.
    pub metadata: MetadataChange,
    /// Whether it creates a session.
    pub creates: bool,
    /// Whether an empty map removes all metadata. If not, an empty map changes nothing, and the provider drops entries
    /// with an empty value.
    pub empty_map_clears: bool,
    /// The lifetime that the write sets.
    pub lifetime: Lifetime,
    /// Whether the write carries the session's token.
    pub token: SessionTokenPresence,
    /// The checks that the write requests.
    pub checks: Vec<Check>,
    /// Paths of requested checks, or of parts of them, that the gateway does not know.
    pub unknown_checks: Vec<String>,
    /// The challenges that the write requests.
    pub challenges: Vec<Challenge>,
    /// Paths of requested challenges, or of parts of them, that the gateway does not know.
    pub unknown_challenges: Vec<String>,
    /// Violations of the provider's own constraints, each with [`super::Rule::Provider`].
    pub constraint_violations: Vec<Violation>,
}

impl Default for SessionPatch {
    /// A write that changes nothing, for a provider whose writes can change metadata only.
    fn default() -> SessionPatch {
        SessionPatch {
            name: "",
            empty: false,
            metadata: MetadataChange::Absent,
            creates: false,
            empty_map_clears: true,
            lifetime: Lifetime::NotOffered,
            token: SessionTokenPresence::NotRequested,
            checks: Vec::new(),
            unknown_checks: Vec::new(),
            challenges: Vec::new(),
            unknown_challenges: Vec::new(),
            constraint_violations: Vec::new(),
        }
    }
}

/// The value of one metadata entry, as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(CompactString),
    /// A number in its original spelling.
    Number(CompactString),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An array or an object: which of the two.
    Composite(&'static str),
    /// Bytes that are not UTF-8.
    Bytes(Vec<u8>),
}

impl Value {
    /// The type's name, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "boolean",
            Value::Null => "null",
            Value::Composite(kind) => kind,
            Value::Bytes(_) => "bytes",
        }
    }

    /// Whether both values are certainly equal. Arrays and objects never are: their content is not compared.
    pub fn is_same(&self, other: &Value) -> bool {
        match self {
            Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Null | Value::Bytes(_) => self == other,
            Value::Composite(_) => false,
        }
    }
}

/// One metadata entry, as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub key: CompactString,
    /// The value.
    pub value: Value,
}

/// What a write does to a session's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataChange {
    /// The request does not name the metadata.
    Absent,
    /// Remove all metadata.
    Wipe,
    /// Replace all metadata with these entries; never empty.
    Replace(Vec<Field>),
    /// Neither an object nor null: the type that was found.
    Malformed(&'static str),
}

/// A duration, exact to the nanosecond, as in protobuf's `Duration`. Both parts have the same sign.
#[derive(Debug, Clone, Copy)]
pub struct SignedDuration {
    /// Whole seconds.
    pub seconds: i64,
    /// The fraction of a second, in nanoseconds.
    pub nanos: i32,
}

impl SignedDuration {
    fn nanoseconds(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }
}

const NANOS: i128 = 1_000_000_000;

impl PartialEq for SignedDuration {
    fn eq(&self, other: &SignedDuration) -> bool {
        self.nanoseconds() == other.nanoseconds()
    }
}

impl Eq for SignedDuration {}

impl PartialOrd for SignedDuration {
    fn partial_cmp(&self, other: &SignedDuration) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SignedDuration {
    fn cmp(&self, other: &SignedDuration) -> Ordering {
        self.nanoseconds().cmp(&other.nanoseconds())
    }
}

impl From<Duration> for SignedDuration {
    fn from(duration: Duration) -> SignedDuration {
        let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or_default();
        SignedDuration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
    }
}

impl fmt::Display for SignedDuration {
    /// In protobuf's JSON format: `18000s`, `1.5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.nanoseconds();
        let sign = if all < 0 { "-" } else { "" };
        let (seconds, nanos) = (all.abs() / NANOS, all.abs() % NANOS);
        if nanos == 0 {
            return write!(f, "{sign}{seconds}s");
        }
        let fraction = format!("{nanos:09}");
        write!(f, "{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
    }
}

/// The lifetime that a write sets for a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// The operation, or the provider, has no lifetime.
    #[default]
    NotOffered,
    /// The write sets none, but could at this path.
    Absent(String),
    /// The write sets this lifetime.
    Given {
        /// The field's path.
        path: String,
        /// The lifetime.
        length: SignedDuration,
    },
}

/// Whether a write carries the session's token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionTokenPresence {
    /// The operation has no field for it.
    #[default]
    NotRequested,
    /// Missing, but allowed at this path.
    Absent(String),
    /// Present.
    Given,
}

/// A check that the write asks the provider to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The check's path in the write.
    pub path: String,
    /// The kind of check.
    pub kind: CheckKind,
}

/// The kind of proof that a user gives. Configurations name these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CheckKind {
    /// The user, by ID or login name.
    User,
    /// A password.
    Password,
    /// A WebAuthN assertion.
    WebAuthN,
    /// A finished login at another identity provider.
    IdpIntent,
    /// A code of an authenticator app (TOTP).
    Totp,
    /// A one-time code sent by SMS.
    OtpSms,
    /// A one-time code sent by email.
    OtpEmail,
    /// A recovery code.
    RecoveryCode,
}

/// A challenge that the write asks the provider to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The challenge's path in the caller's own spelling. For one that returns its code, the path of the field that
    /// requests that.
    pub path: String,
    /// The kind of challenge.
    pub kind: ChallengeKind,
}

/// A kind of challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeKind {
    /// WebAuthN.
    WebAuthN,
    /// A one-time code by SMS.
    OtpSms {
        /// Whether the provider returns the code in its response instead of sending it.
        returns_code: bool,
    },
    /// A one-time code by email.
    OtpEmail {
        /// Whether the provider returns the code in its response instead of sending it.
        returns_code: bool,
        /// The path and the text of the link template, if the caller gives one.
        url_template: Option<(String, String)>,
    },
}
