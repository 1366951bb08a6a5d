//! Trace context and request IDs: what arrives, what the provider gets, and what the log contains.

use crate::harness::grpc::{Grpc, field, frame};
use crate::harness::recorder::{Call, Recorder, SESSION};
use crate::harness::{Connection, Gateway, Http2Client, Request, wait_for};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/// The access log line of the last request.
fn last_line(gateway: &Gateway, count: usize) -> Value {
    let lines = wait_for("a request's line", || {
        let log = gateway.log();
        let lines: Vec<String> = log.into_iter().filter(|line| line.contains(r#""message":"request""#)).collect();
        (lines.len() >= count).then_some(lines)
    });
    serde_json::from_str(&lines[count - 1]).unwrap()
}

/// What a provider got: all values of both headers.
#[derive(Debug, PartialEq, Eq)]
struct ReadResult {
    parents: Vec<String>,
    states: Vec<String>,
}

/// Sends a request with these headers more; the status of its response.
type Send<'a> = Box<dyn Fn(&[(&str, &str)]) -> u16 + 'a>;

/// A kind of request: a route on a carrier.
struct Way<'a> {
    name: &'static str,
    gateway: &'a Gateway,
    send: Send<'a>,
    got: Box<dyn Fn() -> ReadResult + 'a>,
}

/// Every carrier, on a governed and on a pass-through route.
fn ways<'a>(
    recorder: &'a Recorder,
    grpc: &'a Grpc,
    auth0: &'a Gateway,
    rest: &'a Gateway,
    calls: &'a Gateway,
) -> Vec<Way<'a>> {
    let message = [field(1, b"s1"), field(4, &[field(1, b"team"), field(2, b"blue")].concat())].concat();
    let json = r#"{"session_metadata":{"team":"blue"}}"#;
    let set = "/zitadel.session.v2.SessionService/SetSession";
    let mut ways = Vec::new();
    let http1 =
        |name, gateway: &'a Gateway, method: &'static str, path: String, content_type: &'static str, body: Vec<u8>| {
            Way {
                name,
                gateway,
                send: Box::new(move |headers| {
                    let mut request = Request::new(method, &path).bearer(&recorder.token()).body(body.clone());
                    if !content_type.is_empty() {
                        request = request.header("Content-Type", content_type);
                    }
                    headers
                        .iter()
                        .fold(request, |request, (name, value)| request.header(name, value))
                        .send(&gateway.url())
                        .status
                }),
                got: Box::new(move || {
                    let seen = recorder.seen().pop().unwrap();
                    let all = |name: &str| seen.all(name).into_iter().map(str::to_owned).collect();
                    ReadResult { parents: all("traceparent"), states: all("tracestate") }
                }),
            }
        };
    let session = format!("/api/v2/sessions/{SESSION}");
    let json_type = "application/json";
    ways.push(http1("a write of Auth0's", auth0, "PATCH", session.clone(), json_type, json.into()));
    ways.push(http1("a read of Auth0's", auth0, "GET", session, "", Vec::new()));
    ways.push(http1("a passed request to Auth0", auth0, "POST", "/oauth/token".into(), json_type, b"{}".to_vec()));
    let rest_body = br#"{"metadata":{"team":"Ymx1ZQ=="}}"#.to_vec();
    ways.push(http1("REST", rest, "PATCH", "/v2/sessions/s1".into(), json_type, rest_body));
    ways.push(http1("Connect", rest, "POST", set.into(), "application/proto", message.clone()));
    ways.push(http1("gRPC-web", rest, "POST", set.into(), "application/grpc-web+proto", frame(&message)));
    ways.push(http1("a passed request to ZITADEL", rest, "POST", "/oauth/v2/token".into(), json_type, b"{}".to_vec()));
    for (name, path, body) in [
        ("gRPC", set, frame(&message)),
        ("a passed call", "/zitadel.org.v2.OrganizationService/AddOrganization", frame(b"")),
    ] {
        let client = Http2Client::of(calls);
        ways.push(Way {
            name,
            gateway: calls,
            send: Box::new(move |headers| {
                let mut request = http::Request::post(format!("http://{}{path}", calls.address()))
                    .header("authorization", "Bearer pat")
                    .header("content-type", "application/grpc")
                    .header("te", "trailers");
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                client.send(request.body(()).unwrap(), Some(Bytes::from(body.clone())))
            }),
            got: Box::new(move || {
                let seen = grpc.seen.lock().unwrap();
                let headers = &seen.last().unwrap().1;
                let all =
                    |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
                ReadResult { parents: all("traceparent"), states: all("tracestate") }
            }),
        });
    }
    ways
}

#[test]
fn valid_trace_context_passes_and_invalid_is_replaced() {
    let recorder = Recorder::auth0();
    let grpc = Grpc::start();
    let zitadel = |url: &str| format!("upstreams: {{ a: {{ dialect: zitadel, url: \"{url}\", auth: forward }} }}\n");
    let auth0 = Gateway::start(&recorder.upstream(""));
    let rest = Gateway::start(&zitadel(&recorder.url()));
    let calls = Gateway::start(&zitadel(&format!("http://{}", grpc.address)));
    [&auth0, &rest, &calls].iter().for_each(|gateway| gateway.ready());
    let mut begun = BTreeSet::new();
    let mut counts = [0; 3];
    let ways = ways(&recorder, &grpc, &auth0, &rest, &calls);
    for way in &ways {
        let at = [&auth0, &rest, &calls].iter().position(|one| std::ptr::eq(*one, way.gateway)).unwrap();
        let mut asked = |headers: &[(&str, &str)]| {
            let status = (way.send)(headers);
            assert!((200..300).contains(&status), "{}: {status}", way.name);
            counts[at] += 1;
            let trace = last_line(way.gateway, counts[at])["trace_id"].as_str().unwrap().to_owned();
            ((way.got)(), trace)
        };
        let one = |value: &str| vec![value.to_owned()];
        // A valid value passes unchanged, also of a later version.
        for parent in [
            PARENT,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let (got, trace) = asked(&[("traceparent", parent), ("tracestate", STATE)]);
            assert_eq!(got, ReadResult { parents: one(parent), states: one(STATE) }, "{}", way.name);
            assert_eq!(trace, ID, "{}", way.name);
        }
        let (got, _) = asked(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(got.states, ["a=1", "b=2"], "{}", way.name);
        // A state alone can be wrong.
        let (got, trace) = asked(&[("traceparent", PARENT), ("tracestate", "a=1,a=2")]);
        assert_eq!((got, trace.as_str()), (ReadResult { parents: one(PARENT), states: vec![] }, ID), "{}", way.name);
        // Without a valid parent, a new trace begins, and the state is dropped.
        let upper = PARENT.to_uppercase();
        for headers in [
            &[][..],
            &[("tracestate", STATE)],
            &[("traceparent", "00-0-0-01"), ("tracestate", STATE)],
            &[("traceparent", &upper), ("tracestate", STATE)],
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", STATE)],
            &[("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
        ] {
            let (got, trace) = asked(headers);
            let [parent] = got.parents.as_slice() else { panic!("{}: {got:?}", way.name) };
            let parts: Vec<&str> = parent.split('-').collect();
            assert_eq!((parts[0], parts[1], parts[3]), ("00", trace.as_str(), "00"), "{}", way.name);
            assert_eq!((parts[1].len(), parts[2].len()), (32, 16), "{}", way.name);
            assert!(got.states.is_empty() && trace != ID, "{}: {got:?}", way.name);
            assert!(begun.insert(trace), "two traces of one id");
            assert!(begun.insert(parts[2].to_owned()), "two parents of one id");
        }
    }
    // Samplers take the second half for a random number: each bit is set about as often as not.
    let halves = begun.iter().filter(|id| id.len() == 32).map(|id| u64::from_str_radix(&id[16..], 16).unwrap());
    let ones: Vec<u32> = halves.map(u64::count_ones).collect();
    let average = f64::from(ones.iter().sum::<u32>()) / ones.len() as f64;
    assert!(ones.len() == ways.len() * 6 && (24.0..40.0).contains(&average), "{average} of {ones:?}");
}

#[test]
fn hits_and_rejections_log_their_trace() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    let get = Request::new("GET", &format!("/api/v2/sessions/{SESSION}")).bearer(&recorder.token());
    get.send(&gateway.url());
    // A response is there before its line is.
    last_line(&gateway, 1);
    let hit = get.clone().header("traceparent", PARENT).send(&gateway.url());
    assert!(hit.header("Cache-Status").unwrap().starts_with("sessiongate; hit"));
    let line = last_line(&gateway, 2);
    assert_eq!((line["trace_id"].as_str(), line["cache"].as_str()), (Some(ID), Some("hit")));
    let rejected = get.header("traceparent", PARENT).header("X-HTTP-Method-Override", "PUT").send(&gateway.url());
    assert_eq!((rejected.status, last_line(&gateway, 3)["trace_id"].as_str()), (400, Some(ID)));
}

#[test]
fn request_id_of_trusted_peers_is_kept() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.body()?;
        call.json(200, &json!({}))
    });
    let start = |clients: &str| {
        let gateway = Gateway::start(&format!("{clients}{}", recorder.upstream("")));
        gateway.ready();
        gateway
    };
    let trusting = start("clients: { trusted_peers: [127.0.0.1] }\n");
    let strict = start("");
    let longest = "x".repeat(128);
    let mut counts = [0, 0];
    let governed = format!("/api/v2/sessions/{SESSION}/revoke");
    for path in ["/x", &governed] {
        for id in ["7f1c2b6e-1b0a-4d7e-9a6e-0d6f6c1e2a3b", "Aa0-._:+/=", &longest] {
            for (at, gateway) in [&trusting, &strict].into_iter().enumerate() {
                let post = Request::new("POST", path).bearer(&recorder.token()).header("X-Request-Id", id);
                let response = post.send(&gateway.url());
                counts[at] += 1;
                let named = response.header("X-Request-Id").unwrap();
                assert_eq!(named == id, at == 0, "{path}: {named}");
                assert_eq!(last_line(gateway, counts[at])["request_id"], named);
            }
        }
        let long = "x".repeat(129);
        for id in ["", "a b", "a\"b", "a,b", "a\\b", "\u{e9}", "<a>", "a{b}", &long] {
            let post = Request::new("POST", path).bearer(&recorder.token()).header("X-Request-Id", id);
            let response = post.send(&trusting.url());
            counts[0] += 1;
            let named = response.header("X-Request-Id").unwrap();
            assert!(named != id && named.len() == 32, "{id}: {named}");
            assert_eq!(last_line(&trusting, counts[0])["request_id"], named);
        }
        let twice = Request::new("POST", path)
            .bearer(&recorder.token())
            .header("X-Request-Id", "a")
            .header("X-Request-Id", "a");
        assert_ne!(twice.send(&trusting.url()).header("X-Request-Id"), Some("a"));
        counts[0] += 1;
    }
    // Each request of a connection has its own.
    let mut connection = Connection::open(trusting.address()).unwrap();
    for id in ["first", "", "second"] {
        let request = Request::new("POST", "/x");
        let request = if id.is_empty() { request } else { request.header("X-Request-Id", id) };
        let response = connection.exchange(&request).unwrap();
        let named = response.header("X-Request-Id").unwrap();
        assert!(if id.is_empty() { named.len() == 32 } else { named == id }, "{named}");
    }
}
