//! The wakers of the readers that wait.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use smallvec::SmallVec;

use crate::sync::Mutex;

/// The most readers that are woken by name.
const MOST_NAMED: usize = 16;

/// The readers for which something is new.
#[derive(Default)]
pub(super) struct Wake {
    all: bool,
    /// The places of some.
    named: SmallVec<[u32; 4]>,
}

impl Wake {
    pub(super) fn all(&mut self) {
        self.all = true;
    }

    pub(super) fn named(&mut self, place: u32) {
        if self.named.len() < MOST_NAMED { self.named.push(place) } else { self.all = true }
    }

    pub(super) const fn is_all(&self) -> bool {
        self.all
    }
}

/// Wakers by the places of their readers. No waker is called, cloned or dropped under the lock: it is the caller's
/// code, which may use the room or panic.
#[derive(Default)]
pub(super) struct Sleepers(Mutex<Places>);

#[derive(Default)]
struct Places {
    places: Vec<Place>,
    /// Those that no reader has.
    free: Vec<u32>,
    /// The places with a waker, and others.
    listed: Vec<u32>,
    /// Empty; its memory is kept.
    taken: Vec<Waker>,
}

#[derive(Default)]
struct Place {
    waker: Option<Waker>,
    is_listed: bool,
}

impl Places {
    fn take(&mut self, place: u32, into: &mut Vec<Waker>) {
        into.extend(self.places[place as usize].waker.take());
    }
}

impl Sleepers {
    /// A place for a new reader.
    pub(super) fn open(&self) -> u32 {
        let mut places = self.0.lock();
        places.free.pop().unwrap_or_else(|| {
            places.places.push(Place::default());
            places.places.len() as u32 - 1
        })
    }

    /// The reader is gone.
    pub(super) fn close(&self, place: u32) {
        let mut places = self.0.lock();
        let waker = places.places[place as usize].waker.take();
        places.free.push(place);
        drop(places);
        drop(waker);
    }

    /// Wakes this waker for what is new from now on.
    pub(super) fn register(&self, place: u32, waker: &Waker) {
        let is_same = |places: &Places| {
            let known = &places.places[place as usize];
            known.is_listed && known.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        };
        if is_same(&self.0.lock()) {
            return;
        }
        let waker = waker.clone();
        let mut places = self.0.lock();
        let here = &mut places.places[place as usize];
        let before = here.waker.replace(waker);
        if !mem::replace(&mut here.is_listed, true) {
            places.listed.push(place);
        }
        drop(places);
        drop(before);
    }

    pub(super) fn wake(&self, wake: &Wake) {
        if !wake.all && wake.named.is_empty() {
            return;
        }
        let mut places = self.0.lock();
        if places.listed.is_empty() {
            return;
        }
        let mut wakers = mem::take(&mut places.taken);
        if wake.all {
            let mut listed = mem::take(&mut places.listed);
            for place in listed.drain(..) {
                places.places[place as usize].is_listed = false;
                places.take(place, &mut wakers);
            }
            places.listed = listed;
        } else {
            // They stay listed, without a waker.
            for &place in &wake.named {
                places.take(place, &mut wakers);
            }
        }
        drop(places);
        let mut panicked = None;
        for waker in wakers.drain(..) {
            // One that panics must not keep the others asleep.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                panicked = Some(panic);
            }
        }
        let mut places = self.0.lock();
        if places.taken.capacity() < wakers.capacity() {
            places.taken = wakers;
        }
        drop(places);
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}
