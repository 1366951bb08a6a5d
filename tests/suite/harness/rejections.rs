//! One rejection of each reason.

use sessiongate::model::{IdForm, Rejection, Rule, Violation, Violations};
use std::time::Duration;

/// One rejection of each reason, in the order of declaration.
pub fn rejections() -> Vec<Rejection> {
    let mut violations = Violations::new();
    let path = "session_metadata.team".to_owned();
    violations.push(Violation { path, rule: Rule::Type, message: "is a number; expected a string".into() });
    let all = vec![
        Rejection::Framing("a header has no name".into()),
        Rejection::HeadTooLarge("more than 100 headers".into()),
        Rejection::TargetTooLong(8192),
        Rejection::Path,
        Rejection::UnknownOperation,
        Rejection::Method("GET, PATCH".into()),
        Rejection::Query(&["from", "take"]),
        Rejection::Header("Upgrade", "is not allowed"),
        Rejection::SessionId(IdForm::Opaque(50)),
        Rejection::RefreshTokenId(IdForm::Opaque(30)),
        Rejection::UserId(300),
        Rejection::NoUpstream,
        Rejection::CredentialMissing,
        Rejection::CredentialMalformed,
        Rejection::TokenExpired,
        Rejection::TokenNotYetValid,
        Rejection::TokenIssuer,
        Rejection::TokenAudience("https://tenant.test/api/v2/".into()),
        Rejection::TokenAlgorithm,
        Rejection::TokenKey,
        Rejection::TokenKidMissing,
        Rejection::TokenSignature,
        Rejection::TokenType,
        Rejection::TokenExtension("crit"),
        Rejection::TokenTooLong,
        Rejection::TokenInactive,
        Rejection::TokenMalformed("its claim `exp` is missing".into()),
        Rejection::Scope("read:sessions"),
        Rejection::Grant("operation `update_session`".into()),
        Rejection::CredentialRefused,
        Rejection::ReadDenied,
        Rejection::ProviderLimit(Duration::from_secs(7)),
        Rejection::KeysUnavailable,
        Rejection::KeyPending(Duration::from_millis(7500)),
        Rejection::IntrospectionFailed,
        Rejection::IntrospectionBusy,
        Rejection::UnexpectedBody,
        Rejection::LengthRequired(65_536),
        Rejection::TooLarge(1_048_576),
        Rejection::ContentType,
        Rejection::ContentCoding,
        Rejection::BodyTimeout(Duration::from_secs(30)),
        Rejection::Malformed("duplicate key `a` at 1:9".into()),
        Rejection::Violations(violations),
        Rejection::Deleted,
        Rejection::ForeignSession,
        Rejection::TooManyWrites,
        Rejection::MetadataBusy,
        Rejection::RightUnavailable(Duration::from_millis(7500)),
        Rejection::RightLost,
        Rejection::OutdatedState,
        Rejection::StoreUnavailable,
        Rejection::UpstreamFailed,
        Rejection::UpstreamTimeout(Duration::from_millis(2500)),
        Rejection::Unavailable,
        Rejection::UpstreamBusy,
        Rejection::SourceBusy,
        Rejection::Overloaded,
        Rejection::InternalError,
        Rejection::ResponseTooLarge(4_194_304),
    ];
    let names: Vec<_> = all.iter().map(Rejection::name).collect();
    assert_eq!(names, Rejection::names(), "one rejection of each reason");
    all
}
