//! Responses with a content coding although the gateway requests none, and the headers and errors of key fetches.

use crate::harness::grpc::{Grpc, field, frame};
use crate::harness::issuer::{Signer, World, config, document, read};
use crate::harness::recorder::SESSION;
use crate::harness::{Gateway, H2Provider, Reply, Request, Response, Scripted, json_response};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A response with this coding.
fn coded(mut response: Response, coding: &str) -> Response {
    response.body = match coding {
        "gzip" => gzip(&response.body),
        "deflate" => zlib(&response.body),
        _ => response.body,
    };
    response.headers.push(("Content-Encoding".into(), coding.into()));
    response
}

const LIST: &str = r#"{"sessions":[{"id":"s"}]}"#;
const LISTED: &str = "/api/v2/users/auth0%7C507f1f77bcf86cd799439020/sessions";

fn body() -> String {
    json!({ "id": SESSION, "user_id": "auth0|507f1f77bcf86cd799439020", "session_metadata": {} }).to_string()
}

/// A gateway in front of a provider that responds with this coding.
fn world(coding: &'static str) -> (Scripted, Gateway) {
    let provider = Scripted::start(move |request| {
        let body = if request.path.starts_with("/api/v2/users/") { LIST.to_owned() } else { body() };
        coded(json_response(200, &body), coding)
    });
    let text = format!("upstreams:\n  a: {{ dialect: auth0, url: {}, auth: forward, cache: {{}} }}\n", provider.url());
    let gateway = Gateway::start(&text);
    gateway.ready();
    (provider, gateway)
}

fn send(gateway: &Gateway, method: &str, path: &str) -> Response {
    let request = Request::new(method, path).bearer("opaque").header("Accept-Encoding", "gzip, br");
    let request = if method == "PATCH" { request.json(r#"{"session_metadata":{"team":"blue"}}"#) } else { request };
    request.send(&gateway.url())
}

#[test]
fn compressed_governed_responses_are_decoded_and_cached() {
    let (session, body) = (format!("/api/v2/sessions/{SESSION}"), body());
    for coding in ["gzip", "deflate"] {
        let (provider, gateway) = world(coding);
        for (method, path, body) in [
            ("GET", session.as_str(), &*body),
            ("GET", &session, &body),
            ("PATCH", &session, &body),
            ("GET", LISTED, LIST),
            ("DELETE", &session, &body),
        ] {
            let response = send(&gateway, method, path);
            assert_eq!((response.status, response.text().as_str()), (200, body), "{coding} {method} {path}");
            assert_eq!(response.header("Content-Encoding"), None, "{coding} {method} {path}");
        }
        let received = provider.received();
        assert_eq!(received.len(), 4, "{coding}: the second read is a hit");
        for request in &received {
            assert_eq!(request.header("Accept-Encoding"), Some("identity"), "{coding} {}", request.path);
        }
    }
}

/// The client must learn that a write succeeded, also if the coding is unknown.
#[test]
fn undecodable_responses_pass_unchanged_and_are_not_cached() {
    let session = format!("/api/v2/sessions/{SESSION}");
    let body = body();
    let (provider, gateway) = world("br");
    for method in ["GET", "GET", "PATCH", "DELETE"] {
        let response = send(&gateway, method, &session);
        assert_eq!((response.status, response.text().as_str()), (200, &*body), "{method}");
        assert_eq!(response.header("Content-Encoding"), Some("br"), "{method}");
    }
    assert_eq!(provider.received().len(), 4, "nothing came from the cache");
    let list = send(&gateway, "GET", LISTED);
    assert_eq!(list.status, 502, "sessions that were ended may be in it");
    let liar = Scripted::start(|_| {
        let mut response = json_response(200, &self::body());
        response.headers.push(("Content-Encoding".into(), "gzip".into()));
        response
    });
    let text = format!("upstreams:\n  a: {{ dialect: auth0, url: {}, auth: forward, cache: {{}} }}\n", liar.url());
    let gateway = Gateway::start(&text);
    let response = send(&gateway, "PATCH", &session);
    assert_eq!((response.status, response.text().as_str()), (200, &*body), "it is not what its head says");
}

/// If the gateway cannot decode a response, it withholds the body and still reports the success of the write.
#[test]
fn one_time_codes_are_stripped_from_compressed_responses() {
    let body = r#"{"details":{"sequence":"5"},"challenges":{"otpEmail":"123456"}}"#;
    let policy = "policies:\n  strip: { challenges: { return_code: strip } }\n";
    for (coding, expected) in [("gzip", r#"{"details":{"sequence":"5"},"challenges":{}}"#), ("br", "{}")] {
        let provider = Scripted::start(move |_| coded(json_response(200, body), coding));
        let url = provider.url();
        let upstream = format!("upstreams:\n  z: {{ dialect: zitadel, url: {url}, auth: forward, policy: strip }}\n");
        let gateway = Gateway::start(&(upstream + policy));
        let ask = r#"{"challenges":{"otpEmail":{"returnCode":{}}}}"#;
        let response = Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(ask).send(&gateway.url());
        assert_eq!((response.status, response.text().as_str()), (200, expected), "{coding}");
        assert_eq!(response.header("Content-Encoding"), None, "{coding}");
    }
}

/// On every carrier of ZITADEL: such responses are not cached, and lose their one-time codes.
#[test]
fn grpc_responses_with_unknown_compression_pass_unchanged() {
    const READ: &str = "/zitadel.session.v2.SessionService/GetSession";
    const WRITE: &str = "/zitadel.session.v2.SessionService/SetSession";
    // Its content does not matter: it cannot be decoded.
    let unread = b"(\xb5\x2f\xfd \x00\x01";
    let framed = [&[1, 0, 0, 0, 7][..], unread].concat();
    for coding in ["zstd", "br"] {
        let (body, message) = (unread.to_vec(), framed.clone());
        let provider = H2Provider::start(None, move |arrived| {
            let grpc = arrived.all("content-type").concat().starts_with("application/grpc");
            let (name, body) = if grpc { ("grpc-encoding", &message) } else { ("content-encoding", &body) };
            let mut reply = Reply::json(body.clone());
            reply.head.headers_mut().insert(name, coding.parse().unwrap());
            if grpc {
                reply.head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
                reply.trailers = Some([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect());
            }
            reply
        });
        let start = |policy: &str| {
            let gateway = Gateway::start(&format!(
                "upstreams:\n  z: {{ dialect: zitadel, url: \"http://{}\", auth: forward, protocol: http2, cache: {{}}{policy} }}\n\
                 policies:\n  strip: {{ challenges: {{ return_code: strip }} }}\n",
                provider.address()
            ));
            gateway.ready();
            gateway
        };
        let gateway = start("");
        let json = r#"{"challenges":{"otpEmail":{"returnCode":{}}}}"#;
        let call = r#"{"sessionId":"s1","challenges":{"otpEmail":{"returnCode":{}}}}"#;
        let ask = |gateway: &Gateway, method: &str, path: &str, body: Option<&str>| {
            let request = Request::new(method, path).bearer("pat");
            body.map_or(request.clone(), |body| request.json(body)).send(&gateway.url())
        };
        for (method, path, body) in [
            ("GET", "/v2/sessions/s1", None),
            ("GET", "/v2/sessions/s1", None),
            ("PATCH", "/v2/sessions/s1", Some(json)),
            ("POST", READ, Some(r#"{"sessionId":"s1"}"#)),
            ("POST", READ, Some(r#"{"sessionId":"s1"}"#)),
            ("POST", WRITE, Some(call)),
        ] {
            let response = ask(&gateway, method, path, body);
            assert_eq!((response.status, &response.body[..]), (200, &unread[..]), "{coding} {method} {path}");
            assert_eq!(response.header("Content-Encoding"), Some(coding), "{coding} {method} {path}");
        }
        let client = Grpc::start();
        let grpc = |gateway: &Gateway, path: &str, message: &[u8]| {
            client.call_with(
                gateway,
                path,
                &frame(message),
                &[("content-type", "application/grpc"), ("te", "trailers")],
            )
        };
        // `SetSession` with a challenge whose code is returned.
        let challenge = field(5, &field(3, &field(3, &[])));
        let write = [field(1, b"s1"), challenge].concat();
        for (path, message) in [(READ, field(1, b"s1")), (READ, field(1, b"s1")), (WRITE, write.clone())] {
            let response = grpc(&gateway, path, &message);
            assert_eq!((response.status, response.trailer("grpc-status")), (200, "0"), "{coding} {path}");
            assert_eq!(response.body, framed, "{coding} {path}");
            assert_eq!(response.headers["grpc-encoding"], coding, "{coding} {path}");
        }
        assert_eq!(provider.arrived().len(), 9, "{coding}: nothing came from the cache");
        // Where codes are to be taken out, nothing is left that might hold one.
        let gateway = start(", policy: strip");
        for (method, path, body) in [("PATCH", "/v2/sessions/s1", json), ("POST", WRITE, call)] {
            let response = ask(&gateway, method, path, Some(body));
            assert_eq!((response.status, response.text().as_str()), (200, "{}"), "{coding} {path}");
            assert_eq!(response.header("Content-Encoding"), None, "{coding} {path}");
        }
        let response = grpc(&gateway, WRITE, &write);
        assert_eq!((response.status, response.trailer("grpc-status")), (200, "0"), "{coding}");
        assert_eq!((response.body, response.headers.get("grpc-encoding")), (frame(&[]), None), "{coding}");
    }
}

/// The body does not match its headers, without a coding. The write succeeded nevertheless.
#[test]
fn write_succeeds_if_its_response_cannot_be_decoded() {
    let provider = Scripted::start(|_| {
        let mut response = json_response(200, "");
        response.body = gzip(b"{}");
        response
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  z: {{ dialect: zitadel, url: {}, auth: forward, policy: strip }}\n\
         policies:\n  strip: {{ challenges: {{ return_code: strip }} }}\n",
        provider.url()
    ));
    let ask = r#"{"challenges":{"otpEmail":{"returnCode":{}}}}"#;
    let response = Request::new("PATCH", "/v2/sessions/s1").bearer("pat").json(ask).send(&gateway.url());
    assert_eq!((response.status, response.text().as_str()), (200, "{}"), "a code may be in it");
}

/// Firewalls in front of issuers reject requests without these headers.
#[test]
fn key_fetches_send_user_agent_and_accept() {
    let key = Signer::new("one");
    let keys = document(&[&key]);
    let issuer = Scripted::start(move |request| match request.header("User-Agent") {
        Some(agent) if agent.starts_with("sessiongate/") => keys.clone(),
        _ => json_response(403, "{}"),
    });
    let provider = Scripted::start(|_| json_response(200, &body()));
    let gateway = Gateway::start(&config(&provider.url(), &issuer.url(), ""));
    gateway.ready();
    assert_eq!(read(&gateway, &key.good()).status, 200);
    let fetch = &issuer.received()[0];
    assert_eq!(fetch.header("Accept"), Some("application/json"));
    assert_eq!(fetch.header("Accept-Encoding"), Some("identity"));
}

/// The log says what is wrong, so that an operator can mend it at its source.
#[test]
fn log_reports_codings_and_redirects_of_key_documents() {
    let key = Signer::new("one");
    let redirect = |location: &str| {
        let mut response = json_response(301, "");
        response.headers.push(("Location".into(), location.into()));
        response
    };
    for (response, said) in [
        (coded(document(&[&key]), "gzip"), "the document is compressed (`gzip`)"),
        (coded(document(&[&key]), "br"), "the document is compressed (`br`)"),
        (redirect("https://id.example/keys?token=secret"), "a redirect to https://id.example/keys, which"),
        (json_response(302, ""), "response 302 Found: a redirect, which"),
        (json_response(403, ""), "response 403"),
    ] {
        let world = World::new(&[]);
        world.publish(response);
        let gateway = Gateway::start(&world.config());
        let line = gateway.wait_for_log(|line| line.contains("cannot fetch issuer keys"));
        assert!(line.contains(said) && !line.contains("secret"), "{said}: {line}");
    }
    let identity = World::new(&[]);
    identity.publish(coded(document(&[&key]), "identity"));
    assert_eq!(read(&identity.gateway(""), &key.good()).status, 200, "no coding at all");
}

#[test]
fn fetch_timeout_ends_key_fetches() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = Scripted::start(|_| json_response(200, &json!({}).to_string()));
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let gateway = Gateway::start(&config(&provider.url(), &issuer, "fetch_timeout: 1s"));
    let line = gateway.wait_for_log(|line| line.contains("cannot fetch issuer keys"));
    assert!(line.contains("within 1000 ms"), "{line}");
}
