//! Checks of upstreams that have the same provider, and so its sessions.

use super::FindingId;
use super::error::{Location, Problem};
use super::section::Section;
use super::value::{self, seconds};
use crate::gateway::{OnUnreachable, Upstream};
use std::time::Duration;

/// The maximum time that a write's response is held.
pub(super) const MAX_HOLD: Duration = seconds(5);

/// An upstream, and the locations of options that may contradict those of other upstreams.
pub(super) struct CompiledUpstream {
    pub upstream: Upstream,
    pub match_location: Location,
    /// The location of `cache.on_unreachable`, if `cache` is set.
    pub on_unreachable: Option<Location>,
    pub grants: Location,
}

/// Upstreams of one provider share its sessions: rejects keys that have owners in two of them, and warns of one whose
/// callers can remove the keys that others own.
pub(super) fn check_owners(section: &mut Section, upstreams: &[CompiledUpstream]) {
    let owners: Vec<&CompiledUpstream> = upstreams.iter().filter(|one| one.upstream.grants.own_keys()).collect();
    for CompiledUpstream { upstream, grants, .. } in upstreams {
        let mut twins = owners.iter().filter(|owner| owner.upstream.target.is_same_provider(&upstream.target));
        let mut earlier = twins.clone().filter(|owner| owner.upstream.index < upstream.index);
        let contested = earlier.find_map(|other| {
            let (own, twin) = upstream.grants.contested(&other.upstream.grants)?;
            Some(format!(
                "grant `{}` may own a key of grant `{}` of upstream `{}`",
                own.name, twin.name, other.upstream.name
            ))
        });
        if let Some(found) = contested {
            let allowed =
                "each key has one owner at a provider; grants of the same name with the same keys are one owner";
            section.context.reject(grants, Problem::new(found).id(FindingId::Conflict).expected(allowed));
        }
        if let Some(owner) = twins.next().filter(|_| upstream.grants.is_empty()) {
            let found =
                format!("is not set, so callers can remove keys that grants of upstream `{}` own", owner.upstream.name);
            let problem = Problem::new(found).expected("add grants: both upstreams have the same provider");
            section.context.warn(grants, FindingId::UnprotectedKeys, problem);
        }
    }
}

/// Rejects holds that would be too long. A response is held until no response from before the write can be served,
/// which depends on all upstreams of the same provider.
pub(super) fn check_holds(section: &mut Section, upstreams: &[CompiledUpstream]) {
    let holds = |found: &CompiledUpstream| {
        found.upstream.cache.is_some_and(|cache| cache.on_unreachable == OnUnreachable::Hold)
    };
    for CompiledUpstream { upstream, on_unreachable, .. } in upstreams.iter().filter(|found| holds(found)) {
        let others = upstreams.iter().map(|found| &found.upstream).filter(|other| other.index != upstream.index);
        let shared = others.filter(|other| other.target.is_same_provider(&upstream.target));
        let longest = shared.filter_map(|other| Some((other.cache?.max_serving_time(), &other.name))).max();
        if let (Some((time, name)), Some(location)) = (longest.filter(|(time, _)| *time > MAX_HOLD), on_unreachable) {
            let found = format!(
                "`hold` would delay a write by {}, as long as upstream `{name}` may serve what it cached before",
                value::shown_duration(time)
            );
            section.context.reject(location, too_long(found));
        }
    }
}

pub(super) fn too_long(found: String) -> Problem {
    let longest = value::shown_duration(MAX_HOLD);
    Problem::new(found)
        .id(FindingId::Conflict)
        .expected(format!("the sum of `ttl`, `stale_while_revalidate` and `stale_if_error` may be at most {longest}"))
}
