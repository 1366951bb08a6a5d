//! The configurations of `docs/guides/behind-proxies.md`, run by the real nginx and HAProxy in front of the gateway.

use crate::harness::grpc::{field, frame};
use crate::harness::{
    Arrived, Authority, Front, Gateway, H2Provider, Kind, Part, Reply, TlsClient, on_runtime, project,
};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::{TcpSocket, TcpStream};

/// The name that the client knows, and the address that it has.
const HOST: &str = "idp.example";
const CLIENT: &str = "127.0.9.200";
const GET: &str = "/zitadel.session.v2.SessionService/GetSession";
/// Where the blocks are, among those of their language.
const HTTP: usize = 0;
const TCP: usize = 1;
const TERMINATING: usize = 2;

/// A fenced block of the page, with these texts replaced, which all have to be in it.
fn block(language: &str, index: usize, replaced: &[(&str, &str)]) -> String {
    let page = std::fs::read_to_string(project().join("docs/guides/behind-proxies.md")).unwrap();
    let start = format!("```{language}\n");
    let text = page.split(&start).nth(index + 1).unwrap().split("```").next().unwrap().to_owned();
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{language} {index} lacks {from}");
        text.replace(from, to)
    })
}

/// A provider, certificates for the name, and what the page calls by other names.
struct Place {
    provider: H2Provider,
    authority: Authority,
    certificate: (PathBuf, PathBuf),
    both: PathBuf,
}

impl Place {
    fn new() -> Place {
        let provider = H2Provider::start(None, |arrived| {
            let grpc = arrived.all("content-type").contains(&"application/grpc");
            let (kind, body) = if grpc {
                ("application/grpc", frame(&field(1, &field(1, b"s1"))))
            } else {
                ("application/json", b"{}".to_vec())
            };
            let trailers = grpc.then(|| HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]));
            let head = http::Response::builder().header("content-type", kind).body(()).unwrap();
            Reply { head, parts: vec![Part::Bytes(body.into())], trailers }
        });
        let authority = Authority::new("ca");
        let certificate = authority.certify_in_files("idp", &[HOST]);
        let both = certificate.0.with_extension("both");
        let text = [&certificate.0, &certificate.1].map(|path| std::fs::read_to_string(path).unwrap()).concat();
        std::fs::write(&both, text).unwrap();
        Place { provider, authority, certificate, both }
    }

    /// The gateway of the page that is behind a proxy of this kind.
    fn gateway(&self, kind: usize) -> Gateway {
        let provider = format!("http://{}\n    protocol: http2", self.provider.address());
        let [certificate, key] = [&self.certificate.0, &self.certificate.1].map(|path| path.display().to_string());
        let mut replaced = vec![("10.0.0.5", "127.0.0.1"), ("https://zitadel.internal", &provider)];
        match kind {
            HTTP => replaced.push(("0.0.0.0:8080", "127.0.0.1:0")),
            _ => replaced.extend([
                ("0.0.0.0:8443", "127.0.0.1:0"),
                ("/run/secrets/gate.pem", &certificate),
                ("/run/secrets/gate.key", &key),
            ]),
        }
        let mut text = block("yaml", kind.min(TCP), &replaced);
        if kind == TERMINATING {
            let tls = text.find("    tls:").unwrap()..text.find("clients:").unwrap();
            text.replace_range(tls, "");
        }
        Gateway::start(&text)
    }

    /// A configuration of nginx.
    fn nginx(&self, index: usize, host: [u8; 4], gateway: &Gateway) -> Option<Front> {
        let (to, [certificate, key]) = (
            gateway.address().to_string(),
            [&self.certificate.0, &self.certificate.1].map(|path| path.display().to_string()),
        );
        Front::with(Kind::Nginx, host, |address| {
            let listen = format!("listen {address}");
            if index == TCP {
                return block("nginx", index, &[("listen 443", &listen), ("gateway.internal:8443", &to)]);
            }
            let files = [("/etc/nginx/tls/idp.pem", certificate.as_str()), ("/etc/nginx/tls/idp.key", &key)];
            let text = block(
                "nginx",
                index,
                &[&[("listen 443", &*listen), ("gateway.internal:8080", &to)][..], &files].concat(),
            );
            format!("http {{\n{text}}}\n")
        })
    }

    /// A configuration of HAProxy, with one more replacement.
    fn haproxy(&self, index: usize, host: [u8; 4], gateway: &Gateway, more: (&str, &str)) -> Option<Front> {
        let (to, both) = (gateway.address().to_string(), self.both.display().to_string());
        let name = if index == TCP { "gateway.internal:8443" } else { "gateway.internal:8080" };
        let file = if index == TCP { None } else { Some(("/etc/haproxy/idp.pem", both.as_str())) };
        Front::with(Kind::HAProxy, host, |address| {
            let bind = format!("bind {address}");
            let replaced: Vec<(&str, &str)> =
                [(name, to.as_str()), ("bind :443", &bind), more].into_iter().chain(file).collect();
            block("haproxy", index, &replaced)
        })
    }

    /// Requests of all kinds through a front, with headers that the client must not set.
    fn check(&self, front: &Front, gateway: &Gateway) {
        let before = self.provider.arrived().len();
        let forged = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", "forged.example"),
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "for=203.0.113.9;host=forged.example"),
            ("x-zitadel-instance-host", "forged.example"),
            ("x-zitadel-public-host", "forged.example"),
            ("x-zitadel-forwarded", "host=forged.example"),
            ("x-request-id", "chosen"),
        ];
        on_runtime(async {
            let client = TlsClient { alpn: &["h2"], ..TlsClient::new(&self.authority) };
            let stream = client.over(connect(front.address()).await, HOST).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let json = ("/v2/users/auth0%7C1", "application/json", b"".to_vec());
            let connect = (GET, "application/json", br#"{"sessionId":"s1"}"#.to_vec());
            let call = (GET, "application/grpc", frame(&field(1, b"s1")));
            for (path, kind, body) in [json, call, connect] {
                let method = if body.is_empty() { Method::GET } else { Method::POST };
                let request = http::Request::builder().method(method).uri(format!("https://{HOST}{path}"));
                let request = request.header("content-type", kind).header("authorization", "Bearer pat");
                let request = forged.iter().fold(request, |request, (name, value)| request.header(*name, *value));
                let request = if kind == "application/grpc" { request.header("te", "trailers") } else { request };
                let (response, mut sending) = requests.send_request(request.body(()).unwrap(), false).unwrap();
                sending.send_data(Bytes::from(body), true).unwrap();
                let (head, mut body) = response.await.unwrap().into_parts();
                assert_eq!(head.status, 200, "{path} {kind}: {head:?}");
                while let Some(part) = body.data().await {
                    part.unwrap();
                }
                let trailers = body.trailers().await.unwrap();
                let status = trailers.as_ref().or(Some(&head.headers)).and_then(|trailers| trailers.get("grpc-status"));
                assert_eq!(status.is_some_and(|status| status == "0"), kind == "application/grpc", "{kind}: {head:?}");
            }
        });
        let arrived = self.provider.arrived();
        assert_eq!(arrived.len(), before + 3);
        arrived[before..].iter().for_each(is_from_the_client);
        assert!(arrived[before].head.uri.path().ends_with("/auth0%7C1"), "{:?}", arrived[before].head);
        let line = gateway.wait_for_log(|line| line.contains(CLIENT));
        assert!(line.contains(&format!("\"client.address\":\"{CLIENT}\"")), "{line}");
        assert!(line.contains("\"network.peer.address\":\"127.0.0.1\""), "{line}");
        assert!(
            !gateway.log().iter().any(|line| ["forged", "chosen", "203.0.113.9"].iter().any(|own| line.contains(own)))
        );
        assert!(!gateway.metrics().contains("reason=\"proxy_header_"), "{}", gateway.metrics());
    }
}

fn is_from_the_client(arrived: &Arrived) {
    let first = arrived.all("x-forwarded-for").concat();
    assert_eq!(first.split(", ").next(), Some(CLIENT), "{:?}", arrived.head);
    assert_eq!(arrived.all("x-forwarded-host"), [HOST], "{:?}", arrived.head);
    assert_eq!(arrived.all("x-forwarded-proto"), ["https"], "{:?}", arrived.head);
    let headers = format!("{:?}", arrived.head.headers);
    assert!(!headers.contains("forged") && !headers.contains("203.0.113.9"), "{headers}");
}

/// A connection from the client's address.
async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(CLIENT.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

#[test]
fn nginx_forwards_requests_of_its_clients() {
    let place = Place::new();
    let gateway = place.gateway(HTTP);
    if let Some(front) = place.nginx(HTTP, [127, 0, 9, 25], &gateway) {
        place.check(&front, &gateway);
    }
}

/// nginx sends version 1 of the PROXY protocol.
#[test]
fn nginx_forwards_connections_of_its_clients() {
    let place = Place::new();
    let gateway = place.gateway(TCP);
    if let Some(front) = place.nginx(TCP, [127, 0, 9, 26], &gateway) {
        place.check(&front, &gateway);
    }
}

#[test]
fn haproxy_forwards_requests_of_its_clients() {
    let place = Place::new();
    let gateway = place.gateway(HTTP);
    if let Some(front) = place.haproxy(HTTP, [127, 0, 9, 27], &gateway, ("", "")) {
        place.check(&front, &gateway);
    }
}

/// Both versions of the PROXY protocol; and health checks, which have headers too.
#[test]
fn haproxy_forwards_connections_of_its_clients() {
    let place = Place::new();
    let gateway = place.gateway(TCP);
    for (host, sends) in [(28, "send-proxy-v2 check inter 20ms"), (29, "send-proxy check inter 20ms")] {
        if let Some(front) = place.haproxy(TCP, [127, 0, 9, host], &gateway, ("send-proxy-v2 check", sends)) {
            place.check(&front, &gateway);
        }
    }
}

/// The PROXY header says that the client uses TLS, and has a checksum and further extensions.
#[test]
fn haproxy_terminates_tls_of_its_clients() {
    let place = Place::new();
    let gateway = place.gateway(TERMINATING);
    for (host, more) in [(30, "crc32c"), (31, "crc32c,ssl-cipher,cert-sig,cert-key,authority")] {
        let more = ("proxy-v2-options crc32c", &*format!("proxy-v2-options {more}"));
        if let Some(front) = place.haproxy(TERMINATING, [127, 0, 9, host], &gateway, more) {
            place.check(&front, &gateway);
        }
    }
    let open = "sessiongate_open_connections 0";
    gateway.wait_for_metric(open);
}
