//! Real Redis servers.

use super::{Process, skipped, wait_for};
use redis::{Client, Cmd, Connection, FromRedisValue};
use std::net::TcpListener;
use std::process::Command;
use tempfile::TempDir;

/// Whether a server can be started; fails where there is none, unless that may be left out.
pub fn redis_installed() -> bool {
    if std::env::var("SESSIONGATE_SKIP_REDIS").is_ok_and(|value| value == "1") {
        skipped("the store in Redis (SESSIONGATE_SKIP_REDIS=1)");
        return false;
    }
    let installed = Command::new("redis-server").arg("--version").output().is_ok();
    assert!(
        installed,
        "redis-server is not installed: run tests/setup, or set SESSIONGATE_SKIP_REDIS=1 to leave it out"
    );
    true
}

/// A server of its own, empty, which ends with the test.
pub struct RedisServer {
    process: Option<Process>,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

/// A port that nobody has, as far as can be known.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    pub fn start() -> RedisServer {
        RedisServer::with(&[])
    }

    /// A server with more options, as on its command line.
    pub fn with(options: &[&str]) -> RedisServer {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = RedisServer { process: None, port: 0, options, folder: TempDir::new().unwrap() };
        // The port may be gone by the time the server binds it.
        wait_for("a server on a free port", || {
            server.port = free_port();
            server.run();
            let answers = || server.try_connection().is_some();
            wait_for("an answer or an end", || Some(answers()).filter(|answers| *answers || server.has_ended()))
                .then_some(())
        });
        server
    }

    fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.folder.path()).args(["--enable-debug-command", "yes"]).args(&self.options);
        self.process = Some(Process::start(command));
    }

    fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.stdout().iter().any(|line| line.contains("bind:")))
    }

    fn try_connection(&self) -> Option<Connection> {
        let client = Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => Some(connection),
            Err(error) => Some(connection).filter(|_| error.to_string().contains("NOAUTH")),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> Connection {
        wait_for("a connection to Redis", || self.try_connection())
    }

    /// Carries a command out.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        command(words).query(&mut self.connection()).unwrap()
    }

    pub fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"])
    }

    /// How often a command was carried out, by clients and by scripts.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("KILL");
            process.wait();
        }
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
        self.connection();
    }

    /// Holds it: it takes connections and answers nothing.
    pub fn hold(&self) {
        self.process.as_ref().unwrap().signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.as_ref().unwrap().signal("CONT");
    }
}

/// A command of these words.
fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}
