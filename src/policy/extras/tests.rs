use super::*;
use crate::model::{Check, MetadataChange, SessionPatch};
use crate::policy::{Judgement, Policy};

fn seconds(seconds: i64) -> Length {
    Length { seconds, nanos: 0 }
}

fn given(length: Length) -> Extras {
    Extras { lifetime: Lifetime::Given { path: "lifetime".into(), length }, ..Extras::default() }
}

fn judged(rules: &ExtraRules, extras: Extras) -> Result<Vec<Edit>, Vec<String>> {
    let policy = Policy { extras: rules.clone(), ..Policy::default() };
    let metadata = MetadataChange::Absent;
    let patch = SessionPatch { name: "metadata", empty: false, metadata, empties_wipe: false, extras };
    match policy.evaluate(&patch, None) {
        Judgement::Permit(permit) => Ok(permit.edits().to_vec()),
        Judgement::Refuse(violations) => Err(violations.iter().map(Violation::to_string).collect()),
        Judgement::Need(need) => panic!("{need:?}"),
    }
}

fn lifetimes(outside: Outside) -> ExtraRules {
    let lifetime = LifetimeRule { min: Some(seconds(60)), max: Some(seconds(3600)), outside, required: false };
    ExtraRules { lifetime, ..ExtraRules::default() }
}

#[test]
fn lifetimes_outside_the_bounds_are_refused_or_clamped_to_the_nanosecond() {
    let refuse = lifetimes(Outside::Refuse);
    for good in [seconds(60), seconds(3600), Length { seconds: 3599, nanos: 999_999_999 }] {
        assert_eq!(judged(&refuse, given(good)), Ok(vec![]));
    }
    let over = Length { seconds: 3600, nanos: 1 };
    let under = Length { seconds: 59, nanos: 999_999_999 };
    let said = |message: &str| Err(vec![format!("lifetime: {message} (lifetime)")]);
    assert_eq!(judged(&refuse, given(over)), said("is 3600.000000001s, at most 3600s are allowed"));
    assert_eq!(judged(&refuse, given(under)), said("is 59.999999999s, at least 60s are allowed"));
    let clamp = lifetimes(Outside::Clamp);
    assert_eq!(judged(&clamp, given(over)), Ok(vec![Edit::Lifetime(seconds(3600))]));
    assert_eq!(judged(&clamp, given(under)), Ok(vec![Edit::Lifetime(seconds(60))]));
}

#[test]
fn a_new_session_without_a_lifetime_never_ends_so_a_maximum_speaks_of_it() {
    let absent = |creates| Extras { creates, lifetime: Lifetime::Absent("lifetime".into()), ..Extras::default() };
    assert_eq!(judged(&lifetimes(Outside::Clamp), absent(true)), Ok(vec![Edit::Lifetime(seconds(3600))]));
    assert!(judged(&lifetimes(Outside::Refuse), absent(true)).is_err());
    assert_eq!(judged(&lifetimes(Outside::Refuse), absent(false)), Ok(vec![]), "a change without one changes none");
    let mut required = lifetimes(Outside::Clamp);
    required.lifetime.required = true;
    assert_eq!(judged(&required, absent(false)), Err(vec!["lifetime: is required and missing (lifetime)".into()]));
    assert_eq!(judged(&ExtraRules::default(), absent(true)), Ok(vec![]));
}

#[test]
fn the_token_the_checks_and_codes_are_judged_at_once() {
    let rules = ExtraRules {
        checks: Some(vec![CheckKind::User, CheckKind::Totp]),
        return_code: ReturnCode::Refuse,
        ..ExtraRules::default()
    };
    let extras = Extras {
        token: TokenShown::Absent("sessionToken".into()),
        checks: vec![
            Check { path: "checks.totp".into(), kind: CheckKind::Totp },
            Check { path: "checks.password".into(), kind: CheckKind::Password },
        ],
        challenges: vec![Challenge::ReturnsCode("challenges.otpEmail.returnCode".into())],
        ..Extras::default()
    };
    let said = judged(&rules, extras.clone()).unwrap_err();
    assert_eq!(
        said,
        [
            "sessionToken: is required: a change has to show the session's token (session_token)",
            "checks.password: is not an allowed check; allowed are `user`, `totp` (check)",
            "challenges.otpEmail.returnCode: is not allowed: it hands the one-time code to the caller (return_code)",
        ]
    );
    let lenient = ExtraRules { token_required: false, ..ExtraRules::default() };
    assert_eq!(judged(&lenient, extras), Ok(vec![]));
}

#[test]
fn links_lead_to_declared_places_only_and_doubt_is_refused() {
    let some = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect());
    let links = LinkRule { schemes: some(&["https"]), hosts: some(&["login.example.com", "*.apps.example.com"]) };
    let rules = ExtraRules { links, ..ExtraRules::default() };
    let ask = |template: &str| {
        let challenges = vec![Challenge::Link { path: "urlTemplate".into(), template: template.into() }];
        judged(&rules, Extras { challenges, ..Extras::default() }).is_ok()
    };
    for good in [
        "https://login.example.com/otp?code={{.Code}}",
        "HTTPS://Login.Example.COM:8443/",
        "https://a.b.apps.example.com?x={{.Code}}#y",
        "https://login.example.com",
    ] {
        assert!(ask(good), "{good}");
    }
    for bad in [
        "",
        "http://login.example.com/",
        "https://evil.example/{{.Code}}",
        "https://login.example.com.evil.example/",
        "https://login.example.com@evil.example/",
        "https://evil.example\\@login.example.com/",
        "https://login.example.com:443@evil.example/",
        "https://login.example.com:99999999/",
        "https://login.example.com./",
        "https://apps.example.com/",
        "https://evilapps.example.com/",
        "https://.apps.example.com/",
        "https://{{.LoginName}}/",
        "https://{{if true}}evil.example{{end}}/login.example.com",
        "{{.LoginName}}://login.example.com/",
        "https:/login.example.com/",
        "//login.example.com/",
        " https://login.example.com/",
        "https://login.example.com\t/",
        "https://l\u{43e}gin.example.com/",
        "https://login.example.com%2eevil.example/",
        "javascript://login.example.com/%0aalert(1)",
    ] {
        assert!(!ask(bad), "{bad}");
    }
}
