//! Sessions in ZITADEL's responses, and searches for them.
//!
//! Source: ZITADEL's proto files `zitadel/session/{v2,v2beta}/{session_service,session}.proto` and
//! `zitadel/object/v2/object.proto`. No policy applies to them, so there are no rules. Times are parsed only where
//! their value matters.

use crate::wire::schema::Constraint::None;
use crate::wire::schema::FieldType::{self, Bool, Enum, Metadata, Opaque, Text, Timestamp, Unsigned};
use crate::wire::schema::{Constraint, Field, Message, OneOf};

pub(super) const fn field(
    number: u32,
    name: &'static str,
    json: &'static str,
    kind: FieldType,
    constraint: Constraint,
) -> Field {
    Field { number, name, json, kind, constraint }
}

pub(super) const fn message(name: &'static str, fields: &'static [Field]) -> Message {
    Message { name, fields, oneofs: &[] }
}

/// `ListSessionsRequest` of both versions.
pub static LIST: Message = message(
    "ListSessionsRequest",
    &[
        field(1, "query", "query", FieldType::Message(&LIST_QUERY), None),
        field(2, "queries", "queries", FieldType::Messages(&SEARCH_QUERY), None),
        field(
            3,
            "sorting_column",
            "sortingColumn",
            Enum(&[(0, "SESSION_FIELD_NAME_UNSPECIFIED"), (1, "SESSION_FIELD_NAME_CREATION_DATE")]),
            None,
        ),
    ],
);

static LIST_QUERY: Message = message(
    "ListQuery",
    &[
        field(1, "offset", "offset", Unsigned, None),
        field(2, "limit", "limit", Unsigned, None),
        field(3, "asc", "asc", Bool, None),
    ],
);

/// A condition of a search. Version 2beta has only the first three.
static SEARCH_QUERY: Message = Message {
    name: "SearchQuery",
    fields: &[
        field(1, "ids_query", "idsQuery", Opaque, None),
        field(2, "user_id_query", "userIdQuery", FieldType::Message(&USER_ID_QUERY), None),
        field(3, "creation_date_query", "creationDateQuery", Opaque, None),
        field(4, "creator_query", "creatorQuery", Opaque, None),
        field(5, "user_agent_query", "userAgentQuery", Opaque, None),
        field(6, "expiration_date_query", "expirationDateQuery", Opaque, None),
    ],
    oneofs: &[OneOf { name: "Query", members: &[1, 2, 3, 4, 5, 6], required: false }],
};

static USER_ID_QUERY: Message = message("UserIDQuery", &[field(1, "id", "id", Text, None)]);

/// `ListSessionsResponse` of both versions.
pub static LIST_RESPONSE: Message = message(
    "ListSessionsResponse",
    &[
        field(1, "details", "details", FieldType::Message(&LIST_DETAILS), None),
        field(2, "sessions", "sessions", FieldType::Messages(&SESSION_MESSAGE), None),
    ],
);

static LIST_DETAILS: Message = message(
    "ListDetails",
    &[
        field(1, "total_result", "totalResult", Unsigned, None),
        field(2, "processed_sequence", "processedSequence", Unsigned, None),
        field(3, "timestamp", "timestamp", Opaque, None),
    ],
);

/// `GetSessionResponse`.
pub static SESSION: Message =
    message("GetSessionResponse", &[field(1, "session", "session", FieldType::Message(&SESSION_MESSAGE), None)]);

static SESSION_MESSAGE: Message = message(
    "Session",
    &[
        field(1, "id", "id", Text, None),
        field(2, "creation_date", "creationDate", Opaque, None),
        field(3, "change_date", "changeDate", Opaque, None),
        field(4, "sequence", "sequence", Unsigned, None),
        field(5, "factors", "factors", FieldType::Message(&FACTORS), None),
        field(6, "metadata", "metadata", Metadata, None),
        field(7, "user_agent", "userAgent", FieldType::Message(&USER_AGENT), None),
        field(8, "expiration_date", "expirationDate", Timestamp, None),
    ],
);

/// Version 2beta lacks the last one.
static FACTORS: Message = message(
    "Factors",
    &[
        field(1, "user", "user", FieldType::Message(&USER_FACTOR), None),
        field(2, "password", "password", FieldType::Message(&FACTOR), None),
        field(3, "web_auth_n", "webAuthN", FieldType::Message(&WEB_AUTH_N_FACTOR), None),
        field(4, "intent", "intent", FieldType::Message(&FACTOR), None),
        field(5, "totp", "totp", FieldType::Message(&FACTOR), None),
        field(6, "otp_sms", "otpSms", FieldType::Message(&FACTOR), None),
        field(7, "otp_email", "otpEmail", FieldType::Message(&FACTOR), None),
        field(8, "recovery_code", "recoveryCode", FieldType::Message(&FACTOR), None),
    ],
);

/// Earlier releases of version 2beta have the organization as field 5, in British spelling. It is the same field here,
/// in both of its names in JSON.
static USER_FACTOR: Message = message(
    "UserFactor",
    &[
        field(1, "verified_at", "verifiedAt", Opaque, None),
        field(2, "id", "id", Text, None),
        field(3, "login_name", "loginName", Text, None),
        field(4, "display_name", "displayName", Text, None),
        field(5, "organization_id", "organisationId", Text, None),
        field(5, "organization_id", "organisation_id", Text, None),
        field(6, "organization_id", "organizationId", Text, None),
    ],
);

static FACTOR: Message = message("Factor", &[field(1, "verified_at", "verifiedAt", Opaque, None)]);

static WEB_AUTH_N_FACTOR: Message = message(
    "WebAuthNFactor",
    &[field(1, "verified_at", "verifiedAt", Opaque, None), field(2, "user_verified", "userVerified", Bool, None)],
);

static USER_AGENT: Message = message(
    "UserAgent",
    &[
        field(1, "fingerprint_id", "fingerprintId", Text, None),
        field(2, "ip", "ip", Text, None),
        field(3, "description", "description", Text, None),
        field(4, "header", "header", Opaque, None),
    ],
);

/// `zitadel.object.v2.Details`: what a write changed.
pub static DETAILS: Message = message(
    "Details",
    &[
        field(1, "sequence", "sequence", Unsigned, None),
        field(2, "change_date", "changeDate", Opaque, None),
        field(3, "resource_owner", "resourceOwner", Text, None),
        field(4, "creation_date", "creationDate", Opaque, None),
    ],
);
