//! The dialects.

use crate::harness::{generated_part, markdown_table};
use sessiongate::dialect::{DIALECTS, Dialect};

/// What a policy evaluates in writes of a dialect.
fn evaluated(dialect: &Dialect) -> String {
    let names = &dialect.names;
    let parts = [
        (names.metadata.is_some(), "metadata of sessions"),
        (dialect.has_refresh_tokens(), "metadata of refresh tokens"),
        (names.lifetime.is_some(), "`lifetime`"),
        (names.session_token.is_some(), "`session_token`"),
        (names.checks.is_some(), "`checks`"),
        (names.challenges.is_some(), "`challenges`"),
    ];
    let parts: Vec<&str> = parts.into_iter().filter_map(|(has, part)| has.then_some(part)).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// The headers that the provider gets from trusted peers only.
fn headers_of_trusted_peers(dialect: &Dialect) -> String {
    let names: Vec<String> = dialect.headers.trusted_peer.iter().map(|header| format!("`{}`", header.name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[test]
fn dialects() {
    let rows = DIALECTS.iter().map(|dialect| {
        let preview = if dialect.preview { " (preview)" } else { "" };
        let provider = format!("{}{preview}", dialect.title);
        [format!("`{}`", dialect.name), provider, evaluated(dialect), headers_of_trusted_peers(dialect)]
    });
    let head = ["Dialect", "Provider", "Evaluated by a policy", "Headers of trusted peers"];
    generated_part("docs/reference/configuration.md", "dialects", &markdown_table(head, rows));
}

/// The claims that say who the caller is.
#[test]
fn claims_of_dialects() {
    let row = |dialect: &&Dialect| {
        let claims = &dialect.claims;
        let one = |claim: Option<&str>| claim.map_or_else(|| "none".to_owned(), |claim| format!("`{claim}`"));
        let client_id: Vec<String> = claims.client_id.iter().map(|claim| format!("`{claim}`")).collect();
        [
            format!("`{}`", dialect.name),
            client_id.join(", "),
            one(Some(dialect.scopes.claim)),
            one(claims.roles),
            one(claims.groups),
            one(claims.organization),
            one(claims.session),
        ]
    };
    let head = ["Dialect", "`client_id`", "`scopes`", "`roles`", "`groups`", "`organization`", "`session`"];
    let table = markdown_table(head, DIALECTS.iter().map(row));
    generated_part("docs/reference/configuration.md", "claims of dialects", &table);
}

/// The paths that carry no credential by design.
#[test]
fn requests_that_need_no_grant() {
    let rows = DIALECTS.iter().map(|dialect| {
        let paths: Vec<String> = dialect.public_paths.iter().map(|path| format!("`{path}`")).collect();
        [format!("`{}`", dialect.name), paths.join(", ")]
    });
    let table = markdown_table(["Dialect", "Paths, and what is below them"], rows);
    generated_part("docs/reference/routes.md", "requests that need no grant", &table);
}

/// The limits of metadata that the providers have on their own.
#[test]
fn limits_of_providers() {
    let cell = |limit: Option<usize>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let row = |dialect: &&Dialect| {
        let limits = &dialect.limits;
        let cells = [limits.properties, limits.key_length, limits.value_length].map(cell).join(" | ");
        format!("| `{}` | {cells} |\n", dialect.name)
    };
    let rows: String = DIALECTS.iter().map(row).collect();
    let head = "| Dialect | `properties` | `key_length` | `value_length` |\n|---|---|---|---|\n";
    generated_part("docs/reference/configuration.md", "limits of providers", &format!("{head}{rows}"));
}
