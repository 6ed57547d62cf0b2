//! How many writers are active: one, and more only while they are busy nearly all of the time.
//!
//! Each further writer costs CPU time, because two of them seldom find all connections of a broadcast
//! ready, and they contend with each other and with the publisher. It pays when the first has no time left.

use std::time::{Duration, Instant};

/// The least time over which the load is measured.
pub(super) const WINDOW: Duration = Duration::from_millis(50);

/// Above this share of its time a writer is busy. It is not 1, because the writer yields, and while it had to
/// wait for a CPU core it may not have needed one: a broadcast on a machine with other work can be measured
/// with 0.5 to 0.95 for some windows.
const BUSY: f64 = 0.9;

/// A writer is released if the others would then be busy for less than this share of their time.
const RELAXED: f64 = 0.6;

/// The number of busy windows after which a further writer becomes active.
const BUSY_WINDOWS: u32 = 20;

/// The number of relaxed windows after which a writer is released.
const RELAXED_WINDOWS: u32 = 40;

/// Decides about the number of active writers from the time that they were busy.
pub(super) struct Load {
    most: usize,
    active: usize,
    /// The windows in sequence in which all active writers together were busy, or relaxed.
    busy: u32,
    relaxed: u32,
}

impl Load {
    /// One active writer of `most`.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, active: 1, busy: 0, relaxed: 0 }
    }

    /// The number of active writers from now on, after the writers, added up, were busy for `busy` of the
    /// last `elapsed` time, at least one [`WINDOW`]. A longer time, in which no writer had anything to do
    /// at the end, counts as as many windows with the same load, but only for releasing a writer.
    pub(super) fn next(&mut self, busy: Duration, elapsed: Duration) -> usize {
        let load = busy.as_secs_f64() / elapsed.as_secs_f64();
        let windows = (elapsed.as_nanos() / WINDOW.as_nanos()).min(RELAXED_WINDOWS.into()) as u32;
        let is_busy = load > BUSY * self.active as f64;
        let is_relaxed = load < RELAXED * (self.active - 1) as f64;
        self.busy = if is_busy { self.busy + 1 } else { 0 };
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
    /// The busy time, added up over all writers, at `since`.
    busy: Duration,
}

impl Meter {
    pub(super) fn new(most: usize) -> Self {
        Self { load: Load::new(most), since: Instant::now(), busy: Duration::ZERO }
    }

    /// The number of active writers from `now` on, if a window is over and it changes; `busy` is the time that
    /// the writers, added up, have been busy since the start.
    pub(super) fn next(&mut self, now: Instant, busy: impl FnOnce() -> Duration) -> Option<usize> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return None;
        }
        let (busy, before) = (busy(), self.load.active);
        let active = self.load.next(busy.saturating_sub(self.busy), elapsed);
        (self.since, self.busy) = (now, busy);
        (active != before).then_some(active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `windows` windows with this load, in writers; returns the numbers of active writers that came.
    fn run(load: &mut Load, shares: f64, windows: u32) -> Vec<usize> {
        let mut seen: Vec<usize> =
            (0..windows).map(|_| load.next(WINDOW.mul_f64(shares), WINDOW)).collect();
        seen.dedup();
        seen
    }

    #[test]
    fn a_writer_is_added_only_after_a_busy_while() {
        let mut load = Load::new(3);
        assert_eq!(run(&mut load, 0.8, 1000), [1], "80 % of one writer");
        assert_eq!(run(&mut load, 1.0, BUSY_WINDOWS - 1), [1]);
        assert_eq!(run(&mut load, 0.8, 1), [1], "one window with less load, and it counts anew");
        assert_eq!(run(&mut load, 1.0, BUSY_WINDOWS - 1), [1]);
        assert_eq!(run(&mut load, 1.0, 1), [2]);
        assert_eq!(run(&mut load, 1.6, 1000), [2], "80 % of two");
        assert_eq!(run(&mut load, 2.0, BUSY_WINDOWS), [2, 3]);
        assert_eq!(run(&mut load, 3.0, 1000), [3], "there are no more");
    }

    #[test]
    fn a_writer_is_released_only_after_a_relaxed_while() {
        let mut load = Load::new(3);
        run(&mut load, 3.0, 2 * BUSY_WINDOWS);
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
                // A writer cannot be busy for longer than the time; what is left waits.
                let mut seen = Vec::new();
                for _ in 0..1000 {
                    let possible = (f64::from(percent) / 100.0).min(load.active as f64);
                    seen.extend(run(&mut load, possible, 1));
                }
                seen.dedup();
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
        assert_eq!(run(&mut load, 0.95, BUSY_WINDOWS), [1, 2]);
        // The same work costs between nothing and a third more with two.
        for total in [0.95, 1.0, 1.25] {
            assert_eq!(run(&mut load, total, 1000), [2]);
        }
    }

    #[test]
    fn a_long_pause_releases_a_writer_and_adds_none() {
        let mut load = Load::new(2);
        run(&mut load, 2.0, BUSY_WINDOWS);
        assert_eq!(load.active, 2);
        assert_eq!(load.next(WINDOW, 100 * WINDOW), 1);
        // As when the machine was suspended in the middle of a turn.
        assert_eq!(load.next(100 * WINDOW, 100 * WINDOW), 1);
    }

    #[test]
    fn the_meter_waits_for_a_window_and_sees_differences() {
        let mut meter = Meter::new(2);
        let (start, mut at, mut busy) = (meter.since, meter.since, Duration::from_secs(5));
        meter.busy = busy;
        assert_eq!(meter.next(start + WINDOW / 2, || unreachable!()), None);
        for _ in 1..BUSY_WINDOWS {
            (at, busy) = (at + WINDOW, busy + WINDOW);
            assert_eq!(meter.next(at, || busy), None);
        }
        assert_eq!(meter.next(at + WINDOW, || busy + WINDOW), Some(2));
        assert_eq!(meter.next(at + 100 * WINDOW, || busy + WINDOW), Some(1));
    }
}
