//! Auth0: the table of callers and operations. Each cell is the status of the response. The caller's token is of the
//! user `auth0|a` and of the session `a1`; sessions and refresh tokens that begin with `b` are another user's, and
//! those that begin with `none` do not exist.

use super::world::World;
use crate::harness::Response;
use serde_json::json;
use std::fmt::Write;

/// The client IDs of the callers, which are also the names of their grants; the last has none.
const CALLERS: [&str; 7] = ["all", "reader", "own", "user", "masked", "keys", "none"];

const GRANTS: &str = "
    grants:
      - { name: all, callers: { client_id: all }, operations: [\"*\", pass_through, invalidating] }
      - { name: reader, callers: { client_id: reader }, operations: [read_session] }
      - { name: own, callers: { client_id: own }, operations: [\"*\"], sessions: own }
      - { name: user, callers: { client_id: user }, operations: [\"*\"], sessions: user }
      - name: masked
        callers: { client_id: masked }
        operations: [\"*\"]
        masked: [device.last_ip]
        dropped: [device.initial_ip]
        keys: { see: [team], set: [\"*\"], clear: [\"*\"] }
      - { name: keys, callers: { client_id: keys }, operations: [\"*\"], keys: { set: [team], clear: [\"*\"] } }
";

/// A request and the statuses of its responses, in the order of [`CALLERS`].
const TABLE: &str = r#"
GET /sessions/a1                                            200 200 200 200 200 200 403
GET /sessions/a2                                            200 200 404 200 200 200 403
GET /sessions/b1                                            200 200 404 404 200 200 403
GET /sessions/none                                          404 404 404 404 404 404 403
PATCH /sessions/a1 {"session_metadata":{"team":"x"}}        200 403 200 200 200 200 403
PATCH /sessions/a2 {"session_metadata":{"team":"x"}}        200 403 404 200 200 200 403
PATCH /sessions/b1 {"session_metadata":{"team":"x"}}        200 403 404 404 200 200 403
PATCH /sessions/none {"session_metadata":{"team":"x"}}      404 403 404 404 404 404 403
PATCH /sessions/a1 {"session_metadata":{"cart":"x"}}        200 403 200 200 200 403 403
DELETE /sessions/a1                                         202 403 202 202 202 202 403
DELETE /sessions/b1                                         202 403 404 404 202 202 403
POST /sessions/a1/revoke                                    202 403 202 202 202 202 403
POST /sessions/b1/revoke                                    202 403 404 404 202 202 403
GET /users/auth0%7Ca/sessions                               200 403 403 200 200 200 403
GET /users/auth0%7Cb/sessions                               200 403 403 403 200 200 403
DELETE /users/auth0%7Ca/sessions                            202 403 403 202 202 202 403
DELETE /users/auth0%7Cb/sessions                            202 403 403 403 202 202 403
POST /users/auth0%7Ca/revoke-access {"session_id":"a1"}     202 403 202 202 202 202 403
POST /users/auth0%7Ca/revoke-access {}                      202 403 403 202 202 202 403
POST /users/auth0%7Cb/revoke-access {}                      202 403 403 403 202 202 403
GET /refresh-tokens/a1                                      200 403 200 200 200 200 403
GET /refresh-tokens/b1                                      200 403 404 404 200 200 403
GET /refresh-tokens/none                                    404 403 404 404 404 404 403
PATCH /refresh-tokens/a1 {"refresh_token_metadata":{"team":"x"}}  200 403 200 200 200 200 403
PATCH /refresh-tokens/b1 {"refresh_token_metadata":{"team":"x"}}  200 403 404 404 200 200 403
PATCH /refresh-tokens/a1 {"refresh_token_metadata":{"cart":"x"}}  200 403 200 200 200 403 403
DELETE /refresh-tokens/a1                                   202 403 202 202 202 202 403
DELETE /refresh-tokens/b1                                   202 403 404 404 202 202 403
GET /refresh-tokens?user_id=auth0%7Ca                       200 403 403 200 200 200 403
GET /refresh-tokens?user_id=auth0%7Cb                       200 403 403 403 200 200 403
GET /users/auth0%7Ca/refresh-tokens                         200 403 403 200 200 200 403
GET /users/auth0%7Cb/refresh-tokens                         200 403 403 403 200 200 403
DELETE /users/auth0%7Ca/refresh-tokens                      202 403 403 202 202 202 403
DELETE /users/auth0%7Cb/refresh-tokens                      202 403 403 403 202 202 403
POST /refresh-tokens/revoke {"user_id":"auth0|a"}           202 403 403 202 202 202 403
POST /refresh-tokens/revoke {"user_id":"auth0|b"}           202 403 403 403 202 202 403
POST /refresh-tokens/revoke {"ids":["a1"]}                  202 403 202 202 202 202 403
GET /clients                                                200 403 403 403 403 403 403
PATCH /users/auth0%7Ca {"blocked":true}                     200 403 403 403 403 403 403
"#;

/// What a masked caller does not see.
const HIDDEN: [&str; 4] = ["203.0.113.1", "203.0.113.2", "cart", "initial_ip"];

/// The rows: requests with the expected statuses.
fn rows() -> Vec<(&'static str, Vec<u16>)> {
    let row = |line: &'static str| {
        let statuses = line.len() - CALLERS.len() * 4 + 1;
        let (request, statuses) = line.split_at(statuses);
        (request.trim(), statuses.split(' ').map(|one| one.parse().unwrap()).collect())
    };
    TABLE.lines().filter(|line| !line.is_empty()).map(row).collect()
}

#[test]
fn each_caller_may_do_what_its_grant_says() {
    let world = World::start(GRANTS);
    let mut faults = String::new();
    for (request, expected) in rows() {
        for (caller, expected) in CALLERS.into_iter().zip(expected) {
            // Twice: reads are hits then.
            for turn in 1..=2 {
                let found = world.send(caller, request);
                let text = found.text();
                if found.status != expected {
                    let _ =
                        writeln!(faults, "{caller} {request} ({turn}): {} instead of {expected}: {text}", found.status);
                }
                let leaks: Vec<&str> = HIDDEN.into_iter().filter(|hidden| text.contains(hidden)).collect();
                if caller == "masked" && !leaks.is_empty() {
                    let _ = writeln!(faults, "{caller} {request} ({turn}) shows {leaks:?}: {text}");
                }
                if caller == "user"
                    && (text.contains("auth0|b") || text.contains("\"total\":3") || text.contains("\"b1\""))
                {
                    let _ = writeln!(faults, "{caller} {request} ({turn}) shows another user: {text}");
                }
                let is_rejected = matches!(found.status, 403 | 404);
                if is_rejected && caller != "all" && HIDDEN[..2].iter().any(|hidden| text.contains(hidden)) {
                    let _ = writeln!(faults, "{caller} {request} ({turn}) is rejected with {text}");
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// A foreign session and one that does not exist have the same response, on first and later reads.
#[test]
fn foreign_and_missing_sessions_look_the_same() {
    let world = World::start(GRANTS);
    for caller in ["own", "user"] {
        for (foreign, missing) in [
            ("GET /sessions/b1", "GET /sessions/none"),
            (
                "PATCH /sessions/b1 {\"session_metadata\":{\"team\":\"x\"}}",
                "PATCH /sessions/none {\"session_metadata\":{\"team\":\"x\"}}",
            ),
            ("DELETE /sessions/b1", "DELETE /sessions/none"),
            ("POST /sessions/b1/revoke", "POST /sessions/none/revoke"),
            ("GET /refresh-tokens/b1", "GET /refresh-tokens/none"),
            ("DELETE /refresh-tokens/b1", "DELETE /refresh-tokens/none"),
        ] {
            for _ in 0..3 {
                let [one, other] = [foreign, missing].map(|request| world.send(caller, request));
                let headers = |response: &Response| {
                    let mut names: Vec<String> =
                        response.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
                    names.sort();
                    names
                };
                assert_eq!((one.status, one.text()), (404, other.text()), "{caller} {foreign}");
                assert_eq!((other.status, headers(&one)), (404, headers(&other)), "{caller} {foreign}");
            }
        }
    }
}

/// The gateway's own read before a write, and writes of callers who do not see all, have no conditions of the client: the
/// response would tell whether a guess is right.
#[test]
fn conditions_do_not_reach_the_provider() {
    let world = World::start(GRANTS);
    for header in ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"] {
        for (caller, status) in [("keys", 200), ("user", 200), ("masked", 400)] {
            let claims = json!({ "azp": caller, "sub": "auth0|a", "sid": "a1" });
            let before = world.provider.received().len();
            let write = "PATCH /sessions/a1 {\"session_metadata\":{\"team\":\"x\"}}";
            let found = world.send_with(claims, write, &[(header, "bytes=0-")]);
            assert_eq!(found.status, status, "{caller} {header}: {}", found.text());
            let reads = world.provider.received().split_off(before);
            let mut reads = reads.iter().filter(|request| request.method == "GET");
            assert!(reads.all(|request| request.header(header).is_none()), "{caller} {header}");
        }
    }
}
