//! A bus between nodes over Redis pub/sub, on tokio: opaque payloads by topic, at most once. It carries the
//! messages between nodes of [pondwire](https://docs.rs/pondwire)'s module `distributed`.
//!
//! ```no_run
//! use pondwire_redis::{BusEvent, RedisBus, RedisOptions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (bus, mut receiver) = RedisBus::open("redis://127.0.0.1:6379", RedisOptions::default())?;
//! bus.subscribe("pondsocket:v1:default:chat:/chat/42");
//! bus.publish("pondsocket:v1:default:chat:/chat/42", "{}"); // never waits
//! while let Some(event) = receiver.next().await {
//!     match event {
//!         BusEvent::Message(message) => println!("{}: {:?}", message.topic, message.payload),
//!         BusEvent::Subscribed(topic) => println!("{topic}: request the state of the others"),
//!         BusEvent::Lost => println!("messages are missed from now on"),
//!         BusEvent::Recovered => println!("request the state of every topic again"),
//!         BusEvent::Lagged(count) => println!("this node is too slow: {count} messages dropped"),
//!         BusEvent::Unpublished(count) => println!("{count} messages lost: publish our state again"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # With a cluster
//!
//! `pondwire::distributed::Cluster` takes the events of the bus, and returns effects for the bus to carry
//! out:
//!
//! ```no_run
//! use std::time::{Instant, SystemTime};
//! use pondwire_redis::{BusEvent, RedisBus, RedisOptions};
//! use pondwire::distributed::{Cluster, ClusterOptions, Effect};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (bus, mut receiver) = RedisBus::open("redis://127.0.0.1:6379", RedisOptions::default())?;
//! let unix_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as u64;
//! let mut cluster = Cluster::new("node-a", ClusterOptions::default(), Instant::now(), unix_ms);
//! bus.subscribe(cluster.heartbeat_topic());
//! loop {
//!     // Joins and leaves of this node's users go here too: `cluster.join(…)`, `cluster.leave(…)`.
//!     let due = tokio::time::sleep_until(cluster.due().into());
//!     let event = tokio::select! {
//!         event = receiver.next() => Some(event.ok_or("the bus is closed")?),
//!         () = due => None,
//!     };
//!     let now = Instant::now();
//!     match event {
//!         Some(BusEvent::Message(message)) => {
//!             let _ = cluster.receive(&message.topic, &message.payload, now); // counts invalid messages
//!         }
//!         Some(BusEvent::Subscribed(topic)) => cluster.subscribed(&topic, now),
//!         Some(BusEvent::Recovered | BusEvent::Lagged(_) | BusEvent::Unpublished(_)) => {
//!             cluster.resync(now); // carried out by `tick`
//!         }
//!         _ => cluster.tick(now),
//!     }
//!     while let Some(effect) = cluster.poll() {
//!         match effect {
//!             Effect::Publish { topic, bytes } => drop(bus.publish(topic, bytes)),
//!             Effect::Subscribe(channel) => drop(bus.subscribe(channel.topic().clone())),
//!             Effect::Unsubscribe(channel) => drop(bus.unsubscribe(channel.topic())),
//!             Effect::Deliver { frame, recipients, from_user_id, .. } => {
//!                 // `room.send(&frame, &recipients, &from_user_id)`
//!                 # let _ = (frame, recipients, from_user_id);
//!             }
//!             _ => {} // presence, evictions, answers
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! # Guarantees
//!
//! - **Nothing local waits for Redis.** [`RedisBus::publish`] puts a message into a bounded queue and
//!   returns; it does so even while Redis is unreachable or hangs. Messages that do not fit are dropped
//!   according to the chosen [`Overflow`], and counted.
//! - **At most once**, as Redis pub/sub has it. A batch whose connection breaks before Redis has answered
//!   is not sent again, because it may have arrived: it is counted as
//!   [`unconfirmed`](RedisStats::unconfirmed).
//! - **Both connections reconnect automatically**, after pauses that double from
//!   [`min_backoff`](RedisOptions::min_backoff) to [`max_backoff`](RedisOptions::max_backoff) and are
//!   randomized, so that nodes do not reconnect in step. All topics are subscribed again before
//!   [`BusEvent::Recovered`]; messages that others published meanwhile are lost and cannot be counted.
//!   Messages that this bus could not publish are counted, and reported by [`BusEvent::Unpublished`].
//! - **Order**: messages of one bus reach another in the order in which they were published.
//! - **Topics are plain names**: channel names may contain `*`, `?` and `[`, which are not patterns here.
//! - **A bus receives its own messages**: Redis sends a message to every subscriber of its topic.
//!
//! # Bounds
//!
//! Memory holds at most: the contents of the two queues; twice a batch of 512 messages or 256 KiB (or one
//! message) on its way to Redis; a batch of 64 messages or 256 KiB (or one message) in the receiver; the
//! names of the topics; and, of an incomplete reply, four times [`max_payload`](RedisOptions::max_payload)
//! (64 MiB by default) plus 64 KiB. The connection to a server that sends more is closed. A connection over
//! TLS is read by the `redis` crate alone, without that last bound. The connection to a server that accepts
//! it but stays silent is closed after [`timeout`](RedisOptions::timeout), which applies to handshakes, to
//! answers and to a `PING` on an idle connection.
//!
//! # Limitations
//!
//! - Redis 6 or newer, or another server that speaks RESP3: published messages arrive as push messages, so
//!   that none waits in an unbounded queue in between.
//! - Two connections per bus: one to publish and one to subscribe, so that neither delays the other.
//! - `rediss://` needs the feature `tls`, or another TLS feature of the `redis` crate. The server's certificate must be
//!   signed by one that the system trusts, or is in the file that the environment variable `SSL_CERT_FILE` names.

mod bus;
mod connection;
mod event;
mod inbox;
mod limited_stream;
mod options;
mod outgoing;
mod publisher;
mod queue;
mod receiver;
mod shared;
mod stats;
mod subscriber;
mod topics;

pub use bus::{CheckError, InvalidUrl, RedisBus};
pub use event::{BusEvent, BusMessage};
pub use options::{Overflow, QueueBounds, RedisOptions};
pub use outgoing::Publish;
pub use receiver::RedisReceiver;
pub use stats::RedisStats;

/// The README's code runs as a test too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
