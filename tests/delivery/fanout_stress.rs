//! Eight threads that subscribe, unsubscribe, publish and close, with observers that panic and that
//! re-enter the subject: the guarantees of rule 2, the order per subscriber, and one drop for each.
//!
//! `PONDWIRE_STRESS_SECONDS` says for how long (1). Under ThreadSanitizer: `tests/tsan/run.sh`.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, set_hook, take_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

// Not std's, whose slow path ThreadSanitizer does not see.
use parking_lot::Mutex;
use pondwire::fanout::{BehaviorSubject, Subject, Subscription};
use pondwire_test_support::Random;

const THREADS: usize = 8;
/// Each thread publishes in one lane, and from inside observers in another: a nested publish
/// overtakes the one around it.
const LANES: usize = 2 * THREADS;
const ALIVE: u64 = 0x5EED_0B5E_77E7_A11E;

fn duration() -> Duration {
    let seconds = std::env::var("PONDWIRE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0))
}

/// The payload of intended panics.
struct Boom;

/// Keeps intended panics off the terminal.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            if !info.payload().is::<Boom>() {
                hook(info);
            }
        }));
    });
}

#[derive(Default)]
struct Counters {
    /// The stamp of the latest publish, taken when the publish begins.
    stamp: AtomicU64,
    made: AtomicUsize,
    dropped: AtomicUsize,
    calls: AtomicU64,
    panics: AtomicU64,
    nested: AtomicU64,
    waited: AtomicU64,
    closed: AtomicU64,
}

struct Message {
    lane: usize,
    /// Increases in its lane.
    number: u64,
    stamp: u64,
}

/// The part of an observer that its subscriber keeps.
struct Shared {
    /// The stamp after `unsubscribe` returned: no publish from this stamp on may reach the observer. 0 before.
    gone: AtomicU64,
    /// Set after `unsubscribe_and_wait` returned: no call may follow.
    over: AtomicBool,
    /// The latest number received in each lane.
    received: [AtomicU64; LANES],
}

#[derive(Clone, Copy, PartialEq)]
enum Temper {
    Calm,
    Panics,
    Publishes,
    Subscribes,
}

struct Observer {
    magic: AtomicU64,
    shared: Arc<Shared>,
    world: Arc<World>,
    subject: Subject<Message>,
    temper: Temper,
}

impl Observer {
    fn notify(&self, message: &Message) {
        assert_eq!(self.magic.load(Ordering::Relaxed), ALIVE, "called after it was dropped");
        self.world.counters.calls.fetch_add(1, Ordering::Relaxed);
        let Shared { gone, over, received } = &*self.shared;
        assert!(!over.load(Ordering::Acquire), "called after unsubscribe_and_wait");
        let gone = gone.load(Ordering::Acquire);
        assert!(gone == 0 || message.stamp < gone, "called by a publish that began later");
        let before = received[message.lane].swap(message.number, Ordering::Relaxed);
        assert!(before < message.number, "{before} then {}", message.number);
        match self.temper {
            Temper::Calm => {}
            Temper::Panics => panic_any(Boom),
            // Not from a nested publish, which would recurse without end.
            Temper::Publishes if message.lane < THREADS => {
                self.world.counters.nested.fetch_add(1, Ordering::Relaxed);
                self.world.publish(&self.subject, message.lane + THREADS);
            }
            Temper::Subscribes if message.number.is_multiple_of(8) => {
                if let Ok(subscription) = self.subject.subscribe(|_| ()) {
                    assert!(subscription.unsubscribe_and_wait().is_err());
                }
            }
            _ => {}
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        assert_eq!(self.magic.swap(0, Ordering::Relaxed), ALIVE, "dropped twice");
        self.world.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

struct World {
    counters: Counters,
    numbers: [AtomicU64; LANES],
    subject: Mutex<Subject<Message>>,
}

impl World {
    /// Publishes from the thread that owns the lane.
    fn publish(&self, subject: &Subject<Message>, lane: usize) -> u64 {
        let number = self.numbers[lane].fetch_add(1, Ordering::Relaxed) + 1;
        let stamp = self.counters.stamp.fetch_add(1, Ordering::AcqRel) + 1;
        let message = Message { lane, number, stamp };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| subject.publish(&message))) {
            if !panic.is::<Boom>() {
                std::panic::resume_unwind(panic);
            }
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        number
    }

    fn subscribe(
        self: &Arc<Self>,
        subject: &Subject<Message>,
        temper: Temper,
    ) -> Option<(Subscription, Arc<Shared>)> {
        let shared = Arc::new(Shared {
            gone: AtomicU64::new(0),
            over: AtomicBool::new(false),
            received: Default::default(),
        });
        let observer = Observer {
            magic: AtomicU64::new(ALIVE),
            shared: shared.clone(),
            world: self.clone(),
            subject: subject.clone(),
            temper,
        };
        self.counters.made.fetch_add(1, Ordering::Relaxed);
        let subscription = subject.subscribe(move |message| observer.notify(message)).ok()?;
        Some((subscription, shared))
    }

    fn current(&self) -> Subject<Message> {
        self.subject.lock().clone()
    }

    /// Threads find the new subject when the old one refuses.
    fn replace(&self) {
        let old = std::mem::take(&mut *self.subject.lock());
        old.close();
        assert!(old.is_empty());
        self.counters.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn live(self: &Arc<Self>, lane: usize, mut random: Random, until: Instant) {
        let mut subject = self.current();
        let mut kept: Vec<(Subscription, Arc<Shared>)> = Vec::new();
        while Instant::now() < until {
            match random.below(64) {
                0..24 if kept.len() < 12 => {
                    let temper = match random.below(40) {
                        0 => Temper::Panics,
                        1 => Temper::Publishes,
                        2 => Temper::Subscribes,
                        _ => Temper::Calm,
                    };
                    match self.subscribe(&subject, temper) {
                        Some(new) => kept.push(new),
                        None => {
                            kept.clear();
                            subject = self.current();
                        }
                    }
                }
                24..46 if !kept.is_empty() => {
                    let (subscription, shared) = kept.swap_remove(random.below(kept.len()));
                    if random.below(16) == 0 {
                        subscription.unsubscribe_and_wait().unwrap();
                        shared.over.store(true, Ordering::Release);
                        self.counters.waited.fetch_add(1, Ordering::Relaxed);
                    } else {
                        subscription.unsubscribe();
                        let later = self.counters.stamp.load(Ordering::Acquire) + 1;
                        shared.gone.store(later, Ordering::Release);
                    }
                }
                46 if random.below(20) == 0 => self.replace(),
                _ => {
                    let number = self.publish(&subject, lane);
                    if subject.is_closed() {
                        continue;
                    }
                    for (_, shared) in &kept {
                        let received = shared.received[lane].load(Ordering::Relaxed);
                        // Closing may have come between.
                        assert!(received == number || subject.is_closed(), "missed {number}");
                    }
                }
            }
        }
    }
}

#[test]
fn promises_hold_under_load() {
    quiet();
    let world = Arc::new(World {
        counters: Counters::default(),
        numbers: Default::default(),
        subject: Mutex::default(),
    });
    let until = Instant::now() + duration();
    let seed = Random::from_env("fanout_stress").next();
    let threads: Vec<_> = (0..THREADS)
        .map(|lane| {
            let world = world.clone();
            let random = Random::seeded(seed.wrapping_add(lane as u64));
            thread::spawn(move || world.live(lane, random, until))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no promise is broken");
    }
    world.replace();
    let Counters { stamp, made, dropped, calls, panics, nested, waited, closed } = &world.counters;
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (made, dropped) = (made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst));
    println!(
        "{} publishes, {} calls, {made} observers, {} panics, {} nested, {} waits, {} closed",
        count(stamp),
        count(calls),
        count(panics),
        count(nested),
        count(waited),
        count(closed),
    );
    assert_eq!(made, dropped, "every observer is dropped once");
    assert!([panics, nested, waited, closed].into_iter().all(|counter| count(counter) > 0));
}

/// One thread publishes increasing numbers; each subscriber starts at the latest one and misses none
/// published later.
#[test]
fn replays_hold_under_load() {
    let topic = BehaviorSubject::new(1_u64);
    let until = Instant::now() + duration();
    let publisher = thread::spawn({
        let topic = topic.clone();
        move || {
            let mut last = 1;
            while Instant::now() < until {
                for _ in 0..50 {
                    last += 1;
                    topic.publish(last);
                }
            }
            last
        }
    });
    let subscribers: Vec<_> = (1..THREADS)
        .map(|_| {
            let topic = topic.clone();
            thread::spawn(move || {
                let mut replays = 0;
                let mut ends: Vec<(Subscription, Arc<AtomicU64>)> = Vec::new();
                while Instant::now() < until {
                    let latest = Arc::new(AtomicU64::new(0));
                    let (received, joined) = (latest.clone(), Arc::new(AtomicBool::new(false)));
                    let after_joined = joined.clone();
                    let known = *topic.value().unwrap();
                    let subscription = topic.subscribe(move |&number| {
                        // First: it is set as soon as the number is seen.
                        let was_joined = after_joined.load(Ordering::Acquire);
                        let before = received.swap(number, Ordering::AcqRel);
                        assert!(number >= known && before < number, "{before} then {number}");
                        let gapless = before + 1 == number;
                        assert!(gapless || !was_joined, "a gap");
                    });
                    // There are no gaps after this point; a number being published now may still be one.
                    let after = *topic.value().unwrap();
                    while latest.load(Ordering::Acquire) < after {
                        thread::yield_now();
                    }
                    joined.store(true, Ordering::Release);
                    replays += 1;
                    ends.push((subscription.unwrap(), latest));
                    if ends.len() > 20 {
                        drop(ends.remove(replays % 7));
                    }
                }
                (replays, ends)
            })
        })
        .collect();
    let last = publisher.join().unwrap();
    for subscriber in subscribers {
        let (replays, ends) = subscriber.join().unwrap();
        assert!(replays > 0);
        for (_, latest) in &ends {
            assert_eq!(latest.load(Ordering::SeqCst), last);
        }
    }
    println!("{last} values");
}
