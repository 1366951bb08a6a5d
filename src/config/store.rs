//! Where cached answers are: the option `store`.

use super::fault::Problem;
use super::section::Section;
use super::value::{count, duration, seconds, size};
use super::variables::Text;
use super::{Memory, Redis, RedisTimeouts, RedisTls, Store};
use super::{secret, servers};
use secrecy::SecretSlice;
use std::time::Duration;

/// The shortest key that seals, in bytes.
const LEAST_SEAL: usize = 32;
const LONGEST_NAMESPACE: usize = 32;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Reads the option `store`. `keyed` says whether there is a `hash_key`.
pub(super) fn read(section: &mut Section, _keyed: bool) -> Store {
    let memory = section
        .within("memory", |section| Memory { max_bytes: section.read("max_bytes", 64 << 20, size(1 << 20..=1 << 40)) });
    let shared = section.inside("redis", shared).flatten();
    shared.map_or(Store::Memory(memory), |shared| Store::Redis(Box::new(shared)))
}

/// Reads a shared store. There is none where a fault was collected.
fn shared(section: &mut Section) -> Option<Redis> {
    let found = servers::read(section);
    let database =
        section.read("database", 0, |text| count(0..=15)(text).map(|number| u8::try_from(number).unwrap_or(0)));
    let login = servers::login(section);
    let tls = section.inside("tls", |section| {
        let ca_file = secret::authorities(section, "ca_file");
        let certificate = secret::authorities(section, "certificate");
        let key = secret::private_key(section, "key");
        RedisTls { ca_file, client: certificate.zip(key) }
    });
    let namespace = section.read("namespace", "sessiongate".to_owned(), namespace);
    let seal_keys = seal_keys(section);
    let timeouts = section.within("timeouts", |section| RedisTimeouts {
        connect: section.read("connect", millis(250), duration(millis(10)..=seconds(10))),
        read: section.read("read", millis(50), duration(millis(1)..=seconds(5))),
        write: section.read("write", millis(100), duration(millis(1)..=seconds(5))),
    });
    let lease_wait = section.read("lease_wait", seconds(2), duration(seconds(0)..=seconds(10)));
    let max_in_flight = section.read("max_in_flight", 1024, count(1..=65_536));
    let max_skew = section.read("max_skew", millis(500), duration(seconds(0)..=seconds(10)));
    let servers::Found { servers, tls: encrypted } = found?;
    let tls = encrypted.then(|| tls.unwrap_or_default());
    Some(Redis { servers, database, tls, login, namespace, seal_keys, timeouts, lease_wait, max_in_flight, max_skew })
}

fn namespace(text: &Text) -> Result<String, Problem> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    let name = text.as_str();
    if !name.is_empty() && name.len() <= LONGEST_NAMESPACE && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    let allowed = format!("expected 1 to {LONGEST_NAMESPACE} characters of `a-z`, `0-9`, `_`, `-`, `.`");
    Err(Problem::new(format!("{} cannot be a namespace", text.shown())).but(allowed))
}

/// What cached answers are sealed with.
fn seal_keys(section: &mut Section) -> Vec<SecretSlice<u8>> {
    let Some(entry) = section.required("seal_keys", "expected a list of secrets, each by reference") else {
        return Vec::new();
    };
    let items = entry.items(section.context);
    items.iter().filter_map(|item| secret::held(section.context, item, LEAST_SEAL)).collect()
}
