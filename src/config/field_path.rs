//! Paths of fields of sessions, as grants name them.

use super::FindingId;
use super::error::{Problem, listed};
use super::options::declare::Plain;
use super::section::{Section, Spanned};
use super::variables::Text;
use crate::dialect::Dialect;
use crate::grant::FieldPath;

/// Reads the paths of fields of the dialect's sessions. `dialect` is `None` after an error. Rejects what looks like a typo,
/// and warns of another field that the provider does not document.
pub(super) fn fields(section: &mut Section, option: &Plain, dialect: Option<&Dialect>) -> Vec<FieldPath> {
    let found = section.list(option, |text| field_path(dialect, text)).unwrap_or_default();
    for field in &found {
        if let Some(problem) = dialect.and_then(|dialect| undocumented(dialect, &field.value)) {
            section.context.warn(&field.location, FindingId::UnknownField, problem);
        }
    }
    Spanned::values(found)
}

/// The path of a field: `device.last_ip`.
fn field_path(dialect: Option<&Dialect>, text: &Text) -> Result<FieldPath, Problem> {
    let Some(dialect) = dialect else {
        return Ok(Vec::new());
    };
    let path = dialect.field_path(text.as_str());
    if path.iter().any(String::is_empty) {
        let problem = Problem::new(format!("{} is not a field", text.shown()));
        return Err(problem.expected("expected the path of a field, such as `device.last_ip`"));
    }
    match undocumented(dialect, &path) {
        // With a typo, nothing would be hidden.
        Some(problem) if dialect.has_only_known_fields() || problem.has_suggestion() => Err(problem),
        Some(_) | None => Ok(path),
    }
}

/// What is wrong with a field that the provider does not document.
fn undocumented(dialect: &Dialect, path: &FieldPath) -> Option<Problem> {
    if dialect.knows_field(path) {
        return None;
    }
    let (text, known) = (path.join("."), dialect.known_fields());
    let known = || known.iter().map(String::as_str);
    let problem = Problem::new(format!("`{text}` is no documented field of a session of dialect `{}`", dialect.name));
    let mut outer: Vec<&str> = known().map(|known| known.split('.').next().unwrap_or(known)).collect();
    outer.dedup();
    Some(
        problem
            .expected(format!("documented: {}, and what is in them", listed(outer.into_iter())))
            .like(&text, known()),
    )
}
