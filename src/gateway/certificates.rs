//! Certificates of connections to providers, issuers and forward proxies.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// CA certificates; at least one.
pub type CaCertificates = Arc<[CertificateDer<'static>]>;

/// The client certificate that the gateway presents to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, then its intermediate certificates.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// The certificate's private key.
    pub key: Arc<PrivateKeyDer<'static>>,
}
