//! A policy's options for lifetimes, session tokens, checks and challenges.

use super::declared::DeclaredPolicy;
use super::error::Problem;
use super::section::{Section, Spanned};
use super::value::{self, choice, duration, label, minutes};
use super::variables::Text;
use crate::model::CheckKind;
use crate::policy::{HostPattern, LifetimeRule, OutsideBounds, ReturnCode, Scheme, SessionTokenRule, TemplateRule};
use std::time::Duration;

/// The names of these options in a policy.
const OPTIONS: [&str; 4] = ["lifetime", "session_token", "checks", "challenges"];
/// The maximum bound of a lifetime: ten years.
const MAX_LIFETIME: Duration = minutes(3650 * 24 * 60);

/// Reads the options, and records which of them are set.
pub(super) fn read(section: &mut Section, declared: &mut DeclaredPolicy) {
    const TOKENS: &[(&str, SessionTokenRule)] =
        &[("required", SessionTokenRule::Required), ("optional", SessionTokenRule::Optional)];
    let policy = &mut declared.policy;
    policy.lifetime = section.subsection("lifetime", lifetime);
    policy.session_token = section.read("session_token", SessionTokenRule::default(), choice(TOKENS));
    policy.checks.allowed =
        section.subsection("checks", |section| values(section.list("allowed", label::<CheckKind>())));
    section.subsection("challenges", |section| {
        policy.challenges.return_code = section.read("return_code", ReturnCode::default(), choice(RETURNS));
        policy.challenges.url_template = section.subsection("url_template", url_template);
    });
    declared
        .session_rules
        .extend(OPTIONS.into_iter().filter(|key| section.has(key)).map(|key| section.location_of(key)));
}

const RETURNS: &[(&str, ReturnCode)] =
    &[("allow", ReturnCode::Allow), ("reject", ReturnCode::Reject), ("strip", ReturnCode::Strip)];

fn lifetime(section: &mut Section) -> LifetimeRule {
    const OUTSIDE: &[(&str, OutsideBounds)] = &[("reject", OutsideBounds::Reject), ("clamp", OutsideBounds::Clamp)];
    let bound = || duration(Duration::from_millis(1)..=MAX_LIFETIME);
    let min = section.optional("min", bound());
    let max = section.optional("max", bound());
    let bounded = section.has("min") || section.has("max");
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let location = section.location_of("min");
        let (min, max) = (value::shown_duration(min), value::shown_duration(max));
        section.context.reject(&location, Problem::new(format!("{min} is greater than `max` ({max})")));
    }
    let outside = section.read("outside", OutsideBounds::default(), choice(OUTSIDE));
    if outside == OutsideBounds::Clamp && !bounded {
        let location = section.location_of("outside");
        let problem = Problem::new("`clamp` needs a bound").expected("set `min` or `max`");
        section.context.reject(&location, problem);
    }
    let required = section.read("required", false, value::boolean);
    LifetimeRule { min: min.map(Into::into), max: max.map(Into::into), outside, required }
}

fn url_template(section: &mut Section) -> TemplateRule {
    let schemes = section.list("schemes", |text: &Text| {
        let problem = || Problem::new(format!("{} is not a URL scheme", text.shown()));
        Scheme::parse(text.as_str()).ok_or_else(|| problem().expected("expected for example `https`, without `://`"))
    });
    let hosts = section.list("hosts", |text: &Text| {
        let problem = || Problem::new(format!("{} is not a host", text.shown()));
        HostPattern::parse(text.as_str()).ok_or_else(|| problem().expected(HOSTS))
    });
    TemplateRule { schemes: values(schemes), hosts: values(hosts) }
}

const HOSTS: &str = "expected for example `login.example.com`, or `*.example.com` for all its subdomains; \
    no port; international names in punycode";

fn values<T>(list: Option<Vec<Spanned<T>>>) -> Option<Vec<T>> {
    list.map(|list| list.into_iter().map(|spanned| spanned.value).collect())
}
