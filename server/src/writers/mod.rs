//! The writers of all WebSockets: one task that writes for all connections, and further ones when it is busy
//! all of the time.
//!
//! A broadcast wakes the waker of every member's outbox. If each connection had a writing task of its own,
//! each wake would schedule and poll a task for one short write. Here a wake adds an entry to a list, and a
//! writer goes through the list, some connections at a time: it takes the queued frames of each, then sends
//! them all with one call. The bytes of connections that have the same frames are built once. Only a large
//! batch that the connection before did not have is written immediately. A connection whose socket is full
//! is handed back to its own task.
//!
//! A wake chooses the list by the connection's number and the number of active writers, so a connection
//! moves to another writer when it is next woken. It is on at most one list, and a writer that finds it in
//! another's hands lists it again, so its frames stay in order.

mod coalesced;
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "fallback.rs"
)]
mod io_uring;
mod load;
mod sends;
#[cfg(test)]
mod tests;
mod time_share;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use pondwire::OutboxReader;
use smallvec::SmallVec;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use coalesced::Coalesced;
pub(crate) use coalesced::in_form;
use load::{Meter, Total};
use sends::{Send, Sends, Sent};
use time_share::TimeShare;

/// The most connections served by one call.
const CLAIMS: usize = 64;

/// The most batches that one connection writes before others have their turn.
const BATCHES: usize = 4;

/// Frames of at most this many bytes in total are copied into one buffer before they are sent, which costs
/// less than a vectored write of them. Larger batches are copied only for several connections.
const COPIED: usize = 8 << 10;

/// The work after which a turn ends, in bytes: a fraction of a millisecond.
const TURN: usize = 512 << 10;

/// The fixed work of a connection's turn: a system call, or a share of one; some microseconds.
const CLAIM: usize = 4 << 10;

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
    /// batch (at most 256 KiB or one frame), preceded by at most [`COPIED`] bytes, or by one other batch of
    /// at most [`SHARED`](coalesced::SHARED) bytes.
    Full(Bytes),
    /// The outbox has ended.
    Over,
    /// The client has disconnected.
    Gone,
}

/// The writers; dropping the pool ends them.
pub(crate) struct WriterPool {
    lists: Arc<ReadyLists>,
    next: AtomicUsize,
    _tasks: JoinSet<()>,
}

/// The lists of all writers, of which the first few are active: the others get no connections.
struct ReadyLists {
    active: AtomicUsize,
    lists: Box<[ReadyList]>,
    meter: Mutex<Meter>,
}

/// The connections whose outboxes have woken their writer. No two lists share a cache line.
#[derive(Default)]
#[repr(align(64))]
struct ReadyList {
    ready: Mutex<Vec<Arc<Registration>>>,
    writer: AtomicWaker,
    /// The time during which the writer had work, in nanoseconds.
    busy: AtomicU64,
    /// How often the writer has found the list empty.
    pauses: AtomicU64,
}

/// One connection, shared by its writer and its own task; also its outbox's waker. The fields are in this
/// order so that a wake touches one cache line.
#[repr(C)]
struct Registration {
    is_listed: AtomicBool,
    /// Chooses the list among those of the active writers.
    number: usize,
    lists: Arc<ReadyLists>,
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
    /// Starts one writer for each worker of the current runtime; the first is active.
    pub(crate) fn start(io_uring: bool) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let lists = Arc::new(ReadyLists {
            active: AtomicUsize::new(1),
            lists: (0..count).map(|_| ReadyList::default()).collect(),
            meter: Mutex::new(Meter::new(count)),
        });
        let mut tasks = JoinSet::new();
        for index in 0..count {
            tasks.spawn(write(Arc::clone(&lists), index, Sends::new(io_uring)));
        }
        Self { lists, next: AtomicUsize::new(0), _tasks: tasks }
    }

    /// Registers a connection: a writer writes the frames of its outbox from now on.
    pub(crate) fn register(&self, half: SendHalf) -> WriterHandle {
        let registration = Arc::new(Registration {
            is_listed: AtomicBool::new(false),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            lists: Arc::clone(&self.lists),
            slot: Mutex::new(Slot { half: Some(half), hand_back: None }),
            handed_back: Notify::new(),
        });
        registration.wake_by_ref();
        WriterHandle(registration)
    }
}

impl ReadyLists {
    /// The list for a connection that is woken now.
    fn list(&self, number: usize) -> &ReadyList {
        // Relaxed: any of the lists is right, and all of them are served.
        &self.lists[number % self.active.load(Ordering::Relaxed)]
    }

    /// Counts the time from `since` to `now`, during which the writer of the list had work, and changes the
    /// number of active writers if necessary.
    fn record(&self, list: &ReadyList, since: Instant, now: Instant) {
        let busy = now.saturating_duration_since(since).as_nanos() as u64;
        list.busy.fetch_add(busy, Ordering::Relaxed);
        let sum = |count: fn(&ReadyList) -> &AtomicU64| {
            self.lists.iter().map(|list| count(list).load(Ordering::Relaxed)).sum()
        };
        let total = || Total {
            busy: Duration::from_nanos(sum(|list| &list.busy)),
            pauses: sum(|list| &list.pauses),
        };
        if let Some(mut meter) = self.meter.try_lock()
            && let Some(active) = meter.next(now, total)
        {
            self.active.store(active, Ordering::Relaxed);
        }
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
        let list = self.lists.list(self.number);
        let mut ready = list.ready.lock();
        let is_first = ready.is_empty();
        ready.push(Arc::clone(self));
        drop(ready);
        if is_first {
            list.writer.wake();
        }
    }
}

/// Runs one writer.
async fn write(lists: Arc<ReadyLists>, index: usize, mut sends: Sends) {
    let list = &lists.lists[index];
    let (mut ready, mut coalesced) = (Vec::new(), Coalesced::default());
    let mut share = TimeShare::default();
    // The time until which its work has been counted; `None` while it had none.
    let mut since = None;
    loop {
        poll_fn(|cx| {
            list.writer.register(cx.waker());
            mem::swap(&mut ready, &mut *list.ready.lock());
            if ready.is_empty() {
                coalesced.clear();
                share.clear();
                list.pauses.fetch_add(1, Ordering::Relaxed);
                since = None;
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let mut left = ready.iter();
        while left.len() > 0 {
            let begun = Instant::now();
            // A panic ends only the connections whose turn it is.
            let done = catch_unwind(AssertUnwindSafe(|| {
                write_some(&mut left, &mut coalesced, &mut sends);
            }));
            if done.is_err() {
                coalesced.clear();
            }
            let now = Instant::now();
            lists.record(list, since.unwrap_or(begun), now);
            since = Some(now);
            share.worked(now.saturating_duration_since(begun));
            share.yield_if_due().await;
        }
        ready.clear();
    }
}

/// Writes the frames of the next connections, until they are [`CLAIMS`] or cost [`TURN`]. No connection is
/// listed twice.
fn write_some(
    ready: &mut slice::Iter<'_, Arc<Registration>>,
    coalesced: &mut Coalesced,
    sends: &mut Sends,
) {
    let mut claims = SmallVec::<[Claim<'_>; CLAIMS]>::new();
    let mut work = 0;
    coalesced.begin();
    for registration in ready.take(CLAIMS) {
        work += CLAIM;
        let Some(claim) = registration.claim() else { continue };
        claims.push(claim);
        // A large batch of one connection ends the round: the connections before it have waited long enough,
        // and those after it would only delay them further.
        let was_large = claims.last_mut().is_some_and(|claim| claim.collect(coalesced, &mut work));
        if was_large || work >= TURN {
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
        let Some(slot) = self.slot.try_lock() else {
            // Its task takes it now, or another writer, from which it has just moved here, has not finished
            // with it. Two writers that waited for each other's connections would wait forever.
            self.wake_by_ref();
            return None;
        };
        let is_due = matches!(&*slot, Slot { half: Some(_), hand_back: None });
        is_due.then_some(Claim { registration: self, slot, bytes: 0..0, waits: false })
    }
}

/// One connection's turn to be written to. It holds the slot's lock, so that the connection's task can take
/// the connection only after the turn, together with the reason for a hand-back and the unwritten bytes.
struct Claim<'a> {
    registration: &'a Arc<Registration>,
    slot: MutexGuard<'a, Slot>,
    /// The range of its bytes in `coalesced`, which other connections may share.
    bytes: Range<usize>,
    /// Whether more frames may be queued.
    waits: bool,
}

impl Claim<'_> {
    /// Takes the queued frames; `true` if they were large, which takes time.
    fn collect(&mut self, coalesced: &mut Coalesced, work: &mut usize) -> bool {
        let Slot { half: Some(half), hand_back } = &mut *self.slot else { return false };
        let mut was_large = false;
        let waker = Waker::from(Arc::clone(self.registration));
        let cx = &mut Context::from_waker(&waker);
        match half.collect(cx, coalesced, &mut self.bytes, work, &mut was_large) {
            Ok(waits) => self.waits = waits,
            Err(why) => {
                if !matches!(why, HandBack::Over) {
                    self.bytes = 0..0;
                }
                *hand_back = Some(why);
            }
        }
        was_large
    }

    fn stream(&self) -> Option<&OwnedWriteHalf> {
        Some(&self.slot.half.as_ref()?.stream)
    }

    /// The bytes to send, if there are any.
    fn bytes<'a>(&self, coalesced: &'a Coalesced) -> Option<&'a [u8]> {
        Some(coalesced.get(self.bytes.clone())).filter(|bytes| !bytes.is_empty())
    }

    /// Handles the result of sending the bytes.
    fn finish(&mut self, sent: Sent, coalesced: &Coalesced) {
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        };
        match sent.map(|sent| coalesced.get(self.bytes.start + sent..self.bytes.end)) {
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
    /// Takes the queued frames, at most [`BATCHES`] batches, as `bytes` in `coalesced`. If they are large and
    /// the connection before did not have them, too, it writes them instead, after the `bytes` before them.
    /// `true` if more may be queued.
    fn collect(
        &mut self,
        cx: &mut Context<'_>,
        coalesced: &mut Coalesced,
        bytes: &mut Range<usize>,
        work: &mut usize,
        was_large: &mut bool,
    ) -> Result<bool, HandBack> {
        for _ in 0..BATCHES {
            let batch = match self.queue.poll_batch(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(HandBack::Over),
                Poll::Ready(Some(batch)) => batch,
            };
            let size = batch.remaining();
            if Range::is_empty(bytes) && coalesced.is_last(&batch, self.deflates) {
                *work += size;
                *bytes = coalesced.reuse(batch, self.deflates);
                continue;
            }
            // The size before compression counts: compressing takes time, too.
            *was_large |= size > COPIED;
            *work += size * if self.deflates { DEFLATED } else { 1 };
            let batch = in_form(batch, self.deflates);
            if bytes.len() + batch.remaining() <= COPIED {
                coalesced.append(bytes, batch, self.deflates);
                continue;
            }
            let mut large = coalesced.get(bytes.clone()).chain(batch);
            let rest = match write_large(&self.stream, &mut large) {
                Ok(()) => None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Some(large.copy_to_bytes(large.remaining()))
                }
                Err(_) => return Err(HandBack::Gone),
            };
            let (_, batch) = large.into_inner();
            coalesced.remember(batch, self.deflates);
            *bytes = 0..0;
            if let Some(rest) = rest {
                return Err(HandBack::Full(rest));
            }
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
