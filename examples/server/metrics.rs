//! What the server has done, as Prometheus reads it.
//!
//! What is delivered and dropped is counted by the outboxes anyway, each in its own memory: it is
//! added up when somebody asks, so that a delivery costs nothing for being counted.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pondwire::error::ErrorKind;
use pondwire::outbox::OutboxStats;
use pondwire::{Membership, Outbox, Room, ValidationError};

use super::Server;
use super::user::User;

const KINDS: [ErrorKind; 5] =
    [ErrorKind::Utf8, ErrorKind::Json, ErrorKind::Schema, ErrorKind::Limit, ErrorKind::Unicode];

/// The counters of all connections.
#[derive(Default)]
pub(crate) struct Metrics {
    /// All that are connected now.
    connections: Room,
    /// What the outboxes of those had counted that are not. Locked while one leaves the room, so
    /// that it is counted here or there.
    ended: Mutex<Totals>,
    messages: AtomicU64,
    message_bytes: AtomicU64,
    malformed: [AtomicU64; KINDS.len()],
}

/// Counts a connection from when it is made to when it is dropped.
pub(crate) struct Counted {
    server: Arc<Server>,
    outbox: Outbox,
    /// `None` while it is dropped.
    membership: Option<Membership>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    connections: u64,
    slow_consumers: u64,
    delivered: u64,
    delivered_bytes: u64,
    control_delivered: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    conflated: u64,
    discarded: u64,
    queued_frames: u64,
    queued_bytes: u64,
}

impl Totals {
    fn add(&mut self, outbox: &Outbox) {
        let OutboxStats {
            queued_frames,
            queued_bytes,
            delivered,
            delivered_bytes,
            control_delivered,
            dropped_oldest,
            dropped_newest,
            conflated,
            discarded,
            ..
        } = outbox.stats();
        self.connections += 1;
        self.slow_consumers += u64::from(outbox.closed().is_some_and(|why| why.is_too_slow()));
        self.queued_frames += queued_frames as u64;
        self.queued_bytes += queued_bytes as u64;
        self.delivered += delivered;
        self.delivered_bytes += delivered_bytes;
        self.control_delivered += control_delivered;
        self.dropped_oldest += dropped_oldest;
        self.dropped_newest += dropped_newest;
        self.conflated += conflated;
        self.discarded += discarded;
    }
}

impl Metrics {
    /// Counts a connection by what its outbox counts.
    pub(crate) fn count(server: &Arc<Server>, user: &User) -> Counted {
        let membership = server.metrics.connections.join(user.id(), user.outbox().clone());
        Counted {
            server: Arc::clone(server),
            outbox: user.outbox().clone(),
            membership: Some(membership.expect("the room is never closed")),
        }
    }

    pub(crate) fn received(&self, message: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.message_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn malformed(&self, error: &ValidationError) {
        let place = KINDS.iter().position(|kind| *kind == error.kind());
        if let Some(place) = place {
            self.malformed[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All numbers. Takes as long as it takes to look at every connection once.
    pub(crate) fn text(server: &Server) -> String {
        let metrics = &server.metrics;
        let (ended, totals) = {
            let ended = metrics.ended.lock();
            let mut totals = *ended;
            metrics.connections.for_each(|connection| totals.add(connection.outbox()));
            (*ended, totals)
        };
        let mut page = Page(String::with_capacity(4096));
        page.gauge("connections", "connected now", totals.connections - ended.connections);
        page.counter("connections_total", "connected since the start", totals.connections);
        page.gauge("event_streams", "event streams among those connected", {
            server.event_streams.len() as u64
        });
        page.gauge("channels", "channels with members", server.channels.len() as u64);
        let simulated = server.simulated.load(Ordering::Relaxed) as u64;
        page.gauge("simulated_viewers", "members that the server plays itself", simulated);
        let received = metrics.messages.load(Ordering::Relaxed);
        page.counter("messages_received_total", "messages from clients", received);
        let bytes = metrics.message_bytes.load(Ordering::Relaxed);
        page.counter("message_bytes_received_total", "bytes of them, inflated", bytes);
        page.head("malformed_messages_total", "counter", "messages that were refused");
        for (kind, count) in KINDS.iter().zip(&metrics.malformed) {
            let count = count.load(Ordering::Relaxed);
            page.labelled("malformed_messages_total", "kind", kind.as_str(), count);
        }
        page.counter("frames_delivered_total", "frames taken to be written", totals.delivered);
        page.counter(
            "frame_bytes_delivered_total",
            "their bytes, uncompressed",
            totals.delivered_bytes,
        );
        page.counter(
            "control_frames_delivered_total",
            "pongs and answers in the control lane",
            totals.control_delivered,
        );
        page.head("frames_dropped_total", "counter", "frames that a slow consumer did not get");
        for (reason, count) in [
            ("oldest", totals.dropped_oldest),
            ("newest", totals.dropped_newest),
            ("replaced", totals.conflated),
            ("disconnected", totals.discarded),
        ] {
            page.labelled("frames_dropped_total", "reason", reason, count);
        }
        // Of those that ended nothing is queued.
        page.gauge("frames_queued", "frames that wait now", totals.queued_frames);
        page.gauge("frame_bytes_queued", "their bytes", totals.queued_bytes);
        page.counter(
            "slow_consumers_total",
            "connections cut off for not reading",
            totals.slow_consumers,
        );
        if let Some(node) = &server.node {
            node.measure(&mut page);
        }
        page.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut ended = self.server.metrics.ended.lock();
        drop(self.membership.take());
        ended.add(&self.outbox);
        // What waits in an outbox that nobody reads any more will not be delivered.
        (ended.queued_frames, ended.queued_bytes) = (0, 0);
    }
}

/// Prometheus' text format, version 0.0.4.
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP pondwire_{name} {help}\n# TYPE pondwire_{name} {kind}");
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "pondwire_{name} {value}");
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "pondwire_{name} {value}");
    }

    pub(crate) fn labelled(&mut self, name: &str, label: &str, of: &str, value: u64) {
        let _ = writeln!(self.0, "pondwire_{name}{{{label}=\"{of}\"}} {value}");
    }
}
