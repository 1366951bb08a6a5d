//! What is hidden of an object, whatever its encoding.

/// What stands in place of a text.
pub const MASK: &str = "***";

/// What is shown of a value.
#[derive(Debug, Clone)]
pub enum Shown<M> {
    /// All of it.
    Whole,
    /// Nothing: it is removed.
    Dropped,
    /// Its form: every text in it becomes [`MASK`]; times and other scalars are removed.
    Masked,
    /// Of each of its members, what this says. A scalar is removed.
    Partly(M),
}

/// What is hidden of an object.
pub trait FieldMask: Sized {
    /// What is shown of the member with this name. No member of a message with a schema has the empty name: it stands
    /// for the fields that are unknown.
    fn member(&self, name: &str) -> Shown<Self>;
}

/// What is hidden of an object that may be masked as a whole.
#[derive(Debug)]
pub(super) enum Within<'m, M> {
    /// Everything is masked.
    Masked,
    /// What this says.
    Partly(&'m M),
}

impl<M: FieldMask> Within<'_, M> {
    pub(super) fn member(&self, name: &str) -> Shown<M> {
        match self {
            Within::Masked => Shown::Masked,
            Within::Partly(mask) => mask.member(name),
        }
    }
}
