//! What callers see whose grant hides something.

use super::ServedFrom;
use super::grants::{World, grant};
use crate::dialect::{AUTH0, Dialect, OKTA, ZITADEL};
use crate::grant::{CallerMatcher, Grant, Masks, SessionScope};
use crate::model::Rejection;
use crate::policy::{KeyPattern, KeyPatterns};

fn masks(dialect: &Dialect, masked: &[&str], dropped: &[&str], keys: Option<&str>) -> Option<Masks> {
    let paths = |texts: &[&str]| texts.iter().map(|text| dialect.field_path(text)).collect();
    let keys = keys.map(|key| KeyPatterns(vec![KeyPattern::parse(key).unwrap()]));
    Masks::new(paths(masked), paths(dropped), keys)
}

/// A grant of one client, or of every caller.
fn hiding(client: Option<&str>, masks: Option<Masks>) -> Grant {
    let client_id = client.map(|name| KeyPatterns(vec![KeyPattern::parse(name).unwrap()]));
    let callers = CallerMatcher { client_id, ..CallerMatcher::default() };
    Grant { callers, masks, ..grant(SessionScope::Any) }
}

const SESSION: &str =
    r#"{"id":"s","user_id":"u1","device":{"last_ip":"203.0.113.41"},"session_metadata":{"cart_a":"1","team_a":"2"}}"#;
const WITHOUT_ADDRESS: &str = r#"{"id":"s","user_id":"u1","device":{},"session_metadata":{"cart_a":"1","team_a":"2"}}"#;
const WITHOUT_TEAM: &str = r#"{"id":"s","user_id":"u1","device":{"last_ip":"***"},"session_metadata":{"cart_a":"1"}}"#;

fn auth0_world() -> World {
    World::with([
        hiding(Some("support"), masks(&AUTH0, &[], &["device.last_ip"], None)),
        hiding(Some("shop"), masks(&AUTH0, &["device.last_ip"], &[], Some("cart_*"))),
        hiding(None, None),
    ])
}

#[tokio::test]
async fn one_cached_entry_has_a_form_for_each_grant() {
    let mut world = auth0_world().shows("GET /api/v2/sessions/s", SESSION);
    for round in 0..3 {
        for (client, shown) in [("support", WITHOUT_ADDRESS), ("admin", SESSION), ("shop", WITHOUT_TEAM)] {
            world.caller.client_id = Some(client.into());
            let (source, body) = world.send("a GET /api/v2/sessions/s", "").await.unwrap();
            assert_eq!(body, shown, "{client} {source:?}");
            assert_eq!(matches!(source, ServedFrom::Hit { .. }), (round, client) != (0, "support"), "{source:?}");
            if let ServedFrom::Hit { left, .. } = source {
                assert_eq!(left.is_some(), client == "admin", "the time that is left tells when the session ends");
            }
        }
    }
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test]
async fn lists_and_responses_of_writes_hide_the_same() {
    for (client, shown) in [("support", WITHOUT_ADDRESS), ("admin", SESSION), ("shop", WITHOUT_TEAM)] {
        let mut world = auth0_world()
            .shows("GET /api/v2/users/u1/sessions", &format!(r#"{{"sessions":[{SESSION}, {SESSION}],"next":"n"}}"#))
            .shows("GET /api/v2/refresh-tokens/t", SESSION)
            .shows("GET /api/v2/sessions/s", r#"{"session_metadata":{}}"#)
            .shows("PATCH /api/v2/sessions/s", SESSION)
            .responds("DELETE /api/v2/sessions/s", 202, "{}");
        world.caller.client_id = Some(client.into());
        let list = world.send("a GET /api/v2/users/u1/sessions", "").await.unwrap().1;
        assert_eq!(list, format!(r#"{{"sessions":[{shown}, {shown}],"next":"n"}}"#));
        assert_eq!(world.send("a GET /api/v2/refresh-tokens/t", "").await.unwrap().1, shown);
        let write = world.send("a PATCH /api/v2/sessions/s", r#"{"session_metadata":{"cart_a":"1"}}"#).await.unwrap();
        assert_eq!(write.1, shown);
        assert_eq!(world.send("a DELETE /api/v2/sessions/s", "").await.unwrap().1, "{}");
    }
}

#[tokio::test]
async fn what_cannot_be_masked_is_not_shown() {
    let only = || hiding(None, masks(&AUTH0, &[], &["device"], None));
    for body in ["", "<html>", "[]", r#"{"session":{"device":{}}}"#, r#"{"id":"s","device":{},"device":{"x":1}}"#] {
        let world = World::new(only())
            .shows("GET /api/v2/sessions/s", body)
            .shows("GET /api/v2/users/u1/sessions", body)
            .shows("PATCH /api/v2/sessions/s", body);
        let rejected = world.send("a GET /api/v2/sessions/s", "").await.unwrap_err();
        assert_eq!(rejected, Rejection::UpstreamFailed, "{body}");
        if body != "[]" {
            let rejected = world.send("a GET /api/v2/users/u1/sessions", "").await.unwrap_err();
            assert_eq!(rejected, Rejection::UpstreamFailed, "{body}");
        }
        // That it was done must reach the caller.
        let written = world.send("a PATCH /api/v2/sessions/s", r#"{"session_metadata":{"a":"1"}}"#).await.unwrap().1;
        assert_eq!(written, if body.is_empty() { "" } else { "{}" }, "{body}");
    }
    let error = r#"{"statusCode":429,"error":"Too Many Requests"}"#;
    for (body, shown) in [
        (error, error),
        ("<html>203.0.113.41</html>", ""),
        (SESSION, "{}"),
        (r#"{"message":{"id":"s"},"current":{"id":"s"},"error":"e"}"#, r#"{"error":"e"}"#),
    ] {
        let world = World::new(only()).responds("GET /api/v2/sessions/s", 429, body);
        assert_eq!(world.send("a GET /api/v2/sessions/s", "").await.unwrap().1, shown);
    }
}

#[tokio::test]
async fn a_list_by_what_is_hidden_is_rejected() {
    let search = "z POST /v2/sessions/search";
    let zitadel = |masked: &[&str], keys: Option<&str>| hiding(None, masks(&ZITADEL, masked, &[], keys));
    let queries = |query: &str| format!(r#"{{"queries":[{{"idsQuery":{{"ids":["x"]}}}},{{{query}}}]}}"#);
    for (grant, request, body, text) in [
        (
            zitadel(&["factors"], None),
            search,
            queries(r#""userIdQuery":{"id":"u"}"#),
            Some("filtering by `userIdQuery`"),
        ),
        (
            zitadel(&["factors.user.id"], None),
            search,
            queries(r#""user_id_query":{}"#),
            Some("filtering by `user_id_query`"),
        ),
        (zitadel(&["factors.user.login_name"], None), search, queries(r#""userIdQuery":{"id":"u"}"#), None),
        (zitadel(&["id"], None), search, queries(""), Some("filtering by `idsQuery`")),
        (
            zitadel(&["user_agent"], None),
            search,
            queries(r#""userAgentQuery":{}"#),
            Some("filtering by `userAgentQuery`"),
        ),
        (zitadel(&["user_agent.ip"], None), search, queries(r#""userAgentQuery":{"fingerprintId":"f"}"#), None),
        (
            zitadel(&["expiration_date"], None),
            search,
            queries(r#""expirationDateQuery":{}"#),
            Some("filtering by `expirationDateQuery`"),
        ),
        (
            zitadel(&["creation_date"], None),
            search,
            queries(r#""creationDateQuery":{}"#),
            Some("filtering by `creationDateQuery`"),
        ),
        (
            zitadel(&["creation_date"], None),
            search,
            r#"{"sortingColumn":1}"#.into(),
            Some("sorting by `sortingColumn`"),
        ),
        (
            zitadel(&["creation_date"], None),
            search,
            r#"{"sorting_column":0,"query":{"asc":true,"limit":5}}"#.into(),
            None,
        ),
        (zitadel(&["sequence"], None), search, r#"{"sortingColumn":"SESSION_FIELD_NAME_CREATION_DATE"}"#.into(), None),
        (zitadel(&["sequence"], None), search, r#"{"sortingColumn":2}"#.into(), Some("sorting by `sortingColumn`")),
        (zitadel(&["factors", "user_agent", "metadata"], None), search, queries(r#""creatorQuery":{"id":"c"}"#), None),
        // Unknown ones may be by anything.
        (zitadel(&["sequence"], None), search, queries(r#""ipQuery":{}"#), Some("filtering by `ipQuery`")),
        (zitadel(&[], Some("cart_*")), search, queries(r#""metadataQuery":{}"#), Some("filtering by `metadataQuery`")),
        (zitadel(&["sequence"], None), search, r#"{"filter":1}"#.into(), Some("filtering by `filter`")),
        (zitadel(&["sequence"], None), search, r#"{"query":{"sort":1}}"#.into(), Some("filtering by `sort`")),
        (hiding(None, None), search, queries(r#""ipQuery":{}"#), None),
        (
            hiding(None, masks(&AUTH0, &[], &["client_id"], None)),
            "a GET /api/v2/refresh-tokens?user_id=u1&client_id=c",
            String::new(),
            Some("filtering by `client_id`"),
        ),
        (
            hiding(None, masks(&AUTH0, &["user_id"], &[], None)),
            "a GET /api/v2/refresh-tokens?user_id=u1",
            String::new(),
            Some("filtering by `user_id`"),
        ),
        (
            hiding(None, masks(&AUTH0, &["device"], &[], None)),
            "a GET /api/v2/refresh-tokens?user_id=u1&fields=device&take=1",
            String::new(),
            None,
        ),
        (
            hiding(None, masks(&AUTH0, &[], &["user_id"], None)),
            "a GET /api/v2/users/auth0%7Cu1/sessions",
            String::new(),
            Some("filtering by the user in the path"),
        ),
        (
            hiding(None, masks(&AUTH0, &[], &["user_id"], None)),
            "a GET /api/v2/users/u1/refresh-tokens",
            String::new(),
            Some("filtering by the user in the path"),
        ),
        (hiding(None, masks(&AUTH0, &["device"], &[], None)), "a GET /api/v2/users/u1/sessions", String::new(), None),
        // The caller's own.
        (
            Grant { sessions: SessionScope::User, ..hiding(None, masks(&AUTH0, &["user_id"], &[], None)) },
            "a GET /api/v2/users/u1/sessions",
            String::new(),
            None,
        ),
        (
            Grant { sessions: SessionScope::User, ..zitadel(&["factors.user.id"], None) },
            search,
            r#"{"queries":[{"userIdQuery":{"id":"u1"}}]}"#.into(),
            None,
        ),
        (
            Grant { sessions: SessionScope::User, ..hiding(None, masks(&AUTH0, &["user_id"], &[], None)) },
            "a GET /api/v2/refresh-tokens?user_id=u1",
            String::new(),
            None,
        ),
    ] {
        let (_, path) = request.split_once(' ').unwrap();
        let world = World::new(grant).shows(path, r#"{"tokens":[],"sessions":[]}"#);
        match text {
            Some(text) => {
                assert_eq!(world.send(request, &body).await.unwrap_err(), Rejection::Grant(text.into()), "{body}");
                assert!(world.sent().is_empty());
            }
            None => assert!(world.send(request, &body).await.is_ok(), "{request} {body}"),
        }
    }
}

#[tokio::test]
async fn owners_are_compared_in_what_the_provider_shows() {
    for dialect in [&OKTA, &AUTH0] {
        let (host, path, user) = match dialect.name {
            "okta" => ("o", "/api/v1/sessions/s", "userId"),
            _ => ("a", "/api/v2/sessions/s", "user_id"),
        };
        for (owner, shown) in [("u1", Ok(r#"{"id":"s"}"#.to_owned())), ("u2", Err(Rejection::ForeignSession))] {
            let grant = Grant { sessions: SessionScope::User, ..hiding(None, masks(dialect, &[], &[user], None)) };
            let world = World::new(grant).shows(&format!("GET {path}"), &format!(r#"{{"id":"s","{user}":"{owner}"}}"#));
            for _ in 0..2 {
                let read = world.send(&format!("{host} GET {path}"), "").await;
                assert_eq!(read.map(|(_, body)| body), shown.clone());
            }
        }
    }
}
