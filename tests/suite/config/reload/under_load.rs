//! Many reloads, half of them with invalid configurations, while clients read, write and use pass-through on keep-alive
//! connections of both HTTP versions: no request fails, and each client sees its own writes.

use super::{BY_SIGNAL, hang_up, metric, reloads};
use crate::harness::recorder::{Call, Recorder, SESSION, session};
use crate::harness::{Connection, Gateway, Request, TIMEOUT, long};
use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A provider that keeps what is written to its sessions.
fn provider() -> Recorder {
    let sessions: Mutex<HashMap<String, Value>> = Mutex::default();
    Recorder::start(move |call: &mut Call| {
        call.body()?;
        let id = call.seen.target.rsplit('/').next().unwrap().to_owned();
        let mut sessions = sessions.lock().unwrap();
        if call.seen.method == "PATCH" {
            let body: Value = serde_json::from_slice(&call.seen.body).unwrap();
            sessions.insert(id.clone(), body["session_metadata"].clone());
        }
        let mut response = session(sessions.get(&id).unwrap_or(&json!({})));
        response["id"] = json!(id);
        drop(sessions);
        call.json(200, &response)
    })
}

/// The configuration of a round. Good ones differ in the order of upstreams, in their number, and in everything that
/// makes another provider, another issuer or another cache of an upstream.
fn config(recorder: &Recorder, round: usize) -> String {
    let url = recorder.url();
    let upstream = |name: &str, more: &str| {
        let leeway = 1 + round % 3;
        let auth = format!("{{ issuer: {url}/, audience: {url}/api/v2/, leeway: {leeway}s }}");
        format!(
            "  {name}: {{ dialect: auth0, url: \"{url}\", auth: {auth}, match: {{ host: {name} }}, {more}, policy: p }}\n"
        )
    };
    let ttl = 100 + round / 2 % 4;
    let connect = 2000 + round / 4 % 2;
    let a = upstream("a", &format!("cache: {{ ttl: {ttl}s }}, timeouts: {{ connect: {connect}ms }}"));
    let b = upstream("b", "cache: { ttl: 5m }");
    let c = if round.is_multiple_of(3) { upstream("c", "body: { max: 1KiB }") } else { String::new() };
    let upstreams = if round % 4 < 2 { [c, b, a] } else { [a, b, c] }.concat();
    let policies = format!("policies: {{ p: {{ limits: {{ properties: {} }} }} }}\n", 2 + round % 20);
    let good = format!("{BY_SIGNAL}upstreams:\n{upstreams}{policies}");
    match round % 8 {
        1 => good.replace("policy: p", "policy: absent"),
        3 => good[..good.len() / 2].to_owned(),
        5 => good.replace("dialect", "dialectt"),
        7 => String::new(),
        _ => good,
    }
}

/// A client, and what it asks for.
struct Client {
    token: String,
    session: String,
    count: u64,
}

/// One request, whatever carries it.
struct AcquireRequest {
    method: &'static str,
    path: String,
    host: &'static str,
    body: String,
}

impl Client {
    fn new(token: &str, number: usize) -> Client {
        Client { token: token.to_owned(), session: format!("{SESSION}{number}"), count: 0 }
    }

    /// Its next request: a write, reads through both upstreams of its provider, or a pass-through request.
    fn next(&mut self) -> [AcquireRequest; 5] {
        self.count += 1;
        let own = format!("/api/v2/sessions/{}", self.session);
        let ask = |method, path: &str, host, body: &str| AcquireRequest {
            method,
            path: path.into(),
            host,
            body: body.into(),
        };
        let hosts = if self.count.is_multiple_of(2) { ["a", "b"] } else { ["b", "a"] };
        let write = json!({ "session_metadata": { "n": self.count.to_string() } }).to_string();
        [
            ask("PATCH", &own, hosts[0], &write),
            ask("GET", &own, hosts[1], ""),
            ask("GET", &own, hosts[0], ""),
            ask("GET", &own, hosts[1], ""),
            ask("GET", "/api/v2/clients/x", hosts[0], ""),
        ]
    }

    /// What is wrong with a response.
    fn check(&self, ask: &AcquireRequest, status: u16, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        assert_eq!(status, 200, "{} {} at {}: {text}", ask.method, ask.path, ask.host);
        if ask.path.ends_with(&self.session) {
            let shown: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(shown["session_metadata"]["n"], json!(self.count.to_string()), "{} at {}", ask.method, ask.host);
        }
    }
}

/// Over one connection of HTTP/1.1.
fn run_http1(mut client: Client, gateway: SocketAddr, over: &AtomicBool, done: &AtomicU64) {
    let mut kept = Connection::open(gateway).unwrap();
    while !over.load(Ordering::Relaxed) {
        for ask in client.next() {
            let request = Request::new(ask.method, &ask.path).header("Host", ask.host).bearer(&client.token);
            let request = if ask.body.is_empty() { request } else { request.json(&ask.body) };
            let response = kept.exchange(&request).unwrap();
            client.check(&ask, response.status, &response.body);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Several clients over one connection of HTTP/2.
fn run_http2(clients: Vec<Client>, gateway: SocketAddr, over: &AtomicBool, done: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let run = async |mut client: Client| {
            while !over.load(Ordering::Relaxed) {
                for ask in client.next() {
                    let exchange = exchange(sender.clone(), &ask, &client.token);
                    let (status, body) = tokio::time::timeout(TIMEOUT, exchange).await.unwrap().unwrap();
                    client.check(&ask, status, &body);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let [one, two, three] = clients.try_into().unwrap_or_else(|_| panic!("three clients"));
        tokio::join!(run(one), run(two), run(three));
    });
}

async fn exchange(sender: SendRequest<Bytes>, ask: &AcquireRequest, token: &str) -> Result<(u16, Vec<u8>), h2::Error> {
    let request = http::Request::builder().method(ask.method).uri(format!("http://{}{}", ask.host, ask.path));
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = if ask.body.is_empty() {
        request
    } else {
        request.header("content-type", "application/json").header("content-length", ask.body.len().to_string())
    };
    let mut sender = sender.ready().await?;
    let (response, mut body) = sender.send_request(request.body(()).unwrap(), ask.body.is_empty())?;
    if !ask.body.is_empty() {
        body.send_data(ask.body.clone().into(), true)?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut whole = Vec::new();
    while let Some(part) = incoming.data().await {
        let part = part?;
        incoming.flow_control().release_capacity(part.len())?;
        whole.extend_from_slice(&part);
    }
    Ok((head.status.as_u16(), whole))
}

#[test]
fn no_request_fails_during_reloads() {
    let rounds = if long() { 1000 } else { 100 };
    let recorder = provider();
    let gateway = Arc::new(Gateway::start(&config(&recorder, 0)));
    gateway.ready();
    let (token, address) = (recorder.token(), gateway.address());
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let open = || metric(&gateway, "process_open_fds").unwrap();
    let memory = || metric(&gateway, "process_resident_memory_bytes").unwrap();
    let (mut before, mut unchanged) = ((0.0, 0.0), 0);
    thread::scope(|scope| {
        // A failure of one client fails the test, after the others were stopped.
        let ended = (0..3)
            .map(|number| {
                let client = Client::new(&token, number);
                scope.spawn(|| run_http1(client, address, &over, &done))
            })
            .chain([scope.spawn(|| {
                run_http2((3..6).map(|number| Client::new(&token, number)).collect(), address, &over, &done);
            })])
            .collect::<Vec<_>>();
        for round in 1..=rounds {
            gateway.rewrite(&config(&recorder, round));
            let expected = if round % 2 == 1 { "rejected" } else { "applied" };
            let found = hang_up(&gateway);
            if found != expected {
                unchanged += 1;
                println!("round {round}: {found} and not {expected}");
            }
            if round == rounds / 10 {
                before = (open(), memory());
            }
            if ended.iter().any(|one| one.is_finished()) {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let requests = done.load(Ordering::Relaxed);
    let (files, bytes) = (open(), memory());
    println!(
        "{rounds} reloads, {requests} requests, files {} -> {files}, memory {:.1} -> {:.1} MB",
        before.0,
        before.1 / 1e6,
        bytes / 1e6
    );
    let half = (rounds / 2) as f64;
    assert_eq!((reloads(&gateway), unchanged), ([half, half, 0.0], 0));
    assert!(requests > 10 * rounds as u64, "{requests}");
    assert!(files < before.0 + 40.0, "files: {} -> {files}", before.0);
    let text = gateway.metrics();
    let failed = text.lines().filter(|line| line.starts_with("sessiongate_requests_total"));
    let failed: Vec<&str> = failed.filter(|line| !line.contains("status=\"2xx\"")).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
