//! The credential of a request.

use super::caller_check::CallerCheck;
use crate::model::Rejection;
use crate::token::Verified;
use bytes::Bytes;
use std::sync::Arc;

/// The credential of a request.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token that the gateway has verified.
    Verified(Arc<Verified>),
    /// An access token that the gateway forwards without verifying it. Without its scheme.
    Forwarded(Bytes),
    /// No credential.
    Anonymous,
}

impl Credential {
    /// The proof, if the gateway has verified the credential.
    pub fn verified(&self) -> Option<&Arc<Verified>> {
        match self {
            Credential::Verified(verified) => Some(verified),
            Credential::Forwarded(_) | Credential::Anonymous => None,
        }
    }

    /// Whether the gateway has verified the credential.
    pub fn is_verified(&self) -> bool {
        self.verified().is_some()
    }
}

/// Checks that the credential is of the kind that the upstream requires.
pub(super) fn check_credential(check: &CallerCheck, credential: &Credential) -> Result<(), Rejection> {
    match (check, credential) {
        (CallerCheck::Token(_), Credential::Verified(_)) | (CallerCheck::None, _) => Ok(()),
        (CallerCheck::Forward, Credential::Forwarded(value)) if !value.trim_ascii().is_empty() => Ok(()),
        (CallerCheck::Token(_), Credential::Forwarded(value))
            if check.forwards_opaque() && !value.trim_ascii().is_empty() =>
        {
            Ok(())
        }
        (CallerCheck::Token(_) | CallerCheck::Forward, _) => Err(Rejection::CredentialMissing),
    }
}
