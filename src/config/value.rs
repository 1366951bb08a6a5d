//! Parsers of single values: durations, sizes, counts, names, choices.

use super::FindingId;
use super::error::{Problem, listed};
use super::options::table::MAX_NAME;
use super::ratio::Ratio;
use super::variables::Text;
use crate::gateway::canonical_network;
use crate::policy::KeyPattern;
use crate::telemetry::Label;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Units of time, in milliseconds.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size, in bytes.
const SIZES: [(&str, usize); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
/// Words of earlier versions and their new names.
const RENAMED: [(&str, &str); 1] = [("refuse", "reject")];

pub(super) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Any text that is not empty.
pub(super) fn text(text: &Text) -> Result<String, Problem> {
    if text.as_str().is_empty() {
        Err(Problem::new(format!("{} is empty", text.shown())))
    } else {
        Ok(text.as_str().to_owned())
    }
}

/// Any text, also an empty one.
pub(super) fn any_text(text: &Text) -> Result<String, Problem> {
    Ok(text.as_str().to_owned())
}

/// An exact text, or a pattern.
pub(super) fn pattern(value: &Text) -> Result<KeyPattern, Problem> {
    KeyPattern::parse(value.as_str()).map_err(|reason| Problem::new(format!("{} {reason}", value.shown())))
}

/// The path of a file.
pub(super) fn path(value: &Text) -> Result<PathBuf, Problem> {
    text(value).map(PathBuf::from)
}

/// One of these words.
pub(super) fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Text) -> Result<T, Problem> {
    move |text| chosen(text, choices.iter().copied())
}

/// A value of a closed set, by its label name.
pub(super) fn label<L: Label>() -> impl Fn(&Text) -> Result<L, Problem> {
    |text| chosen(text, L::VARIANTS.iter().map(|one| (one.name(), *one)))
}

fn chosen<T>(text: &Text, choices: impl Iterator<Item = (&'static str, T)> + Clone) -> Result<T, Problem> {
    let named = |name: &str| choices.clone().find(|(word, _)| *word == name);
    if let Some((_, now)) = RENAMED.iter().find(|(then, now)| *then == text.as_str() && named(now).is_some()) {
        return Err(Problem::new(format!("{} was renamed to `{now}`", text.shown())));
    }
    named(text.as_str()).map(|(_, value)| value).ok_or_else(|| {
        let words = || choices.clone().map(|(word, _)| word);
        Problem::new(format!("{} is not a valid value", text.shown()))
            .expected(format!("allowed: {}", listed(words())))
            .like(text.as_str(), words())
    })
}

/// `true` or `false`.
pub(super) fn boolean(text: &Text) -> Result<bool, Problem> {
    match text.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(format!("{} is not a boolean", text.shown())).expected("allowed: `true`, `false`")),
    }
}

/// A duration with a unit: `500ms`, `1m30s`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Text) -> Result<Duration, Problem> {
    move |text| {
        let forms = "expected a duration such as `500ms`, `30s`, `5m`, `1h30m`, `7d`";
        let parsed = if is_bare(text.as_str()) { Err(without_unit(text)) } else { Ok(parse_duration(text.as_str())) };
        let found = parsed.map_err(|problem| problem.expected(forms))?;
        let found = found.ok_or_else(|| Problem::new(format!("{} is not a duration", text.shown())).expected(forms))?;
        within(found, &range, text, shown_duration)
    }
}

/// A duration of whole seconds, with a unit.
pub(super) fn whole_seconds(range: RangeInclusive<Duration>) -> impl Fn(&Text) -> Result<u64, Problem> {
    move |text| match duration(range.clone())(text)? {
        found if found.subsec_nanos() == 0 => Ok(found.as_secs()),
        _ => Err(Problem::new(format!("{} is not a whole number of seconds", text.shown()))),
    }
}

/// A size with a unit: `64KiB`.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&Text) -> Result<usize, Problem> {
    move |text| {
        let forms = "expected a size in `B`, `KiB`, `MiB` or `GiB` (1KiB is 1024B), such as `64KiB`";
        let parsed = if is_bare(text.as_str()) { Err(without_unit(text)) } else { Ok(parse_size(text.as_str())) };
        let found = parsed.map_err(|problem| problem.expected(forms))?;
        let found = found.ok_or_else(|| Problem::new(format!("{} is not a size", text.shown())).expected(forms))?;
        within(found, &range, text, shown_size)
    }
}

/// A whole number.
pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Text) -> Result<usize, Problem> {
    move |text| {
        let digits = text.as_str().bytes().all(|b| b.is_ascii_digit());
        let found = text.as_str().parse().ok().filter(|_| digits);
        let found = found.ok_or_else(|| Problem::new(format!("{} is not a whole number", text.shown())))?;
        within(found, &range, text, |number| number.to_string())
    }
}

/// A part of a whole.
pub(super) fn ratio(text: &Text) -> Result<Ratio, Problem> {
    let allowed = "expected a number from 0 to 1 with at most six decimal places, such as `0.01`";
    Ratio::parse(text.as_str())
        .ok_or_else(|| Problem::new(format!("{} is not a ratio", text.shown())).expected(allowed))
}

/// The IP address of a DNS server, with an optional port.
pub(super) fn server(text: &Text) -> Result<SocketAddr, Problem> {
    let forms = "expected an IP address, optionally with a port, such as `10.0.0.10`, `127.0.0.1:5353`, `[::1]:53`";
    let found = text.as_str().parse().ok().filter(|found: &SocketAddr| found.port() != 0);
    let found = found.or_else(|| text.as_str().parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)));
    found.ok_or_else(|| Problem::new(format!("{} is not a DNS server address", text.shown())).expected(forms))
}

/// A network in CIDR notation, or a single IP address. One that is mapped into IPv6 is the IPv4 network, since clients
/// are compared by their IPv4 address.
pub(super) fn network(text: &Text) -> Result<IpNet, Problem> {
    let forms = "expected an IP address or a network, such as `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`";
    let found = text.as_str().parse::<IpNet>().ok();
    let found = found.or_else(|| text.as_str().parse::<IpAddr>().ok().map(IpNet::from));
    let found = found.ok_or_else(|| Problem::new(format!("{} is not a network", text.shown())).expected(forms))?;
    if found.addr() != found.network() {
        let network = found.trunc();
        return Err(Problem::new(format!("{} has host bits set", text.shown()))
            .expected(format!("expected the network `{network}`")));
    }
    Ok(canonical_network(found))
}

/// Validates the name of an upstream or a policy, which is a key.
pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    valid_name(name, &format!("`{}`", name.escape_debug()))
}

/// The name of a grant.
pub(super) fn name(text: &Text) -> Result<String, Problem> {
    valid_name(text.as_str(), text.shown()).map(|()| text.as_str().to_owned())
}

fn valid_name(name: &str, shown: &str) -> Result<(), Problem> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain) {
        return Ok(());
    }
    let allowed = format!("expected 1 to {MAX_NAME} characters from `a-z`, `0-9`, `_`, `-`");
    Err(Problem::new(format!("{shown} is not a valid name")).expected(allowed))
}

/// A duration for messages.
pub(super) fn shown_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let fitting = TIMES.iter().rev().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
}

/// A size for messages.
pub(super) fn shown_size(bytes: usize) -> String {
    let fitting = SIZES.iter().rev().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn within<T: PartialOrd + Copy>(
    found: T,
    range: &RangeInclusive<T>,
    text: &Text,
    shown: impl Fn(T) -> String,
) -> Result<T, Problem> {
    if range.contains(&found) {
        return Ok(found);
    }
    let side = if found < *range.start() { "small" } else { "large" };
    let allowed = format!("allowed: {} to {}", shown(*range.start()), shown(*range.end()));
    Err(Problem::new(format!("{} is too {side}", text.shown())).id(FindingId::OutOfRange).expected(allowed))
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn without_unit(text: &Text) -> Problem {
    Problem::new(format!("{} has no unit", text.shown()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut millis: u64 = 0;
    let mut rest = text;
    loop {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, unit) = TIMES.iter().find(|(name, _)| *name == unit)?;
        millis = number.checked_mul(*unit)?.checked_add(millis)?;
        rest = after;
        if rest.is_empty() {
            return Some(Duration::from_millis(millis));
        }
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text)?;
    let (_, unit) = SIZES.iter().find(|(name, _)| *name == unit)?;
    usize::try_from(number).ok()?.checked_mul(*unit)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}
