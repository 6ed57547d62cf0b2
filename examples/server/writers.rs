//! The writers of all WebSockets: a few tasks, each of which writes for many connections.
//!
//! A broadcast makes every member's outbox wake its writer. As a task for each connection that is
//! a task to schedule and to poll for one short write. Here it is an entry in a list, and a writer
//! goes through the list. A connection whose socket is full is given back to its own task.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use pondwire::OutboxReader;
use pondwire::outbox::Batch;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::{JoinSet, consume_budget};

/// Batches of one connection before others have their turn.
const BATCHES: usize = 4;

/// Frames that one write takes.
const FRAMES: usize = 64;

/// Frames of at most so many bytes together are copied before they are written: that costs less
/// than the kernel asks for a list of them.
const COPIED: usize = 8 << 10;

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
    /// a batch, 256 KiB at most or one frame.
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

/// One connection, as its writer and its own task see it, and its outbox's waker.
struct Line {
    list: Arc<List>,
    is_listed: AtomicBool,
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
    pub(crate) fn start() -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let lists: Vec<Arc<List>> = (0..count).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for list in &lists {
            tasks.spawn(write(Arc::clone(list)));
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
async fn write(list: Arc<List>) {
    let (mut ready, mut together) = (Vec::new(), Vec::new());
    loop {
        poll_fn(|cx| {
            list.writer.register(cx.waker());
            mem::swap(&mut ready, &mut *list.ready.lock());
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        for line in ready.drain(..) {
            // A panic is the end of this connection only.
            let written = catch_unwind(AssertUnwindSafe(|| line.write(&mut together)));
            if written.is_err() {
                line.halted.notify_one();
            }
            // Lets other tasks work now and then.
            consume_budget().await;
        }
    }
}

impl Line {
    /// Writes what waits, unless the connection's task is to look first.
    fn write(self: &Arc<Self>, together: &mut Vec<u8>) {
        // Before the look at the queue: what comes after it lists the line again.
        self.is_listed.swap(false, Ordering::AcqRel);
        let mut held = self.held.lock();
        let Held { job: Some(job), halt: halt @ None } = &mut *held else { return };
        // Under the lock to the end: who takes the connection takes with it why, and what is left of
        // a frame. This is what they find if the write panics.
        *halt = Some(Halt::Gone);
        let waker = Waker::from(Arc::clone(self));
        match job.write(&mut Context::from_waker(&waker), together) {
            Ok(waits) => {
                *halt = None;
                drop(held);
                if waits {
                    self.wake_by_ref();
                }
            }
            Err(why) => {
                *halt = Some(why);
                self.halted.notify_one();
            }
        }
    }
}

impl Job {
    /// Writes what waits, [`BATCHES`] at most; whether more may wait.
    fn write(&mut self, cx: &mut Context<'_>, together: &mut Vec<u8>) -> Result<bool, Halt> {
        for _ in 0..BATCHES {
            let batch = match self.queue.poll_batch(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(Halt::Over),
                Poll::Ready(Some(batch)) => batch,
            };
            let mut batch = if self.deflates { batch.into_deflated() } else { batch };
            match write_batch(&self.stream, &mut batch, together) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Halt::Full(batch.copy_to_bytes(batch.remaining())));
                }
                Err(_) => return Err(Halt::Gone),
            }
        }
        Ok(true)
    }
}

/// Writes all of it, or as much as the socket takes: then it fails with `WouldBlock`.
fn write_batch(
    stream: &OwnedWriteHalf,
    batch: &mut Batch<'_>,
    together: &mut Vec<u8>,
) -> io::Result<()> {
    while batch.has_remaining() {
        let (frame, remaining) = (batch.chunk(), batch.remaining());
        let written = if frame.len() == remaining {
            stream.try_write(frame)?
        } else {
            let mut frames = [IoSlice::new(&[]); FRAMES];
            let count = batch.chunks_vectored(&mut frames);
            if remaining > COPIED {
                stream.try_write_vectored(&frames[..count])?
            } else {
                together.clear();
                frames[..count].iter().for_each(|frame| together.extend_from_slice(frame));
                stream.try_write(together)?
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        batch.advance(written);
    }
    Ok(())
}
