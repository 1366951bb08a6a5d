//! The sandbox: simulated providers for demonstrations and tests. They know nothing of the gateway's tables.

pub mod auth0;
mod clock;
pub mod okta;
pub mod zitadel;

use auth0::{Options, Rate, Tenant, Tokens};
use axum::serve::ListenerExt;
use ring::rand::{SecureRandom, SystemRandom};
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use zitadel::Instance;

/// The rate limit of the simulated tenant: that of a private cloud with 500 requests a second (Auth0's page "Rate limit
/// policy").
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
    #[error("the system random number generator failed")]
    Random,
}

/// A simulated Auth0 tenant that listens.
pub struct Auth0 {
    tenant: Tenant,
    address: SocketAddr,
}

impl Auth0 {
    /// Starts a tenant on this address, on the tokio runtime that this is called in. It allows `rate` requests a
    /// second.
    pub async fn start(address: SocketAddr, rate: Option<u32>) -> Result<Auth0, SandboxError> {
        let rate = rate.map(|rate| Rate { burst: rate, per_second: rate });
        Auth0::start_with(address, Options { rate, ..Options::default() }).await
    }

    /// Starts a tenant with all options.
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

    /// The URL to reach it at.
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

/// A simulated ZITADEL instance that listens, for HTTP/1.1 and for HTTP/2 without TLS.
pub struct Zitadel {
    instance: Instance,
    address: SocketAddr,
}

impl Zitadel {
    /// Starts an instance on this address, on the tokio runtime that this is called in.
    pub async fn start(address: SocketAddr) -> Result<Zitadel, SandboxError> {
        Zitadel::start_with(address, zitadel::Options::default()).await
    }

    /// Starts an instance with options.
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

    /// The URL to reach it at.
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

/// The environment variable with the hash key of the sandbox's configuration.
pub const HASH_KEY: &str = "SESSIONGATE_SANDBOX_HASH_KEY";
/// The environment variable with the seal key of the sandbox's configuration.
pub const SEAL_KEY: &str = "SESSIONGATE_SANDBOX_SEAL_KEY";

/// The path prefix of the instance whose tokens the gateway verifies.
pub const VERIFIED: &str = "/verified";

/// The addresses of the gateway's listeners.
#[derive(Debug, Clone, Copy)]
pub struct Listeners {
    /// Requests.
    pub gateway: SocketAddr,
    /// Probes and metrics.
    pub admin: SocketAddr,
    /// Commands.
    pub control: SocketAddr,
}

/// The simulated providers behind the gateway.
pub struct Providers {
    /// The tenant.
    pub auth0: Auth0,
    /// An instance that verifies its callers' tokens itself.
    pub zitadel: Zitadel,
    /// An instance whose JWTs the gateway verifies.
    pub verified: Zitadel,
}

impl Providers {
    /// A configuration of the gateway in front of them. It selects the upstream by path prefix.
    pub fn configuration(&self, listeners: Listeners, store: Option<&str>) -> String {
        let Listeners { gateway, admin, control } = listeners;
        let (auth0, zitadel, verified) = (self.auth0.url(), self.zitadel.url(), self.verified.url());
        let audience = self.verified.instance().audience();
        let store = store.map(|url| {
            let (hash, seal) = (HASH_KEY, SEAL_KEY);
            format!(
                "hash_key: {{ env: {hash} }}\nstore: {{ redis: {{ url: {url:?}, seal_keys: [{{ env: {seal} }}] }} }}\n"
            )
        });
        let store = store.unwrap_or_default();
        format!(
            "listen: {gateway}
admin: {admin}
control: {control}
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
  verified:
    dialect: zitadel
    url: {verified}
    match: {{ path_prefix: {VERIFIED}, strip_prefix: true }}
    auth: {{ issuer: {verified}, audience: {audience:?}, algorithms: [ES256], opaque: forward }}
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
    challenges: {{ return_code: reject, url_template: {{ hosts: [login.example.com] }} }}
{store}"
        )
    }

    /// The line that `sandbox --json` prints.
    pub fn json_line(&self, Listeners { gateway, admin, control }: Listeners) -> String {
        let (auth0, tokens) = (&self.auth0, self.auth0.tokens());
        serde_json::json!({
            "gateway": format!("http://{gateway}"),
            "admin": format!("http://{admin}"),
            "control": format!("http://{control}"),
            "auth0": {
                "upstream": auth0.url(),
                "token": tokens.full,
                "read_only_token": tokens.read_only,
                "expired_token": tokens.expired,
                "session_id": auth0.tenant().session_id(),
                "user_id": auth0.tenant().user_id(),
            },
            "zitadel": described(&self.zitadel),
            "zitadel_verified": {
                "prefix": VERIFIED,
                "instance": described(&self.verified),
                "id_token": self.verified.instance().id_token(self.verified.instance().session_id()),
            },
        })
        .to_string()
    }

    /// A guided tour: commands to copy into a terminal.
    pub fn tour(&self, Listeners { gateway, admin, control }: Listeners) -> String {
        let (auth0, zitadel, verified) = (self.auth0.url(), self.zitadel.url(), self.verified.url());
        let tours = [
            auth0_tour(gateway, &self.auth0),
            zitadel_tour(gateway, &self.zitadel),
            verified_tour(gateway, &self.verified),
            purge_tour(control),
        ];
        format!(
            "sessiongate sandbox
  gateway  http://{gateway}        a simulated Auth0 tenant and two simulated ZITADELs are behind it
  tenant   {auth0}        the same API without the gateway
  zitadel  {zitadel}        ZITADEL's session service without the gateway
  verified {verified}        a second ZITADEL: the gateway verifies its JWTs, below {VERIFIED}
  admin    http://{admin}        /livez /readyz /metrics
  control  http://{control}        /cache/purge

Copy this into another terminal:

{}
Stop it with Ctrl-C.
",
            tours.concat()
        )
    }
}

fn described(zitadel: &Zitadel) -> serde_json::Value {
    let (instance, owners) = (zitadel.instance(), zitadel.tokens());
    serde_json::json!({
        "upstream": zitadel.url(),
        "token": owners.owner,
        "jwt": owners.jwt,
        "session_id": instance.session_id(),
        "session_token": instance.session_token(instance.session_id()),
        "user_id": instance.user_id(),
    })
}

fn auth0_tour(gateway: SocketAddr, auth0: &Auth0) -> String {
    let (token, id, upstream) = (auth0.tokens().full, auth0.tenant().session_id(), auth0.url());
    format!(
        r#"export TOKEN={token}
export SESSION=http://{gateway}/api/v2/sessions/{id}
alias call='curl -sS -H "Authorization: Bearer $TOKEN"'

# 1. a valid change: 200, and the changed session
call -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"pro"}}}}' $SESSION; echo

# 2. a change that the policy rejects, with the reasons; it is not sent to the tenant
call -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"gold","n":1}}}}' $SESSION; echo

# 3. a cached read: the second response has `cache-status: sessiongate; hit`
call -o /dev/null -D - $SESSION; call -o /dev/null -D - $SESSION | grep -i -e cache-status -e '^age'

# 4. a fresh read after a change: the new tier at once, although the old response was cached
call -o /dev/null -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"free"}}}}' $SESSION; call $SESSION | grep -o '"tier":"[a-z]*"'

# 5. a burst of reads after a change: 50 responses, one request to the tenant
call -o /dev/null -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"pro"}}}}' $SESSION
calls() {{ curl -sS {upstream}/sandbox/stats | grep -o '"calls":[0-9]*' | cut -d: -f2; }}; before=$(calls)
(for i in $(seq 50); do call -o /dev/null $SESSION & done; wait); echo "calls to the tenant: $(( $(calls) - before ))"

"#
    )
}

fn zitadel_tour(gateway: SocketAddr, zitadel: &Zitadel) -> String {
    let (owner, session) = (zitadel.tokens().owner, zitadel.instance().session_id().to_owned());
    format!(
        r#"# 6. ZITADEL: the same rule rejects the same change over REST and over Connect (Z29sZA== is `gold`)
alias zcall='curl -sS -H "Authorization: Bearer {owner}" -H "Content-Type: application/json"'
zcall -X PATCH -d '{{"metadata":{{"tier":"Z29sZA=="}}}}' http://{gateway}/v2/sessions/{session}; echo
zcall -d '{{"sessionId":"{session}","metadata":{{"tier":"Z29sZA=="}}}}' http://{gateway}/zitadel.session.v2.SessionService/SetSession; echo

"#
    )
}

/// Two sessions of one user: a logout ends the first, and locking the user ends the other.
fn verified_tour(gateway: SocketAddr, verified: &Zitadel) -> String {
    let (instance, jwt) = (verified.instance(), verified.tokens().jwt);
    let (first, second) = (instance.session_id(), instance.create_session().id);
    let (user, hint) = (instance.user_id(), instance.id_token(first));
    format!(
        r#"# 7. ZITADEL, with a JWT that the gateway verifies: after a logout by ID token, reads of its session are misses
export VERIFIED=http://{gateway}{VERIFIED}
alias vcall='curl -sS -o /dev/null -H "Authorization: Bearer {jwt}"'
read_twice() {{ vcall $1; vcall -D - $1 | grep -i cache-status; }}; read_twice $VERIFIED/v2/sessions/{first}
vcall "$VERIFIED/oidc/v1/end_session?id_token_hint={hint}"; vcall -D - $VERIFIED/v2/sessions/{first} | grep -i cache-status

# 8. locking the user ends the other session: the next read of it is a miss
read_twice $VERIFIED/v2/sessions/{second}
vcall -X POST $VERIFIED/v2/users/{user}/lock; vcall -D - $VERIFIED/v2/sessions/{second} | grep -i cache-status
"#
    )
}

fn purge_tour(control: SocketAddr) -> String {
    format!(
        r#"
# 9. a purge, for changes that bypass the gateway: the next read is a miss (`sessiongate purge --control {control} --upstream auth0`)
purge() {{ curl -sS -H 'Content-Type: application/json' -d '{{"upstream":"auth0"}}' http://{control}/cache/purge; echo; }}
call -o /dev/null $SESSION; purge; call -o /dev/null -D - $SESSION | grep -i cache-status
"#
    )
}
