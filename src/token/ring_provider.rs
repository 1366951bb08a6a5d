//! Makes jsonwebtoken verify with ring, which TLS in this program uses too.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature as backend;

/// Installs ring as the process's token verifier. Calling it again does nothing.
pub fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    // It fails only if a provider is already installed.
    let _ = PROVIDER.install_default();
}

/// The gateway verifies tokens and never signs them.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let scheme = match algorithm {
        Algorithm::RS256 => Scheme::Rsa(&backend::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Scheme::Rsa(&backend::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Scheme::Rsa(&backend::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Scheme::Rsa(&backend::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Scheme::Rsa(&backend::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Scheme::Rsa(&backend::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Scheme::Curve(&backend::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Scheme::Curve(&backend::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Scheme::Curve(&backend::ED25519),
        // Neither shared secrets (a secret that can verify can also sign) nor algorithms that the library may add
        // later.
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    if key.family() == AlgorithmFamily::Hmac {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, scheme, key: key.clone() }))
}

enum Scheme {
    Rsa(&'static backend::RsaParameters),
    Curve(&'static dyn backend::VerificationAlgorithm),
}

struct RingVerifier {
    algorithm: Algorithm,
    scheme: Scheme,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verdict = match (&self.scheme, self.key.kind()) {
            (Scheme::Rsa(scheme), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                backend::RsaPublicKeyComponents { n, e }.verify(scheme, message, signature)
            }
            (Scheme::Rsa(scheme), DecodingKeyKind::SecretOrDer(der)) => {
                backend::UnparsedPublicKey::new(*scheme, der).verify(message, signature)
            }
            (Scheme::Curve(scheme), DecodingKeyKind::SecretOrDer(point)) => {
                backend::UnparsedPublicKey::new(*scheme, point).verify(message, signature)
            }
            (Scheme::Curve(_), DecodingKeyKind::RsaModulusExponent { .. }) => return Err(Error::new()),
        };
        verdict.map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
