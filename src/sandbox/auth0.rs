//! A simulated Auth0 tenant: the Management API endpoints around sessions, with everything in memory.
//!
//! It is written from Auth0's documentation and recorded responses, and shares no table with the gateway, so that the
//! two can disagree and a test can show it. Where the documentation leaves a choice, the tenant takes the one that is
//! harder for a gateway: it resolves dot segments, decodes percent-escapes in fixed path parts and takes form bodies,
//! as Auth0's servers may.
//!
//! A request goes through the same steps as at Auth0: route (404), token (401), scope (403), rate limit (429), path,
//! query and payload checks (400), and then the operation itself.

mod response;
mod operations;
mod payload;
mod rate;
mod routes;
mod store;
mod token;

use crate::sandbox::unix_seconds;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use parking_lot::Mutex;
use serde_json::{Value, json};

use rate::{Bucket, Quota};
use response::ApiResponse;
use routes::Route;
use store::Store;
use token::Authority;

/// The largest body that the tenant reads: the default limit of the server framework that Auth0 appears to use.
const MAX_BODY: usize = 1024 * 1024;

/// How the simulated tenant behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time every response is held back (zero by default). The request is carried out first, so a response can be older
    /// than a change that overtook it.
    pub latency: Duration,
    /// Time between the 202 for a delete or revoke and the moment when GET stops answering 200, as Auth0 deletes
    /// asynchronously (Auth0's OpenAPI document: "eventually consistent"). Two seconds by default.
    pub delete_delay: Duration,
    /// The global rate limit; `None` means no 429s. By default that of an Enterprise public production tenant, 50 at
    /// once and 16 per second (Auth0's page "Rate limit policy").
    pub rate: Option<Rate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            delete_delay: Duration::from_secs(2),
            rate: Some(Rate { burst: 50, per_second: 16 }),
        }
    }
}

/// A token-bucket rate limit (Auth0's page "Rate limit policy").
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests that a full bucket lets pass at once.
    pub burst: u32,
    /// Requests per second that refill the bucket; with 0 it is never refilled.
    pub per_second: u32,
}

/// Management API access tokens, signed by the tenant's demo key. They are not printable by accident: no `Debug`.
#[derive(Clone)]
pub struct Tokens {
    /// Has every scope of the session, refresh-token and user endpoints, and `read:clients`.
    pub full: String,
    /// Has the scope `read:sessions` only.
    pub read_only: String,
    /// As `full`, but it expired an hour ago.
    pub expired: String,
}

/// Why a tenant could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The issuer URL is not `http://` or `https://` followed by a host, without a path.
    Issuer,
    /// The built-in demo key could not be read or does not sign.
    Key,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Issuer => "the issuer URL must be http:// or https:// and a host, without a path",
            Self::Key => "the built-in demo key cannot be used",
        })
    }
}

impl std::error::Error for Error {}

/// A simulated Auth0 tenant. Clones share one state.
#[derive(Clone)]
pub struct Tenant(Arc<Shared>);

struct Shared {
    options: Options,
    authority: Authority,
    session_id: String,
    user_id: String,
    store: Mutex<Store>,
    bucket: Option<Mutex<Bucket>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tenant {
    /// Makes a tenant with one user who has one session. `issuer_url` is where clients reach it, for instance
    /// `http://127.0.0.1:8081`: tokens have it with `/` as issuer and with `/api/v2/` as audience (Auth0's page
    /// "Management API access tokens"). The same `random_seed` gives the same ids.
    ///
    /// # Errors
    /// If the issuer URL has the wrong form or the demo key is unusable.
    pub fn new(issuer_url: &str, options: Options, random_seed: [u8; 32]) -> Result<Self, Error> {
        let authority = Authority::new(issuer_url)?;
        let mut store = Store::new(&random_seed);
        let session_id = store.create_session();
        Ok(Self(Arc::new(Shared {
            authority,
            session_id,
            user_id: store.sample_user().to_owned(),
            store: Mutex::new(store),
            bucket: options.rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))),
            counts: Mutex::new(BTreeMap::new()),
            options,
        })))
    }

    /// Fresh tokens to call the tenant with.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let now = unix_seconds(SystemTime::now());
        Tokens {
            full: self.sign(json!({})),
            read_only: self.sign(json!({"scope": "read:sessions"})),
            expired: self.sign(json!({"iat": now.saturating_sub(90_000), "exp": now.saturating_sub(3_600)})),
        }
    }

    /// Signs a token: the claims are laid over those of the full token, and a `null` removes a claim.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        self.0.authority.sign(claims, SystemTime::now())
    }

    /// The id of the session that exists from the start.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.0.session_id
    }

    /// The id of the sample user, such as `auth0|65f0…`.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.0.user_id
    }

    /// Logs the sample user in once more and gives the new session's id.
    #[must_use]
    pub fn create_session(&self) -> String {
        self.0.store.lock().create_session()
    }

    /// How many requests have reached `/api/v2` so far, whatever they were answered.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.counts.lock().values().sum()
    }

    /// The tenant as a service.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/jwks.json", get(key_set))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/sandbox/stats", get(stats))
            .fallback(management)
            .with_state(self.clone())
    }

    /// Carries out one Management API request.
    fn carry_out(&self, parts: &Parts, body: Result<Bytes, axum::Error>) -> Response {
        let call = match routes::find(&parts.method, parts.uri.path()) {
            Route::Outside => return ApiResponse::not_found("Not Found", None).into_response(None),
            Route::Unknown => {
                self.count("unknown_route");
                return ApiResponse::not_found("Not Found", None).into_response(None);
            }
            Route::Malformed => {
                self.count("unknown_route");
                return ApiResponse::bad_request("Bad Request", None).into_response(None);
            }
            Route::Known(call) => call,
        };
        self.count(call.row.name);
        if let Err(rejection) = self.authorize(parts, call.row.scopes) {
            return rejection.into_response(None);
        }
        let quota = match self.spend() {
            Ok(quota) => quota,
            Err(quota) => return ApiResponse::too_many_requests().into_response(Some(quota)),
        };
        match operations::perform(self, &call, parts, body) {
            Ok(response) => response.into_response(quota),
            // Of the recorded responses, those without rate-limit headers are exactly the 4xx (Auth0's page "Rate limit
            // policy").
            Err(rejection) => rejection.into_response(None),
        }
    }

    fn authorize(&self, parts: &Parts, any_of: &[&str]) -> Result<(), ApiResponse> {
        let granted = self.0.authority.scopes(&parts.headers, SystemTime::now())?;
        if granted.iter().any(|scope| any_of.contains(&scope.as_str())) {
            return Ok(());
        }
        Err(ApiResponse::insufficient_scope(any_of))
    }

    fn spend(&self) -> Result<Option<Quota>, Quota> {
        let Some(bucket) = &self.0.bucket else {
            return Ok(None);
        };
        bucket.lock().spend(Instant::now(), SystemTime::now()).map(Some)
    }

    fn count(&self, operation: &'static str) {
        *self.0.counts.lock().entry(operation).or_default() += 1;
    }

    async fn hold_back(&self, response: Response) -> Response {
        if !self.0.options.latency.is_zero() {
            tokio::time::sleep(self.0.options.latency).await;
        }
        response
    }
}

async fn management(State(tenant): State<Tenant>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await;
    let response = tenant.carry_out(&parts, body);
    tenant.hold_back(response).await
}

async fn key_set(State(tenant): State<Tenant>) -> Response {
    let response = response::plain(&tenant.0.authority.key_set());
    tenant.hold_back(response).await
}

async fn discovery(State(tenant): State<Tenant>) -> Response {
    let response = response::plain(&tenant.0.authority.discovery());
    tenant.hold_back(response).await
}

async fn stats(State(tenant): State<Tenant>) -> Response {
    let by_operation = tenant.0.counts.lock().clone();
    let calls: u64 = by_operation.values().sum();
    response::plain(&json!({"calls": calls, "by_operation": by_operation}))
}

#[cfg(test)]
mod tests;
