//! The option `policies`: each policy is read once, then bound to each upstream that uses it and to the limits of its
//! dialect.

use super::consistency;
use super::declared::{DeclaredPolicy, LimitKind};
use super::error::{Location, Problem};
use super::section::{Context, Entry, Section, Spanned};
use super::session_rules;
use super::value::{self, choice, count};
use super::variables::Text;
use crate::gateway::Upstream;
use crate::policy::{FieldRule, KeyCase, KeyPattern, KeyPatterns, Limits, Mode, Normalize, Policy, Wipe};
use std::collections::BTreeMap;

/// The maximum of any limit: more than any provider allows, and too small to overflow.
const MAX_LIMIT: usize = 1_000_000;

/// The policies by name; `None` if one has errors.
pub(super) type Policies = BTreeMap<String, Option<DeclaredPolicy>>;

/// Reads the option `policies`.
pub(super) fn read(section: &mut Section) -> Policies {
    let Some(entry) = section.entry("policies") else {
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
            context.reject(location, Problem::new(found).expected(allowed));
        }
        *limit = Some(limit.map_or(*wanted, |most| most.min(*wanted)));
    }
    for location in declared.session_rules.iter().filter(|_| !upstream.dialect.has_session_rules()) {
        let found = format!("has no effect on upstream `{}`", upstream.name);
        let why = format!("dialect `{}` does not support it", upstream.dialect.name);
        context.warn(location, Problem::new(found).expected(why));
    }
    if declared.is_valid {
        consistency::check_limits(declared, limits, Some(&upstream.name), context);
    }
    Some(Policy { limits, ..declared.policy.clone() })
}

/// Warns of policies that no upstream uses.
pub(super) fn warn_of_unused(policies: &Policies, context: &mut Context) {
    for declared in policies.values().flatten().filter(|declared| !declared.used) {
        context.warn(&declared.location, Problem::new("no upstream uses this policy"));
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
    const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];
    const WIPES: &[(&str, Wipe)] = &[("allow", Wipe::Allow), ("reject", Wipe::Reject)];
    let mut declared = DeclaredPolicy {
        policy: Policy::default(),
        keys: Vec::new(),
        protected: Vec::new(),
        values: Vec::new(),
        limits: Vec::new(),
        session_rules: Vec::new(),
        location: section.location.clone(),
        is_valid: true,
        used: false,
    };
    declared.policy.mode = section.read("mode", Mode::default(), choice(MODES));
    declared.policy.wipe = section.read("wipe", Wipe::default(), choice(WIPES));
    section.subsection("keys", |section| keys(section, &mut declared));
    fields(section, &mut declared);
    section.subsection("limits", |section| limits(section, &mut declared));
    declared.policy.normalize = section.subsection("normalize", normalize);
    session_rules::read(section, &mut declared);
    declared
}

fn keys(section: &mut Section, declared: &mut DeclaredPolicy) {
    let allowed = section.list("allowed", pattern);
    let required = section.list("required", pattern).unwrap_or_default();
    let protected = section.list("protected", pattern).unwrap_or_default();
    declared.keys.extend(allowed.iter().flatten().chain(&required).filter_map(exact));
    declared.protected.extend(protected.iter().filter_map(exact));
    let patterns = |spanned: Vec<Spanned<KeyPattern>>| spanned.into_iter().map(|spanned| spanned.value).collect();
    declared.policy.allowed = allowed.map(|allowed| KeyPatterns(patterns(allowed)));
    declared.policy.required = patterns(required);
    declared.policy.protected = KeyPatterns(patterns(protected));
}

fn pattern(text: &Text) -> Result<KeyPattern, Problem> {
    KeyPattern::parse(text.as_str()).map_err(|reason| Problem::new(format!("{} {reason}", text.shown())))
}

fn exact(spanned: &Spanned<KeyPattern>) -> Option<Spanned<String>> {
    let key = spanned.value.exact()?;
    Some(Spanned { location: spanned.location.clone(), value: key.to_owned() })
}

/// Reads the rules for single keys. Exact keys come before patterns, because the first match applies.
fn fields(section: &mut Section, declared: &mut DeclaredPolicy) {
    let Some(entry) = section.entry("fields") else {
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
    let regex = section.optional("regex", |text| {
        FieldRule::pattern(text.as_str()).map_err(|reason| Problem::new(format!("{} {reason}", text.shown())))
    });
    let one_of = section.list("one_of", value::any_text);
    let (min_length, max_length) = lengths(section);
    let default = section.optional("default", value::any_text);
    let default_location = section.location_of("default");
    if default.is_some() && pattern.is_some_and(|pattern| pattern.exact().is_none()) {
        let problem = Problem::new("a pattern cannot have a default").expected("expected an exact key, or no default");
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
    let least = section.optional("min_length", count(0..=MAX_LIMIT));
    let most = section.optional("max_length", count(0..=MAX_LIMIT));
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        let location = section.location_of("min_length");
        let found = format!("{least} is greater than `max_length` ({most})");
        section.context.reject(&location, Problem::new(found));
    }
    (least, most)
}

fn limits(section: &mut Section, declared: &mut DeclaredPolicy) {
    let parts = [
        ("properties", LimitKind::Properties),
        ("key_length", LimitKind::KeyLength),
        ("value_length", LimitKind::ValueLength),
    ];
    for (key, part) in parts {
        if let Some(limit) = section.optional(key, count(1..=MAX_LIMIT)) {
            *part.of(&mut declared.policy.limits) = Some(limit);
            declared.limits.push(Spanned { location: section.location_of(key), value: (part, limit) });
        }
    }
}

fn normalize(section: &mut Section) -> Normalize {
    const CASES: &[(&str, KeyCase)] = &[("keep", KeyCase::Keep), ("lower", KeyCase::Lower), ("upper", KeyCase::Upper)];
    Normalize {
        nfc: section.read("unicode", false, choice(&[("none", false), ("nfc", true)])),
        trim: section.read("trim", false, value::boolean),
        key_case: section.read("key_case", KeyCase::default(), choice(CASES)),
        scalars_to_strings: section.read("scalars", false, choice(&[("keep", false), ("to_strings", true)])),
        drop_empty: section.read("empty_values", false, choice(&[("keep", false), ("drop", true)])),
    }
}
