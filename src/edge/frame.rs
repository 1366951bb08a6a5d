//! Incremental parser of HTTP/2 frames (RFC 9113, section 4).

/// The client's connection preface (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header: length (24 bits), type, flags, stream.
pub(super) const FRAME_HEAD_LENGTH: usize = 9;
/// Bytes of one setting in a SETTINGS frame, of the increment in a WINDOW_UPDATE frame, of the code in an RST_STREAM
/// frame.
const SETTING_LENGTH: usize = 6;
const INCREMENT_LENGTH: usize = 4;
const CODE_LENGTH: usize = 4;
/// The first bit of stream identifiers and increments is reserved.
const MASK_31_BITS: u32 = u32::MAX >> 1;

// Frame types.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

// Flags.
/// On DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// On SETTINGS and PING.
pub(super) const ACK: u8 = 1;
/// On HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;
/// On DATA and HEADERS.
pub(super) const PADDED: u8 = 8;
/// On HEADERS: priority fields precede the header block.
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// The SETTINGS identifier of the initial window size, and that size if the setting is absent.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const INITIAL_WINDOW: i64 = 65_535;

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FrameHead {
    pub kind: u8,
    pub flags: u8,
    /// The stream; 0 for the connection.
    pub stream: u32,
    /// Length of the payload, in bytes.
    pub length: usize,
}

impl FrameHead {
    /// Parses the frame header at the start of `bytes`. `None` if it is incomplete.
    pub fn of(bytes: &[u8]) -> Option<FrameHead> {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes.first_chunk::<FRAME_HEAD_LENGTH>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(FrameHead { kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & MASK_31_BITS, length })
    }

    /// Encodes the frame header.
    pub fn bytes(&self) -> [u8; FRAME_HEAD_LENGTH] {
        let [.., a, b, c] = self.length.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// A step of parsing one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameEvent<'b> {
    /// A frame header; its payload follows.
    Frame(FrameHead),
    /// A setting: identifier and value.
    Setting(u16, u32),
    /// A WINDOW_UPDATE frame: stream and increment.
    Increment(u32, u32),
    /// The error code of an RST_STREAM frame.
    Reset(u32),
    /// Bytes of padding in a DATA frame.
    Padding(FrameHead, usize),
    /// A part of the payload of a HEADERS or CONTINUATION frame.
    Block(&'b [u8]),
}

/// Parses one direction of a connection, from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct FrameParser {
    head: [u8; FRAME_HEAD_LENGTH],
    filled: usize,
    /// The current frame, or the last one.
    frame: FrameHead,
    /// Bytes of its payload that have not arrived.
    payload_left: usize,
    /// The part of a payload that is decoded: a setting, an increment or a code.
    part: [u8; SETTING_LENGTH],
    part_filled: usize,
}

impl FrameParser {
    /// Parses bytes and reports each event in them.
    pub fn parse<'b>(&mut self, mut bytes: &'b [u8], mut event: impl FnMut(FrameEvent<'b>)) {
        while !bytes.is_empty() {
            let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
            self.payload_left -= payload.len();
            self.parse_payload(payload, &mut event);
            let needed = (FRAME_HEAD_LENGTH - self.filled).min(rest.len());
            let (taken, rest) = rest.split_at(needed);
            self.head.iter_mut().skip(self.filled).zip(taken).for_each(|(to, from)| *to = *from);
            self.filled += needed;
            bytes = rest;
            if self.filled == FRAME_HEAD_LENGTH {
                self.frame = FrameHead::of(&self.head).unwrap_or_default();
                self.payload_left = self.frame.length;
                self.filled = 0;
                self.part_filled = 0;
                event(FrameEvent::Frame(self.frame));
            }
        }
    }

    /// Decodes a part of a payload, for frame types that need it.
    fn parse_payload<'b>(&mut self, payload: &'b [u8], event: &mut impl FnMut(FrameEvent<'b>)) {
        let needed = match self.frame.kind {
            SETTINGS => SETTING_LENGTH,
            WINDOW_UPDATE => INCREMENT_LENGTH,
            RST_STREAM => CODE_LENGTH,
            DATA if self.frame.flags & PADDED != 0 => return self.padding(payload, event),
            HEADERS | CONTINUATION if !payload.is_empty() => return event(FrameEvent::Block(payload)),
            _ => return,
        };
        for byte in payload {
            if let Some(to) = self.part.get_mut(self.part_filled) {
                *to = *byte;
            }
            self.part_filled += 1;
            if self.part_filled == needed {
                self.part_filled = 0;
                let [a, b, c, d, e, f] = self.part;
                let number = u32::from_be_bytes([a, b, c, d]);
                event(match self.frame.kind {
                    SETTINGS => FrameEvent::Setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])),
                    RST_STREAM => FrameEvent::Reset(number),
                    _ => FrameEvent::Increment(self.frame.stream, number & MASK_31_BITS),
                });
            }
        }
    }

    /// The first byte of a padded frame is the length of its padding.
    fn padding<'b>(&mut self, payload: &'b [u8], event: &mut impl FnMut(FrameEvent<'b>)) {
        if let (0, Some(padding)) = (self.part_filled, payload.first()) {
            self.part_filled = 1;
            event(FrameEvent::Padding(self.frame, usize::from(*padding)));
        }
    }

    pub fn is_between_frames(&self) -> bool {
        self.payload_left == 0 && self.filled == 0
    }
}
