//! A client of HTTP/2 that only looks at the status.

use super::{Gateway, TIMEOUT};
use bytes::Bytes;

/// A client of HTTP/2.
pub struct Http2Client {
    runtime: tokio::runtime::Runtime,
    address: std::net::SocketAddr,
}

impl Http2Client {
    pub fn of(gateway: &Gateway) -> Http2Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Http2Client { runtime, address: gateway.address() }
    }

    /// The status of the response; 0 where the stream or the connection ends without one.
    pub fn get(&self, path: &str, fields: &[(String, String)]) -> u16 {
        let host = fields.iter().find(|(name, _)| name == "host").map_or("a", |(_, value)| value);
        let mut request = http::Request::get(format!("http://{host}{path}"));
        for (name, value) in fields {
            request = request.header(name, value);
        }
        self.send(request.body(()).unwrap(), None)
    }

    pub fn send(&self, request: http::Request<()>, body: Option<Bytes>) -> u16 {
        self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let exchange = async {
                let (response, mut sender) = client.send_request(request, body.is_none()).ok()?;
                if let Some(body) = body {
                    sender.send_data(body, true).ok()?;
                }
                Some(response.await.ok()?.status().as_u16())
            };
            let status = tokio::time::timeout(TIMEOUT, exchange).await.unwrap();
            connection.abort();
            status.unwrap_or(0)
        })
    }
}
