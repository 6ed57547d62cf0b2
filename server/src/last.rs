//! A channel's last broadcast, for late joiners.

use std::sync::Arc;

use parking_lot::Mutex;
use pondwire::Frame;
use pondwire::cache::LastValue;

use crate::memory::Memory;

/// Frames are counted in pieces of this size, so that those of about the same length change no shared counter.
const PIECE: usize = 256;

/// The last broadcast, unless the [`Memory`] for those of all channels has no room for it. Its bytes count until it is
/// replaced or dropped.
pub(crate) struct LastBroadcast {
    value: LastValue,
    memory: Arc<Memory>,
    /// Held while the last broadcast is forgotten, and while it is sent to a member.
    sending: Mutex<()>,
}

impl LastBroadcast {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { value: LastValue::new(), memory, sending: Mutex::default() }
    }

    /// Sets the last broadcast, without a lock; or forgets the one before, if there is no room for it. To be called
    /// before the frame is published.
    pub(crate) fn set(&self, frame: &Frame) {
        let bytes = bytes_of(frame);
        let before = self.value.replace(Some(frame.clone()));
        let before = before.as_ref().map_or(0, bytes_of);
        // Of several threads each takes out what another has put in, so the sum is right.
        if bytes != before && !self.memory.change_last(before, bytes) {
            self.forget();
        }
    }

    #[cold]
    fn forget(&self) {
        let _sending = self.sending.lock();
        self.count_out();
    }

    fn count_out(&self) {
        if let Some(frame) = self.value.replace(None) {
            self.memory.change_last(bytes_of(&frame), 0);
        }
    }

    pub(crate) fn get(&self) -> Option<Frame> {
        self.value.get()
    }

    /// Sends a form of the frame if it is still the last one. If it is forgotten, that happens before or after; in the
    /// latter case what replaces it is published after `send`. No handler may run in `send`.
    pub(crate) fn send(&self, frame: &Frame, send: impl FnOnce()) {
        let _sending = self.sending.lock();
        if self.value.with(|last| last == Some(frame)) {
            send();
        }
    }
}

impl Drop for LastBroadcast {
    fn drop(&mut self) {
        self.count_out();
    }
}

/// The bytes that a frame counts as.
fn bytes_of(frame: &Frame) -> usize {
    frame.wire().len().next_multiple_of(PIECE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pondwire::{Frame, Payload};

    use super::{LastBroadcast, PIECE};
    use crate::memory::{Elsewhere, Memory};

    #[test]
    fn a_broadcast_without_room_is_not_kept_and_none_before_it() {
        let memory = Arc::new(Memory::new(usize::MAX, 3 * PIECE));
        let bytes = || memory.used(Elsewhere::default()).last / PIECE;
        let [one, other] = [(); 2].map(|()| LastBroadcast::new(Arc::clone(&memory)));
        let frame = |pieces: usize| {
            let payload = format!(r#"{{"x":"{}"}}"#, "x".repeat((pieces - 1) * PIECE));
            Frame::broadcast("/c", "e", "r", Payload::from_json(&payload).unwrap())
        };
        one.set(&frame(1));
        other.set(&frame(2));
        assert_eq!((one.get(), other.get(), bytes()), (Some(frame(1)), Some(frame(2)), 3));
        one.set(&frame(2));
        assert_eq!((one.get(), other.get(), bytes()), (None, Some(frame(2)), 2));
        let mut sent = 0;
        one.send(&frame(1), || sent += 1);
        other.send(&frame(1), || sent += 1);
        assert_eq!(sent, 0);
        other.send(&frame(2), || sent += 1);
        assert_eq!(sent, 1);
        drop(other);
        one.set(&frame(3));
        assert_eq!((one.get(), bytes()), (Some(frame(3)), 3));
        one.set(&frame(4));
        assert_eq!((one.get(), bytes()), (None, 0));
        one.set(&frame(3));
        one.set(&frame(1));
        drop(one);
        assert_eq!(bytes(), 0);
    }
}
