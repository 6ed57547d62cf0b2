//! The consumer's end.

#![allow(unsafe_code)]

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "stream")]
use super::OutboxFrame;
use super::state::{Kind, State};
use super::{Batch, CloseReason, OutboxStats};
use crate::frame::WireFrame;
use crate::ring::word::{after, distance};
use crate::ring::{PopResult, Sleep};
use crate::sync::{Arc, spin_loop};

/// The most frames of a batch. Linux takes up to 1,024 slices in a write; tokio gives it 64.
const BATCH_FRAMES: u32 = 64;

/// The most bytes of a batch, unless it is one larger frame. About the size of a socket's buffer.
const BATCH_BYTES: u32 = 256 << 10;

/// The end of an [`Outbox`](super::Outbox) from which a connection's writer takes batches.
///
/// ```
/// use bytes::Buf;
/// use pondwire::{Frame, Outbox, OutboxOptions, Payload};
///
/// # async fn write(mut socket: impl tokio::io::AsyncWrite + Unpin) -> std::io::Result<()> {
/// use tokio::io::AsyncWriteExt;
///
/// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
/// outbox.push(Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY));
/// outbox.close();
/// while let Some(mut batch) = reader.next_batch().await {
///     // A server races this with `aborted`: a peer that reads nothing blocks it forever.
///     socket.write_all_buf(&mut batch).await?;
/// }
/// // Nothing more will come.
/// assert!(!reader.closed().unwrap().is_too_slow());
/// # Ok(()) }
/// # struct NoWake;
/// # impl std::task::Wake for NoWake { fn wake(self: std::sync::Arc<Self>) {} }
/// # let mut written = Vec::new();
/// # let waker = std::sync::Arc::new(NoWake).into();
/// # let done = std::pin::pin!(write(&mut written)).poll(&mut std::task::Context::from_waker(&waker));
/// # assert!(matches!(done, std::task::Poll::Ready(Ok(()))) && written[0] == 0x81);
/// ```
///
/// Dropping it closes the outbox and frees the queued frames.
pub struct OutboxReader {
    state: Arc<State>,
    /// The frames of the batch; emptied with it, and its memory kept.
    frames: Vec<WireFrame>,
    lagged: u64,
    /// The position after the last frame that was taken: frames between it and the next were
    /// dropped.
    expected: u32,
    /// The count of dropped newest frames when the last batch was made.
    newest_seen: u64,
    /// A close frame was taken: nothing may be sent after it.
    last_taken: bool,
}

/// The result of looking for frames.
enum Found {
    Frames,
    Nothing,
    /// A producer is in the middle of a push.
    Soon,
    End,
}

impl OutboxReader {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            frames: Vec::new(),
            lagged: 0,
            expected: 0,
            newest_seen: 0,
            last_taken: false,
        }
    }

    /// Waits for frames: at most 64 of at most 256 KiB together, or a single larger one. Control
    /// frames and replies come first. `None` at the end; [`closed`](Self::closed) says why.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken nothing.
    pub async fn next_batch(&mut self) -> Option<Batch<'_>> {
        if poll_fn(|cx| self.poll_frames(cx, BATCH_FRAMES)).await {
            Some(self.batch())
        } else {
            None
        }
    }

    /// [`next_batch`](Self::next_batch) for code that polls. The waker of the last call is woken.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch<'_>>> {
        match self.poll_frames(cx, BATCH_FRAMES) {
            Poll::Ready(true) => Poll::Ready(Some(self.batch())),
            Poll::Ready(false) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A batch if frames are queued now. `None` means that there are none yet, or, if
    /// [`closed`](Self::closed) had a reason before the call, that this is the end.
    #[inline]
    pub fn try_batch(&mut self) -> Option<Batch<'_>> {
        matches!(self.find(BATCH_FRAMES), Found::Frames).then(|| self.batch())
    }

    /// A future that is ready once the outbox is closed by its policy, or because too many replies
    /// waited. It is for a task that is writing a batch to a peer that does not read: from
    /// [`next_batch`](Self::next_batch) the task would learn of the end only after the write. Ready
    /// too when this reader is dropped; pending forever when the outbox ends in another way.
    ///
    /// ```
    /// # use pondwire::outbox::Push;
    /// # use pondwire::{Frame, Outbox, OutboxOptions, Payload};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// let options = OutboxOptions::new().with_max_frames(1);
    /// let (outbox, mut reader) = Outbox::new(options);
    /// let mut aborted = pin!(reader.aborted());
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
    /// outbox.push(frame.clone());
    /// let batch = reader.try_batch().unwrap(); // being written, slowly
    /// assert!(aborted.as_mut().poll(&mut cx).is_pending());
    /// outbox.push(frame.clone());
    /// assert_eq!(outbox.push(frame), Push::Closed);
    /// assert!(aborted.poll(&mut cx).is_ready());
    /// # drop(batch);
    /// ```
    pub fn aborted(&self) -> Aborted {
        Aborted::new(Arc::clone(&self.state))
    }

    /// The reason why the outbox is closed; `None` while it is open. Frames may still wait if the
    /// reason is [`Finished`](CloseReason::Finished) or [`CloseFrame`](CloseReason::CloseFrame).
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.closed()
    }

    /// The counters of the outbox, read without a lock.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.state.stats()
    }

    #[inline]
    fn batch(&mut self) -> Batch<'_> {
        Batch::new(&mut self.frames, self.lagged)
    }

    /// Fills `self.frames` with at most `most` frames; `false` at the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>, most: u32) -> Poll<bool> {
        loop {
            match self.find(most) {
                Found::Frames => return Poll::Ready(true),
                Found::End => return Poll::Ready(false),
                Found::Soon => {
                    // Usually too short to sleep for; but the producer may be suspended, so this
                    // task yields its thread to others.
                    spin_loop();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Found::Nothing => {}
            }
            // Once asleep, check again for frames that came out of band before.
            if self.state.ring.sleep(cx.waker()) == Sleep::Asleep && !self.has_out_of_band() {
                return Poll::Pending;
            }
        }
    }

    /// Whether frames wait outside of the ring.
    fn has_out_of_band(&self) -> bool {
        let conflated = match &self.state.kind {
            Kind::Conflate(conflated) => conflated.queued().0 > 0,
            _ => false,
        };
        conflated || self.state.ring.has_out_of_band()
    }

    fn find(&mut self, most: u32) -> Found {
        // Drops the frames of a batch that was leaked.
        self.frames.clear();
        self.lagged = 0;
        // First, so that all frames that were pushed before the end are found below.
        let is_closed = self.state.ring.is_closed();
        if is_closed || self.state.ring.has_out_of_band() {
            match self.find_controls(most) {
                Found::Nothing => {}
                found => return found,
            }
        }
        let room = most.saturating_sub(self.frames.len() as u32);
        let busy = room > 0 && self.take_frames(room);
        if !self.frames.is_empty() {
            let newest = self.state.counters.dropped_newest.get();
            self.lagged += newest - std::mem::replace(&mut self.newest_seen, newest);
            Found::Frames
        } else if busy {
            Found::Soon
        } else if is_closed {
            Found::End
        } else {
            Found::Nothing
        }
    }

    /// The control frames and the end: `Nothing` if queued frames may follow.
    #[cold]
    fn find_controls(&mut self, most: u32) -> Found {
        let state = &*self.state;
        if self.last_taken || state.closed().is_some_and(CloseReason::is_too_slow) {
            state.controls.clear(&state.ring);
            // SAFETY: this is the reader.
            unsafe { state.discard(false) };
            // A push that is not finished yet must not be missed.
            return if state.ring.queued().0 > 0 { Found::Soon } else { Found::End };
        }
        self.last_taken = state.controls.take(most as usize, &mut self.frames, &state.ring);
        state.counters.control_delivered.add_alone(self.frames.len() as u64);
        if self.last_taken {
            // The thread that put the close frame there may not have done this yet.
            state.abort(CloseReason::CloseFrame);
            return Found::Frames;
        }
        Found::Nothing
    }

    /// Moves queued frames to `self.frames` and counts them; `true` if there are none yet but a
    /// push is in progress.
    fn take_frames(&mut self, room: u32) -> bool {
        let state = &*self.state;
        let (count, bytes) = match &state.kind {
            Kind::Conflate(conflated) => {
                let (count, bytes, lagged) = conflated.take(room, BATCH_BYTES, &mut self.frames);
                self.lagged = lagged;
                (count, bytes)
            }
            // SAFETY: this is the reader, the one consumer; `&mut self` excludes a second call.
            _ => match unsafe { state.ring.take(room, BATCH_BYTES, &mut self.frames) } {
                PopResult::Some { first, count, bytes } => {
                    self.lagged = u64::from(distance(self.expected, first));
                    self.expected = after(first, count);
                    (count, bytes)
                }
                PopResult::Empty => return false,
                PopResult::Busy => return true,
            },
        };
        state.delivered.add_alone(u64::from(count));
        state.delivered_bytes.add_alone(u64::from(bytes));
        false
    }
}

/// The frames one by one (feature `stream`), for the adapters of `futures` and `tokio-stream`, and
/// for bodies of HTTP responses. It ends as [`next_batch`](OutboxReader::next_batch) does, and may
/// be used in turns with it. A batch costs less per frame.
///
/// [`stats`](OutboxReader::stats) counts the frames that a policy has dropped.
///
/// ```
/// use std::pin::Pin;
/// use std::task::{Context, Poll, Waker};
///
/// use futures_core::Stream;
/// use pondwire::outbox::OutboxFrame;
/// use pondwire::{Frame, Outbox, OutboxOptions};
///
/// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
/// outbox.push(Frame::acknowledge("/chat/42", "r-1"));
/// let mut cx = Context::from_waker(Waker::noop());
/// let first = Pin::new(&mut reader).poll_next(&mut cx);
/// assert!(matches!(first, Poll::Ready(Some(OutboxFrame::Message(_)))));
/// assert!(Pin::new(&mut reader).poll_next(&mut cx).is_pending());
/// outbox.close();
/// assert!(matches!(Pin::new(&mut reader).poll_next(&mut cx), Poll::Ready(None)));
/// ```
#[cfg(feature = "stream")]
impl futures_core::Stream for OutboxReader {
    type Item = OutboxFrame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<OutboxFrame>> {
        let reader = self.get_mut();
        match reader.poll_frames(cx, 1) {
            Poll::Ready(true) => Poll::Ready(reader.frames.pop().map(OutboxFrame::from)),
            Poll::Ready(false) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for OutboxReader {
    fn drop(&mut self) {
        self.state.reason.set(CloseReason::ReaderDropped);
        self.state.ring.close();
        // SAFETY: this is the reader.
        unsafe { self.state.discard(true) };
        self.state.controls.clear(&self.state.ring);
    }
}

impl fmt::Debug for OutboxReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxReader").field("closed", &self.closed()).finish_non_exhaustive()
    }
}

/// Ready once the outbox is closed because its bounds were exceeded or the reader was dropped; made
/// by [`OutboxReader::aborted`].
///
/// If several are polled, only the last is woken.
#[must_use = "futures do nothing unless polled"]
pub struct Aborted {
    state: Arc<State>,
}

impl Aborted {
    const fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

impl Future for Aborted {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        // Before the check: the thread that closes the outbox takes the waker after closing it.
        self.state.controls.set_abort_waker(cx.waker());
        match self.state.closed() {
            Some(reason) if reason.drops_frames() => Poll::Ready(reason),
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aborted").field("closed", &self.state.closed()).finish_non_exhaustive()
    }
}
