//! Forward proxies: one whose responses a test determines, and Debian's tinyproxy.

use super::{Process, skipped, unused_address, wait_for};
use rustls::ServerConfig;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// The usual response to CONNECT.
pub const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// How a proxy responds to CONNECT.
#[derive(Clone)]
pub enum Behaviour {
    /// With this head, and a tunnel to the port of the loopback address, whatever the host.
    Tunnel(&'static str),
    /// With these bytes. Then it closes the connection.
    Close(Vec<u8>),
    /// With these bytes, and no end.
    Hang(Vec<u8>),
    /// With these bytes again and again, until the gateway closes.
    Repeat(&'static str),
    /// It does not read and closes.
    Reset,
}

/// A forward proxy in the test's process.
pub struct ForwardProxy {
    _runtime: Runtime,
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// One that opens tunnels.
    pub fn start() -> ForwardProxy {
        ForwardProxy::start_over(None)
    }

    /// The same, whose clients speak TLS with it.
    pub fn start_tls(config: ServerConfig) -> ForwardProxy {
        ForwardProxy::start_over(Some(config))
    }

    fn start_over(tls: Option<ServerConfig>) -> ForwardProxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(Behaviour::Tunnel(ESTABLISHED)));
        let heads = Arc::default();
        let proxy = ForwardProxy { address, behaviour, heads, _runtime: runtime };
        let (behaviour, heads) = (proxy.behaviour.clone(), proxy.heads.clone());
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        proxy._runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, heads, acceptor) = (behaviour.clone(), heads.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _ = match acceptor {
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, &behaviour, &heads).await,
                            Err(error) => Err(error),
                        },
                        None => serve(stream, &behaviour, &heads).await,
                    };
                });
            }
        });
        proxy
    }

    /// Its host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it responds in another way.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: &Mutex<Behaviour>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let behaviour = behaviour.lock().unwrap().clone();
    if matches!(behaviour, Behaviour::Reset) {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let authority = head.split(' ').nth(1).unwrap_or_default();
    let port = authority.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    heads.lock().unwrap().push(head.clone());
    match behaviour {
        Behaviour::Tunnel(response) => {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port.unwrap())).await?;
            stream.write_all(response.as_bytes()).await?;
            stream.flush().await?;
            tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
        }
        Behaviour::Close(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
        }
        Behaviour::Hang(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            let _ = stream.read_u8().await;
        }
        Behaviour::Repeat(bytes) => loop {
            stream.write_all(bytes.as_bytes()).await?;
        },
        Behaviour::Reset => {}
    }
    Ok(())
}

/// Debian's tinyproxy. It ends with the test.
pub struct TinyProxy {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl TinyProxy {
    /// Starts one at a port of a host that no other test uses, with more lines of configuration; `None` if it is not
    /// installed.
    pub fn start(host: [u8; 4], more: &str) -> Option<TinyProxy> {
        let program = ["tinyproxy", "/usr/bin/tinyproxy", "/usr/sbin/tinyproxy"]
            .into_iter()
            .find(|program| Command::new(program).arg("-v").output().is_ok());
        let Some(program) = program else {
            skipped("a forward proxy (there is no tinyproxy)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let address = unused_address(host);
        let config = folder.path().join("tinyproxy.conf");
        let log = folder.path().join("tinyproxy.log");
        std::fs::write(&config, TinyProxy::config(address, &log, more)).unwrap();
        let mut command = Command::new(program);
        command.arg("-d").arg("-c").arg(&config);
        let proxy = TinyProxy { process: Process::start(command), address, _folder: folder };
        wait_for("tinyproxy to accept connections", || {
            let _ = &proxy.process;
            TcpStream::connect(address).ok()
        });
        Some(proxy)
    }

    fn config(address: SocketAddr, log: &Path, more: &str) -> String {
        let (ip, port) = (address.ip(), address.port());
        format!(
            "Port {port}\nListen {ip}\nTimeout 60\nMaxClients 50\nLogFile \"{}\"\nLogLevel Connect\n{more}",
            log.display()
        )
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self._folder.path().join("tinyproxy.log")).unwrap_or_default()
    }
}
