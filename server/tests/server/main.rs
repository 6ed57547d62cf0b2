//! The server over real sockets.

mod arguments;
mod congestion;
mod deflate;
mod events;
mod examples;
mod fixture;
mod guides;
mod handlers;
mod node;
mod page;
mod protection;
mod service;
#[cfg(feature = "tls")]
mod tls;
mod websocket;
