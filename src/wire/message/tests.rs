use super::edit::{put_duration, put_entry};
use super::*;
use crate::wire::proto::{put_bytes, put_number, put_varint};
use crate::wire::schema::{Constraint, Field, FieldType, OneOf};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

const fn field(number: u32, name: &'static str, json: &'static str, kind: FieldType, constraint: Constraint) -> Field {
    Field { number, name, json, kind, constraint }
}

const CODE: Constraint = Constraint::ExactRunes(6);

static INNER: Message = Message {
    name: "Inner",
    fields: &[
        field(1, "a_code", "aCode", FieldType::Text, CODE),
        field(2, "other_way", "otherWay", FieldType::Bool, Constraint::None),
        field(3, "third_way", "thirdWay", FieldType::Enum(&[(0, "NONE"), (1, "ONE")]), Constraint::None),
    ],
    oneofs: &[OneOf { name: "Way", members: &[2, 3], required: true }],
};

static OUTER: Message = Message {
    name: "Outer",
    fields: &[
        field(1, "session_id", "sessionId", FieldType::Text, Constraint::Runes { min: 1, max: 4 }),
        field(3, "inner", "inner", FieldType::Message(&INNER), Constraint::None),
        field(4, "metadata", "metadata", FieldType::Metadata, Constraint::None),
        field(5, "count", "count", FieldType::Unsigned, Constraint::None),
        field(6, "lifetime", "lifetime", FieldType::Duration, Constraint::Positive),
        field(7, "user_agent", "userAgent", FieldType::Opaque, Constraint::None),
        field(8, "data", "data", FieldType::Struct, Constraint::None),
    ],
    oneofs: &[],
};

fn proto(bytes: &[u8]) -> Result<Parsed, MessageError> {
    Parsed::read(&OUTER, Codec::Proto, Bytes::copy_from_slice(bytes))
}

fn json(text: &str) -> Result<Parsed, MessageError> {
    Parsed::read(&OUTER, Codec::Json, Bytes::copy_from_slice(text.as_bytes()))
}

/// A message without positions and spellings.
fn plain(object: &Object) -> String {
    let mut items: Vec<String> = object
        .items
        .iter()
        .map(|item| {
            let value = match &item.value {
                Value::Message(inner) => plain(inner),
                Value::Entries(entries) => {
                    format!("{:?}", entries.iter().map(|entry| (&entry.key, &entry.value)).collect::<Vec<_>>())
                }
                other => format!("{other:?}"),
            };
            format!("{}={value}", item.field.name)
        })
        .collect();
    items.sort();
    format!("{{{}}}", items.join(" "))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn what_real_clients_send_reads_the_same_in_both_encodings() {
    // SetSession{s1, foo=bar, gone="", …, 18000s}, as connect-es writes it.
    let bytes = hex("0a027331 220a0a03666f6f1203626172 22080a04676f6e651200 320408d08c01");
    let text = r#"{"sessionId":"s1","metadata":{"foo":"YmFy","gone":""},"lifetime":"18000s"}"#;
    let (one, other) = (proto(&bytes).unwrap(), json(text).unwrap());
    assert_eq!(plain(one.root()), plain(other.root()));
    assert_eq!(one.root().text("session_id"), Some("s1"));
    assert_eq!(one.root().entries("metadata").unwrap()[0].value, b"bar");
    assert_eq!(one.edited("metadata", &[]).as_ref(), bytes);
    assert_eq!(other.edited("metadata", &[]).as_ref(), text.as_bytes());
}

#[test]
fn ambiguous_messages_are_rejected() {
    for (bytes, what) in [
        ("0a0161 0a0162", "`session_id` occurs twice"),
        ("1a020a00 1a021001", "`inner` occurs twice"),
        ("1a0410011801", "`inner.other_way` and `inner.third_way` are mutually exclusive"),
        ("22030a0161 22030a0161", "a key of `metadata` occurs twice"),
        ("22060a01610a0162", "an entry of `metadata` is not one key and one value"),
        ("22051a0161", "longer than the message"),
        ("22031a0161", "an entry of `metadata` is not one key and one value"),
        ("0801", "`session_id` has the wrong wire type"),
        ("0a02fffe", "`session_id` is not UTF-8"),
        ("1a021002", "`inner.other_way` is not a boolean"),
        ("32020000", "invalid number"),
        ("320408011001 3200", "`lifetime` occurs twice"),
        ("320d0801 10ffffffffffffffffff01", "not a valid time"),
        ("3207 0880808080b07f", "not a valid time"),
        ("1b", "groups"),
    ] {
        let error = proto(&hex(bytes)).map(|parsed| plain(parsed.root())).unwrap_err().to_string();
        assert!(error.contains(what), "{bytes}: {error}");
    }
    for (text, what) in [
        (r#"{"sessionId":"a","session_id":"a"}"#, "both spellings"),
        (r#"{"SessionId":"a"}"#, "expected `sessionId`, found `SessionId`"),
        (r#"{"session-id":"a"}"#, "expected `sessionId`"),
        (r#"{"inner":{"a_Code":"x"}}"#, "expected `inner.aCode`"),
        (r#"{"inner":{"otherWay":true,"thirdWay":1}}"#, "are mutually exclusive"),
        (r#"{"metadata":{"a":"YQ","a":"YQ"}}"#, "duplicate key"),
        (r#"{"metadata":{"a":"Y Q="}}"#, "not base64"),
        (r#"{"metadata":{"a":"YR=="}}"#, "not base64"),
        (r#"{"metadata":{"a":"+_=="}}"#, "not base64"),
        (r#"{"metadata":{"a":1}}"#, "found number"),
        (r#"{"metadata":[]}"#, "found array"),
        (r#"{"lifetime":"5m"}"#, "not a duration"),
        (r#"{"lifetime":"1.0000000001s"}"#, "not a duration"),
        (r#"{"lifetime":5}"#, "expected a duration"),
        (r#"{"lifetime":"315576000001s"}"#, "not a duration"),
        (r#"{"count":1.0}"#, "whole number"),
        (r#"{"count":-1}"#, "whole number"),
        (r#"{"inner":{"thirdWay":"TWO"}}"#, "a known name"),
        ("[]", "expected an object"),
        ("{} {}", ""),
    ] {
        let error = json(text).map(|parsed| plain(parsed.root())).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn null_is_unset_and_both_alphabets_and_spellings_parse() {
    let same = plain(json(r#"{"sessionId":"a","metadata":{"k":"_-8="}}"#).unwrap().root());
    assert_eq!(plain(json(r#"{"session_id":"a","metadata":{"k":"/+8"},"lifetime":null}"#).unwrap().root()), same);
    assert!(json(r#"{"lifetime":null,"lifetime":"1s"}"#).is_err());
    assert_eq!(json("{}").unwrap().root().items.len(), 0);
}

#[test]
fn violations_have_the_providers_text_and_the_callers_path() {
    let all = |parsed: Parsed| -> Vec<(String, String)> {
        parsed.constraint_violations().into_iter().map(|breach| (breach.path, breach.text)).collect()
    };
    let id = "invalid Outer.SessionId: value length must be between 1 and 4 runes, inclusive";
    let code = "invalid Outer.Inner: embedded message failed validation | caused by: invalid Inner.ACode: value length must be 6 runes";
    let way =
        "invalid Outer.Inner: embedded message failed validation | caused by: invalid Inner.Way: value is required";
    let life = "invalid Outer.Lifetime: value must be greater than 0s";
    let expected = |paths: [&str; 4]| {
        paths
            .into_iter()
            .zip([id, code, way, life])
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .collect::<Vec<_>>()
    };
    let text = r#"{"session_id":"äöüßx","inner":{"aCode":"1"},"lifetime":"0s"}"#;
    assert_eq!(
        all(json(text).unwrap()),
        expected(["session_id", "inner.aCode", "inner.otherWay|thirdWay", "lifetime"])
    );
    let bytes = hex("1a030a0131 3200");
    assert_eq!(
        all(proto(&bytes).unwrap()),
        expected(["session_id", "inner.a_code", "inner.other_way|third_way", "lifetime"])
    );
    assert_eq!(all(json(r#"{"sessionId":"äöüß"}"#).unwrap()), []);
}

#[test]
fn fields_are_removed_from_a_nested_message() {
    let names = ["a_code", "third_way"];
    let text = r#"{ "count": "1", "inner": {"aCode":"123456", "x": 1, "thirdWay": "ONE"}, "y": 2 }"#;
    let without = json(text).unwrap().without("inner", &names);
    assert_eq!(without, r#"{ "count": "1", "inner": {"x": 1}, "y": 2 }"#);
    let bytes = hex("2801 1a0d 0a06313233343536 4a0178 1801 5001");
    let without = proto(&bytes).unwrap().without("inner", &names);
    assert_eq!(without.as_ref(), hex("2801 1a03 4a0178 5001"));
}

#[derive(Debug, Clone)]
struct Sample {
    id: Option<String>,
    metadata: Vec<(String, Vec<u8>)>,
    lifetime: Option<(u32, u32)>,
    code: Option<String>,
    way: Option<bool>,
    count: Option<u64>,
}

fn samples() -> impl Strategy<Value = Sample> {
    let metadata = prop::collection::btree_map("[a-zé\"\\\\]{0,4}", prop::collection::vec(any::<u8>(), 0..8), 0..5);
    let lifetime = prop::option::of((0u32..100_000, 0u32..1_000_000_000));
    let count = prop::option::of(any::<u64>());
    (prop::option::of(".{0,6}"), metadata, lifetime, prop::option::of(".{0,7}"), prop::option::of(any::<bool>()), count)
        .prop_map(|(id, metadata, lifetime, code, way, count)| Sample {
            id,
            metadata: metadata.into_iter().collect(),
            lifetime,
            code,
            way,
            count,
        })
}

/// Both encodings of one message, each with an unknown field.
fn encoded(sample: &Sample) -> (Vec<u8>, String) {
    let (mut bytes, mut members) = (Vec::new(), serde_json::Map::new());
    put_bytes(&mut bytes, 99, b"unknown");
    members.insert("unknown".into(), serde_json::json!([1, {"a": null}]));
    if let Some(id) = &sample.id {
        put_bytes(&mut bytes, 1, id.as_bytes());
        members.insert("sessionId".into(), id.clone().into());
    }
    if sample.code.is_some() || sample.way.is_some() {
        let (mut inner, mut object) = (Vec::new(), serde_json::Map::new());
        if let Some(code) = &sample.code {
            put_bytes(&mut inner, 1, code.as_bytes());
            object.insert("a_code".into(), code.clone().into());
        }
        if let Some(way) = sample.way {
            put_number(&mut inner, 2, u64::from(way));
            object.insert("otherWay".into(), way.into());
        }
        put_bytes(&mut bytes, 3, &inner);
        members.insert("inner".into(), object.into());
    }
    if !sample.metadata.is_empty() {
        let mut object = serde_json::Map::new();
        for (key, value) in &sample.metadata {
            put_entry(&mut bytes, 4, key, value);
            object.insert(key.clone(), STANDARD.encode(value).into());
        }
        members.insert("metadata".into(), object.into());
    }
    if let Some(count) = sample.count {
        put_number(&mut bytes, 5, count);
        members.insert("count".into(), count.to_string().into());
    }
    if let Some((seconds, nanos)) = sample.lifetime {
        let span = SecondsNanos { seconds: i64::from(seconds), nanos: i32::try_from(nanos).unwrap() };
        put_duration(&mut bytes, 6, span);
        members.insert("lifetime".into(), span.to_string().into());
    }
    (bytes, serde_json::Value::from(members).to_string())
}

fn texts(parsed: &Parsed) -> Vec<String> {
    parsed.constraint_violations().into_iter().map(|breach| breach.text).collect()
}

proptest! {
    #[test]
    fn a_message_is_the_same_in_both_encodings(sample in samples()) {
        let (bytes, text) = encoded(&sample);
        let (one, other) = (proto(&bytes).unwrap(), json(&text).unwrap());
        prop_assert_eq!(plain(one.root()), plain(other.root()));
        prop_assert_eq!(texts(&one), texts(&other));
    }

    #[test]
    fn edits_mean_the_same_in_both_encodings_and_touch_nothing_else(sample in samples(), key in "[x-z]{1,3}", value: Vec<u8>) {
        prop_assume!(sample.metadata.len() >= 2);
        let (bytes, text) = encoded(&sample);
        let edits = [
            Edit::Remove(0),
            Edit::Key(1, format!("{key}1")),
            Edit::Value(1, value.clone()),
            Edit::Add(format!("{key}2"), value),
            Edit::Duration("lifetime", SecondsNanos { seconds: 60, nanos: 500_000_000 }),
        ];
        let (one, other) = (proto(&bytes).unwrap(), json(&text).unwrap());
        let one = proto(&one.edited("metadata", &edits)).unwrap();
        let other = other.edited("metadata", &edits);
        prop_assert!(other.windows(9).any(|part| part == b"\"unknown\""));
        let other = json(std::str::from_utf8(&other).unwrap()).unwrap();
        prop_assert_eq!(plain(one.root()), plain(other.root()));
        prop_assert!(one.source.starts_with(&bytes[..9]), "what nobody knows stays where it was");
        prop_assert_eq!(one.root().entries("metadata").unwrap().len(), sample.metadata.len());
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes: Vec<u8>, sample in samples(), at: prop::sample::Index, with: u8) {
        let _ = proto(&bytes);
        let (mut good, text) = encoded(&sample);
        let place = at.index(good.len());
        good[place] = with;
        if let Ok(parsed) = proto(&good) {
            parsed.constraint_violations();
            let _ = parsed.edited("metadata", &[Edit::Remove(0), Edit::Add("a".into(), vec![])]);
            let _ = parsed.without("inner", &["a_code"]);
        }
        let mut text = text.into_bytes();
        text.truncate(at.index(text.len()));
        let _ = Parsed::read(&OUTER, Codec::Json, Bytes::from(text));
        let mut tag = Vec::new();
        put_varint(&mut tag, u64::from(with));
        let _ = proto(&tag);
    }
}

/// Messages that each parser must reject, from the conformance tests of protocol buffers. Errors inside a field that
/// the schema does not know are left out of the corpus: such a field is not parsed.
#[test]
fn malformed_messages_of_the_conformance_tests_are_rejected() {
    let (mut cases, mut accepted) = (0, Vec::new());
    for line in include_str!("../../../tests/corpora/protobuf/must_reject.jsonl").lines() {
        cases += 1;
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        if proto(&hex(case["payload_hex"].as_str().unwrap())).is_ok() {
            accepted.push(case["name"].clone());
        }
    }
    assert_eq!((cases, accepted), (75, Vec::<serde_json::Value>::new()));
}

/// A length-delimited field.
fn wrapped(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, inner);
    out
}

/// An entry of a `Struct`.
fn member(key: &str, value: &[u8]) -> Vec<u8> {
    wrapped(1, &[wrapped(1, key.as_bytes()), wrapped(2, value)].concat())
}

/// `{"a":{"a":…}}` of this many levels, or as many nested lists in an object.
fn deep(levels: usize, lists: bool) -> Vec<u8> {
    let mut value = b"\x08\x00".to_vec();
    for _ in 1..levels {
        value = if lists { wrapped(6, &wrapped(1, &value)) } else { wrapped(5, &member("a", &value)) };
    }
    member("a", &value)
}

const ONE: [u8; 9] = [0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];

#[test]
fn a_struct_is_read_like_json() {
    let data = |content: &[u8]| proto(&wrapped(8, content)).map(drop).map_err(|error| error.0);
    let text = wrapped(3, b"x");
    let list = wrapped(6, &[wrapped(1, &text), wrapped(1, &ONE), wrapped(1, b"\x20\x01")].concat());
    let good: [&[u8]; 6] = [
        b"",
        &member("a", &text),
        &[member("a", &ONE), member("b", b"\x08\x00"), member("", &list)].concat(),
        &member("a", &wrapped(5, b"")),
        &wrapped(1, &[wrapped(2, &text), wrapped(1, b"a")].concat()),
        &deep(32, true),
    ];
    for content in good {
        assert_eq!(data(content), Ok(()), "{content:?}");
    }
    let infinite = [&[0x11][..], &f64::INFINITY.to_le_bytes()].concat();
    let bad: [(&str, &[u8], &str); 17] = [
        ("garbage", b"\xff\xff\xff", "is truncated"),
        ("half", &member("a", &text)[..5], "longer than the message"),
        ("a value without a kind", &member("a", b""), "without exactly one kind"),
        ("a value of two kinds", &member("a", &[&text[..], &ONE].concat()), "without exactly one kind"),
        ("the same kind twice", &member("a", &[&text[..], &text].concat()), "without exactly one kind"),
        ("an unknown kind", &member("a", b"\x38\x01"), "JSON cannot represent"),
        ("a number of four bytes", &member("a", b"\x15\0\0\0\0"), "JSON cannot represent"),
        ("a number that is none", &member("a", &infinite), "JSON cannot represent"),
        ("a truth that is none", &member("a", b"\x20\x02"), "JSON cannot represent"),
        ("text that is none", &member("a", &wrapped(3, b"\xff")), "invalid UTF-8"),
        ("a key that is no text", &wrapped(1, &[wrapped(1, b"\xff"), wrapped(2, &text)].concat()), "invalid UTF-8"),
        ("an entry without a value", &wrapped(1, &wrapped(1, b"a")), "one key and one value"),
        ("two keys", &wrapped(1, &[wrapped(1, b"a"), wrapped(1, b"b")].concat()), "one key and one value"),
        ("a key twice", &[member("a", &text), member("a", &ONE)].concat(), "a duplicate key"),
        ("another field", &wrapped(2, b""), "unknown field of an object"),
        ("33 levels", &deep(33, false), "more than 32 levels"),
        ("3,000 lists", &deep(3000, true), "more than 32 levels"),
    ];
    for (what, content, error) in bad {
        let found = data(content).unwrap_err();
        assert!(found.contains(error), "{what}: {found}");
    }
    let many = member("a", &wrapped(6, &wrapped(1, &ONE).repeat(10_000)));
    assert!(data(&many).is_err(), "as many values as JSON may have, and no more");
    assert!(proto(&[wrapped(8, b""), wrapped(8, b"")].concat()).is_err(), "it occurs twice");
    assert!(json(r#"{"data":{"a":[1,{"b":null}]}}"#).is_ok());
    for text in [r#"{"data":[]}"#, r#"{"data":"x"}"#, r#"{"data":1}"#, r#"{"data":{"a":1,"a":2}}"#] {
        assert!(json(text).is_err(), "{text}");
    }
    let deep = format!("{{\"data\":{}1{}}}", "{\"a\":".repeat(40), "}".repeat(40));
    assert!(json(&deep).is_err());
}

#[test]
fn unparsed_content_must_still_be_a_message() {
    assert!(proto(&wrapped(7, &[wrapped(1, b"x"), wrapped(9, b"\xff")].concat())).is_ok());
    for content in [&b"\xff\xff"[..], b"\x0a\x05x", b"\x0b"] {
        assert!(proto(&wrapped(7, content)).is_err(), "{content:?}");
        assert!(proto(&[wrapped(7, b""), wrapped(7, content)].concat()).is_err(), "{content:?} the second time");
    }
}
