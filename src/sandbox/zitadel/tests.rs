use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::messages::{GetSessionRequest, GetSessionResponse, SetSessionRequest, SetSessionResponse, Status};
use super::*;
use crate::sandbox::Zitadel;

const V2: &str = "/zitadel.session.v2.SessionService";
const BETA: &str = "/zitadel.session.v2beta.SessionService";
const JSON: (&str, &str) = ("content-type", "application/json");

struct ApiResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl ApiResponse {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}, {}", self.status))
    }

    /// The status and the message of a fault.
    fn fault(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["message"].as_str().unwrap().to_owned())
    }
}

async fn start(options: Options) -> Zitadel {
    Zitadel::start(SocketAddr::from(([127, 0, 0, 1], 0)), options, None).await.unwrap()
}

fn address(to: &Zitadel) -> String {
    to.url().replace("http://", "")
}

async fn over(h2: bool, to: &Zitadel, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> ApiResponse {
    let stream = TokioIo::new(TcpStream::connect(address(to)).await.unwrap());
    let uri = if h2 { format!("{}{path}", to.url()) } else { path.to_owned() };
    let mut request = http::Request::builder().method(method).uri(uri);
    if !h2 && !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address(to));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let response = if h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes().to_vec();
    ApiResponse { status: parts.status, headers: parts.headers, body, trailers }
}

/// A REST request of the owner.
async fn rest(to: &Zitadel, method: &str, path: &str, body: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", to.tokens().owner);
    over(false, to, method, path, &[("authorization", &bearer)], body.as_bytes()).await
}

/// A Connect request of the owner, in JSON.
async fn connect(to: &Zitadel, path: &str, body: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", to.tokens().owner);
    over(false, to, "POST", path, &[("authorization", &bearer), JSON], body.as_bytes()).await
}

fn framed(message: &[u8]) -> Vec<u8> {
    body::envelope(0, message).to_vec()
}

#[tokio::test]
async fn metadata_is_replaced_and_tokens_rotate() {
    let zitadel = start(Options::default()).await;
    let id = zitadel.instance().session_id().to_owned();
    let path = format!("/v2/sessions/{id}");
    let first = zitadel.instance().session_token(&id).unwrap();

    let set = rest(&zitadel, "PATCH", &path, r#"{"metadata":{"a":"MQ","b":"_w=="},"lifetime":"1.5s"}"#).await;
    assert_eq!(set.status, 200);
    assert_eq!(set.headers["grpcgateway-cache-control"], "no-store");
    assert!(!set.headers.contains_key("cache-control") && set.headers.contains_key("x-request-id"));
    let response = set.json();
    let token = response["sessionToken"].as_str().unwrap();
    assert_ne!(token, first);
    assert!((200..500).contains(&token.len()));
    let session = rest(&zitadel, "GET", &path, "").await.json()["session"].clone();
    assert_eq!(session["sequence"], response["details"]["sequence"]);
    assert_eq!(session["sequence"], "7");
    assert_eq!(session["changeDate"], response["details"]["changeDate"]);
    assert_eq!(session["metadata"], json!({"a": "MQ==", "b": "/w=="}));
    assert_eq!(session["factors"]["user"]["loginName"], "ada@example.com");
    assert!(session["expirationDate"].as_str().unwrap().ends_with('Z'));

    // The entries with a value become all there are.
    rest(&zitadel, "PATCH", &path, r#"{"metadata":{"c":"Mg==","a":""}}"#).await;
    assert_eq!(zitadel.instance().metadata(&id).unwrap(), BTreeMap::from([("c".to_owned(), b"2".to_vec())]));
    // Nothing to do: no token, no event.
    let nothing = rest(&zitadel, "PATCH", &path, r#"{"metadata":{"c":""},"sessionToken":"x","unknown":1}"#).await;
    assert_eq!((nothing.status.as_u16(), nothing.json().get("sessionToken")), (200, None));
    assert_eq!(nothing.json()["details"]["sequence"], "9");
    // The old token is dead, and a wrong one is worse than none.
    let read = |token: String| rest_owned(&zitadel, format!("{path}?sessionToken={token}"));
    assert_eq!(read(first).await.fault(), (403, "Errors.PermissionDenied (QUERY-dsfr3)".to_owned()));
    assert_eq!(read(zitadel.instance().session_token(&id).unwrap()).await.status, 200);
    assert_eq!(zitadel.instance().executed("SetSession"), 3);
}

async fn rest_owned(to: &Zitadel, path: String) -> ApiResponse {
    rest(to, "GET", &path, "").await
}

#[tokio::test]
async fn a_session_lives_and_ends() {
    let zitadel = start(Options::default()).await;
    let body = r#"{"checks":{"user":{"login_name":"ada@example.com"},"password":{"password":"Passw0rd!"}},
        "challenges":{"otpEmail":{"returnCode":{}},"otpSms":{"returnCode":true},
        "webAuthN":{"domain":"example.com","userVerificationRequirement":"USER_VERIFICATION_REQUIREMENT_REQUIRED"}},
        "userAgent":{"fingerprintId":"f","header":{"accept":{"values":["*/*"]}}}}"#;
    let made = rest(&zitadel, "POST", "/v2/sessions", body).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!(made["details"]["sequence"], "7");
    let id = made["sessionId"].as_str().unwrap();
    let code = made["challenges"]["otpEmail"].as_str().unwrap();
    assert_eq!(made["challenges"]["webAuthN"]["publicKeyCredentialRequestOptions"]["publicKey"]["rpId"], "example.com");

    let check = format!(r#"{{"sessionId":"{id}","checks":{{"otpEmail":{{"code":"{code}"}}}}}}"#);
    assert_eq!(connect(&zitadel, &format!("{V2}/SetSession"), &check).await.status, 200);
    let again = connect(&zitadel, &format!("{V2}/SetSession"), &check).await.fault();
    assert_eq!(again, (400, "Code not found (COMMAND-S34gh)".to_owned()));
    let session = zitadel.instance().session(id).unwrap();
    assert!(session["factors"]["otpEmail"]["verifiedAt"].is_string());
    assert_eq!(session["userAgent"]["header"]["accept"]["values"], json!(["*/*"]));

    let path = format!("/v2/sessions/{id}");
    let mail = r#"{"challenges":{"otpEmail":{"sendCode":{"urlTemplate":"https://evil.example/{{ .Code }}?s={{.SessionID}}"}}}}"#;
    let sent = rest(&zitadel, "PATCH", &path, mail).await.json();
    assert!(sent.get("challenges").is_none() && sent["sessionToken"].is_string());
    let mails = zitadel.instance().mails();
    assert_eq!(mails[0].url, format!("https://evil.example/{}?s={id}", mails[0].code));
    assert!(rest(&zitadel, "PATCH", &path, &mail.replace(".Code", ".Host")).await.fault().1.contains("DOMAIN-ieYa7"));

    assert_eq!(rest(&zitadel, "DELETE", &path, r#"{"sessionToken":"no"}"#).await.fault().0, 403);
    assert_eq!(rest(&zitadel, "DELETE", &path, "{}").await.status, 200);
    assert_eq!(rest(&zitadel, "DELETE", &path, "").await.status, 200);
    let gone = rest(&zitadel, "GET", &path, "").await;
    assert_eq!(gone.json()["details"][0]["@type"], "type.googleapis.com/zitadel.v1.ErrorDetail");
    assert_eq!(gone.fault(), (404, "Session does not exist (QUERY-SFeaa)".to_owned()));
    assert_eq!(
        rest(&zitadel, "PATCH", &path, r#"{"lifetime":"1s"}"#).await.fault(),
        (400, "Session already terminated (COMMAND-Hewfq)".to_owned())
    );
}

#[tokio::test]
async fn unknown_and_expired_sessions() {
    let zitadel = start(Options::default()).await;
    let ghost = rest(&zitadel, "PATCH", "/v2/sessions/ghost", r#"{"metadata":{"a":"MQ"}}"#).await;
    assert_eq!(ghost.status, 200);
    assert!(ghost.json()["sessionToken"].is_string());
    assert_eq!(rest(&zitadel, "GET", "/v2/sessions/ghost", "").await.status, 404);
    assert_eq!(rest(&zitadel, "DELETE", "/v2/sessions/never", "").await.status, 200);

    let made = zitadel.instance().create_session();
    let path = format!("/v2/sessions/{}", made.id);
    assert_eq!(rest(&zitadel, "PATCH", &path, r#"{"lifetime":"0.001s"}"#).await.status, 200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let late = rest(&zitadel, "PATCH", &path, "{}").await;
    assert_eq!(late.fault(), (400, "Session has expired (COMMAND-Hkl3d)".to_owned()));
    assert_eq!(late.json()["code"], 9);
    assert_eq!(rest(&zitadel, "GET", &path, "").await.status, 200);
}

#[tokio::test]
async fn checks_fail_as_documented() {
    let zitadel = start(Options::default()).await;
    let path = format!("/v2/sessions/{}", zitadel.instance().session_id());
    let wrong = rest(&zitadel, "PATCH", &path, r#"{"checks":{"password":{"password":"no"}}}"#).await;
    assert_eq!(wrong.fault(), (400, "Password is invalid (COMMAND-3M0fs)".to_owned()));
    let detail = wrong.json()["details"][0].clone();
    assert_eq!(detail["@type"], "type.googleapis.com/zitadel.v1.CredentialsCheckError");
    assert_eq!(detail["failedAttempts"], 1);
    assert_eq!(zitadel.instance().session(zitadel.instance().session_id()).unwrap()["sequence"], "4");
    for (checks, id) in [
        (r#"{"user":{"userId":"1"}}"#, "SESSION-Gj4ko"),
        (r#"{"user":{"loginName":"eve"}}"#, "QUERY-Dfbg2"),
        (r#"{"webAuthN":{"credentialAssertionData":{"a":[null,1,true]}}}"#, "COMMAND-Ioqu5"),
        (r#"{"idpIntent":{"idpIntentId":"1","idpIntentToken":"t"}}"#, "COMMAND-Df4bw"),
        (r#"{"totp":{"code":"000000"}}"#, "EVENT-8isk2"),
        (r#"{"otpSms":{"code":"1"}}"#, "COMMAND-S34gh"),
    ] {
        let response = rest(&zitadel, "PATCH", &path, &format!("{{\"checks\":{checks}}}")).await.fault().1;
        assert!(response.ends_with(&format!("({id})")), "{response}");
    }
    let new = |checks: &str| format!("{{\"checks\":{checks}}}");
    let nobody = rest(&zitadel, "POST", "/v2/sessions", &new(r#"{"password":{"password":"Passw0rd!"}}"#)).await;
    assert_eq!(nobody.fault().1, "User ID missing (COMMAND-Sfw3f)");
    let good = format!(r#"{{"totp":{{"code":"{CODE}"}},"recoveryCode":{{"code":"{RECOVERY_CODE}"}}}}"#);
    assert_eq!(rest(&zitadel, "PATCH", &path, &new(&good)).await.status, 200);
    let read = |version: &'static str| {
        rest_owned(&zitadel, format!("/{version}/sessions/{}", zitadel.instance().session_id()))
    };
    assert!(read("v2").await.json()["session"]["factors"]["recoveryCode"].is_object());
    assert!(read("v2beta").await.json()["session"]["factors"].get("recoveryCode").is_none());
}

#[tokio::test]
async fn rules_name_the_first_fault_only() {
    let zitadel = start(Options::default()).await;
    let id = "é".repeat(201);
    let nested = "embedded message failed validation | caused by: invalid";
    for (path, body, text) in [
        (
            V2,
            format!("{{\"sessionId\":\"{id}\",\"lifetime\":\"0s\"}}"),
            "SetSessionRequest.SessionId: value length must be between 1 and 200 runes, inclusive".to_owned(),
        ),
        (
            BETA,
            r#"{"sessionId":"1","lifetime":"-1s"}"#.to_owned(),
            "SetSessionRequest.Lifetime: value must be greater than 0s".to_owned(),
        ),
        (
            V2,
            r#"{"sessionId":"1","checks":{"totp":{"code":"12345"}}}"#.to_owned(),
            format!(
                "SetSessionRequest.Checks: {nested} Checks.Totp: {nested} CheckTOTP.Code: value length must be 6 runes"
            ),
        ),
        (
            V2,
            r#"{"sessionId":"1","checks":{"user":{}}}"#.to_owned(),
            format!("SetSessionRequest.Checks: {nested} Checks.User: {nested} CheckUser.Search: value is required"),
        ),
        (
            V2,
            r#"{"sessionId":"1","checks":{"otpSms":{}}}"#.to_owned(),
            format!(
                "SetSessionRequest.Checks: {nested} Checks.OtpSms: {nested} CheckOTP.Code: value length must be at least 1 runes"
            ),
        ),
        (
            BETA,
            format!("{{\"sessionId\":\"1\",\"sessionToken\":\"{}\"}}", "x".repeat(501)),
            "SetSessionRequest.SessionToken: value length must be between 0 and 500 runes, inclusive".to_owned(),
        ),
    ] {
        let response = connect(&zitadel, &format!("{path}/SetSession"), &body).await;
        assert_eq!(response.fault(), (400, format!("invalid {text}")));
        assert!(response.json().get("details").is_none());
    }
    // The same where the versions differ.
    assert_eq!(rest(&zitadel, "GET", "/v2/sessions/", "").await.status, 400);
    assert_eq!(rest(&zitadel, "GET", "/v2beta/sessions/", "").await.status, 404);
    let user = r#"{"checks":{"user":{}}}"#;
    assert!(rest(&zitadel, "POST", "/v2beta/sessions", user).await.fault().1.ends_with("(SESSION-Gj4ko)"));
}

#[tokio::test]
async fn json_is_read_as_protojson_reads_it() {
    let zitadel = start(Options::default()).await;
    let id = zitadel.instance().session_id().to_owned();
    let path = format!("/v2/sessions/{id}");
    for (body, status) in [
        ("", 200),
        ("  \n", 200),
        ("{} rubbish", 200),
        ("null", 400),
        ("[]", 400),
        (r#"{"metadata":{"a":"MQ"},"metadata":{}}"#, 400),
        (r#"{"metadata":{"a":"MQ","\u0061":"Mg"}}"#, 400),
        (r#"{"sessionToken":"a","session_token":"b"}"#, 400),
        (r#"{"unknown":1,"unknown":2}"#, 200),
        (r#"{"metadata":{"a":null}}"#, 400),
        (r#"{"metadata":null,"checks":null}"#, 200),
        (r#"{"metadata":{"a":"*"}}"#, 400),
        (r#"{"lifetime":18000}"#, 400),
        (r#"{"checks":{"user":{"userId":"1","loginName":"2"}}}"#, 400),
        (r#"{"sessionId":"someone-else"}"#, 200),
    ] {
        assert_eq!(rest(&zitadel, "PATCH", &path, body).await.status, status, "{body}");
    }
    let set = format!("{V2}/SetSession");
    let whole = format!("{{\"session_id\":\"{id}\"}}");
    assert_eq!(connect(&zitadel, &set, &whole).await.status, 200);
    assert_eq!(connect(&zitadel, &set, "").await.json()["code"], "invalid_argument");
    assert_eq!(connect(&zitadel, &set, &format!("{whole}{whole}")).await.status, 400);
}

#[tokio::test]
async fn grpc_responses_with_trailers() {
    let zitadel = start(Options::default()).await;
    let bearer = format!("Bearer {}", zitadel.tokens().jwt);
    let id = zitadel.instance().session_id().to_owned();
    // foo=bar, gone="", otp_email.return_code and 18000s, as clients were recorded to write them.
    let mut message = vec![0x0a, u8::try_from(id.len()).unwrap()];
    message.extend(id.as_bytes());
    message.extend(
        b"\x22\x0a\x0a\x03foo\x12\x03bar\x22\x08\x0a\x04gone\x12\x00\x2a\x04\x1a\x02\x1a\x00\x32\x04\x08\xd0\x8c\x01",
    );
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/grpc+proto"), ("te", "trailers")];
    let set = over(true, &zitadel, "POST", &format!("{V2}/SetSession"), &headers, &framed(&message)).await;
    assert_eq!((set.status.as_u16(), set.trailers["grpc-status"].to_str().unwrap()), (200, "0"));
    assert_eq!(set.headers["content-type"], "application/grpc+proto");
    assert_eq!(set.headers["cache-control"], "no-store");
    let response = SetSessionResponse::decode(&set.body[5..]).unwrap();
    assert_eq!(response.challenges.unwrap().otp_email.unwrap().len(), 8);
    assert_eq!(zitadel.instance().metadata(&id).unwrap(), BTreeMap::from([("foo".to_owned(), b"bar".to_vec())]));

    let unknown = GetSessionRequest { session_id: "no".to_owned(), session_token: None }.encode_to_vec();
    let get = format!("{V2}/GetSession");
    let rejected = over(true, &zitadel, "POST", &get, &headers, &framed(&unknown)).await;
    assert_eq!((rejected.status.as_u16(), rejected.body.len()), (200, 0));
    assert!(!rejected.headers.contains_key("grpc-status"));
    assert_eq!(rejected.trailers["grpc-status"], "5");
    assert_eq!(rejected.trailers["grpc-message"], "Session does not exist (QUERY-SFeaa)");
    let details = STANDARD_NO_PAD.decode(&rejected.trailers["grpc-status-details-bin"]).unwrap();
    let details = Status::decode(details.as_slice()).unwrap().details;
    assert_eq!(details[0].type_url, "type.googleapis.com/zitadel.v1.ErrorDetail");

    let json = [headers[0], ("content-type", "application/grpc+json")];
    let read =
        over(true, &zitadel, "POST", &get, &json, &framed(format!("{{\"sessionId\":\"{id}\"}}").as_bytes())).await;
    assert_eq!(serde_json::from_slice::<Value>(&read.body[5..]).unwrap()["session"]["id"], id.as_str());
    let code = |response: ApiResponse| response.trailers["grpc-status"].to_str().unwrap().to_owned();
    for (body, expected) in [
        (&b""[..], "12"),
        (b"\0\0\0\0", "3"),
        (b"\x01\0\0\0\0", "13"),
        (b"\0\0\0\0\x01\x0a", "3"),
        (b"\0\0\0\0\0\0\0\0\0\0", "12"),
    ] {
        assert_eq!(code(over(true, &zitadel, "POST", &get, &headers, body).await), expected, "{body:?}");
    }
    let coded = [headers[0], headers[1], ("grpc-encoding", "br")];
    assert_eq!(code(over(true, &zitadel, "POST", &get, &coded, &framed(&unknown)).await), "12");
    assert_eq!(code(over(true, &zitadel, "POST", "/zitadel.org.v2.X/Y", &headers, &framed(b"")).await), "12");
    let stream = over(true, &zitadel, "POST", "/zitadel.sandbox.v2.ClockService/Watch", &headers, &framed(b"hi")).await;
    assert_eq!((stream.body, stream.trailers["grpc-status"].clone()), (framed(b"hi").repeat(3), HeaderValue::from(0)));
}

#[tokio::test]
async fn grpc_web_and_connect_work_over_both_versions_of_http() {
    let zitadel = start(Options::default()).await;
    let bearer = format!("Bearer {}", zitadel.tokens().owner);
    let auth = ("authorization", bearer.as_str());
    let id = zitadel.instance().session_id().to_owned();
    let request = |id: &str| GetSessionRequest { session_id: id.to_owned(), session_token: None }.encode_to_vec();
    for (h2, service) in [(false, V2), (true, V2), (false, BETA), (true, BETA)] {
        let get = format!("{service}/GetSession");
        for kind in ["application/grpc-web", "application/grpc-web+proto"] {
            let headers = [auth, ("content-type", kind), ("x-grpc-web", "1")];
            let read = over(h2, &zitadel, "POST", &get, &headers, &framed(&request(&id))).await;
            let length = usize::from(read.body[4]) + 256 * usize::from(read.body[3]);
            let (message, trailer) = read.body[5..].split_at(length);
            assert_eq!(GetSessionResponse::decode(message).unwrap().session.unwrap().id, id);
            assert_eq!(trailer, b"\x80\0\0\0\x10grpc-status: 0\r\n");
            let rejected = over(h2, &zitadel, "POST", &get, &headers, &framed(&request("no"))).await;
            assert_eq!((rejected.status.as_u16(), rejected.body.len()), (200, 0));
            assert_eq!(rejected.headers["grpc-status"], "5");
        }
        let json = [auth, ("content-type", "application/grpc-web+json")];
        let read =
            over(h2, &zitadel, "POST", &get, &json, &framed(format!("{{\"sessionId\":\"{id}\"}}").as_bytes())).await;
        assert!(String::from_utf8_lossy(&read.body).contains("\"session\":{"));

        let proto = [auth, ("content-type", "application/proto")];
        let read = over(h2, &zitadel, "POST", &get, &proto, &request(&id)).await;
        assert_eq!(GetSessionResponse::decode(read.body.as_slice()).unwrap().session.unwrap().sequence, 4);
        assert_eq!(read.headers["content-type"], "application/proto");
        let rejected = over(h2, &zitadel, "POST", &get, &proto, &request("no")).await;
        assert_eq!(rejected.status, 404);
        assert_eq!(rejected.headers["content-type"], "application/json");
        assert_eq!(rejected.json()["code"], "not_found");
        assert_eq!(rejected.json()["details"][0]["type"], "zitadel.v1.ErrorDetail");
        let utf8 = [auth, ("content-type", "application/json; charset=utf-8")];
        let body = format!("{{\"sessionId\":\"{id}\"}}");
        assert_eq!(over(h2, &zitadel, "POST", &get, &utf8, body.as_bytes()).await.json()["session"]["sequence"], "4");
        let gzip = [auth, JSON, ("content-encoding", "gzip")];
        assert_eq!(over(h2, &zitadel, "POST", &get, &gzip, b"x").await.status, 501);
        let text = [auth, ("content-type", "text/plain")];
        let rejected = over(h2, &zitadel, "POST", &get, &text, b"x").await;
        assert!(rejected.status == 415 && rejected.headers.contains_key("accept-post"));
        assert_eq!(over(h2, &zitadel, "GET", &get, &[auth], b"").await.status, 405);
        let rest = over(h2, &zitadel, "GET", &format!("/v2/sessions/{id}"), &[auth], b"").await;
        assert_eq!(rest.status, 200);
    }
    assert_eq!(zitadel.instance().calls(), 48);
}

#[tokio::test]
async fn callers_are_distinguished() {
    let zitadel = start(Options::default()).await;
    let (instance, tokens) = (zitadel.instance().clone(), zitadel.tokens());
    let path = format!("/v2/sessions/{}", instance.session_id());
    let token = instance.session_token(instance.session_id()).unwrap();
    let send = async |method: &str, path: &str, header: &str| {
        let headers = [("authorization", header)];
        over(false, &zitadel, method, path, if header.is_empty() { &[] } else { &headers }, b"").await
    };
    let missing = send("GET", &path, "").await;
    assert_eq!(missing.fault(), (401, "auth header missing".to_owned()));
    assert_eq!(missing.headers["www-authenticate"], "auth header missing");
    assert!(missing.json().get("details").is_none());
    let bearer = |token: &str| format!("Bearer {token}");
    let with_token = format!("{path}?session_token={token}");
    let elsewhere = instance.sign(json!({"iss": "http://other.example"}));
    let no_project = instance.sign(json!({"aud": ["1"]}));
    for (method, path, header, expected) in [
        ("GET", &path, bearer("nonsense"), "401 Errors.Token.Invalid (AUTH-7fs1e)"),
        ("GET", &path, bearer(&tokens.expired), "401 Errors.Token.Invalid (AUTH-7fs1e)"),
        ("GET", &path, bearer(&elsewhere), "401 Errors.Token.Invalid (AUTH-7fs1e)"),
        ("GET", &path, bearer(&no_project), "401 Errors.Token.Invalid (AUTH-7fs1e)"),
        ("GET", &path, "Basic eDp5".to_owned(), "401 invalid auth header (AUTH-toLo1)"),
        ("GET", &path, bearer(&tokens.no_membership), "404 membership not found (AUTHZ-cdgFk)"),
        ("PATCH", &path, bearer(&tokens.no_membership), "403 No matching permissions found (AUTH-AWfge)"),
        ("PATCH", &path, bearer(&tokens.viewer), "403 No matching permissions found (AUTH-AWfge)"),
    ] {
        let (status, message) = send(method, path, &header).await.fault();
        assert_eq!(format!("{status} {message}"), expected);
    }
    for (path, header) in [
        (&path, bearer(&tokens.jwt)),
        (&path, bearer(&tokens.viewer)),
        (&with_token, bearer(&tokens.no_membership)),
        (&path, bearer(&token)),
        (&path, bearer(&instance.sign(json!({"sub": instance.user_id()})))),
        (&path, format!("junk Bearer {}", tokens.owner)),
    ] {
        assert_eq!(send("GET", path, &header).await.status, 200, "{header}");
    }
    assert_eq!(send("DELETE", &path, &bearer(&token)).await.status, 200);
}

#[tokio::test]
async fn the_host_names_the_instance() {
    let zitadel = start(Options { domains: vec!["id.example".to_owned()], ..Options::default() }).await;
    let bearer = format!("Bearer {}", zitadel.tokens().owner);
    let path = format!("/v2/sessions/{}", zitadel.instance().session_id());
    for (name, value, status) in [
        ("host", "other.example", 404),
        ("host", "id.example", 200),
        ("x-forwarded-host", "other.example", 404),
        ("x-forwarded-host", "id.example", 200),
        ("forwarded", "for=1;host=\"other.example\"", 404),
        ("x-forwarded-for", "127.0.0.1", 200),
        ("x-zitadel-instance-host", "other.example", 404),
        ("x-zitadel-public-host", "other.example", 404),
        ("x-zitadel-orgid", "1", 403),
    ] {
        let response = over(false, &zitadel, "GET", &path, &[("authorization", &bearer), (name, value)], b"").await;
        assert_eq!(response.status, status, "{name}: {value}");
        assert!(status != 404 || response.fault().1.starts_with("unable to set instance using origin"));
    }
    let jwt = format!("Bearer {}", zitadel.tokens().jwt);
    let moved = [("authorization", jwt.as_str()), ("x-forwarded-host", "id.example")];
    assert_eq!(over(false, &zitadel, "GET", &path, &moved, b"").await.status, 401);
    let open = start(Options { any_domain: true, ..Options::default() }).await;
    let jwt = format!("Bearer {}", open.tokens().jwt);
    let path = format!("/v2/sessions/{}", open.instance().session_id());
    let moved = [("authorization", jwt.as_str()), ("host", "what.ever")];
    assert_eq!(over(false, &open, "GET", &path, &moved, b"").await.status, 200);
}

#[tokio::test]
async fn spellings_that_bypass_a_proxy_are_served() {
    let zitadel = start(Options::default()).await;
    let bearer = format!("Bearer {}", zitadel.tokens().owner);
    let auth = ("authorization", bearer.as_str());
    let form = ("content-type", "application/x-www-form-urlencoded");
    let id = zitadel.instance().session_id().to_owned();
    let path = format!("/v2/sessions/{id}");
    let executed = |rpc| zitadel.instance().executed(rpc);

    for spelling in [format!("/v2/sess%69ons/{id}"), format!("/v2/sessions%2F{id}"), format!("/%762/sessions/{id}")] {
        assert_eq!(rest(&zitadel, "GET", &spelling, "").await.status, 200, "{spelling}");
    }
    for spelling in [format!("/v2//sessions/{id}"), format!("/x/../v2/sessions/{id}"), format!("/v2/%2e/sessions/{id}")]
    {
        let moved = rest(&zitadel, "GET", &spelling, "").await;
        assert_eq!((moved.status.as_u16(), moved.headers["location"].to_str().unwrap()), (301, path.as_str()));
    }
    let service = "/zitadel.session.v2.Session%53ervice/GetSession";
    assert_eq!(connect(&zitadel, service, &format!("{{\"sessionId\":\"{id}\"}}")).await.status, 200);

    // A form is taken for the method that it asks for, or for GET, and its body is gone then.
    let fallback = over(false, &zitadel, "POST", &path, &[auth, form], b"session_token=wrong").await;
    assert_eq!(fallback.status, 403);
    let change = [auth, form, ("x-http-method-override", "patch")];
    assert_eq!(over(false, &zitadel, "POST", &path, &change, b"{\"lifetime\":\"1s\"}").await.status, 200);
    assert_eq!((executed("SetSession"), executed("GetSession")), (1, 5));
    assert!(zitadel.instance().session(&id).unwrap().get("expirationDate").is_none());
    assert_eq!(over(false, &zitadel, "POST", &path, &[auth, JSON, change[2]], b"").await.status, 405);
    let end = [auth, form, ("x-http-method-override", "DELETE")];
    assert_eq!(over(false, &zitadel, "POST", &path, &end, b"").await.status, 200);
    assert_eq!(zitadel.instance().session(&id), None);

    // Headers that become metadata.
    let made = zitadel.instance().create_session();
    let weak = format!("Bearer {}", zitadel.tokens().no_membership);
    let both = [("authorization", weak.as_str()), ("grpc-metadata-authorization", bearer.as_str())];
    assert_eq!(over(false, &zitadel, "DELETE", &format!("/v2/sessions/{}", made.id), &both, b"").await.status, 200);
    let org = [auth, ("grpc-metadata-x-zitadel-orgid", "1")];
    assert_eq!(over(false, &zitadel, "POST", "/v2/sessions", &org, b"").await.status, 403);
}

#[tokio::test]
async fn sessions_are_listed() {
    let zitadel = start(Options::default()).await;
    let instance = zitadel.instance();
    let (first, second) = (instance.session_id().to_owned(), instance.create_session().id);
    let list = async |path: &str, body: &str| {
        let response = rest(&zitadel, "POST", path, body).await.json();
        let ids = response["sessions"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = ids.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect();
        (response["details"]["totalResult"].as_str().unwrap_or("0").to_owned(), ids)
    };
    let search = "/v2/sessions/search";
    assert_eq!(list(search, "").await, ("2".to_owned(), vec![second.clone(), first.clone()]));
    assert_eq!(
        list(search, r#"{"query":{"asc":true,"limit":1,"offset":"1"}}"#).await,
        ("2".to_owned(), vec![second.clone()])
    );
    let ids = format!(r#"{{"queries":[{{"idsQuery":{{"ids":["{first}"]}}}}]}}"#);
    assert_eq!(list("/v2beta/sessions/search", &ids).await.1, [first]);
    let user =
        format!(r#"{{"queries":[{{"userIdQuery":{{"id":"{}"}}}},{{"creatorQuery":{{}}}}]}}"#, instance.user_id());
    assert_eq!(list(search, &user).await.1.len(), 2);
    let beta = rest(&zitadel, "POST", "/v2beta/sessions/search", &user).await.fault();
    assert!(beta.1.ends_with("invalid SearchQuery.Query: value is required"));
    let future = r#"{"queries":[{"creationDateQuery":{"creationDate":"2100-01-01T00:00:00Z","method":"TIMESTAMP_QUERY_METHOD_LESS"}}]}"#;
    assert_eq!(list(search, future).await.1.len(), 2);

    instance.change_password();
    let session = instance.session(&second).unwrap();
    assert!(session["factors"].get("password").is_none() && session["sequence"] == "4");
    instance.deactivate_user();
    assert_eq!(list(search, "").await.1.len(), 0);
}

#[tokio::test]
async fn other_paths_are_served() {
    let zitadel = start(Options::default()).await;
    assert_eq!(rest(&zitadel, "GET", "/debug/healthz", "").await.status, 200);
    assert_eq!(rest(&zitadel, "GET", "/debug/ready", "").await.status, 200);
    let discovery = rest(&zitadel, "GET", "/.well-known/openid-configuration", "").await.json();
    assert_eq!(discovery["issuer"], zitadel.url());
    assert_eq!(discovery["jwks_uri"], format!("{}/oauth/v2/keys", zitadel.url()));
    let keys = rest(&zitadel, "GET", "/oauth/v2/keys", "").await.json();
    let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(keys["keys"][0].clone()).unwrap();
    assert_eq!(key.common.key_id.as_deref(), keys["keys"][0]["kid"].as_str());
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "PATCH")];
    let allowed = over(false, &zitadel, "OPTIONS", "/v2/sessions/1", &preflight, b"").await;
    assert_eq!(
        (allowed.status.as_u16(), &allowed.headers["access-control-allow-origin"]),
        (204, &HeaderValue::from_static("https://app.example"))
    );
    assert_eq!(rest(&zitadel, "GET", "/v2/nothing", "").await.fault(), (404, "Not Found".to_owned()));
    let wrong = rest(&zitadel, "PUT", "/v2/sessions/1", "").await;
    assert_eq!((wrong.fault(), wrong.json()["code"].clone()), ((405, "Method Not Allowed".to_owned()), json!(12)));
    let user = zitadel.instance().user_id();
    let body = format!("{{\"userId\":\"{user}\"}}");
    let response = connect(&zitadel, "/zitadel.user.v2.UserService/GetUserByID", &body).await.json();
    assert_eq!(response["user"]["userId"], user.as_str());
    assert_eq!(rest(&zitadel, "GET", &format!("/v2/users/{user}"), "").await.json(), response);
    assert_eq!(rest(&zitadel, "GET", "/sandbox/stats", "").await.json()["executed"]["GetUserByID"], 2);
}

#[test]
fn instances_are_repeatable_and_urls_checked() {
    let make = |url: &str| Instance::new(url, Options::default(), [7; 32]);
    let (one, two) = (make("http://127.0.0.1:1").unwrap(), make("http://127.0.0.1:2/").unwrap());
    assert_eq!(one.session_id(), two.session_id());
    assert_eq!(one.session_id().len(), 18);
    assert_eq!(two.issuer(), "http://127.0.0.1:2");
    for url in ["127.0.0.1:1", "ftp://x", "http://", "http://x/y"] {
        assert_eq!(make(url).err(), Some(Error::Url), "{url}");
    }
}

#[test]
fn a_merged_message_is_what_protobuf_says() {
    // A field twice: the last one of a scalar counts, and maps and messages are merged.
    let once = SetSessionRequest {
        session_id: "a".to_owned(),
        metadata: BTreeMap::from([("k".to_owned(), vec![1])]),
        ..Default::default()
    };
    let twice = SetSessionRequest {
        session_id: "b".to_owned(),
        metadata: BTreeMap::from([("l".to_owned(), vec![2])]),
        ..Default::default()
    };
    let bytes = [once.encode_to_vec(), twice.encode_to_vec()].concat();
    let merged = SetSessionRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!((merged.session_id.as_str(), merged.metadata.len()), ("b", 2));
}

#[tokio::test]
async fn client_credentials_get_a_token() {
    let zitadel = start(Options::default()).await;
    let (id, secret) = zitadel.instance().client();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let fetch = async |headers: &[(&str, &str)], body: &str| {
        let response = over(false, &zitadel, "POST", "/oauth/v2/token", headers, body.as_bytes()).await;
        (response.status.as_u16(), response.json())
    };
    let scope = "scope=openid+urn:zitadel:iam:org:project:id:zitadel:aud";
    let grant = format!("grant_type=client_credentials&{scope}");
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let with_header = [form[0], ("authorization", basic.as_str())];
    for (headers, body) in
        [(&with_header[..], grant.clone()), (&form, format!("{grant}&client_id={id}&client_secret={secret}"))]
    {
        let (status, token) = fetch(headers, &body).await;
        assert_eq!((status, &token["token_type"], &token["expires_in"]), (200, &json!("Bearer"), &json!(43_200)));
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let path = format!("/v2/sessions/{}", zitadel.instance().session_id());
        let read = over(false, &zitadel, "GET", &path, &[("authorization", &bearer)], b"").await;
        assert_eq!(read.status, 200);
    }
    for (body, status, error) in [
        (format!("{grant}&client_id={id}&client_secret=x"), 401, "invalid_client"),
        (format!("{grant}&client_id=x&client_secret={secret}"), 401, "invalid_client"),
        (scope.to_owned(), 400, "invalid_request"),
        ("grant_type=password".to_owned(), 400, "unsupported_grant_type"),
    ] {
        let (got, response) = fetch(&form, &body).await;
        assert_eq!((got, response["error"].as_str()), (status, Some(error)), "{body}");
    }
}

#[tokio::test]
async fn applications_introspect_tokens_and_clients_revoke_them() {
    let zitadel = start(Options::default()).await;
    let instance = zitadel.instance();
    let (secret, application) = (instance.client().1.to_owned(), instance.api_application());
    let post = async |path: &str, client: Option<(&str, &str)>, body: &str| {
        let basic = client.map(|(id, secret)| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(basic.as_ref().map(|basic| ("authorization", basic.as_str())));
        let response = over(false, &zitadel, "POST", path, &headers, body.as_bytes()).await;
        (response.status.as_u16(), response.json())
    };
    let client = (instance.opaque_client_id(), secret.as_str());
    let grant = "grant_type=client_credentials&scope=urn:zitadel:iam:org:project:id:zitadel:aud";
    let (_, issued) = post("/oauth/v2/token", Some(client), grant).await;
    let token = issued["access_token"].as_str().unwrap().to_owned();
    assert!(!token.contains('.'));
    let path = format!("/v2/sessions/{}", instance.session_id());
    let read = async || {
        let bearer = format!("Bearer {token}");
        over(false, &zitadel, "GET", &path, &[("authorization", &bearer)], b"").await.status
    };
    assert_eq!(read().await, 200);
    let own = (application.client_id.as_str(), application.secret.as_str());
    let introspect = async |token: &str| post("/oauth/v2/introspect", Some(own), &format!("token={token}")).await;
    let session_token = instance.session_token(instance.session_id()).unwrap();
    for (known, active) in [
        (token.as_str(), true),
        (&zitadel.tokens().jwt, true),
        (&zitadel.tokens().viewer, true),
        (&zitadel.tokens().expired, false),
        (&session_token, false),
        ("unknown", false),
    ] {
        let (status, response) = introspect(known).await;
        assert_eq!((status, &response["active"]), (200, &json!(active)), "{known}");
        let expected = if active { json!(zitadel.url()) } else { json!(null) };
        assert_eq!(response["iss"], expected);
    }
    for other in [None, Some((own.0, "x")), Some(("x", own.1)), Some(client)] {
        let (status, response) = post("/oauth/v2/introspect", other, &format!("token={token}")).await;
        assert_eq!((status, response["error"].as_str()), (401, Some("invalid_client")));
    }
    assert_eq!(post("/oauth/v2/revoke", Some(own), &format!("token={token}")).await.0, 401);
    assert_eq!(post("/oauth/v2/revoke", Some(client), &format!("token={token}")).await.0, 200);
    assert_eq!(introspect(&token).await.1, json!({"active": false}));
    assert_eq!(read().await, 401);
}
