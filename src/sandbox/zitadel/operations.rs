//! What the procedures do with a checked request.

use super::authority::{Caller, Role};
use super::checks::{RequestedChange, apply};
use super::error::{ApiError, Code};
use super::job::Job;
use super::messages::{
    CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse, GetSessionRequest,
    GetSessionResponse, GetUserByIdRequest, GetUserByIdResponse, SetSessionRequest, SetSessionResponse, User,
};
use super::store::{Record, State};

/// Creates a session: one event for it, and one or more for its first checks, metadata and lifetime.
pub(super) fn create_session(job: &Job<'_>, request: CreateSessionRequest) -> Result<CreateSessionResponse, ApiError> {
    job.caller.may_write()?;
    let store = &mut *job.instance.store();
    let id = store.random.id();
    let mut record = Record::new(&id, State::Active, &job.caller.user_id, job.now);
    record.agent = request.user_agent;
    let CreateSessionRequest { checks, metadata, challenges, lifetime, .. } = request;
    let done = apply(store, &mut record, RequestedChange { checks, metadata, challenges, lifetime }, job.now)?;
    // The event that the session was added, and the last one, of the token.
    record.sequence += done.events + 2;
    let session_token = store.renew_token(&mut record);
    let details = store.details(&record);
    store.sessions.insert(id.clone(), record);
    store.mails.extend(done.mail);
    Ok(CreateSessionResponse { details, session_id: id, session_token, challenges: done.challenges })
}

/// Changes a session. A change without effect writes no event and gives no new token; an unknown id is not an error.
pub(super) fn set_session(job: &Job<'_>, request: SetSessionRequest) -> Result<SetSessionResponse, ApiError> {
    job.caller.may_write()?;
    let store = &mut *job.instance.store();
    let mut record = store.writable(&request.session_id, job.now);
    if record.state == State::Terminated {
        return Err(ApiError::new(Code::FailedPrecondition, "COMMAND-Hewfq", "Session already terminated"));
    }
    if record.expired(job.now) {
        return Err(ApiError::new(Code::FailedPrecondition, "COMMAND-Hkl3d", "Session has expired"));
    }
    let SetSessionRequest { checks, metadata, challenges, lifetime, .. } = request;
    let done = apply(store, &mut record, RequestedChange { checks, metadata, challenges, lifetime }, job.now)?;
    if done.events == 0 {
        let details = store.details(&record);
        return Ok(SetSessionResponse { details, session_token: String::new(), challenges: None });
    }
    record.sequence += done.events + 1;
    record.changed = job.now;
    let session_token = store.renew_token(&mut record);
    let details = store.details(&record);
    store.sessions.insert(record.id.clone(), record);
    store.mails.extend(done.mail);
    Ok(SetSessionResponse { details, session_token, challenges: done.challenges })
}

/// Reads a session, expired or not.
pub(super) fn get_session(job: &Job<'_>, request: GetSessionRequest) -> Result<GetSessionResponse, ApiError> {
    let store = job.instance.store();
    let unknown = || ApiError::new(Code::NotFound, "QUERY-SFeaa", "Session does not exist");
    let record = store.visible(&request.session_id).ok_or_else(unknown)?;
    match request.session_token.as_deref().unwrap_or_default() {
        "" => may_read(&job.caller, record)?,
        token if record.has_token(token) => {}
        _ => return Err(ApiError::new(Code::PermissionDenied, "QUERY-dsfr3", "Errors.PermissionDenied")),
    }
    Ok(GetSessionResponse { session: Some(record.session(job.version)) })
}

/// Ends a session. An unknown or ended session is not an error.
pub(super) fn delete_session(job: &Job<'_>, request: DeleteSessionRequest) -> Result<DeleteSessionResponse, ApiError> {
    let store = &mut *job.instance.store();
    let mut record = store.writable(&request.session_id, job.now);
    match request.session_token.as_deref().unwrap_or_default() {
        "" if owns(&job.caller, &record) => {}
        "" => job.caller.may_write()?,
        token if record.has_token(token) => {}
        _ => return Err(ApiError::new(Code::PermissionDenied, "COMMAND-sGr42", "Session Token is invalid")),
    }
    if record.state == State::Active {
        record.state = State::Terminated;
        record.token = None;
        record.sequence += 1;
        record.changed = job.now;
        store.sessions.insert(record.id.clone(), record.clone());
    }
    Ok(DeleteSessionResponse { details: store.details(&record) })
}

/// A procedure of another service, which has nothing to do with sessions.
pub(super) fn get_user(job: &Job<'_>, request: GetUserByIdRequest) -> Result<GetUserByIdResponse, ApiError> {
    let store = job.instance.store();
    if request.user_id != store.user.id {
        return Err(ApiError::new(Code::NotFound, "QUERY-Dfbg2", "User could not be found"));
    }
    let name = &store.user.login_name;
    let user = User { user_id: request.user_id, username: name.clone(), preferred_login_name: name.clone() };
    Ok(GetUserByIdResponse { details: None, user: Some(user) })
}

/// Rejects callers who may not read a session without its token.
pub(super) fn may_read(caller: &Caller, record: &Record) -> Result<(), ApiError> {
    match caller.role {
        Role::Owner | Role::Viewer => Ok(()),
        Role::None if owns(caller, record) => Ok(()),
        Role::None => Err(ApiError::new(Code::NotFound, "AUTHZ-cdgFk", "membership not found")),
    }
}

/// Whether the caller created the session, or is its user.
fn owns(caller: &Caller, record: &Record) -> bool {
    let known = record.state != State::Unspecified;
    known && (record.creator == caller.user_id || record.user_id() == Some(&caller.user_id))
}
