//! Messages with a schema, in both encodings.

use super::*;
use crate::wire::carrier::Carrier;
use crate::wire::proto::{put_bytes, put_number};
use crate::wire::schema::{Field, FieldType, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A value whose contents can be found in the bytes of a message.
enum Sample {
    Text(String),
    Number(u64),
    Bool,
    /// Unparsed: a message with this text.
    Opaque(String),
    Message(Vec<Sampled>),
    Messages(Vec<Sample>),
    Entries(Vec<(String, String)>),
}

/// A field that is set. `None` is an unknown one, with a text.
struct Sampled {
    field: Option<&'static Field>,
    /// Whether JSON has the name of protocol buffers.
    snake: bool,
    value: Sample,
}

/// What a sample contains, and where.
struct Content {
    path: Vec<String>,
    proto: Vec<u8>,
    json: String,
}

const KEYS: [&str; 4] = ["cart_a", "cart_b", "team_a", "x.y"];

/// Fills messages, with every content only once.
struct Filler {
    bits: u64,
    made: u64,
    contents: Vec<Content>,
}

impl Filler {
    fn bit(&mut self) -> bool {
        self.bits = self.bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.bits >> 60 < 12
    }

    fn text(&mut self, path: &[String]) -> String {
        self.made += 1;
        let text = format!("<{}>", 100_000 + self.made);
        self.contents.push(Content { path: path.to_vec(), proto: text.clone().into_bytes(), json: text.clone() });
        text
    }

    fn message(&mut self, schema: &'static Message, path: &[String]) -> Sample {
        let mut fields = Vec::new();
        for field in schema.fields {
            if self.bit() {
                let path = [path, &[field.name.to_owned()]].concat();
                let value = self.value(field, &path);
                fields.push(Sampled { field: Some(field), snake: !self.bit(), value });
            }
        }
        if self.bit() {
            let path = [path, &["unknown".to_owned()]].concat();
            let value = Sample::Text(self.text(&path));
            fields.push(Sampled { field: None, snake: false, value });
        }
        Sample::Message(fields)
    }

    fn value(&mut self, field: &Field, path: &[String]) -> Sample {
        match field.kind {
            FieldType::Text => Sample::Text(self.text(path)),
            FieldType::Bool => Sample::Bool,
            FieldType::Unsigned => {
                self.made += 1;
                let number = 1_000_000_007 * (100_000 + self.made);
                let mut proto = Vec::new();
                crate::wire::proto::put_varint(&mut proto, number);
                self.contents.push(Content { path: path.to_vec(), proto, json: number.to_string() });
                Sample::Number(number)
            }
            FieldType::Message(inner) => self.message(inner, path),
            FieldType::Messages(inner) => Sample::Messages((0..2).map(|_| self.message(inner, path)).collect()),
            FieldType::Metadata => Sample::Entries(
                KEYS.iter()
                    .map(|key| {
                        let path = [path, &[(*key).to_owned()]].concat();
                        let text = self.text(&path);
                        self.contents.last_mut().unwrap().json = STANDARD.encode(&text);
                        self.contents.push(Content { path, proto: key.as_bytes().to_vec(), json: (*key).to_owned() });
                        ((*key).to_owned(), text)
                    })
                    .collect(),
            ),
            FieldType::Timestamp => {
                self.made += 1;
                let text = format!("2030-01-02T03:04:05.{:09}Z", 100_000_000 + self.made);
                let mut proto = Vec::new();
                put_number(&mut proto, 2, 100_000_000 + self.made);
                self.contents.push(Content { path: path.to_vec(), proto, json: text.clone() });
                Sample::Opaque(text)
            }
            _ => Sample::Opaque(self.text(path)),
        }
    }
}

fn json(sample: &Sample) -> String {
    match sample {
        Sample::Text(text) | Sample::Opaque(text) => quoted(text),
        Sample::Number(number) => format!("\"{number}\""),
        Sample::Bool => "true".to_owned(),
        Sample::Messages(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        Sample::Entries(entries) => {
            let entry = |(key, text): &(String, String)| format!("{}:{}", quoted(key), quoted(&STANDARD.encode(text)));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(" ,"))
        }
        Sample::Message(fields) => {
            let mut seen = Vec::new();
            let member = |one: &Sampled| {
                let name = one.field.map_or("unknown", |field| if one.snake { field.name } else { field.json });
                // Several numbers may be one field.
                let field = one.field.map(|field| field.name);
                if seen.contains(&field) {
                    return None;
                }
                seen.push(field);
                Some(format!("{} : {}", quoted(name), json(&one.value)))
            };
            format!("{{{}}}", fields.iter().filter_map(member).collect::<Vec<_>>().join(","))
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn proto(out: &mut Vec<u8>, number: u32, sample: &Sample) {
    let mut inner = Vec::new();
    match sample {
        Sample::Text(text) => put_bytes(out, number, text.as_bytes()),
        Sample::Number(value) => put_number(out, number, *value),
        Sample::Bool => put_number(out, number, 1),
        Sample::Messages(items) => items.iter().for_each(|item| proto(out, number, item)),
        Sample::Opaque(text) => {
            match text.split_once('.') {
                Some((_, nanos)) => {
                    put_number(&mut inner, 1, 1_893_553_445);
                    put_number(&mut inner, 2, nanos.trim_end_matches('Z').parse().unwrap());
                }
                None => put_bytes(&mut inner, 1, text.as_bytes()),
            }
            put_bytes(out, number, &inner);
        }
        Sample::Entries(entries) => entries.iter().for_each(|(key, text)| {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, key.as_bytes());
            put_bytes(&mut inner, 2, text.as_bytes());
            put_bytes(out, number, &inner);
        }),
        Sample::Message(_) => {
            message(&mut inner, sample);
            put_bytes(out, number, &inner);
        }
    }
}

fn message(out: &mut Vec<u8>, sample: &Sample) {
    let Sample::Message(fields) = sample else { panic!() };
    let mut seen = Vec::new();
    for one in fields {
        let number = one.field.map_or(99, |field| field.number);
        if !seen.contains(&number) {
            seen.push(number);
            proto(out, number, &one.value);
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The path of what a response contains, in a session; `None` for what belongs to none.
fn in_session(path: &[String]) -> Option<Vec<&str>> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["session" | "sessions" | "details", rest @ ..] => Some(rest.to_vec()),
        ["session_id"] => Some(vec!["id"]),
        _ => None,
    }
}

fn is_hidden(path: &[String], masks: &Masks) -> bool {
    let Some(path) = in_session(path) else {
        return false;
    };
    let begins = |hidden: &Vec<String>| hidden.len() <= path.len() && hidden.iter().zip(&path).all(|(a, b)| a == b);
    let key = matches!(path.as_slice(), ["metadata", key] if !masks.shows_key(key));
    key || masks.masked().iter().chain(masks.dropped()).any(begins)
}

/// A key stays if only its value is masked.
fn is_key(content: &Content) -> bool {
    content.path.last().is_some_and(|key| *key == content.json)
}

proptest! {
    #[test]
    fn what_is_hidden_is_in_no_byte_and_all_else_stays(
        bits in any::<u64>(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..5),
        keys in prop::option::of(prop::sample::subsequence(vec!["cart_*", "team_a", "x.y"], 0..3)),
        operation in prop::sample::select(vec![
            Operation::ReadSession,
            Operation::ListSessions,
            Operation::UpdateSession,
            Operation::CreateSession,
            Operation::DeleteSession,
        ]),
    ) {
        let known: Vec<String> = [ZITADEL.known_fields(), KEYS.iter().map(|key| format!("metadata.{key}")).collect()].concat();
        let (mut masked, mut dropped) = (Vec::new(), Vec::new());
        for (at, mask) in picks {
            let path = ZITADEL.field_path(&known[at.index(known.len())]);
            if mask { masked.push(path) } else { dropped.push(path) }
        }
        let keys = keys.map(|keys| KeyPatterns(keys.iter().map(|key| KeyPattern::parse(key).unwrap()).collect()));
        let Some(masks) = Masks::new(masked, dropped, keys) else { return Ok(()) };
        let schema = route(&ZITADEL, operation, true).call.unwrap().response;
        let mut filler = Filler { bits, made: 0, contents: Vec::new() };
        let sample = filler.message(schema, &[]);
        let mut wire = Vec::new();
        message(&mut wire, &sample);
        let text = json(&sample);
        for (carrier, source) in [
            (Carrier::Rest, Bytes::from(text.clone())),
            (Carrier::Grpc(Codec::Json), Bytes::from(text.clone())),
            (Carrier::GrpcWeb(Codec::Proto), Bytes::from(wire.clone())),
            (Carrier::Connect(Codec::Proto), Bytes::from(wire)),
        ] {
            let rpc = carrier != Carrier::Rest;
            let shown = ZITADEL.masked(route(&ZITADEL, operation, rpc), carrier, &source, &masks);
            let shown = shown.ok_or_else(|| TestCaseError::fail(format!("{carrier:?} {source:?}")))?;
            for content in &filler.contents {
                let part = match carrier.codec() {
                    Codec::Json => content.json.as_bytes(),
                    Codec::Proto => &content.proto,
                };
                // Not both of two fields with one name, or with one number, are in a message.
                if !contains(&source, part) {
                    continue;
                }
                let hidden = is_hidden(&content.path, &masks);
                if hidden && is_key(content) {
                    continue;
                }
                prop_assert_eq!(contains(&shown, part), !hidden, "{:?} {:?} {:?}", carrier, content.path, masks);
            }
            for key in KEYS {
                let denied = !masks.shows_key(key);
                let whole = vec!["metadata".to_owned()];
                let one = vec!["metadata".to_owned(), key.to_owned()];
                let gone = denied || masks.dropped().iter().any(|path| *path == whole || *path == one);
                prop_assert!(!(gone && contains(&shown, key.as_bytes())), "{:?} {} {:?}", carrier, key, masks);
            }
            // What is shown is still a message.
            let read = crate::wire::message::Parsed::read(schema, carrier.codec(), shown.clone()).map(drop);
            prop_assert!(read.is_ok(), "{:?} {:?} {:?}", carrier, read, shown);
        }
    }

    #[test]
    fn no_bytes_make_masking_fail(source in prop::collection::vec(any::<u8>(), 0..60)) {
        let masks = masks(&ZITADEL, &["factors"], &["user_agent.ip"], Some(&["a"]));
        for carrier in [Carrier::Rest, Carrier::Connect(Codec::Proto)] {
            let route = route(&ZITADEL, Operation::ReadSession, carrier != Carrier::Rest);
            ZITADEL.masked(route, carrier, &Bytes::from(source.clone()), &masks);
        }
    }
}

fn shown(codec: Codec, source: &[u8], masks: &Masks) -> Option<Bytes> {
    let route = route(&ZITADEL, Operation::ReadSession, true);
    ZITADEL.masked(route, Carrier::Connect(codec), &Bytes::copy_from_slice(source), masks)
}

#[test]
fn both_spellings_are_masked() {
    let masks = masks(&ZITADEL, &["factors.user", "sequence"], &["user_agent"], Some(&["cart"]));
    let masked = |text: &str| shown(Codec::Json, text.as_bytes(), &masks);
    let text = r#"{"session":{"id":"1","sequence":"5","factors":{"user":{"verifiedAt":"2030-01-01T00:00:00Z",
"id":"u","loginName":"n","login_name":"m","other":{}},"password":{}},"userAgent":{"ip":"x"},"user_agent":{},
"metadata":{"cart":"YQ==","c\u0061rt2":"Yg=="}},"new":1}"#;
    let expected = r#"{"session":{"id":"1","factors":{"user":{"id":"***","loginName":"***","login_name":"***"},"password":{}},
"metadata":{"cart":"YQ=="}},"new":1}"#;
    assert_eq!(masked(text).unwrap(), expected.replace("\n\"id\"", "\"id\""), "{:?}", masked(text));
    for text in [
        r#"{"Session":{}}"#,
        r#"{"session":{"UserAgent":{}}}"#,
        r#"{"session":{"factors":{"user":"u"}}}"#,
        r#"{"session":{"factors":[]}}"#,
        r#"{"session":{"metadata":[]}}"#,
        r#"{"session":[{"id":"1"}]}"#,
        r#"{"session":{"factors":{"user":{"id":1}}}}"#,
        r#"{"session":{},"session":{}}"#,
        "[]",
        "",
    ] {
        assert_eq!(masked(text), None, "{text}");
    }
    let nothing = r#"{"session":{"factors":null,"userAgent":null, "metadata":null}}"#;
    assert_eq!(masked(nothing).unwrap(), r#"{"session":{"factors":null, "metadata":null}}"#);
}

#[test]
fn every_occurrence_of_a_field_is_masked() {
    let masks = masks(&ZITADEL, &["factors.user.id"], &["user_agent.ip"], Some(&["k"]));
    // session{user_agent{ip: "x"} user_agent{ip: "y" description: "z"} factors{user{id: "u"} user{id: "v"}}} session{…}
    let agent = b"\x3a\x03\x12\x01x\x3a\x06\x12\x01y\x1a\x01z";
    let factors = b"\x2a\x0a\x0a\x03\x12\x01u\x0a\x03\x12\x01v";
    let session = [&agent[..], factors].concat();
    let mut source = Vec::new();
    put_bytes(&mut source, 1, &session);
    put_bytes(&mut source, 1, b"\x3a\x03\x12\x01w");
    let mut expected = Vec::new();
    put_bytes(&mut expected, 1, b"\x3a\x00\x3a\x03\x1a\x01z\x2a\x0e\x0a\x05\x12\x03***\x0a\x05\x12\x03***");
    put_bytes(&mut expected, 1, b"\x3a\x00");
    assert_eq!(shown(Codec::Proto, &source, &masks).unwrap(), expected);
    for (inner, what) in [
        (&b"\x38\x01"[..], "a message as a number"),
        (b"\x2a\x04\x0a\x02\x10\x05", "a text as a number"),
        (b"\x3a\x03\x12\x05x", "a message that ends early"),
        (b"\x3b\x3c", "a group"),
        (b"\x32\x03\x0a\x01k\x32\x06\x0a\x01k\x0a\x01l", "two keys in one entry"),
        (b"\x32\x02\x08\x01", "a key as a number"),
    ] {
        let mut source = Vec::new();
        put_bytes(&mut source, 1, inner);
        assert_eq!(shown(Codec::Proto, &source, &masks), None, "{what}");
    }
    assert_eq!(shown(Codec::Proto, b"", &masks).unwrap(), "", "nothing is set");
}
