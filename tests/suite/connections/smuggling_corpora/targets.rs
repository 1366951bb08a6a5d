//! Request targets: URLs that parsers read differently, and directory traversals.

use super::{EVIL, Guarded, at_all, corpus, is_rejection, json_lines};
use crate::harness::recorder::SESSION;
use crate::harness::{Http2Client, path_readers};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs;

/// The targets that a text is put into: as it stands, below what is passed, and before, below and behind what is
/// governed.
fn spelled(text: &str) -> Vec<String> {
    let rest = text.trim_start_matches('/');
    vec![
        text.to_owned(),
        format!("/{rest}"),
        format!("/x/{rest}"),
        format!("/api/v2/users/{rest}"),
        format!("/api/v2/users/{rest}/sessions/{SESSION}"),
        format!("/{rest}/api/v2/sessions/{SESSION}"),
        format!("/api/v2/sessions/{rest}"),
        format!("/api/v2/sessions/{rest}/{SESSION}"),
        format!("/api/v2/sessions/{SESSION}/{rest}"),
        format!("/api/v2/{rest}sessions/{SESSION}"),
    ]
}

fn texts() -> BTreeSet<String> {
    const ANOTHER: &str = "another corpus than this test expects";
    let urls = json_lines("urls/urltestdata.jsonl");
    assert_eq!(urls.len(), 850, "{ANOTHER}");
    // What is written, and the path that a browser makes of it.
    let parts = urls.iter().flat_map(|case| ["input", "pathname"].map(|key| case[key].as_str()));
    let mut texts: BTreeSet<String> = parts.flatten().map(str::to_owned).collect();
    let folders = fs::read_to_string(corpus("urls/directory_traversal.txt")).unwrap();
    assert_eq!(folders.lines().count(), 140, "{ANOTHER}");
    texts.extend(folders.lines().map(str::to_owned));
    let blocks = fs::read_to_string(corpus("llhttp/url.md")).unwrap();
    let blocks: Vec<&str> =
        blocks.split("```url\n").skip(1).map(|block| block.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 21, "{ANOTHER}");
    texts.extend(blocks.into_iter().map(str::to_owned));
    texts
}

/// What is wrong with what came of a change of a session that the policy forbids, sent to a target.
fn fault(guarded: &Guarded, target: &str, before: usize, statuses: &[u16]) -> Option<String> {
    let seen = guarded.recorder.seen().split_off(before);
    match seen.as_slice() {
        [] if is_rejection(statuses) => None,
        [] => Some(format!("{target:?}: no response, but {statuses:?}")),
        [one] => {
            let host = format!("http://{}", guarded.host);
            let path = target.strip_prefix(&host).unwrap_or(target);
            let path = if path.is_empty() { "/" } else { path };
            let canonical = path.split('#').next() == Some(one.target.as_str());
            let plain = one.target.split('?').next().unwrap_or_default();
            let session = path_readers().any(|server| server.finds_something(plain));
            (!canonical || session).then(|| format!("{target:?}: forwarded as {:?}, status {statuses:?}", one.target))
        }
        more => Some(format!("{target:?}: forwarded {} times", more.len())),
    }
}

/// Rejected, or forwarded unchanged; then no server reads a session in it.
#[test]
fn no_target_hides_a_session() {
    let texts = texts();
    let targets: Vec<String> =
        texts.iter().flat_map(|text| spelled(text)).collect::<BTreeSet<_>>().into_iter().collect();
    let forwarded = at_all(&targets, |guarded, target| {
        let head = format!(
            "PATCH {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{EVIL}",
            guarded.host,
            guarded.token,
            EVIL.len()
        );
        let before = guarded.recorder.count();
        let statuses = super::statuses(&guarded.raw(head.as_bytes()));
        match fault(guarded, target, before, &statuses) {
            Some(fault) => Err(fault),
            None => Ok(guarded.recorder.count() > before),
        }
    });
    let count = forwarded.iter().filter(|forwarded| **forwarded).count();
    println!(
        "targets: {} spellings, {} rejected, {count} forwarded unchanged",
        forwarded.len(),
        forwarded.len() - count
    );
    assert!(count > 500 && forwarded.len() - count > 2000, "{count} of {}", forwarded.len());
}

/// The same over HTTP/2, for targets that its clients can send.
#[test]
fn no_http2_target_hides_a_session() {
    let texts = texts();
    // One spelling of each: they are read by the same code behind the parser.
    let targets: Vec<String> = texts.iter().flat_map(|text| spelled(text).into_iter().skip(4).take(2)).collect();
    let forwarded = at_all(&targets, |guarded, target| {
        let Ok(uri) = format!("http://{}{target}", guarded.host).parse::<http::Uri>() else {
            return Ok(false);
        };
        let request = http::Request::patch(uri)
            .header("authorization", format!("Bearer {}", guarded.token))
            .header("content-type", "application/json");
        let before = guarded.recorder.count();
        let status = Http2Client::of(&guarded.gateway)
            .send(request.body(()).unwrap(), Some(Bytes::from_static(EVIL.as_bytes())));
        let statuses = if status == 0 { vec![] } else { vec![status] };
        match fault(guarded, target, before, &statuses) {
            Some(fault) => Err(fault),
            None => Ok(guarded.recorder.count() > before),
        }
    });
    let count = forwarded.iter().filter(|forwarded| **forwarded).count();
    println!("targets of HTTP/2: {} spellings, {count} forwarded unchanged", forwarded.len());
    assert!(count > 50, "{count}");
}
