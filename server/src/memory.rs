//! The memory that clients make the server keep, and its bound over all of them.
//!
//! A bound for each client does not bound all: 20,000 clients with 8 MiB queued are 160 GB. So the bytes of what
//! clients have not read, of what the channels' logs hold and of messages that have arrived in part are added up some
//! times a second, and above the bound the connections with the longest queues end and no new ones are accepted.
//! No delivery touches a shared counter: writers copy their own counts anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A partial message may grow to this even if there is no memory, so that clients can still talk.
const SMALL: usize = 64 << 10;

/// The bytes in use, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Frames that wait for connections that do not read, counted for each of these.
    pub(crate) queues: usize,
    /// Frames that the writers have not taken from the logs of channels.
    pub(crate) logs: usize,
    /// Messages that have not arrived as a whole.
    pub(crate) partial: usize,
}

impl Used {
    const fn sum(self) -> usize {
        self.queues.saturating_add(self.logs).saturating_add(self.partial)
    }
}

/// The bound, and whether it is exceeded.
pub(crate) struct Memory {
    most: usize,
    /// See [`Used::partial`]. All accesses here are relaxed: a moment later is soon enough.
    partial: AtomicUsize,
    is_short: AtomicBool,
    refused: AtomicU64,
    interrupted: AtomicU64,
}

impl Memory {
    /// With a bound of `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        let (partial, is_short, refused, interrupted) = Default::default();
        Self { most, partial, is_short, refused, interrupted }
    }

    pub(crate) fn partial(&self) -> usize {
        self.partial.load(Ordering::Relaxed)
    }

    /// Compares what is used with the bound. Returns the most bytes that the queues may have from now on if they have
    /// too many: so few that it does not happen again at once.
    ///
    /// Frames in several queues count in each, so the queues may seem larger than they are: the bound is
    /// exceeded only if the process is as large, too, according to `resident`.
    pub(crate) fn check(
        &self,
        used: Used,
        resident: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        let is_short =
            used.sum() > self.most && resident().is_none_or(|resident| resident > self.most);
        self.is_short.store(is_short, Ordering::Relaxed);
        let others = used.logs.saturating_add(used.partial);
        is_short.then(|| (self.most - self.most / 8).saturating_sub(others))
    }

    /// Whether a new connection may be accepted; counts it if not.
    pub(crate) fn admits(&self) -> bool {
        let admits = !self.is_short.load(Ordering::Relaxed);
        if !admits {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// The connections that were refused, and the messages that were.
    pub(crate) fn refused(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.interrupted.load(Ordering::Relaxed))
    }
}

/// The memory of one connection's message that has arrived in part; counted until it is dropped.
pub(crate) struct Partial {
    memory: Arc<Memory>,
    bytes: usize,
}

/// There is no memory for a larger message.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

impl Partial {
    pub(crate) const fn new(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// It takes so many bytes now.
    ///
    /// # Errors
    /// It has grown, and there is no memory for it.
    #[inline]
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        if bytes == self.bytes { Ok(()) } else { self.change(bytes) }
    }

    fn change(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let Memory { partial, is_short, interrupted, .. } = &*self.memory;
        let has_grown = bytes > self.bytes;
        // Wraps, and so do the other way.
        partial.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
        if has_grown && bytes > SMALL && is_short.load(Ordering::Relaxed) {
            interrupted.fetch_add(1, Ordering::Relaxed);
            return Err(OutOfMemory);
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.partial.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The memory of this process that is not swapped out, in bytes, if the system tells.
pub(crate) fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: usize = kibibytes.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Memory, Partial, SMALL, Used, resident};

    #[test]
    fn the_bound_is_exceeded_only_if_the_process_is_as_large() {
        let memory = Memory::new(800);
        let used = |queues| Used { queues, logs: 50, partial: 50 };
        let known = |resident| move || Some(resident);
        assert_eq!(memory.check(used(700), || unreachable!("not needed")), None);
        assert_eq!(memory.check(used(701), known(800)), None, "frames counted twice");
        assert!(memory.admits());
        assert_eq!(memory.check(used(701), known(801)), Some(600));
        assert!(!memory.admits());
        assert_eq!(memory.check(used(701), || None), Some(600), "nothing else is known");
        assert_eq!(memory.check(Used { partial: 900, ..used(0) }, known(1000)), Some(0));
        assert_eq!(memory.check(used(600), known(2000)), None);
        assert!(memory.admits());
        assert_eq!(memory.refused(), (1, 0));
    }

    #[test]
    fn partial_messages_count_until_they_are_dropped() {
        let memory = Arc::new(Memory::new(SMALL));
        let mut one = Partial::new(Arc::clone(&memory));
        let mut other = Partial::new(Arc::clone(&memory));
        one.set(3 * SMALL).unwrap();
        other.set(7).unwrap();
        one.set(2 * SMALL).unwrap();
        assert_eq!(memory.partial(), 2 * SMALL + 7);
        let used = Used { partial: memory.partial(), ..Used::default() };
        assert!(memory.check(used, || None).is_some());
        other.set(SMALL).expect("a small message always has its place");
        other.set(SMALL + 1).expect_err("too large for now");
        one.set(SMALL + 1).expect("it shrinks");
        assert_eq!(memory.refused(), (0, 1));
        drop((one, other));
        assert_eq!(memory.partial(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_the_size_of_the_process() {
        let size = resident().expect("of this process");
        assert!((1 << 20..1 << 40).contains(&size), "{size}");
    }
}
