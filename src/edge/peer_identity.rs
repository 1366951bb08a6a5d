//! What a client certificate proves of who opened a connection: its names, and how long they count.

use crate::model::CertificateNames;
use rustls_pki_types::CertificateDer;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The maximum length of all names in a certificate, in bytes. One with more has none: a part of them would not do.
const MAX_NAMES: usize = 16 << 10;
/// Short names of attributes (RFC 4514, section 3), and one that is only known by its short name.
const ATTRIBUTES: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The names in the first certificate of a verified chain; `None` without one.
pub(super) fn certificate(chain: Option<&[CertificateDer]>) -> Option<CertificateNames> {
    Some(names(chain?.first()?).unwrap_or_default())
}

/// The names in a certificate. `None` if it is malformed, or has too many.
fn names(certificate: &[u8]) -> Option<CertificateNames> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = distinguished_name(parsed.subject())?;
    let alternative: Vec<String> = match parsed.subject_alternative_name().ok()? {
        Some(extension) => extension.value.general_names.iter().filter_map(alternative_name).collect(),
        None => Vec::new(),
    };
    let length = alternative.iter().fold(subject.len(), |length, name| length + name.len());
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    (length <= MAX_NAMES).then_some(CertificateNames { subject, alternative, not_after })
}

/// A DNS name in lower case, a URI, an email address or an IP address, after its type. What is no such name has none.
fn alternative_name(name: &GeneralName) -> Option<String> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    let written = |kind: &str, text: &str| (!text.chars().any(char::is_control)).then(|| format!("{kind}:{text}"));
    match name {
        GeneralName::DNSName(name) => name.chars().all(is_host).then(|| format!("DNS:{}", name.to_ascii_lowercase())),
        GeneralName::URI(text) => written("URI", text),
        GeneralName::RFC822Name(text) => written("email", text),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
            Some(format!("IP:{}", v4.or(v6).ok()?))
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_) => None,
    }
}

/// A name as RFC 4514 writes it: the last part first, separated by commas.
fn distinguished_name(name: &X509Name) -> Option<String> {
    let parts = name.iter_rdn().map(|part| {
        let attributes: Option<Vec<String>> = part.iter().map(attribute).collect();
        Some(attributes?.join("+"))
    });
    let mut parts = parts.collect::<Option<Vec<String>>>()?;
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue) -> Option<String> {
    let id = attribute.attr_type().to_id_string();
    let known = ATTRIBUTES.iter().find(|(own, _)| *own == id);
    match (known, attribute.as_str()) {
        (Some((_, short)), Ok(text)) => Some(format!("{short}={}", escaped(text))),
        _ => Some(format!("{}={}", known.map_or(id.as_str(), |(_, short)| short), encoded(attribute)?)),
    }
}

/// A text with what RFC 4514 (section 2.4) reserves after a backslash, and with control characters in hexadecimal.
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => written.extend(['\\', c]),
            '#' if at == 0 => written.push_str("\\#"),
            ' ' if at == 0 || at == last => written.push_str("\\ "),
            c if c.is_control() => {
                written.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:02X}")));
            }
            c => written.push(c),
        }
    }
    written
}

/// The encoding of a value that is no text, in hexadecimal after `#`. `None` if it has no short tag.
fn encoded(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = attribute.attr_value();
    let tag = u8::try_from(value.tag().0).ok().filter(|tag| *tag < 31)?;
    let constructed = if value.header.is_constructed() { 0x20 } else { 0 };
    let class = value.class() as u8;
    let length = value.data.len();
    let length = match u8::try_from(length) {
        Ok(short @ ..128) => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => [[0x82].as_slice(), &u16::try_from(length).ok()?.to_be_bytes()].concat(),
    };
    let mut written = String::from("#");
    for byte in [class << 6 | constructed | tag].iter().chain(&length).chain(value.data) {
        write!(written, "{byte:02X}").ok()?;
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::string::{BmpString, Ia5String};
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn subject(parts: &[(DnType, DnValue)]) -> String {
        let of = certificate(|params| {
            parts.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), value.clone()));
        });
        names(&of).unwrap().subject
    }

    fn text(text: &str) -> DnValue {
        DnValue::Utf8String(text.into())
    }

    #[test]
    fn subject_is_written_as_rfc_4514_says() {
        let name = [
            (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
            (DnType::OrganizationName, text("Acme, Inc.")),
            (DnType::CommonName, text("support")),
        ];
        assert_eq!(subject(&name), "CN=support,O=Acme\\, Inc.,C=DE");
        for (found, written) in [
            ("", ""),
            (" a b ", "\\ a b\\ "),
            (" ", "\\ "),
            ("#a#", "\\#a#"),
            ("\"+;<>\\=", "\\\"\\+\\;\\<\\>\\\\="),
            ("a\0b", "a\\00b"),
            ("a\n\u{7f}\u{85}", "a\\0A\\7F\\C2\\85"),
            ("Lučić", "Lučić"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, text(found))]), format!("CN={written}"));
        }
        // A text of another encoding, and an attribute without a short name.
        let other = DnValue::BmpString(BmpString::try_from("ab").unwrap());
        assert_eq!(subject(&[(DnType::CommonName, other)]), "CN=#1E0400610062");
        let long = text(&"x".repeat(200));
        let written = format!("2.5.4.5=#0C81C8{}", "78".repeat(200));
        assert_eq!(subject(&[(DnType::CustomDnType(vec![2, 5, 4, 5]), long)]), written);
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn alternative_names_have_a_type() {
        let ia5 = |text: &str| Ia5String::try_from(text).unwrap();
        let of = certificate(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("Support.Example")),
                SanType::DnsName(ia5("evil.test\0.acme.example")),
                SanType::URI(ia5("spiffe://acme.example/\nsupport")),
                SanType::URI(ia5("spiffe://acme.example/support")),
                SanType::Rfc822Name(ia5("a@acme.example")),
                SanType::IpAddress("10.1.2.3".parse().unwrap()),
                SanType::IpAddress("fd00::1".parse().unwrap()),
                SanType::OtherName((vec![1, 3, 6], rcgen::OtherNameValue::Utf8String("other".into()))),
            ];
        });
        let expected = [
            "DNS:support.example",
            "URI:spiffe://acme.example/support",
            "email:a@acme.example",
            "IP:10.1.2.3",
            "IP:fd00::1",
        ];
        assert_eq!(names(&of).unwrap().alternative, expected);
    }

    /// Whatever is in a certificate, it neither panics nor has a part of its names.
    #[test]
    fn malformed_certificates_have_no_names() {
        let good = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, text("support"));
            params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
        });
        let whole = names(&good).unwrap();
        for at in 0..good.len() {
            assert_eq!(names(good.get(..at).unwrap()), None, "{at}");
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = change;
                let _ = names(&bytes);
            }
        }
        assert_eq!(
            (whole.subject.as_str(), whole.alternative.as_slice()),
            ("CN=support", &["DNS:a.example".to_owned()][..])
        );
        let many = certificate(|params| {
            let name = |at: usize| SanType::DnsName(format!("a{at}.example").try_into().unwrap());
            params.subject_alt_names = (0..2000).map(name).collect();
        });
        assert_eq!(names(&many), None);
        let chain = [CertificateDer::from(many)];
        assert_eq!(super::certificate(Some(&chain)), Some(CertificateNames::default()));
        assert_eq!((super::certificate(None), super::certificate(Some(&[]))), (None, None));
    }
}
