//! A simulated crowd for the demo page: many viewers that read everything, and one slow reader for each
//! policy, so that both can be observed without a thousand browsers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pondwire::outbox::CloseReason;
use pondwire::{Outbox, OutboxOptions, Policy};
use pondwire_server::{Channel, Event, Json, Listener};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// The most viewers of one user.
pub(crate) const MOST: usize = 1000;

/// The most simulated members of all users together.
const MOST_OF_ALL: usize = 10_000;

/// The time between two reports to the user.
const REPORTED: Duration = Duration::from_millis(500);

/// How long a slow reader waits between two reads.
const SLOW: Duration = Duration::from_secs(1);

/// How many frames may wait for a slow reader.
const SLOW_FRAMES: usize = 32;

const POLICIES: [(&str, Policy); 4] = [
    ("Drop the oldest", Policy::DropOldest),
    ("Drop the newest", Policy::DropNewest),
    ("Conflate by event", Policy::Conflate),
    ("Disconnect", Policy::Disconnect { max_age: None }),
];

/// The number of simulated members in all channels.
#[derive(Clone, Default)]
pub(crate) struct Simulated(Arc<AtomicUsize>);

impl Simulated {
    pub(crate) fn members(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

/// A crowd. It leaves when this is dropped or its user leaves the channel.
pub(crate) struct Simulation {
    _tasks: JoinSet<()>,
}

/// The members of a crowd. They stay in the channel until this is dropped.
struct Crowd {
    listeners: Vec<Listener>,
    viewers: Vec<Outbox>,
    slow: Vec<(&'static str, Outbox)>,
    /// Its share of [`Simulated`].
    size: usize,
    channel: Channel,
    simulated: Simulated,
}

/// The payload of the event `simulation`, shown by the demo page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    viewers: usize,
    /// Frames taken by viewers and slow readers since they joined.
    delivered: u64,
    /// Milliseconds since they joined.
    at: u128,
    slow: Vec<SlowReader>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlowReader {
    policy: &'static str,
    delivered: u64,
    waiting: usize,
    /// The most that may wait.
    capacity: usize,
    dropped_oldest: u64,
    dropped_newest: u64,
    replaced: u64,
    /// Queued when it was cut off.
    discarded: u64,
    state: &'static str,
}

impl Simulation {
    /// Adds `viewers` viewers to the event's channel, and the slow readers if `slow`, and sends reports to the
    /// event's sender while that is a member. `None` if all channels together would have more than [`MOST_OF_ALL`]
    /// simulated members.
    pub(crate) fn start(
        simulated: &Simulated,
        event: &Arc<Event<'static>>,
        viewers: usize,
        slow: bool,
    ) -> Option<Self> {
        let size = viewers + if slow { POLICIES.len() } else { 0 };
        let mut crowd = Crowd::new(simulated, event.channel(), size)?;
        let mut tasks = JoinSet::new();
        for _ in 0..viewers {
            let (outbox, mut queue) = Outbox::new(OutboxOptions::default());
            crowd.listeners.extend(crowd.channel.listen(&outbox));
            crowd.viewers.push(outbox);
            tasks.spawn(async move { while queue.next_batch().await.is_some() {} });
        }
        for (name, policy) in POLICIES.into_iter().filter(|_| slow) {
            let options = OutboxOptions::new().with_policy(policy).with_max_frames(SLOW_FRAMES);
            let (outbox, mut queue) = Outbox::new(options);
            crowd.listeners.extend(crowd.channel.listen(&outbox));
            crowd.slow.push((name, outbox));
            tasks.spawn(async move {
                while queue.next_batch().await.is_some() {
                    sleep(SLOW).await;
                }
                // The outbox stays in the reports until the crowd leaves.
                std::future::pending::<()>().await;
            });
        }
        let event = Arc::clone(event);
        tasks.spawn(async move {
            let joined = Instant::now();
            let mut ticks = interval(REPORTED);
            while event.is_member() {
                ticks.tick().await;
                let _ = event.send("simulation", Json(crowd.report(joined)));
            }
        });
        Some(Self { _tasks: tasks })
    }
}

impl Crowd {
    fn new(simulated: &Simulated, channel: Channel, size: usize) -> Option<Self> {
        let count = |members: usize| (members + size <= MOST_OF_ALL).then_some(members + size);
        simulated.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        Some(Self {
            listeners: Vec::new(),
            viewers: Vec::new(),
            slow: Vec::new(),
            size,
            channel,
            simulated: simulated.clone(),
        })
    }

    fn report(&self, joined: Instant) -> Report {
        let all = self.viewers.iter().chain(self.slow.iter().map(|(_, outbox)| outbox));
        Report {
            viewers: self.viewers.len(),
            delivered: all.map(|outbox| outbox.stats().delivered).sum(),
            at: joined.elapsed().as_millis(),
            slow: self.slow.iter().map(|(policy, outbox)| slow_reader(policy, outbox)).collect(),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.listeners.clear();
        self.simulated.0.fetch_sub(self.size, Ordering::Relaxed);
    }
}

fn slow_reader(policy: &'static str, outbox: &Outbox) -> SlowReader {
    let stats = outbox.stats();
    let state = match outbox.closed() {
        None => "reading",
        Some(CloseReason::TooManyFrames) => "cut off: too many frames",
        Some(_) => "cut off",
    };
    SlowReader {
        policy,
        delivered: stats.delivered,
        waiting: stats.queued_frames,
        capacity: SLOW_FRAMES,
        dropped_oldest: stats.dropped_oldest,
        dropped_newest: stats.dropped_newest,
        replaced: stats.conflated,
        discarded: stats.discarded,
        state,
    }
}
