//! The sandbox: simulated providers for demonstrations and tests. They know nothing of the gateway's tables.

pub mod auth0;
mod certificate;
mod client_secret;
mod clock;
mod listening;
pub mod okta;
mod providers;
mod tour;
pub mod zitadel;

pub use certificate::{AUTHORITY_FILE, CERTIFICATE_FILE, Certificate, CertificateError, KEY_FILE};
pub use listening::{Auth0, SandboxError, Zitadel};
pub use providers::{Addresses, HASH_KEY, INTROSPECTION_SECRET, Listeners, Providers, SEAL_KEY, VERIFIED};
pub use tour::Reached;

/// The rate limit of the simulated tenant: that of a private cloud with 500 requests a second (Auth0's page "Rate limit
/// policy").
pub const TENANT_RATE: u32 = 250;
