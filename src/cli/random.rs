//! Random secrets.

use super::command_error::{CommandError, other};
use ring::rand::{SecureRandom, SystemRandom};

pub(super) fn random() -> Result<[u8; 32], CommandError> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| other("the system random number generator failed"))?;
    Ok(random)
}
