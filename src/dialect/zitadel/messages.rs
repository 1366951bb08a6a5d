//! The messages of ZITADEL's session service, versions 2 and 2beta.
//!
//! Source: ZITADEL's proto files `zitadel/session/{v2,v2beta}/{session_service,session,challenge}.proto` and
//! `zitadel/object/v2/object.proto`: numbers, names, and the rules of `validate.rules`.

use super::sessions::{DETAILS, field, message};
pub use super::sessions::{LIST, LIST_RESPONSE, SESSION};
use crate::wire::schema::FieldType::{Bool, Duration, Enum, Metadata, Opaque, Struct, Text};
use crate::wire::schema::{Constraint, Field, FieldType, Message, OneOf};

const ID: Constraint = Constraint::Runes { min: 1, max: 200 };
const TOKEN: Constraint = Constraint::OptionalRunes { min: 1, max: 500 };

/// `CreateSessionRequest` of v2.
pub static CREATE: Message = message(
    "CreateSessionRequest",
    &[
        field(1, "checks", "checks", FieldType::Message(&CHECKS), Constraint::None),
        field(2, "metadata", "metadata", Metadata, Constraint::None),
        field(3, "challenges", "challenges", FieldType::Message(&CHALLENGES), Constraint::None),
        field(4, "user_agent", "userAgent", Opaque, Constraint::None),
        field(5, "lifetime", "lifetime", Duration, Constraint::Positive),
    ],
);

/// `SetSessionRequest` of v2.
pub static SET: Message = message(
    "SetSessionRequest",
    &[
        field(1, "session_id", "sessionId", Text, ID),
        field(2, "session_token", "sessionToken", Text, Constraint::None),
        field(3, "checks", "checks", FieldType::Message(&CHECKS), Constraint::None),
        field(4, "metadata", "metadata", Metadata, Constraint::None),
        field(5, "challenges", "challenges", FieldType::Message(&CHALLENGES), Constraint::None),
        field(6, "lifetime", "lifetime", Duration, Constraint::Positive),
    ],
);

/// `GetSessionRequest` of v2.
pub static GET: Message = message(
    "GetSessionRequest",
    &[field(1, "session_id", "sessionId", Text, ID), field(2, "session_token", "sessionToken", Text, TOKEN)],
);

/// `DeleteSessionRequest` of both versions.
pub static DELETE: Message = message(
    "DeleteSessionRequest",
    &[field(1, "session_id", "sessionId", Text, ID), field(2, "session_token", "sessionToken", Text, Constraint::None)],
);

/// `CreateSessionRequest` of v2beta.
pub static CREATE_BETA: Message = message(
    "CreateSessionRequest",
    &[
        field(1, "checks", "checks", FieldType::Message(&CHECKS_BETA), Constraint::None),
        field(2, "metadata", "metadata", Metadata, Constraint::None),
        field(3, "challenges", "challenges", FieldType::Message(&CHALLENGES), Constraint::None),
        field(4, "user_agent", "userAgent", Opaque, Constraint::None),
        field(5, "lifetime", "lifetime", Duration, Constraint::Positive),
    ],
);

/// `SetSessionRequest` of v2beta.
pub static SET_BETA: Message = message(
    "SetSessionRequest",
    &[
        field(1, "session_id", "sessionId", Text, ID),
        field(2, "session_token", "sessionToken", Text, Constraint::Runes { min: 0, max: 500 }),
        field(3, "checks", "checks", FieldType::Message(&CHECKS_BETA), Constraint::None),
        field(4, "metadata", "metadata", Metadata, Constraint::None),
        field(5, "challenges", "challenges", FieldType::Message(&CHALLENGES), Constraint::None),
        field(6, "lifetime", "lifetime", Duration, Constraint::Positive),
    ],
);

/// `GetSessionRequest` of v2beta, which has no validation rules.
pub static GET_BETA: Message = message(
    "GetSessionRequest",
    &[
        field(1, "session_id", "sessionId", Text, Constraint::None),
        field(2, "session_token", "sessionToken", Text, Constraint::None),
    ],
);

/// `SetSessionResponse`.
pub static SET_RESPONSE: Message = message(
    "SetSessionResponse",
    &[
        field(1, "details", "details", FieldType::Message(&DETAILS), Constraint::None),
        field(2, "session_token", "sessionToken", Text, Constraint::None),
        field(3, "challenges", "challenges", FieldType::Message(&CODES), Constraint::None),
    ],
);

/// `CreateSessionResponse`.
pub static CREATE_RESPONSE: Message = message(
    "CreateSessionResponse",
    &[
        field(1, "details", "details", FieldType::Message(&DETAILS), Constraint::None),
        field(2, "session_id", "sessionId", Text, Constraint::None),
        field(3, "session_token", "sessionToken", Text, Constraint::None),
        field(4, "challenges", "challenges", FieldType::Message(&CODES), Constraint::None),
    ],
);

/// `DeleteSessionResponse`.
pub static DELETE_RESPONSE: Message =
    message("DeleteSessionResponse", &[field(1, "details", "details", FieldType::Message(&DETAILS), Constraint::None)]);

/// The one-time codes of a response's challenges.
static CODES: Message = message(
    "Challenges",
    &[
        field(1, "web_auth_n", "webAuthN", Opaque, Constraint::None),
        field(2, "otp_sms", "otpSms", Text, Constraint::None),
        field(3, "otp_email", "otpEmail", Text, Constraint::None),
    ],
);

static CHECKS: Message = message(
    "Checks",
    &[
        field(1, "user", "user", FieldType::Message(&USER), Constraint::None),
        field(2, "password", "password", FieldType::Message(&PASSWORD), Constraint::None),
        field(3, "web_auth_n", "webAuthN", FieldType::Message(&WEB_AUTH_N), Constraint::None),
        field(4, "idp_intent", "idpIntent", FieldType::Message(&INTENT), Constraint::None),
        field(5, "totp", "totp", FieldType::Message(&TOTP), Constraint::None),
        field(6, "otp_sms", "otpSms", FieldType::Message(&OTP), Constraint::None),
        field(7, "otp_email", "otpEmail", FieldType::Message(&OTP), Constraint::None),
        field(8, "recovery_code", "recoveryCode", FieldType::Message(&RECOVERY), Constraint::None),
    ],
);

static CHECKS_BETA: Message = message(
    "Checks",
    &[
        field(1, "user", "user", FieldType::Message(&USER_BETA), Constraint::None),
        field(2, "password", "password", FieldType::Message(&PASSWORD), Constraint::None),
        field(3, "web_auth_n", "webAuthN", FieldType::Message(&WEB_AUTH_N), Constraint::None),
        field(4, "idp_intent", "idpIntent", FieldType::Message(&INTENT), Constraint::None),
        field(5, "totp", "totp", FieldType::Message(&TOTP), Constraint::None),
        field(6, "otp_sms", "otpSms", FieldType::Message(&OTP), Constraint::None),
        field(7, "otp_email", "otpEmail", FieldType::Message(&OTP), Constraint::None),
        // The v2beta definition lacks this field. It is known here so that a policy treats both versions alike.
        field(8, "recovery_code", "recoveryCode", Opaque, Constraint::None),
    ],
);

const USER_FIELDS: &[Field] = &[field(1, "user_id", "userId", Text, ID), field(2, "login_name", "loginName", Text, ID)];

static USER: Message = Message {
    name: "CheckUser",
    fields: USER_FIELDS,
    oneofs: &[OneOf { name: "Search", members: &[1, 2], required: true }],
};

static USER_BETA: Message = Message {
    name: "CheckUser",
    fields: USER_FIELDS,
    oneofs: &[OneOf { name: "Search", members: &[1, 2], required: false }],
};

static PASSWORD: Message = message("CheckPassword", &[field(1, "password", "password", Text, ID)]);

static WEB_AUTH_N: Message = message(
    "CheckWebAuthN",
    &[field(1, "credential_assertion_data", "credentialAssertionData", Struct, Constraint::Required)],
);

static INTENT: Message = message(
    "CheckIDPIntent",
    &[field(1, "idp_intent_id", "idpIntentId", Text, ID), field(2, "idp_intent_token", "idpIntentToken", Text, ID)],
);

static TOTP: Message = message("CheckTOTP", &[field(1, "code", "code", Text, Constraint::ExactRunes(6))]);

static OTP: Message = message("CheckOTP", &[field(1, "code", "code", Text, Constraint::MinRunes(1))]);

static RECOVERY: Message = message("CheckRecoveryCode", &[field(1, "code", "code", Text, ID)]);

static CHALLENGES: Message = message(
    "RequestChallenges",
    &[
        field(1, "web_auth_n", "webAuthN", FieldType::Message(&WEB_AUTH_N_CHALLENGE), Constraint::None),
        field(2, "otp_sms", "otpSms", FieldType::Message(&SMS_CHALLENGE), Constraint::None),
        field(3, "otp_email", "otpEmail", FieldType::Message(&EMAIL_CHALLENGE), Constraint::None),
    ],
);

static WEB_AUTH_N_CHALLENGE: Message = message(
    "RequestChallenges_WebAuthN",
    &[
        field(1, "domain", "domain", Text, ID),
        field(
            2,
            "user_verification_requirement",
            "userVerificationRequirement",
            Enum(VERIFICATION),
            Constraint::Defined,
        ),
    ],
);

const VERIFICATION: &[(i32, &str)] = &[
    (0, "USER_VERIFICATION_REQUIREMENT_UNSPECIFIED"),
    (1, "USER_VERIFICATION_REQUIREMENT_REQUIRED"),
    (2, "USER_VERIFICATION_REQUIREMENT_PREFERRED"),
    (3, "USER_VERIFICATION_REQUIREMENT_DISCOURAGED"),
];

static SMS_CHALLENGE: Message =
    message("RequestChallenges_OTPSMS", &[field(1, "return_code", "returnCode", Bool, Constraint::None)]);

static EMAIL_CHALLENGE: Message = Message {
    name: "RequestChallenges_OTPEmail",
    fields: &[
        field(2, "send_code", "sendCode", FieldType::Message(&SEND_CODE), Constraint::None),
        field(3, "return_code", "returnCode", FieldType::Message(&RETURN_CODE), Constraint::None),
    ],
    oneofs: &[OneOf { name: "DeliveryType", members: &[2, 3], required: false }],
};

static SEND_CODE: Message = message(
    "RequestChallenges_OTPEmail_SendCode",
    &[field(1, "url_template", "urlTemplate", Text, Constraint::OptionalRunes { min: 1, max: 200 })],
);

static RETURN_CODE: Message = message("RequestChallenges_OTPEmail_ReturnCode", &[]);
