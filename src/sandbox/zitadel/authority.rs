//! Callers: signing and verifying the tokens of the instance, and what each caller may do.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Map, Value, json};

use super::error::{ApiError, Code};
use super::store::Random;
use crate::sandbox::clock::unix_seconds;

/// The project of the management API, which user tokens must have in their audience.
pub(super) const PROJECT: &str = "310000000000000001";
/// The application that access tokens are for.
pub(super) const CLIENT: &str = "310000000000000002";
/// Default lifetime of an access token in seconds: 12 hours.
pub(super) const LIFETIME: u64 = 43_200;

/// What a user of the instance may do with other users' sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `IAM_OWNER`: everything.
    Owner,
    /// `IAM_OWNER_VIEWER`: reading.
    Viewer,
    /// No membership.
    None,
}

/// A caller with a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user_id: String,
    pub(super) role: Role,
}

impl Caller {
    /// Rejects callers who may not change sessions.
    pub(super) fn may_write(&self) -> Result<(), ApiError> {
        match self.role {
            Role::Owner => Ok(()),
            Role::Viewer | Role::None => Err(no_permission()),
        }
    }
}

/// The rejection of a caller without the permission.
pub(super) fn no_permission() -> ApiError {
    ApiError::new(Code::PermissionDenied, "AUTH-AWfge", "No matching permissions found")
}

/// The part of the instance that issues and checks tokens.
pub(super) struct Authority {
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
    /// The users who have personal access tokens or are named by JWTs.
    pub(super) owner: MachineUser,
    pub(super) viewer: MachineUser,
    pub(super) stranger: MachineUser,
}

/// A machine user with its personal access token.
pub(super) struct MachineUser {
    pub(super) user_id: String,
    pub(super) token: String,
    role: Role,
}

impl Authority {
    /// `None` if the signing key cannot be generated.
    pub(super) fn new(random: &mut Random) -> Option<Self> {
        let system = SystemRandom::new();
        let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(scheme, &system).ok()?;
        let key = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &system).ok()?;
        let key_id = URL_SAFE_NO_PAD.encode(digest(&SHA256, key.public_key().as_ref()));
        let mut user = |role| MachineUser { user_id: random.id(), token: random.text(53), role };
        Some(Self {
            key,
            key_id,
            random: system,
            owner: user(Role::Owner),
            viewer: user(Role::Viewer),
            stranger: user(Role::None),
        })
    }

    /// A signed access token of the owner: `claims` are laid over the usual ones, `null` removing one.
    pub(super) fn sign(&self, issuer: &str, claims: Value, now: SystemTime) -> String {
        let all = self.claims(issuer, claims, now);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&Value::Object(all)));
        let signature = self.key.sign(&self.random, signed.as_bytes());
        format!("{signed}.{}", signature.map_or_else(|_| String::new(), |bytes| URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The claims of an access token of the owner.
    pub(super) fn claims(&self, issuer: &str, claims: Value, now: SystemTime) -> Map<String, Value> {
        let mut all = self.usual_claims(issuer, unix_seconds(now));
        if let Value::Object(claims) = claims {
            for (name, value) in claims {
                match value {
                    Value::Null => drop(all.remove(&name)),
                    value => drop(all.insert(name, value)),
                }
            }
        }
        all
    }

    fn usual_claims(&self, issuer: &str, now: u64) -> Map<String, Value> {
        let claims = [
            ("iss", json!(issuer)),
            ("sub", json!(self.owner.user_id)),
            ("aud", json!([CLIENT, PROJECT])),
            ("client_id", json!(CLIENT)),
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(now + LIFETIME)),
            ("jti", json!(format!("V2_{CLIENT}-at_{now}"))),
        ];
        claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The response of `/oauth/v2/keys`.
    pub(super) fn key_set(&self) -> Value {
        // An uncompressed point: a mark, x and y.
        let point = self.key.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": coordinate(1..33), "y": coordinate(33..65),
        }]})
    }

    /// The user whose personal access token this is.
    pub(super) fn account(&self, token: &str) -> Option<&MachineUser> {
        [&self.owner, &self.viewer, &self.stranger].into_iter().find(|account| account.token == token)
    }

    /// The caller of a token that is not a session token. `issued_here` decides whether its issuer is valid.
    pub(super) fn caller(&self, token: &str, now: SystemTime, issued_here: impl Fn(&str) -> bool) -> Option<Caller> {
        if let Some(account) = self.account(token) {
            return Some(Caller { user_id: account.user_id.clone(), role: account.role });
        }
        self.caller_of(&self.verified(token)?, now, issued_here)
    }

    /// The caller that the claims of an access token name.
    pub(super) fn caller_of(
        &self,
        claims: &Map<String, Value>,
        now: SystemTime,
        issued_here: impl Fn(&str) -> bool,
    ) -> Option<Caller> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let in_time = claims.get("exp").and_then(Value::as_u64).is_some_and(|expiry| expiry > unix_seconds(now));
        let audience = match claims.get("aud")? {
            Value::Array(list) => list.iter().any(|one| one.as_str() == Some(PROJECT)),
            one => one.as_str() == Some(PROJECT),
        };
        let good = in_time && audience && issued_here(text("iss")?);
        good.then(|| self.user(text("sub").unwrap_or_default()))
    }

    /// A user of the instance; without a membership unless it is the owner or the viewer.
    pub(super) fn user(&self, user_id: &str) -> Caller {
        let mut accounts = [&self.owner, &self.viewer].into_iter();
        let role = accounts.find(|account| account.user_id == user_id).map_or(Role::None, |account| account.role);
        Caller { user_id: user_id.to_owned(), role }
    }

    /// The claims of a token with a valid signature.
    pub(super) fn verified(&self, token: &str) -> Option<Map<String, Value>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = decode(header)?;
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        if text("alg") != Some("ES256") || text("kid") != Some(self.key_id.as_str()) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        decode(claims)
    }
}

/// The token of an `Authorization` header. Text before the scheme is ignored, since ZITADEL splits at it.
pub(super) fn bearer(header: Option<&str>) -> Result<&str, ApiError> {
    let Some(header) = header.filter(|header| !header.is_empty()) else {
        return Err(ApiError::bare(Code::Unauthenticated, "auth header missing"));
    };
    let mut parts = header.split("Bearer ");
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(token), None) => Ok(token),
        _ => Err(ApiError::new(Code::Unauthenticated, "AUTH-toLo1", "invalid auth header")),
    }
}

/// A part of a JWT that is a JSON object.
pub(super) fn decode(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
