//! The peer for `benches/compare`: Pingora with nothing around it. `bare_pingora LISTEN UPSTREAM` passes every request;
//! answers whose path begins with `/memory` come from memory. With `h2c` as a third argument both sides speak HTTP/2.

// Supplies the zlib symbols: see .cargo/config.toml.
extern crate libz_rs_sys as _;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::HttpServerOptions;
use pingora::http::ResponseHeader;
use pingora::prelude::{HttpPeer, ProxyHttp, Session, http_proxy};
use pingora::protocols::ALPN;
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

// The gateway's.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare {
    upstream: SocketAddr,
    body: Bytes,
    http2: bool,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if !session.req_header().uri.path().starts_with("/memory") {
            return Ok(false);
        }
        let mut header = ResponseHeader::build(200, Some(4))?;
        header.insert_header("content-type", "application/json; charset=utf-8")?;
        header.insert_header("content-length", self.body.len())?;
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(self.body.clone()), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        if self.http2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = 100;
        }
        Ok(Box::new(peer))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [listen, upstream, more @ ..] = arguments.as_slice() else {
        // `cargo bench` and `cargo test` run it without arguments.
        return Ok(());
    };
    let http2 = more.iter().any(|word| word == "h2c");
    let bare = Bare { upstream: upstream.parse()?, body: Bytes::from(vec![b'x'; 900]), http2 };
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let conf = Arc::new(ServerConf::default());
        let mut proxy = http_proxy(&conf, bare);
        let mut options = HttpServerOptions::default();
        options.h2c = http2;
        proxy.server_options = Some(options);
        let mut service = Service::new("bare".into(), proxy);
        service.add_tcp(listen);
        let mut fds = Fds::new();
        fds.add(listen.clone(), listener.into_raw_fd());
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        service.start_service(Some(Arc::new(parking_lot::Mutex::new(fds))), stopping, 1).await;
    });
    Ok(())
}
