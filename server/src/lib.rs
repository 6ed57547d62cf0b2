//! A PondSocket server on tokio: WebSockets and event streams, with limits, presence, counters, and nodes
//! that form one cluster.
//!
//! ```no_run
//! use pondwire_server::{Options, Server, stop_signal};
//! use tokio::net::TcpListener;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new(Options::default())?;
//! let listener = TcpListener::bind("127.0.0.1:8080").await?;
//! server.serve(listener, stop_signal()?).await;
//! # Ok(()) }
//! ```
//!
//! `/api/socket` takes WebSockets, compressed if they offer it, and event streams: `GET` with
//! `Accept: text/event-stream` opens one, `POST` and `DELETE` with its `X-Connection-ID` send a message and
//! close it. Channels are `/chat/:id`; a join with `{"deny":true}` is declined, and one with `{"last":true}`
//! is followed by the channel's last broadcast.
//!
//! | event | what the server does |
//! |---|---|
//! | `echo` | sends it back to its sender |
//! | `track`, `update`, `untrack` | set, change and end the sender's presence |
//! | `assign` | sets the sender's assigns (server-side data), as a join with `{"assigns":{…}}` does |
//! | `users` | answers with everybody's assigns and presence |
//! | `evict` with `{"id":…,"reason":…}` | removes a user from the channel |
//! | `simulate` with `{"viewers":1000,"slow":true}` | adds members that the server simulates |
//! | `to-others` | sends it to all members but the sender |
//! | `to-some` with `{"ids":[…]}` | sends it to these users, at most 1,024 |
//! | any other | sends it to all members, the sender included |
//!
//! Counters for Prometheus are at `/metrics`. With the feature `redis` and [`Options::node`] the server is
//! a node of a cluster: a channel spans all nodes, whichever implementation they run.
//!
//! # The parts
//!
//! | file | what it holds |
//! |---|---|
//! | `options`, `arguments` | the options, and the command line that sets them |
//! | `connection` | HTTP requests, until a connection becomes a WebSocket or an event stream |
//! | `http` | HTTP/1.1 |
//! | `connection_limit`, `authorize`, `rate_limit` | how many connections; who may connect; how much a client may send |
//! | `websocket` | one WebSocket |
//! | `event_stream` | event streams, and the requests that carry their clients' messages |
//! | `writers` | the tasks that write to all connections, each of which has a seat in a shard; io_uring, the only unsafe code |
//! | `session` | carries out one client's messages, over any transport |
//! | `channel`, `channels` | the members of a channel and their presence; the table of channels |
//! | `keepalive`, `budget` | ping and idle timeouts; fairness between connections |
//! | `socket` | closing a connection without losing what the client was sent |
//! | `metrics`, `log` | counters of all connections; lines for the operator |
//! | `node` | this server as a node of a cluster |
//! | `echo`, `simulation` | the echo endpoint for conformance suites; the simulated crowd of the demo page |
//!
//! # Limitations
//!
//! TCP only: TLS is left to a proxy. Rate limits and the limit per address are off until they are set; a
//! public chat without a proxy should use `--connections-per-address 50 --message-rate 20 --byte-rate 65536
//! --idle-time 3600 --origin https://its.page`.

mod arguments;
mod authorize;
mod budget;
mod channel;
mod channels;
mod connection;
mod connection_limit;
mod echo;
mod event_stream;
mod http;
mod keepalive;
pub mod log;
mod metrics;
#[cfg_attr(not(feature = "redis"), path = "node/disabled.rs")]
mod node;
mod options;
mod rate_limit;
mod server;
mod session;
mod simulation;
mod socket;
mod stop;
#[cfg(test)]
mod tests;
mod websocket;
mod writers;

pub use arguments::help;
pub use authorize::{Authorize, by_token};
pub use connection_limit::Permit;
pub use http::{Request, Status};
pub use options::{NodeOptions, Options, Times};
pub use rate_limit::Rate;
pub use server::Server;
pub use stop::stop_signal;
