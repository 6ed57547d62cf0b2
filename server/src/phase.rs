//! The phases of a server, from its start to the end of its last connection.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    Serving,
    /// As before, but load balancers are asked to send no more clients.
    Unready,
    /// No more clients are accepted. Each WebSocket and event stream closes at a random moment until then.
    Draining {
        until: Instant,
    },
    /// All connections close now.
    Stopping,
}

/// Completes when a connection without a WebSocket or an event stream is to close. While the server drains, such
/// connections carry the messages of event streams.
pub(crate) async fn stopping(mut phase: watch::Receiver<Phase>) {
    // An error means that the server is gone.
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

/// Completes when a WebSocket or an event stream is to close. Each holds the receiver until it has.
pub(crate) async fn stopped(mut phase: watch::Receiver<Phase>) {
    let is_ending = |phase: &Phase| !matches!(phase, Phase::Serving | Phase::Unready);
    // An error means that the server is gone.
    let Ok(found) = phase.wait_for(is_ending).await.map(|phase| *phase) else { return };
    if let Phase::Draining { until } = found {
        let share = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
        let left = until.saturating_duration_since(Instant::now());
        // Boxed, so that it has no memory before.
        Box::pin(async {
            tokio::select! {
                () = sleep(left.mul_f64(share)) => {}
                () = stopping(phase) => {}
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn connections_close_at_moments_of_their_own() {
        let phase = watch::Sender::new(Phase::Serving);
        let mut connections = JoinSet::new();
        let carrying = tokio::spawn(stopping(phase.subscribe()));
        for _ in 0..1000 {
            let phase = phase.subscribe();
            connections.spawn(async move {
                stopped(phase).await;
                Instant::now()
            });
        }
        phase.send_replace(Phase::Unready);
        sleep(SECOND).await;
        assert!(connections.try_join_next().is_none(), "not ready is not stopping");
        let begun = Instant::now();
        phase.send_replace(Phase::Draining { until: begun + 10 * SECOND });
        let mut closed = [0; 10];
        for _ in 0..500 {
            let at = connections.join_next().await.unwrap().unwrap();
            closed[(at - begun).as_secs() as usize] += 1;
        }
        let half = Instant::now() - begun;
        assert!((4 * SECOND..6 * SECOND).contains(&half), "half of them within {half:?}");
        assert!(closed[..4].iter().all(|count| (50..200).contains(count)), "{closed:?}");
        assert!(!carrying.is_finished());
        let now = Instant::now();
        phase.send_replace(Phase::Stopping);
        carrying.await.unwrap();
        for at in connections.join_all().await {
            assert!(at - now < SECOND / 10);
        }
    }
}
