//! The slowest operation in a thousand, while another thread is at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::rooms::{Closures, Locked, Room, Typed, filled};
use crate::bench::{Plan, Row};
use crate::report::Section;

const SIZES: [usize; 2] = [4096, 65_536];
/// The time for which an operation is measured; it runs at least a thousand times.
const WATCH: Duration = Duration::from_secs(2);

pub fn publishing(plan: &Plan) -> Section {
    let rows = super::sizes(plan, "publish-tail", &SIZES).map(|(name, size)| {
        eprintln!("{name}");
        let (idle, churned) = publish_tails::<Typed>(size);
        let (locked_idle, locked_churned) = publish_tails::<Locked>(size);
        let times = vec![
            ("pondwire typed, alone", idle),
            ("while another thread churns", churned),
            ("RwLock<HashMap>, alone", locked_idle),
            ("while another thread churns ", locked_churned),
        ];
        Row { name, bytes: size, times }
    });
    Section {
        title: "One publish, ns, 99.9th percentile",
        size: "observers",
        note: "Alone, and while another thread subscribes and unsubscribes without a pause.",
        rows: rows.collect(),
    }
}

pub fn subscribing(plan: &Plan) -> Section {
    let rows = super::sizes(plan, "subscribe-tail", &SIZES).map(|(name, size)| {
        eprintln!("{name}");
        let times = vec![
            (Typed::NAME, subscribe_tail::<Typed>(size)),
            (Closures::NAME, subscribe_tail::<Closures>(size)),
            (Locked::NAME, subscribe_tail::<Locked>(size)),
        ];
        Row { name, bytes: size, times }
    });
    Section {
        title: "One subscribe, ns, 99.9th percentile",
        size: "observers",
        note: "While another thread publishes without a pause.",
        rows: rows.collect(),
    }
}

/// The two are measured in turns, so that a machine that slows down does so for both.
fn publish_tails<R: Room>(size: usize) -> (f64, f64) {
    let (room, _members) = filled::<R>(size);
    let (mut alone, mut churned) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        watch(&mut alone, || room.publish(1));
        while_busy(|| room.leave(room.join()), || watch(&mut churned, || room.publish(1)));
    }
    (tail(&mut alone), tail(&mut churned))
}

fn subscribe_tail<R: Room>(size: usize) -> f64 {
    let (room, _members) = filled::<R>(size);
    let mut times = Vec::new();
    while_busy(
        || room.publish(1),
        || {
            for _ in 0..10 {
                watch_timed(&mut times, || {
                    let start = Instant::now();
                    let member = room.join();
                    let time = start.elapsed();
                    room.leave(member);
                    time
                });
            }
        },
    );
    tail(&mut times)
}

/// Runs `watched` while another thread repeats `work`.
fn while_busy(work: impl Fn() + Sync, watched: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                work();
            }
        });
        watched();
        done.store(true, Ordering::Relaxed);
    });
}

fn watch(times: &mut Vec<Duration>, run: impl Fn()) {
    watch_timed(times, || {
        let start = Instant::now();
        run();
        start.elapsed()
    });
}

/// Measures for a tenth of the whole time.
fn watch_timed(times: &mut Vec<Duration>, run: impl Fn() -> Duration) {
    let start = Instant::now();
    let at_least = times.len() + 100;
    while start.elapsed() < WATCH / 10 || times.len() < at_least {
        times.push(run());
        // Readers that ask again at once would starve the writers of a lock.
        if times.len().is_multiple_of(16) {
            thread::yield_now();
        }
    }
}

fn tail(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() * 999 / 1000].as_nanos() as f64
}
