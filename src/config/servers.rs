//! Where a shared store is: the addresses of its servers.

use super::fault::{Problem, listed};
use super::section::{Placed, Section};
use super::url::{is_host, is_loopback, port};
use super::value;
use super::variables::Text;
use super::{Login, RedisAddress, Servers, secret};
use http::Uri;

/// The port of a server that its address does not name.
const SERVER: u16 = 6379;
/// The port of a sentinel that its address does not name.
const SENTINEL: u16 = 26379;
const WAYS: [&str; 3] = ["url", "sentinel", "cluster"];

/// Servers, and what their addresses say about the way to them.
pub(super) struct Found {
    pub servers: Servers,
    /// Whether TLS is spoken to them.
    pub tls: bool,
}

/// An address, taken apart.
struct Address {
    tls: bool,
    address: RedisAddress,
}

/// Reads where the servers are; exactly one option says so.
pub(super) fn read(section: &mut Section) -> Option<Found> {
    let url = section.entry("url");
    let url = url.and_then(|entry| {
        let value = entry.read(section.context, address(SERVER))?;
        Some(Placed { spot: entry.spot, value })
    });
    let sentinel = section.inside("sentinel", |section| {
        let service = section.required("service", "expected the name that the sentinels know the servers by");
        let service = service.and_then(|entry| entry.read(section.context, value::text));
        let nodes = section.required("nodes", "expected a list of the addresses of sentinels");
        let nodes = nodes.map(|entry| entry.read_items(section.context, address(SENTINEL)));
        let login = login(section);
        Some((service?, nodes?, login))
    });
    let cluster = section.list("cluster", address(SERVER));
    let given: Vec<&str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
    if given.len() != 1 {
        let spot = section.spot.clone();
        let found = match given.as_slice() {
            [] => "does not say where the servers are".to_owned(),
            several => format!("says more than once where the servers are: {}", listed(several.iter().copied())),
        };
        section.context.refuse(&spot, Problem::new(found).but(format!("expected one of {}", listed(WAYS))));
        return None;
    }
    if let Some(Placed { value: Address { tls, address }, .. }) = url {
        return Some(Found { servers: Servers::Single(address), tls });
    }
    if let Some((service, nodes, login)) = sentinel.flatten() {
        let (tls, nodes) = alike(section, nodes)?;
        return Some(Found { servers: Servers::Sentinel { service, nodes, login }, tls });
    }
    let (tls, nodes) = alike(section, cluster?)?;
    Some(Found { servers: Servers::Cluster(nodes), tls })
}

/// Who the gateway is to servers: `username` and `password`.
pub(super) fn login(section: &mut Section) -> Login {
    Login { username: section.optional("username", value::text), password: secret::text(section, "password") }
}

fn alike(_section: &mut Section, nodes: Vec<Placed<Address>>) -> Option<(bool, Vec<RedisAddress>)> {
    let tls = nodes.first()?.value.tls;
    Some((tls, nodes.into_iter().map(|node| node.value.address).collect()))
}

/// Takes an address apart. Its text does not appear in problems where it may hold a password.
fn address(default: u16) -> impl Fn(&Text) -> Result<Address, Problem> {
    move |text| {
        let forms = "expected `redis://` or `rediss://`, a host, and if need be a port";
        let wrong = |what: &str| Problem::new(format!("{} {what}", text.shown())).but(forms);
        let uri: Uri = text.as_str().parse().map_err(|_| wrong("is not an address"))?;
        let tls = match uri.scheme_str() {
            Some("rediss") => true,
            Some("redis") => false,
            Some(_) | None => return Err(wrong("does not begin with `redis://` or `rediss://`")),
        };
        let host = uri.host().map(str::to_ascii_lowercase).filter(|host| is_host(host));
        let host = host.ok_or_else(|| wrong("has no valid host"))?;
        let port = port(&uri, default).ok_or_else(|| wrong("has no valid port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let _ = is_loopback(&host);
        Ok(Address { tls, address: RedisAddress { host, port } })
    }
}
