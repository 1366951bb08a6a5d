//! A simulated Auth0 tenant: the Management API endpoints around sessions, with everything in memory.
//!
//! It is written from Auth0's documentation and recorded responses, and shares no table with the gateway, so that the
//! two can disagree and a test can show it. Where the documentation leaves a choice, the tenant takes the one that is
//! harder for a gateway: it resolves dot segments, decodes percent-escapes in fixed path parts and takes form bodies,
//! as Auth0's servers may.
//!
//! The tenant checks a request in the same order as Auth0: route (404), token (401), scope (403), rate limit (429),
//! path, query and payload (400). Then it executes the operation.

mod oauth;
mod operations;
mod payload;
mod rate;
mod response;
mod routes;
mod store;
mod tenant;
mod token;

pub use rate::Rate;
pub use tenant::{Options, Tenant, Tokens};
pub use token::Error;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use http::request::Parts;
use serde_json::json;

use payload::MAX_BODY;
use response::ApiResponse;
use routes::Route;

impl Tenant {
    /// The tenant as a service.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/jwks.json", get(key_set))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/oauth/token", any(oauth::token))
            .route("/sandbox/stats", get(stats))
            .fallback(management)
            .with_state(self.clone())
    }

    /// Carries out one Management API request.
    fn execute(&self, parts: &Parts, body: Result<Bytes, axum::Error>) -> Response {
        let call = match routes::find(&parts.method, parts.uri.path()) {
            Route::Outside => return ApiResponse::not_found("Not Found", None).into_response(None),
            Route::Unknown => {
                self.count("unknown_route");
                return ApiResponse::not_found("Not Found", None).into_response(None);
            }
            Route::Malformed => {
                self.count("unknown_route");
                return ApiResponse::bad_request("Bad Request", None).into_response(None);
            }
            Route::Known(call) => call,
        };
        self.count(call.endpoint.name);
        if let Err(rejection) = self.authorize(parts, call.endpoint.scopes) {
            return rejection.into_response(None);
        }
        let quota = match self.spend() {
            Ok(quota) => quota,
            Err(quota) => return ApiResponse::too_many_requests().into_response(Some(quota)),
        };
        match operations::perform(self, &call, parts, body) {
            Ok(response) => response.into_response(quota),
            // Of the recorded responses, those without rate-limit headers are exactly the 4xx (Auth0's page "Rate limit
            // policy").
            Err(rejection) => rejection.into_response(None),
        }
    }
}

async fn management(State(tenant): State<Tenant>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await;
    let response = tenant.execute(&parts, body);
    tenant.hold_back(response).await
}

async fn key_set(State(tenant): State<Tenant>) -> Response {
    let response = response::plain(&tenant.0.authority.key_set());
    tenant.hold_back(response).await
}

async fn discovery(State(tenant): State<Tenant>) -> Response {
    let response = response::plain(&tenant.0.authority.discovery());
    tenant.hold_back(response).await
}

async fn stats(State(tenant): State<Tenant>) -> Response {
    let by_operation = tenant.0.counts.lock().clone();
    let calls: u64 = by_operation.values().sum();
    response::plain(&json!({"calls": calls, "by_operation": by_operation, "tokens": tenant.issued_tokens()}))
}

#[cfg(test)]
mod tests;
