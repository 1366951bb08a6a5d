//! The masked forms of a response, kept with it.

use super::ProviderResponse;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// The most forms of one response. One for each grant with masks is enough; those of earlier configurations go first.
const MAX_FORMS: usize = 8;

/// The masked forms of a response, in the order in which they were made, each with the hash of its masks: a hit costs
/// only their comparison. A copy of the response has none.
#[derive(Default)]
pub struct MaskedForms(Mutex<Vec<Form>>);

type Form = ([u8; 16], Arc<ProviderResponse>);

impl MaskedForms {
    /// The form for these masks. `make` makes it if there is none; `None` if it does not.
    pub(super) fn get_or_make(
        &self,
        masks: [u8; 16],
        make: impl FnOnce() -> Option<ProviderResponse>,
    ) -> Option<Arc<ProviderResponse>> {
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

    /// How many bytes they have.
    fn size(&self) -> usize {
        self.0.lock().iter().map(|(_, form)| form.size()).sum()
    }
}

impl ProviderResponse {
    /// How much memory it needs, in bytes, with its masked forms.
    pub fn size(&self) -> usize {
        /// With the ID of its user.
        const OVERHEAD: usize = 320;
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.body.len() + headers + OVERHEAD + self.masked_forms.size()
    }
}

impl Clone for MaskedForms {
    fn clone(&self) -> MaskedForms {
        MaskedForms::default()
    }
}

impl fmt::Debug for MaskedForms {
    /// Does not print the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskedForms({})", self.0.lock().len())
    }
}
