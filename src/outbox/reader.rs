//! The one who takes frames out.

use std::fmt;
use std::future::poll_fn;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "stream")]
use super::OutboxFrame;
use super::ring::word::{after, distance};
use super::ring::{Sleep, Taken};
use super::state::{Kind, State};
use super::{Aborted, Batch, CloseReason, OutboxStats};
use crate::frame::Prepared;
use crate::sync::{Arc, spin_loop};

/// The most frames of a batch. Linux takes up to 1,024 slices in a write; tokio gives it 64.
const BATCH_FRAMES: u32 = 64;

/// A batch has at most this many bytes, or one frame. About what a socket's buffer takes.
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
///     // A server races this with `aborted`: a peer that reads nothing blocks it for ever.
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
/// Dropping it closes the outbox and frees what is queued.
pub struct OutboxReader {
    state: Arc<State>,
    /// The frames of the batch; emptied with it, and its memory kept.
    frames: Vec<Prepared>,
    lagged: u64,
    /// The position after the last one taken: what lies between it and the next was dropped.
    expected: u32,
    /// How many newest frames were dropped when the last batch was made.
    newest_seen: u64,
    /// A close frame was taken: nothing may be sent after it.
    last_taken: bool,
}

/// What there is to take.
enum Found {
    Frames,
    Nothing,
    /// A producer is in the midst of a push.
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

    /// Waits for frames: at most 64 of at most 256 KiB together, or a single larger one. The
    /// control lane goes first. `None` at the end; [`closed`](Self::closed) says why.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken nothing.
    pub async fn next_batch(&mut self) -> Option<Batch<'_>> {
        if poll_fn(|cx| self.poll_frames(cx, BATCH_FRAMES)).await {
            Some(self.batch())
        } else {
            None
        }
    }

    /// [`next_batch`](Self::next_batch) for those who poll. The waker of the last call is woken.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch<'_>>> {
        match self.poll_frames(cx, BATCH_FRAMES) {
            Poll::Ready(true) => Poll::Ready(Some(self.batch())),
            Poll::Ready(false) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A batch if there are frames now. `None` says that there are none yet, or that this is the
    /// end: then [`closed`](Self::closed) has a reason before the call.
    #[inline]
    pub fn try_batch(&mut self) -> Option<Batch<'_>> {
        matches!(self.find(BATCH_FRAMES), Found::Frames).then(|| self.batch())
    }

    /// A future that is ready once the outbox is closed by its policy, or by too much in its
    /// control lane: for who writes a batch to a peer that does not read, and would learn from
    /// [`next_batch`](Self::next_batch) only when that is written. Ready too when this reader is
    /// dropped; pending for ever when the outbox ends in another way.
    ///
    /// ```
    /// # use pondwire::{Frame, Outbox, OutboxOptions, Payload, Push};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// let options = OutboxOptions { max_frames: 1, ..OutboxOptions::default() };
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

    /// Why nothing more may be pushed, once that is so. Frames may still wait if the reason is
    /// [`Finished`](CloseReason::Finished) or [`CloseFrame`](CloseReason::CloseFrame).
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.closed()
    }

    /// The outbox in numbers, without a lock.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.state.stats()
    }

    #[inline]
    fn batch(&mut self) -> Batch<'_> {
        Batch::new(&mut self.frames, self.lagged)
    }

    /// Fills `self.frames` with at most so many; `false` at the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>, most: u32) -> Poll<bool> {
        loop {
            match self.find(most) {
                Found::Frames => return Poll::Ready(true),
                Found::End => return Poll::Ready(false),
                Found::Soon => {
                    // Too short to sleep for, and it might be over; but the producer could have
                    // been stopped, so this thread is given to others.
                    spin_loop();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Found::Nothing => {}
            }
            // Once asleep, what was put beside the ring before is looked for again.
            if self.state.ring.sleep(cx.waker()) == Sleep::Asleep && !self.waits_beside() {
                return Poll::Pending;
            }
        }
    }

    /// Whether there is something that is not in the ring.
    fn waits_beside(&self) -> bool {
        let conflated = match &self.state.kind {
            Kind::Conflate(conflated) => conflated.queued().0 > 0,
            _ => false,
        };
        conflated || self.state.ring.has_beside()
    }

    fn find(&mut self, most: u32) -> Found {
        // A batch that was leaked.
        self.frames.clear();
        self.lagged = 0;
        // First, so that all that was pushed before the end is found below.
        let is_closed = self.state.ring.is_closed();
        if is_closed || self.state.ring.has_beside() {
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

    /// The control lane, and the end: `Nothing` if frames of the queue may follow.
    #[cold]
    fn find_controls(&mut self, most: u32) -> Found {
        let state = &*self.state;
        if self.last_taken || state.closed().is_some_and(CloseReason::is_too_slow) {
            state.lane.clear(&state.ring);
            state.discard(false);
            // A push that is not done yet is not left behind.
            return if state.ring.queued().0 > 0 { Found::Soon } else { Found::End };
        }
        self.last_taken = state.lane.take(most as usize, &mut self.frames, &state.ring);
        state.counters.control_delivered.add_alone(self.frames.len() as u64);
        if self.last_taken {
            // Whoever put the close frame there may not have come to this yet.
            state.abort(CloseReason::CloseFrame);
            return Found::Frames;
        }
        Found::Nothing
    }

    /// Moves frames of the queue to `self.frames` and counts them; `true` if some are to be
    /// there soon.
    fn take_frames(&mut self, room: u32) -> bool {
        let state = &*self.state;
        let (count, bytes) = match &state.kind {
            Kind::Conflate(conflated) => {
                let (count, bytes, lagged) = conflated.take(room, BATCH_BYTES, &mut self.frames);
                self.lagged = lagged;
                (count, bytes)
            }
            _ => match state.ring.take(room, BATCH_BYTES, &mut self.frames) {
                Taken::Some { first, count, bytes } => {
                    self.lagged = u64::from(distance(self.expected, first));
                    self.expected = after(first, count);
                    (count, bytes)
                }
                Taken::Empty => return false,
                Taken::Busy => return true,
            },
        };
        state.delivered.add_alone(u64::from(count));
        state.delivered_bytes.add_alone(u64::from(bytes));
        false
    }
}

/// The frames one by one (feature `stream`), for the adapters of `futures` and `tokio-stream`,
/// and for bodies of HTTP responses. It ends as [`next_batch`](OutboxReader::next_batch) does, and
/// may be used in turns with it. A batch costs less a frame.
///
/// How many frames a policy has dropped is in [`stats`](OutboxReader::stats).
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
        self.state.reason.give(CloseReason::ReaderDropped);
        self.state.ring.close();
        self.state.discard(true);
        self.state.lane.clear(&self.state.ring);
    }
}

impl fmt::Debug for OutboxReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxReader").field("closed", &self.closed()).finish_non_exhaustive()
    }
}
