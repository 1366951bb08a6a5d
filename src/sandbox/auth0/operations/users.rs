//! Users, as far as sessions depend on them.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::super::payload::{self, RequestPart};
use super::super::response::ApiResponse;
use super::super::store::timestamp;
use super::job::{Job, no_user};

/// Members of a user that PATCH accepts here; Auth0 accepts some more.
const USER_MEMBERS: &[&str] = &[
    "app_metadata",
    "blocked",
    "client_id",
    "connection",
    "email",
    "email_verified",
    "family_name",
    "given_name",
    "name",
    "nickname",
    "password",
    "phone_number",
    "phone_verified",
    "picture",
    "user_metadata",
    "username",
    "verify_email",
];

impl Job<'_> {
    pub(super) fn get_user(&self) -> Result<ApiResponse, ApiResponse> {
        let store = self.user_store()?;
        Ok(ApiResponse::ok(json!(store.users.get(self.id))))
    }

    /// Replaces members of the user; the metadata objects are merged at their first level (Auth0's page "Session
    /// metadata").
    pub(super) fn update_user(&self) -> Result<ApiResponse, ApiResponse> {
        let changes = self.object()?;
        payload::only(RequestPart::Payload, changes.keys(), USER_MEMBERS)?;
        if changes.is_empty() {
            return Err(payload::fault(RequestPart::Payload, "Too few properties defined (0), minimum 1", None));
        }
        let mut store = self.tenant.0.store.lock();
        let user = store.users.get_mut(self.id).ok_or_else(no_user)?;
        for (name, value) in changes {
            match (name.as_str(), user.get_mut(&name), value) {
                ("password" | "connection" | "client_id" | "verify_email", _, _) => {}
                ("user_metadata" | "app_metadata", Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
                (_, _, value) => drop(user.insert(name, value)),
            }
        }
        user.insert("updated_at".to_owned(), json!(timestamp(SystemTime::now())));
        Ok(ApiResponse::ok(Value::Object(user.clone())))
    }

    /// Ends the user's sessions and tokens at once. Never 404.
    pub(super) fn delete_user(&self) -> ApiResponse {
        let mut store = self.tenant.0.store.lock();
        store.users.remove(self.id);
        let user = self.id;
        store.sessions.end_where(self.now, self.now, |_, session| session.user_id == user);
        store.refresh_tokens.end_where(self.now, self.now, |_, token| token.user_id == user);
        ApiResponse::no_content()
    }
}

fn merge(old: &mut Map<String, Value>, new: Map<String, Value>) {
    for (name, value) in new {
        match value {
            Value::Null => drop(old.remove(&name)),
            value => drop(old.insert(name, value)),
        }
    }
}
