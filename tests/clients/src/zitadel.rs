//! ZITADEL's crate for Rust, over gRPC, in both versions of the API: what comes of each call, as one array of JSON.
//!
//! ```sh
//! zitadel '{"base":"http://127.0.0.1:8080","token":"…","user_id":"…","password":"…"}'
//! ```
//!
//! Cases, and the form of what is printed, are those of `tests/sdk/zitadel.mjs`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A link that the policy of the sandbox takes.
const LINK: &str = "https://login.example.com/otp?code={{.Code}}";
/// And one that it does not.
const EVIL: &str = "https://evil.example/{{.Code}}";

/// `google.rpc.Status`, which is what a status's details hold.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// What the program is told.
struct Given {
    bearer: MetadataValue<Ascii>,
    user_id: String,
    password: String,
}

/// What came of the calls so far.
struct Results {
    carrier: &'static str,
    all: Vec<Value>,
    /// The session's token, which every effective change renews.
    token: String,
}

impl Results {
    fn add<A>(&mut self, case: &str, response: Result<Response<A>, Status>, shown: impl FnOnce(A) -> Value) -> Value {
        let result = match response {
            Ok(response) => json!({ "ok": shown(response.into_inner()) }),
            Err(status) => json!({ "error": described(&status) }),
        };
        let ok = result["ok"].clone();
        if let Some(token) = ok["sessionToken"].as_str().filter(|token| !token.is_empty()) {
            self.token = token.to_owned();
        }
        self.all.push(json!({ "carrier": self.carrier, "case": case, "result": result }));
        ok
    }
}

fn described(status: &Status) -> Value {
    // A status without details has no bytes, which are a message without fields.
    let details = Details::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let details: Vec<Value> = details
        .iter()
        .map(|detail| {
            let name = detail.type_url.rsplit('/').next();
            json!({ "type": name, "value": STANDARD.encode(&detail.value) })
        })
        .collect();
    json!({ "class": "Status", "code": i32::from(status.code()), "message": status.message(), "details": details })
}

fn tier(value: &str) -> HashMap<String, Vec<u8>> {
    HashMap::from([("tier".to_owned(), value.as_bytes().to_vec())])
}

fn seconds(seconds: i64) -> Option<pbjson_types::Duration> {
    Some(pbjson_types::Duration { seconds, nanos: 0 })
}

/// The cases in one version of the API. The versions' types are apart, and alike.
macro_rules! cases {
    ($version:ident, $carrier:literal, shows_token: $shows_token:literal) => {
        mod $version {
            use super::*;
            use zitadel::api::zitadel::session::$version as api;
            use api::session_service_client::SessionServiceClient;
            use api::request_challenges::otp_email::{DeliveryType, ReturnCode, SendCode};
            use api::request_challenges::{OtpEmail, WebAuthN};
            use api::{
                CheckPassword, CheckTotp, CheckUser, Checks, CreateSessionRequest, DeleteSessionRequest,
                GetSessionRequest, IDsQuery, ListSessionsRequest, RequestChallenges, SearchQuery, Session,
                SetSessionRequest, check_user::Search, search_query::Query,
            };

            pub async fn run(given: &Given, channel: Channel) -> Vec<Value> {
                let bearer = given.bearer.clone();
                let mut client = SessionServiceClient::with_interceptor(channel, move |mut request: Request<()>| {
                    request.metadata_mut().insert("authorization", bearer.clone());
                    Ok(request)
                });
                let mut results = Results { carrier: $carrier, all: Vec::new(), token: String::new() };

                let wanted = |value| CreateSessionRequest { metadata: tier(value), lifetime: seconds(3600), ..Default::default() };
                let created = |response: api::CreateSessionResponse| {
                    let sequence = response.details.map(|details| details.sequence.to_string());
                    let (id, token) = (response.session_id, response.session_token);
                    json!({ "details": { "sequence": sequence }, "sessionId": id, "sessionToken": token })
                };
                let made = results.add("create", client.create_session(wanted("free")).await, created);
                results.add("rejected create", client.create_session(wanted("gold")).await, created);
                let id = made["sessionId"].as_str().unwrap_or("none").to_owned();

                let get = |id: &str, token: Option<&str>| GetSessionRequest {
                    session_id: id.to_owned(),
                    session_token: token.map(str::to_owned),
                };
                let read = |response: api::GetSessionResponse| json!({ "session": response.session.map(session) });
                let changed = |response: api::SetSessionResponse| {
                    let sequence = response.details.map(|details| details.sequence.to_string());
                    let options = response.challenges.and_then(|all| all.web_auth_n);
                    json!({
                        "details": { "sequence": sequence },
                        "sessionToken": response.session_token,
                        "challenges": { "webAuthN": options.map(|one| json!({
                            "publicKeyCredentialRequestOptions": one.public_key_credential_request_options,
                        })) },
                    })
                };
                let checks = |password: &str| Checks {
                    user: Some(CheckUser { search: Some(Search::UserId(given.user_id.clone())) }),
                    password: Some(CheckPassword { password: password.to_owned() }),
                    ..Default::default()
                };
                let challenges = |delivery_type, web_auth_n| RequestChallenges {
                    otp_email: Some(OtpEmail { delivery_type: Some(delivery_type) }),
                    web_auth_n,
                    ..Default::default()
                };
                let send = |link: &str| DeliveryType::SendCode(SendCode { url_template: Some(link.to_owned()) });
                let everything = |value, link| SetSessionRequest {
                    metadata: tier(value),
                    lifetime: seconds(7200),
                    checks: Some(checks(&given.password)),
                    challenges: Some(challenges(
                        send(link),
                        Some(WebAuthN { domain: "login.example.com".to_owned(), user_verification_requirement: 1 }),
                    )),
                    ..Default::default()
                };
                let only_checks = |checks| SetSessionRequest { checks: Some(checks), ..Default::default() };
                let only_challenges =
                    |challenges| SetSessionRequest { challenges: Some(challenges), ..Default::default() };

                macro_rules! get {
                    ($case:literal, $id:expr, $token:expr) => {
                        results.add($case, client.get_session(get($id, $token)).await, read)
                    };
                }
                macro_rules! set {
                    ($case:literal, $change:expr) => {{
                        let session_token = if $shows_token { results.token.clone() } else { String::new() };
                        let request = SetSessionRequest { session_id: id.clone(), session_token, ..$change };
                        results.add($case, client.set_session(request).await, changed)
                    }};
                }

                let token = results.token.clone();
                get!("get", &id, Some(&token));
                set!("set", SetSessionRequest { metadata: tier("pro"), ..Default::default() });
                get!("get after", &id, None);
                set!("set everything", everything("enterprise", LINK));
                get!("get everything", &id, None);
                set!("clamped", SetSessionRequest { lifetime: seconds(99_999_999), ..Default::default() });
                get!("get clamped", &id, None);
                set!("rejected key", SetSessionRequest { metadata: tier("gold"), ..Default::default() });
                set!("rejected code", only_challenges(challenges(DeliveryType::ReturnCode(ReturnCode {}), None)));
                set!("rejected link", only_challenges(challenges(send(EVIL), None)));
                set!("rejected everything", everything("gold", EVIL));
                let short = Checks { totp: Some(CheckTotp { code: "12".to_owned() }), ..Default::default() };
                set!("rejected by the provider's rules", only_checks(short));
                set!("wrong password", only_checks(checks("wrong")));
                set!("nothing", SetSessionRequest::default());
                if $shows_token {
                    let change = SetSessionRequest { session_id: id.clone(), metadata: tier("pro"), ..Default::default() };
                    results.add("without token", client.set_session(change).await, changed);
                }
                let query = Query::IdsQuery(IDsQuery { ids: vec![id.clone()] });
                let listed = ListSessionsRequest { queries: vec![SearchQuery { query: Some(query) }], ..Default::default() };
                let sessions = |response: api::ListSessionsResponse| {
                    json!({ "sessions": response.sessions.into_iter().map(session).collect::<Vec<_>>() })
                };
                results.add("list", client.list_sessions(listed).await, sessions);
                get!("get missing", "404", None);
                let gone = DeleteSessionRequest { session_id: id.clone(), session_token: None };
                results.add("delete", client.delete_session(gone).await, |_| json!({}));
                get!("get deleted", &id, None);
                results.all
            }

            /// As the API's JSON has it, as far as a test looks.
            fn session(session: Session) -> Value {
                let metadata: HashMap<_, _> =
                    session.metadata.iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
                let factors = session.factors.unwrap_or_default();
                json!({
                    "id": session.id,
                    "sequence": session.sequence.to_string(),
                    "changeDate": session.change_date,
                    "expirationDate": session.expiration_date,
                    "metadata": metadata,
                    "factors": {
                        "user": factors.user.map(|user| json!({ "id": user.id, "loginName": user.login_name })),
                        "password": factors.password.map(|factor| json!({ "verifiedAt": factor.verified_at })),
                    },
                })
            }
        }
    };
}

cases!(v2, "grpc v2", shows_token: false);
cases!(v2beta, "grpc v2beta", shows_token: true);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let input: Value = serde_json::from_str(&std::env::args().nth(1).ok_or("one argument is needed")?)?;
    let text = |name: &str| input[name].as_str().map(str::to_owned).ok_or(format!("`{name}` is missing"));
    let bearer = format!("Bearer {}", text("token")?).parse()?;
    let given = Given { bearer, user_id: text("user_id")?, password: text("password")? };
    let channel = Endpoint::from_shared(text("base")?)?.timeout(TIMEOUT).connect().await?;
    let mut results = v2::run(&given, channel.clone()).await;
    results.extend(v2beta::run(&given, channel).await);
    println!("{}", Value::from(results));
    Ok(())
}
