//! The handle of one subscription.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::InsideObserver;
use super::inside::Inside;
use super::log::{Log, NodeRef};
use crate::sync::Arc;

/// Keeps one observer subscribed; dropping it unsubscribes.
///
/// It keeps no observer alive that the subject has let go of, and may outlive the subject.
#[must_use = "dropping a subscription unsubscribes"]
pub struct Subscription {
    log: Arc<Log>,
    target: Target,
    /// Set under the log's lock, so that who finds it set knows that it is done.
    used: AtomicBool,
}

enum Target {
    Node(NodeRef),
    Id(u64),
}

impl Subscription {
    pub(super) fn of_node(log: &Arc<Log>, node: NodeRef) -> Self {
        Self { log: log.clone(), target: Target::Node(node), used: AtomicBool::new(false) }
    }

    pub(super) fn of_id(log: &Arc<Log>, id: u64) -> Self {
        Self { log: log.clone(), target: Target::Id(id), used: AtomicBool::new(false) }
    }

    /// Unsubscribes the observer; again, or after the subject closed, it does nothing.
    ///
    /// When this returns, no publish that begins later calls the observer, and none that is further
    /// up on this thread. One that runs on another thread may still do so once; see
    /// [`unsubscribe_and_wait`](Self::unsubscribe_and_wait).
    ///
    /// A handle of [`subscribe_as`](super::Subject::subscribe_as) removes what is subscribed under
    /// its id, whichever handle that came from, every time it is called.
    ///
    /// Cost: constant, and never a wait for a publish. The observer is dropped as soon as no
    /// publish runs that could have seen it: here, if there is none.
    ///
    /// # Panics
    /// With the panic of an observer's `Drop`, when that is run here.
    pub fn unsubscribe(&self) {
        match self.target {
            Target::Node(node) => {
                self.log.remove(node, || !self.used.swap(true, Ordering::Relaxed));
            }
            Target::Id(id) => {
                self.used.store(true, Ordering::Relaxed);
                self.log.remove_id(id);
            }
        }
    }

    /// [`unsubscribe`](Self::unsubscribe), then waits until no publish is running that could still
    /// call the observer: it is not being called when this returns, and never will be.
    ///
    /// Blocks the thread for as long as the publishes last that are running now.
    ///
    /// ```
    /// use pondwire::fanout::Subject;
    ///
    /// let subject = Subject::<str>::new();
    /// let subscription = subject.subscribe(|_| ())?;
    /// subscription.unsubscribe_and_wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InsideObserver`] inside any observer, or while this thread holds the value of a
    /// [`BehaviorSubject`](super::BehaviorSubject): the wait could be for this very thread, or for
    /// one that waits for it. Nothing is unsubscribed then.
    ///
    /// # Panics
    /// As for [`unsubscribe`](Self::unsubscribe).
    pub fn unsubscribe_and_wait(&self) -> Result<(), InsideObserver> {
        if Inside::any() {
            return Err(InsideObserver);
        }
        self.unsubscribe();
        self.log.wait();
        Ok(())
    }

    /// Keeps the observer subscribed for as long as the subject lives.
    ///
    /// ```
    /// use pondwire::fanout::Subject;
    ///
    /// let subject = Subject::<str>::new();
    /// subject.subscribe(|text| println!("{text}"))?.detach();
    /// assert_eq!(subject.len(), 1);
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    pub fn detach(self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

/// Unsubscribes, unless this handle did so before.
impl Drop for Subscription {
    fn drop(&mut self) {
        if !*self.used.get_mut() {
            self.unsubscribe();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
