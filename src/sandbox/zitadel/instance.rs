//! The instance: its options, its state, and the checks of host and caller.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::api_application::ApiApplication;
use super::authority::{Authority, Caller, PROJECT, bearer};
use super::call::{Rpc, Version};
use super::error::{ApiError, Code};
use super::header;
use super::json::Scalar;
use super::messages::Factor;
use super::origin::Origin;
use super::store::{Mail, Random, Record, State, Store, timestamp};
use crate::sandbox::clock::unix_seconds;

/// The client ID of the owner.
const CLIENT_ID: &str = "session-service";
/// The same for opaque tokens.
const OPAQUE_CLIENT_ID: &str = "session-service-opaque";

/// How the simulated instance behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A delay of every response (zero by default). The request is executed first, so a response can be older than a
    /// change that was made after it.
    pub latency: Duration,
    /// Domains of the instance besides its own address: hosts with ports, such as that of a gateway in front of it.
    pub domains: Vec<String>,
    /// Whether every host counts as a domain of the instance. Tokens of its own issuer are then valid at every host.
    pub any_domain: bool,
    /// Where clients reach the instance, if it is not at its own address: the issuer of its tokens, and a domain.
    pub external_url: Option<String>,
    /// How many wrong passwords lock the user; unlimited by default.
    pub password_attempts: Option<i32>,
}

/// Tokens to call the instance with. They are not printable by accident: no `Debug`.
#[derive(Clone)]
pub struct Tokens {
    /// Personal access token of an instance owner, who may read and write everything.
    pub owner: String,
    /// An access token of the owner that is a JWT, signed with the instance's key.
    pub jwt: String,
    /// Like `jwt`, but expired an hour ago.
    pub expired: String,
    /// Personal access token of a user who may read everything and change nothing.
    pub viewer: String,
    /// Personal access token of a user without any membership.
    pub no_membership: String,
}

/// A session that a test created without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// Its token, valid until the next change.
    pub token: String,
}

/// Why an instance cannot be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A URL is not `http://` or `https://` followed by a host, without a path.
    Url,
    /// The signing key cannot be generated.
    Key,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Url => "the URL must be http:// or https:// and a host, without a path",
            Self::Key => "cannot generate a signing key",
        })
    }
}

impl std::error::Error for Error {}

/// A simulated ZITADEL instance. Clones share one state.
#[derive(Clone)]
pub struct Instance(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) options: Options,
    /// The URL that clients use: the issuer.
    pub(super) url: String,
    domains: Vec<String>,
    pub(super) authority: Authority,
    pub(super) api: ApiApplication,
    client_secret: String,
    first: String,
    store: Mutex<Store>,
    pub(super) calls: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) executed: Mutex<BTreeMap<&'static str, u64>>,
}

impl Instance {
    /// Makes an instance with one user who has one session. `url` is its own address, for instance
    /// `http://127.0.0.1:8080`. The same `random_seed` gives the same ids.
    ///
    /// # Errors
    /// If a URL has the wrong form or the signing key cannot be generated.
    pub fn new(url: &str, options: Options, random_seed: [u8; 32]) -> Result<Self, Error> {
        let own = host(url)?;
        let external = options.external_url.clone().unwrap_or_else(|| url.to_owned());
        let mut domains = options.domains.clone();
        domains.extend([own.to_owned(), host(&external)?.to_owned()]);
        domains.extend(own.rsplit_once(':').map(|(_, port)| format!("localhost:{port}")));
        let mut random = Random::new(random_seed);
        let authority = Authority::new(&mut random).ok_or(Error::Key)?;
        let client_secret = random.text(64);
        let api = ApiApplication::new(&mut random).ok_or(Error::Key)?;
        let mut store = Store::new(random);
        store.password_attempts = options.password_attempts;
        let first = make_session(&mut store, &authority.owner.user_id).id;
        Ok(Self(Arc::new(Shared {
            url: external.trim_end_matches('/').to_owned(),
            domains,
            authority,
            api,
            client_secret,
            first,
            store: Mutex::new(store),
            calls: Mutex::default(),
            executed: Mutex::default(),
            options,
        })))
    }

    /// Fresh tokens to call the instance with.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let authority = &self.0.authority;
        let now = unix_seconds(SystemTime::now());
        let past = json!({"iat": now.saturating_sub(46_800), "exp": now.saturating_sub(3_600)});
        Tokens {
            owner: authority.owner.token.clone(),
            jwt: self.sign(json!({})),
            expired: self.sign(past),
            viewer: authority.viewer.token.clone(),
            no_membership: authority.stranger.token.clone(),
        }
    }

    /// Signs an access token: the claims are laid over those of the owner's token, and a `null` removes a claim.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        self.sign_at(&self.0.url, claims)
    }

    /// The same for an issuer: one of the origins of the instance.
    pub(super) fn sign_at(&self, issuer: &str, claims: Value) -> String {
        self.0.authority.sign(issuer, claims, SystemTime::now())
    }

    /// ID and secret of the owner, a machine user, for `POST /oauth/v2/token`: the ID is the login name.
    #[must_use]
    pub fn client(&self) -> (&str, &str) {
        (CLIENT_ID, &self.0.client_secret)
    }

    /// The client ID of a machine user with the same secret whose access tokens are opaque (access token type
    /// *Bearer*).
    #[must_use]
    pub fn opaque_client_id(&self) -> &'static str {
        OPAQUE_CLIENT_ID
    }

    /// The application that may introspect tokens.
    #[must_use]
    pub fn api_application(&self) -> &ApiApplication {
        &self.0.api
    }

    /// A new opaque access token of the owner, for an issuer: one of the origins of the instance.
    pub(super) fn issue_opaque(&self, issuer: &str, claims: Value) -> String {
        let claims = self.0.authority.claims(issuer, claims, SystemTime::now());
        let mut store = self.store();
        let token = store.random.text(60);
        store.opaque.insert(token.clone(), claims);
        token
    }

    /// Whether clients know the instance by https (ZITADEL's `ExternalSecure`).
    pub(super) fn is_secure(&self) -> bool {
        self.0.url.starts_with("https://")
    }

    /// An ID token of the user for a session, as an application has it: expired.
    #[must_use]
    pub fn id_token(&self, session_id: &str) -> String {
        let now = unix_seconds(SystemTime::now());
        let (iat, exp) = (now.saturating_sub(90_000), now.saturating_sub(46_800));
        let audience = ["310000000000000003"];
        self.sign(json!({
            "sub": self.user_id(), "sid": session_id, "aud": audience, "iat": iat, "exp": exp, "nbf": null, "jti": null,
        }))
    }

    /// The issuer of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.url
    }

    /// The audience that its tokens have: the id of its own project.
    #[must_use]
    pub fn audience(&self) -> &'static str {
        PROJECT
    }

    /// The id of the session that exists from the start.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.0.first
    }

    /// The token of a session as it is now.
    #[must_use]
    pub fn session_token(&self, id: &str) -> Option<String> {
        self.store().sessions.get(id)?.token.clone()
    }

    /// The id of the user who can log in.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.store().user.id.clone()
    }

    /// The login name of the user who can log in.
    #[must_use]
    pub fn login_name(&self) -> String {
        self.store().user.login_name.clone()
    }

    /// The id of the one organization, which `x-zitadel-orgid` may name.
    #[must_use]
    pub fn org_id(&self) -> String {
        self.store().org_id.clone()
    }

    /// Logs the user in once more.
    #[must_use]
    pub fn create_session(&self) -> Made {
        make_session(&mut self.store(), &self.0.authority.owner.user_id)
    }

    /// A session as GetSession shows it, in JSON.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<Value> {
        self.store().visible(id).map(|record| record.session(Version::V2).write())
    }

    /// The metadata of a session.
    #[must_use]
    pub fn metadata(&self, id: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.store().visible(id).map(|record| record.metadata.clone())
    }

    /// The mails that were sent, the oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.store().mails.clone()
    }

    /// Changes the user's password: sessions lose that factor, and their sequences stay.
    pub fn change_password(&self) {
        for record in self.store().sessions.values_mut() {
            record.factors.password = None;
        }
    }

    /// Deactivates the user, which removes the user's sessions.
    pub fn deactivate_user(&self) {
        self.store().forget_user();
    }

    /// How many requests have reached a procedure so far, successful or not.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.lock().values().sum()
    }

    /// How often a procedure, such as `SetSession`, was executed: its caller was accepted and its request was valid.
    #[must_use]
    pub fn executed(&self, procedure: &str) -> u64 {
        self.0.executed.lock().get(procedure).copied().unwrap_or_default()
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock()
    }

    pub(super) fn count_call(&self, rpc: Rpc) {
        *self.0.calls.lock().entry(rpc.name()).or_default() += 1;
    }

    pub(super) fn count_executed(&self, rpc: Rpc) {
        *self.0.executed.lock().entry(rpc.name()).or_default() += 1;
    }

    pub(super) fn knows_domain(&self, host: &str) -> bool {
        self.0.options.any_domain || self.0.domains.iter().any(|domain| domain == host)
    }

    /// Checks the host of a request, and gives its caller.
    pub(super) fn admit(&self, origin: &Origin, metadata: &HeaderMap, now: SystemTime) -> Result<Caller, ApiError> {
        origin.check(|host| self.knows_domain(host))?;
        let header = metadata.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let caller = self.caller(bearer(header)?, origin, now)?;
        match header::text(metadata, "x-zitadel-orgid") {
            "" => Ok(caller),
            org if org == self.store().org_id => Ok(caller),
            _ => Err(ApiError::new(Code::PermissionDenied, "AUTH-Bs7Ds", "Organisation doesn't exist")),
        }
    }

    fn caller(&self, token: &str, origin: &Origin, now: SystemTime) -> Result<Caller, ApiError> {
        let lenient = self.0.options.any_domain;
        // A JWT is valid only at its issuer: the origin of the request.
        let issued_here = |issuer: &str| issuer == origin.url || (lenient && issuer == self.0.url);
        if let Some(caller) = self.0.authority.caller(token, now, issued_here) {
            return Ok(caller);
        }
        let store = self.store();
        let opaque = store.opaque.get(token);
        if let Some(caller) = opaque.and_then(|claims| self.0.authority.caller_of(claims, now, issued_here)) {
            return Ok(caller);
        }
        let session = store.sessions.values().find(|record| record.has_token(token) && !record.gone);
        match session.and_then(|record| Some((record, record.user_id()?))) {
            Some((record, _)) if record.expired(now) => {
                Err(ApiError::new(Code::PermissionDenied, "AUTHZ-EGDo3", "session expired"))
            }
            Some((_, user_id)) => Ok(self.0.authority.user(user_id)),
            None => Err(ApiError::new(Code::Unauthenticated, "AUTH-7fs1e", "Errors.Token.Invalid")),
        }
    }
}

/// A session of the user who can log in, with the password checked.
fn make_session(store: &mut Store, creator: &str) -> Made {
    let now = SystemTime::now();
    let id = store.random.id();
    let mut record = Record::new(&id, State::Active, creator, now);
    record.factors.user = Some(store.user_factor(now));
    record.factors.password = Some(Factor { verified_at: Some(timestamp(now)) });
    record.sequence = 4;
    let token = store.renew_token(&mut record);
    store.sessions.insert(id.clone(), record);
    Made { id, token }
}

/// The host, with its port, of a URL without a path.
fn host(url: &str) -> Result<&str, Error> {
    let base = url.strip_suffix('/').unwrap_or(url);
    let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")).ok_or(Error::Url)?;
    if host.is_empty() || host.contains(['/', '?', '#']) { Err(Error::Url) } else { Ok(host) }
}
