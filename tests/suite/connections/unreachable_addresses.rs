//! Host names with several addresses, some of them unreachable: governed and pass-through requests use a reachable one,
//! and an unreachable one does not delay each request.

use crate::harness::recorder::SESSION;
use crate::harness::{
    Authority, DnsServer, FrameProvider, Gateway, Request, Scripted, addresses, json_response, wait_for,
};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const NAMES: [&str; 3] = ["127.0.0.1", "127.0.0.8", "127.0.0.9"];

/// A provider's address whose port is open and whose TLS never comes to be.
struct Dead {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Dead {
    /// `mark_hung`: whether connections stay open without data, or are closed at once.
    fn start(address: SocketAddr, mark_hung: bool) -> Option<Dead> {
        let listener = TcpListener::bind(address).ok()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        thread::spawn(move || {
            let mut held: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                held.extend(mark_hung.then_some(stream));
            }
        });
        Some(Dead { address, accepted })
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn gateway(url: &str, more: &str) -> Gateway {
    let dns = DnsServer::start(&[("provider.test", addresses(&NAMES, 600))]);
    let text = format!(
        "dns: {{ servers: ['{}'] }}\nupstreams:\n  a: {{ dialect: auth0, url: {url}, auth: none{more} }}\n",
        dns.address()
    );
    let gateway = Gateway::start(&text);
    wait_for("the name", || (dns.asked("provider.test") > 0).then_some(()));
    wait_for("the addresses", || (passed(&gateway) != 503).then_some(()));
    // The name is known: from here on the server is not needed.
    gateway
}

fn passed(gateway: &Gateway) -> u16 {
    Request::new("GET", "/x").send(&gateway.url()).status
}

/// Requests of all kinds, governed and pass-through, with bodies and without.
fn all(gateway: &Gateway) -> Vec<u16> {
    let session = format!("/api/v2/sessions/{SESSION}");
    let requests = [
        Request::new("GET", "/x"),
        Request::new("GET", &session),
        Request::new("POST", "/x").json("{}"),
        Request::new("PATCH", &session).json(r#"{"session_metadata":{"team":"blue"}}"#),
        Request::new("PUT", "/x").header("Transfer-Encoding", "chunked").body("2\r\n{}\r\n0\r\n\r\n"),
        Request::new("DELETE", &session),
    ];
    requests.iter().map(|request| request.send(&gateway.url()).status).collect()
}

/// Starts something that needs the same port at other addresses, of which others may have taken one.
fn somehow<T>(start: impl Fn() -> Option<T>) -> T {
    (0..100).find_map(|_| start()).unwrap()
}

#[test]
fn refusing_addresses_fail_no_request() {
    let provider = Scripted::start(|_| json_response(200, &format!(r#"{{"id":"{SESSION}"}}"#)));
    let gateway = gateway(&format!("http://provider.test:{}", provider.port()), "");
    for turn in 0..6 {
        assert_eq!(all(&gateway), [200; 6], "{turn}");
    }
    let log = gateway.log();
    assert!(
        log.iter().any(|line| line.contains("127.0.0.8") && line.contains("cannot connect to the address")),
        "{log:?}"
    );
    assert!(!log.iter().any(|line| line.contains("requests to the provider fail")), "{log:?}");
}

#[test]
fn refusing_addresses_fail_no_request_over_http2() {
    let provider = FrameProvider::start();
    let url = format!("http://provider.test:{}", provider.address().port());
    let gateway = gateway(&url, ", protocol: http2");
    for turn in 0..6 {
        assert_eq!(passed(&gateway), 200, "{turn}");
        let governed = Request::new("GET", &format!("/api/v2/sessions/{SESSION}"));
        assert_eq!(governed.send(&gateway.url()).status, 200, "{turn}");
    }
}

/// A failure counts for later governed and pass-through requests, instead of each kind finding out by itself.
#[test]
fn addresses_without_tls_are_remembered() {
    let authority = Authority::new("ours");
    // The address that lives has to keep to the time too: only where waiting is what is tested, it is not long.
    for (mark_hung, connect) in [(false, "20s"), (true, "3s")] {
        let trusted = format!(
            ", tls: {{ ca_file: {} }}, timeouts: {{ connect: {connect}, first_byte: 20s }}",
            authority.file.display()
        );
        let (provider, dead) = somehow(|| {
            let config = authority.certify(&["provider.test"], |_| {});
            let provider =
                Scripted::start_tls(Arc::new(config), |_| json_response(200, &format!(r#"{{"id":"{SESSION}"}}"#)));
            let dead = ["127.0.0.8", "127.0.0.9"].map(|ip| SocketAddr::new(ip.parse().unwrap(), provider.port()));
            let dead: Vec<Dead> = dead.into_iter().filter_map(|address| Dead::start(address, mark_hung)).collect();
            (dead.len() == 2).then_some((provider, dead))
        });
        let gateway = gateway(&format!("https://provider.test:{}", provider.port()), &trusted);
        for turn in 0..6 {
            assert_eq!(all(&gateway), [200; 6], "{mark_hung} {turn}");
        }
        for Dead { address, accepted } in &dead {
            let accepted = accepted.load(Ordering::SeqCst);
            assert!((1..=4).contains(&accepted), "{address} {mark_hung}: {accepted} of 36 requests");
        }
        assert!(dead.iter().map(Dead::accepted).sum::<usize>() >= 2);
    }
}

#[test]
fn recovered_address_serves_after_all_were_unreachable() {
    let port = somehow(|| {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let free = NAMES.iter().all(|ip| TcpListener::bind(format!("{ip}:{port}")).is_ok());
        free.then_some(port)
    });
    let gateway = gateway(&format!("http://provider.test:{port}"), "");
    for _ in 0..3 {
        assert_eq!(all(&gateway), [502; 6]);
    }
    let back = SocketAddr::new("127.0.0.9".parse().unwrap(), port);
    let _provider = Scripted::start_at(back, |_| json_response(200, &format!(r#"{{"id":"{SESSION}"}}"#)));
    for turn in 0..6 {
        assert_eq!(all(&gateway), [200; 6], "{turn}");
    }
}
