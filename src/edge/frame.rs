//! The frames of HTTP/2 (RFC 9113, section 4) as they pass, in parts of any size.

/// How a client begins to speak HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes before a frame's payload: its length in 24 bits, its type, its flags, its stream.
pub(super) const HEAD: usize = 9;
/// The size of one setting in a SETTINGS frame, of the increment in a WINDOW_UPDATE frame, of the code in an RST_STREAM
/// frame.
const SETTING: usize = 6;
const INCREMENT: usize = 4;
const CODE: usize = 4;
/// The first bit of a stream's number, and of an increment, means nothing.
const RESERVED: u32 = u32::MAX >> 1;

// Types of frames.
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
/// Of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
/// Of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;
/// Of DATA and HEADERS.
pub(super) const PADDED: u8 = 8;
/// Of HEADERS: a priority stands before the block.
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// The setting of the window that streams begin with, and the window without it.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const INITIAL_WINDOW: i64 = 65_535;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FrameHead {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// The length of its payload, in bytes.
    pub length: usize,
}

impl FrameHead {
    /// The one that these bytes begin with; none where it is not whole.
    pub fn of(bytes: &[u8]) -> Option<FrameHead> {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes.first_chunk::<HEAD>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(FrameHead { kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & RESERVED, length })
    }

    /// How it is written.
    pub fn bytes(&self) -> [u8; HEAD] {
        let [.., a, b, c] = self.length.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// What passes on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameEvent<'b> {
    /// A frame whose payload begins.
    Frame(FrameHead),
    /// A setting: its number and its value.
    Setting(u16, u32),
    /// The increment of a WINDOW_UPDATE frame on this stream.
    Increment(u32, u32),
    /// The code of an RST_STREAM frame.
    Reset(u32),
    /// How much of a frame of DATA is padding.
    Padding(FrameHead, usize),
    /// A part of a frame of HEADERS or CONTINUATION.
    Block(&'b [u8]),
}

/// Where one direction of a connection stands.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    head: [u8; HEAD],
    filled: usize,
    /// The frame whose payload is to come, or has come.
    frame: FrameHead,
    /// How much of the payload is to come.
    left: usize,
    /// A part of a payload that is read: a setting, or an increment.
    part: [u8; SETTING],
    part_filled: usize,
}

impl Cursor {
    /// Goes over bytes, and shows each frame whose payload begins in them, and what is read of payloads.
    pub fn pass<'b>(&mut self, mut bytes: &'b [u8], mut seen: impl FnMut(FrameEvent<'b>)) {
        while !bytes.is_empty() {
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= payload.len();
            self.read(payload, &mut seen);
            let wanted = (HEAD - self.filled).min(rest.len());
            let (taken, rest) = rest.split_at(wanted);
            self.head.iter_mut().skip(self.filled).zip(taken).for_each(|(to, from)| *to = *from);
            self.filled += wanted;
            bytes = rest;
            if self.filled == HEAD {
                self.frame = FrameHead::of(&self.head).unwrap_or_default();
                self.left = self.frame.length;
                self.filled = 0;
                self.part_filled = 0;
                seen(FrameEvent::Frame(self.frame));
            }
        }
    }

    /// Reads a part of the payload of a frame, where it is one that is looked at.
    fn read<'b>(&mut self, payload: &'b [u8], seen: &mut impl FnMut(FrameEvent<'b>)) {
        let wanted = match self.frame.kind {
            SETTINGS => SETTING,
            WINDOW_UPDATE => INCREMENT,
            RST_STREAM => CODE,
            DATA if self.frame.flags & PADDED != 0 => return self.padding(payload, seen),
            HEADERS | CONTINUATION if !payload.is_empty() => return seen(FrameEvent::Block(payload)),
            _ => return,
        };
        for byte in payload {
            if let Some(to) = self.part.get_mut(self.part_filled) {
                *to = *byte;
            }
            self.part_filled += 1;
            if self.part_filled == wanted {
                self.part_filled = 0;
                let [a, b, c, d, e, f] = self.part;
                let number = u32::from_be_bytes([a, b, c, d]);
                seen(match self.frame.kind {
                    SETTINGS => FrameEvent::Setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])),
                    RST_STREAM => FrameEvent::Reset(number),
                    _ => FrameEvent::Increment(self.frame.stream, number & RESERVED),
                });
            }
        }
    }

    /// The first byte of a padded frame is the length of its padding.
    fn padding<'b>(&mut self, payload: &'b [u8], seen: &mut impl FnMut(FrameEvent<'b>)) {
        if let (0, Some(padding)) = (self.part_filled, payload.first()) {
            self.part_filled = 1;
            seen(FrameEvent::Padding(self.frame, usize::from(*padding)));
        }
    }

    pub fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }
}
