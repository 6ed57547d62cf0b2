//! The frames that wait for one connection: a bounded queue, and what happens when it is full.
//!
//! The policy is to disconnect: whoever publishes never waits for a slow reader, and a reader
//! never gets a stream with a hole in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pondwire::Frame;
use tokio::sync::{Notify, mpsc};

/// How many frames may wait for a connection.
const CAPACITY: usize = 1024;

/// Where frames for a connection are put; one of many handles.
#[derive(Clone)]
pub(crate) struct Outbox {
    frames: mpsc::Sender<Frame>,
    overflow: Arc<Overflow>,
}

/// Tells the connection that its outbox was full, once and for all.
#[derive(Default)]
pub(crate) struct Overflow {
    happened: AtomicBool,
    notify: Notify,
}

/// An outbox, the queue behind it, and the news of its overflow.
pub(crate) fn outbox() -> (Outbox, mpsc::Receiver<Frame>, Arc<Overflow>) {
    let (frames, queue) = mpsc::channel(CAPACITY);
    let overflow = Arc::new(Overflow::default());
    (Outbox { frames, overflow: Arc::clone(&overflow) }, queue, overflow)
}

impl Outbox {
    /// Puts a frame at the end of the queue, never waiting. When the queue is full the frame and
    /// all later ones are dropped, and the connection is told to end.
    pub(crate) fn send(&self, frame: Frame) {
        if self.overflow.happened.load(Ordering::Relaxed) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.frames.try_send(frame) {
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
