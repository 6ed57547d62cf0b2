//! The rules of fan-out, a test for each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;

use pondwire::fanout::{BehaviorSubject, Closed, InsideObserver, Observer, Subject, Subscription};

/// The values that observers received, in order.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(&'static str, i32)>>>);

impl Received {
    fn by(&self, name: &'static str) -> impl Fn(&i32) + Send + Sync + 'static {
        let received = self.clone();
        move |value: &i32| received.note(name, *value)
    }

    fn note(&self, name: &'static str, value: i32) {
        self.0.lock().unwrap().push((name, value));
    }

    fn take(&self) -> Vec<(&'static str, i32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An observer of a type of its own.
struct Sum(Arc<AtomicUsize>);

impl Observer<usize> for Sum {
    fn notify(&self, value: &usize) {
        self.0.fetch_add(*value, Ordering::Relaxed);
    }
}

type Slot = Arc<Mutex<Option<Subscription>>>;

#[test]
fn delivery_is_in_subscription_order_whatever_was_unsubscribed_between() {
    let subject = Subject::<usize>::new();
    let received = Arc::new(Mutex::new(Vec::new()));
    let mut kept: Vec<(usize, Subscription)> = Vec::new();
    let mut next = 0;
    let mut random = 12345_u64;
    for round in 0..4000 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Grows to hundreds, shrinks to a few, and again: chunks of all sizes, merged and not.
        let grow = (round / 500) % 2 == 0;
        if kept.is_empty() || (random >> 33) % 4 < if grow { 3 } else { 1 } {
            let (name, received) = (next, received.clone());
            next += 1;
            let subscription = subject.subscribe(move |_| received.lock().unwrap().push(name));
            kept.push((name, subscription.unwrap()));
        } else {
            drop(kept.remove((random >> 40) as usize % kept.len()));
        }
        assert_eq!(subject.len(), kept.len());
        if round % 7 == 0 {
            subject.publish(&0);
            let names: Vec<usize> = kept.iter().map(|(name, _)| *name).collect();
            assert_eq!(std::mem::take(&mut *received.lock().unwrap()), names, "round {round}");
        }
    }
    assert!(next > 1500);
}

#[test]
fn a_subscriber_added_during_a_publish_receives_the_next_value() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let inner: Slot = Slot::default();
    let (subject2, received2, inner2) = (subject.clone(), received.clone(), inner.clone());
    let _a = subject.subscribe(move |value| {
        received2.note("a", *value);
        let mut inner = inner2.lock().unwrap();
        if inner.is_none() {
            *inner = Some(subject2.subscribe(received2.by("c")).unwrap());
        }
    });
    let _b = subject.subscribe(received.by("b"));
    subject.publish(&1);
    assert_eq!(received.take(), [("a", 1), ("b", 1)]);
    subject.publish(&2);
    assert_eq!(received.take(), [("a", 2), ("b", 2), ("c", 2)]);
    inner.lock().unwrap().take();
    subject.close();
}

#[test]
fn unsubscribing_is_seen_by_the_outer_publish_of_the_same_thread() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let later: Slot = Slot::default();
    let (received2, later2) = (received.clone(), later.clone());
    let _a = subject.subscribe(move |value| {
        received2.note("a", *value);
        later2.lock().unwrap().take();
    });
    *later.lock().unwrap() = Some(subject.subscribe(received.by("b")).unwrap());
    let _c = subject.subscribe(received.by("c"));
    subject.publish(&1);
    assert_eq!(received.take(), [("a", 1), ("c", 1)]);
    assert_eq!(subject.len(), 2);
}

#[test]
fn observers_are_dropped_once_and_as_soon_as_no_publish_can_see_them() {
    let subject = Subject::<i32>::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = || drops.load(Ordering::SeqCst);
    let subscribe = |subject: &Subject<i32>| {
        let counted = Counted(drops.clone());
        subject.subscribe(move |_| assert!(Arc::strong_count(&counted.0) > 0)).unwrap()
    };
    let first = subscribe(&subject);
    let second = subscribe(&subject);
    first.unsubscribe();
    assert_eq!(dropped(), 1, "at once: no publish is running");
    first.unsubscribe();
    drop(first);
    assert_eq!(dropped(), 1);

    let held = Mutex::new(Some(second));
    let drops2 = drops.clone();
    let subject2 = subject.clone();
    let subscription = subject.subscribe(move |_| {
        held.lock().unwrap().take();
        assert_eq!(drops2.load(Ordering::SeqCst), 1, "this publish may have seen it");
        let _ = &subject2;
    });
    subject.publish(&1);
    assert_eq!(dropped(), 2, "the publisher that leaves last frees it");

    let third = subscribe(&subject);
    third.detach();
    assert_eq!(subject.len(), 2);
    subject.close();
    assert_eq!(dropped(), 3);
    drop(subscription);
    assert!(matches!(subject.subscribe(|_| ()), Err(Closed)));
}

#[test]
fn dropping_the_last_handle_closes() {
    let drops = Arc::new(AtomicUsize::new(0));
    let subject = Subject::<i32>::new();
    let counted = Counted(drops.clone());
    let subscription =
        subject.subscribe(move |_| assert!(Arc::strong_count(&counted.0) > 0)).unwrap();
    let clone = subject.clone();
    drop(subject);
    assert_eq!((drops.load(Ordering::SeqCst), clone.len()), (0, 1));
    drop(clone);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    subscription.unsubscribe_and_wait().unwrap();
}

#[test]
fn a_panicking_observer_does_not_stop_delivery_to_others() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let _a = subject.subscribe(|_| panic!("first"));
    let _b = subject.subscribe(received.by("b"));
    let _c = subject.subscribe(|_| panic!("second"));
    let _d = subject.subscribe(received.by("d"));
    for round in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| subject.publish(&round))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"first"));
        assert_eq!(received.take(), [("b", round), ("d", round)]);
    }
    assert_eq!(subject.len(), 4);
}

#[test]
fn a_panicking_drop_does_not_stop_delivery_to_others() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("drop");
        }
    }
    let subject = Subject::<i32>::new();
    let drops = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let bomb = Bomb(drops.clone());
        subject.subscribe(move |_| assert!(Arc::strong_count(&bomb.0) > 0)).unwrap().detach();
    }
    let panic = catch_unwind(AssertUnwindSafe(|| subject.close())).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"drop"));
    assert_eq!(drops.load(Ordering::SeqCst), 3);
    subject.publish(&1);
}

#[test]
fn ids_give_set_semantics() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let first = subject.subscribe_as(1, received.by("a")).unwrap();
    let second = subject.subscribe_as(1, received.by("a again")).unwrap();
    let _other = subject.subscribe_as(2, received.by("b")).unwrap();
    subject.publish(&1);
    assert_eq!(received.take(), [("a", 1), ("b", 1)]);
    second.unsubscribe();
    assert_eq!(subject.len(), 1);
    let third = subject.subscribe_as(1, received.by("c")).unwrap();
    subject.publish(&2);
    assert_eq!(received.take(), [("b", 2), ("c", 2)], "again is behind the others");
    drop(second);
    assert_eq!(subject.len(), 2, "a used handle removes nothing when it goes");
    drop(first);
    assert_eq!(subject.len(), 1, "an unused one does");
    drop(third);
    assert_eq!(subject.len(), 1);
}

#[test]
fn nested_publishes_run_at_once() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let (subject2, received2) = (subject.clone(), received.clone());
    let _a = subject.subscribe(move |value| {
        received2.note("a", *value);
        if *value == 1 {
            subject2.publish(&100);
        }
    });
    let _b = subject.subscribe(received.by("b"));
    subject.publish(&1);
    assert_eq!(received.take(), [("a", 1), ("a", 100), ("b", 100), ("b", 1)]);
    subject.close();
}

#[test]
fn closing_inside_an_observer_ends_the_publish() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let (subject2, received2) = (subject.clone(), received.clone());
    let a = subject.subscribe(move |value| {
        received2.note("a", *value);
        subject2.close();
        subject2.close();
    });
    let b = subject.subscribe(received.by("b"));
    subject.publish(&1);
    subject.publish(&2);
    assert_eq!(received.take(), [("a", 1)]);
    assert!(subject.is_closed() && subject.is_empty());
    assert_eq!(
        subject.subscribe(|_| ()).unwrap_err().to_string(),
        "Cannot subscribe to a closed subject"
    );
    drop((a, b));
}

#[test]
fn waiting_inside_an_observer_is_refused() {
    let (subject, other) = (Subject::<i32>::new(), Subject::<i32>::new());
    let elsewhere = other.subscribe(|_| ()).unwrap();
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let own2 = own.clone();
    let (sender, results) = mpsc::channel();
    let subscription = subject.subscribe(move |_| {
        sender.send(own2.get().unwrap().unsubscribe_and_wait()).unwrap();
        sender.send(elsewhere.unsubscribe_and_wait()).unwrap();
    });
    own.set(subscription.unwrap()).unwrap();
    subject.publish(&1);
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [Err(InsideObserver); 2]);
    assert_eq!((subject.len(), other.len()), (1, 1), "nothing was unsubscribed");
    own.get().unwrap().unsubscribe_and_wait().unwrap();
    assert_eq!(subject.len(), 0);
}

#[test]
fn unsubscribe_and_wait_outlasts_the_call_that_runs() {
    let subject = Subject::<i32>::new();
    let (inside, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let done = Arc::new(AtomicUsize::new(0));
    let (inside2, go_on2, done2) = (inside.clone(), go_on.clone(), done.clone());
    let subscription = subject
        .subscribe(move |_| {
            inside2.wait();
            go_on2.wait();
            thread::sleep(std::time::Duration::from_millis(20));
            done2.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    let publisher = thread::spawn({
        let subject = subject.clone();
        move || subject.publish(&1)
    });
    inside.wait();
    subscription.unsubscribe();
    assert_eq!((done.load(Ordering::SeqCst), subject.len()), (0, 0), "does not wait");
    go_on.wait();
    subscription.unsubscribe_and_wait().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    publisher.join().unwrap();
}

#[test]
fn subscribing_does_not_wait_for_a_publish() {
    let subject = Subject::<i32>::new();
    let (inside, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (inside2, go_on2) = (inside.clone(), go_on.clone());
    let _stalled = subject.subscribe(move |_| {
        inside2.wait();
        go_on2.wait();
    });
    let publisher = thread::spawn({
        let subject = subject.clone();
        move || subject.publish(&1)
    });
    inside.wait();
    // All of this while an observer is stalled.
    let many: Vec<_> = (0..2000).map(|_| subject.subscribe(|_| ()).unwrap()).collect();
    assert_eq!(subject.len(), 2001);
    drop(many);
    assert_eq!(subject.len(), 1);
    go_on.wait();
    publisher.join().unwrap();
}

#[test]
fn typed_observers_are_called_and_visited() {
    let subject: Subject<usize, Sum> = Subject::typed();
    let sums: Vec<_> = (0..100).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let kept: Vec<_> =
        sums.iter().map(|sum| subject.subscribe_observer(Sum(sum.clone())).unwrap()).collect();
    let again = subject.subscribe_observer_as(1, Sum(sums[0].clone())).unwrap();
    subject.publish(&3);
    subject.publish(&4);
    assert_eq!(sums[0].load(Ordering::Relaxed), 14);
    assert!(sums[1..].iter().all(|sum| sum.load(Ordering::Relaxed) == 7));
    let mut seen = Vec::new();
    subject.for_each(|Sum(sum)| seen.push(Arc::as_ptr(sum)));
    let expected = sums.iter().chain([&sums[0]]).map(Arc::as_ptr);
    assert_eq!(seen, expected.collect::<Vec<_>>());
    drop((kept, again));
    assert!(subject.is_empty());
}

#[test]
fn closures_of_any_size_and_alignment_keep_their_data() {
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    let subject = Subject::<usize>::new();
    let sum = Arc::new(AtomicUsize::new(0));
    let (sum2, sum3) = (sum.clone(), sum.clone());
    let aligned = Aligned([3; 64]);
    let _zero_sized = subject.subscribe(|_| ());
    let _aligned = subject.subscribe(move |value| {
        assert!(std::ptr::from_ref(&aligned).addr().is_multiple_of(64));
        sum2.fetch_add(
            value * aligned.0.iter().map(|&n| usize::from(n)).sum::<usize>(),
            Ordering::Relaxed,
        );
    });
    let large = [1_u8; 5000];
    let _large = subject.subscribe(move |value| {
        sum3.fetch_add(value * large.len(), Ordering::Relaxed);
    });
    subject.publish(&2);
    assert_eq!(sum.load(Ordering::Relaxed), 2 * 3 * 64 + 2 * 5000);
}

#[test]
fn a_behavior_subject_replays_before_it_counts() {
    let (topic, received) = (BehaviorSubject::new(0), Received::default());
    let (topic2, received2) = (topic.clone(), received.clone());
    let _a = topic.subscribe(move |value| {
        received2.note("a", *value);
        received2.note("len", topic2.len() as i32);
    });
    let _b = topic.subscribe(received.by("b"));
    topic.publish(1);
    let first = [("a", 0), ("len", 0), ("b", 0)];
    assert_eq!(received.take(), [&first[..], &[("a", 1), ("len", 2), ("b", 1)]].concat());
    topic.close();
    assert!(matches!(topic.subscribe(received.by("c")), Err(Closed)));
    assert_eq!(received.take(), [("c", 1)], "the replay comes before the refusal");
    topic.publish(2);
    assert_eq!((*topic.value().unwrap(), topic.len()), (2, 0));
    assert!(BehaviorSubject::<i32>::empty().value().is_none());
}

#[test]
fn a_panic_in_the_replay_undoes_the_subscription() {
    let topic = BehaviorSubject::new(1);
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(drops.clone());
    let subscribe = || {
        topic.subscribe_as(1, move |_: &i32| {
            assert!(Arc::strong_count(&counted.0) > 0);
            panic!("in the replay");
        })
    };
    let panic = catch_unwind(AssertUnwindSafe(subscribe)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the replay"));
    assert_eq!((topic.len(), drops.load(Ordering::SeqCst)), (0, 1));
    topic.publish(2);
    let _again = topic.subscribe_as(1, |_| ()).unwrap();
    assert_eq!(topic.len(), 1, "the id is free again");
}

#[test]
fn values_published_during_a_replay_arrive_before_subscribe_returns() {
    let (topic, received) = (BehaviorSubject::new(1), Received::default());
    let (topic2, received2) = (topic.clone(), received.clone());
    let _a = topic.subscribe(move |value| {
        received2.note("a", *value);
        if *value == 1 {
            // On another thread: an observer does not receive the values that it publishes itself.
            let topic = topic2.clone();
            thread::spawn(move || (2..5).for_each(|number| topic.publish(number))).join().unwrap();
        }
    });
    assert_eq!(received.take(), [("a", 1), ("a", 4)]);
    topic.publish(5);
    assert_eq!(received.take(), [("a", 5)]);
    topic.close();
}

#[test]
fn a_borrowed_value_outlives_its_replacement() {
    let drops = Arc::new(AtomicUsize::new(0));
    let topic = BehaviorSubject::new(Counted(drops.clone()));
    let held = topic.value().unwrap();
    topic.publish(Counted(drops.clone()));
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    let subscription = topic.subscribe(|_| ()).unwrap();
    assert_eq!(subscription.unsubscribe_and_wait(), Err(InsideObserver));
    assert!(Arc::ptr_eq(&held.0, &drops));
    drop(held);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    drop((subscription, topic));
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn an_observer_may_drop_handles_of_its_subject_and_unsubscribe_itself() {
    let (subject, received) = (Subject::<i32>::new(), Received::default());
    let held = Mutex::new(Some(subject.clone()));
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let (own2, received2) = (own.clone(), received.clone());
    let subscription = subject.subscribe(move |value| {
        received2.note("a", *value);
        held.lock().unwrap().take();
        own2.get().unwrap().unsubscribe();
    });
    own.set(subscription.unwrap()).unwrap();
    let _b = subject.subscribe(received.by("b"));
    subject.publish(&1);
    subject.publish(&2);
    assert_eq!(received.take(), [("a", 1), ("b", 1), ("b", 2)]);
}

/// The last handle is inside an observer, and is dropped with it.
#[test]
fn the_last_handle_may_be_dropped_with_an_observer() {
    let subject = Subject::<i32>::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let (inner, counted) = (subject.clone(), Counted(drops.clone()));
    let subscription = subject
        .subscribe(move |_| assert!(!inner.is_closed() && Arc::strong_count(&counted.0) > 0))
        .unwrap();
    let _other = subject.subscribe(|_| ());
    subject.publish(&1);
    drop(subject);
    assert_eq!(drops.load(Ordering::SeqCst), 0, "an observer keeps it open");
    drop(subscription);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn close_on_another_thread_leaves_no_thread_waiting() {
    let subject = Subject::<i32>::new();
    let (inside, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (inside2, go_on2) = (inside.clone(), go_on.clone());
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(drops.clone());
    let stalled = subject.subscribe(move |_| {
        inside2.wait();
        go_on2.wait();
        assert_eq!(counted.0.load(Ordering::SeqCst), 0, "not dropped while it runs");
    });
    let publisher = thread::spawn({
        let subject = subject.clone();
        move || subject.publish(&1)
    });
    inside.wait();
    subject.close();
    assert_eq!((subject.len(), drops.load(Ordering::SeqCst)), (0, 0));
    go_on.wait();
    publisher.join().unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1, "the publisher that leaves drops it");
    drop(stalled);
}

/// A drop that panics while the subject closes does not stop the other drops.
#[test]
fn a_panicking_drop_does_not_stop_the_drops_of_other_observers() {
    struct Dropped(Arc<AtomicUsize>, bool);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "a drop that panics");
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let subject = Subject::<()>::new();
    let kept: Vec<_> = (0..10)
        .map(|number| {
            let dropped = Dropped(count.clone(), number % 3 == 0);
            let observer = move |(): &()| {
                // The whole value, or the closure would capture only a field.
                let _all = &dropped;
            };
            subject.subscribe(observer).unwrap()
        })
        .collect();
    let closed = catch_unwind(AssertUnwindSafe(|| subject.close()));
    assert!(closed.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 10);
    subject.publish(&());
    drop(kept);
}
