use std::time::{Duration, UNIX_EPOCH};

use super::payload::{metadata, object, percent_decode};
use super::routes::{Route, find};
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

fn tenant(options: Options) -> Tenant {
    Tenant::new("http://127.0.0.1:8081", options, [1; 32]).unwrap()
}

fn send(tenant: &Tenant, method: &str, path: &str, content_type: &str, body: &str, token: &str) -> Response {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("authorization", format!("Bearer {token}"));
    let (parts, ()) = request.body(()).unwrap().into_parts();
    tenant.execute(&parts, Ok(Bytes::copy_from_slice(body.as_bytes())))
}

#[test]
fn paths_are_resolved_like_whatwg_urls() {
    let name = |path: &str| match find(&http::Method::PATCH, path) {
        Route::Known(call) => format!("{} {}", call.endpoint.name, call.id),
        Route::Unknown => "unknown".to_owned(),
        Route::Outside => "outside".to_owned(),
        Route::Malformed => "malformed".to_owned(),
    };
    assert_eq!(name("/api/v2/sessions/a"), "update_session a");
    assert_eq!(name("/api/v2/users/../sess%69ons/a%2Fb"), "update_session a/b");
    assert_eq!(name("/x/%2e%2E/api\\v2/sessions/%252e"), "update_session %2e");
    assert_eq!(name("/api/v2/sessions/a/"), "unknown");
    assert_eq!(name("/api/v2/sessions/"), "unknown");
    assert_eq!(name("/api/v2/sessions/%zz"), "malformed");
    assert_eq!(name("/api/v3/sessions/a"), "outside");
}

#[test]
fn metadata_is_rejected_beyond_the_limits() {
    let rejection = |body: &str| {
        let (parts, ()) = http::Request::new(()).into_parts();
        match object(&parts, body.as_bytes()).and_then(|body| metadata(body, "session_metadata", "session")) {
            Ok(_) => String::new(),
            Err(response) => response.message().unwrap_or_default().to_owned(),
        }
    };
    let long = format!("{{\"session_metadata\":{{\"a\":\"{}\"}}}}", "x".repeat(256));
    let pairs: Vec<String> = (0..26).map(|n| format!("\"k{n}\":\"\"")).collect();
    assert!(rejection(&long).contains("'String is too long (256 chars), maximum 255' on property session_metadata.a"));
    assert!(
        rejection(&format!("{{\"session_metadata\":{{{}}}}}", pairs.join(",")))
            .contains("'Too many properties defined (26), maximum 25' on property session_metadata (")
    );
    assert!(rejection("{}").ends_with("'Too few properties defined (0), minimum 1'"));
    assert!(rejection("{\"x\":1}").ends_with("'Additional properties not allowed: x'"));
    assert!(rejection("{\"session_metadata\":{\"a b\":\"\"}}").contains("not allowed: a b' on property"));
    assert!(rejection("{\"session_metadata\":{\"a\":1}}").contains("Expected type string but found type integer"));
    assert!(rejection("{\"session_metadata\":[]}").contains("Expected type object,null but found type array"));
    assert_eq!(rejection("{\"session_metadata\":{\"a\":\"\"}}"), "");
    assert_eq!(rejection("{\"session_metadata\":null}"), "");
}

#[test]
fn a_form_updates_and_a_revoke_takes_its_time() {
    let tenant = tenant(Options { delete_delay: Duration::from_millis(40), ..Options::default() });
    let token = tenant.tokens().full;
    let path = format!("/api/v2/sessions/{}", tenant.session_id());
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    assert_eq!(send(&tenant, "PATCH", &path, form, "session_metadata%5Ba%5D=b+c", &token).status(), 200);
    assert_eq!(send(&tenant, "PATCH", &path, "text/plain", "{}", &token).status(), 415);
    assert_eq!(send(&tenant, "POST", &format!("{path}/revoke"), "", "", &token).status(), 202);
    assert_eq!(send(&tenant, "GET", &path, "", "", &token).status(), 200);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(send(&tenant, "GET", &path, "", "", &token).status(), 404);
    assert_eq!(tenant.calls(), 5);
}

#[test]
fn refresh_tokens_are_revoked_in_the_combinations_that_are_documented() {
    let tenant = tenant(Options { rate: None, delete_delay: Duration::ZERO, ..Options::default() });
    let (token, user) = (tenant.tokens().full, tenant.user_id().to_owned());
    let revoke =
        |body: &str| send(&tenant, "POST", "/api/v2/refresh-tokens/revoke", "application/json", body, &token).status();
    for rejected in [
        "{}".to_owned(),
        r#"{"ids":[]}"#.to_owned(),
        r#"{"client_id":"c"}"#.to_owned(),
        r#"{"ids":["a"],"client_id":"c"}"#.to_owned(),
        format!(r#"{{"ids":["a"],"user_id":"{user}"}}"#),
        format!(r#"{{"user_id":"{user}","audience":"a"}}"#),
    ] {
        assert_eq!(revoke(&rejected), 400, "{rejected}");
    }
    let left = || {
        let query = format!("/api/v2/refresh-tokens?user_id={}", user.replace('|', "%7C"));
        let response = send(&tenant, "GET", &query, "", "", &token);
        let body = whole(response);
        serde_json::from_slice::<Value>(&body).unwrap()["refresh_tokens"].as_array().unwrap().len()
    };
    assert_eq!(revoke(&format!(r#"{{"user_id":"{user}","client_id":"other"}}"#)), 202);
    assert_eq!(left(), 1);
    assert_eq!(revoke(&format!(r#"{{"user_id":"{user}"}}"#)), 202);
    assert_eq!(left(), 0);
}

/// The body of a response that is there as a whole.
fn whole(response: Response) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(axum::body::to_bytes(response.into_body(), MAX_BODY)).unwrap().to_vec()
}

#[test]
fn tokens_and_the_rate_limit_are_enforced() {
    let tenant = tenant(Options { rate: Some(Rate { burst: 1, per_second: 0 }), ..Options::default() });
    let path = format!("/api/v2/sessions/{}", tenant.session_id());
    let get = |token: &str| send(&tenant, "GET", &path, "", "", token);
    let expired = get(&tenant.tokens().expired);
    assert_eq!(expired.status(), 401);
    assert!(expired.headers().contains_key("www-authenticate") && !expired.headers().contains_key("x-ratelimit-limit"));
    assert_eq!(get("opaque").status(), 400);
    assert_eq!(get("a.b.c").status(), 401);
    assert_eq!(get(&tenant.sign(json!({"aud": ["x"]}))).status(), 401);
    assert_eq!(get(&tenant.sign(json!({"iss": null}))).status(), 401);
    assert_eq!(get(&tenant.sign(json!({"scope": "read:users"}))).status(), 403);
    assert_eq!(get(&tenant.tokens().read_only).headers()["x-ratelimit-remaining"], "0");
    assert_eq!(get(&tenant.tokens().read_only).status(), 429);
}

#[test]
fn texts_and_times() {
    assert_eq!(store::timestamp(UNIX_EPOCH + Duration::from_millis(1_714_568_430_380)), "2024-05-01T13:00:30.380Z");
    assert_eq!(store::timestamp(UNIX_EPOCH + Duration::from_secs(951_782_400)), "2000-02-29T00:00:00.000Z");
    assert_eq!(percent_decode("%C3%A9+", true).as_deref(), Some("é "));
    assert_eq!(percent_decode("%C3", true), None);
}

/// The status of a token request, and its body. The header is `Authorization`, if it is not empty.
async fn token(tenant: &Tenant, kind: &str, header: &str, body: &str) -> (u16, Value) {
    let mut request = http::Request::builder().method("POST").uri("/oauth/token").header("content-type", kind);
    if !header.is_empty() {
        request = request.header("authorization", header);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let response = oauth::respond(tenant, &parts, &Bytes::copy_from_slice(body.as_bytes()));
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn client_credentials_get_a_token_in_every_form() {
    let tenant = tenant(Options::default());
    let ((id, secret), audience) = (tenant.client(), tenant.audience());
    let members = json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret, "audience": audience,
    });
    let grant = format!("grant_type=client_credentials&audience={audience}");
    let form = format!("{grant}&client_id={id}&client_secret={secret}");
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    for (kind, header, body) in [
        ("application/json", "", members.to_string()),
        ("application/json; charset=utf-8", "", members.to_string()),
        (FORM, "", form.clone()),
        (FORM, basic.as_str(), grant.clone()),
    ] {
        let (status, response) = token(&tenant, kind, header, &body).await;
        assert_eq!(status, 200, "{response}");
        assert_eq!((&response["token_type"], &response["expires_in"]), (&json!("Bearer"), &json!(86_400)));
        let path = format!("/api/v2/sessions/{}", tenant.session_id());
        let read = send(&tenant, "GET", &path, "application/json", "", response["access_token"].as_str().unwrap());
        assert_eq!(read.status(), 200);
    }
    let (_, response) = token(&tenant, FORM, "", &format!("{form}&scope=read:sessions")).await;
    assert_eq!(response["scope"], "read:sessions");
    assert_eq!(tenant.issued_tokens(), 5);
    assert_eq!(tenant.calls(), 4, "only of the Management API");
}

#[tokio::test]
async fn token_errors_have_the_form_of_the_endpoint() {
    let tenant = tenant(Options::default());
    let ((id, secret), audience) = (tenant.client(), tenant.audience());
    let client = format!("client_id={id}&client_secret={secret}");
    let grant = format!("grant_type=client_credentials&audience={audience}");
    let unauthorized = "Client is not authorized to access \"http://127.0.0.1:8081/userinfo\". You need to create a";
    for (body, status, error, description) in [
        (format!("{grant}&client_id=x&client_secret={secret}"), 401, "access_denied", "Unauthorized"),
        (format!("{grant}&client_id={id}&client_secret=x"), 401, "access_denied", "Unauthorized"),
        (format!("{grant}&client_id={id}"), 401, "access_denied", "Unauthorized"),
        (grant.clone(), 400, "invalid_request", "Missing required parameter: client_id"),
        (client.clone(), 400, "invalid_request", "Missing required parameter: grant_type"),
        (format!("{client}&grant_type=x"), 403, "unsupported_grant_type", "Unsupported grant type: x"),
        (
            format!("{client}&grant_type=password"),
            403,
            "unauthorized_client",
            "Grant type 'password' not allowed for the client.",
        ),
        (format!("{client}&grant_type=client_credentials"), 403, "access_denied", "No audience parameter was provided"),
        (
            format!("{client}&grant_type=client_credentials&audience=https://gateway.example/api/v2/"),
            403,
            "access_denied",
            "Service not found: https://gateway.example/api/v2/",
        ),
        (
            format!("{client}&grant_type=client_credentials&audience=http://127.0.0.1:8081/userinfo"),
            403,
            "access_denied",
            unauthorized,
        ),
        (format!("{client}&{grant}&scope=x"), 403, "access_denied", "Client has not been granted scopes: x"),
        ("%zz".to_owned(), 400, "invalid_request", "Invalid request payload"),
    ] {
        let (got, response) = token(&tenant, FORM, "", &body).await;
        assert_eq!((got, response["error"].as_str()), (status, Some(error)), "{body}: {response}");
        assert!(response["error_description"].as_str().unwrap().starts_with(description), "{body}: {response}");
    }
    let (status, response) = token(&tenant, "application/json", "", "{").await;
    assert_eq!((status, &response["error"]), (400, &json!("invalid_request")));
    assert_eq!(tenant.issued_tokens(), 0);
}

#[tokio::test]
async fn token_requests_count_towards_the_rate_limit() {
    let tenant = tenant(Options { rate: Some(Rate { burst: 1, per_second: 0 }), ..Options::default() });
    assert_eq!(token(&tenant, FORM, "", "").await.0, 400);
    let (status, response) = token(&tenant, FORM, "", "").await;
    assert_eq!((status, &response["error"]), (429, &json!("too_many_requests")));
}
