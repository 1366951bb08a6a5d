//! Proxies of others in front of the gateway: nginx and HAProxy, as clients reach it through them.

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

/// A proxy. It ends with the test.
pub struct Front {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Front {
    /// Starts one that takes HTTP/2 without TLS, and passes it on as gRPC, at a port of a host that no other test uses;
    /// none where the proxy is not installed.
    pub fn start(kind: Kind, host: [u8; 4], gateway: SocketAddr) -> Option<Front> {
        Front::with(kind, host, |address| kind.config(address, gateway))
    }

    /// Starts one with this configuration; for nginx without the parts that name files of the system.
    pub fn with(kind: Kind, host: [u8; 4], config: impl FnOnce(SocketAddr) -> String) -> Option<Front> {
        let program = kind.program()?;
        let folder = tempfile::tempdir().unwrap();
        let address = unused_address(host);
        let mut text = config(address);
        if kind == Kind::Nginx {
            text = in_folder(&text, program, folder.path())?;
        }
        let config = folder.path().join("front.conf");
        std::fs::write(&config, text).unwrap();
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
            skipped(&format!("the gateway behind {name} (there is no {name})"));
        }
        found
    }

    fn config(self, address: SocketAddr, gateway: SocketAddr) -> String {
        match self {
            Kind::Nginx => {
                format!(
                    "http {{\nserver {{ listen {address} http2; location / {{ grpc_pass grpc://{gateway}; }} }}\n}}\n"
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

/// A configuration of nginx in which all files are in this folder. None where a module is missing that it needs.
fn in_folder(text: &str, program: &str, folder: &Path) -> Option<String> {
    /// Where Debian has the module that forwards connections.
    const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    let mut start = format!("daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n");
    if text.contains("stream {") {
        let built = Command::new(program).arg("-V").output().unwrap().stderr;
        if Path::new(STREAM).exists() {
            start.insert_str(0, &format!("load_module {STREAM};\n"));
        } else if !String::from_utf8_lossy(&built).split_whitespace().any(|option| option == "--with-stream") {
            skipped("the gateway behind nginx that forwards connections (there is no ngx_stream_module)");
            return None;
        }
    }
    Some(start + &text.replace("http {\n", &format!("http {{\naccess_log off;\n{temporary}")))
}
