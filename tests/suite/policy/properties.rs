//! Properties of all documents, policies, bodies and paths, with generated input.

use crate::harness::{EmptyEnvironment, decoded, path_readers, proptest_cases};
use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::Value;
use sessiongate::config;
use sessiongate::dialect::{AUTH0, DIALECTS, RouteMatch};
use sessiongate::gateway::{Credential, Gateway, RequestHead, Routed, Upstream, WriteDecision};
use sessiongate::model::{PeerIdentity, Rejection};
use sessiongate::policy::{FieldRule, KeyCase, KeyPattern, KeyPatterns, Mode, Normalize, Policy, Wipe};
use sessiongate::wire::http1::{self, HeadLimits, RequestError};
use std::sync::LazyLock;

/// An upstream without a policy of its own, whose callers the provider checks.
static BASE: LazyLock<Upstream> = LazyLock::new(|| {
    let text = "upstreams:\n  a: { dialect: auth0, url: \"https://a.test\", auth: none }\n";
    let compiled = config::compile("base", text, &EmptyEnvironment, [1; 32]).unwrap();
    Upstream::clone(&compiled.config.gateway.upstreams()[0])
});

fn gateway(policy: Policy) -> Gateway {
    let limits = BASE.policy.limits;
    let policy = Policy { limits, ..policy };
    Gateway::new(vec![Upstream { policy, ..BASE.clone() }], b"secret")
}

/// The bytes to forward of a body, or the rejection.
fn forwarded(gateway: &Gateway, body: &[u8]) -> Result<Bytes, Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("content-length", body.len().to_string().parse().unwrap());
    let head = RequestHead {
        listener: "",
        method: &Method::PATCH,
        path: "/api/v2/sessions/x",
        query: None,
        host: "",
        headers: &headers,
        http2: false,
        trusted: false,
    };
    let Ok(Routed::Governed(governed)) = gateway.route(head) else {
        panic!("a session is governed");
    };
    let caller = governed.upstream().matched(Credential::Anonymous, &PeerIdentity::default())?;
    let authorized = governed.authorize(caller)?;
    match authorized.read_body(gateway, Bytes::copy_from_slice(body))?.decide(None).result? {
        WriteDecision::Forward(write) => Ok(write.request().2.unwrap()),
        WriteDecision::NeedsCurrent => panic!("nothing is protected here"),
    }
}

fn any_space() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r\n  ")]
}

/// A string literal in one of its spellings.
fn literal(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, any::<u8>()).prop_map(|(text, how)| match how % 3 {
        0 => serde_json::to_string(&text).unwrap(),
        1 => {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\"", units.collect::<String>())
        }
        _ => serde_json::to_string(&text).unwrap().replace('/', "\\/").replace('a', "\\u0061"),
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "[a-cA-C]",
        2 => prop::sample::select(vec!["team", "Team", " team", "plan", "PLAN ", "evil", "a b", "", "é", "e\u{301}", "K", "İ"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "[ a-z]{0,4}",
        1 => prop::sample::select(vec!["", "  ", "\u{a0}x", "e\u{301}", "🦀"]).prop_map(str::to_owned),
        1 => "[a🦀]{250,258}",
        1 => any::<String>(),
    ]
}

fn any_scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => literal(any_text()),
        1 => prop::sample::select(vec!["0", "-0", "1.50", "1e3", "true", "false"]).prop_map(str::to_owned),
    ]
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![4 => any_scalar(), 1 => Just("null".to_owned())];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..3), any_space())
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},")))),
            (prop::collection::vec((literal(any_key()), inner), 0..3), any_space()).prop_map(|(members, space)| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}{space}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A document in parts: unknown members, and the metadata between them.
#[derive(Debug, Clone)]
struct Parts {
    before: Vec<String>,
    metadata: String,
    after: Vec<String>,
    space: &'static str,
}

impl Parts {
    fn text(&self) -> String {
        let metadata = format!("\"session_metadata\"{}:{}", self.space, self.metadata);
        let members: Vec<&str> = self.before.iter().chain([&metadata]).chain(&self.after).map(String::as_str).collect();
        format!("{}{{{}}}{}", self.space, members.join(&format!("{},", self.space)), self.space)
    }
}

fn any_parts() -> impl Strategy<Value = Parts> {
    // Names that are neither the metadata's nor its twins', each once.
    let unknown = |names: &'static [&'static str]| {
        prop::collection::vec((any_json(), any_space()), 0..names.len()).prop_map(move |values| {
            let members = names.iter().zip(values);
            members.map(|(name, (value, space))| format!("\"{name}\"{space}:{space}{value}")).collect::<Vec<_>>()
        })
    };
    let entry = (literal(any_key()), any_scalar(), any_space());
    let object = (prop::collection::vec(entry, 0..5), any_space()).prop_map(|(entries, outer)| {
        let entries: Vec<String> =
            entries.iter().map(|(key, value, space)| format!("{key}{space}:{space}{value}{space}")).collect();
        format!("{{{outer}{}}}", entries.join(","))
    });
    let metadata = prop_oneof![8 => object, 1 => Just("null".to_owned()), 1 => any_json()];
    (unknown(&["x", "y"]), metadata, unknown(&["z", "actor", "w"]), any_space())
        .prop_map(|(before, metadata, after, space)| Parts { before, metadata, after, space })
}

fn any_normalize() -> impl Strategy<Value = Normalize> {
    let case = prop::sample::select(vec![KeyCase::Keep, KeyCase::Lower, KeyCase::Upper]);
    (any::<bool>(), any::<bool>(), case, any::<bool>(), any::<bool>()).prop_map(
        |(nfc, trim, key_case, scalars_to_strings, drop_empty)| Normalize {
            nfc,
            trim,
            key_case,
            scalars_to_strings,
            drop_empty,
        },
    )
}

/// A key that normalizing leaves as it is: configurations with others are rejected.
fn own_key(normalize: Normalize) -> &'static str {
    match normalize.key_case {
        KeyCase::Upper => "A",
        KeyCase::Keep | KeyCase::Lower => "a",
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let pattern = |source: &str| KeyPattern::parse(source).unwrap();
    let allowed = prop::option::weighted(0.5, Just(vec!["a", "b", "c", "A", "B", "team", "/(?i)plan/"]));
    (any_normalize(), allowed, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        move |(normalize, allowed, default, required, wipe)| Policy {
            normalize,
            allowed: allowed.map(|all| KeyPatterns(all.iter().map(|source| pattern(source)).collect())),
            required: if required { vec![pattern(own_key(normalize))] } else { Vec::new() },
            fields: if default {
                let default = Some("d".to_owned());
                vec![(pattern(own_key(normalize)), FieldRule { default, ..FieldRule::default() })]
            } else {
                Vec::new()
            },
            wipe: if wipe { Wipe::Reject } else { Wipe::Allow },
            ..Policy::default()
        },
    )
}

/// What is wrong with a forwarded document, by another parser and without the policy's own code.
fn fault(policy: &Policy, text: &[u8]) -> Option<String> {
    let Ok(Value::Object(document)) = serde_json::from_slice(text) else {
        return Some("it is no object".into());
    };
    let metadata = match document.get("session_metadata") {
        None => return document.is_empty().then(|| "it is empty".into()),
        Some(Value::Null) => None,
        Some(Value::Object(metadata)) => Some(metadata).filter(|metadata| !metadata.is_empty()),
        Some(other) => return Some(format!("its metadata is {other}")),
    };
    let Some(metadata) = metadata else {
        let kept = policy.wipe == Wipe::Reject || !policy.required.is_empty();
        return kept.then(|| "it removes everything".into());
    };
    if metadata.len() > 25 {
        return Some("it has too many entries".into());
    }
    if !policy.required.is_empty() && !metadata.contains_key(own_key(policy.normalize)) {
        return Some("what is required is missing".into());
    }
    metadata.iter().find_map(|(key, value)| {
        let Some(value) = value.as_str() else {
            return Some(format!("`{key}` has no string"));
        };
        let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let allowed = ["a", "b", "c", "A", "B", "team"].contains(&key.as_str()) || key.eq_ignore_ascii_case("plan");
        let normalize = policy.normalize;
        let units = value.encode_utf16().count();
        match () {
            () if !plain || key.len() > 255 => Some(format!("the key {key:?}")),
            () if policy.allowed.is_some() && !allowed => Some(format!("`{key}` is not allowed")),
            () if units > 255 => Some(format!("`{key}` has {units} characters")),
            () if normalize.trim && value.trim() != value => Some(format!("`{key}` is not trimmed")),
            () if normalize.drop_empty && value.is_empty() => Some(format!("`{key}` is empty")),
            () if normalize.key_case == KeyCase::Lower && key.to_lowercase() != *key => {
                Some(format!("`{key}` is not lower"))
            }
            () if normalize.key_case == KeyCase::Upper && key.to_uppercase() != *key => {
                Some(format!("`{key}` is not upper"))
            }
            () if normalize.nfc && !unicode_normalization::is_nfc(value) => Some(format!("`{key}` is not composed")),
            () => None,
        }
    })
}

proptest! {
    #![proptest_config(proptest_cases(500))]

    /// Another parser finds nothing forbidden in a forwarded body, a second evaluation edits nothing more, and unknown
    /// members keep their bytes and their order.
    #[test]
    fn forwarded_bodies_conform_to_the_policy(parts in any_parts(), policy in any_policy()) {
        let text = parts.text();
        let gateway = gateway(policy.clone());
        if let Ok(out) = forwarded(&gateway, text.as_bytes()) {
            prop_assert_eq!(fault(&policy, &out), None);
            let mut rest = std::str::from_utf8(&out).unwrap();
            for member in parts.before.iter().chain(&parts.after) {
                let at = rest.find(member.as_str());
                prop_assert!(at.is_some(), "{} is missing in {:?}", member, out);
                rest = &rest[at.unwrap() + member.len()..];
            }
            // Outside the metadata nothing changes at all.
            let (before, _) = text.split_once(&parts.metadata).unwrap();
            prop_assert!(out.starts_with(before.as_bytes()));
            prop_assert_eq!(forwarded(&gateway, &out), Ok(out), "evaluated again");
        }
    }

    /// Audit mode never edits.
    #[test]
    fn unedited_bodies_are_forwarded_byte_by_byte(parts in any_parts(), policy in any_policy(), audit: bool) {
        let text = parts.text();
        let policy = match audit {
            true => Policy { mode: Mode::Audit, ..policy },
            false => Policy { normalize: Normalize::default(), fields: Vec::new(), ..policy },
        };
        if let Ok(out) = forwarded(&gateway(policy), text.as_bytes()) {
            prop_assert_eq!(out, text.as_bytes());
        }
    }

    /// Any bytes: the gateway does not panic, and forwards nothing but one object, in either mode.
    #[test]
    fn only_json_objects_are_forwarded(body in prop::collection::vec(any::<u8>(), 0..64), policy in any_policy(), audit: bool) {
        let mode = if audit { Mode::Audit } else { Mode::Enforce };
        if let Ok(out) = forwarded(&gateway(Policy { mode, ..policy }), &body) {
            prop_assert!(matches!(serde_json::from_slice(&out), Ok(Value::Object(_))));
        }
    }

    /// Documents with a few bytes changed, removed or duplicated: parsers differ most on nearly valid input.
    #[test]
    fn mutated_documents_are_forwarded_only_if_they_are_json_objects(
        parts in any_parts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..4),
        policy in any_policy(),
    ) {
        let mut body = parts.text().into_bytes();
        for (at, how, byte) in changes {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                2 => body.insert(at, byte),
                _ => {
                    let copy = body[at..].to_vec();
                    body.extend(copy);
                }
            }
        }
        let gateway = gateway(policy.clone());
        if let Ok(out) = forwarded(&gateway, &body) {
            prop_assert_eq!(fault(&policy, &out), None);
            prop_assert_eq!(forwarded(&gateway, &out), Ok(out), "evaluated again");
        }
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "/",
        "//",
        "api",
        "v2",
        "sessions",
        "refresh-tokens",
        "users",
        "api/v2/users/id/sessions",
        "/users/id/",
        "/revoke-access",
        "%7C",
        "api/v2/sessions/id",
        "/api/v2/",
        "/sessions/id",
        "id",
        "x",
        ".",
        "..",
        "/../",
        "/./",
        "%2e",
        "%2e%2e",
        "/%2e%2e/",
        "%252e%252e",
        ";",
        ";x",
        "..;",
        "\\",
        "\\..\\",
        "%5c",
        "%2f",
        "%2f..%2f",
        "%252f",
        "%3f",
        "%23",
        "%20",
        "%00",
        "%73essions",
        "%61",
        "%7c",
        "|",
        "a@b!$&'()*+,=:",
        "%2E",
        "%257C",
        "%C3%A9",
        "SESSIONS",
        "%",
        "é",
    ]);
    prop::collection::vec(piece, 1..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn is_passed(gateway: &Gateway, path: &str) -> bool {
    let headers = HeaderMap::new();
    let head = RequestHead {
        listener: "",
        method: &Method::PATCH,
        path,
        query: None,
        host: "",
        headers: &headers,
        http2: false,
        trusted: false,
    };
    match gateway.route(head) {
        Ok(Routed::PassThrough(..) | Routed::Invalidating(_) | Routed::InvalidatingIfAccepted(_)) => true,
        Ok(Routed::Governed(_)) | Err(_) => false,
    }
}

proptest! {
    #![proptest_config(proptest_cases(1000))]

    /// Nor anything else that is governed, for many kinds of servers.
    #[test]
    fn no_server_reads_a_session_in_a_pass_through_path(path in any_path()) {
        if is_passed(&gateway(Policy::default()), &path) {
            let found = path_readers().find(|server| server.finds_something(&path));
            prop_assert!(found.is_none(), "{} is passed, and is {:?} to {:?}", path, found.unwrap().parts(&path), found.unwrap());
        }
    }
}

/// The parts of a path by RFC 3986: separated first, then decoded, each once; none where something is no code, or no
/// UTF-8.
fn parts_by_the_book(path: &str) -> Option<Vec<String>> {
    let is_code = |tail: &str| tail.get(..2).is_some_and(|pair| u8::from_str_radix(pair, 16).is_ok());
    let whole = path.split('%').skip(1).all(is_code);
    let parts = path
        .strip_prefix('/')?
        .split('/')
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8().ok().map(|part| part.into_owned()));
    parts.collect::<Option<Vec<String>>>().filter(|_| whole)
}

proptest! {
    #![proptest_config(proptest_cases(3000))]

    /// The forwarded path has the meaning of the original, every server reads it alike, and it has no other spelling.
    #[test]
    fn governed_paths_are_forwarded_in_canonical_form(dialect in 0..DIALECTS.len(), path in any_path()) {
        let dialect = DIALECTS[dialect];
        // The paths begin as those of Auth0 do.
        let (own, _) = dialect.protected_paths[0].rsplit_once("/sessions").unwrap();
        let path = path.replacen("/api/v2", own, 1);
        for method in [Method::GET, Method::PATCH, Method::DELETE, Method::POST] {
            let Ok(RouteMatch::Governed { path: forwarded, .. }) = dialect.match_route(&method, &path, None) else { continue };
            prop_assert_eq!(parts_by_the_book(&path), parts_by_the_book(&forwarded), "{} became {}", path, forwarded);
            let again = dialect.match_route(&method, &forwarded, None);
            let same = matches!(&again, Ok(RouteMatch::Governed { path, .. }) if *path == forwarded);
            prop_assert!(same, "{} is canonical, and becomes {:?}", forwarded, again);
            let expected = parts_by_the_book(&forwarded);
            for server in path_readers() {
                let parts = server.parts(&forwarded).iter().map(|part| decoded(part)).collect();
                prop_assert_eq!(Some(parts), expected.clone(), "{} to {:?}", forwarded, server);
            }
        }
    }
}

/// A path of a user as a client may spell it, and as all of them mean it: each character raw or encoded, in either
/// case. A dot is always raw.
fn any_spelling() -> impl Strategy<Value = (String, String)> {
    let raw = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@|^[]{}".contains(c);
    let id = "[a-z0-9|@.!$&'()*+,=:^{}\u{e9}\u{4e00} _~-]{0,12}".prop_map(|id| format!("auth0|x{id}x"));
    let word = prop::sample::select(vec!["sessions", "refresh-tokens", "revoke-access"]);
    (id, word, prop::collection::vec(0..3u8, 64)).prop_map(move |(id, word, ways)| {
        let mut ways = ways.into_iter().cycle();
        let mut spell = |text: &str| {
            let mut out = String::new();
            for c in text.chars() {
                match ways.next() {
                    Some(0) if raw(c) => out.push(c),
                    _ if c == '.' => out.push(c),
                    Some(1) => c.to_string().bytes().for_each(|byte| out.push_str(&format!("%{byte:02x}"))),
                    _ => c.to_string().bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
                }
            }
            out
        };
        let sent = ["api", "v2", "users", &id, word].map(|part| format!("/{}", spell(part))).concat();
        const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
        (sent, format!("/api/v2/users/{}/{word}", utf8_percent_encode(&id, RESERVED)))
    })
}

proptest! {
    #![proptest_config(proptest_cases(1000))]

    #[test]
    fn spellings_of_a_user_path_are_forwarded_in_canonical_form((sent, expected) in any_spelling()) {
        let method = if expected.ends_with("access") { Method::POST } else { Method::DELETE };
        let found = AUTH0.match_route(&method, &sent, None);
        let forwarded = matches!(&found, Ok(RouteMatch::Governed { path, .. }) if *path == expected);
        prop_assert!(forwarded, "{} is {:?}, expected {}", sent, found, expected);
    }
}

/// The readers of the properties above are diverse enough to find known bypasses.
#[test]
fn path_readers_find_known_bypasses() {
    for path in [
        "/api/v2/sessions/id",
        "/API/v2/sess%69ons/id",
        "/api/v2/sessions%252fid",
        "/api/v2/users/%2e%2e/sessions/id",
        "/api/v2/sessions//../id",
        "/api/v2//../sessions/id",
        "/api/v2/sessions/;/../id",
        "/api/v2/..;/../sessions/id",
        "/api/v2/%3f/%2e%2e/sessions/id",
        "/api/v2/q\\..\\..\\q/../sessions/id",
        "/api\\v2\\sessions\\id",
        "/api/v2/sessions/id;x",
        "//api/v2/sessions/id",
        "/api/v2/refresh-tokens/id",
        "/api/v2/Refresh-Tokens/id",
        "/api/v2/refresh%2Dtokens",
        "/api/v2/users/x%2Fsessions",
        "/api/v2/users/%20/sess%69ons",
        "/api/v2/users/;/revoke-access",
        "/api/v2/users/x/revoke-access;y",
        "/api/v2/users//x/refresh-tokens",
        "/api/v2/users/x/roles/..\\sessions",
    ] {
        assert!(path_readers().any(|server| server.finds_something(path)), "{path}");
        let canonical = ["/api/v2/sessions/id", "/api/v2/refresh-tokens/id"].contains(&path);
        assert!(canonical || !is_passed(&gateway(Policy::default()), path), "{path} is passed");
    }
    assert!(!path_readers().any(|server| server.finds_something("/api/v2/users/sessions/id")));
}

/// Paths that real clients send are not rejected as ambiguous.
#[test]
fn common_paths_are_pass_through() {
    let gateway = gateway(Policy::default());
    for path in [
        "/",
        "/authorize",
        "/oauth/token",
        "/.well-known/openid-configuration",
        "/api/v2/users/auth0%7C65f0",
        "/api/v2/users-by-email",
        "/api/v2/clients/x/credentials",
        "/api/v2/users/google-oauth2%7C1%2F2",
        "/api/v2/users/auth0%7Ca%40b.c",
        "/api/v2/connections/con_x/users",
        "/u/login;x=1",
    ] {
        assert!(is_passed(&gateway, path), "{path}");
    }
}

/// Requests, whole and spoiled: lines, headers and bodies that do not always go together, and a byte that is another.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => Just("POST /x HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("\r\nGET /x HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("PUT http://a/z HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("GET /x HTTP/1.0\r\n"),
        1 => Just("GET /x HTTP/1.1\r\n"),
        1 => Just("GET /x y HTTP/1.1\nHost: a\r\n"),
    ];
    let field = prop_oneof![
        5 => Just("X: y\r\n"),
        2 => Just("Content-Length: 5\r\n"),
        2 => Just("transfer-encoding: \tChunked\r\n"),
        1 => Just("content-length:7\r\n"),
        2 => prop::sample::select(vec![
            "Host: b\r\n", "Content-Length: 5, 5\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer_Encoding: chunked\r\n", "X: y\n", "X : y\r\n",
            " folded\r\n", "X\r\n", "X: \0\r\n", "\r\n",
        ]),
    ];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    let part = prop::sample::select(vec![
        "hello",
        "5\r\nhello\r\n",
        "5;x=y\r\nhello\r\n",
        "5\nhello\r\n",
        "0\r\n\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "0\r\nX: y\n\n",
        "GET / HTTP/1.1\r\n",
    ]);
    let fields = prop::collection::vec(field, 0..3).prop_map(|fields| fields.concat());
    let parts = prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat());
    let change = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (line, fields, end, parts, change).prop_map(|(line, fields, end, parts, change)| {
        let mut bytes = [line, &fields, end, &parts].concat().into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

const LIMITS: HeadLimits = HeadLimits { block: 512, count: 8, single: 128, target: 64 };

/// How long a request is; none where more of it has to come.
fn length(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let Some(end) = http1::HeadParser::new(LIMITS).read(bytes)? else {
        return Ok(None);
    };
    let mut body = end.body;
    let length = end.length + body.take(&bytes[end.length..])?;
    Ok(body.is_over().then_some(length))
}

/// The same, when the bytes come one after the other.
fn slow_length(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let mut head = http1::HeadParser::new(LIMITS);
    for come in 1..=bytes.len() {
        let Some(end) = head.read(&bytes[..come])? else {
            continue;
        };
        let mut body = end.body;
        let mut length = end.length;
        for byte in &bytes[end.length..] {
            length += body.take(&[*byte])?;
        }
        return Ok(body.is_over().then_some(length));
    }
    Ok(None)
}

/// What is wrong with a request that was taken, by rules of its own: lines end in CR LF and in nothing else, one host,
/// one framing, and the body that it says.
fn message_fault(bytes: &[u8]) -> Option<&'static str> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let (head, body) = text.trim_start_matches("\r\n").split_once("\r\n\r\n")?;
    if head.replace("\r\n", "").contains(|c: char| c.is_control() && c != '\t' && !('\u{80}'..='\u{9f}').contains(&c)) {
        return Some("a control character");
    }
    let mut lines = head.split("\r\n");
    let old = lines.next()?.ends_with("HTTP/1.0");
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').unwrap_or((line, "\0")))
        .map(|(n, v)| (n.to_lowercase(), v.trim()))
        .collect();
    let all = |name: &str| fields.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).collect::<Vec<_>>();
    let framing = |name: &str| ["content-length", "transfer-encoding"].contains(&name.replace('_', "-").as_str());
    if fields
        .iter()
        .any(|(name, value)| name.contains([' ', '\t']) || (name.contains('_') && framing(name)) || *value == "\0")
    {
        return Some("a name");
    }
    if all("host").len() > 1 || (all("host").is_empty() && !old) {
        return Some("the host");
    }
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => (!body.is_empty()).then_some("a body that nobody announced"),
        ([length], []) => (length.parse() != Ok(body.chars().count())).then_some("another length"),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !old => {
            (!body.ends_with("\r\n\r\n") && !body.ends_with("0\r\n\r\n")).then_some("no last chunk")
        }
        _ => Some("two framings"),
    }
}

proptest! {
    #![proptest_config(proptest_cases(5000))]

    /// An accepted request is also unambiguous to other parsers.
    #[test]
    fn request_length_does_not_depend_on_how_bytes_arrive(bytes in any_message()) {
        let whole = length(&bytes);
        prop_assert_eq!(whole, slow_length(&bytes));
        if let Ok(Some(length)) = whole {
            prop_assert_eq!(message_fault(&bytes[..length]), None, "{:?}", String::from_utf8_lossy(&bytes[..length]));
        }
    }
}

#[test]
fn generated_requests_include_valid_and_invalid_ones() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 3];
    for _ in 0..5000 {
        let bytes = any_message().new_tree(&mut runner).unwrap().current();
        counts[match length(&bytes) {
            Ok(Some(_)) => 0,
            Ok(None) => 1,
            Err(_) => 2,
        }] += 1;
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}
