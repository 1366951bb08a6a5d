//! The same ZITADEL call gets the same decision on every carrier, for generated calls. The test encodes and decodes
//! them with its own code.

use crate::harness::{EmptyEnvironment, proptest_cases};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use regex::{Captures, Regex};
use serde_json::{Value, json};
use sessiongate::config;
use sessiongate::dialect::ZITADEL;
use sessiongate::gateway::{Credential, Gateway, RequestHead, Routed, WriteDecision};
use sessiongate::model::{Operation, PeerIdentity, Rejection};
use sessiongate::wire::carrier::Carrier;
use sessiongate::wire::message::Codec;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The policies that every call is evaluated with.
static POLICIES: LazyLock<Vec<Arc<Gateway>>> = LazyLock::new(|| {
    let policies = [
        "{}",
        "{ keys: { allowed: [a, b, 'k*'], required: [a] }, fields: { a: { default: red, max_length: 3 } }, wipe: reject }",
        "{ normalize: { trim: true, key_case: lower, empty_values: drop, unicode: nfc }, limits: { properties: 3, value_length: 4 } }",
        "{ lifetime: { min: 1s, max: 1h, outside: clamp }, session_token: required }",
        "{ lifetime: { min: 1s, max: 1h, required: true }, checks: { allowed: [user, totp] } }",
        "{ challenges: { return_code: reject, url_template: { hosts: [login.example.com] } } }",
        "{ mode: audit, keys: { allowed: [A] }, normalize: { key_case: upper }, lifetime: { max: 1s, outside: clamp } }",
    ];
    policies.into_iter().map(gateway).collect()
});

fn gateway(policy: &str) -> Arc<Gateway> {
    let upstream = "upstreams:\n  a: { dialect: zitadel, url: \"https://a.test\", auth: forward, policy: p }\n";
    let text = format!("{upstream}policies:\n  p: {policy}\n");
    let compiled = config::compile("verdicts", &text, &EmptyEnvironment, [1; 32]);
    let compiled = compiled.unwrap_or_else(|faults| panic!("{policy}: {}", faults[0]));
    compiled.config.gateway
}

/// A field of a message.
#[derive(Debug, Clone)]
struct Field {
    number: u8,
    /// The name in protocol buffers.
    name: &'static str,
    value: Held,
}

/// What a field holds.
#[derive(Debug, Clone)]
enum Held {
    Text(String),
    Flag(bool),
    /// A value of an enumeration, which JSON may write as a number.
    Number(i32),
    Duration(i64, i32),
    Map(Vec<(String, Vec<u8>)>),
    Message(Vec<Field>),
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 128 {
        out.push(value.to_le_bytes()[0] | 128);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn number(number: u8, value: i64) -> Vec<u8> {
    [vec![number << 3], varint(value.cast_unsigned())].concat()
}

fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

fn proto(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let at = field.number;
        out.extend(match &field.value {
            Held::Text(text) => delimited(at, text.as_bytes()),
            Held::Flag(flag) => number(at, i64::from(*flag)),
            Held::Number(value) => number(at, i64::from(*value)),
            Held::Duration(seconds, nanos) => {
                let parts = [(1, *seconds), (2, i64::from(*nanos))];
                let parts = parts.into_iter().filter(|(_, value)| *value != 0);
                delimited(at, &parts.flat_map(|(at, value)| number(at, value)).collect::<Vec<_>>())
            }
            Held::Map(entries) => {
                let entry = |(key, value): &(String, Vec<u8>)| {
                    delimited(at, &[delimited(1, key.as_bytes()), delimited(2, value)].concat())
                };
                entries.iter().flat_map(entry).collect()
            }
            Held::Message(fields) => delimited(at, &proto(fields)),
        });
    }
    out
}

/// `two_words` as JSON writes it.
fn camel(name: &str) -> String {
    static HUMPS: LazyLock<Regex> = LazyLock::new(|| Regex::new("_([a-z])").unwrap());
    HUMPS.replace_all(name, |found: &Captures| found[1].to_ascii_uppercase()).into_owned()
}

fn duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}s", seconds.unsigned_abs(), nanos.unsigned_abs())
}

/// The fields in their order. `snake` names them as protocol buffers do, which JSON may as well.
fn json(fields: &[Field], snake: bool) -> String {
    let object = |members: Vec<(String, String)>| {
        let members: Vec<String> =
            members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", members.join(","))
    };
    let members = fields.iter().map(|field| {
        let value = match &field.value {
            Held::Text(text) => json!(text).to_string(),
            Held::Flag(flag) => flag.to_string(),
            Held::Number(value) => value.to_string(),
            Held::Duration(seconds, nanos) => json!(duration(*seconds, *nanos)).to_string(),
            Held::Map(entries) => {
                let entry = |(key, value): &(String, Vec<u8>)| (key.clone(), json!(STANDARD.encode(value)).to_string());
                object(entries.iter().map(entry).collect())
            }
            Held::Message(fields) => json(fields, snake),
        };
        (if snake { field.name.to_owned() } else { camel(field.name) }, value)
    });
    object(members.collect())
}

/// What somebody asks the service for.
#[derive(Debug, Clone)]
struct Asked {
    creates: bool,
    beta: bool,
    snake: bool,
    session: String,
    /// Without the session.
    fields: Vec<Field>,
}

impl Asked {
    fn path(&self, carrier: Carrier) -> (Method, String) {
        let version = if self.beta { "v2beta" } else { "v2" };
        let procedure = if self.creates { "CreateSession" } else { "SetSession" };
        match (carrier, self.creates) {
            (Carrier::Rest, true) => (Method::POST, format!("/{version}/sessions")),
            (Carrier::Rest, false) => (Method::PATCH, format!("/{version}/sessions/{}", self.session)),
            _ => (Method::POST, format!("/zitadel.session.{version}.SessionService/{procedure}")),
        }
    }

    fn body(&self, carrier: Carrier) -> Vec<u8> {
        let mut fields = self.fields.clone();
        if !self.creates && carrier != Carrier::Rest {
            fields.insert(0, Field { number: 1, name: "session_id", value: Held::Text(self.session.clone()) });
        }
        let message = match carrier.codec() {
            Codec::Proto => proto(&fields),
            Codec::Json => json(&fields, self.snake).into_bytes(),
        };
        if !carrier.is_framed() {
            return message;
        }
        [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
    }

    /// What becomes of it.
    fn verdict(&self, gateway: &Gateway, carrier: Carrier) -> Result<Forwarded, Value> {
        let (method, path) = self.path(carrier);
        let body = self.body(carrier);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer pat".parse().unwrap());
        headers.insert("content-type", content_type(carrier).parse().unwrap());
        headers.insert("content-length", body.len().to_string().parse().unwrap());
        let http2 = carrier.is_grpc();
        let head = RequestHead {
            listener: "",
            method: &method,
            path: &path,
            query: None,
            host: "",
            headers: &headers,
            http2,
            trusted: false,
        };
        let checked = || -> Result<Bytes, Rejection> {
            let governed = match gateway.route(head) {
                Ok(Routed::Governed(governed)) => governed,
                Ok(Routed::PassThrough(..) | Routed::Invalidating(_) | Routed::InvalidatingIfAccepted(_)) => {
                    panic!("{method} {path} is governed")
                }
                Err(rejected) => return Err(rejected.rejection),
            };
            let credential = Credential::Forwarded(Bytes::from_static(b"Bearer pat"));
            let caller = governed.upstream().matched(credential, &PeerIdentity::default())?;
            let authorized = governed.authorize(caller)?;
            let asked = authorized.read_body(gateway, Bytes::from(body.clone()))?;
            let operation = if self.creates { Operation::CreateSession } else { Operation::UpdateSession };
            assert_eq!((asked.operation(), asked.carrier()), (operation, carrier));
            match asked.decide(None).result? {
                WriteDecision::Forward(write) => Ok(write.request().2.unwrap()),
                WriteDecision::NeedsCurrent => panic!("nothing is protected here"),
            }
        };
        checked().map(|bytes| Forwarded::read(carrier, self.creates, &bytes)).map_err(|rejection| {
            // The reason is in the terms of the encoding.
            if matches!(rejection, Rejection::Malformed(_)) {
                return json!("malformed");
            }
            // Paths are spelled as the caller would spell them.
            let shown = ZITADEL.rejections.response(&rejection, Carrier::Rest);
            let text = String::from_utf8(shown.body.to_vec()).unwrap();
            // What is not known has a name in JSON only.
            let text = camel(&text).replace("nothingThatIsKnown", "9");
            json!([shown.status.as_u16(), serde_json::from_str::<Value>(&text).unwrap()])
        })
    }
}

fn content_type(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Rest | Carrier::Connect(Codec::Json) => "application/json",
        Carrier::Connect(Codec::Proto) => "application/proto",
        Carrier::Grpc(Codec::Proto) => "application/grpc",
        Carrier::Grpc(Codec::Json) => "application/grpc+json",
        Carrier::GrpcWeb(Codec::Proto) => "application/grpc-web+proto",
        Carrier::GrpcWeb(Codec::Json) => "application/grpc-web+json",
    }
}

/// What a policy may edit, as the provider gets it.
#[derive(Debug, PartialEq)]
struct Forwarded {
    metadata: BTreeMap<String, Vec<u8>>,
    /// In billionths of a second.
    lifetime: Option<i128>,
}

impl Forwarded {
    fn read(carrier: Carrier, creates: bool, body: &[u8]) -> Forwarded {
        let message = if carrier.is_framed() { &body[5..] } else { body };
        match carrier.codec() {
            Codec::Json => Forwarded::of_json(&serde_json::from_slice(message).unwrap()),
            Codec::Proto => Forwarded::of_proto(message, creates),
        }
    }

    fn of_json(message: &Value) -> Forwarded {
        let entries = message.get("metadata").and_then(Value::as_object).into_iter().flatten();
        let metadata = entries.map(|(key, value)| (key.clone(), STANDARD.decode(value.as_str().unwrap()).unwrap()));
        let lifetime = message.get("lifetime").map(|text| {
            let text = text.as_str().unwrap().strip_suffix('s').unwrap();
            let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
            let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
            sign * format!("{seconds}{part:0<9}").parse::<i128>().unwrap()
        });
        Forwarded { metadata: metadata.collect(), lifetime }
    }

    fn of_proto(message: &[u8], creates: bool) -> Forwarded {
        let (metadata, lifetime) = if creates { (2, 5) } else { (4, 6) };
        let mut found = Forwarded { metadata: BTreeMap::new(), lifetime: None };
        for (number, content) in fields(message) {
            let parts = || -> BTreeMap<u64, Vec<u8>> { fields(&content).into_iter().collect() };
            if number == metadata {
                let entry = parts();
                let key = String::from_utf8(entry[&1].clone()).unwrap();
                found.metadata.insert(key, entry.get(&2).cloned().unwrap_or_default());
            } else if number == lifetime {
                let parts = parts();
                let part = |at| parts.get(&at).map_or(0, |bytes| i64::from_le_bytes(bytes[..].try_into().unwrap()));
                found.lifetime = Some(i128::from(part(1)) * 1_000_000_000 + i128::from(part(2)));
            }
        }
        found
    }
}

/// The fields of a message; numbers as eight bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        match tag & 7 {
            0 => found.push((tag >> 3, value.to_le_bytes().to_vec())),
            2 => {
                let (content, rest) = message.split_at(usize::try_from(value).unwrap());
                found.push((tag >> 3, content.to_vec()));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn text(number: u8, name: &'static str, value: String) -> Field {
    Field { number, name, value: Held::Text(value) }
}

fn message(number: u8, name: &'static str, fields: Vec<Field>) -> Field {
    Field { number, name, value: Held::Message(fields) }
}

/// Some of these, in this order.
fn some_of(all: Vec<BoxedStrategy<Field>>) -> impl Strategy<Value = Vec<Field>> {
    let all: Vec<_> = all.into_iter().map(prop::option::of).collect();
    all.prop_map(|found| found.into_iter().flatten().collect())
}

/// A text of about a length that somebody may forbid.
fn about(length: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z0-9é]{1,7}",
        1 => Just(String::new()),
        1 => (length - 1..length + 2).prop_map(|length| "é".repeat(length)),
    ]
}

/// A message with one text.
fn one_text(number: u8, name: &'static str, within: &'static str, length: usize) -> BoxedStrategy<Field> {
    let inner = prop::option::of(about(length).prop_map(move |value| text(1, within, value)));
    inner.prop_map(move |inner| message(number, name, inner.into_iter().collect())).boxed()
}

fn any_user() -> BoxedStrategy<Field> {
    // Sometimes both members of a oneof.
    let fields = some_of(vec![
        about(200).prop_map(|value| text(1, "user_id", value)).boxed(),
        prop::option::weighted(0.3, about(200))
            .prop_map(|value| text(2, "login_name", value.unwrap_or("a".into())))
            .boxed(),
    ]);
    fields.prop_map(|fields| message(1, "user", fields)).boxed()
}

fn any_checks(number: u8) -> BoxedStrategy<Field> {
    let checks = some_of(vec![
        any_user(),
        one_text(2, "password", "password", 200),
        one_text(5, "totp", "code", 6),
        one_text(6, "otp_sms", "code", 1),
        one_text(7, "otp_email", "code", 1),
    ]);
    checks.prop_map(move |checks| message(number, "checks", checks)).boxed()
}

fn any_challenges(number: u8) -> BoxedStrategy<Field> {
    let requirement = (-1..6i32).prop_map(|value| Field {
        number: 2,
        name: "user_verification_requirement",
        value: Held::Number(value),
    });
    let passkey = some_of(vec![about(200).prop_map(|value| text(1, "domain", value)).boxed(), requirement.boxed()]);
    let sms = some_of(vec![
        any::<bool>().prop_map(|value| Field { number: 1, name: "return_code", value: Held::Flag(value) }).boxed(),
    ]);
    let link = prop_oneof![
        about(200),
        Just("https://login.example.com/code?code={{.Code}}&user={{.UserID}}".to_owned()),
        Just("https://login.example.com.evil.example/{{.Code}}".to_owned()),
        Just("http://login.example.com@evil.example/{{.Code}}".to_owned()),
        Just("https://login.example.com/{{.Code".to_owned()),
    ];
    let send = prop::option::of(link.prop_map(|value| text(1, "url_template", value)));
    let mail = some_of(vec![
        send.prop_map(|link| message(2, "send_code", link.into_iter().collect())).boxed(),
        prop::option::weighted(0.4, Just(()))
            .prop_map(|code| match code {
                Some(()) => message(3, "return_code", Vec::new()),
                None => message(9, "nothing_that_is_known", Vec::new()),
            })
            .boxed(),
    ]);
    let all = some_of(vec![
        passkey.prop_map(|fields| message(1, "web_auth_n", fields)).boxed(),
        sms.prop_map(|fields| message(2, "otp_sms", fields)).boxed(),
        mail.prop_map(|fields| message(3, "otp_email", fields)).boxed(),
    ]);
    all.prop_map(move |all| message(number, "challenges", all)).boxed()
}

fn any_metadata(number: u8) -> BoxedStrategy<Field> {
    let key = prop_oneof![
        4 => "[abk]{1,2}",
        1 => "[ A-B]{0,3}",
        1 => ".{0,3}",
        1 => (200..203usize).prop_map(|length| "k".repeat(length)),
    ];
    let value = prop_oneof![
        4 => "[a-z ]{0,5}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => Just("e\u{301}".as_bytes().to_vec()),
    ];
    let map = prop::collection::btree_map(key, value, 1..6).prop_map(|map| Held::Map(map.into_iter().collect()));
    map.prop_map(move |value| Field { number, name: "metadata", value }).boxed()
}

fn any_lifetime(number: u8) -> BoxedStrategy<Field> {
    let seconds = prop_oneof![4 => 0..8000i64, 1 => -3..3i64, 1 => Just(315_576_000_000), 1 => Just(315_576_000_001)];
    let nanos = prop_oneof![3 => Just(0), 1 => 0..1_000_000_000i32];
    let span =
        (seconds, nanos).prop_map(|(seconds, nanos)| Held::Duration(seconds, if seconds < 0 { -nanos } else { nanos }));
    span.prop_map(move |value| Field { number, name: "lifetime", value }).boxed()
}

fn any_call() -> impl Strategy<Value = Asked> {
    let changed = some_of(vec![
        about(500).prop_map(|value| text(2, "session_token", value)).boxed(),
        any_checks(3),
        any_metadata(4),
        any_challenges(5),
        any_lifetime(6),
        Just(message(15, "unknown_to_all", vec![text(1, "a", "b".into())])).boxed(),
    ]);
    let made = some_of(vec![any_checks(1), any_metadata(2), any_challenges(3), any_lifetime(5)]);
    let either =
        prop_oneof![3 => changed.prop_map(|fields| (false, fields)), 1 => made.prop_map(|fields| (true, fields))];
    (either, any::<bool>(), any::<bool>(), "[a-z0-9]{1,4}|[0-9]{199,200}")
        .prop_map(|((creates, fields), beta, snake, session)| Asked { creates, beta, snake, session, fields })
}

proptest! {
    #![proptest_config(proptest_cases(300))]

    /// The call is rejected for the same reasons, or forwarded with the same edits, on every carrier.
    #[test]
    fn every_carrier_gives_the_same_decision(call in any_call()) {
        for (at, gateway) in POLICIES.iter().enumerate() {
            let first = call.verdict(gateway, Carrier::Connect(Codec::Json));
            for carrier in Carrier::ALL {
                let verdict = call.verdict(gateway, carrier);
                prop_assert_eq!(&verdict, &first, "policy {}, {}", at, carrier.name());
            }
        }
    }
}

/// A request with something in `checks` or `challenges` that no schema of the gateway has: where, and the rule of a
/// list that is closed there.
fn any_stranger() -> impl Strategy<Value = (Asked, &'static str)> {
    let held = prop_oneof![
        "[a-z]{0,9}".prop_map(Held::Text),
        any::<bool>().prop_map(Held::Flag),
        Just(Held::Message(vec![])),
        Just(message(1, "x", vec![message(2, "return_code", vec![])])).prop_map(|inner| Held::Message(vec![inner])),
    ];
    let field = (9..16u8, held).prop_map(|(number, value)| Field { number, name: "magic_link", value });
    let places = prop_oneof![
        Just((3, "checks", vec![])),
        Just((3, "checks", vec![(1, "user")])),
        Just((3, "checks", vec![(2, "password")])),
        Just((3, "checks", vec![(7, "otp_email")])),
        Just((5, "challenges", vec![])),
        Just((5, "challenges", vec![(1, "web_auth_n")])),
        Just((5, "challenges", vec![(2, "otp_sms")])),
        Just((5, "challenges", vec![(3, "otp_email")])),
        Just((5, "challenges", vec![(3, "otp_email"), (2, "send_code")])),
    ];
    (field, places, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(stranger, (number, name, within), creates, beta, snake)| {
            let known = match within.first() {
                Some((_, "user")) => vec![text(1, "user_id", "u".into())],
                Some((_, "password")) => vec![text(1, "password", "p".into())],
                Some((_, "otp_email")) if name == "checks" => vec![text(1, "code", "c".into())],
                Some((_, "web_auth_n")) => {
                    let value = Held::Number(1);
                    vec![
                        text(1, "domain", "d".into()),
                        Field { number: 2, name: "user_verification_requirement", value },
                    ]
                }
                _ => vec![],
            };
            let innermost = [known, vec![stranger]].concat();
            let fields = within.into_iter().rev().fold(innermost, |inner, (at, name)| vec![message(at, name, inner)]);
            let number = if creates { number - 2 } else { number };
            let session = "s".to_owned();
            (Asked { creates, beta, snake, session, fields: vec![message(number, name, fields)] }, name)
        },
    )
}

proptest! {
    #![proptest_config(proptest_cases(300))]

    /// A policy that lists checks or challenges rejects unknown ones, on every carrier and in both versions. Without a
    /// list, unknown ones pass.
    #[test]
    fn allow_lists_reject_unknown_fields_on_every_carrier((call, place) in any_stranger()) {
        let closed = [
            ("{ checks: { allowed: [user, password, otp_email] } }", "check", "checks"),
            ("{ challenges: { return_code: reject } }", "return_code", "challenges"),
            ("{ challenges: { return_code: strip } }", "return_code", "challenges"),
            ("{ challenges: { url_template: { hosts: [login.example.com] } } }", "url_template", "challenges"),
            ("{ challenges: { url_template: { schemes: [https] } } }", "url_template", "challenges"),
            ("{ keys: { allowed: [a] } }", "allowed", "metadata"),
            ("{}", "", ""),
        ];
        for (policy, rule, at) in closed {
            let gateway = gateway(policy);
            for carrier in Carrier::ALL {
                let verdict = call.verdict(&gateway, carrier);
                match verdict {
                    Err(why) => {
                        prop_assert_eq!(at, place, "{} {}: {}", policy, carrier.name(), why);
                        prop_assert!(why.to_string().contains(&format!("({})", camel(rule))), "{} {}: {}", policy, carrier.name(), why);
                    }
                    Ok(_) => prop_assert_ne!(at, place, "{} {}", policy, carrier.name()),
                }
            }
        }
    }
}

/// With each policy, so the property above is not vacuous.
#[test]
fn generated_calls_include_rejected_and_forwarded_ones() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let calls: Vec<Asked> = (0..200).map(|_| any_call().new_tree(&mut runner).unwrap().current()).collect();
    for (at, gateway) in POLICIES.iter().enumerate() {
        let verdicts = calls.iter().map(|call| call.verdict(gateway, Carrier::Grpc(Codec::Proto)));
        let forwarded = verdicts.filter(Result::is_ok).count();
        assert!((5..195).contains(&forwarded), "policy {at} forwards {forwarded} of 200");
    }
}
