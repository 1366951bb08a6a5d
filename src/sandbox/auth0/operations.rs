//! What the endpoints do with a request whose token, scope and rate limit were checked.

mod job;
mod paging;
mod refresh_tokens;
mod users;

use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::payload::{self, Id, RequestPart};
use super::response::ApiResponse;
use super::routes::{self, Call, Operation};
use super::store::{Record, Store};
use super::tenant::Tenant;
use super::token::CLIENT;
use job::Job;
use paging::{LIST, list};

/// Checks path, query and payload of a request, and executes it. `Err` is a rejection.
pub(super) fn perform(
    tenant: &Tenant,
    call: &Call,
    parts: &Parts,
    body: Result<Bytes, axum::Error>,
) -> Result<ApiResponse, ApiResponse> {
    payload::check_id(call.endpoint.id, &call.id)?;
    let query = routes::query(parts.uri.query()).ok_or_else(|| ApiResponse::bad_request("Bad Request", None))?;
    let body = body.map_err(|_| ApiResponse::too_large())?;
    let job = Job { tenant, id: &call.id, query, parts, body, now: Instant::now() };
    match call.endpoint.operation {
        Operation::GetSession => job.get_session(),
        Operation::UpdateSession => job.update_session(),
        Operation::DeleteSession => Ok(job.delete_session()),
        Operation::RevokeSession => job.revoke_session(),
        Operation::ListUserSessions => job.list_user_sessions(),
        Operation::DeleteUserSessions => job.delete_user_sessions(),
        Operation::RevokeAccess => job.revoke_access(),
        Operation::ListRefreshTokens => job.list_refresh_tokens(),
        Operation::GetRefreshToken => job.get_refresh_token(),
        Operation::UpdateRefreshToken => job.update_refresh_token(),
        Operation::DeleteRefreshToken => Ok(job.delete_refresh_token()),
        Operation::RevokeRefreshTokens => job.revoke_refresh_tokens(),
        Operation::ListUserRefreshTokens => job.list_user_refresh_tokens(),
        Operation::DeleteUserRefreshTokens => job.delete_user_refresh_tokens(),
        Operation::GetUser => job.get_user(),
        Operation::UpdateUser => job.update_user(),
        Operation::DeleteUser => Ok(job.delete_user()),
        Operation::ListClients => Ok(job.list_clients()),
    }
}

impl Job<'_> {
    /// The application that tokens are for. SDKs request totals unless told otherwise, which wraps the list.
    fn list_clients(&self) -> ApiResponse {
        let clients = json!([{
            "client_id": CLIENT,
            "name": "Order desk",
            "app_type": "non_interactive",
            "grant_types": ["client_credentials"],
            "global": false,
        }]);
        match self.parameter("include_totals") {
            Some("true") => ApiResponse::ok(json!({"start": 0, "limit": 50, "total": 1, "clients": clients})),
            _ => ApiResponse::ok(clients),
        }
    }

    fn get_session(&self) -> Result<ApiResponse, ApiResponse> {
        let store = self.tenant.0.store.lock();
        let session = store.sessions.get(self.id, self.now).ok_or_else(no_session)?;
        Ok(ApiResponse::ok(session.session(self.id)))
    }

    fn update_session(&self) -> Result<ApiResponse, ApiResponse> {
        let metadata = payload::metadata(self.object()?, "session_metadata", "session")?;
        let mut store = self.tenant.0.store.lock();
        let session = store.sessions.update(self.id, metadata, self.now).ok_or_else(no_session)?;
        Ok(ApiResponse::ok(session.session(self.id)))
    }

    /// Never 404: the API also accepts an unknown session.
    fn delete_session(&self) -> ApiResponse {
        self.tenant.0.store.lock().sessions.end(self.id, self.end());
        ApiResponse::accepted()
    }

    /// Also ends the session's refresh tokens; a delete does not.
    fn revoke_session(&self) -> Result<ApiResponse, ApiResponse> {
        let mut store = self.tenant.0.store.lock();
        store.sessions.get(self.id, self.now).ok_or_else(no_session)?;
        self.end_sessions(&mut store, true, |id, _| id == self.id);
        Ok(ApiResponse::accepted())
    }

    fn list_user_sessions(&self) -> Result<ApiResponse, ApiResponse> {
        payload::only(RequestPart::Query, self.query.iter().map(|(name, _)| name), LIST)?;
        self.check_flag("include_totals")?;
        let position = self.position()?;
        let store = self.user_store()?;
        let page = store.sessions.page(position, self.now, |session| session.user_id == self.id);
        let total = self.total(&page);
        Ok(list("sessions", page, total, Record::session))
    }

    fn delete_user_sessions(&self) -> Result<ApiResponse, ApiResponse> {
        let mut store = self.user_store()?;
        self.end_sessions(&mut store, false, |_, session| session.user_id == self.id);
        Ok(ApiResponse::accepted())
    }

    /// Ends one session of the user, or all, and the refresh tokens unless the request preserves them. Never 404.
    fn revoke_access(&self) -> Result<ApiResponse, ApiResponse> {
        let object = if self.body.is_empty() { Map::new() } else { self.object()? };
        payload::only(RequestPart::Payload, object.keys(), &["session_id", "preserve_refresh_tokens"])?;
        let session_id = session_to_revoke(&object)?;
        let keep = keeps_tokens(&object)?;
        let mut store = self.tenant.0.store.lock();
        let (user, end) = (self.id, self.end());
        self.end_sessions(&mut store, !keep, |id, session| {
            session.user_id == user && session_id.is_none_or(|wanted| wanted == id)
        });
        if session_id.is_none() && !keep {
            store.refresh_tokens.end_where(self.now, end, |_, token| token.user_id == user);
        }
        Ok(ApiResponse::accepted())
    }

    /// Ends sessions, with `tokens_too` also their refresh tokens.
    fn end_sessions(&self, store: &mut Store, tokens_too: bool, which: impl Fn(&str, &Record) -> bool) {
        let Store { sessions, refresh_tokens, .. } = store;
        if tokens_too {
            refresh_tokens.end_where(self.now, self.end(), |_, token| {
                let session_id = token.session_id.as_deref().unwrap_or_default();
                sessions.get(session_id, self.now).is_some_and(|session| which(session_id, session))
            });
        }
        sessions.end_where(self.now, self.end(), which);
    }
}

/// The optional `session_id` of a revoke-access body.
fn session_to_revoke(object: &Map<String, Value>) -> Result<Option<&str>, ApiResponse> {
    let session_id = payload::text(object, "session_id")?;
    match session_id {
        Some(id) if payload::check_id(Id::Session, id).is_err() => {
            let what = format!("Object didn't pass validation for format session-id: {id}");
            Err(payload::fault(RequestPart::Payload, &what, Some(("session_id", "ID of the session to revoke."))))
        }
        _ => Ok(session_id),
    }
}

/// The optional `preserve_refresh_tokens` of a revoke-access body; a form can have it only as a string.
fn keeps_tokens(object: &Map<String, Value>) -> Result<bool, ApiResponse> {
    match object.get("preserve_refresh_tokens") {
        None => Ok(false),
        Some(Value::Bool(keep)) => Ok(*keep),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(payload::wrong_member("boolean", other, "preserve_refresh_tokens")),
    }
}

/// Has no `errorCode`: none was found for sessions, and many 404s lack it (recorded errors of the API).
fn no_session() -> ApiResponse {
    ApiResponse::not_found("The session does not exist.", None)
}
