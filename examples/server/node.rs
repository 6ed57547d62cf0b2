//! This server as a node of a cluster around a Redis.
//!
//! What users say goes to the others from the thread that says it here, into the bus's queue
//! ([`Link::send`]); that waits for nobody. Who is where and who is present is the [`Cluster`]'s,
//! under a lock that is the last of all to be taken: nothing is locked, and no channel changed, while
//! it is held. One task hears what the others say.

mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ahash::HashMap;
use bytestring::ByteString;
use parking_lot::Mutex;
use pondwire::ServerMessage;
use pondwire::distributed::redis::{BusEvent, RedisBus, RedisOptions, RedisReceiver};
use pondwire::distributed::{self, Cluster, ClusterOptions, Effect, Topics};
use tokio::time::sleep_until;

use super::Server;
use super::channel::Channel;
use super::connection::ENDPOINT;
use super::log;
use super::metrics::Page;
use super::options::NodeOptions;
pub(crate) use link::Link;

/// How long Redis may take to be told what waits when the server ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// As many messages are looked at before others may do something, and time is looked at.
const AT_ONCE: usize = 64;

/// A node: its users and what it knows of those of others.
pub(crate) struct Node {
    id: Box<str>,
    bus: RedisBus,
    /// Messages for the bus, so far.
    offered: AtomicU64,
    /// Taken by the task that hears.
    receiver: Mutex<Option<RedisReceiver>>,
    state: Mutex<State>,
}

struct State {
    cluster: Cluster,
    /// Those in which this node has users.
    channels: HashMap<distributed::Channel, Arc<Channel>>,
}

/// What is to be done to a channel here, which may lock it.
type Todo = Vec<(Arc<Channel>, Effect)>;

impl Node {
    /// A node that nobody has heard of. Returns at once, Redis or not.
    pub(crate) fn start(node: &NodeOptions) -> Result<Arc<Self>, String> {
        let cluster = ClusterOptions::new()
            .with_topics(Topics::new("pondsocket", &node.namespace))
            .with_heartbeat_every(node.heartbeat)
            .with_expire_after(3 * node.heartbeat);
        // Lists of users may be larger than what users say.
        let max_payload = cluster.message_limits.max_bytes;
        let mut options = RedisOptions { max_payload, ..RedisOptions::default() };
        options.publish.max_messages = node.queue;
        let opened = RedisBus::open(&node.redis, options);
        let (bus, receiver) = opened.map_err(|error| error.to_string())?;
        let cluster = Cluster::new(&node.node_id, cluster, Instant::now(), unix_ms());
        let id = cluster.node_id().into();
        bus.subscribe(cluster.heartbeat_topic());
        let state = State { cluster, channels: HashMap::default() };
        Ok(Arc::new(Self {
            id,
            bus,
            offered: AtomicU64::new(0),
            receiver: Mutex::new(Some(receiver)),
            state: Mutex::new(state),
        }))
    }

    /// The same channel on all nodes.
    pub(crate) fn link(self: &Arc<Self>, channel: &str) -> Link {
        let channel = self.state.lock().cluster.channel(ENDPOINT, channel);
        Link::new(Arc::clone(self), channel)
    }

    /// Hears the other nodes for as long as this one is there.
    pub(crate) async fn run(&self, server: &Server) {
        let Some(mut receiver) = self.receiver.lock().take() else { return };
        loop {
            let due = self.state.lock().cluster.due();
            tokio::select! {
                biased;
                () = sleep_until(due.into()) => self.tick(server),
                event = receiver.next() => {
                    let Some(event) = event else { return };
                    self.hear(event, server);
                    for _ in 1..AT_ONCE {
                        let Some(event) = receiver.try_next() else { break };
                        self.hear(event, server);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn tick(&self, server: &Server) {
        let todo = self.change(|state, now| state.cluster.tick(now));
        carry_out(todo, server);
    }

    fn hear(&self, event: BusEvent, server: &Server) {
        let todo = self.change(|state, now| match event {
            // What is no message of a node is counted.
            BusEvent::Message(message) => {
                let _ = state.cluster.receive(&message.topic, &message.payload, now);
            }
            BusEvent::Subscribed(topic) => state.cluster.subscribed(&topic, now),
            BusEvent::Recovered | BusEvent::Lagged(_) | BusEvent::Unpublished(_) => {
                state.cluster.resync(now);
            }
            _ => {}
        });
        carry_out(todo, server);
    }

    /// Changes the state, and does what that asks for as long as no other change can come between.
    fn change(&self, change: impl FnOnce(&mut State, Instant)) -> Todo {
        let mut state = self.state.lock();
        change(&mut state, Instant::now());
        let mut todo = Vec::new();
        while let Some(effect) = state.cluster.poll() {
            match effect {
                Effect::Publish { topic, bytes } => self.publish((&*topic).into(), bytes),
                Effect::Subscribe(channel) => {
                    self.bus.subscribe(&**channel.topic());
                }
                Effect::Unsubscribe(channel) => {
                    self.bus.unsubscribe(channel.topic());
                    state.channels.remove(&channel);
                }
                Effect::Presence { channel, frame } => {
                    if let Some(here) = state.channels.get(&channel) {
                        here.show(&frame);
                    }
                }
                Effect::Deliver { ref channel, .. }
                | Effect::Evict { ref channel, .. }
                | Effect::Remove { ref channel, .. } => {
                    let here = state.channels.get(channel).map(Arc::clone);
                    todo.extend(here.map(|here| (here, effect)));
                }
                // No user is asked for.
                Effect::User { .. } => {}
            }
        }
        todo
    }

    fn publish(&self, topic: ByteString, bytes: Vec<u8>) {
        self.offered.fetch_add(1, Ordering::Relaxed);
        // What becomes of it is counted.
        let _ = self.bus.publish(topic, bytes);
    }

    /// Publishes what waits: above all that this node's users have left.
    pub(crate) async fn end(&self) {
        let stats = self.bus.shutdown(GOODBYE).await;
        if stats.discarded > 0 {
            log::line(format_args!("Redis was not told {} messages", stats.discarded));
        }
    }

    /// The bus and the cluster in numbers.
    pub(crate) fn measure(&self, page: &mut Page) {
        let bus = self.bus.stats();
        let cluster = self.state.lock().cluster.stats();
        page.gauge("remote_nodes", "other nodes that are alive", cluster.nodes as u64);
        page.gauge("remote_users", "their users in our channels", cluster.users as u64);
        page.counter("remote_nodes_expired_total", "nodes that were not heard", cluster.expired);
        page.head("remote_refused_total", "counter", "what other nodes sent and was not kept");
        for (reason, count) in [
            ("nodes", cluster.refused_nodes),
            ("users", cluster.refused_users),
            ("bytes", cluster.refused_bytes),
            ("malformed", cluster.malformed),
        ] {
            page.labelled("remote_refused_total", "reason", reason, count);
        }
        page.head("bus_connected", "gauge", "whether there is a connection to Redis");
        page.labelled("bus_connected", "side", "publisher", bus.publisher_connected.into());
        page.labelled("bus_connected", "side", "subscriber", bus.subscriber_connected.into());
        page.counter("bus_reconnects_total", "connections after the first", bus.reconnects);
        page.counter("bus_failed_attempts_total", "attempts that failed", bus.failed_attempts);
        let offered = self.offered.load(Ordering::Relaxed);
        page.counter(
            "bus_offered_total",
            "messages for Redis; the next ones add up to it",
            offered,
        );
        page.counter("bus_published_total", "messages that Redis took", bus.published);
        page.counter("bus_unconfirmed_total", "messages that it may have taken", bus.unconfirmed);
        page.head("bus_dropped_total", "counter", "messages that it was not given or refused");
        for (reason, count) in [
            ("oldest", bus.dropped_oldest),
            ("newest", bus.dropped_newest),
            ("too_large", bus.too_large),
            ("refused", bus.refused),
            ("discarded", bus.discarded),
        ] {
            page.labelled("bus_dropped_total", "reason", reason, count);
        }
        page.gauge("bus_queued", "messages that wait for it", bus.queued_messages as u64);
        page.gauge("bus_queued_bytes", "their bytes", bus.queued_bytes as u64);
        page.counter("bus_received_total", "messages that it sent", bus.received);
        page.head("bus_lost_total", "counter", "of these, how many were not looked at");
        page.labelled("bus_lost_total", "reason", "overflowed", bus.overflowed);
        page.labelled("bus_lost_total", "reason", "oversized", bus.oversized);
        page.gauge("bus_waiting", "messages to be looked at", bus.waiting_messages as u64);
    }
}

fn carry_out(todo: Todo, server: &Server) {
    for (here, effect) in todo {
        match effect {
            Effect::Deliver { frame, recipients, from_user_id, .. } => {
                let message = ServerMessage::parse(frame.json());
                let event = message.as_ref().map_or("", |message| message.event());
                here.deliver(&from_user_id, event, &frame, &recipients);
            }
            Effect::Evict { user_id, reason, .. } => {
                here.expel(&user_id, Some(&reason));
                server.channels.close_if_empty(&here);
            }
            Effect::Remove { user_id, .. } => {
                here.expel(&user_id, None);
                server.channels.close_if_empty(&here);
            }
            _ => {}
        }
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
