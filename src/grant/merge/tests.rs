use super::*;
use crate::grant::KeyDecision;
use crate::model::MetadataChange;
use crate::model::Value;
use crate::policy::{KeyPattern, KeyPatterns};
use proptest::prelude::*;

fn shop() -> KeyGrant {
    KeyGrant { own: Some(KeyPatterns(vec![KeyPattern::parse("cart_*").unwrap()])), ..KeyGrant::default() }
}

fn fields(all: &[(&str, &str)]) -> Vec<Field> {
    all.iter().map(|(key, value)| Field { key: (*key).into(), value: Value::Text((*value).into()) }).collect()
}

/// A write where an empty map clears, as at providers without a schema, or where an empty value does.
fn write(entries: &[(&str, &str)], empty_map_clears: bool) -> SessionPatch {
    let metadata = if entries.is_empty() { MetadataChange::Wipe } else { MetadataChange::Replace(fields(entries)) };
    SessionPatch { name: "m", metadata, empty_map_clears, ..SessionPatch::default() }
}

fn merge(kept: &[usize], cleared: &[usize]) -> Result<Option<Merge>, MergeFault> {
    Ok(Some(Merge { kept: kept.to_vec(), cleared: cleared.to_vec() }))
}

#[test]
fn the_keys_of_others_are_kept_and_own_ones_replaced() {
    let current = fields(&[("team", "1"), ("cart_a", "1"), ("cart_b", "1"), ("", "")]);
    for empty_map_clears in [true, false] {
        let found = shop().merge(&write(&[("cart_b", "2")], empty_map_clears), &current, Some(25));
        assert_eq!(found, merge(&[0, 3], &[1]));
        assert_eq!(shop().merge(&write(&[("cart_b", "2")], empty_map_clears), &[], None), merge(&[], &[]));
    }
    assert_eq!(shop().merge(&write(&[], true), &current, Some(25)), merge(&[0, 3], &[1, 2]));
}

#[test]
fn a_write_of_empty_values_removes_only_the_keys_that_it_names() {
    let current = fields(&[("team", "1"), ("cart_a", "1"), ("cart_b", "1")]);
    assert_eq!(shop().merge(&write(&[("cart_b", "")], false), &current, None), merge(&[0, 1], &[]));
}

#[test]
fn a_write_without_metadata_is_not_merged() {
    let current = fields(&[("team", "1")]);
    for empty_map_clears in [true, false] {
        let absent = SessionPatch { metadata: MetadataChange::Absent, ..write(&[], empty_map_clears) };
        assert_eq!(shop().merge(&absent, &current, Some(1)), Ok(None));
        let decision = shop().decide(&absent, |_| false, |_| true, true, None);
        assert_eq!(decision, KeyDecision::Granted, "no read");
    }
}

#[test]
fn the_whole_has_the_providers_limit() {
    let current = fields(&[("team", "1"), ("cart_a", "1")]);
    let two = [("cart_b", "1"), ("cart_c", "1")];
    assert_eq!(shop().merge(&write(&two, true), &current, Some(3)), merge(&[0], &[1]));
    assert_eq!(shop().merge(&write(&two, true), &current, Some(2)), Err(MergeFault::Full));
    assert_eq!(
        shop().merge(&write(&two, true), &current[1..], Some(1)),
        merge(&[], &[0]),
        "the policy evaluates those"
    );
}

#[test]
fn the_last_key_stays_where_the_provider_cannot_remove_it() {
    let own = fields(&[("cart_a", "1")]);
    assert_eq!(shop().merge(&write(&[("cart_a", "")], false), &own, None), Err(MergeFault::Last));
    assert_eq!(shop().merge(&write(&[], true), &own, None), merge(&[], &[0]));
    assert_eq!(shop().merge(&write(&[("cart_a", "")], false), &[], None), merge(&[], &[]), "there is none");
    let others = fields(&[("cart_a", "1"), ("team", "1")]);
    assert_eq!(shop().merge(&write(&[("cart_a", "")], false), &others, None), merge(&[1], &[]));
}

#[test]
fn an_owner_sends_its_own_keys_only() {
    let decide = |patch: &SessionPatch, current| shop().decide(patch, |_| false, |_| true, true, current);
    let foreign = write(&[("cart_a", "1"), ("team", "1"), ("x", "")], false);
    let current = fields(&[("team", "1")]);
    for current in [None, Some(&current[..])] {
        let what = "setting `m.team`; clearing `m.x`";
        assert_eq!(decide(&foreign, current), KeyDecision::Rejected(what.into()), "even if it is as it was");
    }
    let own = write(&[("cart_a", "1")], true);
    assert_eq!(decide(&own, None), KeyDecision::NeedsCurrent);
    assert_eq!(decide(&own, Some(&[])), KeyDecision::Granted);
    let new = SessionPatch { creates: true, ..own };
    assert_eq!(decide(&new, None), KeyDecision::Granted);
}

/// Callers without keys of their own do not change what another grant owns, unless their grant names it.
#[test]
fn what_is_owned_is_changed_only_by_grants_that_name_it() {
    let cart = || KeyPatterns(vec![KeyPattern::parse("cart_*").unwrap()]);
    let any = KeyGrant { others: Some(cart().into()), ..KeyGrant::default() };
    let current = fields(&[("cart_a", "1"), ("team", "1")]);
    let decide = |grant: &KeyGrant, sent: &[(&str, &str)]| {
        grant.decide(&write(sent, true), |_| false, |_| true, true, Some(&current))
    };
    assert_eq!(decide(&any, &[("cart_a", "1"), ("team", "2")]), KeyDecision::Granted, "sent back unchanged");
    assert_eq!(decide(&any, &[("cart_a", "1")]), KeyDecision::Granted);
    assert_eq!(decide(&any, &[("cart_a", "2")]), KeyDecision::Rejected("setting `m.cart_a`".into()));
    for sent in [&[("team", "2")][..], &[]] {
        assert_eq!(decide(&any, sent), KeyDecision::Rejected("clearing `m.cart_a`".into()));
    }
    let named = KeyGrant { set: Some(cart()), ..any };
    assert_eq!(decide(&named, &[("cart_a", "2"), ("team", "1")]), KeyDecision::Granted);
    assert_eq!(decide(&named, &[("team", "1")]), KeyDecision::Rejected("clearing `m.cart_a`".into()));
    let cleared = KeyGrant { clear: Some(cart()), ..named };
    assert_eq!(decide(&cleared, &[("team", "1")]), KeyDecision::Granted);
}

fn any_entries() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("(cart_)?[ab]{0,2}", "[x]{0,1}", 0..6).prop_map(|all| all.into_iter().collect())
}

proptest! {
    /// Each current entry is sent, kept or cleared, and only an owner's is not kept.
    #[test]
    fn every_entry_has_one_fate(
        sent in any_entries(),
        current in any_entries(),
        empty_map_clears in any::<bool>(),
    ) {
        let pairs = |all: &[(String, String)]| -> Vec<Field> {
            all.iter().map(|(key, value)| Field { key: key.into(), value: Value::Text(value.into()) }).collect()
        };
        let sent: Vec<(String, String)> = sent.into_iter().filter(|(key, _)| key.starts_with("cart_")).collect();
        let metadata = if sent.is_empty() { MetadataChange::Wipe } else { MetadataChange::Replace(pairs(&sent)) };
        let patch = SessionPatch { name: "m", metadata, empty_map_clears, ..SessionPatch::default() };
        let current = pairs(&current);
        let Ok(Some(merge)) = shop().merge(&patch, &current, None) else { return Ok(()) };
        for (at, field) in current.iter().enumerate() {
            let named = sent.iter().any(|(key, _)| *key == field.key);
            let fates = [named, merge.kept.contains(&at), merge.cleared.contains(&at)];
            prop_assert_eq!(fates.iter().filter(|fate| **fate).count(), 1, "{:?}", field);
            prop_assert!(fates[1] || field.key.starts_with("cart_"), "{:?} of another is lost", field);
        }
    }
}
