//! Which of a provider's tenants a request is for.

/// Identifies a tenant of a provider: a keyed hash of its host names.
pub type TenantId = [u8; 16];

/// The tenant that the provider's own host name selects.
pub const DEFAULT_TENANT: TenantId = [0; 16];
