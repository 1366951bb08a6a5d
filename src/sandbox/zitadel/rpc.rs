//! The steps of every call on every carrier: decode the request, check the caller and the rules, execute the
//! operation, encode the response.

use std::time::SystemTime;

use http::HeaderMap;
use prost::Message;

use super::call::{Call, Rpc, Version};
use super::error::{ApiError, Code};
use super::instance::Instance;
use super::job::Job;
use super::json::{self, Scalar};
use super::messages::{
    CreateSessionRequest, DeleteSessionRequest, GetSessionRequest, GetUserByIdRequest, ListSessionsRequest,
    OfCallerRequest, OfIdRequest, OfUserRequest, Query, SetSessionRequest,
};
use super::origin::Origin;
use super::procedures::Named;
use super::validation::{Rules, validate};
use super::{accounts, listing, operations};

/// The encoding of a request and of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Proto,
    Json,
    /// JSON of which only the first value counts; it may be empty.
    FirstJson,
}

/// A call to execute.
pub(super) struct Input<'a> {
    pub(super) call: Call,
    pub(super) form: Encoding,
    pub(super) body: &'a [u8],
    pub(super) origin: Origin,
    pub(super) metadata: &'a HeaderMap,
    pub(super) bound: UrlParameters,
}

/// What the URL of a REST request says; it wins over the body.
#[derive(Debug, Default)]
pub(super) struct UrlParameters {
    pub(super) id: Option<String>,
    pub(super) session_token: Option<String>,
}

/// Executes a call and gives the encoded response.
pub(super) fn execute(instance: &Instance, input: Input<'_>) -> Result<Vec<u8>, ApiError> {
    match input.call.rpc {
        Rpc::CreateSession => run(instance, input, operations::create_session),
        Rpc::SetSession => run(instance, input, operations::set_session),
        Rpc::GetSession => run(instance, input, operations::get_session),
        Rpc::DeleteSession => run(instance, input, operations::delete_session),
        Rpc::ListSessions => run(instance, input, listing::list_sessions),
        Rpc::GetUserById => run(instance, input, operations::get_user),
        Rpc::Account(account) => match account.named() {
            Named::User => run(instance, input, move |job, request: OfUserRequest| {
                accounts::execute(account, job, &request.user_id)
            }),
            Named::Id => {
                run(instance, input, move |job, request: OfIdRequest| accounts::execute(account, job, &request.id))
            }
            Named::Caller => run(instance, input, move |job, _: OfCallerRequest| {
                accounts::execute(account, job, &job.caller.user_id)
            }),
        },
    }
}

/// ZITADEL's order: decode the body, check the caller, then the rules.
fn run<Q: Request, A: Message + Scalar>(
    instance: &Instance,
    input: Input<'_>,
    operation: impl Fn(&Job<'_>, Q) -> Result<A, ApiError>,
) -> Result<Vec<u8>, ApiError> {
    let Call { rpc, version } = input.call;
    let mut request: Q = decode(input.form, input.body)?;
    request.bind(input.bound);
    if version == Version::V2Beta {
        request.drop_unknown_to_beta();
    }
    let now = SystemTime::now();
    let caller = instance.admit(&input.origin, input.metadata, now)?;
    validate(&request, version)?;
    instance.count_executed(rpc);
    let response = operation(&Job { instance, caller, version, now }, request)?;
    Ok(match input.form {
        Encoding::Proto => response.encode_to_vec(),
        Encoding::Json | Encoding::FirstJson => response.write().to_string().into_bytes(),
    })
}

fn decode<Q: Request>(form: Encoding, body: &[u8]) -> Result<Q, ApiError> {
    let invalid = |text: String| ApiError::bare(Code::InvalidArgument, text);
    let unmarshal = |text: String| invalid(format!("unmarshal message: {text}"));
    match form {
        Encoding::Proto => Q::decode(body).map_err(|error| unmarshal(format!("proto: {error}"))),
        Encoding::Json if body.is_empty() => {
            Err(unmarshal("zero-length payload is not a valid JSON object".to_owned()))
        }
        Encoding::Json => json::parse(body).and_then(Q::read).map_err(|text| unmarshal(format!("proto: {text}"))),
        Encoding::FirstJson => match json::parse_first(body).map_err(|text| invalid(format!("proto: {text}")))? {
            None => Ok(Q::default()),
            Some(node) => Q::read(node).map_err(|text| invalid(format!("proto: {text}"))),
        },
    }
}

/// The request message of a procedure.
trait Request: Message + Default + Scalar + Rules {
    /// Sets what the URL of a REST request says.
    fn bind(&mut self, bound: UrlParameters);
    /// Removes fields that `v2beta` does not have.
    fn drop_unknown_to_beta(&mut self) {}
}

impl Request for CreateSessionRequest {
    fn bind(&mut self, _bound: UrlParameters) {}

    fn drop_unknown_to_beta(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.recovery_code = None;
        }
    }
}

impl Request for SetSessionRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
    }

    fn drop_unknown_to_beta(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.recovery_code = None;
        }
    }
}

impl Request for GetSessionRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
        self.session_token = bound.session_token.or(self.session_token.take());
    }
}

impl Request for DeleteSessionRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
    }
}

impl Request for ListSessionsRequest {
    fn bind(&mut self, _bound: UrlParameters) {}

    fn drop_unknown_to_beta(&mut self) {
        for query in &mut self.queries {
            let unknown =
                matches!(query.query, Some(Query::Creator(_) | Query::UserAgent(_) | Query::ExpirationDate(_)));
            query.query = query.query.take().filter(|_| !unknown);
        }
    }
}

impl Request for GetUserByIdRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.user_id = bound.id.unwrap_or(std::mem::take(&mut self.user_id));
    }
}

impl Request for OfUserRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.user_id = bound.id.unwrap_or(std::mem::take(&mut self.user_id));
    }
}

impl Request for OfIdRequest {
    fn bind(&mut self, bound: UrlParameters) {
        self.id = bound.id.unwrap_or(std::mem::take(&mut self.id));
    }
}

impl Request for OfCallerRequest {
    fn bind(&mut self, _bound: UrlParameters) {}
}
