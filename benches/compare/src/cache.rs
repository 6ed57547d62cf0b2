//! Fetching a cached frame: the cache beside the one it is built on, and beside encoding.

use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::thread;

use pondwire::cache::{FrameCache, FrameKey, LocalFrames};
use pondwire::{Frame, Payload, ServerAction};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::payloads::{self, Document};
use crate::report::Section;

const KEYS: usize = 1000;
const BOUND: usize = 64 << 20;

/// The key that the cache keeps, as it would be on quick_cache alone: the same fields, the same
/// hash, the same lookup by borrowed texts.
#[derive(PartialEq, Eq)]
struct OwnKey {
    texts: Box<str>,
    version: u64,
    channel_len: u32,
    class: u32,
}

#[derive(Clone, Copy)]
struct View<'a> {
    channel: &'a str,
    event: &'a str,
    version: u64,
    class: u32,
}

impl Hash for View<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.channel.as_bytes());
        state.write(self.event.as_bytes());
        state.write_u64(self.version);
        state.write_u32(self.class);
    }
}

impl Hash for OwnKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (channel, event) = self.texts.split_at(self.channel_len as usize);
        View { channel, event, version: self.version, class: self.class }.hash(state);
    }
}

impl Equivalent<OwnKey> for View<'_> {
    #[inline]
    fn equivalent(&self, key: &OwnKey) -> bool {
        let (channel, event) = key.texts.split_at(key.channel_len as usize);
        self.channel == channel
            && self.event == event
            && self.version == key.version
            && self.class == key.class
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<OwnKey, Frame> for Bytes {
    fn weight(&self, key: &OwnKey, frame: &Frame) -> u64 {
        (key.texts.len() + frame.wire().len() + 192) as u64
    }
}

type QuickCache = Cache<OwnKey, Frame, Bytes, ahash::RandomState>;

/// Both caches with the same frames, and the channels by which they are found.
struct Filled {
    ours: FrameCache,
    quick: QuickCache,
    channels: Vec<String>,
}

impl Filled {
    fn new() -> Self {
        let ours = FrameCache::new(BOUND);
        let lifecycle = DefaultLifecycle::default();
        let hasher = ahash::RandomState::new();
        let quick = QuickCache::with(BOUND / 1024, BOUND as u64, Bytes, hasher, lifecycle);
        let channels: Vec<_> = (0..KEYS).map(|n| format!("/chat/{n}")).collect();
        for channel in &channels {
            let frame = Frame::broadcast(channel, "topic", REQUEST_ID, Payload::EMPTY);
            let frame =
                ours.get_or_insert_with(FrameKey::new(channel, "topic").version(7), || frame);
            let texts = format!("{channel}topic").into_boxed_str();
            let channel_len = channel.len() as u32;
            let key = OwnKey { texts, version: 7, channel_len, class: 0 };
            quick.insert(key, frame);
        }
        assert_eq!((ours.stats().entries, quick.len()), (KEYS, KEYS));
        Self { ours, quick, channels }
    }

    #[inline]
    fn ours(&self, n: usize) -> Frame {
        let key = FrameKey::new(black_box(&self.channels[n]), "topic").version(7);
        self.ours.get_or_insert_with(key, || unreachable!("it is there"))
    }

    /// Look-ups in a local cache with a place for every key, so that most are kept.
    fn local(&self) -> impl FnMut(usize) {
        let mut local = LocalFrames::new(&self.ours, 4 * KEYS);
        move |n| {
            let key = FrameKey::new(black_box(&self.channels[n]), "topic").version(7);
            black_box(local.get_or_insert_with(key, || unreachable!("it is there")));
        }
    }

    #[inline]
    fn quick(&self, n: usize) -> Frame {
        let channel = black_box(&self.channels[n]);
        let key = View { channel, event: "topic", version: 7, class: 0 };
        self.quick.get(&key).expect("it is there")
    }
}

/// Goes through the keys again and again from `start` on, so that two threads are not at the same
/// one.
fn round(start: usize) -> impl FnMut() -> usize {
    let mut n = start;
    move || {
        n = if n + 1 == KEYS { 0 } else { n + 1 };
        n
    }
}

pub fn hits(plan: &Plan) -> Section {
    let name = "cache hit".to_owned();
    let rows = if plan.wants(&name) { vec![hit_row(plan, name)] } else { Vec::new() };
    Section {
        title: "A frame from the cache, ns",
        size: "bytes",
        note: "One of 1,000 frames by channel, event and version. quick_cache: its own `get` with \
               the same key type, hasher and shards, no invalidation by channel, no statistics. \
               LocalFrames: one thread's view, which gives a borrowed frame. Encoding: \
               `Frame::serialize` of a typed payload of 1 KB, which a hit saves.",
        rows,
    }
}

fn hit_row(plan: &Plan, name: String) -> Row {
    let filled = Filled::new();
    let (mut by_ours, mut by_quick, mut by_local) = (round(0), round(0), round(0));
    let mut local = filled.local();
    let json = payloads::json(1024);
    let typed: Document = serde_json::from_str(&json).expect("JSON");
    let encode = || {
        Frame::serialize(ServerAction::Broadcast, CHANNEL, "topic", REQUEST_ID, black_box(&typed))
    };
    assert_eq!(encode().expect("encodes").payload_str(), json);
    let contenders = vec![
        Contender::new("FrameCache", || filled.ours(by_ours())),
        Contender::new("quick_cache", || filled.quick(by_quick())),
        Contender::new("LocalFrames", || local(by_local())),
        Contender::new("encode 1 KB typed", encode),
    ];
    plan.race(name, 1, json.len(), contenders)
}

pub fn threads(plan: &Plan) -> Section {
    let rows = [("hits by threads, 1,000 keys", KEYS), ("hits by threads, one key", 1)]
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, keys)| thread_row(plan, name.to_owned(), keys))
        .collect();
    Section {
        title: "Frames from the cache by two threads, ns per hit of all threads together",
        size: "bytes",
        note: "Twice the throughput is half the time. Both threads hit the same keys, so that lock \
               and reference count travel between their cores, but for LocalFrames. Hashing alone \
               shares nothing: it says what two threads gain on this machine at this time.",
        rows,
    }
}

/// The number of hits in a pass: enough that starting a thread does not matter.
const HITS: usize = 500_000;

/// Runs half of the hits on another thread, each half with a closure of its own from `hit`.
fn in_two<'a, H: FnMut(usize)>(
    name: &'static str,
    hit: impl Fn() -> H + Sync + 'a,
) -> Contender<'a> {
    Contender::new(name, move || {
        let half = |first: usize| (0..HITS / 2).map(|n| first + n).for_each(hit());
        thread::scope(|scope| {
            scope.spawn(|| half(KEYS / 2));
            half(0);
        });
    })
}

fn in_one<'a, H: FnMut(usize)>(name: &'static str, hit: impl Fn() -> H + 'a) -> Contender<'a> {
    Contender::new(name, move || (0..HITS).for_each(hit()))
}

fn thread_row(plan: &Plan, name: String, keys: usize) -> Row {
    let filled = Filled::new();
    let hasher = ahash::RandomState::new();
    let filled = &filled;
    let ours = || move |n: usize| drop(black_box(filled.ours(n % keys)));
    let quick = || move |n: usize| drop(black_box(filled.quick(n % keys)));
    let local = || {
        let mut local = filled.local();
        move |n: usize| local(n % keys)
    };
    let hasher = &hasher;
    let hash = || {
        move |n: usize| {
            (0..8).for_each(|_| {
                black_box(hasher.hash_one(black_box(&*filled.channels[n % keys])));
            });
        }
    };
    let contenders = vec![
        in_one("FrameCache, one thread", ours),
        in_two("two threads", ours),
        in_one("LocalFrames, one thread", local),
        in_two("two threads", local),
        in_one("quick_cache, one thread", quick),
        in_two("two threads", quick),
        in_one("8 hashes, one thread", hash),
        in_two("two threads", hash),
    ];
    plan.race(name, HITS, 0, contenders)
}
