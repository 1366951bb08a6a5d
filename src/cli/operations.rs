//! The listeners for operations of a process: bound, started, renewed and handed over together.

use super::command_error::{CommandError, other};
use crate::admin::{Access, OperationsServer, OperationsSocket, Role};
use crate::config::{Config, ListenAddress, OperationsListener};
use crate::edge::{BoundListener, TlsError};
use crate::handover::Inherited;
use crate::runtime::CurrentRuntime;
use std::io;
use std::sync::Arc;

/// The sockets of the listeners that are on.
pub(super) struct BoundOperations(Vec<(Role, OperationsListener, OperationsSocket)>);

impl BoundOperations {
    /// Binds the sockets, or adopts those of the old process.
    pub fn new(config: &Config, inherited: &mut Option<Inherited>) -> Result<BoundOperations, CommandError> {
        let bound = options(config).into_iter().filter_map(|(role, options)| Some((role, options?)));
        let bound = bound.map(|(role, options)| Ok((role, options.clone(), bind(role, &options.address, inherited)?)));
        Ok(BoundOperations(bound.collect::<Result<Vec<_>, CommandError>>()?))
    }

    /// Serves on them.
    pub fn start(self, running: &Arc<CurrentRuntime>) -> Result<Operations, CommandError> {
        let started = self.0.into_iter().map(|(role, options, socket)| {
            let started = OperationsServer::start(role, options, socket, running.clone());
            started.map_err(|error| other(format!("`{}`: {error}", role.name())))
        });
        Ok(Operations(started.collect::<Result<Vec<_>, CommandError>>()?))
    }
}

/// The running listeners for operations.
pub(super) struct Operations(Vec<OperationsServer>);

impl Operations {
    /// The bound address of a listener, for display.
    pub fn address(&self, role: Role) -> String {
        let server = self.0.iter().find(|server| server.role() == role);
        server.map_or("off".to_owned(), |server| server.socket().local_address())
    }

    /// The sockets with their names in a handover.
    pub fn sockets(&self) -> Vec<(String, Arc<BoundListener>)> {
        let named = |server: &OperationsServer| (handover_name(server.role(), server.address()), server.socket());
        self.0.iter().map(named).collect()
    }

    /// Stops accepting connections, since another process has taken over.
    pub fn end(&self) {
        self.0.iter().for_each(OperationsServer::end);
    }

    /// What a new configuration changes: certificates and tokens. Nothing is changed yet.
    pub fn renewal(&self, config: &Config) -> Result<Vec<Option<Access>>, TlsError> {
        let of = |server: &OperationsServer| {
            let options = options(config).into_iter().find(|(role, _)| *role == server.role());
            server.access(options.and_then(|(_, options)| options))
        };
        self.0.iter().map(of).collect()
    }

    /// Uses what a new configuration changes.
    pub fn renew(&self, renewal: Vec<Option<Access>>) {
        for (server, access) in self.0.iter().zip(renewal) {
            match access {
                Some(access) => server.renew(access),
                None if server.has_token() => {
                    let option = server.role().name();
                    tracing::warn!(option, "the previous token stays valid until a restart");
                }
                None => {}
            }
        }
    }
}

fn options(config: &Config) -> [(Role, Option<&OperationsListener>); 2] {
    [(Role::Admin, config.admin.as_ref()), (Role::Control, config.control.as_ref())]
}

/// The name of a socket in a handover. Earlier versions hand over `admin` by this name, too.
fn handover_name(role: Role, address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(_) => role.name().to_owned(),
        ListenAddress::Unix(_) => format!("{} {address}", role.name()),
    }
}

fn bind(
    role: Role,
    address: &ListenAddress,
    inherited: &mut Option<Inherited>,
) -> Result<OperationsSocket, CommandError> {
    let socket = inherited.as_mut().and_then(|inherited| inherited.take(&handover_name(role, address)));
    // The old process may listen on another address.
    if let Some(Ok(adopted)) = socket.map(|socket| OperationsSocket::adopt(address, socket)) {
        return Ok(adopted);
    }
    let taken = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; set another address, or `off`",
            _ => "",
        };
        other(format!("`{}` cannot listen on {address}: {error}{hint}", role.name()))
    };
    OperationsSocket::new(address).map_err(taken)
}
