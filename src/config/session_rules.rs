//! A policy's options for lifetimes, session tokens, checks and challenges.

use super::FindingId;
use super::declared::DeclaredPolicy;
use super::error::Problem;
use super::options::{policies, session_rules as rows};
use super::section::{Section, Spanned};
use super::value::{self, label};
use super::variables::Text;
use crate::model::CheckKind;
use crate::policy::{HostPattern, LifetimeRule, OutsideBounds, Scheme, TemplateRule};

/// Reads the options.
pub(super) fn read(section: &mut Section, declared: &mut DeclaredPolicy) {
    let policy = &mut declared.policy;
    policy.lifetime = section.subsection(&policies::LIFETIME, lifetime);
    policy.session_token = section.get(&policies::SESSION_TOKEN);
    policy.checks.allowed = section
        .subsection(&policies::CHECKS, |section| values(section.list(&rows::CHECKS_ALLOWED, label::<CheckKind>())));
    section.subsection(&policies::CHALLENGES, |section| {
        policy.challenges.return_code = section.get(&rows::RETURN_CODE);
        policy.challenges.url_template = section.subsection(&rows::URL_TEMPLATE, url_template);
    });
}

fn lifetime(section: &mut Section) -> LifetimeRule {
    let min = section.find(&rows::MIN);
    let max = section.find(&rows::MAX);
    let bounded = section.has(&rows::MIN) || section.has(&rows::MAX);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let location = section.location_of(&rows::MIN);
        let (min, max) = (value::shown_duration(min), value::shown_duration(max));
        let problem = Problem::new(format!("{min} is greater than `max` ({max})")).id(FindingId::PolicyConflict);
        section.context.reject(&location, problem);
    }
    let outside = section.get(&rows::OUTSIDE);
    if outside == OutsideBounds::Clamp && !bounded {
        let location = section.location_of(&rows::OUTSIDE);
        let problem =
            Problem::new("`clamp` needs a bound").id(FindingId::PolicyConflict).expected("set `min` or `max`");
        section.context.reject(&location, problem);
    }
    let required = section.get(&rows::REQUIRED);
    LifetimeRule { min: min.map(Into::into), max: max.map(Into::into), outside, required }
}

fn url_template(section: &mut Section) -> TemplateRule {
    let schemes = section.list(&rows::SCHEMES, |text: &Text| {
        let problem = || Problem::new(format!("{} is not a URL scheme", text.shown()));
        Scheme::parse(text.as_str()).ok_or_else(|| problem().expected("expected for example `https`, without `://`"))
    });
    let hosts = section.list(&rows::HOSTS, |text: &Text| {
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
