//! Content encodings of responses. The gateway does not request any, but decodes what it can: it must parse responses,
//! and the response to a successful write must reach its caller.

use super::frame;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::io::Read;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Headers with digests of the encoded body.
const DIGESTS: [&str; 4] = ["content-md5", "content-digest", "digest", "repr-digest"];
/// Headers with signatures, which may contain such digests (RFC 9421).
const SIGNATURES: [&str; 2] = ["signature", "signature-input"];
/// The maximum number of encodings of one body.
const MAX_CODINGS: usize = 2;

/// The supported encodings.
#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    fn named(name: &str) -> Option<Coding> {
        let is = |own: &str| name.eq_ignore_ascii_case(own);
        if is("gzip") || is("x-gzip") { Some(Coding::Gzip) } else { is("deflate").then_some(Coding::Deflate) }
    }

    /// Decodes bytes, and subtracts the result's size from the remaining budget of the response. `None` if the bytes
    /// are invalid or exceed the budget.
    fn decode(self, bytes: &[u8], left: &mut usize) -> Option<Vec<u8>> {
        let most = *left;
        let plain = match self {
            Coding::Gzip => {
                let mut plain = Vec::new();
                // A gzip file may have several members (RFC 1952, section 2.2). Anything after the last one is an
                // error.
                let mut decoder = MultiGzDecoder::new(bytes).take(u64::try_from(most).ok()?.saturating_add(1));
                decoder.read_to_end(&mut plain).ok()?;
                plain
            }
            // Some servers omit the zlib header (RFC 9110, section 8.4.1.2).
            Coding::Deflate => inflated(bytes, true, most).or_else(|| inflated(bytes, false, most))?,
        };
        *left = most.checked_sub(plain.len())?;
        Some(plain)
    }
}

fn inflated(bytes: &[u8], zlib: bool, most: usize) -> Option<Vec<u8>> {
    const STEP: usize = 16 << 10;
    let mut state = Decompress::new(zlib);
    let mut plain = Vec::new();
    loop {
        plain.reserve(STEP);
        let (read, written) = (state.total_in(), plain.len());
        let rest = bytes.get(usize::try_from(read).ok()?..)?;
        let status = state.decompress_vec(rest, &mut plain, FlushDecompress::None).ok()?;
        let stands = state.total_in() == read && plain.len() == written;
        match status {
            Status::StreamEnd => {
                // Bytes after the end would be lost.
                let whole = usize::try_from(state.total_in()).is_ok_and(|read| read == bytes.len());
                return (whole && plain.len() <= most).then_some(plain);
            }
            _ if plain.len() > most || stands => return None,
            Status::Ok | Status::BufError => {}
        }
    }
}

/// The encodings in a header, in the order in which they were applied, without `identity`.
fn named(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let names: Vec<String> =
        values.flat_map(|value| value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect();
    names.into_iter().filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")).collect()
}

/// The content encoding that the body still has, for messages. `None` if it has none.
pub fn remaining(headers: &HeaderMap) -> Option<String> {
    let names = named(headers, &CONTENT_ENCODING);
    (!names.is_empty()).then(|| names.join(", ").chars().take(64).collect())
}

/// Removes the headers of an encoding that the body no longer has.
pub fn remove_headers(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, GRPC_ENCODING, ETAG] {
        headers.remove(name);
    }
    DIGESTS.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Removes the headers that identify the bytes of a body, or the time of the last change of what it shows. A body that
/// hides some of that has others, or none: with theirs, guesses of what is hidden could be checked.
pub fn remove_validators(headers: &mut HeaderMap) {
    for name in [ETAG, LAST_MODIFIED, CONTENT_LENGTH] {
        headers.remove(name);
    }
    DIGESTS.iter().chain(&SIGNATURES).for_each(|name| drop(headers.remove(*name)));
}

/// Decodes a unary response. It stays unchanged if that is not possible, or if all decoded parts together exceed `most`
/// bytes. With a limit for each part, a small body could grow with the number of encodings and frames.
pub fn decode(headers: &mut HeaderMap, body: Bytes, most: usize) -> Bytes {
    let mut left = most;
    let body = decode_content(headers, body, &mut left);
    decode_frames(headers, body, &mut left)
}

fn decode_content(headers: &mut HeaderMap, body: Bytes, left: &mut usize) -> Bytes {
    if !headers.contains_key(CONTENT_ENCODING) {
        return body;
    }
    let names = named(headers, &CONTENT_ENCODING);
    let codings: Option<Vec<Coding>> = names.iter().rev().map(|name| Coding::named(name)).collect();
    let Some(codings) = codings.filter(|codings| codings.len() <= MAX_CODINGS) else {
        return body;
    };
    // An empty body has nothing to decode, whatever its headers say.
    let codings = if body.is_empty() { Vec::new() } else { codings };
    let mut plain = body.clone();
    for coding in codings {
        match coding.decode(&plain, left) {
            Some(less) => plain = less.into(),
            None => return body,
        }
    }
    headers.remove(CONTENT_ENCODING);
    if plain != body {
        DIGESTS.iter().for_each(|name| drop(headers.remove(*name)));
        weaken(headers);
    }
    plain
}

/// Makes a strong `ETag` weak: it identifies the encoded bytes.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => drop(headers.insert(ETAG, weak)),
        Err(_) => drop(headers.remove(ETAG)),
    }
}

/// Decodes a gRPC message, which is compressed within its frame.
fn decode_frames(headers: &mut HeaderMap, body: Bytes, left: &mut usize) -> Bytes {
    let framed = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let names = named(headers, &GRPC_ENCODING);
    let [name] = names.as_slice() else {
        return body;
    };
    let Some(coding) = Coding::named(name).filter(|_| framed) else {
        return body;
    };
    match frame::decompressed(&body, |message| coding.decode(message, left)) {
        Some(plain) => {
            headers.remove(GRPC_ENCODING);
            plain
        }
        None => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const MOST: usize = 100_000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn encodings_are_decoded_in_any_spelling() {
        let text = br#"{"id":"tokens"}"#.repeat(1000);
        for (coding, body) in [
            ("gzip", gzip(&text)),
            ("X-GZip", gzip(&text)),
            ("deflate", zlib(&text)),
            ("deflate", raw(&text)),
            ("identity", text.clone()),
            ("", text.clone()),
            ("identity, gzip", gzip(&text)),
            ("deflate,gzip", gzip(&zlib(&text))),
            ("gzip", [gzip(&text[..7]), gzip(b""), gzip(&text[7..])].concat()),
        ] {
            let mut headers = headers(&[("content-encoding", coding), ("content-type", "application/json")]);
            assert_eq!(decode(&mut headers, body.into(), MOST), text, "{coding}");
            assert_eq!(remaining(&headers), None, "{coding}");
            assert!(!headers.contains_key(CONTENT_ENCODING), "{coding}");
        }
        let mut tagged = headers(&[("content-encoding", "gzip"), ("etag", "\"a\""), ("content-md5", "x")]);
        decode(&mut tagged, gzip(&text).into(), MOST);
        assert_eq!(tagged, headers(&[("etag", "W/\"a\"")]));
    }

    #[test]
    fn undecodable_bodies_stay_unchanged() {
        let text = b"text".repeat(1000);
        let (zipped, flat) = (gzip(&text), raw(&text));
        for (coding, body) in [
            ("br", zipped.clone()),
            ("gzip", text.clone()),
            ("deflate", text.clone()),
            ("gzip", zipped[..zipped.len() - 1].to_vec()),
            ("deflate", flat[..flat.len() - 1].to_vec()),
            ("gzip", gzip(&vec![0; MOST + 1])),
            ("deflate", zlib(&vec![0; MOST + 1])),
            ("gzip, br", zipped.clone()),
            ("gzip, gzip, gzip", gzip(&gzip(&zipped))),
            ("gzip", [&zipped[..], b"more"].concat()),
            ("gzip", [&zipped[..], &zipped[..20]].concat()),
            ("deflate", [&flat[..], b"more"].concat()),
            ("deflate", [zlib(&text), b"more".to_vec()].concat()),
            ("gzip", gzip(&vec![0; MOST / 2 + 1]).repeat(2)),
            ("gzip, gzip", gzip(&gzip(&noise(MOST / 2 + 1)))),
        ] {
            let mut headers = headers(&[("content-encoding", coding)]);
            let before = headers.clone();
            assert_eq!(decode(&mut headers, body.clone().into(), MOST), body, "{coding}");
            assert_eq!(headers, before, "{coding}");
            assert_eq!(remaining(&headers).as_deref(), Some(coding));
        }
        let mut empty = headers(&[("content-encoding", "gzip")]);
        assert_eq!(decode(&mut empty, Bytes::new(), MOST), Bytes::new());
        assert_eq!(remaining(&empty), None, "an empty body has no coding");
    }

    /// Incompressible bytes.
    fn noise(length: usize) -> Vec<u8> {
        let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        std::iter::successors(Some(1), next).map(|state| state.to_be_bytes()[0]).take(length).collect()
    }

    /// A compressed message in its frame.
    fn compressed(message: &[u8]) -> Vec<u8> {
        let mut frame = frame::framed(message).to_vec();
        frame[0] = 1;
        frame
    }

    #[test]
    fn frames_and_codings_share_one_budget() {
        let grpc = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        let bomb = compressed(&gzip(&vec![0; MOST / 2]));
        for body in [bomb.repeat(2), bomb.repeat(100), [bomb.clone(), frame::framed(b"m").to_vec()].concat()] {
            let mut headers = headers(&grpc);
            assert_eq!(decode(&mut headers, body.clone().into(), MOST), body, "more than one message");
            assert!(headers.contains_key(GRPC_ENCODING));
        }
        for (length, both) in [(MOST / 2 - 100, true), (MOST / 2 + 1, false)] {
            let framed = compressed(&gzip(&noise(length)));
            let mut headers = headers(&grpc);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let body = decode(&mut headers, gzip(&framed).into(), MOST);
            assert_eq!(body, if both { frame::framed(&noise(length)) } else { framed.into() }, "{length}");
            assert_eq!(headers.contains_key(GRPC_ENCODING), !both, "{length}");
        }
    }

    #[test]
    fn messages_in_frames_are_decoded() {
        let trailers = frame::framed_trailers(&headers(&[("grpc-status", "0")]));
        let body = |message: &[u8]| Bytes::from([message, &trailers].concat());
        let grpc = |coding| headers(&[("content-type", "application/grpc-web+proto"), ("grpc-encoding", coding)]);
        for (coding, message) in [("gzip", gzip(b"m")), ("deflate", zlib(b"m"))] {
            let mut headers = grpc(coding);
            assert_eq!(decode(&mut headers, body(&compressed(&message)), MOST), body(&frame::framed(b"m")), "{coding}");
            assert!(!headers.contains_key(GRPC_ENCODING));
        }
        assert_eq!(decode(&mut grpc("gzip"), body(&frame::framed(b"m")), MOST), body(&frame::framed(b"m")), "plain");
        for (coding, message) in [("snappy", b"m".to_vec()), ("gzip", b"m".to_vec())] {
            let (mut headers, came) = (grpc(coding), body(&compressed(&message)));
            assert_eq!(decode(&mut headers, came.clone(), MOST), came);
            assert_eq!(headers, grpc(coding));
        }
    }
}
