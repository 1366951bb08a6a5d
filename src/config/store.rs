//! The option `store`: where cached responses are kept.

use super::certificates;
use super::error::{Location, Problem};
use super::options::kind::SecretsOf;
use super::options::store as rows;
use super::section::Section;
use super::url::host;
use super::variables::Text;
use super::{FindingId, Login, Memory, Redis, RedisTimeouts, RedisTls, Servers, Store};
use super::{secret, servers};
use secrecy::{ExposeSecret, SecretSlice};

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
    let (memory, location) = section.subsection(&rows::MEMORY, |section| {
        let memory = Memory { max_bytes: section.get(&rows::MAX_BYTES) };
        (memory, section.location_of(&rows::MAX_BYTES))
    });
    let shared = section.optional_subsection(&rows::REDIS, |section| shared(section, hash_key)).flatten();
    if section.has(&rows::REDIS) {
        let location = section.location_of(&rows::REDIS);
        if section.has(&rows::MEMORY) {
            let problem = Problem::new("cannot be combined with `memory`").id(FindingId::Conflict);
            section.context.reject(&location, problem.expected("remove one of them"));
        }
        if !has_hash_key {
            let problem = Problem::new("a shared store needs the option `hash_key`").id(FindingId::Conflict);
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
    let database = u8::try_from(section.get(&rows::DATABASE)).unwrap_or_default();
    if section.has(&rows::CLUSTER) && section.has(&rows::DATABASE) {
        let location = section.location_of(&rows::DATABASE);
        section.context.reject(
            &location,
            Problem::new("not supported with `cluster`").id(FindingId::Conflict).expected("remove it"),
        );
    }
    let login = servers::login(section, &rows::USERNAME, &rows::PASSWORD);
    let tls = section.optional_subsection(&rows::TLS, tls);
    let namespace = section.parse(&rows::NAMESPACE, namespace);
    let namespace = namespace.unwrap_or_else(|| rows::NAMESPACE.kind.default.to_owned());
    let seal_keys = seal_keys(section);
    let timeouts = section.subsection(&rows::TIMEOUTS, |section| RedisTimeouts {
        connect: section.get(&rows::CONNECT),
        read: section.get(&rows::READ),
        write: section.get(&rows::WRITE),
    });
    let lease_wait = section.get(&rows::LEASE_WAIT);
    let max_in_flight = section.get(&rows::MAX_IN_FLIGHT);
    let allow_plaintext = section.get(&rows::ALLOW_PLAINTEXT);
    let settle = section.get(&rows::SETTLE);
    let servers::StoreServers { servers, tls: encrypted, exposed } = found?;
    if section.has(&rows::TLS) && !encrypted {
        let location = section.location_of(&rows::TLS);
        let problem = Problem::new("the addresses do not use TLS").id(FindingId::Conflict);
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
            FindingId::CleartextStore,
            problem.expected("use `rediss://`, or set `allow_plaintext: true` if the network is encrypted"),
        );
    }
}

fn tls(section: &mut Section) -> RedisTls {
    let ca_file = certificates::authorities_file(section, &rows::CA_FILE);
    let certificate = certificates::authorities_file(section, &rows::CERTIFICATE);
    let key = certificates::private_key_file(section, &rows::KEY);
    certificates::require_both(section, [&rows::CERTIFICATE, &rows::KEY]);
    let server_name = section.parse(&rows::SERVER_NAME, host);
    RedisTls { ca_file, client: certificate.zip(key), server_name }
}

fn namespace(text: &Text) -> Result<String, Problem> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    let name = text.as_str();
    if !name.is_empty() && name.len() <= rows::MAX_NAMESPACE && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    let allowed = format!("expected 1 to {} characters from `a-z`, `0-9`, `_`, `-`, `.`", rows::MAX_NAMESPACE);
    Err(Problem::new(format!("{} is not a valid namespace", text.shown())).expected(allowed))
}

/// The keys that encrypt cached responses.
fn seal_keys(section: &mut Section) -> Vec<SecretSlice<u8>> {
    let SecretsOf { min, most } = rows::SEAL_KEYS.kind;
    let Some(entry) = section.required(&rows::SEAL_KEYS, "expected a list of `{ file: path }` or `{ env: NAME }`")
    else {
        return Vec::new();
    };
    let items = entry.items(section.context, "expected at least one `{ file: path }` or `{ env: NAME }`");
    if items.len() > most {
        let problem = Problem::new(format!("has {} keys", items.len())).id(FindingId::OutOfRange);
        section.context.reject(&entry.location, problem.expected(format!("at most {most} are allowed")));
    }
    items.iter().filter_map(|item| secret::referenced_secret(section.context, item, min)).collect()
}
