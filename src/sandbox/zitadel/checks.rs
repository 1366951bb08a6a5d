//! Changes of a session: checks, challenges, metadata and lifetime, in ZITADEL's order.

mod challenges;
mod change_result;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::error::{ApiError, Code};
use super::messages::{CheckUser, Checks, Factor, Factors, RequestChallenges, Search, WebAuthNFactor};
use super::store::{Pending, Record, Store, timestamp};
use change_result::ChangeResult;

/// The password of the user who can log in.
pub const PASSWORD: &str = "Passw0rd!";
/// The code that every TOTP check accepts.
pub const CODE: &str = "123456";
/// The code that every recovery code check accepts.
pub const RECOVERY_CODE: &str = "RCVR-0001-0002";

/// A change that a request asks for.
pub(super) struct RequestedChange {
    pub(super) checks: Option<Checks>,
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
    pub(super) challenges: Option<RequestChallenges>,
    pub(super) lifetime: Option<prost_types::Duration>,
}

/// Changes a copy of a session; the caller stores it on success.
pub(super) fn apply(
    store: &mut Store,
    record: &mut Record,
    wanted: RequestedChange,
    now: SystemTime,
) -> Result<ChangeResult, ApiError> {
    let RequestedChange { checks, metadata, challenges, lifetime } = wanted;
    let mut done = ChangeResult::default();
    if let Some(checks) = checks {
        done.events += check_all(store, record, &checks, now)?;
    }
    if let Some(challenges) = challenges {
        challenges::challenge(store, record, &challenges, &mut done)?;
    }
    // The documentation says that entries are merged, but the model that a change starts from never has any: the
    // entries with a value replace all others.
    let entries: BTreeMap<_, _> = metadata.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if !entries.is_empty() {
        record.metadata = entries;
        done.events += 1;
    }
    if let Some(lifetime) = lifetime {
        let seconds = u64::try_from(lifetime.seconds).unwrap_or_default();
        let nanos = u32::try_from(lifetime.nanos).unwrap_or_default();
        record.expires = now.checked_add(Duration::new(seconds, nanos));
        done.events += 1;
    }
    Ok(done)
}

/// Executes the checks and counts the successful ones.
fn check_all(store: &mut Store, record: &mut Record, checks: &Checks, now: SystemTime) -> Result<u64, ApiError> {
    let verified_at = Some(timestamp(now));
    let factor = Some(Factor { verified_at });
    let mut succeeded = 0;
    let mut pass = |slot: &mut Option<Factor>| {
        *slot = factor.clone();
        succeeded += 1;
    };
    let mut users = 0;
    if let Some(check) = &checks.user {
        check_user(store, record, check, now)?;
        users = 1;
    }
    if let Some(check) = &checks.password {
        check_password(store, record, &check.password)?;
        pass(&mut record.factors.password);
    }
    if checks.idp_intent.is_some() {
        record.need_user("COMMAND-Sfw3r")?;
        return Err(ApiError::new(Code::FailedPrecondition, "COMMAND-Df4bw", "Intent has not succeeded"));
    }
    if checks.web_auth_n.is_some() {
        check_web_auth_n(record, now)?;
        users += 1;
    }
    if let Some(check) = &checks.totp {
        record.need_user("COMMAND-eeR2e")?;
        same_code(&check.code, Some(CODE), "EVENT-8isk2")?;
        pass(&mut record.factors.totp);
    }
    let Record { pending, factors, .. } = record;
    check_sent_codes(pending, factors, checks, &mut pass)?;
    if let Some(check) = &checks.recovery_code {
        record.need_user("COMMAND-eeR2e")?;
        same_code(&check.code, Some(RECOVERY_CODE), "COMMAND-84rgg")?;
        pass(&mut record.factors.recovery_code);
    }
    Ok(succeeded + users)
}

/// Checks the codes that challenges sent; each code is valid once.
fn check_sent_codes(
    pending: &mut Pending,
    factors: &mut Factors,
    checks: &Checks,
    pass: &mut impl FnMut(&mut Option<Factor>),
) -> Result<(), ApiError> {
    if let Some(check) = &checks.otp_sms {
        same_code(&check.code, pending.sms.take().as_deref(), "CODE-woT0xc")?;
        pass(&mut factors.otp_sms);
    }
    if let Some(check) = &checks.otp_email {
        same_code(&check.code, pending.email.take().as_deref(), "CODE-woT0xc")?;
        pass(&mut factors.otp_email);
    }
    Ok(())
}

fn check_user(store: &Store, record: &mut Record, check: &CheckUser, now: SystemTime) -> Result<(), ApiError> {
    let user = &store.user;
    match &check.search {
        Some(Search::UserId(id)) if *id == user.id && user.active && !user.locked => {}
        Some(Search::LoginName(name)) if *name == user.login_name && user.active && !user.locked => {}
        Some(Search::LoginName(name)) if *name != user.login_name => {
            return Err(ApiError::new(Code::NotFound, "QUERY-Dfbg2", "User could not be found"));
        }
        _ => return Err(ApiError::new(Code::FailedPrecondition, "SESSION-Gj4ko", "User is not active")),
    }
    if record.user_id().is_some_and(|known| known != user.id) {
        return Err(ApiError::new(Code::InvalidArgument, "", "user change not possible"));
    }
    record.factors.user = Some(store.user_factor(now));
    Ok(())
}

/// A wrong password is counted, although the session does not change.
fn check_password(store: &mut Store, record: &Record, password: &str) -> Result<(), ApiError> {
    record.need_user("COMMAND-Sfw3f")?;
    let limit = store.password_attempts;
    let user = &mut store.user;
    if user.locked {
        return Err(ApiError::new(Code::FailedPrecondition, "COMMAND-JLK35", "User is locked"));
    }
    if password == PASSWORD {
        user.failed_attempts = 0;
        return Ok(());
    }
    user.failed_attempts = user.failed_attempts.saturating_add(1);
    let failed = user.failed_attempts;
    // The response does not mention the lock.
    if limit.is_some_and(|limit| failed >= limit) {
        store.lock_user();
    }
    Err(ApiError::credentials("COMMAND-3M0fs", "Password is invalid", failed))
}

/// Accepts any assertion after a challenge.
fn check_web_auth_n(record: &mut Record, now: SystemTime) -> Result<(), ApiError> {
    if !std::mem::take(&mut record.pending.web_auth_n) {
        return Err(ApiError::new(Code::FailedPrecondition, "COMMAND-Ioqu5", "Session without WebAuthN challenge"));
    }
    record.factors.web_auth_n = Some(WebAuthNFactor { verified_at: Some(timestamp(now)), user_verified: true });
    Ok(())
}

fn same_code(code: &str, expected: Option<&str>, id: &str) -> Result<(), ApiError> {
    match expected {
        None => Err(ApiError::new(Code::FailedPrecondition, "COMMAND-S34gh", "Code not found")),
        Some(expected) if expected == code => Ok(()),
        Some(_) => Err(ApiError::new(Code::InvalidArgument, id, "Code is invalid")),
    }
}
