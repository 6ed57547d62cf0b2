//! The writers of all WebSockets: a few tasks, each of which writes for many connections.
//!
//! A broadcast wakes the waker of every member's outbox. If each connection had a writing task of its own,
//! each wake would schedule and poll a task for one short write. Here a wake adds an entry to a list, and a
//! writer goes through the list, a few connections at a time: it takes the queued frames of each, then
//! sends them all with one call. It writes only large batches immediately. A connection whose socket is
//! full is handed back to its own task.

#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "fallback.rs"
)]
mod io_uring;
mod sends;
#[cfg(test)]
mod tests;

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

use crate::budget::Budget;
use sends::{Send, Sends, Sent};

/// The most connections served by one call.
const CLAIMS: usize = 16;

/// The most batches that one connection writes before others have their turn.
const BATCHES: usize = 4;

/// Frames of at most this many bytes in total are copied into one buffer before they are sent, which costs
/// less than a vectored write of them.
const COPIED: usize = 8 << 10;

/// The work of a writer between two yields, in bytes: about 100 µs.
const BUDGET: usize = 256 << 10;

/// The fixed work of a connection's turn: a system call, or a share of one.
const CLAIM: usize = 1 << 10;

/// The work per byte for a client with permessage-deflate: it may have to be compressed.
const DEFLATED: usize = 8;

/// The most frames of one vectored write.
const FRAMES: usize = 64;

/// The sending half of a connection: the socket, and the reader of the outbox that is written to it.
pub(crate) struct SendHalf {
    pub(crate) stream: OwnedWriteHalf,
    pub(crate) queue: OutboxReader,
    /// Whether permessage-deflate was negotiated.
    pub(crate) deflates: bool,
}

/// The reason why a writer hands a connection back.
pub(crate) enum HandBack {
    /// The socket is full. These bytes must be written first once it has space: a copy of the rest of a
    /// batch (at most 256 KiB or one frame), preceded by at most [`COPIED`] bytes.
    Full(Bytes),
    /// The outbox has ended.
    Over,
    /// The client has disconnected.
    Gone,
}

/// The writers; dropping the pool ends them.
pub(crate) struct WriterPool {
    lists: Vec<Arc<ReadyList>>,
    next: AtomicUsize,
    _tasks: JoinSet<()>,
}

/// The connections whose outboxes have woken their writer.
#[derive(Default)]
struct ReadyList {
    ready: Mutex<Vec<Arc<Registration>>>,
    writer: AtomicWaker,
}

/// One connection, shared by its writer and its own task; also its outbox's waker. The fields are in this
/// order so that a wake touches one cache line.
#[repr(C)]
struct Registration {
    is_listed: AtomicBool,
    list: Arc<ReadyList>,
    slot: Mutex<Slot>,
    /// Notified when the connection is handed back.
    handed_back: Notify,
}

struct Slot {
    /// `None` while the connection's task holds it.
    half: Option<SendHalf>,
    /// While this is `Some`, the writer leaves the connection to its task.
    hand_back: Option<HandBack>,
}

/// A connection registered with a writer, held by the connection's task.
pub(crate) struct WriterHandle(Arc<Registration>);

impl WriterPool {
    /// Starts one writer for each worker of the current runtime.
    pub(crate) fn start(io_uring: bool) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let lists: Vec<Arc<ReadyList>> = (0..count).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for list in &lists {
            tasks.spawn(write(Arc::clone(list), Sends::new(io_uring)));
        }
        Self { lists, next: AtomicUsize::new(0), _tasks: tasks }
    }

    /// Registers a connection: a writer writes the frames of its outbox from now on.
    pub(crate) fn register(&self, half: SendHalf) -> WriterHandle {
        let list = &self.lists[self.next.fetch_add(1, Ordering::Relaxed) % self.lists.len()];
        let registration = Arc::new(Registration {
            list: Arc::clone(list),
            is_listed: AtomicBool::new(false),
            slot: Mutex::new(Slot { half: Some(half), hand_back: None }),
            handed_back: Notify::new(),
        });
        registration.wake_by_ref();
        WriterHandle(registration)
    }
}

impl WriterHandle {
    /// Waits until the writer hands the connection back, and takes it. Cancel-safe.
    pub(crate) async fn handed_back(&self) -> (SendHalf, HandBack) {
        loop {
            if let Some((half, Some(why))) = self.take_if(|slot| slot.hand_back.is_some()) {
                return (half, why);
            }
            self.0.handed_back.notified().await;
        }
    }

    /// Takes the connection from the writer, with the reason if the writer had handed it back.
    pub(crate) fn take(&self) -> Option<(SendHalf, Option<HandBack>)> {
        self.take_if(|_| true)
    }

    fn take_if(&self, is_wanted: impl Fn(&Slot) -> bool) -> Option<(SendHalf, Option<HandBack>)> {
        let mut slot = self.0.slot.lock();
        let wanted = is_wanted(&slot);
        let half = slot.half.take_if(|_| wanted)?;
        Some((half, slot.hand_back.take()))
    }

    /// Returns the connection to the writer, which resumes writing.
    pub(crate) fn resume(&self, half: SendHalf) {
        self.0.slot.lock().half = Some(half);
        self.0.wake_by_ref();
    }

    /// Puts the connection back without resuming; it can only be [taken](Self::take).
    pub(crate) fn park(&self, half: SendHalf) {
        *self.0.slot.lock() = Slot { half: Some(half), hand_back: Some(HandBack::Over) };
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        // Breaks a reference cycle: the outbox holds the registration as its waker, and the registration
        // holds the outbox's reader.
        drop(self.take());
    }
}

impl Wake for Registration {
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

/// Runs one writer.
async fn write(list: Arc<ReadyList>, mut sends: Sends) {
    let (mut ready, mut coalesced) = (Vec::new(), Vec::new());
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
            // A panic ends only the connections whose turn it is.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                write_some(&mut left, &mut coalesced, &mut sends, &mut budget);
            }));
            budget.yield_if_spent().await;
        }
        ready.clear();
    }
}

/// Writes the frames of the next few connections. No connection is listed twice.
fn write_some(
    ready: &mut slice::Iter<'_, Arc<Registration>>,
    coalesced: &mut Vec<u8>,
    sends: &mut Sends,
    budget: &mut Budget,
) {
    let mut claims = SmallVec::<[Claim<'_>; CLAIMS]>::new();
    coalesced.clear();
    for registration in ready.take(CLAIMS) {
        budget.charge(CLAIM);
        let Some(claim) = registration.claim() else { continue };
        claims.push(claim);
        // A large batch ends the round: the connections before it have waited long enough, and those after
        // it would only delay them further.
        if claims.last_mut().is_some_and(|claim| claim.collect(coalesced, budget)) {
            break;
        }
    }
    let mut sent = {
        let due =
            claims.iter().filter_map(|claim| Some((claim.stream()?, claim.bytes(coalesced)?)));
        sends.send(&due.collect::<SmallVec<[Send<'_>; CLAIMS]>>())
    };
    for claim in &mut claims {
        if claim.bytes(coalesced).is_some()
            && let Some(sent) = sent.next()
        {
            claim.finish(sent, coalesced);
        }
    }
}

impl Registration {
    /// Begins a connection's turn, unless its task holds it or it was handed back to its task.
    fn claim(self: &Arc<Self>) -> Option<Claim<'_>> {
        // Before the queue is read, so that a frame queued later lists the connection again.
        self.is_listed.swap(false, Ordering::AcqRel);
        let slot = self.slot.lock();
        let is_due = matches!(&*slot, Slot { half: Some(_), hand_back: None });
        is_due.then_some(Claim { registration: self, slot, bytes: 0..0, waits: false })
    }
}

/// One connection's turn to be written to. It holds the slot's lock, so that the connection's task can take
/// the connection only after the turn, together with the reason for a hand-back and the unwritten bytes.
struct Claim<'a> {
    registration: &'a Arc<Registration>,
    slot: MutexGuard<'a, Slot>,
    /// The range of its bytes in `coalesced`.
    bytes: Range<usize>,
    /// Whether more frames may be queued.
    waits: bool,
}

impl Claim<'_> {
    /// Takes the queued frames; `true` if they were large, which takes time.
    fn collect(&mut self, coalesced: &mut Vec<u8>, budget: &mut Budget) -> bool {
        let Slot { half: Some(half), hand_back } = &mut *self.slot else { return false };
        let (start, mut was_large) = (coalesced.len(), false);
        let waker = Waker::from(Arc::clone(self.registration));
        match half.collect(&mut Context::from_waker(&waker), coalesced, budget, &mut was_large) {
            Ok(waits) => self.waits = waits,
            Err(why) => {
                if !matches!(why, HandBack::Over) {
                    coalesced.truncate(start);
                }
                *hand_back = Some(why);
            }
        }
        self.bytes = start..coalesced.len();
        was_large
    }

    fn stream(&self) -> Option<&OwnedWriteHalf> {
        Some(&self.slot.half.as_ref()?.stream)
    }

    /// The bytes to send, if there are any.
    fn bytes<'a>(&self, coalesced: &'a [u8]) -> Option<&'a [u8]> {
        Some(&coalesced[self.bytes.clone()]).filter(|bytes| !bytes.is_empty())
    }

    /// Handles the result of sending the bytes.
    fn finish(&mut self, sent: Sent, coalesced: &[u8]) {
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        };
        match sent.map(|sent| &coalesced[self.bytes.start + sent..self.bytes.end]) {
            Ok([]) => {}
            // This replaces `Over`: the task will find again that the outbox has ended.
            Ok(rest) => self.slot.hand_back = Some(HandBack::Full(Bytes::copy_from_slice(rest))),
            Err(_) => self.slot.hand_back = Some(HandBack::Gone),
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // It is unknown how much was written to the socket.
            self.slot.hand_back = Some(HandBack::Gone);
        }
        if self.slot.hand_back.is_some() {
            self.registration.handed_back.notify_one();
        } else if self.waits {
            self.registration.wake_by_ref();
        }
    }
}

impl SendHalf {
    /// Takes the queued frames, at most [`BATCHES`] batches, and appends them to `coalesced`. If they are
    /// large it writes them instead, after those that it had appended. `true` if more may be queued.
    fn collect(
        &mut self,
        cx: &mut Context<'_>,
        coalesced: &mut Vec<u8>,
        budget: &mut Budget,
        was_large: &mut bool,
    ) -> Result<bool, HandBack> {
        let start = coalesced.len();
        for _ in 0..BATCHES {
            let batch = match self.queue.poll_batch(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(HandBack::Over),
                Poll::Ready(Some(batch)) => batch,
            };
            // The size before compression counts: compressing takes time, too.
            *was_large |= batch.remaining() > COPIED;
            budget.charge(batch.remaining() * if self.deflates { DEFLATED } else { 1 });
            let batch = if self.deflates { batch.into_deflated() } else { batch };
            if coalesced.len() - start + batch.remaining() <= COPIED {
                batch.iter().for_each(|frame| coalesced.extend_from_slice(frame));
                continue;
            }
            let mut large = coalesced[start..].chain(batch);
            match write_large(&self.stream, &mut large) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(HandBack::Full(large.copy_to_bytes(large.remaining())));
                }
                Err(_) => return Err(HandBack::Gone),
            }
            drop(large);
            coalesced.truncate(start);
        }
        Ok(true)
    }
}

/// Writes all bytes, or fails with `WouldBlock` once the socket is full.
fn write_large(stream: &OwnedWriteHalf, large: &mut impl Buf) -> io::Result<()> {
    while large.has_remaining() {
        let mut frames = [IoSlice::new(&[]); FRAMES];
        let count = large.chunks_vectored(&mut frames);
        let written = stream.try_write_vectored(&frames[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        large.advance(written);
    }
    Ok(())
}
