//! Proxies of others in front of the gateway: nginx and HAProxy, as clients of gRPC reach it through them.

use super::{Process, skipped, unused_address, wait_for};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    HAProxy,
}

/// A proxy that takes HTTP/2 without TLS, and passes it on as gRPC. It ends with the test.
pub struct Front {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Front {
    /// Starts one before a gateway, at a port of a host that no other test uses; none where the proxy is not installed.
    pub fn start(kind: Kind, host: [u8; 4], gateway: SocketAddr) -> Option<Front> {
        let program = kind.program()?;
        let folder = tempfile::tempdir().unwrap();
        let address = unused_address(host);
        let config = folder.path().join("front.conf");
        std::fs::write(&config, kind.config(folder.path(), address, gateway)).unwrap();
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(folder.path()).arg("-e").arg("stderr").arg("-c").arg(&config),
            Kind::HAProxy => command.arg("-db").arg("-f").arg(&config),
        };
        let front = Front { process: Process::start(command), address, _folder: folder };
        wait_for("the proxy to accept connections", || {
            let said = front.process.stderr();
            assert!(!said.iter().any(|line| line.contains("[emerg]") || line.contains("[ALERT]")), "{said:?}");
            TcpStream::connect(address).ok()
        });
        Some(front)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Kind {
    fn program(self) -> Option<&'static str> {
        // `PATH` need not hold the programs of administrators.
        let (name, places) = match self {
            Kind::Nginx => ("nginx", ["nginx", "/usr/sbin/nginx"]),
            Kind::HAProxy => ("HAProxy", ["haproxy", "/usr/sbin/haproxy"]),
        };
        let found = places.into_iter().find(|program| Command::new(program).arg("-v").output().is_ok());
        if found.is_none() {
            skipped(&format!("gRPC behind {name} (there is no {name})"));
        }
        found
    }

    fn config(self, folder: &Path, address: SocketAddr, gateway: SocketAddr) -> String {
        let folder = folder.display();
        match self {
            Kind::Nginx => {
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
                    .concat();
                format!(
                    "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n\
                    http {{\naccess_log off;\n{temporary}\
                    server {{ listen {address} http2; location / {{ grpc_pass grpc://{gateway}; }} }}\n}}\n"
                )
            }
            Kind::HAProxy => format!(
                "defaults\n  mode http\n  timeout connect 30s\n  timeout client 30s\n  timeout server 30s\n\
                frontend front\n  bind {address} proto h2\n  default_backend gateway\n\
                backend gateway\n  server gateway {gateway} proto h2\n"
            ),
        }
    }
}
