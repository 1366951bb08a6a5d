//! Any grants: a cached session is served to those callers only whose grant allows it. What is expected comes from a model
//! that shares no code with the gateway.

use super::world::World;
use crate::harness::{Random, seed};
use serde_json::{Value, json};
use std::fmt::Write;

const CLIENTS: [&str; 4] = ["shop", "shop-eu", "crm", "job"];
const ROLES: [&str; 3] = ["support", "admin", "viewer"];
const OPERATIONS: [&str; 4] = ["read_session", "\"read_*\"", "update_session", "list_sessions"];
const SESSIONS: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// A grant of the model.
struct Grant {
    client: Option<&'static str>,
    role: Option<&'static str>,
    operations: Vec<&'static str>,
    sessions: &'static str,
    hides: bool,
}

impl Grant {
    fn any(random: &mut Random) -> Grant {
        let mut below = |bound: usize| random.below(bound as u64) as usize;
        let clients = [None, Some("shop"), Some("shop*"), Some("crm"), Some("/[a-z]+/")];
        let roles = [None, None, Some("support"), Some("*")];
        Grant {
            client: clients[below(clients.len())],
            role: roles[below(roles.len())],
            operations: (0..2).map(|_| OPERATIONS[below(OPERATIONS.len())]).collect(),
            sessions: ["any", "own", "user"][below(3)],
            hides: below(2) == 0,
        }
    }

    fn yaml(&self, name: usize) -> String {
        let mut callers = Vec::new();
        callers.extend(self.client.map(|client| format!("client_id: \"{client}\"")));
        callers.extend(self.role.map(|role| format!("roles: \"{role}\"")));
        let callers =
            if callers.is_empty() { String::new() } else { format!("callers: {{ {} }}, ", callers.join(", ")) };
        let hides = if self.hides { ", dropped: [device]" } else { "" };
        let (operations, sessions) = (self.operations.join(", "), self.sessions);
        format!("      - {{ name: g{name}, {callers}operations: [{operations}], sessions: {sessions}{hides} }}\n")
    }

    fn is_for(&self, client: &str, role: Option<&str>) -> bool {
        let client = match self.client {
            None => true,
            Some("shop*") => client.starts_with("shop"),
            Some("/[a-z]+/") => client.bytes().all(|byte| byte.is_ascii_lowercase()),
            Some(own) => own == client,
        };
        client && self.role.is_none_or(|own| role.is_some_and(|role| own == "*" || own == role))
    }

    /// The status of a read of this session by the user `auth0|a` with the session `a1`.
    fn read(&self, session: &str) -> u16 {
        let reads = self.operations.iter().any(|own| own.contains("read_"));
        let is_own = match self.sessions {
            "own" => session == "a1",
            "user" => session.starts_with('a'),
            _ => true,
        };
        match (reads, is_own) {
            (false, _) => 403,
            (true, false) => 404,
            (true, true) => 200,
        }
    }
}

#[test]
fn hits_are_only_for_callers_whose_grant_allows_them() {
    let mut random = Random::of(seed(), 0);
    let mut faults = String::new();
    for _ in 0..12 {
        let grants: Vec<Grant> = (0..4).map(|_| Grant::any(&mut random)).collect();
        let yaml: String = grants.iter().enumerate().map(|(at, grant)| grant.yaml(at)).collect();
        // The last grant is of a caller whose reads fill the cache.
        let first = "      - { name: filler, callers: { subject: filler }, operations: [read_session] }\n";
        let text = format!("\n    grants:\n{first}{yaml}");
        let world = World::start_with_claims(&text, "claims: { roles: roles }");
        for session in SESSIONS {
            let filled = world.send_as(json!({ "sub": "filler" }), &format!("GET /sessions/{session}"));
            assert_eq!(filled.status, 200, "{text}");
        }
        for client in CLIENTS {
            for role in [None, Some(ROLES[0]), Some(ROLES[1]), Some(ROLES[2])] {
                let grant = grants.iter().find(|grant| grant.is_for(client, role));
                for session in SESSIONS {
                    let roles: Value = role.into_iter().collect::<Vec<_>>().into();
                    let claims = json!({ "azp": client, "sub": "auth0|a", "sid": "a1", "roles": roles });
                    let found = world.send_as(claims, &format!("GET /sessions/{session}"));
                    let expected = grant.map_or(403, |grant| grant.read(session));
                    let shows = found.text().contains("203.0.113");
                    let may_see = expected == 200 && grant.is_some_and(|grant| !grant.hides);
                    if found.status != expected || shows != may_see {
                        let what = format!("{client} {role:?} {session}: {} {}", found.status, found.text());
                        let _ = writeln!(faults, "{what}\nexpected {expected}, with the field: {may_see}\n{text}");
                    }
                    let hit = found.header("Cache-Status").is_some_and(|status| status.contains("hit"));
                    assert_eq!(hit, found.status == 200, "{client} {role:?} {session}: {text}");
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
