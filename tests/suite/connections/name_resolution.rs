//! Host names of providers and issuers: they are looked up again when their TTL ends, never while a request waits, and
//! the last known addresses stay in use if a lookup fails.

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{DnsServer, FrameProvider, Gateway, Request, Said, addresses, wait_for};
use sessiongate::client::{Files, LookupError, Resolver};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Two providers at one port, so that a name can move from one to the other.
struct Pair {
    first: Recorder,
    second: Recorder,
}

impl Pair {
    fn start() -> Pair {
        let pair = || {
            let first = Recorder::auth0();
            let second = SocketAddr::new([127, 0, 0, 2].into(), first.address().port());
            let second = Recorder::start_at(second, |call| call.as_auth0()).ok()?;
            Some(Pair { first, second })
        };
        (0..100).find_map(|_| pair()).unwrap()
    }

    fn port(&self) -> u16 {
        self.first.address().port()
    }

    fn counts(&self) -> (usize, usize) {
        (self.first.count(), self.second.count())
    }
}

fn configuration(dns: &DnsServer, url: &str) -> String {
    let servers = dns.address();
    format!("dns: {{ servers: ['{servers}'] }}\nupstreams:\n  a: {{ dialect: auth0, url: {url}, auth: none }}\n")
}

/// The statuses of a governed read, a governed write and a pass-through request.
fn ask(gateway: &Gateway) -> Vec<u16> {
    let session = format!("/api/v2/sessions/{SESSION}");
    let requests = [
        Request::new("GET", &session),
        Request::new("PATCH", &session).json(r#"{"session_metadata":{"team":"blue"}}"#),
        Request::new("GET", "/x"),
    ];
    requests.iter().map(|request| request.send(&gateway.url()).status).collect()
}

/// Waits until the server was asked for a name this many times more.
fn asked_again(dns: &DnsServer, name: &str, times: usize) {
    let before = dns.asked(name);
    wait_for("look-ups", || (dns.asked(name) >= before + times).then_some(()));
}

#[test]
fn changed_addresses_are_followed_and_vanished_names_keep_theirs() {
    let pair = Pair::start();
    let dns = DnsServer::start(&[("provider.test", addresses(&["127.0.0.1"], 1))]);
    let gateway = Gateway::start(&configuration(&dns, &format!("http://provider.test:{}", pair.port())));
    wait_for("the name", || (ask(&gateway) == [200; 3]).then_some(()));
    assert_eq!(pair.second.count(), 0);

    // The kept connections to the old address are not used any more.
    dns.say("provider.test", addresses(&["127.0.0.2"], 1));
    wait_for("the move", || {
        let (before, _) = pair.counts();
        assert_eq!(ask(&gateway), [200; 3]);
        (pair.first.count() == before).then_some(())
    });
    let (moved, _) = pair.counts();

    for failure in [Said::Code(3), Said::Code(2), Said::Addresses(Vec::new(), 1), Said::Silence] {
        dns.say("provider.test", failure.clone());
        asked_again(&dns, "provider.test", 2);
        let before = pair.second.count();
        assert_eq!(ask(&gateway), [200; 3], "{failure:?}");
        assert_eq!(pair.counts(), (moved, before + 3), "{failure:?}");
    }
    gateway.wait_for_log(|line| line.contains("cannot resolve the host name") && line.contains("provider.test"));

    dns.say("provider.test", addresses(&["127.0.0.1"], 1));
    wait_for("the way back", || {
        assert_eq!(ask(&gateway), [200; 3]);
        (pair.first.count() > moved).then_some(())
    });
    gateway.wait_for_log(|line| line.contains("resolves again"));
}

/// The new servers are asked even if the TTL of the previous address has not ended.
#[test]
fn reload_uses_the_new_name_servers() {
    let pair = Pair::start();
    let known = |address: &str| DnsServer::start(&[("provider.test", addresses(&[address], 100_000))]);
    let (one, other) = (known("127.0.0.1"), known("127.0.0.2"));
    let url = format!("http://provider.test:{}", pair.port());
    let text = |dns: &DnsServer| format!("reload: {{ watch: false }}\n{}", configuration(dns, &url));
    let gateway = Gateway::start(&text(&one));
    wait_for("the name", || (ask(&gateway) == [200; 3]).then_some(()));
    assert_eq!((pair.second.count(), other.asked("provider.test")), (0, 0));
    gateway.rewrite(&text(&other));
    gateway.signal("HUP");
    wait_for("the other address", || {
        let (before, _) = pair.counts();
        assert_eq!(ask(&gateway), [200; 3]);
        (pair.first.count() == before).then_some(())
    });
    assert_eq!(one.asked("provider.test"), 1);
}

/// A shared HTTP/2 connection is replaced after a change of addresses.
#[test]
fn changed_addresses_are_followed_over_http2() {
    let pair = || {
        let first = FrameProvider::start();
        let second = SocketAddr::new([127, 0, 0, 2].into(), first.address().port());
        Some((first, FrameProvider::start_at(second).ok()?))
    };
    let (first, second) = (0..100).find_map(|_| pair()).unwrap();
    let dns = DnsServer::start(&[("provider.test", addresses(&["127.0.0.1"], 1))]);
    let url = format!("http://provider.test:{}", first.address().port());
    let gateway = Gateway::start(&configuration(&dns, &url).replace("auth: none", "auth: none, protocol: http2"));
    wait_for("the name", || (ask(&gateway) == [200; 3]).then_some(()));
    assert_eq!(second.counts().0, 0);
    dns.say("provider.test", addresses(&["127.0.0.2"], 1));
    wait_for("the move", || {
        let before = first.counts();
        assert_eq!(ask(&gateway), [200; 3]);
        (first.counts() == before).then_some(())
    });
    assert!(second.counts().0 >= 3);
}

#[test]
fn name_that_resolves_later_is_found() {
    let recorder = Recorder::auth0();
    let dns = DnsServer::start(&[]);
    let gateway = Gateway::start(&configuration(&dns, &format!("http://late.test:{}", recorder.address().port())));
    asked_again(&dns, "late.test", 1);
    assert_eq!(ask(&gateway), [503; 3]);
    dns.say("late.test", addresses(&["127.0.0.1"], 60));
    wait_for("the name", || (ask(&gateway) == [200; 3]).then_some(()));
}

/// The shorter TTL of an alias counts.
#[test]
fn names_are_looked_up_again_after_their_ttl() {
    let dns = DnsServer::start(&[
        ("short.test", addresses(&["127.0.0.1"], 0)),
        ("long.test", addresses(&["127.0.0.1"], 100_000)),
        ("alias.test", Said::Alias("long.test", 1)),
    ]);
    let upstream = |name: &str| {
        format!("  {name}: {{ dialect: auth0, url: 'http://{name}.test:1', auth: none, match: {{ host: {name} }} }}\n")
    };
    let upstreams: String = ["short", "long", "alias"].map(upstream).concat();
    let _gateway = Gateway::start(&format!("dns: {{ servers: ['{}'] }}\nupstreams:\n{upstreams}", dns.address()));
    for name in ["short.test", "alias.test"] {
        wait_for("look-ups", || (dns.asked(name) >= 3).then_some(()));
    }
    assert_eq!(dns.asked("long.test"), 1);
}

#[test]
fn issuer_names_are_looked_up_in_the_same_way() {
    let recorder = Recorder::auth0();
    let port = recorder.address().port();
    let dns = DnsServer::start(&[("issuer.test", addresses(&["127.0.0.1"], 60))]);
    let gateway = Gateway::start(&format!(
        "dns: {{ servers: ['{}'] }}\nupstreams:\n  a:\n    dialect: auth0\n    url: {}\n    auth: {{ issuer: '{}/', audience: '{}/api/v2/', jwks: 'http://issuer.test:{port}/.well-known/jwks.json', allow_http: true }}\n",
        dns.address(),
        recorder.url(),
        recorder.url(),
        recorder.url(),
    ));
    gateway.ready();
    assert_eq!(dns.asked("issuer.test"), 1);
}

/// A resolver with these files.
struct Looking {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    resolver: Arc<Resolver>,
}

impl Looking {
    fn new(servers: &[&DnsServer], hosts: &str, resolv_conf: Option<&str>) -> Looking {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { hosts: folder.path().join("hosts"), resolv_conf: folder.path().join("resolv.conf") };
        std::fs::write(&files.hosts, hosts).unwrap();
        if let Some(text) = resolv_conf {
            std::fs::write(&files.resolv_conf, text).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let resolver = Resolver::new(servers.iter().map(|server| server.address()).collect(), files);
        Looking { folder, runtime, resolver }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut found = self.runtime.block_on(self.resolver.look_up(host))?.addresses;
        found.sort();
        Ok(found)
    }

    fn holds(&self, host: &str) -> Duration {
        self.runtime.block_on(self.resolver.look_up(host)).unwrap().ttl
    }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn search_domains_and_ndots_work_as_in_a_pod() {
    let dns = DnsServer::start(&[
        ("idp.team.svc.cluster.local", addresses(&["10.1.0.1"], 5)),
        ("idp.other.svc.cluster.local", addresses(&["10.1.0.2"], 5)),
        ("acme.example.com", addresses(&["10.1.0.3"], 5)),
        ("acme.example.com.cluster.local", Said::Code(3)),
    ]);
    let pod = "search team.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    let resolver = Looking::new(&[&dns], "", Some(pod));
    assert_eq!(resolver.look_up("idp").unwrap(), ips(&["10.1.0.1"]));
    assert_eq!(resolver.look_up("idp.other").unwrap(), ips(&["10.1.0.2"]));
    let before = dns.names().len();
    assert_eq!(resolver.look_up("acme.example.com").unwrap(), ips(&["10.1.0.3"]));
    let asked = [
        "acme.example.com.team.svc.cluster.local",
        "acme.example.com.svc.cluster.local",
        "acme.example.com.cluster.local",
        "acme.example.com",
    ];
    assert_eq!(dns.names()[before..], asked);
    assert!(matches!(resolver.look_up("nobody"), Err(LookupError::Unknown)));

    // A change of the file counts at once.
    resolver.write("resolv.conf", "search team.svc.cluster.local\n");
    let before = dns.names().len();
    assert_eq!(resolver.look_up("acme.example.com").unwrap(), ips(&["10.1.0.3"]));
    assert_eq!(dns.names()[before..], ["acme.example.com"]);
}

/// The name whose lookup failed may be the right one; the next name in the search list may belong to someone else.
#[test]
fn failing_name_server_ends_the_search() {
    let dns = DnsServer::start(&[("idp.right.test", Said::Code(5)), ("idp", addresses(&["10.6.6.6"], 5))]);
    let resolver = Looking::new(&[&dns], "", Some("search right.test\noptions timeout:1 attempts:1\n"));
    assert!(matches!(resolver.look_up("idp"), Err(LookupError::Failed(_))));
    dns.say("idp.right.test", Said::Silence);
    assert!(matches!(resolver.look_up("idp"), Err(LookupError::Failed(_))));
    // Servers that are not responsible respond with SERVFAIL, too, so it does not end the search, as in the system
    // resolver.
    dns.say("idp.right.test", Said::Code(2));
    assert_eq!(resolver.look_up("idp").unwrap(), ips(&["10.6.6.6"]));
    dns.say("idp", Said::Code(3));
    assert!(matches!(resolver.look_up("idp"), Err(LookupError::Failed(_))));
}

#[test]
fn name_servers_are_queried_in_order() {
    let first = DnsServer::start(&[("both.test", addresses(&["10.0.0.1"], 5)), ("second.test", Said::Silence)]);
    let second = DnsServer::start(&[
        ("both.test", addresses(&["10.0.0.2"], 5)),
        ("second.test", addresses(&["10.0.0.2"], 5)),
        ("first-knows-better.test", addresses(&["10.0.0.2"], 5)),
    ]);
    let resolver = Looking::new(&[&first, &second], "", Some("options timeout:1\n"));
    assert_eq!(resolver.look_up("both.test").unwrap(), ips(&["10.0.0.1"]));
    assert!(matches!(resolver.look_up("first-knows-better.test"), Err(LookupError::Unknown)));
    assert_eq!(second.names(), [""; 0]);
    for failure in [Said::Silence, Said::Code(2), Said::Code(5)] {
        first.say("second.test", failure);
        assert_eq!(resolver.look_up("second.test").unwrap(), ips(&["10.0.0.2"]));
    }
}

#[test]
fn ipv4_and_ipv6_are_found_and_truncated_responses_use_tcp() {
    let dns = DnsServer::start(&[
        ("both.test", addresses(&["10.0.0.1", "fd00::1", "10.0.0.2"], 7)),
        ("six.test", addresses(&["fd00::1"], 100_000)),
        ("long.test", Said::Truncated(ips(&["10.0.0.1", "10.0.0.2"]), 0)),
        ("alias.test", Said::Alias("both.test", 3)),
        ("www.under_score.test", addresses(&["10.0.0.1"], 5)),
    ]);
    let resolver = Looking::new(&[&dns], "", None);
    assert_eq!(resolver.look_up("both.test").unwrap(), ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
    assert_eq!(resolver.look_up("alias.test").unwrap(), ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
    assert_eq!(resolver.look_up("six.test").unwrap(), ips(&["fd00::1"]));
    assert_eq!(resolver.look_up("BOTH.Test").unwrap().len(), 3);
    assert_eq!(resolver.look_up("www.under_score.test").unwrap().len(), 1);
    assert_eq!(dns.asked_over_tcp(), 0);
    assert_eq!(resolver.look_up("long.test").unwrap(), ips(&["10.0.0.1", "10.0.0.2"]));
    assert!(dns.asked_over_tcp() > 0);
    let seconds = Duration::from_secs;
    let holds = |name, least, most| {
        let found = resolver.holds(name);
        assert!((seconds(least)..=seconds(most)).contains(&found), "{name} holds for {found:?}");
    };
    holds("both.test", 6, 7);
    holds("alias.test", 2, 3);
    holds("six.test", 300, 300);
    holds("long.test", 1, 1);
}

#[test]
fn hosts_file_takes_precedence() {
    let dns = DnsServer::start(&[("here.test", addresses(&["10.0.0.1", "fd00::1"], 5))]);
    let resolver =
        Looking::new(&[&dns], "# a comment\n10.9.0.1 other here.TEST # 10.9.0.9 x\n10.9.0.2\there.test\n", None);
    assert_eq!(resolver.look_up("Here.test").unwrap(), ips(&["10.9.0.1", "10.9.0.2"]));
    assert_eq!(dns.names(), [""; 0]);
    resolver.write("hosts", "10.9.0.1 not-here.test\nnonsense here.test\n");
    assert_eq!(resolver.look_up("here.test").unwrap(), ips(&["10.0.0.1", "fd00::1"]));
}

#[test]
fn system_resolver_is_used_without_a_usable_resolv_conf() {
    for text in [None, Some("# no server here\n"), Some("nameserver nonsense\n")] {
        let resolver = Looking::new(&[], "", text);
        let found = resolver.look_up("localhost").unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{text:?}: {found:?}");
    }
}

/// Without IPv6 connectivity, an IPv6 address must not delay every second request.
#[test]
fn addresses_without_a_route_are_skipped() {
    let recorder = Recorder::auth0();
    // A broadcast address cannot be connected to, on any machine.
    let dns = DnsServer::start(&[("some.test", addresses(&["127.0.0.1", "255.255.255.255"], 60))]);
    let gateway = Gateway::start(&configuration(&dns, &format!("http://some.test:{}", recorder.address().port())));
    wait_for("the name", || (ask(&gateway) == [200; 3]).then_some(()));
    for turn in 0..10 {
        assert_eq!(ask(&gateway), [200; 3], "{turn}");
    }
    let lines = gateway.log();
    assert!(!lines.iter().any(|line| line.contains("requests to the provider fail")), "{lines:?}");
}
