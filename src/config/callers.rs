//! The option `auth` of an upstream: how callers are verified.

use super::FindingId;
use super::certificates;
use super::egress_proxy;
use super::error::{Location, Problem, listed};
use super::grants::DeclaredGrant;
use super::introspection;
use super::options::algorithms::ALGORITHM_WORDS;
use super::options::table::Declared;
use super::options::{auth as rows, upstreams};
use super::section::{Context, Entry, Section, Spanned};
use super::url::{Url, authority};
use super::value;
use super::variables::Text;
use crate::dialect::Dialect;
use crate::gateway::{CallerCheck, EgressProxy, KeySource, OpaqueTokens, Target, TokenIssuer};
use crate::grant::{Grant, SessionScope};
use crate::token::{ClaimNames, Expectations};
use http::Uri;
use http::uri::Authority;
use jsonwebtoken::Algorithm;
use std::collections::BTreeSet;
use std::sync::Arc;

const FORMS: &str = "expected a map with `issuer` and `audience`, or a list of them, `forward` to require a credential \
    that only the provider verifies, or `none` to leave authentication to the provider";

/// Reads `auth`. It is required: a missing option must not allow anything. `proxy` is the upstream's.
pub(super) fn read(
    section: &mut Section,
    dialect: Option<&Dialect>,
    target: Option<&Target>,
    proxy: Option<Arc<EgressProxy>>,
) -> Option<CallerCheck> {
    let entry = section.required(&upstreams::AUTH, FORMS)?;
    if entry.is_single() {
        return entry.read(section.context, |text| match text.as_str() {
            "none" => Ok(CallerCheck::None),
            "forward" => Ok(CallerCheck::Forward),
            _ => Err(Problem::new(format!("{} is not a valid value", text.shown())).expected(FORMS)),
        });
    }
    let entries = entry.each(section.context);
    if entries.len() > rows::MAX_ISSUERS {
        let found = format!("{} issuers are too many", entries.len());
        let problem = Problem::new(found).id(FindingId::OutOfRange);
        let allowed = format!("allowed: at most {}", rows::MAX_ISSUERS);
        section.context.reject(&section.location_of(&upstreams::AUTH), problem.expected(allowed));
    }
    let read = |entry: Entry| token(section.context, &entry, dialect.zip(target), proxy.clone());
    let issuers: Vec<DeclaredIssuer> = entries.into_iter().filter_map(read).collect();
    check_each_decides(section.context, &issuers);
    Some(CallerCheck::Token(issuers.into_iter().map(|declared| declared.issuer).collect()))
}

/// An issuer, and the locations of the options that may contradict those of other issuers.
struct DeclaredIssuer {
    issuer: TokenIssuer,
    names: Location,
    opaque: Location,
}

/// Rejects issuers of which two would accept the same token: it must show by itself who verifies it.
fn check_each_decides(context: &mut Context, issuers: &[DeclaredIssuer]) {
    let accepts = |issuer: &TokenIssuer| issuer.opaque != OpaqueTokens::Reject;
    for (at, DeclaredIssuer { issuer, names, opaque }) in issuers.iter().enumerate() {
        let earlier = || issuers.iter().take(at).map(|earlier| &earlier.issuer);
        for name in &issuer.expected.issuers {
            if let Some(twin) = earlier().find(|earlier| earlier.expected.issuers.contains(name)) {
                let found = format!("`{name}` is also an issuer of `{}`", twin.option);
                let problem = Problem::new(found).id(FindingId::Conflict);
                context.reject(names, problem.expected("the `iss` of a token decides by whose keys it is verified"));
            }
        }
        if let Some(twin) = earlier().find(|earlier| accepts(earlier) && accepts(issuer)) {
            let problem = Problem::new(format!("`{}` accepts opaque tokens too", twin.option)).id(FindingId::Conflict);
            let allowed = "opaque tokens name no issuer: only one can have `introspection` or `opaque: forward`";
            context.reject(opaque, problem.expected(allowed));
        }
    }
}

fn token(
    context: &mut Context,
    entry: &Entry,
    provider: Option<(&Dialect, &Target)>,
    proxy: Option<Arc<EgressProxy>>,
) -> Option<DeclaredIssuer> {
    context.read_map(entry, |section| {
        let issuers = section.one_or_several(&rows::ISSUER, "expected the URL of the issuer", Url::without_query);
        let audiences = section.one_or_several(&rows::AUDIENCE, "expected the audience of access tokens", value::text);
        let claims = section.subsection(&rows::CLAIMS, claims);
        let jwks = section.entry(&rows::JWKS);
        let jwks = jwks.and_then(|entry| {
            Some(Spanned { value: entry.read(section.context, Url::parse)?, location: entry.location })
        });
        let host = section.parse(&rows::HOST, authority);
        if section.has(&rows::HOST) && !section.has(&rows::JWKS) {
            let location = section.location_of(&rows::HOST);
            section.context.reject(
                &location,
                Problem::new("needs `jwks`").id(FindingId::Conflict).expected("set both or neither"),
            );
        }
        let allow_http = section.get(&rows::ALLOW_HTTP);
        for url in issuers.iter().chain(&jwks).filter(|_| !allow_http) {
            require_tls(section, url);
        }
        if let Some(provider) = provider {
            warn_of_form(section.context, provider, &issuers, &audiences);
        }
        let algorithms = section.list(&rows::ALGORITHMS, algorithm);
        let algorithms = algorithms.map_or_else(|| vec![rows::ALGORITHMS.kind.default], Spanned::values);
        let leeway = section.get(&rows::LEEWAY);
        let issuers: Vec<String> = Spanned::values(issuers).into_iter().map(|url| url.text).collect();
        let issuer = issuers.first().cloned().unwrap_or_default();
        let mut keys = keys(section, issuer, jwks.map(|jwks| jwks.value.text), host);
        keys.proxy = egress_proxy::read(section, &rows::EGRESS_PROXY).unwrap_or(proxy);
        let expected = Expectations {
            issuers,
            audiences: Spanned::values(audiences),
            algorithms,
            leeway,
            claims,
            token_type: None,
        };
        let opaque = opaque(section, &keys, allow_http);
        let takes_opaque: &dyn Declared =
            if section.has(&rows::INTROSPECTION) { &rows::INTROSPECTION } else { &rows::OPAQUE };
        DeclaredIssuer {
            names: section.location_of(&rows::ISSUER),
            opaque: section.location_of(takes_opaque),
            issuer: TokenIssuer { option: entry.location.path.clone(), expected, keys, opaque, response_id: [0; 16] },
        }
    })
}

fn opaque(section: &mut Section, keys: &KeySource, allow_http: bool) -> OpaqueTokens {
    let forward = section.get(&rows::OPAQUE);
    let source = |section: &mut Section| introspection::read(section, keys, allow_http);
    let source = section.optional_subsection(&rows::INTROSPECTION, source);
    if forward && source.is_some() {
        let location = section.location_of(&rows::OPAQUE);
        let problem = Problem::new("`forward` cannot be combined with `introspection`").id(FindingId::Conflict);
        section.context.reject(&location, problem.expected("remove one of them"));
    }
    match source.flatten() {
        Some(source) => OpaqueTokens::Introspect(Arc::new(source)),
        None if forward => OpaqueTokens::Forward,
        None => OpaqueTokens::Reject,
    }
}

fn keys(section: &mut Section, issuer: String, jwks: Option<String>, host: Option<Authority>) -> KeySource {
    let source = KeySource {
        jwks,
        host,
        issuer,
        refresh: section.get(&rows::REFRESH),
        min_interval: section.get(&rows::MIN_INTERVAL),
        max_stale: section.get(&rows::MAX_STALE),
        timeout: section.get(&rows::FETCH_TIMEOUT),
        authorities: certificates::authorities(section, &rows::CA_FILE),
        proxy: None,
    };
    if source.max_stale < source.refresh {
        let location = section.location_of(&rows::MAX_STALE);
        let found = format!("{} is shorter than `refresh`", value::shown_duration(source.max_stale));
        let allowed = format!("expected at least {}", value::shown_duration(source.refresh));
        section.context.reject(&location, Problem::new(found).id(FindingId::Conflict).expected(allowed));
    }
    source
}

/// Warns of issuers and audiences that lack the final slash which those of the provider's tokens have.
fn warn_of_form(
    context: &mut Context,
    (dialect, target): (&Dialect, &Target),
    issuers: &[Spanned<Url>],
    audiences: &[Spanned<String>],
) {
    let Some(form) = &dialect.token_form else {
        return;
    };
    let slash = |name: &str| {
        let why = format!("`{name}` of tokens of dialect `{}` ends with `/`, and is compared exactly", dialect.name);
        Problem::new("does not end with `/`").expected(why)
    };
    for Spanned { location, .. } in issuers.iter().filter(|issuer| form.lacks_issuer_slash(&issuer.value.text)) {
        context.warn(location, FindingId::IssuerForm, slash("iss"));
    }
    let own = target.virtual_host.as_ref().map(Authority::host);
    let hosts = issuers.iter().map(|issuer| issuer.value.host.as_str());
    let hosts: Vec<&str> = hosts.chain(own).chain([target.host.as_str()]).collect();
    let lacking = |audience: &&Spanned<String>| form.lacks_audience_slash(&audience.value, &hosts);
    for Spanned { location, .. } in audiences.iter().filter(lacking) {
        context.warn(location, FindingId::AudienceForm, slash("aud"));
    }
}

/// Reads the names of claims. What is not declared has no name yet: see [`use_token_form`].
fn claims(section: &mut Section) -> ClaimNames {
    let client_id = section.parse(&rows::CLAIM_CLIENT_ID, value::text);
    ClaimNames {
        client_is_declared: client_id.is_some(),
        client_decides: client_id.is_some(),
        client_id: client_id.into_iter().collect(),
        scopes: section.parse(&rows::CLAIM_SCOPES, value::text).unwrap_or_default(),
        roles: section.parse(&rows::CLAIM_ROLES, value::text),
        groups: section.parse(&rows::CLAIM_GROUPS, value::text),
        organization: section.parse(&rows::CLAIM_ORGANIZATION, value::text),
        session: section.parse(&rows::CLAIM_SESSION, value::text),
        others: Vec::new(),
    }
}

/// Tokens have the form of the dialect's. Of the claims only those are read that the grants need.
pub(super) fn use_token_form(check: &mut CallerCheck, dialect: &Dialect, grants: &[DeclaredGrant]) {
    let CallerCheck::Token(issuers) = check else {
        return;
    };
    issuers.iter_mut().for_each(|issuer| use_form_of(&mut issuer.expected, dialect, grants));
}

fn use_form_of(expected: &mut Expectations, dialect: &Dialect, grants: &[DeclaredGrant]) {
    expected.token_type = dialect.token_type;
    let names = &mut expected.claims;
    let own = &dialect.claims;
    if names.scopes.is_empty() {
        names.scopes = dialect.scopes.claim.to_owned();
    }
    if names.client_id.is_empty() {
        names.client_id = own.client_id.iter().map(|name| (*name).to_owned()).collect();
    }
    let need = |needs: fn(&Grant) -> bool| grants.iter().any(|declared| needs(&declared.grant));
    let named = |name: &mut Option<String>, default: Option<&str>, needs: fn(&Grant) -> bool| {
        let found = name.take().or_else(|| default.map(str::to_owned));
        *name = found.filter(|_| need(needs));
    };
    names.client_decides |= need(|grant| grant.callers.client_id.is_some());
    named(&mut names.roles, own.roles, |grant| grant.callers.roles.is_some());
    named(&mut names.groups, own.groups, |grant| grant.callers.groups.is_some());
    named(&mut names.organization, own.organization, |grant| grant.callers.organization.is_some());
    named(&mut names.session, own.session, |grant| grant.sessions == SessionScope::Own);
    let others = grants.iter().flat_map(|declared| &declared.grant.callers.claims);
    let others: BTreeSet<&String> = others.map(|(name, _)| name).collect();
    names.others = others.into_iter().cloned().collect();
}

/// If the JWKS document or the introspection endpoint has the upstream's own address, it is requested with the
/// upstream's `host` too.
pub(super) fn inherit_host(check: &mut CallerCheck, target: &Target) {
    let CallerCheck::Token(issuers) = check else {
        return;
    };
    for issuer in issuers {
        inherit_host_of(issuer, target);
    }
}

fn inherit_host_of(TokenIssuer { keys, opaque, .. }: &mut TokenIssuer, target: &Target) {
    if keys.host.is_none() && keys.jwks.as_ref().is_some_and(|jwks| is_at(jwks, target)) {
        keys.host = target.virtual_host.clone();
    }
    if let OpaqueTokens::Introspect(source) = opaque
        && source.host.is_none()
        && is_at(&source.url, target)
    {
        Arc::make_mut(source).host = target.virtual_host.clone();
    }
}

/// Whether a URL has the address of the provider.
fn is_at(url: &str, target: &Target) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        let tls = uri.scheme_str() == Some("https");
        let host = without_root_dot(uri.host().unwrap_or_default()).trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        host.eq_ignore_ascii_case(without_root_dot(&target.host)) && (tls, port) == (target.tls, target.port)
    })
}

/// The host without a trailing dot, which affects name resolution only.
fn without_root_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Requires TLS: anyone who can change keys in transit can sign tokens.
fn require_tls(section: &mut Section, url: &Spanned<Url>) {
    if !url.value.tls && !url.value.is_loopback() {
        let problem = Problem::new("signing keys would be fetched without TLS");
        let problem = problem.expected("use `https://`, or set `allow_http: true` if the network is trusted");
        section.context.reject(&url.location, problem);
    }
}

fn algorithm(text: &Text) -> Result<Algorithm, Problem> {
    let words = || ALGORITHM_WORDS.iter().map(|(word, _)| *word);
    let found = ALGORITHM_WORDS.iter().find(|(word, _)| *word == text.as_str());
    found.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let why = match text.as_str() {
            "none" => " would accept unsigned tokens",
            word if word.starts_with("HS") => " is not supported: with a shared secret, every verifier can also sign",
            _ => " is not a valid value",
        };
        let problem = Problem::new(format!("{}{why}", text.shown()));
        let problem = problem.expected(format!("allowed: {}", listed(words())));
        if why == " is not a valid value" { problem.like(text.as_str(), words()) } else { problem }
    })
}
