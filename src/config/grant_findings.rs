//! What is wrong with grants as a whole: callers that are not verified, and grants that do nothing.

use super::error::{Location, Problem, listed};
use super::grants::DeclaredGrant;
use super::options::declare::Plain;
use super::options::grants as rows;
use super::options::{auth, upstreams};
use super::section::{Context, Section, Spanned};
use super::{FindingId, ListenAddress, Listener};
use crate::dialect::{Dialect, PolicySubject};
use crate::gateway::{self, CallerCheck, RequestMatcher, TokenIssuer, Unmatched};
use crate::grant::{CallerMatcher, Grant, SessionScope};
use crate::model::Operation;
use crate::policy::{KeyPattern, KeyPatterns};
use crate::token::{ClaimNames, Expectations};

/// What an upstream is, beside its grants.
pub(super) struct Surroundings<'u> {
    pub dialect: &'static Dialect,
    pub check: &'u CallerCheck,
    pub matcher: &'u RequestMatcher,
    pub unmatched: Unmatched,
    pub listeners: &'u [Listener],
}

/// Operations that a policy evaluates.
const WRITES: [Operation; 3] = [Operation::CreateSession, Operation::UpdateSession, Operation::UpdateRefreshToken];

/// Rejects grants of callers whom the gateway does not verify, and warns of what has no effect.
pub(super) fn check(section: &mut Section, grants: &[DeclaredGrant], around: &Surroundings) {
    check_declared_claims(section, around.check.issuers());
    if grants.is_empty() {
        return;
    }
    check_owners(section.context, grants);
    let (found, allowed) = match around.check {
        CallerCheck::None | CallerCheck::Forward => {
            ("callers are not verified", "expected `auth` with `issuer` and `audience`")
        }
        CallerCheck::Token(_) if around.check.forwards_opaque() => {
            ("callers with opaque tokens are not verified", "use `auth.introspection`, or `opaque: reject`")
        }
        CallerCheck::Token(issuers) => {
            let expected: Vec<&Expectations> = issuers.iter().map(|issuer| &issuer.expected).collect();
            return grants_of_verified(section.context, grants, &expected, around);
        }
    };
    let location = section.location_of(&upstreams::GRANTS);
    section.context.reject(&location, Problem::new(found).id(FindingId::Conflict).expected(allowed));
}

/// Rejects keys that may have two owners: one would wipe what the other sets.
fn check_owners(context: &mut Context, grants: &[DeclaredGrant]) {
    for (at, grant) in grants.iter().enumerate() {
        let earlier = grants.iter().take(at).flat_map(|other| other.own.iter().map(move |own| (other, own)));
        for Spanned { location, value: pattern } in &grant.own {
            let Some((other, own)) = earlier.clone().find(|(_, own)| !own.value.is_disjoint(pattern)) else {
                continue;
            };
            let Location { path, place } = &own.location;
            let found = format!(
                "`{}` may match a key that grant `{}` owns with `{}` ({path}, line {})",
                pattern.source(),
                other.grant.name,
                own.value.source(),
                place.line
            );
            let allowed = match pattern.is_expression() || own.value.is_expression() {
                true => "each key has one owner; a regular expression can be compared with exact keys only",
                false => "each key has one owner",
            };
            context.reject(location, Problem::new(found).id(FindingId::Conflict).expected(allowed));
        }
    }
}

fn grants_of_verified(
    context: &mut Context,
    grants: &[DeclaredGrant],
    expected: &[&Expectations],
    around: &Surroundings,
) {
    for (at, grant) in grants.iter().enumerate() {
        check_order(context, grant, grants.get(..at).unwrap_or_default(), expected);
        check_claims(context, grant, expected);
        check_issuer(context, grant, expected);
        check_connection(context, grant, around);
        check_writes(context, grant, around.dialect);
        check_sessions(context, grant, around.dialect);
        check_pass_through(context, grant, around.unmatched);
    }
}

fn ineffective(context: &mut Context, location: &Location, found: impl Into<String>, allowed: &str) {
    context.warn(location, FindingId::IneffectiveGrant, Problem::new(found).expected(allowed));
}

fn no_effect(context: &mut Context, location: &Location, why: impl Into<String>) {
    context.warn(location, FindingId::NoEffect, Problem::new("has no effect").expected(why));
}

/// The accepted issuers.
fn issuers<'e>(expected: &[&'e Expectations]) -> impl Iterator<Item = &'e String> {
    expected.iter().flat_map(|expected| &expected.issuers)
}

/// Warns of a grant whose callers all have earlier ones.
fn check_order(context: &mut Context, grant: &DeclaredGrant, earlier: &[DeclaredGrant], expected: &[&Expectations]) {
    // These are all the issuers that a caller can have.
    let is_accepted = |issuer: &&String| grant.grant.callers.issuer.as_ref().is_none_or(|own| own.matches(issuer));
    let accepted: Vec<KeyPattern> =
        issuers(expected).filter(is_accepted).map(|issuer| KeyPattern::of_text(issuer)).collect();
    if accepted.is_empty() {
        return;
    }
    let callers = CallerMatcher { issuer: Some(KeyPatterns(accepted)), ..grant.grant.callers.clone() };
    let all: Vec<&CallerMatcher> = earlier.iter().map(|earlier| &earlier.grant.callers).collect();
    let covering = callers.covered_by(&all);
    let names = covering.iter().filter_map(|at| Some(&*earlier.get(*at)?.grant.name));
    let found = match covering.as_slice() {
        [] => return,
        [_] => format!("grant {} above matches every caller that this one matches", listed(names)),
        [_, ..] => format!("grants {} above together match every caller that this one matches", listed(names)),
    };
    ineffective(context, &grant.location, found, "remove one of them, or change their order");
}

/// Warns of claims that are declared, and that no grant needs: they have no name any more.
fn check_declared_claims(section: &mut Section, issuers: &[TokenIssuer]) {
    let auth = section.entry(&upstreams::AUTH).filter(|_| !issuers.is_empty());
    let declared = auth.map(|entry| entry.each(section.context)).unwrap_or_default();
    for entry in declared {
        let Some(issuer) = issuers.iter().find(|issuer| issuer.option == entry.location.path) else { continue };
        let names = &issuer.expected.claims;
        let users = [
            (&auth::CLAIM_ROLES, &names.roles, "`callers.roles`"),
            (&auth::CLAIM_GROUPS, &names.groups, "`callers.groups`"),
            (&auth::CLAIM_ORGANIZATION, &names.organization, "`callers.organization`"),
            (&auth::CLAIM_SESSION, &names.session, "`sessions: own`"),
        ];
        let claims = entry.named(section.context).into_iter().flatten().find(|(key, _)| *key == auth::CLAIMS.key);
        for (key, claim) in claims.and_then(|(_, entry)| entry.named(section.context)).unwrap_or_default() {
            if let Some((.., user)) = users.iter().find(|(option, name, _)| option.key == key && name.is_none()) {
                no_effect(section.context, &claim.location, format!("no grant has {user}"));
            }
        }
    }
}

/// Warns of what no token of the issuers has.
fn check_claims(context: &mut Context, grant: &DeclaredGrant, expected: &[&Expectations]) {
    let no_issuer = |claim: fn(&ClaimNames) -> &Option<String>| expected.iter().all(|one| claim(&one.claims).is_none());
    let own = grant.place(rows::SESSIONS.key).filter(|_| grant.grant.sessions == SessionScope::Own);
    for (location, missing, option) in [
        (grant.place(rows::ROLES.key), no_issuer(|names| &names.roles), "roles"),
        (grant.place(rows::GROUPS.key), no_issuer(|names| &names.groups), "groups"),
        (grant.place(rows::ORGANIZATION.key), no_issuer(|names| &names.organization), "organization"),
        (own, no_issuer(|names| &names.session), "session"),
    ] {
        if let Some(location) = location.filter(|_| missing) {
            let allowed = format!("declare `auth.claims.{option}`");
            ineffective(context, location, "the dialect has no claim for it", &allowed);
        }
    }
    let issuer = grant.grant.callers.issuer.as_ref();
    let unknown = issuer.is_some_and(|patterns| !issuers(expected).any(|issuer| patterns.matches(issuer)));
    if let Some(location) = grant.place(rows::ISSUER.key).filter(|_| unknown) {
        ineffective(context, location, "matches no issuer of the upstream", "expected one of `auth.issuer`");
    }
}

/// Warns of a grant that tells callers apart by their tokens, and does not say whose tokens.
fn check_issuer(context: &mut Context, grant: &DeclaredGrant, expected: &[&Expectations]) {
    let DeclaredGrant { grant: Grant { callers, sessions, .. }, location, .. } = grant;
    let relies = callers.names_claim() || *sessions != SessionScope::Any;
    if expected.len() > 1 && callers.issuer.is_none() && relies {
        let problem = Problem::new("does not name the issuer of its callers, and the upstream has several");
        let problem =
            problem.expected("add `callers.issuer`: another issuer may use the same client ID, role or subject");
        context.warn(location, FindingId::GrantForAnyIssuer, problem);
    }
}

/// Warns of what no connection proves.
fn check_connection(context: &mut Context, grant: &DeclaredGrant, around: &Surroundings) {
    let reached = |listener: &&Listener| around.matcher.listener.as_ref().is_none_or(|name| listener.name == *name);
    let mut listeners = around.listeners.iter().filter(reached);
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    let has_certificates = listeners.clone().any(asks);
    let has_sockets = listeners.any(|listener| matches!(listener.address, ListenAddress::Unix(_)));
    if let Some(location) = grant.place(rows::CERTIFICATE.key).filter(|_| !has_certificates) {
        let found = "no listener of the upstream requests client certificates";
        ineffective(context, location, found, "set `tls.client_certificates` of a listener");
    }
    if let Some(location) = grant.place(rows::UNIX_UID.key).filter(|_| !has_sockets) {
        let found = "no listener of the upstream is a Unix socket";
        ineffective(context, location, found, "set `address: unix:PATH` of a listener");
    }
}

/// Warns of options that no operation of the grant uses.
fn check_writes(context: &mut Context, grant: &DeclaredGrant, dialect: &Dialect) {
    let places = |options: &[&Plain]| -> Vec<&Location> {
        options.iter().filter_map(|option| grant.place(option.key)).collect()
    };
    if !WRITES.iter().any(|operation| grant.grant.operations.contains(*operation)) {
        for location in places(&[&rows::SET, &rows::CLEAR, &rows::OWN, &rows::POLICY]) {
            no_effect(context, location, "the grant allows no write that it applies to");
        }
    }
    if !dialect.names.has(PolicySubject::Metadata) {
        for location in places(&[&rows::SEE, &rows::SET, &rows::CLEAR, &rows::OWN]) {
            no_effect(context, location, format!("sessions of dialect `{}` have no metadata", dialect.name));
        }
    }
}

/// Warns of operations of which the gateway allows no request: nothing in it tells whose session it is about.
fn check_sessions(context: &mut Context, grant: &DeclaredGrant, dialect: &Dialect) {
    let is_provable = |operation: Operation, sessions| {
        let mut routes = dialect.routes.iter().filter(|route| route.operation == operation).peekable();
        routes.peek().is_none() || routes.any(|route| gateway::is_provable(dialect, route, sessions))
    };
    let any_is_provable =
        |word: &Spanned<Vec<Operation>>, sessions| word.value.iter().any(|operation| is_provable(*operation, sessions));
    let rejected = grant.words.iter().filter(|word| !any_is_provable(word, grant.grant.sessions));
    for word in rejected {
        let found = "every such request is rejected: it does not prove that the session is the caller's own";
        let by_user = any_is_provable(word, SessionScope::User);
        let allowed = if by_user { "use `sessions: user` or `any`" } else { "use `sessions: any`" };
        ineffective(context, &word.location, found, &format!("remove it, or {allowed}"));
    }
}

/// Warns of requests that show what the grant hides.
fn check_pass_through(context: &mut Context, grant: &DeclaredGrant, unmatched: Unmatched) {
    let limits = grant.grant.masks.is_some() || grant.grant.sessions != SessionScope::Any;
    let is_passed = |word: &&Spanned<Vec<Operation>>| {
        matches!(word.value.as_slice(), [Operation::Other] | [Operation::ChangeRelated])
    };
    for Spanned { location, .. } in grant.words.iter().filter(is_passed) {
        match unmatched {
            Unmatched::Reject => no_effect(context, location, "`unmatched: reject` rejects these requests"),
            Unmatched::Forward if limits => {
                let found = "these requests reach any session, and may show what the grant hides";
                let problem = Problem::new(found).expected("remove it, or what limits the grant");
                context.warn(location, FindingId::GrantWithPassThrough, problem);
            }
            Unmatched::Forward => {}
        }
    }
}
