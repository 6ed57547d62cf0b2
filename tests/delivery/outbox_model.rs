//! Random pushes and batches, against a naive queue that follows each policy.

use std::collections::VecDeque;

use pondwire::outbox::{CloseReason, Push};
use pondwire::{Frame, Outbox, OutboxOptions, Payload, Policy};
use pondwire_test_support::{Random, cases};

const DISCONNECT: Policy = Policy::Disconnect { max_age: None };
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

/// A `Vec` that is scanned as a whole, without any index.
struct Model {
    policy: Policy,
    max_frames: usize,
    max_bytes: usize,
    queue: VecDeque<(Option<u64>, Frame)>,
    lagged: u64,
    closed: bool,
    dropped_oldest: u64,
    dropped_newest: u64,
    conflated: u64,
    delivered: u64,
}

impl Model {
    fn bytes(&self) -> usize {
        self.queue.iter().map(|(_, frame)| frame.wire().len()).sum()
    }

    fn drop_oldest_for(&mut self, length: usize) -> u64 {
        let mut dropped = 0;
        while self.queue.len() + 1 > self.max_frames || self.bytes() + length > self.max_bytes {
            self.queue.pop_front();
            dropped += 1;
        }
        self.lagged += dropped;
        self.dropped_oldest += dropped;
        dropped
    }

    fn push(&mut self, key: Option<u64>, frame: &Frame) -> Push {
        let length = frame.wire().len();
        if self.closed {
            return Push::Closed;
        }
        let fits = self.queue.len() < self.max_frames && self.bytes() + length <= self.max_bytes;
        let never_fits = length > self.max_bytes;
        if never_fits && self.policy != DISCONNECT || !fits && self.policy == Policy::DropNewest {
            self.dropped_newest += 1;
            self.lagged += 1;
            return Push::DroppedNewest;
        }
        if !fits && self.policy == DISCONNECT {
            self.closed = true;
            self.queue.clear();
            return Push::Closed;
        }
        if self.policy == Policy::Conflate && key.is_some() {
            // Drops from the front until the frame fits in the place of the older one, which is
            // dropped, too, once it is at the front.
            while let Some(at) = self.queue.iter().position(|(queued, _)| *queued == key) {
                let older = self.queue[at].1.wire().len();
                if self.bytes() - older + length <= self.max_bytes {
                    self.queue[at].1 = frame.clone();
                    self.conflated += 1;
                    return Push::Replaced;
                }
                self.queue.pop_front();
                if at == 0 {
                    self.conflated += 1;
                    self.drop_oldest_for(length);
                    self.queue.push_back((key, frame.clone()));
                    return Push::Replaced;
                }
                self.lagged += 1;
                self.dropped_oldest += 1;
            }
        }
        let dropped = if fits { 0 } else { self.drop_oldest_for(length) };
        self.queue.push_back((key, frame.clone()));
        if dropped > 0 { Push::DroppedOldest(dropped) } else { Push::Queued }
    }

    fn batch(&mut self) -> Option<(Vec<Frame>, u64)> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while let Some((_, frame)) = self.queue.front() {
            bytes += frame.wire().len();
            if frames.len() == BATCH_FRAMES || (!frames.is_empty() && bytes > BATCH_BYTES) {
                break;
            }
            frames.extend(self.queue.pop_front().map(|(_, frame)| frame));
        }
        self.delivered += frames.len() as u64;
        let lagged = if frames.is_empty() { 0 } else { std::mem::take(&mut self.lagged) };
        (!frames.is_empty()).then_some((frames, lagged))
    }
}

fn run(random: &mut Random, frames: &[Frame], policy: Policy) {
    let most = *random.pick(&[3, 10, 100, 600]);
    let max_frames = 1 + random.below(most);
    let most = *random.pick(&[40, 1000, 20_000, 1 << 20]);
    let max_bytes = most + random.below(200);
    let options = OutboxOptions::new()
        .with_policy(policy)
        .with_max_frames(max_frames)
        .with_max_bytes(max_bytes);
    let (outbox, mut reader) = Outbox::new(options);
    let mut model = Model {
        policy,
        max_frames,
        max_bytes,
        queue: VecDeque::new(),
        lagged: 0,
        closed: false,
        dropped_oldest: 0,
        dropped_newest: 0,
        conflated: 0,
        delivered: 0,
    };
    // From a consumer that keeps up to one that never reads.
    let per_batch = *random.pick(&[1, 10, 100, 2000]);
    for _ in 0..500 {
        for _ in 0..random.below(per_batch + 1) {
            let frame = random.pick(frames);
            let key = (random.below(2) == 0).then(|| random.next() % 6);
            let expected = model.push(key, frame);
            let push = match (key, random.below(2)) {
                (None, 0) => outbox.push(frame.clone()),
                (None, _) => outbox.push_from(&mut frame.references(random.below(3))),
                (Some(key), 0) => outbox.push_keyed(key, frame.clone()),
                (Some(key), _) => outbox.push_keyed_from(key, &mut frame.references(1)),
            };
            assert_eq!(push, expected, "{options:?}");
        }
        if !model.closed {
            let stats = outbox.stats();
            assert_eq!(
                (stats.queued_frames, stats.queued_bytes),
                (model.queue.len(), model.bytes())
            );
        }
        if random.below(3) > 0 {
            let expected = model.batch();
            let batch = reader.try_batch();
            assert_eq!(batch.is_some(), expected.is_some());
            if let (Some(batch), Some((frames, lagged))) = (batch, expected) {
                assert!(batch.iter().eq(frames.iter().map(Frame::wire)));
                assert_eq!(batch.lagged(), lagged, "{options:?}");
            }
        }
        if model.closed {
            break;
        }
    }
    let stats = outbox.stats();
    assert_eq!(
        (stats.delivered, stats.dropped_oldest, stats.dropped_newest, stats.conflated),
        (model.delivered, model.dropped_oldest, model.dropped_newest, model.conflated),
    );
    let too_slow = reader.closed().is_some_and(CloseReason::is_too_slow);
    assert_eq!(too_slow, model.closed);
}

#[test]
fn every_policy_equals_the_naive_queue() {
    let mut random = Random::from_env("every_policy_does_as_the_plain_queue");
    let frames: Vec<Frame> = [0, 1, 7, 60, 300, 900, 5000, 70_000]
        .map(|length| Frame::broadcast("/c", &"e".repeat(length), "r", Payload::EMPTY))
        .into();
    for _ in 0..cases(20) {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Conflate, DISCONNECT] {
            run(&mut random, &frames, policy);
        }
    }
}
