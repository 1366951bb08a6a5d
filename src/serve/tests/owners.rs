//! Writes of callers whose grant owns keys: what the provider is sent, and when it is sent nothing.

use super::grants::{World, grant};
use crate::grant::{Grant, KeyGrant, Masks, OperationSet, SessionScope};
use crate::model::{Operation, Rejection};
use crate::policy::{FieldRule, KeyCase, KeyPattern, KeyPatterns, Mode, Normalize, Policy};
use crate::telemetry::RightResult;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const READ: &str = "GET /api/v2/sessions/s";
const WRITE: &str = "PATCH /api/v2/sessions/s";

fn keys(all: &[&str]) -> KeyPatterns {
    KeyPatterns(all.iter().map(|key| KeyPattern::parse(key).unwrap()).collect())
}

fn shop() -> Grant {
    Grant { keys: KeyGrant { own: Some(keys(&["cart_*"])), ..KeyGrant::default() }, ..grant(SessionScope::Any) }
}

/// A shop beside a session with this metadata.
fn world(shop: Grant, metadata: &str) -> World {
    let session = format!(r#"{{"id":"s","session_metadata":{metadata}}}"#);
    World::new(shop).shows(READ, &session).shows(WRITE, "{}")
}

/// The violations for which a write was rejected.
fn violations<T: std::fmt::Debug>(result: Result<T, Rejection>) -> String {
    let Err(Rejection::Violations(found)) = result else { panic!("{result:?}") };
    found.iter().map(ToString::to_string).collect::<Vec<String>>().join("; ")
}

async fn patch(world: &World, metadata: &str) -> Result<String, Rejection> {
    let body = format!(r#"{{"session_metadata":{metadata}}}"#);
    let sent = world.send("a PATCH /api/v2/sessions/s", &body).await;
    sent.map(|_| world.last_body())
}

#[tokio::test]
async fn the_other_keys_are_sent_too() {
    let others = r#""t\u0065am":1.0,"crm":{"x" : 1e2}"#;
    for (metadata, expected) in [
        (r#"{"cart_a":"1"}"#, format!(r#"{{"session_metadata":{{"cart_a":"1",{others}}}}}"#)),
        ("{}", format!(r#"{{"session_metadata":{{{others}}}}}"#)),
        ("null", format!(r#"{{"session_metadata":{{{others}}}}}"#)),
    ] {
        let world = world(shop(), &format!(r#"{{"cart_b":"2",{others}}}"#));
        assert_eq!(patch(&world, metadata).await.unwrap(), expected);
        assert_eq!(world.sent(), [READ, WRITE]);
    }
    let world = world(shop(), "{}");
    assert_eq!(patch(&world, " null ").await.unwrap(), r#"{"session_metadata": null }"#, "its own clear");
    let absent = world.send("a PATCH /api/v2/sessions/s", r#"{"other":1}"#).await;
    assert!(absent.is_ok() && world.sent()[2..] == [WRITE], "no read");
}

/// A session at Auth0 or ZITADEL with one key of another owner, and its version.
fn versioned(zitadel: bool, team: u8, version: u8) -> String {
    if zitadel {
        let team = format!(r#"{{"team":"{}"}}"#, STANDARD.encode(team.to_string()));
        return format!(r#"{{"session":{{"id":"s","sequence":"{version}","metadata":{team}}}}}"#);
    }
    let (team, at) = (format!(r#"{{"team":"{team}"}}"#), format!("2030-01-01T00:00:0{version}.5Z"));
    format!(r#"{{"id":"s","updated_at":"{at}","session_metadata":{team}}}"#)
}

/// Some replica of the provider lags behind what another one has acknowledged: what it shows would undo that.
#[tokio::test(start_paused = true)]
async fn nothing_is_merged_with_what_is_older_than_the_last_acknowledged_write() {
    for zitadel in [false, true] {
        let (host, path, body) = match zitadel {
            false => ("a", "/api/v2/sessions/s", r#"{"session_metadata":{"cart_a":"1"}}"#),
            true => ("z", "/v2/sessions/s", r#"{"metadata":{"cart_a":"MQ=="}}"#),
        };
        let (read, write) = (format!("GET {path}"), format!("PATCH {path}"));
        let written = |version: u8| match zitadel {
            false => format!(r#"{{"id":"s","updated_at":"2030-01-01T00:00:0{version}.5Z"}}"#),
            true => format!(r#"{{"details":{{"sequence":"{version}"}}}}"#),
        };
        let world = World::new(shop()).shows(&read, &versioned(zitadel, 1, 3)).shows(&write, &written(5));
        let request = format!("{host} PATCH {path}");
        let team = |number: u8| if zitadel { STANDARD.encode(number.to_string()) } else { format!(r#""{number}""#) };
        world.send(&request, body).await.unwrap();
        assert!(world.last_body().contains(&team(1)));
        // Read once more, and again.
        world.then_shows(&read, &versioned(zitadel, 1, 4));
        world.then_shows(&read, &versioned(zitadel, 2, 5));
        world.sent();
        world.send(&request, body).await.unwrap();
        assert!(world.last_body().contains(&team(2)), "{}", world.last_body());
        assert_eq!(world.sent(), [read.as_str(), &read, &read, &write]);
        // A higher one is that of a writer outside.
        let world = world.shows(&read, &versioned(zitadel, 3, 9));
        world.send(&request, body).await.unwrap();
        assert!(world.last_body().contains(&team(3)));
        // The provider does not catch up.
        let world = world.shows(&read, &versioned(zitadel, 1, 4));
        world.sent();
        assert_eq!(world.send(&request, body).await.unwrap_err(), Rejection::OutdatedState);
        assert_eq!(world.sent(), [read.as_str(); 5]);
        // What shows no version tells nothing.
        let shown = versioned(zitadel, 4, 4).replace(r#""updated_at":"2030-01-01T00:00:04.5Z","#, "");
        let world = world.shows(&read, &shown.replace(r#""sequence":"4","#, ""));
        world.send(&request, body).await.unwrap();
        assert!(world.last_body().contains(&team(4)));
        // Nor does what was before the session was deleted.
        let world = world.responds(&format!("DELETE {path}"), 200, "{}");
        world.send(&format!("{host} DELETE {path}"), "").await.unwrap();
        tokio::task::yield_now().await;
        let world = world.shows(&read, &versioned(zitadel, 5, 1));
        world.send(&request, body).await.unwrap();
    }
}

#[tokio::test]
async fn the_metadata_of_refresh_tokens_is_merged() {
    let (read, write) = ("GET /api/v2/refresh-tokens/t", "PATCH /api/v2/refresh-tokens/t");
    let token = r#"{"id":"t","refresh_token_metadata":{"team":"1","cart_b":"2"},"session_metadata":{"x":"y"}}"#;
    let world = World::new(shop()).shows(read, token).shows(write, "{}");
    world.send("a PATCH /api/v2/refresh-tokens/t", r#"{"refresh_token_metadata":{"cart_a":"1"}}"#).await.unwrap();
    assert_eq!(world.last_body(), r#"{"refresh_token_metadata":{"cart_a":"1","team":"1"}}"#);
    assert_eq!(world.sent(), [read, write]);
}

/// The policy evaluates the owner's keys: what others keep may be anything.
#[tokio::test]
async fn the_policy_evaluates_own_keys_in_both_modes() {
    let policy = |mode| Policy {
        mode,
        allowed: Some(keys(&["cart_a", "cart_p"])),
        required: keys(&["cart_a", "team"]).0,
        protected: keys(&["cart_p", "team"]),
        ..Policy::default()
    };
    let with = |mode| Grant { policy: Some(policy(mode)), ..shop() };
    let others = r#"{"team":"1","x":[0.0]}"#;
    let merged = r#"{"session_metadata":{"cart_a":"1","team":"1","x":[0.0]}}"#;
    for mode in [Mode::Enforce, Mode::Audit] {
        assert_eq!(patch(&world(with(mode), others), r#"{"cart_a":"1"}"#).await.unwrap(), merged);
    }
    for (metadata, current) in [
        (r#"{"cart_b":"1","cart_a":"1"}"#, others),
        ("{}", others),
        (r#"{"cart_a":"1"}"#, r#"{"cart_p":"1","team":"1"}"#),
        (r#"{"cart_a":"1","cart_p":"2"}"#, r#"{"cart_p":"1","team":"1"}"#),
    ] {
        let enforced = world(with(Mode::Enforce), current);
        let found = violations(patch(&enforced, metadata).await);
        assert!(!found.contains("team"), "{found}");
        assert!(!enforced.sent().contains(&WRITE.to_owned()));
        let body = patch(&world(with(Mode::Audit), current), metadata).await.unwrap();
        assert!(body.contains(r#""team":"1""#) && !body.contains(r#""cart_p":"1""#), "{body}");
    }
}

#[tokio::test]
async fn keys_of_others_are_rejected_without_a_read() {
    for mode in [Mode::Enforce, Mode::Audit] {
        let shop = Grant { policy: Some(Policy { mode, ..Policy::default() }), ..shop() };
        let world = world(shop, r#"{"team":"1"}"#);
        for (metadata, what) in
            [(r#"{"team":"1"}"#, "setting `session_metadata.team`"), ("[]", "setting `session_metadata`")]
        {
            let rejected = patch(&world, metadata).await.unwrap_err();
            let is_policy = metadata == "[]" && mode == Mode::Enforce;
            assert!(is_policy || rejected == Rejection::Grant(what.into()), "{metadata}: {rejected:?}");
        }
        assert!(world.sent().is_empty());
    }
}

#[tokio::test]
async fn nothing_is_sent_beside_metadata_that_cannot_be_kept() {
    for response in [
        r#"{"id":"s","session_metadata":{"a":"1","a":"2"}}"#,
        r#"{"id":"s","session_metadata":{"__proto__":"1"}}"#,
        r#"{"id":"s","session_metadata":"x"}"#,
        r#"{"id":"s","session_metadata":{"a":"1"}"#,
        r#"{"id":"other","session_metadata":{}}"#,
        r#"{"session_metadata":{}}"#,
        "{}",
        "",
    ] {
        for mode in [Mode::Enforce, Mode::Audit] {
            let shop = Grant { policy: Some(Policy { mode, ..Policy::default() }), ..shop() };
            let world = World::new(shop).shows(READ, response).shows(WRITE, "{}");
            assert_eq!(patch(&world, r#"{"cart_a":"1"}"#).await.unwrap_err(), Rejection::UpstreamFailed, "{response}");
            assert_eq!(world.sent(), [READ]);
        }
    }
    for (request, read, body, response) in [
        ("a PATCH /api/v2/refresh-tokens/t", "GET /api/v2/refresh-tokens/t", r#"{"refresh_token_metadata":{}}"#, "{}"),
        ("z PATCH /v2/sessions/s", "GET /v2/sessions/s", r#"{"metadata":{"cart_a":"MQ=="}}"#, r#"{"session":{}}"#),
    ] {
        let world = World::new(shop()).shows(read, response);
        assert_eq!(world.send(request, body).await.unwrap_err(), Rejection::UpstreamFailed, "{request}");
        assert_eq!(world.sent(), [read]);
    }
    for status in [206, 304] {
        let world = World::new(shop()).responds(READ, status, "{}").shows(WRITE, "{}");
        assert_eq!(patch(&world, r#"{"cart_a":"1"}"#).await.unwrap_err(), Rejection::UpstreamFailed, "{status}");
    }
    let world = World::new(shop()).responds(READ, 500, "no").shows(WRITE, "{}");
    assert_eq!(world.send("a PATCH /api/v2/sessions/s", r#"{"session_metadata":{}}"#).await.unwrap().1, "no");
    assert_eq!(world.sent(), [READ]);
}

#[tokio::test]
async fn a_full_session_is_said_to_be_full() {
    let others: Vec<String> = (0..24).map(|at| format!(r#""crm{at}":"1""#)).collect();
    let full = "session_metadata: is full (count)";
    for mode in [Mode::Enforce, Mode::Audit] {
        let shop = || Grant { policy: Some(Policy { mode, ..Policy::default() }), ..shop() };
        let world = world(shop(), &format!("{{{}}}", others.join(",")));
        assert!(patch(&world, r#"{"cart_a":"1"}"#).await.is_ok());
        assert_eq!(violations(patch(&world, r#"{"cart_a":"1","cart_b":"1"}"#).await), full, "{mode:?}");
    }
}

/// The gateway reads for the owner, who may be one who reads nothing itself. But its token must allow the read.
#[tokio::test]
async fn an_owner_needs_not_see_the_others() {
    let unseen = Masks::new(Vec::new(), Vec::new(), Some(KeyPatterns::default()));
    let operations: OperationSet = [Operation::UpdateSession].into_iter().collect();
    for shop in [Grant { masks: unseen, ..shop() }, Grant { operations, ..shop() }] {
        let mut world = world(shop, r#"{"team":"1","cart_b":"1"}"#);
        let merged = r#"{"session_metadata":{"cart_a":"1","team":"1"}}"#;
        assert_eq!(patch(&world, r#"{"cart_a":"1"}"#).await.unwrap(), merged);
        world.caller.scopes.retain(|scope| scope != "read:sessions");
        assert_eq!(patch(&world, r#"{"cart_a":"1"}"#).await.unwrap_err(), Rejection::Scope("read:sessions"));
    }
}

/// A rejection of the provider may name any key of what it was sent.
#[tokio::test]
async fn an_error_of_the_provider_names_no_key_of_others() {
    let error = |text: &str| format!(r#"{{"statusCode":400,"message":"too long: {text}"}}"#);
    let whole = "session_metadata: is rejected by the provider as a whole (provider)";
    for (status, text, shown) in [
        (400, "session_metadata.team", false),
        (422, "'team' (300)", false),
        (400, "t\\u0065am", false),
        (400, "session_metadata.cart_a", true),
        (400, "teams, a-team", true),
        (429, "team", true),
    ] {
        let world = world(shop(), r#"{"team":"1"}"#).responds(WRITE, status, &error(text));
        let found = world.send("a PATCH /api/v2/sessions/s", r#"{"session_metadata":{"cart_a":"1"}}"#).await;
        match shown {
            true => assert_eq!(found.unwrap().1, error(text)),
            false => assert_eq!(violations(found), whole, "{text}"),
        }
    }
}

/// One read serves the proof that the session is the caller's, and the merge.
#[tokio::test]
async fn an_owner_of_keys_may_be_one_of_sessions() {
    let session = |user: &str| format!(r#"{{"id":"s","user_id":"{user}","session_metadata":{{"team":"1"}}}}"#);
    let own = || Grant { keys: shop().keys, ..grant(SessionScope::User) };
    let with = |user| World::new(own()).shows(READ, &session(user)).shows(WRITE, "{}");
    let world = with("u1");
    let merged = r#"{"session_metadata":{"cart_a":"1","team":"1"}}"#;
    assert_eq!(patch(&world, r#"{"cart_a":"1"}"#).await.unwrap(), merged);
    assert_eq!(world.sent(), [READ, WRITE]);
    let foreign = with("u2");
    assert_eq!(patch(&foreign, r#"{"cart_a":"1"}"#).await.unwrap_err(), Rejection::ForeignSession);
    assert_eq!(foreign.sent(), [READ]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the policy makes of the owner's keys is the same beside any others, and these stay as they are.
    #[test]
    fn own_keys_are_sent_as_they_are_evaluated(
        own in prop::collection::btree_map(" ?[cC]art_[a-c]", "[ x]{0,2}", 1..4),
        others in prop::collection::btree_map("(team_|Cart_|)[a-c]", "[ x]{0,2}", 0..4),
        (trim, drop_empty, has_default) in any::<(bool, bool, bool)>(),
        audits in any::<bool>(),
    ) {
        let normalize = Normalize { trim, drop_empty, key_case: KeyCase::Lower, ..Normalize::default() };
        let default = FieldRule { default: has_default.then(|| "d".to_owned()), ..FieldRule::default() };
        let policy = Policy {
            mode: if audits { Mode::Audit } else { Mode::Enforce },
            normalize,
            fields: vec![(KeyPattern::parse("cart_b").unwrap(), default)],
            ..Policy::default()
        };
        let shop = || Grant { policy: Some(policy.clone()), ..shop() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let write = |current: &Value| {
            let world = world(shop(), &current.to_string());
            let body = runtime.block_on(patch(&world, &json!(own).to_string()))?;
            let body: Map<String, Value> = serde_json::from_str(&body).unwrap();
            Ok::<_, Rejection>(body["session_metadata"].as_object().unwrap().clone())
        };
        let (alone, beside) = (write(&json!({})), write(&json!(others)));
        let Ok(mut expected) = alone else {
            prop_assert_eq!(alone, beside);
            return Ok(());
        };
        expected.extend(others.into_iter().map(|(key, value)| (key, Value::from(value))));
        prop_assert_eq!(beside.unwrap(), expected);
    }
}

#[tokio::test]
async fn keys_are_sent_empty_where_an_empty_value_clears() {
    let (read, write) = ("GET /v2/sessions/s", "PATCH /v2/sessions/s");
    let with = |metadata: &str| {
        let session = format!(r#"{{"session":{{"id":"s","metadata":{metadata}}}}}"#);
        World::new(shop()).shows(read, &session).shows(write, "{}")
    };
    let both = with(r#"{"team":"_w","cart_b":"Mg=="}"#);
    both.send("z PATCH /v2/sessions/s", r#"{"metadata":{"cart_a":"MQ"},"lifetime":"1s"}"#).await.unwrap();
    let expected = r#"{"metadata":{"cart_a":"MQ","team":"/w==","cart_b":""},"lifetime":"1s"}"#;
    assert_eq!(both.last_body(), expected, "the same bytes");
    for body in [r#"{"lifetime":"1s"}"#, r#"{"metadata":{}}"#, r#"{"metadata":null}"#, "{}"] {
        let world = with(r#"{"team":"MQ=="}"#);
        world.send("z PATCH /v2/sessions/s", body).await.unwrap();
        assert_eq!((world.last_body().as_str(), world.sent()), (body, vec![write.to_owned()]), "it names no key");
    }
    let last = with(r#"{"cart_a":"MQ=="}"#);
    let found = violations(last.send("z PATCH /v2/sessions/s", r#"{"metadata":{"cart_a":""}}"#).await);
    let text = "metadata: would be removed entirely: the provider cannot remove the last key (wipe)";
    assert_eq!(found, text);
    assert_eq!(last.sent(), [read]);
}

/// Each write of metadata takes the right, also of a caller who owns nothing and needs no current state.
#[tokio::test]
async fn every_write_of_metadata_takes_the_right_where_keys_are_owned() {
    let audit = Policy { mode: Mode::Audit, ..Policy::default() };
    let admin = Grant { policy: Some(audit), ..grant(SessionScope::Any) };
    let metadata = r#"{"session_metadata":{"x":"1"}}"#;
    let tokens = r#"{"refresh_token_metadata":null}"#;
    let zitadel = r#"{"metadata":{"x":"MQ=="}}"#;
    for (owned, right) in [(true, Some(RightResult::Taken)), (false, None)] {
        let grants = if owned { vec![admin.clone(), shop()] } else { vec![admin.clone()] };
        let world = World::with(grants)
            .shows(READ, r#"{"id":"s"}"#)
            .shows("GET /api/v2/refresh-tokens/t", r#"{"id":"t"}"#)
            .shows("GET /v2/sessions/s", r#"{"session":{"id":"s"}}"#)
            .shows(WRITE, "{}")
            .shows("PATCH /api/v2/refresh-tokens/t", "{}")
            .shows("PATCH /v2/sessions/s", "{}")
            .responds("POST /v2/sessions", 201, "{}")
            .responds("DELETE /api/v2/sessions/s", 202, "{}");
        for (request, body, expected) in [
            ("a PATCH /api/v2/sessions/s", metadata, right),
            ("a PATCH /api/v2/refresh-tokens/t", tokens, right),
            ("z PATCH /v2/sessions/s", zitadel, right),
            ("a PATCH /api/v2/sessions/s", r#"{"x":1}"#, None),
            ("z PATCH /v2/sessions/s", r#"{"lifetime":"1s","metadata":{}}"#, None),
            ("z POST /v2/sessions", zitadel, None),
            ("a DELETE /api/v2/sessions/s", "", None),
        ] {
            world.send(request, body).await.unwrap();
            assert_eq!(*world.right.lock(), expected, "{request} {body}");
        }
    }
}
