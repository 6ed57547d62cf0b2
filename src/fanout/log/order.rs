//! The orderings of the log, by name, so that a model can be run with one of them weakened.
//!
//! `PONDWIRE_WEAKEN=<name>` makes the models run with that one relaxed; `models/weakened.rs`
//! requires that each then fails. Outside of loom these are constants.

use crate::sync::atomic::Ordering;

pub(in crate::fanout) struct Site {
    strong: Ordering,
    #[cfg(pondwire_loom)]
    name: &'static str,
}

/// A publisher enters: what writers unlinked before they last looked at the counter is not seen.
pub(super) const ENTER: Site = Site::new("enter", Ordering::AcqRel);
/// A publisher leaves: what it read, it read before.
pub(super) const LEAVE: Site = Site::new("leave", Ordering::AcqRel);
/// A writer looks at a counter: hands its unlinking to later publishers, takes over from past ones.
pub(super) const DRAIN: Site = Site::new("drain", Ordering::AcqRel);
/// A writer has appended a node.
pub(super) const APPEND: Site = Site::new("append", Ordering::AcqRel);
/// A publisher reads how many were appended.
pub(super) const LIMIT: Site = Site::new("limit", Ordering::Acquire);
/// A writer links a chunk, or links past one.
pub(super) const LINK: Site = Site::new("link", Ordering::Release);
/// A publisher follows a link.
pub(super) const FOLLOW: Site = Site::new("follow", Ordering::Acquire);
/// A writer marks a node dead whose slot it has emptied.
pub(super) const KILL: Site = Site::new("kill", Ordering::Release);
/// A publisher in a chunk that is not linked any more asks whether a node is dead: if so, its next
/// walk finds the slot empty.
pub(super) const DEAD: Site = Site::new("dead", Ordering::Acquire);

impl Site {
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

/// Whether this run of the models is to show that it fails without `name`.
#[cfg(pondwire_loom)]
pub(in crate::fanout) fn weakened(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("PONDWIRE_WEAKEN").ok()).as_deref() == Some(name)
}
