//! Which forwarding headers a trusted peer may set. A new dialect needs no change here.

use sessiongate::dialect::{DIALECTS, TrustedValue};

/// For these headers of a trusted peer the gateway adds none of its own. If they were dropped too, the provider would
/// get neither.
#[test]
fn a_dialect_that_reads_forwarding_headers_accepts_those_of_trusted_peers() {
    let needed = [
        ("x-forwarded-host", TrustedValue::Host),
        ("x-forwarded-proto", TrustedValue::Scheme),
        ("x-forwarded-for", TrustedValue::Address),
    ];
    for dialect in DIALECTS.iter().filter(|dialect| dialect.headers.reads_forwarded) {
        let own = dialect.headers.trusted_peer;
        for (name, value) in needed {
            let is_listed = own.iter().any(|header| header.name == name && header.value == value);
            assert!(is_listed, "`trusted_peer` of {} lacks `{name}` as {value:?}", dialect.name);
        }
    }
}
