//! A part of a whole.

use std::fmt;

/// A part of a whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000;

impl Ratio {
    /// The whole.
    pub const ONE: Ratio = Ratio(WHOLE);

    /// Parses a number from 0 to 1 with at most six decimal places.
    pub fn parse(text: &str) -> Option<Ratio> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > 6 {
            return None;
        }
        let part: u32 = format!("{part:0<6}").parse().ok()?;
        let ratio = whole.parse::<u32>().ok()?.checked_mul(WHOLE)?.checked_add(part)?;
        (ratio <= WHOLE).then_some(Ratio(ratio))
    }

    /// Whether a random number is within it.
    pub fn contains(self, number: u64) -> bool {
        number % u64::from(WHOLE) < u64::from(self.0)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / WHOLE, self.0 % WHOLE) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, part) => f.write_str(format!("{whole}.{part:06}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_decimal_numbers_from_0_to_1() {
        for (text, shown) in
            [("0", "0"), ("1", "1"), ("1.0", "1"), ("0.5", "0.5"), ("0.010", "0.01"), ("0.000001", "0.000001")]
        {
            assert_eq!(Ratio::parse(text).map(|ratio| ratio.to_string()).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            ".5",
            "1.",
            "1.1",
            "1.000001",
            "2",
            "-0.5",
            "+0.5",
            "1e-3",
            "0.0000001",
            "50%",
            "0,5",
            "4294967296",
            "nan",
        ] {
            assert_eq!(Ratio::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ratio_contains_its_part_of_all_numbers() {
        let within = |text: &str| (0..2_000_000).filter(|n| Ratio::parse(text).unwrap().contains(*n)).count();
        assert_eq!((within("0"), within("0.25"), within("1")), (0, 500_000, 2_000_000));
    }
}
