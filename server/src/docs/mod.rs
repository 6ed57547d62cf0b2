//! Guides.

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
