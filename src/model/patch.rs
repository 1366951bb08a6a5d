//! The view of a write: everything that a policy can evaluate, and the changes that it can ask for.

use super::Violation;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// The view of a write that policies evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPatch {
    /// How the provider names the metadata: the first part of every violation's path.
    pub name: &'static str,
    /// Whether the body changes nothing at all.
    pub empty: bool,
    /// The change of the metadata.
    pub metadata: MetadataChange,
    /// Whether it makes a session that does not exist yet.
    pub creates: bool,
    /// Whether metadata without entries removes all of it. Where it does not, it changes nothing, and the provider
    /// drops entries with an empty value.
    pub empty_map_clears: bool,
    /// How long the session is to live.
    pub lifetime: Lifetime,
    /// Whether the session's token comes with it.
    pub token: SessionTokenPresence,
    /// What the provider is asked to check.
    pub checks: Vec<Check>,
    /// Where it asks for checks, or for something about them, that the gateway does not know.
    pub unknown_checks: Vec<String>,
    /// What the provider is asked to challenge with.
    pub challenges: Vec<Challenge>,
    /// Where it asks for challenges, or for something about them, that the gateway does not know.
    pub unknown_challenges: Vec<String>,
    /// What the provider's own validation rejects, with [`super::Rule::Provider`].
    pub constraint_violations: Vec<Violation>,
}

impl Default for SessionPatch {
    /// A write that changes nothing, at a provider of which a write can change metadata only.
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
    Text(String),
    /// A number, exactly as it was written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An array or an object.
    Composite(&'static str),
    /// Bytes which are not UTF-8.
    Bytes(Vec<u8>),
}

impl Value {
    /// What the value is, for messages.
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

    /// Whether both are known to be the same: of arrays and objects that cannot be told.
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
    pub key: String,
    /// The value.
    pub value: Value,
}

/// What a write does to a session's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataChange {
    /// Nothing: the request does not name it.
    Absent,
    /// Removes all of it.
    Wipe,
    /// Replaces all of it by these entries, of which there is at least one.
    Replace(Vec<Field>),
    /// Something that is neither: the kind that was found.
    Malformed(&'static str),
}

/// A length of time, exact to the nanosecond, as protobuf's Duration has it. Both parts have the same sign.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// The whole seconds.
    pub seconds: i64,
    /// What is left of a second, in nanoseconds.
    pub nanos: i32,
}

impl Length {
    fn nanoseconds(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }
}

const NANOS: i128 = 1_000_000_000;

impl PartialEq for Length {
    fn eq(&self, other: &Length) -> bool {
        self.nanoseconds() == other.nanoseconds()
    }
}

impl Eq for Length {}

impl PartialOrd for Length {
    fn partial_cmp(&self, other: &Length) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Length {
    fn cmp(&self, other: &Length) -> Ordering {
        self.nanoseconds().cmp(&other.nanoseconds())
    }
}

impl From<Duration> for Length {
    fn from(duration: Duration) -> Length {
        let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or_default();
        Length { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
    }
}

impl fmt::Display for Length {
    /// As protobuf's JSON has it: `18000s`, `1.5s`.
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

/// How long a write lets a session live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// The operation, or the provider, has no such thing.
    #[default]
    NotOffered,
    /// The write does not say, but could: here.
    Absent(String),
    /// This long.
    Given {
        /// Where it says so.
        path: String,
        /// How long.
        length: Length,
    },
}

/// Whether the session's token comes with a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionTokenPresence {
    /// The operation does not ask for it.
    #[default]
    NotRequested,
    /// It does not come, but could: here.
    Absent(String),
    /// It comes.
    Given,
}

/// What the provider is asked to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Where the write asks for it.
    pub path: String,
    /// What is checked.
    pub kind: CheckKind,
}

/// By what a user proves something. A closed set: configurations name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CheckKind {
    /// The user is named.
    User,
    /// A password.
    Password,
    /// A WebAuthN assertion.
    WebAuthN,
    /// A finished login at another identity provider.
    IdpIntent,
    /// A code of an authenticator.
    Totp,
    /// A code that came by SMS.
    OtpSms,
    /// A code that came by mail.
    OtpEmail,
    /// A recovery code.
    RecoveryCode,
}

/// What the provider is asked to challenge the user with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Where the write asks for it; of one that returns its code: the member that asks for that. In the caller's own
    /// spelling.
    pub path: String,
    /// The challenge.
    pub kind: ChallengeKind,
}

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeKind {
    /// WebAuthN.
    WebAuthN,
    /// A code by SMS.
    OtpSms {
        /// Whether the code is in the response instead.
        returns_code: bool,
    },
    /// A code by mail.
    OtpEmail {
        /// Whether the code is in the response instead.
        returns_code: bool,
        /// The link in the mail, where the caller gives one: where it does, and the template.
        url_template: Option<(String, String)>,
    },
}

/// One change of a document. Fields are named by their place in [`MetadataChange::Replace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Gives the field another key.
    Rename {
        /// The field.
        field: usize,
        /// Its new key.
        key: String,
    },
    /// Gives the field another value, a string.
    Set {
        /// The field.
        field: usize,
        /// Its new value.
        value: String,
    },
    /// Takes the field out.
    Remove {
        /// The field.
        field: usize,
    },
    /// Adds an entry, also where the document has no metadata.
    Insert {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Sets the lifetime, also where the document has none.
    Lifetime(Length),
}
