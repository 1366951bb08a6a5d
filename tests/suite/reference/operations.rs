//! The operations of each dialect: `docs/reference/routes.md`.

use crate::harness::generated_part;
use sessiongate::dialect::{BodyKind, DIALECTS, Dialect, Effect, PathPart, Route};
use sessiongate::telemetry::Label;

fn path(route: &Route) -> String {
    let parts = route.path.iter().map(|part| match part {
        PathPart::Word(word) => *word,
        PathPart::Session => "{session}",
        PathPart::RefreshToken => "{refresh_token}",
        PathPart::User => "{user}",
        PathPart::Tenant => "{tenant}",
        PathPart::Any | PathPart::OneOf(_) | PathPart::StartsWith(_) | PathPart::Rest | PathPart::EndsWith(_) => "{}",
    });
    parts.map(|part| format!("/{part}")).collect()
}

/// What the gateway caches of an operation, or invalidates because of it.
fn effect(route: &Route) -> String {
    match route.effect {
        Effect::ReadsSession => "cached".into(),
        Effect::ListsSessions if route.call.is_some() => "not cached, forwarded unchanged".into(),
        Effect::ListsSessions => "not cached; deleted sessions are removed".into(),
        Effect::Reads(why) => format!("not cached: {why}"),
        Effect::ChangesSession => "invalidates the session".into(),
        Effect::EndsSession => "invalidates the session, which gets 404 for `ttl`".into(),
        Effect::EndsUserSessions if route.names_user() && matches!(route.body, BodyKind::Nothing) => {
            "invalidates every session".into()
        }
        Effect::EndsUserSessions if route.names_user() => {
            "invalidates every session; if the body names a session, only that, which gets 404 for `ttl`".into()
        }
        Effect::EndsUserSessions => "invalidates every session if the body names a user, else nothing".into(),
        Effect::CreatesSession => "invalidates nothing: a new session is not cached".into(),
        Effect::ChangesAny => "invalidates every session".into(),
        Effect::Nothing(why) => format!("invalidates nothing: {why}"),
    }
}

fn table(dialect: &Dialect) -> String {
    let rows = dialect.routes.iter().map(|route| {
        let scopes: Vec<String> = route.scopes.iter().map(|scope| format!("`{scope}`")).collect();
        let request = format!("`{} {}`", route.method, path(route));
        let (label, effect) = (route.operation.name(), effect(route));
        format!("| {request} | `{label}` | {} | {effect} |\n", scopes.join(" and "))
    });
    let head = "| request | `operation` | scopes | cache |\n|---|---|---|---|\n";
    format!("{head}{}", rows.collect::<String>())
}

#[test]
fn operations() {
    for dialect in DIALECTS {
        generated_part("docs/reference/routes.md", &format!("operations of {}", dialect.name), &table(dialect));
    }
}
