//! Targets: URLs that parsers read differently, and ways to leave a folder.

use super::{EVIL, Guarded, at_all, corpus, is_rejection};
use crate::harness::recorder::SESSION;
use crate::harness::{Http2Client, path_readers};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeSet;

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

fn texts() -> Option<BTreeSet<String>> {
    let (urls, folders) = (corpus("url/urltestdata.json")?, corpus("url/patt-directory_traversal.txt")?);
    let llhttp = corpus("smuggling/llhttp/test/url.md")?;
    let urls: Value = serde_json::from_str(&std::fs::read_to_string(urls).unwrap()).unwrap();
    let mut texts = BTreeSet::new();
    let mut count = 0;
    for case in urls.as_array().unwrap().iter().filter(|case| case.is_object()) {
        count += 1;
        // What is written, and what a browser makes a path of.
        for text in ["input", "pathname"].iter().filter_map(|key| case[*key].as_str()) {
            texts.insert(text.to_owned());
        }
    }
    assert_eq!(count, 850, "the collection is not the one that this test knows");
    let folders = std::fs::read_to_string(folders).unwrap();
    assert_eq!(folders.lines().count(), 140, "the collection is not the one that this test knows");
    texts.extend(folders.lines().map(str::to_owned));
    let blocks = std::fs::read_to_string(llhttp).unwrap();
    let blocks: Vec<&str> =
        blocks.split("```url\n").skip(1).map(|block| block.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 21, "the collection is not the one that this test knows");
    texts.extend(blocks.into_iter().map(str::to_owned));
    Some(texts)
}

/// What is wrong with what came of a change of a session that the policy forbids, sent to a target.
fn fault(guarded: &Guarded, target: &str, before: usize, statuses: &[u16]) -> Option<String> {
    let seen = guarded.recorder.seen().split_off(before);
    match seen.as_slice() {
        [] if is_rejection(statuses) => None,
        [] => Some(format!("{target:?}: answered {statuses:?} by nobody")),
        [one] => {
            let host = format!("http://{}", guarded.host);
            let path = target.strip_prefix(&host).unwrap_or(target);
            let path = if path.is_empty() { "/" } else { path };
            let canonical = path.split('#').next() == Some(one.target.as_str());
            let plain = one.target.split('?').next().unwrap_or_default();
            let session = path_readers().any(|server| server.finds_something(plain));
            (!canonical || session).then(|| format!("{target:?}: forwarded as {:?}, answered {statuses:?}", one.target))
        }
        more => Some(format!("{target:?}: forwarded {} times", more.len())),
    }
}

/// Refused, or forwarded to the letter, and then no server finds a session in it.
#[test]
fn no_target_hides_a_session() {
    let Some(texts) = texts() else { return };
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
        "targets: {} spellings, {} refused, {count} forwarded to the letter",
        forwarded.len(),
        forwarded.len() - count
    );
    assert!(count > 500 && forwarded.len() - count > 2000, "{count} of {}", forwarded.len());
}

/// The same on HTTP/2, as far as its clients can say it.
#[test]
fn no_target_of_http2_hides_a_session() {
    let Some(texts) = texts() else { return };
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
    println!("targets of HTTP/2: {} spellings, {count} forwarded to the letter", forwarded.len());
    assert!(count > 50, "{count}");
}
