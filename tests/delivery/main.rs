//! Delivery of frames: fan-out, outboxes, rooms, rosters and caches, each alone, against a model, and under
//! the load of many threads.

#[cfg(feature = "cache")]
mod cache;
mod fanout;
mod fanout_stress;
mod history;
#[cfg(feature = "cache")]
mod local_frames;
mod outbox;
mod outbox_model;
mod outbox_stress;
#[cfg(all(feature = "uuid", feature = "handshake", not(target_family = "wasm")))]
mod own_server;
mod reader;
mod room;
mod roster;
mod shard;
mod subjects;
