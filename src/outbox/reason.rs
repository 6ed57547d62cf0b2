//! The reason why an outbox is closed.

use std::fmt;

use crate::sync::atomic::{AtomicU8, Ordering};

/// The reason why an outbox is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Outbox::close`](super::Outbox::close) was called, or the last [`Outbox`](super::Outbox)
    /// dropped. Queued frames are still delivered.
    Finished,
    /// A close frame was put into the control queue; it is delivered last.
    CloseFrame,
    /// More frames would have waited than allowed.
    TooManyFrames,
    /// More bytes would have waited than allowed.
    TooManyBytes,
    /// The oldest frame waited too long.
    TooOld,
    /// The control queue was full: the peer requests more than it reads.
    ControlOverflow,
    /// The [`OutboxReader`](super::OutboxReader) was dropped.
    ReaderDropped,
}

impl CloseReason {
    const ALL: [Self; 7] = [
        Self::Finished,
        Self::CloseFrame,
        Self::TooManyFrames,
        Self::TooManyBytes,
        Self::TooOld,
        Self::ControlOverflow,
        Self::ReaderDropped,
    ];

    /// Whether the queued frames are dropped, so that the writer must not write them.
    pub(super) const fn drops_frames(self) -> bool {
        !matches!(self, Self::Finished | Self::CloseFrame)
    }

    /// Whether the connection was too slow for the frames that it was sent. If the last batch was written to its end,
    /// close it with WebSocket code 1013 or 1008; if not, end the stream, because a close frame would be read as a part
    /// of the frame that is written in part.
    #[must_use]
    pub const fn is_too_slow(self) -> bool {
        matches!(
            self,
            Self::TooManyFrames | Self::TooManyBytes | Self::TooOld | Self::ControlOverflow
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::CloseFrame => "a close frame was sent",
            Self::TooManyFrames => "too many frames waited",
            Self::TooManyBytes => "too many bytes waited",
            Self::TooOld => "a frame waited too long",
            Self::ControlOverflow => "too many replies waited",
            Self::ReaderDropped => "the reader was dropped",
        })
    }
}

/// A reason that is set once.
#[derive(Default)]
pub(crate) struct OnceReason(AtomicU8);

impl OnceReason {
    /// Sets the reason unless one is set already.
    pub(crate) fn set(&self, reason: CloseReason) {
        let number = CloseReason::ALL.iter().position(|each| *each == reason);
        let number = number.map_or(0, |at| at as u8 + 1);
        // Relaxed: a thread that reads it has seen the ring closed, which comes after this.
        let _ = self.0.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<CloseReason> {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        number.checked_sub(1).map(|at| CloseReason::ALL[at])
    }
}
