//! Frames that are needed more than once, and which cache to use.
//!
//! | to send again | use | cost of another use |
//! |---|---|---|
//! | one frame, to many at one time | [`Frame`](crate::Frame) itself: clone it | a reference |
//! | a channel's last frame, for late joiners | [`LastValue`] | a load, no lock |
//! | frames identified by a key: system frames, one frame for each role, frames that thousands of reconnecting clients request | `FrameCache` | a hash, a shared lock, a reference |
//! | the same, so often that threads contend for the lock | `LocalFrames` over it, one for each thread | a hash; no shared memory is written |
//! | one message, with other payloads for some recipients | [`Frame::with_payload`](crate::Frame::with_payload), [`ClassFrames`] for classes of recipients | a copy for each class; nothing for recipients of the original |
//! | a channel's presence list | [`PresenceRoster`] | a copy of the list for each change, no encoding |
//! | the same with many changes a second | [`CoalescedRoster`] | the same cost, once in an interval |
//!
//! All of them hold [`Frame`](crate::Frame)s and know neither recipients nor sockets; none starts a
//! thread or reads a clock. `FrameCache` and [`LastValue`] can be shared between threads; a `LocalFrames`
//! belongs to one thread; the rosters are changed by one thread at a time, like other state of a channel.
//!
//! `FrameCache`, its keys and `LocalFrames` need the feature `cache`, which is on by default.
//!
//! # Memory
//!
//! `FrameCache` is bounded in bytes, `LocalFrames` in frames. A [`LastValue`] holds one frame. A roster
//! holds as many users as the server admits, and the last frame made of them.

mod classes;
mod coalesced;
#[cfg(feature = "cache")]
mod frame_cache;
#[cfg(feature = "cache")]
mod generation;
#[cfg(feature = "cache")]
mod key;
mod last_value;
#[cfg(feature = "cache")]
mod local;
mod roster;
#[cfg(feature = "cache")]
mod stats;

pub use classes::{ClassFrame, ClassFrames};
pub use coalesced::{CoalescedRoster, PresenceDelta};
#[cfg(feature = "cache")]
pub use frame_cache::FrameCache;
#[cfg(feature = "cache")]
pub use key::{FrameKey, KeyHashBuilder, KeyHasher};
pub use last_value::LastValue;
#[cfg(feature = "cache")]
pub use local::LocalFrames;
pub use roster::{PresenceRoster, RosterChange};
#[cfg(feature = "cache")]
pub use stats::CacheStats;
