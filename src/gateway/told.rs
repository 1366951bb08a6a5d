//! What is told of the cache and of its store: closed sets, which are also labels of the metrics.

use std::time::Duration;

/// What a cache does that an operator wants to know of. A closed set: it is also the `event` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A read left the cache out because a write was in flight.
    BypassMarked,
    /// A read left the cache out because the store failed.
    BypassFailed,
    /// A read left the cache out because too many waited.
    BypassWaiting,
    /// A read took over from a reader that did not finish.
    LeaseLost,
    /// An answer was there but may have outlived a mark that the store lost, and was fetched again.
    Fenced,
    /// An answer was there but could not be opened.
    Unreadable,
    /// An answer was older than an acknowledged write, and was not stored.
    TooOld,
    /// An answer that was no longer fresh was given while it was fetched again.
    StaleWhileRevalidate,
    /// An answer that was no longer fresh was given because the provider failed.
    StaleIfError,
    /// A write was forwarded although its mark could not be placed.
    Unmarked,
    /// A write was refused because its mark could not be placed.
    WriteRefused,
    /// A write was acknowledged although the store confirmed neither its mark nor its end.
    Unconfirmed,
    /// A write took longer than its mark stood, or the store lost the mark.
    MarkLost,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 13] = [
        Event::BypassMarked,
        Event::BypassFailed,
        Event::BypassWaiting,
        Event::LeaseLost,
        Event::Fenced,
        Event::Unreadable,
        Event::TooOld,
        Event::StaleWhileRevalidate,
        Event::StaleIfError,
        Event::Unmarked,
        Event::WriteRefused,
        Event::Unconfirmed,
        Event::MarkLost,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Event::BypassMarked => "bypass_marked",
            Event::BypassFailed => "bypass_failed",
            Event::BypassWaiting => "bypass_waiting",
            Event::LeaseLost => "lease_lost",
            Event::Fenced => "fenced",
            Event::Unreadable => "unreadable",
            Event::TooOld => "too_old",
            Event::StaleWhileRevalidate => "stale_while_revalidate",
            Event::StaleIfError => "stale_if_error",
            Event::Unmarked => "unmarked",
            Event::WriteRefused => "write_refused",
            Event::Unconfirmed => "unconfirmed",
            Event::MarkLost => "mark_lost",
        }
    }
}

/// How a store failed. A closed set: it is also the `reason` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// There is no connection.
    #[error("the store is not connected")]
    Disconnected,
    /// As many commands are under way as may be.
    #[error("too many commands are under way")]
    Busy,
    /// No answer came in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server answered with an error.
    #[error("the store refused")]
    Refused,
    /// The keys are on their way to another server, and not all of them are at the same one.
    #[error("the keys are on their way to another server")]
    Moving,
    /// What it answered makes no sense.
    #[error("the store's answer makes no sense")]
    Nonsense,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 7] = [
        Failure::Disconnected,
        Failure::Busy,
        Failure::Timeout,
        Failure::Broken,
        Failure::Refused,
        Failure::Moving,
        Failure::Nonsense,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Disconnected => "disconnected",
            Failure::Busy => "busy",
            Failure::Timeout => "timeout",
            Failure::Broken => "broken",
            Failure::Refused => "refused",
            Failure::Moving => "moving",
            Failure::Nonsense => "nonsense",
        }
    }
}

/// A step that a store carries out. A closed set: it is also the `step` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A read begins.
    Acquire,
    /// An answer is stored.
    Fill,
    /// What is stored ends, or is denied to somebody.
    Retire,
    /// A lease ends.
    Release,
    /// A write is marked.
    Begin,
    /// A write is settled.
    End,
    /// A list asks which of its sessions are deleted.
    Deleted,
}

impl Step {
    /// Every step.
    pub const ALL: [Step; 7] =
        [Step::Acquire, Step::Fill, Step::Retire, Step::Release, Step::Begin, Step::End, Step::Deleted];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Step::Acquire => "acquire",
            Step::Fill => "fill",
            Step::Retire => "retire",
            Step::Release => "release",
            Step::Begin => "begin",
            Step::End => "end",
            Step::Deleted => "deleted",
        }
    }
}

/// Why a connection from a client, or a request on it, was cut off. A closed set: it is also the `reason` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// There are as many connections as the process may have.
    Connections,
    /// There are as many connections from its source as there may be.
    Source,
    /// TLS was not agreed on.
    Tls,
    /// No whole head of a request came in time.
    Head,
    /// What came is no HTTP, or trailers with a pseudo-header.
    Malformed,
    /// No other request came in time.
    Idle,
    /// A body came too slowly.
    Body,
    /// Nothing of an answer was taken in time.
    Write,
    /// A connection of HTTP/2 was old enough.
    Age,
    /// Too many PING frames.
    Pings,
    /// Too many SETTINGS frames.
    Settings,
    /// Too many PRIORITY frames.
    Priorities,
    /// Too many requests of HTTP/2 that are malformed.
    Streams,
    /// Too many requests of HTTP/2 that were reset.
    Resets,
    /// Too many WINDOW_UPDATE frames.
    WindowUpdates,
    /// Too many frames that mean nothing.
    UnknownFrames,
    /// Too many frames with nothing in them.
    EmptyFrames,
    /// Too many heads of requests of HTTP/2 that were rejected, or a very large one.
    Heads,
    /// Memory was short, and its client did not read.
    Memory,
}

impl Cut {
    /// Every reason.
    pub const ALL: [Cut; 19] = [
        Cut::Connections,
        Cut::Source,
        Cut::Tls,
        Cut::Head,
        Cut::Malformed,
        Cut::Idle,
        Cut::Body,
        Cut::Write,
        Cut::Age,
        Cut::Pings,
        Cut::Settings,
        Cut::Priorities,
        Cut::Streams,
        Cut::Resets,
        Cut::WindowUpdates,
        Cut::UnknownFrames,
        Cut::EmptyFrames,
        Cut::Heads,
        Cut::Memory,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Connections => "connections",
            Cut::Source => "per_source",
            Cut::Tls => "tls_handshake",
            Cut::Head => "head_timeout",
            Cut::Malformed => "malformed",
            Cut::Idle => "idle_timeout",
            Cut::Body => "min_body_rate",
            Cut::Write => "write_timeout",
            Cut::Age => "max_age",
            Cut::Pings => "pings",
            Cut::Settings => "settings",
            Cut::Priorities => "priorities",
            Cut::Streams => "malformed_streams",
            Cut::Resets => "resets",
            Cut::WindowUpdates => "window_updates",
            Cut::UnknownFrames => "unknown_frames",
            Cut::EmptyFrames => "empty_frames",
            Cut::Heads => "rejected_heads",
            Cut::Memory => "memory",
        }
    }
}

/// Whoever is told of what a shared store does.
pub trait Listener: Send + Sync {
    /// A step is over.
    fn step(&self, step: Step, took: Duration, failure: Option<Failure>);
    /// There is one more connection to a server.
    fn connected(&self);
    /// There is one connection to a server less.
    fn disconnected(&self);
    /// An entry of so many bytes came.
    fn read(&self, bytes: usize);
    /// An entry of so many bytes went.
    fn written(&self, bytes: usize);
}
