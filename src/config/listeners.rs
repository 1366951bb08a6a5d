//! The options `listen` and `listeners`: where the gateway accepts requests.

use super::FindingId;
use super::certificates;
use super::error::{Location, Problem};
use super::options::listeners as rows;
use super::options::table::Declared;
use super::section::{Entry, Section};
use super::value;
use super::variables::Text;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of the listener that `listen` declares.
const MAIN: &str = "main";
/// The prefix of the address of a Unix socket.
const UNIX: &str = "unix:";
/// The maximum length of a Unix socket's path on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;
pub(super) const ADDRESS: &str =
    "expected an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or `unix:` and an absolute path";

/// A listener for requests.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The name in the configuration and in the log.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
    /// Whether each connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// TLS settings; `None` for plaintext.
    pub tls: Option<ListenerTls>,
}

impl Listener {
    /// Whether both listeners are the same but for their certificates, so that a running process can switch to the
    /// other.
    pub fn differs_only_in_certificates(&self, other: &Listener) -> bool {
        let Listener { name, address, proxy_protocol, tls } = other;
        let is_same = self.name == *name && self.address == *address && self.proxy_protocol == *proxy_protocol;
        is_same && self.tls.is_some() == tls.is_some()
    }
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 for any free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(SocketFile),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "{address}"),
            ListenAddress::Unix(file) => write!(f, "{UNIX}{}", file.path.display()),
        }
    }
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// The absolute path.
    pub path: PathBuf,
    /// The permissions.
    pub mode: u32,
    /// The user ID and group ID; `None` for those of the process.
    pub owner: Option<(u32, u32)>,
}

/// TLS settings of a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// The certificates with their keys; at least one. The first is for clients that request no name, or one without a
    /// certificate.
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// Which client certificates are accepted; `None` to request none.
    pub clients: Option<ClientCertificates>,
    /// Whether TLS 1.2 is rejected.
    pub only_tls13: bool,
}

/// Which client certificates are accepted.
#[derive(Debug, Clone)]
pub struct ClientCertificates {
    /// The CA certificates; at least one.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whether a client without a certificate is rejected.
    pub required: bool,
}

/// Reads all listeners: at least one, unless there was an error. Also returns where they require the PROXY protocol.
pub(super) fn read(section: &mut Section) -> (Vec<Listener>, Vec<Location>) {
    let listen = section.entry(&rows::LISTEN);
    let Some(entry) = section.entry(&rows::LISTENERS) else {
        let default = ListenAddress::Tcp(rows::LISTEN.kind.address());
        let found = listen.map(|entry| entry.read(section.context, address));
        let address = found.unwrap_or(Some(default));
        let main = |address| Listener { name: MAIN.to_owned(), address, proxy_protocol: false, tls: None };
        return (address.map(main).into_iter().collect(), Vec::new());
    };
    if let Some(listen) = listen {
        let problem = Problem::new("cannot be combined with `listeners`").id(FindingId::Conflict);
        section.context.reject(&listen.location, problem.expected("remove one of them"));
    }
    let named = entry.named(section.context);
    if named.as_ref().is_some_and(Vec::is_empty) {
        section.context.reject(
            &entry.location,
            Problem::new("the map is empty").id(FindingId::MissingOption).expected("expected at least one listener"),
        );
    }
    let (mut listeners, mut proxied): (Vec<Listener>, Vec<Location>) = (Vec::new(), Vec::new());
    for (name, entry) in named.into_iter().flatten() {
        if let Err(problem) = value::check_name(name) {
            section.context.reject(&entry.location, problem);
        }
        let Some((location, requires, listener)) = one(section, name, &entry) else {
            continue;
        };
        proxied.extend(requires);
        if let Some(twin) = listeners.iter().find(|other| overlap(&other.address, &listener.address)) {
            let problem =
                Problem::new(format!("overlaps with the address of listener `{}`", twin.name)).id(FindingId::Conflict);
            section.context.reject(&location, problem.expected("expected a different address or port"));
        }
        listeners.push(listener);
    }
    (listeners, proxied)
}

/// Whether two listeners cannot be open at the same time.
pub(super) fn overlap(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
            (ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified())
                && one.port() == other.port()
                && one.port() != 0
        }
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one.path == other.path,
        (ListenAddress::Tcp(_), ListenAddress::Unix(_)) | (ListenAddress::Unix(_), ListenAddress::Tcp(_)) => false,
    }
}

/// A listener, the location of its address, and where it requires the PROXY protocol.
fn one(section: &mut Section, name: &str, entry: &Entry) -> Option<(Location, Option<Location>, Listener)> {
    let read = |section: &mut Section| {
        let entry = section.required(&rows::ADDRESS, ADDRESS);
        let found = entry.and_then(|entry| entry.read(section.context, address));
        let mode = section.parse(&rows::MODE, mode);
        let owner = section.parse(&rows::OWNER, owner);
        let proxy_protocol = section.get(&rows::PROXY_PROTOCOL);
        let tls = section.optional_subsection(&rows::TLS, tls).flatten();
        let mut found = found?;
        let mut requires = proxy_protocol.then(|| section.location_of(&rows::PROXY_PROTOCOL));
        match &mut found {
            ListenAddress::Unix(file) => {
                file.mode = mode.unwrap_or(file.mode);
                file.owner = owner;
                if let Some(location) = requires.take() {
                    let problem = Problem::new("not possible on a Unix socket: its peers have no address to trust");
                    let problem = problem.expected("remove it, or use an IP address and a port");
                    section.context.reject(&location, problem.id(FindingId::Conflict));
                }
            }
            ListenAddress::Tcp(_) => {
                for option in [&rows::MODE as &dyn Declared, &rows::OWNER] {
                    if section.has(option) {
                        let location = section.location_of(option);
                        let problem = Problem::new("only valid for a Unix socket").id(FindingId::Conflict);
                        section.context.reject(&location, problem.expected("remove it, or use a `unix:` address"));
                    }
                }
            }
        }
        let location = section.location_of(&rows::ADDRESS);
        Some((location, requires, Listener { name: name.to_owned(), address: found, proxy_protocol, tls }))
    };
    section.context.read_map(entry, read).flatten()
}

/// Parses a listen address.
pub(super) fn address(text: &Text) -> Result<ListenAddress, Problem> {
    let wrong = |what: &str| Problem::new(format!("{} {what}", text.shown())).expected(ADDRESS);
    let Some(path) = text.as_str().strip_prefix(UNIX) else {
        return text.as_str().parse().map(ListenAddress::Tcp).map_err(|_| wrong("is not a listen address"));
    };
    let path = PathBuf::from(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(wrong("is not an absolute path of a file"));
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(wrong("is too long").expected(format!("at most {MAX_SOCKET_PATH} bytes are allowed")));
    }
    Ok(ListenAddress::Unix(SocketFile { path, mode: 0o660, owner: None }))
}

/// Parses permissions in octal digits.
fn mode(text: &Text) -> Result<u32, Problem> {
    let digits = text.as_str();
    let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let found = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    let problem = || Problem::new(format!("{} is not a file mode", text.shown()));
    found.ok_or_else(|| problem().expected("expected octal permissions such as `\"0660\"`"))
}

/// Parses a user ID and a group ID. Names would depend on files that a container may not have.
fn owner(text: &Text) -> Result<(u32, u32), Problem> {
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let found = text.as_str().split_once(':').and_then(|(user, group)| Some((number(user)?, number(group)?)));
    let problem = || Problem::new(format!("{} is not a numeric owner", text.shown()));
    found.ok_or_else(|| problem().expected("expected a user ID and a group ID, such as `\"1000:1000\"`"))
}

fn tls(section: &mut Section) -> Option<ListenerTls> {
    let only_tls13 = section.get(&rows::MIN_VERSION);
    let clients = section.optional_subsection(&rows::CLIENT_CERTIFICATES, client_certificates).flatten();
    let wanted = "expected a list of maps with `certificate` and `key`";
    let entry = section.required(&rows::CERTIFICATES, wanted)?;
    let items = entry.items(section.context, wanted);
    let count = items.len();
    let read = |item| section.context.read_map(item, identity).flatten();
    let certificates: Vec<Arc<CertifiedKey>> = items.iter().filter_map(read).collect();
    (count > 0 && certificates.len() == count).then_some(ListenerTls { certificates, clients, only_tls13 })
}

fn client_certificates(section: &mut Section) -> Option<ClientCertificates> {
    let required = section.get(&rows::REQUIRED);
    section.required(&rows::CA_FILE, "expected a file with certificates in PEM format")?;
    let authorities = certificates::chain(section, &rows::CA_FILE)?;
    Some(ClientCertificates { authorities, required })
}

/// A certificate chain and its key.
pub(super) fn identity(section: &mut Section) -> Option<Arc<CertifiedKey>> {
    let needed = "expected a file in PEM format";
    let location = section.required(&rows::CERTIFICATE, needed).map(|entry| entry.location);
    let chain = certificates::chain(section, &rows::CERTIFICATE);
    section.required(&rows::KEY, needed);
    let key = certificates::key(section, &rows::KEY);
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain?, key?, &provider) {
        Ok(identity) => Some(Arc::new(identity)),
        Err(error) => {
            let location = location?;
            let problem = Problem::new(format!("cannot be used with `key`: {error}")).id(FindingId::File);
            section
                .context
                .reject(&location, problem.expected("expected the certificate of that key first, then its chain"));
            None
        }
    }
}
