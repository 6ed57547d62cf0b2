//! The frames that wait for one connection: a bounded queue, and what happens when it is full.
//!
//! The policy is to disconnect: whoever publishes never waits for a slow reader, and a reader
//! never gets a stream with a hole in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pondwire::Frame;
use tokio::sync::{Notify, mpsc};

/// How many frames may wait for a connection, and of how many bytes together.
const MAX_FRAMES: usize = 1024;
const MAX_BYTES: usize = 8 << 20;

/// Where frames for a connection are put; one of many handles.
#[derive(Clone)]
pub(crate) struct Outbox {
    frames: mpsc::Sender<Frame>,
    bytes: Arc<AtomicUsize>,
    overflow: Arc<Overflow>,
}

/// Where the connection takes them from.
pub(crate) struct Queue {
    frames: mpsc::Receiver<Frame>,
    bytes: Arc<AtomicUsize>,
}

/// Tells the connection that its outbox was full, once and for all.
#[derive(Default)]
pub(crate) struct Overflow {
    happened: AtomicBool,
    notify: Notify,
}

/// An outbox, the queue behind it, and the news of its overflow.
pub(crate) fn outbox() -> (Outbox, Queue, Arc<Overflow>) {
    let (sender, receiver) = mpsc::channel(MAX_FRAMES);
    let (bytes, overflow) = (Arc::new(AtomicUsize::new(0)), Arc::new(Overflow::default()));
    let queue = Queue { frames: receiver, bytes: Arc::clone(&bytes) };
    (Outbox { frames: sender, bytes, overflow: Arc::clone(&overflow) }, queue, overflow)
}

impl Outbox {
    /// Puts a frame at the end of the queue, never waiting. When the queue is full the frame and
    /// all later ones are dropped, and the connection is told to end.
    pub(crate) fn send(&self, frame: Frame) {
        if self.overflow.happened.load(Ordering::Relaxed) {
            return;
        }
        // Counted first, so that it is never subtracted before. A sender that finds the queue full
        // leaves its count behind: nothing is put there any more.
        let length = frame.wire().len();
        let waiting = self.bytes.fetch_add(length, Ordering::Relaxed);
        let full = waiting + length > MAX_BYTES
            || matches!(self.frames.try_send(frame), Err(mpsc::error::TrySendError::Full(_)));
        if full {
            self.overflow.happened.store(true, Ordering::Relaxed);
            self.overflow.notify.notify_one();
        }
    }
}

impl Overflow {
    /// Waits until the queue was full.
    pub(crate) async fn happened(&self) {
        self.notify.notified().await;
    }
}

impl Queue {
    /// Waits for frames and moves up to `limit` of them into `batch`.
    pub(crate) async fn recv_many(&mut self, batch: &mut Vec<Frame>, limit: usize) {
        self.frames.recv_many(batch, limit).await;
        let length: usize = batch.iter().map(|frame| frame.wire().len()).sum();
        self.bytes.fetch_sub(length, Ordering::Relaxed);
    }

    /// The next frame if one is waiting.
    pub(crate) fn try_recv(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }
}
