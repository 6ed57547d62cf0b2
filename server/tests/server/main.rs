//! The server over real sockets.

mod arguments;
mod congestion;
mod cors;
mod deflate;
#[cfg(unix)]
mod descriptors;
mod drain;
mod events;
mod examples;
mod fixture;
mod guides;
mod handlers;
mod node;
mod page;
mod protection;
mod proxies;
mod resume;
mod service;
#[cfg(feature = "tls")]
mod tls;
#[cfg(target_os = "linux")]
mod viewers;
mod websocket;
