//! The rows of the matrix.

use super::call::{Call, Case, Column, Framing};
use crate::harness::grpc::{field, frame};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use std::io::Write;

/// The expected result of the allowed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    /// It is rejected for its form.
    Rejected,
    /// It is forwarded once.
    Forwarded,
}

/// The carriers that can express a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Every,
    /// Those with a form in JSON.
    Json,
    Proto,
    Http1,
    Http2,
    Framed,
    Zitadel,
    /// JSON of ZITADEL.
    ZitadelJson,
}

impl On {
    /// Why a carrier has no such row.
    pub fn leaves_out(self, column: Column) -> Option<&'static str> {
        let grpc = column == Column::Grpc;
        match self {
            On::Json if column == Column::ConnectProto => Some("its form in JSON is a column of its own"),
            On::ZitadelJson if column == Column::ConnectProto || column.is_auth0() => Some("no such JSON"),
            On::Proto if column.is_json() => Some("no protocol buffers"),
            On::Http1 if grpc => Some("gRPC needs HTTP/2, which has no such thing"),
            On::Http2 if !grpc => Some("HTTP/1 has no such thing"),
            On::Framed if !column.is_framed() => Some("no frames"),
            On::Zitadel if column.is_auth0() => Some("Auth0 has no such thing"),
            _ => None,
        }
    }
}

/// A way around the policy.
pub struct Row {
    pub name: &'static str,
    pub on: On,
    pub good: fn(Column) -> Good,
    /// Whether it is not a write of a session, so that it may reach the provider in any case.
    pub is_harmless: bool,
    pub make: fn(&Case) -> Call,
}

fn rejected(_: Column) -> Good {
    Good::Rejected
}

fn forwarded(_: Column) -> Good {
    Good::Forwarded
}

/// HTTP/2 has no header `Connection`.
fn where_http1(column: Column) -> Good {
    if column == Column::Grpc { Good::Rejected } else { Good::Forwarded }
}

fn where_json(column: Column) -> Good {
    if column.is_json() { Good::Forwarded } else { Good::Rejected }
}

/// ZITADEL alone checks a credential, whole and as it is; the gateway cannot know what its forms mean.
fn where_forwarded(column: Column) -> Good {
    if column.is_auth0() { Good::Rejected } else { Good::Forwarded }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // One stored block: no compressor is needed.
    let length = u16::try_from(bytes.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(bytes);
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// Another method by which a form of JSON or a call is posted.
fn posted(case: &Case) -> Call {
    case.call().method("POST")
}

/// The rows, as the list in the project's notes on attacks has them.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, on, good, make| rows.push(Row { name, on, good, is_harmless: false, make });
    content_types(&mut row);
    bodies(&mut row);
    json_values(&mut row);
    messages(&mut row);
    codings(&mut row);
    framings(&mut row);
    methods(&mut row);
    headers(&mut row);
    callers(&mut row);
    targets(&mut row);
    rows.push(Row {
        name: "null for the metadata",
        on: On::Json,
        good: forwarded,
        is_harmless: true,
        make: |case| case.with_members(&format!("\"{}\":null", case.member())).changing_nothing(),
    });
    rows.push(Row {
        name: "OPTIONS",
        on: On::Every,
        good: forwarded,
        is_harmless: true,
        make: |case| case.call().method("OPTIONS").body(|_| Vec::new()).changing_nothing(),
    });
    rows
}

type Add<'a> = &'a mut dyn FnMut(&'static str, On, fn(Column) -> Good, fn(&Case) -> Call);

fn content_types(row: Add) {
    row("the change as it is", On::Every, forwarded, Case::call);
    row("no content type", On::Every, rejected, |c| c.call().without("Content-Type"));
    row("an empty content type", On::Every, rejected, |c| c.call().with("Content-Type", ""));
    row("text/plain", On::Every, rejected, |c| c.call().with("Content-Type", "text/plain"));
    row("a form", On::Every, rejected, |c| c.call().with("Content-Type", "application/x-www-form-urlencoded"));
    row("a form that is one", On::Every, rejected, |c| {
        let body = format!("session_metadata[{0}]=blue&refresh_token_metadata[{0}]=blue&metadata[{0}]=blue", c.key);
        c.call().with("Content-Type", "application/x-www-form-urlencoded").body(|_| body.clone().into_bytes())
    });
    row("multipart", On::Every, rejected, |c| c.call().with("Content-Type", "multipart/form-data; boundary=x"));
    row("charset utf-16", On::Every, rejected, |c| c.call().with("Content-Type", "application/json; charset=utf-16"));
    row("charset utf-7", On::Every, rejected, |c| c.call().with("Content-Type", "application/json; charset=utf-7"));
    row("charset iso-8859-1", On::Every, rejected, |c| {
        c.call().with("Content-Type", "application/json; charset=iso-8859-1")
    });
    row("application/JSON", On::Every, where_json, |c| c.call().with("Content-Type", "application/JSON"));
    row("two types in one header", On::Every, rejected, |c| {
        c.call().with("Content-Type", "application/json, text/plain")
    });
    row("two content types", On::Every, rejected, |c| c.call().and("Content-Type", "text/plain"));
    row("the same content type twice", On::Every, rejected, |c| {
        let own = c.call().headers.iter().find(|(name, _)| name == "Content-Type").unwrap().1.clone();
        c.call().and("Content-Type", own)
    });
    row("junk behind the type", On::Every, rejected, |c| c.call().with("Content-Type", "application/json; x=\""));
    row("merge-patch+json", On::Every, rejected, |c| c.call().with("Content-Type", "application/merge-patch+json"));
    row("json-patch+json", On::Every, rejected, |c| c.call().with("Content-Type", "application/json-patch+json"));
    row("vnd.api+json", On::Every, rejected, |c| c.call().with("Content-Type", "application/vnd.api+json"));
    row("grpc-web-text", On::Every, rejected, |c| {
        c.call().with("Content-Type", "application/grpc-web-text").body(|body| STANDARD.encode(body).into_bytes())
    });
    row("connect+proto, for streams", On::Every, rejected, |c| {
        c.call().with("Content-Type", "application/connect+proto")
    });
    row("a codec that nobody has", On::Every, rejected, |c| c.call().with("Content-Type", "application/grpc+thrift"));
}

fn bodies(row: Add) {
    row("a byte order mark", On::Json, rejected, |c| c.with_json(format!("\u{feff}{}", c.json())));
    row("UTF-16, little end first", On::Json, rejected, |c| c.with_json(utf16(&c.json(), u16::to_le_bytes)));
    row("UTF-16, big end first", On::Json, rejected, |c| c.with_json(utf16(&c.json(), u16::to_be_bytes)));
    row("NULs behind", On::Json, rejected, |c| c.with_json(format!("{}\0\0", c.json())));
    row("NULs before", On::Json, rejected, |c| c.with_json(format!("\0{}", c.json())));
    row("white space around", On::Json, forwarded, |c| c.with_json(format!(" \r\n\t{} \n", c.json())));
    row("a second value", On::Json, rejected, |c| c.with_json(format!("{{{}\"x\":1}} {}", c.members(), c.json())));
    row("a comment", On::Json, rejected, |c| c.with_json(format!("{}/**/", c.json())));
    row("a comma at the end", On::Json, rejected, |c| c.with_members(&format!("\"{}\":{},", c.member(), c.object())));
    row("bytes that are no UTF-8", On::Json, rejected, |c| {
        c.with_json([c.json().trim_end_matches('}').as_bytes(), b"},\"x\":\"\xff\"}"].concat())
    });
    row("an array", On::Json, rejected, |c| c.with_json(format!("[{}]", c.json())));
    row("a key twice", On::Json, rejected, |c| {
        c.with_members(&format!("\"{0}\":{{\"team\":{1}}},\"{0}\":{2}", c.member(), c.value("red"), c.object()))
    });
    row("a key twice, within", On::Json, rejected, |c| {
        c.with_members(&format!("\"{0}\":{{\"{1}\":{2},\"{1}\":{2}}}", c.member(), c.key, c.value("blue")))
    });
    row("a key twice, once escaped", On::Json, rejected, |c| {
        c.with_members(&format!(
            "\"{0}\":{{}},\"\\u00{1:02x}{2}\":{3}",
            c.member(),
            c.member().as_bytes()[0],
            &c.member()[1..],
            c.object()
        ))
    });
    row("an escaped key", On::Json, forwarded, |c| {
        let escaped = format!("\\u00{:02x}{}", c.member().as_bytes()[0], &c.member()[1..]);
        c.with_members(&format!("\"{escaped}\":{}", c.object()))
    });
    row(
        "an escaped key within",
        On::Json,
        |_| Good::Forwarded,
        |c| {
            let key = if c.key == "evil" { "\\u0065vil" } else { "team" };
            c.with_members(&format!("\"{}\":{{\"{key}\":{}}}", c.member(), c.value("blue")))
        },
    );
    row("both spellings of a name", On::ZitadelJson, rejected, |c| {
        c.with_members(&format!("\"session_token\":\"t\",\"metadata\":{}", c.object()))
    });
    row("a name in another case", On::Json, rejected, |c| {
        let other = c.member().to_ascii_uppercase();
        c.with_members(&format!("\"{}\":{{}},\"{other}\":{}", c.member(), c.object()))
    });
    row(
        "a name that folds to it",
        On::Json,
        |c| if c.is_auth0() { Good::Rejected } else { Good::Forwarded },
        |c| {
            // ſ folds to s; ZITADEL's name has none, and its parser does not fold.
            let other = c.member().replace('s', "ſ");
            if c.column.is_auth0() {
                c.with_members(&format!("\"{}\":{{\"team\":\"a\"}},\"{other}\":{}", c.member(), c.object()))
            } else {
                c.with_members(&format!("\"{other}\":{}", c.object()))
            }
        },
    );
    row("__proto__", On::Json, rejected, |c| match c.column {
        Column::Auth0 | Column::Auth0Token => {
            c.with_members(&format!("\"__proto__\":{{\"{}\":{}}}", c.member(), c.object()))
        }
        // A key like any other, which the policy does not know.
        _ => c.with_members(&format!("\"metadata\":{{\"__proto__\":{0},\"{1}\":{0}}}", c.value("x"), c.key)),
    });
}

fn json_values(row: Add) {
    row("a lone surrogate", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{{\"{}\":\"\\ud800\"}}", c.member(), c.key))
    });
    row("an array for the metadata", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":[{}]", c.member(), c.object()))
    });
    row("text for the metadata", On::Json, rejected, |c| c.with_members(&format!("\"{}\":\"{}\"", c.member(), c.key)));
    row("an object for a value", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{{\"{}\":{}}}", c.member(), c.key, c.object()))
    });
    row("null for a value", On::Json, rejected, |c| {
        // Its meaning beside a valid key is undefined.
        c.with_members(&format!("\"{}\":{{\"team\":{},\"x{}\":null}}", c.member(), c.value("a"), c.key))
    });
    row("a number for a value", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{{\"{}\":1}}", c.member(), c.key))
    });
    row("a truth value for a value", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{{\"{}\":true}}", c.member(), c.key))
    });
    row("constructor", On::Json, rejected, |c| {
        c.with_members(&format!("\"{0}\":{{\"constructor\":{1},\"{2}\":{1}}}", c.member(), c.value("x"), c.key))
    });
    row("a number beyond numbers", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{},\"x\":1e", c.member(), c.object()))
    });
    row("nesting beyond measure", On::Json, rejected, |c| {
        c.with_members(&format!("\"{}\":{},\"x\":{}{}", c.member(), c.object(), "[".repeat(500), "]".repeat(500)))
    });
    row("base64 for URLs", On::ZitadelJson, forwarded, |c| {
        c.with_members(&format!("\"metadata\":{{\"{}\":\"{}\"}}", c.key, URL_SAFE.encode(b"\xfb\xff")))
    });
    row("base64 without padding", On::ZitadelJson, forwarded, |c| {
        c.with_members(&format!("\"metadata\":{{\"{}\":\"{}\"}}", c.key, STANDARD_NO_PAD.encode(b"b")))
    });
    row("base64 with white space", On::ZitadelJson, rejected, |c| {
        c.with_members(&format!("\"metadata\":{{\"{}\":\"Ymx1\\nZQ==\"}}", c.key))
    });
    row("base64 with bits behind its end", On::ZitadelJson, rejected, |c| {
        c.with_members(&format!("\"metadata\":{{\"{}\":\"Ymx1ZR==\"}}", c.key))
    });
    row(
        "another session than that of the path",
        On::Json,
        |c| if c.is_auth0() { Good::Forwarded } else { Good::Rejected },
        |c| {
            // A call has no session in its path: there the member is a duplicate.
            let more = if c.column.is_auth0() { "" } else { "\"sessionId\":\"s2\"," };
            c.with_json(format!("{{{}{more}\"{}\":{}}}", c.members(), c.member(), c.object()))
        },
    );
}

fn messages(row: Add) {
    row("an entry twice", On::Proto, rejected, |c| c.with_more(&c.entry(c.key)));
    row("entries that are split", On::Proto, forwarded, |c| {
        c.with_proto(
            &[c.entry("team"), Case::named(), field(15, b"x"), if c.key == "team" { vec![] } else { c.entry(c.key) }]
                .concat(),
        )
    });
    row("a message that is split", On::Proto, rejected, |c| {
        c.with_more(&[field(3, &field(2, &field(1, b"a"))), field(3, b"")].concat())
    });
    row("a field twice", On::Proto, rejected, |c| c.with_more(&field(2, b"other")));
    row("an unknown field", On::Proto, forwarded, |c| c.with_more(&field(15, b"later")));
    row("a known number of another wire type", On::Proto, rejected, |c| c.with_more(&[4 << 3, 1]));
    row("a group", On::Proto, rejected, |c| c.with_more(&[15 << 3 | 3, 15 << 3 | 4]));
    row("a length beyond the end", On::Proto, rejected, |c| c.with_more(&[15 << 3 | 2, 0xff, 0xff, 0xff, 0x7f]));
    row("a number beyond 64 bits", On::Proto, rejected, |c| c.with_more(&[&[15 << 3][..], &[0xff; 10], &[1]].concat()));
    row("a number that is longer than it need be", On::Proto, rejected, |c| {
        c.with_proto(&[Case::named(), vec![0xa2, 0x00, 0x00]].concat()).changing_nothing()
    });
    row("field number 0", On::Proto, rejected, |c| c.with_more(&[2, 0]));
    row("an entry with its key behind", On::Proto, forwarded, |c| {
        let entry = field(4, &[field(2, b"blue"), field(1, c.key.as_bytes())].concat());
        c.with_proto(&[Case::named(), entry].concat())
    });
    row("an entry with two keys", On::Proto, rejected, |c| {
        let entry = field(4, &[field(1, b"team"), field(2, b"blue"), field(1, c.key.as_bytes())].concat());
        c.with_proto(&[Case::named(), entry].concat())
    });
    row("a key that is no UTF-8", On::Proto, rejected, |c| {
        c.with_more(&field(4, &[field(1, b"\xff"), field(2, b"x")].concat()))
    });
    row("JSON for protocol buffers", On::Proto, rejected, |c| c.with_proto(c.json().as_bytes()));
    row("two messages", On::Framed, rejected, |c| c.call().body(|body| [body, body].concat()));
    row("a good message before", On::Framed, rejected, |c| {
        c.call().body(|body| [frame(&[Case::named(), c.entry("team")].concat()), body.to_vec()].concat())
    });
    row("a message that says it is compressed", On::Framed, rejected, |c| {
        c.call().body(|body| [&[1], &body[1..]].concat())
    });
    row("a frame of trailers", On::Framed, rejected, |c| c.call().body(|body| [body, &[0x80, 0, 0, 0, 0]].concat()));
    row("flags that nobody knows", On::Framed, rejected, |c| c.call().body(|body| [&[4], &body[1..]].concat()));
    row("a frame that is longer than its message", On::Framed, rejected, |c| {
        c.call().body(|body| body[..body.len() - 1].to_vec())
    });
    row("bytes behind the frame", On::Framed, rejected, |c| c.call().body(|body| [body, b"x"].concat()));
    row("a message without its frame", On::Framed, rejected, |c| c.call().body(|body| body[5..].to_vec()));
}

fn codings(row: Add) {
    row("gzip", On::Every, rejected, |c| c.call().with("Content-Encoding", "gzip").body(gzip));
    row("gzip that is none", On::Every, rejected, |c| c.call().with("Content-Encoding", "gzip"));
    row("br", On::Every, rejected, |c| c.call().with("Content-Encoding", "br"));
    row("deflate", On::Every, rejected, |c| c.call().with("Content-Encoding", "deflate"));
    row("zstd", On::Every, rejected, |c| c.call().with("Content-Encoding", "zstd"));
    row("a coding that nobody knows", On::Every, rejected, |c| c.call().with("Content-Encoding", "x-own"));
    row("two codings", On::Every, rejected, |c| c.call().with("Content-Encoding", "identity, gzip").body(gzip));
    row("grpc-encoding", On::Framed, rejected, |c| {
        c.call().with("grpc-encoding", "gzip").body(|body| {
            let packed = gzip(&body[5..]);
            let mut out = vec![1];
            out.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
            out.write_all(&packed).unwrap();
            out
        })
    });
    row("grpc-encoding without a flag", On::Framed, rejected, |c| c.call().with("grpc-encoding", "gzip"));
}

fn framings(row: Add) {
    row("chunks", On::Http1, forwarded, |c| c.call().framing(Framing::Chunked("")));
    row("trailers that say more", On::Http1, forwarded, |c| {
        c.call().framing(Framing::Chunked(
            "Authorization: Bearer spoofed\r\nContent-Length: 3\r\nX-Forwarded-Host: spoofed\r\n",
        ))
    });
    row("a length beside chunks", On::Http1, rejected, |c| {
        c.call().with("Content-Length", "3").framing(Framing::Chunked(""))
    });
    row("two lengths", On::Http1, rejected, |c| c.call().with("Content-Length", "3"));
    row("a length with a sign", On::Every, rejected, |c| {
        let length = c.call().body.len();
        c.call().with("Content-Length", format!("+{length}")).framing(if c.column == Column::Grpc {
            Framing::Length
        } else {
            Framing::None
        })
    });
    row("a length spelled with an underscore", On::Every, rejected, |c| c.call().with("Content_Length", "3"));
    row("a coding spelled with an underscore", On::Every, rejected, |c| c.call().with("Transfer_Encoding", "chunked"));
    row("a type spelled with an underscore", On::Every, rejected, |c| c.call().with("Content_Type", "text/plain"));
    row("an encoding spelled with an underscore", On::Every, rejected, |c| c.call().with("Content_Encoding", "gzip"));
    row("a transfer coding in chunks", On::Http1, rejected, |c| {
        c.call()
            .with("Transfer-Encoding", "gzip, chunked")
            .framing(Framing::None)
            .body(|body| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat())
    });
    row("a body that the length cuts", On::Http1, rejected, |c| {
        c.call().with("Content-Length", "9").with("Connection", "close").framing(Framing::None)
    });
    row("Expect", On::Http1, forwarded, |c| c.call().with("Expect", "100-continue"));
    row("HTTP/1.0", On::Http1, forwarded, |c| c.call().version("HTTP/1.0"));
    row("HTTP/1.0 in chunks", On::Http1, rejected, |c| c.call().version("HTTP/1.0").framing(Framing::Chunked("")));
}

fn methods(row: Add) {
    row("GET with a body", On::Every, rejected, |c| c.call().method("GET"));
    row("HEAD with a body", On::Every, rejected, |c| c.call().method("HEAD"));
    row("a method in another case", On::Every, rejected, |c| {
        c.call().method(if c.column.is_call() { "pOsT" } else { "pAtCh" })
    });
    row("a space behind the method", On::Http1, rejected, |c| {
        let method = format!("{} ", c.call().method);
        c.call().method(&method)
    });
    row("PUT", On::Every, rejected, |c| c.call().method("PUT"));
    row("QUERY", On::Every, rejected, |c| c.call().method("QUERY"));
    row("TRACE", On::Every, rejected, |c| c.call().method("TRACE"));
    row("CONNECT", On::Every, rejected, |c| c.call().method("CONNECT"));
    row("X-HTTP-Method-Override", On::Every, rejected, |c| posted(c).with("X-HTTP-Method-Override", "PATCH"));
    row("X-HTTP-Method", On::Every, rejected, |c| posted(c).with("X-HTTP-Method", "PATCH"));
    row("X-Method-Override", On::Every, rejected, |c| posted(c).with("X-Method-Override", "PATCH"));
    row("X_HTTP_Method_Override", On::Every, rejected, |c| posted(c).with("X_HTTP_Method_Override", "PATCH"));
    row("a form with X-HTTP-Method-Override", On::Every, rejected, |c| {
        posted(c).with("X-HTTP-Method-Override", "PATCH").with("Content-Type", "application/x-www-form-urlencoded")
    });
    row("_method", On::Every, rejected, |c| posted(c).target(|target| format!("{target}?_method=PATCH")));
}

fn headers(row: Add) {
    row("Grpc-Metadata-Authorization", On::Zitadel, forwarded, |c| {
        c.call().with("Grpc-Metadata-Authorization", "Bearer spoofed")
    });
    row("grpc_metadata_authorization", On::Zitadel, forwarded, |c| {
        c.call().with("grpc_metadata_authorization", "Bearer spoofed")
    });
    row("Grpc-Metadata-x-zitadel-orgid", On::Zitadel, forwarded, |c| {
        c.call().with("Grpc-Metadata-x-zitadel-orgid", "spoofed")
    });
    row("x-zitadel-instance-host", On::Zitadel, forwarded, |c| c.call().with("x-zitadel-instance-host", "spoofed"));
    row("x-zitadel-public-host", On::Zitadel, forwarded, |c| c.call().with("x-zitadel-public-host", "spoofed"));
    row("X-Forwarded-Host", On::Every, forwarded, |c| c.call().with("X-Forwarded-Host", "spoofed"));
    row("X-Forwarded-For and -Proto", On::Every, forwarded, |c| {
        c.call().with("X-Forwarded-For", "spoofed").with("X-Forwarded-Proto", "spoofed")
    });
    row("Forwarded", On::Every, forwarded, |c| c.call().with("Forwarded", "host=spoofed"));
    row("X-Original-URL", On::Every, forwarded, |c| {
        c.call().with("X-Original-URL", "/spoofed").with("X-Rewrite-URL", "/spoofed")
    });
    row("Connection names the credential", On::Every, where_http1, |c| c.call().with("Connection", "authorization"));
    row("Connection names the content type", On::Every, where_http1, |c| {
        c.call().with("Connection", "close, content-type")
    });
    row("Connection names what proxies add", On::Every, where_http1, |c| {
        c.call().with("Connection", "x-forwarded-for")
    });
    row("an upgrade", On::Every, rejected, |c| c.call().with("Connection", "upgrade").with("Upgrade", "websocket"));
    row("an upgrade to h2c", On::Http1, forwarded, |c| {
        c.call()
            .with("Connection", "Upgrade, HTTP2-Settings")
            .with("Upgrade", "h2c")
            .with("HTTP2-Settings", "AAMAAABkAAQAAP__")
    });
    row("two hosts", On::Http1, rejected, |c| c.call().and("Host", "spoofed"));
    row("no host", On::Http1, rejected, |c| c.call().without("Host"));
    row("a host with a path", On::Http1, rejected, |c| c.call().with("Host", "a/b"));
}

fn callers(row: Add) {
    row("no credential", On::Every, rejected, |c| c.call().without("Authorization"));
    row("an empty credential", On::Every, rejected, |c| c.call().with("Authorization", ""));
    row("two credentials", On::Every, rejected, |c| c.call().and("Authorization", "Bearer spoofed"));
    row("a scheme in another case", On::Every, forwarded, |c| {
        c.call().with("Authorization", format!("bearer {}", c.token))
    });
    row("a tab behind the scheme", On::Every, where_forwarded, |c| {
        c.call().with("Authorization", format!("Bearer\t{}", c.token))
    });
    row("two schemes in one credential", On::Every, where_forwarded, |c| {
        c.call().with("Authorization", format!("Basic eDp4, Bearer {}", c.token))
    });
    row("a credential in the query", On::Every, rejected, |c| {
        let token = c.token.clone();
        c.call().without("Authorization").target(|target| format!("{target}?access_token={token}"))
    });
}

fn targets(row: Add) {
    row("an encoded letter", On::Every, forwarded, |c| c.call().target(|target| target.replacen('e', "%65", 1)));
    row("an encoded letter and two slashes", On::Every, rejected, |c| {
        c.call().target(|target| format!("/{}", target.replacen('e', "%65", 1)))
    });
    row("an encoded letter in another case", On::Every, rejected, |c| {
        c.call().target(|target| target.replacen('e', "%45", 1))
    });
    row("a letter encoded twice", On::Every, rejected, |c| c.call().target(|target| target.replacen('e', "%2565", 1)));
    row("half a code", On::Every, rejected, |c| c.call().target(|target| format!("{target}%6")));
    row("an encoded dot", On::Every, rejected, |c| c.call().target(|target| format!("{target}%2e")));
    row("a raw `|`", On::Every, rejected, |c| c.call().target(|target| format!("{target}|")));
    row("an encoded slash", On::Every, rejected, |c| {
        c.call().target(|target| {
            let at = target.rfind('/').unwrap();
            format!("{}%2F{}", &target[..at], &target[at + 1..])
        })
    });
    row("two slashes", On::Every, rejected, |c| c.call().target(|target| format!("/{target}")));
    row("two slashes within", On::Every, rejected, |c| {
        c.call().target(|target| {
            let at = target.rfind('/').unwrap();
            format!("{}/{}", &target[..at], &target[at..])
        })
    });
    row("dot segments", On::Every, rejected, |c| c.call().target(|target| format!("/x/..{target}")));
    row("dot segments within", On::Every, rejected, |c| {
        c.call().target(|target| {
            let at = target.rfind('/').unwrap();
            format!("{}/./{}", &target[..at], &target[at + 1..])
        })
    });
    row("encoded dot segments", On::Every, rejected, |c| c.call().target(|target| format!("/x/%2e%2e{target}")));
    row("a parameter", On::Every, rejected, |c| c.call().target(|target| format!("{target};x=1")));
    row("a slash at the end", On::Every, rejected, |c| c.call().target(|target| format!("{target}/")));
    row("a backslash", On::Every, rejected, |c| {
        c.call().target(|target| {
            let at = target.rfind('/').unwrap();
            format!("{}\\{}", &target[..at], &target[at + 1..])
        })
    });
    row("an encoded NUL", On::Every, rejected, |c| c.call().target(|target| format!("{target}%00")));
    row("another case", On::Every, rejected, |c| c.call().target(|target| target.replacen('e', "E", 1)));
    row("a query", On::Every, rejected, |c| c.call().target(|target| format!("{target}?x=1")));
    row("a query twice", On::Every, rejected, |c| {
        c.call().target(|target| format!("{target}?session_token=a&session_token=b"))
    });
    row(
        "a fragment",
        On::Every,
        // The parser of HTTP/2 cuts it off.
        |c| if c == Column::Grpc { Good::Forwarded } else { Good::Rejected },
        |c| c.call().target(|target| format!("{target}#x")),
    );
    row("a target that is no ASCII", On::Every, rejected, |c| c.call().target(|target| format!("{target}\u{e9}")));
    row("a space in the target", On::Every, rejected, |c| c.call().target(|target| format!("{target} x")));
    row("another version of the API", On::Zitadel, rejected, |c| {
        c.call().target(|target| target.replace("v2beta", "v2").replace("v2", "v3alpha"))
    });
    row("an absolute target", On::Http1, forwarded, |c| {
        let host = c.host.clone();
        c.call().target(|target| format!("http://{host}{target}"))
    });
    row(
        "an absolute target of another host",
        On::Http1,
        |_| Good::Rejected,
        |c| c.call().target(|target| format!("http://spoofed{target}")),
    );
    row("an authority that is not the host", On::Http2, rejected, |c| {
        // Written out as a header, beside the `:authority` that it differs from.
        c.call().and("host", "spoofed")
    });
}
