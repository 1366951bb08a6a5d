//! What a change does to a session: checks, challenges, metadata and lifetime, in ZITADEL's order.

mod challenges;
mod done;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::fault::{Code, Fault};
use super::messages::{CheckUser, Checks, Factor, Factors, RequestChallenges, Search, WebAuthNFactor};
use super::store::{Pending, Record, Store, timestamp};
use done::Done;

/// The password of the user who can log in.
pub const PASSWORD: &str = "Passw0rd!";
/// The code that passes every check of a TOTP.
pub const CODE: &str = "123456";
/// The code that passes every check of a recovery code.
pub const RECOVERY_CODE: &str = "RCVR-0001-0002";

/// What the caller wants.
pub(super) struct Wanted {
    pub(super) checks: Option<Checks>,
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
    pub(super) challenges: Option<RequestChallenges>,
    pub(super) lifetime: Option<prost_types::Duration>,
}

/// Changes a copy of a session, which the caller stores if all went well.
pub(super) fn apply(store: &mut Store, record: &mut Record, wanted: Wanted, now: SystemTime) -> Result<Done, Fault> {
    let Wanted { checks, metadata, challenges, lifetime } = wanted;
    let mut done = Done::default();
    if let Some(checks) = checks {
        done.events += check_all(store, record, &checks, now)?;
    }
    if let Some(challenges) = challenges {
        challenges::challenge(store, record, &challenges, &mut done)?;
    }
    // The documentation says that entries are merged, but the model that a change starts from never has any: the
    // entries with a value become all there are.
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

/// Carries out the checks and counts those that passed.
fn check_all(store: &mut Store, record: &mut Record, checks: &Checks, now: SystemTime) -> Result<u64, Fault> {
    let verified_at = Some(timestamp(now));
    let factor = Some(Factor { verified_at });
    let mut passed = 0;
    let mut pass = |slot: &mut Option<Factor>| {
        *slot = factor.clone();
        passed += 1;
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
        return Err(Fault::new(Code::FailedPrecondition, "COMMAND-Df4bw", "Intent has not succeeded"));
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
    Ok(passed + users)
}

/// The codes that challenges sent; a code is good once.
fn check_sent_codes(
    pending: &mut Pending,
    factors: &mut Factors,
    checks: &Checks,
    pass: &mut impl FnMut(&mut Option<Factor>),
) -> Result<(), Fault> {
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

fn check_user(store: &Store, record: &mut Record, check: &CheckUser, now: SystemTime) -> Result<(), Fault> {
    let user = &store.user;
    match &check.search {
        Some(Search::UserId(id)) if *id == user.id && user.active && !user.locked => {}
        Some(Search::LoginName(name)) if *name == user.login_name && user.active && !user.locked => {}
        Some(Search::LoginName(name)) if *name != user.login_name => {
            return Err(Fault::new(Code::NotFound, "QUERY-Dfbg2", "User could not be found"));
        }
        _ => return Err(Fault::new(Code::FailedPrecondition, "SESSION-Gj4ko", "User is not active")),
    }
    if record.user_id().is_some_and(|known| known != user.id) {
        return Err(Fault::new(Code::InvalidArgument, "", "user change not possible"));
    }
    record.factors.user = Some(store.user_factor(now));
    Ok(())
}

/// A wrong password counts, although the session stays as it is.
fn check_password(store: &mut Store, record: &Record, password: &str) -> Result<(), Fault> {
    record.need_user("COMMAND-Sfw3f")?;
    let limit = store.password_attempts;
    let user = &mut store.user;
    if user.locked {
        return Err(Fault::new(Code::FailedPrecondition, "COMMAND-JLK35", "User is locked"));
    }
    if password == PASSWORD {
        user.failed_attempts = 0;
        return Ok(());
    }
    user.failed_attempts = user.failed_attempts.saturating_add(1);
    let failed = user.failed_attempts;
    // The response says nothing of it.
    if limit.is_some_and(|limit| failed >= limit) {
        store.lock_user();
    }
    Err(Fault::credentials("COMMAND-3M0fs", "Password is invalid", failed))
}

/// Takes any assertion that answers a challenge.
fn check_web_auth_n(record: &mut Record, now: SystemTime) -> Result<(), Fault> {
    if !std::mem::take(&mut record.pending.web_auth_n) {
        return Err(Fault::new(Code::FailedPrecondition, "COMMAND-Ioqu5", "Session without WebAuthN challenge"));
    }
    record.factors.web_auth_n = Some(WebAuthNFactor { verified_at: Some(timestamp(now)), user_verified: true });
    Ok(())
}

fn same_code(code: &str, expected: Option<&str>, id: &str) -> Result<(), Fault> {
    match expected {
        None => Err(Fault::new(Code::FailedPrecondition, "COMMAND-S34gh", "Code not found")),
        Some(expected) if expected == code => Ok(()),
        Some(_) => Err(Fault::new(Code::InvalidArgument, id, "Code is invalid")),
    }
}
