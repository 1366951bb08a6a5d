//! The simulated providers of the sandbox, and the configuration of the gateway in front of them.

use super::auth0;
use super::certificate::{AUTHORITY_FILE, CERTIFICATE_FILE, Certificate, KEY_FILE};
use super::listening::{Auth0, SandboxError, Zitadel};
use super::zitadel;
use std::net::SocketAddr;

/// The environment variable with the hash key of the sandbox's configuration.
pub const HASH_KEY: &str = "SESSIONGATE_SANDBOX_HASH_KEY";
/// The environment variable with the seal key of the sandbox's configuration.
pub const SEAL_KEY: &str = "SESSIONGATE_SANDBOX_SEAL_KEY";

/// The environment variable with the secret with which the gateway introspects opaque tokens.
pub const INTROSPECTION_SECRET: &str = "SESSIONGATE_SANDBOX_INTROSPECTION_SECRET";

/// The path prefix of the instance whose tokens the gateway verifies.
pub const VERIFIED: &str = "/verified";

/// The path prefix under which three applications have different grants at the tenant.
pub const APPLICATIONS: &str = "/apps";

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
    /// An instance whose JWTs the gateway verifies, and whose opaque tokens it introspects.
    pub verified: Zitadel,
    /// Whether they, and the gateway in front of them, have TLS.
    pub(super) tls: bool,
}

/// Where the simulated providers listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The tenant.
    pub auth0: SocketAddr,
    /// The instance that verifies its callers' tokens itself.
    pub zitadel: SocketAddr,
    /// The instance whose JWTs the gateway verifies.
    pub verified: SocketAddr,
}

impl Providers {
    /// Starts them, on the tokio runtime that this is called in; with TLS if they have a certificate. `rate` is how
    /// many requests a second the tenant allows.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub async fn start(
        addresses: Addresses,
        rate: Option<u32>,
        certificate: Option<&Certificate>,
    ) -> Result<Providers, SandboxError> {
        let rate = rate.map(|rate| auth0::Rate { burst: rate, per_second: rate });
        let tenant = auth0::Options { rate, ..auth0::Options::default() };
        let instance = zitadel::Options::default;
        Ok(Providers {
            auth0: Auth0::start(addresses.auth0, tenant, certificate).await?,
            zitadel: Zitadel::start(addresses.zitadel, instance(), certificate).await?,
            verified: Zitadel::start(addresses.verified, instance(), certificate).await?,
            tls: certificate.is_some(),
        })
    }

    /// A configuration of the gateway in front of them. It selects the upstream by path prefix: what no prefix matches
    /// is for the first ZITADEL. A gateway in front of one provider needs no upstream for its token endpoint.
    pub fn configuration(&self, listeners: Listeners, store: Option<&str>) -> String {
        let Listeners { gateway, admin, control } = listeners;
        let (auth0, zitadel, verified) = (self.auth0.url(), self.zitadel.url(), self.verified.url());
        let audience = self.verified.instance().audience();
        let introspection = format!(
            "{{ url: {verified}/oauth/v2/introspect, client_id: {:?}, client_secret: {{ env: {INTROSPECTION_SECRET} }} }}",
            self.verified.instance().api_application().client_id
        );
        let (listen, mut tls, keys) = if self.tls { with_tls(gateway) } else { without_tls(gateway) };
        if store.is_some() {
            tls += SHORT_TIMEOUTS;
        }
        let store = store.map(stored).unwrap_or_default();
        format!(
            "{listen}
admin: {admin}
control: {control}
log: {{ format: text }}
upstreams:
  auth0:
    dialect: auth0
    url: {auth0}
    match: {{ path_prefix: /api }}
    {tls}
    auth: {{ issuer: {auth0}/, audience: {auth0}/api/v2/{keys} }}
    cache: {{ ttl: 30s }}
    policy: sandbox
  applications:
    dialect: auth0
    url: {auth0}
    match: {{ path_prefix: {APPLICATIONS}, strip_prefix: true }}
    {tls}
    auth: {{ issuer: {auth0}/, audience: {auth0}/api/v2/{keys} }}
    cache: {{ ttl: 30s }}
    policy: sandbox
    grants:
      - {{ name: shop, callers: {{ client_id: shop }}, operations: [read_session, update_session], keys: {{ own: [\"cart_*\"] }} }}
      - {{ name: crm, callers: {{ client_id: crm }}, operations: [read_session, update_session], keys: {{ own: [\"team_*\"] }} }}
      - {{ name: support, callers: {{ client_id: support }}, operations: [read_session], dropped: [device.initial_ip, device.last_ip] }}
  auth0_oauth:
    dialect: auth0
    url: {auth0}/oauth
    match: {{ path_prefix: /oauth, strip_prefix: true }}
    {tls}
    auth: none
  zitadel_oauth:
    dialect: zitadel
    url: {zitadel}/oauth/v2
    match: {{ path_prefix: /oauth/v2, strip_prefix: true }}
    {tls}
    auth: none
  zitadel:
    dialect: zitadel
    url: {zitadel}
    {tls}
    auth: forward
    cache: {{ ttl: 30s }}
    policy: sandbox_login
  verified:
    dialect: zitadel
    url: {verified}
    match: {{ path_prefix: {VERIFIED}, strip_prefix: true }}
    {tls}
    auth: {{ issuer: {verified}, audience: {audience:?}, algorithms: [ES256], introspection: {introspection}{keys} }}
    cache: {{ ttl: 30s }}
    policy: sandbox_login
{POLICIES}{store}"
        )
    }
}

/// On a Redis that was just started, no key that an application owns is written until the longest write must have
/// ended: see docs/operations/redis.md.
const SHORT_TIMEOUTS: &str = "\n    timeouts: { connect: 500ms, first_byte: 2s }";

/// The configuration's listener, and what it says of TLS in an upstream and of keys.
type Transport = (String, String, String);

fn without_tls(gateway: SocketAddr) -> Transport {
    (format!("listen: {gateway}"), String::new(), String::new())
}

fn with_tls(gateway: SocketAddr) -> Transport {
    let own = format!("{{ certificate: {CERTIFICATE_FILE}, key: {KEY_FILE} }}");
    let listener = format!("listeners: {{ main: {{ address: \"{gateway}\", tls: {{ certificates: [{own}] }} }} }}");
    (listener, format!("tls: {{ ca_file: {AUTHORITY_FILE} }}"), format!(", ca_file: {AUTHORITY_FILE}"))
}

/// A Redis as the store, with the keys that it needs.
fn stored(url: &str) -> String {
    let seal_keys = format!("[{{ env: {SEAL_KEY} }}]");
    format!("hash_key: {{ env: {HASH_KEY} }}\nstore: {{ redis: {{ url: {url:?}, seal_keys: {seal_keys} }} }}\n")
}

const POLICIES: &str = "\
policies:
  sandbox:
    fields: &fields
      tier: { one_of: [free, pro, enterprise] }
    normalize: { unicode: nfc, trim: true }
  sandbox_login:
    fields: *fields
    lifetime: { max: 12h, outside: clamp }
    challenges: { return_code: reject, url_template: { hosts: [login.example.com] } }
";
