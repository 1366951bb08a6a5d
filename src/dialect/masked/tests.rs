use super::super::tests::REALMS;
use super::super::{AUTH0, DIALECTS, OKTA, ZITADEL};
use super::*;
use crate::model::Operation;
use crate::policy::{KeyPattern, KeyPatterns};
use crate::wire::message::Codec;
use proptest::prelude::*;
use serde_json::{Value, json};

fn paths(dialect: &Dialect, texts: &[&str]) -> Vec<Vec<String>> {
    texts.iter().map(|text| dialect.field_path(text)).collect()
}

fn masks(dialect: &Dialect, masked: &[&str], dropped: &[&str], keys: Option<&[&str]>) -> Masks {
    let keys = keys.map(|keys| KeyPatterns(keys.iter().map(|key| KeyPattern::parse(key).unwrap()).collect()));
    Masks::new(paths(dialect, masked), paths(dialect, dropped), keys).unwrap()
}

fn route(dialect: &'static Dialect, operation: Operation, is_rpc: bool) -> &'static Route {
    let is = |route: &&Route| route.operation == operation && route.is_rpc() == is_rpc;
    dialect.routes.iter().find(is).unwrap()
}

/// What is left of a document.
fn left(dialect: &'static Dialect, operation: Operation, message: &Value, masks: &Masks) -> Option<Value> {
    let carrier = Carrier::Rest;
    let message = Bytes::from(message.to_string());
    let masked = dialect.masked(route(dialect, operation, false), carrier, &message, masks)?;
    Some(serde_json::from_slice(&masked).unwrap())
}

fn auth0_session() -> Value {
    json!({
        "id": "s1",
        "user_id": "auth0|1",
        "device": {"initial_ip": null, "last_ip": "203.0.113.41", "last_asn": "64496", "new": {"port": 80, "at": "x"}},
        "clients": [{"client_id": "c1"}, {"client_id": "c2"}],
        "expires_at": "2024-05-01T13:00:30.380Z",
        "session_metadata": {"cart_id": "7", "team_note": "secret", "odd": 1},
    })
}

#[test]
fn dropped_fields_are_gone_and_the_texts_of_masked_ones_replaced() {
    let session = auth0_session();
    let read = |masked: &[&str], dropped: &[&str]| {
        left(&AUTH0, Operation::ReadSession, &session, &masks(&AUTH0, masked, dropped, None)).unwrap()
    };
    let mut expected = session.clone();
    expected["device"] = json!({"initial_ip": null, "last_asn": "64496", "new": {"port": 80, "at": "x"}});
    assert_eq!(read(&[], &["device.last_ip"]), expected);
    expected["device"] = json!({"last_ip": "***", "last_asn": "***", "new": {"at": "***"}});
    assert_eq!(read(&["device"], &[]), expected);
    expected["device"] = json!({"last_asn": "***", "new": {"at": "***"}});
    assert_eq!(read(&["device"], &["device.last_ip"]), expected, "dropped in what is masked");
    let mut expected = session.clone();
    expected["clients"] = json!([{"client_id": "***"}, {}]);
    let numbered = json!({"id": "s1", "clients": [{"client_id": "c1"}, {"client_id": 2}], "user_id": 5});
    let shown =
        left(&AUTH0, Operation::ReadSession, &numbered, &masks(&AUTH0, &["clients.client_id", "user_id"], &[], None));
    assert_eq!(shown, Some(json!({"id": "s1", "clients": expected["clients"]})));
    assert_eq!(
        read(&[], &["session_metadata.odd"])["session_metadata"],
        json!({"cart_id": "7", "team_note": "secret"})
    );
    assert_eq!(read(&["session_metadata"], &[])["session_metadata"], json!({"cart_id": "***", "team_note": "***"}));
}

#[test]
fn keys_that_a_caller_may_not_see_are_gone() {
    let session = auth0_session();
    let read = |masked: &[&str], dropped: &[&str], session: &Value| {
        left(&AUTH0, Operation::ReadSession, session, &masks(&AUTH0, masked, dropped, Some(&["cart_*"]))).unwrap()
    };
    assert_eq!(read(&[], &[], &session)["session_metadata"], json!({"cart_id": "7"}));
    assert_eq!(read(&["session_metadata"], &[], &session)["session_metadata"], json!({"cart_id": "***"}));
    assert_eq!(read(&[], &["session_metadata"], &session).get("session_metadata"), None);
    let with = |metadata: Value| json!({"id": "s1", "session_metadata": metadata});
    assert_eq!(read(&[], &[], &with(Value::Null)), with(Value::Null));
    assert_eq!(read(&[], &[], &with(json!("text"))), json!({"id": "s1"}), "no object");
    // A list of objects is not metadata, but what it contains is hidden likewise.
    assert_eq!(read(&[], &[], &with(json!([{"team_x": "1"}, "2"]))), with(json!([{}, null])));
    let token = json!({"id": "t1", "refresh_token_metadata": {"team_x": "1", "cart_x": "2"}});
    for operation in [Operation::ReadRefreshToken, Operation::UpdateRefreshToken] {
        let masks = masks(&AUTH0, &[], &[], Some(&["cart_*"]));
        let shown = left(&AUTH0, operation, &token, &masks).unwrap();
        assert_eq!(shown["refresh_token_metadata"], json!({"cart_x": "2"}));
    }
}

#[test]
fn lists_are_masked_item_by_item_in_every_form() {
    let masks = masks(&AUTH0, &[], &["device", "user_id"], Some(&["cart_*"]));
    let session = auth0_session();
    let mut shown = session.clone();
    for name in ["device", "user_id"] {
        shown.as_object_mut().unwrap().remove(name);
    }
    shown["session_metadata"] = json!({"cart_id": "7"});
    for (operation, name) in [
        (Operation::ListSessions, "sessions"),
        (Operation::ListRefreshTokens, "tokens"),
        (Operation::ListRefreshTokens, "refresh_tokens"),
    ] {
        let list = json!({"start": 0, name: [session, session], "next": "cursor", "total": 2});
        let expected = json!({"start": 0, name: [shown, shown], "next": "cursor", "total": 2});
        assert_eq!(left(&AUTH0, operation, &list, &masks), Some(expected));
        assert_eq!(left(&AUTH0, operation, &json!([session]), &masks), Some(json!([shown])));
    }
}

#[test]
fn what_is_not_the_documented_form_is_not_shown() {
    let masks = masks(&AUTH0, &[], &["device"], None);
    let session = auth0_session();
    for (operation, message) in [
        (Operation::ReadSession, json!({"session": session})),
        (Operation::ReadSession, json!([session])),
        (Operation::ReadSession, json!({})),
        (Operation::ReadSession, json!("text")),
        (Operation::ReadRefreshToken, json!({"refresh_token": session})),
        (Operation::UpdateSession, json!({"result": session})),
        (Operation::ListSessions, session.clone()),
        (Operation::ListSessions, json!({"items": [session]})),
        (Operation::ListSessions, json!({"sessions": {"s1": session}})),
        (Operation::ListSessions, json!({"sessions": [[session]]})),
        (Operation::ListRefreshTokens, json!({})),
    ] {
        assert_eq!(left(&AUTH0, operation, &message, &masks), None, "{operation:?} {message}");
    }
    let masked = |text: &'static str| {
        AUTH0.masked(
            route(&AUTH0, Operation::ReadSession, false),
            Carrier::Rest,
            &Bytes::from_static(text.as_bytes()),
            &masks,
        )
    };
    for text in ["", "<html>", r#"{"id":"s1"}{"id":"s2"}"#, r#"{"id":"s1","device":{},"device":{}}"#, r#"{"id":"s1"#] {
        assert_eq!(masked(text), None, "{text}");
    }
    assert_eq!(masked(r#"{"id":"s1","\u0064evice":{"last_ip":"x"} }"#).unwrap(), r#"{"id":"s1" }"#, "escaped");
    assert_eq!(masked(r#"{ "Device":1,"id" : "s1","DEV_ICE":{"last_ip":"x"}}"#).unwrap(), r#"{ "id" : "s1"}"#);
    for (operation, message) in [(Operation::DeleteSession, json!({})), (Operation::UpdateSession, session.clone())] {
        assert!(left(&AUTH0, operation, &message, &masks).is_some(), "{operation:?}");
    }
}

#[test]
fn errors_keep_what_says_what_went_wrong() {
    let plain = |dialect: &Dialect, text: &'static str| dialect.plain_error(&Bytes::from_static(text.as_bytes()));
    for (dialect, error, shown) in [
        (
            &AUTH0,
            r#"{"statusCode":404,"error":"Not Found","message":"no session","errorCode":"x","current":{"id":"s"}}"#,
            r#"{"statusCode":404,"error":"Not Found","message":"no session","errorCode":"x"}"#,
        ),
        (&AUTH0, r#"{"statusCode":400,"message":["203.0.113.41"],"device":1,"error":{}}"#, r#"{"statusCode":400}"#),
        (&AUTH0, "{}", "{}"),
        (
            &ZITADEL,
            r#"{"code":5,"message":"m (QUERY-SFeaa)","details":[{"debug":{"session":{}}}],"session":{}}"#,
            r#"{"code":5,"message":"m (QUERY-SFeaa)"}"#,
        ),
        (
            &OKTA,
            r#"{"errorCode":"E1","errorSummary":"s","errorLink":"E1","errorId":"i","errorCauses":[{"login":"a"}]}"#,
            r#"{"errorCode":"E1","errorSummary":"s","errorLink":"E1","errorId":"i"}"#,
        ),
    ] {
        assert_eq!(plain(dialect, error).unwrap(), shown);
    }
    for text in ["<html>", "[]", "", "\"x\"", r#"{"message":"a","message":"b"}"#] {
        assert_eq!(plain(&AUTH0, text), None, "{text}");
    }
}

#[test]
fn okta_and_other_dialects_have_masks_too() {
    let session = json!({"id": "s1", "userId": "u", "login": "ada@example.com", "idp": {"id": "i", "type": "OKTA"}});
    let hidden = masks(&OKTA, &["login"], &["idp.id"], None);
    for operation in [Operation::ReadSession, Operation::UpdateSession] {
        let shown = left(&OKTA, operation, &session, &hidden);
        assert_eq!(shown, Some(json!({"id": "s1", "userId": "u", "login": "***", "idp": {"type": "OKTA"}})));
    }
    assert!(!REALMS.has_only_known_fields());
}

#[test]
fn documented_fields_are_known() {
    for (dialect, known, unknown) in [
        (
            &AUTH0,
            &["device", "device.last_ip", "clients.client_id", "session_metadata.a.b"][..],
            &["device.ip", "ip"][..],
        ),
        (&OKTA, &["login", "idp.type"], &["user_id", "idp.type.x"]),
        (
            &ZITADEL,
            &["factors", "factors.user.login_name", "user_agent.header", "metadata.x", "sequence", "metadata"],
            &["factors.user.loginName", "userAgent", "user_agent.ip.x", "creation_date.seconds", "session_token"],
        ),
    ] {
        for text in known {
            assert!(dialect.knows_field(&dialect.field_path(text)), "{} {text}", dialect.name);
        }
        for text in unknown.iter().chain(&["", "device.", ".id", "metadata.", "a..b"]) {
            assert!(!dialect.knows_field(&dialect.field_path(text)), "{} {text}", dialect.name);
        }
    }
    assert!(ZITADEL.has_only_known_fields() && !AUTH0.has_only_known_fields());
    assert_eq!(AUTH0.field_path("session_metadata.a.b"), ["session_metadata", "a.b"]);
    for dialect in DIALECTS {
        assert!(!dialect.known_fields().is_empty(), "{}", dialect.name);
    }
}

mod calls;
mod documents;
