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
use crate::sync::model_within;

/// Runs a model with `LOOM_MAX_PREEMPTIONS` preemptions, by default 3: the case that `settle`
/// handles takes three.
fn model(run: impl Fn() + Send + Sync + 'static) {
    model_within(3, run);
}

/// The calls and drops so far. Not modelled, so that it orders nothing.
#[derive(Clone, Default)]
struct Record {
    received: Arc<Mutex<Vec<usize>>>,
    dropped: Arc<AtomicUsize>,
}

impl Record {
    fn probe(&self, name: usize) -> Probe {
        let written = UnsafeCell::new(0);
        // A write that must come before every call.
        written.with_mut(|_| ());
        Probe { name, record: self.clone(), written }
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Probe {
    name: usize,
    record: Record,
    written: UnsafeCell<u8>,
}

// SAFETY: the cell is only looked at, and loom watches it.
#[allow(unsafe_code)]
unsafe impl Sync for Probe {}

impl Observer<()> for Probe {
    fn notify(&self, _: &()) {
        self.written.with(|_| ());
        self.record.received.lock().unwrap().push(self.name);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.written.with_mut(|_| ());
        self.record.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

type Probes = Subject<(), Probe>;

fn subject(names: std::ops::Range<usize>) -> (Probes, Record, Vec<Option<Subscription>>) {
    let (subject, record) = (Probes::typed(), Record::default());
    let kept = names.map(|name| Some(subject.subscribe_observer(record.probe(name)).unwrap()));
    let kept = kept.collect();
    (subject, record, kept)
}

fn spawn_publish(subject: &Probes) -> thread::JoinHandle<()> {
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
        let received = record.take();
        assert!(received == [0, 1] || received == [1], "{received:?}");
        assert_eq!(record.dropped(), 1, "no publish is running any more");
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
        let received = record.take();
        assert!(received == [1, 2, 3, 4, 5] || received == [1, 3, 4, 5], "{received:?}");
        assert_eq!(record.dropped(), 2);
        drop(kept[1].take());
        subject.publish(&());
        assert_eq!(record.take(), [3, 4, 5]);
    });
}

/// Nodes of a merged chunk are unsubscribed while a publisher may still walk the chunks that were
/// merged.
#[test]
fn publish_vs_merge_and_unsubscribe() {
    model(|| {
        let (subject, record, mut kept) = subject(0..5);
        drop(kept[0].take());
        let publisher = spawn_publish(&subject);
        drop(kept[2].take());
        drop(kept[3].take());
        publisher.join().unwrap();
        let mut received = record.take();
        received.retain(|&name| name != 2 && name != 3);
        assert_eq!(received, [1, 4]);
        assert_eq!(record.dropped(), 3);
    });
}

/// An observer that is unsubscribed from a merged chunk is called by the first of two publishes, by
/// both or by neither; not by the second alone, although the two may walk different chunks.
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
        let received = record.take();
        let first = received.iter().position(|&name| name == 4).unwrap();
        let (first, second) = received.split_at(first + 1);
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
        let received = record.take();
        assert!(received == [1, 2] || received == [2], "{received:?}");
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
            kept.push(Some(subject.subscribe_observer(record.probe(name)).unwrap()));
        }
        publisher.join().unwrap();
        let received = record.take();
        assert!([0, 1, 2].starts_with(&received) && !received.is_empty(), "{received:?}");
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
        let received = record.take();
        assert!([0, 1, 2].starts_with(&received), "{received:?}");
        assert_eq!(record.dropped(), 3);
        subject.publish(&());
        assert!(record.take().is_empty());
        drop(kept);
    });
}

/// Changes made inside an observer hold for the publish around it, even if another thread closes
/// meanwhile.
#[test]
fn close_vs_inner_unsubscribe_and_close() {
    for inner_close in [false, true] {
        model(move || {
            let (subject, record, mut kept) = subject(0..3);
            let publisher = thread::spawn({
                let (subject, second) = (subject.clone(), kept[1].take());
                move || {
                    let mut second = second;
                    subject.for_each(|probe| {
                        probe.notify(&());
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
            let received = record.take();
            assert!(
                !received.contains(&1) && (!inner_close || received.len() <= 1),
                "{received:?}"
            );
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

/// After the wait the observer is not being called: the cell that it reads may be written.
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
