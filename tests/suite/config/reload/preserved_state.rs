//! Which state a reload keeps, and which it must drop.

use super::{BLUE, BY_SIGNAL, cache_status, metric, read, rewritten, write};
use crate::harness::issuer::{Signer, World};
use crate::harness::recorder::{Call, Recorder, session};
use crate::harness::{Gateway, RedisServer, Request, Response, TIMEOUT, redis_installed, wait_for};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

const MISS: &str = "sessiongate; fwd=miss; stored";

fn get(gateway: &Gateway, token: &str, host: &str) -> Response {
    read(token).header("Host", host).send(&gateway.url())
}

fn status(gateway: &Gateway, token: &str, host: &str) -> String {
    let response = get(gateway, token, host);
    assert_eq!(response.status, 200, "{response:?}");
    cache_status(&response).to_owned()
}

/// An upstream of this name and host, whose callers the provider checks.
fn upstream(name: &str, recorder: &Recorder, more: &str) -> String {
    let url = recorder.url();
    format!(
        "  {name}: {{ dialect: auth0, url: \"{url}\", auth: none, match: {{ host: {name} }}, cache: {{}}{more} }}\n"
    )
}

fn before(upstreams: &[String], more: &str) -> String {
    format!("{BY_SIGNAL}upstreams:\n{}{more}", upstreams.concat())
}

#[test]
fn unrelated_changes_keep_cached_responses() {
    let (recorder, other) = (Recorder::auth0(), Recorder::auth0());
    let token = recorder.token();
    let a = || upstream("a", &recorder, "");
    let gateway = Gateway::start(&before(&[a()], ""));
    assert_eq!(status(&gateway, &token, "a"), MISS);
    for (what, yaml) in [
        ("another upstream before it", before(&[upstream("b", &other, ""), a()], "")),
        ("a twin of its provider before it", before(&[upstream("b", &recorder, ""), a()], "")),
        (
            "limits of its own",
            before(&[upstream("a", &recorder, ", body: { max: 1KiB }, timeouts: { connect: 2s }")], ""),
        ),
        ("a policy", before(&[upstream("a", &recorder, ", policy: p")], "policies: { p: { wipe: reject } }\n")),
        ("options of the process", before(&[a()], "log: { level: debug }\nshutdown: { grace: 1s }\n")),
        (
            "another key and another store",
            before(&[a()], "hash_key: { env: PATH }\nstore: { memory: { max_bytes: 1MiB } }\n"),
        ),
    ] {
        assert_eq!(rewritten(&gateway, &yaml), "applied", "{what}");
        assert_eq!(status(&gateway, &token, "a"), "hit", "{what}");
    }
    assert_eq!(recorder.count_of("GET"), 1);
}

/// The entries come from another provider, may not be read by callers that are now allowed, or are now too old.
#[test]
fn related_changes_drop_cached_responses() {
    let (one, two) = (Recorder::auth0(), Recorder::auth0());
    let text = |checked: &Recorder, provider: &Recorder, more: &str| {
        let url = format!("    url: {}\n", checked.url());
        let all = checked.upstream(&format!("{more}\n")).replace(&url, &format!("    url: {}\n", provider.url()));
        format!("{BY_SIGNAL}{all}")
    };
    let first = text(&one, &one, "cache: { ttl: 5m }");
    let gateway = Gateway::start(&first);
    gateway.ready();
    for (what, token, yaml) in [
        ("another provider", &one.token(), text(&one, &two, "cache: { ttl: 5m }")),
        ("callers of another issuer", &two.token(), text(&two, &one, "cache: { ttl: 5m }")),
        ("a shorter time", &one.token(), text(&one, &one, "cache: { ttl: 4m }")),
        ("another host", &one.token(), text(&one, &one, "cache: { ttl: 5m }\npreserve_host: true")),
        ("callers whom the provider checks", &one.token(), first.replace(&auth(&one), "    auth: none\n")),
    ] {
        assert_ne!(rewritten(&gateway, &first), "rejected");
        wait_for("a response from the cache", || {
            (cache_status(&read(&one.token()).send(&gateway.url())) == "hit").then_some(())
        });
        assert_eq!(rewritten(&gateway, &yaml), "applied", "{what}");
        // Until no request keeps to what held before, nothing is cached.
        let first_cached = wait_for("what was not cached before to be cached", || {
            let response = read(token).send(&gateway.url());
            (cache_status(&response) != BYPASS).then_some(response)
        });
        let responses = [first_cached, read(token).send(&gateway.url())];
        assert_eq!(responses.each_ref().map(|response| response.status), [200; 2], "{what}: {responses:?}");
        assert_eq!(responses.each_ref().map(cache_status), [MISS, "hit"], "{what}");
    }
}

fn auth(recorder: &Recorder) -> String {
    let url = recorder.url();
    format!("    auth: {{ issuer: {url}/, audience: {url}/api/v2/ }}\n")
}

#[test]
fn keys_and_cached_tokens_are_kept() {
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    let gateway = world.gateway("");
    let token = key.good();
    let file = gateway.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let ask = || Request::new("GET", crate::harness::issuer::SESSION).bearer(&token).send(&gateway.url()).status;
    assert_eq!(ask(), 200);
    let fetches = world.fetches();
    for round in 0..10 {
        std::fs::write(&file, format!("{text}policies: {{ p{round}: {{}} }}\n")).unwrap();
        assert_eq!(super::hang_up(&gateway), "applied");
        assert_eq!(ask(), 200);
    }
    let checks = |result: &str| {
        let labels = format!("{{result=\"{result}\",upstream=\"auth0\"}}");
        metric(&gateway, &format!("sessiongate_token_checks_total{labels}")).unwrap()
    };
    assert_eq!((checks("verified"), checks("cached")), (1.0, 10.0));
    assert_eq!(world.fetches(), fetches);
}

#[test]
fn provider_connections_are_kept() {
    let recorder = Recorder::auth0();
    let text = |round: usize| {
        let policies = format!("policies: {{ p: {{ limits: {{ properties: {} }} }} }}\n", round + 1);
        before(&[upstream("a", &recorder, ", policy: p")], &policies)
    };
    let gateway = Gateway::start(&text(0));
    let exchange = || {
        let passed = Request::new("GET", "/api/v2/clients").header("Host", "a");
        assert_eq!(passed.send(&gateway.url()).status, 200);
        assert_eq!(write("t", BLUE).header("Host", "a").send(&gateway.url()).status, 200);
    };
    exchange();
    let connections = recorder.connections();
    assert_eq!(connections, 2, "one for pass-through requests, one for governed ones");
    for round in 1..10 {
        assert_eq!(rewritten(&gateway, &text(round)), "applied");
        exchange();
    }
    assert_eq!(recorder.connections(), connections);
    let reused = metric(&gateway, "sessiongate_upstream_connections_total{reused=\"true\",upstream=\"a\"}");
    assert_eq!(reused, Some(9.0));
}

/// A provider whose session contains the provider's name.
fn named(name: &'static str) -> Recorder {
    Recorder::start(move |call: &mut Call| {
        call.body()?;
        call.json(200, &session(&json!({ "of": name })))
    })
}

#[test]
fn reordered_upstreams_are_not_confused() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let all = [("one", &one), ("two", &two), ("three", &three)];
    let of = |order: &[usize]| {
        let upstreams: Vec<String> = order.iter().map(|at| upstream(all[*at].0, all[*at].1, "")).collect();
        before(&upstreams, "")
    };
    let gateway = Gateway::start(&of(&[0, 1, 2]));
    let names = || {
        all.map(|(name, _)| {
            let cached = get(&gateway, "t", name);
            let passed = Request::new("GET", "/api/v2/clients").header("Host", name).send(&gateway.url());
            let of = |response: &Response| response.json()["session_metadata"]["of"].as_str().unwrap().to_owned();
            assert_eq!(of(&passed), name);
            (of(&cached), cache_status(&cached).to_owned())
        })
    };
    let found = |status: &str| all.map(|(name, _)| (name.to_owned(), status.to_owned()));
    assert_eq!(names(), found(MISS));
    for order in [[2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        assert_eq!(rewritten(&gateway, &of(&order)), "applied");
        assert_eq!(names(), found("hit"), "{order:?}");
    }
    for (name, _) in all {
        let passed = |reused: &str| {
            metric(
                &gateway,
                &format!("sessiongate_upstream_connections_total{{reused=\"{reused}\",upstream=\"{name}\"}}"),
            )
        };
        assert_eq!([passed("false"), passed("true")], [Some(1.0), Some(3.0)], "{name}");
    }
    // The two others are gone, and so is one's first place.
    assert_eq!(rewritten(&gateway, &of(&[1])), "applied");
    let left = get(&gateway, "t", "two");
    assert_eq!((left.json()["session_metadata"]["of"].as_str(), cache_status(&left)), (Some("two"), "hit"));
    assert_eq!(get(&gateway, "t", "one").status, 404);
}

/// A provider whose writes are answered when the test says so. A session says how many writes were carried out.
struct Held {
    recorder: Recorder,
    arrived: Receiver<()>,
    release: Sender<()>,
}

impl Held {
    fn start() -> Held {
        let (tell, arrived) = channel();
        let (release, wait) = channel();
        let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
        let writes = Arc::new(AtomicU64::new(0));
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            if call.seen.method == "PATCH" {
                tell.lock().unwrap().send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
                writes.fetch_add(1, Ordering::SeqCst);
            }
            call.json(200, &session(&json!({ "writes": writes.load(Ordering::SeqCst).to_string() })))
        });
        Held { recorder, arrived, release }
    }

    /// Runs something while a write through this host is at the provider.
    fn during(&self, gateway: &Gateway, host: &str, then: impl FnOnce()) {
        let (url, request) = (gateway.url(), write("t", BLUE).header("Host", host));
        let writer = thread::spawn(move || request.send(&url).status);
        self.arrived.recv_timeout(TIMEOUT).unwrap();
        then();
        self.release.send(()).unwrap();
        assert_eq!(writer.join().unwrap(), 200);
    }
}

fn writes(response: &Response) -> String {
    response.json()["session_metadata"]["writes"].as_str().unwrap().to_owned()
}

const BYPASS: &str = "sessiongate; fwd=bypass";

/// The write uses the cache IDs of the previous configuration, the reads those of the current one.
#[test]
fn write_in_flight_is_visible_to_reads_after_a_reload() {
    let held = Held::start();
    let (a, b) = (|| upstream("a", &held.recorder, ""), || upstream("b", &held.recorder, ""));
    let gateway = Gateway::start(&before(&[a(), b()], ""));
    let mut count = 0;
    // Another order, only the other, and one more before both.
    for yaml in
        [before(&[b(), a()], ""), before(&[b()], ""), before(&[upstream("0", &held.recorder, ""), b(), a()], "")]
    {
        assert_ne!(rewritten(&gateway, &before(&[a(), b()], "")), "rejected");
        let _ = status(&gateway, "t", "b");
        assert_eq!(status(&gateway, "t", "b"), "hit");
        held.during(&gateway, "a", || {
            assert_eq!(rewritten(&gateway, &yaml), "applied");
            let found = get(&gateway, "t", "b");
            assert_eq!((cache_status(&found), writes(&found)), (BYPASS, count.to_string()), "it is still marked");
        });
        count += 1;
        let found = get(&gateway, "t", "b");
        assert_eq!((cache_status(&found), writes(&found)), (MISS, count.to_string()), "after its end");
    }
}

/// Without a cache, writes set no marks. Writes in flight must count once caching is enabled.
#[test]
fn write_in_flight_counts_when_caching_is_enabled() {
    let held = Held::start();
    let cached = |more: &str| before(&[upstream("a", &held.recorder, more)], "");
    let uncached = cached("").replace(", cache: {}", "");
    assert!(!uncached.contains("cache"));
    let gateway = Gateway::start(&uncached);
    held.during(&gateway, "a", || {
        assert_eq!(rewritten(&gateway, &cached("")), "applied");
        // What is stored now would be from before the write.
        let found = get(&gateway, "t", "a");
        assert_eq!((cache_status(&found), writes(&found)), (BYPASS, "0".to_owned()));
        let found = get(&gateway, "t", "a");
        assert_eq!((cache_status(&found), writes(&found)), (BYPASS, "0".to_owned()));
    });
    let found = wait_for("the cache to be used", || {
        let found = get(&gateway, "t", "a");
        assert_eq!(writes(&found), "1");
        (cache_status(&found) != BYPASS).then_some(found)
    });
    assert_eq!(cache_status(&found), MISS);
    assert_eq!(status(&gateway, "t", "a"), "hit");
    // Off, a write that leaves no mark, and on again as it was.
    assert_eq!(rewritten(&gateway, &uncached), "applied");
    held.during(&gateway, "a", || ());
    assert_eq!(rewritten(&gateway, &cached("")), "applied");
    assert_eq!(writes(&get(&gateway, "t", "a")), "2", "what was cached before the write");
    wait_for("the cache to be used", || (status(&gateway, "t", "a") == "hit").then_some(()));
    assert_eq!(writes(&get(&gateway, "t", "a")), "2");
}

/// The write is still in flight at the provider after its caller's deadline, when no request uses the previous
/// configuration any more.
#[test]
fn write_past_its_deadline_counts_when_caching_is_enabled() {
    let (tell, arrived) = channel();
    let (release, wait) = channel::<()>();
    let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
    let recorder = Recorder::start(move |call: &mut Call| {
        call.body()?;
        if call.seen.method == "POST" {
            tell.lock().unwrap().send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            return call.json(200, &json!({"details":{"sequence":"2"}}));
        }
        call.json(200, &json!({"session":{"id":"1","sequence":"1"}}))
    });
    let with = |cache: &str| {
        let url = recorder.url();
        let z = format!("  z: {{ dialect: zitadel, url: \"{url}\", auth: forward{cache} }}\n");
        before(&[z], "")
    };
    let gateway = Gateway::start(&with(""));
    let cache = || {
        let read = Request::new("GET", "/v2/sessions/1").bearer("t").send(&gateway.url());
        assert_eq!(read.status, 200);
        cache_status(&read).to_owned()
    };
    let set = Request::new("POST", "/zitadel.session.v2.SessionService/SetSession").bearer("t");
    let set = set.header("Connect-Timeout-Ms", "300").json(r#"{"sessionId":"1","metadata":{"a":"YQ=="}}"#);
    assert_eq!(set.send(&gateway.url()).status, 504);
    arrived.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(rewritten(&gateway, &with(", cache: {}")), "applied");
    assert_eq!([cache(), cache()], [BYPASS, BYPASS], "the write is still at the provider");
    release.send(()).unwrap();
    wait_for("the cache to be used", || (cache() == "hit").then_some(()));
}

#[test]
fn requests_keep_their_configuration() {
    let held = Held::start();
    let text = |properties: usize| {
        let policies = format!("policies: {{ p: {{ limits: {{ properties: {properties} }} }} }}\n");
        before(&[upstream("a", &held.recorder, ", policy: p")], &policies)
    };
    let gateway = Gateway::start(&text(2));
    held.during(&gateway, "a", || {
        let elsewhere = before(&[upstream("b", &named("b"), "")], "");
        assert_eq!(rewritten(&gateway, &elsewhere), "applied", "without the upstream that the write is for");
        assert_eq!(get(&gateway, "t", "a").status, 404);
    });
    let line = gateway.wait_for_log(|line| line.contains(r#""operation":"update_session""#));
    assert!(line.contains(r#""upstream":"a""#), "{line}");
    let series = "sessiongate_upstream_fetches_total{status=\"2xx\",upstream=\"a\"}";
    assert_eq!(metric(&gateway, series), Some(1.0));
}

/// Replicas do not reload at the same moment.
#[test]
fn replicas_share_entries_before_and_after_a_reload() {
    if !redis_installed() {
        return;
    }
    let (server, held) = (RedisServer::start(), Held::start());
    let (a, b) = (|| upstream("a", &held.recorder, ""), || upstream("b", &held.recorder, ""));
    let store = format!(
        "hash_key: {{ env: HASH }}\nstore: {{ redis: {{ url: \"{}\", seal_keys: [{{ env: SEAL }}], settle: 0s, timeouts: {} }} }}\n",
        server.url(),
        crate::harness::replica::STORE_TIMEOUTS
    );
    let variables = [("HASH", "a-hash-key-of-all-replicas"), ("SEAL", crate::harness::replica::SEAL_KEY)];
    let start = || Gateway::start_with(&before(&[a(), b()], &store), &variables);
    let (old, new) = (start(), start());
    for gateway in [&old, &new] {
        wait_for("the store to be connected", || (status(gateway, "t", "b") != BYPASS).then_some(()));
    }
    assert_eq!(rewritten(&new, &before(&[upstream("0", &held.recorder, ""), b(), a()], &store)), "applied");
    wait_for("a hit", || (status(&new, "t", "b") == "hit").then_some(()));
    assert_eq!(status(&old, "t", "b"), "hit", "they share what they cache");
    held.during(&old, "a", || {
        assert_eq!(status(&new, "t", "b"), BYPASS, "a write through the other is marked for both");
    });
    let found = get(&new, "t", "b");
    assert_eq!((cache_status(&found), writes(&found).as_str()), (MISS, "1"));
    held.during(&new, "b", || assert_eq!(status(&old, "t", "b"), BYPASS));
    assert_eq!(writes(&get(&old, "t", "b")), "2");
}
