//! Entering the log as a reader, locking it as a writer, and the frees that follow from both.

#[cfg(pondwire_loom)]
use loom::thread;
#[cfg(not(pondwire_loom))]
use std::thread;

use super::Log;
use super::chunk::{ChunkRef, follow};
#[cfg(pondwire_loom)]
use super::order::weakened;
use super::order::{ENTER, LEAVE};
use super::reclaim::Released;
use super::writer::Locked;
use crate::fanout::observer::ObserverScope;
use crate::sync::atomic::Ordering;

/// A publisher, or another reader, between entering and leaving: nothing that it can reach is
/// freed. Dropping it leaves, which may free garbage and so run observers' `Drop`.
pub(in crate::fanout) struct ReadGuard<'a> {
    log: &'a Log,
    phase: usize,
    _scope: ObserverScope,
}

impl ReadGuard<'_> {
    /// The first chunk. It and all that are reached from it live as long as the guard.
    #[inline]
    pub(super) fn first_chunk(&self) -> Option<ChunkRef<'_>> {
        // SAFETY: invariant 3, this guard has entered.
        unsafe { follow(&self.log.head) }
    }
}

impl Drop for ReadGuard<'_> {
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
    pub(super) fn enter(&self) -> ReadGuard<'_> {
        let scope = ObserverScope::enter();
        let phase = self.readers.phase.load(Ordering::Relaxed);
        self.readers.active[phase].fetch_add(1, ENTER.order());
        ReadGuard { log: self, phase, _scope: scope }
    }

    /// Runs `change` under the lock, frees what may be freed after it, and returns its result.
    pub(super) fn write<R>(&self, change: impl FnOnce(&mut Locked<'_>) -> R) -> R {
        let mut released = Released::new();
        let result = {
            let mut writer = self.writer.lock();
            // SAFETY: the writer of this log, whose lock is held until the end of this block.
            let mut locked = unsafe { Locked::new(self, &mut writer) };
            let result = change(&mut locked);
            writer.take_retired(&self.retired);
            writer.generations.advance(&self.readers, &mut released);
            result
        };
        self.settle(&mut released);
        released.deliver();
        result
    }

    /// Frees what may be freed, unless a writer is at work, which does it then.
    #[cold]
    fn collect(&self) {
        let mut released = Released::new();
        self.try_advance(&mut released);
        self.settle(&mut released);
        released.deliver();
    }

    fn try_advance(&self, released: &mut Released) -> bool {
        let Some(mut writer) = self.writer.try_lock() else { return false };
        writer.take_retired(&self.retired);
        writer.generations.advance(&self.readers, released);
        true
    }

    /// Checks again for publishers that left while this thread held the lock, and so could not get
    /// it themselves. Either this read of the counter comes after theirs, or they find the lock
    /// free (or held by another thread, which checks again too).
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

    /// Returns when every publisher that had entered before has left.
    pub(in crate::fanout) fn wait(&self) {
        let mut ticket = None;
        loop {
            let finished = self.write(|locked| {
                let generations = locked.generations();
                let ticket = *ticket.get_or_insert_with(|| generations.register(thread::current()));
                generations.is_finished(ticket)
            });
            if finished {
                return;
            }
            thread::park();
        }
    }
}
