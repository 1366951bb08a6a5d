mod dropped;
mod extras;

use super::*;
use crate::model::{Edit, Field, MetadataChange, Rule, SessionPatch, Value, Violation};
use proptest::prelude::*;

fn field(key: &str, value: Value) -> Field {
    Field { key: key.into(), value }
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn replace(fields: Vec<Field>) -> SessionPatch {
    SessionPatch { name: "session_metadata", metadata: MetadataChange::Replace(fields), ..SessionPatch::default() }
}

fn violations(policy: &Policy, patch: &SessionPatch) -> Vec<String> {
    match policy.evaluate(patch, None) {
        Evaluation::Reject(violations) => violations.iter().map(ToString::to_string).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

fn patterns(sources: &[&str]) -> KeyPatterns {
    KeyPatterns(sources.iter().map(|source| KeyPattern::parse(source).unwrap()).collect())
}

const ALL: Normalize =
    Normalize { nfc: true, trim: true, key_case: KeyCase::Lower, scalars_to_strings: true, drop_empty: true };

#[test]
fn two_keys_that_become_one_are_a_violation_of_both() {
    let policy = Policy { normalize: ALL, ..Policy::default() };
    for others in [0, 14, 15, 40] {
        let mut fields: Vec<Field> = (0..others).map(|number| field(&format!("k{number}"), text("v"))).collect();
        fields.insert(others / 2, field("Team", text("a")));
        fields.push(field(" team", text("b")));
        assert_eq!(
            violations(&policy, &replace(fields)),
            [
                "session_metadata.Team: duplicates session_metadata[\" team\"] after normalization (collision)",
                "session_metadata[\" team\"]: duplicates session_metadata.Team after normalization (collision)",
            ],
            "{others}"
        );
    }
}

#[test]
fn dropping_everything_is_a_violation_and_not_a_wipe() {
    let policy = Policy { normalize: ALL, ..Policy::default() };
    let patch = replace(vec![field("a", text("  "))]);
    assert_eq!(
        violations(&policy, &patch),
        ["session_metadata: would be removed entirely: all its values are empty and are dropped (wipe)"]
    );
}

#[test]
fn protected_keys_are_compared_with_the_current_metadata() {
    let policy = Policy { protected: patterns(&["tenant"]), ..Policy::default() };
    let current = [field("tenant", text("acme"))];
    let check = |fields: Vec<Field>| policy.evaluate(&replace(fields), Some(&current));
    let rules = |evaluation| match evaluation {
        Evaluation::Reject(violations) => violations.into_iter().map(|v: Violation| v.message).collect::<Vec<_>>(),
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(policy.evaluate(&replace(vec![field("a", text("b"))]), None), Evaluation::Need(Need::CurrentMetadata));
    assert_eq!(rules(check(vec![field("tenant", text("evil"))])), ["is protected and may not be changed"]);
    assert!(rules(check(vec![field("a", text("b"))]))[0].starts_with("is protected and would be removed"));
    assert!(matches!(check(vec![field("a", text("b")), field("tenant", text("acme"))]), Evaluation::Permit(_)));
    let patch = replace(vec![field("tenant", text("acme"))]);
    assert!(matches!(policy.evaluate(&patch, Some(&[])), Evaluation::Reject(_)), "added");
    let wipe = SessionPatch { metadata: MetadataChange::Wipe, ..patch };
    assert!(matches!(policy.evaluate(&wipe, Some(&current)), Evaluation::Reject(_)));
    assert!(matches!(policy.evaluate(&wipe, Some(&[])), Evaluation::Permit(_)));
}

#[test]
fn patterns_match_whole_keys() {
    let glob = KeyPattern::parse("team_*").unwrap();
    assert!(glob.matches("team_") && glob.matches("team_a\nb") && !glob.matches("my_team_a"));
    let regex = KeyPattern::parse("/a|b+/").unwrap();
    assert!(regex.matches("a") && regex.matches("bb") && !regex.matches("ab"));
    assert_eq!(KeyPattern::parse("/(/").unwrap_err(), "is not a valid regular expression: unclosed group");
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(|text| Value::Text(text.into())),
        any::<i32>().prop_map(|n| Value::Number(n.to_string().into())),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        Just(Value::Composite("array")),
        (0..9_usize).prop_map(|length| Value::Bytes(vec![0xff; length])),
    ]
}

fn any_normalize() -> impl Strategy<Value = Normalize> {
    let case = prop_oneof![Just(KeyCase::Keep), Just(KeyCase::Lower), Just(KeyCase::Upper)];
    (any::<bool>(), any::<bool>(), case, any::<bool>(), any::<bool>()).prop_map(
        |(nfc, trim, key_case, scalars_to_strings, drop_empty)| Normalize {
            nfc,
            trim,
            key_case,
            scalars_to_strings,
            drop_empty,
        },
    )
}

proptest! {
    #[test]
    fn normalization_is_idempotent(
        normalize in any_normalize(),
        fields in prop::collection::vec((any::<String>(), any_value()).prop_map(|(k, v)| field(&k, v)), 0..5),
    ) {
        let once = normalize.entries(&fields, |_| false);
        let fields: Vec<Field> = once.iter().map(|entry| field(&entry.key, entry.value.clone())).collect();
        let twice = normalize.entries(&fields, |_| false);
        prop_assert!(normalize::edits(&fields, &twice).is_empty(), "{:?}", normalize::edits(&fields, &twice));
    }
}

/// Two patterns are disjoint only if no text matches both. Texts show where one does.
#[test]
fn disjoint_patterns_have_no_text_in_common() {
    let sources = ["a", "b", "*", "a*", "*a", "b*", "a*a", "a*b", "ab*", "*b*", "*c", "a**", "/a/", "/b.*/"];
    let texts: Vec<String> =
        ["", "a", "b", "c"].iter().flat_map(|one| ["", "a", "b", "c"].map(|two| format!("{one}{two}"))).collect();
    let texts: Vec<String> =
        texts.iter().flat_map(|one| ["", "a", "b", "c"].map(|two| format!("{one}{two}"))).collect();
    for (one, other) in sources.iter().flat_map(|one| sources.iter().map(move |other| (one, other))) {
        let [left, right] = [one, other].map(|source| KeyPattern::parse(source).unwrap());
        let common = texts.iter().find(|text| left.matches(text) && right.matches(text));
        let found = left.is_disjoint(&right);
        assert!(!found || common.is_none(), "`{one}` and `{other}` match {common:?}");
        let compared = !one.starts_with('/') && !other.starts_with('/') || left.exact().or(right.exact()).is_some();
        assert_eq!(found, compared && common.is_none(), "`{one}` and `{other}`: {common:?}");
    }
}

/// What another caller owns is neither required of an owner nor added for it.
#[test]
fn owners_are_evaluated_by_their_own_keys() {
    let rule = |default: &str| FieldRule { default: Some(default.into()), ..FieldRule::default() };
    let policy = Policy {
        required: patterns(&["team", "cart_id", "*_id"]).0,
        fields: vec![
            (KeyPattern::parse("team").unwrap(), rule("t")),
            (KeyPattern::parse("cart_size").unwrap(), rule("1")),
        ],
        ..Policy::default()
    };
    let own = patterns(&["cart_*"]);
    let found = |patch: &SessionPatch| policy.evaluate_owned(patch, None, Some(&own));
    let Evaluation::Permit(permit) = found(&replace(vec![field("cart_id", text("1"))])) else { panic!() };
    assert_eq!(permit.edits(), [Edit::Insert { key: "cart_size".into(), value: "1".into() }]);
    let wipe = SessionPatch { metadata: MetadataChange::Wipe, ..replace(Vec::new()) };
    for patch in [replace(vec![field("cart_a", text("1"))]), wipe] {
        let Evaluation::Reject(violations) = found(&patch) else { panic!("{patch:?}") };
        let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["session_metadata.cart_id: is required but missing (required)"]);
    }
}
