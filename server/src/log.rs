//! Log lines for the operator, on standard error.
//!
//! Standard error may be a pipe that is full or has no reader: a blocking write would stall connections,
//! and `eprintln!` would panic. So a separate thread writes, and a line that does not fit into its queue is
//! dropped and counted.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

#[cfg(feature = "tracing")]
use crate::trace;

/// The most lines queued to be written.
const WAITING: usize = 256;

/// The longest that [`flush`] waits.
const FLUSHED: Duration = Duration::from_millis(200);

enum Entry {
    Line(String),
    /// Answered once all earlier lines have been written.
    Flush(SyncSender<()>),
}

/// The lines dropped since the last one was written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// `None` if no thread could be started.
static WRITER: LazyLock<Option<SyncSender<Entry>>> = LazyLock::new(|| {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("log".to_owned());
    thread.spawn(move || write(&receiver)).is_ok().then_some(sender)
});

/// Queues a line for the writing thread, without waiting. The line is dropped if 256 lines are queued.
///
/// With the feature `tracing`, and a subscriber, it is an event of the level `WARN` instead.
pub fn line(text: impl Display) {
    #[cfg(feature = "tracing")]
    {
        use tracing::{dispatcher, subscriber::NoSubscriber};

        if !dispatcher::get_default(|subscriber| subscriber.is::<NoSubscriber>()) {
            trace::event!(WARN, "{text}");
            return;
        }
    }
    let taken = WRITER
        .as_ref()
        .is_some_and(|writer| writer.try_send(Entry::Line(format!("{text}\n"))).is_ok());
    if !taken {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all queued lines are written, for at most 200 ms.
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
        // A failure to write the log cannot be logged.
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
