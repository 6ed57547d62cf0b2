//! The ways to notify many observers: pondwire's subjects, and the code that one would write
//! instead.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::RwLock;
use pondwire::fanout::{Observer, Subject, Subscription};

type Call = dyn Fn(&u64) + Send + Sync;

/// The work of every observer: it counts, in a cache line that no other observer touches.
pub struct Line {
    count: AtomicU64,
    _rest: [u64; 7],
}

impl Line {
    fn new() -> Self {
        Self { count: AtomicU64::new(0), _rest: [0; 7] }
    }

    #[inline]
    fn add(&self, value: &u64) {
        // There is one writer, so no atomic addition is needed; its cost would hide the rest.
        self.count.store(self.count.load(Ordering::Relaxed) + value, Ordering::Relaxed);
    }
}

impl Observer<u64> for Line {
    #[inline]
    fn notify(&self, value: &u64) {
        self.add(value);
    }
}

fn closure() -> impl Fn(&u64) + Send + Sync + 'static {
    let line = Line::new();
    move |value| line.add(value)
}

/// A set of observers.
pub trait Room: Sync {
    const NAME: &'static str;
    type Member;

    fn new() -> Self;
    fn join(&self) -> Self::Member;
    fn leave(&self, member: Self::Member);
    fn publish(&self, value: u64);
}

/// A room with `members` members, which stay.
pub fn filled<R: Room>(members: usize) -> (R, Vec<R::Member>) {
    let room = R::new();
    let members = (0..members).map(|_| room.join()).collect();
    (room, members)
}

pub struct Typed(Subject<u64, Line>);

impl Room for Typed {
    const NAME: &'static str = "pondwire typed";
    type Member = Subscription;

    fn new() -> Self {
        Self(Subject::typed())
    }

    fn join(&self) -> Subscription {
        self.0.subscribe_observer(Line::new()).expect("open")
    }

    fn leave(&self, member: Subscription) {
        drop(member);
    }

    fn publish(&self, value: u64) {
        self.0.publish(black_box(&value));
    }
}

pub struct Closures(Subject<u64>);

impl Room for Closures {
    const NAME: &'static str = "pondwire closures";
    type Member = Subscription;

    fn new() -> Self {
        Self(Subject::new())
    }

    fn join(&self) -> Subscription {
        self.0.subscribe(closure()).expect("open")
    }

    fn leave(&self, member: Subscription) {
        drop(member);
    }

    fn publish(&self, value: u64) {
        self.0.publish(black_box(&value));
    }
}

/// A map under a lock, with the next key.
pub struct Locked(RwLock<HashMap<u64, Box<Call>>>, AtomicU64);

impl Room for Locked {
    const NAME: &'static str = "RwLock<HashMap>";
    type Member = u64;

    fn new() -> Self {
        Self(RwLock::default(), AtomicU64::new(0))
    }

    fn join(&self) -> u64 {
        let key = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.write().insert(key, Box::new(closure()));
        key
    }

    fn leave(&self, key: u64) {
        self.0.write().remove(&key);
    }

    fn publish(&self, value: u64) {
        self.0.read().values().for_each(|call| call(black_box(&value)));
    }
}

/// A list that is copied by every writer.
pub struct Swapped(ArcSwap<Vec<(u64, Arc<Call>)>>, AtomicU64);

impl Room for Swapped {
    const NAME: &'static str = "ArcSwap<Vec>";
    type Member = u64;

    fn new() -> Self {
        Self(ArcSwap::default(), AtomicU64::new(0))
    }

    fn join(&self) -> u64 {
        let key = self.1.fetch_add(1, Ordering::Relaxed);
        let call: Arc<Call> = Arc::new(closure());
        self.0.rcu(|list| {
            let mut list = Vec::clone(list);
            list.push((key, call.clone()));
            list
        });
        key
    }

    fn leave(&self, key: u64) {
        self.0.rcu(|list| {
            list.iter().filter(|(other, _)| *other != key).cloned().collect::<Vec<_>>()
        });
    }

    fn publish(&self, value: u64) {
        self.0.load().iter().for_each(|(_, call)| call(black_box(&value)));
    }
}

impl Swapped {
    /// Adds all members at once: adding them one by one takes time quadratic in their number.
    pub fn filled(members: u64) -> Self {
        let list = (0..members).map(|key| (key, Arc::new(closure()) as Arc<Call>)).collect();
        Self(ArcSwap::from_pointee(list), AtomicU64::new(members))
    }
}

pub struct Sharded(DashMap<u64, Box<Call>>, AtomicU64);

impl Room for Sharded {
    const NAME: &'static str = "DashMap";
    type Member = u64;

    fn new() -> Self {
        Self(DashMap::new(), AtomicU64::new(0))
    }

    fn join(&self) -> u64 {
        let key = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.insert(key, Box::new(closure()));
        key
    }

    fn leave(&self, key: u64) {
        self.0.remove(&key);
    }

    fn publish(&self, value: u64) {
        self.0.iter().for_each(|entry| entry.value()(black_box(&value)));
    }
}

/// The lower limit: a list for one thread alone.
pub struct Unsynchronised(Vec<Arc<Call>>);

impl Unsynchronised {
    pub const NAME: &'static str = "Vec<Arc<dyn Fn>>";

    pub fn filled(members: usize) -> Self {
        Self((0..members).map(|_| Arc::new(closure()) as Arc<Call>).collect())
    }

    pub fn publish(&self, value: u64) {
        self.0.iter().for_each(|call| call(black_box(&value)));
    }
}
