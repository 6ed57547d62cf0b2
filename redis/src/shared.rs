//! The state that the handles and both tasks of a bus share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;
use redis::PushInfo;
use tokio::time::{Instant, sleep};

use crate::connection::{Connection, Connector};
use crate::inbox::Inbox;
use crate::options::RedisOptions;
use crate::outgoing::Outgoing;
use crate::stats::Counters;

pub(crate) struct Shared {
    pub(crate) options: RedisOptions,
    pub(crate) connector: Connector,
    pub(crate) outgoing: Outgoing,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Counters,
    /// The error of the last failed attempt to connect, or broken connection.
    pub(crate) last_error: Mutex<Option<Arc<str>>>,
}

impl Shared {
    pub(crate) fn new(connector: Connector, options: RedisOptions) -> Self {
        Self {
            connector,
            outgoing: Outgoing::new(&options),
            inbox: Inbox::new(&options),
            counters: Counters::default(),
            last_error: Mutex::new(None),
            options,
        }
    }

    pub(crate) fn note(&self, error: &dyn std::fmt::Display) {
        // The server may have chosen the text, so only the first 200 characters are kept.
        let text: String = error.to_string().chars().take(200).collect();
        *self.last_error.lock() = Some(text.into());
    }
}

/// Makes the connections of one side, one after another, and pauses between attempts.
pub(crate) struct Reconnector<'a> {
    shared: &'a Shared,
    connected: &'a AtomicBool,
    attempts: u32,
    since: Option<Instant>,
}

impl<'a> Reconnector<'a> {
    pub(crate) const fn new(shared: &'a Shared, connected: &'a AtomicBool) -> Self {
        Self { shared, connected, attempts: 0, since: None }
    }

    /// Connects, with as many attempts as it takes. Pauses before each attempt except the very first.
    pub(crate) async fn connect<F>(&mut self, on_push: impl Fn() -> F) -> Connection
    where
        F: Fn(PushInfo) + Send + Sync + 'static,
    {
        let again = self.since.is_some();
        if self.since.take().is_some_and(|since| since.elapsed() > self.shared.options.max_backoff)
        {
            self.attempts = 0;
        }
        loop {
            if again || self.attempts > 0 {
                sleep(pause(&self.shared.options, self.attempts)).await;
            }
            self.attempts = self.attempts.saturating_add(1);
            match self.shared.connector.connect(&self.shared.options, on_push()).await {
                Ok(connection) => {
                    self.since = Some(Instant::now());
                    self.shared.counters.reconnects.add(u64::from(again));
                    return connection;
                }
                Err(error) => {
                    self.shared.counters.failed_attempts.add(1);
                    self.shared.note(&error);
                }
            }
        }
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }
}

impl Drop for Reconnector<'_> {
    fn drop(&mut self) {
        self.set_connected(false);
    }
}

/// The pause before an attempt after `attempts` earlier ones: doubled each time, and shortened at random by
/// up to a half so that the nodes do not all connect at once.
fn pause(options: &RedisOptions, attempts: u32) -> Duration {
    let factor = 1 << attempts.saturating_sub(1).min(20);
    let longest = options.min_backoff.saturating_mul(factor).min(options.max_backoff);
    let random = RandomState::new().hash_one(attempts) as u32;
    let half = longest / 2;
    half.saturating_add(half.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let options = RedisOptions::default();
        for (attempts, longest) in [(0, 100), (1, 100), (2, 200), (3, 400), (7, 5000), (40, 5000)] {
            let longest = Duration::from_millis(longest);
            let pauses: Vec<Duration> = (0..50).map(|_| pause(&options, attempts)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        }
        assert!(pause(&options, u32::MAX) <= options.max_backoff);
        let never = options.with_min_backoff(Duration::MAX).with_max_backoff(Duration::MAX);
        assert!(pause(&never, u32::MAX) >= Duration::MAX / 2);
    }
}
