//! Tenants behind one address of a provider, distinguished by the host that the provider sees and by instance headers
//! of trusted peers. A write invalidates under every host name; deletions and versions belong to one tenant.

use crate::harness::recorder::{Call, Recorder, SESSION, session};
use crate::harness::replica::{SEAL_KEY, STORE_TIMEOUTS, status};
use crate::harness::{Gateway, RedisServer, Request, Response, redis_installed, wait_for};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PLAIN: &str = "the upstream without `preserve_host`";
const OWN: &str = "the provider's own name";
const ONE: &str = "one.example";
const ONE_SPELLED: &str = "ONE.example:8080";
/// No upstream is declared for it.
const TWO: &str = "two.example";

/// Names with which of them are for the same tenant.
const TENANTS: [(&str, &str); 3] = [(PLAIN, OWN), (ONE, ONE_SPELLED), (TWO, "two.example:443")];

/// A gateway before one provider, whose tenants have sessions of the same id.
struct World {
    recorder: Recorder,
    gateway: Gateway,
    /// The second in which the session was changed last, at `one.example` and elsewhere.
    versions: Arc<[AtomicU64; 2]>,
}

impl World {
    fn start(redis: Option<&RedisServer>) -> World {
        let versions = Arc::new([const { AtomicU64::new(10) }; 2]);
        let own = versions.clone();
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            let host = call.seen.header("Host").unwrap_or_default().to_owned();
            let version = own[usize::from(!host.starts_with("one."))].load(Ordering::SeqCst);
            let mut shown = session(&json!({ "host": host }));
            shown["updated_at"] = json!(format!("2026-01-02T03:04:{version:02}.000Z"));
            match call.seen.method.as_str() {
                "GET" if call.seen.target.contains("/users/") => call.json(200, &json!({ "sessions": [shown] })),
                "DELETE" => call.json(202, &json!({})),
                _ => call.json(200, &shown),
            }
        });
        let upstream = |name: &str, more: &str| {
            let url = recorder.url();
            format!("  {name}: {{ dialect: auth0, url: \"{url}\", auth: none, cache: {{ ttl: 5m }}, {more} }}\n")
        };
        let upstreams = [
            upstream("one", "preserve_host: true, match: { host: one.example }"),
            upstream("plain", "match: { path_prefix: /plain, strip_prefix: true }"),
            upstream("rest", "preserve_host: true"),
        ];
        let gateway = start(redis, &format!("upstreams:\n{}", upstreams.concat()));
        World { recorder, gateway, versions }
    }

    fn request(&self, method: &str, name: &str, path: &str) -> Request {
        let own = self.recorder.address().to_string();
        let request = match name {
            PLAIN => Request::new(method, &format!("/plain{path}")),
            OWN => Request::new(method, path).header("Host", &own),
            host => Request::new(method, path).header("Host", host),
        };
        request.header("Authorization", "Bearer x")
    }

    fn send(&self, method: &str, name: &str) -> Response {
        let request = self.request(method, name, &format!("/api/v2/sessions/{SESSION}"));
        let request = if method == "PATCH" { request.json(r#"{"session_metadata":{"a":"b"}}"#) } else { request };
        request.send(&self.gateway.url())
    }

    fn get(&self, name: &str) -> u16 {
        self.send("GET", name).status
    }

    /// How many sessions a list shows.
    fn listed(&self, name: &str) -> usize {
        let response = self.request("GET", name, "/api/v2/users/u/sessions").send(&self.gateway.url());
        response.json()["sessions"].as_array().unwrap().len()
    }

    /// Whether the second of two reads is a hit.
    fn is_cached(&self, name: &str) -> bool {
        assert_eq!(self.get(name), 200, "{name}");
        is_hit(&self.send("GET", name))
    }

    fn purge(&self, body: &str) {
        let purged = Request::new("POST", "/cache/purge").json(body).send(&self.gateway.control_url());
        assert_eq!(purged.status, 200, "{}", purged.text());
    }
}

/// A gateway on a store in memory or in Redis.
fn start(redis: Option<&RedisServer>, more: &str) -> Gateway {
    let store = redis.map_or(String::new(), |server| {
        let url = server.url();
        format!(
            "store: {{ redis: {{ settle: 0s, timeouts: {STORE_TIMEOUTS}, url: \"{url}\", seal_keys: [{{ env: SEAL }}] }} }}\n"
        )
    });
    let config = format!("hash_key: {{ env: HASH }}\n{store}{more}");
    let gateway = Gateway::start_with(&config, &[("HASH", "a hash key of all the replicas"), ("SEAL", SEAL_KEY)]);
    gateway.ready();
    if redis.is_some() {
        wait_for("a connection to the store", || {
            gateway.metrics().lines().any(|line| line == "sessiongate_store_connections 1").then_some(())
        });
    }
    gateway
}

fn on_each_store(test: impl Fn(Option<&RedisServer>)) {
    test(None);
    if redis_installed() {
        test(Some(&RedisServer::start()));
    }
}

fn each(test: impl Fn(&World)) {
    on_each_store(|redis| test(&World::start(redis)));
}

fn is_hit(response: &Response) -> bool {
    status(response).starts_with("sessiongate; hit")
}

#[test]
fn write_under_one_host_name_invalidates_all() {
    each(|world| {
        let names: Vec<&str> = TENANTS.iter().flat_map(|(one, other)| [*one, *other]).collect();
        for writer in &names {
            assert!(names.iter().all(|name| world.is_cached(name)), "before a write by {writer}");
            let seen: Vec<Response> = names.iter().map(|name| world.send("GET", name)).collect();
            for (name, response) in names.iter().zip(seen) {
                let host = response.json()["session_metadata"]["host"].as_str().unwrap().to_owned();
                let own = [PLAIN, OWN].contains(name);
                let told = if own { world.recorder.address().to_string() } else { (*name).to_owned() };
                assert_eq!(host.to_lowercase().split(':').next(), told.to_lowercase().split(':').next(), "{name}");
            }
            // Names of one tenant share what is stored: the first of them to be asked fills it.
            for first in [TENANTS, TENANTS.map(|(one, other)| (other, one))] {
                assert_eq!(world.send("PATCH", writer).status, 200);
                for (name, _) in first {
                    assert!(!is_hit(&world.send("GET", name)), "{name} after a write by {writer}");
                }
            }
        }
    });
}

#[test]
fn deletion_applies_to_all_host_names_of_its_tenant_only() {
    each(|world| {
        let pairs = TENANTS.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
        for (deleted, same) in pairs {
            assert_eq!(world.send("DELETE", deleted).status, 202);
            assert_eq!((world.get(deleted), world.get(same)), (404, 404), "deleted by {deleted}");
            assert_eq!((world.listed(deleted), world.listed(same)), (0, 0), "deleted by {deleted}");
            for (one, other) in TENANTS.into_iter().filter(|pair| ![pair.0, pair.1].contains(&deleted)) {
                for name in [one, other] {
                    assert!(world.is_cached(name), "{name}, deleted by {deleted}");
                    assert_eq!(world.listed(name), 1, "{name}, deleted by {deleted}");
                }
            }
            world.purge(&format!(r#"{{"upstream":"one","session":"{SESSION}"}}"#));
            assert_eq!((world.get(deleted), world.get(same)), (200, 200), "deleted by {deleted}");
        }
    });
}

#[test]
fn purge_clears_deletions_of_all_tenants() {
    each(|world| {
        let session = format!(r#"{{"upstream":"plain","session":"{SESSION}"}}"#);
        for purge in [session.as_str(), r#"{"upstream":"one"}"#, r#"{"upstream":"plain"}"#] {
            for (name, _) in TENANTS {
                assert_eq!(world.send("DELETE", name).status, 202);
                assert_eq!(world.get(name), 404, "{name}");
            }
            world.purge(purge);
            for (one, other) in TENANTS {
                assert_eq!((world.get(one), world.get(other)), (200, 200), "{one} after {purge}");
                assert_eq!(world.listed(one), 1, "{one} after {purge}");
            }
        }
        // What is deleted after a purge is deleted.
        assert_eq!(world.send("DELETE", TWO).status, 202);
        assert_eq!(world.get(TWO), 404);
    });
}

/// Another replica purges the upstream. This replica records a deletion before it notices.
#[test]
fn purge_before_a_deletion_does_not_clear_it() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let world = World::start(Some(&server));
    let script =
        concat!(include_str!("../../../src/cache/redis/tenants.lua"), include_str!("../../../src/cache/redis/end.lua"));
    for (name, _) in TENANTS {
        assert!(world.is_cached(name), "what is known of the upstream is from before the purge");
        let epochs: Vec<String> = server.keys().into_iter().filter(|key| key.ends_with("}:e")).collect();
        let [epoch] = &epochs[..] else { panic!("{epochs:?}") };
        let floor = "0".repeat(20);
        let _: i64 = server.ask(&["EVAL", script, "1", epoch, "00000000000000ee", &floor, "", "purged", "7200000"]);
        assert_eq!(world.send("DELETE", name).status, 202);
        assert_eq!(world.get(name), 404, "{name}");
        assert_eq!(world.listed(name), 0, "{name}");
    }
}

/// The provider lags behind its own acknowledgement.
#[test]
fn minimum_version_applies_to_its_tenant_only() {
    each(|world| {
        let [one, others] = &*world.versions;
        let first = one.load(Ordering::SeqCst);
        one.store(first + 10, Ordering::SeqCst);
        assert_eq!(world.send("PATCH", ONE).status, 200);
        assert!(world.is_cached(TWO) && world.is_cached(OWN), "their versions were always lower");
        one.store(first, Ordering::SeqCst);
        assert!(!world.is_cached(ONE) && !world.is_cached(ONE_SPELLED), "it was acknowledged with more");
        one.store(first + 10, Ordering::SeqCst);
        assert!(world.is_cached(ONE));
        others.store(first + 20, Ordering::SeqCst);
        assert_eq!(world.send("PATCH", PLAIN).status, 200);
        assert!(world.is_cached(ONE), "what the own tenant was told");
        others.store(first, Ordering::SeqCst);
        assert!(!world.is_cached(OWN));
    });
}

#[test]
fn deletions_cost_reads_no_extra_round_trip() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let world = World::start(Some(&server));
    assert!(TENANTS.iter().all(|(one, _)| world.is_cached(one)));
    let steps = |step: &str| {
        let count = format!("sessiongate_store_duration_seconds_count{{step=\"{step}\"}} ");
        let metrics = world.gateway.metrics();
        metrics.lines().find_map(|line| line.strip_prefix(&count)).map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = steps("acquire");
    assert!(TENANTS.iter().all(|(one, _)| is_hit(&world.send("GET", one))));
    assert_eq!((steps("acquire"), steps("deleted")), (before + TENANTS.len() as u64, 0));
}

/// A replica of the previous version, which does not distinguish tenants, deletes a session.
#[test]
fn deletion_of_an_unknown_tenant_is_left_to_the_provider() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let world = World::start(Some(&server));
    assert!(TENANTS.iter().all(|(one, _)| world.is_cached(one)));
    let states: Vec<String> = server.keys().into_iter().filter(|key| key.ends_with("}:s")).collect();
    let [state] = &states[..] else { panic!("{states:?}") };
    let (script, floor) = (include_str!("previous/end.lua"), "0".repeat(20));
    let _: i64 = server.ask(&["EVAL", script, "1", state, "00000000000000ee", &floor, "", "300000", "7200000"]);
    assert_eq!((world.get(PLAIN), world.get(OWN)), (404, 404));
    for name in [ONE, TWO] {
        for _ in 0..2 {
            let response = world.send("GET", name);
            assert_eq!((response.status, status(&response)), (200, "sessiongate; fwd=bypass"), "{name}");
        }
    }
    world.purge(&format!(r#"{{"upstream":"one","session":"{SESSION}"}}"#));
    assert!(TENANTS.iter().all(|(one, _)| world.is_cached(one)));
}

#[test]
fn locked_user_clears_no_deletion() {
    on_each_store(|redis| {
        let world = Instances::start(redis, "[127.0.0.0/8]");
        let one = [("x-zitadel-instance-host", "one.example")];
        assert_eq!(world.send("DELETE", "s1", &one).status, 200);
        assert_eq!(world.send("PATCH", "locked", &[]).status, 400);
        assert_eq!(world.send("GET", "s1", &one).status, 404);
    });
}

/// A ZITADEL of several instances, which trusted peers name.
struct Instances {
    _recorder: Recorder,
    gateway: Gateway,
}

impl Instances {
    fn start(redis: Option<&RedisServer>, trusted: &str) -> Instances {
        Instances::called(redis, trusted, "")
    }

    /// With more options of the upstream.
    fn called(redis: Option<&RedisServer>, trusted: &str, more: &str) -> Instances {
        let recorder = Recorder::start(|call: &mut Call| {
            call.body()?;
            let id = call.seen.target.rsplit('/').next().unwrap_or_default().to_owned();
            let instance = call.seen.header("x-zitadel-instance-host").unwrap_or("own").to_owned();
            let details = json!({ "sequence": "7", "changeDate": "2026-01-01T00:00:00Z" });
            match call.seen.method.as_str() {
                "PATCH" if id == "locked" => {
                    call.json(400, &json!({ "code": 9, "message": "Errors.User.Locked (COMMAND-JLK35)" }))
                }
                "GET" => {
                    let session = json!({ "id": id, "sequence": "7", "userAgent": { "description": instance } });
                    call.json(200, &json!({ "session": session }))
                }
                _ => call.json(200, &json!({ "details": details })),
            }
        });
        let url = recorder.url();
        let gateway = start(
            redis,
            &format!(
                "clients: {{ trusted_peers: {trusted}, forwarding_headers: both }}\n\
                 upstreams: {{ z: {{ dialect: zitadel, url: \"{url}\", auth: forward, cache: {{ ttl: 5m }}{more} }} }}\n"
            ),
        );
        Instances { _recorder: recorder, gateway }
    }

    fn send(&self, method: &str, session: &str, headers: &[(&str, &str)]) -> Response {
        let request = Request::new(method, &format!("/v2/sessions/{session}")).header("Authorization", "Bearer x");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = match method {
            "PATCH" => request.json(r#"{"sessionToken":"t","checks":{"password":{"password":"p"}}}"#),
            "DELETE" => request.json(r#"{"sessionToken":"t"}"#),
            _ => request,
        };
        request.send(&self.gateway.url())
    }
}

type Headers = &'static [(&'static str, &'static str)];

const INSTANCE: (&str, &str) = ("x-zitadel-instance-host", "one.example");
const PUBLIC: (&str, &str) = ("x-zitadel-public-host", "login.example");

/// Headers that distinguish tenants, and an equivalent spelling of each.
const NAMES: [(Headers, Headers); 7] = [
    (&[], &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")]),
    (&[INSTANCE], &[("x-zitadel-instance-host", "One.Example:443"), ("x-forwarded-for", "192.0.2.8")]),
    (&[("x-zitadel-instance-host", "two.example")], &[("x-zitadel-instance-host", "two.example.")]),
    (&[INSTANCE, PUBLIC], &[PUBLIC, INSTANCE]),
    (&[("x-forwarded-host", "one.example")], &[("x-forwarded-host", "one.example:8080")]),
    (&[("forwarded", "for=192.0.2.7;host=one.example")], &[("forwarded", "Host=\"one.example:80\"; for=192.0.2.9")]),
    (&[("x-zitadel-forwarded", "host=one.example")], &[("x-zitadel-forwarded", "proto=https;host=one.example")]),
];

#[test]
fn instance_headers_of_trusted_peers_separate_tenants() {
    on_each_store(|redis| {
        let world = Instances::start(redis, "[127.0.0.0/8]");
        for (at, (deleted, same)) in NAMES.into_iter().enumerate() {
            let session = format!("s{at}");
            assert_eq!(world.send("DELETE", &session, deleted).status, 200);
            for name in [deleted, same] {
                assert_eq!(world.send("GET", &session, name).status, 404, "{name:?}, deleted as {deleted:?}");
            }
            for name in NAMES.into_iter().filter(|name| name.0 != deleted).flat_map(|(one, other)| [one, other]) {
                assert_eq!(world.send("GET", &session, name).status, 200, "{name:?}, deleted as {deleted:?}");
            }
        }
    });
}

/// The `url` of the upstream does not matter.
#[test]
fn own_tenant_is_the_host_sent_to_the_provider() {
    on_each_store(|redis| {
        let world = Instances::called(redis, "[127.0.0.0/8]", ", host: \"ID.example:8443\"");
        let names: [Headers; 4] = [
            &[],
            &[("x-forwarded-host", "id.example")],
            &[("x-zitadel-instance-host", "Id.Example:8443")],
            &[("forwarded", "for=192.0.2.7;host=id.example")],
        ];
        for (at, deleted) in names.into_iter().enumerate() {
            let session = format!("s{at}");
            assert_eq!(world.send("DELETE", &session, deleted).status, 200);
            for name in names {
                assert_eq!(world.send("GET", &session, name).status, 404, "{name:?}, deleted as {deleted:?}");
            }
            let url: Headers = &[("x-forwarded-host", "127.0.0.1")];
            assert_eq!(world.send("GET", &session, url).status, 200, "what `url` leads to is not its name");
        }
    });
}

#[test]
fn instance_headers_of_untrusted_peers_are_ignored() {
    on_each_store(|redis| {
        // The client is no peer that may speak for others.
        let world = Instances::start(redis, "[10.0.0.0/8]");
        for (at, (deleted, _)) in NAMES.into_iter().enumerate() {
            let session = format!("s{at}");
            assert_eq!(world.send("DELETE", &session, deleted).status, 200);
            for (name, same) in NAMES {
                assert_eq!(world.send("GET", &session, name).status, 404, "{name:?}, deleted as {deleted:?}");
                assert_eq!(world.send("GET", &session, same).status, 404, "{same:?}, deleted as {deleted:?}");
            }
        }
        // It is trusted, but `Connection` names the header as hop-by-hop.
        let world = Instances::start(redis, "[127.0.0.0/8]");
        let connection_options = [("Connection", "X-Zitadel-Instance-Host"), INSTANCE];
        assert_eq!(world.send("DELETE", "t1", &connection_options).status, 200);
        assert_eq!(world.send("GET", "t1", &[]).status, 404);
        assert_eq!(world.send("GET", "t1", &[INSTANCE]).status, 200);
        assert_eq!(world.send("DELETE", "t2", &[INSTANCE]).status, 200);
        assert_eq!(world.send("GET", "t2", &connection_options).status, 200);
    });
}

#[test]
fn write_in_one_organization_invalidates_all() {
    on_each_store(|redis| {
        let world = Instances::start(redis, "[127.0.0.0/8]");
        let names: [Headers; 5] = [
            &[],
            &[("x-zitadel-orgid", "1")],
            &[("x-zitadel-orgid", "2")],
            &[INSTANCE],
            &[INSTANCE, ("x-zitadel-orgid", "1")],
        ];
        for writer in names {
            for name in names {
                assert!(!is_hit(&world.send("GET", "s", name)), "{name:?} has an entry of its own");
                assert!(is_hit(&world.send("GET", "s", name)), "{name:?}");
            }
            assert_eq!(world.send("PATCH", "s", writer).status, 200);
        }
        assert!(!is_hit(&world.send("GET", "s", &[])));
        // An organization header that is not forwarded does not count.
        let connection_options = [("Connection", "x-zitadel-orgid"), ("x-zitadel-orgid", "1")];
        assert!(is_hit(&world.send("GET", "s", &connection_options)));
    });
}
