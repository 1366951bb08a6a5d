//! The log: the fields of the access log, and the lines for state changes.

use crate::harness::{generated_part, markdown_table, project};
use sessiongate::proxy::{ACCESS_LOG, LogField, LogFieldKind};
use sessiongate::telemetry::{IntrospectionFailure, KeyFetchFailure, label_values};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn access_log() {
    let row = |field: &&LogField| {
        let kind = match field.kind {
            LogFieldKind::String | LogFieldKind::Text => "string",
            LogFieldKind::List => "list of strings",
            LogFieldKind::Number => "number",
            LogFieldKind::Boolean => "boolean",
        };
        [format!("`{}`", field.name), kind.to_owned(), field.presence.to_owned(), field.meaning.to_owned()]
    };
    let table = markdown_table(["field", "type", "requests", "meaning"], ACCESS_LOG.iter().map(row));
    generated_part("docs/reference/log.md", "access log", &table);
}

#[test]
fn causes_of_failed_key_fetches() {
    let values = label_values::<KeyFetchFailure>();
    assert!(values.iter().all(|value| !value.meaning.is_empty() && !value.detail.is_empty()), "{values:?}");
    let rows = values.iter().map(|value| [format!("`{}`", value.name), value.meaning.into(), value.detail.into()]);
    let table = markdown_table(["`cause`", "meaning", "what to check"], rows);
    generated_part("docs/reference/log.md", "causes of failed key fetches", &table);
}

#[test]
fn causes_of_failed_introspections() {
    let values = label_values::<IntrospectionFailure>();
    assert!(values.iter().all(|value| !value.meaning.is_empty() && !value.detail.is_empty()), "{values:?}");
    let rows = values.iter().map(|value| [format!("`{}`", value.name), value.meaning.into(), value.detail.into()]);
    let table = markdown_table(["`cause`", "meaning", "what to check"], rows);
    generated_part("docs/reference/log.md", "causes of failed introspections", &table);
}

#[test]
fn access_log_in_other_schemas() {
    let row = |field: &&LogField| [field.name, field.otel, field.ecs].map(|name| format!("`{name}`"));
    let table = markdown_table(["field", "OpenTelemetry", "ECS"], ACCESS_LOG.iter().map(row));
    generated_part("docs/reference/log.md", "access log in other schemas", &table);
}

/// A line for a state change: its message, level and fields.
type Event = (String, String, Vec<String>);

/// The arguments of a macro call whose text begins after its opening parenthesis.
fn arguments(call: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut arguments = vec![String::new()];
    for c in call.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(c);
    }
    let arguments = arguments.iter().map(|argument| argument.trim().to_owned());
    arguments.filter(|argument| !argument.is_empty()).collect()
}

/// The events in a source: `tracing::LEVEL!(FIELD = VALUE, %FIELD, "MESSAGE")`.
fn events_of(path: &str, source: &str, events: &mut BTreeSet<Event>) {
    for call in source.split("tracing::").skip(1) {
        let Some((level, rest)) = call.split_once("!(") else {
            continue;
        };
        if !level.bytes().all(|b| b.is_ascii_lowercase()) {
            continue;
        }
        let mut fields = arguments(rest);
        let message = fields.pop().unwrap_or_default();
        let message = message.strip_prefix('"').and_then(|message| message.strip_suffix('"'));
        let message = message.unwrap_or_else(|| panic!("{path}: an event without a literal message: {rest:.60}"));
        let name = |field: String| field.split('=').next().unwrap().trim().trim_matches(['%', '?']).to_owned();
        events.insert((message.to_owned(), level.to_uppercase(), fields.into_iter().map(name).collect()));
    }
}

fn walk(folder: &Path, events: &mut BTreeSet<Event>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, events);
        } else {
            events_of(&path.display().to_string(), &fs::read_to_string(&path).unwrap(), events);
        }
    }
}

#[test]
fn state_changes() {
    let mut events = BTreeSet::new();
    walk(&project().join("src"), &mut events);
    let page = fs::read_to_string(project().join("docs/reference/log.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| message | level |")).skip(2);
    let documented: Vec<Event> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let fields = cells[3].split_whitespace().map(|field| field.trim_matches('`').to_owned());
            assert!(!cells[4].is_empty(), "{row}");
            (cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), fields.collect())
        })
        .collect();
    let set: BTreeSet<Event> = documented.iter().cloned().collect();
    assert_eq!(set.len(), documented.len(), "an event is documented twice");
    let missing: Vec<_> = events.difference(&set).collect();
    let unknown: Vec<_> = set.difference(&events).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not documented: {missing:#?}\nnot in the source: {unknown:#?}");
}
