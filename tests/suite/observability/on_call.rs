//! On call: a real Prometheus scrapes gateways with the rules of `deploy/prometheus`, all windows shortened. No alert
//! fires in a good run, faults make their alerts fire and no others, and every query of the dashboard has data.

use crate::harness::issuer::{AUDIENCE, ISSUER, Signer, document};
use crate::harness::{
    Authority, Connection, Gateway, Prometheus, Received, RedisServer, Request, Response, Scripted, address,
    json_response, project, prometheus_installed, redis_installed, wait_for,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How a provider responds.
const GOOD: u8 = 0;
/// Later than the alert allows.
const SLOW: u8 = 1;
/// Every other time with 429, and nearly no quota is left.
const LIMITED: u8 = 2;

/// Above the 5 s of the alert, below the timeout of the gateway.
const DELAY: Duration = Duration::from_secs(6);
/// How long a client rests between two rounds of requests.
const REST: Duration = Duration::from_millis(400);
const SESSIONS: usize = 4;
/// Long enough for a busy machine: a slow store is none of the faults.
const STORE_TIMEOUTS: &str = "{ connect: 5s, read: 2s, write: 2s }";

/// A gateway with all that belongs to it, and what happens to it during the night.
struct Case {
    job: &'static str,
    has_redis: bool,
    /// The rest of the configuration, from the upstream's options on.
    config: fn(&Authority) -> String,
    clients: usize,
    fault: fn(&mut Service),
    /// The alerts that the fault must make fire.
    alerts: &'static [&'static str],
    /// Those that may fire too, because they have the same cause.
    may: &'static [&'static str],
}

/// The gateway without a fault.
const GOOD_RUN: Case = Case {
    job: "sessiongate-good",
    has_redis: true,
    config: |authority| policy("enforce") + &listeners(authority),
    clients: 1,
    fault: |_| {},
    alerts: &[],
    may: &[],
};
const SLOW_PROVIDER: Case = Case {
    job: "sessiongate-slow",
    has_redis: false,
    config: |_| "    limits: { per_source: 1, wait: 0s }\n".to_owned(),
    // Each is slow.
    clients: 6,
    fault: |service| {
        service.mode.store(SLOW, Ordering::SeqCst);
        service.exceed_source();
    },
    alerts: &["SessiongateProviderSlow"],
    may: &[],
};
const LIMITED_PROVIDER: Case = Case {
    job: "sessiongate-limited",
    has_redis: false,
    config: |_| String::new(),
    clients: 1,
    fault: |service| service.mode.store(LIMITED, Ordering::SeqCst),
    alerts: &["SessiongateProviderRateLimited", "SessiongateQuotaLow"],
    may: &[],
};
const LOST_STORE: Case = Case {
    job: "sessiongate-store",
    has_redis: true,
    config: |_| String::new(),
    clients: 1,
    fault: |service| service.redis.as_mut().unwrap().kill(),
    alerts: &["SessiongateStoreDisconnected"],
    may: &["SessiongateStaleReadsPossible", "SessiongateStoreErrors", "SessiongateCacheBypassed"],
};
const LOST_KEYS: Case = Case {
    job: "sessiongate-keys",
    has_redis: false,
    config: |_| String::new(),
    clients: 1,
    fault: |service| *service.keys.lock().unwrap() = json_response(404, "{}"),
    alerts: &["SessiongateKeysStale", "SessiongateKeysExpire"],
    may: &[],
};
const BAD_CONFIGURATION: Case = Case {
    job: "sessiongate-config",
    has_redis: false,
    config: |_| policy("audit"),
    clients: 1,
    fault: |service| service.gateway.rewrite("upstreams: {}\n"),
    alerts: &["SessiongateConfigurationRejected"],
    may: &[],
};
const CASES: [Case; 6] = [GOOD_RUN, SLOW_PROVIDER, LIMITED_PROVIDER, LOST_STORE, LOST_KEYS, BAD_CONFIGURATION];

/// A policy whose violations and edits [`exercise`] causes.
fn policy(mode: &str) -> String {
    format!(
        "    policy: night\npolicies:\n  night: {{ mode: {mode}, fields: {{ team: {{ one_of: [blue] }} }}, \
         normalize: {{ trim: true }} }}\n"
    )
}

/// A listener with a certificate, and an idle timeout that [`exercise`] waits for.
fn listeners(authority: &Authority) -> String {
    let (certificate, key) = authority.certify_in_files("own", &["one.example"]);
    format!(
        "clients: {{ idle_timeout: 1s }}\nlisteners:\n  plain: {{ address: 127.0.0.1:0 }}\n  encrypted: \
         {{ address: 127.0.0.1:0, tls: {{ certificates: [{{ certificate: {}, key: {} }}] }} }}\n",
        certificate.display(),
        key.display()
    )
}

fn provider_response(request: &Received, mode: u8, turn: usize) -> Response {
    let limited = mode == LIMITED;
    let mut response = if limited && turn.is_multiple_of(2) {
        json_response(
            429,
            r#"{"statusCode":429,"error":"Too Many Requests","message":"Global limit has been reached"}"#,
        )
    } else {
        let id = request.path.rsplit('/').next().unwrap_or_default();
        let session = json!({
            "id": id,
            "user_id": "auth0|65f0",
            "updated_at": "2026-01-02T03:04:05.678Z",
            "expires_at": "2999-01-01T00:00:00.000Z",
            "session_metadata": { "team": "blue" },
        });
        json_response(200, &session.to_string())
    };
    for (name, value) in [
        ("X-RateLimit-Limit", "50"),
        ("X-RateLimit-Remaining", if limited { "1" } else { "40" }),
        ("X-RateLimit-Reset", "4102444800"),
    ] {
        response.headers.push((name.into(), value.into()));
    }
    response
}

/// A provider and an issuer, a gateway before them, perhaps a store, and clients.
struct Service {
    mode: Arc<AtomicU8>,
    keys: Arc<Mutex<Response>>,
    token: String,
    gateway: Gateway,
    redis: Option<RedisServer>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    /// They end with the service.
    _servers: [Scripted; 2],
}

impl Service {
    fn start(case: &Case, authority: &Authority) -> Service {
        let mode = Arc::new(AtomicU8::new(GOOD));
        let (own, turns) = (mode.clone(), Mutex::new(0));
        let provider = Scripted::start(move |request| {
            let turn = {
                let mut turns = turns.lock().unwrap();
                *turns += 1;
                *turns
            };
            let mode = own.load(Ordering::SeqCst);
            if mode == SLOW {
                thread::sleep(DELAY);
            }
            provider_response(request, mode, turn)
        });
        let signer = Signer::new("key");
        let keys = Arc::new(Mutex::new(document(&[&signer])));
        let own = keys.clone();
        let issuer = Scripted::start(move |_| own.lock().unwrap().clone());
        let redis = case.has_redis.then(RedisServer::start);
        let store = redis.as_ref().map_or(String::new(), |server| {
            format!(
                "hash_key: {{ env: HASH }}\nstore: {{ redis: {{ url: \"{}\", seal_keys: [{{ env: SEAL }}], settle: 0s, \
                 timeouts: {STORE_TIMEOUTS} }} }}\n",
                server.url()
            )
        });
        let config = format!(
            "{store}upstreams:
  auth0:
    dialect: auth0
    url: {}
    cache: {{}}
    auth:
      issuer: {ISSUER}
      audience: {AUDIENCE}
      jwks: {}/jwks
      algorithms: [EdDSA]
      refresh: 10s
      max_stale: 40s
{}",
            provider.url(),
            issuer.url(),
            (case.config)(authority),
        );
        let gateway = Gateway::start_with(
            &config,
            &[("HASH", "a-hash-key-of-all-replicas"), ("SEAL", "the-first-of-the-keys-that-seal-entries")],
        );
        gateway.ready();
        let (stop, token) = (Arc::default(), signer.good());
        let servers = [provider, issuer];
        let mut service = Service { mode, keys, token, gateway, redis, stop, clients: Vec::new(), _servers: servers };
        service.start_clients(case.clients);
        service
    }

    /// Clients that read, write and pass through until the service ends.
    fn start_clients(&mut self, count: usize) {
        for client in 0..count {
            let (stop, url, token) = (self.stop.clone(), self.gateway.url(), self.token.clone());
            self.clients.push(thread::spawn(move || {
                for round in client.. {
                    let path = format!("/api/v2/sessions/night{}", round % SESSIONS);
                    for request in [
                        Request::new("PATCH", &path).json(r#"{"session_metadata":{"team":"blue"}}"#),
                        Request::new("GET", &path),
                        Request::new("GET", &path),
                        Request::new("GET", "/api/v2/clients"),
                    ] {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        // What it gets is for the metrics to say.
                        let _ = request.bearer(&token).try_send(&url);
                    }
                    thread::sleep(REST);
                }
            }));
        }
    }

    /// Two concurrent requests of a source that may have one in flight, because its callers are not verified.
    fn exceed_source(&mut self) {
        for _ in 0..2 {
            let url = self.gateway.url();
            self.clients.push(thread::spawn(move || {
                let _ = Request::new("GET", "/api/v2/clients").try_send(&url);
            }));
        }
    }

    fn get(&self, path: &str) -> Response {
        Request::new("GET", path).bearer(&self.token).send(&self.gateway.url())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // They do not wait for what does not come any more.
        self.gateway.signal("KILL");
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

/// Makes the gateways export what only some requests cause.
fn exercise(good: &Service, audited: &Service) {
    let patch = |service: &Service, body: &str| {
        let request = Request::new("PATCH", "/api/v2/sessions/policy").bearer(&service.token);
        request.json(body).send(&service.gateway.url()).status
    };
    // A violation and an edit, with `mode: enforce` and with `mode: audit`.
    for (service, statuses) in [(good, [400, 200]), (audited, [200, 200])] {
        for (body, status) in [r#"{"session_metadata":{"team":"red"}}"#, r#"{"session_metadata":{" team ":"blue"}}"#]
            .into_iter()
            .zip(statuses)
        {
            assert_eq!(patch(service, body), status, "{body}");
        }
    }
    let anonymous = Request::new("GET", "/api/v2/sessions/policy").send(&good.gateway.url());
    assert_eq!(anonymous.status, 401);
    assert_eq!(good.get("/api/v2/sessions/policy").status, 200);
    let purge = Request::new("POST", "/cache/purge").json(r#"{"upstream":"auth0"}"#);
    assert_eq!(purge.send(&good.gateway.control_url()).status, 200);
    // A connection that is idle for too long.
    let mut idle = Connection::open(good.gateway.address()).unwrap();
    idle.exchange(&Request::new("GET", "/api/v2/clients").bearer(&good.token)).unwrap();
    wait_for("an idle connection to be closed", || {
        good.gateway.metrics().contains(r#"sessiongate_connections_cut_total{reason="idle_timeout"}"#).then_some(())
    });
}

/// Every alert that has fired, with its job.
fn fired(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    let label = |labels: &BTreeMap<String, String>, name| labels.get(name).cloned().unwrap_or_default();
    prometheus.fired().iter().map(|labels| (label(labels, "job"), label(labels, "alertname"))).collect()
}

/// The queries of the dashboard, each with the title of its panel.
fn dashboard_queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(project().join("deploy/grafana/sessiongate.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let query = |title: &Value, query: &Value| {
        let query = query.as_str().unwrap().replace("$__rate_interval", "5m");
        let query = ["$job", "$instance", "$upstream"].iter().fold(query, |query, name| query.replace(name, ".*"));
        (title.as_str().unwrap().to_owned(), query)
    };
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.map(|target| query(&panel["title"], &target["expr"])));
    }
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    queries.extend(annotations.iter().map(|annotation| query(&annotation["name"], &annotation["expr"])));
    queries
}

#[test]
fn faults_fire_their_alerts_and_every_panel_has_data() {
    if !prometheus_installed() || !redis_installed() {
        return;
    }
    let authority = Authority::new("ca");
    let mut services = CASES.map(|case| Service::start(&case, &authority));
    let rules = std::fs::read_to_string(project().join("deploy/prometheus/rules.yaml")).unwrap();
    let target = |service: &Service| address(&service.gateway.admin_url());
    let jobs: Vec<_> = CASES.iter().map(|case| case.job).zip(services.iter().map(target)).collect();
    let prometheus = Prometheus::start(&jobs, &rules);
    let [good, .., audited] = &services;
    exercise(good, audited);
    // As long as most alerts wait before they fire.
    prometheus.wait_for("ten scrapes of each gateway", || {
        let scraped = prometheus.query("min(sum_over_time(up[10m])) >= 10 and count(up) == 6")?;
        if scraped.is_empty() { Err(format!("{:?}", prometheus.query("sum_over_time(up[10m])"))) } else { Ok(()) }
    });
    assert_eq!(fired(&prometheus), BTreeSet::new(), "without a fault");

    for (case, service) in CASES.iter().zip(&mut services) {
        (case.fault)(service);
    }
    for Case { job, alerts, .. } in &CASES {
        for alert in *alerts {
            prometheus.wait_for(&format!("{alert} of {job}"), || {
                let firing = prometheus.firing(job)?;
                if firing.iter().any(|name| name == alert) { Ok(()) } else { Err(format!("only {firing:?} fire")) }
            });
        }
    }

    let queries = dashboard_queries();
    assert!(queries.len() > 50, "{}", queries.len());
    // Some appear only now: tokens are rejected as soon as the keys are too old.
    prometheus.wait_for("data in each panel", || {
        let empty = |(title, query): &&(String, String)| {
            let found = prometheus.query(query).unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
            found.iter().all(|(_, value)| value.is_nan())
        };
        let empty: Vec<_> = queries.iter().filter(empty).collect();
        if empty.is_empty() { Ok(()) } else { Err(format!("no data in {empty:#?}")) }
    });

    let expected = |(job, alert): &(String, String)| {
        let own = CASES.iter().find(|case| case.job == job);
        own.is_some_and(|case| case.alerts.iter().chain(case.may).any(|name| name == alert))
    };
    let others: Vec<_> = fired(&prometheus).into_iter().filter(|one| !expected(one)).collect();
    assert!(others.is_empty(), "alerts of other causes: {others:?}");
}
