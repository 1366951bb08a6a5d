//! Challenges: one-time codes by mail and text message, and WebAuthN options.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::change_result::ChangeResult;
use crate::sandbox::zitadel::error::{ApiError, Code};
use crate::sandbox::zitadel::messages::{
    Challenges, Delivery, EmailChallenge, RequestChallenges, WebAuthNChallenge, WebAuthNOptions,
};
use crate::sandbox::zitadel::store::{Mail, Record, Store};

/// The URL template of a mail, if the request has none.
const DEFAULT_TEMPLATE: &str = "/otp/verify?loginName={{.LoginName}}&code={{.Code}}";

/// Creates the requested challenges. The response has a code only if the request asks for it.
pub(super) fn challenge(
    store: &mut Store,
    record: &mut Record,
    wanted: &RequestChallenges,
    done: &mut ChangeResult,
) -> Result<(), ApiError> {
    let mut challenges = Challenges::default();
    if let Some(challenge) = &wanted.web_auth_n {
        record.need_user("COMMAND-eeR2e")?;
        record.pending.web_auth_n = true;
        challenges.web_auth_n = Some(options(store, challenge));
        done.events += 1;
    }
    if let Some(challenge) = &wanted.otp_sms {
        record.need_user("COMMAND-JKL3g")?;
        let code = store.random.code();
        challenges.otp_sms = challenge.return_code.then(|| code.clone());
        record.pending.sms = Some(code);
        done.events += 1;
    }
    if let Some(challenge) = &wanted.otp_email {
        record.need_user("COMMAND-JK3gp")?;
        let code = store.random.code();
        match mail(store, record, challenge, &code)? {
            Some(mail) => done.mail = Some(mail),
            None => challenges.otp_email = Some(code.clone()),
        }
        record.pending.email = Some(code);
        done.events += 1;
    }
    done.challenges = (challenges != Challenges::default()).then_some(challenges);
    Ok(())
}

/// The mail to send; `None` if the request asks for the code.
fn mail(store: &Store, record: &Record, challenge: &EmailChallenge, code: &str) -> Result<Option<Mail>, ApiError> {
    let template = match &challenge.delivery_type {
        Some(Delivery::ReturnCode(_)) => return Ok(None),
        Some(Delivery::SendCode(send)) => send.url_template.as_deref().unwrap_or(DEFAULT_TEMPLATE),
        None => DEFAULT_TEMPLATE,
    };
    let user = &store.user;
    let values = [
        ("Code", code),
        ("UserID", &user.id),
        ("LoginName", &user.login_name),
        ("DisplayName", &user.display_name),
        ("PreferredLanguage", "en"),
        ("SessionID", &record.id),
    ];
    let url = render(template, &values)?;
    Ok(Some(Mail { session_id: record.id.clone(), url, code: code.to_owned() }))
}

/// The part of Go's templates that names fields. The host that the result leads to is not checked.
fn render(template: &str, values: &[(&str, &str)]) -> Result<String, ApiError> {
    let invalid = |id| ApiError::new(Code::InvalidArgument, id, "The URL template is invalid");
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (action, rest) = part.split_once("}}").ok_or_else(|| invalid("DOMAIN-oGh5e"))?;
        let field = action.trim().strip_prefix('.').ok_or_else(|| invalid("DOMAIN-oGh5e"))?;
        let value = values.iter().find(|(name, _)| *name == field).ok_or_else(|| invalid("DOMAIN-ieYa7"))?;
        text.push_str(value.1);
        text.push_str(rest);
    }
    Ok(text)
}

/// Options for the browser, as far as they matter to a policy.
fn options(store: &mut Store, challenge: &WebAuthNChallenge) -> WebAuthNOptions {
    let verification = match challenge.user_verification_requirement {
        1 => "required",
        2 => "preferred",
        _ => "discouraged",
    };
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let object = |fields: Vec<(&str, Value)>| Struct {
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
    };
    let public_key = object(vec![
        ("challenge", text(&store.random.text(43))),
        ("rpId", text(&challenge.domain)),
        ("timeout", Value { kind: Some(Kind::NumberValue(300_000.0)) }),
        ("userVerification", text(verification)),
    ]);
    let all = object(vec![("publicKey", Value { kind: Some(Kind::StructValue(public_key)) })]);
    WebAuthNOptions { public_key_credential_request_options: Some(all) }
}
