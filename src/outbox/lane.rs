//! The control lane: what must reach the peer before any frame, and is never dropped.
//!
//! It is bounded all the same, whatever the peer does. Of pongs and pings only the newest waits
//! (RFC 6455, section 5.5.3 lets one pong answer many pings), of close frames the first, and
//! replies have limits of their own: a peer that asks for more than it reads is disconnected.

use std::collections::VecDeque;
use std::task::Waker;

use super::ring::Ring;
use crate::frame::{Control, Frame, Prepared};
use crate::sync::Mutex;

pub(super) struct Lane {
    /// Made by the first frame: most connections have none for most of their time.
    waiting: Mutex<Option<Box<Waiting>>>,
    max_frames: u32,
    max_bytes: u32,
}

#[derive(Default)]
struct Waiting {
    replies: VecDeque<Prepared>,
    reply_bytes: usize,
    pong: Option<Control>,
    ping: Option<Control>,
    close: Option<Control>,
    /// Who is to be told of an abort. Here, because it is as seldom touched.
    aborted: Option<Waker>,
}

/// Why the lane did not take something.
pub(super) enum LaneRefused {
    Closed,
    Full,
}

impl Lane {
    pub(super) fn new(max_frames: usize, max_bytes: usize) -> Self {
        let most = |max| u32::try_from(max).unwrap_or(u32::MAX);
        Self { waiting: Mutex::new(None), max_frames: most(max_frames), max_bytes: most(max_bytes) }
    }

    pub(super) fn set_abort_waker(&self, waker: &Waker) {
        // A waker's code is not ours: none of it under the lock.
        let waker = waker.clone();
        let mut waiting = self.waiting.lock();
        let before = waiting.get_or_insert_default().aborted.replace(waker);
        drop(waiting);
        drop(before);
    }

    /// Wakes who waits for an abort; the outbox is closed.
    pub(super) fn wake_at_abort(&self) {
        let waker = self.waiting.lock().as_mut().and_then(|waiting| waiting.aborted.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts a reply after the others. What was taken is delivered: whether the ring is closed is
    /// looked at under the lock, and the reader takes it once more when it has seen the end.
    pub(super) fn reply<T>(&self, frame: Frame, ring: &Ring<T>) -> Result<(), LaneRefused> {
        self.put(ring, |waiting| {
            let bytes = waiting.reply_bytes.saturating_add(frame.wire().len());
            if waiting.replies.len() >= self.max_frames as usize || bytes > self.max_bytes as usize
            {
                return Err(LaneRefused::Full);
            }
            waiting.reply_bytes = bytes;
            waiting.replies.push_back(frame.into());
            Ok(())
        })
    }

    /// Puts a control frame in, for an older one of its kind; but the first close stays.
    pub(super) fn control<T>(&self, control: Control, ring: &Ring<T>) -> Result<(), LaneRefused> {
        self.put(ring, |waiting| {
            if control.is_close() {
                waiting.close.get_or_insert(control);
            } else if control.is_pong() {
                waiting.pong = Some(control);
            } else {
                waiting.ping = Some(control);
            }
            Ok(())
        })
    }

    fn put<T>(
        &self,
        ring: &Ring<T>,
        put: impl FnOnce(&mut Waiting) -> Result<(), LaneRefused>,
    ) -> Result<(), LaneRefused> {
        let mut waiting = self.waiting.lock();
        if ring.is_closed() {
            return Err(LaneRefused::Closed);
        }
        put(waiting.get_or_insert_default())?;
        ring.set_beside(true);
        drop(waiting);
        ring.wake();
        Ok(())
    }

    /// Moves up to `count` frames into `batch`: replies in their order, then ping, pong and last
    /// close, in which case it returns `true` and nothing may follow. Takes the lock in any case.
    #[cold]
    pub(super) fn take<T>(&self, count: usize, batch: &mut Vec<Prepared>, ring: &Ring<T>) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(lane) = &mut *waiting else { return false };
        let mut taken = lane.replies.len().min(count);
        batch.extend(lane.replies.drain(..taken));
        if !lane.replies.is_empty() {
            lane.reply_bytes = lane.replies.iter().map(|reply| reply.wire().len()).sum();
            return false;
        }
        lane.reply_bytes = 0;
        let mut is_last = false;
        for (control, is_close) in
            [(&mut lane.ping, false), (&mut lane.pong, false), (&mut lane.close, true)]
        {
            if control.is_some() && taken == count {
                return false;
            }
            if let Some(control) = control.take() {
                batch.push(control.into());
                taken += 1;
                is_last = is_close;
            }
        }
        ring.set_beside(false);
        is_last
    }

    pub(super) fn clear<T>(&self, ring: &Ring<T>) {
        let mut waiting = self.waiting.lock();
        let mut cleared = waiting.take();
        ring.set_beside(false);
        drop(waiting);
        // The outbox is closed, and who closed it finds the waker here no more.
        if let Some(waker) = cleared.as_mut().and_then(|waiting| waiting.aborted.take()) {
            waker.wake();
        }
    }
}
