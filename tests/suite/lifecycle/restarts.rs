//! Upgrades and rolling restarts under load: no request fails over HTTP/1.1, HTTP/2 and gRPC.

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{Connection, Process, Request, finish, long, sessiongate, wait_for};
use bytes::Bytes;
use regex::Regex;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// How long a process that stops still takes connections, and how often clients look who is ready.
const DRAIN: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(20);

fn rounds() -> usize {
    if long() { 20 } else { 5 }
}

/// A gateway whose output is read.
struct Gateway {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    fn start(config: &Path, more: &[&str]) -> Gateway {
        Gateway::serving(Gateway::process(config, more))
    }

    fn process(config: &Path, more: &[&str]) -> Process {
        Process::start(sessiongate(&[&["run", "-c", config.to_str().unwrap()], more].concat()))
    }

    fn serving(process: Process) -> Gateway {
        let line = process.wait_for_line(|line| line.contains("serving"));
        let of = |name: &str| -> SocketAddr {
            let found = Regex::new(&format!(r#""{name}":"([0-9.:]+)"#)).unwrap();
            found.captures(&line).unwrap()[1].parse().unwrap()
        };
        let gateway = Gateway { address: of("listen"), admin: of("admin"), process };
        wait_for("the gateway to be ready", || gateway.is_ready().then_some(()));
        gateway
    }

    fn is_ready(&self) -> bool {
        Request::new("GET", "/readyz")
            .try_send(&format!("http://{}", self.admin))
            .is_ok_and(|response| response.status == 200)
    }

    fn end(&mut self, signal: &str) {
        self.process.signal(signal);
        let status = self.process.wait();
        assert!(status.success(), "{status} {:?}", self.process.stderr());
        let said = self.process.stdout();
        assert!(said.iter().any(|line| line.contains("\"requests_cut_off\":0")), "{said:?}");
    }
}

/// A provider that responds to every gRPC call.
struct Calls {
    runtime: Runtime,
    address: SocketAddr,
}

impl Calls {
    fn start() -> Calls {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            let mut incoming = request.into_body();
                            while let Some(Ok(part)) = incoming.data().await {
                                let _ = incoming.flow_control().release_capacity(part.len());
                            }
                            let head = http::Response::builder().header("content-type", "application/grpc").body(());
                            let Ok(mut stream) = respond.send_response(head.unwrap(), false) else { return };
                            let _ = stream.send_data(Bytes::from_static(&[0; 5]), false);
                            let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                            let _ = stream.send_trailers(trailers.into_iter().collect());
                        });
                    }
                });
            }
        });
        Calls { runtime, address }
    }
}

/// Where clients send requests, in turn.
type Ready = Arc<Mutex<Vec<SocketAddr>>>;

/// Clients that go on until they are stopped.
struct Load {
    ready: Ready,
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    threads: Vec<thread::JoinHandle<()>>,
    runtime: Runtime,
}

impl Load {
    fn start(ready: Ready, token: &str) -> Load {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stopping, answered, failed) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Load { ready, stopping, answered, failed, threads: Vec::new(), runtime };
        for client in 0..3 {
            let (own, token) = (load.shared(), token.to_owned());
            load.threads.push(thread::spawn(move || own.over_http1(client, &token)));
        }
        for grpc in [false, true] {
            let (own, token) = (load.shared(), token.to_owned());
            load.runtime.spawn(async move { own.over_http2(grpc, &token).await });
        }
        load
    }

    fn shared(&self) -> Client {
        Client {
            ready: self.ready.clone(),
            stopping: self.stopping.clone(),
            answered: self.answered.clone(),
            failed: self.failed.clone(),
        }
    }

    /// Waits until so many more requests were served.
    fn go_on(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        let enough =
            || self.answered.load(Ordering::SeqCst) >= before + more || !self.failed.lock().unwrap().is_empty();
        wait_for("responses", || enough().then_some(()));
    }

    fn stop(self) -> usize {
        self.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        assert_eq!(*self.failed.lock().unwrap(), Vec::<String>::new());
        self.answered.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Client {
    ready: Ready,
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst) && self.failed.lock().unwrap().is_empty()
    }

    fn place(&self, turn: usize) -> SocketAddr {
        let ready = self.ready.lock().unwrap();
        ready[turn % ready.len()]
    }

    fn note(&self, outcome: Result<u16, String>) {
        match outcome {
            Ok(200) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
            other => self.failed.lock().unwrap().push(format!("{other:?}")),
        }
    }

    /// Reads, writes and pass-through requests over connections that are kept for as long as the gateway keeps them.
    fn over_http1(&self, client: usize, token: &str) {
        let session = format!("/api/v2/sessions/{SESSION}");
        let requests = [
            Request::new("GET", &session),
            Request::new("PATCH", &session).json(r#"{"session_metadata":{"a":"b"}}"#),
            Request::new("GET", "/x"),
        ]
        .map(|request| request.bearer(token).header("Host", "auth0.example"));
        let mut kept: Option<(SocketAddr, Connection)> = None;
        let mut turn = client;
        while self.goes_on() {
            turn += 1;
            let place = self.place(turn / 8);
            let mut connection = match kept.take().filter(|(own, _)| *own == place) {
                Some((_, connection)) => connection,
                None => Connection::open(place).unwrap(),
            };
            let response = connection.exchange(&requests[turn % 3]);
            let closes = response.as_ref().is_ok_and(|response| response.header("connection") == Some("close"));
            self.note(response.map(|response| response.status).map_err(|error| format!("HTTP/1.1 {turn}: {error}")));
            kept = (!closes).then_some((place, connection));
        }
    }

    /// Reads or calls over a connection that is reopened when the gateway closes it.
    async fn over_http2(&self, grpc: bool, token: &str) {
        let mut turn = 0;
        while self.goes_on() {
            turn += 1;
            let place = self.place(turn);
            let stream = TcpStream::connect(place).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut left = 50;
            while left > 0 && self.goes_on() {
                left -= 1;
                let Ok(ready) = requests.ready().await else { break };
                requests = ready;
                match ask(&mut requests, grpc, token).await {
                    // The gateway did not process it, so it is sent again over another connection.
                    Err(error) if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) => break,
                    outcome => self.note(outcome.map_err(|error| format!("HTTP/2, gRPC {grpc}: {error}"))),
                }
            }
        }
    }
}

async fn ask(requests: &mut h2::client::SendRequest<Bytes>, grpc: bool, token: &str) -> Result<u16, h2::Error> {
    let request = if grpc {
        let call = http::Request::post("http://calls.example/some.Service/Call");
        call.header("content-type", "application/grpc").header("te", "trailers")
    } else {
        let read = http::Request::get(format!("http://auth0.example/api/v2/sessions/{SESSION}"));
        read.header("authorization", format!("Bearer {token}"))
    };
    let (response, mut body) = requests.send_request(request.body(()).unwrap(), !grpc)?;
    if grpc {
        body.send_data(Bytes::from_static(&[0; 5]), true)?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    while let Some(part) = incoming.data().await {
        let _ = incoming.flow_control().release_capacity(part?.len());
    }
    let trailers = incoming.trailers().await?;
    let whole =
        !grpc || trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0"));
    Ok(if whole { head.status.as_u16() } else { 0 })
}

/// A configuration before both providers.
fn write(folder: &TempDir, name: &str, recorder: &Recorder, calls: &Calls, shutdown: &str) -> PathBuf {
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nshutdown: {shutdown}\n{}  calls: {{ dialect: zitadel, url: \"http://{}\", auth: none, \
         match: {{ host: calls.example }} }}\n",
        recorder.upstream("cache: {}\nmatch: { host: auth0.example }"),
        calls.address
    );
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn no_request_fails_during_upgrades() {
    let (folder, recorder, calls) = (tempfile::tempdir().unwrap(), Recorder::auth0(), Calls::start());
    let socket = folder.path().join("upgrade.sock");
    let control = format!("unix:{}", folder.path().join("control.sock").display());
    let shutdown = format!("{{ upgrade_socket: {} }}\ncontrol: \"{control}\"", socket.display());
    let config = write(&folder, "g.yaml", &recorder, &calls, &shutdown);
    let mut gateway = Gateway::start(&config, &[]);
    let load = Load::start(Arc::new(Mutex::new(vec![gateway.address])), &recorder.token());
    for _ in 0..rounds() {
        load.go_on(100);
        let next = Gateway::process(&config, &["--upgrade"]);
        gateway.end("QUIT");
        let next = Gateway::serving(next);
        assert_eq!((next.address, next.admin), (gateway.address, gateway.admin));
        let purged = finish(sessiongate(&["purge", "--upstream", "auth0", "--control", &control]));
        assert_eq!((purged.code, purged.stdout.as_str()), (Some(0), "purged\n"), "{}", purged.stderr);
        gateway = next;
    }
    load.go_on(100);
    println!("{} requests served over {} upgrades", load.stop(), rounds());
    assert!(!socket.exists());
    gateway.end("TERM");
    drop(calls.runtime);
}

#[test]
fn no_request_fails_during_rolling_restarts() {
    let (folder, recorder, calls) = (tempfile::tempdir().unwrap(), Recorder::auth0(), Calls::start());
    let shutdown = format!("{{ drain_delay: {}ms }}", DRAIN.as_millis());
    let config = write(&folder, "g.yaml", &recorder, &calls, &shutdown);
    let mut replicas = [(); 2].map(|()| Gateway::start(&config, &[]));
    let ready: Ready = Arc::new(Mutex::new(replicas.iter().map(|gateway| gateway.address).collect()));
    let load = Load::start(ready.clone(), &recorder.token());
    for round in 0..rounds() {
        load.go_on(100);
        let at = round % 2;
        let (address, admin) = (replicas[at].address, replicas[at].admin);
        // A load balancer sends no more clients to a replica that is not ready.
        let watch = thread::spawn({
            let ready = ready.clone();
            move || loop {
                let probe = Request::new("GET", "/readyz").try_send(&format!("http://{admin}"));
                if !probe.is_ok_and(|response| response.status == 200) {
                    return ready.lock().unwrap().retain(|one| *one != address);
                }
                thread::sleep(LOOK);
            }
        });
        replicas[at].end("TERM");
        watch.join().unwrap();
        replicas[at] = Gateway::start(&config, &[]);
        ready.lock().unwrap().push(replicas[at].address);
    }
    load.go_on(100);
    println!("{} requests served over {} restarts", load.stop(), rounds());
    replicas.iter_mut().for_each(|gateway| gateway.end("TERM"));
}

#[test]
fn process_without_a_successor_keeps_serving() {
    let (folder, recorder, calls) = (tempfile::tempdir().unwrap(), Recorder::auth0(), Calls::start());
    let config = write(&folder, "g.yaml", &recorder, &calls, "{}");
    let rejected = crate::harness::finish(sessiongate(&["run", "--upgrade", "-c", config.to_str().unwrap()]));
    assert_eq!(rejected.code, Some(1));
    assert!(rejected.stderr.contains("needs `shutdown.upgrade_socket`"), "{}", rejected.stderr);
    // Without a place for upgrades the signal means a stop, as it does elsewhere.
    Gateway::start(&config, &[]).end("QUIT");
    // What waits there does not serve, and ends.
    let socket = folder.path().join("upgrade.sock");
    let config = write(&folder, "h.yaml", &recorder, &calls, &format!("{{ upgrade_socket: {} }}", socket.display()));
    let mut gateway = Gateway::start(&config, &[]);
    let broken = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    gateway.process.signal("QUIT");
    drop(broken.accept().unwrap());
    gateway.process.wait_for_line(|line| line.contains("cannot hand over the listeners"));
    let path = format!("/api/v2/sessions/{SESSION}");
    let read = Request::new("GET", &path).bearer(&recorder.token()).header("Host", "auth0.example");
    assert_eq!(read.send(&format!("http://{}", gateway.address)).status, 200);
    gateway.end("TERM");
}

#[test]
fn upgrade_with_an_invalid_configuration_keeps_the_old_process() {
    let (folder, recorder, calls) = (tempfile::tempdir().unwrap(), Recorder::auth0(), Calls::start());
    let socket = folder.path().join("upgrade.sock");
    let config = write(&folder, "g.yaml", &recorder, &calls, &format!("{{ upgrade_socket: {} }}", socket.display()));
    let mut gateway = Gateway::start(&config, &[]);
    let text = std::fs::read_to_string(&config).unwrap();
    let old = folder.path().join("old.yaml");
    std::fs::write(&old, text.replace("match: { host: calls", "unmatched: refuse, match: { host: calls")).unwrap();
    let next = crate::harness::finish(sessiongate(&["run", "--upgrade", "-c", old.to_str().unwrap()]));
    assert_eq!(next.code, Some(1));
    assert!(next.stderr.contains("upstreams.calls.unmatched: `refuse` was renamed to `reject`"), "{}", next.stderr);
    let path = format!("/api/v2/sessions/{SESSION}");
    let read = Request::new("GET", &path).bearer(&recorder.token()).header("Host", "auth0.example");
    assert_eq!(read.send(&format!("http://{}", gateway.address)).status, 200);
    gateway.end("TERM");
}

#[test]
fn in_memory_cache_is_off_while_two_processes_run() {
    let (arrived, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let recorder = Recorder::start({
        let (arrived, waits) = (arrived.clone(), waits.clone());
        move |call| {
            if call.seen.target == "/slow" {
                arrived.store(true, Ordering::SeqCst);
                wait_for("the end of the wait", || (!waits.load(Ordering::SeqCst)).then_some(()));
            }
            call.as_auth0()
        }
    });
    let (folder, calls) = (tempfile::tempdir().unwrap(), Calls::start());
    let socket = folder.path().join("upgrade.sock");
    let config = write(&folder, "g.yaml", &recorder, &calls, &format!("{{ upgrade_socket: {} }}", socket.display()));
    let mut old = Gateway::start(&config, &[]);
    let url = format!("http://{}", old.address);
    let path = format!("/api/v2/sessions/{SESSION}");
    let read = Request::new("GET", &path).bearer(&recorder.token()).header("Host", "auth0.example");
    let status = |read: &Request| read.send(&url).header("cache-status").unwrap().to_owned();
    assert!(status(&read).contains("fwd=miss"));
    assert!(status(&read).contains("hit"));
    // The old process still has a request in flight.
    let slow = thread::spawn({
        let url = url.clone();
        move || Request::new("GET", "/slow").header("Host", "auth0.example").send(&url).status
    });
    wait_for("the slow request", || arrived.load(Ordering::SeqCst).then_some(()));
    let next = Gateway::process(&config, &["--upgrade"]);
    old.process.signal("QUIT");
    let mut next = Gateway::serving(next);
    // Whichever of the two takes them.
    for _ in 0..5 {
        assert!(status(&read).contains("fwd=bypass"), "{}", status(&read));
    }
    waits.store(false, Ordering::SeqCst);
    assert_eq!(slow.join().unwrap(), 200);
    assert!(old.process.wait().success());
    wait_for("a hit", || status(&read).contains("hit").then_some(()));
    next.end("TERM");
}
