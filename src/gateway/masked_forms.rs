//! The masked forms of a response, kept with it.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// The most forms of one response. One for each grant with masks is enough; those of earlier configurations go first.
const MAX_FORMS: usize = 8;

/// The masked forms of a response, in the order in which they were made, each with the hash of its masks: a hit costs
/// only their comparison. A copy of the response has none.
pub struct MaskedForms<T>(Mutex<Vec<Form<T>>>);

type Form<T> = ([u8; 16], Arc<T>);

impl<T> MaskedForms<T> {
    /// The form for these masks. `make` makes it if there is none; `None` if it does not.
    pub(super) fn get_or_make(&self, masks: [u8; 16], make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        if let Some((_, form)) = self.0.lock().iter().find(|(own, _)| *own == masks) {
            return Some(form.clone());
        }
        // Not under the lock: it may take a while. Two that are made at once are equal.
        let form = Arc::new(make()?);
        let mut forms = self.0.lock();
        if forms.len() >= MAX_FORMS {
            forms.remove(0);
        }
        forms.push((masks, form.clone()));
        Some(form)
    }

    /// How many bytes they have, if `size` gives those of one.
    pub(super) fn size(&self, size: impl Fn(&T) -> usize) -> usize {
        self.0.lock().iter().map(|(_, form)| size(form)).sum()
    }
}

impl<T> Default for MaskedForms<T> {
    fn default() -> MaskedForms<T> {
        MaskedForms(Mutex::default())
    }
}

impl<T> Clone for MaskedForms<T> {
    fn clone(&self) -> MaskedForms<T> {
        MaskedForms::default()
    }
}

impl<T> fmt::Debug for MaskedForms<T> {
    /// Does not print the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskedForms({})", self.0.lock().len())
    }
}
