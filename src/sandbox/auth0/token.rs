//! Access tokens of the tenant: signing, the key set and verifying (Auth0's page "Management API access tokens").

use crate::sandbox::clock::unix_seconds;
use std::fmt;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use serde_json::{Map, Value, json};

use super::response::ApiResponse;
use super::routes::all_scopes;

/// A published, worthless key: it signs nothing but sandbox tokens.
const DEMO_KEY: &str = include_str!("../auth0_demo_key.pem");
/// The machine-to-machine application that the tokens are for.
pub(super) const CLIENT: &str = "Sb7Qm2xKpV0dTzYw4RfLc9HnEuJ1gAoX";
/// Lifetime of a Management API token.
pub(super) const LIFETIME: u64 = 86_400;

/// Why a tenant cannot be created.
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

/// The part of a tenant that issues and checks tokens.
pub(super) struct Authority {
    issuer: String,
    audience: String,
    key: KeyPair,
    public: PublicKeyComponents<Vec<u8>>,
    key_id: String,
    random: SystemRandom,
}

impl Authority {
    pub(super) fn new(issuer_url: &str) -> Result<Self, Error> {
        let base = issuer_url.strip_suffix('/').unwrap_or(issuer_url);
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")).ok_or(Error::Issuer)?;
        if host.is_empty() || host.contains(['/', '?', '#']) {
            return Err(Error::Issuer);
        }
        let text: String = DEMO_KEY
            .lines()
            .skip_while(|line| !line.starts_with("-----BEGIN"))
            .filter(|line| !line.starts_with('-'))
            .collect();
        let document = STANDARD.decode(text).map_err(|_| Error::Key)?;
        let key = KeyPair::from_pkcs8(&document).map_err(|_| Error::Key)?;
        let public: PublicKeyComponents<Vec<u8>> = key.public().into();
        let key_id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &public.n));
        let authority = Self {
            issuer: format!("{base}/"),
            audience: format!("{base}/api/v2/"),
            key,
            public,
            key_id,
            random: SystemRandom::new(),
        };
        // Signing cannot report a failure later, so a key that does not sign is found here.
        match authority.signature("") {
            Some(_) => Ok(authority),
            None => Err(Error::Key),
        }
    }

    /// The audience of the Management API.
    pub(super) fn audience(&self) -> &str {
        &self.audience
    }

    /// A signed token: `claims` over those of Auth0's token profile, `null` removing one.
    pub(super) fn sign(&self, claims: Value, now: SystemTime) -> String {
        let mut all = self.default_claims(now);
        if let Value::Object(claims) = claims {
            for (name, value) in claims {
                match value {
                    Value::Null => drop(all.remove(&name)),
                    value => drop(all.insert(name, value)),
                }
            }
        }
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let signed = format!("{}.{}", encode(&header), encode(&Value::Object(all)));
        let signature = self.signature(&signed).unwrap_or_default();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn default_claims(&self, now: SystemTime) -> Map<String, Value> {
        let now = unix_seconds(now);
        [
            ("iss", json!(self.issuer)),
            ("sub", json!(format!("{CLIENT}@clients"))),
            ("aud", json!(self.audience)),
            ("azp", json!(CLIENT)),
            ("iat", json!(now)),
            ("exp", json!(now + LIFETIME)),
            ("scope", json!(all_scopes())),
            ("gty", json!("client-credentials")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn signature(&self, text: &str) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &self.random, text.as_bytes(), &mut signature).ok()?;
        Some(signature)
    }

    /// The response of `/.well-known/jwks.json`.
    pub(super) fn key_set(&self) -> Value {
        json!({"keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": URL_SAFE_NO_PAD.encode(&self.public.n),
            "e": URL_SAFE_NO_PAD.encode(&self.public.e),
        }]})
    }

    /// The response of `/.well-known/openid-configuration`. Of the named endpoints the tenant serves
    /// tokens and keys.
    pub(super) fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("oauth/token"),
            "userinfo_endpoint": at("userinfo"),
            "revocation_endpoint": at("oauth/revoke"),
            "end_session_endpoint": at("oidc/logout"),
            "jwks_uri": at(".well-known/jwks.json"),
            "scopes_supported": ["openid", "profile", "offline_access", "email"],
            "response_types_supported": ["code", "token", "id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
        })
    }

    /// Verifies the caller's token and gives its scopes.
    pub(super) fn scopes(&self, headers: &HeaderMap, now: SystemTime) -> Result<Vec<String>, ApiResponse> {
        let claims = self.verified(bearer(headers)?)?;
        match claims.get("exp").and_then(Value::as_f64) {
            None => return Err(ApiResponse::unauthorized(Some("Invalid token"))),
            // Exact up to 2^53 seconds.
            Some(expiry) if expiry <= unix_seconds(now) as f64 => {
                return Err(ApiResponse::unauthorized(Some("Expired token received for JSON Web Token validation")));
            }
            Some(_) => {}
        }
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(ApiResponse::unauthorized(Some("Invalid token")));
        }
        self.check_audience(claims.get("aud"))?;
        let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        Ok(scope.split(' ').map(str::to_owned).collect())
    }

    /// The audience is a text or a list of texts.
    fn check_audience(&self, audience: Option<&Value>) -> Result<(), ApiResponse> {
        let audiences: Vec<&str> = match audience {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        };
        if audiences.contains(&self.audience.as_str()) {
            return Ok(());
        }
        Err(ApiResponse::unauthorized(Some(&format!("Bad audience: {}", audiences.join(",")))))
    }

    /// The claims of a token with a good signature.
    fn verified(&self, token: &str) -> Result<Map<String, Value>, ApiResponse> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err(ApiResponse::bad_request("Bad HTTP authentication header format", Some("Bearer")));
        };
        let (Some(header), Some(claims)) = (decode(header), decode(claims)) else {
            return Err(ApiResponse::unauthorized(Some("Invalid token")));
        };
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let ours = text("alg") == Some("RS256") && text("kid") == Some(self.key_id.as_str());
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let good = self.public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok();
        if ours && good {
            return Ok(claims);
        }
        Err(ApiResponse::unauthorized(Some("Invalid signature received for JSON Web Token validation")))
    }
}

/// The token in the `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiResponse> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(ApiResponse::unauthorized(None));
    };
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token) } else { Err(ApiResponse::unauthorized(None)) }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
