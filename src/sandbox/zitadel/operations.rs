//! What the procedures do once a request may pass.

use super::authority::{Caller, Role};
use super::checks::{Wanted, apply};
use super::fault::{Code, Fault};
use super::job::Job;
use super::messages::{
    CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse, GetSessionRequest,
    GetSessionResponse, GetUserByIdRequest, GetUserByIdResponse, SetSessionRequest, SetSessionResponse, User,
};
use super::store::{Record, State};

/// Starts a session: one event for it, and one or more for what it is started with.
pub(super) fn create_session(job: &Job<'_>, request: CreateSessionRequest) -> Result<CreateSessionResponse, Fault> {
    job.caller.may_write()?;
    let store = &mut *job.instance.store();
    let id = store.random.id();
    let mut record = Record::new(&id, State::Active, &job.caller.user_id, job.now);
    record.agent = request.user_agent;
    let CreateSessionRequest { checks, metadata, challenges, lifetime, .. } = request;
    let done = apply(store, &mut record, Wanted { checks, metadata, challenges, lifetime }, job.now)?;
    // The event that the session was added, and the last one, of the token.
    record.sequence += done.events + 2;
    let session_token = store.renew_token(&mut record);
    let details = store.details(&record);
    store.sessions.insert(id.clone(), record);
    store.mails.extend(done.mail);
    Ok(CreateSessionResponse { details, session_id: id, session_token, challenges: done.challenges })
}

/// Changes a session. Without anything to do there is no event and no new token; an unknown id is no fault.
pub(super) fn set_session(job: &Job<'_>, request: SetSessionRequest) -> Result<SetSessionResponse, Fault> {
    job.caller.may_write()?;
    let store = &mut *job.instance.store();
    let mut record = store.writable(&request.session_id, job.now);
    if record.state == State::Terminated {
        return Err(Fault::new(Code::FailedPrecondition, "COMMAND-Hewfq", "Session already terminated"));
    }
    if record.expired(job.now) {
        return Err(Fault::new(Code::FailedPrecondition, "COMMAND-Hkl3d", "Session has expired"));
    }
    let SetSessionRequest { checks, metadata, challenges, lifetime, .. } = request;
    let done = apply(store, &mut record, Wanted { checks, metadata, challenges, lifetime }, job.now)?;
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
pub(super) fn get_session(job: &Job<'_>, request: GetSessionRequest) -> Result<GetSessionResponse, Fault> {
    let store = job.instance.store();
    let unknown = || Fault::new(Code::NotFound, "QUERY-SFeaa", "Session does not exist");
    let record = store.visible(&request.session_id).ok_or_else(unknown)?;
    match request.session_token.as_deref().unwrap_or_default() {
        "" => may_read(&job.caller, record)?,
        token if record.has_token(token) => {}
        _ => return Err(Fault::new(Code::PermissionDenied, "QUERY-dsfr3", "Errors.PermissionDenied")),
    }
    Ok(GetSessionResponse { session: Some(record.session(job.version)) })
}

/// Ends a session. One that is unknown or ended already is no fault.
pub(super) fn delete_session(job: &Job<'_>, request: DeleteSessionRequest) -> Result<DeleteSessionResponse, Fault> {
    let store = &mut *job.instance.store();
    let mut record = store.writable(&request.session_id, job.now);
    match request.session_token.as_deref().unwrap_or_default() {
        "" if owns(&job.caller, &record) => {}
        "" => job.caller.may_write()?,
        token if record.has_token(token) => {}
        _ => return Err(Fault::new(Code::PermissionDenied, "COMMAND-sGr42", "Session Token is invalid")),
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

/// Something of another service, which has nothing to do with sessions.
pub(super) fn get_user(job: &Job<'_>, request: GetUserByIdRequest) -> Result<GetUserByIdResponse, Fault> {
    let store = job.instance.store();
    if request.user_id != store.user.id {
        return Err(Fault::new(Code::NotFound, "QUERY-Dfbg2", "User could not be found"));
    }
    let name = &store.user.login_name;
    let user = User { user_id: request.user_id, username: name.clone(), preferred_login_name: name.clone() };
    Ok(GetUserByIdResponse { details: None, user: Some(user) })
}

/// Refuses callers who may not read a session without its token.
pub(super) fn may_read(caller: &Caller, record: &Record) -> Result<(), Fault> {
    match caller.role {
        Role::Owner | Role::Viewer => Ok(()),
        Role::None if owns(caller, record) => Ok(()),
        Role::None => Err(Fault::new(Code::NotFound, "AUTHZ-cdgFk", "membership not found")),
    }
}

/// Whether the session is the caller's own: started by the caller, or the caller's login.
fn owns(caller: &Caller, record: &Record) -> bool {
    let known = record.state != State::Unspecified;
    known && (record.creator == caller.user_id || record.user_id() == Some(&caller.user_id))
}
