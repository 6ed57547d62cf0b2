//! Helpers that the tests of several crates share: clients, recorded cases, random input, and oracles that
//! share no code with the code that they judge.

#![allow(missing_docs, reason = "only this repository's tests use it")]
#![allow(clippy::should_implement_trait, reason = "the next message of a client is called so")]

pub mod client;
pub mod counting;
pub mod event_stream;
#[cfg(feature = "redis")]
pub mod fake_redis;
pub mod inflate;
pub mod layering;
pub mod python_call;
pub mod tree;
pub mod websocket;

mod random;
mod recorded;

pub use random::{Random, cases, mutate};
pub use recorded::{from_hex, input, vector_inputs, workload_frames};
