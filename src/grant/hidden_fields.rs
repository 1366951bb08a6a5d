//! The hidden fields of an object, step by step down its paths.

use super::masks::Masks;
use crate::wire::is_ambiguous_spelling;
use crate::wire::masking::{FieldMask, Shown};

/// What is hidden of an object in a session: the paths that go on from there.
#[derive(Debug, Clone, Default)]
pub struct HiddenFields<'m> {
    /// Whether all of it is masked, but for what is dropped.
    all: bool,
    masked: Vec<&'m [String]>,
    dropped: Vec<&'m [String]>,
}

impl Masks {
    /// What is hidden of a session.
    pub fn fields(&self) -> HiddenFields<'_> {
        HiddenFields {
            all: false,
            masked: self.masked().iter().map(Vec::as_slice).collect(),
            dropped: self.dropped().iter().map(Vec::as_slice).collect(),
        }
    }

    /// Whether something of the field at this path is hidden: the field, what contains it, or what it contains.
    pub fn hides(&self, path: &[&str]) -> bool {
        let overlaps = |hidden: &Vec<String>| hidden.iter().zip(path).all(|(hidden, name)| hidden == name);
        self.masked().iter().chain(self.dropped()).any(overlaps)
    }
}

impl<'m> HiddenFields<'m> {
    /// Everything is masked.
    pub fn masked() -> HiddenFields<'m> {
        HiddenFields { all: true, ..HiddenFields::default() }
    }

    /// What is hidden of the member that `is` finds by its name in a path.
    pub fn below(&self, is: impl Fn(&str) -> bool) -> Shown<HiddenFields<'m>> {
        let (dropped, drops) = rest(&self.dropped, &is);
        let (masked, masks) = rest(&self.masked, &is);
        let all = self.all || masks;
        match (drops, all, dropped.is_empty() && masked.is_empty()) {
            (true, _, _) => Shown::Dropped,
            (false, true, _) if dropped.is_empty() => Shown::Masked,
            (false, false, true) => Shown::Whole,
            (false, _, _) => Shown::Partly(HiddenFields { all, masked, dropped }),
        }
    }
}

impl FieldMask for HiddenFields<'_> {
    /// A name in another case, or with other separators, is the same field for some readers.
    fn member(&self, name: &str) -> Shown<Self> {
        self.below(|own| own == name || is_ambiguous_spelling(name, own))
    }
}

/// What is left of the paths that begin with this name, and whether one of them ends there.
fn rest<'m>(paths: &[&'m [String]], is: &impl Fn(&str) -> bool) -> (Vec<&'m [String]>, bool) {
    let mut left = Vec::new();
    let mut ends = false;
    for path in paths {
        match path {
            [first, rest @ ..] if is(first) => match rest {
                [] => ends = true,
                rest => left.push(rest),
            },
            _ => {}
        }
    }
    (left, ends)
}
