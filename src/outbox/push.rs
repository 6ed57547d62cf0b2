//! Pushing, by policy.

#![allow(unsafe_code)]

use super::Outbox;
use super::conflated::{Conflated, Conflation};
use super::control_queue::ControlError;
use super::reason::CloseReason;
use super::state::{Kind, State};
use crate::frame::{Control, Frame, FrameRefs, WireFrame};
use crate::ring::{PopResult, PushError};

/// The outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// The frame waits to be sent.
    Queued,
    /// The frame waits in the place of an older one with its key, which is dropped.
    Replaced,
    /// The frame waits, and this many of the oldest were dropped for it.
    DroppedOldest(u64),
    /// The frame did not fit and was dropped.
    DroppedNewest,
    /// The outbox is closed, perhaps by this push: [`Outbox::closed`] says why.
    Closed,
}

impl Push {
    /// Whether the outbox is closed, so that its connection may be forgotten.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl Outbox {
    /// Puts a frame at the end of the queue. Never waits for the consumer; the
    /// [`Policy`](super::Policy) decides what happens when the queue is full.
    ///
    /// Costs one atomic operation, no lock (except with `Conflate`) and, once the outbox has the
    /// memory for as many frames, no allocation. Wakes the consumer only if it sleeps.
    #[inline]
    pub fn push(&self, frame: Frame) -> Push {
        self.state.offer(None, frame.into()).0
    }

    /// [`push`](Self::push), but if the policy is `Conflate`, in place of the queued frame with the
    /// same key. Frames that must not replace one another need different keys: the id of the object
    /// whose state the frame carries, or a hash of 64 bits.
    #[inline]
    pub fn push_keyed(&self, key: u64, frame: Frame) -> Push {
        self.state.offer(Some(key), frame.into()).0
    }

    /// [`push`](Self::push), or [`push_keyed`](Self::push_keyed) with a key, of a message or control frame.
    pub(crate) fn push_wire(&self, key: Option<u64>, frame: WireFrame) -> Push {
        self.state.offer(key, frame).0
    }

    /// [`push`](Self::push) of one of many references, for a loop over connections: the frame's
    /// count does not change, and a reference that does not fit stays in `references`.
    ///
    /// ```
    /// use pondwire::{Frame, Outbox, OutboxOptions, Payload};
    ///
    /// let (connections, readers): (Vec<_>, Vec<_>) =
    ///     (0..100).map(|_| Outbox::new(OutboxOptions::default())).unzip();
    /// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
    /// let mut references = frame.references(connections.len());
    /// for outbox in &connections {
    ///     outbox.push_from(&mut references);
    /// }
    /// # drop(readers);
    /// ```
    #[inline]
    pub fn push_from(&self, references: &mut FrameRefs<'_>) -> Push {
        let (push, unused) = self.state.offer(None, references.one());
        if let Some(unused) = unused {
            references.give_back(unused);
        }
        push
    }

    /// [`push_keyed`](Self::push_keyed) of one of many references.
    #[inline]
    pub fn push_keyed_from(&self, key: u64, references: &mut FrameRefs<'_>) -> Push {
        let (push, unused) = self.state.offer(Some(key), references.one());
        if let Some(unused) = unused {
            references.give_back(unused);
        }
        push
    }

    /// Puts a frame into the control queue, ahead of all frames that were or will be pushed: an
    /// acknowledgement or another answer to this connection alone. Replies keep their order.
    ///
    /// Never dropped: if there are more than
    /// [`max_control_frames`](super::OutboxOptions::max_control_frames) or their bytes, the
    /// connection does not read the answers to its requests, and the outbox closes. Takes a lock
    /// that only this connection's handles share.
    pub fn reply(&self, frame: Frame) -> Push {
        let done = self.state.controls.reply(frame, &self.state.ring);
        self.state.after_control(&done)
    }

    /// Puts a control frame into the control queue. A pong or ping replaces one that waits there,
    /// so that a peer that floods pings makes no queue grow.
    ///
    /// A close frame ends the outbox: the frames of the control queue go before it, other queued
    /// frames are dropped, and every later push returns `Closed`. To deliver them first, use
    /// [`close`](Self::close) and write the close frame after the last batch.
    pub fn control(&self, control: Control) -> Push {
        let is_close = control.is_close();
        let done = self.state.controls.control(control, &self.state.ring);
        let done = self.state.after_control(&done);
        if is_close && done == Push::Queued {
            self.state.abort(CloseReason::CloseFrame);
        }
        done
    }
}

impl State {
    /// Queues an item or returns it.
    #[inline]
    pub(super) fn offer(&self, key: Option<u64>, item: WireFrame) -> (Push, Option<WireFrame>) {
        // No frame is near 4 GiB; if one were, it would be refused as too large.
        let len = u32::try_from(item.wire().len()).unwrap_or(u32::MAX);
        match &self.kind {
            Kind::Conflate(conflated) => self.conflate(conflated, key, item, len),
            Kind::Disconnect(Some(ages)) => {
                let now = ages.now();
                if self.ring.oldest(|position, _| ages.is_too_old(position, now)) == Some(true) {
                    self.abort(CloseReason::TooOld);
                    return (Push::Closed, Some(item));
                }
                let done = self.ring.try_push(item, len, |position| ages.record(position, now));
                self.after_push(done, len)
            }
            _ => self.after_push(self.ring.try_push(item, len, |_| ()), len),
        }
    }

    #[inline]
    fn after_push(
        &self,
        done: Result<bool, (WireFrame, PushError)>,
        len: u32,
    ) -> (Push, Option<WireFrame>) {
        match done {
            Ok(false) => (Push::Queued, None),
            Ok(true) => {
                self.ring.wake_found();
                (Push::Queued, None)
            }
            Err((item, PushError::Closed)) => (Push::Closed, Some(item)),
            Err((item, why)) => self.refused(item, len, why),
        }
    }

    /// The queue is full.
    #[cold]
    fn refused(&self, item: WireFrame, len: u32, why: PushError) -> (Push, Option<WireFrame>) {
        match &self.kind {
            Kind::DropOldest if why != PushError::Busy && len <= self.ring.bounds().bytes() => {
                // SAFETY: the policy is `DropOldest`.
                unsafe { self.replace_oldest(item, len) }
            }
            Kind::Disconnect(_) => {
                self.abort(match why {
                    PushError::Bytes => CloseReason::TooManyBytes,
                    _ => CloseReason::TooManyFrames,
                });
                (Push::Closed, Some(item))
            }
            _ => self.drop_newest(item),
        }
    }

    /// Drops the oldest frames until the new one fits.
    ///
    /// It waits for no other thread: if the oldest is not there yet, or its slot not free, because
    /// a thread is suspended in the middle of its push or pop, the new frame is dropped.
    ///
    /// # Safety
    /// The policy is `DropOldest`.
    unsafe fn replace_oldest(&self, mut item: WireFrame, len: u32) -> (Push, Option<WireFrame>) {
        let mut dropped = 0;
        loop {
            // SAFETY: with this policy any thread may pop (`State::new`).
            match unsafe { self.ring.take_one() } {
                Ok(oldest) => {
                    dropped += 1;
                    self.counters.dropped_oldest.add(1);
                    drop(oldest);
                }
                // The consumer was faster.
                Err(PopResult::Empty) => {}
                Err(_) => return self.drop_newest(item),
            }
            match self.ring.try_push(item, len, |_| ()) {
                Ok(asleep) => {
                    if asleep {
                        self.ring.wake_found();
                    }
                    let push =
                        if dropped == 0 { Push::Queued } else { Push::DroppedOldest(dropped) };
                    return (push, None);
                }
                Err((item, PushError::Closed)) => return (Push::Closed, Some(item)),
                Err((item, PushError::Busy)) => return self.drop_newest(item),
                Err((back, _)) => item = back,
            }
        }
    }

    fn drop_newest(&self, item: WireFrame) -> (Push, Option<WireFrame>) {
        self.counters.dropped_newest.add(1);
        (Push::DroppedNewest, Some(item))
    }

    fn conflate(
        &self,
        conflated: &Conflated<WireFrame>,
        key: Option<u64>,
        item: WireFrame,
        len: u32,
    ) -> (Push, Option<WireFrame>) {
        match conflated.push(key, item, len, || self.ring.is_closed()) {
            Conflation::Done { replaced, dropped } => {
                if dropped > 0 {
                    self.counters.dropped_oldest.add(dropped);
                }
                if replaced {
                    conflated.replaced.add(1);
                }
                self.ring.wake();
                match (replaced, dropped) {
                    (true, _) => (Push::Replaced, None),
                    (false, 0) => (Push::Queued, None),
                    (false, dropped) => (Push::DroppedOldest(dropped), None),
                }
            }
            Conflation::TooLarge(item) if self.ring.is_closed() => (Push::Closed, Some(item)),
            Conflation::TooLarge(item) => self.drop_newest(item),
            Conflation::Closed(item) => (Push::Closed, Some(item)),
        }
    }

    fn after_control(&self, done: &Result<(), ControlError>) -> Push {
        match done {
            Ok(()) => Push::Queued,
            Err(ControlError::Closed) => Push::Closed,
            Err(ControlError::Full) => {
                self.abort(CloseReason::ControlOverflow);
                Push::Closed
            }
        }
    }
}
