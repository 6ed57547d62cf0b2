//! The writers of all connections: one thread that writes for all of them, and further ones when it is busy
//! all of the time. They are threads of their own, not tasks, so that the operating system divides the time between
//! them and the connections' tasks, and their memory stays in one core's caches.
//!
//! The connections are distributed over as many [shards](Shard) as there can be writers. A publish wakes
//! each sleeping shard of the room once, whatever the number of members; a wake adds the shard to the list
//! of a writer. The writer runs the shard's round: it sends what is new to many connections with one call,
//! hundreds at a time, and most of them are sent the very same bytes. A connection whose socket is full is behind:
//! the shard keeps what it must get, and the socket wakes the shard once it has space.
//!
//! A wake chooses the list by the shard's number and the number of active writers, so a shard moves to
//! another writer when it is next woken. A writer that finds it in another's hands lists it again.
//!
//! A connection's own task reads from the client. It learns here that its client does not read, or that the
//! connection has failed, and at the end takes the socket back with what was not sent.

#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "fallback.rs"
)]
mod io_uring;
mod load;
mod sends;
mod socket;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pondwire::OutboxOptions;
use pondwire::frame::Form;
use pondwire::outbox::CloseReason;
use pondwire::room::{Seat, Send as RoundSend, Shard, ShardHandle, ShardStats, Unsent};
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::keepalive::Liveness;
use crate::stream::WriteHalf;
use load::{Meter, Total};
use sends::{Send, Sends};
use socket::Socket;

/// The most connections served by one call: with 64, each send cost up to a tenth more. Each connection of a stress
/// test is a thread and three descriptors, so there are fewer in tests.
const CLAIMS: usize = if cfg!(test) { 64 } else { 512 };

/// The work of one call, in bytes, beyond which it serves no further connection: some milliseconds.
const CALL: usize = if cfg!(test) { 512 << 10 } else { 16 << 20 };

/// The most bytes that a connection is sent before others have their turn: of more, the rest follows as if
/// the socket had been full.
pub(crate) const MOST_SENT: usize = 128 << 10;

/// The fixed work of a send: a system call, or a share of one; some microseconds.
const CLAIM: usize = 4 << 10;

/// The least time between two copies of a shard's counters while it has work.
const COUNTED: Duration = Duration::from_millis(100);

/// The writers; dropping the pool ends them.
pub(crate) struct WriterPool {
    shards: Box<[Arc<WriterShard>]>,
    next: AtomicUsize,
}

/// The lists of all writers, of which the first few are active: the others get no shards.
struct ReadyLists {
    active: AtomicUsize,
    lists: Box<[ReadyList]>,
    meter: Mutex<Meter>,
    backlog: Arc<Backlog>,
    /// Set when the pool is dropped.
    has_ended: AtomicBool,
}

/// The shards that began a round although they had not sent all of the one before to connections that take it.
#[derive(Default)]
pub(crate) struct Backlog(AtomicUsize);

impl Backlog {
    /// Whether there are such shards.
    pub(crate) fn exists(&self) -> bool {
        // Relaxed: a moment later it may be otherwise.
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// The shards that have something to do. No two lists share a cache line.
#[derive(Default)]
#[repr(align(64))]
struct ReadyList {
    ready: Mutex<Vec<Arc<WriterShard>>>,
    /// Notified when the list is no longer empty, and at the end.
    changed: Condvar,
    /// Whether the writer waits for this.
    is_asleep: AtomicBool,
    /// The time during which the writer had work, in nanoseconds.
    busy: AtomicU64,
    /// How often the writer has found the list empty.
    pauses: AtomicU64,
}

/// One shard with its connections, shared by the writers and the connections' tasks; also the shard's
/// waker.
struct WriterShard {
    /// Chooses the list among those of the active writers.
    number: usize,
    is_listed: AtomicBool,
    lists: Arc<ReadyLists>,
    handle: ShardHandle,
    /// `None` once the shard is broken.
    requests: Mutex<Option<Vec<Request>>>,
    /// Whether the last round was small, and so probably the next.
    was_small: AtomicBool,
    /// `None` while a writer has them in hand.
    connections: Mutex<Option<Box<Connections>>>,
    /// Set once nobody writes for them any more, because writing has panicked: they have failed.
    is_broken: AtomicBool,
    #[cfg(test)]
    panics: AtomicBool,
    /// A recent copy of the shard's counters.
    stats: Mutex<ShardStats>,
    /// Whether a connection was behind at the last look: the copy may be older.
    has_behind: AtomicBool,
    /// The most bytes that may stay queued at the next look; [`usize::MAX`]: any.
    shed_to: AtomicUsize,
    /// The connections that ended so that others have memory.
    shed: AtomicU64,
}

/// The connections of a shard.
struct Connections {
    shard: Shard,
    /// By the numbers of their seats.
    open: Vec<Option<Connection>>,
    /// Taken and not looked at yet.
    requests: VecDeque<Request>,
    /// The seats that took less than all of the round, and how much they took.
    short: Vec<(usize, usize)>,
    /// The seats that are behind, and whose sockets may have space.
    behind: VecDeque<usize>,
    ending: Vec<Arc<Link>>,
    /// Whether a round has begun that a writer must send.
    has_round: bool,
    /// For rounds that are sent without a writer.
    small_sends: Sends,
    /// When the counters were copied.
    counted: Instant,
    /// Present while the shard counts as one of it.
    backlog: Option<CountedIn>,
}

/// Counts a shard in a backlog until it is dropped.
struct CountedIn(Arc<Backlog>);

impl CountedIn {
    fn new(backlog: &Arc<Backlog>) -> Self {
        backlog.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(backlog))
    }
}

impl Drop for CountedIn {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    socket: Socket,
    link: Arc<Link>,
    /// The shard uses the seat's number for no other connection until the writer has forgotten this one.
    seat: Seat,
}

/// What a connection's task or socket asks of the writer.
enum Request {
    /// Write to this connection from now on.
    Open(Connection),
    /// The socket has space again.
    Writable(Arc<Link>),
    /// Stop writing to it.
    End(Arc<Link>),
}

/// What a connection's task, its socket and the writer share.
struct Link {
    shard: Arc<WriterShard>,
    seat: usize,
    liveness: Arc<Liveness>,
    is_behind: AtomicBool,
    state: Mutex<LinkState>,
    /// Notified when one of the above has changed.
    changed: Notify,
}

#[derive(Default)]
struct LinkState {
    failed: Option<CloseReason>,
    has_handle: bool,
    is_ending: bool,
    /// The socket and what was not sent, for the task to take.
    ended: Option<Box<(WriteHalf, Unsent)>>,
}

/// A connection that a writer writes to, held by the connection's task. Dropping it ends that.
pub(crate) struct WriterHandle {
    link: Arc<Link>,
}

impl WriterPool {
    /// Starts one writer for each worker of the current runtime; the first is active. A connection that
    /// falls behind gets an outbox with these options.
    ///
    /// # Panics
    /// The operating system starts no thread.
    pub(crate) fn start(io_uring: bool, options: OutboxOptions) -> Self {
        let pool = Self::new(options);
        pool.start_writers(io_uring);
        pool
    }

    /// A pool whose writers have not started.
    fn new(options: OutboxOptions) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let lists = Arc::new(ReadyLists {
            active: AtomicUsize::new(1),
            lists: (0..count).map(|_| ReadyList::default()).collect(),
            meter: Mutex::new(Meter::new(count)),
            backlog: Arc::default(),
            has_ended: AtomicBool::new(false),
        });
        let shards = (0..count).map(|number| WriterShard::new(number, &lists, options)).collect();
        Self { shards, next: AtomicUsize::new(0) }
    }

    fn start_writers(&self, io_uring: bool) {
        let lists = self.lists();
        for index in 0..lists.lists.len() {
            let lists = Arc::clone(lists);
            let builder = thread::Builder::new().name(format!("pondwire-writer-{index}"));
            let started = builder.spawn(move || write(&lists, index, Sends::new(io_uring)));
            started.expect("the operating system starts a thread");
        }
    }

    fn lists(&self) -> &Arc<ReadyLists> {
        &self.shards[0].lists
    }

    /// Opens a seat for a connection, in one of the shards in turn.
    pub(crate) fn open(&self, form: Form) -> OpenSeat {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let mut in_turn = self.shards.iter().cycle().skip(next).take(self.shards.len());
        let whole = in_turn.find(|shard| !shard.is_broken.load(Ordering::Acquire));
        let shard = Arc::clone(whole.unwrap_or(&self.shards[next]));
        OpenSeat { seat: shard.handle.open(form), shard }
    }

    /// What the writers have not sent in time.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.lists().backlog
    }

    /// The bytes that wait for connections, of a moment ago. Has the shards copy their counters, so that the next call
    /// knows of all.
    pub(crate) fn queued_bytes(&self) -> usize {
        // Relaxed: a look that has just ended is seen the next time.
        let behind = self.shards.iter().filter(|shard| shard.has_behind.load(Ordering::Relaxed));
        behind.for_each(|shard| shard.wake_by_ref());
        self.stats().map(|stats| stats.queued_bytes).sum()
    }

    /// Ends the connections with the longest queues of each shard, so that at most so many bytes stay queued. That
    /// happens a moment later.
    pub(crate) fn shed(&self, most: usize) {
        let queued = self.stats().map(|stats| stats.queued_bytes).sum::<usize>().max(1);
        for shard in &self.shards {
            let share = shard.stats.lock().queued_bytes as u128 * most as u128 / queued as u128;
            shard.shed_to.store(share as usize, Ordering::Relaxed);
            shard.wake_by_ref();
        }
    }

    /// The number of connections that [`shed`](Self::shed) has ended.
    pub(crate) fn shed_total(&self) -> u64 {
        self.shards.iter().map(|shard| shard.shed.load(Ordering::Relaxed)).sum()
    }

    /// The counters of all shards, of a moment ago.
    pub(crate) fn stats(&self) -> impl Iterator<Item = ShardStats> {
        self.shards.iter().map(|shard| *shard.stats.lock())
    }
}

/// A seat whose socket is not registered yet: frames that are sent to it wait.
pub(crate) struct OpenSeat {
    pub(crate) seat: Seat,
    shard: Arc<WriterShard>,
}

impl OpenSeat {
    /// Lets a writer write to the connection from now on.
    pub(crate) fn register(self, stream: WriteHalf, liveness: Arc<Liveness>) -> WriterHandle {
        let link = Arc::new(Link {
            shard: self.shard,
            seat: self.seat.number(),
            liveness,
            is_behind: AtomicBool::new(false),
            state: Mutex::new(LinkState { has_handle: true, ..LinkState::default() }),
            changed: Notify::new(),
        });
        let socket = Socket::new(stream);
        let connection = Connection { socket, link: Arc::clone(&link), seat: self.seat };
        link.shard.request(Request::Open(connection));
        WriterHandle { link }
    }
}

impl WriterHandle {
    /// Whether the client has not read everything that it was sent.
    pub(crate) fn is_behind(&self) -> bool {
        self.link.is_behind.load(Ordering::Acquire)
    }

    /// Waits until the client is not behind. Cancel-safe.
    ///
    /// # Errors
    /// The connection has failed.
    pub(crate) async fn caught_up(&self) -> Result<(), CloseReason> {
        loop {
            if let Some(reason) = self.link.failure() {
                return Err(reason);
            }
            if !self.is_behind() {
                return Ok(());
            }
            self.link.changed.notified().await;
        }
    }

    /// Waits until the connection has failed. Cancel-safe.
    pub(crate) async fn failed(&self) -> CloseReason {
        loop {
            if let Some(reason) = self.link.failure() {
                return reason;
            }
            self.link.changed.notified().await;
        }
    }

    /// Takes the socket from the writer, with what was not sent of the frames that rooms had sent before the
    /// connection left them, and that were pushed to its seat. `None` if the writer is gone. To be called
    /// once.
    pub(crate) async fn end(&self) -> Option<(WriteHalf, Unsent)> {
        self.request_end();
        loop {
            if let Some(ended) = self.link.state.lock().ended.take() {
                return Some(*ended);
            }
            if self.link.shard.is_broken.load(Ordering::Acquire) {
                return None;
            }
            self.link.changed.notified().await;
        }
    }

    fn request_end(&self) {
        let was_ending = mem::replace(&mut self.link.state.lock().is_ending, true);
        if !was_ending {
            self.link.shard.request(Request::End(Arc::clone(&self.link)));
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        state.has_handle = false;
        let ended = state.ended.take();
        drop(state);
        drop(ended);
        self.request_end();
    }
}

impl Drop for WriterPool {
    fn drop(&mut self) {
        // Before the shards are looked at: a writer that has one in hand drops it itself.
        self.lists().has_ended.store(true, Ordering::Release);
        for shard in &self.shards {
            // They hold links, which hold the shard.
            drop(shard.connections.lock().take());
            shard.break_off();
        }
        for list in &self.lists().lists {
            list.ready.lock().clear();
            list.changed.notify_one();
        }
    }
}

impl ReadyLists {
    /// The list for a shard that is woken now.
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

impl WriterShard {
    fn new(number: usize, lists: &Arc<ReadyLists>, options: OutboxOptions) -> Arc<Self> {
        let shard = Shard::new(options);
        Arc::new(Self {
            number,
            is_listed: AtomicBool::new(false),
            lists: Arc::clone(lists),
            handle: shard.handle(),
            was_small: AtomicBool::new(true),
            requests: Mutex::new(Some(Vec::new())),
            connections: Mutex::new(Some(Box::new(Connections {
                shard,
                open: Vec::new(),
                requests: VecDeque::new(),
                short: Vec::new(),
                behind: VecDeque::new(),
                ending: Vec::new(),
                has_round: false,
                small_sends: Sends::new(false),
                counted: Instant::now(),
                backlog: None,
            }))),
            is_broken: AtomicBool::new(false),
            #[cfg(test)]
            panics: AtomicBool::new(false),
            stats: Mutex::default(),
            has_behind: AtomicBool::new(false),
            shed_to: AtomicUsize::new(usize::MAX),
            shed: AtomicU64::new(0),
        })
    }

    /// Adds the shard to a writer's list.
    fn list(self: &Arc<Self>) {
        let list = self.lists.list(self.number);
        let mut ready = list.ready.lock();
        if self.lists.has_ended.load(Ordering::Acquire) {
            // The list would keep the shard, and the shard the list.
            return;
        }
        let is_first = ready.is_empty();
        ready.push(Arc::clone(self));
        drop(ready);
        if is_first {
            list.changed.notify_one();
        }
    }

    /// Sends what is new if that is little and the writer sleeps, because waking it would take longer; otherwise adds
    /// the shard to the writer's list. It is not in a list, but counts as listed. After a large round it is left to the
    /// writer to begin the next, which then has all that comes until the writer runs.
    fn send_or_list(self: &Arc<Self>) {
        let is_asleep = self.lists.list(self.number).is_asleep.load(Ordering::Relaxed);
        let taken = if is_asleep && self.was_small.load(Ordering::Relaxed) {
            self.connections.lock().take()
        } else {
            None
        };
        let Some(connections) = taken else { return self.list() };
        // Before anything is looked at, so that what comes later lists the shard again.
        self.is_listed.swap(false, Ordering::AcqRel);
        if self.guarded(connections, |connections| connections.send_small(self)) == Some(true) {
            self.wake_by_ref();
        }
    }

    /// Gives the connections to `look`, then back, so that the others can take them. A panic ends only the
    /// connections of this shard; then, `None`.
    fn guarded<T>(
        &self,
        mut connections: Box<Connections>,
        look: impl FnOnce(&mut Connections) -> T,
    ) -> Option<T> {
        let Ok(looked) = catch_unwind(AssertUnwindSafe(|| look(&mut connections))) else {
            drop(connections);
            self.break_off();
            return None;
        };
        let mut place = self.connections.lock();
        // Under the lock: the pool has set it before it looks here.
        if !self.lists.has_ended.load(Ordering::Acquire) {
            *place = Some(connections);
        }
        Some(looked)
    }

    fn request(self: &Arc<Self>, request: Request) {
        let refused = match &mut *self.requests.lock() {
            Some(requests) => {
                requests.push(request);
                None
            }
            None => Some(request),
        };
        match refused {
            None => self.wake_by_ref(),
            Some(request) => request.fail(),
        }
    }

    /// Nobody writes for these connections any more.
    fn break_off(&self) {
        self.is_broken.store(true, Ordering::Release);
        let requests = self.requests.lock().take();
        requests.into_iter().flatten().for_each(Request::fail);
        *self.stats.lock() = ShardStats::default();
    }
}

impl Wake for WriterShard {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        HELD.with_borrow_mut(|held| match held {
            Some(held) => held.push(Arc::clone(self)),
            None => self.list(),
        });
    }
}

thread_local! {
    /// The shards that were woken since wakes are [held](hold_wakes); `None` while they are not.
    static HELD: RefCell<Option<Vec<Arc<WriterShard>>>> = const { RefCell::new(None) };
}

/// Holds the wakes of writers by this thread until the returned value is dropped: what a client sent at once
/// is written at once, although the writer may run on another thread.
pub(crate) fn hold_wakes() -> HeldWakes {
    let is_outer = HELD.with_borrow_mut(|held| {
        let is_outer = held.is_none();
        held.get_or_insert_default();
        is_outer
    });
    HeldWakes { is_outer, _not_send: PhantomData }
}

/// Must be dropped by the same thread.
pub(crate) struct HeldWakes {
    /// Or another one holds them for longer.
    is_outer: bool,
    _not_send: PhantomData<*const ()>,
}

impl Drop for HeldWakes {
    fn drop(&mut self) {
        if self.is_outer {
            for shard in HELD.take().into_iter().flatten() {
                shard.send_or_list();
            }
        }
    }
}

impl Request {
    /// The writer is gone.
    fn fail(self) {
        let (Self::Open(Connection { link, .. }) | Self::Writable(link) | Self::End(link)) = self;
        link.fail(CloseReason::ReaderDropped);
    }
}

/// Wakes the shard when the socket has space.
impl Wake for Link {
    fn wake(self: Arc<Self>) {
        let shard = Arc::clone(&self.shard);
        shard.request(Request::Writable(self));
    }
}

impl Link {
    fn failure(&self) -> Option<CloseReason> {
        self.state.lock().failed
    }

    fn fail(&self, reason: CloseReason) {
        self.state.lock().failed.get_or_insert(reason);
        self.changed.notify_one();
    }

    fn set_behind(&self, is_behind: bool) {
        if self.is_behind.swap(is_behind, Ordering::AcqRel) != is_behind {
            self.changed.notify_one();
        }
    }
}

/// The connections of a writer that is gone fail.
impl Drop for Connections {
    fn drop(&mut self) {
        let open = self.open.drain(..).flatten().map(Request::Open);
        open.chain(self.requests.drain(..)).for_each(Request::fail);
        self.ending.drain(..).map(Request::End).for_each(Request::fail);
    }
}

/// Runs one writer until the pool is dropped.
fn write(lists: &ReadyLists, index: usize, sends: Sends) {
    let list = &lists.lists[index];
    let mut ready = Vec::new();
    let mut writer = Writer { lists, list, sends, since: None };
    loop {
        {
            let mut listed = list.ready.lock();
            if listed.is_empty() {
                list.pauses.fetch_add(1, Ordering::Relaxed);
                writer.since = None;
            }
            while listed.is_empty() {
                // Under the lock, which the pool takes to clear the list before it notifies.
                if lists.has_ended.load(Ordering::Acquire) {
                    return;
                }
                // Relaxed: whoever reads an old value lists the shard, as always.
                list.is_asleep.store(true, Ordering::Relaxed);
                list.changed.wait(&mut listed);
                list.is_asleep.store(false, Ordering::Relaxed);
            }
            mem::swap(&mut ready, &mut *listed);
        }
        for shard in ready.drain(..) {
            writer.serve(&shard);
        }
    }
}

/// A writer's tools.
struct Writer<'a> {
    lists: &'a ReadyLists,
    list: &'a ReadyList,
    sends: Sends,
    /// The time until which its work has been counted; `None` while it had none.
    since: Option<Instant>,
}

impl Writer<'_> {
    /// Does what a shard has to do.
    fn serve(&mut self, shard: &Arc<WriterShard>) {
        // Before anything is looked at, so that what comes later lists the shard again.
        shard.is_listed.swap(false, Ordering::AcqRel);
        if shard.is_broken.load(Ordering::Acquire) {
            return;
        }
        let Some(connections) = shard.connections.lock().take() else {
            // Another writer, from which it has just moved here, has not finished with it.
            thread::yield_now();
            return shard.wake_by_ref();
        };
        let sends = &mut self.sends;
        let looked = shard.guarded(connections, |connections| {
            let begun = Instant::now();
            let has_more = connections.look(shard, sends);
            (begun, has_more)
        });
        let Some((begun, has_more)) = looked else { return };
        if has_more {
            // The next look registers the waker.
            shard.wake_by_ref();
        }
        let now = Instant::now();
        self.lists.record(self.list, self.since.unwrap_or(begun), now);
        self.since = Some(now);
    }
}

/// The time after which a round begins although not all have taken the rest of the one before.
const MOST_REST: Duration = Duration::from_millis(5);

/// The most sends, and their bytes, of a round that needs no writer.
const MOST_SMALL: (usize, usize) = (16, 64 << 10);

/// Stands for the number of bytes that a socket took that cannot be written to any more.
const FAILED: usize = usize::MAX;

/// What is still to be sent in a round.
struct Due<'a> {
    left: SmallVec<[RoundSend<'a>; 8]>,
    /// The place of the next connection: in `left`, and among its seats.
    send: usize,
    seat: usize,
}

impl<'a> Due<'a> {
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        loop {
            let send = self.left.get(self.send)?;
            if let Some(&seat) = send.seats.get(self.seat) {
                self.seat += 1;
                return Some((seat as usize, send.bytes));
            }
            (self.send, self.seat) = (self.send + 1, 0);
        }
    }

    /// Sends to the next connections, until they are [`CLAIMS`] or cost [`CALL`]; appends those that took
    /// less than all to `short`. `false` if there was none.
    fn send_some(
        &mut self,
        open: &[Option<Connection>],
        sends: &mut Sends,
        short: &mut Vec<(usize, usize)>,
    ) -> bool {
        let mut seats = SmallVec::<[(usize, usize); CLAIMS]>::new();
        let mut batch = SmallVec::<[Send<'_>; CLAIMS]>::new();
        let (mut work, mut found) = (0, false);
        while seats.len() < CLAIMS && work < CALL {
            let Some((seat, bytes)) = self.next() else { break };
            found = true;
            if let Some(Some(connection)) = open.get(seat) {
                let first = &bytes[..bytes.len().min(MOST_SENT)];
                work += CLAIM + first.len();
                seats.push((seat, bytes.len()));
                batch.push((&connection.socket, first));
            } else {
                // It is not registered yet.
                short.push((seat, 0));
            }
        }
        for ((seat, len), sent) in seats.iter().zip(sends.send(&batch)) {
            match sent {
                Ok(sent) if sent == *len => {}
                Ok(sent) => short.push((*seat, sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => short.push((*seat, 0)),
                Err(_) => short.push((*seat, FAILED)),
            }
        }
        found
    }
}

impl Connections {
    /// Does what there is to do. `true` if more may be left: the next look will register the waker.
    fn look(&mut self, shard: &Arc<WriterShard>, sends: &mut Sends) -> bool {
        // Before the round, which then includes what the rooms sent before a request to end.
        self.take_requests(shard);
        let is_ready = mem::take(&mut self.has_round) || self.begin_round(shard);
        if is_ready {
            shard.was_small.store(self.has_small_round(), Ordering::Relaxed);
            self.send_round(sends);
        }
        // As far as possible before the next round: or what its rooms send in rounds would pile up for a client
        // that reads quickly. While there is a backlog, clients that send much wait.
        let begun = Instant::now();
        while let Some(seat) = self.behind.pop_front() {
            self.write_behind(seat);
            if begun.elapsed() >= MOST_REST {
                break;
            }
        }
        self.shed(shard);
        if self.behind.is_empty() {
            self.backlog = None;
        } else {
            self.backlog.get_or_insert_with(|| CountedIn::new(&shard.lists.backlog));
        }
        self.end_some();
        self.copy_stats(shard, !is_ready);
        is_ready || !self.behind.is_empty()
    }

    /// Does what there is to do as long as it is little. `true` if a writer must go on.
    fn send_small(&mut self, shard: &Arc<WriterShard>) -> bool {
        self.take_requests(shard);
        while self.behind.is_empty() && self.ending.is_empty() {
            if !mem::take(&mut self.has_round) && !self.begin_round(shard) {
                self.end_some();
                self.copy_stats(shard, true);
                return false;
            }
            if !self.has_small_round() {
                self.has_round = true;
                return true;
            }
            let mut sends = mem::replace(&mut self.small_sends, Sends::new(false));
            self.send_round(&mut sends);
            self.small_sends = sends;
        }
        true
    }

    /// Begins a round if there is something to send, otherwise registers the waker.
    fn begin_round(&mut self, shard: &Arc<WriterShard>) -> bool {
        #[cfg(test)]
        assert!(!shard.panics.load(Ordering::Relaxed), "as the test wants");
        let waker = Waker::from(Arc::clone(shard));
        self.shard.poll_round(&mut Context::from_waker(&waker)).is_ready()
    }

    fn has_small_round(&self) -> bool {
        let (mut seats, mut bytes) = (0, 0);
        for send in self.shard.sends() {
            seats += send.seats.len();
            bytes += send.seats.len() * send.bytes.len();
        }
        seats <= MOST_SMALL.0 && bytes <= MOST_SMALL.1
    }

    fn send_round(&mut self, sends: &mut Sends) {
        let Self { shard, open, short, behind, .. } = self;
        {
            let mut due = Due { left: shard.sends().collect(), send: 0, seat: 0 };
            while due.send_some(open, sends, short) {}
        }
        for (seat, sent) in short.drain(..) {
            match sent {
                FAILED => shard.fail(seat),
                _ => {
                    shard.fell_short(seat, sent);
                    behind.push_back(seat);
                }
            }
        }
        behind.extend(shard.held_back());
        shard.end_round();
    }

    /// Ends connections so that others have memory, if that is asked for.
    fn shed(&mut self, shard: &WriterShard) {
        let most = shard.shed_to.swap(usize::MAX, Ordering::Relaxed);
        if most < usize::MAX {
            let ended = self.shard.shed(most);
            shard.shed.fetch_add(ended as u64, Ordering::Relaxed);
            // At once, so that no more are ended for what these had.
            self.counted = Instant::now();
            *shard.stats.lock() = self.shard.stats();
        }
    }

    /// Copies the counters, but not always while there is work.
    fn copy_stats(&mut self, shard: &WriterShard, is_idle: bool) {
        let now = Instant::now();
        shard.has_behind.store(self.shard.has_behind(), Ordering::Relaxed);
        if now - self.counted >= COUNTED || is_idle && !self.shard.has_behind() {
            self.counted = now;
            *shard.stats.lock() = self.shard.stats();
        }
    }

    fn take_requests(&mut self, shard: &WriterShard) {
        self.requests.extend(shard.requests.lock().iter_mut().flat_map(|taken| taken.drain(..)));
        while let Some(request) = self.requests.pop_front() {
            match request {
                Request::Open(connection) => {
                    let seat = connection.link.seat;
                    if let Some(reason) = connection.seat.closed() {
                        // The shard may have said so before.
                        connection.link.fail(reason);
                    }
                    if self.open.len() <= seat {
                        self.open.resize_with(seat + 1, || None);
                    }
                    self.open[seat] = Some(connection);
                    self.behind.push_back(seat);
                }
                Request::Writable(link) => {
                    if self.is_open(&link) {
                        self.behind.push_back(link.seat);
                    }
                }
                Request::End(link) => self.ending.push(link),
            }
        }
    }

    fn is_open(&self, link: &Arc<Link>) -> bool {
        let open = self.open.get(link.seat).and_then(|open| open.as_ref());
        open.is_some_and(|open| Arc::ptr_eq(&open.link, link))
    }

    /// Writes what a connection that is behind has not taken, as far as its socket has space, and
    /// [`MOST_SENT`] bytes at most: then its turn comes again after the others'.
    fn write_behind(&mut self, seat: usize) {
        let Some(Some(Connection { socket, link, .. })) = self.open.get(seat) else { return };
        let stream = socket.stream();
        if !self.shard.is_behind(seat) {
            return link.set_behind(false);
        }
        let (mut written, mut error) = (0, None);
        let is_done = self.shard.write_behind(seat, |bytes| {
            let mut sent = 0;
            while sent < bytes.len() && written < MOST_SENT {
                let most = bytes.len().min(sent + MOST_SENT - written);
                match stream.try_write(&bytes[sent..most]) {
                    Ok(some) => (sent, written) = (sent + some, written + some),
                    Err(why) => {
                        error = Some(why.kind());
                        break;
                    }
                }
            }
            sent
        });
        if written > 0 {
            link.liveness.saw_read();
        }
        // One whose turn is only over is not late.
        link.set_behind(!is_done && error.is_some());
        let is_full = error == Some(io::ErrorKind::WouldBlock);
        if error.is_some() && !is_full {
            self.shard.fail(seat);
        } else if !is_done && self.shard.is_behind(seat) {
            let waker = Waker::from(Arc::clone(link));
            let cx = &mut Context::from_waker(&waker);
            if !is_full || stream.poll_write_ready(cx).is_ready() {
                self.behind.push_back(seat);
            }
        }
    }

    /// Tells the connections that have failed, and gives back those that end.
    fn end_some(&mut self) {
        for (seat, reason) in self.shard.failed() {
            if let Some(Some(open)) = self.open.get(seat) {
                open.link.fail(reason);
            }
        }
        let mut ending = mem::take(&mut self.ending);
        for link in ending.drain(..) {
            if self.is_open(&link) {
                let open = self.open[link.seat].as_ref();
                if open.is_some_and(|open| open.seat.closed().is_none() && open.seat.unread().0 > 0)
                {
                    // A leave of its has not been seen, because a publisher before it has not finished.
                    link.shard.request(Request::End(Arc::clone(&link)));
                    continue;
                }
                let unsent = self.shard.end(link.seat);
                let (stream, seat) = self.open[link.seat]
                    .take()
                    .map(|open| (open.socket.into_stream(), open.seat))
                    .unzip();
                let mut state = link.state.lock();
                // Or the waker in the socket and the socket in the link would keep each other.
                if state.has_handle {
                    state.ended = stream.map(|stream| Box::new((stream, unsent)));
                }
                drop(state);
                link.changed.notify_one();
                // Only now may its number be used again.
                drop(seat);
            }
        }
        self.ending = ending;
    }
}
