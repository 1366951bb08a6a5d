//! Grants, as they are compiled.

use super::*;
use crate::grant::{Grant, SessionScope};
use crate::model::{Caller, CertificateNames, Operation};
use crate::policy::KeyPattern;
use crate::telemetry::Label;
use crate::token::ClaimNames;
use std::sync::Arc;
use strum::VariantArray;

/// The grants of an upstream of this dialect.
fn grants(dialect: &str, grants: &str) -> Vec<Arc<Grant>> {
    let text = format!(
        "policies: {{strict: {{keys: {{allowed: [team]}}}}}}\nupstreams:\n  a:\n    dialect: {dialect}\n    url: https://a.example\n    \
         auth: {{issuer: 'https://a.example/', audience: 'https://a.example/api/v2/'}}\n    grants:\n{grants}\n"
    );
    let config = compile("c", &text, &Sample, [7; 32]).unwrap().config;
    config.gateway.upstreams()[0].grants.iter().cloned().collect()
}

fn operations(grant: &Grant) -> Vec<&'static str> {
    Operation::VARIANTS.iter().filter(|one| grant.operations.contains(**one)).map(|one| one.name()).collect()
}

fn of_client(client_id: &str) -> Caller {
    Caller { client_id: Some(client_id.into()), ..Caller::default() }
}

/// Shop sets `cart_*`, CRM `team_*`, support reads without addresses, the job only lists, everybody else nothing.
#[test]
fn four_applications_need_at_most_twelve_lines() {
    let text = "    \
    - { name: shop, callers: { client_id: shop }, operations: [read_session, update_session], keys: { set: [\"cart_*\"] } }
    - { name: crm, callers: { client_id: crm }, operations: [read_session, update_session], keys: { set: [\"team_*\"] } }
    - { name: support, callers: { roles: [support] }, operations: [read_session, list_sessions], dropped: [device.initial_ip, device.last_ip] }
    - { name: job, callers: { client_id: job }, operations: [list_sessions] }";
    let found = grants("auth0", text);
    assert!(text.lines().count() <= 12);
    let allowed: Vec<(&str, Vec<&str>)> = found.iter().map(|grant| (&*grant.name, operations(grant))).collect();
    let expected = [
        ("shop", vec!["read_session", "update_session"]),
        ("crm", vec!["read_session", "update_session"]),
        ("support", vec!["read_session", "list_sessions"]),
        ("job", vec!["list_sessions"]),
    ];
    assert_eq!(allowed, expected);
    let set = |grant: &Grant, key: &str| grant.keys.set.as_ref().is_none_or(|keys| keys.matches(key));
    assert!(set(&found[0], "cart_id") && !set(&found[0], "team_id") && set(&found[1], "team_id"));
    // Without `clear` a caller may clear what it may set.
    assert!(found[0].keys.clear.as_ref().is_some_and(|keys| keys.matches("cart_id") && !keys.matches("team_id")));
    assert!(found[2].keys.clear.is_none());
    let dropped: Vec<String> = found[2].masks.as_ref().unwrap().dropped().iter().map(|path| path.join(".")).collect();
    assert_eq!(dropped, ["device.initial_ip", "device.last_ip"]);
    assert!(found[0].masks.is_none());
    let no_identity = PeerIdentity::default();
    let matching = |caller: &Caller| found.iter().find(|grant| grant.callers.matches(caller, &no_identity));
    assert_eq!(matching(&of_client("crm")).map(|grant| &*grant.name), Some("crm"));
    let support = Caller { roles: vec!["billing".into(), "support".into()], ..of_client("helpdesk") };
    assert_eq!(matching(&support).map(|grant| &*grant.name), Some("support"));
    assert!(matching(&of_client("other")).is_none());
}

/// What may do more than an operation needs its own word.
#[test]
fn patterns_stand_for_operations_of_the_dialect_alone() {
    let all = &grants("zitadel", "    - {name: all, operations: ['*']}")[0];
    let own = ["read_session", "update_session", "delete_session", "create_session", "list_sessions"];
    assert_eq!(operations(all), own);
    let every = &grants("zitadel", "    - {name: all, operations: ['/.*/', pass_through, invalidating]}")[0];
    assert_eq!(operations(every), [&own[..], &["change_related", "other"]].concat());
    let tokens = &grants("auth0", "    - {name: t, operations: ['*_refresh_token']}")[0];
    assert_eq!(operations(tokens), ["read_refresh_token", "update_refresh_token", "delete_refresh_token"]);
}

#[test]
fn every_matcher_must_match() {
    let text = "    - name: a\n      operations: ['*']\n      callers: {client_id: [x, 'app-*'], subject: '/u[0-9]+/', \
        issuer: i, organization: o, scopes: s, roles: r, groups: g, claims: {c: [1, true], d: '*'}, \
        certificate: {san: 'URI:spiffe://*', subject: CN=a}, unix_uid: 1000}";
    let grant = &grants("auth0", text)[0];
    let one = |text: &str| vec![text.to_owned()];
    let caller = Caller {
        issuer: "i".into(),
        client_id: Some("app-1".into()),
        subject: "u7".into(),
        scopes: vec!["z".into(), "s".into()],
        roles: one("r"),
        groups: one("g"),
        organization: Some("o".into()),
        claims: vec![("c".into(), one("true")), ("d".into(), one("x"))],
        ..Caller::default()
    };
    let certificate = CertificateNames { subject: "CN=a".into(), alternative: one("URI:spiffe://a"), not_after: 1 };
    let peer = PeerIdentity { certificate: Some(certificate), uid: Some(1000) };
    let matches = |caller: &Caller, peer: &PeerIdentity| grant.callers.matches(caller, peer);
    assert!(matches(&caller, &peer));
    let without: [fn(&mut Caller); 9] = [
        |caller| caller.client_id = None,
        |caller| caller.subject = "u".into(),
        |caller| caller.issuer.clear(),
        |caller| caller.organization = None,
        |caller| caller.scopes.clear(),
        |caller| caller.roles.clear(),
        |caller| caller.groups = vec!["r".into()],
        |caller| caller.claims.truncate(1),
        |caller| caller.claims[1].1 = vec![String::new()],
    ];
    for (index, change) in without.iter().enumerate() {
        let mut other = caller.clone();
        change(&mut other);
        assert!(!matches(&other, &peer), "{index}");
    }
    assert!(!matches(&caller, &PeerIdentity { uid: None, ..peer.clone() }));
    assert!(!matches(&caller, &PeerIdentity { uid: Some(0), ..peer.clone() }));
    assert!(!matches(&caller, &PeerIdentity { certificate: None, ..peer.clone() }));
    let other = CertificateNames { subject: "CN=b".into(), alternative: one("URI:spiffe://a"), not_after: 1 };
    assert!(!matches(&caller, &PeerIdentity { certificate: Some(other), ..peer }));
}

/// Keys have one owner at a provider, whichever upstream the caller uses.
#[test]
fn owned_keys_count_at_every_upstream_of_the_provider() {
    let upstream = |name: &str, url: &str, keys: &str| {
        format!(
            "  {name}: {{dialect: zitadel, url: '{url}', match: {{host: {name}}}, auth: {{issuer: 'https://i', audience: a}}, \
             grants: [{{name: g, operations: ['*'], keys: {{{keys}}}}}]}}\n"
        )
    };
    let one = "https://a.example";
    let all = [
        upstream("a", one, "own: ['cart_*']"),
        upstream("b", one, "see: ['*']"),
        upstream("c", "https://c.example", "see: ['*']"),
    ];
    let config = compile("c", &format!("upstreams:\n{}", all.concat()), &Sample, [7; 32]).unwrap().config;
    let others = config.gateway.upstreams().iter().map(|upstream| {
        let grant = upstream.grants.iter().next().unwrap();
        grant.keys.others.as_ref().is_some_and(|others| others.matches("cart_a") && !others.matches("team"))
    });
    assert_eq!(others.collect::<Vec<bool>>(), [true, true, false]);
}

#[test]
fn a_grant_has_its_own_policy_and_session_scope() {
    let found = grants(
        "auth0",
        "    - {name: a, operations: ['*'], policy: strict, sessions: own, keys: {see: none}}\n    \
         - {name: b, operations: ['*'], keys: {clear: none}, masked: [device]}",
    );
    let policy = found[0].policy.as_ref().unwrap();
    assert_eq!((policy.name.as_deref(), policy.limits), (Some("strict"), crate::dialect::AUTH0.limits));
    assert_eq!((found[0].sessions, found[1].sessions), (SessionScope::Own, SessionScope::Any));
    assert!(found[1].policy.is_none());
    assert!(!found[0].masks.as_ref().unwrap().shows_key("team") && found[1].masks.as_ref().unwrap().shows_key("team"));
    assert!(found[0].keys.set.is_none() && found[0].keys.clear.is_none() && found[1].keys.set.is_none());
    assert!(found[1].keys.clear.as_ref().is_some_and(KeyPatterns::is_empty));
}

/// The names of the claims that are read with these options in `auth` and these grants.
fn claims(dialect: &str, options: &str, grants: &str) -> ClaimNames {
    let text = format!(
        "upstreams: {{a: {{dialect: {dialect}, url: 'https://a.example', \
         auth: {{issuer: 'https://i.example/', audience: 'https://a.example/api/v2/'{options}}}{grants}}}}}"
    );
    let config = compile("c", &text, &Sample, [7; 32]).unwrap().config;
    let [TokenIssuer { expected, .. }] = config.gateway.upstreams()[0].check.issuers() else { panic!("no check") };
    expected.claims.clone()
}

/// What no grant needs is neither read nor checked.
#[test]
fn only_claims_that_grants_need_are_read() {
    let every = ", grants: [{name: a, operations: ['*'], sessions: own, \
        callers: {client_id: x, roles: r, groups: g, organization: o, claims: {c: x, b: x}}}, \
        {name: b, operations: ['*'], callers: {claims: {c: y}}}]";
    let declared = ", claims: {client_id: c, scopes: s, roles: r, groups: g, organization: o, session: i}";
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let one = |name: &str| Some(name.to_owned());
    let least = ClaimNames { scopes: "scope".into(), client_id: texts(&["azp", "client_id"]), ..ClaimNames::default() };
    assert_eq!(claims("auth0", "", ""), least);
    assert_eq!(claims("auth0", "", ", grants: [{name: a, operations: ['*']}]"), least);
    let own = ClaimNames {
        scopes: "s".into(),
        client_id: texts(&["c"]),
        client_is_declared: true,
        client_decides: true,
        ..ClaimNames::default()
    };
    assert_eq!(claims("auth0", declared, ""), own);
    let all = ClaimNames {
        roles: one("r"),
        groups: one("g"),
        organization: one("o"),
        session: one("i"),
        others: texts(&["b", "c"]),
        ..own
    };
    assert_eq!(claims("auth0", declared, every), all);
    let zitadel = ClaimNames {
        scopes: "scope".into(),
        client_id: texts(&["client_id"]),
        client_is_declared: false,
        client_decides: true,
        roles: one("urn:zitadel:iam:org:project:roles"),
        groups: None,
        organization: one("urn:zitadel:iam:user:resourceowner:id"),
        session: one("sid"),
        others: texts(&["b", "c"]),
    };
    assert_eq!(claims("zitadel", "", every), zitadel);
    // A cached token has only the claims that were read: another configuration must not use it.
    assert_ne!(claims("zitadel", "", every), claims("zitadel", "", ""));
}

/// A pattern covers another if it matches every text that the other matches. Texts show where it does not.
#[test]
fn patterns_cover_others() {
    let pattern = |source: &str| KeyPattern::parse(source).unwrap();
    let sources = [
        "a",
        "b",
        "*",
        "a*",
        "*a",
        "a*a",
        "ab*",
        "*b*",
        "a**",
        "a*b*",
        "/a/",
        "/.*/",
        "/(?s:.*)/",
        "/a.*/",
        "/[ab]*/",
        "/a|b/",
        "/(a|b)+/",
        "/[a-c]{1,3}/",
        "/(?i)AB/",
        "/^ab$/",
        "/a*?/",
        "/[a&&b]/",
        "/a^b/",
    ];
    let texts = [
        "", "a", "b", "aa", "ab", "ba", "aba", "abb", "bab", "aab", "c", "ac", "ca", "acb", "a*", "\n", "a\n", "\na",
        "ab\n", "\nb", "a\nb", "a\na", "aB", "Ab", "AB", "aaaa", "abbbb", "bbbb", "aaaab", "baaaa",
    ];
    let mut covered = 0;
    let all = sources.map(pattern);
    for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
        let covers = one.covers(other);
        let counter = texts.iter().find(|text| other.matches(text) && !one.matches(text));
        assert_eq!(covers, counter.is_none(), "`{}` and `{}`: {counter:?}", one.source(), other.source());
        covered += usize::from(covers);
    }
    assert!(covered > 150, "{covered}");
    // What costs too much to decide, or what no automaton decides, is not covered.
    assert!(!pattern("/.*a.{20}/").covers(&pattern("/.*a.{10}.{10}/")));
    assert!(!pattern("/(?s:.*)/").covers(&pattern("/\\ba/")));
}
