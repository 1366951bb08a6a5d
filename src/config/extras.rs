//! The options of a policy beside metadata: lifetimes, the session's token, checks and challenges.

use super::fault::{Problem, Spot};
use super::section::Section;
use super::url::is_host;
use super::value::{self, choice, duration};
use super::variables::Text;
use crate::model::{CheckKind, Length};
use crate::policy::{ExtraRules, LifetimeRule, LinkRule, Outside, ReturnCode};
use std::time::Duration;

/// The shortest and the longest lifetime that can be declared.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Reads the options; with the place of the policy, where any of them says something.
pub(super) fn read(section: &mut Section) -> (ExtraRules, Option<Spot>) {
    const TOKEN: &[(&str, bool)] = &[("required", true), ("optional", false)];
    let lifetime = section.within("lifetime", lifetime);
    let token_required = section.read("session_token", true, choice(TOKEN));
    let checks = section.within("checks", |section| {
        let allowed = section.list("allowed", check);
        allowed.map(|all| all.into_iter().map(|placed| placed.value).collect())
    });
    let (return_code, links) = section.within("challenges", |section| {
        const CODES: &[(&str, ReturnCode)] =
            &[("allow", ReturnCode::Allow), ("refuse", ReturnCode::Refuse), ("strip", ReturnCode::Strip)];
        let code = section.read("return_code", ReturnCode::default(), choice(CODES));
        (code, section.within("url_template", links))
    });
    let rules = ExtraRules { lifetime, token_required, checks, return_code, links };
    let spot = (rules != ExtraRules::default()).then(|| section.spot.clone());
    (rules, spot)
}

fn lifetime(section: &mut Section) -> LifetimeRule {
    const OUTSIDE: &[(&str, Outside)] = &[("refuse", Outside::Refuse), ("clamp", Outside::Clamp)];
    let min = section.optional("min", duration(SHORTEST..=LONGEST)).map(Length::from);
    let max = section.optional("max", duration(SHORTEST..=LONGEST)).map(Length::from);
    let outside = section.read("outside", Outside::default(), choice(OUTSIDE));
    if let (Some(least), Some(most)) = (min, max)
        && least > most
    {
        let spot = section.spot_of("min");
        section.context.refuse(&spot, Problem::new(format!("{least} is more than the `max` of {most}")));
    }
    if outside == Outside::Clamp && min.is_none() && max.is_none() {
        let spot = section.spot_of("outside");
        section.context.refuse(&spot, Problem::new("`clamp` has no bound").but("expected `min` or `max` beside it"));
    }
    LifetimeRule { min, max, outside, required: section.read("required", false, value::truth) }
}

fn check(text: &Text) -> Result<CheckKind, Problem> {
    let names = || CheckKind::ALL.into_iter().map(CheckKind::name);
    CheckKind::ALL.into_iter().find(|kind| kind.name() == text.as_str()).ok_or_else(|| {
        let problem = Problem::new(format!("{} is not known", text.shown()));
        problem.but(format!("allowed are {}", super::fault::listed(names()))).like(text.as_str(), names())
    })
}

fn links(section: &mut Section) -> LinkRule {
    let mut read = |key, parse: fn(&Text) -> Result<String, Problem>| {
        section.list(key, parse).map(|all| all.into_iter().map(|placed| placed.value).collect::<Vec<_>>())
    };
    LinkRule { schemes: read("schemes", scheme), hosts: read("hosts", host) }
}

fn scheme(text: &Text) -> Result<String, Problem> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !text.as_str().is_empty() && text.as_str().bytes().all(plain) {
        return Ok(text.as_str().to_owned());
    }
    Err(Problem::new(format!("{} is not a scheme", text.shown())).but("expected one such as `https`, in lower case"))
}

fn host(text: &Text) -> Result<String, Problem> {
    let host = text.as_str().to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    if is_host(name) && !name.contains([':', '[']) {
        return Ok(host);
    }
    let allowed = "expected a host name, or `*.` and one for every name below it";
    Err(Problem::new(format!("{} is not a host", text.shown())).but(allowed))
}
