//! The procedures, whatever carries them: reading the request, the caller, the rules, the operation, writing the
//! response.

use std::time::SystemTime;

use http::HeaderMap;
use prost::Message;

use super::call::{Call, Rpc, Version};
use super::fault::{Code, Fault};
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

/// How a request is written; the response is written likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Proto,
    Json,
    /// JSON of which only the first value counts, or nothing at all.
    FirstJson,
}

/// A request to carry out.
pub(super) struct Input<'a> {
    pub(super) call: Call,
    pub(super) form: Form,
    pub(super) body: &'a [u8],
    pub(super) origin: Origin,
    pub(super) metadata: &'a HeaderMap,
    pub(super) bound: Bound,
}

/// What the address of a REST request says; it wins over the body.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) id: Option<String>,
    pub(super) session_token: Option<String>,
}

/// Carries a request out and gives the written answer.
pub(super) fn carry_out(instance: &Instance, input: Input<'_>) -> Result<Vec<u8>, Fault> {
    match input.call.rpc {
        Rpc::CreateSession => run(instance, input, operations::create_session),
        Rpc::SetSession => run(instance, input, operations::set_session),
        Rpc::GetSession => run(instance, input, operations::get_session),
        Rpc::DeleteSession => run(instance, input, operations::delete_session),
        Rpc::ListSessions => run(instance, input, listing::list_sessions),
        Rpc::GetUserById => run(instance, input, operations::get_user),
        Rpc::Account(account) => match account.named() {
            Named::User => run(instance, input, move |job, request: OfUserRequest| {
                accounts::carry_out(account, job, &request.user_id)
            }),
            Named::Id => {
                run(instance, input, move |job, request: OfIdRequest| accounts::carry_out(account, job, &request.id))
            }
            Named::Caller => run(instance, input, move |job, _: OfCallerRequest| {
                accounts::carry_out(account, job, &job.caller.user_id)
            }),
        },
    }
}

/// The steps in ZITADEL's order: rules are checked only after the caller, and the body is read before both.
fn run<Q: Request, A: Message + Scalar>(
    instance: &Instance,
    input: Input<'_>,
    operation: impl Fn(&Job<'_>, Q) -> Result<A, Fault>,
) -> Result<Vec<u8>, Fault> {
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
        Form::Proto => response.encode_to_vec(),
        Form::Json | Form::FirstJson => response.write().to_string().into_bytes(),
    })
}

fn decode<Q: Request>(form: Form, body: &[u8]) -> Result<Q, Fault> {
    let invalid = |text: String| Fault::bare(Code::InvalidArgument, text);
    let unmarshal = |text: String| invalid(format!("unmarshal message: {text}"));
    match form {
        Form::Proto => Q::decode(body).map_err(|error| unmarshal(format!("proto: {error}"))),
        Form::Json if body.is_empty() => Err(unmarshal("zero-length payload is not a valid JSON object".to_owned())),
        Form::Json => json::parse(body).and_then(Q::read).map_err(|text| unmarshal(format!("proto: {text}"))),
        Form::FirstJson => match json::parse_first(body).map_err(|text| invalid(format!("proto: {text}")))? {
            None => Ok(Q::default()),
            Some(node) => Q::read(node).map_err(|text| invalid(format!("proto: {text}"))),
        },
    }
}

/// A request of some procedure.
trait Request: Message + Default + Scalar + Rules {
    /// Takes what the address of a REST request says.
    fn bind(&mut self, bound: Bound);
    /// Forgets fields that `v2beta` does not have.
    fn drop_unknown_to_beta(&mut self) {}
}

impl Request for CreateSessionRequest {
    fn bind(&mut self, _bound: Bound) {}

    fn drop_unknown_to_beta(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.recovery_code = None;
        }
    }
}

impl Request for SetSessionRequest {
    fn bind(&mut self, bound: Bound) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
    }

    fn drop_unknown_to_beta(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.recovery_code = None;
        }
    }
}

impl Request for GetSessionRequest {
    fn bind(&mut self, bound: Bound) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
        self.session_token = bound.session_token.or(self.session_token.take());
    }
}

impl Request for DeleteSessionRequest {
    fn bind(&mut self, bound: Bound) {
        self.session_id = bound.id.unwrap_or(std::mem::take(&mut self.session_id));
    }
}

impl Request for ListSessionsRequest {
    fn bind(&mut self, _bound: Bound) {}

    fn drop_unknown_to_beta(&mut self) {
        for query in &mut self.queries {
            let unknown =
                matches!(query.query, Some(Query::Creator(_) | Query::UserAgent(_) | Query::ExpirationDate(_)));
            query.query = query.query.take().filter(|_| !unknown);
        }
    }
}

impl Request for GetUserByIdRequest {
    fn bind(&mut self, bound: Bound) {
        self.user_id = bound.id.unwrap_or(std::mem::take(&mut self.user_id));
    }
}

impl Request for OfUserRequest {
    fn bind(&mut self, bound: Bound) {
        self.user_id = bound.id.unwrap_or(std::mem::take(&mut self.user_id));
    }
}

impl Request for OfIdRequest {
    fn bind(&mut self, bound: Bound) {
        self.id = bound.id.unwrap_or(std::mem::take(&mut self.id));
    }
}

impl Request for OfCallerRequest {
    fn bind(&mut self, _bound: Bound) {}
}
