//! The backends of upstreams: provider, issuer, introspection, slots. A new configuration reuses backends that still
//! fit, with their connections, addresses, keys and verified tokens.

use super::RuntimeError;
use crate::gateway::{CallerCheck, OpaqueTokens, Upstream};
use crate::introspection::{IntrospectionContext, IntrospectionCounters, Introspector};
use crate::jwks::{Issuer, IssuerContext};
use crate::memory::Memory;
use crate::provider::{Provider, SlotUsage, Slots};
use crate::serve;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// The backend of one upstream.
pub(super) struct Backend {
    provider: Arc<Supervised<Provider>>,
    issuer: Option<Arc<Supervised<Issuer>>>,
    introspector: Option<Arc<Supervised<Introspector>>>,
    slots: Arc<Slots>,
}

/// A value with a task that keeps it current. The task ends when this is dropped.
struct Supervised<T> {
    value: Arc<T>,
    task: AbortHandle,
}

impl<T> Supervised<T> {
    fn new(value: Arc<T>, task: impl Future<Output = ()> + Send + 'static) -> Arc<Supervised<T>> {
        Arc::new(Supervised { value, task: tokio::spawn(task).abort_handle() })
    }
}

impl<T> Drop for Supervised<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
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
        let known = before.and_then(|backend| backend.introspector.as_ref());
        let introspector = introspector(upstream, known, introspection).map_err(wrong)?;
        let issuer = issuer(upstream, before.and_then(|backend| backend.issuer.as_ref()), issuer_context);
        // Holders of slots with other limits finish soon; until then they do not count here.
        let same = before.map(|backend| &backend.slots).filter(|slots| slots.limits() == upstream.slots);
        let slots = same.cloned().unwrap_or_else(|| Slots::new(upstream.slots, usage));
        Ok(Backend { provider, issuer, introspector, slots })
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

    /// The issuer, if the gateway verifies callers.
    pub fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref().map(|issuer| &issuer.value)
    }

    /// What introspects opaque tokens, if the gateway does.
    pub fn introspector(&self) -> Option<&Arc<Introspector>> {
        self.introspector.as_ref().map(|introspector| &introspector.value)
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
        // If the keys could not be fetched before either, nothing is lost.
        let akin = |issuer: &Issuer| before.and_then(Backend::issuer).is_some_and(|last| last.shares_keys(issuer));
        let lacks = self.issuer().is_some_and(|issuer| issuer.health().keys == 0 && !akin(issuer));
        lacks.then_some("auth: cannot fetch the issuer's keys")
    }
}

fn issuer(
    upstream: &Upstream,
    before: Option<&Arc<Supervised<Issuer>>>,
    issuer_context: IssuerContext,
) -> Option<Arc<Supervised<Issuer>>> {
    let CallerCheck::Token { expected, keys, .. } = &upstream.check else {
        return None;
    };
    if let Some(same) = before.filter(|issuer| issuer.value.matches(keys, expected, &issuer_context.resolver)) {
        return Some(same.clone());
    }
    let before = before.map(|issuer| &*issuer.value);
    let issuer = Issuer::new(&upstream.name, (**keys).clone(), (**expected).clone(), issuer_context, before);
    Some(Supervised::new(issuer.clone(), issuer.keep_current()))
}

fn introspector(
    upstream: &Upstream,
    before: Option<&Arc<Supervised<Introspector>>>,
    context: IntrospectionContext,
) -> Result<Option<Arc<Supervised<Introspector>>>, rustls::Error> {
    let CallerCheck::Token { expected, opaque: OpaqueTokens::Introspect(source), .. } = &upstream.check else {
        return Ok(None);
    };
    if let Some(same) = before.filter(|known| known.value.matches(source, expected, &context.resolver)) {
        return Ok(Some(same.clone()));
    }
    let before = before.map(|known| &*known.value);
    let introspector = Introspector::new(&upstream.name, source.clone(), (**expected).clone(), context, before)?;
    let current = introspector.addresses().clone().keep_current();
    Ok(Some(Supervised::new(introspector, current)))
}

#[cfg(test)]
mod tests {
    use super::Supervised;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn supervised_task_ends_with_its_last_user() {
        let (held, ended) = oneshot::channel::<()>();
        let one = Supervised::new(Arc::new(()), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (other, it) = (one.clone(), one.value.clone());
        drop(one);
        tokio::task::yield_now().await;
        assert!(!other.task.is_finished());
        drop(other);
        assert!(ended.await.is_err(), "what the task held is gone");
        drop(it);
    }
}
