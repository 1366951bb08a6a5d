//! The rules of fields in ZITADEL's definitions, with the texts of protoc-gen-validate. A response has only
//! the first violation.

use super::call::Version;
use super::error::{ApiError, Code};
use super::messages::{
    CheckCode, Checks, CreateSessionRequest, DeleteSessionRequest, Delivery, EmailChallenge, GetSessionRequest,
    GetUserByIdRequest, ListSessionsRequest, OfCallerRequest, OfIdRequest, OfUserRequest, Query, RequestChallenges,
    Search, SearchQuery, SetSessionRequest, WebAuthNChallenge,
};
use prost_types::Duration;

/// A request whose fields have rules.
pub(super) trait Rules {
    /// The first violation, as text.
    fn check(&self, version: Version) -> Result<(), String>;
}

/// Checks a request.
pub(super) fn validate(request: &impl Rules, version: Version) -> Result<(), ApiError> {
    request.check(version).map_err(|text| ApiError::bare(Code::InvalidArgument, text))
}

impl Rules for GetSessionRequest {
    fn check(&self, version: Version) -> Result<(), String> {
        if version == Version::V2Beta {
            return Ok(());
        }
        between("GetSessionRequest.SessionId", &self.session_id, 1, 200)?;
        self.session_token.as_ref().map_or(Ok(()), |token| between("GetSessionRequest.SessionToken", token, 1, 500))
    }
}

impl Rules for CreateSessionRequest {
    fn check(&self, version: Version) -> Result<(), String> {
        nested("CreateSessionRequest.Checks", self.checks.as_ref(), |checks| check_checks(checks, version))?;
        nested("CreateSessionRequest.Challenges", self.challenges.as_ref(), check_challenges)?;
        check_lifetime("CreateSessionRequest.Lifetime", self.lifetime.as_ref())
    }
}

impl Rules for SetSessionRequest {
    fn check(&self, version: Version) -> Result<(), String> {
        between("SetSessionRequest.SessionId", &self.session_id, 1, 200)?;
        if version == Version::V2Beta {
            between("SetSessionRequest.SessionToken", &self.session_token, 0, 500)?;
        }
        nested("SetSessionRequest.Checks", self.checks.as_ref(), |checks| check_checks(checks, version))?;
        nested("SetSessionRequest.Challenges", self.challenges.as_ref(), check_challenges)?;
        check_lifetime("SetSessionRequest.Lifetime", self.lifetime.as_ref())
    }
}

impl Rules for DeleteSessionRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        between("DeleteSessionRequest.SessionId", &self.session_id, 1, 200)
    }
}

impl Rules for ListSessionsRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        for (index, query) in self.queries.iter().enumerate() {
            nested(&format!("ListSessionsRequest.Queries[{index}]"), Some(query), check_query)?;
        }
        Ok(())
    }
}

impl Rules for OfUserRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        between("Request.UserId", &self.user_id, 1, 200)
    }
}

impl Rules for OfIdRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        between("Request.Id", &self.id, 1, 200)
    }
}

impl Rules for OfCallerRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        Ok(())
    }
}

impl Rules for GetUserByIdRequest {
    fn check(&self, _version: Version) -> Result<(), String> {
        between("GetUserByIDRequest.UserId", &self.user_id, 1, 200)
    }
}

fn check_checks(checks: &Checks, version: Version) -> Result<(), String> {
    nested("Checks.User", checks.user.as_ref(), |user| match &user.search {
        Some(Search::UserId(id)) => between("CheckUser.UserId", id, 1, 200),
        Some(Search::LoginName(name)) => between("CheckUser.LoginName", name, 1, 200),
        None if version == Version::V2 => required("CheckUser.Search"),
        None => Ok(()),
    })?;
    nested("Checks.Password", checks.password.as_ref(), |check| {
        between("CheckPassword.Password", &check.password, 1, 200)
    })?;
    nested("Checks.WebAuthN", checks.web_auth_n.as_ref(), |check| match check.credential_assertion_data {
        Some(_) => Ok(()),
        None => required("CheckWebAuthN.CredentialAssertionData"),
    })?;
    nested("Checks.IdpIntent", checks.idp_intent.as_ref(), |check| {
        between("CheckIDPIntent.IdpIntentId", &check.idp_intent_id, 1, 200)?;
        between("CheckIDPIntent.IdpIntentToken", &check.idp_intent_token, 1, 200)
    })?;
    nested("Checks.Totp", checks.totp.as_ref(), |check| {
        let six = check.code.chars().count() == 6;
        if six { Ok(()) } else { invalid("CheckTOTP.Code", "value length must be 6 runes") }
    })?;
    nested("Checks.OtpSms", checks.otp_sms.as_ref(), check_otp)?;
    nested("Checks.OtpEmail", checks.otp_email.as_ref(), check_otp)?;
    nested("Checks.RecoveryCode", checks.recovery_code.as_ref(), |check| {
        between("CheckRecoveryCode.Code", &check.code, 1, 200)
    })
}

fn check_otp(check: &CheckCode) -> Result<(), String> {
    if check.code.is_empty() { invalid("CheckOTP.Code", "value length must be at least 1 runes") } else { Ok(()) }
}

fn check_challenges(challenges: &RequestChallenges) -> Result<(), String> {
    nested("RequestChallenges.WebAuthN", challenges.web_auth_n.as_ref(), check_web_auth_n)?;
    nested("RequestChallenges.OtpEmail", challenges.otp_email.as_ref(), check_email)
}

fn check_web_auth_n(challenge: &WebAuthNChallenge) -> Result<(), String> {
    const REQUIREMENT: &str = "RequestChallenges_WebAuthN.UserVerificationRequirement";
    between("RequestChallenges_WebAuthN.Domain", &challenge.domain, 1, 200)?;
    match challenge.user_verification_requirement {
        1..=3 => Ok(()),
        0 => invalid(REQUIREMENT, "value must not be in list [0]"),
        _ => invalid(REQUIREMENT, "value must be one of the defined enum values"),
    }
}

fn check_email(challenge: &EmailChallenge) -> Result<(), String> {
    let Some(Delivery::SendCode(code)) = &challenge.delivery_type else {
        return Ok(());
    };
    nested("RequestChallenges_OTPEmail.SendCode", Some(code), |code| match &code.url_template {
        Some(template) => between("RequestChallenges_OTPEmail_SendCode.UrlTemplate", template, 1, 200),
        None => Ok(()),
    })
}

fn check_query(query: &SearchQuery) -> Result<(), String> {
    let at_most = |value: Option<&String>, field: &str| match value {
        Some(value) if value.chars().count() > 200 => invalid(field, "value length must be at most 200 runes"),
        _ => Ok(()),
    };
    match &query.query {
        None => required("SearchQuery.Query"),
        Some(Query::Creator(query)) => {
            nested("SearchQuery.CreatorQuery", Some(query), |query| at_most(query.id.as_ref(), "CreatorQuery.Id"))
        }
        Some(Query::UserAgent(query)) => nested("SearchQuery.UserAgentQuery", Some(query), |query| {
            at_most(query.fingerprint_id.as_ref(), "UserAgentQuery.FingerprintId")
        }),
        Some(Query::Ids(_) | Query::UserId(_) | Query::CreationDate(_) | Query::ExpirationDate(_)) => Ok(()),
    }
}

fn check_lifetime(field: &str, lifetime: Option<&Duration>) -> Result<(), String> {
    match lifetime {
        Some(lifetime) if (lifetime.seconds, lifetime.nanos) <= (0, 0) => {
            invalid(field, "value must be greater than 0s")
        }
        _ => Ok(()),
    }
}

fn nested<M>(field: &str, message: Option<&M>, check: impl Fn(&M) -> Result<(), String>) -> Result<(), String> {
    let Some(Err(cause)) = message.map(check) else {
        return Ok(());
    };
    Err(format!("invalid {field}: embedded message failed validation | caused by: {cause}"))
}

/// Lengths count characters, not bytes.
fn between(field: &str, value: &str, least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&value.chars().count()) {
        return Ok(());
    }
    invalid(field, &format!("value length must be between {least} and {most} runes, inclusive"))
}

fn required(field: &str) -> Result<(), String> {
    invalid(field, "value is required")
}

fn invalid(field: &str, what: &str) -> Result<(), String> {
    Err(format!("invalid {field}: {what}"))
}
