//! Responses of llhttp's tests, sent by a provider: each passes or fails, and the next request gets its own response.

use super::corpus;
use super::llhttp::{Sample, samples};
use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::{Gateway, Request, Response, wait_for};
use serde_json::json;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

/// The response to requests that are not honest.
type Current = Arc<Mutex<(Vec<u8>, Then)>>;

fn provider(current: &Current) -> Recorder {
    let current = current.clone();
    Recorder::start(move |call: &mut Call| {
        call.body()?;
        if let Some(number) = call.seen.target.strip_prefix("/honest/") {
            let number = number.to_owned();
            return call.json(200, &json!({ "honest": number }));
        }
        if call.seen.method == "PATCH" {
            return call.json(200, &json!({ "id": SESSION, "session_metadata": { "team": "blue" } }));
        }
        let (bytes, then) = current.lock().unwrap().clone();
        call.send(bytes)?;
        Ok(then)
    })
}

/// What is wrong with the response to a request that got one of these.
fn fault(sample: &Sample, response: &std::io::Result<Response>, governed: bool) -> Option<String> {
    let Ok(response) = response else {
        // Broken off.
        return None;
    };
    let own = response.header("X-Request-Id").is_some()
        && serde_json::from_slice::<serde_json::Value>(&response.body)
            .is_ok_and(|body| body["statusCode"] == response.status);
    if own || governed {
        return None;
    }
    let all = |name: &str| -> Vec<&str> {
        let own = response.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    };
    let codings = all("Transfer-Encoding");
    if !matches!(codings[..], [] | ["chunked"]) || codings.len() + all("Content-Length").len() > 1 {
        return Some(format!("it is framed by {:?}", response.headers));
    }
    // What came through has the body that llhttp finds, of the first response that is one.
    let whole = sample.messages() == 1 && !sample.has_error() && sample.kind == "response";
    (whole && response.text() != sample.body())
        .then(|| format!("the body is {:?} and not {:?}", response.text(), sample.body()))
}

#[test]
fn llhttp_responses_pass_or_fail_and_do_not_affect_the_next_request() {
    let samples = samples(&corpus("llhttp/response"));
    assert_eq!(samples.len(), 85, "another corpus than this test expects");
    let current: Current = Arc::new(Mutex::new((Vec::new(), Then::Close)));
    let recorder = provider(&current);
    let gateway = Gateway::start(&recorder.upstream("timeouts: { first_byte: 500ms, idle: 500ms }"));
    gateway.ready();
    let mut faults = String::new();
    let mut counts = [0; 3];
    let mut number = 0;
    for sample in &samples {
        for then in [Then::Keep, Then::Close] {
            *current.lock().unwrap() = (sample.bytes.clone(), then);
            let session = format!("/api/v2/sessions/{SESSION}");
            for (path, governed) in [("/hostile", false), (session.as_str(), true)] {
                let response = Request::new("GET", path).bearer(&recorder.token()).try_send(&gateway.url());
                counts[match &response {
                    Ok(response) if response.status < 500 => 0,
                    Ok(_) => 1,
                    Err(_) => 2,
                }] += 1;
                if let Some(fault) = fault(sample, &response, governed) {
                    let _ = writeln!(faults, "{} at {path}: {fault}", sample.name);
                }
                number += 1;
                for fault in honest_faults(&recorder, &gateway, number) {
                    let _ = writeln!(faults, "{} at {path}: then {fault}", sample.name);
                }
            }
        }
    }
    println!(
        "responses: {} passed, {} failures, {} broken off; {number} honest ones behind them",
        counts[0], counts[1], counts[2]
    );
    assert!(faults.is_empty(), "{faults}");
}

/// What is wrong with honest requests behind a hostile response, a passed and a governed one: a machine that is slow may
/// cost a failure, but nothing may come from another request.
fn honest_faults(recorder: &Recorder, gateway: &Gateway, number: usize) -> Vec<String> {
    let mut faults = Vec::new();
    wait_for("an honest response", || {
        let response = Request::new("GET", &format!("/honest/{number}")).try_send(&gateway.url()).ok()?;
        let own = json!({ "honest": number.to_string() });
        if response.status < 500 && response.json() != own {
            faults.push(format!("{number} got {response:?} {}", response.text()));
        }
        (response.status < 500).then_some(())
    });
    wait_for("an honest change", || {
        let patch = Request::new("PATCH", &format!("/api/v2/sessions/{SESSION}")).bearer(&recorder.token());
        let response = patch.json(r#"{"session_metadata":{"team":"blue"}}"#).try_send(&gateway.url()).ok()?;
        if response.status < 500 && (response.status != 200 || response.json()["session_metadata"]["team"] != "blue") {
            faults.push(format!("the change got {response:?} {}", response.text()));
        }
        (response.status < 500).then_some(())
    });
    faults
}
