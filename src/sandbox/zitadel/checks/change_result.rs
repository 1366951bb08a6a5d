//! The result of a change.

use crate::sandbox::zitadel::messages::Challenges;
use crate::sandbox::zitadel::store::Mail;

/// The result of a change.
#[derive(Default)]
pub struct ChangeResult {
    pub events: u64,
    pub challenges: Option<Challenges>,
    pub mail: Option<Mail>,
}
