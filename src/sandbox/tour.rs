//! What the sandbox prints: addresses, credentials, and commands to try.

use super::listening::{Auth0, Zitadel};
use super::providers::{APPLICATIONS, Listeners, Providers, VERIFIED};
use std::net::SocketAddr;
use std::path::Path;

/// Two applications that write in turn. The guide shows it too.
const OWNERS: &str = include_str!("owners.mjs");

/// Where clients reach the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    /// The addresses of the gateway.
    pub listeners: Listeners,
    /// The file of the certificate authority, if the sandbox has TLS.
    pub ca_file: Option<&'a Path>,
}

impl Reached<'_> {
    /// The URL of the gateway.
    fn gateway(&self) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.listeners.gateway)
    }

    /// curl, with what it needs to reach the sandbox. The file is named in the variable `CA`.
    fn curl(&self) -> &'static str {
        if self.ca_file.is_some() { r#"curl -sS --cacert "$CA""# } else { "curl -sS" }
    }

    /// What the commands begin with.
    fn preamble(&self) -> String {
        self.ca_file.map(|path| format!("export CA={}\n", quoted(&path.display().to_string()))).unwrap_or_default()
    }
}

/// A text as a word of the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl Providers {
    /// The line that `sandbox --json` prints.
    pub fn json_line(&self, reached: Reached<'_>) -> String {
        let Listeners { admin, control, .. } = reached.listeners;
        let (auth0, tokens) = (&self.auth0, self.auth0.tokens());
        let (client_id, client_secret) = auth0.tenant().client();
        let mut line = serde_json::json!({
            "gateway": reached.gateway(),
            "admin": format!("http://{admin}"),
            "control": format!("http://{control}"),
            "auth0": {
                "upstream": auth0.url(),
                "audience": auth0.tenant().audience(),
                "client_id": client_id,
                "client_secret": client_secret,
                "token": tokens.full,
                "read_only_token": tokens.read_only,
                "expired_token": tokens.expired,
                "session_id": auth0.tenant().session_id(),
                "user_id": auth0.tenant().user_id(),
            },
            "applications": { "prefix": APPLICATIONS, "tokens": application_tokens(auth0) },
            "zitadel": described(&self.zitadel),
            "zitadel_verified": {
                "prefix": VERIFIED,
                "introspection": introspection(&self.verified),
                "instance": described(&self.verified),
                "id_token": self.verified.instance().id_token(self.verified.instance().session_id()),
            },
        });
        if let (Some(path), Some(line)) = (reached.ca_file, line.as_object_mut()) {
            line.insert("ca_file".to_owned(), path.display().to_string().into());
        }
        line.to_string()
    }

    /// A guided tour: commands to copy into a terminal.
    pub fn tour(&self, reached: Reached<'_>) -> String {
        let Listeners { admin, control, .. } = reached.listeners;
        let (auth0, zitadel, verified) = (self.auth0.url(), self.zitadel.url(), self.verified.url());
        let tours = [
            reached.preamble(),
            auth0_tour(reached, &self.auth0),
            zitadel_tour(reached, &self.zitadel),
            verified_tour(reached, &self.verified),
            purge_tour(control),
            credentials_tour(reached, &self.auth0),
            own_gateway_tour(reached, &self.auth0),
            applications_tour(reached, &self.auth0),
            owners_tour(reached, &self.auth0),
            self.sdk_variables(reached),
        ];
        let gateway = reached.gateway();
        let authority = reached.ca_file.map_or_else(String::new, |path| {
            format!("  ca       {}        the certificate authority that clients have to trust\n", path.display())
        });
        format!(
            "sessiongate sandbox
  gateway  {gateway}        a simulated Auth0 tenant and two simulated ZITADELs are behind it
  tenant   {auth0}        the same API without the gateway
  zitadel  {zitadel}        ZITADEL's session service without the gateway
  verified {verified}        a second ZITADEL: the gateway verifies its JWTs, below {VERIFIED}
  apps     {gateway}{APPLICATIONS}        the tenant once more, with grants for three applications
  admin    http://{admin}        /livez /readyz /metrics
  control  http://{control}        /cache/purge
{authority}
Copy this into another terminal:

{}
Stop it with Ctrl-C.
",
            tours.concat()
        )
    }

    /// The variables that the programs of `docs/guides/sdks.md` read. SDKs insist on https.
    fn sdk_variables(&self, reached: Reached<'_>) -> String {
        if reached.ca_file.is_none() {
            return "\n# SDKs insist on https: start `sessiongate sandbox --tls`\n".to_owned();
        }
        let (tenant, instance) = (self.auth0.tenant(), self.zitadel.instance());
        let (client_id, client_secret) = tenant.client();
        let (machine, machine_secret) = instance.client();
        let (domain, gateway, audience) = (reached.listeners.gateway, reached.gateway(), tenant.audience());
        let (session, login) = (tenant.session_id(), instance.session_id());
        let token = self.zitadel.tokens().owner;
        format!(
            "
# 16. SDKs: docs/guides/sdks.md has programs that read these variables
export AUTH0_DOMAIN={domain} AUTH0_AUDIENCE={audience}
export AUTH0_CLIENT_ID={client_id} AUTH0_CLIENT_SECRET={client_secret}
export AUTH0_SESSION_ID={session}
export ZITADEL_URL={gateway} ZITADEL_TOKEN={token}
export ZITADEL_CLIENT_ID={machine} ZITADEL_CLIENT_SECRET={machine_secret}
export ZITADEL_SESSION_ID={login}
"
        )
    }
}

/// Tokens of applications, for a gateway with grants. That of the portal is of the sample user.
fn application_tokens(auth0: &Auth0) -> serde_json::Value {
    let tenant = auth0.tenant();
    let mut tokens: serde_json::Map<String, serde_json::Value> = ["shop", "crm", "support", "job"]
        .map(|name| (name.to_owned(), tenant.token_of(name).into()))
        .into_iter()
        .collect();
    let portal = serde_json::json!({ "azp": "portal", "sub": tenant.user_id(), "sid": tenant.session_id() });
    tokens.insert("portal".to_owned(), tenant.sign(portal).into());
    tokens.into()
}

fn described(zitadel: &Zitadel) -> serde_json::Value {
    let (instance, owners) = (zitadel.instance(), zitadel.tokens());
    let (client_id, client_secret) = instance.client();
    serde_json::json!({
        "upstream": zitadel.url(),
        "client_id": client_id,
        "client_secret": client_secret,
        "token": owners.owner,
        "jwt": owners.jwt,
        "session_id": instance.session_id(),
        "session_token": instance.session_token(instance.session_id()),
        "user_id": instance.user_id(),
    })
}

/// What a gateway of one's own needs to introspect tokens of the instance.
fn introspection(zitadel: &Zitadel) -> serde_json::Value {
    let application = zitadel.instance().api_application();
    serde_json::json!({
        "url": format!("{}/oauth/v2/introspect", zitadel.url()),
        "client_id": application.client_id,
        "client_secret": application.secret,
        "key_id": application.key_id,
        "private_key": application.private_key,
        "opaque_client_id": zitadel.instance().opaque_client_id(),
    })
}

fn auth0_tour(reached: Reached<'_>, auth0: &Auth0) -> String {
    let (gateway, curl) = (reached.gateway(), reached.curl());
    let (token, id, upstream) = (auth0.tokens().full, auth0.tenant().session_id(), auth0.url());
    format!(
        r#"export TOKEN={token}
export SESSION={gateway}/api/v2/sessions/{id}
alias call='{curl} -H "Authorization: Bearer $TOKEN"'

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
calls() {{ {curl} {upstream}/sandbox/stats | grep -o '"calls":[0-9]*' | cut -d: -f2; }}; before=$(calls)
(for i in $(seq 50); do call -o /dev/null $SESSION & done; wait); echo "calls to the tenant: $(( $(calls) - before ))"

"#
    )
}

fn zitadel_tour(reached: Reached<'_>, zitadel: &Zitadel) -> String {
    let (gateway, curl) = (reached.gateway(), reached.curl());
    let (owner, session) = (zitadel.tokens().owner, zitadel.instance().session_id().to_owned());
    format!(
        r#"# 6. ZITADEL: the same rule rejects the same change over REST and over Connect (Z29sZA== is `gold`)
alias zcall='{curl} -H "Authorization: Bearer {owner}" -H "Content-Type: application/json"'
zcall -X PATCH -d '{{"metadata":{{"tier":"Z29sZA=="}}}}' {gateway}/v2/sessions/{session}; echo
zcall -d '{{"sessionId":"{session}","metadata":{{"tier":"Z29sZA=="}}}}' {gateway}/zitadel.session.v2.SessionService/SetSession; echo

"#
    )
}

/// Two sessions of one user: a logout ends the first, and locking the user ends the other.
fn verified_tour(reached: Reached<'_>, verified: &Zitadel) -> String {
    let (gateway, curl) = (reached.gateway(), reached.curl());
    let (instance, jwt) = (verified.instance(), verified.tokens().jwt);
    let (first, second) = (instance.session_id(), instance.create_session().id);
    let (user, hint) = (instance.user_id(), instance.id_token(first));
    format!(
        r#"# 7. ZITADEL, with a JWT that the gateway verifies: after a logout by ID token, reads of its session are misses
export VERIFIED={gateway}{VERIFIED}
alias vcall='{curl} -o /dev/null -H "Authorization: Bearer {jwt}"'
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

/// What every SDK does first, if it has a client ID and a secret instead of a token.
fn credentials_tour(reached: Reached<'_>, auth0: &Auth0) -> String {
    let (gateway, curl) = (reached.gateway(), reached.curl());
    let (client_id, client_secret) = auth0.tenant().client();
    let audience = auth0.tenant().audience();
    format!(
        r#"
# 10. a token by client credentials, as an SDK gets it: a pass-through request. The audience is the tenant's
{curl} -d grant_type=client_credentials -d client_id={client_id} -d client_secret={client_secret} \
  -d audience={audience} {gateway}/oauth/token | grep -o '"token_type":"Bearer"'
"#
    )
}

/// Comments only: the configuration is the reader's.
fn own_gateway_tour(reached: Reached<'_>, auth0: &Auth0) -> String {
    let (url, authority) = (auth0.url(), if reached.ca_file.is_some() { r#" --ca-file "$CA""# } else { "" });
    format!(
        r#"
# 11. a gateway of your own in front of the same tenant, on other ports: docs/guides/sdks.md, "A gateway of your own"
#   sessiongate init --dialect auth0 --url {url}{authority} --listen 127.0.0.1:8180 > own.yaml
#   echo 'admin: 127.0.0.1:9190' >> own.yaml; sessiongate run -c own.yaml
"#
    )
}

/// Callers with different grants.
fn applications_tour(reached: Reached<'_>, auth0: &Auth0) -> String {
    let (gateway, curl, id) = (reached.gateway(), reached.curl(), auth0.tenant().session_id());
    let (shop, support) = (auth0.tenant().token_of("shop"), auth0.tenant().token_of("support"));
    format!(
        r#"
# 12. several applications, one tenant: the shop owns `cart_*`. It sends only its keys, and the others stay (200); it cannot set others (403)
export SHARED={gateway}{APPLICATIONS}/api/v2/sessions/{id} SHOP_TOKEN={shop}
shop() {{ {curl} -H "Authorization: Bearer $SHOP_TOKEN" -H 'Content-Type: application/json' "$@" $SHARED; echo; }}
call -o /dev/null -X PATCH -H 'Content-Type: application/json' -d '{{"session_metadata":{{"tier":"pro"}}}}' $SESSION
shop -X PATCH -d '{{"session_metadata":{{"cart_id":"42"}}}}' -o /dev/null -w '%{{http_code}}'
shop -X PATCH -d '{{"session_metadata":{{"tier":"free","cart_id":"42"}}}}'

# 13. support reads the same session without addresses, and may not change it
support() {{ {curl} -H "Authorization: Bearer {support}" -H 'Content-Type: application/json' "$@" $SHARED; echo; }}
shop | grep -o '"last_ip":'; support | grep -o '"cart_id":"42"'; support | grep '"last_ip":' || echo 'no address'
support -X PATCH -d '{{"session_metadata":{{}}}}'
"#
    )
}

/// Two callers who write in turn, with curl and with the official SDK.
fn owners_tour(reached: Reached<'_>, auth0: &Auth0) -> String {
    let (curl, crm) = (reached.curl(), auth0.tenant().token_of("crm"));
    let with_curl = format!(
        r#"
# 14. several applications, one session: the CRM owns `team_*`. Both write in turn, and keep each other's keys; `{{}}` clears only one's own
export CRM_TOKEN={crm}
crm() {{ {curl} -o /dev/null -H "Authorization: Bearer $CRM_TOKEN" -H 'Content-Type: application/json' "$@" $SHARED; }}
kept() {{ call $SESSION | grep -o '"session_metadata":{{[^}}]*}}'; }}
crm -X PATCH -d '{{"session_metadata":{{"team_id":"7"}}}}'; shop -X PATCH -d '{{"session_metadata":{{"cart_id":"43"}}}}' >/dev/null; kept
crm -X PATCH -d '{{"session_metadata":{{}}}}'; kept
"#
    );
    if reached.ca_file.is_none() {
        return with_curl;
    }
    let (domain, id) = (reached.listeners.gateway, auth0.tenant().session_id());
    format!(
        r#"{with_curl}
# 15. the same with the official SDK for Node.js, where `npm install auth0@7` was run: docs/guides/several-owners.md
if [ -d node_modules/auth0 ]; then
AUTH0_DOMAIN={domain}{APPLICATIONS} AUTH0_SESSION_ID={id} NODE_EXTRA_CA_CERTS=$CA node --input-type=module <<'END'
{OWNERS}END
else echo 'run npm install auth0@7 first'; fi
"#
    )
}
