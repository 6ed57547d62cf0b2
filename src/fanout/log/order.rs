//! The orderings of the log, by name, so that a model can be run with one of them weakened.
//!
//! With `PONDWIRE_WEAKEN=<name>` the models run with that one relaxed; `models/weakened.rs`
//! requires that each then fails. Outside of loom these are constants.

use crate::sync::atomic::Ordering;

pub(in crate::fanout) struct NamedOrdering {
    strong: Ordering,
    #[cfg(pondwire_loom)]
    name: &'static str,
}

/// A publisher enters: it does not see what writers unlinked before they last read the counter.
pub(super) const ENTER: NamedOrdering = NamedOrdering::new("enter", Ordering::AcqRel);
/// A publisher leaves: all its reads come before.
pub(super) const LEAVE: NamedOrdering = NamedOrdering::new("leave", Ordering::AcqRel);
/// A writer reads a counter: hands its unlinking on to later publishers, acquires from past ones.
pub(super) const DRAIN: NamedOrdering = NamedOrdering::new("drain", Ordering::AcqRel);
/// A writer has appended a node.
pub(super) const APPEND: NamedOrdering = NamedOrdering::new("append", Ordering::AcqRel);
/// A publisher reads how many were appended.
pub(super) const LIMIT: NamedOrdering = NamedOrdering::new("limit", Ordering::Acquire);
/// A writer links a chunk, or links past one.
pub(super) const LINK: NamedOrdering = NamedOrdering::new("link", Ordering::Release);
/// A publisher follows a link.
pub(super) const FOLLOW: NamedOrdering = NamedOrdering::new("follow", Ordering::Acquire);
/// A writer marks a node dead after it has emptied its slot.
pub(super) const KILL: NamedOrdering = NamedOrdering::new("kill", Ordering::Release);
/// A publisher in a chunk that is no longer linked checks whether a node is dead: if so, its next
/// walk finds the slot empty.
pub(super) const DEAD: NamedOrdering = NamedOrdering::new("dead", Ordering::Acquire);

impl NamedOrdering {
    #[cfg_attr(not(pondwire_loom), expect(unused_variables))]
    pub(in crate::fanout) const fn new(name: &'static str, strong: Ordering) -> Self {
        Self {
            strong,
            #[cfg(pondwire_loom)]
            name,
        }
    }

    #[inline]
    pub(in crate::fanout) fn order(&self) -> Ordering {
        #[cfg(pondwire_loom)]
        if weakened(self.name) {
            return Ordering::Relaxed;
        }
        self.strong
    }
}

/// Whether this run of the models must show that they fail without `name`.
#[cfg(pondwire_loom)]
pub(in crate::fanout) fn weakened(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("PONDWIRE_WEAKEN").ok()).as_deref() == Some(name)
}
