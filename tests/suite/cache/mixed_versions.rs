//! Replicas of two versions on one store. Replicas with the scripts of the previous version (protocol 1, in `previous`)
//! and of this one share marks and generations. They share deletions of the provider's own tenant. Entries have
//! different keys.

use crate::harness::{RedisServer, redis_installed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::{Connection, Value};
use sessiongate::coherence::{FLOOR_KEPT, MAX_TENANTS};

const KEPT: &str = "600000";
const VARIANT: &str = include_str!("../../../src/cache/redis/variant.lua");
const TENANTS: &str = include_str!("../../../src/cache/redis/tenants.lua");
const EPOCH: &str = "00000000000000000000000000000009";
const NOBODY: &str = "00000000000000000000000000000001";
/// The provider's own tenant, and another.
const OWN: &str = "00000000000000000000000000000000";
const OTHER: &str = "000000000000000000000000000000aa";
const NEVER: &str = "0000000000000";

/// The scripts of one version.
struct Version {
    name: &'static str,
    acquire: String,
    begin: &'static str,
    end: String,
    open: &'static str,
    deleted: String,
    /// The prefix of its entries.
    place: &'static str,
}

fn versions() -> [Version; 2] {
    [
        Version {
            name: "previous",
            acquire: include_str!("previous/acquire.lua").to_owned(),
            begin: include_str!("previous/begin.lua"),
            end: include_str!("previous/end.lua").to_owned(),
            open: include_str!("previous/open.lua"),
            deleted: include_str!("previous/deleted.lua").to_owned(),
            place: "{a}:v:x",
        },
        Version {
            name: "this",
            acquire: [VARIANT, TENANTS, include_str!("../../../src/cache/redis/acquire.lua")].concat(),
            begin: include_str!("../../../src/cache/redis/begin.lua"),
            end: [TENANTS, include_str!("../../../src/cache/redis/end.lua")].concat(),
            open: include_str!("../../../src/cache/redis/open.lua"),
            deleted: [TENANTS, include_str!("../../../src/cache/redis/deleted.lua")].concat(),
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
    /// The letter and the rest of the script's result.
    fn acquire(&self, connection: &mut Connection, reader: &str) -> (String, String) {
        self.acquire_for(connection, reader, OWN, NEVER)
    }

    fn acquire_for(&self, connection: &mut Connection, reader: &str, tenant: &str, purged: &str) -> (String, String) {
        let keys = ["{a}:s", self.place, if self.is_this() { "{a}:t" } else { "{a}:r:x" }];
        let arguments = [reader, "", EPOCH, KEPT, "5000", "fresh", NOBODY, tenant, purged];
        let arguments = if self.is_this() { &arguments[..] } else { &arguments[..7] };
        let response = run(connection, &self.acquire, &keys, arguments);
        let Value::BulkString(text) = response else { panic!("{response:?}") };
        let text = String::from_utf8(text).unwrap();
        (text[..1].to_owned(), text[1..].to_owned())
    }

    /// The generation that a reader would fill under: the end of the result.
    fn generation(&self, connection: &mut Connection) -> String {
        let (letter, rest) = self.acquire(connection, "00000000000000aa");
        assert_eq!(letter, "G", "{}", self.name);
        rest[rest.len() - 32..].to_owned()
    }

    fn begin(&self, connection: &mut Connection, key: &str, writer: &str) {
        assert_eq!(run(connection, self.begin, &[key], &[writer, "60000", "64", "refuse", KEPT]), Value::Int(1));
    }

    fn end(&self, connection: &mut Connection, key: &str, writer: &str, unchanged: &str, deleted: &str) {
        self.end_for(connection, key, writer, unchanged, deleted, OWN);
    }

    fn end_for(
        &self,
        connection: &mut Connection,
        key: &str,
        writer: &str,
        unchanged: &str,
        deleted: &str,
        tenant: &str,
    ) {
        let (floor, kept, most) = (format!("{:020}", 7), FLOOR_KEPT.to_string(), MAX_TENANTS.to_string());
        let arguments = [writer, &floor, unchanged, deleted, KEPT, tenant, NEVER, &kept, &most];
        let arguments = if self.is_this() { &arguments[..] } else { &arguments[..5] };
        let keys = [key, "{a}:t"];
        let keys = if self.is_this() && key.ends_with('s') { &keys[..] } else { &keys[..1] };
        run(connection, &self.end, keys, arguments);
    }

    fn is_deleted(&self, connection: &mut Connection, tenant: &str) -> bool {
        let (keys, arguments) = (["{a}:s", "{a}:t"], [tenant, NEVER]);
        let (keys, arguments) = if self.is_this() { (&keys[..], &arguments[..]) } else { (&keys[..1], &[][..]) };
        run(connection, &self.deleted, keys, arguments) == Value::Int(1)
    }

    fn is_this(&self) -> bool {
        self.name == "this"
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
fn both_versions_share_generations_and_marks() {
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
fn both_versions_share_deletions_and_epochs() {
    each(|connection, writer, reader| {
        writer.begin(connection, "{a}:s", WRITER);
        writer.end(connection, "{a}:s", WRITER, "", "60000");
        assert_eq!(reader.acquire(connection, "00000000000000ab").0, "X");
        assert!(reader.is_deleted(connection, OWN));
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

/// The previous version stores deletions without a tenant. This version shows such a deletion only to the provider's
/// own tenant.
#[test]
fn deletion_by_the_previous_version_applies_to_the_own_tenant() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut connection = server.connection();
    let [before, this] = versions();
    let reads = |connection: &mut Connection, tenant: &str, purged: &str| {
        this.acquire_for(connection, "00000000000000ab", tenant, purged).0
    };
    before.end(&mut connection, "{a}:s", WRITER, "", "60000");
    assert_eq!([OWN, OTHER].map(|tenant| reads(&mut connection, tenant, NEVER)), ["X", "W"]);
    assert_eq!([OWN, OTHER].map(|tenant| this.is_deleted(&mut connection, tenant)), [true, false]);
    assert_eq!(reads(&mut connection, OWN, "1764300000000"), "X", "nobody knows whether it was before the purge");
    // Deletions of this version name their tenant.
    this.end(&mut connection, "{a}:s", WRITER, "", "lifted");
    this.end(&mut connection, "{a}:s", WRITER, "", "60000");
    assert_eq!([OWN, OTHER].map(|tenant| reads(&mut connection, tenant, NEVER)), ["X", "G"]);
    assert_eq!(reads(&mut connection, OWN, "1764300000000"), "G", "it was before the purge");
    this.end_for(&mut connection, "{a}:s", WRITER, "", "60000", OTHER);
    this.end(&mut connection, "{a}:s", WRITER, "", "lifted");
    assert_eq!([OWN, OTHER].map(|tenant| reads(&mut connection, tenant, NEVER)), ["G", "G"], "for all tenants");
}

/// This version stores the version of a purge in the field where the previous one stores the minimum version, and the
/// previous one keeps it.
#[test]
fn upstream_purge_survives_writes_of_both_versions() {
    each(|connection, one, other| {
        let purged = |connection: &mut Connection| {
            let epoch: String = redis::cmd("GET").arg("{e}:e").query(connection).unwrap();
            epoch[32..52].parse::<u64>().unwrap()
        };
        let [_, this] = versions();
        let arguments = [WRITER, &format!("{:020}", 0), "", "purged", KEPT];
        run(connection, &this.end, &["{e}:e"], &arguments);
        let first = purged(connection);
        assert!(first > 1_700_000_000_000, "{first}");
        for version in [one, other] {
            version.begin(connection, "{e}:e", WRITER);
            let arguments = [WRITER, &format!("{:020}", 0), "", "0", KEPT];
            run(connection, &version.end, &["{e}:e"], &arguments);
            assert_eq!(purged(connection), first, "{}", version.name);
        }
        run(connection, &this.end, &["{e}:e"], &arguments);
        assert!(purged(connection) > first);
    });
}

#[test]
fn recorded_states_of_the_previous_version_are_understood() {
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
        // Its entry is under another key.
        redis::cmd("SET").arg("{a}:v:x").arg(format!("D{generation}{EPOCH}")).exec(&mut connection).unwrap();
        let (letter, rest) = this.acquire(&mut connection, "00000000000000aa");
        assert_eq!(letter, expected, "{state}");
        assert_eq!(&rest[16..36], floor, "{state}");
    }
}

/// An end that is not over yet, in the place of the one that was recorded.
const EVER: &str = "9999999999999";

/// A dump of a server that the previous version used while it read, changed and deleted sessions of Auth0; only the
/// expiry of marks and deletions differs.
#[test]
fn recorded_store_of_the_previous_version_is_understood() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut connection = server.connection();
    let [previous, this] = versions();
    let (none, floor) = ("00000000000000000000", "00000001767225602000");
    for (what, state, ends, letter, expected) in [
        ("read", "05f1f5a4b47fded41795854161514215000000000000000000000000000000000", &[][..], "G", none),
        ("changed", "ca6e9e730deda4791795854161792375000000017672256020000000000000000", &[], "G", floor),
        ("deleted", "63e762a2fdf2cc001795854162261954000000000000000000001795854462261", &["1795854462261"], "X", none),
        (
            "a change in flight",
            "b074748b6db9716a179585416259025700000000000000000000000000000000051f3cad14584ebff1795854195612",
            &["1795854195612"],
            "W",
            none,
        ),
        (
            "two in flight",
            "--------------------------------00000000000000000000000000000000\
             04c354d38ebc2281017958541960579b6ec37bd1cd69481795854196097",
            &["1795854196057", "1795854196097"],
            "W",
            none,
        ),
    ] {
        let state = ends.iter().fold(state.to_owned(), |state, end| state.replace(end, EVER));
        redis::cmd("SET").arg("{a}:s").arg(&state).exec(&mut connection).unwrap();
        for version in [&previous, &this] {
            let (found, rest) = version.acquire(&mut connection, "00000000000000aa");
            assert_eq!(found, letter, "{what}, read by {}", version.name);
            assert!(!version.is_this() || &rest[16..36] == expected, "{what}: {rest}");
        }
    }
    let epoch = "32227963738b8fa9179585416339559100000000000000000000000000000000068ed0ad292bff6e81795854196443";
    redis::cmd("SET").arg("{e}:e").arg(epoch.replace("1795854196443", EVER)).exec(&mut connection).unwrap();
    let opened = run(&mut connection, this.open, &["{e}:e"], &["00000000000000ac", KEPT]);
    assert_eq!(opened, Value::BulkString(b"W".to_vec()));
}

/// The entry is under the state that it belongs to.
#[test]
fn sealed_entry_of_the_previous_version_is_not_a_hit() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let mut connection = server.connection();
    let [_, this] = versions();
    let entry = STANDARD.decode(include_str!("previous/entry.base64").trim_end()).unwrap();
    let state = "05f1f5a4b47fded41795854161514215000000000000000000000000000000000";
    redis::cmd("SET").arg("{a}:s").arg(state).exec(&mut connection).unwrap();
    redis::cmd("SET").arg("{a}:v:x").arg(&entry).exec(&mut connection).unwrap();
    let keys = ["{a}:s", this.place, "{a}:t"];
    let arguments = ["00000000000000aa", "", &state[..32], KEPT, "5000", "", NOBODY, OWN, NEVER];
    let Value::BulkString(response) = run(&mut connection, &this.acquire, &keys, &arguments) else { panic!() };
    assert_eq!(response[0], b'G', "it leads, and fetches");
    let kept: Vec<u8> = redis::cmd("GET").arg("{a}:v:x").query(&mut connection).unwrap();
    assert_eq!(kept, entry, "replicas of the version before still have it");
}
