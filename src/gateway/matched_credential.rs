//! A credential of the kind that its upstream requires, with the grant of its caller.

use super::credential::{Credential, check_credential};
use super::upstream::Upstream;
use crate::grant::{Grant, GrantMatch};
use crate::model::{Operation, PeerIdentity, Rejection};
use crate::telemetry::Label;
use std::sync::Arc;

/// A credential of the kind that its upstream requires, with the grant of its caller. Only [`Upstream::matched`] makes
/// it.
#[derive(Debug)]
pub struct MatchedCredential {
    pub(super) credential: Credential,
    pub(super) grant: GrantMatch,
}

impl Upstream {
    /// Finds the grant of a credential's caller, on a connection of this identity.
    ///
    /// # Errors
    ///
    /// Rejects a credential of another kind than the upstream requires.
    pub fn matched(&self, credential: Credential, peer: &PeerIdentity) -> Result<MatchedCredential, Rejection> {
        check_credential(&self.check, &credential)?;
        let grant = self.grants.of(credential.verified().map(|verified| verified.caller()), peer);
        Ok(MatchedCredential { credential, grant })
    }

    /// Checks a request over a connection whose client certificate has expired since, or cannot be read.
    ///
    /// # Errors
    ///
    /// Rejects it if a grant names certificates: without its certificate, the caller might get a wider grant.
    pub fn check_expired_certificate(&self) -> Result<(), Rejection> {
        let names_one = self.grants.iter().any(|grant| grant.callers.names_certificate());
        let found = || Rejection::Grant("requests with an expired or unusable client certificate".into());
        if names_one { Err(found()) } else { Ok(()) }
    }
}

impl MatchedCredential {
    /// The credential.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The grant, if the upstream has grants and one matches.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        self.grant.grant()
    }

    /// The name of the grant, for metrics and the access log: empty if none of the upstream's grants matches; `None` if
    /// the upstream has no grants.
    pub fn grant_name(&self) -> Option<Arc<str>> {
        match &self.grant {
            GrantMatch::Unrestricted => None,
            GrantMatch::Granted(grant) => Some(grant.name.clone()),
            GrantMatch::None => Some("".into()),
        }
    }

    /// Rejects an operation that the caller may not do.
    pub fn check(&self, operation: Operation) -> Result<(), Rejection> {
        if self.grant.allows(operation) {
            return Ok(());
        }
        Err(Rejection::Grant(match (&self.grant, operation) {
            (GrantMatch::None, _) => "no grant matches this caller".into(),
            (_, Operation::Other) => "`pass_through`: a request that is no operation of the gateway".into(),
            (_, Operation::ChangeRelated) => "`invalidating`: a request that may change any session".into(),
            (_, operation) => format!("operation `{}`", operation.name()),
        }))
    }
}
