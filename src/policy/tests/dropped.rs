//! Metadata at a provider where an empty map changes nothing, and entries with an empty value are dropped.

use super::*;

fn update(fields: &[(&str, &str)]) -> SessionPatch {
    let fields: Vec<Field> = fields.iter().map(|(key, value)| field(key, text(value))).collect();
    let metadata = if fields.is_empty() { MetadataChange::Wipe } else { MetadataChange::Replace(fields) };
    SessionPatch { name: "metadata", metadata, empty_map_clears: false, ..SessionPatch::default() }
}

fn create(fields: &[(&str, &str)]) -> SessionPatch {
    SessionPatch { creates: true, ..update(fields) }
}

fn edits(evaluation: Evaluation) -> Vec<Edit> {
    match evaluation {
        Evaluation::Permit(permit) => permit.edits().to_vec(),
        other => panic!("not permitted: {other:?}"),
    }
}

fn strict() -> Policy {
    Policy {
        wipe: Wipe::Reject,
        required: vec![KeyPattern::parse("team").unwrap()],
        normalize: ALL,
        ..Policy::default()
    }
}

#[test]
fn an_empty_map_changes_nothing() {
    let absent = SessionPatch { metadata: MetadataChange::Absent, ..update(&[]) };
    for patch in [update(&[]), absent] {
        let policy = Policy { protected: patterns(&["tenant"]), ..strict() };
        assert_eq!(edits(policy.evaluate(&patch, None)), []);
    }
    let dropped = strict().evaluate(&update(&[("team", ""), ("b", " ")]), None);
    assert_eq!(edits(dropped), [Edit::Remove { field: 0 }, Edit::Remove { field: 1 }]);
    let kept = Policy { normalize: Normalize::default(), ..strict() };
    assert_eq!(edits(kept.evaluate(&update(&[("b", "")]), None)), []);
}

#[test]
fn required_keys_apply_to_the_result_and_to_new_sessions() {
    let policy = Policy { normalize: Normalize::default(), ..strict() };
    let missing = ["metadata.team: is required but missing (required)"];
    let emptied = ["metadata.team: is required and must not be empty: the provider drops empty values (required)"];
    assert_eq!(violations(&policy, &update(&[("a", "b")])), missing);
    assert_eq!(violations(&policy, &update(&[("a", "b"), ("team", "")])), emptied);
    assert_eq!(violations(&policy, &update(&[("team", "")])), emptied);
    assert_eq!(violations(&policy, &create(&[])), missing);
    assert_eq!(violations(&policy, &create(&[("a", "")])), missing);
    assert_eq!(violations(&policy, &create(&[("team", "")])), emptied);
    let absent = SessionPatch { metadata: MetadataChange::Absent, ..create(&[]) };
    assert_eq!(violations(&policy, &absent), missing);
    assert_eq!(edits(policy.evaluate(&update(&[("team", "a"), ("b", "")]), None)), []);
    assert_eq!(edits(policy.evaluate(&create(&[("team", "a")]), None)), []);
}

#[test]
fn a_new_session_has_the_defaults() {
    let rule = FieldRule { default: Some("blue".into()), ..FieldRule::default() };
    let policy = Policy { fields: vec![(KeyPattern::parse("team").unwrap(), rule)], ..strict() };
    let added = [Edit::Insert { key: "team".into(), value: "blue".into() }];
    let absent = SessionPatch { metadata: MetadataChange::Absent, ..create(&[]) };
    assert_eq!(edits(policy.evaluate(&absent, None)), added);
    assert_eq!(edits(policy.evaluate(&create(&[]), None)), added);
    assert_eq!(edits(policy.evaluate(&update(&[("a", "b")]), None)), added);
    assert_eq!(edits(policy.evaluate(&update(&[]), None)), [], "no change");
}

#[test]
fn an_empty_value_removes_a_protected_key() {
    let policy = Policy { protected: patterns(&["tenant"]), ..Policy::default() };
    let current = [field("tenant", text("acme"))];
    let rejected = |patch: SessionPatch| match policy.evaluate(&patch, Some(&current)) {
        Evaluation::Reject(violations) => violations.into_iter().map(|violation| violation.message).collect::<Vec<_>>(),
        other => panic!("not refused: {other:?}"),
    };
    let dropped = ["is protected and would be removed: the provider drops empty values"];
    assert_eq!(rejected(update(&[("a", "b"), ("tenant", "")])), dropped);
    // The provider's code changes nothing here; its documentation says that it removes the key.
    assert_eq!(rejected(update(&[("tenant", "")])), dropped);
    assert_eq!(policy.evaluate(&update(&[("tenant", "")]), None), Evaluation::Need(Need::CurrentMetadata));
    assert_eq!(edits(policy.evaluate(&update(&[("tenant", "")]), Some(&[]))), []);
    assert_eq!(rejected(update(&[("a", "b")])).len(), 1);
    assert_eq!(edits(policy.evaluate(&update(&[("a", "")]), None)), [], "no change");
    // A new session has no metadata, so none needs to be fetched.
    assert_eq!(
        violations(&policy, &create(&[("tenant", "x")])),
        ["metadata.tenant: is protected and may not be added (protected)"]
    );
    assert_eq!(edits(policy.evaluate(&create(&[("a", "b")]), None)), []);
}

#[test]
fn bytes_that_are_not_text_only_have_a_length() {
    let rule = FieldRule {
        regex: Some(FieldRule::pattern("[a-z]+").unwrap()),
        one_of: Some(vec!["a".into()]),
        min_length: Some(9),
        ..FieldRule::default()
    };
    let policy = Policy {
        limits: Limits { value_length: Some(7), ..Limits::default() },
        fields: vec![(KeyPattern::parse("team").unwrap(), rule)],
        ..Policy::default()
    };
    let bytes = |key: &str, length| {
        let metadata = MetadataChange::Replace(vec![field(key, Value::Bytes(vec![0xff; length]))]);
        SessionPatch { metadata, ..update(&[]) }
    };
    assert_eq!(
        violations(&policy, &bytes("team", 8)),
        [
            "metadata.team: has 8 bytes, at most 7 are allowed (value_length)",
            "metadata.team: has 8 bytes, at least 9 are required (value_length)",
            "metadata.team: is not UTF-8 text (pattern)",
            "metadata.team: is not UTF-8 text (one_of)",
        ]
    );
    assert_eq!(edits(policy.evaluate(&bytes("b", 7), None)), []);
}

#[test]
fn protected_bytes_are_the_same_by_their_content() {
    let policy = Policy { protected: patterns(&["seal"]), ..Policy::default() };
    let held = [field("seal", Value::Bytes(vec![0xff; 4]))];
    let write = |byte| {
        let metadata = MetadataChange::Replace(vec![field("seal", Value::Bytes(vec![byte; 4]))]);
        policy.evaluate(&SessionPatch { metadata, ..update(&[]) }, Some(&held))
    };
    assert!(matches!(write(0xff), Evaluation::Permit(_)));
    let Evaluation::Reject(found) = write(0xfe) else { panic!("not refused") };
    assert_eq!(found[0].message, "is protected and may not be changed");
}

proptest! {
    /// A forwarded write needs no further edits, whatever the provider does with empty values.
    #[test]
    fn evaluation_is_idempotent(
        normalize in any_normalize(),
        fields in prop::collection::vec(("[a-cA-C ]{0,2}", any_value()).prop_map(|(k, v)| field(&k, v)), 0..4),
        (creates, empty_map_clears, default) in any::<(bool, bool, bool)>(),
    ) {
        let rule = FieldRule { default: default.then(|| "d".to_owned()), ..FieldRule::default() };
        let policy = Policy { normalize, fields: vec![(KeyPattern::parse("a").unwrap(), rule)], ..Policy::default() };
        let view = |fields: Vec<Field>| {
            let metadata = if fields.is_empty() { MetadataChange::Wipe } else { MetadataChange::Replace(fields) };
            SessionPatch { creates, empty_map_clears, metadata, ..SessionPatch::default() }
        };
        let Evaluation::Permit(permit) = policy.evaluate(&view(fields.clone()), None) else { return Ok(()) };
        let mut after: Vec<Option<Field>> = fields.into_iter().map(Some).collect();
        for edit in permit.edits() {
            match edit {
                Edit::Rename { field, key } => after[*field].as_mut().unwrap().key = key.into(),
                Edit::Set { field, value } => after[*field].as_mut().unwrap().value = text(value),
                Edit::Remove { field } => after[*field] = None,
                Edit::Insert { key, value } => after.push(Some(field(key, text(value)))),
                Edit::Lifetime(_) => panic!("not declared"),
            }
        }
        // With a key case that moves `a` away from its rule, the default would be added each time. The configuration
        // rejects that.
        prop_assume!(normalize.key_case != KeyCase::Upper || !default);
        let again = policy.evaluate(&view(after.into_iter().flatten().collect()), None);
        prop_assert_eq!(edits(again), []);
    }
}
