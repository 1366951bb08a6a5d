//! An explicit-state model checker of the cache protocol: it drives the shipped rules through every order of events.
//! The store runs [`sessiongate::coherence`]; readers and writers use its `reading` and `writing`. The model adds two
//! processes, a provider that counts versions, and failures: steps of the store run late, twice or never, responses are
//! lost, processes die, keys vanish, marks expire, and the store falls back to an older copy.
//!
//! It looks for violations of two properties. *Stale*: a response from the cache, or of a joined fetch, that is older
//! than a write that was acknowledged before its read began. *Backwards*: a response that is older than another one
//! that was given before its read began. Variants without a part of the protocol must violate them: otherwise the model
//! proves nothing.

mod search;
mod world;

use crate::harness::long;
use search::{Report, search};
use world::Setting;

const PLAIN: Setting = Setting {
    reads: 2,
    writes: 1,
    losses: 0,
    repeats: 0,
    crashes: 0,
    evictions: 0,
    expiries: 0,
    setbacks: 0,
    rejections: 0,
    failures: 0,
    wide: false,
    sharing: 0,
    joined_unconfirmed: false,
    changes_forgotten: false,
    left_unknown: false,
    joined_again: false,
    comparing: false,
    together: false,
    held: false,
    slowly: false,
    unmarked: false,
    overwriting: false,
    joined_by_place: false,
    joined_across_links: false,
    forwarded_without_mark: false,
    acknowledged_unconfirmed: false,
    without_end: false,
    early_expiry: false,
    without_fence: false,
    minted_by_clients: false,
    own_ends: false,
    split: false,
    deleting: false,
    filled_by_lease: false,
    unjoined: false,
    outside: 0,
    ending: false,
    fresh: 0,
    lags: 0,
    versioned: false,
    unordered: false,
    unended: false,
    joined_late: false,
    hasty: false,
    named: false,
    tenants: false,
    marked_apart: false,
    deleted_for_all: false,
    no_store: 0,
    short: false,
    windows: false,
    unsuperseded: false,
    forgotten: false,
    returning: false,
    unlanded: false,
    shown_apart: false,
    unrenewed: false,
};

/// The expected result of a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Holds,
    /// Stale reads: a part of the protocol is left out.
    Stale,
    /// No stale reads, but readers may see a session go back.
    Backwards,
    /// Readers see a session go back; stale reads are not checked: a part of the protocol is left out.
    Torn,
}

fn check(name: &str, setting: Setting, expected: Expected) {
    // If a violation is expected, the shortest way to it is enough.
    let report = search(setting, |report| match expected {
        Expected::Holds => false,
        Expected::Stale => report.stale.is_some(),
        Expected::Torn => report.backwards.is_some(),
        // That there are no stale reads is known only at the end.
        Expected::Backwards => report.stale.is_some(),
    });
    let Report { states, depth, complete, stale, backwards, took } = &report;
    let said = |found: &Option<Vec<String>>| match found {
        Some(trace) => format!("broken in {} steps", trace.len()),
        None if *complete => "holds".to_owned(),
        None => "not found so far".to_owned(),
    };
    println!("| {name} | {states} | {depth} | {} | {} | {:.1} s |", said(stale), said(backwards), took.as_secs_f64());
    let told = |trace: &Option<Vec<String>>| trace.as_ref().map_or(String::new(), |trace| trace.join("\n"));
    match expected {
        Expected::Holds => {
            assert!(stale.is_none(), "{name} is stale:\n{}", told(stale));
            assert!(backwards.is_none(), "{name} goes back:\n{}", told(backwards));
        }
        Expected::Backwards => {
            assert!(stale.is_none(), "{name} is stale:\n{}", told(stale));
            assert!(backwards.is_some(), "{name} does not go back");
        }
        Expected::Torn => assert!(backwards.is_some(), "{name} does not go back"),
        Expected::Stale => assert!(stale.is_some(), "{name} is not stale"),
    }
}

const THREE: Setting = Setting { reads: 3, ..PLAIN };
/// A cache without generations and marks: reads fill, and writes delete.
const DELETING: Setting = Setting { deleting: true, unjoined: true, ..PLAIN };
/// The same, if only the reader with the lease fills, and a write takes the lease away.
const LEASES: Setting = Setting { unmarked: true, filled_by_lease: true, ..DELETING };
const TWO_WRITES: Setting = Setting { writes: 2, ..PLAIN };

#[test]
fn protocol_has_no_stale_reads() {
    for (name, setting) in [
        ("2 reads, 1 write", PLAIN),
        ("2 reads, 1 write, slowly", Setting { slowly: true, ..PLAIN }),
        ("3 reads, 1 write", THREE),
        ("3 reads, 1 write, slowly", Setting { slowly: true, ..THREE }),
        ("2 reads, 2 writes", TWO_WRITES),
        ("3 reads, 1 write, 1 loss", Setting { losses: 1, ..THREE }),
        ("2 reads, 1 write, 2 losses, marks run out", Setting { losses: 2, expiries: 1, ..PLAIN }),
        ("2 reads, 1 write, 1 crash", Setting { crashes: 1, expiries: 1, ..PLAIN }),
        ("2 reads, 1 write, 1 crash, 1 loss", Setting { crashes: 1, losses: 1, expiries: 1, ..PLAIN }),
        ("2 reads, 2 writes, 1 repeat", Setting { repeats: 1, ..TWO_WRITES }),
        ("2 reads, 1 write, 1 repeat, 1 loss", Setting { repeats: 1, losses: 1, ..PLAIN }),
        ("2 reads, 1 write, marks run out, no end", Setting { without_end: true, expiries: 1, ..PLAIN }),
        ("2 reads, 2 writes, marks run out, no end", Setting { without_end: true, expiries: 2, ..TWO_WRITES }),
        ("2 reads, 2 writes, rejected ones", Setting { rejections: 2, ..TWO_WRITES }),
        ("3 reads, 1 write, 1 failed read", Setting { failures: 1, ..THREE }),
        ("3 reads, 1 write, compared fills", Setting { comparing: true, ..THREE }),
    ] {
        check(name, setting, Expected::Holds);
    }
}

#[test]
fn upstream_wide_writes_cause_no_stale_reads() {
    let wide = Setting { wide: true, ..PLAIN };
    for (name, setting) in [
        ("2 reads, 1 write of the upstream", wide),
        ("3 reads, 1 write of the upstream", Setting { reads: 3, ..wide }),
        ("2 reads, 1 write of the upstream, 1 loss", Setting { losses: 1, ..wide }),
        ("2 reads, 1 write of the upstream, 1 crash", Setting { crashes: 1, expiries: 1, ..wide }),
        ("2 reads, 1 write of the upstream, rejected", Setting { rejections: 1, ..wide }),
        ("2 reads, 1 write of the upstream, keys evicted", Setting { evictions: 1, ..wide }),
        ("2 reads, 2 writes, one of the upstream", Setting { writes: 2, ..wide }),
    ] {
        check(name, setting, Expected::Holds);
    }
}

/// Readers that use two host names for one session, each with entries of its own.
const NAMED: Setting = Setting { named: true, ..PLAIN };
/// The host names of two tenants with sessions of the same ID. Writes delete that of the first.
const TENANTS: Setting = Setting { tenants: true, ..NAMED };

#[test]
fn tenants_of_one_session_see_no_stale_reads() {
    let wide = Setting { wide: true, writes: 2, ..TENANTS };
    for (name, setting) in [
        ("2 reads by 2 names, 1 write", NAMED),
        ("3 reads by 2 names, 1 write", Setting { reads: 3, ..NAMED }),
        ("2 reads by 2 names, 2 writes", Setting { writes: 2, ..NAMED }),
        ("2 reads by 2 names, 1 write, 1 loss", Setting { losses: 1, expiries: 1, ..NAMED }),
        ("2 reads of 2 tenants, 1 deletion", TENANTS),
        ("3 reads of 2 tenants, 1 deletion", Setting { reads: 3, ..TENANTS }),
        ("2 reads of 2 tenants, 2 deletions, rejected", Setting { writes: 2, rejections: 1, ..TENANTS }),
        ("2 reads of 2 tenants, 1 deletion, 1 write of the upstream", wide),
    ] {
        check(name, setting, Expected::Holds);
    }
    for (name, setting) in [
        ("a write that marks its own name", Setting { reads: 3, marked_apart: true, ..NAMED }),
        ("a deletion that is every tenant's", Setting { deleted_for_all: true, ..TENANTS }),
    ] {
        check(name, setting, Expected::Stale);
    }
}

/// Two writes of unverified callers in one process.
const SHARING: Setting = Setting { writes: 2, sharing: 2, ..PLAIN };

#[test]
fn shared_mark_of_unverified_writes_causes_no_stale_reads() {
    let one = Setting { reads: 1, ..SHARING };
    for (name, setting) in [
        ("2 reads, 2 writes that share", SHARING),
        ("2 reads, 2 writes that share, rejected ones", Setting { rejections: 2, ..SHARING }),
        ("2 reads, 2 writes, 1 of the unverified, rejected", Setting { sharing: 1, rejections: 1, ..SHARING }),
        ("1 read, 2 writes that share, rejected or lost", Setting { rejections: 1, losses: 1, expiries: 1, ..one }),
        ("1 read, 2 writes that share, 1 crash", Setting { crashes: 1, expiries: 1, ..one }),
        ("1 read, 2 writes that share, one of the upstream", Setting { wide: true, rejections: 1, ..one }),
    ] {
        check(name, setting, Expected::Holds);
    }
}

#[test]
fn other_ways_to_share_a_mark_break_the_protocol() {
    let lossy = Setting { losses: 1, expiries: 1, ..SHARING };
    let alone = Setting { reads: 3, writes: 1, sharing: 1, ..lossy };
    for (name, setting, expected) in [
        ("joined without a confirmation", Setting { joined_unconfirmed: true, ..lossy }, Expected::Stale),
        ("changes of some writes forgotten", Setting { changes_forgotten: true, ..SHARING }, Expected::Stale),
        ("left although the outcome is unknown", Setting { left_unknown: true, ..alone }, Expected::Torn),
    ] {
        check(name, setting, expected);
    }
}

/// Reads with `no-cache`, and a session that changes without the gateway: a reader that has seen the change never gets
/// the previous content.
const REVALIDATED: Setting = Setting { reads: 3, writes: 0, fresh: 1, outside: 1, versioned: true, ..PLAIN };
/// The same if the change removes the session: there is nothing to store.
const ENDED: Setting = Setting { ending: true, ..REVALIDATED };

#[test]
fn older_responses_do_not_reappear() {
    for (name, setting) in [
        ("3 reads, 1 of them fresh, changed outside", REVALIDATED),
        ("3 reads, 2 of them fresh, changed outside", Setting { fresh: 2, ..REVALIDATED }),
        ("3 reads, 2 of them fresh, the provider lags once", Setting { fresh: 2, lags: 1, ..REVALIDATED }),
        ("3 reads, 1 of them fresh, ended outside", ENDED),
        ("3 reads, 2 of them fresh, ended outside", Setting { fresh: 2, ..ENDED }),
        ("3 reads, 2 of them fresh, ended and back", Setting { fresh: 2, outside: 2, ..ENDED }),
        ("3 reads in one process, 1 of them fresh, ended", Setting { together: true, ..ENDED }),
    ] {
        check(name, setting, Expected::Holds);
    }
    for (name, setting) in [
        ("what is older replaces what is newer", Setting { unordered: true, ..REVALIDATED }),
        ("a later start alone, the provider lags", Setting { versioned: false, fresh: 2, lags: 1, ..REVALIDATED }),
        ("what ends nothing", Setting { unended: true, ..ENDED }),
        ("an earlier fetch is joined", Setting { joined_late: true, together: true, ..ENDED }),
        ("shown before it is kept", Setting { hasty: true, ..ENDED }),
    ] {
        check(name, setting, Expected::Torn);
    }
}

/// The same without versions: of two concurrent fetches, either may have seen the session last.
const UNVERSIONED: Setting = Setting { versioned: false, ..REVALIDATED };

#[test]
fn older_responses_do_not_reappear_without_versions() {
    let returning = Setting { returning: true, outside: 2, ..UNVERSIONED };
    let no_store = Setting { no_store: 1, ..UNVERSIONED };
    for (name, setting) in [
        ("3 reads, 1 of them fresh", UNVERSIONED),
        ("3 reads, 2 of them fresh", Setting { fresh: 2, ..UNVERSIONED }),
        ("3 reads, 2 of them fresh, changed twice", Setting { fresh: 2, outside: 2, ..UNVERSIONED }),
        ("3 reads in one process, 2 of them fresh", Setting { fresh: 2, together: true, ..UNVERSIONED }),
        ("3 reads, 2 of them fresh, changed and back", Setting { fresh: 2, ..returning }),
        ("3 reads, 1 not stored", no_store),
        ("3 reads, 1 not stored and not fresh", Setting { fresh: 0, ..no_store }),
        ("3 reads, 2 of them fresh, 1 not stored", Setting { fresh: 2, ..no_store }),
        ("3 reads, 1 not stored, changed and back", Setting { no_store: 1, ..returning }),
        ("3 reads, 2 of them fresh, ended outside", Setting { fresh: 2, versioned: false, ..ENDED }),
        ("3 reads within windows, 2 of them fresh", Setting { fresh: 2, windows: true, ..UNVERSIONED }),
        ("2 reads beside a rejected write", Setting { reads: 2, versioned: false, ..BESIDE }),
        ("2 reads, 1 of them fresh, 1 write", Setting { reads: 2, writes: 1, ..UNVERSIONED }),
    ] {
        check(name, setting, Expected::Holds);
    }
    for (name, setting) in [
        ("the later start alone", Setting { fresh: 2, unlanded: true, ..UNVERSIONED }),
        ("who waits for the earlier fetch is shown it", Setting { fresh: 2, shown_apart: true, ..UNVERSIONED }),
    ] {
        check(name, setting, Expected::Torn);
    }
}

/// A write that is rejected beside a change that did not pass the gateway: reads beside it see the change, and then the
/// session is what it was before the mark.
const BESIDE: Setting = Setting { writes: 1, rejections: 1, fresh: 0, ..REVALIDATED };

#[test]
fn older_responses_do_not_follow_unstored_ones() {
    let no_store = Setting { no_store: 1, ..REVALIDATED };
    let short = Setting { short: true, expiries: 1, fresh: 2, ..REVALIDATED };
    for (name, setting) in [
        ("3 reads, 1 not stored, changed outside", no_store),
        ("3 reads, 1 of them fresh, 2 not stored", Setting { no_store: 2, ..no_store }),
        ("3 reads, 2 of them fresh, 1 not stored", Setting { fresh: 2, ..no_store }),
        ("3 reads, 1 not stored and not fresh", Setting { fresh: 0, ..no_store }),
        ("3 reads, 1 not stored, the provider lags", Setting { fresh: 2, lags: 1, ..no_store }),
        ("3 reads, 1 not stored, ended outside", Setting { ending: true, ..no_store }),
        ("3 reads in one process, 1 not stored", Setting { together: true, ..no_store }),
        ("3 reads beside a rejected write, compared fills", Setting { comparing: true, ..BESIDE }),
        ("2 reads beside a rejected write", Setting { reads: 2, ..BESIDE }),
        ("2 reads beside a rejected write of the unverified", Setting { reads: 2, sharing: 1, ..BESIDE }),
        ("2 reads beside a rejected write of the upstream", Setting { reads: 2, wide: true, ..BESIDE }),
        ("3 reads, 2 of them fresh, over early", short),
        ("3 reads, 1 of them fresh, over early", Setting { fresh: 1, ..short }),
    ] {
        check(name, setting, Expected::Holds);
    }
    for (name, setting) in [
        ("what is not stored ends nothing", Setting { unsuperseded: true, ..no_store }),
        ("what is shown beside a write ends nothing", Setting { unsuperseded: true, ..BESIDE }),
        ("nothing is remembered of what is over early", Setting { forgotten: true, ..short }),
    ] {
        check(name, setting, Expected::Torn);
    }
}

#[test]
fn stale_entry_is_dropped_after_a_newer_response() {
    let windows = Setting { windows: true, ..REVALIDATED };
    let ended = Setting { ending: true, ..windows };
    for (name, setting) in [
        ("3 reads within windows, 1 of them fresh", windows),
        ("3 reads within windows, 1 fails", Setting { failures: 1, ..windows }),
        ("3 reads within windows, 1 not stored", Setting { no_store: 1, ..windows }),
        ("3 reads within windows, 1 not stored, 1 fails", Setting { no_store: 1, failures: 1, ..windows }),
        ("3 reads within windows, ended outside", ended),
        ("3 reads within windows, ended outside, 1 fails", Setting { failures: 1, ..ended }),
        ("3 reads within windows, ended and back", Setting { outside: 2, ..ended }),
        ("3 reads within windows, 1 write", Setting { windows: true, ..THREE }),
    ] {
        check(name, setting, Expected::Holds);
    }
    for (name, setting) in [
        ("a rejection ends nothing within windows", Setting { unended: true, ..ended }),
        ("what is not stored ends nothing within windows", Setting { unsuperseded: true, no_store: 1, ..windows }),
    ] {
        check(name, setting, Expected::Torn);
    }
}

#[test]
fn store_rollback_causes_no_stale_reads() {
    for (name, setting) in [
        ("2 reads, 1 write, set back", Setting { setbacks: 1, ..PLAIN }),
        ("2 reads, 1 write, set back, 1 loss", Setting { setbacks: 1, losses: 1, ..PLAIN }),
        ("2 reads in one process, 1 write, set back", Setting { setbacks: 1, together: true, ..PLAIN }),
        ("2 reads, 1 write, keys evicted", Setting { evictions: 1, ..PLAIN }),
        ("2 reads, 1 write, held where unmarked, 2 losses", Setting { held: true, losses: 2, ..PLAIN }),
    ] {
        check(name, setting, Expected::Holds);
    }
    check("3 reads, 1 write, keys evicted", Setting { evictions: 1, ..THREE }, Expected::Backwards);
}

#[test]
fn protocol_has_no_stale_reads_in_large_configurations() {
    if !long() {
        return;
    }
    let returning = Setting { reads: 4, fresh: 2, no_store: 1, returning: true, outside: 2, ..UNVERSIONED };
    for (name, setting) in [
        ("2 reads, 2 writes, slowly", Setting { slowly: true, ..TWO_WRITES }),
        ("3 reads, 1 write, 1 crash", Setting { crashes: 1, expiries: 1, ..THREE }),
        ("3 reads, 1 write, 1 repeat", Setting { repeats: 1, ..THREE }),
        ("3 reads, 1 write, rejected or not, 1 loss", Setting { rejections: 1, losses: 1, ..THREE }),
        ("2 reads, 2 writes, 1 loss", Setting { losses: 1, expiries: 1, ..TWO_WRITES }),
        ("2 reads, 2 writes, rejected ones, 1 repeat", Setting { rejections: 2, repeats: 1, ..TWO_WRITES }),
        ("2 reads, 2 writes, set back", Setting { setbacks: 1, ..TWO_WRITES }),
        ("3 reads, 2 writes", Setting { writes: 2, ..THREE }),
        ("3 reads, 2 writes, one of the upstream", Setting { writes: 2, wide: true, ..THREE }),
        ("2 reads, 1 write of the upstream, set back", Setting { wide: true, setbacks: 1, ..PLAIN }),
        (
            "2 reads, 2 writes that share, rejected or lost",
            Setting { rejections: 1, losses: 1, expiries: 1, ..SHARING },
        ),
        ("2 reads, 2 writes that share, 1 crash", Setting { crashes: 1, expiries: 1, ..SHARING }),
        ("2 reads, 2 writes that share, 1 repeat", Setting { repeats: 1, ..SHARING }),
        ("2 reads, 2 writes that share, keys evicted", Setting { evictions: 1, rejections: 1, ..SHARING }),
        ("2 reads, 3 writes, 2 that share, rejected ones", Setting { writes: 3, rejections: 1, ..SHARING }),
        ("2 reads, 2 writes that share, set back", Setting { setbacks: 1, ..SHARING }),
        ("3 reads, 2 writes that share, rejected", Setting { reads: 3, rejections: 1, ..SHARING }),
        ("3 reads beside a rejected write", BESIDE),
        ("3 reads beside a rejected write, 1 of them fresh", Setting { fresh: 1, comparing: true, ..BESIDE }),
        ("3 reads beside a rejected write, 1 not stored", Setting { no_store: 1, comparing: true, ..BESIDE }),
        ("3 reads beside a rejected write of the unverified", Setting { sharing: 1, comparing: true, ..BESIDE }),
        ("3 reads beside a rejected write, ended outside", Setting { ending: true, comparing: true, ..BESIDE }),
        ("3 reads within windows, 1 rejected write", Setting { windows: true, comparing: true, ..BESIDE }),
        ("3 reads within windows, 1 of the unverified", Setting { windows: true, sharing: 1, ..BESIDE }),
        ("4 reads, 2 of them fresh, 1 not stored", Setting { reads: 4, fresh: 2, no_store: 1, ..REVALIDATED }),
        ("2 reads beside 2 writes, changed outside", Setting { reads: 2, writes: 2, comparing: true, ..BESIDE }),
        ("2 reads beside 2 writes that share", Setting { reads: 2, writes: 2, sharing: 2, ..BESIDE }),
        ("2 reads beside a rejected write, slowly", Setting { reads: 2, slowly: true, ..BESIDE }),
        ("3 reads within windows, slowly", Setting { windows: true, slowly: true, ..REVALIDATED }),
        ("4 reads within windows, ended outside", Setting { reads: 4, windows: true, fresh: 2, ..ENDED }),
        (
            "4 reads, 2 of them fresh, over early",
            Setting { reads: 4, fresh: 2, short: true, expiries: 1, ..REVALIDATED },
        ),
        ("4 reads without versions, changed and back", returning),
    ] {
        check(name, setting, Expected::Holds);
    }
    check("the same once more says nothing", Setting { unrenewed: true, ..returning }, Expected::Torn);
    check("3 reads, 1 write, set back", Setting { setbacks: 1, ..THREE }, Expected::Backwards);
    let again = Setting { joined_again: true, repeats: 1, losses: 1, ..SHARING };
    check("a shared mark joined again after its end", again, Expected::Stale);
    let unverified = Setting { unsuperseded: true, sharing: 1, ..BESIDE };
    check("what is shown beside the unverified ends nothing", unverified, Expected::Torn);
    let early = Setting { early_expiry: true, expiries: 1, ..THREE };
    check("3 reads, mark shorter than its write", early, Expected::Backwards);
    let minted = Setting { minted_by_clients: true, repeats: 1, ..TWO_WRITES };
    check("2 writes, generations minted by clients", minted, Expected::Stale);
}

#[test]
fn each_part_of_the_protocol_is_necessary() {
    let lossy = Setting { losses: 1, ..PLAIN };
    let set_back = Setting { setbacks: 1, ..PLAIN };
    let minted = Setting { minted_by_clients: true, repeats: 1, ..PLAIN };
    for (name, setting) in [
        ("fill, and delete after a write", Setting { unmarked: true, ..DELETING }),
        ("fill, and delete before and after a write", DELETING),
        ("leases alone, 1 loss", Setting { losses: 1, ..LEASES }),
        ("no mark, 1 loss", Setting { unmarked: true, ..lossy }),
        ("joined by place alone", Setting { joined_by_place: true, ..THREE }),
        ("forwarded without its mark, end lost", Setting { forwarded_without_mark: true, losses: 2, ..PLAIN }),
        ("mark evicted, end lost", Setting { evictions: 1, ..lossy }),
        ("mark evicted, no end", Setting { evictions: 1, without_end: true, ..PLAIN }),
        ("mark evicted, no end without it", Setting { evictions: 1, own_ends: true, ..PLAIN }),
        ("mark shorter than its write, end lost", Setting { early_expiry: true, expiries: 1, ..lossy }),
        ("set back, no fence", Setting { without_fence: true, ..set_back }),
        ("set back, old fetches joined", Setting { joined_across_links: true, together: true, ..set_back }),
        ("set back, acknowledged unconfirmed", Setting { acknowledged_unconfirmed: true, losses: 1, ..set_back }),
        ("generations minted by clients", Setting { without_end: true, expiries: 1, ..minted }),
        ("some stay with the old server", Setting { split: true, ..set_back }),
    ] {
        check(name, setting, Expected::Stale);
    }
    for (name, setting) in [
        ("a mark that replaces others", Setting { overwriting: true, writes: 2, ..THREE }),
        ("leases alone, 2 writes", Setting { reads: 3, writes: 2, ..LEASES }),
        ("leases alone, 1 crash", Setting { reads: 3, crashes: 1, ..LEASES }),
    ] {
        check(name, setting, Expected::Torn);
    }
    check("leases alone", LEASES, Expected::Holds);
}
