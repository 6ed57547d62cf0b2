//! What the operator is told, on standard error.
//!
//! Nobody may be reading there, or nobody any more: a write that blocks would stop its connections,
//! and `eprintln!` panics on a pipe whose reader is gone. So a thread of its own writes, and a line
//! for which there is no room is counted and dropped.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written.
const WAITING: usize = 256;

/// How long the end of the process waits for its last line.
const FLUSHED: Duration = Duration::from_millis(200);

enum Entry {
    Line(String),
    /// Answered once everything before it has been written.
    Flush(SyncSender<()>),
}

/// Lines that nobody took in time, and that will not be written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// `None` where no thread could be had.
static WRITER: LazyLock<Option<SyncSender<Entry>>> = LazyLock::new(|| {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("log".to_owned());
    thread.spawn(move || write(&receiver)).is_ok().then_some(sender)
});

/// Writes the line, some time or never; does not wait.
pub(crate) fn line(text: impl Display) {
    let taken = WRITER
        .as_ref()
        .is_some_and(|writer| writer.try_send(Entry::Line(format!("{text}\n"))).is_ok());
    if !taken {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all lines are written, or a moment where nobody takes them.
pub(crate) fn flush() {
    let (done, is_done) = sync_channel(1);
    if let Some(writer) = &*WRITER
        && writer.try_send(Entry::Flush(done)).is_ok()
    {
        let _ = is_done.recv_timeout(FLUSHED);
    }
}

fn write(entries: &Receiver<Entry>) {
    for entry in entries {
        // There is nobody to tell that the log cannot be written.
        match entry {
            Entry::Line(line) => {
                let dropped = DROPPED.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    let _ = writeln!(io::stderr(), "{dropped} lines were dropped here");
                }
                let _ = io::stderr().write_all(line.as_bytes());
            }
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}
