#![doc = include_str!("guide.md")]

mod behavior;
mod error;
mod handles;
mod inside;
mod log;
#[cfg(all(test, pondwire_loom))]
mod models;
mod observer;
mod panics;
mod subject;
mod subscription;

pub use behavior::BehaviorSubject;
pub use error::{Closed, InsideObserver};
pub use log::{Closure, ValueRef};
pub use observer::Observer;
pub use subject::Subject;
pub use subscription::Subscription;
