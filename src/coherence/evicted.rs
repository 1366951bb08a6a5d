//! What a store remembers of variants that it has evicted.

use super::{ALL_CALLERS, Denied, MAX_DENIED, Millis, NewestResponse, VariantState, Watermark};

/// The watermarks, versions and denials of evicted variants, for variants that are created later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvictedVariants {
    watermark: Option<Watermark>,
    newest: Option<NewestResponse>,
    denied: Vec<Denied>,
}

impl EvictedVariants {
    /// Records a variant that is evicted. Beyond the maximum number of denied callers, all are denied.
    pub fn add<T>(&mut self, variant: VariantState<T>) {
        // Only one newest response is kept. The watermark keeps out what may be older than any of them.
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

    /// Drops what has expired.
    pub fn prune(&mut self, now: Millis) {
        self.watermark = self.watermark.filter(|watermark| watermark.until > now);
        self.newest = self.newest.filter(|newest| newest.until > now);
        self.denied.retain(|denied| denied.until > now);
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.watermark.is_none() && self.newest.is_none() && self.denied.is_empty()
    }

    /// The number of denials that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.denied.capacity()
    }

    /// A new variant with all that is recorded.
    pub fn variant<T>(&self) -> VariantState<T> {
        let EvictedVariants { watermark, newest, denied } = self;
        VariantState { watermark: *watermark, newest: *newest, denied: denied.clone(), ..VariantState::default() }
    }
}
