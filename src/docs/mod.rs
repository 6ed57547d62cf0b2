//! Pages to read beside the reference: how the parts are put together, what they cost, what they
//! do not do, and how they work inside.

#[doc = include_str!("patterns.md")]
pub mod patterns {}
