//! The section `clients`: timeouts and limits of connections from clients.

use super::error::Problem;
use super::section::Section;
use super::value::{self, count, duration, minutes, seconds, size};
use super::variables::Text;
use super::{ClientLimits, Clients};
use crate::wire::http1::HeadLimits;
use ipnet::IpNet;
use std::time::Duration;

/// The minimum of client timeouts.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Reads the section.
pub(super) fn read(section: &mut Section) -> Clients {
    Clients {
        head_timeout: section.read("head_timeout", seconds(10), duration(MIN_TIMEOUT..=minutes(10))),
        idle_timeout: section.read("idle_timeout", seconds(60), duration(MIN_TIMEOUT..=minutes(60))),
        write_timeout: section.read("write_timeout", seconds(30), duration(MIN_TIMEOUT..=minutes(60))),
        max_age: section.read("max_age", minutes(60), duration(seconds(1)..=minutes(60 * 24 * 7))),
        min_body_rate: section.read("min_body_rate", 256, size(0..=1 << 20)),
        limits: section.subsection("limits", |section| ClientLimits {
            connections: section.read("connections", 10_000, count(1..=1_000_000)),
            per_source: section.read("per_source", 200, count(1..=1_000_000)),
            streams: section.read("streams", 100, count(1..=10_000)),
            memory: section.read("memory", None, memory),
            head: head_limits(section),
        }),
        trusted_peers: trusted_peers(section),
    }
}

/// The limits of a request's head. All are below Pingora's own: a head of 1 MiB, 256 headers, and a target of 64 KiB.
fn head_limits(section: &mut Section) -> HeadLimits {
    let HeadLimits { block, count: headers, single, target } = HeadLimits::default();
    HeadLimits {
        block: section.read("header_block", block, size(1 << 10..=256 << 10)),
        count: section.read("headers", headers, count(8..=250)),
        single: section.read("header", single, size(256..=64 << 10)),
        target: section.read("uri", target, size(256..=32 << 10)),
    }
}

/// The networks of trusted proxies. Warns of a network that contains all addresses.
fn trusted_peers(section: &mut Section) -> Vec<IpNet> {
    let networks = section.list("trusted_peers", value::network).unwrap_or_default();
    for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
        let problem = Problem::new("every client is trusted to set `X-Forwarded-*` and instance headers");
        section.context.warn(&network.location, problem.expected("list only the networks of your own proxies"));
    }
    networks.into_iter().map(|network| network.value).collect()
}

fn memory(text: &Text) -> Result<Option<usize>, Problem> {
    match text.as_str() {
        "auto" => Ok(None),
        _ => size(48 << 20..=1 << 40)(text)
            .map(Some)
            .map_err(|problem| problem.expected("allowed: `auto`, 48MiB to 1024GiB")),
    }
}
