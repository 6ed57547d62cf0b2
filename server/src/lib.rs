//! A PondSocket server on tokio: WebSockets and event streams, with limits, presence, counters, and nodes
//! that form one cluster. The library carries out the protocol, and handlers are the application.
//!
//! ```no_run
//! use pondwire_server::{Options, PondServer, stop_signal};
//! use tokio::net::TcpListener;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut pond = PondServer::new();
//! pond.endpoint("/api/socket", |connect| connect.accept())
//!     .channel("/chat/:id", |join| {
//!         join.accept()?;
//!         join.track(join.payload())
//!     })
//!     .on("say", |event| event.broadcast(event.name(), event.payload()))
//!     .on("whisper/:user", |event| event.broadcast_to(event.param("user"), "whisper", event.payload()))
//!     .on_leave(|leave| println!("{} has left {}", leave.user_id(), leave.channel_name()));
//! let server = pond.start(Options::default())?;
//! let listener = TcpListener::bind("127.0.0.1:8080").await?;
//! server.serve(listener, stop_signal()?).await;
//! # Ok(()) }
//! ```
//!
//! | step | what it adds |
//! |---|---|
//! | [`PondServer::endpoint`] | a path that takes WebSockets, compressed if they offer it, and event streams; [`Connect`] accepts or declines |
//! | [`Endpoint::channel`] | the channels of a pattern; [`Join`] accepts or declines |
//! | [`ChannelHandlers::on`] | what an [`Event`] does: reply, broadcast, presence, assigns, eviction |
//! | [`ChannelHandlers::on_async`], [`on_event`](ChannelHandlers::on_event) | the same with an asynchronous handler, or with types |
//! | [`ChannelHandlers::on_leave`], [`on_outgoing`](ChannelHandlers::on_outgoing) | what follows a [`Leave`]; what a class of members is sent of a broadcast ([`Outgoing`]) |
//! | [`ChannelHandlers::history`] | clients that come back get what they missed |
//! | [`PondServer::start`] | the running [`Server`]; [`Server::channel`] is a [`Channel`] for code outside of handlers, such as an HTTP route that broadcasts |
//! | [`Server::serve`], [`Server::into_service`] | serves a listener; or is a route of an application of axum, hyper or tower ([`PondService`]) |
//!
//! Handlers read and answer with types of the crate `pondwire`, such as [`Payload`](pondwire::Payload) and
//! [`PondError`](pondwire::error::PondError). A program that names one needs that crate as a dependency, too
//! (`cargo add pondwire --no-default-features`), and for `json!` the crate `serde_json`. The crates are not published
//! yet: until then, `cargo add --path` with the folder in a copy of the repository.
//!
//! [`Server::serve`] also answers `/metrics` with counters for Prometheus, `/healthz` with 200, and `/readyz` with 200
//! while [`Server::is_ready`] is true, and 503 otherwise.
//!
//! # Event streams
//!
//! A client opens an event stream by a `GET` with `Accept: text/event-stream`, as a browser's `EventSource` does. The
//! header `X-Connection-ID` of the response is the stream's id, and so is `payload.connectionId` in the first message
//! (its `action` is `CONNECT`), because `EventSource` does not show headers. Whoever has the id can send in the
//! client's name: keep it secret, above all out of URLs and logs.
//!
//! To send a message, the client makes a `POST` to the same path with the id in the header `X-Connection-ID`, and one
//! message in JSON as the body. It is answered 204, also if the message is invalid or no handler takes it: answers and
//! errors come on the stream. 404 means that the stream has ended; other statuses are in [`docs::troubleshooting`]. The
//! messages of a stream are carried out one at a time, but a browser's requests may overtake each other: where order
//! matters, wait for the answer to one `POST` before the next. At most 128 wait for one stream; one more is answered
//! 429, and may be sent again later. If a client closes the connection of a `POST` that waits, its message is not
//! carried out. A `DELETE` with the header ends the stream, as closing the connection does.
//!
//! `EventSource` reconnects by itself when a stream ends, but not after a refusal such as 503. The new stream has a new
//! id, and has joined no channel. A page:
//!
//! ```js
//! const stream = new EventSource("/api/socket");
//! let id;
//! function send(action, event, payload) {
//!     const message = { action, channelName: "/chat/42", requestId: String(Math.random()), event, payload };
//!     const headers = { "X-Connection-ID": id };
//!     return fetch("/api/socket", { method: "POST", headers, body: JSON.stringify(message) });
//! }
//! stream.onmessage = ({ data }) => {
//!     const message = JSON.parse(data);
//!     if (message.action === "CONNECT") { // after each reconnect, too
//!         id = message.payload.connectionId;
//!         send("JOIN_CHANNEL", "JOIN_CHANNEL", {});
//!     } else if (message.event === "ACKNOWLEDGE") {
//!         send("BROADCAST", "say", { text: "hi" });
//!     } else {
//!         console.log(message.event, message.payload);
//!     }
//! };
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `redis` | with [`Options::node`] the server is a node of a cluster: a channel spans all nodes, whichever implementation they run |
//! | `tls` | `Server::serve_tls`, and `rediss://` for nodes |
//! | `tracing` | a span for each connection and each call of a handler, and events: see "Spans and events" in [`docs::operations`] |
//!
//! None is on by default.
//!
//! # The parts
//!
//! | file | what it holds |
//! |---|---|
//! | `handlers`, `content` | the application: endpoints, channels, handlers and their contexts; what they may send |
//! | `handle`, `users` | a channel for code outside of handlers; its users at one moment |
//! | `options` | the options |
//! | `connection` | HTTP requests, until a connection becomes a WebSocket or an event stream |
//! | `request`, `response` | a request's head as hooks see it; responses |
//! | `service`, `tls` | the server as a tower service; over TLS |
//! | `stream`, `pipe` | what a connection is served over: a socket, or a pipe in memory to any other stream |
//! | `connection_limit`, `authorize`, `rate_limit` | how many connections; who may connect; how much a client may send |
//! | `proxies`, `proxy_protocol` | the addresses of clients behind proxies |
//! | `cors` | what browsers are told about pages of other origins |
//! | `websocket` | one WebSocket |
//! | `event_stream` | event streams, and the requests that carry their clients' messages |
//! | `writers` | the threads that write to all connections, each of which has a seat in a shard; io_uring, the only unsafe code |
//! | `session`, `caller` | carries out one client's messages, over any transport; what a client may do in a channel |
//! | `endpoints`, `channel` | the endpoints of a running server; the members of a channel and their presence |
//! | `memory` | the bound of memory over all connections |
//! | `keepalive`, `budget` | ping and idle timeouts; fairness between connections |
//! | `socket` | closing a connection without losing what the client was sent |
//! | `phase` | the end of a server: not ready, draining, stopping |
//! | `metrics`, `log`, `trace` | counters of all connections; lines for the operator; spans and events |
//! | `node` | this server as a node of a cluster |
//! | `echo` | the echo endpoint for conformance suites |
//! | `docs` | guides for operators |
//!
//! # Guides for operators
//!
//! [`docs::operations`] has each limit and what happens at it, proxies, restarts, metrics and alerts.
//! [`docs::capacity`] says how large a machine must be. [`docs::troubleshooting`] is sorted by
//! symptom.
//!
//! # Limitations
//!
//! The defaults bound what clients can do to the server, for any kind of application; `SECURITY.md` in the repository
//! lists them. A public chat between people needs less, so its limits can be lower; behind a proxy it also needs
//! [`Options::trusted_proxies`]:
//!
//! ```
//! use std::time::Duration;
//!
//! use pondwire_server::{Options, Rate, Times};
//!
//! let options = Options {
//!     connections_per_address: 50,
//!     message_rate: Some(Rate { per_second: 20, burst: 40 }),
//!     byte_rate: Some(Rate { per_second: 65_536, burst: 131_072 }),
//!     origins: vec!["https://its.page".to_owned()],
//!     times: Times { idle: Some(Duration::from_secs(3600)), ..Times::default() },
//!     ..Options::default()
//! };
//! ```

// Labels what is behind a feature, on docs.rs only: it needs a nightly compiler.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorize;
mod budget;
mod caller;
mod channel;
mod connection;
mod connection_limit;
mod content;
mod cors;
pub mod docs;
mod echo;
mod endpoints;
mod event_stream;
mod handle;
mod handlers;
mod keepalive;
mod last;
pub mod log;
mod memory;
mod metrics;
#[cfg_attr(not(feature = "redis"), path = "node/disabled.rs")]
mod node;
mod options;
mod phase;
mod pipe;
mod proxies;
mod proxy_protocol;
mod rate_limit;
mod request;
mod response;
mod server;
mod service;
mod session;
mod socket;
mod stop;
mod stream;
mod table;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_stream;
mod trace;
mod users;
mod watched;
mod websocket;
mod writers;

pub use authorize::{Authorize, by_token};
pub use channel::LeaveReason;
pub use content::{Content, Json};
pub use handle::{Channel, Listener};
pub use handlers::{
    ChannelHandlers, Connect, Deciding, Endpoint, Event, Join, Leave, Outcome, Outgoing,
    PondServer, Sent,
};
pub use http::StatusCode;
pub use ipnet::IpNet;
pub use options::{NodeOptions, Options, Times};
pub use prometheus_client;
pub use rate_limit::Rate;
pub use request::Request;
pub use response::ResponseBody;
pub use server::Server;
pub use service::PondService;
pub use stop::stop_signal;
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
pub use users::{User, Users};

/// The README's code runs as a test too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
