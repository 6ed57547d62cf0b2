//! Deciding when garbage may be freed, by two counters of publishers and generations of garbage.
//!
//! A generation is closed when its wait begins; it is freed once each counter was read as 0 after
//! that. Every writer that unlinks something reads the counters, and so does the publisher that
//! takes an awaited counter to 0.

#[cfg(pondwire_loom)]
use loom::thread::Thread;
#[cfg(not(pondwire_loom))]
use std::thread::Thread;

use super::node::Bag;
use super::order::DRAIN;
#[cfg(pondwire_loom)]
use super::order::weakened;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The counters by which publishers and writers agree on when garbage may be freed.
pub(super) struct Readers {
    /// The number of publishers that have entered by this counter and not left.
    pub(super) active: [AtomicUsize; 2],
    /// The counter by which publishers are to enter. It only steers; correctness does not depend on
    /// it.
    pub(super) phase: AtomicUsize,
    /// Bit `n`: garbage waits until counter `n` is 0.
    pub(super) awaited: AtomicU8,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self {
            active: [AtomicUsize::new(0), AtomicUsize::new(0)],
            phase: AtomicUsize::new(0),
            awaited: AtomicU8::new(0),
        }
    }

    /// Whether every publisher that entered by counter `n` has left. An RMW, so that it reads the
    /// latest value and hands what was unlinked on to the next publisher: a load does neither.
    pub(super) fn is_drained(&self, n: usize) -> bool {
        #[cfg(pondwire_loom)]
        if weakened("drain is a load") {
            return self.active[n].load(Ordering::Acquire) == 0;
        }
        self.active[n].fetch_add(0, DRAIN.order()) == 0
    }
}

/// The garbage and the threads that wait for it, under the writers' lock.
pub(super) struct Generations {
    /// Unlinked since the last generation started.
    pub(super) fresh: Bag,
    /// The generation that waits for the counters.
    waiting: Bag,
    /// For each counter, whether it was read as 0 since the generation started.
    seen: [bool; 2],
    started: u64,
    finished: u64,
    /// A generation must run even if it has nothing to free.
    wanted: bool,
    waiters: Vec<(u64, Thread)>,
}

impl Generations {
    pub(super) fn new() -> Self {
        Self {
            fresh: Bag::new(),
            waiting: Bag::new(),
            seen: [false; 2],
            started: 0,
            finished: 0,
            wanted: false,
            waiters: Vec::new(),
        }
    }

    fn is_pending(&self) -> bool {
        self.started > self.finished || self.wanted || !self.fresh.is_empty()
    }

    /// Registers `thread` to be woken when a generation that starts later is finished; returns the
    /// ticket for [`is_finished`](Self::is_finished).
    pub(super) fn register(&mut self, thread: Thread) -> u64 {
        let ticket = self.started + 1;
        self.wanted = true;
        self.waiters.push((ticket, thread));
        ticket
    }

    pub(super) const fn is_finished(&self, ticket: u64) -> bool {
        self.finished >= ticket
    }

    /// Moves the garbage that may be freed into `released`.
    pub(super) fn advance(&mut self, readers: &Readers, released: &mut Released) {
        loop {
            if self.started == self.finished {
                if !self.is_pending() {
                    return;
                }
                self.waiting = self.fresh.take();
                self.wanted = false;
                self.started += 1;
                self.seen = [false; 2];
                // Before the counters are read: a publisher that leaves after that sees it.
                readers.awaited.store(0b11, Ordering::Relaxed);
            }
            for (n, seen) in self.seen.iter_mut().enumerate() {
                *seen = *seen || readers.is_drained(n);
            }
            let awaited = u8::from(!self.seen[0]) | u8::from(!self.seen[1]) << 1;
            readers.awaited.store(awaited, Ordering::Relaxed);
            match self.seen {
                [true, true] => self.finish(released),
                // New publishers keep away from the counter that has to drain.
                [true, false] => return readers.phase.store(0, Ordering::Relaxed),
                [false, true] => return readers.phase.store(1, Ordering::Relaxed),
                [false, false] => return,
            }
        }
    }

    fn finish(&mut self, released: &mut Released) {
        self.finished = self.started;
        released.bag.append(&mut self.waiting);
        let finished = self.finished;
        let waiters = self.waiters.extract_if(.., |(ticket, _)| *ticket <= finished);
        released.wake.extend(waiters.map(|(_, thread)| thread));
    }
}

/// The work that is left for after the lock is released.
pub(super) struct Released {
    bag: Bag,
    wake: Vec<Thread>,
}

impl Released {
    pub(super) fn new() -> Self {
        Self { bag: Bag::new(), wake: Vec::new() }
    }

    /// Wakes the waiting threads, then drops observers, whose panics reach the caller.
    pub(super) fn deliver(self) {
        for thread in self.wake {
            thread.unpark();
        }
        drop(self.bag);
    }
}
