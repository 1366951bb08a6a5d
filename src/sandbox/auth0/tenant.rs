//! The tenant: its options, its state, and the checks of tokens, scopes and rate limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use parking_lot::Mutex;
use ring::digest::{SHA512, digest};
use serde_json::{Value, json};

use super::rate::{Bucket, Quota, Rate};
use super::response::ApiResponse;
use super::store::Store;
use super::token::{Authority, CLIENT, Error};
use crate::sandbox::clock::unix_seconds;

/// How the simulated tenant behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// A delay of every response (zero by default). The request is executed first, so a response can be older than a
    /// change that was made after it.
    pub latency: Duration,
    /// Time between the 202 for a delete or revoke and the moment when GET no longer responds with 200, since Auth0
    /// deletes asynchronously (Auth0's OpenAPI document: "eventually consistent"). Two seconds by default.
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

/// Management API access tokens, signed by the tenant's demo key. They are not printable by accident: no `Debug`.
#[derive(Clone)]
pub struct Tokens {
    /// Has every scope of the session, refresh-token and user endpoints, and `read:clients`.
    pub full: String,
    /// Has the scope `read:sessions` only.
    pub read_only: String,
    /// Like `full`, but expired an hour ago.
    pub expired: String,
}

/// A simulated Auth0 tenant. Clones share one state.
#[derive(Clone)]
pub struct Tenant(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) authority: Authority,
    session_id: String,
    user_id: String,
    pub(super) store: Mutex<Store>,
    client_secret: String,
    tokens: AtomicU64,
    bucket: Option<Mutex<Bucket>>,
    pub(super) counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tenant {
    /// Makes a tenant with one user who has one session. `issuer_url` is how clients reach it, for instance
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
            client_secret: URL_SAFE_NO_PAD.encode(digest(&SHA512, &random_seed)).chars().take(64).collect(),
            tokens: AtomicU64::new(0),
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

    /// ID and secret of the machine-to-machine application, for `POST /oauth/token`.
    #[must_use]
    pub fn client(&self) -> (&str, &str) {
        (CLIENT, &self.0.client_secret)
    }

    /// The audience of the Management API.
    #[must_use]
    pub fn audience(&self) -> &str {
        self.0.authority.audience()
    }

    /// A fresh token with all scopes for an application with this client ID.
    pub fn token_of(&self, client_id: &str) -> String {
        self.sign(json!({"azp": client_id, "sub": format!("{client_id}@clients")}))
    }

    /// How many tokens `POST /oauth/token` has issued.
    #[must_use]
    pub fn issued_tokens(&self) -> u64 {
        self.0.tokens.load(Ordering::Relaxed)
    }

    pub(super) fn count_token(&self) {
        self.0.tokens.fetch_add(1, Ordering::Relaxed);
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

    /// How many requests have reached `/api/v2` so far, successful or not.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.counts.lock().values().sum()
    }

    pub(super) fn authorize(&self, parts: &Parts, any_of: &[&str]) -> Result<(), ApiResponse> {
        let granted = self.0.authority.scopes(&parts.headers, SystemTime::now())?;
        if granted.iter().any(|scope| any_of.contains(&scope.as_str())) {
            return Ok(());
        }
        Err(ApiResponse::insufficient_scope(any_of))
    }

    pub(super) fn spend(&self) -> Result<Option<Quota>, Quota> {
        let Some(bucket) = &self.0.bucket else {
            return Ok(None);
        };
        bucket.lock().spend(Instant::now(), SystemTime::now()).map(Some)
    }

    pub(super) fn count(&self, operation: &'static str) {
        *self.0.counts.lock().entry(operation).or_default() += 1;
    }

    pub(super) async fn hold_back(&self, response: Response) -> Response {
        if !self.0.options.latency.is_zero() {
            tokio::time::sleep(self.0.options.latency).await;
        }
        response
    }
}
