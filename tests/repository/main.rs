//! The repository itself: which module may use which, and that the documentation names files that exist.

mod documented_paths;
mod layering;
