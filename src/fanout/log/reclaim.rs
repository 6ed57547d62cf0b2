//! When garbage may be freed: two counters of publishers, and generations of garbage.
//!
//! A generation is closed when its wait begins; it is freed once each counter was read as 0 after
//! that. Whoever unlinks looks; so does the publisher that takes an awaited counter to 0.

#[cfg(pondwire_loom)]
use loom::thread::{self, Thread};
#[cfg(not(pondwire_loom))]
use std::thread::{self, Thread};

use super::Log;
use super::item::Bag;
#[cfg(pondwire_loom)]
use super::order::weakened;
use super::order::{DRAIN, ENTER, LEAVE};
use super::writer::Writer;
use crate::fanout::inside::Inside;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What publishers and writers share to tell when garbage may go.
pub(super) struct Readers {
    /// How many publishers have entered by this counter and not left.
    active: [AtomicUsize; 2],
    /// By which counter publishers are to enter: it only steers, nothing depends on it.
    phase: AtomicUsize,
    /// Bit `n`: garbage waits until counter `n` is 0.
    awaited: AtomicU8,
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
    /// latest value and passes what was unlinked on to the next publisher: a load does neither.
    fn is_drained(&self, n: usize) -> bool {
        #[cfg(pondwire_loom)]
        if weakened("drain is a load") {
            return self.active[n].load(Ordering::Acquire) == 0;
        }
        self.active[n].fetch_add(0, DRAIN.order()) == 0
    }
}

/// The writers' part, under their lock.
pub(super) struct Generations {
    /// Unlinked since the last generation started.
    pub(super) fresh: Bag,
    /// The generation that waits for the counters.
    waiting: Bag,
    /// Which counters were 0 since it started.
    seen: [bool; 2],
    started: u64,
    finished: u64,
    /// A generation is to be run even if it has nothing to free.
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

    /// Moves what may be freed into `released`.
    fn advance(&mut self, readers: &Readers, released: &mut Released) {
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
                // New publishers keep away from the counter that is to drain.
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

/// What is to be done once the lock is given back.
struct Released {
    bag: Bag,
    wake: Vec<Thread>,
}

impl Released {
    fn new() -> Self {
        Self { bag: Bag::new(), wake: Vec::new() }
    }

    /// Wakes who waited, then drops observers, whose panics get through.
    fn deliver(self) {
        for thread in self.wake {
            thread.unpark();
        }
        drop(self.bag);
    }
}

/// A publisher, or another reader, between entering and leaving: nothing that it can reach is
/// freed. Leaves when it is dropped, which may free garbage and so run observers' `Drop`.
pub(in crate::fanout) struct Entered<'a> {
    log: &'a Log,
    phase: usize,
    _inside: Inside,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let readers = &self.log.readers;
        let last = readers.active[self.phase].fetch_sub(1, LEAVE.order()) == 1;
        let awaited = last && readers.awaited.load(Ordering::Relaxed) & (1 << self.phase) != 0;
        if awaited || !self.log.retired.load(Ordering::Relaxed).is_null() {
            self.log.collect();
        }
    }
}

impl Log {
    #[inline]
    pub(super) fn enter(&self) -> Entered<'_> {
        let inside = Inside::enter();
        let phase = self.readers.phase.load(Ordering::Relaxed);
        self.readers.active[phase].fetch_add(1, ENTER.order());
        Entered { log: self, phase, _inside: inside }
    }

    /// Runs `change` under the lock, frees what may be freed after it, and gives its result.
    pub(super) fn write<R>(&self, change: impl FnOnce(&mut Writer) -> R) -> R {
        let mut released = Released::new();
        let result = {
            let mut writer = self.writer.lock();
            let result = change(&mut writer);
            writer.take_retired(self);
            writer.generations.advance(&self.readers, &mut released);
            result
        };
        self.settle(&mut released);
        released.deliver();
        result
    }

    /// Frees what may be freed, unless a writer is at work, who does it then.
    #[cold]
    pub(super) fn collect(&self) {
        let mut released = Released::new();
        self.try_advance(&mut released);
        self.settle(&mut released);
        released.deliver();
    }

    fn try_advance(&self, released: &mut Released) -> bool {
        let Some(mut writer) = self.writer.try_lock() else { return false };
        writer.take_retired(self);
        writer.generations.advance(&self.readers, released);
        true
    }

    /// Looks again for the publishers that left while this thread held the lock, and could not get
    /// it themselves. Either this read of the counter comes after theirs, or they find the lock
    /// free (or held by another, who looks again too).
    fn settle(&self, released: &mut Released) {
        #[cfg(pondwire_loom)]
        if weakened("settle") {
            return;
        }
        loop {
            let awaited = self.readers.awaited.load(Ordering::Relaxed);
            let drained = (0..2).any(|n| awaited & (1 << n) != 0 && self.readers.is_drained(n));
            if !drained || !self.try_advance(released) {
                return;
            }
        }
    }

    /// Returns when every publisher has left that had entered before.
    pub(in crate::fanout) fn wait(&self) {
        let mut registered = None;
        loop {
            let finished = self.write(|writer| {
                let generations = &mut writer.generations;
                let ticket = *registered.get_or_insert_with(|| {
                    let ticket = generations.started + 1;
                    generations.wanted = true;
                    generations.waiters.push((ticket, thread::current()));
                    ticket
                });
                generations.finished >= ticket
            });
            if finished {
                return;
            }
            thread::park();
        }
    }
}
