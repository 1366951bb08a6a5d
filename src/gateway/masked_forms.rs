//! The masked forms of a response, kept with it.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// The most forms of one response: more than the masks of any sensible configuration. Those that were not read for the
/// longest time go first, such as those of earlier configurations.
const MAX_FORMS: usize = 64;

/// The masked forms of a response, the last read last, each with the hash of its masks: a hit costs only their
/// comparison. A copy of the response has none.
pub struct MaskedForms<T>(Mutex<Vec<Form<T>>>);

type Form<T> = ([u8; 16], Arc<T>);

impl<T> MaskedForms<T> {
    /// The form for these masks. `make` makes it if there is none; `None` if it does not.
    pub(super) fn get_or_make(&self, masks: [u8; 16], make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        if let Some(form) = found(&mut self.0.lock(), masks) {
            return Some(form);
        }
        // Not under the lock: it may take a while.
        let form = Arc::new(make()?);
        let mut forms = self.0.lock();
        // Those that are made at once are equal.
        if let Some(other) = found(&mut forms, masks) {
            return Some(other);
        }
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

/// The form for these masks. It becomes the last.
fn found<T>(forms: &mut [Form<T>], masks: [u8; 16]) -> Option<Arc<T>> {
    let at = forms.iter().position(|(own, _)| *own == masks)?;
    if let Some(read) = forms.get_mut(at..) {
        read.rotate_left(1);
    }
    forms.last().map(|(_, form)| form.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn form(forms: &MaskedForms<usize>, masks: u8, value: usize) -> usize {
        *forms.get_or_make([masks; 16], || Some(value)).unwrap()
    }

    #[test]
    fn a_form_is_made_once_and_counts() {
        let forms = MaskedForms::default();
        assert_eq!((form(&forms, 1, 500), form(&forms, 1, 7)), (500, 500), "the second read makes nothing");
        assert_eq!(form(&forms, 2, 30), 30);
        assert_eq!(forms.size(|form| *form), 530);
        assert_eq!(forms.clone().size(|form| *form), 0, "a copy has no forms");
        assert!(forms.get_or_make([3; 16], || None).is_none());
        assert_eq!(forms.size(|_| 1), 2, "what could not be made is not kept");
        // Made meanwhile by another reader.
        assert_eq!(*forms.get_or_make([4; 16], || Some(form(&forms, 4, 8))).unwrap(), 8);
        assert_eq!(forms.size(|_| 1), 3);
    }

    #[test]
    fn old_forms_make_room() {
        let forms = MaskedForms::default();
        for masks in 0..64 {
            form(&forms, masks, 1);
        }
        for masks in 0..64 {
            assert_eq!(form(&forms, masks, 2), 1, "all of them stay");
        }
        form(&forms, 0, 2);
        form(&forms, 64, 1);
        assert_eq!(forms.size(|_| 1), MAX_FORMS);
        assert_eq!((form(&forms, 64, 2), form(&forms, 0, 2)), (1, 1), "the last read stay");
        assert_eq!(form(&forms, 1, 2), 2, "what was not read for the longest time is made again");
    }
}
