//! A bus between nodes over Redis pub/sub, on tokio: opaque payloads by topic, at most once. It carries what
//! [pondwire](https://docs.rs/pondwire)'s module `distributed` has the nodes of a cluster tell each other.
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
//! `pondwire::distributed::Cluster` takes the events of the bus, and returns what the bus shall do:
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
//!             let _ = cluster.receive(&message.topic, &message.payload, now); // counts what is not a message
//!         }
//!         Some(BusEvent::Subscribed(topic)) => cluster.subscribed(&topic, now),
//!         Some(BusEvent::Recovered | BusEvent::Lagged(_) | BusEvent::Unpublished(_)) => {
//!             cluster.resync(now); // carried out by `tick`
//!         }
//!         _ => cluster.tick(now),
//!     }
//!     while let Some(effect) = cluster.poll() {
//!         match effect {
//!             Effect::Publish { topic, bytes } => drop(bus.publish(&*topic, bytes)),
//!             Effect::Subscribe(channel) => drop(bus.subscribe(&**channel.topic())),
//!             Effect::Unsubscribe(channel) => drop(bus.unsubscribe(&**channel.topic())),
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
//! # What is promised
//!
//! - **Nothing local waits for Redis.** [`RedisBus::publish`] puts a message into a bounded queue
//!   and returns; it does so while Redis is away, hangs or was never there. Messages that do not fit are
//!   dropped as the chosen [`Overflow`] says, and counted.
//! - **At most once**, as Redis pub/sub has it. A batch whose connection breaks before Redis has
//!   answered is not sent again (it may have arrived): it is counted as
//!   [`unconfirmed`](RedisStats::unconfirmed).
//! - **Both connections come back by themselves**, after pauses that double from
//!   [`min_backoff`](RedisOptions::min_backoff) to [`max_backoff`](RedisOptions::max_backoff) and
//!   are never quite the same on two nodes. All topics are subscribed to again before
//!   [`BusEvent::Recovered`]; messages that others published meanwhile are lost and cannot be counted.
//!   Messages that this bus could not publish are counted, and reported by [`BusEvent::Unpublished`].
//! - **Order**: messages of one bus reach another in the order in which they were published.
//! - **Topics are plain names**: channel names may hold `*`, `?` and `[`, which mean nothing here.
//! - **A bus receives its own messages**: Redis sends a message to every subscriber of its topic.
//!
//! # Bounds
//!
//! In memory at most: the contents of the two queues, a batch of 512 messages or 256 KiB (or one
//! message), twice, on its way to Redis, as large a batch in the receiver, of 64 messages, the names of
//! the topics, and four times [`max_payload`](RedisOptions::max_payload) (64 MiB by default) and 64 KiB
//! of a reply that is not whole yet; a server that sends
//! more loses the connection. A connection over TLS is read by the `redis` crate alone, without
//! that last bound. A server that accepts and is silent is given up after
//! [`timeout`](RedisOptions::timeout): handshakes, answers and a `PING` on an idle connection all
//! count.
//!
//! # Limitations
//!
//! - Redis 6 or newer, or a server that speaks RESP3 as it does: subscriptions arrive as push messages, so
//!   that none waits in an unbounded queue in between.
//! - Two connections a bus: one to publish, one to subscribe, so that neither delays the other.
//! - `rediss://` needs a TLS feature of the `redis` crate, switched on by the application.

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

pub use bus::{InvalidUrl, RedisBus};
pub use event::{BusEvent, BusMessage};
pub use options::{Overflow, QueueBounds, RedisOptions};
pub use outgoing::Publish;
pub use receiver::RedisReceiver;
pub use stats::RedisStats;
