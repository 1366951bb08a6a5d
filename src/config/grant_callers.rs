//! The option `callers` of a grant.

use super::FindingId;
use super::error::{Location, Problem};
use super::options::declare::Plain;
use super::options::grants as rows;
use super::section::{Context, Section, Spanned};
use super::value;
use super::variables::Text;
use crate::grant::{AlternativeNamePattern, CallerMatcher, SubjectPattern};
use crate::policy::KeyPatterns;

/// Reads the callers. Without any, every caller matches. `places` gets where those options are set that may not match.
pub(super) fn read(section: &mut Section, places: &mut Vec<(&'static str, Location)>) -> CallerMatcher {
    section
        .optional_subsection(&rows::CALLERS, |section| {
            let callers = callers(section);
            places.extend(section.places(&[&rows::ISSUER, &rows::ORGANIZATION, &rows::ROLES, &rows::GROUPS]));
            places.extend(section.places(&[&rows::CERTIFICATE, &rows::UNIX_UID]));
            require_any(section, "name the callers, or remove the key for every caller");
            callers
        })
        .unwrap_or_default()
}

fn callers(section: &mut Section) -> CallerMatcher {
    let certificate = |section: &mut Section| {
        let names = (
            certificate_patterns(section, &rows::SAN, AlternativeNamePattern::parse),
            certificate_patterns(section, &rows::CERTIFICATE_SUBJECT, SubjectPattern::parse),
        );
        require_any(section, "expected `san`, `subject` or both");
        names
    };
    let (certificate_name, certificate_subject) =
        section.optional_subsection(&rows::CERTIFICATE, certificate).unwrap_or_default();
    CallerMatcher {
        client_id: texts(section, &rows::CLIENT_ID),
        subject: texts(section, &rows::SUBJECT),
        issuer: texts(section, &rows::ISSUER),
        organization: texts(section, &rows::ORGANIZATION),
        scopes: texts(section, &rows::SCOPES),
        roles: texts(section, &rows::ROLES),
        groups: texts(section, &rows::GROUPS),
        claims: claims(section),
        certificate_name,
        certificate_subject,
        unix_uid: uids(section),
    }
}

/// Rejects a map without options: it would match every caller.
fn require_any(section: &mut Section, allowed: &str) {
    if section.is_empty() {
        let location = section.location.clone();
        let problem = Problem::new("is an empty map").id(FindingId::MissingOption).expected(allowed);
        section.context.reject(&location, problem);
    }
}

/// Reads a pattern, or a list of patterns.
fn texts(section: &mut Section, option: &Plain) -> Option<KeyPatterns> {
    let entry = section.entry(option)?;
    let found = entry.one_or_several(section.context, value::pattern);
    for Spanned { location, value } in &found {
        check_pattern(section.context, location, value.source(), option.key == rows::SCOPES.key);
    }
    Some(KeyPatterns(Spanned::values(found)))
}

/// Warns of what looks like a regular expression without its end, and of several scopes in one text.
fn check_pattern(context: &mut Context, location: &Location, source: &str, is_scope: bool) {
    let is_cut = source.starts_with('/') && !source.ends_with('/') && source.contains(['[', '(', '\\', '+', '^', '$']);
    let (found, allowed) = if is_cut {
        ("begins like a regular expression, and is compared as a text", "end it with `/`")
    } else if is_scope && !source.starts_with('/') && source.contains(' ') {
        ("no scope has a space", "list the scopes: one of them is enough")
    } else {
        return;
    };
    context.warn(location, FindingId::IneffectiveGrant, Problem::new(found).expected(allowed));
}

/// Reads patterns for names in a certificate.
fn certificate_patterns<P>(
    section: &mut Section,
    option: &Plain,
    parse: impl Fn(&str) -> Result<P, String>,
) -> Option<Vec<P>> {
    let entry = section.entry(option)?;
    let pattern =
        |text: &Text| parse(text.as_str()).map_err(|reason| Problem::new(format!("{} {reason}", text.shown())));
    Some(Spanned::values(entry.one_or_several(section.context, pattern)))
}

fn claims(section: &mut Section) -> Vec<(String, KeyPatterns)> {
    let Some(entry) = section.entry(&rows::CLAIMS) else {
        return Vec::new();
    };
    let named = entry.named(section.context).unwrap_or_default();
    if named.is_empty() {
        let problem = Problem::new("names no claim").id(FindingId::MissingOption);
        section.context.reject(&entry.location, problem.expected("name a claim, or remove the key"));
    }
    let values = named.into_iter().map(|(name, entry)| {
        if name.is_empty() {
            let problem = Problem::new("is an empty name").id(FindingId::InvalidValue);
            section.context.reject(&entry.location, problem.expected("expected the name of a claim"));
        }
        (name.to_owned(), KeyPatterns(Spanned::values(entry.one_or_several(section.context, value::pattern))))
    });
    values.collect()
}

fn uids(section: &mut Section) -> Option<Vec<u32>> {
    let entry = section.entry(&rows::UNIX_UID)?;
    let uid = value::count(0..=u32::MAX as usize);
    let found = entry.one_or_several(section.context, uid);
    Some(Spanned::values(found).into_iter().filter_map(|uid| u32::try_from(uid).ok()).collect())
}
