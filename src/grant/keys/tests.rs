use super::*;
use crate::policy::KeyPattern;

fn patterns(all: &[&str]) -> Option<KeyPatterns> {
    Some(KeyPatterns(all.iter().map(|one| KeyPattern::parse(one).unwrap()).collect()))
}

fn fields(all: &[(&str, &str)]) -> Vec<Field> {
    all.iter().map(|(key, value)| Field { key: (*key).into(), value: Value::Text((*value).into()) }).collect()
}

/// A shop: it sets and clears `cart_*`, and does not see `secret`.
fn decide(patch: &SessionPatch, current: Option<&[(&str, &str)]>) -> KeyDecision {
    let shop = KeyGrant { set: patterns(&["cart_*"]), clear: patterns(&["cart_*"]), ..KeyGrant::default() };
    let current = current.map(fields);
    shop.decide(patch, |key| key == "default", |key| key != "secret", true, current.as_deref())
}

fn write(entries: &[(&str, &str)], replaces_empty: bool) -> SessionPatch {
    let metadata = if entries.is_empty() { MetadataChange::Wipe } else { MetadataChange::Replace(fields(entries)) };
    SessionPatch { name: "m", metadata, empty_map_clears: replaces_empty, ..SessionPatch::default() }
}

fn rejected(what: &str) -> KeyDecision {
    KeyDecision::Rejected(what.into())
}

#[test]
fn a_key_that_the_caller_may_not_set_is_named_without_a_read() {
    for (sent, what) in
        [(&[("secret", "1")][..], "setting `m.secret`"), (&[("cart_a", "1"), ("secret", "1")], "setting `m.secret`")]
    {
        assert_eq!(decide(&write(sent, true), None), rejected(what));
    }
    assert_eq!(decide(&write(&[("team_a", "1")], true), None), KeyDecision::NeedsCurrent);
}

#[test]
fn what_the_caller_sees_may_be_sent_back_unchanged() {
    let current = Some(&[("team_a", "1"), ("cart_x", "1")][..]);
    let decision = |sent| decide(&write(sent, true), current);
    assert_eq!(decision(&[("team_a", "1"), ("cart_x", "2")]), KeyDecision::Granted);
    assert_eq!(decision(&[("team_a", "1")]), KeyDecision::Granted, "a cart may be cleared");
    assert_eq!(decision(&[("team_a", "2")]), rejected("setting `m.team_a`"));
    assert_eq!(decision(&[("team_a", "1"), ("team_b", "1")]), rejected("setting `m.team_b`"));
}

#[test]
fn no_guess_of_a_hidden_value_is_answered() {
    let current = Some(&[("secret", "1")][..]);
    let right = decide(&write(&[("secret", "1")], true), current);
    assert_eq!(right, rejected("setting `m.secret`"));
    assert_eq!(right, decide(&write(&[("secret", "2")], true), current));
    assert_eq!(right, decide(&write(&[("secret", "1")], true), Some(&[])));
}

#[test]
fn a_write_that_replaces_may_not_remove_what_the_caller_may_not_clear() {
    for sent in [&[("cart_x", "1")][..], &[]] {
        let decision = |current: &[(&str, &str)]| decide(&write(sent, true), Some(current));
        assert_eq!(decide(&write(sent, true), None), KeyDecision::NeedsCurrent);
        assert_eq!(decision(&[]), KeyDecision::Granted);
        assert_eq!(decision(&[("cart_y", "1")]), KeyDecision::Granted);
        assert_eq!(decision(&[("team_a", "1")]), rejected("clearing `m.team_a`"));
        assert_eq!(decision(&[("team_a", "1"), ("secret", "1")]), rejected("clearing `m.team_a`"));
        let hidden = rejected("clearing other keys of `m`, which the write would remove");
        assert_eq!(decision(&[("secret", "1")]), hidden);
    }
}

#[test]
fn a_default_does_not_replace_what_the_caller_may_not_clear() {
    let sent = write(&[("cart_x", "1"), ("default", "1")], true);
    assert_eq!(decide(&sent, Some(&[])), KeyDecision::Granted);
    assert_eq!(decide(&sent, Some(&[("default", "1")])), KeyDecision::Granted);
    assert_eq!(decide(&sent, Some(&[("default", "2")])), rejected("clearing `m.default`"));
}

#[test]
fn an_empty_value_clears_where_the_provider_drops_it() {
    assert_eq!(decide(&write(&[("team_a", "")], false), None), rejected("clearing `m.team_a`"));
    assert_eq!(decide(&write(&[("cart_a", "")], false), None), KeyDecision::Granted);
    assert_eq!(decide(&write(&[("team_a", "")], true), Some(&[("team_a", "")])), KeyDecision::Granted, "unchanged");
    assert_eq!(decide(&write(&[], false), None), KeyDecision::Granted, "nothing changes");
    let wrong = MetadataChange::Replace(vec![Field { key: "team_a".into(), value: Value::Null }]);
    let write = SessionPatch { metadata: wrong, ..write(&[], true) };
    assert_eq!(decide(&write, Some(&[])), rejected("clearing `m.team_a`"));
}

#[test]
fn a_new_session_has_only_keys_that_the_caller_may_set() {
    let new = |sent| SessionPatch { creates: true, ..write(sent, false) };
    assert_eq!(decide(&new(&[("cart_a", "1")]), None), KeyDecision::Granted);
    assert_eq!(decide(&new(&[("cart_a", "1"), ("default", "1")]), None), KeyDecision::Granted);
    assert_eq!(decide(&new(&[("team_a", "1"), ("b", "")]), None), rejected("setting `m.team_a`, `m.b`"));
    assert_eq!(decide(&new(&[]), None), KeyDecision::Granted);
}

#[test]
fn rejections_are_bounded() {
    let many: Vec<(String, &str)> = (0..30).map(|at| (format!("secret{at}"), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let KeyDecision::Rejected(what) = decide(&write(&many, false), None) else { panic!() };
    assert!(what.ends_with("`m.secret19` and 10 more"), "{what}");
}

/// What a caller does not see, it must not lose by mistake, nor learn by guesses.
#[test]
fn keys_that_the_caller_does_not_see_need_a_list() {
    let any = KeyGrant::default();
    let current = fields(&[("a", "1"), ("secret", "2")]);
    let decide = |sent: &[(&str, &str)], reads| {
        any.decide(&write(sent, true), |_| false, |key| key != "secret", reads, Some(&current))
    };
    assert_eq!(
        decide(&[("a", "2"), ("b", "1")], true),
        rejected("clearing other keys of `m`, which the write would remove")
    );
    for value in ["1", "2"] {
        assert_eq!(decide(&[("a", "1"), ("secret", value)], true), rejected("setting `m.secret`"));
    }
    let KeyDecision::Rejected(what) = decide(&[], true) else { panic!("all is lost") };
    assert!(!what.contains("secret"), "{what}");
}

/// A caller that may not read is told of no key that it has not sent, and its guesses are not answered.
#[test]
fn callers_that_may_not_read_learn_nothing() {
    let shop = KeyGrant { set: patterns(&["cart_*"]), clear: patterns(&["cart_*"]), ..KeyGrant::default() };
    let current = fields(&[("role", "admin")]);
    let decide = |sent: &[(&str, &str)]| shop.decide(&write(sent, true), |_| false, |_| true, false, Some(&current));
    assert_eq!(decide(&[("cart_a", "1")]), rejected("clearing other keys of `m`, which the write would remove"));
    for guess in ["user", "admin"] {
        assert_eq!(decide(&[("cart_a", "1"), ("role", guess)]), rejected("setting `m.role`"));
    }
}

#[test]
fn a_write_removes_what_it_lacks_or_clears() {
    let keys = fields(&[("secret", "1")]);
    for (sent, replaces, removed) in [
        (&[("a", "1")][..], true, true),
        (&[("a", "1"), ("secret", "2")], true, false),
        (&[("a", "")], false, false),
        (&[("a", "1")], false, true),
        (&[("secret", "")], false, true),
    ] {
        assert_eq!(removes_any(&write(sent, replaces), &keys), removed, "{sent:?} {replaces}");
    }
    assert!(!removes_any(&write(&[("a", "1")], true), &[]));
}
