//! Only `dialect` and `sandbox` know a provider's words: its name, headers, claims, scopes, fields, paths and errors.

use super::{Source, expect_none, files};
use crate::harness::project;
use regex::Regex;
use serde_json::Value;
use sessiongate::dialect::{BodyKind, DIALECTS, Dialect, NotFoundMeaning, Query, ReadOnlyScopes, Route, Version};
use sessiongate::wire::schema::{FieldType, Message};
use std::collections::BTreeSet;
use std::fs;

/// Words of standards, of the gateway's own messages and of plain English, that providers use too.
const STANDARD: [&str; 28] = [
    // HTTP, Forwarded, OAuth and OpenID Connect; gRPC and Connect.
    "authorization",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "scope",
    "message",
    "code",
    "details",
    // English.
    "as",
    "audience",
    "domain",
    "from",
    "id",
    "ids",
    "metadata",
    "in",
    "page",
    "password",
    "query",
    "sequence",
    "session",
    "sessions",
    "take",
    "text",
    "user",
    "fields",
];

/// All words that a dialect's table has.
fn words(dialect: &Dialect) -> BTreeSet<String> {
    let names = &dialect.names;
    let mut all = vec![dialect.name, names.id, names.error, dialect.scopes.claim.name];
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
    all.extend(dialect.credentials.iter().map(|place| place.header()));
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
    all.extend(dialect.roots.iter().chain(dialect.protected_paths).chain(dialect.unprotected_paths));
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
        if let FieldType::Message(inner) = field.kind {
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
    // The names of dialects are values of an option.
    found.retain(|word| DIALECTS.iter().all(|dialect| dialect.name != word));
    found
}

/// The places where a file's texts have one of the words, or where any line names a provider.
fn foreign(path: &str, text: &str, words: &BTreeSet<String>) -> Vec<String> {
    let texts = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.contains("#[cfg(test)]") {
            break;
        }
        let lower = line.to_lowercase();
        let place = format!("src/{}:{}", path, at + 1);
        for dialect in DIALECTS.iter().filter(|dialect| lower.contains(dialect.name)) {
            faults.push(format!("{place}: names {}", dialect.name));
        }
        if line.trim_start().starts_with("//") {
            continue;
        }
        for found in texts.captures_iter(line) {
            let parts = found[1].split(|c: char| !c.is_ascii_alphanumeric() && !['-', '_', '.'].contains(&c));
            for word in parts.chain([&found[1]]).filter(|part| words.contains(*part)) {
                faults.push(format!("{place}: {word:?} is a provider's"));
            }
        }
    }
    faults
}

fn provider_words() -> BTreeSet<String> {
    let options = options();
    let all = DIALECTS.iter().flat_map(|dialect| words(dialect));
    all.filter(|word| !STANDARD.contains(&word.as_str()) && !options.contains(word)).collect()
}

#[test]
fn only_dialects_and_the_sandbox_have_a_providers_words() {
    let words = provider_words();
    // The command line starts the sandbox; the documentation of the rooms names the files of the dialects; the texts of
    // the options are the reference, which explains them with the providers that exist.
    let allowed = |path: &str| {
        path.starts_with("dialect")
            || path.starts_with("sandbox")
            || path.starts_with("config/options/")
            || ["cli.rs", "cli/sandbox.rs", "lib.rs"].contains(&path)
    };
    let files = files();
    let read = files.iter().filter(|(path, _)| !Source::new(path, "").is_test() && !allowed(path));
    expect_none(&read.flat_map(|(path, text)| foreign(path, text, &words)).collect::<Vec<_>>());
}

#[test]
fn a_providers_word_is_found_wherever_it_is_planted() {
    let words = provider_words();
    let faults = |text: &str| foreign("proxy.rs", text, &words);
    for dialect in DIALECTS {
        let own: BTreeSet<String> = self::words(dialect).intersection(&words).cloned().collect();
        assert!(own.len() >= 10, "{} has only {own:?}", dialect.name);
        for word in own {
            assert!(!faults(&format!("const X: &str = \"{word}\";")).is_empty(), "{word}");
        }
        assert!(!faults(&format!("// as {} does", dialect.name.to_uppercase())).is_empty());
    }
    for text in ["const X: &str = \"authorization\";", "const X: &str = \"lifetime\";", "// a session_token"] {
        assert_eq!(faults(text), [""; 0], "{text}");
    }
}
