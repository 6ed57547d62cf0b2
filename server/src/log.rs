//! Log lines for the operator, on standard error.
//!
//! Standard error may be a pipe that is full or has no reader: a blocking write would stall connections,
//! and `eprintln!` would panic. So a separate thread writes, and a line that does not fit into its queue is
//! dropped and counted.

use std::fmt::{self, Display, Formatter, Write as _};
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
/// Control characters of the text are escaped, `\n` for instance, and so are those that change its direction: it may
/// contain names that clients chose, and remains one line.
///
/// With the feature `tracing`, and a subscriber, it is an event of the level `WARN` instead.
pub fn line(text: impl Display) {
    let text = Escaped(text);
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

/// A text on one line.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Passes on what is written to it, escaped.
struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_active) {
            let (before, from) = rest.split_at(at);
            let mut chars = from.chars();
            self.0.write_str(before)?;
            chars.next().map_or(Ok(()), |char| write!(self.0, "{}", char.escape_debug()))?;
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Whether a terminal, or what reads the log line by line, would do something other than to show it.
fn is_active(char: char) -> bool {
    // The last are the separators of lines and paragraphs, and the marks of direction (UAX #9).
    char.is_control()
        || matches!(char, '\u{61C}' | '\u{200E}' | '\u{200F}')
        || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
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

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn a_text_is_one_line_whatever_is_in_it() {
        for (text, line) in [
            ("event say: it's \"héllo\" \\ – 你好", "event say: it's \"héllo\" \\ – 你好"),
            ("say\r\n2026-11-29 all is well", "say\\r\\n2026-11-29 all is well"),
            ("\0\t\u{1b}[2J\u{7f}", "\\0\\t\\u{1b}[2J\\u{7f}"),
            ("a\u{9b}b\u{85}c", "a\\u{9b}b\\u{85}c"),
            ("a\u{2028}b\u{202e}c\u{2067}\u{200f}", "a\\u{2028}b\\u{202e}c\\u{2067}\\u{200f}"),
            ("", ""),
        ] {
            assert_eq!(Escaped(format_args!("{text}")).to_string(), line);
        }
    }
}
