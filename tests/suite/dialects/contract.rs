//! What every dialect's table holds, so that the gateway can serve it. A new dialect needs no change here.

use http::Method;
use sessiongate::dialect::path::canonical_below;
use sessiongate::dialect::{
    DIALECTS, Dialect, InvalidationRule, PathPart, Query, Route, RouteMatch, RuleEffect, Sharing,
};
use sessiongate::model::{IdForm, Rejection};
use std::collections::BTreeSet;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PURGE"];
/// The value of a user in a path.
const USER: &str = "usr%7C1";

/// Protected paths without a route, and why every request below them is rejected.
const CLOSED: [(&str, &str); 4] = [
    ("/v2alpha/sessions", "an older version, which reaches the same sessions"),
    ("/v3alpha/sessions", "a newer version, which may reach the same sessions"),
    ("/zitadel.session.v2alpha.SessionService", "an older version, which reaches the same sessions"),
    ("/zitadel.session.v3alpha.SessionService", "a newer version, which may reach the same sessions"),
];

/// Runs a check for each dialect, and reports all faults.
fn each_dialect(check: impl Fn(&'static Dialect, &mut Vec<String>)) {
    let mut faults = Vec::new();
    for dialect in DIALECTS {
        let mut own = Vec::new();
        check(dialect, &mut own);
        faults.extend(own.into_iter().map(|fault| format!("{}: {fault}", dialect.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// An ID of this form.
pub fn id_of(form: IdForm) -> &'static str {
    match form {
        IdForm::Opaque(_) => "s",
        IdForm::Uuid => "0f8fad5b-d9cb-469f-a165-70867728950e",
    }
}

/// A path that the pattern of a route matches.
pub fn path_of(dialect: &Dialect, pattern: &[PathPart]) -> String {
    let parts = pattern.iter().map(|part| match part {
        PathPart::Word(word) => word,
        PathPart::Session => id_of(dialect.session_ids),
        PathPart::RefreshToken => id_of(dialect.refresh_token_ids),
        PathPart::User => USER,
        PathPart::OneOf(words) | PathPart::StartsWith(words) | PathPart::EndsWith(words) => words[0],
        PathPart::Rest => panic!("a route ends somewhere"),
        _ => "any",
    });
    parts.fold(String::new(), |path, part| path + "/" + part)
}

fn matched(dialect: &'static Dialect, method: &str, path: &str) -> Result<RouteMatch, Rejection> {
    dialect.match_route(&Method::from_bytes(method.as_bytes()).unwrap(), path, None)
}

fn is_governed_by(found: &Result<RouteMatch, Rejection>, own: &Route) -> bool {
    matches!(found, Ok(RouteMatch::Governed { route, .. }) if std::ptr::eq(*route, own))
}

#[test]
fn each_route_matches_its_own_path_and_gives_back_its_session() {
    each_dialect(|dialect, faults| {
        for route in dialect.routes {
            let path = path_of(dialect, route.path);
            let found = matched(dialect, route.method, &path);
            let session = route.path.contains(&PathPart::Session).then_some(id_of(dialect.session_ids));
            let gives_back = |found: &RouteMatch| match found {
                RouteMatch::Governed { session: own, path: canonical, .. } => {
                    own.as_ref().map(|id| id.as_str()) == session && *canonical == path
                }
                RouteMatch::Invalidating | RouteMatch::InvalidatingIfAccepted | RouteMatch::Unmatched => false,
            };
            if !is_governed_by(&found, route) || !found.as_ref().is_ok_and(gives_back) {
                faults.push(format!("{} {path}: {found:?}", route.method));
            }
            if !route.path.iter().any(|part| matches!(part, PathPart::User | PathPart::RefreshToken)) {
                let id = session.map(|id| dialect.session_id(id).unwrap());
                let tenant = match &found {
                    Ok(RouteMatch::Governed { tenant, .. }) => tenant.as_deref(),
                    _ => None,
                };
                let again = dialect.path(route, id.as_ref(), tenant);
                if again != path {
                    faults.push(format!("{path} becomes {again}"));
                }
            }
        }
    });
}

/// The other spellings of a path that some server reads as the same path.
fn spellings(path: &str) -> Vec<String> {
    let last = path.rfind('/').unwrap();
    let (before, after) = path.split_at(last);
    let second = path[1..].find('/').unwrap() + 1;
    let encoded = |byte: u8| format!("%{byte:02x}");
    vec![
        format!("/{}{}", encoded(path.as_bytes()[1]), &path[2..]),
        format!("/%25{:02x}{}", path.as_bytes()[1], &path[2..]),
        path.to_uppercase(),
        format!("/{path}"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path};v=1"),
        format!("{before};v=1{after}"),
        format!("{before}/{after}"),
        format!("{before}/.{after}"),
        format!("{before}/x/..{after}"),
        format!("{before}/x/%2e%2e{after}"),
        format!("/x/..{path}"),
        format!("{before}\\{}", &after[1..]),
        format!("{before}%2F{}", &after[1..]),
        format!("{before}%5c{}", &after[1..]),
        format!("{before}%00{after}"),
        format!("{}%2f{}", &path[..second], &path[second + 1..]),
        format!("{path}%20"),
        format!("{path}%3F"),
        format!("{path}%23x"),
    ]
}

#[test]
fn other_spellings_of_a_governed_path_are_governed_or_rejected() {
    each_dialect(|dialect, faults| {
        for route in dialect.routes {
            for spelling in spellings(&path_of(dialect, route.path)) {
                match matched(dialect, route.method, &spelling) {
                    Ok(RouteMatch::Governed { route: found, .. }) if std::ptr::eq(found, route) => {}
                    Err(_) => {}
                    found => faults.push(format!("{} {spelling}: {found:?}", route.method)),
                }
            }
        }
    });
}

#[test]
fn other_methods_of_a_governed_path_are_rejected_with_those_that_it_has() {
    each_dialect(|dialect, faults| {
        for route in dialect.routes {
            let path = path_of(dialect, route.path);
            let governed = |method: &&str| matches!(matched(dialect, method, &path), Ok(RouteMatch::Governed { .. }));
            let own: BTreeSet<&str> = METHODS.into_iter().filter(governed).collect();
            for method in METHODS.into_iter().filter(|method| !own.contains(method)) {
                let found = matched(dialect, method, &path);
                let allowed = match &found {
                    Err(Rejection::Method(allowed)) => allowed.split(", ").collect(),
                    Err(_) | Ok(_) => BTreeSet::new(),
                };
                if allowed != own {
                    faults.push(format!("{method} {path}: {found:?}, but it has {own:?}"));
                }
            }
        }
    });
}

#[test]
fn routes_and_protected_paths_belong_together() {
    each_dialect(|dialect, faults| {
        let paths: Vec<String> = dialect.routes.iter().map(|route| path_of(dialect, route.path)).collect();
        for path in &paths {
            if canonical_below(path, dialect.protected_paths).is_none() {
                faults.push(format!("{path} is not protected"));
            }
            if !dialect.roots.iter().any(|root| path.starts_with(root)) {
                faults.push(format!("{path} is below no root"));
            }
        }
        for path in dialect.unprotected_paths {
            if canonical_below(path, dialect.protected_paths).is_none() {
                faults.push(format!("{path} is not protected anyway"));
            }
            let found = matched(dialect, "DELETE", path);
            if matches!(found, Ok(RouteMatch::Governed { .. }) | Err(_)) {
                faults.push(format!("{path}: {found:?}"));
            }
        }
        for prefix in dialect.protected_paths.iter().filter(|prefix| CLOSED.iter().all(|(own, _)| own != *prefix)) {
            if !paths.iter().any(|path| canonical_below(path, &[prefix]).is_some()) {
                faults.push(format!("{prefix} protects no route"));
            }
        }
    });
}

#[test]
fn lists_name_each_thing_once() {
    each_dialect(|dialect, faults| {
        let mut check = |what: String, list: &[&str]| {
            let unique: BTreeSet<&&str> = list.iter().collect();
            if unique.len() != list.len() || list.iter().any(|text| text.is_empty()) {
                faults.push(format!("{what}: {list:?}"));
            }
        };
        check("roots".into(), dialect.roots);
        check("protected paths".into(), dialect.protected_paths);
        check("unprotected paths".into(), dialect.unprotected_paths);
        let names = &dialect.names;
        let optional = [names.session, names.metadata, names.session_id, names.session_token, names.lifetime];
        let known: Vec<&str> = optional.into_iter().flatten().chain([names.id]).collect();
        check("fields".into(), &known);
        check("path of errors".into(), names.error);
        check("expiries".into(), names.expiries);
        check("lockout IDs".into(), dialect.lockout_ids);
        check("claims of the client".into(), dialect.claims.client_id);
        for route in dialect.routes {
            let place = format!("{} {}", route.method, path_of(dialect, route.path));
            check(format!("scopes of {place}"), route.scopes);
            let (Query::Parameters(names) | Query::SessionToken(names)) = route.query;
            check(format!("query of {place}"), names);
        }
        for (at, rule) in dialect.invalidating.iter().enumerate() {
            for part in rule.path {
                if let PathPart::OneOf(words) | PathPart::StartsWith(words) | PathPart::EndsWith(words) = part {
                    check(format!("rule {at}"), words);
                }
            }
        }
        let names: BTreeSet<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
        if names.len() != DIALECTS.len() || dialect.title.is_empty() {
            faults.push("its name is not its own, or it has no title".into());
        }
        let (Sharing::Shared(why) | Sharing::PerCredential(why)) = dialect.sharing;
        if !why.contains(' ') || dialect.names.error.is_empty() {
            faults.push("it does not say why reads are shared or not, or where errors are".into());
        }
    });
}

/// Paths that a rule matches, with each of its words. Words that no other rule has stand for anything.
fn paths_of(pattern: &[PathPart]) -> Vec<Vec<String>> {
    let Some((part, rest)) = pattern.split_first() else {
        return vec![Vec::new()];
    };
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let heads: Vec<Vec<String>> = match part {
        PathPart::Word(word) => vec![vec![(*word).to_owned()]],
        PathPart::OneOf(words) => texts(words).into_iter().map(|word| vec![word]).collect(),
        PathPart::StartsWith(words) => texts(words).into_iter().map(|word| vec![word + "zz"]).collect(),
        PathPart::Rest => vec![Vec::new(), vec!["zz-2".into()]],
        PathPart::EndsWith(words) => {
            let ends = texts(words);
            ends.into_iter().map(|word| vec!["zz-3".into(), word]).collect()
        }
        _ => vec![vec!["zz-1".into()]],
    };
    let tails = paths_of(rest);
    heads.iter().flat_map(|head| tails.iter().map(move |tail| [&head[..], tail].concat())).collect()
}

/// Whether a rule matches: written here once more, so that the two can disagree.
fn fits(pattern: &[PathPart], parts: &[String]) -> bool {
    match (pattern, parts) {
        ([PathPart::Rest, ..], _) => true,
        ([PathPart::EndsWith(words), ..], parts) => parts.last().is_some_and(|last| words.contains(&last.as_str())),
        ([], parts) => parts.is_empty(),
        ([part, pattern @ ..], [first, parts @ ..]) => {
            let is_like = match part {
                PathPart::Word(word) => first == word,
                PathPart::OneOf(words) => words.contains(&first.as_str()),
                PathPart::StartsWith(words) => words.iter().any(|word| first.starts_with(word)),
                _ => !first.is_empty(),
            };
            is_like && fits(pattern, parts)
        }
        ([_, ..], []) => false,
    }
}

/// The paths of a rule, of which every word counts: for each, whether this rule is the first that matches it.
fn words_of(rule: &InvalidationRule) -> Vec<Vec<String>> {
    let mut paths = paths_of(rule.path);
    // With and without the rest is one and the same word.
    paths.sort_by_key(Vec::len);
    paths
}

#[test]
fn each_invalidation_rule_can_match_and_says_what_happens() {
    each_dialect(|dialect, faults| {
        for (at, rule) in dialect.invalidating.iter().enumerate() {
            let method = rule.method.unwrap_or("PUT");
            let first = |parts: &[String]| {
                let of_method = |row: &&InvalidationRule| row.method.is_none_or(|own| own == method);
                let mut rows = dialect.invalidating.iter().filter(of_method);
                rows.find(|row| fits(row.path, parts)).is_some_and(|row| std::ptr::eq(row, rule))
            };
            let (mut alive, mut dead) = (BTreeSet::new(), BTreeSet::new());
            for parts in words_of(rule) {
                let path = format!("/{}", parts.join("/"));
                let words: Vec<String> = parts.iter().filter(|part| !part.starts_with("zz-")).cloned().collect();
                let found = matched(dialect, method, &path);
                let says = matches!(
                    (&found, rule.effect),
                    (Ok(RouteMatch::Invalidating), RuleEffect::Changes)
                        | (Ok(RouteMatch::InvalidatingIfAccepted), RuleEffect::ChangesIfAccepted)
                        | (Ok(RouteMatch::Unmatched), RuleEffect::Keeps)
                );
                match first(&parts) && found.is_ok() {
                    true if !says => faults.push(format!("rule {at}, {method} {path}: {found:?}")),
                    true => drop(alive.insert(words)),
                    false => drop(dead.insert(words)),
                }
                if path != path.to_lowercase() {
                    faults.push(format!("rule {at} is not in lower case: {path}"));
                }
            }
            for words in dead.difference(&alive) {
                faults.push(format!("rule {at} never applies to {words:?}"));
            }
        }
    });
}
