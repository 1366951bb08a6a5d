//! The option `store`: where cached responses are kept.

use super::certificates;
use super::error::{Location, Problem};
use super::section::Section;
use super::url::host;
use super::value::{boolean, count, duration, minutes, seconds, size};
use super::variables::Text;
use super::{Login, Memory, Redis, RedisTimeouts, RedisTls, Servers, Store};
use super::{secret, servers};
use secrecy::{ExposeSecret, SecretSlice};
use std::time::Duration;

/// The minimum length of a seal key, in bytes.
const MIN_SEAL_KEY: usize = 32;
/// The maximum number of seal keys.
const MAX_SEAL_KEYS: usize = 8;
/// The maximum length of a namespace, in characters.
const MAX_NAMESPACE: usize = 32;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl PartialEq for Redis {
    fn eq(&self, other: &Redis) -> bool {
        // No `..`, so that no field is forgotten.
        let Redis {
            servers,
            database,
            tls,
            login,
            namespace,
            seal_keys,
            // Compared on its own.
            hash_key: _,
            timeouts,
            lease_wait,
            max_in_flight,
            settle,
        } = self;
        let sealed = seal_keys.iter().map(ExposeSecret::expose_secret);
        (servers, database, tls, login, namespace)
            == (&other.servers, &other.database, &other.tls, &other.login, &other.namespace)
            && sealed.eq(other.seal_keys.iter().map(ExposeSecret::expose_secret))
            && (timeouts, lease_wait, max_in_flight, settle)
                == (&other.timeouts, &other.lease_wait, &other.max_in_flight, &other.settle)
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Login) -> bool {
        let password = |login: &Login| login.password.as_ref().map(|password| password.expose_secret().to_owned());
        self.username == other.username && password(self) == password(other)
    }
}

/// Reads the option `store`. Returns the location of `memory.max_bytes` too. `has_hash_key` is also true for an invalid
/// `hash_key`.
pub(super) fn read(section: &mut Section, has_hash_key: bool, hash_key: Option<&SecretSlice<u8>>) -> (Store, Location) {
    let (memory, location) = section.subsection("memory", |section| {
        let memory = Memory { max_bytes: section.read("max_bytes", 64 << 20, size(1 << 20..=1 << 40)) };
        (memory, section.location_of("max_bytes"))
    });
    let shared = section.optional_subsection("redis", |section| shared(section, hash_key)).flatten();
    if section.has("redis") {
        let location = section.location_of("redis");
        if section.has("memory") {
            let problem = Problem::new("cannot be combined with `memory`");
            section.context.reject(&location, problem.expected("remove one of them"));
        }
        if !has_hash_key {
            let problem = Problem::new("a shared store needs the option `hash_key`");
            section
                .context
                .reject(&location, problem.expected("set it beside `store`, to the same value in every replica"));
        }
    }
    (shared.map_or(Store::Memory(memory), |shared| Store::Redis(Box::new(shared))), location)
}

/// Reads a shared store. `None` after an error.
fn shared(section: &mut Section, hash_key: Option<&SecretSlice<u8>>) -> Option<Redis> {
    let found = servers::read(section);
    let database = section.read("database", 0, |text| Ok(u8::try_from(count(0..=15)(text)?).unwrap_or_default()));
    if section.has("cluster") && section.has("database") {
        let location = section.location_of("database");
        section.context.reject(&location, Problem::new("not supported with `cluster`").expected("remove it"));
    }
    let login = servers::login(section);
    let tls = section.optional_subsection("tls", tls);
    let namespace = section.read("namespace", "sessiongate".to_owned(), namespace);
    let seal_keys = seal_keys(section);
    let timeouts = section.subsection("timeouts", |section| RedisTimeouts {
        connect: section.read("connect", millis(250), duration(millis(10)..=seconds(10))),
        read: section.read("read", millis(50), duration(millis(1)..=seconds(5))),
        write: section.read("write", millis(100), duration(millis(1)..=seconds(5))),
    });
    let lease_wait = section.read("lease_wait", seconds(2), duration(seconds(0)..=seconds(10)));
    let max_in_flight = section.read("max_in_flight", 1024, count(2..=65_536));
    let allow_plaintext = section.read("allow_plaintext", false, boolean);
    let settle = section.read("settle", seconds(2), duration(seconds(0)..=minutes(1)));
    let servers::StoreServers { servers, tls: encrypted, exposed } = found?;
    if section.has("tls") && !encrypted {
        let location = section.location_of("tls");
        let problem = Problem::new("the addresses do not use TLS");
        section.context.reject(&location, problem.expected("use `rediss://`, or remove `tls`"));
    }
    warn_of_exposed(section, &servers, &login, exposed.filter(|_| !allow_plaintext));
    let tls = encrypted.then(|| tls.unwrap_or_default());
    let hash_key = hash_key.cloned().unwrap_or_else(|| Vec::new().into());
    Some(Redis {
        servers,
        database,
        tls,
        login,
        namespace,
        seal_keys,
        hash_key,
        timeouts,
        lease_wait,
        max_in_flight,
        settle,
    })
}

/// Warns of a password that goes over the network unencrypted.
fn warn_of_exposed(section: &mut Section, servers: &Servers, login: &Login, exposed: Option<Location>) {
    let sentinels = match servers {
        Servers::Sentinel { login, .. } => login.password.is_some(),
        Servers::Single(_) | Servers::Cluster(_) => false,
    };
    if let Some(location) = exposed.filter(|_| sentinels || login.password.is_some()) {
        let problem = Problem::new("the password and all commands go over the network in cleartext");
        section.context.warn(
            &location,
            problem.expected("use `rediss://`, or set `allow_plaintext: true` if the network is encrypted"),
        );
    }
}

fn tls(section: &mut Section) -> RedisTls {
    let ca_file = certificates::authorities_file(section, "ca_file");
    let certificate = certificates::authorities_file(section, "certificate");
    let key = certificates::private_key_file(section, "key");
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if section.has(one) && !section.has(other) {
            let location = section.location_of(other);
            let problem = Problem::new(format!("is missing, but `{one}` is set"));
            section.context.reject(&location, problem.expected("set both or neither"));
        }
    }
    let server_name = section.optional("server_name", host);
    RedisTls { ca_file, client: certificate.zip(key), server_name }
}

fn namespace(text: &Text) -> Result<String, Problem> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    let name = text.as_str();
    if !name.is_empty() && name.len() <= MAX_NAMESPACE && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    let allowed = format!("expected 1 to {MAX_NAMESPACE} characters from `a-z`, `0-9`, `_`, `-`, `.`");
    Err(Problem::new(format!("{} is not a valid namespace", text.shown())).expected(allowed))
}

/// The keys that encrypt cached responses.
fn seal_keys(section: &mut Section) -> Vec<SecretSlice<u8>> {
    let Some(entry) = section.required("seal_keys", "expected a list of `{ file: path }` or `{ env: NAME }`") else {
        return Vec::new();
    };
    let items = entry.items(section.context, "expected at least one `{ file: path }` or `{ env: NAME }`");
    if items.len() > MAX_SEAL_KEYS {
        let problem = Problem::new(format!("has {} keys", items.len()));
        section.context.reject(&entry.location, problem.expected(format!("at most {MAX_SEAL_KEYS} are allowed")));
    }
    items.iter().filter_map(|item| secret::referenced_secret(section.context, item, MIN_SEAL_KEY)).collect()
}
