//! The option `upstreams`: compiled into the gateway's own types.

use super::callers;
use super::certificates;
use super::egress_proxy;
use super::error::{Problem, listed};
use super::grant_findings::{self, Surroundings};
use super::grants::{self, DeclaredGrant};
use super::options::process;
use super::options::upstreams::{self as rows, dialects};
use super::policies::{self, Policies};
use super::same_provider::{CompiledUpstream, MAX_HOLD, check_holds, check_owners, too_long};
use super::section::{Section, Spanned};
use super::url::{PLAIN_PATH, Url, authority, is_host, is_loopback, is_plain_path};
use super::value;
use super::variables::Text;
use super::{FindingId, Listener};
use crate::dialect::path::ANY;
use crate::dialect::{DIALECTS, Dialect};
use crate::gateway::{
    BodyLimits, EgressProxy, Freshness, OnUnreachable, Protocol, RequestMatcher, SlotLimits, Target, Timeouts, Upstream,
};
use crate::grant::{Grant, Grants};
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The maximum size of an evaluated body of undeclared length, in bytes.
const MAX_UNDECLARED: usize = 64 << 10;

/// Reads the option `upstreams`. The result is complete only if there was no error.
pub(super) fn read(section: &mut Section, policies: &mut Policies, listeners: &[Listener]) -> Vec<Upstream> {
    let Some(entry) = section.required(&process::UPSTREAMS, "expected a map with at least one upstream") else {
        return Vec::new();
    };
    let named = entry.named(section.context);
    if named.as_ref().is_some_and(Vec::is_empty) {
        section.context.reject(
            &entry.location,
            Problem::new("the map is empty").id(FindingId::MissingOption).expected("expected at least one upstream"),
        );
    }
    let mut upstreams: Vec<CompiledUpstream> = Vec::new();
    for (index, (name, entry)) in named.into_iter().flatten().enumerate() {
        if let Err(problem) = value::check_name(name) {
            section.context.reject(&entry.location, problem);
        }
        let read = section.context.read_map(&entry, |section| upstream(section, name, index, policies, listeners));
        let Some(found) = read.flatten() else {
            continue;
        };
        let matcher = &found.upstream.matcher;
        if let Some(twin) = upstreams.iter().find(|other| has_same_match(&other.upstream.matcher, matcher)) {
            let problem = Problem::new(format!("matches the same requests as upstream `{}`", twin.upstream.name))
                .id(FindingId::Conflict);
            section.context.reject(
                &found.match_location,
                problem.expected("expected a different `host`, `listener` or `path_prefix`"),
            );
        }
        upstreams.push(found);
    }
    check_holds(section, &upstreams);
    check_owners(section, &upstreams);
    upstreams.into_iter().map(|found| found.upstream).collect()
}

fn has_same_match(one: &RequestMatcher, other: &RequestMatcher) -> bool {
    one.host == other.host && one.listener == other.listener && one.path_prefix == other.path_prefix
}

fn upstream(
    section: &mut Section,
    name: &str,
    index: usize,
    policies: &mut Policies,
    listeners: &[Listener],
) -> Option<CompiledUpstream> {
    let dialect = section.required(&rows::DIALECT, &format!("allowed: {}", listed(dialects())));
    let dialect = dialect.and_then(|entry| entry.read(section.context, dialect_named));
    let proxy = egress_proxy::read(section, &rows::EGRESS_PROXY).flatten();
    let target = target(section, proxy.clone());
    let matcher = section.subsection(&rows::MATCH, |section| matcher(section, listeners));
    let unmatched = section.get(&rows::UNMATCHED);
    let check = callers::read(section, dialect, target.as_ref(), proxy);
    let cache = cache(section);
    let body = section.subsection(&rows::BODY, body);
    let slots = section.subsection(&rows::LIMITS, slots);
    let preserve_host = section.get(&rows::PRESERVE_HOST);
    let allow_http = section.get(&rows::ALLOW_HTTP);
    let named = [&rows::POLICY, &rows::REFRESH_TOKEN_POLICY].map(|option| policies::named(section, option, policies));
    let grants = grants::read(section, dialect, policies);
    if preserve_host && section.has(&rows::HOST) {
        let location = section.location_of(&rows::HOST);
        let problem = Problem::new("cannot be combined with `preserve_host`").id(FindingId::Conflict);
        section.context.reject(&location, problem.expected("remove one of them"));
    }
    let (dialect, target, mut check) = (dialect?, target?, check?);
    callers::inherit_host(&mut check, &target);
    callers::use_token_form(&mut check, dialect, &grants);
    let around = Surroundings { dialect, check: &check, matcher: &matcher, unmatched, listeners };
    grant_findings::check(section, &grants, &around);
    check_paths(section, dialect, &matcher, &target);
    warn_of_protocol(section, &target, allow_http);
    let mut upstream = Upstream {
        name: name.to_owned(),
        index,
        scope: 0,
        scope_cache: None,
        scope_owns_keys: false,
        response_id: [0; 16],
        dialect,
        matcher,
        unmatched,
        check,
        grants: Grants::default(),
        policy: Policy { limits: dialect.limits, ..Policy::default() },
        refresh_token_policy: Policy { limits: dialect.limits, ..Policy::default() },
        cache: cache.as_ref().map(|cache| cache.value),
        body,
        slots,
        preserve_host,
        target,
    };
    bind(section, named, grants, policies, &mut upstream);
    Some(CompiledUpstream {
        upstream,
        match_location: section.location_of(&rows::MATCH),
        on_unreachable: cache.map(|cache| cache.location),
        grants: section.location_of(&rows::GRANTS),
    })
}

/// Binds the policies for sessions and for refresh tokens, and those of the grants. The policy for refresh tokens
/// defaults to that for sessions.
fn bind(
    section: &mut Section,
    named: [Option<String>; 2],
    grants: Vec<DeclaredGrant>,
    policies: &mut Policies,
    upstream: &mut Upstream,
) {
    // Each is bound once: its errors and warnings are those of the upstream.
    let mut all: BTreeMap<String, Option<Policy>> = BTreeMap::new();
    let mut bound = |name: Option<String>| {
        let name = name?;
        let bind = || policies::bind(policies, &name, upstream, section.context);
        all.entry(name.clone()).or_insert_with(bind).clone()
    };
    let [sessions, refresh_tokens] = named.map(&mut bound);
    let grants: Vec<Grant> =
        grants.into_iter().map(|declared| Grant { policy: bound(declared.policy), ..declared.grant }).collect();
    upstream.grants = Grants::new(grants);
    let refresh_tokens = refresh_tokens.or_else(|| sessions.clone());
    if let Some(policy) = sessions {
        upstream.policy = policy;
    }
    if let Some(policy) = refresh_tokens {
        upstream.refresh_token_policy = policy;
    }
    let location = section.location_of(&rows::REFRESH_TOKEN_POLICY);
    if section.has(&rows::REFRESH_TOKEN_POLICY) && !upstream.dialect.has_refresh_tokens() {
        let why = format!("dialect `{}` has no refresh tokens", upstream.dialect.name);
        section.context.warn(&location, FindingId::NoEffect, Problem::new("has no effect").expected(why));
    }
}

fn dialect_named(text: &Text) -> Result<&'static Dialect, Problem> {
    let found = DIALECTS.iter().find(|dialect| dialect.name == text.as_str());
    found.copied().ok_or_else(|| {
        let problem = Problem::new(format!("{} is not a valid value", text.shown()));
        problem.expected(format!("allowed: {}", listed(dialects()))).like(text.as_str(), dialects())
    })
}

/// Reads the address of the provider. `proxy` is used unless it excludes the host.
fn target(section: &mut Section, proxy: Option<Arc<EgressProxy>>) -> Option<Target> {
    let url = section.required(&rows::URL, "expected the URL of the provider");
    let url = url.and_then(|entry| entry.read(section.context, Url::without_query));
    let files = |section: &mut Section| {
        let authorities = certificates::authorities(section, &rows::CA_FILE);
        (authorities, certificates::identity(section, &rows::CERTIFICATE, &rows::KEY))
    };
    let (authorities, identity) = section.optional_subsection(&rows::TLS, files).unwrap_or_default();
    let virtual_host = section.parse(&rows::HOST, authority);
    let protocol = section.get(&rows::PROTOCOL);
    let timeouts = section.subsection(&rows::TIMEOUTS, timeouts);
    let url = url?;
    if !url.tls && section.has(&rows::TLS) {
        let location = section.location_of(&rows::TLS);
        section.context.reject(
            &location,
            Problem::new("`url` does not use TLS")
                .id(FindingId::Conflict)
                .expected("use `https://` there, or remove `tls`"),
        );
    }
    let Url { tls, host, rooted, port, path: base_path, .. } = url;
    let proxy = proxy.filter(|proxy| proxy.applies_to(&host, port));
    Some(Target { tls, host, rooted, port, virtual_host, base_path, authorities, identity, protocol, timeouts, proxy })
}

fn timeouts(section: &mut Section) -> Timeouts {
    Timeouts {
        connect: section.get(&rows::CONNECT),
        first_byte: section.get(&rows::FIRST_BYTE),
        idle: section.get(&rows::IDLE),
        keepalive: section.get(&rows::KEEPALIVE),
    }
}

/// Reads the option `cache`. The location is that of `on_unreachable`.
fn cache(section: &mut Section) -> Option<Spanned<Freshness>> {
    let entry = section.entry(&rows::CACHE)?;
    if entry.is_single() {
        entry.read(section.context, |text| match text.as_str() {
            "off" => Ok(()),
            _ => Err(Problem::new(format!("{} is not a valid value", text.shown()))
                .expected("expected a map of options or `off`")),
        });
        return None;
    }
    section.context.read_map(&entry, |section| {
        let faults = section.context.faults.len();
        let value = freshness(section);
        let location = section.location_of(&rows::ON_UNREACHABLE);
        let is_valid = section.context.faults.len() == faults;
        if is_valid && value.on_unreachable == OnUnreachable::Hold && value.max_serving_time() > MAX_HOLD {
            let found = format!("`hold` would delay a write by {}", value::shown_duration(value.max_serving_time()));
            section.context.reject(&location, too_long(found));
        }
        Spanned { location, value }
    })
}

fn freshness(section: &mut Section) -> Freshness {
    Freshness {
        ttl: section.get(&rows::TTL),
        max_body: section.get(&rows::MAX_BODY),
        stale_while_revalidate: section.get(&rows::STALE_WHILE_REVALIDATE),
        stale_if_error: section.get(&rows::STALE_IF_ERROR),
        negative_ttl: section.get(&rows::NEGATIVE_TTL),
        on_unreachable: section.get(&rows::ON_UNREACHABLE),
    }
}

fn body(section: &mut Section) -> BodyLimits {
    let max = section.get(&rows::BODY_MAX);
    let timeout = section.get(&rows::BODY_TIMEOUT);
    BodyLimits { max, max_undeclared: max.min(MAX_UNDECLARED), timeout }
}

fn slots(section: &mut Section) -> SlotLimits {
    SlotLimits {
        in_flight: section.get(&rows::IN_FLIGHT),
        per_source: section.get(&rows::PER_SOURCE),
        wait: section.get(&rows::WAIT),
    }
}

fn matcher(section: &mut Section, listeners: &[Listener]) -> RequestMatcher {
    let listener = section.parse(&rows::MATCH_LISTENER, |text| listener_named(text, listeners));
    let host = section.parse(&rows::MATCH_HOST, |text| {
        let host = text.as_str().to_ascii_lowercase();
        let host = host.strip_suffix('.').map_or(host.clone(), str::to_owned);
        let allowed = "expected a host name or an IP address, without a port and without `*`";
        if is_host(&host) {
            Ok(host)
        } else {
            Err(Problem::new(format!("{} is not a host", text.shown())).expected(allowed))
        }
    });
    let path_prefix = section.parse(&rows::PATH_PREFIX, |text| {
        let allowed = format!("{PLAIN_PATH}, without a trailing slash; omit it to match all paths");
        let plain = is_plain_path(text.as_str());
        let problem = || Problem::new(format!("{} is not a valid path prefix", text.shown())).expected(&allowed);
        plain.then(|| text.as_str().to_owned()).ok_or_else(problem)
    });
    let strip_prefix = section.get(&rows::STRIP_PREFIX);
    RequestMatcher { listener, host, path_prefix: path_prefix.unwrap_or_default(), strip_prefix }
}

fn listener_named(text: &Text, listeners: &[Listener]) -> Result<String, Problem> {
    let names = || listeners.iter().map(|listener| listener.name.as_str());
    if names().any(|name| name == text.as_str()) {
        return Ok(text.as_str().to_owned());
    }
    let problem = Problem::new(format!("{} is not a declared listener", text.shown())).id(FindingId::UndeclaredName);
    Err(problem.expected(format!("allowed: {}", listed(names()))).like(text.as_str(), names()))
}

/// Warns of plaintext on the network, and of `protocol: auto` without TLS.
fn warn_of_protocol(section: &mut Section, target: &Target, allow_http: bool) {
    if !target.tls && !is_loopback(&target.host) && !allow_http {
        let location = section.location_of(&rows::URL);
        let problem = Problem::new("tokens and sessions go over the network in cleartext");
        section.context.warn(
            &location,
            FindingId::CleartextProvider,
            problem.expected("use `https://`, or set `allow_http: true` if the network is encrypted"),
        );
    }
    if target.protocol == Protocol::Auto && !target.tls {
        let location = section.location_of(&rows::PROTOCOL);
        let problem = Problem::new("`auto` means `http1` without TLS");
        section.context.warn(
            &location,
            FindingId::ProtocolWithoutTls,
            problem.expected("use `http2` for HTTP/2 with prior knowledge (h2c)"),
        );
    }
}

/// Rejects paths with which no governed request could match.
fn check_paths(section: &mut Section, dialect: &Dialect, matcher: &RequestMatcher, target: &Target) {
    let location = section.location_of(&rows::MATCH);
    let prefix = &matcher.path_prefix;
    if prefix.is_empty() && matcher.strip_prefix {
        section.context.reject(&location, Problem::new("`strip_prefix` needs `path_prefix`").id(FindingId::Conflict));
    }
    let reached = |path: &&str| is_below(path, prefix) || is_below(prefix, path);
    if !matcher.strip_prefix && !dialect.protected_paths.iter().any(reached) {
        let found = "no governed path is below this `path_prefix`";
        // Up to the first variable segment: a prefix cannot contain one.
        let plain = |path: &&'static str| path.split(ANY).next().unwrap_or(path).trim_end_matches('/');
        let plain: BTreeSet<&str> = dialect.protected_paths.iter().map(plain).collect();
        let allowed = format!("set `strip_prefix: true`, or use a prefix of {}", listed(plain));
        section.context.reject(&location, Problem::new(found).id(FindingId::Conflict).expected(allowed));
    }
    let base = target.base_path.to_ascii_lowercase();
    if let Some(root) = dialect.roots.iter().find(|root| base.ends_with(**root)) {
        let location = section.location_of(&rows::URL);
        let found = format!("ends with `{root}`, but request paths already begin with it");
        section.context.warn(&location, FindingId::RepeatedApiPath, Problem::new(found));
    }
}

/// Whether a path equals the prefix or is below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}
