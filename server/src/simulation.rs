//! A simulated crowd for the demo page: many viewers that read everything, and one slow reader for each
//! policy, so that both can be observed without a thousand browsers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pondwire::outbox::{CloseReason, OutboxStats};
use pondwire::{Frame, Membership, Outbox, OutboxOptions, Policy, ServerAction, uuid};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::channel::{Channel, MemberToken};
use crate::channels::Channels;

/// The most viewers of one user.
pub(crate) const MOST: usize = 1000;

/// The most simulated members of all users together.
const MOST_OF_ALL: usize = 10_000;

/// The time between two reports to the user.
const REPORTED: Duration = Duration::from_millis(500);

/// How long a slow reader waits between two reads.
const SLOW: Duration = Duration::from_secs(1);

const POLICIES: [(&str, Policy); 4] = [
    ("Drop the oldest", Policy::DropOldest),
    ("Drop the newest", Policy::DropNewest),
    ("Conflate by event", Policy::Conflate),
    ("Disconnect", Policy::Disconnect { max_age: None }),
];

/// The simulations of all users.
pub(crate) struct Simulations {
    channels: Arc<Channels>,
    /// Simulated members in all channels.
    members: AtomicUsize,
}

impl Simulations {
    pub(crate) const fn new(channels: Arc<Channels>) -> Self {
        Self { channels, members: AtomicUsize::new(0) }
    }

    /// The number of simulated members in all channels.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }
}

/// A crowd. It leaves when this is dropped or its user leaves the channel.
pub(crate) struct Simulation {
    _tasks: JoinSet<()>,
}

/// The members of a crowd. They stay in the channel until this is dropped.
struct Crowd {
    members: Vec<Membership>,
    viewers: Vec<Outbox>,
    slow: Vec<(&'static str, Outbox)>,
    /// Its share of [`Simulations::members`].
    size: usize,
    channel: Arc<Channel>,
    simulations: Arc<Simulations>,
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
    dropped_oldest: u64,
    dropped_newest: u64,
    replaced: u64,
    state: &'static str,
}

impl Simulation {
    /// Adds `viewers` viewers to the channel, and the slow readers if `slow`, and sends reports to the member
    /// with this token while it is one. `None` if all channels together would have more than [`MOST_OF_ALL`]
    /// simulated members.
    pub(crate) fn start(
        simulations: &Arc<Simulations>,
        channel: &Arc<Channel>,
        token: MemberToken,
        viewers: usize,
        slow: bool,
    ) -> Option<Self> {
        let mut crowd =
            Crowd::new(simulations, channel, viewers + if slow { POLICIES.len() } else { 0 })?;
        let mut tasks = JoinSet::new();
        for _ in 0..viewers {
            let (outbox, mut queue) = Outbox::new(OutboxOptions::default());
            crowd.join(&outbox);
            crowd.viewers.push(outbox);
            tasks.spawn(async move { while queue.next_batch().await.is_some() {} });
        }
        for (name, policy) in POLICIES.into_iter().filter(|_| slow) {
            let options = OutboxOptions::new().with_policy(policy).with_max_frames(32);
            let (outbox, mut queue) = Outbox::new(options);
            crowd.join(&outbox);
            crowd.slow.push((name, outbox));
            tasks.spawn(async move {
                while queue.next_batch().await.is_some() {
                    sleep(SLOW).await;
                }
                // The outbox stays in the reports until the crowd leaves.
                std::future::pending::<()>().await;
            });
        }
        tasks.spawn(async move {
            let joined = Instant::now();
            let mut ticks = interval(REPORTED);
            while token.is_member() {
                ticks.tick().await;
                // Nothing is sent if the user has left meanwhile.
                token.answer(crowd.report(joined));
            }
        });
        Some(Self { _tasks: tasks })
    }
}

impl Crowd {
    fn new(simulations: &Arc<Simulations>, channel: &Arc<Channel>, size: usize) -> Option<Self> {
        let count = |members: usize| (members + size <= MOST_OF_ALL).then_some(members + size);
        simulations.members.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        Some(Self {
            members: Vec::new(),
            viewers: Vec::new(),
            slow: Vec::new(),
            size,
            channel: Arc::clone(channel),
            simulations: Arc::clone(simulations),
        })
    }

    fn join(&mut self, outbox: &Outbox) {
        // Unique names that no user has: a room looks its members up by name.
        let name = format!("viewer {}", self.members.len());
        self.members.push(self.channel.watch(&name, outbox));
    }

    fn report(&self, joined: Instant) -> Frame {
        let all = self.viewers.iter().chain(self.slow.iter().map(|(_, outbox)| outbox));
        let report = Report {
            viewers: self.viewers.len(),
            delivered: all.map(|outbox| outbox.stats().delivered).sum(),
            at: joined.elapsed().as_millis(),
            slow: self.slow.iter().map(|(policy, outbox)| slow_reader(policy, outbox)).collect(),
        };
        let name = self.channel.name();
        Frame::serialize(ServerAction::System, name, "simulation", &uuid(), &report)
            .expect("a struct of numbers and texts is an object")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.members.clear();
        self.simulations.channels.close_if_empty(&self.channel);
        self.simulations.members.fetch_sub(self.size, Ordering::Relaxed);
    }
}

fn slow_reader(policy: &'static str, outbox: &Outbox) -> SlowReader {
    let OutboxStats { delivered, queued_frames, dropped_oldest, dropped_newest, conflated, .. } =
        outbox.stats();
    let state = match outbox.closed() {
        None => "reading",
        Some(CloseReason::TooManyFrames) => "cut off: too many frames",
        Some(_) => "cut off",
    };
    SlowReader {
        policy,
        delivered,
        waiting: queued_frames,
        dropped_oldest,
        dropped_newest,
        replaced: conflated,
        state,
    }
}
