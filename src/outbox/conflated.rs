//! The queue of the `Conflate` policy: a newer item replaces the queued one of its key.
//!
//! It takes a lock, for some moves and a look-up in a hash table: replacing in place and popping
//! both change one slot, and neither may see half of the other's change.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::stats::Counter;
use crate::ring::Bounds;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

struct Entry<T> {
    key: Option<u64>,
    len: u32,
    item: T,
}

struct Queue<T> {
    entries: VecDeque<Entry<T>>,
    /// For each key, the number of entries that were ever pushed before its entry. Hashed with random keys, because
    /// an application may derive its keys from what clients send.
    by_key: HashMap<u64, u64, RandomState>,
    /// The number of entries that were ever taken out.
    gone: u64,
    bytes: u32,
    /// The number of entries that were dropped since the reader's last take.
    lagged: u64,
}

pub(super) struct Conflated<T> {
    queue: Mutex<Queue<T>>,
    /// Frames in the upper 32 bits, bytes in the lower 32: read without the lock, written under it.
    queued: AtomicU64,
    bounds: Bounds,
    /// The number of items that were replaced.
    pub(super) replaced: Counter,
}

/// The outcome of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conflation<T> {
    /// The item waits; whether it replaced an older one, and how many of the oldest were dropped.
    Done {
        replaced: bool,
        dropped: u64,
    },
    /// Larger than the bound in bytes.
    TooLarge(T),
    Closed(T),
}

impl<T> Queue<T> {
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.lagged += 1;
        self.forget(&oldest);
    }

    /// Accounts for an entry that was taken from the front.
    fn forget(&mut self, entry: &Entry<T>) {
        self.bytes -= entry.len;
        // There is one entry for each key.
        if let Some(key) = entry.key {
            self.by_key.remove(&key);
        }
        self.gone += 1;
    }
}

impl<T> Conflated<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let queue = Queue {
            entries: VecDeque::new(),
            by_key: HashMap::default(),
            gone: 0,
            bytes: 0,
            lagged: 0,
        };
        Self {
            queue: Mutex::new(queue),
            queued: AtomicU64::new(0),
            bounds,
            replaced: Counter::default(),
        }
    }

    /// The frames and bytes that wait now.
    pub(super) fn queued(&self) -> (u32, u32) {
        let queued = self.queued.load(Ordering::Acquire);
        ((queued >> 32) as u32, queued as u32)
    }

    fn note(&self, queue: &Queue<T>) {
        let queued = (queue.entries.len() as u64) << 32 | u64::from(queue.bytes);
        self.queued.store(queued, Ordering::Release);
    }

    /// Puts an item in the place of the older one of its key, or at the end.
    pub(super) fn push(
        &self,
        key: Option<u64>,
        item: T,
        len: u32,
        is_closed: impl FnOnce() -> bool,
    ) -> Conflation<T> {
        if len > self.bounds.bytes() {
            return Conflation::TooLarge(item);
        }
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        if is_closed() {
            return Conflation::Closed(item);
        }
        let (mut dropped, mut replaced) = (0, false);
        // The older one leaves the sums first: it must not cause another to be dropped.
        while let Some(at) = key.and_then(|key| queue.by_key.get(&key)) {
            let at = (at - queue.gone) as usize;
            let older = queue.entries[at].len;
            if queue.bytes - older + len <= self.bounds.bytes() {
                queue.bytes = queue.bytes - older + len;
                let older = std::mem::replace(&mut queue.entries[at], Entry { key, len, item });
                self.note(queue);
                drop(guard);
                drop(older);
                return Conflation::Done { replaced: true, dropped };
            }
            if at > 0 {
                queue.drop_oldest();
                dropped += 1;
            } else if let Some(older) = queue.entries.pop_front() {
                // The older one is the oldest of all: the new one goes to the end, where room is
                // made.
                queue.forget(&older);
                replaced = true;
            }
        }
        while queue.entries.len() >= self.bounds.frames() as usize
            || queue.bytes + len > self.bounds.bytes()
        {
            queue.drop_oldest();
            dropped += 1;
        }
        if let Some(key) = key {
            queue.by_key.insert(key, queue.gone + queue.entries.len() as u64);
        }
        queue.entries.push_back(Entry { key, len, item });
        queue.bytes += len;
        self.note(queue);
        Conflation::Done { replaced, dropped }
    }

    /// Moves the oldest items, up to `frames` and of up to `bytes` in total but at least one, to
    /// the end of `into`. Returns their number, their bytes, and how many were dropped since the
    /// last time.
    pub(super) fn take(&self, frames: u32, bytes: u32, into: &mut Vec<T>) -> (u32, u32, u64) {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        let (mut count, mut sum) = (0, 0);
        while count < frames
            && let Some(next) = queue.entries.front()
            && (count == 0 || sum + next.len <= bytes)
            && let Some(entry) = queue.entries.pop_front()
        {
            queue.forget(&entry);
            (count, sum) = (count + 1, sum + entry.len);
            into.push(entry.item);
        }
        self.note(queue);
        let lagged = if count > 0 { std::mem::take(&mut queue.lagged) } else { 0 };
        (count, sum, lagged)
    }

    /// Drops all items and returns their number.
    pub(super) fn clear(&self) -> u64 {
        let mut guard = self.queue.lock();
        let entries = std::mem::take(&mut guard.entries);
        guard.by_key = HashMap::default();
        guard.gone += entries.len() as u64;
        guard.bytes = 0;
        self.note(&guard);
        drop(guard);
        entries.len() as u64
    }
}
