//! The section `clients`: timeouts and limits of connections from clients.

use super::error::Problem;
use super::options::clients as rows;
use super::section::Section;
use super::value;
use super::{ClientLimits, Clients, FindingId};
use crate::wire::http1::HeadLimits;
use ipnet::IpNet;

/// Reads the section.
pub(super) fn read(section: &mut Section) -> Clients {
    Clients {
        head_timeout: section.get(&rows::HEAD_TIMEOUT),
        idle_timeout: section.get(&rows::IDLE_TIMEOUT),
        write_timeout: section.get(&rows::WRITE_TIMEOUT),
        max_age: section.get(&rows::MAX_AGE),
        min_body_rate: section.get(&rows::MIN_BODY_RATE),
        limits: section.subsection(&rows::LIMITS, |section| ClientLimits {
            connections: section.get(&rows::CONNECTIONS),
            per_source: section.get(&rows::PER_SOURCE),
            streams: section.get(&rows::STREAMS),
            memory: section.get(&rows::MEMORY),
            head: head_limits(section),
        }),
        trusted_peers: trusted_peers(section),
        forwarding_headers: section.get(&rows::FORWARDING_HEADERS),
    }
}

fn head_limits(section: &mut Section) -> HeadLimits {
    HeadLimits {
        block: section.get(&rows::HEADER_BLOCK),
        count: section.get(&rows::HEADERS),
        single: section.get(&rows::HEADER),
        target: section.get(&rows::URI),
    }
}

/// The networks of trusted proxies. Warns of a network that contains all addresses.
fn trusted_peers(section: &mut Section) -> Vec<IpNet> {
    let networks = section.list(&rows::TRUSTED_PEERS, value::network).unwrap_or_default();
    for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
        let problem = Problem::new("every client is trusted to set `X-Forwarded-*` and instance headers");
        section.context.warn(
            &network.location,
            FindingId::TrustsEveryClient,
            problem.expected("list only the networks of your own proxies"),
        );
    }
    networks.into_iter().map(|network| network.value).collect()
}
