//! Real Redis servers.

use super::{Process, skipped, wait_for};
use redis::{Client, Cmd, Connection, FromRedisValue};
use std::collections::HashMap;
use std::net::TcpListener;
use std::process::Command;
use tempfile::TempDir;

/// Whether Redis is installed. Fails if not, unless it may be skipped.
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

/// A port that is unused, as far as can be known.
fn free_port() -> u16 {
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
            let responses = || server.try_connection().is_some();
            wait_for("a response or an end", || Some(responses()).filter(|responses| *responses || server.has_ended()))
                .then_some(())
        });
        server
    }

    /// A server of a cluster; it belongs to none yet.
    fn of_cluster(options: &[&str]) -> RedisServer {
        // By itself it would take a port that is fixed by the other one, and may be somebody's.
        let bus = free_port().to_string();
        let own = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
        RedisServer::with(&[&own, options].concat())
    }

    fn run(&mut self) {
        let mut command = Command::new("redis-server");
        let options = match self.options.as_slice() {
            [mode, file, options @ ..] if mode == "SENTINEL" => {
                // It writes what it learns into its file.
                let own = self.folder.path().join("sentinel.conf");
                std::fs::copy(file, &own).unwrap();
                command.arg(own).arg("--sentinel");
                options
            }
            options => {
                command.args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
                options
            }
        };
        let port = if self.has_tls() { 0 } else { self.port };
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).arg("--dir").arg(self.folder.path());
        command.arg("--unixsocket").arg(self.folder.path().join("socket"));
        command.args(options.iter().map(|option| option.replace("TLS_PORT", &self.port.to_string())));
        self.process = Some(Process::start(command));
    }

    fn has_tls(&self) -> bool {
        self.options.iter().any(|option| option == "--tls-port")
    }

    fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.stdout().iter().any(|line| line.contains("bind:")))
    }

    fn try_connection(&self) -> Option<Connection> {
        // The tests are let in by another door than the gateways, which may have to show who they are.
        let door = self.folder.path().join("socket");
        let client =
            if self.has_tls() { Client::open(format!("unix://{}", door.display())) } else { Client::open(self.url()) };
        let mut connection = client.unwrap().get_connection().ok()?;
        match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => Some(connection),
            // It works, although it does not report it.
            Err(error) => Some(connection).filter(|_| matches!(error.code(), Some("NOAUTH" | "NOPERM" | "LOADING"))),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.has_tls() { "rediss" } else { "redis" }, self.port)
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

    /// How often a command was executed, by clients and by scripts.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Lets exclusive rights count for all who connect from now on, as on a server that has run for longer than any write
    /// may take.
    pub fn count_rights(&self) {
        let _: String = self.ask(&["SCRIPT", "LOAD", include_str!("../../../src/cache/redis/known.lua")]);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("KILL");
            process.wait();
        }
    }

    /// Starts it again on the same port: empty, or with the saved data.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
        self.connection();
    }

    /// Stops it: it accepts connections and does not respond.
    pub fn hold(&self) {
        self.process.as_ref().unwrap().signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.as_ref().unwrap().signal("CONT");
    }
}

/// A primary, a replica, and three sentinels that know the service `sessions`.
pub struct Sentinels {
    pub servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub fn start() -> Sentinels {
        Sentinels::with(&[])
    }

    /// All of them with more options.
    pub fn with(options: &[&str]) -> Sentinels {
        let primary = RedisServer::with(options);
        let port = primary.port().to_string();
        let replica = RedisServer::with(&[&["--replicaof", "127.0.0.1", &port], options].concat());
        let sentinel = |_| {
            let file = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
            let text = format!(
                "sentinel monitor sessions 127.0.0.1 {port} 2\nsentinel down-after-milliseconds sessions 500\n\
                 sentinel failover-timeout sessions 3000\n"
            );
            std::fs::write(&file, text).unwrap();
            let sentinel = RedisServer::with(&[&["SENTINEL", file.to_str().unwrap()], options].concat());
            std::fs::remove_file(file).unwrap();
            sentinel
        };
        let sentinels: Vec<RedisServer> = (0..3).map(sentinel).collect();
        let sentinels = Sentinels { servers: [primary, replica], sentinels };
        wait_for("the sentinels to know each other and the replica", || {
            let known = |sentinel: &RedisServer| {
                let master: HashMap<String, String> = sentinel.ask(&["SENTINEL", "MASTER", "sessions"]);
                (master["num-other-sentinels"] == "2" && master["num-slaves"] == "1").then_some(())
            };
            let info: String = sentinels.servers[1].ask(&["INFO", "replication"]);
            (sentinels.sentinels.iter().all(|one| known(one).is_some()) && info.contains("master_link_status:up"))
                .then_some(())
        });
        sentinels
    }

    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// Each of the sentinels.
    pub fn each(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Holds the sentinel that is asked first.
    pub fn hold_first(&self) {
        self.sentinels[0].hold();
    }

    /// The port of the server that the sentinels name.
    pub fn primary(&self) -> u16 {
        let named: (String, u16) = self.sentinels[1].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "sessions"]);
        named.1
    }
}

/// A cluster of three primaries, with a replica each where that is wanted.
pub struct RedisCluster {
    pub primaries: Vec<RedisServer>,
    pub replicas: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start(replicated: bool) -> RedisCluster {
        RedisCluster::with(replicated, &[])
    }

    /// All of them with more options.
    pub fn with(replicated: bool, options: &[&str]) -> RedisCluster {
        let start = |count: usize| (0..count).map(|_| RedisServer::of_cluster(options)).collect::<Vec<_>>();
        let cluster = RedisCluster { primaries: start(3), replicas: start(if replicated { 3 } else { 0 }) };
        for (at, server) in cluster.all().enumerate() {
            let _: () = server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for (server, [first, last]) in cluster.primaries.iter().zip([[0, 5460], [5461, 10_922], [10_923, 16_383]]) {
            let _: () = server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        let bus = |server: &RedisServer| {
            let at = server.options.iter().position(|option| option == "--cluster-port").unwrap();
            server.options[at + 1].clone()
        };
        for server in cluster.all().skip(1) {
            let port = server.port().to_string();
            let _: () = cluster.primaries[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus(server)]);
        }
        let count = format!("cluster_known_nodes:{}", cluster.all().count());
        cluster.wait("all to know each other", &[&count]);
        for (replica, primary) in cluster.replicas.iter().zip(&cluster.primaries) {
            let id: String = primary.ask(&["CLUSTER", "MYID"]);
            let _: () = replica.ask(&["CLUSTER", "REPLICATE", &id]);
            wait_for("a replica to be in sync", || {
                let info: String = replica.ask(&["INFO", "replication"]);
                info.contains("master_link_status:up").then_some(())
            });
        }
        cluster.wait("the cluster to be good", &["cluster_state:ok", "cluster_slots_ok:16384"]);
        cluster
    }

    fn all(&self) -> impl Iterator<Item = &RedisServer> {
        self.primaries.iter().chain(&self.replicas)
    }

    fn wait(&self, what: &str, said: &[&str]) {
        for server in self.all() {
            wait_for(what, || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                said.iter().all(|said| info.contains(said)).then_some(())
            });
        }
    }

    /// Moves the slot of a key from the primary that has it to the next one, as a reshard does, while the cluster
    /// works.
    pub fn move_slot(&self, key: &str) {
        let moving = self.begin_move(key);
        loop {
            let keys: Vec<String> = moving.from.ask(&["CLUSTER", "GETKEYSINSLOT", &moving.slot, "10"]);
            if keys.is_empty() {
                break;
            }
            keys.iter().for_each(|key| moving.take_along(key));
        }
        self.end_move(moving);
    }

    /// From now on new keys of this key's slot are on the next primary, and the others until they are taken along.
    pub fn begin_move(&self, key: &str) -> Moving<'_> {
        let slot: u64 = self.primaries[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let slot = slot.to_string();
        let has = |server: &&RedisServer| {
            let owner: Result<(), _> =
                command(&["GET", key]).query(&mut server.connection()).map(|_: Option<Vec<u8>>| ());
            owner.is_ok()
        };
        let from = self.primaries.iter().position(|server| has(&server)).unwrap();
        let (from, to) = (&self.primaries[from], &self.primaries[(from + 1) % 3]);
        let id = |server: &RedisServer| -> String { server.ask(&["CLUSTER", "MYID"]) };
        let (from_id, to_id) = (id(from), id(to));
        let _: () = to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        let _: () = from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        Moving { slot, from, to }
    }

    /// The slot is the next primary's.
    pub fn end_move(&self, Moving { slot, from, to }: Moving<'_>) {
        let id: String = to.ask(&["CLUSTER", "MYID"]);
        for server in [to, from].into_iter().chain(&self.primaries) {
            let _: () = server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }
}

/// A slot on its way from one primary to another.
pub struct Moving<'a> {
    slot: String,
    from: &'a RedisServer,
    to: &'a RedisServer,
}

impl Moving<'_> {
    /// Takes a key along.
    pub fn take_along(&self, key: &str) {
        let port = self.to.port().to_string();
        let _: () = self.from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }
}

/// A command of these words.
fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}
