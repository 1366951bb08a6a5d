//! An entry of a JWKS document, and whether it can verify tokens.
//!
//! Sources: RFC 7517 (members of a key), RFC 7518 section 6 and RFC 8037 (parameters).

use super::algorithm::algorithm;
use super::curve::{Curve, P256, P384, is_edwards_point};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// The allowed sizes of an RSA modulus, in bits. RFC 7518 forbids smaller ones; larger ones would make each
/// verification expensive.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The maximum size of an RSA public exponent, in bits.
const EXPONENT: usize = 33;

/// The relevant members. If one has a wrong type, the entry is not used.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    alg: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "present")]
    usage: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "present")]
    n: Option<String>,
    #[serde(default, deserialize_with = "present")]
    e: Option<String>,
    #[serde(default, deserialize_with = "present")]
    x: Option<String>,
    #[serde(default, deserialize_with = "present")]
    y: Option<String>,
    // Members of a private key: anyone could sign with a key that is published with these.
    #[serde(default, deserialize_with = "present")]
    d: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    p: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    q: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    dp: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    dq: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    qi: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    oth: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    k: Option<IgnoredAny>,
}

/// Deserializes a member that is present. `null` is an error unless its type allows it.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Jwk {
    /// The key's `kid`.
    pub fn id(&self) -> Option<String> {
        self.kid.clone()
    }

    /// The algorithms that the key can verify, limited to those `allowed`.
    pub fn algorithms(&self, allowed: &[Algorithm]) -> Result<Vec<Algorithm>, Unusable> {
        const RSA: &[Algorithm] = &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ];
        let own: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => RSA,
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("EC", Some("P-384")) => &[Algorithm::ES384],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            (kty, None) => return Err(Unusable::wrong(format!("its type `{kty}` is not supported"))),
            (kty, Some(crv)) => {
                return Err(Unusable::wrong(format!("its type `{kty}` with curve `{crv}` is not supported")));
            }
        };
        let own: Vec<Algorithm> =
            match &self.alg {
                None => own.to_vec(),
                Some(alg) => {
                    let named = algorithm(alg).filter(|named| own.contains(named));
                    vec![named.ok_or_else(|| {
                        Unusable::wrong(format!("its `alg` is `{alg}`, which does not match its type"))
                    })?]
                }
            };
        let usable: Vec<Algorithm> = own.iter().copied().filter(|one| allowed.contains(one)).collect();
        if usable.is_empty() {
            let own: Vec<String> = own.iter().map(|one| format!("{one:?}")).collect();
            return Err(Unusable::wrong(format!("it is for {}, which `algorithms` does not allow", own.join(", "))));
        }
        Ok(usable)
    }

    /// The verification key. Fails for private keys, weak keys, and keys for which no signature can be valid.
    /// Certificates (`x5c`) are ignored.
    pub fn decoding(&self) -> Result<DecodingKey, Unusable> {
        if self.is_private() {
            return Err(Unusable::wrong("it is a private or symmetric key: everyone who reads it could sign tokens"));
        }
        let member = |member: &Option<String>, name: &str| {
            let text = member.as_deref().ok_or_else(|| Unusable::wrong(format!("it has no `{name}`")))?;
            decoded(text).ok_or_else(|| Unusable::wrong(format!("its `{name}` is not base64url")))
        };
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => rsa(&member(&self.n, "n")?, &member(&self.e, "e")?),
            ("EC", Some("P-256")) => point(&P256, &member(&self.x, "x")?, &member(&self.y, "y")?),
            ("EC", Some("P-384")) => point(&P384, &member(&self.x, "x")?, &member(&self.y, "y")?),
            _ => edwards(&member(&self.x, "x")?),
        }
    }

    /// Whether the key is intended for verification: `use` and `key_ops`, if present, must both say so.
    pub fn verifies(&self) -> Result<(), Unusable> {
        if let Some(usage) = self.usage.as_ref().filter(|usage| *usage != "sig") {
            return Err(Unusable { why: format!("its `use` is `{usage}`"), may_sign: usage != "enc" });
        }
        let Some(all) = &self.key_ops else {
            return Ok(());
        };
        if all.iter().enumerate().any(|(at, one)| all.iter().skip(at + 1).any(|other| other == one)) {
            return Err(Unusable::wrong("its `key_ops` has a duplicate value"));
        }
        let verify = all.iter().any(|one| one == "verify");
        if verify { Ok(()) } else { Err(Unusable { why: "its `key_ops` has no `verify`".into(), may_sign: false }) }
    }

    fn is_private(&self) -> bool {
        let parts = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        parts.into_iter().any(Option::is_some)
    }
}

/// Why an entry is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    /// The reason, for the log.
    pub why: String,
    /// Whether the issuer may sign tokens with this key. An encryption key is left out without a warning.
    pub may_sign: bool,
}

impl Unusable {
    pub fn wrong(why: impl Into<String>) -> Unusable {
        Unusable { why: why.into(), may_sign: true }
    }
}

/// Decodes base64url (RFC 7515, section 2). Some issuers use the other alphabet, padding, or nonzero trailing bits: the
/// bytes are the same.
fn decoded(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(text.replace('+', "-").replace('/', "_")).ok()
}

/// A number (RFC 7518, section 2) without leading zero bytes, which some libraries add.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn rsa(n: &[u8], e: &[u8]) -> Result<DecodingKey, Unusable> {
    let (n, e) = (number(n), number(e));
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !MODULUS.contains(&bits(n)) {
        let (least, most) = (MODULUS.start(), MODULUS.end());
        return Err(Unusable::wrong(format!("its modulus has {} bits, not {least} to {most}", bits(n))));
    }
    if !odd(n) {
        return Err(Unusable::wrong("its modulus is even"));
    }
    if !(2..=EXPONENT).contains(&bits(e)) || !odd(e) {
        return Err(Unusable::wrong(format!("its exponent is not an odd number from 3 with at most {EXPONENT} bits")));
    }
    Ok(DecodingKey::from_rsa_raw_components(n, e))
}

/// A key from a point's coordinates. They have the curve's length; some libraries omit leading zeros, or add one.
fn point(curve: &Curve, x: &[u8], y: &[u8]) -> Result<DecodingKey, Unusable> {
    let coordinate = |bytes| {
        let digits = number(bytes);
        let missing = curve.length.checked_sub(digits.len());
        missing.map(|zeros| [&vec![0; zeros], digits].concat())
    };
    let (Some(x), Some(y)) = (coordinate(x), coordinate(y)) else {
        return Err(Unusable::wrong(format!("a coordinate of it has more than {} bytes", curve.length)));
    };
    if !curve.contains(&x, &y) {
        return Err(Unusable::wrong("its point does not lie on its curve"));
    }
    Ok(DecodingKey::from_ec_der(&[&[4][..], &x, &y].concat()))
}

fn edwards(x: &[u8]) -> Result<DecodingKey, Unusable> {
    let bytes: [u8; 32] =
        x.try_into().map_err(|_| Unusable::wrong(format!("its `x` has {} bytes, not 32", x.len())))?;
    let mut unsigned = bytes;
    if let Some(last) = unsigned.last_mut() {
        *last &= 0x7f;
    }
    if SMALL_ORDER_POINTS.contains(&unsigned) {
        return Err(Unusable::wrong("its point has a small order: anybody could sign for it"));
    }
    if !is_edwards_point(&bytes) {
        return Err(Unusable::wrong("its point does not lie on its curve"));
    }
    Ok(DecodingKey::from_ed_der(&bytes))
}

/// The points of small order without their sign bit, also in non-canonical encodings: anyone can make signatures that
/// are valid for them.
const SMALL_ORDER_POINTS: [[u8; 32]; 7] = {
    const fn ends(first: u8, rest: u8, last: u8) -> [u8; 32] {
        let mut point = [rest; 32];
        point[0] = first;
        point[31] = last;
        point
    }
    [
        [0; 32],
        ends(1, 0, 0),
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};
