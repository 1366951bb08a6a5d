//! Elliptic curves: whether a published point lies on its curve. No signature is valid for a point that does not.
//!
//! All numbers are public, so constant-time arithmetic is not needed.

use std::cmp::Ordering;

/// A number in 64-bit limbs, least significant first.
type Number = [u64; 6];

const ZERO: Number = [0; 6];
const ONE: Number = [1, 0, 0, 0, 0, 0];

/// A curve y² = x³ - 3x + b, modulo a prime (SEC 2, section 2).
pub(super) struct Curve {
    prime: Number,
    b: Number,
    /// The length of a coordinate, in bytes.
    pub length: usize,
}

pub(super) const P256: Curve = Curve {
    prime: [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0, 0xffff_ffff_0000_0001, 0, 0],
    b: [0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7, 0, 0],
    length: 32,
};

pub(super) const P384: Curve = Curve {
    prime: [
        0x0000_0000_ffff_ffff,
        0xffff_ffff_0000_0000,
        0xffff_ffff_ffff_fffe,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
    ],
    b: [
        0x2a85_c8ed_d3ec_2aef,
        0xc656_398d_8a2e_d19d,
        0x0314_088f_5013_875a,
        0x181d_9c6e_fe81_4112,
        0x988e_056b_e3f8_2d19,
        0xb331_2fa7_e23e_e7e4,
    ],
    length: 48,
};

/// The prime of Ed25519, and its `d` (RFC 8032, section 5.1).
const EDWARDS_PRIME: Number =
    [0xffff_ffff_ffff_ffed, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff, 0, 0];
const EDWARDS_D: Number =
    [0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73, 0, 0];

impl Curve {
    /// Whether the point with these big-endian coordinates lies on the curve.
    pub fn contains(&self, x: &[u8], y: &[u8]) -> bool {
        let (x, y) = (number(x.iter().rev()), number(y.iter().rev()));
        if !is_less(&x, &self.prime) || !is_less(&y, &self.prime) {
            return false;
        }
        let field = Field(self.prime);
        let three = field.plus(&field.plus(&x, &x), &x);
        let cube = field.times(&field.times(&x, &x), &x);
        field.times(&y, &y) == field.plus(&field.minus(&cube, &three), &self.b)
    }
}

/// Whether these 32 bytes are a compressed point of Ed25519: x² = (y² - 1) / (dy² + 1) must have a root.
pub(super) fn is_edwards_point(bytes: &[u8; 32]) -> bool {
    let field = Field(EDWARDS_PRIME);
    let mut y = number(bytes.iter());
    if let Some(top) = y.get_mut(3) {
        // Clear the sign bit of x.
        *top &= u64::MAX >> 1;
    }
    let y = field.plus(&y, &ZERO);
    let square = field.times(&y, &y);
    let above = field.minus(&square, &ONE);
    let below = field.plus(&field.times(&EDWARDS_D, &square), &ONE);
    field.has_root(field.times(&above, &below))
}

fn number<'b>(lowest_first: impl Iterator<Item = &'b u8>) -> Number {
    let mut number = ZERO;
    for (at, byte) in lowest_first.enumerate() {
        if let Some(digit) = number.get_mut(at / 8) {
            *digit |= u64::from(*byte) << (at % 8 * 8);
        }
    }
    number
}

fn is_less(one: &Number, other: &Number) -> bool {
    one.iter().rev().cmp(other.iter().rev()) == Ordering::Less
}

/// The sum, and whether it overflows.
fn sum(one: &Number, other: &Number) -> (Number, bool) {
    let (mut sum, mut carry) = (*one, false);
    for (digit, more) in sum.iter_mut().zip(other) {
        let (first, over) = digit.overflowing_add(*more);
        let (second, again) = first.overflowing_add(u64::from(carry));
        (*digit, carry) = (second, over || again);
    }
    (sum, carry)
}

/// The difference, modulo 2^384.
fn difference(one: &Number, other: &Number) -> Number {
    let (mut difference, mut borrow) = (*one, false);
    for (digit, less) in difference.iter_mut().zip(other) {
        let (first, under) = digit.overflowing_sub(*less);
        let (second, again) = first.overflowing_sub(u64::from(borrow));
        (*digit, borrow) = (second, under || again);
    }
    difference
}

fn half(number: &Number) -> Number {
    let mut half = *number;
    let above = number.iter().skip(1).chain(std::iter::once(&0));
    half.iter_mut().zip(above).for_each(|(digit, above)| *digit = *digit >> 1 | above << 63);
    half
}

fn low(number: &Number) -> u64 {
    number.first().copied().unwrap_or_default()
}

/// Arithmetic modulo a prime.
struct Field(Number);

impl Field {
    fn plus(&self, one: &Number, other: &Number) -> Number {
        let (sum, over) = sum(one, other);
        if over || !is_less(&sum, &self.0) { difference(&sum, &self.0) } else { sum }
    }

    fn minus(&self, one: &Number, other: &Number) -> Number {
        self.plus(one, &difference(&self.0, other))
    }

    fn times(&self, one: &Number, other: &Number) -> Number {
        let mut product = ZERO;
        for digit in one.iter().rev() {
            for bit in (0..64).rev() {
                product = self.plus(&product, &product);
                if digit >> bit & 1 == 1 {
                    product = self.plus(&product, other);
                }
            }
        }
        product
    }

    /// Whether the number is a square: its Jacobi symbol is then not -1.
    fn has_root(&self, number: Number) -> bool {
        let (mut top, mut bottom, mut positive) = (number, self.0, true);
        while top != ZERO {
            while low(&top) & 1 == 0 {
                top = half(&top);
                positive ^= matches!(low(&bottom) & 7, 3 | 5);
            }
            if is_less(&top, &bottom) {
                positive ^= low(&top) & 3 == 3 && low(&bottom) & 3 == 3;
                std::mem::swap(&mut top, &mut bottom);
            }
            top = difference(&top, &bottom);
        }
        positive || bottom != ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    };

    #[test]
    fn points_must_lie_on_their_curve() {
        let random = SystemRandom::new();
        for (curve, algorithm) in [(P256, &ECDSA_P256_SHA256_FIXED_SIGNING), (P384, &ECDSA_P384_SHA384_FIXED_SIGNING)] {
            for _ in 0..20 {
                let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
                let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.length);
                assert!(curve.contains(x, y));
                let mut off = y.to_vec();
                off[curve.length - 1] ^= 1;
                assert!(!curve.contains(x, &off) && !curve.contains(&[0xff; 48][..curve.length], y));
            }
        }
    }

    #[test]
    fn points_of_ed25519_are_recognized() {
        for _ in 0..20 {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
            assert!(is_edwards_point(pair.public_key().as_ref().try_into().unwrap()));
        }
        // Found by Euler's criterion.
        let points = [3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 19];
        for y in 2..20 {
            for sign in [0, 0x80] {
                let mut bytes = [0; 32];
                (bytes[0], bytes[31]) = (y, sign);
                assert_eq!(is_edwards_point(&bytes), points.contains(&y), "{y}");
            }
        }
    }
}
