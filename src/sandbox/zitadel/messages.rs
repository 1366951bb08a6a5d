//! The messages of ZITADEL's session services, with the numbers of its published definitions (npm `@zitadel/proto`),
//! and those that newer releases add. `v2` and `v2beta` differ only in rules and in messages that one of them lacks.

use std::collections::BTreeMap;

use prost_types::{Duration, Struct, Timestamp};
use serde_json::{Map, Value};

use super::json::{Field, Members, Node, Scalar, camel};

/// Defines messages: `[wire type] name: type` for each field, with protobuf and JSON forms.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $([$($kind:tt)*] $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct $name {
            $(#[prost($($kind)*)] pub(super) $field: $type,)*
        }

        impl Scalar for $name {
            fn read(node: Node) -> Result<Self, String> {
                let _members = &mut Members::of(node)?;
                Ok(Self { $($field: Field::take(&mut *_members, stringify!($field))?,)* })
            }

            fn write(&self) -> Value {
                let mut object = Map::new();
                let _into = &mut object;
                $(Field::put(&self.$field, stringify!($field), &mut *_into);)*
                Value::Object(object)
            }
        }
    )*};
}

/// Defines a group of fields of which at most one is set.
macro_rules! one_of {
    ($(#[$meta:meta])* $name:ident { $([$($kind:tt)*] $field:ident => $variant:ident($type:ty),)* }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, prost::Oneof)]
        pub(super) enum $name {
            $(#[prost($($kind)*)] $variant($type),)*
        }

        impl Field for Option<$name> {
            fn take(members: &mut Members, group: &str) -> Result<Self, String> {
                let mut found = None;
                $(if let Some(node) = members.take(stringify!($field))? {
                    if found.is_some() {
                        return Err(format!("error parsing {:?}, oneof {group} is already set", stringify!($field)));
                    }
                    found = Some($name::$variant(Scalar::read(node)?));
                })*
                Ok(found)
            }

            fn put(&self, _group: &str, object: &mut Map<String, Value>) {
                match self {
                    None => {}
                    $(Some($name::$variant(value)) => drop(object.insert(camel(stringify!($field)), value.write())),)*
                }
            }
        }
    };
}

messages! {
    /// Reads one session.
    GetSessionRequest {
        [string, tag = "1"] session_id: String,
        [string, optional, tag = "2"] session_token: Option<String>,
    }
    GetSessionResponse {
        [message, optional, tag = "1"] session: Option<Session>,
    }
    /// Starts a session.
    CreateSessionRequest {
        [message, optional, tag = "1"] checks: Option<Checks>,
        [btree_map = "string, bytes", tag = "2"] metadata: BTreeMap<String, Vec<u8>>,
        [message, optional, tag = "3"] challenges: Option<RequestChallenges>,
        [message, optional, tag = "4"] user_agent: Option<UserAgent>,
        [message, optional, tag = "5"] lifetime: Option<Duration>,
    }
    CreateSessionResponse {
        [message, optional, tag = "1"] details: Option<Details>,
        [string, tag = "2"] session_id: String,
        [string, tag = "3"] session_token: String,
        [message, optional, tag = "4"] challenges: Option<Challenges>,
    }
    /// Changes a session.
    SetSessionRequest {
        [string, tag = "1"] session_id: String,
        [string, tag = "2"] session_token: String,
        [message, optional, tag = "3"] checks: Option<Checks>,
        [btree_map = "string, bytes", tag = "4"] metadata: BTreeMap<String, Vec<u8>>,
        [message, optional, tag = "5"] challenges: Option<RequestChallenges>,
        [message, optional, tag = "6"] lifetime: Option<Duration>,
    }
    SetSessionResponse {
        [message, optional, tag = "1"] details: Option<Details>,
        [string, tag = "2"] session_token: String,
        [message, optional, tag = "3"] challenges: Option<Challenges>,
    }
    /// Ends a session.
    DeleteSessionRequest {
        [string, tag = "1"] session_id: String,
        [string, optional, tag = "2"] session_token: Option<String>,
    }
    DeleteSessionResponse {
        [message, optional, tag = "1"] details: Option<Details>,
    }
    /// Searches sessions.
    ListSessionsRequest {
        [message, optional, tag = "1"] query: Option<ListQuery>,
        [message, repeated, tag = "2"] queries: Vec<SearchQuery>,
        [int32, tag = "3"] sorting_column: i32,
    }
    ListSessionsResponse {
        [message, optional, tag = "1"] details: Option<ListDetails>,
        [message, repeated, tag = "2"] sessions: Vec<Session>,
    }

    /// A page of a list.
    ListQuery {
        [uint64, tag = "1"] offset: u64,
        [uint32, tag = "2"] limit: u32,
        [bool, tag = "3"] asc: bool,
    }
    ListDetails {
        [uint64, tag = "1"] total_result: u64,
        [uint64, tag = "2"] processed_sequence: u64,
        [message, optional, tag = "3"] timestamp: Option<Timestamp>,
    }
    /// What to search for; the last three are not in `v2beta`.
    SearchQuery {
        [oneof = "Query", tags = "1, 2, 3, 4, 5, 6"] query: Option<Query>,
    }
    IdsQuery {
        [string, repeated, tag = "1"] ids: Vec<String>,
    }
    UserIdQuery {
        [string, tag = "1"] id: String,
    }
    CreationDateQuery {
        [message, optional, tag = "1"] creation_date: Option<Timestamp>,
        [int32, tag = "2"] method: i32,
    }
    CreatorQuery {
        [string, optional, tag = "1"] id: Option<String>,
    }
    UserAgentQuery {
        [string, optional, tag = "1"] fingerprint_id: Option<String>,
    }
    ExpirationDateQuery {
        [message, optional, tag = "1"] expiration_date: Option<Timestamp>,
        [int32, tag = "2"] method: i32,
    }

    /// The result of a change.
    Details {
        [uint64, tag = "1"] sequence: u64,
        [message, optional, tag = "2"] change_date: Option<Timestamp>,
        [string, tag = "3"] resource_owner: String,
        [message, optional, tag = "4"] creation_date: Option<Timestamp>,
    }
    /// A session as a response shows it.
    Session {
        [string, tag = "1"] id: String,
        [message, optional, tag = "2"] creation_date: Option<Timestamp>,
        [message, optional, tag = "3"] change_date: Option<Timestamp>,
        [uint64, tag = "4"] sequence: u64,
        [message, optional, tag = "5"] factors: Option<Factors>,
        [btree_map = "string, bytes", tag = "6"] metadata: BTreeMap<String, Vec<u8>>,
        [message, optional, tag = "7"] user_agent: Option<UserAgent>,
        [message, optional, tag = "8"] expiration_date: Option<Timestamp>,
    }
    /// The successful checks of a session.
    Factors {
        [message, optional, tag = "1"] user: Option<UserFactor>,
        [message, optional, tag = "2"] password: Option<Factor>,
        [message, optional, tag = "3"] web_auth_n: Option<WebAuthNFactor>,
        [message, optional, tag = "4"] intent: Option<Factor>,
        [message, optional, tag = "5"] totp: Option<Factor>,
        [message, optional, tag = "6"] otp_sms: Option<Factor>,
        [message, optional, tag = "7"] otp_email: Option<Factor>,
        [message, optional, tag = "8"] recovery_code: Option<Factor>,
    }
    UserFactor {
        [message, optional, tag = "1"] verified_at: Option<Timestamp>,
        [string, tag = "2"] id: String,
        [string, tag = "3"] login_name: String,
        [string, tag = "4"] display_name: String,
        [string, tag = "6"] organization_id: String,
    }
    /// A factor that has only the time of its check.
    Factor {
        [message, optional, tag = "1"] verified_at: Option<Timestamp>,
    }
    WebAuthNFactor {
        [message, optional, tag = "1"] verified_at: Option<Timestamp>,
        [bool, tag = "2"] user_verified: bool,
    }
    /// The device that a session belongs to.
    UserAgent {
        [string, optional, tag = "1"] fingerprint_id: Option<String>,
        [string, optional, tag = "2"] ip: Option<String>,
        [string, optional, tag = "3"] description: Option<String>,
        [btree_map = "string, message", tag = "4"] header: BTreeMap<String, HeaderValues>,
    }
    HeaderValues {
        [string, repeated, tag = "1"] values: Vec<String>,
    }

    /// The checks that a request asks for.
    Checks {
        [message, optional, tag = "1"] user: Option<CheckUser>,
        [message, optional, tag = "2"] password: Option<CheckPassword>,
        [message, optional, tag = "3"] web_auth_n: Option<CheckWebAuthN>,
        [message, optional, tag = "4"] idp_intent: Option<CheckIdpIntent>,
        [message, optional, tag = "5"] totp: Option<CheckCode>,
        [message, optional, tag = "6"] otp_sms: Option<CheckCode>,
        [message, optional, tag = "7"] otp_email: Option<CheckCode>,
        [message, optional, tag = "8"] recovery_code: Option<CheckCode>,
    }
    CheckUser {
        [oneof = "Search", tags = "1, 2"] search: Option<Search>,
    }
    CheckPassword {
        [string, tag = "1"] password: String,
    }
    CheckWebAuthN {
        [message, optional, tag = "1"] credential_assertion_data: Option<Struct>,
    }
    CheckIdpIntent {
        [string, tag = "1"] idp_intent_id: String,
        [string, tag = "2"] idp_intent_token: String,
    }
    /// `CheckTOTP`, `CheckOTP` and `CheckRecoveryCode`, which differ only in what their code may be.
    CheckCode {
        [string, tag = "1"] code: String,
    }

    /// The challenges that a request asks for.
    RequestChallenges {
        [message, optional, tag = "1"] web_auth_n: Option<WebAuthNChallenge>,
        [message, optional, tag = "2"] otp_sms: Option<SmsChallenge>,
        [message, optional, tag = "3"] otp_email: Option<EmailChallenge>,
    }
    WebAuthNChallenge {
        [string, tag = "1"] domain: String,
        [int32, tag = "2"] user_verification_requirement: i32,
    }
    SmsChallenge {
        [bool, tag = "1"] return_code: bool,
    }
    EmailChallenge {
        [oneof = "Delivery", tags = "2, 3"] delivery_type: Option<Delivery>,
    }
    SendCode {
        [string, optional, tag = "1"] url_template: Option<String>,
    }
    ReturnCode {}
    /// Challenges for the user, and the codes that the request asked for.
    Challenges {
        [message, optional, tag = "1"] web_auth_n: Option<WebAuthNOptions>,
        [string, optional, tag = "2"] otp_sms: Option<String>,
        [string, optional, tag = "3"] otp_email: Option<String>,
    }
    WebAuthNOptions {
        [message, optional, tag = "1"] public_key_credential_request_options: Option<Struct>,
    }

    /// A request of another service, `zitadel.user.v2.UserService`.
    GetUserByIdRequest {
        [string, tag = "1"] user_id: String,
    }
    GetUserByIdResponse {
        [message, optional, tag = "1"] details: Option<Details>,
        [message, optional, tag = "2"] user: Option<User>,
    }
    /// Requests about users and organizations, as far as they name one; their other fields do not matter here.
    OfUserRequest {
        [string, tag = "1"] user_id: String,
    }
    OfIdRequest {
        [string, tag = "1"] id: String,
    }
    OfCallerRequest {}
    ChangedResponse {
        [message, optional, tag = "1"] details: Option<Details>,
    }
    User {
        [string, tag = "1"] user_id: String,
        [string, tag = "3"] username: String,
        [string, tag = "5"] preferred_login_name: String,
    }
}

one_of! {
    /// How a user is named.
    Search {
        [string, tag = "1"] user_id => UserId(String),
        [string, tag = "2"] login_name => LoginName(String),
    }
}

one_of! {
    /// How a code by mail reaches the user; the numbers begin at 2.
    Delivery {
        [message, tag = "2"] send_code => SendCode(SendCode),
        [message, tag = "3"] return_code => ReturnCode(ReturnCode),
    }
}

one_of! {
    /// One condition of a search.
    Query {
        [message, tag = "1"] ids_query => Ids(IdsQuery),
        [message, tag = "2"] user_id_query => UserId(UserIdQuery),
        [message, tag = "3"] creation_date_query => CreationDate(CreationDateQuery),
        [message, tag = "4"] creator_query => Creator(CreatorQuery),
        [message, tag = "5"] user_agent_query => UserAgent(UserAgentQuery),
        [message, tag = "6"] expiration_date_query => ExpirationDate(ExpirationDateQuery),
    }
}

/// `zitadel.v1.ErrorDetail`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ErrorDetail {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `zitadel.v1.CredentialsCheckError`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct CredentialsCheckError {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(int32, tag = "3")]
    pub(super) failed_attempts: i32,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<prost_types::Any>,
}
