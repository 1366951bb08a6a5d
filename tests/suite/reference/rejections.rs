//! The table of reasons for the documentation, and every rejection as each dialect renders it in each of its carriers:
//! `tests/cases/rejections/DIALECT.txt`.

use crate::harness::{generated_file, generated_part, markdown_table, rejections};
use http::header::CONTENT_TYPE;
use regex::Regex;
use sessiongate::dialect::{DIALECTS, Dialect};
use sessiongate::model::{Cause, Reason, Rejection, Rule, Violation, Violations};
use sessiongate::wire::OwnResponse;
use sessiongate::wire::carrier::Carrier;
use std::fmt::Write;
use std::time::Duration;
use strum::VariantArray;

/// Lines with more characters are shown in part.
const MAX_SHOWN: usize = 1000;

/// Rejections whose parameters change more than the words of the response.
fn special() -> Vec<Rejection> {
    let violations = |rule: Rule, count: usize, length: usize| {
        let one = |n: usize| Violation { path: format!("metadata.k{n}"), rule, message: "ä".repeat(length) };
        Rejection::Violations((0..count).map(one).collect())
    };
    vec![
        Rejection::Query(&[]),
        Rejection::Query(&["include_totals"]),
        Rejection::Method("GET\n".into()),
        Rejection::TokenAudience("https://tenänt.test/100%".into()),
        Rejection::TokenAudience("two\nlines".into()),
        Rejection::KeyPending(Duration::ZERO),
        Rejection::BodyTimeout(Duration::from_millis(1500)),
        Rejection::Framing("ö".repeat(600)),
        Rejection::Malformed("ö".repeat(600)),
        Rejection::Malformed("{what} `{limit}`".into()),
        Rejection::Violations(Violations::new()),
        violations(Rule::Type, 3, 10),
        violations(Rule::Type, 25, 3),
        violations(Rule::Type, 8, 150),
        violations(Rule::OneOf, 20, 2000),
        violations(Rule::Provider, 2, 10),
        violations(Rule::Provider, 2, 2000),
    ]
}

/// The reasons.
pub fn reasons_table() -> String {
    let rows = rejections().into_iter().map(|rejection| {
        let row = rejection.reason().row();
        assert_eq!(rejection.is_failure(), row.cause != Cause::Client, "{}", rejection.name());
        let cause = <&str>::from(row.cause);
        [format!("`{}`", rejection.name()), row.meaning.trim().to_owned(), cause.to_owned(), row.alert.to_owned()]
    });
    markdown_table(["`reason`", "meaning", "cause", "alert"], rows)
}

/// The responses: message and statuses.
#[test]
fn responses_by_message() {
    let parameter = Regex::new(r"\{[^}]*\}").unwrap();
    let mut rows: Vec<[String; 4]> = rejections()
        .iter()
        .map(|rejection| {
            let row = rejection.reason().row();
            let message = parameter.replace_all(row.text, "…");
            let message = if message.contains('`') { format!("`` {message} ``") } else { format!("`{message}`") };
            let mut status = row.status.to_string();
            for dialect in DIALECTS {
                let own = dialect.rejections.response(rejection, Carrier::Rest).status.as_u16();
                if own != row.status {
                    let _ = write!(status, "; `{}`: {own}", dialect.name);
                }
            }
            [message, status, row.grpc_code.name().to_uppercase(), format!("`{}`", rejection.name())]
        })
        .collect();
    rows.sort_by(|one, other| one[1].cmp(&other[1]));
    let table = markdown_table(["message", "status", "gRPC code", "`reason`"], rows);
    generated_part("docs/reference/reasons.md", "responses", &table);
}

/// Texts name the parameters of their reasons only, and no dialect overrides the same thing twice.
#[test]
fn overrides_fit_their_reasons() {
    let parameter = Regex::new(r"\{([^}:]*)").unwrap();
    let check = |text: &str, reason: &Reason| {
        for found in parameter.captures_iter(text) {
            assert!(reason.row().parameters.contains(&&found[1]), "{}: {text}", reason.name());
        }
    };
    for reason in Reason::VARIANTS {
        check(reason.row().text, reason);
        for dialect in DIALECTS {
            let overrides = || dialect.rejections.overrides.iter().filter(|one| one.reasons.contains(reason));
            overrides().filter_map(|one| one.text).for_each(|text| check(text, reason));
            let counts = [
                overrides().filter(|one| one.status.is_some()).count(),
                overrides().filter(|one| one.code.is_some()).count(),
                overrides().filter(|one| one.text.is_some()).count(),
            ];
            assert!(counts.iter().all(|count| *count <= 1), "{} {}", dialect.name, reason.name());
        }
    }
}

#[test]
fn responses() {
    for dialect in DIALECTS {
        let mut text = String::from(
            "# Every rejection in this dialect. `tests/run --write` writes this file anew; then look at the difference.\n",
        );
        for rejection in rejections().iter().chain(&special()) {
            let _ = write!(text, "\n=== {}{}\n", rejection.name(), parameters(rejection));
            let mut shown: Vec<(String, Vec<String>)> = Vec::new();
            for carrier in carriers(dialect) {
                let response = dialect.rejections.response(rejection, *carrier);
                let (content_type, response) = self::shown(&response);
                let carrier = format!("{} ({content_type})", carrier.name());
                match shown.iter_mut().find(|(same, _)| *same == response) {
                    Some((_, carriers)) => carriers.push(carrier),
                    None => shown.push((response, vec![carrier])),
                }
            }
            for (response, carriers) in shown {
                let _ = write!(text, "--- {}\n{response}", carriers.join(", "));
            }
        }
        generated_file(&format!("tests/cases/rejections/{}.txt", dialect.name), &text);
    }
}

/// The parameters in the source's words.
fn parameters(rejection: &Rejection) -> String {
    let debug = format!("{rejection:?}");
    let parameters = debug.find('(').map(|start| debug.split_at(start).1);
    match (rejection, parameters) {
        (Rejection::Violations(all), _) => format!(": {} with {:?}", all.count(), all.rules()),
        (_, Some(parameters)) => format!(" {}", cut(parameters)),
        (_, None) => String::new(),
    }
}

/// The carriers in which the gateway renders rejections of this dialect.
fn carriers(dialect: &Dialect) -> &'static [Carrier] {
    if dialect.has_grpc { &Carrier::ALL } else { &[Carrier::Rest] }
}

/// The content type of a response, and the rest as text: byte for byte but for the middle of long lines.
fn shown(response: &OwnResponse) -> (&str, String) {
    let mut text = format!("{}\n", response.status.as_u16());
    let ((first, content_type), headers) = response.headers.split_first().unwrap();
    assert_eq!(first, CONTENT_TYPE);
    for (name, value) in headers {
        let _ = writeln!(text, "{name}: {}", cut(&value.as_bytes().escape_ascii().to_string()));
    }
    if !response.body.is_empty() {
        let plain = std::str::from_utf8(&response.body).ok().filter(|body| !body.contains(char::is_control));
        let body = plain.map_or_else(|| response.body.escape_ascii().to_string(), str::to_owned);
        let _ = writeln!(text, "\n{}", cut(&body));
    }
    for (name, value) in response.trailers.iter().flatten() {
        let _ = writeln!(text, "trailer {name}: {}", cut(&value.as_bytes().escape_ascii().to_string()));
    }
    (content_type.to_str().unwrap(), text)
}

/// A line without the middle if it is long: with its length and its FNV-1a hash instead.
fn cut(line: &str) -> String {
    if line.chars().count() <= MAX_SHOWN {
        return line.to_owned();
    }
    let hash = line
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let head: String = line.chars().take(200).collect();
    format!("{head}… ({} bytes, hash {hash:016x})", line.len())
}
