//! Fleets of two versions: replicas with the scripts of the version before (protocol 1, in `previous`) and with those of this one see
//! each other's marks and generations. Entries have keys of their own.

use crate::harness::{RedisServer, redis_installed};
use redis::{Connection, Value};

const KEPT: &str = "600000";
const PLACE: &str = include_str!("../../src/cache/redis/place.lua");
const EPOCH: &str = "00000000000000000000000000000009";
const NOBODY: &str = "00000000000000000000000000000001";

/// The scripts of one version.
struct Version {
    name: &'static str,
    acquire: String,
    begin: &'static str,
    end: &'static str,
    open: &'static str,
    deleted: &'static str,
    /// Where it keeps answers.
    place: &'static str,
}

fn versions() -> [Version; 2] {
    [
        Version {
            name: "previous",
            acquire: include_str!("previous/acquire.lua").to_owned(),
            begin: include_str!("previous/begin.lua"),
            end: include_str!("previous/end.lua"),
            open: include_str!("previous/open.lua"),
            deleted: include_str!("previous/deleted.lua"),
            place: "{a}:v:x",
        },
        Version {
            name: "this",
            acquire: [PLACE, include_str!("../../src/cache/redis/acquire.lua")].concat(),
            begin: include_str!("../../src/cache/redis/begin.lua"),
            end: include_str!("../../src/cache/redis/end.lua"),
            open: include_str!("../../src/cache/redis/open.lua"),
            deleted: include_str!("../../src/cache/redis/deleted.lua"),
            place: "{a}:v2:x",
        },
    ]
}

fn run(connection: &mut Connection, script: &str, keys: &[&str], arguments: &[&str]) -> Value {
    let mut run = redis::cmd("EVAL");
    run.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    run.query(connection).unwrap()
}

impl Version {
    /// The letter and the rest of what a reader is told.
    fn acquire(&self, connection: &mut Connection, reader: &str) -> (String, String) {
        let keys = ["{a}:s", self.place, "{a}:r:x"];
        let keys = if self.name == "this" { &keys[..2] } else { &keys[..] };
        let answer = run(connection, &self.acquire, keys, &[reader, "", EPOCH, KEPT, "5000", "fresh", NOBODY]);
        let Value::BulkString(text) = answer else { panic!("{answer:?}") };
        let text = String::from_utf8(text).unwrap();
        (text[..1].to_owned(), text[1..].to_owned())
    }

    /// The generation that a reader would fill under: it stands at the end.
    fn generation(&self, connection: &mut Connection) -> String {
        let (letter, rest) = self.acquire(connection, "00000000000000aa");
        assert_eq!(letter, "G", "{}", self.name);
        rest[rest.len() - 32..].to_owned()
    }

    fn begin(&self, connection: &mut Connection, key: &str, writer: &str) {
        assert_eq!(run(connection, self.begin, &[key], &[writer, "60000", "64", "refuse", KEPT]), Value::Int(1));
    }

    fn end(&self, connection: &mut Connection, key: &str, writer: &str, unchanged: &str, deleted: &str) {
        let floor = format!("{:020}", 7);
        run(connection, self.end, &[key], &[writer, &floor, unchanged, deleted, KEPT]);
    }
}

/// Each of the two writes, and each reads.
fn each(test: impl Fn(&mut Connection, &Version, &Version)) {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut connection = server.connection();
    for writer in versions() {
        for reader in versions() {
            redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
            test(&mut connection, &writer, &reader);
        }
    }
}

const WRITER: &str = "00000000000000ee";

#[test]
fn both_versions_have_one_generation_and_see_each_others_marks() {
    each(|connection, writer, reader| {
        let before = writer.generation(connection);
        assert_eq!(reader.generation(connection), before);
        writer.begin(connection, "{a}:s", WRITER);
        assert_eq!(reader.acquire(connection, "00000000000000ab").0, "W");
        // What one has marked the other can end.
        reader.end(connection, "{a}:s", WRITER, "unchanged", "0");
        assert_eq!(writer.generation(connection), before, "it changed nothing");
        writer.begin(connection, "{a}:s", WRITER);
        writer.end(connection, "{a}:s", WRITER, "", "0");
        let after = reader.generation(connection);
        assert_ne!(after, before);
        assert_eq!(writer.generation(connection), after);
    });
}

#[test]
fn both_versions_see_each_others_deletions_and_epochs() {
    each(|connection, writer, reader| {
        writer.begin(connection, "{a}:s", WRITER);
        writer.end(connection, "{a}:s", WRITER, "", "60000");
        assert_eq!(reader.acquire(connection, "00000000000000ab").0, "X");
        assert_eq!(run(connection, reader.deleted, &["{a}:s"], &[]), Value::Int(1));
        let open = |version: &Version, connection: &mut Connection| {
            run(connection, version.open, &["{e}:e"], &["00000000000000ac", KEPT])
        };
        let before = open(writer, connection);
        assert_eq!(open(reader, connection), before);
        writer.begin(connection, "{e}:e", WRITER);
        assert_eq!(open(reader, connection), Value::BulkString(b"W".to_vec()));
        writer.end(connection, "{e}:e", WRITER, "", "0");
        assert_ne!(open(reader, connection), before);
    });
}

/// States as the version before has left them in a store.
#[test]
fn recorded_states_are_read_as_they_were_meant() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut connection = server.connection();
    let [_, this] = versions();
    let generation = "00000000000000aa1764300000000000";
    let (floor, never, ever) = ("00000000001764300000", "0000000000000", "9999999999999");
    for (state, expected) in [
        (format!("{generation}{floor}{never}"), "G"),
        (format!("{generation}{floor}{ever}"), "X"),
        (format!("{generation}{floor}{never}00000000000000ee{ever}"), "W"),
        (format!("{}{floor}{never}00000000000000ee{ever}00000000000000ef{ever}", "-".repeat(32)), "W"),
        // Its mark has run out.
        (format!("{generation}{floor}{never}00000000000000ee{never}"), "G"),
    ] {
        redis::cmd("SET").arg("{a}:s").arg(&state).exec(&mut connection).unwrap();
        // What it stored stands elsewhere.
        redis::cmd("SET").arg("{a}:v:x").arg(format!("D{generation}{EPOCH}")).exec(&mut connection).unwrap();
        let (letter, rest) = this.acquire(&mut connection, "00000000000000aa");
        assert_eq!(letter, expected, "{state}");
        assert_eq!(&rest[16..36], floor, "{state}");
    }
}
