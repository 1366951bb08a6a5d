//! The sandbox: simulated providers for demonstrations and tests. They know nothing of the gateway's tables.

pub mod auth0;
pub mod zitadel;

use auth0::{Options, Rate, Tenant, Tokens};
use axum::serve::ListenerExt;
use ring::rand::{SecureRandom, SystemRandom};
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use zitadel::Instance;

/// The rate limit of the simulated tenant: that of a private cloud with 500 requests a second (Auth0's page "Rate limit policy").
pub const TENANT_RATE: u32 = 250;

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The tenant's address cannot be bound.
    #[error("cannot listen on {address} for the simulated Auth0 tenant: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The tenant cannot be made.
    #[error("the simulated Auth0 tenant: {0}")]
    Tenant(#[from] auth0::Error),
    /// The instance's address cannot be bound.
    #[error("cannot listen on {address} for the simulated ZITADEL instance: {error}")]
    BindInstance {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The instance cannot be made.
    #[error("the simulated ZITADEL instance: {0}")]
    Instance(#[from] zitadel::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A simulated Auth0 tenant that answers.
pub struct Auth0 {
    tenant: Tenant,
    address: SocketAddr,
}

impl Auth0 {
    /// Starts a tenant on this address, on the tokio runtime that this is called in. It allows `rate` requests a second.
    pub async fn start(address: SocketAddr, rate: Option<u32>) -> Result<Auth0, SandboxError> {
        let rate = rate.map(|rate| Rate { burst: rate, per_second: rate });
        Auth0::start_with(address, Options { rate, ..Options::default() }).await
    }

    /// The same, with all options.
    pub async fn start_with(address: SocketAddr, options: Options) -> Result<Auth0, SandboxError> {
        let bind = |error| SandboxError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SandboxError::Random)?;
        let tenant = Tenant::new(&format!("http://{address}"), options, seed)?;
        tokio::spawn(axum::serve(listener, tenant.router()).into_future());
        Ok(Auth0 { tenant, address })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The tenant itself.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Its tokens.
    pub fn tokens(&self) -> Tokens {
        self.tenant.tokens()
    }
}

/// A simulated ZITADEL instance that answers, over HTTP/1.1 and over HTTP/2 without TLS.
pub struct Zitadel {
    instance: Instance,
    address: SocketAddr,
}

impl Zitadel {
    /// Starts an instance on this address, on the tokio runtime that this is called in.
    pub async fn start(address: SocketAddr) -> Result<Zitadel, SandboxError> {
        Zitadel::start_with(address, zitadel::Options::default()).await
    }

    /// The same, with options.
    pub async fn start_with(address: SocketAddr, options: zitadel::Options) -> Result<Zitadel, SandboxError> {
        let bind = |error| SandboxError::BindInstance { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SandboxError::Random)?;
        let instance = Instance::new(&format!("http://{address}"), options, seed)?;
        // Small frames one after another would otherwise wait for acknowledgements.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(axum::serve(listener, instance.router()).into_future());
        Ok(Zitadel { instance, address })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The instance itself.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Its tokens.
    pub fn tokens(&self) -> zitadel::Tokens {
        self.instance.tokens()
    }
}

/// The variables that the configuration of the sandbox takes its secrets from.
pub const HASH_KEY: &str = "SESSIONGATE_SANDBOX_HASH_KEY";
/// See [`HASH_KEY`].
pub const SEAL_KEY: &str = "SESSIONGATE_SANDBOX_SEAL_KEY";

/// A configuration of the gateway before both providers, which it tells apart by path.
pub fn configuration(
    listen: SocketAddr,
    admin: SocketAddr,
    auth0: &Auth0,
    zitadel: &Zitadel,
    store: Option<&str>,
) -> String {
    let (auth0, zitadel) = (auth0.url(), zitadel.url());
    let store = store.map(|url| {
        let (hash, seal) = (HASH_KEY, SEAL_KEY);
        format!("hash_key: {{ env: {hash} }}\nstore: {{ redis: {{ url: {url:?}, seal_keys: [{{ env: {seal} }}] }} }}\n")
    });
    let store = store.unwrap_or_default();
    format!(
        "listen: {listen}
admin: {admin}
log: {{ format: text }}
upstreams:
  auth0:
    dialect: auth0
    url: {auth0}
    match: {{ path_prefix: /api }}
    auth: {{ issuer: {auth0}/, audience: {auth0}/api/v2/ }}
    cache: {{ ttl: 30s }}
    policy: sandbox
  zitadel:
    dialect: zitadel
    url: {zitadel}
    auth: forward
    cache: {{ ttl: 30s }}
    policy: sandbox_login
policies:
  sandbox:
    fields: &fields
      tier: {{ one_of: [free, pro, enterprise] }}
    normalize: {{ unicode: nfc, trim: true }}
  sandbox_login:
    fields: *fields
    lifetime: {{ max: 12h, outside: clamp }}
    challenges: {{ return_code: refuse, url_template: {{ hosts: [login.example.com] }} }}
{store}"
    )
}

/// The line that `--json` prints.
pub fn json_line(gateway: SocketAddr, admin: SocketAddr, auth0: &Auth0, zitadel: &Zitadel) -> String {
    let tokens = auth0.tokens();
    let (instance, owners) = (zitadel.instance(), zitadel.tokens());
    serde_json::json!({
        "gateway": format!("http://{gateway}"),
        "admin": format!("http://{admin}"),
        "auth0": {
            "upstream": auth0.url(),
            "token": tokens.full,
            "read_only_token": tokens.read_only,
            "expired_token": tokens.expired,
            "session_id": auth0.tenant().session_id(),
            "user_id": auth0.tenant().user_id(),
        },
        "zitadel": {
            "upstream": zitadel.url(),
            "token": owners.owner,
            "jwt": owners.jwt,
            "session_id": instance.session_id(),
            "session_token": instance.session_token(instance.session_id()),
            "user_id": instance.user_id(),
        },
    })
    .to_string()
}

/// What a newcomer wants to see, as commands to copy.
pub fn tour(gateway: SocketAddr, admin: SocketAddr, auth0: &Auth0, zitadel: &Zitadel) -> String {
    let token = auth0.tokens().full;
    let id = auth0.tenant().session_id().to_owned();
    let upstream = auth0.url();
    let (instance, owner, session) = (zitadel.url(), zitadel.tokens().owner, zitadel.instance().session_id());
    format!(
        r#"sessiongate sandbox
  gateway  http://{gateway}        a simulated Auth0 tenant and a simulated ZITADEL stand behind it
  tenant   {upstream}        the same API without the gateway
  zitadel  {instance}        ZITADEL's session service without the gateway
  admin    http://{admin}        /livez /readyz /metrics

Copy this into another terminal:

export TOKEN={token}
export SESSION=http://{gateway}/api/v2/sessions/{id}
alias call='curl -sS -H "Authorization: Bearer $TOKEN"'

# 1. a good change: 200, and the session as it is now
call -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"pro"}}}}' $SESSION; echo

# 2. a change that the policy refuses, and why: the tenant never sees it
call -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"gold","n":1}}}}' $SESSION; echo

# 3. a cached read: the second one says `cache-status: sessiongate; hit`
call -o /dev/null -D - $SESSION; call -o /dev/null -D - $SESSION | grep -i -e cache-status -e '^age'

# 4. a fresh read after a change: the new tier at once, although the old answer was cached
call -o /dev/null -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"free"}}}}' $SESSION; call $SESSION | grep -o '"tier":"[a-z]*"'

# 5. a burst of reads after a change: 50 answers, one call to the tenant
call -o /dev/null -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"pro"}}}}' $SESSION
calls() {{ curl -sS {upstream}/sandbox/stats | grep -o '"calls":[0-9]*' | cut -d: -f2; }}; before=$(calls)
(for i in $(seq 50); do call -o /dev/null $SESSION & done; wait); echo "calls to the tenant: $(( $(calls) - before ))"

# 6. ZITADEL: the same rule refuses the same change as a resource of REST and as a call of Connect (Z29sZA== is `gold`)
alias zcall='curl -sS -H "Authorization: Bearer {owner}" -H "Content-Type: application/json"'
zcall -X PATCH -d '{{"metadata":{{"tier":"Z29sZA=="}}}}' http://{gateway}/v2/sessions/{session}; echo
zcall -d '{{"sessionId":"{session}","metadata":{{"tier":"Z29sZA=="}}}}' http://{gateway}/zitadel.session.v2.SessionService/SetSession; echo

Stop it with Ctrl-C.
"#
    )
}
