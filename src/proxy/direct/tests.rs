//! Generated requests get the same responses, log lines and metrics whether Pingora serves them or not.

mod client;
mod forwarding;

use super::Direct;
use crate::config::{Environment, compile};
use crate::edge::{BoundListener, ConnectionContext, DirectApp, DirectRequest, DirectServing};
use crate::log_writer::LogWriter;
use crate::proxy::Serving;
use crate::runtime::CurrentRuntime;
use crate::sandbox::{Addresses, HASH_KEY, INTROSPECTION_SECRET, Listeners, Providers};
use client::{Client, sorted};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many requests; 10^6 where `SESSIONGATE_LONG` is set.
const REQUESTS: u64 = 6_000;
const LONG: u64 = 1_000_000;
/// How many pairs of gateways are compared at the same time.
const TASKS: u64 = 2;
/// How many requests follow each other on one pair of connections.
const BATCH: u64 = 100;
/// For how long one pair of gateways is compared.
const LIFE: Duration = Duration::from_secs(120);

/// The environment of the gateways.
struct Secrets(String);

impl Environment for Secrets {
    fn variable(&self, name: &str) -> Option<OsString> {
        match name {
            HASH_KEY => Some("0123456789abcdef0123456789abcdef".into()),
            INTROSPECTION_SECRET => Some((&self.0).into()),
            _ => None,
        }
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("there are no files".to_owned())
    }
}

/// A log that can be read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the requests that Pingora does not see.
struct Counting(Direct, Arc<AtomicU64>);

impl DirectApp for Counting {
    fn may_serve(&self, connection: &ConnectionContext, host: &str, target: &str) -> bool {
        self.0.may_serve(connection, host, target)
    }

    fn serve<'a>(&'a self, request: DirectRequest<'a>) -> Option<DirectServing<'a>> {
        let serving = self.0.serve(request);
        self.1.fetch_add(u64::from(serving.is_some()), Ordering::Relaxed);
        serving
    }
}

/// A gateway in front of the providers.
struct Gateway {
    address: SocketAddr,
    running: Arc<CurrentRuntime>,
    log: Lines,
    direct: Arc<AtomicU64>,
    _serving: Serving,
}

impl Gateway {
    /// Starts it in front of simulated providers; it responds without Pingora if it is `direct`.
    fn start(providers: &Providers, direct: bool) -> Gateway {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let text = providers.configuration(Listeners { gateway: any, admin: any, control: any }, None);
        let text = text.replace("ttl: 30s", "ttl: 5m").replace("format: text", "format: json");
        let secret = providers.verified.instance().api_application().secret.clone();
        Gateway::configured(&format!("{text}clients: {{ trusted_peers: [127.0.0.2] }}\n"), secret, direct)
    }

    /// Starts one with this configuration.
    fn configured(text: &str, secret: String, direct: bool) -> Gateway {
        let config = compile("c", text, &Secrets(secret), [7; 32]).unwrap().config;
        let log = Lines::default();
        let running = Arc::new(CurrentRuntime::new(&config, "hash", LogWriter::new(log.clone()).unwrap()).unwrap());
        let listener = config.listeners.first().unwrap();
        let bound = BoundListener::new(&listener.address).unwrap();
        let (address, served) = (bound.local_address().parse().unwrap(), Arc::<AtomicU64>::default());
        let app: Arc<dyn DirectApp> = Arc::new(Counting(Direct::new(running.clone()), served.clone()));
        let listeners = vec![(listener.clone(), bound)];
        let serving = Serving::start_with(running.clone(), listeners, &config.clients, direct.then_some(app)).unwrap();
        Gateway { address, running, log, direct: served, _serving: serving }
    }

    /// The log lines without what differs from run to run, and how often each occurs. The requests with the IDs `broken`
    /// had responses that broke off: their sizes differ, too.
    fn lines(&self, differing: &[&str], broken: &HashSet<String>) -> BTreeMap<String, usize> {
        self.running.now().log_writer.flush();
        let text = String::from_utf8(self.log.0.lock().clone()).unwrap();
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let line: Map<String, Value> = serde_json::from_str(line).unwrap();
            let is_own = |name: &str| ["timestamp", "request_id", "trace_id"].contains(&name) || name.ends_with("_us");
            let is_broken = line.get("request_id").and_then(Value::as_str).is_some_and(|id| broken.contains(id));
            let differs = |name: &str| is_own(name) || differing.contains(&name) || is_broken && name == "bytes";
            let kept: Map<String, Value> = line.into_iter().filter(|(name, _)| !differs(name)).collect();
            *counts.entry(Value::Object(kept).to_string()).or_default() += 1;
        }
        counts
    }

    /// The metrics that count requests and what became of them.
    fn metrics(&self) -> BTreeMap<String, usize> {
        let text = String::from_utf8(self.running.metrics.text(&self.running.now().reading()).unwrap()).unwrap();
        let counts = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            // Whether a connection to a provider is in the pool again is a matter of time.
            name.starts_with("sessiongate_") && name.ends_with("_total") && !name.contains("upstream_connections")
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter(counts).map(|line| (line.to_owned(), 1)).collect()
    }
}

/// Pseudorandom numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Whether something happens that does so in one of `of` cases.
    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

/// Bodies that the policy of the sandbox rejects, or that are no JSON.
const REJECTED: [&str; 6] = [
    "{\"session_metadata\":{\"tier\":\"gold\"}}",
    "{\"session_metadata\":{\"unknown\":\"x\",\"tier\":\"\"}}",
    "{\"session_metadata\":{\"tier\":1}}",
    "{\"session_metadata\":",
    "[]",
    "{\"a\":1,\"a\":2}",
];

/// What requests are made of.
struct Words {
    host: String,
    targets: Vec<String>,
    tokens: Vec<String>,
}

impl Words {
    fn new(providers: &Providers, host: &str) -> Words {
        let (auth0, zitadel, verified) = (&providers.auth0, &providers.zitadel, &providers.verified);
        let (tenant, tokens) = (auth0.tenant(), auth0.tokens());
        let (session, user) = (tenant.session_id(), tenant.user_id().replace('|', "%7C"));
        let paths = [
            format!("/api/v2/sessions/{session}"),
            format!("/api/v2/sessions/{session}"),
            format!("/api/v2/users/{user}/sessions"),
            format!("/apps/api/v2/sessions/{session}"),
            format!("/v2/sessions/{}", zitadel.instance().session_id()),
            format!("/v2beta/sessions/{}", zitadel.instance().session_id()),
            format!("/verified/v2/sessions/{}", verified.instance().session_id()),
            "/api/v2/sessions/missing".to_owned(),
            "/api/v2/sessions".to_owned(),
            "/api/v2/refresh-tokens/missing".to_owned(),
            format!("/api/v2/users/{user}/refresh-tokens"),
            format!("/api/v2/users/{user}"),
            "/v2/sessions/search".to_owned(),
            "/zitadel.session.v2.SessionService/GetSession".to_owned(),
            "/x".to_owned(),
        ];
        let owned =
            [tokens.full, tokens.read_only, tokens.expired, tenant.token_of("shop"), tenant.token_of("support")];
        let instance = zitadel.tokens();
        let others = [instance.owner, instance.viewer, instance.no_membership];
        let (jwt, expired) = (verified.tokens().jwt, verified.tokens().expired);
        Words {
            host: host.to_owned(),
            targets: paths.into(),
            tokens: owned.into_iter().chain(others).chain([jwt, expired, "opaque".to_owned()]).collect(),
        }
    }

    fn target(&self, random: &mut Random) -> String {
        let mut target = self.targets[random.below(self.targets.len())].clone();
        if random.one_in(8) {
            let at = random.below(target.len() + 1);
            let odd = ["/", "//", "/.", "/../", "%2F", "%73", ";a", "%00", "\\", "~", "é", "|", "#", "%"];
            target.insert_str(at, random.pick(&odd));
        }
        if random.one_in(5) {
            let queries = [
                "?",
                "?include_totals=true",
                "?take=5",
                "?take=5&take=6",
                "?from=a&take=2",
                "?sessionToken=abc",
                "?session_token=a%2Fb",
                "?a=b?c",
                "?fields=a&x",
                "?%74ake=1",
                "?take",
            ];
            target.push_str(random.pick(&queries));
        }
        match random.below(60) {
            0 => format!("http://{}{target}", self.host),
            1 => format!("http://other.example{target}"),
            2 => "*".to_owned(),
            _ => target,
        }
    }

    fn authorization(&self, random: &mut Random) -> Vec<String> {
        let token = &self.tokens[random.below(self.tokens.len())];
        // The one that reads the first session, most of the time.
        let token = if random.one_in(2) { &self.tokens[0] } else { token };
        match random.below(30) {
            0 => vec![],
            1 => vec![format!("bearer {token}")],
            2 => vec![format!("Bearer  {token}")],
            3 => vec![format!("Bearer {token}x")],
            4 => vec!["Basic YTpi".to_owned()],
            5 => vec![format!("Bearer {token}"), format!("Bearer {token}")],
            6 => vec!["Bearer".to_owned()],
            7 => vec![format!("Bearer {token}, Bearer {token}")],
            _ => vec![format!("Bearer {token}")],
        }
    }

    /// A request, and whether it asks for the head of a response only.
    fn request(&self, random: &mut Random) -> (Vec<u8>, bool) {
        let methods = ["GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "DELETE", "POST", "PATCH", "OPTIONS"];
        let rare = ["TRACE", "PUT", "get", "CONNECT", "PURGE"];
        let mut method = if random.one_in(30) { random.pick(&rare) } else { random.pick(&methods) };
        let target = self.target(random);
        let (mut others, mut body) = (Vec::new(), String::new());
        for _ in 0..random.below(5) {
            others.push(self.line(random, &mut body));
        }
        let mut credentials = self.authorization(random);
        let is_override = |line: &(&str, String)| line.0 == "X-HTTP-Method-Override";
        if !["GET", "HEAD", "OPTIONS", "TRACE"].contains(&method) || others.iter().any(is_override) {
            // What changes something marks sessions for a time, which is not the same for both gateways.
            if method == "PATCH" && target == self.targets[0] {
                // The policy rejects it.
                body = random.pick(&REJECTED).to_owned();
                others.retain(|line| !line.0.contains("-Encoding") && !line.0.starts_with("Content-"));
                others.push(("Content-Length", body.len().to_string()));
                others.push(("Content-Type", "application/json".to_owned()));
            } else if target.starts_with("/api") {
                credentials.truncate(1);
                credentials.iter_mut().for_each(|one| *one = format!("Bearer {}", self.tokens[1 + random.below(2)]));
            } else {
                method = "GET";
                others.retain(|line| !is_override(line));
            }
        }
        let version = if random.one_in(40) { random.pick(&["HTTP/1.0", "HTTP/1.2", "HTTP/2.0"]) } else { "HTTP/1.1" };
        let mut lines = Vec::new();
        match random.below(40) {
            0 => {}
            1 => lines.extend([("Host", self.host.clone()), ("Host", self.host.clone())]),
            2 => lines.push(("Host", "other.example".to_owned())),
            3 => lines.push(("Host", "other.example.:80".to_owned())),
            4 => lines.push(("Host", "a b".to_owned())),
            _ => lines.push(("Host", self.host.clone())),
        }
        lines.extend(credentials.into_iter().map(|value| ("Authorization", value)));
        lines.extend(others);
        let mut text = format!("{method} {target} {version}\r\n");
        for (name, value) in lines {
            let name = match random.below(6) {
                0 => name.to_ascii_lowercase(),
                1 => name.to_ascii_uppercase(),
                _ => name.to_owned(),
            };
            let space = random.pick(&[" ", " ", " ", "", "\t", "  "]);
            text.push_str(&format!("{name}:{space}{value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&body);
        (text.into_bytes(), method == "HEAD")
    }

    fn line(&self, random: &mut Random, body: &mut String) -> (&'static str, String) {
        let plain: [(&str, &[&str]); 24] = [
            ("Accept", &["*/*", "application/json", ""]),
            ("Accept-Encoding", &["gzip, br", "identity"]),
            (
                "Cache-Control",
                &["no-cache", "max-age=0", "max-age=1000", "only-if-cached", "no-store", "x, min-fresh=1"],
            ),
            ("Pragma", &["no-cache"]),
            ("Origin", &["https://app.example", "null"]),
            ("X-Request-Id", &["own-1", "bad id", ""]),
            ("Traceparent", &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x"]),
            ("X-HTTP-Method-Override", &["DELETE"]),
            ("Upgrade", &["h2c", "websocket"]),
            ("Connection", &["keep-alive", "Keep-Alive", "close", "upgrade", "x-own", "keep-alive, close", ""]),
            ("HTTP2-Settings", &["AAMAAABkAAQAAP__"]),
            ("Content-Type", &["application/json", "text/plain", "application/grpc", "application/connect+json"]),
            ("Grpc-Timeout", &["1H", "0n", "x"]),
            ("Connect-Timeout-Ms", &["100000", "x"]),
            ("TE", &["trailers"]),
            ("X-Forwarded-For", &["9.9.9.9", "9.9.9.9, 127.0.0.2", "x"]),
            ("X-Forwarded-Host", &["tenant.example"]),
            ("Forwarded", &["for=9.9.9.9", "for=\"x"]),
            ("X-Zitadel-Orgid", &["1", "2"]),
            ("Cookie", &["a=b"]),
            ("User-Agent", &["curl/8", "a\tb", "caf\u{e9}", "\"quoted\" \\ text"]),
            ("Content_Length", &["1"]),
            ("Range", &["bytes=0-1"]),
            ("If-None-Match", &["\"a\"", "*"]),
        ];
        match random.below(34) {
            0 => ("Content-Length", "0".to_owned()),
            1 if body.is_empty() => {
                body.push_str("{\"a\":1}");
                ("Content-Length", body.len().to_string())
            }
            2 if body.is_empty() => {
                body.push_str("0\r\n\r\n");
                ("Transfer-Encoding", "chunked".to_owned())
            }
            3 if random.one_in(10) => ("X-Long", "x".repeat(9_000)),
            4 => ("Expect", "100-continue".to_owned()),
            _ => {
                let (name, values) = plain[random.below(plain.len())];
                (name, random.pick(values).to_owned())
            }
        }
    }
}

impl Client {
    /// The next final response, without what differs from run to run. Then the connection may be closed: see `stream`.
    async fn response(&mut self, is_head: bool) -> String {
        let mut whole = String::new();
        loop {
            let Some(head) = self.until(b"\r\n\r\n").await else {
                return whole + &self.closed();
            };
            let value = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(':'));
                lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
            };
            let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
            whole += &sorted(head.lines().map(same));
            if status.starts_with('1') {
                continue;
            }
            let bodiless = is_head || status == "204" || status == "304";
            if value("transfer-encoding").is_some() && !bodiless {
                let chunks = self.until(b"0\r\n\r\n").await;
                whole += &chunks.unwrap_or_else(|| panic!("the body is incomplete: {whole}"));
            }
            let length = value("content-length").map_or(0, |length| length.parse().unwrap());
            let text = self.take(if bodiless { 0 } else { length }).await;
            // The time of a change.
            let mut parts = text.split("\"updated_at\":\"");
            whole += parts.next().unwrap_or_default();
            parts.for_each(|part| whole += part.split_once('"').unwrap_or_default().1);
            if value("connection").is_some_and(|value| value == "close") {
                while self.more().await {}
                whole += &self.closed();
            }
            return whole;
        }
    }
}

/// A line of a response without what differs from run to run.
fn same(line: &str) -> String {
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_own = ["date", "age", "x-request-id", "traceresponse"].contains(&name.as_str());
    if is_own || name.starts_with("x-ratelimit") {
        return name;
    }
    line.split("ttl=").next().unwrap_or_default().to_owned()
}

/// Two gateways in front of the same providers: one responds without Pingora where it can.
struct Pair {
    words: Words,
    direct: Gateway,
    other: Gateway,
}

impl Pair {
    async fn start() -> Pair {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addresses = Addresses { auth0: any, zitadel: any, verified: any };
        let providers = Providers::start(addresses, None, None).await.unwrap();
        let words = Words::new(&providers, "gateway.example");
        Pair { words, direct: Gateway::start(&providers, true), other: Gateway::start(&providers, false) }
    }

    /// Sends what `requests` makes to both, on a connection each, and compares the responses.
    async fn compare(&self, random: &mut Random, own: u8, requests: impl Fn(&Words, &mut Random) -> (Vec<u8>, bool)) {
        let own = Ipv4Addr::new(127, 0, 0, own);
        let addresses = [self.direct.address, self.other.address];
        let mut clients = addresses.map(|address| Client::new(address, own));
        for _ in 0..BATCH {
            let first = requests(&self.words, random);
            let second = random.one_in(10).then(|| requests(&self.words, random));
            let sent: Vec<u8> = first.0.iter().chain(second.iter().flat_map(|second| &second.0)).copied().collect();
            let (before, after) = sent.split_at(if random.one_in(10) { random.below(sent.len()) } else { 0 });
            let mut responses = [Vec::new(), Vec::new()];
            for (client, responses) in clients.iter_mut().zip(&mut responses) {
                client.send(&[before, after]).await;
                for is_head in [Some(first.1), second.as_ref().map(|second| second.1)].into_iter().flatten() {
                    if client.stream.is_some() {
                        responses.push(client.response(is_head).await);
                    }
                }
            }
            let [direct, other] = responses;
            assert_eq!(direct, other, "{}", String::from_utf8_lossy(&sent));
        }
    }

    /// Compares the logs and the metrics.
    fn compare_accounts(&self) {
        let none = HashSet::new();
        assert_same(self.direct.lines(&[], &none), self.other.lines(&[], &none));
        assert_same(self.direct.metrics(), self.other.metrics());
    }
}

fn assert_same(direct: BTreeMap<String, usize>, mut other: BTreeMap<String, usize>) {
    let missing: Vec<_> = direct.into_iter().filter(|(line, count)| other.remove(line) != Some(*count)).collect();
    assert!(missing.is_empty() && other.is_empty(), "only direct: {missing:#?}\nonly with Pingora: {other:#?}");
}

/// A deletion of a session that does not exist, or a write that changes nothing after the first.
fn change(words: &Words, random: &mut Random) -> (Vec<u8>, bool) {
    let (host, token) = (&words.host, &words.tokens[0]);
    if random.one_in(2) {
        let body = "{\"session_metadata\":{\"tier\":\"pro\"}}";
        let lines = format!(
            "Host: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        return (format!("PATCH {} HTTP/1.1\r\n{lines}\r\n{body}", words.targets[0]).into_bytes(), false);
    }
    let head =
        format!("DELETE /api/v2/sessions/missing HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    (head.into_bytes(), false)
}

/// Compares this many requests with one seed.
async fn compare(seed: u64, requests: u64) -> u64 {
    let mut random = Random(seed);
    let mut done = 0;
    let mut served = 0;
    while done < requests {
        // A cached response is fresh for longer than a pair of gateways lives.
        let pair = Pair::start().await;
        let until = Instant::now() + LIFE;
        while done < requests && Instant::now() < until {
            for own in [1, 2] {
                pair.compare(&mut random, own, Words::request).await;
                done += BATCH;
            }
        }
        pair.compare(&mut random, 1, change).await;
        pair.compare_accounts();
        served += pair.direct.direct.load(Ordering::Relaxed);
        assert_eq!(pair.other.direct.load(Ordering::Relaxed), 0);
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_those_of_pingora() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::token::install_crypto_provider();
    let requests = if std::env::var_os("SESSIONGATE_LONG").is_some() { LONG } else { REQUESTS };
    let tasks: Vec<_> = (0..TASKS).map(|seed| tokio::spawn(compare(seed, requests / TASKS))).collect();
    let mut served = 0;
    for task in tasks {
        served += task.await.unwrap();
    }
    assert!(served > requests / 4, "only {served} of {requests} requests were not left to Pingora");
}
