//! One thread's view of the frame cache: as fresh as the cache itself.

use std::collections::HashMap;

use pondwire::cache::{FrameCache, FrameKey, LocalFrames};
use pondwire::{Frame, Payload};
use pondwire_test_support::{Random, cases};

fn frame(number: usize) -> Frame {
    Frame::broadcast("/c", &number.to_string(), "r", Payload::EMPTY)
}

/// Views of several threads, used in turn, so that the expected result of every step is known.
#[test]
fn views_are_as_fresh_as_the_cache() {
    let mut random = Random::from_env("views_are_as_fresh_as_the_cache");
    let channels = ["/a", "/b", ""];
    let (mut kept, mut calls) = (0, 0);
    for case in 0..cases(60) {
        // Some caches are so small that they evict, which views do not notice.
        let bound = if case % 2 == 0 { 3000 } else { 1 << 20 };
        let cache = FrameCache::with_hasher(bound, ahash::RandomState::with_seeds(1, 2, 3, 4));
        let mut views = [1, 4, 64].map(|places| LocalFrames::new(&cache, places));
        // The frames of each key made since it was last invalidated.
        let mut made: HashMap<(usize, u64, u32), Vec<usize>> = HashMap::new();
        let before = cache.stats();
        for step in 0..1000 {
            let id = (random.below(3), random.below(6) as u64, random.below(2) as u32);
            let key = FrameKey::new(channels[id.0], "e").version(id.1).class(id.2);
            match random.below(30) {
                0 => {
                    cache.invalidate(key);
                    made.remove(&id);
                }
                1 => {
                    cache.invalidate_channel(channels[id.0]);
                    made.retain(|other, _| other.0 != id.0);
                }
                2 if step % 5 == 0 => {
                    cache.clear();
                    made.clear();
                }
                3 => {
                    let refused = views[0].try_get_or_insert_with(key, || Err("no"));
                    calls += 1;
                    assert!(refused.is_err() || made.contains_key(&id));
                }
                n => {
                    let known = made.entry(id).or_default();
                    let misses = cache.stats().misses;
                    let got = views[n % 3].get_or_insert_with(key, || {
                        known.push(step);
                        frame(step)
                    });
                    assert!(known.iter().any(|number| *got == frame(*number)), "{got:?} {known:?}");
                    kept += u64::from(cache.stats().misses == misses);
                    calls += 1;
                }
            }
            made.retain(|_, known| !known.is_empty());
            let stats = cache.stats();
            assert!(stats.bytes <= bound);
        }
        let stats = cache.stats();
        assert_eq!(stats.misses - before.misses + stats.hits, calls);
        calls = 0;
    }
    println!("views_are_as_fresh: {kept} hits");
    assert!(kept > 100 * cases(60) as u64);
}

#[test]
fn a_view_does_not_look_up_a_frame_twice() {
    let cache = FrameCache::new(1 << 20);
    let mut view = LocalFrames::new(&cache, 0);
    let key = FrameKey::new("/c", "e");
    let first = view.get_or_insert_with(key, || frame(1)).clone();
    // Evicted or not, the view keeps the frame until an invalidation.
    for _ in 0..3 {
        assert_eq!(
            view.get_or_insert_with(key, || unreachable!()).wire().as_ptr(),
            first.wire().as_ptr()
        );
    }
    cache.invalidate_channel("/c");
    assert_eq!(view.get_or_insert_with(key, || frame(2)), &frame(2));
    cache.invalidate(key);
    assert_eq!(view.get_or_insert_with(key, || frame(3)), &frame(3));
    cache.clear();
    assert_eq!(view.get_or_insert_with(key, || frame(4)), &frame(4));
    assert_eq!(format!("{view:?}"), "LocalFrames { places: 4, cached: 1 }");
    assert_eq!((cache.stats().hits, cache.stats().misses), (3, 4));
}
