//! Owners of keys at several replicas with one store, and without it.

use crate::harness::replica::{Replica, STORE_TIMEOUTS};
use crate::harness::{RedisServer, Request, Response, Tenant, redis_installed, wait_for};
use serde_json::{Value, json};

/// A write takes four seconds at most: so long nobody has a right after the store may have lost some.
const OPTIONS: &str = "cache: { on_unreachable: forward }
timeouts: { connect: 500ms, first_byte: 1s }
grants:
  - { name: shop, callers: { client_id: shop }, operations: [\"*\"], keys: { own: [\"cart_*\"] } }
  - { name: crm, callers: { client_id: crm }, operations: [\"*\"], keys: { own: [\"team_*\"] } }
  - { name: ads, callers: { client_id: ads }, operations: [\"*\"], keys: { own: [\"ad_*\"] } }
  - { name: admin, callers: { client_id: admin }, operations: [\"*\"], keys: { set: [\"*\"] } }
";

/// Replicas in front of a tenant.
struct Fleet {
    server: RedisServer,
    tenant: Tenant,
    replicas: Vec<Replica>,
}

impl Fleet {
    fn start(replicas: usize) -> Option<Fleet> {
        if !redis_installed() {
            return None;
        }
        let (server, tenant) = (RedisServer::start(), Tenant::start());
        let store = format!("settle: 0s, timeouts: {STORE_TIMEOUTS}, url: \"{}\"", server.url());
        let store = format!("store: {{ redis: {{ {store}, seal_keys: [{{ env: SEAL }}] }} }}\n");
        let config = format!("hash_key: {{ env: HASH }}\n{store}{}", tenant.upstream(OPTIONS));
        let replicas = (0..replicas).map(|_| Replica::start(&config, "")).collect();
        let fleet = Fleet { server, tenant, replicas };
        fleet.wait_for_rights();
        Some(fleet)
    }

    /// Waits until each replica gives rights.
    fn wait_for_rights(&self) {
        for replica in 0..self.replicas.len() {
            wait_for("a write", || {
                let found = self.patch(replica, "shop", json!({ "cart_a": "0" }));
                assert!(matches!(found.status, 200 | 503), "{}", found.text());
                (found.status == 200).then_some(())
            });
        }
    }

    fn send(&self, replica: usize, caller: &str, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = Request::new(method, path).bearer(&self.tenant.sign(json!({ "azp": caller })));
        let request = match body {
            Some(body) => request.json(&body.to_string()),
            None => request,
        };
        request.send(&self.replicas[replica].gateway.url())
    }

    fn patch(&self, replica: usize, caller: &str, metadata: Value) -> Response {
        let body = json!({ "session_metadata": metadata });
        self.send(replica, caller, "PATCH", &self.tenant.session_path(), Some(body))
    }

    fn stored(&self) -> Value {
        let path = self.tenant.session_path();
        let found = Request::new("GET", &path).bearer(&self.tenant.token()).send(&self.tenant.url());
        found.json()["session_metadata"].clone()
    }
}

/// Three owners change over from replica to replica. Whatever the order, the last acknowledged keys of each are there.
#[test]
fn owners_keep_their_keys_whichever_replica_they_write_to() {
    let Some(fleet) = Fleet::start(3) else { return };
    std::thread::scope(|scope| {
        for (at, (caller, key)) in [("shop", "cart_a"), ("crm", "team_a"), ("ads", "ad_a")].into_iter().enumerate() {
            let fleet = &fleet;
            scope.spawn(move || {
                for round in 1..=30 {
                    let metadata = json!({ key: round.to_string() });
                    wait_for("a write", || {
                        let found = fleet.patch((at + round) % 3, caller, metadata.clone());
                        assert!(matches!(found.status, 200 | 429), "{caller} {round}: {}", found.text());
                        (found.status == 200).then_some(())
                    });
                }
            });
        }
    });
    assert_eq!(fleet.stored(), json!({ "channel": "web", "cart_a": "30", "team_a": "30", "ad_a": "30" }));
}

/// Without the store nobody knows who else writes, so nothing is written, whatever `on_unreachable` says. What changes no
/// metadata goes on.
#[test]
fn nobody_changes_metadata_without_the_store() {
    let Some(mut fleet) = Fleet::start(1) else { return };
    fleet.server.kill();
    wait_for("the loss of the store", || {
        (fleet.replicas[0].metric("sessiongate_store_connections") == 0).then_some(())
    });
    let calls = fleet.tenant.calls();
    for (caller, metadata) in [("shop", json!({ "cart_a": "2" })), ("shop", json!({})), ("admin", json!({ "x": "1" }))]
    {
        let found = fleet.patch(0, caller, metadata);
        assert_eq!((found.status, found.header("Retry-After")), (503, Some("1")), "{caller}: {}", found.text());
    }
    assert_eq!(fleet.tenant.calls(), calls, "nothing is sent");
    let path = fleet.tenant.session_path();
    assert_eq!(fleet.send(0, "shop", "GET", &path, None).status, 200);
    fleet.server.restart();
    fleet.replicas[0].wait_connected();
    fleet.wait_for_rights();
    assert_eq!(fleet.stored(), json!({ "channel": "web", "cart_a": "0" }));
    fleet.server.kill();
    assert_eq!(fleet.send(0, "shop", "DELETE", &path, None).status, 202, "it waits for nobody");
}
