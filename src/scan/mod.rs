//! JSON grammar to spans.
