//! Readiness, and the state of what the gateway depends on.
//!
//! A replica that cannot serve one upstream still serves the others, and a provider that is down is down for all
//! replicas: taking them out of service helps nobody. So readiness only covers start and shutdown.

use super::Runtime;
use super::backends::Backend;
use crate::cache::Scope;
use std::sync::atomic::Ordering;

/// The readiness of the gateway.
#[derive(Debug)]
pub struct Readiness {
    /// Why it is not ready; empty if it is.
    pub reasons: Vec<String>,
    /// Its dependencies by name, with what is wrong with each. None of them makes a gateway unready that has been
    /// ready.
    pub checks: Vec<(String, Result<(), String>)>,
}

impl Readiness {
    /// Whether the gateway is ready.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl Backend {
    /// What the upstream has lacked since the start: its address or its keys.
    fn never_had(&self) -> Option<&'static str> {
        if !self.provider().addresses().are_known() {
            return Some("cannot resolve the host name");
        }
        let fetched = self.issuer().is_none_or(|issuer| issuer.health().age.is_some());
        (!fetched).then_some("the issuer's signing keys are not available yet")
    }
}

impl Runtime {
    /// The current readiness. Once ready, only shutdown makes the gateway unready.
    pub fn readiness(&self) -> Readiness {
        let reasons = if self.is_stopping() { vec!["stopping".to_owned()] } else { self.missing() };
        Readiness { reasons, checks: self.checks() }
    }

    /// What is still missing at the start.
    fn missing(&self) -> Vec<String> {
        if self.process.ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let lacks = self.each().filter_map(|(upstream, backend)| Some((upstream, backend.never_had()?)));
        let missing: Vec<String> = lacks.map(|(upstream, why)| format!("upstreams.{}: {why}", upstream.name)).collect();
        let late = self.process.started.elapsed() >= self.process.readiness_timeout;
        let serves = missing.len() < self.gateway.upstreams().len();
        let enough = missing.is_empty() || (late && serves);
        if !enough {
            return missing;
        }
        if !self.process.ready.swap(true, Ordering::Relaxed) {
            match missing.as_slice() {
                [] => tracing::info!("ready"),
                _ => tracing::warn!(?missing, "ready, although not all upstreams can be served"),
            }
        }
        Vec::new()
    }

    fn checks(&self) -> Vec<(String, Result<(), String>)> {
        let check = |wrong: Option<&str>| wrong.map_or(Ok(()), |wrong| Err(wrong.to_owned()));
        let mut checks = Vec::new();
        for (upstream, backend) in self.each() {
            let name = |part: &str| format!("upstreams.{}.{part}", upstream.name);
            let known = backend.provider().addresses().are_known();
            checks.push((name("name"), check((!known).then_some("cannot resolve the host name"))));
            let failing = backend.provider().is_failing();
            checks.push((name("provider"), check(failing.then_some("requests to the provider fail"))));
            if let Some(issuer) = backend.issuer() {
                let health = issuer.health();
                let wrong = match (health.keys, health.age) {
                    (0, None) => Some("the issuer's signing keys are not available yet"),
                    (0, Some(_)) => Some("the issuer's keys are older than `max_stale`"),
                    _ => issuer.is_failing().then_some("cannot fetch the issuer's keys; still using the previous keys"),
                };
                checks.push((name("keys"), check(wrong)));
                if issuer.is_discovered() {
                    let other = issuer.mismatch().map(|mismatch| mismatch.to_string());
                    checks.push((name("issuer"), check(other.as_deref())));
                }
            }
        }
        let caching = self.gateway.upstreams().iter().filter(|upstream| upstream.scope_cache.is_some());
        let store = self.sessions().store();
        let apart = caching.filter_map(|upstream| store.disconnected_for(Scope::Upstream(upstream.scope))).max();
        let apart = apart.map(|time| format!("no connection for {} s", time.as_secs()));
        checks.push(("store".to_owned(), check(apart.as_deref())));
        checks
    }
}
