//! How many writers are active: one, and more only while they never run out of work.
//!
//! Each further writer costs CPU time, because two of them seldom find all connections of a broadcast
//! ready, and they contend with each other and with the publisher. It pays when the first has no time left.

use std::time::{Duration, Instant};

/// The least time over which the load is measured.
pub(super) const WINDOW: Duration = Duration::from_millis(50);

/// A writer is released if the others would then have work for less than this share of their time.
const RELAXED: f64 = 0.6;

/// The number of windows without a pause after which a further writer becomes active.
const BUSY_WINDOWS: u32 = 20;

/// The number of relaxed windows after which a writer is released.
const RELAXED_WINDOWS: u32 = 40;

/// Decides about the number of active writers.
///
/// One is added when none of the writers has run out of work for a while: only then the queues grow. A share
/// of the time would say less. Clients that answer at once leave a writer few and short pauses, though a
/// second writer would make nothing faster; and a writer whose core is needed by other threads, too, may be
/// overdue while it runs for less than half of the time.
pub(super) struct Load {
    most: usize,
    active: usize,
    /// The windows in sequence that were without a pause, or relaxed.
    busy: u32,
    relaxed: u32,
}

/// Counts of all writers, added up.
#[derive(Clone, Copy, Default)]
pub(super) struct Total {
    /// The time during which they had work, whether or not their threads ran.
    pub(super) busy: Duration,
    /// How often one had no more work.
    pub(super) pauses: u64,
}

impl Load {
    /// One active writer of `most`.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, active: 1, busy: 0, relaxed: 0 }
    }

    /// The number of active writers from now on, after these counts in the last `elapsed` time, at least one
    /// [`WINDOW`]. A longer time counts as as many windows, but only for releasing a writer.
    pub(super) fn next(&mut self, counts: Total, elapsed: Duration) -> usize {
        let load = counts.busy.as_secs_f64() / elapsed.as_secs_f64();
        let windows = (elapsed.as_nanos() / WINDOW.as_nanos()).min(RELAXED_WINDOWS.into()) as u32;
        let is_relaxed = counts.pauses > 0 && load < RELAXED * (self.active - 1) as f64;
        self.busy = if counts.pauses == 0 { self.busy + 1 } else { 0 };
        self.relaxed = if is_relaxed { self.relaxed + windows } else { 0 };
        if self.busy >= BUSY_WINDOWS && self.active < self.most {
            (self.active, self.busy, self.relaxed) = (self.active + 1, 0, 0);
        } else if self.relaxed >= RELAXED_WINDOWS {
            (self.active, self.busy, self.relaxed) = (self.active - 1, 0, 0);
        }
        self.active
    }
}

/// [`Load`] with a clock.
pub(super) struct Meter {
    load: Load,
    since: Instant,
    /// The counts at `since`.
    total: Total,
}

impl Meter {
    pub(super) fn new(most: usize) -> Self {
        Self { load: Load::new(most), since: Instant::now(), total: Total::default() }
    }

    /// The number of active writers from `now` on, if a window is over and it changes; `total` is counted
    /// since the start.
    pub(super) fn next(&mut self, now: Instant, total: impl FnOnce() -> Total) -> Option<usize> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return None;
        }
        let (total, before) = (total(), self.load.active);
        let counts = Total {
            busy: total.busy.saturating_sub(self.total.busy),
            pauses: total.pauses - self.total.pauses,
        };
        let active = self.load.next(counts, elapsed);
        (self.since, self.total) = (now, total);
        (active != before).then_some(active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `windows` windows with this load, in writers, and a pause if that is less than those that are active;
    /// returns the numbers of active writers that came.
    fn run(load: &mut Load, shares: f64, windows: u32) -> Vec<usize> {
        let mut seen = Vec::new();
        for _ in 0..windows {
            let possible = shares.min(load.active as f64);
            let pauses = u64::from(shares < load.active as f64);
            seen.push(load.next(Total { busy: WINDOW.mul_f64(possible), pauses }, WINDOW));
        }
        seen.dedup();
        seen
    }

    #[test]
    fn a_writer_is_added_only_after_a_while_without_a_pause() {
        let mut load = Load::new(3);
        assert_eq!(run(&mut load, 0.99, 1000), [1], "99 % of one writer");
        assert_eq!(run(&mut load, 1.0, BUSY_WINDOWS - 1), [1]);
        assert_eq!(run(&mut load, 0.99, 1), [1], "one pause, and it counts anew");
        assert_eq!(run(&mut load, 1.0, BUSY_WINDOWS - 1), [1]);
        assert_eq!(run(&mut load, 1.0, 1), [2]);
        assert_eq!(run(&mut load, 1.9, 1000), [2], "95 % of two");
        assert_eq!(run(&mut load, 2.0, BUSY_WINDOWS), [2, 3]);
        assert_eq!(run(&mut load, 9.0, 1000), [3], "there are no more");
    }

    /// Its core belongs to other threads for most of the time.
    #[test]
    fn a_writer_that_never_catches_up_needs_another_though_it_works_little() {
        let mut load = Load::new(2);
        let overdue = Total { busy: WINDOW / 3, pauses: 0 };
        let seen: Vec<usize> = (0..100).map(|_| load.next(overdue, WINDOW)).collect();
        assert_eq!((seen[0], seen[99]), (1, 2));
    }

    #[test]
    fn a_writer_is_released_only_after_a_relaxed_while() {
        let mut load = Load::new(3);
        run(&mut load, 9.0, 2 * BUSY_WINDOWS);
        assert_eq!(run(&mut load, 1.3, 1000), [3], "65 % of two writers");
        assert_eq!(run(&mut load, 1.1, RELAXED_WINDOWS - 1), [3]);
        assert_eq!(run(&mut load, 1.3, 1), [3], "one window with more load, and it counts anew");
        assert_eq!(run(&mut load, 1.1, RELAXED_WINDOWS), [3, 2]);
        assert_eq!(run(&mut load, 0.0, 10 * RELAXED_WINDOWS), [2, 1]);
    }

    #[test]
    fn a_constant_load_changes_the_number_at_most_in_one_direction() {
        for percent in 0..=400 {
            for start in 1..=4 {
                let mut load = Load::new(4);
                run(&mut load, 4.0, (start - 1) * BUSY_WINDOWS);
                assert_eq!(load.active as u32, start);
                let seen = run(&mut load, f64::from(percent) / 100.0, 1000);
                assert!(
                    seen.is_sorted() || seen.iter().rev().is_sorted(),
                    "{percent} % of a writer, from {start}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn a_second_writer_that_costs_more_in_total_is_kept_while_it_is_needed() {
        let mut load = Load::new(2);
        assert_eq!(run(&mut load, 1.0, BUSY_WINDOWS), [1, 2]);
        // The same work costs between nothing and a third more with two.
        for total in [1.0, 1.1, 1.33] {
            assert_eq!(run(&mut load, total, 1000), [2]);
        }
    }

    #[test]
    fn a_long_pause_releases_a_writer_and_adds_none() {
        let mut load = Load::new(2);
        run(&mut load, 2.0, BUSY_WINDOWS);
        assert_eq!(load.active, 2);
        assert_eq!(load.next(Total { busy: WINDOW, pauses: 1 }, 100 * WINDOW), 1);
        // As when the machine was suspended in the middle of a turn.
        assert_eq!(load.next(Total { busy: 100 * WINDOW, pauses: 0 }, 100 * WINDOW), 1);
    }

    #[test]
    fn the_meter_waits_for_a_window_and_sees_differences() {
        let mut meter = Meter::new(2);
        let (start, mut at) = (meter.since, meter.since);
        let mut total = Total { busy: Duration::from_secs(5), pauses: 5 };
        meter.total = total;
        assert_eq!(meter.next(start + WINDOW / 2, || unreachable!()), None);
        for _ in 1..BUSY_WINDOWS {
            (at, total.busy) = (at + WINDOW, total.busy + WINDOW);
            assert_eq!(meter.next(at, || total), None);
        }
        (at, total.busy) = (at + WINDOW, total.busy + WINDOW);
        assert_eq!(meter.next(at, || total), Some(2));
        (at, total.pauses) = (at + 100 * WINDOW, total.pauses + 1);
        assert_eq!(meter.next(at, || total), Some(1));
    }
}
