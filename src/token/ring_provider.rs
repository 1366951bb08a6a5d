//! Makes jsonwebtoken verify and sign with ring, which TLS in this program uses too.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature as backend;

/// Installs ring as the process's token verifier. Calling it again does nothing.
pub fn install() {
    static PROVIDER: CryptoProvider =
        CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };
    // It fails only if a provider is already installed.
    let _ = PROVIDER.install_default();
}

/// Signs the gateway's own assertions. The key is in DER: PKCS #8, or for RSA also PKCS #1.
pub(super) fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let wrong = |_| ErrorKind::InvalidKeyFormat;
    let (der, random) = (key.as_bytes(), SystemRandom::new());
    let rsa = |scheme: &'static dyn backend::RsaEncoding| {
        let pair = backend::RsaKeyPair::from_pkcs8(der).or_else(|_| backend::RsaKeyPair::from_der(der));
        pair.map(|pair| Pair::Rsa(pair, scheme)).map_err(wrong)
    };
    let curve = |scheme| backend::EcdsaKeyPair::from_pkcs8(scheme, der, &random).map(Pair::Curve).map_err(wrong);
    let pair = match algorithm {
        Algorithm::RS256 => rsa(&backend::RSA_PKCS1_SHA256),
        Algorithm::RS384 => rsa(&backend::RSA_PKCS1_SHA384),
        Algorithm::RS512 => rsa(&backend::RSA_PKCS1_SHA512),
        Algorithm::PS256 => rsa(&backend::RSA_PSS_SHA256),
        Algorithm::PS384 => rsa(&backend::RSA_PSS_SHA384),
        Algorithm::PS512 => rsa(&backend::RSA_PSS_SHA512),
        Algorithm::ES256 => curve(&backend::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => curve(&backend::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDSA => backend::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Edwards).map_err(wrong),
        // As for verification.
        _ => Err(ErrorKind::InvalidAlgorithm),
    };
    Ok(Box::new(RingSigner { algorithm: *algorithm, pair: pair?, random }))
}

enum Pair {
    Rsa(backend::RsaKeyPair, &'static dyn backend::RsaEncoding),
    Curve(backend::EcdsaKeyPair),
    Edwards(backend::Ed25519KeyPair),
}

struct RingSigner {
    algorithm: Algorithm,
    pair: Pair,
    random: SystemRandom,
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        match &self.pair {
            Pair::Rsa(pair, scheme) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(*scheme, &self.random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| Error::new())
            }
            Pair::Curve(pair) => {
                let signed = pair.sign(&self.random, message);
                signed.map(|signature| signature.as_ref().to_vec()).map_err(|_| Error::new())
            }
            Pair::Edwards(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
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
