//! Resolves names as the system does, but with their TTL, which the system does not report.
//!
//! `/etc/hosts` comes first, then DNS as `/etc/resolv.conf` configures it: its servers in order, its search domains and
//! `ndots`. Both files are read for each lookup, so changes apply at once. The system's resolver is used for names that
//! only its other sources know (`nsswitch.conf`), and if there is no usable `resolv.conf`.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bounds of a TTL.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(300);
/// The TTL of results that have none.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// The most servers of `resolv.conf` that are queried, as by the system.
const MAX_SERVERS: usize = 3;

/// Why a name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such name, or it has no address.
    #[error("unknown host, or no address for it")]
    Unknown,
    /// The lookup failed.
    #[error("{0}")]
    Failed(String),
}

/// The system's files for name resolution.
#[derive(Debug, Clone)]
pub struct Files {
    /// Static names and addresses.
    pub hosts: PathBuf,
    /// DNS servers and search domains.
    pub resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
    }
}

/// The addresses of a name and their TTL.
#[derive(Debug)]
pub struct ResolvedAddresses {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The TTL.
    pub ttl: Duration,
}

/// Resolves names.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    files: Files,
    cached: Mutex<Option<CachedDns>>,
}

/// The DNS configuration, and the contents of `resolv.conf` that it was built from.
#[derive(Debug)]
struct CachedDns {
    source: Option<Vec<u8>>,
    dns: Option<Arc<Dns>>,
}

impl Resolver {
    /// A resolver for these servers, or for those of `resolv.conf` if there are none.
    pub fn new(servers: Vec<SocketAddr>, files: Files) -> Arc<Resolver> {
        Arc::new(Resolver { servers, files, cached: Mutex::default() })
    }

    /// Whether it queries these servers.
    pub fn uses_servers(&self, servers: &[SocketAddr]) -> bool {
        self.servers == servers
    }

    /// Resolves a host.
    pub async fn look_up(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        let hosts = tokio::fs::read(&self.files.hosts).await.unwrap_or_default();
        let addresses = in_hosts_file(&String::from_utf8_lossy(&hosts), host.strip_suffix('.').unwrap_or(host));
        if !addresses.is_empty() {
            return Ok(ResolvedAddresses { addresses, ttl: DEFAULT_TTL });
        }
        let Some(dns) = self.dns().await else {
            return system_lookup(host).await;
        };
        match dns.look_up(host).await {
            Err(LookupError::Unknown) if self.servers.is_empty() => system_lookup(host).await,
            result => result,
        }
    }

    /// The current DNS configuration; `None` if `resolv.conf` is unusable.
    async fn dns(&self) -> Option<Arc<Dns>> {
        let source = tokio::fs::read(&self.files.resolv_conf).await.ok();
        let mut cached = self.cached.lock();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.source == source) {
            return cached.dns.clone();
        }
        let dns = Dns::new(&self.servers, source.as_deref().unwrap_or_default());
        if let Err(error) = &dns {
            let path = self.files.resolv_conf.display();
            tracing::warn!(%path, %error, "cannot use the file; resolving names with the system resolver");
        }
        let dns = dns.ok().map(Arc::new);
        *cached = Some(CachedDns { source, dns: dns.clone() });
        dns
    }
}

/// The addresses of a host in a file such as `/etc/hosts`.
fn in_hosts_file(hosts: &str, host: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    };
    lines.filter_map(address).collect()
}

async fn system_lookup(host: &str) -> Result<ResolvedAddresses, LookupError> {
    let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| LookupError::Failed(error.to_string()))?;
    Ok(ResolvedAddresses { addresses: found.map(|address| address.ip()).collect(), ttl: DEFAULT_TTL })
}

/// The DNS configuration.
#[derive(Debug)]
struct Dns {
    /// One resolver for each server, queried in this order, since the first may know names that the others do not. The
    /// library's own pool of servers (hickory-resolver 0.26) cannot do that, not even with
    /// `ServerOrderingStrategy::UserProvidedOrder` and one concurrent request: all servers share one timeout, so a
    /// silent first server uses it up, and after SERVFAIL or REFUSED the pool does not query the next server.
    servers: Vec<TokioResolver>,
    attempts: usize,
    search: Vec<Name>,
    ndots: usize,
}

/// The reply of one server.
struct ServerReply {
    addresses: Vec<IpAddr>,
    until: Option<Instant>,
    failed: Option<NetError>,
}

impl Dns {
    fn new(servers: &[SocketAddr], resolv_conf: &[u8]) -> Result<Dns, NetError> {
        // The parser requires a server; it is not used if others are configured.
        let placeholder: &[u8] = if servers.is_empty() { b"" } else { b"\nnameserver 127.0.0.1\n" };
        let (config, options) = parse_resolv_conf([resolv_conf, placeholder].concat())?;
        let (domain, search, named) = config.into_parts();
        let named = named.iter().take(MAX_SERVERS).map(|server| SocketAddr::new(server.ip, 53));
        let servers = if servers.is_empty() { named.collect() } else { servers.to_vec() };
        let search = if search.is_empty() { domain.into_iter().collect() } else { search };
        Ok(Dns {
            servers: servers.iter().map(|address| server(*address, &options)).collect::<Result<_, _>>()?,
            attempts: options.attempts.clamp(1, 5),
            search,
            ndots: options.ndots,
        })
    }

    /// Queries the names that a host may stand for. A failing server ends the search, as in the system's resolver: the
    /// name that it was queried for may be the right one.
    async fn look_up(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        let mut failed = LookupError::Unknown;
        for name in self.names(host)? {
            match self.query(&name).await {
                Ok(found) if found.addresses.is_empty() => {}
                Ok(found) => return Ok(found),
                Err(NetError::Dns(error @ DnsError::ResponseCode(ResponseCode::ServFail))) => {
                    failed = LookupError::Failed(format!("{name}: {error}"));
                }
                Err(error) => return Err(LookupError::Failed(format!("{name}: {error}"))),
            }
        }
        Err(failed)
    }

    fn names(&self, host: &str) -> Result<Vec<Name>, LookupError> {
        let name = Name::from_ascii(host).map_err(|error| LookupError::Failed(error.to_string()))?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let whole = |mut name: Name| {
            name.set_fqdn(true);
            name
        };
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = searched.map(whole).collect();
        let first = host.matches('.').count() >= self.ndots;
        names.insert(if first { 0 } else { names.len() }, whole(name.clone()));
        Ok(names)
    }

    /// Queries the servers in order until one responds. An empty result means that there is no such name.
    async fn query(&self, name: &Name) -> Result<ResolvedAddresses, NetError> {
        let mut best = ServerReply { addresses: Vec::new(), until: None, failed: Some(NetError::NoConnections) };
        for server in (0..self.attempts).flat_map(|_| &self.servers) {
            let reply = query_server(server, name).await;
            let whole = reply.failed.is_none();
            if whole || best.addresses.is_empty() {
                best = reply;
            }
            if whole {
                break;
            }
        }
        match best.failed {
            Some(error) if best.addresses.is_empty() => Err(error),
            Some(_) | None => {
                let ttl = best.until.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now());
                Ok(ResolvedAddresses { addresses: best.addresses, ttl: ttl.clamp(MIN_TTL, MAX_TTL) })
            }
        }
    }
}

/// A resolver for this server alone.
fn server(address: SocketAddr, system: &ResolverOpts) -> Result<TokioResolver, NetError> {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
    let server = NameServerConfig::new(address.ip(), true, connections);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = system.timeout.clamp(Duration::from_secs(1), Duration::from_secs(30));
    options.edns0 = system.edns0;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// Queries one server for IPv4 and IPv6 addresses.
async fn query_server(server: &TokioResolver, name: &Name) -> ServerReply {
    let query = |kind| server.lookup(name.clone(), kind);
    let (v4, v6) = tokio::join!(query(RecordType::A), query(RecordType::AAAA));
    let mut reply = ServerReply { addresses: Vec::new(), until: None, failed: None };
    for result in [v4, v6] {
        match result {
            Ok(lookup) => reply.add(&lookup),
            Err(error) if error.is_no_records_found() => {}
            Err(error) => reply.failed = Some(error),
        }
    }
    reply
}

impl ServerReply {
    fn add(&mut self, lookup: &Lookup) {
        self.addresses.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
        let until = lookup.valid_until();
        self.until = Some(self.until.map_or(until, |own| own.min(until)));
    }
}
