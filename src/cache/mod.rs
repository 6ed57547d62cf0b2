//! Frames that are needed more than once: when to use what.
//!
//! | to send again | use | what it costs to have it again |
//! |---|---|---|
//! | the same frame to many at one time | [`Frame`](crate::Frame) itself: clone it | a reference |
//! | a channel's last frame, to who comes late | [`LastValue`] | a load, no lock |
//! | frames told apart by a key: system frames, what each role gets, what thousands ask for as they reconnect | [`FrameCache`] | a hash, a shared lock, a reference |
//! | the same so often that threads get into each other's way | [`LocalFrames`] of it, one a thread | a hash; nothing is written that is shared |
//! | one message, other payloads for some | [`Frame::with_payload`](crate::Frame::with_payload), [`ClassFrames`] for classes of recipients | a copy a class; nothing for those who get it as it is |
//! | who is in a channel | [`PresenceRoster`] | a copy of the list a change, no encoding |
//! | the same with many changes a second | [`CoalescedRoster`] | that once an interval |
//!
//! All hold [`Frame`](crate::Frame)s and know neither recipients nor sockets, and none starts a
//! thread or reads a clock. [`FrameCache`] and [`LastValue`] are shared by threads as they are; a
//! [`LocalFrames`] belongs to one thread; the rosters are changed by one at a time, as a channel's
//! state is.
//!
//! # Memory
//!
//! [`FrameCache`] is bounded in bytes, [`LocalFrames`] in frames. A [`LastValue`] holds one frame. A
//! roster holds its users, as many as the server lets in, and the last frame made of them.

mod classes;
mod coalesced;
mod frame_cache;
mod generation;
mod key;
mod last_value;
mod local;
mod roster;
mod stats;

pub use classes::{ClassFrames, Outgoing};
pub use coalesced::{CoalescedRoster, PresenceDelta};
pub use frame_cache::FrameCache;
pub use key::FrameKey;
pub use last_value::LastValue;
pub use local::LocalFrames;
pub use roster::{Change, PresenceRoster};
pub use stats::CacheStats;
