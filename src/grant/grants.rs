//! Grants, and which of them is a caller's.

use super::callers::CallerMatcher;
use super::client_index::ClientIndex;
use super::keys::KeyGrant;
use super::masks::Masks;
use super::operations::OperationSet;
use crate::model::{Caller, Operation, PeerIdentity};
use crate::policy::{KeyPattern, KeyPatterns, Policy};
use crate::wire::masking::{FieldMask, Shown};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The grants of an upstream, in the order of the configuration. Without any, every authorized caller may do
/// everything.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    list: Vec<Arc<Grant>>,
    clients: ClientIndex,
}

/// What some callers may do.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The name in the configuration, in the log and in metrics.
    pub name: Arc<str>,
    /// The callers.
    pub callers: CallerMatcher,
    /// What they may do.
    pub operations: OperationSet,
    /// With which sessions.
    pub sessions: SessionScope,
    /// The policy for their writes, instead of the upstream's.
    pub policy: Option<Policy>,
    /// The metadata keys that they may set and clear.
    pub keys: KeyGrant,
    /// What they do not see; `None` if they see everything.
    pub masks: Option<Masks>,
}

/// The sessions of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionScope {
    /// All sessions.
    #[default]
    Any,
    /// The session that a claim of the caller's token names.
    Own,
    /// The sessions of the user who is the subject of the caller's token.
    User,
}

/// Which grant is a caller's.
#[derive(Debug, Clone)]
pub enum GrantMatch {
    /// The upstream has no grants.
    Unrestricted,
    /// This one.
    Granted(Arc<Grant>),
    /// None.
    None,
}

impl Grant {
    /// The metadata keys that its callers own.
    pub fn owned_keys(&self) -> impl Iterator<Item = &KeyPattern> {
        self.keys.own.iter().flat_map(|own| &own.0)
    }

    fn owned_texts(&self) -> BTreeSet<&str> {
        self.owned_keys().map(KeyPattern::source).collect()
    }

    /// Whether its callers see all values of the metadata with this name.
    pub fn shows_all(&self, name: &str) -> bool {
        let shows = |masks: &Masks| !masks.hides_keys() && matches!(masks.fields().member(name), Shown::Whole);
        self.masks.as_ref().is_none_or(shows)
    }

    /// Whether its callers see the value of a key in the metadata with this name.
    pub fn shows_value(&self, name: &str, key: &str) -> bool {
        self.masks.as_ref().is_none_or(|masks| {
            masks.shows_key(key)
                && match masks.fields().member(name) {
                    Shown::Whole => true,
                    Shown::Partly(below) => matches!(below.member(key), Shown::Whole),
                    Shown::Masked | Shown::Dropped => false,
                }
        })
    }
}

impl Grants {
    /// Grants in this order. The callers of each may change keys that another grant owns only if it names them.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Grants {
        let grants = Grants::of_list(grants.into_iter().map(Arc::new).collect());
        grants.beside(grants.owned_keys().cloned())
    }

    /// The same grants where all of these keys are owned, by these grants or by others.
    pub fn beside(&self, owned: impl IntoIterator<Item = KeyPattern>) -> Grants {
        let owned = Arc::new(KeyPatterns(owned.into_iter().collect()));
        if owned.is_empty() {
            return self.clone();
        }
        let keys = |grant: &Grant| KeyGrant { others: Some(owned.clone()), ..grant.keys.clone() };
        Grants::of_list(self.iter().map(|grant| Arc::new(Grant { keys: keys(grant), ..Grant::clone(grant) })).collect())
    }

    fn of_list(list: Vec<Arc<Grant>>) -> Grants {
        let clients = ClientIndex::new(list.iter().map(|grant| &grant.callers));
        Grants { list, clients }
    }

    /// The keys that grants own.
    pub fn owned_keys(&self) -> impl Iterator<Item = &KeyPattern> {
        self.list.iter().flat_map(|grant| grant.owned_keys())
    }

    /// Whether some callers own metadata keys.
    pub fn own_keys(&self) -> bool {
        self.list.iter().any(|grant| grant.keys.own.is_some())
    }

    /// Grants of these and of another provider's upstream that may own the same key, and are not the same owner.
    pub fn contested<'g>(&'g self, other: &'g Grants) -> Option<(&'g Grant, &'g Grant)> {
        let same = |one: &Grant, other: &Grant| one.name == other.name && one.owned_texts() == other.owned_texts();
        let overlap = |one: &Grant, other: &Grant| {
            one.owned_keys().any(|own| other.owned_keys().any(|twin| !own.is_disjoint(twin)))
        };
        let mut pairs = self.iter().flat_map(|own| other.iter().map(move |twin| (&**own, &**twin)));
        pairs.find(|(own, twin)| !same(own, twin) && overlap(own, twin))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The grants, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.list.iter()
    }

    /// The grant of a caller: the first that matches. `None` is a caller whose token the gateway has not verified.
    pub fn of(&self, caller: Option<&Caller>, peer: &PeerIdentity) -> GrantMatch {
        if self.list.is_empty() {
            return GrantMatch::Unrestricted;
        }
        let found = caller.and_then(|caller| {
            let mut grants = self.clients.places(caller.client_id.as_deref()).filter_map(|at| self.list.get(at));
            grants.find(|grant| grant.callers.matches(caller, peer))
        });
        found.map_or(GrantMatch::None, |grant| GrantMatch::Granted(grant.clone()))
    }
}

impl GrantMatch {
    /// The grant.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        match self {
            GrantMatch::Granted(grant) => Some(grant),
            GrantMatch::Unrestricted | GrantMatch::None => None,
        }
    }

    /// Whether the caller may do this.
    pub fn allows(&self, operation: Operation) -> bool {
        match self {
            GrantMatch::Unrestricted => true,
            GrantMatch::Granted(grant) => grant.operations.contains(operation),
            GrantMatch::None => false,
        }
    }
}
