//! The options `admin` and `control`: the listeners for operations.

use super::error::Problem;
use super::finding::FindingId;
use super::listeners::{self, ClientCertificates, ListenAddress, Listener, ListenerTls};
use super::options::operations as rows;
use super::options::table::Declared;
use super::section::{Entry, Section};
use super::{certificates, secret};
use secrecy::{ExposeSecret, SecretSlice};
use std::sync::Arc;

const ADMIN: &str =
    "expected an IP address and a port, such as `127.0.0.1:9090`, `unix:` and an absolute path, or `off`";
const CONTROL: &str =
    "expected an IP address and a port, such as `127.0.0.1:9091`, `unix:` and an absolute path, or `off`";
/// The permissions of the socket of `control`: only the user of the process may connect.
const OWNER_ONLY: u32 = 0o600;

/// A listener for operations.
#[derive(Debug, Clone)]
pub struct OperationsListener {
    /// Where it listens.
    pub address: ListenAddress,
    /// TLS settings; `None` for plaintext.
    pub tls: Option<ListenerTls>,
    /// The bearer token that requests must have; `None` if they need none.
    pub token: Option<Arc<SecretSlice<u8>>>,
}

impl OperationsListener {
    /// Whether both are the same but for their certificates and tokens, so that a running process can switch to the
    /// other.
    pub fn differs_only_in_credentials(&self, other: &OperationsListener) -> bool {
        self.address == other.address && self.tls.is_some() == other.tls.is_some()
    }
}

/// Both listeners; `None` for one that is off.
#[derive(Debug, Clone)]
pub(super) struct Operations {
    pub admin: Option<OperationsListener>,
    pub control: Option<OperationsListener>,
}

/// Reads both. Their addresses must differ from each other and from those of the listeners for requests.
pub(super) fn read(section: &mut Section, requests: &[Listener]) -> Operations {
    let default =
        || OperationsListener { address: ListenAddress::Tcp(rows::ADMIN.kind.address()), tls: None, token: None };
    let admin = match section.entry(&rows::ADMIN) {
        Some(entry) => listener(section, &entry, ADMIN, admin),
        None => Some(default()),
    };
    let mut control = section.entry(&rows::CONTROL).and_then(|entry| listener(section, &entry, CONTROL, control));
    if let Some(control) = &mut control {
        if let ListenAddress::Unix(file) = &mut control.address {
            file.mode = OWNER_ONLY;
        }
        check_exposure(section, control);
    }
    let taken = |address: &ListenAddress| {
        requests.iter().any(|listener| listeners::overlap(&listener.address, address)).then_some("a listener")
    };
    if let Some(problem) = admin.as_ref().and_then(|admin| taken(&admin.address)) {
        reject_overlap(section, &rows::ADMIN, problem);
    }
    if let Some(control) = &control {
        let admin = admin.as_ref().filter(|admin| listeners::overlap(&admin.address, &control.address));
        if let Some(problem) = taken(&control.address).or(admin.map(|_| "`admin`")) {
            reject_overlap(section, &rows::CONTROL, problem);
        }
    }
    Operations { admin, control }
}

fn reject_overlap(section: &mut Section, option: &dyn Declared, other: &str) {
    let location = section.location_of(option);
    let problem = Problem::new(format!("overlaps with the address of {other}"));
    section.context.reject(&location, problem.id(FindingId::Conflict).expected("expected a different address or port"));
}

/// Reads a listener: `off`, an address, or a map.
fn listener(
    section: &mut Section,
    entry: &Entry,
    allowed: &str,
    map: impl FnOnce(&mut Section) -> Option<OperationsListener>,
) -> Option<OperationsListener> {
    if !entry.is_single() {
        return section.context.read_map(entry, map).flatten();
    }
    let address = entry.read(section.context, |text| match text.as_str() {
        "off" => Ok(None),
        _ => listeners::address(text).map(Some).map_err(|problem| problem.expected(allowed)),
    });
    Some(OperationsListener { address: address.flatten()?, tls: None, token: None })
}

fn admin(section: &mut Section) -> Option<OperationsListener> {
    let address = section.parse(&rows::ADMIN_ADDRESS, listeners::address);
    let tls = section.optional_subsection(&rows::ADMIN_TLS, |section| {
        let identity = listeners::identity(section)?;
        Some(ListenerTls { certificates: vec![identity], clients: None, only_tls13: false })
    });
    let is_set = section.has(&rows::ADMIN_ADDRESS);
    let default = || ListenAddress::Tcp(rows::ADMIN_ADDRESS.kind.address());
    let address = if is_set { address? } else { default() };
    Some(OperationsListener { address, tls: tls.flatten(), token: None })
}

fn control(section: &mut Section) -> Option<OperationsListener> {
    let entry = section.required(&rows::CONTROL_ADDRESS, listeners::ADDRESS);
    let address = entry.and_then(|entry| entry.read(section.context, listeners::address));
    let tls = section.optional_subsection(&rows::CONTROL_TLS, |section| {
        let clients = certificates::authorities(section, &rows::CLIENT_CA_FILE);
        let clients = clients.map(|all| ClientCertificates { authorities: all.to_vec(), required: true });
        let identity = listeners::identity(section)?;
        Some(ListenerTls { certificates: vec![identity], clients, only_tls13: false })
    });
    let token = token(section);
    Some(OperationsListener { address: address?, tls: tls.flatten(), token })
}

/// The token. It must be one that a header can carry.
fn token(section: &mut Section) -> Option<Arc<SecretSlice<u8>>> {
    let token = secret::secret(section, &rows::TOKEN)?;
    if token.expose_secret().iter().all(u8::is_ascii_graphic) {
        return Some(Arc::new(token));
    }
    let location = section.location_of(&rows::TOKEN);
    let problem = Problem::new("the token has characters that an `Authorization` header cannot carry");
    section
        .context
        .reject(&location, problem.id(FindingId::Secret).expected("expected visible ASCII characters, without spaces"));
    None
}

/// Rejects a listener for commands that other machines could use without a credential.
fn check_exposure(section: &mut Section, control: &OperationsListener) {
    let ListenAddress::Tcp(address) = &control.address else {
        return;
    };
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    let location = section.location_of(&rows::CONTROL);
    let certified = control.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    match (&control.token, &control.tls) {
        (None, _) if !certified => {
            let problem = Problem::new(format!("{address} is reachable from other machines without authentication"));
            let expected = "expected a `token`, `tls` with `client_ca_file`, a loopback address, or a `unix:` address";
            section.context.reject(&location, problem.id(FindingId::ControlExposed).expected(expected));
        }
        (Some(_), None) => {
            let problem = Problem::new("the token is sent in clear to an address that is not loopback");
            let problem = problem.expected("set `tls`, or use a loopback address");
            section.context.warn(&location, FindingId::CleartextToken, problem);
        }
        _ => {}
    }
}
