use super::v2::{SIGNATURE, checksum};
use super::*;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

/// The bytes of a case. `{crc}` is the right checksum.
fn bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest, mut sum) = (Vec::new(), text, None);
    while let Some(first) = rest.chars().next() {
        let known: [(&str, &[u8]); 6] =
            [("\\r", b"\r"), ("\\n", b"\n"), ("\\t", b"\t"), ("\\0", b"\0"), ("{v2}", SIGNATURE), ("{crc}", &[0; 4])];
        if let Some((name, value)) = known.iter().find(|(name, _)| rest.starts_with(name)) {
            sum = if *name == "{crc}" { Some(bytes.len()) } else { sum };
            bytes.extend_from_slice(value);
            rest = &rest[name.len()..];
        } else if let Some(digits) = rest.strip_prefix("\\x") {
            bytes.push(u8::from_str_radix(&digits[..2], 16).unwrap());
            rest = &digits[2..];
        } else {
            assert!(first.is_ascii() && first != '\\' && first != '{', "{text}");
            bytes.push(u8::try_from(first).unwrap());
            rest = &rest[1..];
        }
    }
    if let Some(position) = sum {
        let right = checksum(&bytes, position).to_be_bytes();
        bytes[position..position + 4].copy_from_slice(&right);
    }
    bytes
}

fn shown(parsed: Result<Option<ProxyHeader>, ProxyHeaderError>) -> String {
    match parsed {
        Ok(Some(ProxyHeader { client, tls, .. })) => {
            let client = client.map_or("-".to_owned(), |client| client.to_string());
            client + if tls { " over TLS" } else { "" }
        }
        Ok(None) => "more".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What follows a header makes no difference, and what comes before its last byte is no header yet.
#[test]
fn headers_are_parsed_as_the_specification_says() {
    let cases = include_str!("cases.txt");
    assert_eq!(cases.matches("\n=> ").count(), cases.split("\n\n").count());
    for case in cases.split("\n\n") {
        let lines: Vec<&str> = case.trim_end().lines().collect();
        let [name, text, expected] = *lines.as_slice() else { panic!("{case}") };
        let (input, expected) = (bytes(text), expected.strip_prefix("=> ").unwrap());
        assert_eq!(shown(parse(&input)), expected, "{name}: {text}");
        assert_eq!(shown(parse(&[&input[..], b"GET / HTTP/1.1\r\n"].concat())), expected, "{name}: {text}");
        if let Ok(Some(header)) = parse(&input) {
            assert_eq!(header.length, input.len(), "{name}");
            (0..input.len()).for_each(|cut| assert_eq!(parse(&input[..cut]), Ok(None), "{name}: {cut} bytes"));
        }
        // Once it is an error, it stays one.
        let first = (0..input.len()).map(|cut| parse(&input[..cut])).find(Result::is_err);
        assert!(first.is_none_or(|first| shown(first) == expected), "{name}");
    }
}

#[test]
fn checksum_is_crc32c() {
    // RFC 3720, appendix B.4, and the usual check value.
    assert_eq!(checksum(&[0; 32], 8), 0x8a91_36aa);
    assert_eq!(checksum(b"123456789", 9), 0xe306_9283);
}

#[test]
fn longest_header_is_accepted() {
    let mut header = [SIGNATURE, b"\x20\x00\x0f\xf0"].concat();
    header.resize(MAX_LENGTH, 7);
    assert_eq!(parse(&header).unwrap().unwrap().length, MAX_LENGTH);
}

/// A header of version 2.
fn version2(client: SocketAddr, extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (family, address) = match client.ip() {
        IpAddr::V4(address) => (0x11, address.octets().repeat(2)),
        IpAddr::V6(address) => (0x21, address.octets().repeat(2)),
    };
    let mut block = [address, client.port().to_be_bytes().repeat(2)].concat();
    for (kind, value) in extensions {
        block.push(*kind);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value);
    }
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &block].concat()
}

fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let kind = any::<u8>().prop_filter("has a meaning", |kind| ![0x03, 0x20].contains(kind));
    (kind, prop::collection::vec(any::<u8>(), 0..300))
}

proptest! {
    #[test]
    fn written_headers_are_read(client: SocketAddr, extensions in prop::collection::vec(extension(), 0..6), tls: bool) {
        let own = (0x20, vec![u8::from(tls), 0, 0, 0, 0]);
        let header = version2(client, &[&extensions[..], &[own]].concat());
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let parsed = parse(&header).unwrap().unwrap();
        prop_assert_eq!(parsed, ProxyHeader { length: header.len(), client: Some(client), tls });
        let version = if client.is_ipv4() { 4 } else { 6 };
        let line = format!("PROXY TCP{version} {0} {0} {1} {1}\r\n", client.ip(), client.port());
        let parsed = parse(line.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(parsed, ProxyHeader { length: line.len(), client: Some(client), tls: false });
    }

    #[test]
    fn damaged_header_with_a_checksum_is_rejected(client: SocketAddr, at: prop::sample::Index, bit in 0..8_u8) {
        let mut header = version2(client, &[(0x03, vec![0; 4])]);
        let position = header.len() - 4;
        let sum = checksum(&header, position).to_be_bytes();
        header[position..].copy_from_slice(&sum);
        prop_assert!(parse(&header).is_ok());
        // A command that ignores the rest ignores the checksum too; and an extension of another type is no checksum.
        let at = at.index(header.len());
        prop_assume!((at, bit) != (12, 0) && at != header.len() - 7);
        header[at] ^= 1 << bit;
        prop_assert!(!matches!(parse(&header), Ok(Some(_))));
    }

    #[test]
    fn any_bytes_have_one_reading(start in 0..4_usize, rest in prop::collection::vec(any::<u8>(), 0..5000)) {
        let starts = [&b""[..], b"PROXY TCP4 ", SIGNATURE, &[SIGNATURE, b"\x21\x11\x00"].concat()].map(<[u8]>::to_vec);
        let input = [&starts[start][..], &rest].concat();
        match parse(&input) {
            Ok(Some(header)) => {
                prop_assert!(header.length <= MAX_LENGTH);
                prop_assert_eq!(parse(&input[..header.length]), Ok(Some(header)));
                prop_assert_eq!(parse(&input[..header.length - 1]), Ok(None));
            }
            Ok(None) => prop_assert!(input.len() < MAX_LENGTH),
            Err(_) => {}
        }
    }
}
