//! Pages to read beside the reference: how the parts are put together, what they cost, what they
//! do not do, and how they work inside.

#[doc = include_str!("patterns.md")]
pub mod patterns {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("scaling.md")]
pub mod scaling {}

#[doc = include_str!("limitations.md")]
pub mod limitations {}

#[doc = include_str!("internals.md")]
pub mod internals {}
