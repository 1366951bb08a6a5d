//! Readiness, and the state of what the gateway depends on.
//!
//! A replica that cannot serve one upstream still serves the others, and a provider that is down is down for all
//! replicas: taking them out of service helps nobody. So readiness only covers start and shutdown.

use super::backends::Backend;
use super::{CurrentRuntime, Runtime, TokenVerifiers};
use crate::cache::Scope;
use crate::jwks::Issuer;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The readiness of the gateway.
#[derive(Debug)]
pub struct Readiness {
    /// The names of the checks that make it unready, each with what is wrong; empty if it is ready.
    pub reasons: Vec<String>,
    /// All checks by name, with what is wrong with each. After the start only `draining` makes the gateway unready.
    pub checks: Vec<(String, Result<(), String>)>,
}

impl Readiness {
    /// Whether the gateway is ready.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// How often readiness is checked until it is reached.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

const DRAINING: &str = "draining";
const STOPPING: &str = "the process is stopping";
const UNRESOLVED: &str = "cannot resolve the host name";
const UNRESOLVED_PROXY: &str = "cannot resolve the host name of the egress proxy";
const NO_KEYS: &str = "the issuer's signing keys are not available yet";

/// The name of a check of one upstream.
fn check_name(upstream: &str, part: &str) -> String {
    format!("upstream.{upstream}.{part}")
}

impl Backend {
    /// What is wrong with the address to connect to, if anything: a provider behind an egress proxy is resolved there.
    fn address_problem(&self) -> Option<&'static str> {
        let unresolved = if self.provider().tunnel().is_some() { UNRESOLVED_PROXY } else { UNRESOLVED };
        (!self.provider().addresses().are_known()).then_some(unresolved)
    }

    /// The check that has failed since the start, with what is wrong: the upstream's address, or its keys.
    fn never_passed(&self) -> Option<(&'static str, String)> {
        if let Some(problem) = self.address_problem() {
            return Some(("dns", problem.to_owned()));
        }
        let lacks = |issuer: &Issuer| (!has_fetched(issuer)).then(|| NO_KEYS.to_owned());
        Some(("keys", of_issuers(self.verifiers()?, lacks)?))
    }

    /// Whether it can serve any caller: the address is known, and the keys of an issuer.
    fn serves_any(&self) -> bool {
        let verifies = self.verifiers().is_none_or(|verifiers| verifiers.issuers().any(|issuer| has_fetched(issuer)));
        self.address_problem().is_none() && verifies
    }

    /// The checks of this upstream, each with what is wrong.
    fn checks(&self) -> Vec<(&'static str, Option<String>)> {
        let failing = self.provider().is_failing();
        let mut checks = vec![
            ("dns", self.address_problem().map(str::to_owned)),
            ("provider", failing.then(|| "requests to the provider fail".to_owned())),
        ];
        let Some(verifiers) = self.verifiers() else {
            return checks;
        };
        checks.push(("keys", of_issuers(verifiers, keys_problem)));
        if verifiers.issuers().any(|issuer| issuer.is_discovered()) {
            checks.push(("issuer", of_issuers(verifiers, |issuer| Some(issuer.mismatch()?.to_string()))));
        }
        if let Some(introspector) = verifiers.introspector() {
            let wrong = introspector.is_failing().then(|| "tokens cannot be introspected".to_owned());
            checks.push(("introspection", wrong));
        }
        checks
    }
}

/// Whether the keys of an issuer were fetched since the start.
fn has_fetched(issuer: &Issuer) -> bool {
    issuer.health().age.is_some()
}

/// What is wrong with the issuers of an upstream. With several, each problem names its issuer.
fn of_issuers(verifiers: &TokenVerifiers, problem: impl Fn(&Issuer) -> Option<String>) -> Option<String> {
    let several = verifiers.issuers().len() > 1;
    let named = |issuer: &Arc<Issuer>| {
        let problem = problem(issuer)?;
        Some(if several { format!("{}: {problem}", issuer.issuer()) } else { problem })
    };
    let all: Vec<String> = verifiers.issuers().filter_map(named).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What is wrong with an issuer's keys.
fn keys_problem(issuer: &Issuer) -> Option<String> {
    let health = issuer.health();
    let problem = match (health.keys, health.age) {
        (0, None) => Some(NO_KEYS),
        (0, Some(_)) => Some("the issuer's keys are older than `max_stale`"),
        _ => issuer.is_failing().then_some("cannot fetch the issuer's keys; still using the previous keys"),
    };
    problem.map(str::to_owned)
}

impl CurrentRuntime {
    /// Waits until readiness is reached, which is logged, or the process stops.
    pub async fn reach_readiness(&self) {
        while !self.now().is_stopping() && !self.now().missing().is_empty() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// The current readiness. Once ready, only shutdown makes the gateway unready.
    pub fn readiness(&self) -> Readiness {
        let mut readiness = self.now().readiness();
        let config = self.config_problems();
        let config = if config.is_empty() { Ok(()) } else { Err(config.join("; ")) };
        let draining = self.now().is_stopping().then(|| STOPPING.to_owned());
        readiness.checks.push(("config".to_owned(), config));
        readiness.checks.push((DRAINING.to_owned(), draining.map_or(Ok(()), Err)));
        readiness
    }
}

impl Runtime {
    /// The readiness, without the checks of the process.
    fn readiness(&self) -> Readiness {
        let reasons = if self.is_stopping() { vec![format!("{DRAINING}: {STOPPING}")] } else { self.missing() };
        Readiness { reasons, checks: self.checks() }
    }

    /// What is still missing at the start.
    fn missing(&self) -> Vec<String> {
        if self.process.ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let lacks = self.each().filter_map(|(upstream, backend)| Some((upstream, backend.never_passed()?)));
        let missing: Vec<String> =
            lacks.map(|(upstream, (part, why))| format!("{}: {why}", check_name(&upstream.name, part))).collect();
        let late = self.process.started.elapsed() >= self.process.readiness_timeout;
        let serves = self.backends.iter().any(Backend::serves_any);
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
        let result = |wrong: Option<String>| wrong.map_or(Ok(()), Err);
        let of_upstreams = self.each().flat_map(|(upstream, backend)| {
            let named = |(part, wrong)| (check_name(&upstream.name, part), result(wrong));
            backend.checks().into_iter().map(named).collect::<Vec<_>>()
        });
        let mut checks: Vec<(String, Result<(), String>)> = of_upstreams.collect();
        let caching = self.gateway.upstreams().iter().filter(|upstream| upstream.scope_cache.is_some());
        let store = self.sessions().store();
        let apart = caching.filter_map(|upstream| store.outage(Scope::Upstream(upstream.scope)));
        let apart = apart.max_by_key(|outage| outage.lasted);
        let apart = apart.map(|outage| format!("unusable for {} s: {}", outage.lasted.as_secs(), outage.reason));
        checks.push(("store".to_owned(), result(apart)));
        checks
    }
}
