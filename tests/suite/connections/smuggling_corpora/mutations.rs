//! Obfuscations of `Transfer-Encoding` and `Content-Length`: one server sees a body where another sees the next
//! request.

use super::{EVIL, at_all, is_rejection, json_lines};
use serde_json::Value;

/// A request with an obfuscated header in it.
struct Attack {
    name: String,
    /// The request line's method and target.
    line: &'static str,
    /// The lines of the head behind the request line and the host.
    fields: Vec<u8>,
    body: Vec<u8>,
}

const LINES: [&str; 2] = ["POST /passed", "PATCH /api/v2/sessions/375UIp_ID5mCTClIeBEHpXfGwq51tF_L"];
/// Part of a body: a server that ends the body early reads it as a request.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Each in its places: beside a length, alone, and beside a coding that is plain.
fn codings(mutations: &[Value]) -> Vec<Attack> {
    let chunk = format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len());
    let ends_early = format!("0\r\n\r\n{HIDDEN}");
    let length = |body: &str| format!("Content-Length: {}", body.len()).into_bytes();
    let mut attacks = Vec::new();
    for mutation in mutations {
        let header = unhex(mutation["hex"].as_str().unwrap());
        for line in LINES {
            for (how, fields, body) in [
                ("behind a length", [&length(&ends_early), &b"\r\n"[..], &header].concat(), &ends_early),
                ("before a length", [&header, &b"\r\n"[..], &length(&ends_early)].concat(), &ends_early),
                ("alone", header.clone(), &chunk),
                ("beside a plain one", [&header, &b"\r\nTransfer-Encoding: chunked"[..]].concat(), &chunk),
            ] {
                let name = format!("{} {how}", mutation["name"]);
                attacks.push(Attack { name, line, fields, body: body.clone().into_bytes() });
            }
        }
    }
    attacks
}

fn lengths(mutations: &[Value]) -> Vec<Attack> {
    let body = format!("{EVIL}{HIDDEN}");
    let mut attacks = Vec::new();
    for mutation in mutations {
        let template = mutation["template"].as_str().unwrap();
        for line in LINES {
            for (how, length) in [("of a part", EVIL.len()), ("of the whole", body.len())] {
                let header = template.replace("{n}", &length.to_string());
                let plain = format!("Content-Length: {length}");
                for fields in [header.clone(), format!("{header}\r\n{plain}"), format!("{plain}\r\n{header}")] {
                    let name = format!("{} {how}", mutation["name"]);
                    attacks.push(Attack { name, line, fields: fields.into(), body: body.clone().into() });
                }
            }
        }
    }
    attacks
}

/// None reaches the provider in two ways; what is hidden in a body reaches it as a request only where everybody sees it
/// as one.
fn check(attacks: &[Attack]) -> (usize, usize) {
    let forwarded = at_all(attacks, |guarded, attack| {
        let start = format!(
            "{} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            attack.line, guarded.host, guarded.token
        );
        let bytes = [start.as_bytes(), &attack.fields, b"\r\n\r\n", &attack.body].concat();
        let ran = guarded.run(&bytes);
        let own = attack.line.split(' ').nth(1).unwrap();
        let fault = |what: &str| {
            let seen: Vec<String> = ran
                .seen
                .iter()
                .map(|seen| format!("{} {}", String::from_utf8_lossy(&seen.head), seen.text()))
                .collect();
            Err(format!(
                "{} ({}): {what}: status {:?}, the provider got {seen:?}",
                attack.name, attack.line, ran.statuses
            ))
        };
        match ran.seen.as_slice() {
            [] if is_rejection(&ran.statuses) => Ok(false),
            [] => fault("no response"),
            // Behind a plain length it is a request like any other, and its host shows that it was read as one.
            [one, more @ ..]
                if one.target == own && more.iter().all(|seen| seen.target == "/smuggled") && more.len() < 2 =>
            {
                let plain =
                    String::from_utf8_lossy(&attack.fields).contains(&format!("Content-Length: {}", one.body.len()));
                if more.is_empty() || plain { Ok(true) } else { fault("a part of it became a request") }
            }
            _ => fault("it became something else"),
        }
    });
    let count = forwarded.iter().filter(|forwarded| **forwarded).count();
    (forwarded.len(), count)
}

#[test]
fn no_obfuscated_transfer_encoding_hides_a_request() {
    let mutations = json_lines("smuggling/te_mutations.jsonl");
    assert_eq!(mutations.len(), 388, "another corpus than this test expects");
    let (count, forwarded) = check(&codings(&mutations));
    println!("codings: {count} requests, {} rejected, {forwarded} forwarded in canonical form", count - forwarded);
    assert!(count - forwarded > count / 2, "{forwarded} of {count}");
}

#[test]
fn no_obfuscated_content_length_hides_a_request() {
    let mutations = json_lines("smuggling/cl_mutations.jsonl");
    assert_eq!(mutations.len(), 11, "another corpus than this test expects");
    let (count, forwarded) = check(&lengths(&mutations));
    println!("lengths: {count} requests, {} rejected, {forwarded} forwarded in canonical form", count - forwarded);
    assert!(count - forwarded > count / 2, "{forwarded} of {count}");
}
