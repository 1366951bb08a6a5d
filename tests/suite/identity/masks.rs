//! What a grant hides is in no byte of a response: on every carrier, in reads, hits, lists and responses of writes.

use crate::harness::grpc::{Grpc, field, frame};
use crate::harness::replica::{HASH_KEY, SEAL_KEY, STORE_TIMEOUTS};
use crate::harness::{Gateway, Instance, RedisServer, Request, Response, Tenant, redis_installed, skipped, wait_for};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const SERVICE: &str = "/zitadel.session.v2.SessionService";
/// What the session shows, and some callers do not see.
const ADDRESS: &str = "203.0.113.9";
const DESCRIPTION: &str = "Browser on a desk";
const NOTE: &str = "a note of the team";

/// An instance with a session, and a gateway before it with two grants.
struct World {
    zitadel: Instance,
    gateway: Gateway,
    grpc: Grpc,
    session: String,
    login_name: String,
}

/// A response, with everything that it shows.
struct Seen {
    ok: bool,
    cache: String,
    bytes: Vec<u8>,
}

impl World {
    fn start() -> World {
        let zitadel = Instance::start();
        let url = zitadel.url();
        let gateway = zitadel.gateway(
            "    cache: {}
    grants:
      - name: support
        callers: { client_id: support }
        operations: [\"*\"]
        keys: { see: [\"cart_*\"] }
        masked: [factors.user.login_name, user_agent.description]
        dropped: [user_agent.ip, sequence]
      - { name: admin, operations: [\"*\"] }
",
        );
        let body = json!({
            "checks": {"user": {"userId": zitadel.instance().user_id()}},
            "metadata": {"cart_id": STANDARD.encode("7"), "team_note": STANDARD.encode(NOTE)},
            "userAgent": {"ip": ADDRESS, "description": DESCRIPTION, "fingerprintId": "f1"},
        });
        let create = Request::new("POST", "/v2/sessions").bearer(&zitadel.tokens().owner).json(&body.to_string());
        let session = create.send(&url).json()["sessionId"].as_str().unwrap().to_owned();
        let read = Request::new("GET", &format!("/v2/sessions/{session}")).bearer(&zitadel.tokens().owner);
        let login_name = read.send(&url).json()["session"]["factors"]["user"]["loginName"].as_str().unwrap().to_owned();
        World { zitadel, gateway, grpc: Grpc::start(), session, login_name }
    }

    fn token(&self, client: &str) -> String {
        self.zitadel.instance().sign(json!({ "client_id": client, "jti": client }))
    }

    /// A call over HTTP/1.
    fn plain(&self, token: &str, request: Request) -> Seen {
        let response = request.bearer(token).send(&self.gateway.url());
        // The status of a call over gRPC-web is behind its message.
        let framed = response.header("content-type").is_some_and(|kind| kind.starts_with("application/grpc-web"));
        let ok = response.status == 200 && (!framed || contains(&response.body, b"grpc-status: 0"));
        let heads = response.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
        let cache = response.header("cache-status").unwrap_or_default().to_owned();
        Seen { ok, cache, bytes: [heads.into_bytes(), response.body].concat() }
    }

    /// The same call on every carrier.
    fn calls(&self, token: &str, name: &str, rest: Request, body: &Value, proto: &[u8]) -> Vec<(&'static str, Seen)> {
        let path = format!("{SERVICE}/{name}");
        let call = |kind: &str, body: Vec<u8>| {
            self.plain(token, Request::new("POST", &path).header("Content-Type", kind).body(body))
        };
        let grpc = |kind: &str, body: &[u8]| {
            let headers = [("content-type", kind), ("te", "trailers")];
            let response = self.grpc.call_as(token, &self.gateway, &path, &frame(body), &headers);
            let ok = (response.status, response.trailer("grpc-status")) == (200, "0");
            let cache = response.headers.get("cache-status").map_or("", |value| value.to_str().unwrap()).to_owned();
            Seen { ok, cache, bytes: [format!("{:?}", response.headers).into_bytes(), response.body].concat() }
        };
        let text = body.to_string();
        vec![
            ("rest", self.plain(token, rest)),
            ("connect json", call("application/json", text.clone().into_bytes())),
            ("connect proto", call("application/proto", proto.to_vec())),
            ("grpc-web", call("application/grpc-web+proto", frame(proto))),
            ("grpc-web json", call("application/grpc-web+json", frame(text.as_bytes()))),
            ("grpc", grpc("application/grpc+proto", proto)),
            ("grpc json", grpc("application/grpc+json", text.as_bytes())),
        ]
    }

    /// All that some callers do not see, as it may be on the wire.
    fn hidden(&self) -> Vec<Vec<u8>> {
        let texts = [ADDRESS, DESCRIPTION, NOTE, "team_note", &self.login_name].map(|text| text.as_bytes().to_vec());
        [&texts[..], &[STANDARD.encode(NOTE).into_bytes()]].concat()
    }

    /// Checks one call on every carrier, by both callers, `times` times.
    fn check(&self, name: &str, rest: impl Fn() -> Request, body: &Value, proto: &[u8], hits: bool) {
        let (support, admin) = (self.token("support"), self.token("admin"));
        for turn in 0..2 {
            for (token, sees_all) in [(&support, false), (&admin, true)] {
                for (carrier, seen) in self.calls(token, name, rest(), body, proto) {
                    let text = String::from_utf8_lossy(&seen.bytes);
                    assert!(seen.ok, "{name} {carrier} {text}");
                    assert_eq!(seen.cache.contains("; hit"), hits && turn == 1, "{name} {carrier} {}", seen.cache);
                    let shown: Vec<String> = self
                        .hidden()
                        .into_iter()
                        .filter(|part| contains(&seen.bytes, part))
                        .map(|part| String::from_utf8(part).unwrap())
                        .collect();
                    if sees_all {
                        // Either form of the note.
                        assert_eq!(shown.len(), 5, "{name} {carrier} {shown:?} {text}");
                    } else {
                        assert!(shown.is_empty(), "{name} {carrier} {shown:?} {text}");
                        assert!(contains(&seen.bytes, b"cart_id") && contains(&seen.bytes, b"***"), "{carrier} {text}");
                    }
                }
            }
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn hidden_fields_and_keys_are_on_no_carrier() {
    let world = World::start();
    let path = format!("/v2/sessions/{}", world.session);
    let id = json!({ "sessionId": world.session });
    let proto = field(1, world.session.as_bytes());
    world.check("GetSession", || Request::new("GET", &path), &id, &proto, true);
    let ids = json!({"queries": [{"idsQuery": {"ids": [world.session]}}]});
    let search = || Request::new("POST", "/v2/sessions/search").json(&ids.to_string());
    world.check("ListSessions", search, &ids, &field(2, &field(1, &proto)), false);
    let by_device = json!({"queries": [{"userAgentQuery": {"fingerprintId": "f1"}}]});
    let search = Request::new("POST", "/v2/sessions/search").json(&by_device.to_string());
    // By a field that is shown, and by one that is not there.
    for (carrier, seen) in
        world.calls(&world.token("support"), "ListSessions", search, &by_device, &field(2, &field(5, &field(1, b"f1"))))
    {
        assert!(seen.ok, "{carrier}");
    }
    let unknown = json!({"queries": [{"ipQuery": {"ip": ADDRESS}}]});
    let search = Request::new("POST", "/v2/sessions/search").json(&unknown.to_string());
    for (carrier, seen) in
        world.calls(&world.token("support"), "ListSessions", search, &unknown, &field(2, &field(9, &field(1, b"x"))))
    {
        let text = String::from_utf8_lossy(&seen.bytes);
        assert!(!seen.ok, "{carrier} {text}");
    }
    let lifetime = json!({"sessionId": world.session, "lifetime": "600s"});
    let set = || Request::new("PATCH", &path).json(r#"{"lifetime":"600s"}"#);
    let message = [proto, field(6, &[8, 60])].concat();
    for (token, sees) in [(world.token("support"), false), (world.token("admin"), true)] {
        for (carrier, seen) in world.calls(&token, "SetSession", set(), &lifetime, &message) {
            assert!(seen.ok, "{carrier}");
            if carrier.ends_with("json") || carrier == "rest" {
                assert_eq!(contains(&seen.bytes, b"\"sequence\""), sees, "{carrier}: the write tells the sequence too");
            }
        }
    }
}

/// The grants of two clients: `hidden` is what the first does not see.
fn grants(hidden: &str) -> String {
    format!(
        "grants:\n  - {{ name: support, callers: {{ client_id: support }}, operations: [\"*\"], {hidden} }}\n  \
         - {{ name: admin, operations: [\"*\"] }}\n"
    )
}

fn read(gateway: &Gateway, tenant: &Tenant, client: &str) -> Response {
    let token = tenant.sign(json!({ "azp": client }));
    Request::new("GET", &tenant.session_path()).bearer(&token).send(&gateway.url())
}

fn is_hit(response: &Response) -> bool {
    response.header("cache-status").is_some_and(|status| status.contains("; hit"))
}

#[test]
fn tightened_mask_applies_to_what_is_already_cached() {
    let tenant = Tenant::start();
    let yaml = |hidden: &str| {
        format!(
            "reload: {{ watch: false }}\n{}",
            tenant.upstream(&format!("cache: {{ ttl: 60s }}\n{}", grants(hidden)))
        )
    };
    let gateway = Gateway::start(&yaml("masked: [device.last_ip]"));
    gateway.ready();
    assert!(read(&gateway, &tenant, "admin").text().contains("203.0.113.41"));
    let loose = read(&gateway, &tenant, "support");
    assert!(is_hit(&loose) && loose.json()["device"]["last_ip"] == "***", "{}", loose.text());
    let before = gateway.log().len();
    gateway.rewrite(&yaml("dropped: [device, updated_at]"));
    gateway.signal("HUP");
    wait_for("the configuration", || {
        gateway.log().iter().skip(before).any(|line| line.contains("configuration applied")).then_some(())
    });
    for _ in 0..2 {
        let tight = read(&gateway, &tenant, "support");
        assert!(is_hit(&tight), "the entry is still there");
        let session = tight.json();
        assert!(session.get("device").is_none() && session.get("updated_at").is_none(), "{session}");
        assert!(read(&gateway, &tenant, "admin").text().contains("203.0.113.41"));
    }
    let user = Request::new("GET", &format!("/api/v2/users/{}/sessions", tenant.user_id().replace('|', "%7C")));
    let token = tenant.sign(json!({ "azp": "support" }));
    let list = user.bearer(&token).send(&gateway.url());
    assert_eq!(list.status, 200, "{}", list.text());
    assert!(!list.text().contains("203.0.113") && !list.text().contains("updated_at"), "{}", list.text());
}

/// Two gateways of one fleet while its configuration changes: they share the entry, and nothing of what they show.
#[test]
fn gateways_with_different_masks_share_an_entry() {
    if !redis_installed() {
        return skipped("masks of a fleet");
    }
    let (server, tenant) = (RedisServer::start(), Tenant::start());
    let start = |hidden: &str| {
        let redis = format!(
            "{{ url: \"{}\", settle: 0s, timeouts: {STORE_TIMEOUTS}, seal_keys: [{{ env: SEAL }}] }}",
            server.url()
        );
        let upstream = tenant.upstream(&format!("cache: {{ ttl: 60s }}\n{}", grants(hidden)));
        let yaml = format!("hash_key: {{ env: HASH }}\nstore: {{ redis: {redis} }}\n{upstream}");
        let gateway = Gateway::start_with(&yaml, &[("HASH", HASH_KEY), ("SEAL", SEAL_KEY)]);
        gateway.ready();
        gateway
    };
    let (loose, tight) = (start("masked: [user_id]"), start("dropped: [user_id, device.last_ip]"));
    let hit = |gateway: &Gateway, client: &str| {
        wait_for("a hit", || Some(read(gateway, &tenant, client)).filter(is_hit)).json()
    };
    for _ in 0..2 {
        let [all, masked, gone] =
            [(&loose, "admin"), (&loose, "support"), (&tight, "support")].map(|(at, who)| hit(at, who));
        assert_eq!(all["user_id"], tenant.user_id());
        assert_eq!((&masked["user_id"], &masked["device"]), (&json!("***"), &all["device"]));
        assert!(gone.get("user_id").is_none() && gone["device"].get("last_ip").is_none(), "{gone}");
        assert_eq!(hit(&tight, "admin"), all);
    }
    assert_eq!(tenant.calls(), 1, "one entry for all of them");
}
