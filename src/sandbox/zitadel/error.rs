//! Errors: a gRPC code, a text and ZITADEL's detail, in the form of each carrier.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::StatusCode;
use prost::Message;
use prost_types::Any;
use serde_json::{Value, json};

use super::messages::{CredentialsCheckError, ErrorDetail, Status};

/// A gRPC status code (grpc.io, "Status codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unauthenticated = 16,
}

impl Code {
    pub(super) fn number(self) -> i32 {
        self as i32
    }

    /// Connect's name of the code.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::FailedPrecondition => "failed_precondition",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// The HTTP status of REST and of Connect.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}

/// Why a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) code: Code,
    text: String,
    detail: Option<Detail>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Detail {
    id: String,
    failed_attempts: Option<i32>,
}

impl ApiError {
    /// An error of ZITADEL's own code, with an id.
    pub(super) fn new(code: Code, id: &str, text: &str) -> Self {
        Self { code, text: text.to_owned(), detail: Some(Detail { id: id.to_owned(), failed_attempts: None }) }
    }

    /// An error of the frameworks below, without an id.
    pub(super) fn bare(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), detail: None }
    }

    /// A wrong password.
    pub(super) fn credentials(id: &str, text: &str, failed_attempts: i32) -> Self {
        let detail = Detail { id: id.to_owned(), failed_attempts: Some(failed_attempts) };
        Self { code: Code::InvalidArgument, text: text.to_owned(), detail: Some(detail) }
    }

    /// The message on every carrier: the text and, if any, the id in parentheses.
    pub(super) fn message(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({})", self.text, detail.id),
            None => self.text.clone(),
        }
    }

    /// The body of a REST response.
    pub(super) fn rest(&self) -> Value {
        let mut body = json!({"code": self.code.number(), "message": self.message()});
        if let (Some((name, members)), Value::Object(body)) = (self.detail_json(), &mut body) {
            let mut detail = json!({"@type": format!("type.googleapis.com/{name}")});
            if let (Value::Object(detail), Value::Object(members)) = (&mut detail, members) {
                detail.extend(members);
            }
            body.insert("details".to_owned(), json!([detail]));
        }
        body
    }

    /// The body of a Connect response.
    pub(super) fn connect(&self) -> Value {
        let mut body = json!({"code": self.code.name(), "message": self.message()});
        if let (Some((name, debug)), Some(any), Value::Object(body)) =
            (self.detail_json(), self.detail_any(), &mut body)
        {
            let value = STANDARD_NO_PAD.encode(any.value);
            body.insert("details".to_owned(), json!([{"type": name, "value": value, "debug": debug}]));
        }
        body
    }

    /// The value of `grpc-status-details-bin`, if there are details.
    pub(super) fn status_details(&self) -> Option<String> {
        let details = vec![self.detail_any()?];
        let status = Status { code: self.code.number(), message: self.message(), details };
        Some(STANDARD_NO_PAD.encode(status.encode_to_vec()))
    }

    fn detail_json(&self) -> Option<(&'static str, Value)> {
        let detail = self.detail.as_ref()?;
        let mut members = json!({"message": self.text});
        if let Value::Object(members) = &mut members {
            if !detail.id.is_empty() {
                members.insert("id".to_owned(), json!(detail.id));
            }
            if let Some(attempts) = detail.failed_attempts.filter(|attempts| *attempts != 0) {
                members.insert("failedAttempts".to_owned(), json!(attempts));
            }
        }
        Some((detail.type_name(), members))
    }

    fn detail_any(&self) -> Option<Any> {
        let detail = self.detail.as_ref()?;
        let (id, message) = (detail.id.clone(), self.text.clone());
        let value = match detail.failed_attempts {
            Some(failed_attempts) => CredentialsCheckError { id, message, failed_attempts }.encode_to_vec(),
            None => ErrorDetail { id, message }.encode_to_vec(),
        };
        Some(Any { type_url: format!("type.googleapis.com/{}", detail.type_name()), value })
    }
}

impl Detail {
    fn type_name(&self) -> &'static str {
        match self.failed_attempts {
            Some(_) => "zitadel.v1.CredentialsCheckError",
            None => "zitadel.v1.ErrorDetail",
        }
    }
}
