#![doc = include_str!("guide.md")]

mod behavior;
mod log;
#[cfg(all(test, pondwire_loom))]
mod models;
mod observer;
mod subject;
mod subscription;

pub use behavior::BehaviorSubject;
pub use log::{Closure, ValueRef};
pub use observer::{Closed, InsideObserver, Observer};
pub use subject::Subject;
pub use subscription::Subscription;
