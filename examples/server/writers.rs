//! The writers of all WebSockets: a few tasks, each of which writes for many connections.
//!
//! A broadcast makes every member's outbox wake its writer. As a task for each connection that is
//! a task to schedule and to poll for one short write. Here it is an entry in a list, and a writer
//! goes through the list, a few connections at a time: it takes what waits for each of them, then
//! sends it all; only what is much it writes at once. A connection whose socket is full is given back
//! to its own task.

#[cfg_attr(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    path = "writers/ring.rs"
)]
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "writers/no_ring.rs"
)]
mod ring;
mod sends;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use pondwire::OutboxReader;
use smallvec::SmallVec;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::budget::Budget;
use sends::{Send, Sends, Sent};

/// Connections that are sent to together.
const LINES: usize = 16;

/// Batches of one connection before others have their turn.
const BATCHES: usize = 4;

/// Frames of at most so many bytes together are copied before they are sent: that costs less than
/// the kernel asks for a list of them.
const COPIED: usize = 8 << 10;

/// What a writer does between two yields, in bytes: some 100 µs.
const BUDGET: usize = 256 << 10;

/// A connection's turn, beside its bytes: a system call, or a part of one.
const TURN: usize = 1 << 10;

/// A byte that goes to a client that deflates, as it may have to be compressed.
const DEFLATED: usize = 8;

/// Frames that one write of more than that takes.
const FRAMES: usize = 64;

/// What is written, and where to.
pub(crate) struct Job {
    pub(crate) stream: OwnedWriteHalf,
    pub(crate) queue: OutboxReader,
    /// Whether permessage-deflate was agreed on.
    pub(crate) deflates: bool,
}

/// Why a writer does not write any more.
pub(crate) enum Halt {
    /// The socket is full. This is to be written first when it is not: a copy of what was left of
    /// a batch, 256 KiB at most or one frame, and of [`COPIED`] bytes before it.
    Full(Bytes),
    /// The outbox has ended.
    Over,
    /// The client is not there any more.
    Gone,
}

/// The writers; dropping it ends them.
pub(crate) struct Writers {
    lists: Vec<Arc<List>>,
    next: AtomicUsize,
    _tasks: JoinSet<()>,
}

/// The connections that one writer is to look at.
#[derive(Default)]
struct List {
    ready: Mutex<Vec<Arc<Line>>>,
    writer: AtomicWaker,
}

/// One connection, as its writer and its own task see it, and its outbox's waker. In this order:
/// what a wake touches lies in one line of the cache.
#[repr(C)]
struct Line {
    is_listed: AtomicBool,
    list: Arc<List>,
    held: Mutex<Held>,
    /// The connection's task is to look.
    halted: Notify,
}

struct Held {
    /// `None` while the connection's task has it.
    job: Option<Job>,
    /// The writer does nothing until the connection's task has looked.
    halt: Option<Halt>,
}

/// A connection at a writer.
pub(crate) struct Writing(Arc<Line>);

impl Writers {
    /// One writer for each worker of the runtime that this is called in.
    pub(crate) fn start(io_uring: bool) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let lists: Vec<Arc<List>> = (0..count).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for list in &lists {
            tasks.spawn(write(Arc::clone(list), Sends::new(io_uring)));
        }
        Self { lists, next: AtomicUsize::new(0), _tasks: tasks }
    }

    /// Writes what comes out of the queue from now on.
    pub(crate) fn take(&self, job: Job) -> Writing {
        let list = &self.lists[self.next.fetch_add(1, Ordering::Relaxed) % self.lists.len()];
        let line = Arc::new(Line {
            list: Arc::clone(list),
            is_listed: AtomicBool::new(false),
            held: Mutex::new(Held { job: Some(job), halt: None }),
            halted: Notify::new(),
        });
        line.wake_by_ref();
        Writing(line)
    }
}

impl Writing {
    /// Waits until the writer does not write any more, and takes the connection from it.
    /// Cancel-safe.
    pub(crate) async fn halted(&self) -> (Job, Halt) {
        loop {
            if let Some((job, Some(halt))) = self.take_if(|held| held.halt.is_some()) {
                return (job, halt);
            }
            self.0.halted.notified().await;
        }
    }

    /// Takes the connection from the writer, with the reason if that has halted.
    pub(crate) fn end(&self) -> Option<(Job, Option<Halt>)> {
        self.take_if(|_| true)
    }

    fn take_if(&self, is_wanted: impl Fn(&Held) -> bool) -> Option<(Job, Option<Halt>)> {
        let mut held = self.0.held.lock();
        let wanted = is_wanted(&held);
        let job = held.job.take_if(|_| wanted)?;
        Some((job, held.halt.take()))
    }

    /// Gives it back to be written to.
    pub(crate) fn resume(&self, job: Job) {
        self.0.held.lock().job = Some(job);
        self.0.wake_by_ref();
    }

    /// Gives it back to be left alone until it is [taken](Self::end).
    pub(crate) fn keep(&self, job: Job) {
        *self.0.held.lock() = Held { job: Some(job), halt: Some(Halt::Over) };
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The outbox holds the line as its waker, and the line the outbox.
        drop(self.end());
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut ready = self.list.ready.lock();
        let is_first = ready.is_empty();
        ready.push(Arc::clone(self));
        drop(ready);
        if is_first {
            self.list.writer.wake();
        }
    }
}

/// One writer.
async fn write(list: Arc<List>, mut sends: Sends) {
    let (mut ready, mut together) = (Vec::new(), Vec::new());
    let mut budget = Budget::new(BUDGET);
    loop {
        poll_fn(|cx| {
            list.writer.register(cx.waker());
            mem::swap(&mut ready, &mut *list.ready.lock());
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let mut left = ready.iter();
        while left.len() > 0 {
            // A panic is the end of the connections whose turn it is.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                write_lines(&mut left, &mut together, &mut sends, &mut budget);
            }));
            budget.yield_if_spent().await;
        }
        ready.clear();
    }
}

/// Writes what waits for some of the connections, of which none is there twice.
fn write_lines(
    lines: &mut slice::Iter<'_, Arc<Line>>,
    together: &mut Vec<u8>,
    sends: &mut Sends,
    budget: &mut Budget,
) {
    let mut turns = SmallVec::<[Turn<'_>; LINES]>::new();
    together.clear();
    for line in lines.take(LINES) {
        budget.charge(TURN);
        let Some(turn) = line.begin() else { continue };
        turns.push(turn);
        // Those before it have waited long enough, and those after it would wait for these.
        if turns.last_mut().is_some_and(|turn| turn.take(together, budget)) {
            break;
        }
    }
    let mut sent = {
        let due = turns.iter().filter_map(|turn| Some((turn.stream()?, turn.bytes(together)?)));
        sends.send(&due.collect::<SmallVec<[Send<'_>; LINES]>>())
    };
    for turn in &mut turns {
        if turn.bytes(together).is_some()
            && let Some(sent) = sent.next()
        {
            turn.end(sent, together);
        }
    }
}

impl Line {
    /// Begins a connection's turn, unless its task has it, or is to look first.
    fn begin(self: &Arc<Self>) -> Option<Turn<'_>> {
        // Before the look at the queue: what comes after it lists the line again.
        self.is_listed.swap(false, Ordering::AcqRel);
        let held = self.held.lock();
        let is_due = matches!(&*held, Held { job: Some(_), halt: None });
        is_due.then_some(Turn { line: self, held, bytes: 0..0, waits: false })
    }
}

/// One connection's turn to be written to. Who takes the connection after it takes with it why it is
/// not written to any more, and what is left of a frame.
struct Turn<'a> {
    line: &'a Arc<Line>,
    held: MutexGuard<'a, Held>,
    /// Where what is to be sent lies among what is sent together.
    bytes: Range<usize>,
    /// Whether more may wait.
    waits: bool,
}

impl Turn<'_> {
    /// Takes what waits; whether it was much, which took its time.
    fn take(&mut self, together: &mut Vec<u8>, budget: &mut Budget) -> bool {
        let Held { job: Some(job), halt } = &mut *self.held else { return false };
        let (start, mut was_much) = (together.len(), false);
        let waker = Waker::from(Arc::clone(self.line));
        match job.take(&mut Context::from_waker(&waker), together, budget, &mut was_much) {
            Ok(waits) => self.waits = waits,
            Err(why) => {
                if !matches!(why, Halt::Over) {
                    together.truncate(start);
                }
                *halt = Some(why);
            }
        }
        self.bytes = start..together.len();
        was_much
    }

    fn stream(&self) -> Option<&OwnedWriteHalf> {
        Some(&self.held.job.as_ref()?.stream)
    }

    /// What is to be sent, if anything is.
    fn bytes<'a>(&self, together: &'a [u8]) -> Option<&'a [u8]> {
        Some(&together[self.bytes.clone()]).filter(|bytes| !bytes.is_empty())
    }

    /// Learns how much of it was sent.
    fn end(&mut self, sent: Sent, together: &[u8]) {
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        };
        match sent.map(|sent| &together[self.bytes.start + sent..self.bytes.end]) {
            Ok([]) => {}
            // Even where the outbox has ended: it will be found so once more.
            Ok(rest) => self.held.halt = Some(Halt::Full(Bytes::copy_from_slice(rest))),
            Err(_) => self.held.halt = Some(Halt::Gone),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody knows what the socket was given.
            self.held.halt = Some(Halt::Gone);
        }
        if self.held.halt.is_some() {
            self.line.halted.notify_one();
        } else if self.waits {
            self.line.wake_by_ref();
        }
    }
}

impl Job {
    /// Takes what waits, [`BATCHES`] at most: appends it to `together`, or writes it if it is much,
    /// with what it had appended. Whether more may wait.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        together: &mut Vec<u8>,
        budget: &mut Budget,
        was_much: &mut bool,
    ) -> Result<bool, Halt> {
        let start = together.len();
        for _ in 0..BATCHES {
            let batch = match self.queue.poll_batch(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(Halt::Over),
                Poll::Ready(Some(batch)) => batch,
            };
            // Compressing takes its time, too.
            *was_much |= batch.remaining() > COPIED;
            budget.charge(batch.remaining() * if self.deflates { DEFLATED } else { 1 });
            let batch = if self.deflates { batch.into_deflated() } else { batch };
            if together.len() - start + batch.remaining() <= COPIED {
                batch.iter().for_each(|frame| together.extend_from_slice(frame));
                continue;
            }
            let mut much = together[start..].chain(batch);
            match write_much(&self.stream, &mut much) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Halt::Full(much.copy_to_bytes(much.remaining())));
                }
                Err(_) => return Err(Halt::Gone),
            }
            drop(much);
            together.truncate(start);
        }
        Ok(true)
    }
}

/// Writes all of it, or as much as the socket takes: then it fails with `WouldBlock`.
fn write_much(stream: &OwnedWriteHalf, much: &mut impl Buf) -> io::Result<()> {
    while much.has_remaining() {
        let mut frames = [IoSlice::new(&[]); FRAMES];
        let count = much.chunks_vectored(&mut frames);
        let written = stream.try_write_vectored(&frames[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        much.advance(written);
    }
    Ok(())
}
