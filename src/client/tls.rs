//! TLS as a client: trusted CAs and the gateway's own certificate.

use crate::descriptors;
use crate::gateway::{CaCertificates, ClientIdentity};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A TLS configuration with these CAs, or else the system's, which are slow to read.
pub(super) fn client_config(
    authorities: Option<&CaCertificates>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(all) => all.iter().try_for_each(|certificate| roots.add(certificate.clone()))?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Without them no provider would be trusted.
            if descriptors::are_exhausted() && !found.errors.is_empty() {
                return Err(rustls::Error::General(
                    "cannot read the system's CA certificates: too many open files".into(),
                ));
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    match identity {
        Some(ClientIdentity { chain, key }) => builder.with_client_auth_cert(chain.to_vec(), key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
    }
}
