//! Frames in arc-swap's atomics: `ArcSwapAny<Frame>` and `ArcSwapAny<Option<Frame>>`.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use arc_swap::RefCnt;

use super::Frame;
use super::shared::Shared;

// SAFETY: a `Frame` is one pointer to an allocation that holds its own reference count, like an
// `Arc`: cloning adds one, dropping subtracts one, and nothing else changes it. Equal pointers are
// the same allocation, so the same count; it is never of size zero. No other type gives these
// pointers to arc-swap, so they cannot be mistaken for those of another type. `into_ptr`, `as_ptr`
// and `from_ptr` neither count nor panic, and the pointer does not change when the `Frame` is
// moved.
unsafe impl RefCnt for Frame {
    type Base = ();

    fn into_ptr(me: Self) -> *mut () {
        me.shared.into_raw().as_ptr()
    }

    fn as_ptr(me: &Self) -> *mut () {
        me.shared.as_raw().as_ptr()
    }

    unsafe fn from_ptr(ptr: *const ()) -> Self {
        // SAFETY: arc-swap returns only pointers from `into_ptr` or `as_ptr`, never null.
        let raw = unsafe { NonNull::new_unchecked(ptr.cast_mut()) };
        // SAFETY: as above, from `into_raw`. While arc-swap owes a count it may hold more
        // references than were counted, and forgets or repays them, as its contract with `Arc`
        // says.
        Self { shared: unsafe { Shared::from_raw(raw) } }
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwapAny;

    use super::*;
    use crate::payload::Payload;

    fn frame(request_id: &str) -> Frame {
        Frame::broadcast("/c", "e", request_id, Payload::EMPTY)
    }

    #[test]
    fn a_place_holds_one_reference() {
        let (first, second) = (frame("1"), frame("2"));
        let place: ArcSwapAny<_> = ArcSwapAny::new(Some(first.clone()));
        assert_eq!(place.load().as_ref().unwrap().wire().as_ptr(), first.wire().as_ptr());
        let old = place.swap(Some(second.clone()));
        assert_eq!(old.as_ref(), Some(&first));
        drop((old, first));
        assert_eq!(place.load_full(), Some(second.clone()));
        place.store(None);
        assert!(place.load().is_none());
        assert_eq!(second.as_str().len(), frame("2").as_str().len());
    }

    /// Under AddressSanitizer this finds a reference that is lost or taken twice.
    #[test]
    fn readers_and_writers_at_once() {
        let place: ArcSwapAny<_> = ArcSwapAny::new(frame("0"));
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let place = &place;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for i in 0..3000 {
                        let loaded = place.load();
                        assert!(loaded.as_str().ends_with(r#""payload":{}}"#));
                        if i % 64 == reader {
                            kept.push(place.load_full());
                        }
                    }
                    assert!(kept.iter().all(|frame| frame.as_str().starts_with('{')));
                });
            }
            for writer in 0..2 {
                let place = &place;
                scope.spawn(move || {
                    for i in 0..1000 {
                        place.store(frame(&format!("{writer}-{i}")));
                    }
                });
            }
        });
    }
}
