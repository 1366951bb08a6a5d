//! Certificates and keys, for providers, issuers and listeners. They are read when the configuration is compiled, so
//! what was validated is what is used, and two configurations can be compared by the contents of their files.

use super::FindingId;
use super::error::{Location, Problem};
use super::options::declare::Plain;
use super::secret;
use super::section::{Context, Section};
use crate::gateway::{CaCertificates, ClientIdentity};
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretSlice};
use std::path::PathBuf;
use std::sync::Arc;

const CERTIFICATES: &str = "expected certificates in PEM format";
const KEY: &str = "expected an unencrypted one in PEM format";

/// The CA certificates in the file that this option names, if set.
pub(super) fn authorities(section: &mut Section, option: &Plain) -> Option<CaCertificates> {
    let (location, _, bytes) = secret::file(section, option)?;
    let certificates = parse(section.context, &location, &bytes)?;
    let mut roots = RootCertStore::empty();
    if certificates.iter().any(|certificate| roots.add(certificate.clone()).is_err()) {
        reject_damaged(section.context, &location);
        return None;
    }
    Some(certificates.into())
}

/// The client identity in the files that these options name, if set: a certificate chain and its private key.
pub(super) fn identity(section: &mut Section, certificate: &Plain, key: &Plain) -> Option<ClientIdentity> {
    let options = [certificate, key];
    let chain = secret::file(section, certificate);
    let chain = chain.and_then(|(location, _, bytes)| Some((parse(section.context, &location, &bytes)?, location)));
    let key = secret::file(section, key);
    let key = key.and_then(|(location, _, bytes)| Some((private_key(section.context, &location, &bytes)?, location)));
    require_both(section, options);
    let ((chain, place), (key, key_place)) = (chain?, key?);
    match CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider()) {
        Ok(_) => return Some(ClientIdentity { chain: chain.into(), key: Arc::new(key) }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let problem = Problem::new("does not match the certificate").id(FindingId::File);
            section.context.reject(
                &key_place,
                problem.expected("expected the private key of the first certificate in `certificate`"),
            );
        }
        Err(Error::InvalidCertificate(_)) => reject_damaged(section.context, &place),
        Err(_) => section.context.reject(
            &key_place,
            Problem::new("the private key in the file is invalid or of an unsupported type").id(FindingId::File),
        ),
    }
    None
}

/// Rejects a certificate without a key, and a key without a certificate.
pub(super) fn require_both(section: &mut Section, [certificate, key]: [&Plain; 2]) {
    for (one, other) in [(certificate, key), (key, certificate)] {
        if section.has(one) && !section.has(other) {
            let location = section.location_of(other);
            let problem = Problem::new(format!("is missing, but `{}` is set", one.key)).id(FindingId::MissingOption);
            section.context.reject(&location, problem.expected("set both or neither"));
        }
    }
}

/// The certificates in the file that this option names, if set.
pub(super) fn chain(section: &mut Section, option: &Plain) -> Option<Vec<CertificateDer<'static>>> {
    let (location, _, bytes) = secret::file(section, option)?;
    parse(section.context, &location, &bytes)
}

/// The private key in the file that this option names, if set.
pub(super) fn key(section: &mut Section, option: &Plain) -> Option<PrivateKeyDer<'static>> {
    let (location, _, bytes) = secret::file(section, option)?;
    private_key(section.context, &location, &bytes)
}

/// The path of a file of certificates, if set. It must be readable and contain at least one.
pub(super) fn authorities_file(section: &mut Section, option: &Plain) -> Option<PathBuf> {
    let (location, path, bytes) = secret::file(section, option)?;
    parse(section.context, &location, &bytes);
    Some(path)
}

/// The path of a file with a private key, if set. It must be readable and contain one.
pub(super) fn private_key_file(section: &mut Section, option: &Plain) -> Option<PathBuf> {
    let (location, path, bytes) = secret::file(section, option)?;
    private_key(section.context, &location, &bytes);
    Some(path)
}

/// Parses the certificates of a file; at least one is required.
fn parse(context: &mut Context, location: &Location, bytes: &SecretSlice<u8>) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(bytes.expose_secret())).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            context.reject(
                location,
                Problem::new("the file has no certificate").id(FindingId::File).expected(CERTIFICATES),
            );
            None
        }
        // Pingora parses certificates with this library, so all must be valid for it.
        Ok(certificates) if certificates.iter().all(|one| x509_parser::parse_x509_certificate(one).is_ok()) => {
            Some(certificates)
        }
        Ok(_) | Err(_) => {
            reject_damaged(context, location);
            None
        }
    }
}

/// Parses the private key of a file.
pub(super) fn private_key(
    context: &mut Context,
    location: &Location,
    bytes: &SecretSlice<u8>,
) -> Option<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(text(bytes.expose_secret()));
    let problem = |_| Problem::new("the file has no readable private key").id(FindingId::File).expected(KEY);
    key.map_err(|error| context.reject(location, problem(error))).ok()
}

/// Removes the byte order mark that some editors add.
pub fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn reject_damaged(context: &mut Context, location: &Location) {
    context.reject(
        location,
        Problem::new("a certificate in the file is invalid").id(FindingId::File).expected(CERTIFICATES),
    );
}
