//! A crowd that the server plays itself, for the page: many who read all, and one slow reader for
//! each policy, so that both can be looked at without a thousand browsers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pondwire::outbox::{CloseReason, OutboxStats};
use pondwire::{Frame, Membership, Outbox, OutboxOptions, Policy, ServerAction, uuid};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::Server;
use super::channel::{Channel, Seat};

/// The most viewers of one user.
pub(crate) const MOST: usize = 1000;

/// The most of all users together.
const MOST_OF_ALL: usize = 10_000;

/// How often its user is told how it goes.
const REPORTED: Duration = Duration::from_millis(500);

/// How long a slow reader takes between two reads.
const SLOW: Duration = Duration::from_secs(1);

const POLICIES: [(&str, Policy); 4] = [
    ("Drop the oldest", Policy::DropOldest),
    ("Drop the newest", Policy::DropNewest),
    ("Conflate by event", Policy::Conflate),
    ("Disconnect", Policy::Disconnect { max_age: None }),
];

/// A crowd, which goes when this is dropped or its user leaves the channel.
pub(crate) struct Simulation {
    _tasks: JoinSet<()>,
}

/// Who of the crowd is in the channel, as long as this lives.
struct Crowd {
    members: Vec<Membership>,
    viewers: Vec<Outbox>,
    slow: Vec<(&'static str, Outbox)>,
    /// How many of them are counted in all channels.
    size: usize,
    channel: Arc<Channel>,
    server: Arc<Server>,
}

/// How it goes, as the page is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    viewers: usize,
    /// Frames that viewers and slow readers have been given, since they came.
    delivered: u64,
    /// Milliseconds since they came.
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
    /// Brings so many viewers into the channel, and the slow readers if they are wanted; tells
    /// `told` how it goes for as long as the seat is taken. `None` when there are too many of them
    /// in all channels together.
    pub(crate) fn start(
        server: &Arc<Server>,
        channel: &Arc<Channel>,
        seat: Seat,
        viewers: usize,
        slow: bool,
        told: Outbox,
    ) -> Option<Self> {
        let mut crowd =
            Crowd::new(server, channel, viewers + if slow { POLICIES.len() } else { 0 })?;
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
                // Its numbers are looked at for as long as it is in the crowd.
                std::future::pending::<()>().await;
            });
        }
        tasks.spawn(async move {
            let came = Instant::now();
            let mut ticks = interval(REPORTED);
            while seat.is_taken() && told.closed().is_none() {
                ticks.tick().await;
                // It may have been left meanwhile, and nothing of the channel may come after that.
                if seat.is_taken() {
                    told.push(crowd.report(came));
                }
            }
        });
        Some(Self { _tasks: tasks })
    }
}

impl Crowd {
    fn new(server: &Arc<Server>, channel: &Arc<Channel>, size: usize) -> Option<Self> {
        let count = |there: usize| (there + size <= MOST_OF_ALL).then_some(there + size);
        server.simulated.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        Some(Self {
            members: Vec::new(),
            viewers: Vec::new(),
            slow: Vec::new(),
            size,
            channel: Arc::clone(channel),
            server: Arc::clone(server),
        })
    }

    fn join(&mut self, outbox: &Outbox) {
        // No user has such a name; one of its own, as a room looks its members up by it.
        let name = format!("viewer {}", self.members.len());
        self.members.push(self.channel.watch(&name, outbox));
    }

    fn report(&self, came: Instant) -> Frame {
        let all = self.viewers.iter().chain(self.slow.iter().map(|(_, outbox)| outbox));
        let report = Report {
            viewers: self.viewers.len(),
            delivered: all.map(|outbox| outbox.stats().delivered).sum(),
            at: came.elapsed().as_millis(),
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
        self.server.channels.close_if_empty(&self.channel);
        self.server.simulated.fetch_sub(self.size, Ordering::Relaxed);
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
