//! loom's models: every interleaving of a few threads, and every value that a load may give.
//!
//! ```text
//! RUSTFLAGS="--cfg pondwire_loom" cargo test --release --lib fanout::
//! ```
//!
//! Chunks have 2 to 4 slots here, and freed memory is kept, marked by a canary: a use after free,
//! or one that is not ordered before the free, fails the model. [`weakened`] runs the models again
//! with one ordering weakened at a time and requires that they fail.

mod behavior;
mod weakened;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;
use loom::thread;

use super::{Observer, Subject, Subscription};

/// `LOOM_MAX_PREEMPTIONS`, or 3: what `settle` is for takes so many.
fn model(run: impl Fn() + Send + Sync + 'static) {
    model_within(3, run);
}

fn model_within(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(run);
}

/// What was heard and dropped. Not modelled, so that it orders nothing.
#[derive(Clone, Default)]
struct Record {
    heard: Arc<Mutex<Vec<usize>>>,
    dropped: Arc<AtomicUsize>,
}

impl Record {
    fn ear(&self, name: usize) -> Ear {
        let written = UnsafeCell::new(0);
        // A write that whoever is called must be ordered behind.
        written.with_mut(|_| ());
        Ear { name, record: self.clone(), written }
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Ear {
    name: usize,
    record: Record,
    written: UnsafeCell<u8>,
}

// SAFETY: the cell is only looked at, and loom watches it.
#[allow(unsafe_code)]
unsafe impl Sync for Ear {}

impl Observer<()> for Ear {
    fn notify(&self, _: &()) {
        self.written.with(|_| ());
        self.record.heard.lock().unwrap().push(self.name);
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.written.with_mut(|_| ());
        self.record.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

type Ears = Subject<(), Ear>;

fn subject(names: std::ops::Range<usize>) -> (Ears, Record, Vec<Option<Subscription>>) {
    let (subject, record) = (Ears::typed(), Record::default());
    let kept = names.map(|name| Some(subject.subscribe_observer(record.ear(name)).unwrap()));
    let kept = kept.collect();
    (subject, record, kept)
}

fn spawn_publish(subject: &Ears) -> thread::JoinHandle<()> {
    let subject = subject.clone();
    thread::spawn(move || subject.publish(&()))
}

#[test]
fn publish_vs_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..2);
        let publisher = spawn_publish(&subject);
        drop(kept[0].take());
        publisher.join().unwrap();
        let heard = record.take();
        assert!(heard == [0, 1] || heard == [1], "{heard:?}");
        assert_eq!(record.dropped(), 1, "nobody publishes any more");
        subject.publish(&());
        assert_eq!(record.take(), [1]);
        drop((subject, kept));
        assert_eq!(record.dropped(), 2);
    });
}

#[test]
fn publish_after_publish_vs_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..1);
        let publisher = thread::spawn({
            let subject = subject.clone();
            move || {
                subject.publish(&());
                subject.publish(&());
            }
        });
        drop(kept[0].take());
        publisher.join().unwrap();
        assert!(record.take().len() <= 2);
        assert_eq!(record.dropped(), 1);
    });
}

#[test]
fn two_publishers_vs_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..1);
        let publishers = [spawn_publish(&subject), spawn_publish(&subject)];
        drop(kept[0].take());
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert!(record.take().len() <= 2);
        assert_eq!(record.dropped(), 1);
    });
}

/// Chunks 0 1 | 2 3 | 4 5: without 0 and 2, the first two merge.
#[test]
fn publish_vs_merge() {
    model(|| {
        let (subject, record, mut kept) = subject(0..6);
        drop(kept[0].take());
        let publisher = spawn_publish(&subject);
        drop(kept[2].take());
        publisher.join().unwrap();
        let heard = record.take();
        assert!(heard == [1, 2, 3, 4, 5] || heard == [1, 3, 4, 5], "{heard:?}");
        assert_eq!(record.dropped(), 2);
        drop(kept[1].take());
        subject.publish(&());
        assert_eq!(record.take(), [3, 4, 5]);
    });
}

/// What was merged is unsubscribed while a publisher may still walk what it was merged from.
#[test]
fn publish_vs_merge_and_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..5);
        drop(kept[0].take());
        let publisher = spawn_publish(&subject);
        drop(kept[2].take());
        drop(kept[3].take());
        publisher.join().unwrap();
        let mut heard = record.take();
        heard.retain(|&name| name != 2 && name != 3);
        assert_eq!(heard, [1, 4]);
        assert_eq!(record.dropped(), 3);
    });
}

/// Who is unsubscribed from a merged chunk hears a first publish, or both, or none; not the second
/// alone, although the two may walk different chunks.
#[test]
fn two_publishes_vs_merge_and_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..5);
        drop(kept[0].take());
        let publisher = thread::spawn({
            let subject = subject.clone();
            move || {
                subject.publish(&());
                subject.publish(&());
            }
        });
        drop(kept[2].take());
        drop(kept[3].take());
        publisher.join().unwrap();
        let heard = record.take();
        let first = heard.iter().position(|&name| name == 4).unwrap();
        let (first, second) = heard.split_at(first + 1);
        assert!(second.iter().all(|name| first.contains(name)), "{first:?} {second:?}");
    });
}

/// Chunks 0 1 | 2: without 0 and 1, the first goes.
#[test]
fn publish_vs_unlink() {
    model(|| {
        let (subject, record, mut kept) = subject(0..3);
        drop(kept[0].take());
        let publisher = spawn_publish(&subject);
        drop(kept[1].take());
        publisher.join().unwrap();
        let heard = record.take();
        assert!(heard == [1, 2] || heard == [2], "{heard:?}");
        assert_eq!(record.dropped(), 2);
    });
}

/// The third subscriber needs a new chunk, and the second a slot of the first.
#[test]
fn publish_vs_subscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..1);
        let publisher = spawn_publish(&subject);
        for name in 1..3 {
            kept.push(Some(subject.subscribe_observer(record.ear(name)).unwrap()));
        }
        publisher.join().unwrap();
        let heard = record.take();
        assert!([0, 1, 2].starts_with(&heard) && !heard.is_empty(), "{heard:?}");
        subject.publish(&());
        assert_eq!(record.take(), [0, 1, 2]);
        drop((subject, kept));
        assert_eq!(record.dropped(), 3);
    });
}

#[test]
fn publish_vs_close() {
    model(|| {
        let (subject, record, kept) = subject(0..3);
        let publisher = spawn_publish(&subject);
        subject.close();
        publisher.join().unwrap();
        let heard = record.take();
        assert!([0, 1, 2].starts_with(&heard), "{heard:?}");
        assert_eq!(record.dropped(), 3);
        subject.publish(&());
        assert!(record.take().is_empty());
        drop(kept);
    });
}

/// What happens inside an observer holds for the publish around it, whoever closes meanwhile.
#[test]
fn close_vs_inner_unsubscribe_and_close() {
    for inner_close in [false, true] {
        model(move || {
            let (subject, record, mut kept) = subject(0..3);
            let publisher = thread::spawn({
                let (subject, second) = (subject.clone(), kept[1].take());
                move || {
                    let mut second = second;
                    subject.for_each(|ear| {
                        ear.notify(&());
                        if inner_close {
                            subject.close();
                        } else {
                            drop(second.take());
                        }
                    });
                }
            });
            subject.close();
            publisher.join().unwrap();
            let heard = record.take();
            assert!(!heard.contains(&1) && (!inner_close || heard.len() <= 1), "{heard:?}");
            assert_eq!(record.dropped(), 3);
        });
    }
}

#[test]
fn close_vs_unsubscribe_vs_publish() {
    model(|| {
        let (subject, record, mut kept) = subject(0..2);
        let publisher = spawn_publish(&subject);
        let closer = thread::spawn({
            let subject = subject.clone();
            move || subject.close()
        });
        drop(kept[1].take());
        publisher.join().unwrap();
        closer.join().unwrap();
        assert_eq!(record.dropped(), 2);
    });
}

/// After the wait the observer is not being called: what it reads may be written.
#[test]
fn publish_vs_unsubscribe_and_wait() {
    struct Reads(Arc<UnsafeCell<u8>>);
    // SAFETY: loom watches the cell, that is the model's purpose.
    #[allow(unsafe_code)]
    unsafe impl Sync for Reads {}
    // SAFETY: as for `Sync`.
    #[allow(unsafe_code)]
    unsafe impl Send for Reads {}
    impl Observer<()> for Reads {
        fn notify(&self, _: &()) {
            self.0.with(|_| thread::yield_now());
        }
    }
    model(|| {
        let subject = Subject::<(), Reads>::typed();
        let cell = Arc::new(UnsafeCell::new(0));
        let subscription = subject.subscribe_observer(Reads(cell.clone())).unwrap();
        let publisher = thread::spawn({
            let subject = subject.clone();
            move || subject.publish(&())
        });
        subscription.unsubscribe_and_wait().unwrap();
        cell.with_mut(|_| ());
        publisher.join().unwrap();
    });
}
