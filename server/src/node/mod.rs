//! This server as a node of a cluster around a Redis.
//!
//! The thread that sends an event here also queues it for the other nodes, through the bus's queue, which
//! does not block (`Link::send`). The [`Cluster`] tracks the users and the presence of each node. Its lock
//! is the last in the lock order: no other lock is taken, and no channel changed, while it is held. One
//! task receives the messages of the other nodes.

mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::distributed::{self, Cluster, ClusterOptions, Effect, Topics};
use pondwire::{Frame, ServerMessage, uuid};
use pondwire_redis::{BusEvent, QueueBounds, RedisBus, RedisOptions, RedisReceiver};
use tokio::time::{sleep_until, timeout};

use crate::channel::{LeaveReason, OpenChannel};
use crate::log;
use crate::metrics::Page;
use crate::options::NodeOptions;

/// How long queued messages may take to be published when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The most messages processed before other tasks run and the timers are checked again.
const EVENTS_PER_WAKE: usize = 64;

/// How long the messages of other nodes wait for the writers of a channel at a time.
const MOST_WAIT: Duration = Duration::from_millis(20);

/// A node: the state of its own users, and what it knows of the other nodes' users.
pub(crate) struct Node {
    id: Box<str>,
    bus: RedisBus,
    /// The messages offered to the bus so far.
    offered: AtomicU64,
    /// Taken by the receiving task.
    receiver: Mutex<Option<RedisReceiver>>,
    state: Mutex<State>,
    /// Whether a probe has found both connections open.
    has_connected: AtomicBool,
}

struct State {
    cluster: Cluster,
    /// The channels in which this node has users.
    channels: HashMap<distributed::Channel, Arc<OpenChannel>>,
}

/// Effects on this node's channels. Applying them may lock a channel, so the state is unlocked first.
type Deferred = Vec<(Arc<OpenChannel>, Effect)>;

impl Node {
    /// Creates a node that has not yet announced itself. Does not wait for Redis.
    pub(crate) fn start(node: &NodeOptions) -> Result<Arc<Self>, String> {
        let cluster = ClusterOptions::new()
            .with_topics(Topics::new("pondsocket", &node.namespace))
            .with_heartbeat_every(node.heartbeat)
            .with_expire_after(3 * node.heartbeat);
        // A list of users may be larger than any single user's message.
        let max_payload = cluster.message_limits.max_bytes;
        let options = RedisOptions::new()
            .with_publish(QueueBounds::new().with_max_messages(node.queue))
            .with_max_payload(max_payload);
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
            has_connected: AtomicBool::new(false),
        }))
    }

    /// Whether the node is connected to Redis, or was before.
    pub(crate) fn has_connected(&self) -> bool {
        let bus = self.bus.stats();
        let is_connected = bus.publisher_connected && bus.subscriber_connected;
        // Relaxed: a probe that comes a moment later sees it.
        self.has_connected.fetch_or(is_connected, Ordering::Relaxed) || is_connected
    }

    /// Receives from the other nodes until the bus is shut down.
    pub(crate) async fn run(&self) {
        let Some(mut receiver) = self.receiver.lock().take() else { return };
        loop {
            let due = self.state.lock().cluster.due();
            tokio::select! {
                biased;
                () = sleep_until(due.into()) => self.tick(),
                event = receiver.next() => {
                    let Some(event) = event else { return };
                    let mut ahead = self.on_event(event);
                    for _ in 1..EVENTS_PER_WAKE {
                        let Some(event) = receiver.try_next() else { break };
                        ahead = self.on_event(event).or(ahead);
                    }
                    tokio::task::yield_now().await;
                    // Not for long: the other channels' messages come behind these.
                    if let Some(channel) = ahead {
                        let _ = timeout(MOST_WAIT, channel.caught_up()).await;
                    }
                }
            }
        }
    }

    fn tick(&self) {
        let deferred = self.change(|state, now| state.cluster.tick(now));
        apply(deferred);
    }

    /// Returns a channel that is ahead of its writers now.
    fn on_event(&self, event: BusEvent) -> Option<Arc<OpenChannel>> {
        let deferred = self.change(|state, now| match event {
            // The cluster counts invalid messages.
            BusEvent::Message(message) => {
                let _ = state.cluster.receive(&message.topic, &message.payload, now);
            }
            BusEvent::Subscribed(topic) => state.cluster.subscribed(&topic, now),
            BusEvent::Recovered | BusEvent::Lagged(_) => {
                // Broadcasts of other nodes may be missing.
                state.channels.values().for_each(|channel| channel.clear_history());
                state.cluster.resync(now);
            }
            BusEvent::Unpublished(_) => state.cluster.resync(now),
            _ => {}
        });
        let ahead = deferred.iter().map(|(channel, _)| channel).find(|channel| channel.is_ahead());
        let ahead = ahead.map(Arc::clone);
        apply(deferred);
        ahead
    }

    /// Changes the state and carries out the effects before any other change, except those that it returns.
    fn change(&self, change: impl FnOnce(&mut State, Instant)) -> Deferred {
        let mut state = self.state.lock();
        change(&mut state, Instant::now());
        let mut deferred = Vec::new();
        while let Some(effect) = state.cluster.poll() {
            match effect {
                Effect::Publish { topic, bytes } => self.publish(topic, bytes),
                Effect::Subscribe(channel) => {
                    self.bus.subscribe(Arc::clone(channel.topic()));
                }
                Effect::Unsubscribe(channel) => {
                    self.bus.unsubscribe(channel.topic());
                    state.channels.remove(&channel);
                }
                Effect::Presence { channel, frame } => {
                    if let Some(here) = state.channels.get(&channel) {
                        here.publish_presence(&frame);
                    }
                }
                Effect::Deliver { ref channel, .. }
                | Effect::Evict { ref channel, .. }
                | Effect::Remove { ref channel, .. } => {
                    let here = state.channels.get(channel).map(Arc::clone);
                    deferred.extend(here.map(|here| (here, effect)));
                }
                // The answer to a request that this server never sends.
                Effect::User { .. } => {}
            }
        }
        deferred
    }

    fn publish(&self, topic: Arc<str>, bytes: Vec<u8>) {
        self.offered.fetch_add(1, Ordering::Relaxed);
        // The bus counts the outcome.
        let _ = self.bus.publish(topic, bytes);
    }

    /// Publishes the queued messages, above all the leaves of this node's users, and closes the bus.
    pub(crate) async fn shutdown(&self) {
        let stats = self.bus.shutdown(SHUTDOWN_GRACE).await;
        if stats.discarded > 0 {
            log::line(format_args!("{} messages did not reach Redis", stats.discarded));
        }
    }

    /// The counters of the bus and of the cluster.
    pub(crate) fn measure(&self, page: &mut Page) {
        let bus = self.bus.stats();
        let cluster = self.state.lock().cluster.stats();
        page.gauge("remote_nodes", "other nodes that are alive", cluster.nodes as u64);
        page.gauge(
            "remote_users",
            "users of other nodes in this node's channels",
            cluster.users as u64,
        );
        page.counter(
            "remote_nodes_expired_total",
            "other nodes that sent no heartbeat in time",
            cluster.expired,
        );
        page.head("remote_refused_total", "counter", "state from other nodes that was refused");
        for (reason, count) in [
            ("nodes", cluster.refused_nodes),
            ("users", cluster.refused_users),
            ("bytes", cluster.refused_bytes),
            ("malformed", cluster.malformed),
        ] {
            page.labelled("remote_refused_total", "reason", reason, count);
        }
        page.head("bus_connected", "gauge", "1 if connected to Redis");
        page.labelled("bus_connected", "side", "publisher", bus.publisher_connected.into());
        page.labelled("bus_connected", "side", "subscriber", bus.subscriber_connected.into());
        page.counter(
            "bus_reconnects_total",
            "connections to Redis after the first",
            bus.reconnects,
        );
        page.counter(
            "bus_failed_attempts_total",
            "failed attempts to connect to Redis",
            bus.failed_attempts,
        );
        let offered = self.offered.load(Ordering::Relaxed);
        page.counter(
            "bus_offered_total",
            "messages for Redis: the sum of published, unconfirmed, dropped and queued",
            offered,
        );
        page.counter("bus_published_total", "messages that Redis accepted", bus.published);
        page.counter(
            "bus_unconfirmed_total",
            "messages that Redis may have accepted",
            bus.unconfirmed,
        );
        page.head("bus_dropped_total", "counter", "messages not sent to Redis or refused by it");
        for (reason, count) in [
            ("oldest", bus.dropped_oldest),
            ("newest", bus.dropped_newest),
            ("too_large", bus.too_large),
            ("refused", bus.refused),
            ("discarded", bus.discarded),
        ] {
            page.labelled("bus_dropped_total", "reason", reason, count);
        }
        page.gauge("bus_queued", "messages queued for Redis", bus.queued_messages as u64);
        page.gauge("bus_queued_bytes", "bytes of the queued messages", bus.queued_bytes as u64);
        page.counter("bus_received_total", "messages received from Redis", bus.received);
        page.head("bus_lost_total", "counter", "received messages that were dropped unread");
        page.labelled("bus_lost_total", "reason", "overflowed", bus.overflowed);
        page.labelled("bus_lost_total", "reason", "oversized", bus.oversized);
        page.gauge(
            "bus_waiting",
            "received messages waiting to be processed",
            bus.waiting_messages as u64,
        );
    }
}

fn apply(deferred: Deferred) {
    for (here, effect) in deferred {
        match effect {
            Effect::Deliver { frame, recipients, from_user_id, .. } => {
                let message = ServerMessage::parse(frame.json());
                let event = message.as_ref().map_or("", |message| message.event());
                here.deliver(&from_user_id, event, &frame, &recipients);
            }
            Effect::Evict { user_id, reason, .. } => {
                let last = Frame::evicted(here.name(), &uuid(), &reason);
                here.remove(&user_id, Some(last), LeaveReason::Evicted(reason.into()));
            }
            Effect::Remove { user_id, .. } => {
                here.remove(&user_id, None, LeaveReason::Removed);
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
