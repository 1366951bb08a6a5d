//! What is left of places that had to go.

use super::{ALL_CALLERS, Denied, MAX_DENIED, Millis, NewestResponse, VariantState, Watermark};

/// What is remembered of places that a store had no room for, so that a place that is made later knows it too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvictedVariants {
    watermark: Option<Watermark>,
    newest: Option<NewestResponse>,
    denied: Vec<Denied>,
}

impl EvictedVariants {
    /// Remembers a place that goes. Beyond so many credentials all count as denied.
    pub fn add<T>(&mut self, variant: VariantState<T>) {
        // Of several newest responses one is remembered; what may be older than any is kept away.
        let newest = variant.newest.map(|newest| Watermark { began: newest.at, until: newest.until });
        let marks = [self.watermark, variant.watermark, newest].into_iter().flatten();
        self.watermark = marks.reduce(|a, b| Watermark { began: a.began.max(b.began), until: a.until.max(b.until) });
        self.newest = self.newest.into_iter().chain(variant.newest).max_by_key(|newest| (newest.version, newest.until));
        for denied in variant.denied {
            match self.denied.iter_mut().find(|known| known.caller == denied.caller) {
                Some(known) => known.until = known.until.max(denied.until),
                None => self.denied.push(denied),
            }
        }
        if self.denied.len() > MAX_DENIED {
            let until = self.denied.iter().map(|denied| denied.until).max().unwrap_or_default();
            self.denied = vec![Denied { caller: ALL_CALLERS, until }];
        }
    }

    /// Drops what is over.
    pub fn prune(&mut self, now: Millis) {
        self.watermark = self.watermark.filter(|watermark| watermark.until > now);
        self.newest = self.newest.filter(|newest| newest.until > now);
        self.denied.retain(|denied| denied.until > now);
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.watermark.is_none() && self.newest.is_none() && self.denied.is_empty()
    }

    /// For how many denials there is room.
    pub fn capacity(&self) -> usize {
        self.denied.capacity()
    }

    /// A place that knows all that.
    pub fn variant<T>(&self) -> VariantState<T> {
        let EvictedVariants { watermark, newest, denied } = self;
        VariantState { watermark: *watermark, newest: *newest, denied: denied.clone(), ..VariantState::default() }
    }
}
