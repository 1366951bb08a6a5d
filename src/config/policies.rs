//! The option `policies`: each policy is read once, then bound to each upstream that uses it and to the limits of its
//! dialect.

use super::FindingId;
use super::consistency;
use super::declared::{DeclaredPolicy, LimitKind};
use super::error::{Location, Problem, listed};
use super::options::declare::{Opt, Plain};
use super::options::kind::CountIn;
use super::options::policies as rows;
use super::options::process;
use super::options::table::Declared;
use super::section::{Context, Entry, Section, Spanned};
use super::session_rules;
use super::value;
use crate::dialect::PolicySubject;
use crate::gateway::Upstream;
use crate::policy::{FieldRule, KeyPattern, KeyPatterns, Limits, Normalize, Policy};
use std::collections::BTreeMap;

/// The policies by name; `None` if one has errors.
pub(super) type Policies = BTreeMap<String, Option<DeclaredPolicy>>;

/// What the options of a policy are about.
const SUBJECTS: [(&dyn Declared, PolicySubject); 9] = [
    (&rows::WIPE, PolicySubject::Metadata),
    (&rows::KEYS, PolicySubject::Metadata),
    (&rows::FIELDS, PolicySubject::Metadata),
    (&rows::LIMITS, PolicySubject::Metadata),
    (&rows::NORMALIZE, PolicySubject::Metadata),
    (&rows::LIFETIME, PolicySubject::Lifetime),
    (&rows::SESSION_TOKEN, PolicySubject::SessionToken),
    (&rows::CHECKS, PolicySubject::Checks),
    (&rows::CHALLENGES, PolicySubject::Challenges),
];

/// Reads the option `policies`.
pub(super) fn read(section: &mut Section) -> Policies {
    let Some(entry) = section.entry(&process::POLICIES) else {
        return Policies::new();
    };
    let mut policies = Policies::new();
    for (name, entry) in entry.named(section.context).unwrap_or_default() {
        if let Err(problem) = value::check_name(name) {
            section.context.reject(&entry.location, problem);
        }
        policies.insert(name.to_owned(), declared(section.context, &entry));
    }
    policies
}

/// Reads the name of a policy.
pub(super) fn named(section: &mut Section, option: &Plain, policies: &Policies) -> Option<String> {
    section.parse(option, |text| {
        if policies.contains_key(text.as_str()) {
            return Ok(text.as_str().to_owned());
        }
        let problem = Problem::new(format!("{} is not a declared policy", text.shown())).id(FindingId::UndeclaredName);
        let names = || policies.keys().map(String::as_str);
        Err(match policies.is_empty() {
            true => problem.expected("no `policies` are declared"),
            false => problem.expected(format!("allowed: {}", listed(names()))).like(text.as_str(), names()),
        })
    })
}

/// Binds a policy to an upstream: the provider's limits apply where the policy's are not tighter. `None` if the policy
/// has errors.
pub(super) fn bind(policies: &mut Policies, name: &str, upstream: &Upstream, context: &mut Context) -> Option<Policy> {
    let declared = policies.get_mut(name)?.as_mut()?;
    declared.used = true;
    let own = upstream.dialect.limits;
    let mut limits = own;
    for Spanned { location, value: (part, wanted) } in &declared.limits {
        let limit = part.of(&mut limits);
        if let Some(most) = limit.filter(|most| wanted > most) {
            let found = format!("{wanted} exceeds the limit of upstream `{}`", upstream.name);
            let allowed = format!("dialect `{}` allows at most {most}", upstream.dialect.name);
            context.reject(location, Problem::new(found).id(FindingId::PolicyConflict).expected(allowed));
        }
        *limit = Some(limit.map_or(*wanted, |most| most.min(*wanted)));
    }
    warn_of_ineffective(declared, upstream, context);
    if declared.is_valid {
        consistency::check_limits(declared, limits, Some(&upstream.name), context);
    }
    Some(Policy { name: Some(name.into()), limits, ..declared.policy.clone() })
}

/// Warns of a policy, or of options in it, about what the provider does not have.
fn warn_of_ineffective(declared: &DeclaredPolicy, upstream: &Upstream, context: &mut Context) {
    let (found, dialect) = (format!("has no effect on upstream `{}`", upstream.name), upstream.dialect);
    let names = &dialect.names;
    if SUBJECTS.iter().all(|(_, subject)| !names.has(*subject)) {
        let why = format!("sessions of dialect `{}` have nothing that a policy evaluates", dialect.name);
        return context.warn(&declared.location, FindingId::NoEffect, Problem::new(found).expected(why));
    }
    for (_, location) in declared.rules.iter().filter(|(subject, _)| !names.has(*subject)) {
        let why = format!("dialect `{}` does not support it", dialect.name);
        context.warn(location, FindingId::NoEffect, Problem::new(found.clone()).expected(why));
    }
}

/// Warns of policies that no upstream uses.
pub(super) fn warn_of_unused(policies: &Policies, context: &mut Context) {
    for declared in policies.values().flatten().filter(|declared| !declared.used) {
        context.warn(&declared.location, FindingId::UnusedPolicy, Problem::new("no upstream uses this policy"));
    }
}

impl LimitKind {
    fn of(self, limits: &mut Limits) -> &mut Option<usize> {
        match self {
            LimitKind::Properties => &mut limits.properties,
            LimitKind::KeyLength => &mut limits.key_length,
            LimitKind::ValueLength => &mut limits.value_length,
        }
    }
}

fn declared(context: &mut Context, entry: &Entry) -> Option<DeclaredPolicy> {
    let before = context.faults.len();
    let mut declared = context.read_map(entry, policy)?;
    let own = declared.policy.limits;
    consistency::check_keys(&declared, context);
    consistency::check_values(&declared, context);
    consistency::check_limits(&declared, own, None, context);
    declared.is_valid = context.faults.len() == before;
    Some(declared)
}

fn policy(section: &mut Section) -> DeclaredPolicy {
    let mut declared = DeclaredPolicy {
        policy: Policy::default(),
        keys: Vec::new(),
        protected: Vec::new(),
        values: Vec::new(),
        limits: Vec::new(),
        rules: Vec::new(),
        location: section.location.clone(),
        is_valid: true,
        used: false,
    };
    declared.policy.mode = section.get(&rows::MODE);
    declared.policy.wipe = section.get(&rows::WIPE);
    section.subsection(&rows::KEYS, |section| keys(section, &mut declared));
    fields(section, &mut declared);
    section.subsection(&rows::LIMITS, |section| limits(section, &mut declared));
    declared.policy.normalize = section.subsection(&rows::NORMALIZE, normalize);
    session_rules::read(section, &mut declared);
    let set = SUBJECTS.into_iter().filter(|(option, _)| section.has(*option));
    declared.rules = set.map(|(option, subject)| (subject, section.location_of(option))).collect();
    declared
}

fn keys(section: &mut Section, declared: &mut DeclaredPolicy) {
    let allowed = section.list(&rows::ALLOWED, value::pattern);
    let required = section.list(&rows::REQUIRED, value::pattern).unwrap_or_default();
    let protected = section.list(&rows::PROTECTED, value::pattern).unwrap_or_default();
    declared.keys.extend(allowed.iter().flatten().chain(&required).filter_map(exact));
    declared.protected.extend(protected.iter().filter_map(exact));
    let patterns = |spanned: Vec<Spanned<KeyPattern>>| spanned.into_iter().map(|spanned| spanned.value).collect();
    declared.policy.allowed = allowed.map(|allowed| KeyPatterns(patterns(allowed)));
    declared.policy.required = patterns(required);
    declared.policy.protected = KeyPatterns(patterns(protected));
}

fn exact(spanned: &Spanned<KeyPattern>) -> Option<Spanned<String>> {
    let key = spanned.value.exact()?;
    Some(Spanned { location: spanned.location.clone(), value: key.to_owned() })
}

/// Reads the rules for single keys. Exact keys come before patterns, because the first match applies.
fn fields(section: &mut Section, declared: &mut DeclaredPolicy) {
    let Some(entry) = section.entry(&rows::FIELDS) else {
        return;
    };
    for (name, entry) in entry.named(section.context).unwrap_or_default() {
        let parsed = KeyPattern::parse(name);
        if let Err(reason) = &parsed {
            let problem = Problem::new(format!("`{}` {reason}", name.escape_debug()));
            section.context.reject(&entry.location, problem);
        }
        let pattern = parsed.ok();
        let rule = section.context.read_map(&entry, |section| rule(section, pattern.as_ref(), declared));
        let (Some(pattern), Some(rule)) = (pattern, rule) else {
            continue;
        };
        declared.keys.extend(exact(&Spanned { location: entry.location, value: pattern.clone() }));
        declared.policy.fields.push((pattern, rule));
    }
    declared.policy.fields.sort_by_key(|(pattern, _)| pattern.exact().is_none());
}

fn rule(section: &mut Section, pattern: Option<&KeyPattern>, declared: &mut DeclaredPolicy) -> FieldRule {
    let regex = section.parse(&rows::REGEX, |text| {
        FieldRule::pattern(text.as_str()).map_err(|reason| Problem::new(format!("{} {reason}", text.shown())))
    });
    let one_of = section.list(&rows::ONE_OF, value::any_text);
    let (min_length, max_length) = lengths(section);
    let default = section.parse(&rows::DEFAULT, value::any_text);
    let default_location = section.location_of(&rows::DEFAULT);
    if default.is_some() && pattern.is_some_and(|pattern| pattern.exact().is_none()) {
        let problem = Problem::new("a pattern cannot have a default")
            .id(FindingId::PolicyConflict)
            .expected("expected an exact key, or no default");
        section.context.reject(&default_location, problem);
    }
    let mut rule = FieldRule { regex, min_length, max_length, ..FieldRule::default() };
    if let Some(pattern) = pattern {
        let checked = |location: &Location, rule: &FieldRule, value: &String| Spanned {
            location: location.clone(),
            value: (pattern.clone(), rule.clone(), value.clone()),
        };
        declared.values.extend(one_of.iter().flatten().map(|one| checked(&one.location, &rule, &one.value)));
        rule.one_of = one_of.map(|all| all.into_iter().map(|one| one.value).collect());
        declared.values.extend(default.iter().map(|value| checked(&default_location, &rule, value)));
    }
    FieldRule { default, ..rule }
}

fn lengths(section: &mut Section) -> (Option<usize>, Option<usize>) {
    let least = section.find(&rows::MIN_LENGTH);
    let most = section.find(&rows::MAX_LENGTH);
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        let location = section.location_of(&rows::MIN_LENGTH);
        let found = format!("{least} is greater than `max_length` ({most})");
        section.context.reject(&location, Problem::new(found).id(FindingId::PolicyConflict));
    }
    (least, most)
}

fn limits(section: &mut Section, declared: &mut DeclaredPolicy) {
    let parts: [(&Opt<CountIn>, LimitKind); 3] = [
        (&rows::PROPERTIES, LimitKind::Properties),
        (&rows::KEY_LENGTH, LimitKind::KeyLength),
        (&rows::VALUE_LENGTH, LimitKind::ValueLength),
    ];
    for (option, part) in parts {
        if let Some(limit) = section.find(option) {
            *part.of(&mut declared.policy.limits) = Some(limit);
            declared.limits.push(Spanned { location: section.location_of(option), value: (part, limit) });
        }
    }
}

fn normalize(section: &mut Section) -> Normalize {
    Normalize {
        nfc: section.get(&rows::UNICODE),
        trim: section.get(&rows::TRIM),
        key_case: section.get(&rows::KEY_CASE),
        scalars_to_strings: section.get(&rows::SCALARS),
        drop_empty: section.get(&rows::EMPTY_VALUES),
    }
}
