//! The frame cache: one encode, a bound in bytes, and no frame older than an invalidation.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pondwire::cache::{ClassFrame, ClassFrames, FrameCache, FrameKey, LastValue, LocalFrames};
use pondwire::{Frame, Payload};
use pondwire_test_support::{Random, cases};

/// A frame whose payload is a number and `size` bytes of text.
fn frame(number: u64, size: usize) -> Frame {
    let json = format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(size));
    Frame::broadcast("/c", "e", "r", Payload::from_json(&json).unwrap())
}

fn number(frame: &Frame) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(frame.json()).unwrap();
    json["payload"]["n"].as_u64().unwrap()
}

#[test]
fn eight_threads_encode_once() {
    let encoded = AtomicUsize::new(0);
    let rounds = 200;
    let cache = FrameCache::new(1 << 20);
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..rounds {
                    start.wait();
                    let key = FrameKey::new("/chat/42", "sync").version(round);
                    let got = cache.get_or_insert_with(key, || {
                        encoded.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_micros(200));
                        frame(round, 0)
                    });
                    assert_eq!(number(&got), round);
                }
            });
        }
    });
    assert_eq!(encoded.into_inner(), rounds as usize);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits), (rounds, 7 * rounds));
}

#[test]
fn a_frame_too_large_to_keep_is_encoded_once_for_all_waiting_threads() {
    let cache = FrameCache::new(10_000);
    let start = Barrier::new(4);
    let encoded = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let got = cache.get_or_insert_with(FrameKey::new("/c", "e"), || {
                    encoded.fetch_add(1, Ordering::Relaxed);
                    // Long enough for the other threads to arrive and wait.
                    thread::sleep(Duration::from_millis(200));
                    frame(1, 20_000)
                });
                assert_eq!(number(&got), 1);
            });
        }
    });
    assert_eq!(encoded.into_inner(), 1);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.bytes, stats.refused, stats.evicted), (0, 0, 1, 0));
}

#[test]
fn after_a_failed_make_a_waiting_thread_tries() {
    let cache = FrameCache::new(1 << 20);
    let (tried, start) = (AtomicUsize::new(0), Barrier::new(8));
    let key = FrameKey::new("/c", "e");
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    cache.try_get_or_insert_with(key, || {
                        match tried.fetch_add(1, Ordering::Relaxed) {
                            0..3 => Err("not yet"),
                            n => Ok(frame(n as u64, 0)),
                        }
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 3);
    assert!(results.iter().flatten().all(|frame| number(frame) == 3));
    assert_eq!(tried.into_inner(), 4);

    let panics = || -> Frame { panic!("while encoding") };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.get_or_insert_with(key.version(1), panics)
    }));
    assert!(caught.is_err());
    assert_eq!(number(&cache.get_or_insert_with(key.version(1), || frame(9, 0))), 9);
}

/// A thread reads the size all the time while others insert, hit and invalidate.
#[test]
fn the_bound_in_bytes_holds_at_every_moment() {
    let cache = FrameCache::new(64 << 10);
    let done = AtomicBool::new(false);
    let readings = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut readings = 0_u64;
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(cache.stats().bytes);
                readings += 1;
            }
            assert!(most <= cache.bound(), "{most}");
            assert!(most > cache.bound() / 2, "it filled: {most}");
            readings
        });
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::from_env("the_bound_in_bytes");
                    (0..seed).for_each(|_| assert_ne!(random.next(), 0));
                    for _ in 0..cases(20_000) {
                        let n = random.below(300) as u64;
                        let key = FrameKey::new("/c", "e").version(n);
                        let size = (n as usize * 37) % 3000;
                        assert_eq!(number(&cache.get_or_insert_with(key, || frame(n, size))), n);
                        if n == 0 {
                            cache.invalidate(key.version(1));
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let stats = cache.stats();
    println!("the_bound_in_bytes: {readings} readings, {stats:?}");
    assert!(readings > 100);
    assert_eq!(stats.hits + stats.misses, 3 * cases(20_000) as u64);
    assert!(stats.evicted + stats.refused + stats.entries as u64 <= stats.misses);
    assert!(stats.evicted > 0);
}

#[test]
fn frames_requested_again_are_not_evicted() {
    let cache = FrameCache::new(100 * 1200);
    let hot = |n| FrameKey::new("/hot", "e").version(n);
    for pass in 0..200 {
        for n in 0..20 {
            let _ = cache.get_or_insert_with(hot(n), || frame(n, 900));
        }
        for n in 0..50 {
            let key = FrameKey::new("/scan", "e").version(pass * 50 + n);
            let _ = cache.get_or_insert_with(key, || frame(n, 900));
        }
    }
    let kept = (0..20).filter(|&n| cache.get(hot(n)).is_some()).count();
    assert!(kept >= 18, "{kept} of 20 hot frames after 10,000 others");
    assert!(cache.stats().evicted > 9000);
}

/// A call that begins after an invalidation has returned gets no older frame, while other threads make
/// frames.
#[test]
fn no_frame_older_than_an_invalidation_is_returned() {
    for by_channel in [true, false] {
        let cache = FrameCache::new(1 << 20);
        let (truth, floor) = (AtomicU64::new(0), AtomicU64::new(0));
        let key = FrameKey::new("/chat/42", "topic");
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut local = LocalFrames::new(&cache, 1);
                        loop {
                            let at_least = floor.load(Ordering::Acquire);
                            let got = cache.get_or_insert_with(key, || {
                                made.fetch_add(1, Ordering::Relaxed);
                                let seen = truth.load(Ordering::Acquire);
                                thread::yield_now();
                                frame(seen, 0)
                            });
                            assert!(number(&got) >= at_least, "{got:?} {at_least}");
                            if let Some(got) = cache.get(key) {
                                assert!(number(&got) >= at_least, "{got:?} {at_least}");
                            }
                            let got = local.get_or_insert_with(key, || {
                                made.fetch_add(1, Ordering::Relaxed);
                                frame(truth.load(Ordering::Acquire), 0)
                            });
                            assert!(number(got) >= at_least, "{got:?} {at_least}");
                            if at_least == u64::MAX >> 1 {
                                break;
                            }
                        }
                    })
                })
                .collect();
            let rounds = cases(3000) as u64;
            for version in (1..rounds).chain([u64::MAX >> 1]) {
                let before = made.load(Ordering::Relaxed);
                truth.store(version, Ordering::Release);
                if by_channel {
                    cache.invalidate_channel("/chat/42");
                } else {
                    cache.invalidate(key);
                }
                floor.store(version, Ordering::Release);
                // Now and then waits until a reader has made progress, however busy the machine is.
                while version % 16 == 0 && made.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
        println!("no_frame_from_before: {made:?} made, {:?}", cache.stats());
        assert!(made.into_inner() >= cases(3000) / 16);
    }
}

/// An invalidation while the frame is made: only the caller that made it gets it.
#[test]
fn an_invalidation_covers_a_frame_being_made() {
    let cache = FrameCache::new(1 << 20);
    let key = FrameKey::new("/c", "e");
    let during = |invalidate: &dyn Fn()| {
        let made = cache.get_or_insert_with(key, || {
            invalidate();
            frame(1, 0)
        });
        assert_eq!(number(&made), 1);
        assert_eq!(cache.get(key), None);
        assert_eq!(cache.stats().entries, 0);
    };
    during(&|| cache.invalidate_channel("/c"));
    during(&|| assert!(!cache.invalidate(key), "not there yet"));
    during(&|| cache.clear());
    assert_eq!(number(&cache.get_or_insert_with(key, || frame(2, 0))), 2);
    assert!(cache.invalidate(key));
    assert!(!cache.invalidate(key));
}

/// A model of the cache: its frames, and the expected counts.
#[derive(Default)]
struct Model {
    /// For each key, the number of the last frame made and not invalidated since.
    made: HashMap<(usize, u64, u32), u64>,
    hits: u64,
    misses: u64,
}

#[test]
fn it_behaves_like_a_map_that_may_evict() {
    let mut random = Random::from_env("it_behaves_like_a_map_that_may_evict");
    let channels = ["/a", "/b", "", "/a/b", "/chat/é"];
    for case in 0..cases(60) {
        let small = case % 2 == 0;
        let bound = if small { 3000 + random.below(20_000) } else { 8 << 20 };
        // With these seeds no two channels share a counter, so the counts are exact.
        let cache = FrameCache::with_hasher(bound, ahash::RandomState::with_seeds(1, 2, 3, 4));
        let mut model = Model::default();
        for step in 0..2000 {
            let id =
                (random.below(channels.len()), random.below(12) as u64, random.below(3) as u32);
            let key = FrameKey::new(channels[id.0], "e").version(id.1).class(id.2);
            let known = model.made.get(&id).copied();
            match random.below(40) {
                0 => {
                    let there = cache.invalidate(key);
                    assert!(known.is_some() || !there);
                    assert!(small || there == known.is_some());
                    model.made.remove(&id);
                }
                1 => {
                    cache.invalidate_channel(channels[id.0]);
                    model.made.retain(|other, _| other.0 != id.0);
                }
                2 if step % 7 == 0 => {
                    cache.clear();
                    model.made.clear();
                }
                3..10 => match cache.get(key) {
                    Some(got) => {
                        assert_eq!(Some(number(&got)), known);
                        model.hits += 1;
                    }
                    None => {
                        assert!(small || known.is_none());
                        model.misses += 1;
                    }
                },
                _ => {
                    let mut ran = false;
                    let got = cache.get_or_insert_with(key, || {
                        ran = true;
                        frame(step, random.below(900))
                    });
                    if ran {
                        assert!(small || known.is_none());
                        assert_eq!(number(&got), step);
                        model.made.insert(id, step);
                        model.misses += 1;
                    } else {
                        assert_eq!(Some(number(&got)), known);
                        model.hits += 1;
                    }
                }
            }
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses), (model.hits, model.misses));
            assert!(stats.bytes <= bound);
            assert!(stats.bytes >= stats.entries * 192);
            assert!(small || stats.entries >= model.made.len());
            assert!(small || stats.evicted == 0);
        }
        let stats = cache.stats();
        assert!(!small || stats.evicted > 0, "{stats:?}");
        assert!(stats.hit_rate() > 0.0 && stats.hit_rate() < 1.0);
        cache.clear();
        assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    }
}

#[test]
fn a_late_joiner_gets_the_last_frame_under_concurrent_writes() {
    let last = LastValue::new();
    assert_eq!(last.get(), None);
    assert_eq!(last.with(|frame| frame.map(number)), None);
    let rounds = cases(20_000) as u64;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut before = 0;
                while before < rounds {
                    let now = last.with(|frame| frame.map_or(0, number));
                    assert!(now >= before, "never back to an older frame");
                    let kept = last.get().map_or(0, |frame| number(&frame));
                    assert!(kept >= now);
                    before = kept;
                }
            });
        }
        (1..=rounds).for_each(|n| last.set(frame(n, n as usize % 50)));
    });
    assert_eq!(last.replace(None).map(|frame| number(&frame)), Some(rounds));
    assert_eq!(last.replace(Some(frame(1, 0))), None);
    // More nested reads than a thread has slots for.
    fn nested(last: &LastValue, depth: usize) -> u64 {
        last.with(|frame| match depth {
            0 => number(frame.unwrap()),
            _ => number(frame.unwrap()) + nested(last, depth - 1),
        })
    }
    assert_eq!(nested(&last, 40), 41);
}

#[test]
fn each_class_is_decided_once_and_unchanged_classes_share_the_frame() {
    let full = frame(7, 100);
    let mut frames = ClassFrames::new(full.clone());
    let mut decided = Vec::new();
    let public = Payload::from_json(r#"{"n":8}"#).unwrap();
    for recipient in 0..1000_u32 {
        let class = recipient % 10;
        let got = frames.for_class(class, |shared| {
            decided.push(class);
            match class {
                3 | 4 => ClassFrame::Replaced(shared.with_payload(public)),
                9 => ClassFrame::Suppressed,
                _ => ClassFrame::Shared,
            }
        });
        match class {
            3 | 4 => assert_eq!(number(got.unwrap()), 8),
            9 => assert_eq!(got, None),
            _ => assert_eq!(got.unwrap().wire().as_ptr(), full.wire().as_ptr()),
        }
    }
    assert_eq!(decided, (0..10).collect::<Vec<_>>());
    assert_eq!(frames.shared(), &full);
}
