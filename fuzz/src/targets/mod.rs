//! What each target checks: its function panics if the library is wrong about the input.

pub mod envelope;
pub mod extensions;
pub mod inflate;
pub mod navigate;
pub mod parse;
pub mod round_trip;
pub mod tiers;
pub mod websocket;

/// A target's name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

pub const ALL: &[Target] = &[
    ("envelope", envelope::check),
    ("extensions", extensions::check),
    ("inflate", inflate::check),
    ("navigate", navigate::check),
    ("parse", parse::check),
    ("round_trip", round_trip::check),
    ("tiers", tiers::check),
    ("websocket", websocket::check),
];
