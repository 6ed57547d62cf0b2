//! Whether a client is there still: what it was heard of, and who waits for that in vain.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondwire::Outbox;
use pondwire::frame::Control;
use tokio::time::sleep;

use super::options::Times;

/// What a client was heard of, since somebody looked last.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Anything at all. Relaxed, as all here: a moment later will do.
    heard: AtomicBool,
    /// A message.
    spoke: AtomicBool,
}

impl Pulse {
    pub(crate) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    pub(crate) fn spoke(&self) {
        self.spoke.store(true, Ordering::Relaxed);
    }

    /// Pings a client for as long as it gives signs of life.
    pub(crate) async fn lost(&self, times: &Times, outbox: Outbox) {
        loop {
            sleep(times.ping.saturating_sub(times.pong)).await;
            self.heard.store(false, Ordering::Relaxed);
            outbox.control(Control::ping(b"").expect("nothing is short enough"));
            sleep(times.pong).await;
            if !self.heard.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Waits until there has been no message for so long, and no longer than twice that.
    pub(crate) async fn idle(&self, time: Option<Duration>) {
        let Some(time) = time else { return pending().await };
        loop {
            sleep(time).await;
            if !self.spoke.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }
}
