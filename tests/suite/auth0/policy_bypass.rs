//! Ways around the policy, byte by byte on real sockets. The policy allows the keys `team` and `plan`, and so forbids
//! the key `evil`. The provider records every byte.
//!
//! In every row, a rejected request does not reach the provider. A forwarded one reaches it exactly once, with one
//! Content-Length, with the provider's own `Host`, and without a client's value of a header that only proxies may set.

use crate::harness::recorder::{Recorder, SESSION, Seen};
use crate::harness::{Connection, Gateway};
use std::fmt::Write as _;
use std::io::Write as _;

const EVIL: &str = r#"{"session_metadata":{"evil":"1"}}"#;
const GOOD: &str = r#"{"session_metadata":{"team":"blue"}}"#;

/// A gateway before a recording provider.
struct Guarded {
    recorder: Recorder,
    gateway: Gateway,
    token: String,
}

impl Guarded {
    fn start() -> Guarded {
        Guarded::before(Recorder::auth0(), "")
    }

    fn before(recorder: Recorder, more: &str) -> Guarded {
        let upstream = recorder.upstream(&format!("policy: guard\n{more}"));
        let gateway =
            Gateway::start(&format!("{upstream}policies:\n  guard:\n    keys: {{ allowed: [team, plan] }}\n"));
        gateway.ready();
        Guarded { token: recorder.token(), recorder, gateway }
    }

    fn path(&self) -> String {
        format!("/api/v2/sessions/{SESSION}")
    }

    /// `PATCH` of the session with a body that the policy forbids.
    fn evil(&self) -> Raw {
        self.raw("PATCH", &self.path()).with("Content-Type", "application/json").body(EVIL)
    }

    /// The same with a body that it allows.
    fn good(&self) -> Raw {
        self.evil().body(GOOD)
    }

    fn raw(&self, method: &str, target: &str) -> Raw {
        Raw {
            line: format!("{method} {target} HTTP/1.1"),
            headers: vec![
                ("Host".into(), self.gateway.address().to_string().into()),
                ("Authorization".into(), format!("Bearer {}", self.token).into()),
            ],
            body: Vec::new(),
            length: true,
        }
    }

    /// The status of the response to these bytes; 0 where the connection is closed without any.
    fn ask(&self, bytes: &[u8]) -> u16 {
        let mut connection = Connection::open(self.gateway.address()).unwrap();
        // A gateway that rejects may close before it has read everything.
        let _ = connection.write(bytes);
        connection.response(bytes.starts_with(b"HEAD")).map_or(0, |response| response.status)
    }

    /// Sends each row; all are expected to be rejected with a status in the 400s (or by closing), and none to reach the
    /// provider.
    fn all_rejected(&self, rows: Vec<(&str, Raw)>) {
        let mut faults = String::new();
        for (name, row) in rows {
            let before = self.recorder.count();
            let status = self.ask(&row.bytes());
            let reached = &self.recorder.seen()[before..];
            if !(status == 0 || (400..500).contains(&status)) || !reached.is_empty() {
                let seen: Vec<String> = reached.iter().map(brief).collect();
                let _ = writeln!(faults, "{name}: status {status}, the provider got {seen:?}");
            }
        }
        assert!(faults.is_empty(), "not rejected:\n{faults}");
        self.assert_no_evil();
    }

    /// Sends each row; all are expected to reach the provider once, with this body.
    fn all_forwarded(&self, rows: Vec<(&str, Raw, &str)>) {
        let mut faults = String::new();
        for (name, row, body) in rows {
            let before = self.recorder.count();
            let status = self.ask(&row.bytes());
            match &self.recorder.seen()[before..] {
                [one] if status == 200 && one.text() == body => {
                    if let Some(fault) = self.framing_fault(one) {
                        let _ = writeln!(faults, "{name}: {fault}");
                    }
                }
                other => {
                    let seen: Vec<String> = other.iter().map(brief).collect();
                    let _ = writeln!(faults, "{name}: status {status}, the provider got {seen:?}");
                }
            }
        }
        assert!(faults.is_empty(), "not forwarded as it should be:\n{faults}");
        self.assert_no_evil();
    }

    /// What is wrong with a forwarded write.
    fn framing_fault(&self, seen: &Seen) -> Option<String> {
        let lengths = seen.all("Content-Length");
        if lengths != [seen.body.len().to_string()] || !seen.all("Transfer-Encoding").is_empty() {
            return Some(format!("framed by {lengths:?} in {}", brief(seen)));
        }
        if seen.all("Host") != [self.recorder.address().to_string()] {
            return Some(format!("Host is {:?}", seen.all("Host")));
        }
        if !seen.all("X-Forwarded-For").is_empty() || seen.all("Authorization").len() != 1 {
            return Some(format!("headers {:?}", seen.headers));
        }
        if seen.target != self.path() {
            return Some(format!("target {}", seen.target));
        }
        None
    }

    fn assert_no_evil(&self) {
        for seen in self.recorder.seen() {
            assert!(!seen.text().contains("evil"), "the provider got {}", brief(&seen));
        }
    }
}

fn brief(seen: &Seen) -> String {
    let body: String = seen.text().chars().take(80).collect();
    format!("{} {} {body}", seen.method, seen.target)
}

/// A request as bytes.
#[derive(Clone)]
struct Raw {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    length: bool,
}

impl Raw {
    fn line(mut self, line: &str) -> Raw {
        self.line = line.into();
        self
    }

    /// One more header.
    fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Raw {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// Instead of the headers of this name.
    fn set(self, name: &str, value: impl AsRef<[u8]>) -> Raw {
        self.without(name).with(name, value)
    }

    fn without(mut self, name: &str) -> Raw {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Raw {
        self.body = body.as_ref().into();
        self
    }

    /// Without the Content-Length that is added otherwise.
    fn unframed(mut self) -> Raw {
        self.length = false;
        self
    }

    /// With the body as one chunk and `trailer` lines behind the last.
    fn chunked(self, trailer: &str) -> Raw {
        let mut body = Vec::new();
        if !self.body.is_empty() {
            write!(body, "{:x}\r\n", self.body.len()).unwrap();
            body.extend_from_slice(&self.body);
            body.extend_from_slice(b"\r\n");
        }
        write!(body, "0\r\n{trailer}\r\n").unwrap();
        self.unframed().with("Transfer-Encoding", "chunked").body(body)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if self.length && !self.body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[test]
fn other_content_types_than_utf_8_json_are_rejected() {
    let guarded = Guarded::start();
    let typed = |content_type: &str| guarded.evil().set("Content-Type", content_type);
    let mut rows = vec![
        ("none", guarded.evil().without("Content-Type")),
        ("two", guarded.good().with("Content-Type", "application/json")),
        ("json, then a form", guarded.good().with("Content-Type", "application/x-www-form-urlencoded")),
        ("a form", typed("application/x-www-form-urlencoded").body("session_metadata%5Bevil%5D=1")),
        (
            "multipart",
            typed("multipart/form-data; boundary=b")
                .body("--b\r\nContent-Disposition: form-data; name=\"session_metadata[evil]\"\r\n\r\n1\r\n--b--\r\n"),
        ),
    ];
    for other in [
        "",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/x-json",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset=utf-8; q=1",
        "application/json; charset=utf-8; charset=utf-8",
        "application/json; charset = utf-8",
        "application/json; charset='utf-8'",
        "application/json; junk",
        "application/json; charset",
        "application/json; charset=",
        "application/json, text/plain",
        "text/plain, application/json",
        "application/json application/json",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/vnd.api+json",
        "application/json+x",
        "application /json",
        "*/*",
        "application/*",
        "json",
    ] {
        rows.push((other, typed(other)));
        rows.push((other, typed(other).body(GOOD)));
    }
    guarded.all_rejected(rows);
    let good = |content_type: &str| guarded.good().set("Content-Type", content_type);
    guarded.all_forwarded(vec![
        ("plain", good("application/json"), GOOD),
        ("upper case", good("APPLICATION/JSON"), GOOD),
        ("charset", good("application/json; charset=utf-8"), GOOD),
        ("charset in quotes", good("application/json;charset=\"UTF-8\""), GOOD),
        ("charset in other words", good("application/json; charset=utf8"), GOOD),
        ("charset in other words and quotes", good("Application/JSON ; Charset=\"UTF8\""), GOOD),
        ("an empty parameter", good("application/json;"), GOOD),
        ("empty parameters", good("application/json; ; charset=utf-8 ;"), GOOD),
    ]);
}

#[test]
fn bodies_that_two_parsers_may_read_differently_are_rejected() {
    let guarded = Guarded::start();
    let utf16 = |big: bool| -> Vec<u8> {
        let units = EVIL.encode_utf16();
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let mut bodies: Vec<(&str, Vec<u8>)> = vec![
        ("the forbidden key", EVIL.into()),
        ("UTF-16 big-endian", utf16(true)),
        ("UTF-16 little-endian", utf16(false)),
        ("UTF-16 with its mark", [vec![0xff, 0xfe], utf16(false)].concat()),
        ("byte order mark", format!("\u{feff}{GOOD}").into()),
        ("NUL before", format!("\0{GOOD}").into()),
        ("NUL behind", format!("{GOOD}\0").into()),
        ("overlong UTF-8", b"{\"session_metadata\":{\"team\":\"\xc0\xae\"}}".to_vec()),
        ("a surrogate in UTF-8", b"{\"session_metadata\":{\"team\":\"\xed\xa0\x80\"}}".to_vec()),
        ("Latin-1", b"{\"session_metadata\":{\"team\":\"\xe9\"}}".to_vec()),
        ("empty", Vec::new()),
        ("white space", b" ".to_vec()),
    ];
    for (name, body) in [
        ("a second value", format!("{GOOD}{EVIL}")),
        ("a second value in the next line", format!("{GOOD}\n{EVIL}")),
        ("junk behind", format!("{GOOD} evil")),
        ("a comment", format!("{GOOD}//")),
        ("a comment inside", r#"{"session_metadata":{"team":"blue"/*"*/}}"#.to_owned()),
        ("the member twice", r#"{"session_metadata":{"team":"a"},"session_metadata":{"evil":"1"}}"#.into()),
        (
            "the member twice, the other way round",
            r#"{"session_metadata":{"evil":"1"},"session_metadata":{"team":"a"}}"#.into(),
        ),
        (
            "the member twice, escaped",
            r#"{"session_metadata":{"team":"a"},"session\u005fmetadata":{"evil":"1"}}"#.into(),
        ),
        ("a key twice", r#"{"session_metadata":{"team":"a","team":"b"}}"#.into()),
        ("a key twice, escaped", r#"{"session_metadata":{"team":"a","t\u0065am":"b"}}"#.into()),
        ("the forbidden key, escaped", r#"{"session_metadata":{"\u0065vil":"1"}}"#.into()),
        ("a key twice, deep", r#"{"session_metadata":{"team":"a"},"x":{"y":{"a":1,"a":2}}}"#.into()),
        ("camel case", r#"{"sessionMetadata":{"evil":"1"}}"#.into()),
        ("camel case beside", r#"{"session_metadata":{"team":"a"},"sessionMetadata":{"evil":"1"}}"#.into()),
        ("upper case", r#"{"SESSION_METADATA":{"evil":"1"}}"#.into()),
        ("with a hyphen", r#"{"session-metadata":{"evil":"1"}}"#.into()),
        ("a lone surrogate", r#"{"session_metadata":{"team":"\ud800"}}"#.into()),
        ("a lone surrogate in a key", r#"{"session_metadata":{"team":"a"},"\udc00":1}"#.into()),
        ("an array", r#"[{"session_metadata":{"evil":"1"}}]"#.into()),
        ("a JSON patch", r#"[{"op":"add","path":"/session_metadata/evil","value":"1"}]"#.into()),
        ("an array of metadata", r#"{"session_metadata":["evil"]}"#.into()),
        ("pairs", r#"{"session_metadata":[["evil","1"]]}"#.into()),
        ("metadata in a string", r#"{"session_metadata":"{\"evil\":\"1\"}"}"#.into()),
        ("the whole in a string", r#""{\"session_metadata\":{\"evil\":\"1\"}}""#.into()),
        ("null for a value", r#"{"session_metadata":{"team":null}}"#.into()),
        ("a number for a value", r#"{"session_metadata":{"team":1}}"#.into()),
        ("an object for a value", r#"{"session_metadata":{"team":{"evil":"1"}}}"#.into()),
        ("a trailing comma", r#"{"session_metadata":{"team":"a",}}"#.into()),
        ("single quotes", "{'session_metadata':{'evil':'1'}}".into()),
        ("no quotes", "{session_metadata:{evil:1}}".into()),
        ("NaN", r#"{"session_metadata":{"team":"a"},"x":NaN}"#.into()),
        ("an integer beyond 2^53", r#"{"session_metadata":{"team":"a"},"x":9007199254740993}"#.into()),
        ("a control character", "{\"session_metadata\":{\"te\tam\":\"a\"}}".into()),
        ("too deep", format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64))),
        ("a form", "session_metadata[evil]=1".into()),
        ("a form that begins like JSON", "{\"session_metadata\":{\"team\":\"a\"}}=&session_metadata[evil]=1".into()),
        ("`__proto__` as a key", r#"{"session_metadata":{"__proto__":"1"}}"#.into()),
        ("`constructor` as a key", r#"{"session_metadata":{"constructor":"1"}}"#.into()),
        ("empty object", "{}".into()),
    ] {
        bodies.push((name, body.into()));
    }
    let mut rows = Vec::new();
    for (name, body) in &bodies {
        rows.push((*name, guarded.evil().body(body)));
        rows.push((*name, guarded.evil().body(body).chunked("")));
    }
    guarded.all_rejected(rows);
}

#[test]
fn compressed_bodies_are_rejected() {
    let guarded = Guarded::start();
    // `printf '%s' '{"session_metadata":{"evil":"1"}}' | gzip -9n`
    let gzip = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xab, 0x56, 0x2a, 0x4e, 0x2d, 0x2e, 0xce, 0xcc, 0xcf, 0x8b, 0xcf, 0x4d,
        0x2d, 0x49,
    ];
    let mut rows = vec![
        ("gzip, undeclared", guarded.evil().body(gzip)),
        ("gzip as a transfer coding", guarded.good().chunked("").set("Transfer-Encoding", "gzip, chunked")),
    ];
    for coding in [
        "gzip",
        "x-gzip",
        "br",
        "deflate",
        "zstd",
        "compress",
        "GZIP",
        "identity, gzip",
        "gzip, identity",
        "",
        "unknown",
        "identity,",
    ] {
        rows.push((coding, guarded.evil().with("Content-Encoding", coding).body(gzip)));
        rows.push((coding, guarded.good().with("Content-Encoding", coding)));
        rows.push((coding, guarded.good().with("Content-Encoding", "identity").with("Content-Encoding", coding)));
    }
    guarded.all_rejected(rows);
    let identity = guarded.good().with("Content-Encoding", "identity");
    guarded.all_forwarded(vec![("identity", identity, GOOD)]);
}

#[test]
fn other_methods_and_method_overrides_do_not_change_a_session() {
    let guarded = Guarded::start();
    let path = guarded.path();
    let mut rows = Vec::new();
    for method in [
        "patch",
        "pAtCh",
        "PATCH\t",
        "PUT",
        "POST",
        "MERGE",
        "PROPPATCH",
        "QUERY",
        "TRACE",
        "HEAD",
        "CONNECT",
        "X",
        "PATCHPATCH",
    ] {
        rows.push((method, guarded.evil().line(&format!("{method} {path} HTTP/1.1"))));
    }
    rows.push(("a space before", guarded.evil().line(&format!(" PATCH {path} HTTP/1.1"))));
    rows.push(("two spaces", guarded.evil().line(&format!("PATCH  {path} HTTP/1.1"))));
    rows.push(("HTTP/0.9", guarded.evil().line(&format!("PATCH {path}"))));
    rows.push(("HTTP/2.0", guarded.evil().line(&format!("PATCH {path} HTTP/2.0"))));
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override"] {
        for method in ["PATCH", "POST", "PUT", "GET", "DELETE"] {
            let row = guarded.evil().line(&format!("{method} {path} HTTP/1.1"));
            rows.push((name, row.with(name, "PATCH")));
            let row = guarded.good().line(&format!("{method} {path} HTTP/1.1"));
            rows.push((name, row.with(name, "DELETE")));
        }
        rows.push((name, guarded.raw("GET", &path).with(name, "DELETE")));
        rows.push((name, guarded.raw("POST", &format!("{path}/revoke")).with(name, "PATCH")));
        rows.push((name, guarded.raw("DELETE", &path).with(name, "")));
    }
    rows.push(("_method in the query", guarded.evil().line(&format!("POST {path}?_method=PATCH HTTP/1.1"))));
    rows.push(("any query", guarded.good().line(&format!("PATCH {path}?x=1 HTTP/1.1"))));
    rows.push((
        "a token in the query",
        guarded.good().without("Authorization").line(&format!("PATCH {path}?access_token={} HTTP/1.1", guarded.token)),
    ));
    for method in ["DELETE", "GET"] {
        let row = guarded.evil().line(&format!("{method} {path} HTTP/1.1"));
        rows.push(("a body where there is none", row.clone()));
        rows.push(("a chunked body where there is none", row.chunked("")));
    }
    let row = guarded.evil().line(&format!("POST {path}/revoke HTTP/1.1"));
    rows.push(("a body of revoke", row.clone()));
    rows.push(("a chunked body of revoke", row.chunked("")));
    rows.push(("upgrade", guarded.good().with("Connection", "Upgrade").with("Upgrade", "websocket")));
    rows.push((
        "upgrade of a read",
        guarded
            .raw("GET", &path)
            .with("Connection", "Upgrade")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13")
            .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ));
    rows.push((
        "upgrade to one of several",
        guarded.good().with("Connection", "Upgrade").with("Upgrade", "h2c, WebSocket"),
    ));
    rows.push((
        "upgrade to h2c",
        guarded
            .evil()
            .with("Connection", "Upgrade, HTTP2-Settings")
            .with("Upgrade", "h2c")
            .with("HTTP2-Settings", "AA"),
    ));
    guarded.all_rejected(rows);
    // A server may ignore the offer.
    let offer = |connection: &str, upgrade: &str| {
        guarded
            .good()
            .with("Connection", connection)
            .with("Upgrade", upgrade)
            .with("HTTP2-Settings", "AAMAAABkAAQAAP__")
    };
    guarded.all_forwarded(vec![
        ("h2c", offer("Upgrade, HTTP2-Settings", "h2c"), GOOD),
        ("several offers", offer("Upgrade, HTTP2-Settings", "TLS/1.2, h2c"), GOOD),
        ("several headers", offer("Upgrade, HTTP2-Settings", "TLS/1.2").with("Upgrade", "h2c"), GOOD),
        ("an offer that is not named", offer("keep-alive", "h2c"), GOOD),
        ("an offer with chunks", offer("Upgrade, HTTP2-Settings", "h2c").chunked(""), GOOD),
    ]);
    for seen in guarded.recorder.seen() {
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), None);
        }
    }
}

#[test]
fn other_spellings_of_a_session_path_are_rejected() {
    let guarded = Guarded::start();
    let mut rows = Vec::new();
    let id = SESSION;
    let paths = [
        "/api/v2/sess%2569ons/ID",
        "/api/v2/sess%69ons%2fID",
        "/api/v2/sess%69ons//ID",
        "/api/v2/sess%69ons/ID/",
        "/api/v2/S%65ssions/ID",
        "/api/v2/sess%69ons;x/ID",
        "/api/v2/users/%2e%2e/sess%69ons/ID",
        "/api%2fv2/sess%69ons/ID",
        "/api/v2/sessions/ID%2ejson",
        "/api/v2/sessions/ID%2",
        "/api/v2/sessions/ID%zz",
        "/api/v2/sessions/ID%6",
        "/api/v2/sess%252569ons/ID",
        "/api/v2/sessions%2fID",
        "/api/v2/sessions%2FID",
        "/api/v2%2fsessions%2fID",
        "/api%2fv2/sessions/ID",
        "/api/v2/sessions%252fID",
        "/api/v2/sessions/ID%2frevoke",
        "/api/v2/sessions/ID%00",
        "/api/v2/sessions%00/ID",
        "/api/v2/sessions/ID%20",
        "/api/v2/sessions/%20ID",
        "/api/v2/sessions%20/ID",
        "/api/v2/sessions/ID%3fx",
        "/api/v2/sessions/ID%23x",
        "/api/v2/sessions%3f/ID",
        "/api/v2/sessions/ID%0d%0a",
        "//api/v2/sessions/ID",
        "/api//v2/sessions/ID",
        "/api/v2//sessions/ID",
        "/api/v2/sessions//ID",
        "/api/v2/sessions/ID//",
        "/api/v2/sessions/ID/",
        "/api/v2/sessions/ID//revoke",
        "/./api/v2/sessions/ID",
        "/api/./v2/sessions/ID",
        "/api/v2/./sessions/ID",
        "/api/v2/sessions/./ID",
        "/api/v2/sessions/ID/.",
        "/api/v2/sessions/ID/x/..",
        "/api/v2/sessions/x/../ID",
        "/api/v2/users/../sessions/ID",
        "/api/v2/users/x/sessions/../../../sessions/ID",
        "/x/../api/v2/sessions/ID",
        "/../api/v2/sessions/ID",
        "/api/v2/users/%2e%2e/sessions/ID",
        "/api/v2/users/%2E%2e/sessions/ID",
        "/api/v2/users/.%2e/sessions/ID",
        "/api/v2/users/%252e%252e/sessions/ID",
        "/api/v2/users/..%2fsessions/ID",
        "/api/v2/users%2f..%2fsessions/ID",
        "/api/v2/users/..%5csessions/ID",
        "/api/v2/users/..;/sessions/ID",
        "/api/v2/sessions;x/ID",
        "/api/v2/sessions/ID;x",
        "/api/v2/sessions/ID;x=1/",
        "/api;/v2/sessions/ID",
        "/api/v2/;/sessions/ID",
        "/api\\v2\\sessions\\ID",
        "\\api\\v2\\sessions\\ID",
        "/api/v2\\sessions/ID",
        "/api/v2/sessions\\ID",
        "/api/v2/sessions/ID\\",
        "/api%5cv2%5csessions%5cID",
        "/API/v2/sessions/ID",
        "/api/V2/sessions/ID",
        "/api/v2/Sessions/ID",
        "/api/v2/SESSIONS/ID",
        "/api/v2/sessions/ID\t",
        "/api/v2/sessions/ID|x",
        "/api/v2/sessions/ID,x",
        "/api/v2/sessions/ID'",
        "/api/v2/sessions/ID:x",
        "/api/v2/sessions/ID@x",
        "/api/v2/sessions/*",
        "/api/v2/sessions/ID.json",
        "/api/v2/sessions/ID/metadata",
        "/api/v2/sessions",
        "/api/v2/sessions/",
        "/api/v2/sessions/%2e%2e",
        "/api/v2/sessions/%c3%a9",
        "/api/v2/sessions/%ff",
        "/api/v2/sessions/\u{e9}",
        "/api/v2/sessions?x=/ID",
        "/api/v2/sessions/AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDEEEEEEEEEEF",
        "/api/v2/sessions/ID?",
        "http://other.example/api/v2/sessions/ID",
        "http://127.0.0.1/../api/v2/sessions/ID",
    ];
    for path in paths {
        let path_of = path.replace("ID", id);
        if path == "/api/v2/sessions/ID?" {
            continue;
        }
        rows.push((path, guarded.evil().line(&format!("PATCH {path_of} HTTP/1.1"))));
        rows.push((path, guarded.good().line(&format!("PATCH {path_of} HTTP/1.1"))));
    }
    guarded.all_rejected(rows);
}

/// Spellings that every server reads alike are the same request to the policy. The provider gets the canonical one.
#[test]
fn harmless_spellings_are_forwarded_in_canonical_form() {
    let guarded = Guarded::start();
    let id = SESSION;
    let first = format!("%{:02x}", id.as_bytes()[0]);
    let rest = &id[1..];
    let paths = [
        format!("/api/v2/sess%69ons/{id}"),
        format!("/%61pi/v2/sessions/{id}"),
        format!("/api/%76%32/%73essions/{id}"),
        format!("/api/v2/sessions/{first}{rest}"),
        format!("http://{}/api/v2/sess%69ons/{id}", guarded.gateway.address()),
    ];
    let evil = paths.iter().map(|path| (path.as_str(), guarded.evil().line(&format!("PATCH {path} HTTP/1.1"))));
    guarded.all_rejected(evil.collect());
    let good = paths.iter().map(|path| (path.as_str(), guarded.good().line(&format!("PATCH {path} HTTP/1.1")), GOOD));
    guarded.all_forwarded(good.collect());
    let mut faults = String::new();
    for (sent, expected) in [
        ("/api/v2/users/auth0|x/sessions", "/api/v2/users/auth0%7Cx/sessions"),
        ("/api/v2/users/auth0%7cx/sessions", "/api/v2/users/auth0%7Cx/sessions"),
        ("/api/v2/users/%61uth0%7Cx/sess%69ons", "/api/v2/users/auth0%7Cx/sessions"),
        ("/api/v2/users/auth0|x/refresh%2dtokens", "/api/v2/users/auth0%7Cx/refresh-tokens"),
        ("/api/v2/users/samlp|c|a!$&'()*+,=:@b/sessions", SUB_DELIMS),
        ("/api/v2/users/samlp%7cc%7ca%21%24%26%27%28%29%2a%2b%2c%3d%3a%40b/sessions", SUB_DELIMS),
        ("/api/v2/users/samlp|c|[a]^{b}/sessions", "/api/v2/users/samlp%7Cc%7C%5Ba%5D%5E%7Bb%7D/sessions"),
        ("/api/v2/users/samlp|c|Zo%c3%ab/sessions", "/api/v2/users/samlp%7Cc%7CZo%C3%AB/sessions"),
        ("/api/v2/refresh-tokens/%741", "/api/v2/refresh-tokens/t1"),
        ("/api/v2/%72efresh-tokens/t%31", "/api/v2/refresh-tokens/t1"),
    ] {
        let before = guarded.recorder.count();
        let status = guarded.ask(&guarded.raw("DELETE", sent).bytes());
        let reached: Vec<String> =
            guarded.recorder.seen()[before..].iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
        if status >= 400 || reached != [format!("DELETE {expected}")] {
            let _ = writeln!(faults, "{sent}: status {status}, the provider got {reached:?}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

const SUB_DELIMS: &str = "/api/v2/users/samlp%7Cc%7Ca%21%24%26%27%28%29%2A%2B%2C%3D%3A%40b/sessions";

/// Each spelling of a session hits, and invalidates, the same entry.
#[test]
fn spellings_of_one_session_share_a_cache_entry() {
    let guarded = Guarded::before(Recorder::auth0(), "cache: { ttl: 60s }\n");
    let (first, rest) = SESSION.split_at(1);
    let spelled = format!("/api/v2/sess%69ons/%{:02X}{rest}", first.as_bytes()[0]);
    let ask = |method: &str, path: &str| guarded.ask(&guarded.raw(method, path).bytes());
    assert_eq!([ask("GET", &spelled), ask("GET", &guarded.path()), ask("GET", &spelled)], [200; 3]);
    assert_eq!(guarded.recorder.count(), 1, "one fetch for all");
    assert_eq!(guarded.recorder.seen()[0].target, guarded.path());
    assert_eq!(guarded.ask(&guarded.good().line(&format!("PATCH {spelled} HTTP/1.1")).bytes()), 200);
    assert_eq!(ask("GET", &guarded.path()), 200);
    assert_eq!(guarded.recorder.count(), 3, "the write ended the hits of the other spelling");
}

/// Governed paths other than those of sessions, in spellings that some server reads as governed.
#[test]
fn other_spellings_of_refresh_token_and_user_paths_are_rejected() {
    let guarded = Guarded::start();
    let mut rows = Vec::new();
    let token = "/api/v2/refresh-tokens/t1";
    let body = r#"{"refresh_token_metadata":{"team":"blue"}}"#;
    for path in [
        "/api/v2/refresh%252Dtokens/t1",
        "/api/v2/Refresh-Tokens/t1",
        "/API/v2/refresh-tokens/t1",
        "/api/v2/refresh-tokens%2Ft1",
        "/api/v2/refresh-tokens/t1/",
        "/api/v2/refresh-tokens//t1",
        "//api/v2/refresh-tokens/t1",
        "/api/v2/refresh-tokens/./t1",
        "/api/v2/users/../refresh-tokens/t1",
        "/api/v2/users/%2e%2e/refresh-tokens/t1",
        "/api/v2/refresh-tokens;x/t1",
        "/api/v2/refresh-tokens/t1;x",
        "/api/v2/refresh-tokens\\t1",
        "/api/v2/refresh-tokens/t1%00",
        "/api/v2/refresh-tokens/t1%20",
        "/api/v2/refresh-tokens/t1.json",
        "/api/v2/refresh-tokens/t1/metadata",
        "/api/v2/refresh-tokens",
        "/api/v2/refresh-tokens/",
        "http://other.example/api/v2/refresh-tokens/t1",
    ] {
        rows.push((path, guarded.raw("PATCH", path).with("Content-Type", "application/json").body(body)));
    }
    for path in [
        "/api/v2/users/auth0%257Cx/sessions",
        "/api/v2/users/auth0|%257Cx/sessions",
        "/api/v2/users/auth0|x%2fy/sessions",
        "/api/v2/users/auth0|x%2F..%2Fy/sessions",
        "/api/v2/users/auth0|x%5cy/sessions",
        "/api/v2/users/auth0|x\\y/sessions",
        "/api/v2/users/auth0|x;y/sessions",
        "/api/v2/users/auth0|x%3by/sessions",
        "/api/v2/users/auth0|x%2Ey/sessions",
        "/api/v2/users/%2e/sessions",
        "/api/v2/users/.%2e/sessions",
        "/api/v2/users/auth0|%/sessions",
        "/api/v2/users/auth0|%7/sessions",
        "/api/v2/users/auth0|%E9/sessions",
        "/api/v2/users/auth0|x%7f/sessions",
        "/api/v2/users/auth0|x/sess%69ons%2fy",
        "/api/v2/users/auth0%7Cx%2Fy/sessions",
        "/api/v2/users/auth0%7Cx%5Cy/sessions",
        "/api/v2/users/auth0%7Cx%3By/sessions",
        "/api/v2/users/auth0%7Cx;y/sessions",
        "/api/v2/users/auth0%7Cx%0d%0a/sessions",
        "/api/v2/users/auth0%7Cx%00/sessions",
        "/api/v2/users/auth0%7C%ff/sessions",
        "/api/v2/users/auth0%7C\u{e9}/sessions",
        "/api/v2/users/%20/sess%69ons",
        "/api/v2/users/auth0%7Cx/SESSIONS",
        "/api/v2/users/auth0%7Cx%2Fsessions",
        "/api/v2/users/auth0%7Cx%252Fsessions",
        "/api/v2/users/auth0%7Cx//sessions",
        "/api/v2/users/auth0%7Cx/./sessions",
        "/api/v2/users/auth0%7Cx/roles/../sessions",
        "/api/v2/users/auth0%7Cx/sessions/",
        "/api/v2/users/auth0%7Cx/sessions;y",
        "/api/v2/users/auth0%7Cx/sessions%3Fy",
        "/api/v2/users/auth0%7Cx\\sessions",
        "/api/v2/users/auth0%7Cx/sessions/y",
        "/api/v2/users//auth0%7Cx/refresh-tokens",
        "/api/v2/clients/../users/auth0%7Cx/refresh-tokens",
        "/x/../api/v2/users/auth0%7Cx/sessions",
    ] {
        rows.push((path, guarded.raw("DELETE", path)));
        let access = path.replace("refresh-tokens", "sessions").replace("sessions", "revoke-access");
        let access = access.replace("SESSIONS", "REVOKE-ACCESS").replace("sess%69ons", "revoke%2Daccess");
        let access = access.replace("refresh%2dtokens", "revoke%2daccess");
        rows.push((path, guarded.raw("POST", &access).with("Content-Type", "application/json").body("{}")));
    }
    for method in ["PUT", "patch", "HEAD", "TRACE", "DELETE\t"] {
        rows.push((method, guarded.raw(method, "/api/v2/users/auth0%7Cx/revoke-access")));
        rows.push((method, guarded.raw(method, "/api/v2/refresh-tokens/revoke")));
    }
    for name in ["X-HTTP-Method-Override", "X_Http_Method"] {
        rows.push((name, guarded.raw("GET", token).with(name, "DELETE")));
        rows.push((name, guarded.raw("GET", "/api/v2/users/auth0%7Cx/sessions").with(name, "DELETE")));
        rows.push((name, guarded.raw("OPTIONS", "/api/v2/users/auth0%7Cx/sessions").with(name, "DELETE")));
    }
    guarded.all_rejected(rows);
}

/// The body of a revocation determines what is invalidated, so it must have a single reading.
#[test]
fn ambiguous_revocations_are_rejected() {
    let guarded = Guarded::start();
    let access = "/api/v2/users/auth0%7Cx/revoke-access";
    let bulk = "/api/v2/refresh-tokens/revoke";
    let post = |path: &str, body: &str| guarded.raw("POST", path).with("Content-Type", "application/json").body(body);
    let mut rows = Vec::new();
    for body in [
        r#"{"session_id":"a","session_id":"b"}"#,
        r#"{"session_id":"a","session\u005fid":"b"}"#,
        r#"{"session_id":"a","sessionId":"b"}"#,
        r#"{"session_id":"a","SESSION_ID":"b"}"#,
        "{\"session_id\":\"a\",\"\u{17f}ession_id\":\"b\"}",
        r#"{"session_id":["a"]}"#,
        r#"{"session_id":"a","__proto__":{"session_id":"b"}}"#,
        r#"{"session_id":null}"#,
        r#"{"session_id":""}"#,
        r#"{"session_id":"a"} {"session_id":"b"}"#,
        "\u{feff}{}",
        "{}\0",
        "{,}",
        "[]",
        "null",
        "session_id=a",
        r#"{"user_id":"auth0|y"}"#,
    ] {
        rows.push((body, post(access, body)));
        rows.push((body, post(access, body).chunked("")));
    }
    for body in [
        "",
        "{}",
        r#"{"ids":["a"],"user_id":"auth0|x"}"#,
        r#"{"ids":["a"],"ids":["b"]}"#,
        r#"{"ids":["a"],"userId":"auth0|x"}"#,
        r#"{"ids":[["a"]]}"#,
        r#"{"user_id":["auth0|x"]}"#,
        r#"{"client_id":"c"}"#,
        r#"{"ids":["a"],"session_id":"b"}"#,
    ] {
        rows.push((body, post(bulk, body)));
    }
    for path in [access, bulk] {
        let good = if path == access { "{}" } else { r#"{"ids":["a"]}"# };
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
            rows.push((content_type, post(path, good).set("Content-Type", content_type)));
        }
        rows.push(("no content type", post(path, good).without("Content-Type")));
        rows.push(("no content type, chunked", post(path, good).without("Content-Type").chunked("")));
        rows.push(("gzip", post(path, good).with("Content-Encoding", "gzip")));
        rows.push(("a query", post(&format!("{path}?session_id=a"), good)));
        rows.push(("no token", post(path, good).without("Authorization")));
        rows.push(("too large", post(path, &format!("{{\"x\":\"{}\"}}", "x".repeat(256 << 10)))));
    }
    guarded.all_rejected(rows);
    let before = guarded.recorder.count();
    for (path, body) in [(access, "{}"), (access, r#"{"session_id":"a"}"#), (bulk, r#"{"ids":["a"]}"#)] {
        assert_eq!(guarded.ask(&post(path, body).bytes()), 202, "{path} {body}");
        assert_eq!(guarded.ask(&post(path, body).chunked("").bytes()), 202, "{path} {body}, chunked");
    }
    let seen = guarded.recorder.seen();
    let bodies: Vec<String> = seen[before..].iter().map(Seen::text).collect();
    let expected = ["{}", r#"{"session_id":"a"}"#, r#"{"ids":["a"]}"#];
    assert_eq!(bodies, expected.map(|body| [body, body]).concat(), "the very same bytes, once each");
}

/// By RFC 3986, `..` removes an empty segment, so `//..` changes nothing; URL parsers (WHATWG, Node's `URL`) agree. A
/// reader that drops empty segments first goes one level higher, and no longer sees the session.
#[test]
fn dot_segments_after_an_empty_segment_do_not_hide_a_session() {
    let guarded = Guarded::start();
    let mut rows = Vec::new();
    for path in [
        "/api/v2/sessions//../ID",
        "/api/v2//../sessions/ID",
        "//../api/v2/sessions/ID",
        "/api/v2/sessions/;/../ID",
        "/api/v2/sessions/;x/../ID",
        "/api/v2/..;/../sessions/ID",
        "/api/v2/%3f/%2e%2e/sessions/ID",
        "/api/v2/%3f/../sessions/ID",
        "/api/v2/sessions/%20/%2e%2e/ID",
        "/api/v2/q\\..\\..\\q/../sessions/ID",
        "/api/v2/sessions/ID/a\\..\\..\\..\\z/..",
        "/api/v2/sessions/ID//../../ID",
    ] {
        let path_of = path.replace("ID", SESSION);
        rows.push((path, guarded.evil().line(&format!("PATCH {path_of} HTTP/1.1"))));
    }
    guarded.all_rejected(rows);
}

/// Targets that are neither a path nor a complete URL: a server may take the part after the scheme for the path.
#[test]
fn targets_without_a_leading_slash_do_not_hide_a_session() {
    let guarded = Guarded::start();
    let mut rows = Vec::new();
    for target in [
        "api/v2/sessions/ID",
        "http:/api/v2/sessions/ID",
        "http:api/v2/sessions/ID",
        "https:/api/v2/sessions/ID",
        "http:///api/v2/sessions/ID",
        "http:////api/v2/sessions/ID",
        "x:/api/v2/sessions/ID",
        "x:///api/v2/sessions/ID",
        "HTTP:/api/v2/sessions/ID",
        "HTTP:///api/v2/sessions/ID",
        "ftp://HOST/api/v2/sessions/ID",
        "http:\\\\HOST\\api\\v2\\sessions\\ID",
        "http://HOST\\api\\v2\\sessions\\ID",
        "http://HOST:/api/v2/sess%69ons/ID",
        "http://user@HOST/api/v2/sessions/ID",
        "*/api/v2/sessions/ID",
        "?/../api/v2/sessions/ID",
        "HOST/api/v2/sessions/ID",
        "./api/v2/sessions/ID",
        "../api/v2/sessions/ID",
        "%2fapi/v2/sessions/ID",
    ] {
        let host = guarded.gateway.address().to_string();
        let target_of = target.replace("ID", SESSION).replace("HOST", &host);
        rows.push((target, guarded.evil().line(&format!("PATCH {target_of} HTTP/1.1"))));
    }
    guarded.all_rejected(rows);
}

#[test]
fn an_absolute_target_is_checked_by_its_path() {
    let guarded = Guarded::start();
    let target = format!("http://{}{}", guarded.gateway.address(), guarded.path());
    guarded.all_rejected(vec![("evil", guarded.evil().line(&format!("PATCH {target} HTTP/1.1")))]);
    let good = guarded.good().line(&format!("PATCH {target} HTTP/1.1"));
    guarded.all_forwarded(vec![("good", good, GOOD)]);
}

#[test]
fn ambiguous_framing_is_rejected_or_normalized() {
    let guarded = Guarded::start();
    let length = GOOD.len();
    let good = || guarded.good();
    let chunk = format!("{length:x}\r\n{GOOD}\r\n0\r\n\r\n");
    let rows = vec![
        ("two lengths", good().with("Content-Length", length.to_string())),
        ("two lengths that differ", good().with("Content-Length", "3")),
        ("a list of lengths", good().unframed().with("Content-Length", format!("{length}, {length}"))),
        ("a negative length", good().unframed().with("Content-Length", "-1")),
        ("a length in hexadecimal", good().unframed().with("Content-Length", "0x24")),
        ("no number", good().unframed().with("Content-Length", "x")),
        ("an empty length", good().unframed().with("Content-Length", "")),
        ("a length beyond all", good().unframed().with("Content-Length", "99999999999999999999999")),
        ("xchunked", good().chunked("").set("Transfer-Encoding", "xchunked")),
        ("chunked, identity", good().chunked("").set("Transfer-Encoding", "chunked, identity")),
        ("chunked in a tab", good().chunked("").set("Transfer-Encoding", "\x0bchunked")),
        ("space before the colon", good().unframed().with("Content-Length ", length.to_string())),
        ("a bad chunk size", good().unframed().with("Transfer-Encoding", "chunked").body("zz\r\n{}\r\n0\r\n\r\n")),
        ("HTTP/1.0 chunked", good().chunked("").line(&format!("PATCH {} HTTP/1.0", guarded.path()))),
        ("evil in a chunk", guarded.evil().chunked("")),
        ("evil with trailers", guarded.evil().chunked("Content-Length: 3\r\nAuthorization: Bearer x\r\n")),
        (
            "evil behind a good length and chunked",
            guarded
                .good()
                .with("Content-Length", length.to_string())
                .chunked("")
                .body(format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len())),
        ),
    ];
    guarded.all_rejected(rows);
    let split: String = GOOD.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    guarded.all_forwarded(vec![
        ("chunked", good().chunked(""), GOOD),
        (
            "chunked, byte by byte",
            good().unframed().with("Transfer-Encoding", "chunked").body(split + "0\r\n\r\n"),
            GOOD,
        ),
        ("CHUNKED", good().chunked("").set("Transfer-Encoding", "CHUNKED"), GOOD),
        (
            "trailers are dropped",
            good().chunked("Content-Length: 3\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 6.6.6.6\r\n"),
            GOOD,
        ),
        (
            "a chunk extension",
            good().unframed().with("Transfer-Encoding", "chunked").body(chunk.replacen("\r\n", ";x=\"y\"\r\n", 1)),
            GOOD,
        ),
    ]);
}

#[test]
fn content_length_with_transfer_encoding_is_rejected() {
    let guarded = Guarded::start();
    let length = GOOD.len().to_string();
    guarded.all_rejected(vec![
        ("CL and TE", guarded.good().with("Content-Length", &length).chunked("")),
        ("TE and CL", guarded.good().chunked("").with("Content-Length", &length)),
        ("CL of the framed body", guarded.good().chunked("").with("Content-Length", "3")),
    ]);
}

#[test]
fn transfer_encoding_other_than_chunked_is_rejected() {
    let guarded = Guarded::start();
    guarded.all_rejected(vec![
        ("identity, chunked", guarded.good().chunked("").set("Transfer-Encoding", "identity, chunked")),
        ("gzip, chunked", guarded.good().chunked("").set("Transfer-Encoding", "gzip, chunked")),
        ("chunked, chunked", guarded.good().chunked("").set("Transfer-Encoding", "chunked, chunked")),
        ("twice", guarded.good().chunked("").with("Transfer-Encoding", "chunked")),
        ("identity, then chunked", guarded.good().with("Transfer-Encoding", "identity").chunked("")),
    ]);
}

#[test]
fn body_size_limit_is_exact() {
    let guarded = Guarded::start();
    let padded = |size: usize| format!("{GOOD}{}", " ".repeat(size - GOOD.len()));
    let status = |row: Raw| guarded.ask(&row.bytes());
    let whole = padded(256 << 10);
    guarded.all_forwarded(vec![("256 KiB", guarded.good().body(&whole), &whole)]);
    let chunked = padded(64 << 10);
    guarded.all_forwarded(vec![("64 KiB, chunked", guarded.good().body(&chunked).chunked(""), &chunked)]);
    assert_eq!(status(guarded.good().body(padded((256 << 10) + 1))), 413);
    assert_eq!(status(guarded.good().body(padded((64 << 10) + 1)).chunked("")), 411);
    // A length that is only announced is rejected before the body comes.
    assert_eq!(status(guarded.good().body("").unframed().with("Content-Length", "262145")), 413);
    let expecting = guarded.good().body("").unframed().with("Expect", "100-continue");
    let bytes = expecting.with("Content-Length", "262145").bytes();
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    connection.write(&bytes).unwrap();
    assert_eq!(connection.head().unwrap().0, 413, "and not 100 first");
    assert_eq!(guarded.recorder.count(), 2);
}

#[test]
fn an_empty_chunked_body_is_rejected_and_does_not_hang() {
    let guarded = Guarded::start();
    assert_eq!(guarded.ask(&guarded.good().body("").chunked("").bytes()), 400);
    assert_eq!(guarded.ask(&guarded.good().body("").bytes()), 400);
    assert_eq!(guarded.ask(&guarded.good().body("").with("Content-Length", "0").bytes()), 400);
    assert_eq!(guarded.recorder.count(), 0);
    // Where no body is expected an empty chunked one is one.
    for (method, path) in [("DELETE", guarded.path()), ("POST", guarded.path() + "/revoke"), ("GET", guarded.path())] {
        let status = guarded.ask(&guarded.raw(method, &path).chunked("").bytes());
        assert_eq!(status, if method == "GET" { 200 } else { 202 }, "{method}");
    }
    assert_eq!(guarded.recorder.count(), 3);
    for seen in guarded.recorder.seen() {
        assert!(seen.all("Transfer-Encoding").is_empty(), "{seen:?}");
        assert!(matches!(seen.all("Content-Length")[..], [] | ["0"]), "{seen:?}");
    }
}

#[test]
fn missing_body_times_out_with_408() {
    let guarded = Guarded::before(Recorder::auth0(), "body: { timeout: 200ms }");
    for part in [&GOOD[..10], ""] {
        let row = guarded.good().unframed().with("Content-Length", GOOD.len().to_string()).body(part);
        let mut connection = Connection::open(guarded.gateway.address()).unwrap();
        connection.write(&row.bytes()).unwrap();
        let response = connection.response(false).unwrap();
        assert_eq!((response.status, response.json()["statusCode"].as_u64()), (408, Some(408)));
        assert!(connection.response(false).is_err(), "the connection is closed");
    }
    let row = guarded.good().unframed().with("Transfer-Encoding", "chunked").body("5\r\n{\"ses");
    assert_eq!(guarded.ask(&row.bytes()), 408);
    assert_eq!(guarded.recorder.count(), 0);
}

#[test]
fn truncated_body_is_not_forwarded() {
    let guarded = Guarded::start();
    let row = guarded.good().unframed().with("Content-Length", (GOOD.len() + 1).to_string());
    let mut stream = std::net::TcpStream::connect(guarded.gateway.address()).unwrap();
    stream.write_all(&row.bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut response = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut response);
    let response = String::from_utf8_lossy(&response);
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 400 "), "{response}");
    assert_eq!(guarded.recorder.count(), 0);
}

#[test]
fn gateway_sends_100_continue_and_does_not_forward_expect() {
    let guarded = Guarded::start();
    let row = guarded.good().unframed().with("Content-Length", GOOD.len().to_string());
    let row = row.with("Expect", "100-continue").body("");
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    connection.write(&row.bytes()).unwrap();
    assert_eq!(connection.head().unwrap().0, 100);
    connection.write(GOOD.as_bytes()).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 200);
    let seen = guarded.recorder.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].text().as_str(), seen[0].all("Expect").len()), (GOOD, 0));
    // The body may come without waiting.
    guarded.all_forwarded(vec![("early", guarded.good().with("Expect", "100-continue"), GOOD)]);
    guarded.all_rejected(vec![("evil", guarded.evil().with("Expect", "100-continue"))]);
}

#[test]
fn forwarded_headers_of_clients_are_replaced() {
    let guarded = Guarded::start();
    let mut row = guarded.good();
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "X_Forwarded_For",
        "x_real_ip",
        "True-Client-IP",
        "CF-Connecting-IP",
    ] {
        row = row.with(name, "6.6.6.6");
    }
    let passed = Raw { line: "POST /oauth/token HTTP/1.1".into(), ..row.clone() };
    guarded.all_forwarded(vec![("governed", row, GOOD)]);
    assert_eq!(guarded.ask(&passed.bytes()), 202);
    for seen in guarded.recorder.seen() {
        let head = String::from_utf8_lossy(&seen.head);
        assert!(!head.contains("6.6.6.6"), "{head}");
        assert!(!head.to_lowercase().contains("x-forwarded"), "Auth0 reads none: {head}");
        assert_eq!(seen.all("Host"), [guarded.recorder.address().to_string()]);
    }
}

#[test]
fn x_forwarded_headers_of_clients_are_removed() {
    let guarded = Guarded::start();
    let mut row = guarded.good();
    for name in [
        "X-Forwarded",
        "X-Forwarded-Server",
        "X-Forwarded-By",
        "X-Forwarded-Prefix",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-User",
    ] {
        row = row.with(name, "6.6.6.6");
    }
    assert_eq!(guarded.ask(&row.bytes()), 200);
    let head = String::from_utf8_lossy(&guarded.recorder.seen()[0].head).into_owned();
    assert!(!head.contains("6.6.6.6"), "{head}");
}

#[test]
fn connection_header_cannot_remove_headers_of_a_governed_request() {
    let guarded = Guarded::start();
    let with = |value: &str| guarded.good().with("Connection", value);
    guarded.all_forwarded(vec![
        ("authorization", with("authorization"), GOOD),
        ("content-type", with("content-type"), GOOD),
        ("Authorization, close", with("Authorization, close"), GOOD),
        ("x-forwarded-for", with("x-forwarded-for"), GOOD),
        ("content-length", with("content-length"), GOOD),
        ("host", with("host"), GOOD),
        ("x-request-id", with("x-request-id"), GOOD),
    ]);
    for seen in guarded.recorder.seen() {
        assert_eq!(seen.all("Content-Type"), ["application/json"]);
        assert_eq!(seen.all("Authorization").len(), 1);
        assert!(seen.all("Connection").iter().all(|value| *value == "keep-alive"), "{seen:?}");
    }
}

#[test]
fn only_a_single_bearer_token_authenticates() {
    let guarded = Guarded::start();
    let token = guarded.token.clone();
    let auth = |value: &str| guarded.good().set("Authorization", value.replace("TOKEN", &token));
    let mut rows = vec![
        ("none", guarded.good().without("Authorization")),
        ("two", guarded.good().with("Authorization", format!("Bearer {token}"))),
        ("two that differ", guarded.good().with("authorization", "Basic eDp5")),
    ];
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "TOKEN",
        "Basic eDp5",
        "Basic eDp5, Bearer TOKEN",
        "Bearer TOKEN, Basic eDp5",
        "Bearer TOKEN,",
        "Bearer  TOKEN",
        "Bearer\tTOKEN",
        "Bearer TOKEN x",
        "Bearer \"TOKEN\"",
        "Token TOKEN",
        "Bearer TOKENx",
        "Bearer x.y.z",
        "Bearer TOKEN.",
        "Bearer TOKEN=",
    ] {
        rows.push((value, auth(value)));
    }
    guarded.all_rejected(rows);
    guarded.all_forwarded(vec![("lower case", auth("bearer TOKEN"), GOOD), ("upper case", auth("BEARER TOKEN"), GOOD)]);
}

#[test]
fn connection_is_reusable_after_a_rejection() {
    let guarded = Guarded::start();
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    let mut statuses = Vec::new();
    for row in [guarded.evil(), guarded.good(), guarded.evil(), guarded.raw("GET", &guarded.path())] {
        if connection.write(&row.bytes()).is_err() {
            break;
        }
        let response = connection.response(false).unwrap();
        statuses.push(response.status);
    }
    assert_eq!(statuses, [400, 200, 400, 200]);
    assert_eq!(guarded.recorder.count(), 2);
    guarded.assert_no_evil();
}

#[test]
fn unread_body_of_a_rejected_request_is_not_a_request() {
    let guarded = Guarded::start();
    let inner = guarded.evil().line(&format!("PATCH {} HTTP/1.1", guarded.path())).bytes();
    let delete = guarded.raw("DELETE", &guarded.path()).bytes();
    let heads = [
        guarded.good().without("Content-Type"),
        guarded.good().without("Authorization"),
        guarded.good().line("PATCH /api/v2/sess%69ons/x HTTP/1.1"),
        guarded.good().line(&format!("PUT {} HTTP/1.1", guarded.path())),
        guarded.good().line(&format!("GET {} HTTP/1.1", guarded.path())),
        guarded.good().with("X-HTTP-Method-Override", "GET"),
        guarded.good().with("Content-Encoding", "gzip"),
    ];
    for head in heads {
        for smuggled in [&inner, &delete] {
            let row = head.clone().body(smuggled);
            for row in [row.clone(), row.chunked("")] {
                let mut connection = Connection::open(guarded.gateway.address()).unwrap();
                let _ = connection.write(&row.bytes());
                let status = connection.response(false).map_or(0, |response| response.status);
                assert!((400..500).contains(&status), "{}: {status}", row.line);
                // Either the connection ends here, or the next response is that of the honest request.
                let _ = connection.write(&guarded.raw("GET", "/api/v2/sessions/x?").bytes());
                if let Ok(response) = connection.response(false) {
                    assert_eq!(response.status, 200, "{}", row.line);
                }
            }
        }
    }
    assert!(guarded.recorder.seen().iter().all(|seen| seen.method == "GET"), "only the honest ones");
}

#[test]
fn pipelined_requests_are_validated_one_by_one_or_dropped() {
    let guarded = Guarded::start();
    let mut bytes = guarded.good().bytes();
    bytes.extend(guarded.evil().bytes());
    bytes.extend(guarded.raw("DELETE", &guarded.path()).bytes());
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    connection.write(&bytes).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 200);
    if let Ok(second) = connection.response(false) {
        assert_eq!(second.status, 400);
    }
    guarded.assert_no_evil();
    let passed = guarded.raw("GET", "/x").bytes();
    let both = [passed, guarded.evil().bytes()].concat();
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    connection.write(&both).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 200);
    if let Ok(second) = connection.response(false) {
        assert_eq!(second.status, 400);
    }
    guarded.assert_no_evil();
}

/// A client would take a body after HEAD for the next response.
#[test]
fn rejection_of_a_head_request_has_no_body() {
    let guarded = Guarded::start();
    let mut connection = Connection::open(guarded.gateway.address()).unwrap();
    for _ in 0..2 {
        connection.write(&guarded.raw("HEAD", &guarded.path()).bytes()).unwrap();
        let response = connection.response(true).unwrap();
        assert_eq!((response.status, response.header("Allow")), (405, Some("GET, PATCH, DELETE")));
    }
    connection.write(&guarded.raw("GET", &guarded.path()).bytes()).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 200);
}

/// A real preflight has no method-override header.
#[test]
fn method_override_on_options_is_rejected() {
    let guarded = Guarded::start();
    let path = guarded.path();
    let options = guarded.evil().line(&format!("OPTIONS {path} HTTP/1.1"));
    guarded.all_rejected(vec![
        ("with a body", options.clone().with("X-HTTP-Method-Override", "PATCH")),
        ("DELETE", guarded.raw("OPTIONS", &path).with("X-HTTP-Method-Override", "DELETE")),
    ]);
}

/// Servers behind CGI-like interfaces (WSGI, PHP, Rack) read `_` in a header name as `-`.
#[test]
fn method_override_headers_with_underscores_are_rejected() {
    let guarded = Guarded::start();
    let path = guarded.path();
    guarded.all_rejected(vec![
        ("DELETE", guarded.raw("GET", &path).with("X_HTTP_Method_Override", "DELETE")),
        ("PATCH", guarded.good().with("X_Http_Method", "DELETE")),
    ]);
}

/// Go's `encoding/json` compares names by Unicode's simple case folding: `ſ` (U+017F) is an `s`, and `K` (U+212A) a
/// `k`.
#[test]
fn member_names_that_case_fold_to_session_metadata_are_rejected() {
    let guarded = Guarded::start();
    guarded.all_rejected(vec![
        ("long s", guarded.evil().body("{\"\u{17f}ession_metadata\":{\"evil\":\"1\"}}")),
        ("long s, escaped", guarded.evil().body(r#"{"\u017fession_metadata":{"evil":"1"}}"#)),
    ]);
}

/// Code that copies members one by one (`target[key] = value`) makes `__proto__` the prototype, and `session_metadata`
/// in it a member.
#[test]
fn proto_member_cannot_carry_metadata() {
    let guarded = Guarded::start();
    guarded.all_rejected(vec![
        ("at the top", guarded.evil().body(r#"{"__proto__":{"session_metadata":{"evil":"1"}}}"#)),
        (
            "beside",
            guarded.evil().body(r#"{"session_metadata":{"team":"a"},"__proto__":{"session_metadata":{"evil":"1"}}}"#),
        ),
    ]);
}
