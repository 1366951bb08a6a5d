//! Closed sets of values that are metric labels and log values.
//!
//! Each set is an enum with derived names, so no value can be left out: [`Label::name`] gives the name of a value,
//! [`VariantArray::VARIANTS`] lists the set, and [`EnumMap`](enum_map::EnumMap) stores one item per value.
//!
//! The documentation comment of a value is its meaning in the reference documentation too ([`label_values`]), in
//! Markdown. `strum(message = …)` adds what only the reference says: what the client gets, or how memory is counted.

mod background;
mod cache;
mod client;
mod introspection;
mod request;

pub use background::{KeyFetch, KeyFetchFailure, ReloadResult, TokenCheck};
pub use cache::{CacheEvent, Direction, Purged, StoreFailure, StoreObserver, StoreOperation, StoreRefusal};
pub use client::{DisconnectReason, MemoryKind, Shed};
pub use introspection::{IntrospectionCache, IntrospectionFailure, IntrospectionResult};
pub use request::{CacheStatus, Decision, Reused, RightResult, StatusClass};

use strum::{EnumMessage, VariantArray};

/// A value of a closed set.
pub trait Label: VariantArray + Copy + Into<&'static str> {
    /// The name in metrics and logs.
    fn name(self) -> &'static str {
        self.into()
    }

    /// Every name of the set, in the order of declaration.
    fn names() -> Vec<&'static str> {
        Self::VARIANTS.iter().map(|one| one.name()).collect()
    }
}

impl<T: VariantArray + Copy + Into<&'static str>> Label for T {}

/// A value of a closed set, for the reference documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelValue {
    /// The name in metrics and logs.
    pub name: &'static str,
    /// What the value means.
    pub meaning: &'static str,
    /// What else the reference says of it; empty for most sets.
    pub detail: &'static str,
}

/// Every value of the set, in the order of declaration.
pub fn label_values<L: Label + EnumMessage>() -> Vec<LabelValue> {
    let value = |one: &L| LabelValue {
        name: one.name(),
        meaning: one.get_documentation().unwrap_or_default(),
        detail: one.get_message().unwrap_or_default(),
    };
    L::VARIANTS.iter().map(value).collect()
}
