//! What came of a change.

use crate::sandbox::zitadel::messages::Challenges;
use crate::sandbox::zitadel::store::Mail;

/// What was done.
#[derive(Default)]
pub struct Done {
    pub events: u64,
    pub challenges: Option<Challenges>,
    pub mail: Option<Mail>,
}
