//! The backends of upstreams: provider, verifiers of tokens, slots. A new configuration reuses backends that still
//! fit, with their connections, addresses, keys and verified tokens.

use super::RuntimeError;
use super::supervised::Supervised;
use super::verifiers::TokenVerifiers;
use crate::gateway::Upstream;
use crate::introspection::{IntrospectionContext, IntrospectionCounters};
use crate::jwks::IssuerContext;
use crate::memory::Memory;
use crate::provider::{Provider, SlotUsage, Slots};
use crate::serve;
use std::sync::Arc;

/// The backend of one upstream.
pub(super) struct Backend {
    provider: Arc<Supervised<Provider>>,
    verifiers: Option<TokenVerifiers>,
    slots: Arc<Slots>,
}

impl Backend {
    /// Builds the backend of an upstream. It reuses what still fits of the one before. Call inside a tokio runtime.
    pub fn new(
        upstream: &Arc<Upstream>,
        before: Option<&Backend>,
        issuer_context: IssuerContext,
        introspections: Arc<IntrospectionCounters>,
        usage: Arc<SlotUsage>,
        memory: &Arc<Memory>,
    ) -> Result<Backend, RuntimeError> {
        let serves = |provider: &&Arc<Supervised<Provider>>| provider.value.serves(upstream, &issuer_context.resolver);
        let wrong = |error| RuntimeError::Client { upstream: upstream.name.clone(), error };
        let provider = match before.map(|backend| &backend.provider).filter(serves) {
            Some(provider) => provider.clone(),
            None => {
                let provider = Arc::new(Provider::new(upstream, &issuer_context.resolver, memory).map_err(wrong)?);
                let current = provider.addresses().clone().keep_current();
                Supervised::new(provider, current)
            }
        };
        let introspection =
            IntrospectionContext { resolver: issuer_context.resolver.clone(), counters: introspections };
        let known = before.and_then(Backend::verifiers);
        let verifiers = TokenVerifiers::new(upstream, known, issuer_context, introspection).map_err(wrong)?;
        // Holders of slots with other limits finish soon; until then they do not count here.
        let same = before.map(|backend| &backend.slots).filter(|slots| slots.limits() == upstream.slots);
        let slots = same.cloned().unwrap_or_else(|| Slots::new(upstream.slots, usage));
        Ok(Backend { provider, verifiers, slots })
    }

    /// What serves requests to the upstream.
    pub fn serving(&self) -> serve::UpstreamHandles<Provider> {
        let provider = self.provider().clone();
        serve::UpstreamHandles { headers: provider.headers().clone(), provider, slots: self.slots.clone() }
    }

    /// The provider.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider.value
    }

    /// What verifies callers' tokens, if the gateway does.
    pub fn verifiers(&self) -> Option<&TokenVerifiers> {
        self.verifiers.as_ref()
    }

    /// The slots of the provider.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Why it cannot serve requests that the backend before it serves.
    pub fn unready(&self, before: Option<&Backend>) -> Option<&'static str> {
        let new = |own: &Provider| before.is_none_or(|backend| !std::ptr::eq(own, &*backend.provider.value));
        if new(self.provider()) && !self.provider().addresses().are_known() {
            return Some(match self.provider().tunnel() {
                Some(_) => "egress_proxy: cannot resolve the host name",
                None => "url: cannot resolve the host name",
            });
        }
        let known = before.and_then(Backend::verifiers);
        let lacks = self.verifiers().is_some_and(|verifiers| verifiers.lack_keys(known));
        lacks.then_some("auth: cannot fetch the issuer's keys")
    }
}
