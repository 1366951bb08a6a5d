//! An entry of a JWKS document: which of them are keys to verify tokens with.
//!
//! Sources: RFC 7517 (members of a key), RFC 7518 section 6 and RFC 8037 (parameters).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// The sizes of moduli, in bits: RFC 7518 forbids smaller ones, and larger ones would make each check expensive.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest public exponent, in bits.
const EXPONENT: usize = 33;

/// The members that matter. A member that is there has its one type; otherwise the entry is not used.
#[derive(Deserialize)]
pub(super) struct Public {
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
    // What only the owner of a key may know: one that is published anybody can sign with.
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

/// A member that is there, `null` among its values only where its type has it.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Public {
    /// The name of the key.
    pub fn id(&self) -> Option<String> {
        self.kid.clone()
    }

    /// The algorithms that it may be used with.
    pub fn algorithms(&self) -> Vec<Algorithm> {
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
            _ => &[],
        };
        let named = |one: &Algorithm| self.alg.as_ref().is_none_or(|named| *named == format!("{one:?}"));
        own.iter().copied().filter(named).collect()
    }

    /// What it verifies with; none where it is not meant for that, is private, or is weak. Certificates (`x5c`) are not looked at.
    pub fn decoding(&self) -> Option<DecodingKey> {
        if !self.verifies() || self.is_private() {
            return None;
        }
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => rsa(self.n.as_deref()?, self.e.as_deref()?),
            ("EC", Some("P-256")) => point(self.x.as_deref()?, self.y.as_deref()?, 32),
            ("EC", Some("P-384")) => point(self.x.as_deref()?, self.y.as_deref()?, 48),
            ("OKP", Some("Ed25519")) => edwards(self.x.as_deref()?),
            _ => None,
        }
    }

    /// Whether its owner means it for verifying: where `use` and `key_ops` say anything, both have to say so.
    fn verifies(&self) -> bool {
        let signatures = self.usage.as_ref().is_none_or(|usage| usage == "sig");
        let verify = self.key_ops.as_ref().is_none_or(|all| {
            let repeated = all.iter().enumerate().any(|(at, one)| all.iter().skip(at + 1).any(|other| other == one));
            !repeated && all.iter().any(|one| one == "verify")
        });
        signatures && verify
    }

    fn is_private(&self) -> bool {
        let parts = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        parts.into_iter().any(Option::is_some)
    }
}

/// A number of RFC 7518, section 2. Some libraries put a zero byte before it, which changes nothing of its value.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).map(<[u8]>::to_vec)
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn rsa(n: &str, e: &str) -> Option<DecodingKey> {
    let (n, e) = (number(n)?, number(e)?);
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let good = MODULUS.contains(&bits(&n)) && odd(&n) && (2..=EXPONENT).contains(&bits(&e)) && odd(&e);
    good.then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}

/// A point of a curve. Whether it lies on it is found out when something is verified with it.
fn point(x: &str, y: &str, length: usize) -> Option<DecodingKey> {
    let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length);
    let point = [vec![4], coordinate(x)?, coordinate(y)?].concat();
    Some(DecodingKey::from_ec_der(&point))
}

fn edwards(x: &str) -> Option<DecodingKey> {
    let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(x).ok()?.try_into().ok()?;
    let mut unsigned = bytes;
    if let Some(last) = unsigned.last_mut() {
        *last &= 0x7f;
    }
    (!SMALL.contains(&unsigned)).then(|| DecodingKey::from_ed_der(&bytes))
}

/// The points of small order, less their sign, also where they are not in their shortest form: signatures that anybody can make are
/// good with them.
const SMALL: [[u8; 32]; 7] = {
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
