//! How a writer shares a worker with other tasks: each side gets half of the time if it has work for it.
//!
//! A turn takes much longer than the work of a connection's task between two yields. With one yield after
//! each turn, the task of a client that sends several messages, which yields after each one with many
//! recipients, would hardly get on, and each recipient would be sent the messages one by one. With several
//! yields after each turn the writer would hardly get on if hundreds of tasks had work. So the time is measured,
//! and yields that find no work are few.

use std::mem;
use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// The writer works for at least this long between two yields.
const SLICE: Duration = Duration::from_micros(100);

/// The work for which the writer yields once: about as much as a connection's task does for one yield.
const YIELD: Duration = Duration::from_micros(32);

/// A yield that takes less probably found no other task with work.
const IDLE: Duration = Duration::from_micros(20);

/// After so many idle yields in sequence no other task has work, if one had some lately: a task in debt yields
/// some times without doing anything. If none had, one idle yield is enough: it costs the time to wake another
/// worker, which may take the writer over.
const IDLE_YIELDS: u32 = 3;

/// The longest time that the writer may work without a yield because the others have had more before.
const MOST_CREDIT: Duration = Duration::from_millis(1);

/// The time that a writer has worked since it last yielded.
#[derive(Default)]
pub(super) struct TimeShare {
    worked: Duration,
    /// The time that the others had in excess of the writer's.
    credit: Duration,
    /// Whether the others had work when the writer last yielded.
    had_work: bool,
}

impl TimeShare {
    pub(super) fn worked(&mut self, time: Duration) {
        self.worked += time;
    }

    /// Nothing is owed by a writer that had to wait for work.
    pub(super) fn clear(&mut self) {
        (self.worked, self.credit) = (Duration::ZERO, Duration::ZERO);
    }

    /// The time that the others should have now, at least a [`SLICE`].
    fn owed(&self) -> Option<Duration> {
        Some(self.worked.saturating_sub(self.credit)).filter(|owed| *owed >= SLICE)
    }

    /// The writer has yielded for what was owed, and that took so long.
    fn yielded(&mut self, owed: Duration, time: Duration) {
        (self.worked, self.credit) = (Duration::ZERO, time.saturating_sub(owed).min(MOST_CREDIT));
    }

    /// Lets the other tasks run for as long as the writer has worked, if they have work for so long.
    pub(super) async fn yield_if_due(&mut self) {
        let Some(owed) = self.owed() else { return };
        let begun = Instant::now();
        let mut wait = Wait::new(self.had_work);
        for _ in 0..owed.as_nanos() / YIELD.as_nanos() {
            yield_now().await;
            if wait.is_over(owed, begun.elapsed()) {
                break;
            }
        }
        self.had_work = wait.saw_work;
        self.yielded(owed, wait.time);
    }
}

/// The yields in sequence.
struct Wait {
    time: Duration,
    /// The idle yields in sequence.
    idle: u32,
    /// The number of these that ends the wait.
    most_idle: u32,
    saw_work: bool,
}

impl Wait {
    /// `had_work`: whether the others had work before.
    const fn new(had_work: bool) -> Self {
        let most_idle = if had_work { IDLE_YIELDS } else { 1 };
        Self { time: Duration::ZERO, idle: 0, most_idle, saw_work: false }
    }

    /// Returns `true` if a yield that ended at `time` was the last: the others had what was owed to them, or
    /// have no work.
    fn is_over(&mut self, owed: Duration, time: Duration) -> bool {
        let took = time - mem::replace(&mut self.time, time);
        if took < IDLE {
            self.idle += 1;
        } else {
            (self.idle, self.saw_work, self.most_idle) = (0, true, IDLE_YIELDS);
        }
        time >= owed || self.idle >= self.most_idle
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    const fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn the_writer_yields_after_a_slice_and_not_before() {
        let mut share = TimeShare::default();
        share.worked(micros(60));
        assert_eq!(share.owed(), None);
        share.worked(micros(60));
        assert_eq!(share.owed(), Some(micros(120)));
        share.clear();
        assert_eq!(share.owed(), None);
    }

    #[test]
    fn what_the_others_had_in_excess_the_writer_may_work_without_a_yield() {
        let mut share = TimeShare::default();
        share.worked(micros(200));
        share.yielded(micros(200), micros(700));
        share.worked(micros(500));
        assert_eq!(share.owed(), None);
        share.worked(micros(150));
        assert_eq!(share.owed(), Some(micros(150)));
        // But not for long.
        share.yielded(micros(150), Duration::from_secs(1));
        share.worked(MOST_CREDIT + micros(300));
        assert_eq!(share.owed(), Some(micros(300)));
        // They had no work for so long.
        share.yielded(micros(300), micros(10));
        share.worked(micros(100));
        assert_eq!(share.owed(), Some(micros(100)));
    }

    #[test]
    fn yields_end_when_the_others_had_their_time_or_have_no_work() {
        let yields = |had_work: bool, owed: u64, lengths: &[u64]| {
            let (mut wait, mut time) = (Wait::new(had_work), Duration::ZERO);
            let ended = lengths.iter().position(|&length| {
                time += micros(length);
                wait.is_over(micros(owed), time)
            });
            (ended.map(|place| place + 1), wait.saw_work)
        };
        for had_work in [false, true] {
            assert_eq!(yields(had_work, 200, &[50, 50, 50, 49, 1]), (Some(5), true));
            assert_eq!(yields(had_work, 200, &[500]), (Some(1), true));
            assert_eq!(yields(had_work, 200, &[40, 1, 1, 1]), (Some(4), true));
        }
        assert_eq!(yields(true, 200, &[1, 1, 1]), (Some(3), false));
        assert_eq!(yields(true, 200, &[1, 1, 40, 1, 1, 40, 1, 1, 20]), (None, true));
        assert_eq!(yields(false, 200, &[1]), (Some(1), false), "they had none before, either");
    }

    /// Runs of another task of the same worker, each of which takes `each`, while the writer owes `owed`.
    fn runs(owed: Duration, each: Duration) -> (u32, TimeShare) {
        let runs = Arc::new(AtomicU32::new(0));
        let mut share = TimeShare::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let counted = Arc::clone(&runs);
            tokio::spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(each);
                    yield_now().await;
                }
            });
            share.worked(owed);
            share.yield_if_due().await;
        });
        (runs.load(Ordering::Relaxed), share)
    }

    #[test]
    fn another_task_runs_several_times_if_it_is_quick_and_once_if_it_takes_long() {
        let owed = Duration::from_millis(500);
        let (count, _) = runs(owed, 2 * IDLE);
        assert!(count > 10, "{count} runs");
        let (count, share) = runs(micros(320), Duration::from_millis(5));
        assert!((1..=2).contains(&count), "{count} runs");
        assert_eq!(share.credit, MOST_CREDIT);
        let (count, _) = runs(SLICE / 2, Duration::ZERO);
        assert_eq!(count, 0, "nothing was due");
    }
}
