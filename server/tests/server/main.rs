//! The server over real sockets.

mod deflate;
mod events;
mod fixture;
mod node;
mod page;
mod protection;
mod websocket;
