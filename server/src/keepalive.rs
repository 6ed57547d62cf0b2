//! Liveness: ping and idle timeouts of one client.

use std::future::pending;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondwire::frame::Control;
use pondwire::room::Seat;
use pondwire::{Frame, Payload, uuid};
use tokio::time::sleep;

use crate::options::Times;

/// Signs of life of a client since the timeouts last checked.
#[derive(Default)]
pub(crate) struct Liveness {
    /// Any traffic. All accesses here are relaxed: seeing a sign of life a moment later is enough.
    traffic: AtomicBool,
    message: AtomicBool,
    /// The client read something after its socket was full.
    read: AtomicBool,
    /// A handler is at work, and nothing is read meanwhile.
    is_busy: AtomicBool,
}

/// Holds a client's ping timeout; see [`Liveness::busy`].
pub(crate) struct Busy<'a>(&'a Liveness);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.saw_traffic();
        self.0.is_busy.store(false, Ordering::Relaxed);
    }
}

impl Liveness {
    /// Records that the client sent bytes.
    pub(crate) fn saw_traffic(&self) {
        self.traffic.store(true, Ordering::Relaxed);
    }

    /// Records that the client read some bytes after its socket was full.
    pub(crate) fn saw_read(&self) {
        self.read.store(true, Ordering::Relaxed);
        self.saw_traffic();
    }

    /// Records that the client sent a message.
    pub(crate) fn saw_message(&self) {
        self.message.store(true, Ordering::Relaxed);
    }

    /// The client counts as alive until the returned value is dropped, because the server does not read what it
    /// sends.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.is_busy.store(true, Ordering::Relaxed);
        Busy(self)
    }

    /// Pings a client, and returns once a ping is followed by no traffic within `times.pong`.
    pub(crate) async fn ping_timeout(&self, times: &Times, seat: &Seat) {
        loop {
            sleep(times.ping.saturating_sub(times.pong)).await;
            self.traffic.store(false, Ordering::Relaxed);
            ping(seat);
            sleep(times.pong).await;
            if !self.traffic.load(Ordering::Relaxed) && !self.is_busy.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Sends an event stream a comment after each `times.keep_alive`, and returns once its client has read
    /// nothing for `times.ping`, at most twice that, while `is_behind`.
    pub(crate) async fn stuck_timeout(
        &self,
        times: &Times,
        seat: &Seat,
        is_behind: impl Fn() -> bool,
    ) {
        let comments = async {
            loop {
                sleep(times.keep_alive).await;
                ping(seat);
            }
        };
        let stuck = async {
            loop {
                self.read.store(false, Ordering::Relaxed);
                sleep(times.ping).await;
                // Its messages, on connections of their own, are no excuse.
                if is_behind() && !self.read.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        tokio::select! {
            () = comments => {}
            () = stuck => {}
        }
    }

    /// Sends a client a message each time that `every` has passed; never returns.
    pub(crate) async fn send_messages(every: Option<Duration>, seat: &Seat) {
        let Some(every) = every else { return pending().await };
        // Boxed, so that a connection without these messages has no memory for their timer.
        Box::pin(async {
            loop {
                sleep(every).await;
                seat.push(keep_alive_message());
            }
        })
        .await;
    }

    /// Returns once no message has arrived for `time`, and at most twice that; never if `time` is `None`.
    pub(crate) async fn idle_timeout(&self, time: Option<Duration>) {
        let Some(time) = time else { return pending().await };
        // Boxed, so that a connection without this timeout has no memory for its timer.
        Box::pin(async {
            loop {
                sleep(time).await;
                if !self.message.swap(false, Ordering::Relaxed) {
                    return;
                }
            }
        })
        .await;
    }
}

/// The message that all clients share; a client ignores channels that it has not joined.
fn keep_alive_message() -> Frame {
    static MESSAGE: OnceLock<Frame> = OnceLock::new();
    let message = || Frame::reply("GATEWAY", "KEEP_ALIVE", &uuid(), Payload::EMPTY);
    MESSAGE.get_or_init(message).clone()
}

fn ping(seat: &Seat) {
    seat.control(Control::ping(b"").expect("an empty payload is short enough"));
}
