//! The compiled gateway, and the chain of types that fixes the order of security checks: `RequestHead -> Governed ->
//! AuthorizedRequest -> DecodedRequest -> Read | Write`.
//!
//! Each step consumes the one before it. So no cached session can be served, and no body forwarded, before the route,
//! the caller and the body were checked.

mod authorized;
mod cache_ids;
mod caller_check;
mod certificates;
mod compiled_gateway;
mod credential;
mod current_response;
mod current_state;
mod decoded;
mod egress_proxy;
mod evaluated;
mod governed;
mod granted;
mod head;
mod introspection_source;
mod invalidating_request;
mod listing;
mod masked_forms;
mod masking;
mod matched_credential;
mod outcome;
mod owned;
mod policy_findings;
mod provider_response;
mod public_request;
mod read_body;
mod released;
mod right_need;
mod routing;
mod search;
mod session_proof;
mod upstream;
mod upstream_index;
mod write_outcome;

pub use authorized::{AuthorizedRequest, CacheKey};
pub use caller_check::{CallerCheck, KeySource, OpaqueTokens, TokenIssuer};
pub use certificates::{CaCertificates, ClientIdentity};
pub use compiled_gateway::{Gateway, UnknownPurgeTarget};
pub use credential::Credential;
pub use current_response::CurrentResponse;
pub use current_state::CurrentState;
pub use decoded::{Changes, DecodedRequest, Read, Write, WriteDecision};
pub use egress_proxy::{EgressProxy, NoProxy, ProxyAuthorization, authority_of, canonical_network};
pub use evaluated::Evaluated;
pub use governed::Governed;
pub use head::{BodySize, RequestHead};
pub use introspection_source::{ClientAuthentication, IntrospectionSource};
pub use invalidating_request::InvalidatingRequest;
pub use listing::Listing;
pub use masked_forms::MaskedForms;
pub use matched_credential::MatchedCredential;
pub use outcome::{Outcome, RightUse, UpstreamExchange, UpstreamResult};
pub use owned::Owned;
pub use policy_findings::PolicyFindings;
pub use provider_response::{DecodedResponse, ProviderResponse, Released};
pub use right_need::RightNeed;
pub use routing::{RejectedRequest, Routed};
pub use session_proof::is_provable;
pub use upstream::{
    BodyLimits, Freshness, OnUnreachable, Protocol, RequestMatcher, SlotLimits, Target, Timeouts, Unmatched, Upstream,
};
pub use write_outcome::{Cacheability, WriteOutcome, is_inconclusive, settle_invalidating};
