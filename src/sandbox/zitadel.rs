//! A simulated ZITADEL instance: the session services `v2` and `v2beta` over REST, gRPC, gRPC-web and Connect, with
//! everything in memory.
//!
//! It is written from ZITADEL's published definitions and source, and shares no table with the gateway, so that the two
//! can disagree and a test can show it. Where servers differ or the result is random, the instance does what is harder
//! for a gateway: it matches decoded paths, follows method overrides, and prefers `Grpc-Metadata-` headers to plain
//! ones.
//!
//! The instance checks a request in the same order as ZITADEL: path (404), method (405), message (400), instance (404),
//! caller (401), rules of the fields (400). Then it executes the operation.

mod accounts;
mod api_application;
mod authority;
mod body;
mod call;
mod carriers;
mod checks;
mod error;
mod header;
mod instance;
mod introspection;
mod job;
mod json;
mod listing;
mod messages;
mod operations;
mod origin;
mod procedures;
mod rest;
mod routes;
mod rpc;
mod store;
mod token_endpoint;
mod validation;

pub use api_application::ApiApplication;
pub use checks::{CODE, PASSWORD, RECOVERY_CODE};
pub use instance::{Error, Instance, Made, Options, Tokens};
pub use store::Mail;

use axum::Router;

impl Instance {
    /// The instance as a service, for HTTP/1.1 and HTTP/2.
    pub fn router(&self) -> Router {
        Router::new().fallback(routes::serve).with_state(self.clone())
    }
}

#[cfg(test)]
mod tests;
