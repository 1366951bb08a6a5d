//! The trace of a request: W3C Trace Context.
//!
//! Source: W3C Recommendation "Trace Context" (level 1), sections 3.2 (`traceparent`), 3.3 (`tracestate`) and 4.3 (who
//! passes it on).

use super::hex;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of the part that all versions share: `00-`, 32 digits, `-`, 16 digits, `-`, and two digits of flags.
const LENGTH: usize = 55;
/// The maximum number of entries in a `tracestate`.
const MAX_ENTRIES: usize = 32;

/// A request's position in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    parent: HeaderValue,
    /// Whether the request's own `traceparent` is forwarded unchanged.
    is_unchanged: bool,
    /// Whether the request's own `tracestate` is forwarded unchanged.
    has_state: bool,
}

impl Default for Trace {
    /// No trace: the headers stay unchanged.
    fn default() -> Trace {
        Trace { parent: HeaderValue::from_static(""), is_unchanged: true, has_state: true }
    }
}

impl Trace {
    /// The trace that a request belongs to. `None` without a single valid `traceparent`.
    pub fn from_headers(headers: &HeaderMap) -> Option<Trace> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next().filter(|parent| is_parent(parent.as_bytes()) && parents.next().is_none())?;
        Some(Trace { parent: parent.clone(), is_unchanged: true, has_state: is_state(headers) })
    }

    /// Starts a trace with random numbers. The sampled flag is not set, because the gateway records no spans.
    pub fn start([first, second]: [u64; 2], parent: u64) -> Trace {
        let mut text = Vec::with_capacity(LENGTH);
        text.extend_from_slice(b"00-");
        // An ID of zero is invalid.
        hex::push(&mut text, &first.max(1).to_be_bytes());
        hex::push(&mut text, &second.to_be_bytes());
        text.push(b'-');
        hex::push(&mut text, &parent.max(1).to_be_bytes());
        text.extend_from_slice(b"-00");
        let mut parent = HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""));
        // HTTP/2 does not index it then. No other request has it, and each would be compared with all indexed ones.
        parent.set_sensitive(true);
        Trace { parent, is_unchanged: false, has_state: false }
    }

    /// The trace ID: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.parent.to_str().ok().and_then(|text| text.get(3..35)).unwrap_or_default()
    }

    /// The headers of the request to change; `None` removes one.
    pub fn changes(&self) -> impl Iterator<Item = (HeaderName, Option<&HeaderValue>)> {
        let parent = (!self.is_unchanged).then_some((TRACEPARENT, Some(&self.parent)));
        let state = (!self.has_state).then_some((TRACESTATE, None));
        parent.into_iter().chain(state)
    }
}

fn is_parent(value: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        let digits = value.get(range).unwrap_or_default();
        digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(digits)
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) =
        (digits(0..2), digits(3..35), digits(36..52), digits(53..55))
    else {
        return false;
    };
    let hyphens = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    // Later versions have the same prefix and may be longer.
    let ends = value.len() == LENGTH || (version != b"00" && value.get(LENGTH) == Some(&b'-'));
    hyphens && ends && value.len() >= LENGTH && version != b"ff" && !is_zero(trace) && !is_zero(parent)
}

/// Whether there is no `tracestate`, or all of its entries are valid.
fn is_state(headers: &HeaderMap) -> bool {
    if !headers.contains_key(TRACESTATE) {
        return true;
    }
    let mut keys: Vec<&[u8]> = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        for entry in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if entry.is_empty() {
                continue;
            }
            let Some((key, value)) = entry.iter().position(|byte| *byte == b'=').map(|at| entry.split_at(at)) else {
                return false;
            };
            if !is_key(key) || !is_value(value.get(1..).unwrap_or_default()) || keys.contains(&key) {
                return false;
            }
            keys.push(key);
            if keys.len() > MAX_ENTRIES {
                return false;
            }
        }
    }
    !keys.is_empty()
}

/// Whether the key has the form `key` or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let part = |part: &[u8], length: usize, digit: bool| {
        let first = part.first().is_some_and(|byte| byte.is_ascii_lowercase() || (digit && byte.is_ascii_digit()));
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
        first && part.len() <= length && part.iter().all(plain)
    };
    match key.iter().position(|byte| *byte == b'@').map(|at| key.split_at(at)) {
        Some((tenant, system)) => part(tenant, 241, true) && part(system.get(1..).unwrap_or_default(), 14, false),
        None => part(key, 256, false),
    }
}

fn is_value(value: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(plain) && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(headers: &[(HeaderName, &str)]) -> Option<Trace> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Trace::from_headers(&map)
    }

    #[test]
    fn a_parent_is_parsed_strictly() {
        for parent in [
            PARENT,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what the future will be like",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ] {
            let trace = read(&[(TRACEPARENT, parent)]).unwrap_or_else(|| panic!("{parent}"));
            assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(trace.changes().count(), 0, "{parent} goes on as it is");
        }
        for parent in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{e9}",
        ] {
            assert_eq!(read(&[(TRACEPARENT, parent)]), None, "{parent}");
        }
        assert_eq!(read(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]), None, "it stands once");
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_valid_state_is_forwarded() {
        let long = |length: usize| "x".repeat(length);
        let entries = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let goes_on = |states: &[&str]| {
            let mut headers = vec![(TRACEPARENT, PARENT)];
            headers.extend(states.iter().map(|state| (TRACESTATE, *state)));
            read(&headers).unwrap().changes().count() == 0
        };
        assert!(goes_on(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]));
        assert!(goes_on(&["a=1 ,\t, 0t-*/@s_=x y", "b=!~"]));
        assert!(goes_on(&[&entries(32)]) && goes_on(&[&entries(16), "z=1"]));
        assert!(goes_on(&[&format!("{}={}", long(256), long(256))]));
        assert!(goes_on(&[&format!("{}@{}=1", long(241), long(14))]));
        for states in [
            &[""][..],
            &["a"],
            &["a="],
            &["=1"],
            &["A=1"],
            &["0a=1"],
            &["a=1=2"],
            &["a=1,a=2"],
            &["a=1", "a=2"],
            &["a =1"],
            &["a=\u{e9}"],
            &["a@B=1"],
            &["@s=1"],
            &["a@=1"],
            &["a@b@c=1"],
            &[&entries(33)],
            &[&format!("{}=1", long(257))],
            &[&format!("a={}", long(257))],
        ] {
            assert!(!goes_on(states), "{states:?}");
        }
    }

    #[test]
    fn a_started_trace_is_valid() {
        for (id, parent) in [([1, 2], 3), ([0, 0], 0), ([u64::MAX, 0], u64::MAX)] {
            let trace = Trace::start(id, parent);
            let headers: HeaderMap = trace.changes().filter_map(|(name, value)| Some((name, value?.clone()))).collect();
            assert_eq!(headers.len(), 1);
            assert!(headers[TRACEPARENT].is_sensitive(), "HTTP/2 does not index it");
            let read = Trace::from_headers(&headers).unwrap();
            assert_eq!((read.id(), read.id().len()), (trace.id(), 32));
            assert!(
                trace.changes().any(|(name, value)| name == TRACESTATE && value.is_none()),
                "the state is of another"
            );
        }
    }
}
