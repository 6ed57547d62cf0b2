//! This server as a node of a cluster around a Redis, or around several that share the topics.
//!
//! The thread that sends an event here also queues it for the other nodes, through the bus's queue, which
//! does not block (`Link::send`). The [`Cluster`] tracks the users and the presence of each node. Its lock
//! is the last in the lock order: no other lock is taken, and no channel changed, while it is held. One
//! task receives the messages of the other nodes.

mod link;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{mem, thread};

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::distributed::{self, Cluster, ClusterLimits, ClusterOptions, Effect, Topics};
use pondwire::{Frame, uuid};
use pondwire_redis::{BusEvent, QueueBounds, RedisBus, RedisOptions, RedisReceiver, RedisStats};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use crate::channel::{LeaveReason, OpenChannel, message_of};
use crate::log;
use crate::metrics::Page;
use crate::options::NodeOptions;

/// How long queued messages may take to be published when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How long a Redis may take to accept the credentials before the node starts without knowing.
const CHECKED: Duration = Duration::from_secs(1);

/// How often the operator is told of new errors of the buses.
const ERRORS_TOLD: Duration = Duration::from_secs(1);

/// The most messages processed before other tasks run and the timers are checked again.
const EVENTS_PER_WAKE: usize = 64;

/// How long the messages of other nodes wait for the writers of a channel at a time.
const MOST_WAIT: Duration = Duration::from_millis(20);

/// A node: the state of its own users, and what it knows of the other nodes' users.
pub(crate) struct Node {
    id: Box<str>,
    buses: Box<[RedisBus]>,
    /// The messages offered to the buses so far.
    offered: AtomicU64,
    /// Taken by the receiving tasks.
    receivers: Mutex<Vec<RedisReceiver>>,
    state: Mutex<State>,
    /// The bytes of the users that the other nodes report, as the cluster counts them.
    reported: AtomicUsize,
    /// Whether a probe has found both connections open.
    has_connected: AtomicBool,
    /// Whether the connection that receives from each bus is known to be broken.
    is_cut_off: Box<[AtomicBool]>,
}

struct State {
    cluster: Cluster,
    /// The channels in which this node has users.
    channels: HashMap<distributed::Channel, Arc<OpenChannel>>,
    /// The last error of each bus that the operator was told.
    told: Box<[Option<Arc<str>>]>,
}

/// Effects on this node's channels. Applying them may lock a channel, so the state is unlocked first.
type Deferred = Vec<(Arc<OpenChannel>, Effect)>;

impl Node {
    /// Creates a node that has not yet announced itself. Waits a moment for each Redis, to learn whether it accepts
    /// the credentials, and not for one that cannot be reached. Of `memory_bytes` a quarter is for the users that other
    /// nodes report, if that is less than they may take anyway.
    pub(crate) fn start(node: &NodeOptions, memory_bytes: usize) -> Result<Arc<Self>, String> {
        if node.heartbeat.is_zero() {
            return Err("heartbeat time: zero".to_owned());
        }
        // Longer ones would expire between two heartbeats, because the cluster bounds both times by a day.
        let heartbeat = node.heartbeat.min(Duration::from_secs(8 * 60 * 60));
        let limits = ClusterLimits::new();
        let limits = limits.with_bytes(limits.bytes.min(memory_bytes / 4));
        let cluster = ClusterOptions::new()
            .with_topics(Topics::new("pondsocket", &node.namespace))
            .with_heartbeat_every(heartbeat)
            .with_expire_after(3 * heartbeat)
            .with_presence_to_present(true)
            .with_presence_on_request(true)
            .with_limits(limits);
        // A list of users may be larger than any single user's message.
        let max_payload = cluster.message_limits.max_bytes;
        let options = RedisOptions::new()
            .with_publish(QueueBounds::new().with_max_messages(node.queue))
            .with_max_payload(max_payload);
        if node.redis.is_empty() {
            return Err("a node needs the URL of a Redis".to_owned());
        }
        check(&node.redis, options)?;
        let opened = node.redis.iter().map(|url| RedisBus::open(url, options));
        let opened = opened.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let (buses, receivers): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let cluster = Cluster::new(&node.node_id, cluster, Instant::now(), unix_ms());
        let id = cluster.node_id().into();
        let heartbeats: Arc<str> = cluster.heartbeat_topic().into();
        let told = vec![None; buses.len()].into();
        let is_cut_off = buses.iter().map(|_| AtomicBool::new(false)).collect();
        let started = Self {
            id,
            buses: buses.into(),
            offered: AtomicU64::new(0),
            receivers: Mutex::new(receivers),
            state: Mutex::new(State { cluster, channels: HashMap::default(), told }),
            reported: AtomicUsize::new(0),
            has_connected: AtomicBool::new(false),
            is_cut_off,
        };
        started.bus_of(&heartbeats).subscribe(Arc::clone(&heartbeats));
        Ok(Arc::new(started))
    }

    /// The bus that carries a topic.
    fn bus_of(&self, topic: &str) -> &RedisBus {
        &self.buses[self.bus_number(topic)]
    }

    /// The number of that bus: the same for all nodes, as `docs::scaling` describes.
    fn bus_number(&self, topic: &str) -> usize {
        if self.buses.len() == 1 {
            return 0;
        }
        let hash = topic.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        (hash % self.buses.len() as u64) as usize
    }

    /// Whether the node is connected to every Redis, or was before.
    pub(crate) fn has_connected(&self) -> bool {
        let is_connected = self.buses.iter().all(|bus| {
            let stats = bus.stats();
            stats.publisher_connected && stats.subscriber_connected
        });
        // Relaxed: a probe that comes a moment later sees it.
        self.has_connected.fetch_or(is_connected, Ordering::Relaxed) || is_connected
    }

    /// Spawns the tasks that receive from the other nodes until the buses are shut down.
    pub(crate) fn receive(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        for (number, receiver) in mem::take(&mut *self.receivers.lock()).into_iter().enumerate() {
            let node = Arc::clone(self);
            tasks.spawn(async move { node.run(receiver, number).await });
        }
    }

    /// Receives from the bus of this number until it is shut down; one task also has the timers.
    async fn run(&self, mut receiver: RedisReceiver, number: usize) {
        let has_timers = number == 0;
        // Not by `BusEvent::Lost`: the bus knows the error only after its next attempt to connect.
        let mut telling = interval(ERRORS_TOLD);
        telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.state.lock().cluster.due();
            tokio::select! {
                biased;
                () = sleep_until(due.into()), if has_timers => self.tick(),
                _ = telling.tick(), if has_timers => self.tell_errors(),
                event = receiver.next() => {
                    let Some(event) = event else { return };
                    let mut ahead = self.on_event(number, event);
                    for _ in 1..EVENTS_PER_WAKE {
                        let Some(event) = receiver.try_next() else { break };
                        ahead = self.on_event(number, event).or(ahead);
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

    fn tell_errors(&self) {
        let mut state = self.state.lock();
        for (number, (bus, told)) in self.buses.iter().zip(&mut state.told).enumerate() {
            let error = bus.last_error();
            if let Some(error) = error.filter(|error| told.as_ref() != Some(error)) {
                log::line(format_args!("Redis {number}: {error}"));
                *told = Some(error);
            }
        }
    }

    /// Handles an event of the bus of this number. Returns a channel that is ahead of its writers now.
    fn on_event(&self, number: usize, event: BusEvent) -> Option<Arc<OpenChannel>> {
        let is_cut_off = &self.is_cut_off[number];
        let deferred = self.change(|state, now| match event {
            // The cluster counts invalid messages.
            BusEvent::Message(message) => {
                let _ = state.cluster.receive(&message.topic, &message.payload, now);
            }
            BusEvent::Subscribed(topic) => {
                let channel = state.cluster.channel_of(&topic);
                if let Some(here) = channel.and_then(|channel| state.channels.get(channel)) {
                    here.subscribed();
                }
                state.cluster.subscribed(&topic, now);
            }
            BusEvent::Lost => is_cut_off.store(true, Ordering::Release),
            BusEvent::Recovered | BusEvent::Lagged(_) => {
                // Broadcasts of other nodes may be missing.
                state.channels.values().for_each(|channel| channel.clear_history());
                if matches!(event, BusEvent::Recovered) {
                    // After what was kept before is gone.
                    is_cut_off.store(false, Ordering::Release);
                }
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
        // Relaxed: a moment later is soon enough.
        self.reported.store(state.cluster.stats().bytes, Ordering::Relaxed);
        let mut deferred = Vec::new();
        while let Some(effect) = state.cluster.poll() {
            match effect {
                Effect::Publish { topic, bytes } => self.publish(topic, bytes),
                Effect::Subscribe(channel) => {
                    let topic = channel.topic();
                    self.bus_of(topic).subscribe(Arc::clone(topic));
                }
                Effect::Unsubscribe(channel) => {
                    self.bus_of(channel.topic()).unsubscribe(channel.topic());
                    state.channels.remove(&channel);
                }
                Effect::PresenceChanged(channel) => {
                    let State { cluster, channels, .. } = &mut *state;
                    if let Some(here) = channels.get(&channel) {
                        let len = cluster.presence_len(&channel);
                        here.presence_changed(len, || cluster.presence_frame(&channel));
                    }
                }
                Effect::Deliver { ref channel, .. }
                | Effect::Evict { ref channel, .. }
                | Effect::Remove { ref channel, .. } => {
                    let here = state.channels.get(channel).map(Arc::clone);
                    deferred.extend(here.map(|here| (here, effect)));
                }
                // What this server does not ask for.
                Effect::User { .. } | Effect::Presence { .. } => {}
            }
        }
        deferred
    }

    fn publish(&self, topic: Arc<str>, bytes: Vec<u8>) {
        self.offered.fetch_add(1, Ordering::Relaxed);
        // The bus counts the outcome.
        let _ = self.bus_of(&topic).publish(topic, bytes);
    }

    /// Publishes the queued messages, above all the leaves of this node's users, and closes the bus.
    pub(crate) async fn shutdown(&self) {
        let mut closing = JoinSet::new();
        for bus in &self.buses {
            let bus = bus.clone();
            closing.spawn(async move { bus.shutdown(SHUTDOWN_GRACE).await.discarded });
        }
        let discarded: u64 = closing.join_all().await.into_iter().sum();
        if discarded > 0 {
            log::line(format_args!("{discarded} messages did not reach Redis"));
        }
    }

    /// The bytes of the users that the other nodes report. Takes no lock.
    pub(crate) fn reported_bytes(&self) -> usize {
        self.reported.load(Ordering::Relaxed)
    }

    /// The counters of the bus and of the cluster.
    pub(crate) fn measure(&self, page: &mut Page<'_>) {
        let buses: Vec<RedisStats> = self.buses.iter().map(RedisBus::stats).collect();
        let sum = |of: fn(&RedisStats) -> u64| buses.iter().map(of).sum::<u64>();
        let all = |of: fn(&RedisStats) -> bool| u64::from(buses.iter().all(of));
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
        page.counters(
            "remote_refused_total",
            "state from other nodes that was refused",
            "reason",
            [
                ("nodes", cluster.refused_nodes),
                ("users", cluster.refused_users),
                ("bytes", cluster.refused_bytes),
                ("malformed", cluster.malformed),
            ],
        );
        page.gauges(
            "bus_connected",
            "1 if connected to Redis, to each if there are several",
            "side",
            [
                ("publisher", all(|bus| bus.publisher_connected)),
                ("subscriber", all(|bus| bus.subscriber_connected)),
            ],
        );
        page.counter(
            "bus_reconnects_total",
            "connections to Redis after the first",
            sum(|bus| bus.reconnects),
        );
        page.counter(
            "bus_failed_attempts_total",
            "failed attempts to connect to Redis",
            sum(|bus| bus.failed_attempts),
        );
        let offered = self.offered.load(Ordering::Relaxed);
        page.counter(
            "bus_offered_total",
            "messages for Redis: the sum of published, unconfirmed, dropped and queued",
            offered,
        );
        page.counter(
            "bus_published_total",
            "messages that Redis accepted",
            sum(|bus| bus.published),
        );
        page.counter(
            "bus_unconfirmed_total",
            "messages that Redis may have accepted",
            sum(|bus| bus.unconfirmed),
        );
        page.counters(
            "bus_dropped_total",
            "messages not sent to Redis or refused by it",
            "reason",
            [
                ("oldest", sum(|bus| bus.dropped_oldest)),
                ("newest", sum(|bus| bus.dropped_newest)),
                ("too_large", sum(|bus| bus.too_large)),
                ("refused", sum(|bus| bus.refused)),
                ("discarded", sum(|bus| bus.discarded)),
            ],
        );
        page.gauge(
            "bus_queued",
            "messages queued for Redis",
            sum(|bus| bus.queued_messages as u64),
        );
        page.gauge(
            "bus_queued_bytes",
            "bytes of the queued messages",
            sum(|bus| bus.queued_bytes as u64),
        );
        page.counter("bus_received_total", "messages received from Redis", sum(|bus| bus.received));
        page.counters(
            "bus_lost_total",
            "received messages that were dropped unread",
            "reason",
            [("overflowed", sum(|bus| bus.overflowed)), ("oversized", sum(|bus| bus.oversized))],
        );
        page.gauge(
            "bus_waiting",
            "received messages waiting to be processed",
            sum(|bus| bus.waiting_messages as u64),
        );
    }
}

fn apply(deferred: Deferred) {
    for (here, effect) in deferred {
        match effect {
            Effect::Deliver { frame, recipients, from_user_id, .. } => {
                let message = message_of(&frame);
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

/// Asks each Redis whether it accepts this node, for at most [`CHECKED`].
///
/// # Errors
/// One refuses the credentials, or its URL is invalid.
fn check(urls: &[String], options: RedisOptions) -> Result<(), String> {
    let (answer, answers) = mpsc::channel();
    for url in urls {
        let (url, answer) = (url.clone(), answer.clone());
        // On a thread with a runtime of its own, because this one must wait without being asynchronous.
        let asked =
            thread::Builder::new().name("pondwire-redis-check".to_owned()).spawn(move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build();
                let checked =
                    runtime.map(|runtime| runtime.block_on(RedisBus::check(&url, options)));
                // Nobody may be waiting any more.
                let _ = answer.send(checked);
            });
        asked.map_err(|error| format!("a thread: {error}"))?;
    }
    drop(answer);
    let until = Instant::now() + CHECKED;
    while let Ok(checked) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        match checked {
            Ok(Err(error)) if error.is_final() => return Err(error.to_string()),
            // One that cannot be reached now may be later.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
