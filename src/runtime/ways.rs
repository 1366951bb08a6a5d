//! The ways to providers, and those who check their callers. A new configuration takes over what serves it too, with its
//! connections, addresses, keys and remembered tokens.

use super::RuntimeError;
use crate::gateway::{CallerCheck, Upstream};
use crate::jwks::{Issuer, Means};
use crate::memory::Memory;
use crate::provider::{Provider, Slots, Tally};
use std::sync::Arc;
use tokio::task::AbortHandle;

/// How an upstream is reached, and how its callers are checked.
pub(super) struct Way {
    provider: Arc<Tended<Provider>>,
    issuer: Option<Arc<Tended<Issuer>>>,
    slots: Arc<Slots>,
}

/// Something with a task that keeps it current, which ends with it.
struct Tended<T> {
    it: Arc<T>,
    task: AbortHandle,
}

impl<T> Tended<T> {
    fn new(it: Arc<T>, task: impl Future<Output = ()> + Send + 'static) -> Arc<Tended<T>> {
        Arc::new(Tended { it, task: tokio::spawn(task).abort_handle() })
    }
}

impl<T> Drop for Tended<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    /// The way to an upstream, with what still serves of the way that it had before. Has to be called inside a tokio runtime.
    pub fn new(
        upstream: &Arc<Upstream>,
        before: Option<&Way>,
        means: Means,
        tally: Arc<Tally>,
        memory: &Arc<Memory>,
    ) -> Result<Way, RuntimeError> {
        let serves = |provider: &&Arc<Tended<Provider>>| provider.it.serves(upstream, &means.resolver);
        let provider = match before.map(|way| &way.provider).filter(serves) {
            Some(provider) => provider.clone(),
            None => {
                let wrong = |error| RuntimeError::Client { upstream: upstream.name.clone(), error };
                let provider = Arc::new(Provider::new(upstream, &means.resolver, memory).map_err(wrong)?);
                let current = provider.addresses().clone().keep_current();
                Tended::new(provider, current)
            }
        };
        let issuer = issuer(upstream, before.and_then(|way| way.issuer.as_ref()), means);
        // Those who hold slots of other limits are done soon; until then they do not count here.
        let same = before.map(|way| &way.slots).filter(|slots| slots.limits() == upstream.slots);
        let slots = same.cloned().unwrap_or_else(|| Slots::new(upstream.slots, tally));
        Ok(Way { provider, issuer, slots })
    }

    /// The provider.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider.it
    }

    /// Who checks the callers, where the gateway does.
    pub fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref().map(|issuer| &issuer.it)
    }

    /// How much may be in flight at the provider.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Why requests could not be served on it that are served on the way before it, where there is one.
    pub fn unready(&self, before: Option<&Way>) -> Option<&'static str> {
        let new = |own: &Provider| before.is_none_or(|way| !std::ptr::eq(own, &*way.provider.it));
        if new(self.provider()) && !self.provider().addresses().are_known() {
            return Some("url: the name cannot be looked up");
        }
        // An issuer whose keys nobody could fetch before loses nothing.
        let akin = |issuer: &Issuer| before.and_then(Way::issuer).is_some_and(|last| last.shares_keys(issuer));
        let lacks = self.issuer().is_some_and(|issuer| issuer.health().keys == 0 && !akin(issuer));
        lacks.then_some("auth: the issuer's keys cannot be fetched")
    }
}

fn issuer(upstream: &Upstream, before: Option<&Arc<Tended<Issuer>>>, means: Means) -> Option<Arc<Tended<Issuer>>> {
    let CallerCheck::Token { expected, keys, .. } = &upstream.check else {
        return None;
    };
    if let Some(same) = before.filter(|issuer| issuer.it.serves(keys, expected, &means.resolver)) {
        return Some(same.clone());
    }
    let before = before.map(|issuer| &*issuer.it);
    let issuer = Issuer::new(&upstream.name, (**keys).clone(), expected.clone(), means, before);
    Some(Tended::new(issuer.clone(), issuer.keep_current()))
}

#[cfg(test)]
mod tests {
    use super::Tended;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_ends_with_the_last_who_holds_what_it_tends() {
        let (held, ended) = oneshot::channel::<()>();
        let one = Tended::new(Arc::new(()), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (other, it) = (one.clone(), one.it.clone());
        drop(one);
        tokio::task::yield_now().await;
        assert!(!other.task.is_finished());
        drop(other);
        assert!(ended.await.is_err(), "what the task held is gone");
        drop(it);
    }
}
