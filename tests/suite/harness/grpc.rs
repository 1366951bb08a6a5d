//! A provider and a client that speak gRPC, and messages of protocol buffers as bytes.

use super::{Gateway, TIMEOUT};
use bytes::Bytes;
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const GET: &str = "/zitadel.session.v2.SessionService/GetSession";
pub const POLICY: &str = "policies:
  strict:
    keys: { allowed: [team, plan] }
    lifetime: { max: 1h, outside: clamp }
    challenges: { return_code: reject, url_template: { hosts: [login.example.com] } }
";

/// The ID of a session that the provider does not find.
pub const MISSING: &[u8] = b"missing";

pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[number << 3 | 2, length][..], content].concat()
}

pub fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// `GetSessionResponse` of session `s1`.
pub fn session(sequence: u8) -> Vec<u8> {
    field(1, &[field(1, b"s1"), vec![4 << 3, sequence]].concat())
}

/// A provider that speaks gRPC, and what reached it: the path, the headers and the body.
pub struct Grpc {
    pub runtime: Runtime,
    pub address: SocketAddr,
    pub seen: Seen,
}

type Seen = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

impl Grpc {
    pub fn start() -> Grpc {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Seen::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let all = seen.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, all.clone()));
            }
        });
        Grpc { runtime, address, seen }
    }

    pub fn gateway(&self, more: &str) -> Gateway {
        let address = self.address;
        let upstream =
            format!("upstreams:\n  idp:\n    dialect: zitadel\n    url: http://{address}\n    auth: forward\n");
        let gateway = Gateway::start(&format!("{upstream}    policy: strict\n{more}{POLICY}"));
        gateway.ready();
        gateway
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn call(&self, gateway: &Gateway, path: &str, body: &[u8]) -> GrpcResponse {
        self.call_with(gateway, path, body, &[("content-type", "application/grpc"), ("te", "trailers")])
    }

    pub fn call_with(&self, gateway: &Gateway, path: &str, body: &[u8], headers: &[(&str, &str)]) -> GrpcResponse {
        self.call_as("pat", gateway, path, body, headers)
    }

    pub fn call_as(
        &self,
        token: &str,
        gateway: &Gateway,
        path: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> GrpcResponse {
        let address = gateway.address();
        let url = format!("http://{address}{path}");
        let mut request = http::Request::post(url).header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (request, body) = (request.body(()).unwrap(), Bytes::copy_from_slice(body));
        let (head, body, trailers) = self.runtime.block_on(exchange(address, request, Some(body)));
        GrpcResponse { status: head.status.as_u16(), headers: head.headers, body, trailers }
    }
}

/// Sends a request over a connection of its own. Gives the whole response: its head, its body and its trailers.
pub async fn exchange(
    address: SocketAddr,
    request: http::Request<()>,
    body: Option<Bytes>,
) -> (http::response::Parts, Vec<u8>, HeaderMap) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, mut sender) = client.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        // A call that is rejected for its head may have its response, and no stream, before the body is sent.
        let _ = sender.send_data(body, true);
    }
    let response = tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap();
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(part) = incoming.data().await {
        body.extend_from_slice(&part.unwrap());
    }
    let trailers = incoming.trailers().await.unwrap().unwrap_or_default();
    connection.abort();
    (head, body, trailers)
}

pub struct GrpcResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    trailers: HeaderMap,
}

impl GrpcResponse {
    /// A trailer, or a header if the response has only a head.
    pub fn trailer(&self, name: &str) -> &str {
        let said = self.trailers.get(name).or(self.headers.get(name));
        said.unwrap_or_else(|| panic!("no {name} in {:?}", self.trailers)).to_str().unwrap()
    }

    pub fn cache(&self) -> &str {
        self.headers["cache-status"].to_str().unwrap()
    }
}

/// Responds to each call by its path; `sequence` grows with each.
async fn serve(stream: TcpStream, seen: Seen) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let (head, mut incoming) = request.into_parts();
            let mut body = Vec::new();
            while let Some(part) = incoming.data().await {
                body.extend_from_slice(&part.unwrap());
            }
            let path = head.uri.path().to_owned();
            let found = !body.ends_with(MISSING);
            let sequence = {
                let mut all = seen.lock().unwrap();
                all.push((path.clone(), head.headers, body));
                u8::try_from(all.len()).unwrap()
            };
            let message = match path.as_str() {
                GET => session(sequence),
                _ => field(1, &[1 << 3, sequence]),
            };
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            if found {
                stream.send_data(frame(&message).into(), false).unwrap();
            }
            let trailers = [("grpc-status", if found { "0" } else { "5" })]
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            stream.send_trailers(trailers.into_iter().collect()).unwrap();
        });
    }
}
