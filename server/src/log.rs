//! Lines for the operator, on standard error.
//!
//! Standard error may be a pipe that is full or has no reader: a write that blocks would stop connections,
//! and `eprintln!` would panic. So a thread of its own writes, and a line for which there is no room is
//! dropped and counted.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The most lines that wait to be written.
const WAITING: usize = 256;

/// How long [`flush`] waits.
const FLUSHED: Duration = Duration::from_millis(200);

enum Entry {
    Line(String),
    /// Answered once everything before it has been written.
    Flush(SyncSender<()>),
}

/// Lines that were dropped since the last one was written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// `None` where no thread could be started.
static WRITER: LazyLock<Option<SyncSender<Entry>>> = LazyLock::new(|| {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("log".to_owned());
    thread.spawn(move || write(&receiver)).is_ok().then_some(sender)
});

/// Hands the line to the thread that writes, without waiting for it. It is dropped when 256 lines wait.
pub fn line(text: impl Display) {
    let taken = WRITER
        .as_ref()
        .is_some_and(|writer| writer.try_send(Entry::Line(format!("{text}\n"))).is_ok());
    if !taken {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all lines are written, for 200 ms at most.
pub fn flush() {
    let (done, is_done) = sync_channel(1);
    if let Some(writer) = &*WRITER
        && writer.try_send(Entry::Flush(done)).is_ok()
    {
        let _ = is_done.recv_timeout(FLUSHED);
    }
}

fn write(entries: &Receiver<Entry>) {
    for entry in entries {
        // That the log cannot be written cannot be logged.
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
