//! A simulated Okta org: the Sessions API of the Classic Engine, the two user operations that end sessions, and access
//! tokens of the org authorization server, with everything in memory.
//!
//! It is written from Okta's Management API description (`okta-management-openapi-spec`, 2024.09.2) and its pages
//! "Sessions" and "Error codes", and shares no table with the gateway. Two points are not in the description and are
//! the harder choice for a gateway: suspending a user ends the user's sessions, and the `sid` cookie is not the ID of
//! its session.

use crate::sandbox::clock::unix_seconds;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

/// A published, worthless key: it signs nothing but sandbox tokens.
const DEMO_KEY: &str = include_str!("auth0_demo_key.pem");
const KEY_ID: &str = "okta-sandbox";
/// The `typ` of the org authorization server's access tokens (since March 2024; Okta does not document it).
const TOKEN_TYPE: &str = "application/okta-internal-at+jwt";
/// The scopes of the operations below.
const SCOPES: [&str; 3] = ["okta.sessions.read", "okta.sessions.manage", "okta.users.manage"];

/// A simulated Okta org. Clones share one state.
#[derive(Clone)]
pub struct Org(Arc<Shared>);

struct Shared {
    issuer: String,
    key: KeyPair,
    public: PublicKeyComponents<Vec<u8>>,
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    sessions: BTreeMap<String, Record>,
    calls: u64,
}

struct Record {
    user: String,
    cookie: String,
    created: SystemTime,
    expires: SystemTime,
    lifetime: Duration,
}

/// An error response: status, code and summary.
type Error = (StatusCode, &'static str, String);

impl Org {
    /// Makes an org without sessions. `issuer` is its URL, such as `http://127.0.0.1:8083`: issuer and audience of its
    /// tokens. `None` if the demo key cannot be used.
    #[must_use]
    pub fn new(issuer: &str) -> Option<Org> {
        let text: String = DEMO_KEY.lines().skip_while(|line| !line.starts_with("-----BEGIN")).collect();
        let text = text.strip_prefix("-----BEGIN PRIVATE KEY-----")?.strip_suffix("-----END PRIVATE KEY-----")?;
        let key = KeyPair::from_pkcs8(&STANDARD.decode(text).ok()?).ok()?;
        let public = key.public().into();
        Some(Org(Arc::new(Shared { issuer: issuer.to_owned(), key, public, store: Mutex::default() })))
    }

    /// Starts an org on this address, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// If the address cannot be bound, or the demo key cannot be used.
    pub async fn start(address: SocketAddr) -> io::Result<Org> {
        let listener = TcpListener::bind(address).await?;
        let org = Org::new(&format!("http://{}", listener.local_addr()?)).ok_or(io::ErrorKind::InvalidData)?;
        let router = Router::new()
            .route("/oauth2/v1/keys", get(async |State(org): State<Org>| json_response(&org.key_set())))
            .fallback(async |State(org): State<Org>, request: Request| org.respond(&request))
            .with_state(org.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(org)
    }

    /// The URL to reach it at, and the issuer and audience of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.issuer
    }

    /// How many requests have reached the API.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.store.lock().calls
    }

    /// Signs a user in. Gives the session's ID and the value of its cookie `sid`.
    #[must_use]
    pub fn sign_in(&self, user: &str, lifetime: Duration) -> (String, String) {
        let (id, cookie) = (format!("101{}", random()), format!("102{}", random()));
        let now = SystemTime::now();
        let record =
            Record { user: user.into(), cookie: cookie.clone(), created: now, expires: now + lifetime, lifetime };
        self.0.store.lock().sessions.insert(id.clone(), record);
        (id, cookie)
    }

    /// An access token: `claims` over those of Okta's token profile, a `null` removing one.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        let now = unix_seconds(SystemTime::now());
        let mut all = json!({
            "ver": 1, "jti": format!("AT.{}", random()), "iss": self.0.issuer, "aud": self.0.issuer, "iat": now,
            "exp": now + 3600, "cid": "0oa9ztxkwkqHpQb2Q5d7", "scp": SCOPES, "sub": "0oa9ztxkwkqHpQb2Q5d7",
        });
        if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims) {
            all.extend(claims);
            all.retain(|_, value| !value.is_null());
        }
        let header = json!({"kid": KEY_ID, "typ": TOKEN_TYPE, "alg": "RS256"});
        let signed = format!("{}.{}", encode(&header), encode(&all));
        let mut signature = vec![0; self.0.key.public().modulus_len()];
        // A key that does not sign gives tokens that no test accepts.
        let _ = self.0.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The document at `/oauth2/v1/keys`.
    #[must_use]
    pub fn key_set(&self) -> Value {
        let (n, e) = (URL_SAFE_NO_PAD.encode(&self.0.public.n), URL_SAFE_NO_PAD.encode(&self.0.public.e));
        json!({"keys": [{"kty": "RSA", "alg": "RS256", "kid": KEY_ID, "use": "sig", "n": n, "e": e}]})
    }

    fn respond(&self, request: &Request) -> Response {
        self.0.store.lock().calls += 1;
        match self.execute(request) {
            Ok(Some(body)) => json_response(&body),
            Ok(None) => response(StatusCode::NO_CONTENT, Body::empty()),
            Err((status, code, summary)) => {
                let body = json!({
                    "errorCode": code, "errorSummary": summary, "errorLink": code,
                    "errorId": format!("oae{}", random()), "errorCauses": [],
                });
                response(status, Body::from(body.to_string()))
            }
        }
    }

    fn execute(&self, request: &Request) -> Result<Option<Value>, Error> {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let ["api", "v1", parts @ ..] = parts.as_slice() else {
            return Err(unknown_path());
        };
        let allows = |scope| self.authorize(request.headers(), scope);
        match (request.method().as_str(), parts) {
            (method, ["sessions", "me", rest @ ..]) => self.current(method, rest, request.headers()),
            ("GET", ["sessions", id]) => allows("okta.sessions.read").and_then(|()| self.shown(id).map(Some)),
            ("DELETE", ["sessions", id]) => allows("okta.sessions.manage").and_then(|()| self.revoke(id)),
            ("POST", ["sessions", id, "lifecycle", "refresh"]) => {
                allows("okta.sessions.manage").and_then(|()| self.refresh(id, request.headers()))
            }
            (_, ["sessions", _]) | (_, ["sessions", _, "lifecycle", "refresh"]) => Err(unknown_method()),
            ("DELETE", ["users", user, "sessions"]) => allows("okta.users.manage").map(|()| self.end_all(user, None)),
            ("POST", ["users", user, "lifecycle", "suspend"]) => {
                allows("okta.users.manage").map(|()| self.end_all(user, Some(json!({}))))
            }
            _ => Err(unknown_path()),
        }
    }

    /// The operations on the session of a cookie. API tokens are not allowed.
    fn current(&self, method: &str, rest: &[&str], headers: &HeaderMap) -> Result<Option<Value>, Error> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let sid = cookies.flat_map(|value| value.split("; ")).find_map(|pair| pair.strip_prefix("sid="));
        let store = self.0.store.lock();
        let mut live = store.sessions.iter().filter(|(_, record)| record.expires > SystemTime::now());
        let found = live.find(|(_, record)| Some(record.cookie.as_str()) == sid).map(|(id, _)| id.clone());
        drop(store);
        let id = found.ok_or_else(|| not_found("me"))?;
        match (method, rest) {
            ("GET", []) => self.shown(&id).map(Some),
            ("DELETE", []) => self.revoke(&id),
            ("POST", ["lifecycle", "refresh"]) => self.refresh(&id, headers),
            _ => Err(unknown_method()),
        }
    }

    fn shown(&self, id: &str) -> Result<Value, Error> {
        let store = self.0.store.lock();
        let found = store.sessions.get(id).filter(|record| record.expires > SystemTime::now());
        let record = found.ok_or_else(|| not_found(id))?;
        let time = |time| humantime::format_rfc3339_millis(time).to_string();
        Ok(json!({
            "id": id, "login": format!("{}@example.com", record.user), "userId": record.user, "status": "ACTIVE",
            "createdAt": time(record.created), "expiresAt": time(record.expires),
            "lastPasswordVerification": time(record.created), "lastFactorVerification": null, "amr": ["pwd"],
            "idp": {"id": "00oi5cpnylv792IcF0g3", "type": "OKTA"}, "mfaActive": false,
            "_links": {"self": {"href": format!("{}/api/v1/sessions/{id}", self.0.issuer)}},
        }))
    }

    fn revoke(&self, id: &str) -> Result<Option<Value>, Error> {
        self.shown(id)?;
        self.0.store.lock().sessions.remove(id);
        Ok(None)
    }

    /// Without a body if the caller prefers it (RFC 7240, section 4.2).
    fn refresh(&self, id: &str, headers: &HeaderMap) -> Result<Option<Value>, Error> {
        self.shown(id)?;
        if let Some(record) = self.0.store.lock().sessions.get_mut(id) {
            // Times have milliseconds: each refresh has a later one.
            record.expires = (SystemTime::now() + record.lifetime).max(record.expires + Duration::from_millis(1));
        }
        let minimal = headers.get("prefer").is_some_and(|value| value == "return=minimal");
        Ok(Some(self.shown(id)?).filter(|_| !minimal))
    }

    /// Ends the sessions of a user. Succeeds for unknown users too: the org does not model users.
    fn end_all(&self, user: &str, body: Option<Value>) -> Option<Value> {
        self.0.store.lock().sessions.retain(|_, record| record.user != user);
        body
    }

    /// Any API token (`SSWS`) may do everything. An access token needs the scope.
    fn authorize(&self, headers: &HeaderMap, scope: &str) -> Result<(), Error> {
        let invalid = || (StatusCode::UNAUTHORIZED, "E0000011", "Invalid token provided".to_owned());
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(invalid)?;
        match value.split_once(' ') {
            Some(("SSWS", token)) if !token.is_empty() => Ok(()),
            Some(("Bearer", token)) => {
                let claims = self.verified(token).ok_or_else(invalid)?;
                let scopes = claims.get("scp").and_then(Value::as_array);
                let allowed = scopes.is_some_and(|scopes| scopes.iter().any(|own| own == scope));
                let denied = "You do not have permission to perform the requested action";
                allowed.then_some(()).ok_or((StatusCode::FORBIDDEN, "E0000006", denied.to_owned()))
            }
            _ => Err(invalid()),
        }
    }

    /// The claims of a valid access token.
    fn verified(&self, token: &str) -> Option<Map<String, Value>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.0.public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
        let ours = ["iss", "aud"].iter().all(|name| claims.get(*name).is_some_and(|value| value == &self.0.issuer));
        let expires = claims.get("exp").and_then(Value::as_u64)?;
        (ours && expires > unix_seconds(SystemTime::now())).then_some(claims)
    }
}

fn not_found(id: &str) -> Error {
    (StatusCode::NOT_FOUND, "E0000007", format!("Not found: Resource not found: {id} (Session)"))
}

fn unknown_path() -> Error {
    (StatusCode::NOT_FOUND, "E0000008", "The requested path was not found".to_owned())
}

fn unknown_method() -> Error {
    (StatusCode::METHOD_NOT_ALLOWED, "E0000022", "The endpoint does not support the provided HTTP method".to_owned())
}

fn json_response(body: &Value) -> Response {
    response(StatusCode::OK, Body::from(body.to_string()))
}

fn response(status: StatusCode, body: Body) -> Response {
    let built = Response::builder().status(status).header("content-type", "application/json");
    built.header("cache-control", "no-cache, no-store").body(body).unwrap_or_default()
}

fn random() -> String {
    let mut bytes = [0; 15];
    // Without random numbers IDs repeat, and a test fails.
    let _ = SystemRandom::new().fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
