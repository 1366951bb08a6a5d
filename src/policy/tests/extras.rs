//! Lifetimes, tokens, checks and challenges.

use super::*;
use crate::model::{Challenge, ChallengeKind, Check, CheckKind, Lifetime, SessionTokenPresence, SignedDuration};
use crate::telemetry::Label;
use std::time::Duration;
use strum::VariantArray;

fn write() -> SessionPatch {
    SessionPatch { name: "metadata", empty_map_clears: false, ..SessionPatch::default() }
}

fn lasting(seconds: i64, nanos: i32) -> SessionPatch {
    SessionPatch {
        lifetime: Lifetime::Given { path: "lifetime".into(), length: SignedDuration { seconds, nanos } },
        ..write()
    }
}

fn edits(policy: &Policy, patch: &SessionPatch) -> Vec<Edit> {
    match policy.evaluate(patch, None) {
        Evaluation::Permit(permit) => permit.edits().to_vec(),
        other => panic!("not permitted: {other:?}"),
    }
}

fn bounded(outside: OutsideBounds, required: bool) -> Policy {
    let (min, max) = (Duration::from_millis(1500).into(), Duration::from_secs(3600).into());
    Policy { lifetime: LifetimeRule { min: Some(min), max: Some(max), outside, required }, ..Policy::default() }
}

#[test]
fn lengths_are_exact_and_shown_as_protobuf_does() {
    let shown = |seconds, nanos| SignedDuration { seconds, nanos }.to_string();
    assert_eq!(shown(18_000, 0), "18000s");
    assert_eq!(shown(1, 500_000_000), "1.5s");
    assert_eq!(shown(0, 1), "0.000000001s");
    assert_eq!(shown(-1, -500_000_000), "-1.5s");
    assert_eq!(shown(0, -5), "-0.000000005s");
    assert_eq!(shown(i64::MAX, 999_999_999), "9223372036854775807.999999999s");
    let length = |seconds, nanos| SignedDuration { seconds, nanos };
    assert!(length(0, -1) < length(0, 0) && length(-1, -1) < length(-1, 0) && length(1, 999_999_999) < length(2, 0));
    assert_eq!(length(1, 1_000_000_000), length(2, 0), "also where the parts are not in order");
    assert_eq!(SignedDuration::from(Duration::from_millis(1250)), length(1, 250_000_000));
    assert_eq!(SignedDuration::from(Duration::MAX), length(i64::MAX, 999_999_999));
}

#[test]
fn lifetimes_are_bounded_to_the_nanosecond() {
    let policy = bounded(OutsideBounds::Reject, false);
    assert_eq!(edits(&policy, &lasting(1, 500_000_000)), []);
    assert_eq!(edits(&policy, &lasting(3600, 0)), []);
    assert_eq!(
        violations(&policy, &lasting(1, 499_999_999)),
        ["lifetime: is 1.499999999s, but the minimum is 1.5s (lifetime)"]
    );
    assert_eq!(
        violations(&policy, &lasting(3600, 1)),
        ["lifetime: is 3600.000000001s, but the maximum is 3600s (lifetime)"]
    );
    assert_eq!(violations(&policy, &lasting(-5, 0)), ["lifetime: is -5s, but the minimum is 1.5s (lifetime)"]);
}

#[test]
fn lifetimes_out_of_bounds_are_clamped() {
    let policy = bounded(OutsideBounds::Clamp, false);
    let set = |seconds, nanos| vec![Edit::Lifetime(SignedDuration { seconds, nanos })];
    assert_eq!(edits(&policy, &lasting(1, 0)), set(1, 500_000_000));
    assert_eq!(edits(&policy, &lasting(i64::MAX, 0)), set(3600, 0));
    assert_eq!(edits(&policy, &lasting(60, 0)), []);
    assert_eq!(edits(&Policy::default(), &lasting(i64::MAX, 0)), []);
}

#[test]
fn a_session_created_without_a_lifetime_never_expires() {
    let update = SessionPatch { lifetime: Lifetime::Absent("lifetime".into()), ..write() };
    let create = SessionPatch { creates: true, ..update.clone() };
    let policy = bounded(OutsideBounds::Reject, false);
    assert_eq!(edits(&policy, &update), [], "what the session has stays");
    assert_eq!(
        violations(&policy, &create),
        ["lifetime: is required: without it the session would never expire; the maximum is 3600s (lifetime)"]
    );
    let max = SignedDuration { seconds: 3600, nanos: 0 };
    assert_eq!(edits(&bounded(OutsideBounds::Clamp, false), &create), [Edit::Lifetime(max)]);
    assert_eq!(edits(&bounded(OutsideBounds::Clamp, false), &update), []);
    let least = LifetimeRule { max: None, ..policy.lifetime };
    assert_eq!(edits(&Policy { lifetime: least, ..Policy::default() }, &create), [], "longer than any minimum");
    for patch in [&update, &create] {
        for outside in [OutsideBounds::Reject, OutsideBounds::Clamp] {
            let found = violations(&bounded(outside, true), patch);
            assert_eq!(found, ["lifetime: is required but missing (lifetime)"]);
        }
    }
    let nowhere = SessionPatch { lifetime: Lifetime::NotOffered, creates: true, ..write() };
    assert_eq!(edits(&bounded(OutsideBounds::Reject, true), &nowhere), []);
}

#[test]
fn a_required_token_must_be_present_where_possible() {
    let with = |token| SessionPatch { token, ..write() };
    let absent = with(SessionTokenPresence::Absent("sessionToken".into()));
    let policy = Policy { session_token: SessionTokenRule::Required, ..Policy::default() };
    assert_eq!(violations(&policy, &absent), ["sessionToken: is required but missing (session_token)"]);
    assert_eq!(edits(&policy, &with(SessionTokenPresence::Given)), []);
    assert_eq!(edits(&policy, &with(SessionTokenPresence::NotRequested)), []);
    assert_eq!(edits(&Policy::default(), &absent), [], "unless it is asked for");
}

#[test]
fn only_allowed_checks_may_be_requested() {
    let checks = CheckKind::VARIANTS.iter().map(|kind| Check { path: format!("checks.{}", kind.name()), kind: *kind });
    let patch = SessionPatch { checks: checks.collect(), ..write() };
    assert_eq!(edits(&Policy::default(), &patch), []);
    let allowed = CheckKind::VARIANTS[..6].to_vec();
    let policy = Policy { checks: CheckRule { allowed: Some(allowed) }, ..Policy::default() };
    let list = "allowed: `user`, `password`, `web_auth_n`, `idp_intent`, `totp`, `otp_sms`";
    assert_eq!(
        violations(&policy, &patch),
        [
            format!("checks.otp_email: the check `otp_email` is not allowed; {list} (check)"),
            // The list is shown once.
            "checks.recovery_code: the check `recovery_code` is not allowed (check)".to_owned(),
        ]
    );
}

fn challenged(kinds: Vec<(&str, ChallengeKind)>) -> SessionPatch {
    let challenge = |(path, kind): (&str, ChallengeKind)| Challenge { path: path.into(), kind };
    SessionPatch { challenges: kinds.into_iter().map(challenge).collect(), ..write() }
}

fn coded(return_code: ReturnCode) -> Policy {
    let challenges = ChallengeRule { return_code, ..ChallengeRule::default() };
    Policy { challenges, ..Policy::default() }
}

#[test]
fn codes_may_be_kept_out_of_responses() {
    let patch = challenged(vec![
        ("challenges.webAuthN", ChallengeKind::WebAuthN),
        ("challenges.otpSms.returnCode", ChallengeKind::OtpSms { returns_code: true }),
        ("challenges.otpEmail.returnCode", ChallengeKind::OtpEmail { returns_code: true, url_template: None }),
    ]);
    assert_eq!(
        violations(&coded(ReturnCode::Reject), &patch),
        [
            "challenges.otpSms.returnCode: would return the one-time code in the response, which is not allowed (return_code)",
            "challenges.otpEmail.returnCode: would return the one-time code in the response, which is not allowed (return_code)",
        ]
    );
    let sent = challenged(vec![
        ("challenges.otpSms", ChallengeKind::OtpSms { returns_code: false }),
        ("challenges.otpEmail", ChallengeKind::OtpEmail { returns_code: false, url_template: None }),
    ]);
    assert_eq!(edits(&coded(ReturnCode::Reject), &sent), []);
    for (rule, strips) in [(ReturnCode::Allow, false), (ReturnCode::Reject, false), (ReturnCode::Strip, true)] {
        assert_eq!(coded(rule).strips_codes(), strips);
    }
    assert_eq!(edits(&coded(ReturnCode::Strip), &patch), []);
    let audit = Policy { mode: Mode::Audit, ..coded(ReturnCode::Strip) };
    assert!(!audit.strips_codes(), "audit changes nothing");
}

fn linked(schemes: Option<&[&str]>, hosts: Option<&[&str]>) -> Policy {
    let url_template = TemplateRule {
        schemes: schemes.map(|all| all.iter().map(|one| Scheme::parse(one).unwrap()).collect()),
        hosts: hosts.map(|all| all.iter().map(|one| HostPattern::parse(one).unwrap()).collect()),
    };
    Policy { challenges: ChallengeRule { url_template, ..ChallengeRule::default() }, ..Policy::default() }
}

fn link(template: &str) -> SessionPatch {
    let url_template = Some(("link".to_owned(), template.to_owned()));
    challenged(vec![("mail", ChallengeKind::OtpEmail { returns_code: false, url_template })])
}

const HOSTS: &[&str] = &["Login.example.com", "*.apps.example.com", "127.0.0.1"];

#[test]
fn links_lead_to_declared_hosts() {
    let policy = linked(Some(&["HTTPS", "my.app"]), Some(HOSTS));
    for template in [
        "https://login.example.com",
        "https://login.example.com/otp?code={{.Code}}&id={{.SessionID}}",
        "HTTPS://LOGIN.Example.com:8443?code={{.Code}}",
        "https://login.example.com:65535#{{.Code}}",
        "https://login.example.com/ {{- .Code}}",
        "https://login.example.com//evil.example/@\\",
        "https://a.apps.example.com/",
        "https://a.b.apps.example.com/",
        "my.app://127.0.0.1/{{.Code}}",
    ] {
        assert_eq!(edits(&policy, &link(template)), [], "{template}");
    }
}

#[test]
fn links_that_may_lead_elsewhere_are_violations() {
    let policy = linked(Some(&["https"]), Some(HOSTS));
    let plain = "ASCII letters, digits and hyphens, international names in punycode, no address in brackets";
    let plain = format!("has an invalid host; expected labels of {plain}");
    let absolute = "is not an absolute URL: expected a literal scheme, `://`, and a literal host";
    let literal = "has `{{` before the end of its host and port, which must be literal";
    let user = "has credentials or an `@` before its host";
    let odd = "has a backslash, white space or a control character in its host or port";
    let port = "has a port that is not a number up to 65535";
    let to = |host: &str| {
        format!("host `{host}` is not allowed; allowed: `login.example.com`, `*.apps.example.com`, `127.0.0.1`")
    };
    let cases: Vec<(&str, String)> = vec![
        ("", absolute.into()),
        ("{{.Code}}", absolute.into()),
        ("//login.example.com/", absolute.into()),
        ("https:/login.example.com/", absolute.into()),
        ("https:login.example.com", absolute.into()),
        (" https://login.example.com", absolute.into()),
        ("\thttps://login.example.com", absolute.into()),
        ("https:\\\\login.example.com", absolute.into()),
        ("ht{{/**/}}tps://login.example.com", absolute.into()),
        ("{{.Code}}https://login.example.com", absolute.into()),
        ("1https://login.example.com", absolute.into()),
        ("javascript:https://login.example.com", absolute.into()),
        ("https://{{.LoginName}}", literal.into()),
        ("https://login.example.com{{.Code}}", literal.into()),
        ("https://login.example.com{{\"/\"}}", literal.into()),
        ("https://login.example.com:{{.Code}}/", literal.into()),
        ("https://{{\"/\"}}login.example.com", literal.into()),
        ("https://login.example.com@evil.example/", user.into()),
        ("https://login.example.com:x@evil.example/", user.into()),
        ("https://evil.example\\@login.example.com", user.into()),
        ("https://evil.example\\.login.example.com", odd.into()),
        ("https://login.example.com\\/", odd.into()),
        ("https://login.example.com {{- .Code}}", literal.into()),
        ("https://login.example.com /", odd.into()),
        ("https://log\tin.example.com/", odd.into()),
        ("https://login.example.com\n/", odd.into()),
        ("https://login.example.com\u{a0}/", odd.into()),
        ("https://login.example.com\0/", odd.into()),
        ("https:///login.example.com", plain.clone()),
        ("https://", plain.clone()),
        ("https://[::1]/", plain.clone()),
        ("https://login.example.com./", plain.clone()),
        ("https://.apps.example.com/", plain.clone()),
        ("https://-.apps.example.com/", plain.clone()),
        ("https://a..apps.example.com/", plain.clone()),
        ("https://login%2eexample.com/", plain.clone()),
        ("https://login_.example.com/", plain.clone()),
        ("https://l\u{f6}gin.example.com/", plain.clone()),
        ("https://login\u{3002}example.com/", plain.clone()),
        ("https://login.example.com{/", plain.clone()),
        ("https://login.example.com;.evil.example/", plain.clone()),
        ("https://login.example.com:/", port.into()),
        ("https://login.example.com:65536/", port.into()),
        ("https://login.example.com:+1/", port.into()),
        ("https://login.example.com:1:2/", port.into()),
        ("https://evil.example/login.example.com", to("evil.example")),
        ("https://login.example.com.evil.example/", to("login.example.com.evil.example")),
        ("https://evillogin.example.com/", to("evillogin.example.com")),
        ("https://apps.example.com/", to("apps.example.com")),
        ("https://EVILapps.example.com/", to("evilapps.example.com")),
        ("https://a.login.example.com/", to("a.login.example.com")),
        ("https://2130706433/", to("2130706433")),
    ];
    for (template, message) in cases {
        assert_eq!(violations(&policy, &link(template)), [format!("link: {message} (url_template)")], "{template:?}");
    }
    assert_eq!(
        violations(&policy, &link("http://evil.example/")),
        [
            "link: scheme `http` is not allowed; allowed: `https` (url_template)".to_owned(),
            format!("link: {} (url_template)", to("evil.example")),
        ]
    );
}

#[test]
fn links_are_free_unless_something_is_declared() {
    assert_eq!(edits(&Policy::default(), &link("javascript:{{.Code}}")), []);
    assert_eq!(edits(&linked(Some(&["http"]), None), &link("http://any.example/")), []);
    let found = violations(&linked(None, Some(HOSTS)), &link("http://login.example.com/"));
    assert_eq!(found, ["link: scheme `http` is not allowed; allowed: `https` (url_template)"]);
    assert_eq!(violations(&linked(Some(&["http"]), None), &link("http://a@b/")).len(), 1, "still in doubt");
    let default = challenged(vec![("mail", ChallengeKind::OtpEmail { returns_code: false, url_template: None })]);
    assert_eq!(edits(&linked(Some(&["https"]), Some(HOSTS)), &default), [], "the provider's own");
}

#[test]
fn hosts_are_exact_or_subdomains() {
    for wrong in ["", "*", "*.", "a.*", "*a.b", "a:1", "a/", "*.*.a", "l\u{f6}gin", "a.", "-a", "a_b", "https://a"] {
        assert_eq!(HostPattern::parse(wrong), None, "{wrong}");
    }
    assert_eq!(HostPattern::parse("*.A-1.example").unwrap().to_string(), "*.a-1.example");
    for wrong in ["", "https:", "https://", "1a", "a b", "h\u{f6}"] {
        assert_eq!(Scheme::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn everything_is_reported_at_once_and_constraints_come_first() {
    let breach = Violation { path: "sessionId".into(), rule: Rule::Provider, message: "is too long".into() };
    let policy = Policy {
        required: vec![KeyPattern::parse("team").unwrap()],
        checks: CheckRule { allowed: Some(vec![CheckKind::User]) },
        challenges: coded(ReturnCode::Reject).challenges,
        session_token: SessionTokenRule::Required,
        ..bounded(OutsideBounds::Reject, true)
    };
    let patch = SessionPatch {
        creates: true,
        lifetime: Lifetime::Absent("lifetime".into()),
        token: SessionTokenPresence::Absent("sessionToken".into()),
        checks: vec![Check { path: "checks.totp".into(), kind: CheckKind::Totp }],
        constraint_violations: vec![breach],
        ..challenged(vec![("challenges.otpSms.returnCode", ChallengeKind::OtpSms { returns_code: true })])
    };
    let Evaluation::Reject(found) = policy.evaluate(&patch, None) else { panic!("not refused") };
    let rules: Vec<&str> = found.iter().map(|violation| violation.rule.name()).collect();
    assert_eq!(rules, ["provider", "required", "lifetime", "session_token", "check", "return_code"]);
}

proptest! {
    /// A clamped lifetime is within the bounds and is not clamped again.
    #[test]
    fn clamping_is_idempotent(
        seconds in -10_i64..5000, nanos in 0..1_000_000_000_i32, absent: bool, creates: bool,
    ) {
        let policy = bounded(OutsideBounds::Clamp, false);
        let lifetime = if absent { Lifetime::Absent("lifetime".into()) } else { lasting(seconds, nanos).lifetime };
        let patch = SessionPatch { creates, lifetime, ..write() };
        let Some(Edit::Lifetime(length)) = edits(&policy, &patch).first().cloned() else { return Ok(()) };
        let again = SessionPatch { creates, ..lasting(length.seconds, length.nanos) };
        prop_assert_eq!(edits(&policy, &again), []);
        prop_assert_eq!(edits(&bounded(OutsideBounds::Reject, true), &again), []);
    }

    /// Every allowed template leads to the same host for another parser.
    #[test]
    fn allowed_links_lead_to_the_same_host_for_another_parser(
        template in "(https|http|HTTPS|ftp)?:?/{0,3}[a-z.@:\\\\{}/?# \t%\\[\\]-]{0,6}login\\.example\\.com[a-z.@:\\\\{}/?# \t%\\[\\]0-9-]{0,12}",
    ) {
        let policy = linked(Some(&["https"]), Some(HOSTS));
        if let Evaluation::Permit(_) = policy.evaluate(&link(&template), None) {
            let end = template.find("{{").unwrap_or(template.len());
            let start = template[..end].split([' ', '\t', '\\', '{', '}', '#', '%', '[']).next().unwrap();
            let uri: http::Uri = start.parse().unwrap();
            prop_assert!(uri.scheme_str().unwrap().eq_ignore_ascii_case("https"));
            prop_assert_eq!(uri.host(), Some("login.example.com"));
            prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
        }
    }
}
