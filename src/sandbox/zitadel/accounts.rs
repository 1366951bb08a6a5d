//! Requests that end the sessions of users besides the session services: procedures of ZITADEL's user, organization,
//! management and authentication services (npm `@zitadel/proto`), and the end of a session by OpenID Connect
//! (RP-Initiated Logout 1.0).

use super::authority::Role;
use super::error::{ApiError, Code};
use super::instance::Instance;
use super::job::Job;
use super::messages::ChangedResponse;
use super::procedures::{Account, Effect, Named};
use super::store::{State, Store};

/// Executes a procedure for the user or organization `id`; for a procedure about the caller, the caller's id.
pub(super) fn execute(account: Account, job: &Job<'_>, id: &str) -> Result<ChangedResponse, ApiError> {
    let (effect, named, own) = (account.effect(), account.named(), account.is_own());
    if effect != Effect::Nothing && !own {
        job.caller.may_write()?;
    }
    let store = &mut *job.instance.store();
    let of_org = matches!(effect, Effect::DeactivateOrg | Effect::ReactivateOrg | Effect::RemoveOrg);
    let known = if of_org { named == Named::Caller || id == store.org_id } else { id == store.user.id };
    match (effect, known) {
        (Effect::Nothing, _) => {}
        (_, false) if of_org => return Err(ApiError::new(Code::NotFound, "ORG-3m9ds", "Organisation not found")),
        (_, false) if own && job.caller.role != Role::None => {}
        (_, false) => return Err(ApiError::new(Code::NotFound, "COMMAND-M0od3", "User could not be found")),
        (_, true) => change(store, effect),
    }
    Ok(ChangedResponse { details: None })
}

/// Applies the effect to the only user, or to the only organization, which has no other user.
fn change(store: &mut Store, effect: Effect) {
    match effect {
        Effect::Lock => store.lock_user(),
        Effect::Deactivate | Effect::Remove | Effect::DeactivateOrg | Effect::RemoveOrg => store.forget_user(),
        Effect::Unlock => {
            store.user.locked = false;
            store.user.failed_attempts = 0;
        }
        Effect::Reactivate | Effect::ReactivateOrg => store.user.active = true,
        Effect::SetPassword => {
            for record in store.sessions.values_mut() {
                record.factors.password = None;
            }
        }
        Effect::Nothing => {}
    }
}

/// Ends the session that an ID token names. An expired token is accepted, since users often log out late.
pub(super) fn end_session(instance: &Instance, hint: Option<&str>) {
    let Some(claims) = hint.and_then(|hint| instance.0.authority.verified(hint)) else {
        return;
    };
    let id = claims.get("sid").and_then(serde_json::Value::as_str).unwrap_or_default();
    if let Some(record) = instance.store().sessions.get_mut(id) {
        record.state = State::Terminated;
        record.token = None;
        record.sequence += 1;
    }
}
