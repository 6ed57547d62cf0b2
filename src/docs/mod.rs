//! Guides: how to combine the parts, what they cost, their limitations, and how they work inside.

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

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("moving.md")]
pub mod moving {}
