//! The log: lines that are handed over without waiting, and written by a thread of its own in larger pieces.
//!
//! A reader of the log that is slow, or gone, never holds up traffic: lines that find no room are dropped and counted.

use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How many bytes may wait to be written.
const ROOM: usize = 4 * 1024 * 1024;
/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    busy: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

/// A log. Clones are the same log.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

impl LogWriter {
    /// A log that is written to `out`.
    pub fn new(out: impl Write + Send + 'static) -> io::Result<LogWriter> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let own = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || write_all(&own, out))?;
        Ok(LogWriter { shared })
    }

    /// Hands over one line, with its line feed.
    pub fn line(&self, line: &[u8]) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.lines.len() + line.len() > ROOM {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        if first {
            self.shared.filled.notify_one();
        }
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits, a moment at the most, until everything is written.
    pub fn flush(&self) {
        let mut waiting = self.shared.waiting.lock();
        while waiting.busy || !waiting.lines.is_empty() {
            if self.shared.written.wait_for(&mut waiting, Duration::from_millis(500)).timed_out() {
                return;
            }
        }
    }
}

fn write_all(shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        {
            let mut waiting = shared.waiting.lock();
            waiting.busy = false;
            shared.written.notify_all();
            while waiting.lines.is_empty() {
                shared.filled.wait(&mut waiting);
            }
        }
        thread::sleep(GATHER);
        {
            let mut waiting = shared.waiting.lock();
            waiting.busy = true;
            std::mem::swap(&mut lines, &mut waiting.lines);
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
