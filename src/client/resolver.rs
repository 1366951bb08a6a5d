//! Names to addresses, as the system looks them up, and with the time for which they hold, which the system does not
//! tell.
//!
//! First `/etc/hosts` counts, then DNS as `/etc/resolv.conf` says: its servers in their order, its search domains and
//! `ndots`. Both files are read for each look-up, so that a change counts at once. What only the system's other sources
//! know (`nsswitch.conf`), and everything where there is no usable `resolv.conf`, the system is asked for.

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

/// The bounds of the time for which a response holds.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// For how long something holds that comes without a time.
const UNTIMED: Duration = Duration::from_secs(30);
/// How many servers of `resolv.conf` are asked, as by the system.
const MOST_SERVERS: usize = 3;

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Those who were asked say that there is none.
    #[error("there is no such name, or it has no address")]
    Unknown,
    /// It could not be found out.
    #[error("{0}")]
    Failed(String),
}

/// The files of the system that say how names are looked up.
#[derive(Debug, Clone)]
pub struct Files {
    /// Names with their addresses.
    pub hosts: PathBuf,
    /// Which servers are asked, and for what.
    pub resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
    }
}

/// The addresses of a name, and for how long they hold.
#[derive(Debug)]
pub struct ResolvedAddresses {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// For how long.
    pub holds: Duration,
}

/// Looks names up.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    files: Files,
    made: Mutex<Option<Made>>,
}

/// How DNS is asked, and what `resolv.conf` held that says so.
#[derive(Debug)]
struct Made {
    source: Option<Vec<u8>>,
    dns: Option<Arc<Dns>>,
}

impl Resolver {
    /// One that asks these servers, or those of `resolv.conf` where there are none.
    pub fn new(servers: Vec<SocketAddr>, files: Files) -> Arc<Resolver> {
        Arc::new(Resolver { servers, files, made: Mutex::default() })
    }

    /// Whether these are the servers that it asks.
    pub fn asks(&self, servers: &[SocketAddr]) -> bool {
        self.servers == servers
    }

    /// The addresses of a host.
    pub async fn look_up(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        let hosts = tokio::fs::read(&self.files.hosts).await.unwrap_or_default();
        let addresses = listed(&String::from_utf8_lossy(&hosts), host.strip_suffix('.').unwrap_or(host));
        if !addresses.is_empty() {
            return Ok(ResolvedAddresses { addresses, holds: UNTIMED });
        }
        let Some(dns) = self.dns().await else {
            return ask_the_system(host).await;
        };
        match dns.look_up(host).await {
            Err(LookupError::Unknown) if self.servers.is_empty() => ask_the_system(host).await,
            result => result,
        }
    }

    /// How DNS is asked now; not at all where `resolv.conf` says nothing that can be used.
    async fn dns(&self) -> Option<Arc<Dns>> {
        let source = tokio::fs::read(&self.files.resolv_conf).await.ok();
        let mut made = self.made.lock();
        if let Some(made) = made.as_ref().filter(|made| made.source == source) {
            return made.dns.clone();
        }
        let dns = Dns::new(&self.servers, source.as_deref().unwrap_or_default());
        if let Err(error) = &dns {
            let path = self.files.resolv_conf.display();
            tracing::warn!(%path, %error, "the file cannot be used: the system looks names up");
        }
        let dns = dns.ok().map(Arc::new);
        *made = Some(Made { source, dns: dns.clone() });
        dns
    }
}

/// What a file such as `/etc/hosts` says of a host.
fn listed(hosts: &str, host: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    };
    lines.filter_map(address).collect()
}

async fn ask_the_system(host: &str) -> Result<ResolvedAddresses, LookupError> {
    let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| LookupError::Failed(error.to_string()))?;
    Ok(ResolvedAddresses { addresses: found.map(|address| address.ip()).collect(), holds: UNTIMED })
}

/// How DNS is asked.
#[derive(Debug)]
struct Dns {
    /// One by one: the library asks several servers at once, and takes the first response, while a system whose first
    /// server knows more than its second has to ask the first.
    servers: Vec<TokioResolver>,
    attempts: usize,
    search: Vec<Name>,
    ndots: usize,
}

/// What one server said.
struct Said {
    addresses: Vec<IpAddr>,
    until: Option<Instant>,
    failed: Option<NetError>,
}

impl Dns {
    fn new(servers: &[SocketAddr], resolv_conf: &[u8]) -> Result<Dns, NetError> {
        // The parser insists on a server; where others are asked, it is not looked at.
        let placeholder: &[u8] = if servers.is_empty() { b"" } else { b"\nnameserver 127.0.0.1\n" };
        let (config, options) = parse_resolv_conf([resolv_conf, placeholder].concat())?;
        let (domain, search, named) = config.into_parts();
        let named = named.iter().take(MOST_SERVERS).map(|server| SocketAddr::new(server.ip, 53));
        let servers = if servers.is_empty() { named.collect() } else { servers.to_vec() };
        let search = if search.is_empty() { domain.into_iter().collect() } else { search };
        Ok(Dns {
            servers: servers.iter().map(|address| server(*address, &options)).collect::<Result<_, _>>()?,
            attempts: options.attempts.clamp(1, 5),
            search,
            ndots: options.ndots,
        })
    }

    /// Asks for the names that a host may stand for. A server that fails ends the search, as with the system: the name
    /// that it was asked for may be the right one.
    async fn look_up(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        let mut failed = LookupError::Unknown;
        for name in self.names(host)? {
            match self.ask(&name).await {
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

    /// Asks the servers, one after the other, until one says something. Nothing found means that there is no such name.
    async fn ask(&self, name: &Name) -> Result<ResolvedAddresses, NetError> {
        let mut best = Said { addresses: Vec::new(), until: None, failed: Some(NetError::NoConnections) };
        for server in (0..self.attempts).flat_map(|_| &self.servers) {
            let said = ask_one(server, name).await;
            let whole = said.failed.is_none();
            if whole || best.addresses.is_empty() {
                best = said;
            }
            if whole {
                break;
            }
        }
        match best.failed {
            Some(error) if best.addresses.is_empty() => Err(error),
            Some(_) | None => {
                let holds = best.until.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now());
                Ok(ResolvedAddresses { addresses: best.addresses, holds: holds.clamp(SHORTEST, LONGEST) })
            }
        }
    }
}

/// A server, and nothing but that server.
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

/// Asks one server for the addresses of both kinds.
async fn ask_one(server: &TokioResolver, name: &Name) -> Said {
    let ask = |kind| server.lookup(name.clone(), kind);
    let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
    let mut said = Said { addresses: Vec::new(), until: None, failed: None };
    for result in [v4, v6] {
        match result {
            Ok(lookup) => said.add(&lookup),
            Err(error) if error.is_no_records_found() => {}
            Err(error) => said.failed = Some(error),
        }
    }
    said
}

impl Said {
    fn add(&mut self, lookup: &Lookup) {
        self.addresses.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
        let until = lookup.valid_until();
        self.until = Some(self.until.map_or(until, |own| own.min(until)));
    }
}
