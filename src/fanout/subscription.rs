//! The handle of one subscription.

use std::fmt;

use super::log::Registration;
use super::observer::{InsideObserver, ObserverScope};

/// Keeps one observer subscribed; dropping it unsubscribes.
///
/// It does not keep alive an observer that the subject has dropped, and may outlive the subject.
#[must_use = "dropping a subscription unsubscribes"]
pub struct Subscription {
    registration: Registration,
}

impl Subscription {
    pub(super) const fn new(registration: Registration) -> Self {
        Self { registration }
    }

    /// Unsubscribes the observer; again, or after the subject closed, it does nothing.
    ///
    /// When this returns, no publish that begins later calls the observer, nor does an outer
    /// publish on this thread. One that runs on another thread may still do so once; see
    /// [`unsubscribe_and_wait`](Self::unsubscribe_and_wait).
    ///
    /// A handle of [`subscribe_as`](super::Subject::subscribe_as) removes the observer that is
    /// subscribed under its id, whichever handle subscribed it, every time it is called.
    ///
    /// Cost: constant, and never a wait for a publish. The observer is dropped as soon as no
    /// running publish could have seen it: here, if there is none.
    ///
    /// # Panics
    /// Panics with the panic of an observer's `Drop`, if that runs here.
    pub fn unsubscribe(&self) {
        self.registration.remove();
    }

    /// [`unsubscribe`](Self::unsubscribe), then waits until no running publish could still call the
    /// observer: it is not being called when this returns, and never will be.
    ///
    /// Blocks the thread until all publishes that are running now have ended.
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
    /// one that waits for it. The observer then stays subscribed.
    ///
    /// # Panics
    /// As for [`unsubscribe`](Self::unsubscribe).
    pub fn unsubscribe_and_wait(&self) -> Result<(), InsideObserver> {
        if ObserverScope::is_active() {
            return Err(InsideObserver);
        }
        self.unsubscribe();
        self.registration.wait();
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
        self.registration.give_up();
    }
}

/// Unsubscribes, unless this handle did so before.
impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.registration.is_used() {
            self.unsubscribe();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
