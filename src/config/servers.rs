//! The servers of a shared store: their addresses and logins.

use super::error::{Location, Problem, listed};
use super::options::declare::{Opt, Plain};
use super::options::kind::SecretOf;
use super::options::store as rows;
use super::section::{Section, Spanned};
use super::url::{is_host, is_loopback, port};
use super::value;
use super::variables::Text;
use super::{FindingId, Login, RedisAddress, Servers, secret};
use http::Uri;

/// The options that name the servers. Exactly one must be set.
const SERVER_OPTIONS: [&Plain; 3] = [&rows::URL, &rows::SENTINEL, &rows::CLUSTER];
const FORMS: &str = "expected `redis://HOST[:PORT]` or `rediss://HOST[:PORT]`";

/// The servers, and whether their connections are encrypted.
pub(super) struct StoreServers {
    pub servers: Servers,
    /// Whether the addresses use TLS.
    pub tls: bool,
    /// The location of the first address on the network without TLS.
    pub exposed: Option<Location>,
}

/// A parsed address.
struct Address {
    tls: bool,
    address: RedisAddress,
}

/// Reads the addresses. `None` after an error.
pub(super) fn read(section: &mut Section) -> Option<StoreServers> {
    let url = section.entry(&rows::URL);
    let url = url.and_then(|entry| {
        Some(Spanned { value: entry.read(section.context, address(rows::SERVER_PORT))?, location: entry.location })
    });
    let sentinel = section.optional_subsection(&rows::SENTINEL, sentinel).flatten();
    let cluster = section.list(&rows::CLUSTER, address(rows::SERVER_PORT));
    let given: Vec<&str> =
        SERVER_OPTIONS.iter().filter(|option| section.has(**option)).map(|option| option.key).collect();
    if given.len() != 1 {
        let location = section.location.clone();
        let found = match given.as_slice() {
            [] => "no server is configured".to_owned(),
            several => format!("{} cannot be combined", listed(several.iter().copied())),
        };
        section.context.reject(
            &location,
            Problem::new(found)
                .id(if given.is_empty() { FindingId::MissingOption } else { FindingId::Conflict })
                .expected(format!("expected exactly one of {}", listed(SERVER_OPTIONS.map(|option| option.key)))),
        );
    }
    if let Some(Spanned { location, value: Address { tls, address } }) = url {
        let exposed = (!tls && !is_loopback(&address.host)).then_some(location);
        return Some(StoreServers { servers: Servers::Single(address), tls, exposed });
    }
    if let Some(found) = sentinel {
        return Some(found);
    }
    let (nodes, tls, exposed) = check_nodes(section, &cluster?)?;
    Some(StoreServers { servers: Servers::Cluster(nodes), tls, exposed })
}

fn sentinel(section: &mut Section) -> Option<StoreServers> {
    let service = section.required(&rows::SERVICE, "expected the name of the master that the sentinels monitor");
    let service = service.and_then(|entry| entry.read(section.context, value::text));
    let nodes = section.required(&rows::NODES, "expected a list of sentinel addresses");
    let nodes = nodes.map(|entry| entry.read_items(section.context, address(rows::SENTINEL_PORT)));
    let login = login(section, &rows::SENTINEL_USERNAME, &rows::SENTINEL_PASSWORD);
    let (nodes, tls, exposed) = check_nodes(section, &nodes?)?;
    Some(StoreServers { servers: Servers::Sentinel { service: service?, nodes, login }, tls, exposed })
}

/// Checks that all addresses have the same scheme and are distinct. Returns them, whether they use TLS, and the
/// location of the first exposed one.
fn check_nodes(
    section: &mut Section,
    nodes: &[Spanned<Address>],
) -> Option<(Vec<RedisAddress>, bool, Option<Location>)> {
    let first = nodes.first()?;
    let tls = first.value.tls;
    for (index, Spanned { location, value }) in nodes.iter().enumerate() {
        if value.tls != tls {
            let scheme = if tls { "rediss://" } else { "redis://" };
            let found = format!("does not begin with `{scheme}` like `{}`", first.location.path);
            section.context.reject(
                location,
                Problem::new(found).id(FindingId::Conflict).expected("expected the same scheme for all"),
            );
        }
        if let Some(twin) = nodes.iter().take(index).find(|other| other.value.address == value.address) {
            let found = format!("is a duplicate of `{}`", twin.location.path);
            section
                .context
                .reject(location, Problem::new(found).id(FindingId::Conflict).expected("list each address once"));
        }
    }
    let remote = |node: &&Spanned<Address>| !node.value.tls && !is_loopback(&node.value.address.host);
    let exposed = nodes.iter().find(remote).map(|node| node.location.clone());
    Some((nodes.iter().map(|node| node.value.address.clone()).collect(), tls, exposed))
}

/// The login at servers.
pub(super) fn login(section: &mut Section, username: &Plain, password: &Opt<SecretOf>) -> Login {
    let found = Login { username: section.parse(username, value::text), password: secret::text(section, password) };
    if section.has(username) && !section.has(password) {
        let location = section.location_of(password);
        let problem = Problem::new(format!("is missing, but `{}` is set", username.key)).id(FindingId::MissingOption);
        section.context.reject(&location, problem.expected(secret::FORMS));
    }
    found
}

/// Parses an address. Errors do not show its text if it may contain a password.
fn address(default: u16) -> impl Fn(&Text) -> Result<Address, Problem> {
    move |text| {
        let source = text.as_str();
        let beside = |what: &str, options: &str| Problem::new(what).expected(format!("{FORMS}; {options}"));
        if source.contains('@') {
            return Err(beside("contains credentials or an `@`", "use the options `username` and `password`"));
        }
        if source.contains(['?', '#']) {
            return Err(beside("has a query or a fragment", "use separate options"));
        }
        let wrong = |what: &str| Problem::new(format!("{} {what}", text.shown())).expected(FORMS);
        let (scheme, rest) = source.split_once("://").unwrap_or_default();
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rediss" => true,
            "redis" => false,
            _ => return Err(wrong("does not begin with `redis://` or `rediss://`")),
        };
        if rest.contains('/') {
            return Err(beside("has a path", "use the option `database` for a database number"));
        }
        let uri: Uri = source.parse().map_err(|_| wrong("is not an address"))?;
        let host = uri.host().map(str::to_ascii_lowercase).filter(|host| is_host(host));
        let host = host.ok_or_else(|| wrong("has no valid host"))?;
        let port = port(&uri, default).ok_or_else(|| wrong("has no valid port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Address { tls, address: RedisAddress { host, port } })
    }
}
