//! The memory that clients make the server keep, and its bound over all of them.
//!
//! A bound for each client does not bound all: 20,000 clients with 8 MiB queued are 160 GB. So the bytes of what
//! clients have not read, of what the channels hold and of messages that have arrived in part are added up some
//! times a second, and above the bound the connections with the longest queues end and no new ones are accepted.
//! What channels hold ends with no connection, so no more is accepted before it leaves the queues too little.
//! A delivery touches a shared counter only if its size is another than that of the channel's last one: writers copy
//! their own counts anyway.

use std::cell::LazyCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A partial message may grow to this even if there is no memory, so that clients can still talk.
const SMALL: usize = 64 << 10;

/// An open channel without presence and without broadcasts: about as much as it takes with a name of 200 bytes.
const CHANNEL: usize = 3 << 10;

/// A member of a channel without assigns: its entries in the channel, in the channel's room and in its session.
const MEMBER: usize = 512;

/// A presence is in its channel's list, with room to grow, in the last frame and mostly there as what changed.
const COPIES_OF_PRESENCE: usize = 3;

/// The bytes in use, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Frames that wait for connections that do not read, counted for each of these.
    pub(crate) queues: usize,
    /// Frames that the writers have not taken from the logs of channels.
    pub(crate) logs: usize,
    /// Messages that have not arrived as a whole.
    pub(crate) partial: usize,
    /// The last broadcasts of channels.
    pub(crate) last: usize,
    /// The presence of members here.
    pub(crate) presence: usize,
    /// The open channels, besides these.
    pub(crate) channels: usize,
    /// The members of channels here.
    pub(crate) members: usize,
    /// What handlers assigned to these and to connections.
    pub(crate) assigns: usize,
    /// The users that other nodes report, with their presence.
    pub(crate) reported: usize,
}

/// What [`Memory`] does not count itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elsewhere {
    /// See [`Used::queues`].
    pub(crate) queues: usize,
    /// The number of open channels.
    pub(crate) channels: usize,
    /// The bytes of the users that other nodes report, each counted once.
    pub(crate) reported: usize,
}

impl Used {
    const fn sum(self) -> usize {
        self.queues.saturating_add(self.others())
    }

    /// All but the queues.
    const fn others(self) -> usize {
        self.logs.saturating_add(self.partial).saturating_add(self.kept())
    }

    /// What is there for as long as the clients like.
    const fn kept(self) -> usize {
        let Self { last, presence, channels, members, assigns, reported, .. } = self;
        let of_channels = last.saturating_add(presence).saturating_add(channels);
        of_channels.saturating_add(members).saturating_add(assigns).saturating_add(reported)
    }
}

/// The bound, and whether it is exceeded.
#[derive(Default)]
pub(crate) struct Memory {
    most: usize,
    most_last: usize,
    /// See [`Used`]. All accesses here are relaxed: a moment later is soon enough.
    logs: AtomicUsize,
    partial: AtomicUsize,
    last: AtomicUsize,
    presence: AtomicUsize,
    members: AtomicUsize,
    assigns: AtomicUsize,
    is_short: AtomicBool,
    /// Whether channels keep so much that they may keep no more.
    is_crowded: AtomicBool,
    refused: Refused,
}

#[derive(Default)]
struct Refused {
    connections: AtomicU64,
    messages: AtomicU64,
    channels: AtomicU64,
    members: AtomicU64,
    presence: AtomicU64,
    assigns: AtomicU64,
}

impl Memory {
    /// With a bound of `most` bytes, of which the last broadcasts may take `most_last`.
    pub(crate) fn new(most: usize, most_last: usize) -> Self {
        Self { most, most_last, ..Self::default() }
    }

    /// Is told of [`Used::logs`] now and then.
    pub(crate) fn set_logs(&self, bytes: usize) {
        self.logs.store(bytes, Ordering::Relaxed);
    }

    /// What is in use.
    pub(crate) fn used(&self, elsewhere: Elsewhere) -> Used {
        let Elsewhere { queues, channels, reported } = elsewhere;
        Used {
            queues,
            logs: self.logs.load(Ordering::Relaxed),
            partial: self.partial.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            presence: self.presence.load(Ordering::Relaxed),
            channels: channels.saturating_mul(CHANNEL),
            members: self.members.load(Ordering::Relaxed),
            assigns: self.assigns.load(Ordering::Relaxed),
            reported: reported.saturating_mul(COPIES_OF_PRESENCE),
        }
    }

    /// A channel's last broadcast takes `bytes` instead of `before`. Returns whether it may be kept; it counts in any
    /// case.
    pub(crate) fn change_last(&self, before: usize, bytes: usize) -> bool {
        let sum = change(&self.last, before, bytes);
        bytes <= before || sum <= self.most_last && !self.is_crowded.load(Ordering::Relaxed)
    }

    /// A member's presence has `len` bytes instead of `before`.
    pub(crate) fn change_presence(&self, before: usize, len: usize) {
        change(&self.presence, COPIES_OF_PRESENCE * before, COPIES_OF_PRESENCE * len);
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
        let resident = LazyCell::new(resident);
        let exceeds =
            |used, most| used > most && resident.is_none_or(|resident: usize| resident > most);
        let is_short = exceeds(used.sum(), self.most);
        self.is_short.store(is_short, Ordering::Relaxed);
        let is_crowded = exceeds(used.kept(), self.most - self.most / 4);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
        is_short.then(|| (self.most - self.most / 8).saturating_sub(used.others()))
    }

    /// Whether a new connection may be accepted; counts it if not.
    pub(crate) fn admits(&self) -> bool {
        let admits = !self.is_short.load(Ordering::Relaxed);
        if !admits {
            self.refused.connections.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// Whether a channel may be opened for a client; counts it if not.
    pub(crate) fn admits_channel(&self) -> bool {
        self.has_place(&self.refused.channels)
    }

    /// Whether a channel may have another member; counts it if not.
    pub(crate) fn admits_member(&self) -> bool {
        self.has_place(&self.refused.members)
    }

    /// Whether what handlers assign to a user may grow; counts it if not.
    pub(crate) fn admits_assigns(&self) -> bool {
        self.has_place(&self.refused.assigns)
    }

    /// Whether a member's presence may grow; counts it if not.
    pub(crate) fn admits_presence(&self) -> bool {
        self.has_place(&self.refused.presence)
    }

    fn has_place(&self, refused: &AtomicU64) -> bool {
        let is_short = self.is_short.load(Ordering::Relaxed);
        let has_place = !is_short && !self.is_crowded.load(Ordering::Relaxed);
        if !has_place {
            refused.fetch_add(1, Ordering::Relaxed);
        }
        has_place
    }

    /// What was refused, by what it was.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 6] {
        let Refused { connections, messages, channels, members, presence, assigns } = &self.refused;
        [
            ("new_connection", connections),
            ("partial_message", messages),
            ("new_channel", channels),
            ("new_member", members),
            ("presence", presence),
            ("assigns", assigns),
        ]
        .map(|(what, count)| (what, count.load(Ordering::Relaxed)))
    }
}

/// Counts `bytes` instead of `before`, and returns the sum.
fn change(counter: &AtomicUsize, before: usize, bytes: usize) -> usize {
    // Wraps, and so do the other way.
    let by = bytes.wrapping_sub(before);
    counter.fetch_add(by, Ordering::Relaxed).wrapping_add(by)
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
        let Memory { partial, is_short, refused, .. } = &*self.memory;
        let has_grown = bytes > self.bytes;
        change(partial, self.bytes, bytes);
        self.bytes = bytes;
        if has_grown && bytes > SMALL && is_short.load(Ordering::Relaxed) {
            refused.messages.fetch_add(1, Ordering::Relaxed);
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

/// The memory of one member of a channel, or of one connection, with its assigns; counted until it is dropped.
pub(crate) struct UserMemory {
    memory: Arc<Memory>,
    is_member: bool,
    assigns: usize,
}

impl UserMemory {
    /// That of a member, whose assigns take so many bytes.
    pub(crate) fn of_member(memory: Arc<Memory>, assigns: usize) -> Self {
        change(&memory.members, 0, MEMBER);
        Self::new(memory, true, assigns)
    }

    /// That of a connection, of which only the assigns count.
    pub(crate) fn of_connection(memory: Arc<Memory>, assigns: usize) -> Self {
        Self::new(memory, false, assigns)
    }

    fn new(memory: Arc<Memory>, is_member: bool, assigns: usize) -> Self {
        change(&memory.assigns, 0, assigns);
        Self { memory, is_member, assigns }
    }

    /// The assigns are to take so many bytes now. Returns whether they may; they count as before if not.
    pub(crate) fn set_assigns(&mut self, bytes: usize) -> bool {
        let may = bytes <= self.assigns || self.memory.admits_assigns();
        if may {
            change(&self.memory.assigns, self.assigns, bytes);
            self.assigns = bytes;
        }
        may
    }
}

impl Drop for UserMemory {
    fn drop(&mut self) {
        change(&self.memory.assigns, self.assigns, 0);
        if self.is_member {
            change(&self.memory.members, MEMBER, 0);
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

    use super::{
        CHANNEL, COPIES_OF_PRESENCE, Elsewhere, MEMBER, Memory, Partial, SMALL, Used, UserMemory,
        resident,
    };

    #[test]
    fn the_bound_is_exceeded_only_if_the_process_is_as_large() {
        let memory = Memory::new(800, 0);
        let used = |queues| Used { queues, logs: 50, partial: 50, ..Used::default() };
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
        assert_eq!(memory.refused()[0], ("new_connection", 1));
    }

    #[test]
    fn channels_keep_no_more_than_leaves_the_queues_their_place() {
        let memory = Memory::new(800, 1000);
        let used = |presence| Used { presence, last: 100, channels: 100, ..Used::default() };
        let may_keep = || {
            let may_keep_last = memory.change_last(0, 1);
            memory.change_last(1, 0);
            let [channel, member] = [memory.admits_channel(), memory.admits_member()];
            [channel, member, memory.admits_presence(), memory.admits_assigns(), may_keep_last]
        };
        assert_eq!(memory.check(used(400), || unreachable!("not needed")), None);
        assert_eq!(may_keep(), [true; 5]);
        assert_eq!(memory.check(used(401), || Some(600)), None);
        assert_eq!(may_keep(), [true; 5], "the process is not as large");
        assert_eq!(memory.check(used(401), || Some(601)), None, "nobody is cut off for it");
        assert_eq!(may_keep(), [false; 5]);
        assert!(memory.admits() && memory.change_last(3, 3) && memory.change_last(3, 2));
        assert_eq!(memory.check(Used { queues: 200, ..used(401) }, || None), Some(99));
        assert_eq!(memory.check(Used { queues: 500, ..used(101) }, || None), Some(399));
        assert_eq!(may_keep(), [false, false, false, false, true], "there is no memory");
        let refused = [("new_connection", 0), ("partial_message", 0)];
        assert_eq!(memory.refused()[..2], refused);
        let refused = [("new_channel", 2), ("new_member", 2), ("presence", 2), ("assigns", 2)];
        assert_eq!(memory.refused()[2..], refused);
    }

    #[test]
    fn last_broadcasts_have_a_bound_of_their_own() {
        let memory = Memory::new(usize::MAX, 10);
        assert!(memory.change_last(0, 6));
        assert!(memory.change_last(0, 4));
        assert!(!memory.change_last(4, 5));
        let with_channels = Elsewhere { channels: 2, ..Elsewhere::default() };
        assert!(memory.change_last(5, 0), "what becomes less is kept");
        assert_eq!(
            memory.used(with_channels),
            Used { last: 6, channels: 2 * CHANNEL, ..Used::default() }
        );
        memory.change_presence(0, 9);
        memory.change_presence(9, 2);
        assert_eq!(memory.used(Elsewhere::default()).presence, COPIES_OF_PRESENCE * 2);
        let reported = Elsewhere { reported: 7, ..Elsewhere::default() };
        assert_eq!(memory.used(reported).reported, COPIES_OF_PRESENCE * 7);
    }

    #[test]
    fn members_and_assigns_count_until_they_are_dropped() {
        let memory = Arc::new(Memory::new(800, 0));
        let counted = || {
            let used = memory.used(Elsewhere::default());
            (used.members, used.assigns)
        };
        let mut member = UserMemory::of_member(Arc::clone(&memory), 7);
        let connection = UserMemory::of_connection(Arc::clone(&memory), 3);
        assert_eq!(counted(), (MEMBER, 10));
        assert!(member.set_assigns(5));
        assert_eq!(counted(), (MEMBER, 8));
        memory.check(Used { assigns: 601, ..Used::default() }, || None);
        assert!(!member.set_assigns(6));
        assert!(member.set_assigns(4), "what becomes less is never refused");
        assert_eq!(counted(), (MEMBER, 7));
        drop((member, connection));
        assert_eq!(counted(), (0, 0));
    }

    #[test]
    fn partial_messages_count_until_they_are_dropped() {
        let memory = Arc::new(Memory::new(SMALL, 0));
        let mut one = Partial::new(Arc::clone(&memory));
        let mut other = Partial::new(Arc::clone(&memory));
        one.set(3 * SMALL).unwrap();
        other.set(7).unwrap();
        one.set(2 * SMALL).unwrap();
        let used = memory.used(Elsewhere::default());
        assert_eq!(used.partial, 2 * SMALL + 7);
        assert!(memory.check(used, || None).is_some());
        other.set(SMALL).expect("a small message always has its place");
        other.set(SMALL + 1).expect_err("too large for now");
        one.set(SMALL + 1).expect("it shrinks");
        assert_eq!(memory.refused()[1], ("partial_message", 1));
        drop((one, other));
        assert_eq!(memory.used(Elsewhere::default()), Used::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_the_size_of_the_process() {
        let size = resident().expect("of this process");
        assert!((1 << 20..1 << 40).contains(&size), "{size}");
    }
}
