//! Dialects: what a provider's API looks like. Each is a table; the code that reads the tables is the same for all.

mod auth0;
mod call;
mod credential;
mod masked;
mod merged;
mod names;
mod okta;
mod ownership;
pub mod path;
mod pattern;
mod provider_api;
mod provider_headers;
mod rejections;
mod resource;
mod response_facts;
mod revocation;
mod revocation_body;
mod route;
mod search;
mod session_fields;
mod session_list;
mod stored_metadata;
mod token_form;
mod zitadel;

pub use auth0::AUTH0;
pub use call::DecodedBody;
pub use credential::{BEARER, CredentialPlace, IdentityClaims, ReadOnlyScopes, Scopes};
pub use names::{Challenges, Checks, Filters, Names, PolicySubject, Version};
pub use okta::OKTA;
pub use ownership::CheckedUser;
pub use pattern::{InvalidationRule, PathPart, RuleEffect};
pub use provider_api::{Dialect, Logout, NotFoundMeaning, Sharing};
pub use provider_headers::{Cors, ProviderHeaders, QuotaHeaders, TrustedHeader, TrustedValue};
pub use rejections::{Override, ProviderError, RejectionFormat};
pub use response_facts::ResponseFacts;
pub use revocation::Revocation;
pub use revocation_body::{MemberType, RevocationBody, RevocationMember};
pub use route::{BodyKind, Call, Effect, Query, Route, RouteMatch};
pub use search::SearchTerm;
pub use session_list::SessionList;
pub use stored_metadata::StoredMetadata;
pub use token_form::TokenForm;
pub use zitadel::ZITADEL;

/// Every dialect. The configuration, the documentation and the tests read this list.
pub static DIALECTS: &[&Dialect] = &[&AUTH0, &ZITADEL, &OKTA];

/// The dialect that renders the rejection of a request that no upstream matches.
pub static UNMATCHED: &Dialect = &AUTH0;

#[cfg(test)]
pub(crate) mod tests;
