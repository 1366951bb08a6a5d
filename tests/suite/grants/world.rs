//! A provider like Auth0 with two users, and a gateway with grants in front of it. Sessions and refresh tokens that begin
//! with `a` are of the user `auth0|a`, those that begin with `none` do not exist.

use crate::harness::issuer::{Signer, document};
use crate::harness::{Gateway, Received, Request, Response, Scripted, json_response};
use serde_json::{Value, json};

fn owned(kind: &str, id: &str) -> Value {
    let user = format!("auth0|{}", &id[..1]);
    let metadata = json!({ "team": "t", "cart": "c" });
    let mut found = json!({
        "id": id, "user_id": user, "session_id": id, "created_at": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
        "device": { "initial_ip": "203.0.113.1", "last_ip": "203.0.113.2", "last_user_agent": "agent" },
    });
    found[format!("{kind}_metadata")] = metadata;
    found
}

/// The provider: it lists another user's sessions too, so that what is not checked again would be seen.
fn provider(request: &Received) -> Response {
    let path = request.path.strip_prefix("/api/v2/").unwrap_or("").split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let ok = |value: Value| json_response(200, &value.to_string());
    let missing = || {
        let error = json!({ "statusCode": 404, "error": "Not Found", "message": "The session does not exist." });
        json_response(404, &error.to_string())
    };
    match parts.as_slice() {
        ["sessions" | "refresh-tokens", id, ..] if id.starts_with("none") => missing(),
        _ if request.method == "DELETE" || request.method == "POST" => json_response(202, "{}"),
        ["sessions", id] => ok(owned("session", id)),
        ["refresh-tokens", id] => ok(owned("refresh_token", id)),
        ["users", _, list @ ("sessions" | "refresh-tokens")] => {
            let (kind, name) = if *list == "sessions" { ("session", "sessions") } else { ("refresh_token", "tokens") };
            let all: Vec<Value> = ["a1", "a2", "b1"].map(|id| owned(kind, id)).into();
            ok(json!({ name: all, "total": 3, "next": "cursor" }))
        }
        ["refresh-tokens"] => {
            let all: Vec<Value> = ["a1", "a2", "b1"].map(|id| owned("refresh_token", id)).into();
            ok(json!({ "refresh_tokens": all, "next": "cursor" }))
        }
        _ => ok(json!({ "passed": true })),
    }
}

/// A gateway in front of a provider with two users.
pub struct World {
    signer: Signer,
    pub provider: Scripted,
    _issuer: Scripted,
    pub gateway: Gateway,
}

impl World {
    /// With these grants.
    pub fn start(grants: &str) -> World {
        World::start_with_claims(grants, "")
    }

    /// With these grants, and this option of `auth`.
    pub fn start_with_claims(grants: &str, auth: &str) -> World {
        World::start_beside(provider, grants, auth)
    }

    /// The same in front of another provider.
    pub fn start_beside(
        provider: impl Fn(&Received) -> Response + Send + Sync + 'static,
        grants: &str,
        auth: &str,
    ) -> World {
        let signer = Signer::new("one");
        let keys = document(&[&signer]);
        let (provider, issuer) = (Scripted::start(provider), Scripted::start(move |_| keys.clone()));
        let text =
            crate::harness::issuer::config(&provider.url(), &issuer.url(), auth) + grants.trim_start_matches('\n');
        let gateway = Gateway::start(&text);
        gateway.ready();
        World { signer, provider, _issuer: issuer, gateway }
    }

    /// Sends a request of a caller with this client ID, as the user `auth0|a` with the session `a1`.
    pub fn send(&self, caller: &str, request: &str) -> Response {
        self.send_as(json!({ "azp": caller, "sub": "auth0|a", "sid": "a1" }), request)
    }

    /// Sends a request with a token that has these claims, and all scopes.
    pub fn send_as(&self, claims: Value, request: &str) -> Response {
        self.send_with(claims, request, &[])
    }

    /// The same with more headers.
    pub fn send_with(&self, mut claims: Value, request: &str, headers: &[(&str, &str)]) -> Response {
        let mut words = request.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        claims["scope"] = "read:sessions update:sessions delete:sessions read:refresh_tokens update:refresh_tokens \
                           delete:refresh_tokens read:clients update:users"
            .into();
        let token = self.signer.token(json!({}), claims);
        let request =
            headers.iter().fold(Request::new(method, &format!("/api/v2{path}")).bearer(&token), |request, one| {
                request.header(one.0, one.1)
            });
        match words.next().map(str::trim).filter(|body| !body.is_empty()) {
            Some(body) => request.json(body),
            None => request,
        }
        .send(&self.gateway.url())
    }
}
