use super::*;
use proptest::prelude::*;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const PATH: &[u8] = b"tmp%2Fgate.sock";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&FrameHead { kind, flags, stream, length: payload.len() }.bytes()[..], payload].concat()
}

/// The header block of a request with this authority.
fn fields(authority: &[u8]) -> Vec<u8> {
    [&[0x82, 0x86, 0x84, 0x41, u8::try_from(authority.len()).unwrap()][..], authority].concat()
}

/// The same request as the rewriter encodes it.
fn rewritten(authority: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    let field = |name: &[u8], value: &[u8]| [vec![0], text(name), text(value)].concat();
    let own = field(b":authority", authority);
    let rest = [field(b":method", b"GET"), field(b":scheme", b"http"), field(b":path", b"/")].concat();
    // A replaced authority comes first.
    if authority == b"=" { [own, rest].concat() } else { [rest, own].concat() }
}

/// The frame for which the library closes the connection.
fn end() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, INVALID_FIELDS)
}

const MAX_HEAD_LENGTH: usize = 64 << 10;

/// The output for bytes that arrive in pieces of this size.
fn forwarded(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut authorities = AuthorityRewriter::new(MAX_HEAD_LENGTH);
    let (mut rest, mut all) = (bytes, Vec::new());
    loop {
        let mut room = [0; 7];
        let mut buffer = ReadBuf::new(&mut room);
        let read = authorities.poll_read(&mut buffer, |part| {
            let (next, behind) = rest.split_at(size.min(part.remaining()).min(rest.len()));
            part.put_slice(next);
            rest = behind;
            Poll::Ready(Ok(()))
        });
        assert!(matches!(read, Poll::Ready(Ok(()))));
        if buffer.filled().is_empty() {
            return all;
        }
        all.extend_from_slice(buffer.filled());
    }
}

#[test]
fn heads_are_rewritten_in_any_fragmentation() {
    let own = fields(PATH);
    let mended = rewritten(b"=");
    let body = frame(DATA, END_STREAM, 1, &[7; 40]);
    let priority = [0, 0, 0, 0, 9];
    for (what, head, expected) in [
        ("one frame", frame(HEADERS, END_HEADERS, 1, &own), frame(HEADERS, END_HEADERS, 1, &mended)),
        (
            "padded, with a priority, and the end of the stream",
            frame(
                HEADERS,
                END_HEADERS | PADDED | HAS_PRIORITY | END_STREAM,
                1,
                &[&[3][..], &priority, &own, &[0; 3]].concat(),
            ),
            frame(HEADERS, END_HEADERS | HAS_PRIORITY | END_STREAM, 1, &[&priority[..], &mended].concat()),
        ),
        (
            "continued within the authority",
            [
                frame(HEADERS, 0, 1, &own[..9]),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &own[9..]),
            ]
            .concat(),
            frame(HEADERS, END_HEADERS, 1, &mended),
        ),
    ] {
        for size in [1, 2, 3, 5, 64, 4096] {
            let all = [PREFACE, &frame(4, 0, 0, &[]), &head, &body, &head].concat();
            let after = [PREFACE, &frame(4, 0, 0, &[]), &expected, &body, &expected].concat();
            assert_eq!(forwarded(&all, size), after, "{what}, {size}");
        }
    }
}

#[test]
fn other_frames_and_hosts_are_not_changed() {
    let (host, same) = (fields(b"a.example:80"), frame(HEADERS, END_HEADERS, 1, &rewritten(b"a.example:80")));
    let padded = frame(HEADERS, END_HEADERS | PADDED, 1, &[&[2][..], &host, &[0; 2]].concat());
    let cut = [frame(HEADERS, 0, 1, &host[..2]), frame(CONTINUATION, END_HEADERS, 1, &host[2..])].concat();
    let others = [frame(DATA, 0, 1, PATH), frame(6, 0, 0, &[0; 8])].concat();
    let all = [PREFACE, &padded, &others, &cut, &others, &[0, 0, 9, 0]].concat();
    let expected = [PREFACE, &same, &others, &same, &others, &[0, 0, 9, 0]].concat();
    for size in [1, 3, 4096] {
        assert_eq!(forwarded(&all, size), expected, "{size}");
    }
}

#[test]
fn a_connection_that_is_not_understood_ends() {
    let own = frame(HEADERS, END_HEADERS, 9, &fields(PATH));
    for (what, bytes) in [
        ("no head is continued", frame(CONTINUATION, END_HEADERS, 1, &fields(PATH))),
        ("another frame in a head", [frame(HEADERS, 0, 1, &[]), frame(DATA, 0, 1, &[])].concat()),
        ("another stream", [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
        ("more padding than there is", frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x82])),
        ("no length of the padding", frame(HEADERS, END_HEADERS | PADDED, 1, &[])),
        ("no room for a priority", frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, &[0; 4])),
        ("no HPACK", frame(HEADERS, END_HEADERS, 1, &[0x41, 9])),
        ("a frame that is too large", frame(HEADERS, END_HEADERS, 1, &[0x82; MAX_FRAME_LENGTH + 1])),
        ("a head that is too large", {
            let more = frame(CONTINUATION, 0, 1, &[0x82; MAX_FRAME_LENGTH]);
            [frame(HEADERS, 0, 1, &[]), more.repeat(MAX_HEAD_LENGTH / MAX_FRAME_LENGTH + 1)].concat()
        }),
        ("a head in too many frames", {
            [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 0, 1, &[]).repeat(MAX_CONTINUATIONS + 1)].concat()
        }),
    ] {
        let first = frame(4, 0, 0, &[]);
        let all = [PREFACE, &first, &bytes, &own].concat();
        for size in [3, 8192] {
            assert!(forwarded(&all, size) == [PREFACE, &first, &end()].concat(), "{what}, {size}");
        }
    }
}

#[test]
fn fields_that_need_more_room_are_continued() {
    let long = [0x82; 1400];
    let all = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &long)].concat();
    let fields = rewritten(b"=")[14..27].repeat(long.len());
    let expected = [
        PREFACE,
        &frame(HEADERS, 0, 1, &fields[..MAX_FRAME_LENGTH]),
        &frame(CONTINUATION, END_HEADERS, 1, &fields[MAX_FRAME_LENGTH..]),
    ]
    .concat();
    assert!(forwarded(&all, 1000) == expected);
}

#[test]
fn memory_is_released_after_each_head() {
    let mut authorities = AuthorityRewriter::new(MAX_HEAD_LENGTH);
    let room = &mut [0; 4096];
    let mut take = |authorities: &mut AuthorityRewriter, bytes: &[u8]| {
        authorities.receive(bytes);
        while authorities.give(&mut ReadBuf::new(room)) {}
        authorities.memory_change()
    };
    take(&mut authorities, PREFACE);
    let large = vec![0x82; MAX_FRAME_LENGTH];
    let (before, held) = take(&mut authorities, &frame(HEADERS, 0, 1, &large)).unwrap();
    assert!(before < 100 && held >= MAX_FRAME_LENGTH, "{before}, {held}");
    let (before, held) = take(&mut authorities, &frame(CONTINUATION, 0, 1, &large)).unwrap();
    assert!(
        before >= MAX_FRAME_LENGTH && (2 * MAX_FRAME_LENGTH..2 * MAX_HEAD_LENGTH).contains(&held),
        "{before}, {held}"
    );
    let (_, held) = take(&mut authorities, &frame(CONTINUATION, END_HEADERS, 1, &[])).unwrap();
    assert_eq!(held, 0);
    // The client's dynamic table stays.
    let (_, held) = take(&mut authorities, &frame(HEADERS, END_HEADERS, 3, &fields(PATH))).unwrap();
    assert_eq!(held, 32 + ":authority".len() + PATH.len());
    take(&mut authorities, &frame(HEADERS, 0, 5, &large));
    let (_, held) = take(&mut authorities, &frame(DATA, 0, 5, &[])).unwrap();
    assert!(held < 100, "{held}");
}

/// The requests that the library parses: authority and headers of each.
async fn requests(bytes: &[u8], count: usize) -> Vec<(Option<String>, http::HeaderMap)> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(bytes).await.unwrap();
    let mut connection = h2::server::handshake(server).await.unwrap();
    let mut all = Vec::new();
    while all.len() < count {
        let (request, _) = connection.accept().await.unwrap().unwrap();
        let authority = request.uri().authority().map(ToString::to_string);
        all.push((authority, request.headers().clone()));
    }
    all
}

/// What the library's client sends, with its dynamic table and Huffman coding, for these authorities and many fields.
async fn written_by_library(authorities: &[String]) -> Vec<u8> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let (sender, connection) = h2::client::handshake(client).await.unwrap();
    let driven = tokio::spawn(connection);
    let mut open = Vec::new();
    for (at, authority) in authorities.iter().enumerate() {
        let mut request = http::Request::post(format!("http://{authority}/path/{at}")).header("x-turn", at.to_string());
        for more in 0..at % 30 {
            request = request.header(format!("x-{}", more % 7), format!("%{}\u{e9}", "Va ".repeat(more)));
        }
        open.push(sender.clone().send_request(request.body(()).unwrap(), true).unwrap());
    }
    let mut bytes = Vec::new();
    let ended = |bytes: &[u8]| {
        let (mut rest, mut count) = (bytes.get(PREFACE.len()..).unwrap_or_default(), 0);
        while let Some(frame) = FrameHead::of(rest) {
            let Some(behind) = rest.get(FRAME_HEAD_LENGTH + frame.length..) else { break };
            count += usize::from(frame.kind == HEADERS);
            rest = behind;
        }
        count
    };
    while ended(&bytes) < authorities.len() {
        assert!(server.read_buf(&mut bytes).await.unwrap() > 0);
    }
    drop(open);
    driven.abort();
    bytes
}

/// The library accepts `!` in an authority, although no host contains it: paths and hosts in turn.
#[tokio::test]
async fn another_implementation_reads_the_same_but_for_the_paths() {
    let authorities: Vec<String> = (0..80)
        .map(|at| match at % 4 {
            0 => "localhost".into(),
            1 => "run!gate.sock".into(),
            2 => format!("a{at}.example:80"),
            _ => format!("tmp!x{at}!gate.sock"),
        })
        .collect();
    let bytes = written_by_library(&authorities).await;
    let own = requests(&bytes, authorities.len()).await;
    for size in [1, 100, 1 << 20] {
        let mended = requests(&forwarded(&bytes, size), authorities.len()).await;
        for (own, mended) in own.iter().zip(&mended) {
            let expected = own.0.as_deref().map(|own| if own.contains('!') { "=" } else { own });
            assert_eq!(mended.0.as_deref(), expected);
            assert_eq!(mended.1, own.1);
        }
    }
}

proptest! {
    /// Any input in any pieces gives the same output; frames other than heads are unchanged.
    #[test]
    fn fragmentation_does_not_change_the_result(
        bytes: Vec<u8>,
        frames: Vec<(u8, u8, Vec<u8>)>,
        size in 1..40_usize,
    ) {
        let frame = |(kind, flags, payload): &(u8, u8, Vec<u8>)| frame(kind % 12, *flags, u32::from(kind & 3), payload);
        let frames: Vec<u8> = frames.iter().flat_map(frame).collect();
        let whole = [PREFACE, &frames, &bytes].concat();
        prop_assert_eq!(forwarded(&whole, size), forwarded(&whole, whole.len()));
    }

    #[test]
    fn bodies_are_not_changed(payload: Vec<u8>, size in 1..40_usize) {
        let all = [PREFACE, &frame(DATA, 0, 1, &payload)].concat();
        prop_assert_eq!(forwarded(&all, size), all);
    }
}
