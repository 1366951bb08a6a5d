//! What is known of a reason for a rejection, whatever its parameters; and how a text shows the parameters.

use super::{IdForm, Violations, truncated};
use std::time::Duration;
use strum::IntoStaticStr;

/// What is known of a reason.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The HTTP status.
    pub status: u16,
    /// The status of gRPC and Connect.
    pub grpc_code: GrpcCode,
    /// The text for the caller: a clause without a capital and a period. `{name}` is replaced by the parameter of that
    /// name, `{name:.500}` by at most 500 bytes of it, and `{name:ms}` by a time in milliseconds instead of seconds.
    pub text: &'static str,
    /// Who has to act.
    pub cause: Cause,
    /// The value of `Retry-After` in seconds, if a retry may soon succeed. A time that the rejection has is added.
    pub retry_after: Option<u64>,
    /// The name in the error IDs of responses, which clients may compare, if it is older than the name of the reason;
    /// otherwise empty.
    pub error_id: &'static str,
    /// When operators should act, for the documentation; empty if this needs no attention.
    pub alert: &'static str,
    /// What it means, for the documentation.
    pub meaning: &'static str,
    /// The names of the parameters.
    pub parameters: &'static [&'static str],
}

/// A reason that the client causes.
pub(super) const fn client(status: u16, grpc_code: GrpcCode, text: &'static str) -> Row {
    failure(Cause::Client, status, grpc_code, text)
}

/// A reason with this cause.
pub(super) const fn failure(cause: Cause, status: u16, grpc_code: GrpcCode, text: &'static str) -> Row {
    Row { status, grpc_code, text, cause, retry_after: None, error_id: "", alert: "", meaning: "", parameters: &[] }
}

impl Row {
    pub(super) const fn retry_after(self, seconds: u64) -> Row {
        Row { retry_after: Some(seconds), ..self }
    }

    pub(super) const fn error_id(self, error_id: &'static str) -> Row {
        Row { error_id, ..self }
    }

    pub(super) const fn alert(self, alert: &'static str) -> Row {
        Row { alert, ..self }
    }
}

/// Who has to act on a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The client: its request is invalid, or it sends too many.
    Client,
    /// The issuer of tokens failed.
    Issuer,
    /// The shared store of the cache failed.
    Store,
    /// The provider failed.
    Provider,
    /// The gateway has reached a limit of its own, or has failed.
    Gateway,
}

/// The status codes of gRPC that rejections have, with their numbers. Source: gRPC's "Status codes"; the names are those
/// of Connect's "Protocol Reference".
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names are gRPC's")]
pub enum GrpcCode {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl GrpcCode {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The name in Connect's errors: `invalid_argument`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A parameter of a rejection.
pub(super) trait Parameter {
    /// The value as text, in the form that the text asks for. Violations have about `most` bytes at most.
    fn shown(&self, form: &str, most: usize) -> String;
}

/// As it is; with `.N` at most N bytes of it.
impl Parameter for String {
    fn shown(&self, form: &str, _: usize) -> String {
        let most = form.strip_prefix('.').and_then(|most| most.parse().ok());
        most.map_or_else(|| self.clone(), |most| truncated(self.clone(), most))
    }
}

impl Parameter for &'static str {
    fn shown(&self, _: &str, _: usize) -> String {
        (*self).to_owned()
    }
}

impl Parameter for usize {
    fn shown(&self, _: &str, _: usize) -> String {
        self.to_string()
    }
}

impl Parameter for IdForm {
    fn shown(&self, _: &str, _: usize) -> String {
        self.to_string()
    }
}

/// In whole seconds; with `ms` in milliseconds.
impl Parameter for Duration {
    fn shown(&self, form: &str, _: usize) -> String {
        if form == "ms" { self.as_millis().to_string() } else { self.as_secs().to_string() }
    }
}

/// `a`, `b`.
impl Parameter for &'static [&'static str] {
    fn shown(&self, _: &str, _: usize) -> String {
        if self.is_empty() { "none".to_owned() } else { format!("`{}`", self.join("`, `")) }
    }
}

impl Parameter for Violations {
    fn shown(&self, _: &str, most: usize) -> String {
        self.text(most)
    }
}

/// A text with parameters in place of `{name}` and `{name:form}`. Braces in the values stay as they are.
pub(super) fn filled(text: &str, parameters: &[(&str, &dyn Parameter)], most: usize) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled += before;
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        let (name, form) = place.split_once(':').unwrap_or((place, ""));
        if let Some((_, parameter)) = parameters.iter().find(|(own, _)| *own == name) {
            filled += &parameter.shown(form, most);
        }
        rest = after;
    }
    filled + rest
}
