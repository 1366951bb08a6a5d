//! Only `dialect` and `sandbox` know a provider's words: its name, headers, claims, scopes, fields, paths and errors.

use super::{Source, expect_none, files};
use crate::harness::project;
use regex::{Captures, Regex};
use serde_json::Value;
use sessiongate::dialect::{
    BodyKind, CredentialPlace, DIALECTS, Dialect, NotFoundMeaning, Query, ReadOnlyScopes, Route, Version,
};
use sessiongate::wire::schema::{FieldType, Message};
use std::collections::BTreeSet;
use std::fs;

/// Words of standards, of the gateway's own messages and of plain English, that providers use too.
const STANDARD: [&str; 46] = [
    // HTTP, Forwarded, OAuth and OpenID Connect; gRPC and Connect; OpenTelemetry.
    "/.well-known",
    "authorization",
    "bearer",
    "client_id",
    "cache-status",
    "content-length",
    "cookie",
    "forwarded",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "location",
    "sid",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "scope",
    "message",
    "code",
    "details",
    "user_agent",
    // English, and the escape of a character.
    "/u",
    "as",
    "audience",
    "domain",
    "from",
    "id",
    "ids",
    "metadata",
    "in",
    "ip",
    "limit",
    "offset",
    "page",
    "password",
    "query",
    "read:",
    "sequence",
    "session",
    "sessions",
    "take",
    "text",
    "timestamp",
    "user",
    "fields",
];

/// All words that a dialect's table has, beside its name.
fn words(dialect: &Dialect) -> BTreeSet<String> {
    let names = &dialect.names;
    let mut all = vec![names.id, dialect.scopes.claim];
    all.extend(names.error);
    all.extend([names.session, names.metadata, names.write_details, names.sessions].into_iter().flatten());
    all.extend([names.session_id, names.session_token, names.lifetime].into_iter().flatten());
    all.extend(names.expiries);
    all.extend(names.version.map(|(Version::Time(name) | Version::Number(name))| name));
    all.extend(names.checks.iter().flat_map(|checks| checks.kinds.iter().map(|(name, _)| *name).chain([checks.field])));
    if let Some(own) = &names.challenges {
        all.extend([own.field, own.web_auth_n, own.otp_sms, own.otp_email]);
        all.extend([own.return_code, own.send_code, own.url_template]);
    }
    let headers = &dialect.headers;
    all.extend(headers.stripped.iter().chain(headers.cache_key).chain(headers.software));
    all.extend(headers.trusted_peer.iter().map(|header| header.name));
    all.extend(dialect.credentials.iter().flat_map(|place| match place {
        CredentialPlace::Scheme { header, scheme } => [*header, *scheme],
        CredentialPlace::Header(header) => [*header, ""],
        CredentialPlace::Cookie(name) => [place.header(), *name],
    }));
    all.extend(dialect.token_type);
    let claims = &dialect.claims;
    all.extend(claims.client_id);
    all.extend([claims.roles, claims.groups, claims.organization, claims.session].into_iter().flatten());
    all.extend(headers.cors.iter().flat_map(|cors| cors.exposed.split(',').map(str::trim)));
    all.extend(dialect.rejections.overrides.iter().filter_map(|one| one.code));
    all.extend(dialect.lockout_ids);
    match dialect.not_found {
        NotFoundMeaning::Any => {}
        NotFoundMeaning::WithId(id) | NotFoundMeaning::Error(id) => all.push(id),
    }
    match dialect.scopes.read_only {
        ReadOnlyScopes::Prefix(part) | ReadOnlyScopes::Suffix(part) => all.push(part),
        ReadOnlyScopes::Unknown => {}
    }
    all.extend(dialect.logouts.iter().flat_map(|logout| [logout.path, logout.token]));
    all.extend(
        dialect
            .roots
            .iter()
            .chain(dialect.protected_paths)
            .chain(dialect.unprotected_paths)
            .chain(dialect.public_paths),
    );
    for route in dialect.routes {
        of_route(route, &mut all);
    }
    all.into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn of_route(route: &Route, all: &mut Vec<&'static str>) {
    all.extend(route.scopes);
    match route.query {
        Query::Parameters(names) | Query::SessionToken(names) => all.extend(names),
    }
    match route.body {
        BodyKind::Nothing => {}
        BodyKind::Metadata(name) => all.push(name),
        BodyKind::Revocation(body) => all.extend(body.members.iter().map(|member| member.name)),
    }
    for message in route.call.iter().flat_map(|call| [call.request, call.response]) {
        of_message(message, all);
    }
}

fn of_message(message: &'static Message, all: &mut Vec<&'static str>) {
    all.push(message.name);
    for field in message.fields {
        all.extend([field.name, field.json]);
        if let FieldType::Message(inner) | FieldType::Messages(inner) = field.kind {
            of_message(inner, all);
        }
    }
}

/// The names and values of options: a policy speaks of lifetimes and checks in words that providers have too.
fn options() -> BTreeSet<String> {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    found.insert(key.clone());
                    collect(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::String(text) if text.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
                found.insert(text.clone());
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let schema = fs::read_to_string(project().join("config/schema.json")).unwrap();
    let mut found = BTreeSet::new();
    collect(&serde_json::from_str(&schema).unwrap(), &mut found);
    found
}

/// Whether a line names a provider. A name ends where a word or a part of an identifier does: `ory` is not in `memory`,
/// but in `OryClient` and in `ORY_URL`.
fn names(line: &str, provider: &str) -> bool {
    line.to_ascii_lowercase().match_indices(provider).any(|(at, _)| {
        let (before, own, after) = (&line[..at], &line[at..at + provider.len()], &line[at + provider.len()..]);
        let begins = match before.chars().last() {
            Some(last) if last.is_lowercase() => own.starts_with(char::is_uppercase),
            last => !last.is_some_and(char::is_alphanumeric),
        };
        let ends = match after.chars().next() {
            Some(next) if next.is_uppercase() => !own.ends_with(char::is_uppercase),
            next => !next.is_some_and(char::is_alphanumeric),
        };
        begins && ends
    })
}

/// The code of a file without its tests.
fn without_tests(text: &str) -> &str {
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(pub\(crate\) )?mod ").unwrap();
    &text[..tests.find(text).map_or(text.len(), |found| found.start())]
}

/// The texts of a file, each with its place.
fn texts(text: &str) -> Vec<(usize, &str)> {
    // Comments and characters are matched so that a quote in them begins no text.
    let found = Regex::new(r##"//[^\n]*|'"'|'\\.'|(?s:r#"(.*?)"#)|"((?s:[^"\\]|\\.)*)""##).unwrap();
    let texts = found.captures_iter(text).filter_map(|found| found.get(1).or(found.get(2)));
    texts.map(|found| (found.start(), found.as_str())).collect()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c)
}

/// Whether a provider's word is more than a word, such as a path, a scope or a media type.
fn is_phrase(word: &str) -> bool {
    !word.chars().all(is_of_word)
}

/// The places where a file's texts have one of the words, or where any line names a provider.
fn foreign(path: &str, text: &str, words: &BTreeSet<String>) -> Vec<String> {
    let text = without_tests(text);
    let place = |at: usize| format!("src/{}:{}", path, text[..at].matches('\n').count() + 1);
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for dialect in DIALECTS.iter().filter(|dialect| names(line, dialect.name)) {
            faults.push(format!("src/{}:{}: names {}", path, at + 1, dialect.name));
        }
    }
    // Header names have any case, and a word may be the beginning of header names.
    let is_foreign = |part: &str| {
        let lower = part.to_ascii_lowercase();
        words.contains(part)
            || part.contains('-') && words.contains(&lower)
            || words.iter().any(|word| word.ends_with('-') && lower.starts_with(word.as_str()))
    };
    for (at, whole) in texts(text) {
        let parts = whole.split(|c| !is_of_word(c)).filter(|part| is_foreign(part));
        let longer = words.iter().filter(|word| is_phrase(word) && whole.contains(word.as_str()));
        for word in parts.chain(longer.map(String::as_str)) {
            faults.push(format!("{}: {word:?} is a provider's", place(at)));
        }
    }
    faults
}

/// The declaration of options without what the example shows: a value, and the name and lines of a sample. An example
/// configures the providers that exist.
fn without_samples(text: &str) -> String {
    let quoted = r#""(?:[^"\\]|\\.)*""#;
    let value = format!(r"\.shown\(\s*{quoted}\s*,?\)");
    let samples =
        Regex::new(&format!(r"{value}|Sample \{{\s*name: {quoted}|\blines: &\[(?:\s*{quoted},?)*\s*\]")).unwrap();
    let lines = |found: &Captures| "\n".repeat(found[0].matches('\n').count());
    samples.replace_all(text, lines).into_owned()
}

fn provider_words() -> BTreeSet<String> {
    let options = options();
    let all = DIALECTS.iter().flat_map(|dialect| words(dialect));
    let is_plain = |word: &str| STANDARD.contains(&word) || options.contains(word);
    all.filter(|word| !is_plain(word) && !is_plain(&word.to_lowercase())).collect()
}

/// Files beside `dialect` and `sandbox` that name providers.
const EXEMPT: [(&str, &str); 2] = [
    ("cli.rs", "the help says what the sandbox simulates"),
    ("cli/sandbox.rs", "it starts the sandbox, with an address for each provider"),
];

#[test]
fn only_dialects_and_the_sandbox_have_a_providers_words() {
    let words = provider_words();
    let is_own = |path: &str| {
        let room = path.split(['/', '.']).next().unwrap_or_default();
        ["dialect", "sandbox"].contains(&room) || EXEMPT.iter().any(|(exempt, _)| *exempt == path)
    };
    let files = files();
    let read = files.iter().filter(|(path, _)| !Source::new(path, "").is_test() && !is_own(path));
    let found = read.flat_map(|(path, text)| match path.starts_with("config/options/") {
        true => foreign(path, &without_samples(text), &words),
        false => foreign(path, text, &words),
    });
    expect_none(&found.collect::<Vec<_>>());
}

#[test]
fn an_exempt_file_names_a_provider() {
    for (exempt, why) in EXEMPT {
        let (path, text) = files().into_iter().find(|(path, _)| path == exempt).unwrap();
        assert!(!foreign(&path, &text, &BTreeSet::new()).is_empty(), "{exempt}: {why}");
    }
}

#[test]
fn a_providers_word_is_found_wherever_it_is_planted() {
    let words = provider_words();
    let faults = |text: &str| foreign("proxy.rs", text, &words);
    for dialect in DIALECTS {
        let own: BTreeSet<String> = self::words(dialect).intersection(&words).cloned().collect();
        assert!(own.len() >= 5, "{} has only {own:?}", dialect.name);
        for word in own {
            assert!(!faults(&format!("const X: &str = \"{word}\";")).is_empty(), "{word}");
            let below = format!("#[cfg(test)]\nuse x;\nconst X: &str = \"some \\\n   {word} \\\n   text\";");
            assert!(!faults(&below).is_empty(), "{word}");
        }
        let name = dialect.name;
        let (upper, (first, rest)) = (name.to_uppercase(), name.split_at(1));
        let camel = first.to_uppercase() + rest;
        for text in [
            format!("// as {upper} does"),
            format!("let x = {name}_url;"),
            format!("struct {camel}Client;"),
            format!("struct My{camel};"),
            format!("const {upper}_URL: u8 = 1;"),
            format!("\"{camel}'s\""),
        ] {
            assert_eq!(faults(&text).len(), 1, "{text}");
        }
        // The example names providers, its comments and the texts of options do not.
        let sample = format!(
            ".shown(\"https://{name}.example\")\n\
             Sample {{ name: \"{name}\", comment: \"\", lines: &[\n    \"dialect: {name}\",\n] }}"
        );
        assert_eq!(faults(&without_samples(&sample)), [""; 0]);
        let texts = format!(".comment(\"with {name}\")\nSample {{ name: \"a\", comment: \"of {name}\", lines: &[] }}");
        assert_eq!(faults(&without_samples(&texts)).len(), 2);
    }
    for text in ["const X: &str = \"authorization\";", "const X: &str = \"lifetime\";", "// a session_token"] {
        assert_eq!(faults(text), [""; 0], "{text}");
    }
}

#[test]
fn the_name_of_a_provider_is_a_word() {
    for line in ["memory", "MEMORY", "Memory", "oryx", "history", "Oryx", "a_memory_b"] {
        assert!(!names(line, "ory"), "{line}");
    }
    for line in ["ory", "Ory's", "ORY_URL", "of_ory", "OryClient", "MyOry", "x-ory-id", "ory.example"] {
        assert!(names(line, "ory"), "{line}");
    }
}
