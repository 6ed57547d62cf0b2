//! Counters of all connections, in Prometheus' text format.
//!
//! Each outbox counts its deliveries and drops in its own memory. These counts are added up when the
//! metrics are requested, so that no delivery touches a shared counter.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pondwire::error::ErrorKind;
use pondwire::outbox::OutboxStats;
use pondwire::{Membership, Outbox, Room, ValidationError};

const KINDS: [ErrorKind; 5] =
    [ErrorKind::Utf8, ErrorKind::Json, ErrorKind::Schema, ErrorKind::Limit, ErrorKind::Unicode];

/// The counters of all connections.
#[derive(Default)]
pub(crate) struct Metrics {
    /// The open connections.
    connections: Room,
    /// The counts of the connections that have ended. Locked while a connection moves here from the room,
    /// so that it is counted once.
    ended: Mutex<Totals>,
    messages: AtomicU64,
    message_bytes: AtomicU64,
    malformed: [AtomicU64; KINDS.len()],
}

/// Numbers that other parts of the server keep and that are part of the metrics.
pub(crate) struct Gauges {
    pub(crate) event_streams: usize,
    pub(crate) channels: usize,
    pub(crate) simulated_viewers: usize,
}

/// Counts a connection from its creation to its drop.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    outbox: Outbox,
    /// `None` only during the drop.
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
    /// Counts the connection of this user, whose outbox this is.
    pub(crate) fn count(self: &Arc<Self>, id: &str, outbox: &Outbox) -> Counted {
        let membership = self.connections.join(id, outbox.clone());
        Counted {
            metrics: Arc::clone(self),
            outbox: outbox.clone(),
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

    /// The metrics of connections. Visits every connection once.
    pub(crate) fn page(&self, gauges: &Gauges) -> Page {
        let (ended, totals) = {
            let ended = self.ended.lock();
            let mut totals = *ended;
            self.connections.for_each(|connection| totals.add(connection.outbox()));
            (*ended, totals)
        };
        let mut page = Page(String::with_capacity(4096));
        page.gauge("connections", "open connections", totals.connections - ended.connections);
        page.counter("connections_total", "connections since the start", totals.connections);
        let event_streams = gauges.event_streams as u64;
        page.gauge("event_streams", "event streams among the open connections", event_streams);
        page.gauge("channels", "channels with members", gauges.channels as u64);
        let simulated = gauges.simulated_viewers as u64;
        page.gauge("simulated_viewers", "members simulated by the server", simulated);
        let received = self.messages.load(Ordering::Relaxed);
        page.counter("messages_received_total", "messages from clients", received);
        let bytes = self.message_bytes.load(Ordering::Relaxed);
        page.counter(
            "message_bytes_received_total",
            "bytes of messages from clients, inflated",
            bytes,
        );
        page.head("malformed_messages_total", "counter", "messages refused as malformed");
        for (kind, count) in KINDS.iter().zip(&self.malformed) {
            let count = count.load(Ordering::Relaxed);
            page.labelled("malformed_messages_total", "kind", kind.as_str(), count);
        }
        page.counter(
            "frames_delivered_total",
            "frames taken from outboxes to be written",
            totals.delivered,
        );
        page.counter(
            "frame_bytes_delivered_total",
            "bytes of these frames, uncompressed",
            totals.delivered_bytes,
        );
        page.counter(
            "control_frames_delivered_total",
            "pongs and answers in the control queue",
            totals.control_delivered,
        );
        page.head(
            "frames_dropped_total",
            "counter",
            "frames dropped because a client read too slowly",
        );
        for (reason, count) in [
            ("oldest", totals.dropped_oldest),
            ("newest", totals.dropped_newest),
            ("replaced", totals.conflated),
            ("disconnected", totals.discarded),
        ] {
            page.labelled("frames_dropped_total", "reason", reason, count);
        }
        // Connections that have ended have no frames queued.
        page.gauge("frames_queued", "frames queued now", totals.queued_frames);
        page.gauge("frame_bytes_queued", "bytes of the queued frames", totals.queued_bytes);
        page.counter(
            "slow_consumers_total",
            "connections ended because the client read too slowly",
            totals.slow_consumers,
        );
        page
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut ended = self.metrics.ended.lock();
        drop(self.membership.take());
        ended.add(&self.outbox);
        // Frames still queued in an outbox without a reader will not be delivered.
        (ended.queued_frames, ended.queued_bytes) = (0, 0);
    }
}

/// Prometheus' text format, version 0.0.4.
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

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
