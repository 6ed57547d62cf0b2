//! A subscriber between its replay and its place in the order.
//!
//! It is appended first, *joining*: publishers that meet it do not call it, they leave a mark. Its
//! own thread tells it the latest value, and again while there is a mark; then it has joined. So
//! - a value whose publisher did not see the node is read by its thread (both do an RMW on
//!   `Log::appended`: the publisher after putting the value in place, the writer before reading it);
//! - a value whose publisher saw it joining is read by its thread, which finds the mark;
//! - a value whose publisher finds it joined was told by its thread before if its version is not
//!   above `given`: values have versions, in the order in which they were put in place.
//!
//! What its own observer publishes during the replay it is not told, as in all PondSocket packages.

use std::marker::PhantomData;

use super::closure::{Closure, Holds};
use super::order::Site;
use crate::fanout::inside::this_thread;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const JOINING: u8 = 1;
const MARKED: u8 = 2;

/// A publisher leaves its mark: its value is to be seen by whoever finds it.
const MARK: Site = Site::new("mark", Ordering::AcqRel);
/// The subscriber has joined: what it was given is to be seen by publishers.
const JOIN: Site = Site::new("join", Ordering::AcqRel);
/// A publisher looks whether it has joined.
const JOINED: Site = Site::new("joined", Ordering::Acquire);

/// An observer that is told the latest value before it is told what is published. A log of these
/// has only values of type `T`.
pub(in crate::fanout) struct Joining<T, O> {
    state: AtomicU8,
    /// The version of the last value that its own thread told it.
    given: AtomicU64,
    thread: usize,
    pub(super) observer: O,
    values: PhantomData<fn(T)>,
}

impl<T, O> Joining<T, O> {
    pub(super) fn new(observer: O) -> Self {
        Self {
            state: AtomicU8::new(JOINING),
            given: AtomicU64::new(0),
            thread: this_thread(),
            observer,
            values: PhantomData,
        }
    }

    /// Whether a publisher that meets it is to call it.
    #[inline]
    pub(super) fn hears(&self, version: u64) -> bool {
        let joined = self.state.load(JOINED.order()) & JOINING == 0 || self.mark(version);
        joined && self.given.load(Ordering::Relaxed) < version
    }

    /// Leaves the publisher's mark, unless it has joined meanwhile.
    #[cold]
    fn mark(&self, version: u64) -> bool {
        if self.thread == this_thread() {
            self.given(version);
            return false;
        }
        self.state.fetch_or(MARKED, MARK.order()) & JOINING == 0
    }

    /// Its own thread tells it a value of this version, or that it is not to be told.
    pub(super) fn given(&self, version: u64) {
        self.given.store(version, Ordering::Relaxed);
    }

    /// Joins: has `replay` tell every value above a version, until no publisher left a mark. Gives
    /// up when that says so.
    pub(super) fn join(&self, mut replay: impl FnMut(u64) -> bool) -> bool {
        loop {
            if !replay(self.given.load(Ordering::Relaxed)) {
                return false;
            }
            let join = self.state.compare_exchange(JOINING, 0, JOIN.order(), Ordering::Relaxed);
            if join.is_ok() {
                return true;
            }
            self.state.fetch_and(!MARKED, MARK.order());
        }
    }
}

impl<T: 'static> Holds<T> for Joining<T, Closure<T>> {
    fn holding(closure: Closure<T>) -> Self {
        Self::new(closure)
    }

    fn held(&mut self) -> &mut Closure<T> {
        &mut self.observer
    }
}
