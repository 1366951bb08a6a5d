//! The checks of `check --online`: they use the gateway's own client, so they see what the gateway would see.
//!
//! Providers, issuers and the store are checked at the same time. Each step has the timeout that the configuration
//! gives it, and [`LIMIT`] at most.

use super::hints::{BEHIND, hint};
use crate::cache::{Evicts, ServerTrial, try_servers};
use crate::client::{Connected, ConnectionTrial, Files, Resolver};
use crate::config::{Config, FindingId, Redis, Store};
use crate::gateway::{OpaqueTokens, TokenIssuer, Upstream};
use crate::introspection::{IntrospectionContext, Introspector};
use crate::jwks::{Discovery, Documents, FetchError, IssuerMismatch};
use crate::memory::Memory;
use crate::model::truncated;
use crate::provider::Provider;
use crate::token::Expectations;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinError;

/// The longest time of a step.
const LIMIT: Duration = Duration::from_secs(30);
/// The most providers and issuers that are checked at the same time.
const AT_ONCE: usize = 64;
/// The maximum length of a message, in bytes.
const MAX_MESSAGE: usize = 500;

/// A check and its result.
pub(super) struct Check {
    /// Its name: `upstream.NAME.dns`.
    pub name: String,
    /// The path of the option that it is about.
    pub option: String,
    pub id: FindingId,
    pub outcome: Outcome,
    /// How long it took; `None` if it was skipped.
    pub took: Option<Duration>,
    /// What was found, without control characters.
    pub message: String,
}

/// How a check ended.
pub(super) enum Outcome {
    Ok,
    Failed {
        hint: String,
    },
    /// It could not run, because another one failed, or there was nothing to check.
    Skipped,
}

/// Runs all checks of a configuration. Call inside a tokio runtime.
pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let resolver = Resolver::new(config.dns.servers.clone(), Files::default());
    let memory = Memory::new(config.clients.limits.memory, 0);
    let mut jobs: Vec<(String, Job)> = Vec::new();
    for upstream in config.gateway.upstreams() {
        let name = format!("upstream.{}", upstream.name);
        jobs.push((name.clone(), Box::pin(of_provider(Prepared::new(upstream, &resolver, &memory)))));
        for issuer in upstream.check.issuers() {
            if let OpaqueTokens::Introspect(source) = &issuer.opaque {
                let context = IntrospectionContext { resolver: resolver.clone(), counters: Arc::default() };
                let introspector = Introspector::new(&upstream.name, issuer, source.clone(), context, None);
                let introspector = introspector.map_err(|error| error.to_string());
                jobs.push((name.clone(), Box::pin(of_introspection(upstream.clone(), issuer.clone(), introspector))));
            }
            jobs.push((name.clone(), Box::pin(of_issuer(upstream.clone(), issuer.clone(), resolver.clone()))));
        }
    }
    if let Store::Redis(shared) = &config.store {
        jobs.push(("store".to_owned(), Box::pin(of_store((**shared).clone()))));
    }
    // Each in a task of its own, so that none delays another.
    let jobs = stream::iter(jobs).map(|(name, job)| async { tokio::spawn(job).await.map_err(|error| (name, error)) });
    let unfinished = |(name, error): (String, JoinError)| {
        let about = About::new(name, String::new(), FindingId::OnlineConnect);
        vec![about.failed(Duration::ZERO, &format!("the check did not finish: {error}"))]
    };
    let done: Vec<_> = jobs.buffered(AT_ONCE).map(|done| done.unwrap_or_else(unfinished)).collect().await;
    done.into_iter().flatten().collect()
}

/// The checks of one provider, issuer or store.
type Job = Pin<Box<dyn Future<Output = Vec<Check>> + Send>>;

/// A provider whose client is set up, which takes time, before anything is measured.
struct Prepared {
    upstream: Arc<Upstream>,
    client: Result<(Provider, ConnectionTrial), String>,
}

impl Prepared {
    fn new(upstream: &Arc<Upstream>, resolver: &Arc<Resolver>, memory: &Arc<Memory>) -> Prepared {
        let provider = Provider::new(upstream, resolver, memory).map_err(|error| error.to_string());
        let client = provider.and_then(|provider| {
            let trial = provider.connection_trial()?;
            Ok((provider, trial))
        });
        Prepared { upstream: upstream.clone(), client }
    }
}

/// The name of the provider, a connection to it, and a request.
async fn of_provider(Prepared { upstream, client }: Prepared) -> Vec<Check> {
    let about = |part: &str, id| About::upstream(&upstream.name, part, "url", id);
    let proxy = upstream.target.proxy.as_ref();
    let dns = match proxy {
        Some(_) => About::upstream(&upstream.name, "dns", "egress_proxy", FindingId::OnlineDns),
        None => about("dns", FindingId::OnlineDns),
    };
    let through = if proxy.is_some() { " (egress proxy)" } else { "" };
    // What fails behind a proxy says nothing of it.
    let behind = |reason: String| match proxy {
        Some(proxy) if !reason.contains("egress proxy") => format!("{BEHIND} {}: {reason}", proxy.authority()),
        Some(_) | None => reason,
    };
    let connect = about("connect", FindingId::OnlineConnect);
    let request = about("provider", FindingId::OnlineProvider);
    let (provider, trial) = match client {
        Ok(client) => client,
        Err(reason) => return vec![connect.failed(Duration::ZERO, &reason)],
    };
    let (host, _) = upstream.target.connects_to();
    let lookup = async { provider.addresses().look_up().await.map_err(|error| format!("{host}{through}: {error}")) };
    let (took, resolved) = timed(lookup).await;
    if let Err(reason) = resolved {
        return vec![dns.failed(took, &reason), connect.skipped("no address"), request.skipped("no address")];
    }
    let dns = match host.parse::<IpAddr>() {
        Ok(address) => dns.skipped(&format!("{address}{through} is an IP address")),
        Err(_) => {
            let addresses = provider.addresses().current();
            let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            dns.passed(took, &format!("{host}{through}: {}", addresses.join(", ")))
        }
    };
    let (took, connected) = timed(trial.connect()).await;
    let Connected { address, tls } = match connected {
        Ok(connected) => connected,
        Err(reason) => {
            let reason = behind(reason);
            return vec![dns, connect.failed(took, &reason), request.skipped("no connection")];
        }
    };
    let connect = connect.passed(took, &format!("{address}{through}, {}", tls.unwrap_or("no TLS")));
    let sent = format!("GET {}", provider.trial_path());
    let (took, response) = timed(async { provider.try_request().await.map_err(|error| error.to_string()) }).await;
    let request = match response {
        Ok(status) => request.passed(took, &format!("{sent}: response {status}")),
        Err(reason) => request.failed(took, &format!("{sent}: {}", behind(reason))),
    };
    vec![dns, connect, request]
}

/// The discovery document of an issuer, and its keys.
async fn of_issuer(upstream: Arc<Upstream>, issuer: TokenIssuer, resolver: Arc<Resolver>) -> Vec<Check> {
    let about = |part, option, id| About::issuer(&upstream, &issuer, part, option, id);
    let (source, expected) = (&issuer.keys, &issuer.expected);
    let documents = Documents::new(source, &resolver);
    let document = about("issuer", "issuer", FindingId::OnlineIssuer);
    let keys = |option| about("keys", option, FindingId::OnlineKeys);
    let discovered = timed(async { documents.discovery().await.map_err(shown) });
    match &source.jwks {
        // The gateway does not need the discovery document, but it may still show that the issuer is misspelled.
        Some(url) => {
            let fetched = of_keys(keys("jwks"), &documents, url, expected);
            let ((took, discovery), keys) = join(discovered, fetched).await;
            let document = match discovery {
                Ok(discovery) => compare(document, took, &discovery, &issuer),
                Err(reason) => document.skipped(&format!("not needed, since `jwks` is set: {reason}")),
            };
            vec![document, keys]
        }
        None => match discovered.await {
            (took, Ok(discovery)) => {
                let document = compare(document, took, &discovery, &issuer);
                vec![document, of_keys(keys("issuer"), &documents, discovery.jwks_uri(), expected).await]
            }
            (took, Err(reason)) => {
                vec![document.failed(took, &reason), keys("issuer").skipped("no discovery document")]
            }
        },
    }
}

/// The introspection of a random token.
async fn of_introspection(
    upstream: Arc<Upstream>,
    issuer: TokenIssuer,
    introspector: Result<Arc<Introspector>, String>,
) -> Vec<Check> {
    let (option, id) = ("introspection.url", FindingId::OnlineIntrospection);
    let about = About::issuer(&upstream, &issuer, "introspection", option, id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (took, tried) = timed(async { introspector?.trial(now).await }).await;
    vec![match tried {
        Ok(()) => about.passed(took, "a random token is not active"),
        Err(reason) => about.failed(took, &reason),
    }]
}

fn compare(about: About, took: Duration, discovery: &Discovery, issuer: &TokenIssuer) -> Check {
    match (IssuerMismatch::of(discovery, &issuer.expected, &issuer.option), discovery.issuer()) {
        (Some(IssuerMismatch { configured, discovered, hint }), _) => {
            let message = format!("the discovery document names the issuer `{discovered}`, not `{configured}`");
            about.ended(Outcome::Failed { hint }, Some(took), &message)
        }
        (None, Some(issuer)) => about.passed(took, &format!("the discovery document names {issuer}")),
        (None, None) => about.passed(took, "the discovery document names no issuer"),
    }
}

async fn of_keys(about: About, documents: &Documents<'_>, url: &str, expected: &Expectations) -> Check {
    let fetched = timed(async { documents.keys(url, &expected.algorithms).await.map_err(shown) });
    match fetched.await {
        (took, Ok((keys, _))) => about.passed(took, &format!("{} usable keys", keys.len())),
        (took, Err(reason)) => about.failed(took, &reason),
    }
}

fn shown(error: FetchError) -> String {
    error.to_string()
}

/// Follows the message of a round trip.
const NOEVICTION: &str =
    "; warning: `maxmemory-policy` is `noeviction`, so the server rejects writes once it is full: set `allkeys-lru`";

/// The servers of a shared store.
async fn of_store(shared: Redis) -> Vec<Check> {
    let about = |part: &str| About::new(format!("store.{part}"), "store.redis".to_owned(), FindingId::OnlineStore);
    let (took, trials) = timed(async { try_servers(&shared).await.map_err(|error| error.to_string()) }).await;
    let trials = match trials {
        Ok(trials) => trials,
        Err(reason) => return vec![about("connect").failed(took, &reason)],
    };
    let check = |ServerTrial { server, connect: (took, connected), round_trip }: ServerTrial| {
        let connect = match connected {
            Ok(()) => about("connect").passed(took, &format!("{server}: connected and logged in")),
            Err(reason) => about("connect").failed(took, &format!("{server}: {reason}")),
        };
        let round_trip = match round_trip {
            Some((took, Ok(evicts))) => {
                let warning = if evicts == Evicts::Nothing { NOEVICTION } else { "" };
                about("round_trip").passed(took, &format!("{server}: a key was written and deleted{warning}"))
            }
            Some((took, Err(reason))) => about("round_trip").failed(took, &format!("{server}: {reason}")),
            None => about("round_trip").skipped(&format!("{server}: no connection")),
        };
        [connect, round_trip]
    };
    trials.into_iter().flat_map(check).collect()
}

/// What a check is about.
struct About {
    name: String,
    option: String,
    id: FindingId,
}

impl About {
    fn new(name: String, option: String, id: FindingId) -> About {
        About { name, option, id }
    }

    fn upstream(upstream: &str, part: &str, option: &str, id: FindingId) -> About {
        About::new(format!("upstream.{upstream}.{part}"), format!("upstreams.{upstream}.{option}"), id)
    }

    /// About an issuer of an upstream: with several, the index of its options is part of the name.
    fn issuer(upstream: &Upstream, issuer: &TokenIssuer, part: &str, option: &str, id: FindingId) -> About {
        let index = issuer.option.find('[').and_then(|at| issuer.option.get(at..)).unwrap_or_default();
        About::new(format!("upstream.{}.{part}{index}", upstream.name), format!("{}.{option}", issuer.option), id)
    }

    fn passed(self, took: Duration, message: &str) -> Check {
        self.ended(Outcome::Ok, Some(took), message)
    }

    fn failed(self, took: Duration, message: &str) -> Check {
        let hint = hint(self.id, message).to_owned();
        self.ended(Outcome::Failed { hint }, Some(took), message)
    }

    fn skipped(self, message: &str) -> Check {
        self.ended(Outcome::Skipped, None, message)
    }

    /// Messages contain what servers say, so they are bounded, and cannot control a terminal.
    fn ended(self, outcome: Outcome, took: Option<Duration>, message: &str) -> Check {
        let About { name, option, id } = self;
        let plain = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Check { name, option, id, outcome, took, message: truncated(plain, MAX_MESSAGE) }
    }
}

/// The result of a step and how long it took, within [`LIMIT`].
async fn timed<T>(step: impl Future<Output = Result<T, String>>) -> (Duration, Result<T, String>) {
    let began = Instant::now();
    let result = tokio::time::timeout(LIMIT, step).await;
    let result = result.unwrap_or_else(|_| Err(format!("no complete response within {} s", LIMIT.as_secs())));
    (began.elapsed(), result)
}
