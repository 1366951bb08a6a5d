//! The option `grants` of an upstream: who may do what with which sessions.

use super::FindingId;
use super::error::{Location, Problem, listed};
use super::field_path::fields;
use super::grant_callers;
use super::options::declare::Plain;
use super::options::grants::{self as rows, INVALIDATING, NONE, PASS_THROUGH};
use super::options::upstreams;
use super::policies::{self, Policies};
use super::section::{Section, Spanned};
use super::value;
use super::variables::Text;
use crate::dialect::Dialect;
use crate::grant::{Grant, KeyGrant, Masks};
use crate::model::Operation;
use crate::policy::{KeyPattern, KeyPatterns};
use crate::telemetry::Label;
use strum::VariantArray;

const WORDS_OF_OPERATIONS: &str = "expected the operations that these callers may do, or `\"*\"`";

/// A grant as written, before its policy is bound to the upstream.
#[derive(Debug)]
pub(super) struct DeclaredGrant {
    pub grant: Grant,
    /// The name of its policy.
    pub policy: Option<String>,
    /// The keys that its callers own.
    pub own: Vec<Spanned<KeyPattern>>,
    pub location: Location,
    /// The operations as they are written, each with those that it matches.
    pub words: Vec<Spanned<Vec<Operation>>>,
    /// Where options are set.
    pub places: Vec<(&'static str, Location)>,
}

impl DeclaredGrant {
    /// Where an option is set.
    pub fn place(&self, key: &str) -> Option<&Location> {
        self.places.iter().find(|(own, _)| *own == key).map(|(_, location)| location)
    }
}

/// Reads the grants. `dialect` is `None` after an error.
pub(super) fn read(section: &mut Section, dialect: Option<&Dialect>, policies: &Policies) -> Vec<DeclaredGrant> {
    let Some(entry) = section.entry(&upstreams::GRANTS) else {
        return Vec::new();
    };
    let mut grants: Vec<DeclaredGrant> = Vec::new();
    for item in entry.items(section.context, "add a grant, or remove the key") {
        let read = section.context.read_map(&item, |section| grant(section, dialect, policies));
        let Some(found) = read.flatten() else {
            continue;
        };
        if grants.iter().any(|other| other.grant.name == found.grant.name) {
            let problem = Problem::new("another grant has the same name").id(FindingId::Conflict);
            section.context.reject(&found.location, problem);
        }
        grants.push(found);
    }
    grants
}

fn grant(section: &mut Section, dialect: Option<&Dialect>, policies: &Policies) -> Option<DeclaredGrant> {
    let name = section.required(&rows::NAME, "expected the name of the grant");
    let name = name.and_then(|entry| entry.read(section.context, value::name));
    let mut places = Vec::new();
    let callers = grant_callers::read(section, &mut places);
    let words = section.one_or_several(&rows::OPERATIONS, WORDS_OF_OPERATIONS, |text| match dialect {
        Some(dialect) => operations_named(text, dialect),
        None => Ok(Vec::new()),
    });
    let sessions = section.get(&rows::SESSIONS);
    let policy = policies::named(section, &rows::POLICY, policies);
    let (see, own, keys) = section.subsection(&rows::KEYS, |section| {
        places.extend(section.places(&[&rows::SEE, &rows::SET, &rows::CLEAR, &rows::OWN]));
        keys(section)
    });
    let masked = fields(section, &rows::MASKED, dialect);
    let dropped = fields(section, &rows::DROPPED, dialect);
    places.extend(section.places(&[&rows::SESSIONS, &rows::POLICY]));
    let grant = Grant {
        name: name?.into(),
        callers,
        operations: words.iter().flat_map(|word| word.value.iter().copied()).collect(),
        sessions,
        policy: None,
        keys,
        masks: Masks::new(masked, dropped, see),
    };
    Some(DeclaredGrant { grant, policy, own, location: section.location_of(&rows::NAME), words, places })
}

/// The words of the operations that a dialect has.
pub(super) fn operations_of(dialect: &Dialect) -> impl Iterator<Item = Operation> {
    let has = |operation: &&Operation| dialect.routes.iter().any(|route| route.operation == **operation);
    Operation::VARIANTS.iter().filter(has).copied()
}

/// The operations that a word names, or a pattern matches.
fn operations_named(text: &Text, dialect: &Dialect) -> Result<Vec<Operation>, Problem> {
    match text.as_str() {
        PASS_THROUGH => return Ok(vec![Operation::Other]),
        INVALIDATING => return Ok(vec![Operation::ChangeRelated]),
        _ => {}
    }
    let pattern = value::pattern(text)?;
    let found: Vec<Operation> = operations_of(dialect).filter(|one| pattern.matches(one.name())).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let words = || operations_of(dialect).map(Label::name).chain([PASS_THROUGH, INVALIDATING]);
    let what = if pattern.exact().is_some() { "is no operation" } else { "matches no operation" };
    let problem = Problem::new(format!("{} {what} of dialect `{}`", text.shown(), dialect.name));
    Err(problem.expected(format!("allowed: {}", listed(words()))).like(text.as_str(), words()))
}

/// The keys that callers see, those that they own, and what they may change.
fn keys(section: &mut Section) -> (Option<KeyPatterns>, Vec<Spanned<KeyPattern>>, KeyGrant) {
    let see = key_patterns(section, &rows::SEE);
    let set = key_patterns(section, &rows::SET);
    let clear = key_patterns(section, &rows::CLEAR).or_else(|| set.clone());
    let own = section.entry(&rows::OWN).map(|entry| entry.read_items(section.context, value::pattern));
    let combined = if own.is_some() { section.places(&[&rows::SET, &rows::CLEAR]) } else { Vec::new() };
    for (key, location) in &combined {
        let problem = Problem::new("cannot be combined with `own`").id(FindingId::Conflict);
        section.context.reject(location, problem.expected(format!("owners set and clear their keys; remove `{key}`")));
    }
    let own = own.unwrap_or_default();
    let owned = own.iter().map(|pattern| pattern.value.clone()).collect::<Vec<KeyPattern>>();
    let keys = KeyGrant { set, clear, own: Some(KeyPatterns(owned)).filter(|own| !own.is_empty()), others: None };
    (see, own, keys)
}

/// Reads a list of keys and patterns, or the word for none.
fn key_patterns(section: &mut Section, option: &Plain) -> Option<KeyPatterns> {
    let entry = section.entry(option)?;
    if !entry.is_single() {
        return Some(KeyPatterns(Spanned::values(entry.read_items(section.context, value::pattern))));
    }
    entry.read(section.context, |text| match text.as_str() {
        NONE => Ok(KeyPatterns::default()),
        _ => Err(Problem::new(format!("{} is not a list", text.shown()))
            .id(FindingId::WrongType)
            .expected(format!("expected a list of keys, or `{NONE}`"))),
    })
}
