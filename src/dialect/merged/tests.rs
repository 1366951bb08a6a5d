use super::*;
use crate::dialect::{AUTH0, Route, ZITADEL};
use crate::grant::{KeyGrant, MergeFault};
use crate::model::Operation;
use crate::policy::{KeyPattern, KeyPatterns};
use crate::wire::carrier::Carrier;
use crate::wire::json::{Document, Kind, Member, member};
use crate::wire::message::{Codec, Parsed};
use crate::wire::proto::put_bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn shop() -> KeyGrant {
    KeyGrant { own: Some(KeyPatterns(vec![KeyPattern::parse("cart_*").unwrap()])), ..KeyGrant::default() }
}

/// The body of a shop's write after the merge with what the provider responds to a read.
fn merged(
    dialect: &Dialect,
    route: &Route,
    carrier: Carrier,
    body: &[u8],
    response: &str,
) -> Result<Option<Bytes>, MergeFault> {
    let body = dialect.read_body(route, carrier, Bytes::copy_from_slice(body)).unwrap();
    let patch = dialect.session_patch(route, &body).unwrap().unwrap();
    let stored = dialect.metadata_in_response(route, &Bytes::copy_from_slice(response.as_bytes())).unwrap();
    let merge = shop().merge(&patch, stored.fields(), dialect.limits.properties)?;
    Ok(merge.map(|merge| dialect.merged(&body, &stored, &merge).unwrap()))
}

fn routes(dialect: &Dialect, operation: Operation) -> impl Iterator<Item = &'static Route> {
    dialect.routes.iter().filter(move |route| route.operation == operation)
}

fn update_session() -> &'static Route {
    routes(&AUTH0, Operation::UpdateSession).next().unwrap()
}

fn document(body: &str, response: &str) -> String {
    let found = merged(&AUTH0, update_session(), Carrier::Rest, body.as_bytes(), response).unwrap().unwrap();
    String::from_utf8(found.to_vec()).unwrap()
}

#[test]
fn members_of_others_keep_their_bytes() {
    let response = r#"{"id":"s","session_metadata":{ "t\u0065am" : "caf\u00e9\/" ,"cart_a":"old","n":1.0,"e":1e2,
        "o" : { "x" : [1, 2.50] },"z":null}}"#;
    let kept = r#""t\u0065am" : "caf\u00e9\/","n":1.0,"e":1e2,"o" : { "x" : [1, 2.50] },"z":null"#;
    for (body, expected) in [
        (
            r#" {"session_metadata": {"cart_b" : "\u0031"} , "x":1} "#,
            format!(r#" {{"session_metadata": {{"cart_b" : "\u0031",{kept}}} , "x":1}} "#),
        ),
        (r#"{"session_metadata":{ } }"#, format!(r#"{{"session_metadata":{{{kept} }} }}"#)),
        (r#"{"session_metadata": null}"#, format!(r#"{{"session_metadata": {{{kept}}}}}"#)),
    ] {
        assert_eq!(document(body, response), expected);
    }
}

#[test]
fn a_write_beside_no_keys_of_others_is_untouched() {
    for body in
        [r#" {"session_metadata": {"cart_b" : "1"}}"#, r#"{"session_metadata":null}"#, r#"{"session_metadata":{}}"#]
    {
        for current in ["{}", r#"{"session_metadata":null}"#, r#"{"session_metadata":{"cart_a":"1"}}"#] {
            assert_eq!(document(body, current), body);
        }
    }
}

#[test]
fn ambiguous_metadata_is_not_read() {
    for response in [
        r#"{"session_metadata":{"a":1,"\u0061":2}}"#,
        r#"{"session_metadata":{"__proto__":1}}"#,
        r#"{"session_metadata":[]}"#,
        r#"{"session_metadata":"x"}"#,
        r#"{"session_metadata":{},"session_metadata":{"a":"b"}}"#,
        "[]",
        "",
    ] {
        let route = update_session();
        assert_eq!(AUTH0.metadata_in_response(route, &Bytes::copy_from_slice(response.as_bytes())), None, "{response}");
    }
    for response in ["{}", r#"{"session":{"metadata":{"a":"!"}}}"#, r#"{"session":{"metadata":{"a":"","a":""}}}"#] {
        let route = routes(&ZITADEL, Operation::UpdateSession).next().unwrap();
        assert_eq!(
            ZITADEL.metadata_in_response(route, &Bytes::copy_from_slice(response.as_bytes())),
            None,
            "{response}"
        );
    }
}

/// Entries: those of the shop, and others.
fn entries<V: Strategy>(keys: &'static str, value: V) -> impl Strategy<Value = BTreeMap<String, V::Value>> {
    prop::collection::btree_map(keys, value, 0..5)
}

/// How a value, or a key, may stand in a document.
fn json_text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        r#""""#,
        r#""\u00e9\/\n""#,
        "\"é\"",
        "1.0",
        "1e2",
        "-0",
        "null",
        "true",
        "[1, {}]",
        "{ \"a\" : 0.10 }",
    ])
}

/// An object with these members, whose keys are escaped or not.
fn object(members: &BTreeMap<String, &str>, space: &str, escaped: bool) -> String {
    let key = |key: &str| match key.split_at_checked(1) {
        Some((first, rest)) if escaped => format!("\\u{:04x}{rest}", u32::from(first.chars().next().unwrap())),
        _ => key.to_owned(),
    };
    let members: Vec<String> =
        members.iter().map(|(own, value)| format!("{space}\"{}\"{space}:{space}{value}", key(own))).collect();
    format!("{{{}{space}}}", members.join(","))
}

/// The members of the metadata in a document, as they are spelled.
fn members(document: &str) -> Vec<String> {
    let document = Document::parse(Bytes::copy_from_slice(document.as_bytes())).unwrap();
    match &member(document.members().unwrap(), "session_metadata").unwrap().kind {
        Kind::Object(members) => {
            let spelling = |member: &Member| document.member_spelling(member).to_owned();
            let mut all: Vec<String> = members.iter().map(spelling).collect();
            all.sort();
            all
        }
        _ => Vec::new(),
    }
}

const OWN: &str = "cart_[a-c]";
const ANY: &str = "(cart_|team_|)[a-c]";

proptest! {
    /// Whatever an owner writes, the others' members stay byte for byte and its own are what it sent, each once.
    #[test]
    fn documents_have_what_others_stored_and_the_owner_sent(
        own in entries(OWN, json_text()),
        stored in entries(ANY, json_text()),
        space in "[ \n]{0,2}",
        (escaped, null) in any::<(bool, bool)>(),
    ) {
        let metadata = if own.is_empty() && null { "null".into() } else { object(&own, &space, escaped) };
        let body = format!(r#"{{"x":1.0,"session_metadata":{metadata}}}"#);
        let response = |metadata: &str| format!(r#"{{"id":"s","session_metadata":{metadata}}}"#);
        let found = document(&body, &response(&object(&stored, &space, !escaped)));
        let others: BTreeMap<String, &str> =
            stored.into_iter().filter(|(key, _)| !key.starts_with("cart_")).collect();
        let whole = |members_of: &BTreeMap<String, &str>, escaped| {
            members(&response(&object(members_of, &space, escaped)))
        };
        let mut expected = [whole(&own, escaped), whole(&others, !escaped)].concat();
        expected.sort();
        prop_assert_eq!(members(&found), expected);
        prop_assert!(found.starts_with(r#"{"x":1.0,"#), "{}", found);
        // The same write again changes nothing.
        prop_assert_eq!(members(&document(&body, &found)), members(&found));
    }

    /// The same for messages, of both versions in both encodings: keys that the owner clears are sent empty.
    #[test]
    fn messages_have_what_others_stored_and_the_owner_sent(
        own in entries(OWN, prop::collection::vec(any::<u8>(), 0..3)),
        stored in entries(ANY, prop::collection::vec(any::<u8>(), 1..3)),
    ) {
        for route in routes(&ZITADEL, Operation::UpdateSession) {
            let call = route.call.unwrap();
            let carriers: &[Carrier] =
                if call.is_rpc { &[Carrier::Connect(Codec::Json), Carrier::Connect(Codec::Proto)] } else { &[Carrier::Rest] };
            for carrier in carriers {
                check_message(route, *carrier, &own, &stored)?;
            }
        }
    }
}

type Entries = BTreeMap<String, Vec<u8>>;

fn encoded(entries: &Entries) -> String {
    let entries: BTreeMap<&String, String> = entries.iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
    serde_json::to_string(&entries).unwrap()
}

fn check_message(route: &Route, carrier: Carrier, own: &Entries, stored: &Entries) -> Result<(), TestCaseError> {
    let mut body = Vec::new();
    match carrier.codec() {
        Codec::Json => body = format!(r#"{{"sessionId":"s","metadata":{},"later":1.0}}"#, encoded(own)).into_bytes(),
        Codec::Proto => {
            put_bytes(&mut body, 1, b"s");
            for (key, value) in own {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut entry, 2, value);
                put_bytes(&mut body, 4, &entry);
            }
            put_bytes(&mut body, 99, b"later");
        }
    }
    let response = format!(r#"{{"session":{{"id":"s","metadata":{}}}}}"#, encoded(stored));
    let Ok(found) = merged(&ZITADEL, route, carrier, &body, &response) else {
        let is_shops = |key: &String| key.starts_with("cart_");
        prop_assert!(own.values().all(Vec::is_empty) && stored.keys().all(is_shops) && !stored.is_empty());
        prop_assert!(stored.keys().all(|key| own.contains_key(key)), "only what it names is cleared");
        return Ok(());
    };
    let Some(found) = found else {
        prop_assert!(own.is_empty(), "it names no metadata");
        return Ok(());
    };
    let replaces = own.values().any(|value| !value.is_empty());
    let mut expected = stored.clone();
    for (key, value) in &mut expected {
        if replaces && key.starts_with("cart_") {
            value.clear();
        }
    }
    expected.extend(own.clone());
    let parsed = Parsed::read(route.call.unwrap().request, carrier.codec(), found.clone()).unwrap();
    let entries = parsed.root().entries("metadata").unwrap_or_default();
    let entries: Entries = entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone())).collect();
    prop_assert_eq!(&entries, &expected);
    let has = |part: &[u8]| found.windows(part.len()).any(|window| window == part);
    prop_assert!(has(b"later") && (carrier.codec() == Codec::Proto || has(b"1.0")));
    Ok(())
}
