//! The options of a policy that speak of lifetimes, checks and challenges.

use super::declared::Declared;
use super::fault::Problem;
use super::section::{Section, Spanned};
use super::value::{self, choice, duration, label, minutes};
use super::variables::Text;
use crate::model::CheckKind;
use crate::policy::{HostPattern, LifetimeRule, Outside, ReturnCode, Scheme, TemplateRule, TokenRule};
use std::time::Duration;

/// The options, as they are called in a policy.
const OPTIONS: [&str; 4] = ["lifetime", "session_token", "checks", "challenges"];
/// The longest bound: ten years.
const LONGEST: Duration = minutes(3650 * 24 * 60);

/// Reads the options, and notes which of them are there.
pub(super) fn read(section: &mut Section, declared: &mut Declared) {
    const TOKENS: &[(&str, TokenRule)] = &[("required", TokenRule::Required), ("optional", TokenRule::Optional)];
    let policy = &mut declared.policy;
    policy.lifetime = section.within("lifetime", lifetime);
    policy.session_token = section.read("session_token", TokenRule::default(), choice(TOKENS));
    policy.checks.allowed = section.within("checks", |section| values(section.list("allowed", label::<CheckKind>())));
    section.within("challenges", |section| {
        policy.challenges.return_code = section.read("return_code", ReturnCode::default(), choice(RETURNS));
        policy.challenges.url_template = section.within("url_template", url_template);
    });
    declared
        .session_rules
        .extend(OPTIONS.into_iter().filter(|key| section.has(key)).map(|key| section.location_of(key)));
}

const RETURNS: &[(&str, ReturnCode)] =
    &[("allow", ReturnCode::Allow), ("reject", ReturnCode::Reject), ("strip", ReturnCode::Strip)];

fn lifetime(section: &mut Section) -> LifetimeRule {
    const OUTSIDE: &[(&str, Outside)] = &[("reject", Outside::Reject), ("clamp", Outside::Clamp)];
    let bound = || duration(Duration::from_millis(1)..=LONGEST);
    let min = section.optional("min", bound());
    let max = section.optional("max", bound());
    let bounded = section.has("min") || section.has("max");
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let location = section.location_of("min");
        let (min, max) = (value::shown_duration(min), value::shown_duration(max));
        section.context.reject(&location, Problem::new(format!("{min} is more than the `max` of {max}")));
    }
    let outside = section.read("outside", Outside::default(), choice(OUTSIDE));
    if outside == Outside::Clamp && !bounded {
        let location = section.location_of("outside");
        let problem =
            Problem::new("`clamp` has no meaning without a bound").expected("expected `min` or `max` beside it");
        section.context.reject(&location, problem);
    }
    let required = section.read("required", false, value::boolean);
    LifetimeRule { min: min.map(Into::into), max: max.map(Into::into), outside, required }
}

fn url_template(section: &mut Section) -> TemplateRule {
    let schemes = section.list("schemes", |text: &Text| {
        let problem = || Problem::new(format!("{} is not a scheme", text.shown()));
        Scheme::parse(text.as_str()).ok_or_else(|| problem().expected("expected one such as `https`, without `://`"))
    });
    let hosts = section.list("hosts", |text: &Text| {
        let problem = || Problem::new(format!("{} is not a host", text.shown()));
        HostPattern::parse(text.as_str()).ok_or_else(|| problem().expected(HOSTS))
    });
    TemplateRule { schemes: values(schemes), hosts: values(hosts) }
}

const HOSTS: &str = "expected one such as `login.example.com`, or `*.example.com` for everything below `example.com`; \
    without a port, and international names in punycode";

fn values<T>(list: Option<Vec<Spanned<T>>>) -> Option<Vec<T>> {
    list.map(|list| list.into_iter().map(|placed| placed.value).collect())
}
