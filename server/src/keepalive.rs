//! Liveness: ping and idle timeouts of one client.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondwire::Outbox;
use pondwire::frame::Control;
use tokio::time::sleep;

use crate::options::Times;

/// Signs of life of a client since a timeout last looked.
#[derive(Default)]
pub(crate) struct Liveness {
    /// Anything at all. Relaxed, as all here: a moment later will do.
    traffic: AtomicBool,
    message: AtomicBool,
}

impl Liveness {
    /// The client sent bytes, or took some after its socket was full.
    pub(crate) fn saw_traffic(&self) {
        self.traffic.store(true, Ordering::Relaxed);
    }

    /// The client sent a message.
    pub(crate) fn saw_message(&self) {
        self.message.store(true, Ordering::Relaxed);
    }

    /// Pings a client, and returns once a ping was followed by no traffic within `times.pong`.
    pub(crate) async fn ping_timeout(&self, times: &Times, outbox: Outbox) {
        loop {
            sleep(times.ping.saturating_sub(times.pong)).await;
            self.traffic.store(false, Ordering::Relaxed);
            outbox.control(Control::ping(b"").expect("an empty payload is short enough"));
            sleep(times.pong).await;
            if !self.traffic.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Returns once there was no message for `time`, and within twice that; never where it is `None`.
    pub(crate) async fn idle_timeout(&self, time: Option<Duration>) {
        let Some(time) = time else { return pending().await };
        loop {
            sleep(time).await;
            if !self.message.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }
}
