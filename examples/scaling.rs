//! Estimates the traffic of a cluster of nodes around Redis, and its limits: `cargo run --release --example
//! scaling [nodes] [connections a node] [payload bytes]`.
//!
//! A calculation, by default for 100 nodes of 100,000 connections. The costs of pondwire are measured at
//! the start, on one core of this machine; sizes are those of real envelopes and frames. The costs of Redis
//! were measured before, by `profiles/redis_cost.py`. Sockets are not counted: the system's cost of writing
//! to a connection is the same with one node as with many.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use pondwire::distributed::{Envelope, Message, Origin, Topics, UserMessage};
use pondwire::protocol::Recipients;
use pondwire::{ClientMessage, Frame, Outbox, OutboxOptions, Room};

/// Microseconds of Redis's one core for a message in a long queue, as measured on 2026-11-26
/// (`profiles/records/redis-cost-2026-11-26.md`).
const PUBLISH: f64 = 1.0;
const DELIVERY: f64 = 0.1;
const DELIVERY_KIB: f64 = 0.7;

/// The same for a message that arrives alone: each recipient costs a separate write.
const PUBLISH_ALONE: f64 = 10.0;
const DELIVERY_ALONE: f64 = 5.4;

/// The share of a core, and of a network, that the plan uses.
const USABLE: f64 = 0.7;
const NETWORK_GBIT: f64 = 10.0;

/// RESP's `*3`, `$7`, `message` and two lengths.
const RESP: usize = 36;

struct Cluster {
    nodes: f64,
    /// On each node.
    connections: f64,
    payload: usize,
}

/// The layout of channels: their number, `members` per channel, and the `spread` nodes that the members of
/// one channel are on.
struct Layout {
    name: &'static str,
    channels: f64,
    members: f64,
    spread: f64,
}

/// Microseconds of one core of a node.
struct Costs {
    /// A client's message: parsed, and made into a frame and an envelope.
    send: f64,
    /// A remote message: parsed, and made into a frame.
    receive: f64,
    /// Moving the frame into one connection's outbox, and out of it.
    deliver: f64,
    topic_bytes: usize,
    envelope_bytes: usize,
    frame_bytes: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (nodes, connections, payload) = (next(100)?, next(100_000)?, next(150)?);
    let cluster = Cluster { nodes: nodes as f64, connections: connections as f64, payload };
    let costs = Costs::measure(&cluster)?;
    println!(
        "{nodes} nodes of {connections} connections; payload {payload} B, frame {} B, envelope {} B",
        costs.frame_bytes, costs.envelope_bytes
    );
    println!(
        "one core of a node: {:.2} us to send, {:.2} us to receive, {:.4} us a connection",
        costs.send, costs.receive, costs.deliver
    );
    println!();
    println!(
        "| channels | members | on nodes | Redis, us a message | Redis out, KB | node, us | one channel: messages/s | bound by |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---|");
    let layouts = cluster.layouts();
    for layout in &layouts {
        one_message(layout, &costs);
    }
    println!();
    println!("Everybody sends a message every 10 s (in the one channel: 10 a second in all):");
    println!();
    println!(
        "| channels | messages/s | Redis cores | Redis out, Gbit/s | Redis needed | cores a node | out of a node, Gbit/s |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for layout in &layouts {
        everybody_talks(&cluster, layout, &costs);
    }
    println!();
    state_sync(&cluster, &costs);
    Ok(())
}

impl Cluster {
    fn layouts(&self) -> Vec<Layout> {
        let everybody = self.nodes * self.connections;
        // The expected number of nodes with a member, if each member connects to a random node.
        let spread = |members: f64| self.nodes * (1.0 - (1.0 - 1.0 / self.nodes).powf(members));
        let by_chance = |name, members: f64| Layout {
            name,
            channels: (everybody / members).max(1.0),
            members,
            spread: spread(members),
        };
        vec![
            by_chance("one for all", everybody),
            by_chance("large", 10_000.0),
            by_chance("teams", 100.0),
            by_chance("small", 10.0),
            Layout { spread: 1.0, ..by_chance("small, each on one node", 10.0) },
        ]
    }
}

impl Costs {
    fn measure(cluster: &Cluster) -> Result<Self, Box<dyn Error>> {
        let text = "x".repeat(cluster.payload.saturating_sub(r#"{"text":""}"#.len()));
        let id = "6de7f22d-a688-49d1-af45-1c4a729d6cd0";
        let channel_name = "/chat/1234567";
        let received = format!(
            r#"{{"action":"BROADCAST","event":"say","channelName":"{channel_name}","requestId":"{id}","payload":{{"text":"{text}"}}}}"#
        );
        let origin = Origin { node_id: id, endpoint_name: "api/socket", channel_name };
        let send = || -> Result<_, pondwire::ValidationError> {
            let message = ClientMessage::parse(received.as_bytes())?;
            let frame = Frame::broadcast(channel_name, message.event(), id, message.payload());
            let remote = Message::UserMessage(UserMessage {
                from_user_id: id.into(),
                event: message.event().into(),
                payload: message.payload(),
                request_id: id.into(),
                recipients: Recipients::AllUsers,
            });
            Ok((frame, origin.encode(id, 1_795_410_477_886, &remote)))
        };
        let (frame, envelope) = send()?;
        let receive = || {
            let parsed = Envelope::parse(&envelope).ok()?;
            match parsed.accept("another", channel_name) {
                Ok(Message::UserMessage(message)) => Some(message.frame(channel_name)),
                _ => None,
            }
        };
        assert_eq!(receive().as_ref(), Some(&frame), "a remote event is the same frame");

        let room = Room::new();
        let mut members = Vec::new();
        for _ in 0..cluster.connections as usize {
            let (outbox, reader) = Outbox::new(OutboxOptions::default());
            members.push((room.join("u", outbox)?, reader));
        }
        let mut deliver = || {
            assert_eq!(room.publish(&frame).queued, members.len());
            for (_, reader) in &mut members {
                black_box(reader.try_batch());
            }
        };
        deliver();
        let rounds = 20;
        let each = micros(rounds, deliver) / cluster.connections;
        Ok(Self {
            send: micros(50_000, || drop(black_box(send()))),
            receive: micros(50_000, || drop(black_box(receive()))),
            deliver: each,
            topic_bytes: Topics::default().channel("api/socket", channel_name).len(),
            envelope_bytes: envelope.len(),
            frame_bytes: frame.wire().len(),
        })
    }

    /// Bytes that Redis sends to one node for one message.
    fn delivery_bytes(&self) -> f64 {
        (self.envelope_bytes + self.topic_bytes + RESP) as f64
    }

    /// Microseconds of Redis's core for a message to so many nodes, among many others.
    fn redis(&self, spread: f64) -> f64 {
        PUBLISH + spread * (DELIVERY + DELIVERY_KIB * self.delivery_bytes() / 1024.0)
    }
}

fn micros(rounds: u32, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    (0..rounds).for_each(|_| run());
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

/// Prints the cost of one message, and the messages per second that one channel can have, on one Redis.
fn one_message(layout: &Layout, costs: &Costs) {
    let redis = costs.redis(layout.spread);
    let alone = PUBLISH_ALONE + layout.spread * DELIVERY_ALONE;
    let out = layout.spread * costs.delivery_bytes();
    let node = costs.receive + layout.members / layout.spread * costs.deliver;
    let per_second = [
        (USABLE * 1e6 / redis, "Redis's core"),
        (USABLE * NETWORK_GBIT * 1e9 / 8.0 / out, "Redis's network"),
        (USABLE * 1e6 / node, "a core of each node"),
    ];
    let (most, bound) = per_second.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!(
        "| {} | {:.0} | {:.1} | {redis:.1} (alone {alone:.0}) | {:.1} | {node:.1} | {most:.0} | {bound} |",
        layout.name,
        layout.members,
        layout.spread,
        out / 1000.0,
    );
}

/// Prints the cost of all channels together, and the number of Redis instances that they need, sharded by
/// topic.
fn everybody_talks(cluster: &Cluster, layout: &Layout, costs: &Costs) {
    let messages = match layout.channels {
        ..1.5 => 10.0,
        channels => channels * layout.members / 10.0,
    };
    let redis = messages * costs.redis(layout.spread) / 1e6;
    let out = messages * layout.spread * costs.delivery_bytes() * 8.0 / 1e9;
    let needed = (redis / USABLE).max(out / NETWORK_GBIT / USABLE).ceil();
    // Each node receives its share of all messages except its own, and delivers to its own connections.
    let received = messages * layout.spread / cluster.nodes;
    let delivered = messages * layout.members / cluster.nodes;
    let sent = messages / cluster.nodes;
    let cores = (sent * costs.send + received * costs.receive + delivered * costs.deliver) / 1e6;
    let socket = delivered * costs.frame_bytes as f64 * 8.0 / 1e9;
    println!(
        "| {} | {messages:.0} | {redis:.2} | {out:.2} | {needed:.0} | {cores:.2} | {socket:.2} |",
        layout.name
    );
}

/// Prints the cost of a late join: a node that joins a channel requests its users, and every node answers
/// to all.
fn state_sync(cluster: &Cluster, costs: &Costs) {
    const ENTRY: f64 = 120.0;
    let answer = cluster.connections * ENTRY;
    let all = answer * cluster.nodes * cluster.nodes;
    println!(
        "State of one channel with everybody in it: each node answers with {:.0} MB, to {} nodes: {:.0} GB\n\
         through Redis each time a node comes; its heartbeats are {:.0} B/s in all. Channels of that size\n\
         are for broadcasts, not for presence.",
        answer / 1e6,
        cluster.nodes,
        all / 1e9,
        cluster.nodes * cluster.nodes / 30.0 * (costs.envelope_bytes as f64 / 2.0),
    );
}
