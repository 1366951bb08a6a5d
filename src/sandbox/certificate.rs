//! The sandbox's certificate: a certificate authority that signs it once, and whose key is dropped then.
//!
//! A client that trusts the authority therefore trusts this certificate and no other, also after the sandbox has ended.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where the sandbox's configuration expects the authority's certificate. The sandbox's environment has these three
/// files; none of them is on the disk.
pub const AUTHORITY_FILE: &str = "/sessiongate-sandbox/ca.pem";
/// Where it expects the certificate of the gateway.
pub const CERTIFICATE_FILE: &str = "/sessiongate-sandbox/gateway.pem";
/// Where it expects the key of the gateway.
pub const KEY_FILE: &str = "/sessiongate-sandbox/gateway.key";

const DAY: Duration = Duration::from_secs(86_400);
/// Clocks of clients may be late.
const BEFORE: Duration = DAY;
/// Some clients reject certificates that are valid for more than 397 days.
const AFTER: Duration = DAY.saturating_mul(90);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be generated.
    #[error("cannot generate the sandbox's certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The TLS library rejects it.
    #[error("the sandbox's certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate for the machine's own names, with its key, and the certificate of the authority that signed it. It is
/// not printable by accident: no `Debug`.
pub struct Certificate {
    /// The authority's certificate, which clients have to trust; PEM.
    pub authority: String,
    /// The certificate; PEM.
    pub certificate: String,
    /// Its private key; PEM.
    pub key: String,
    /// The same for the simulated providers, which speak HTTP/2 and HTTP/1.1.
    pub(super) server: Arc<ServerConfig>,
}

impl Certificate {
    /// Generates one for `localhost`, the loopback addresses, and these addresses.
    ///
    /// # Errors
    /// If the machine has no random numbers.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Certificate, CertificateError> {
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.extend(addresses.into_iter().filter(|address| !address.is_loopback()).map(|address| address.to_string()));
        let issuer = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let signed = leaf(names)?.signed_by(&key, &issuer)?;
        let key_der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Certificate {
            authority: issuer.pem(),
            certificate: signed.pem(),
            key: key.serialize_pem(),
            server: server(signed.der().clone(), key_der)?,
        })
    }

    /// The content of one of the three files; `None` if the path is another.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&str> {
        match path {
            AUTHORITY_FILE => Some(&self.authority),
            CERTIFICATE_FILE => Some(&self.certificate),
            KEY_FILE => Some(&self.key),
            _ => None,
        }
    }

    /// Whether a text is one of these certificates: a file with another content is not replaced.
    #[must_use]
    pub fn is_certificate(text: &[u8]) -> bool {
        CertificateDer::from_pem_slice(text).is_ok()
    }
}

/// What strict clients, such as Python 3.13, expect of an authority: its use, and identifiers of the keys.
fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    valid_now(&mut params);
    params.distinguished_name.push(DnType::CommonName, "sessiongate sandbox CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    valid_now(&mut params);
    params.distinguished_name.push(DnType::CommonName, "sessiongate sandbox");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn valid_now(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + AFTER).into();
}

fn server(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_for_the_machine_and_its_addresses() {
        let certificate = Certificate::new(["127.0.0.2".parse().unwrap(), "192.0.2.7".parse().unwrap()]).unwrap();
        let der = CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!(names, 4, "localhost, 127.0.0.1, ::1 and 192.0.2.7");
        assert!(parsed.validity().is_valid());
        assert!(Certificate::is_certificate(certificate.authority.as_bytes()));
        assert!(!Certificate::is_certificate(certificate.key.as_bytes()));
        assert_eq!(certificate.file(KEY_FILE), Some(certificate.key.as_str()));
        assert_eq!(certificate.file("/etc/passwd"), None);
    }
}
