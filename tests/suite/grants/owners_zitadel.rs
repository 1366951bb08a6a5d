//! Several owners of one session's metadata, at ZITADEL: both versions, on every carrier.

use super::zitadel_table::calls::{Carrier, Client};
use crate::harness::{Gateway, Instance, Request, wait_for};
use serde_json::json;
use std::collections::BTreeMap;

const GRANTS: &str = "    grants:
      - { name: shop, callers: { client_id: shop }, operations: [\"*\"], keys: { own: [\"cart_*\"], see: none } }
      - { name: crm, callers: { client_id: crm }, operations: [update_session], keys: { own: [\"team_*\"] } }
";

struct World {
    zitadel: Instance,
    gateway: Gateway,
}

impl World {
    fn start() -> World {
        let zitadel = Instance::start();
        let gateway = zitadel.gateway(GRANTS);
        World { zitadel, gateway }
    }

    fn token(&self, client: &str) -> String {
        self.zitadel.instance().sign(json!({ "client_id": client }))
    }

    fn stored(&self, id: &str) -> Vec<(String, Vec<u8>)> {
        self.zitadel.instance().metadata(id).unwrap().into_iter().collect()
    }

    /// Writes beside the gateway.
    fn store(&self, id: &str, metadata: &BTreeMap<&str, &str>) {
        let body = json!({ "metadata": metadata }).to_string();
        let request = Request::new("PATCH", &format!("/v2/sessions/{id}")).json(&body).bearer(&self.token("outside"));
        assert_eq!(request.send(&self.zitadel.url()).status, 200);
    }
}

fn entries(all: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    all.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
}

#[test]
fn owners_write_in_turn_on_every_carrier() {
    let world = World::start();
    for version in ["v2", "v2beta"] {
        let client = Client::of_version(world.gateway.address(), version);
        for carrier in Carrier::ALL {
            let id = world.zitadel.instance().create_session().id;
            let send = |caller: &str, rest: &str| {
                client.send(carrier, &format!("set {id} {rest}"), &world.token(caller)).result
            };
            let what = format!("{version} {carrier:?}");
            // Bytes that are no text, and a key that nobody owns.
            world.store(&id, &[("bin", "_wD-"), ("crm", "AA==")].into());
            let others = [("bin", &[0xff, 0, 0xfe][..]), ("crm", &[0][..])];
            let with = |own: &[(&'static str, &'static [u8])]| {
                let mut all = entries(&[&others[..], own].concat());
                all.sort();
                all
            };
            assert_eq!(send("shop", "cart_a=1"), "ok", "{what}");
            assert_eq!(world.stored(&id), with(&[("cart_a", b"1")]), "{what}");
            assert_eq!(send("crm", "team_b=x"), "ok", "{what}");
            assert_eq!(send("shop", "cart_b=2"), "ok", "{what}");
            assert_eq!(world.stored(&id), with(&[("cart_b", b"2"), ("team_b", b"x")]), "{what}: its keys are replaced");
            assert_eq!(send("shop", "team_b=y"), "denied", "{what}");
            assert_eq!(send("shop", "cart_x="), "ok", "{what}: what is not there is cleared");
            assert_eq!(world.stored(&id), with(&[("cart_b", b"2"), ("team_b", b"x")]), "{what}");
            assert_eq!(send("shop", "cart_b="), "ok", "{what}");
            assert_eq!(world.stored(&id), with(&[("team_b", b"x")]), "{what}");
        }
    }
    let merged = "sessiongate_merged_writes_total{upstream=\"idp\"} 50";
    wait_for("the last write to be counted", || world.gateway.metrics().contains(merged).then_some(()));
}

#[test]
fn the_last_key_cannot_be_removed_on_any_carrier() {
    let world = World::start();
    for version in ["v2", "v2beta"] {
        let client = Client::of_version(world.gateway.address(), version);
        for carrier in Carrier::ALL {
            let id = world.zitadel.instance().create_session().id;
            let send = |rest: &str| client.send(carrier, &format!("set {id} {rest}"), &world.token("shop"));
            assert_eq!(send("cart_a=1").result, "ok");
            let found = send("cart_a=");
            let status = if matches!(carrier, Carrier::Grpc | Carrier::GrpcWeb) { "3" } else { "400" };
            assert_eq!(found.result, status, "{version} {carrier:?}");
            let shown = found.shown().replace("%20", " ");
            assert!(shown.contains("the provider cannot remove the last key"), "{shown}");
            assert_eq!(world.stored(&id), entries(&[("cart_a", b"1")]));
            assert_eq!(send("").result, "ok", "{version} {carrier:?}: a write without metadata");
        }
    }
}
