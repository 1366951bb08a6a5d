//! Requests of llhttp's tests.

use super::llhttp::{Sample, samples};
use super::{at_all, corpus, is_rejection};

/// As it is, and with a host, which most of them lack.
fn variants(sample: &Sample, host: &str) -> Vec<Vec<u8>> {
    let mut all = vec![sample.bytes.clone()];
    let text: String = sample.bytes.iter().map(|byte| char::from(*byte)).collect();
    if !text.to_ascii_lowercase().contains("host:") {
        // Behind each line that looks like the first of a request.
        let mut with_host = String::new();
        for line in text.split_inclusive('\n') {
            with_host.push_str(line);
            if line.trim_end().ends_with("HTTP/1.1") || line.trim_end().ends_with("HTTP/1.0") {
                with_host.push_str(&format!("Host: {host}\r\n"));
            }
        }
        all.push(with_host.chars().map(|c| c as u8).collect());
    }
    all
}

#[test]
fn llhttp_requests_are_rejected_or_forwarded_in_canonical_form() {
    let samples = samples(&corpus("llhttp/request"));
    assert_eq!(samples.len(), 166, "another corpus than this test expects");
    let all = at_all(&samples, |guarded, sample| {
        let mut forwarded = 0;
        let variants = variants(sample, &guarded.host);
        let count = variants.len();
        for bytes in variants {
            let ran = guarded.run(&bytes);
            let fault = |what: &str| {
                let seen: Vec<_> =
                    ran.seen.iter().map(|seen| String::from_utf8_lossy(&seen.head).into_owned()).collect();
                let (name, text) = (&sample.name, String::from_utf8_lossy(&bytes));
                Err(format!("{name}: {what}: status {:?}, the provider got {seen:?} of {text:?}", ran.statuses))
            };
            if ran.seen.len() > sample.messages().max(1) {
                return fault("more requests than there were");
            }
            if ran.seen.is_empty() && !is_rejection(&ran.statuses) {
                return fault("no response");
            }
            let good = ran.statuses.iter().filter(|status| (200..300).contains(*status)).count();
            if good > ran.seen.len() {
                return fault("more responses than requests");
            }
            forwarded += usize::from(!ran.seen.is_empty());
        }
        Ok((count, forwarded))
    });
    let (count, forwarded) = all.iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    println!("llhttp: {count} requests, {} rejected, {forwarded} forwarded in canonical form", count - forwarded);
    assert!(forwarded > 40 && count - forwarded > 100, "{forwarded} of {count}");
}
