//! What a write does beside metadata: lifetimes, checks and challenges.

use super::Violation;
use std::fmt;
use std::time::Duration;

/// What a write does beside metadata, at the providers that have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// Whether the session does not exist yet.
    pub creates: bool,
    /// How long the session is to live.
    pub lifetime: Lifetime,
    /// Whether the caller shows the session's token.
    pub token: TokenShown,
    /// The checks that are to be made.
    pub checks: Vec<Check>,
    /// The challenges that are asked for.
    pub challenges: Vec<Challenge>,
    /// What the provider's own validation refuses.
    pub breaches: Vec<Violation>,
}

/// A length of time, exact to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length {
    /// Whole seconds.
    pub seconds: i64,
    /// Billionths of a second, of the same sign.
    pub nanos: i32,
}

/// How long a session is to live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// The operation, or the provider, has none.
    #[default]
    NotOffered,
    /// It is not said. What the field is called.
    Absent(String),
    /// It is said.
    Given {
        /// The field, in the caller's own spelling.
        path: String,
        /// How long.
        length: Length,
    },
}

/// Whether the caller shows the session's token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenShown {
    /// The operation does not ask for it.
    #[default]
    NotAsked,
    /// It is asked for, and missing. What the field is called.
    Absent(String),
    /// It is shown.
    Given,
}

/// What a check proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// Who the user is.
    User,
    /// The password.
    Password,
    /// A passkey or security key.
    WebAuthN,
    /// A login at another identity provider.
    IdpIntent,
    /// A code of an authenticator.
    Totp,
    /// A code from a text message.
    OtpSms,
    /// A code from a mail.
    OtpEmail,
    /// A recovery code.
    RecoveryCode,
}

impl CheckKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [CheckKind; 8] = [
        CheckKind::User,
        CheckKind::Password,
        CheckKind::WebAuthN,
        CheckKind::IdpIntent,
        CheckKind::Totp,
        CheckKind::OtpSms,
        CheckKind::OtpEmail,
        CheckKind::RecoveryCode,
    ];

    /// The name in the configuration and in messages.
    pub fn name(self) -> &'static str {
        match self {
            CheckKind::User => "user",
            CheckKind::Password => "password",
            CheckKind::WebAuthN => "web_auth_n",
            CheckKind::IdpIntent => "idp_intent",
            CheckKind::Totp => "totp",
            CheckKind::OtpSms => "otp_sms",
            CheckKind::OtpEmail => "otp_email",
            CheckKind::RecoveryCode => "recovery_code",
        }
    }
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The field, in the caller's own spelling.
    pub path: String,
    /// What it proves.
    pub kind: CheckKind,
}

/// A challenge that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A code that is handed to the caller instead of to the user. The field that asks for it.
    ReturnsCode(String),
    /// A link that is sent to the user.
    Link {
        /// The field, in the caller's own spelling.
        path: String,
        /// The template of the link, in the language of Go's `text/template`.
        template: String,
    },
}

impl From<Duration> for Length {
    fn from(duration: Duration) -> Length {
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Length { seconds, nanos: duration.subsec_nanos().cast_signed() }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.seconds < 0 || self.nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}", self.seconds.unsigned_abs())?;
        if self.nanos != 0 {
            let part = format!("{:09}", self.nanos.unsigned_abs());
            write!(f, ".{}", part.trim_end_matches('0'))?;
        }
        f.write_str("s")
    }
}
