//! The control queue: control frames and replies, which reach the peer before any queued frame and
//! are never dropped.
//!
//! It is bounded nevertheless, whatever the peer does. Of pongs and pings only the newest waits
//! (RFC 6455, section 5.5.3 lets one pong answer many pings), of close frames the first, and
//! replies have limits of their own: a peer that requests more than it reads is disconnected.

use std::collections::VecDeque;
use std::task::Waker;

use crate::frame::{Control, Frame, WireFrame};
use crate::ring::Ring;
use crate::sync::Mutex;

pub(super) struct ControlQueue {
    /// Allocated for the first frame, since most connections have no such frame most of the time.
    waiting: Mutex<Option<Box<Waiting>>>,
    max_frames: u32,
    max_bytes: u32,
}

#[derive(Default)]
struct Waiting {
    replies: VecDeque<WireFrame>,
    reply_bytes: usize,
    pong: Option<Control>,
    ping: Option<Control>,
    close: Option<Control>,
    /// The task that waits for an abort. It is stored here because it is accessed as seldom.
    aborted: Option<Waker>,
}

/// The reason why the control queue refused a frame.
pub(super) enum ControlError {
    Closed,
    Full,
}

impl ControlQueue {
    pub(super) fn new(max_frames: usize, max_bytes: usize) -> Self {
        let most = |max| u32::try_from(max).unwrap_or(u32::MAX);
        Self { waiting: Mutex::new(None), max_frames: most(max_frames), max_bytes: most(max_bytes) }
    }

    pub(super) fn set_abort_waker(&self, waker: &Waker) {
        // A waker is the caller's code: it must not run under the lock.
        let waker = waker.clone();
        let mut waiting = self.waiting.lock();
        let before = waiting.get_or_insert_default().aborted.replace(waker);
        drop(waiting);
        drop(before);
    }

    /// Wakes the task that waits for an abort; the outbox is closed.
    pub(super) fn wake_at_abort(&self) {
        let waker = self.waiting.lock().as_mut().and_then(|waiting| waiting.aborted.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts a reply after the others. An accepted reply is delivered: whether the ring is closed is
    /// checked under the lock, and the reader takes the lock once more when it has seen the end.
    pub(super) fn reply<T>(&self, frame: Frame, ring: &Ring<T>) -> Result<(), ControlError> {
        self.put(ring, |waiting| {
            let bytes = waiting.reply_bytes.saturating_add(frame.wire().len());
            if waiting.replies.len() >= self.max_frames as usize || bytes > self.max_bytes as usize
            {
                return Err(ControlError::Full);
            }
            waiting.reply_bytes = bytes;
            waiting.replies.push_back(frame.into());
            Ok(())
        })
    }

    /// Puts a control frame in, replacing an older one of its kind; but the first close stays.
    pub(super) fn control<T>(&self, control: Control, ring: &Ring<T>) -> Result<(), ControlError> {
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
        put: impl FnOnce(&mut Waiting) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let mut waiting = self.waiting.lock();
        if ring.is_closed() {
            return Err(ControlError::Closed);
        }
        put(waiting.get_or_insert_default())?;
        ring.set_out_of_band(true);
        drop(waiting);
        ring.wake();
        Ok(())
    }

    /// Moves up to `count` frames into `batch`: replies in their order, then ping, pong and last
    /// close, in which case it returns `true` and nothing may follow. Takes the lock in any case.
    #[cold]
    pub(super) fn take<T>(&self, count: usize, batch: &mut Vec<WireFrame>, ring: &Ring<T>) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(controls) = &mut *waiting else { return false };
        let mut taken = controls.replies.len().min(count);
        batch.extend(controls.replies.drain(..taken));
        if !controls.replies.is_empty() {
            controls.reply_bytes = controls.replies.iter().map(|reply| reply.wire().len()).sum();
            return false;
        }
        controls.reply_bytes = 0;
        let mut is_last = false;
        for (control, is_close) in
            [(&mut controls.ping, false), (&mut controls.pong, false), (&mut controls.close, true)]
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
        ring.set_out_of_band(false);
        is_last
    }

    pub(super) fn clear<T>(&self, ring: &Ring<T>) {
        let mut waiting = self.waiting.lock();
        let mut cleared = waiting.take();
        ring.set_out_of_band(false);
        drop(waiting);
        // The outbox is closed, and the thread that closed it no longer finds the waker here.
        if let Some(waker) = cleared.as_mut().and_then(|waiting| waiting.aborted.take()) {
            waker.wake();
        }
    }
}
