//! Guides. For operators: how to run a server, how large a machine it needs, and what to look at when something is
//! wrong. For those who come from another PondSocket server: the names there and here.

#[doc = include_str!("operations.md")]
#[doc = "\n```yaml"]
#[doc = include_str!("../../prometheus/alerts.yml")]
#[doc = "```"]
pub mod operations {}

#[doc = include_str!("capacity.md")]
pub mod capacity {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("coming_from.md")]
#[doc = "\n# The whole diff\n\nThe chat on `pondsocket-axum`, and here:\n\n```diff"]
#[doc = include_str!("chat.diff")]
#[doc = "```"]
pub mod coming_from {}
