//! The program as a process.

use super::{Request, TIMEOUT, wait_for};
use regex::Regex;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// The program, with these arguments, and none of the caller's variables that it reads.
pub fn sessiongate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessiongate"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// How a process ended, and its output.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn finish(command: Command) -> Finished {
    let mut process = Process::start(command);
    let status = process.wait();
    Finished { code: status.code(), stdout: process.stdout.whole(), stderr: process.stderr.whole() }
}

/// The lines that a process writes, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    over: bool,
}

impl Lines {
    /// Reads in a thread of its own, so that the process never waits for its reader.
    fn of(from: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let own = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                own.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                own.0.1.notify_all();
            }
            own.lock().over = true;
            own.0.1.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn so_far(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The first line that fits; none where the process is done, or the time is over.
    fn find(&self, mut fits: impl FnMut(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut written = self.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = written.lines.iter().skip(seen).find(|line| fits(line)) {
                return Some(line.clone());
            }
            seen = written.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if written.over || left.is_zero() {
                return None;
            }
            let waited = self.0.1.wait_timeout(written, left);
            written = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything, once the process is done.
    fn whole(&self) -> String {
        wait_for("the end of a process's output", || self.lock().over.then_some(()));
        let mut text = self.so_far().join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// A process. It ends with the test.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Process {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Process::new(child.unwrap())
    }

    /// What it has written on standard output.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.so_far()
    }

    /// What it has written on standard error.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.so_far()
    }

    /// The first line on standard output that fits; waits for it.
    pub fn wait_for_line(&self, fits: impl FnMut(&str) -> bool) -> String {
        let said = || [self.stdout(), self.stderr()].concat().join("\n");
        let found = self.stdout.find(fits);
        found.unwrap_or_else(|| panic!("no such line in\n{}", said()))
    }

    fn new(mut child: Child) -> Process {
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Process { child, stdout, stderr }
    }

    /// Waits until it has ended, and everything that it wrote is here.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_for("a process to end", || self.child.try_wait().unwrap());
        let _ = (self.stdout.whole(), self.stderr.whole());
        status
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal, such as `TERM`. After `STOP` it does nothing any more.
    pub fn signal(&self, name: &str) {
        let id = self.child.id();
        // The shell's own `kill`: the program of that name is not everywhere.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(sent.unwrap().success(), "kill -{name} {id}");
        if name == "STOP" {
            // Its threads go on until the first of them has run, and seen the signal.
            wait_for("a process to stop", || threads_are_stopped(id).then_some(()));
        }
    }
}

/// Whether all threads of a process are stopped.
fn threads_are_stopped(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.into_iter().all(|thread| {
        // A thread may have ended meanwhile.
        let state = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        // The name before it is in parentheses, and may have others in it.
        state.rsplit_once(')').is_none_or(|(_, state)| state.trim_start().starts_with('T'))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway: the program with `run` and a configuration.
pub struct Gateway {
    process: Process,
    folder: TempDir,
    /// All addresses that requests come in at.
    listen: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    control: Option<SocketAddr>,
}

impl Gateway {
    /// Starts one on free ports and waits until it serves. `listen`, `admin` and `control` are added where the text does
    /// not begin a line with them.
    pub fn start(yaml: &str) -> Gateway {
        Gateway::start_with(yaml, &[])
    }

    /// The same, with variables in its environment.
    pub fn start_with(yaml: &str, variables: &[(&str, &str)]) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(folder.path(), yaml);
        Gateway::start_from(folder, &path, variables)
    }

    /// One whose configuration is this file of a folder.
    pub fn start_from(folder: TempDir, path: &Path, variables: &[(&str, &str)]) -> Gateway {
        let mut command = sessiongate(&["run", "-c", path.to_str().unwrap()]);
        command.envs(variables.iter().copied());
        let process = Process::start(command);
        let line = process.wait_for_line(|line| line.contains("serving"));
        let addresses = |name: &str| {
            let value = Regex::new(&format!(r#"\b{name}"?[:=](?:"([^"]*)"|(\S+))"#)).unwrap();
            let found = value.captures(&line).and_then(|found| found.get(1).or(found.get(2)));
            let words = found.map_or("", |found| found.as_str()).split(' ').filter_map(|word| word.parse().ok());
            words.collect::<Vec<SocketAddr>>()
        };
        let listen = addresses("listen");
        assert!(!listen.is_empty(), "no address in {line}");
        let one = |name: &str| addresses(name).first().copied();
        Gateway { folder, listen, admin: one("admin"), control: one("control"), process }
    }

    /// The folder of its configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes another configuration in the place of the one that it was started with.
    pub fn rewrite(&self, yaml: &str) {
        write_config(self.folder(), yaml);
    }

    /// Where requests come in: `http://127.0.0.1:1234`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The same as an address, for raw bytes.
    pub fn address(&self) -> SocketAddr {
        self.listen[0]
    }

    /// The addresses of all listeners that have one, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The URL of the admin listener.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.unwrap())
    }

    /// The URL of the listener for commands.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control.unwrap())
    }

    /// Its number among the processes.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Waits until it is ready: until it knows the keys of its issuers.
    pub fn ready(&self) {
        let ready = Request::new("GET", "/readyz");
        wait_for("the gateway to be ready", || (ready.send(&self.admin_url()).status == 200).then_some(()));
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.process.stdout()
    }

    /// What it wrote on standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// The first line of the log that fits; waits for it.
    pub fn wait_for_log(&self, fits: impl FnMut(&str) -> bool) -> String {
        self.process.wait_for_line(fits)
    }

    /// The metrics. A request is counted after its response was sent: see [`Gateway::metrics_when_idle`].
    pub fn metrics(&self) -> String {
        Request::new("GET", "/metrics").send(&self.admin_url()).text()
    }

    /// The metrics once no request is in flight: then all requests are counted that have had their responses.
    pub fn metrics_when_idle(&self) -> String {
        self.wait_for_metric("sessiongate_requests_in_flight 0");
        self.metrics()
    }

    /// Waits until this is a line of the metrics.
    pub fn wait_for_metric(&self, line: &str) {
        wait_for(line, || self.metrics().lines().any(|one| one == line).then_some(()));
    }

    /// The resident memory of the process, in bytes, where Linux tells it.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended; then the log is whole.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// Writes a configuration into a folder, with free ports where it names none.
pub fn write_config(folder: &Path, yaml: &str) -> PathBuf {
    let mut text = String::new();
    for key in ["listen", "admin", "control"] {
        let several = key == "listen" && yaml.lines().any(|line| line == "listeners:");
        if !several && !yaml.lines().any(|line| line.starts_with(&format!("{key}:"))) {
            text.push_str(&format!("{key}: 127.0.0.1:0\n"));
        }
    }
    let path = folder.join("gateway.yaml");
    std::fs::write(&path, text + yaml).unwrap();
    path
}

/// The options of the sandbox that are addresses.
pub const SANDBOX_ADDRESSES: [&str; 6] =
    ["--listen", "--admin", "--control", "--auth0", "--zitadel", "--zitadel-verified"];

/// A sandbox: a gateway with the policy of the tour before a simulated tenant, in one process.
pub struct Sandbox {
    process: Process,
    /// The gateway: `http://127.0.0.1:1234`.
    pub gateway: String,
    /// The URL of the admin listener.
    pub admin: String,
    /// The URL of the listener for commands.
    pub control: String,
    /// The tenant itself.
    pub upstream: String,
    pub token: String,
    pub read_only_token: String,
    pub expired_token: String,
    pub session_id: String,
    pub user_id: String,
    /// The part of the sandbox's output about ZITADEL.
    pub zitadel: Value,
    /// The part about the ZITADEL whose JWTs the gateway verifies.
    pub verified: Value,
}

impl Sandbox {
    /// Starts one on free ports and waits until it is ready.
    pub fn start(args: &[&str]) -> Sandbox {
        const FREE: &str = "127.0.0.1:0";
        let mut command = sessiongate(&["sandbox", "--json"]);
        for address in SANDBOX_ADDRESSES {
            command.args([address, FREE]);
        }
        command.args(args);
        let process = Process::start(command);
        let line = process.wait_for_line(|line| line.starts_with('{'));
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let auth0 = &said["auth0"];
        Sandbox {
            process,
            gateway: text(&said["gateway"]),
            admin: text(&said["admin"]),
            control: text(&said["control"]),
            upstream: text(&auth0["upstream"]),
            token: text(&auth0["token"]),
            read_only_token: text(&auth0["read_only_token"]),
            expired_token: text(&auth0["expired_token"]),
            session_id: text(&auth0["session_id"]),
            user_id: text(&auth0["user_id"]),
            zitadel: said["zitadel"].clone(),
            verified: said["zitadel_verified"].clone(),
        }
    }

    /// The path of the session that exists from the start.
    pub fn session_path(&self) -> String {
        format!("/api/v2/sessions/{}", self.session_id)
    }

    /// What it has written on standard output.
    pub fn stdout(&self) -> Vec<String> {
        self.process.stdout()
    }

    /// Asks it to stop (SIGTERM) and waits until it has ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.wait()
    }
}
