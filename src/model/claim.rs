//! A claim of a token, with the texts of its errors.

/// A claim's name and its error texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The name in the payload.
    pub name: &'static str,
    /// The error if it is missing.
    pub missing: &'static str,
    /// The error if its value has another form.
    pub malformed: &'static str,
    /// The error if it occurs more than once.
    pub repeated: &'static str,
}

/// The claim with this name.
macro_rules! claim {
    ($name:literal) => {
        $crate::model::Claim {
            name: $name,
            missing: concat!("its claim `", $name, "` is missing"),
            malformed: concat!("its claim `", $name, "` is malformed"),
            repeated: concat!("its claim `", $name, "` is duplicated"),
        }
    };
}

pub(crate) use claim;
