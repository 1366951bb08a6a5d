//! The log writer: lines are queued without waiting, and written in larger chunks by a thread of its own.
//!
//! A slow or missing reader of the log never delays traffic: lines that do not fit in the queue are dropped and
//! counted.
//!
//! `tracing-appender` 0.2.5 cannot replace it: it bounds lines instead of bytes, does not count lines that could not be
//! written, and cannot flush while it runs. Measured with lines of 600 bytes: with a reader that hangs the process grew
//! to 80 MiB, against 10 MiB here, and it wrote ten times as often, even with a `BufWriter`.

mod interval;

pub use interval::LogInterval;

use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The most bytes that wait to be written.
const MAX_PENDING: usize = 4 * 1024 * 1024;
/// How long lines are collected before they are written.
const COLLECT_TIME: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    busy: bool,
}

struct Shared {
    pending: Mutex<Pending>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

/// A handle to the log writer. Clones share it.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

impl LogWriter {
    /// A log writer for `out`.
    pub fn new(out: impl Write + Send + 'static) -> io::Result<LogWriter> {
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let own = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || write_all(&own, out))?;
        Ok(LogWriter { shared })
    }

    /// Queues one line, with its line feed.
    pub fn line(&self, line: &[u8]) {
        let mut pending = self.shared.pending.lock();
        if pending.lines.len() + line.len() > MAX_PENDING {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = pending.lines.is_empty();
        pending.lines.extend_from_slice(line);
        if first {
            self.shared.filled.notify_one();
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, for at most 500 ms without progress.
    pub fn flush(&self) {
        let mut pending = self.shared.pending.lock();
        while pending.busy || !pending.lines.is_empty() {
            if self.shared.written.wait_for(&mut pending, Duration::from_millis(500)).timed_out() {
                return;
            }
        }
    }
}

fn write_all(shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        {
            let mut pending = shared.pending.lock();
            pending.busy = false;
            shared.written.notify_all();
            while pending.lines.is_empty() {
                shared.filled.wait(&mut pending);
            }
        }
        thread::sleep(COLLECT_TIME);
        {
            let mut pending = shared.pending.lock();
            pending.busy = true;
            std::mem::swap(&mut lines, &mut pending.lines);
        }
        if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
            let lost = lines.iter().filter(|byte| **byte == b'\n').count();
            shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        }
        lines.clear();
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
