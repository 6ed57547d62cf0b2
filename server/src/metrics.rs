//! Counters of all connections, in Prometheus' text format.
//!
//! Each writer counts deliveries and drops in its own memory. These counts are added up when the metrics are
//! requested, so that no delivery touches a shared counter.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pondwire::ValidationError;
use pondwire::error::ErrorKind;
use pondwire::room::{Dropped, ShardStats};

use crate::memory::Used;

const KINDS: [ErrorKind; 5] =
    [ErrorKind::Utf8, ErrorKind::Json, ErrorKind::Schema, ErrorKind::Limit, ErrorKind::Unicode];

/// The counters of all connections.
#[derive(Default)]
pub(crate) struct Metrics {
    connections: AtomicU64,
    ended: AtomicU64,
    slow_consumers: AtomicU64,
    messages: AtomicU64,
    message_bytes: AtomicU64,
    malformed: [AtomicU64; KINDS.len()],
}

/// Numbers that other parts of the server keep and that are part of the metrics.
pub(crate) struct Gauges {
    pub(crate) event_streams: usize,
    pub(crate) channels: usize,
    pub(crate) presence_too_long: u64,
    pub(crate) memory: Used,
    /// Connections, and partial messages.
    pub(crate) refused_for_memory: (u64, u64),
    /// The connections that ended so that others have memory.
    pub(crate) shed: u64,
}

/// Counts a connection from its creation to its drop.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
}

impl Metrics {
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted { metrics: Arc::clone(self) }
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

    /// The metrics of connections; `shards` are the counters of the writers.
    pub(crate) fn page(&self, gauges: &Gauges, shards: impl Iterator<Item = ShardStats>) -> Page {
        let (mut sent, mut bytes, mut queued, mut queued_bytes) = (0, 0, 0, 0);
        let mut dropped = Dropped::default();
        for shard in shards {
            (sent, bytes) = (sent + shard.sent_frames, bytes + shard.sent_bytes);
            (queued, queued_bytes) =
                (queued + shard.queued_frames as u64, queued_bytes + shard.queued_bytes as u64);
            dropped.oldest += shard.dropped.oldest;
            dropped.newest += shard.dropped.newest;
            dropped.conflated += shard.dropped.conflated;
            dropped.discarded += shard.dropped.discarded;
            dropped.lost += shard.dropped.lost;
        }
        let ended = self.ended.load(Ordering::Relaxed);
        let connections = self.connections.load(Ordering::Relaxed);
        let mut page = Page(String::with_capacity(4096));
        page.gauge("connections", "open connections", connections.saturating_sub(ended));
        page.counter("connections_total", "connections since the start", connections);
        let event_streams = gauges.event_streams as u64;
        page.gauge("event_streams", "event streams among the open connections", event_streams);
        page.gauge(
            "channels",
            "open channels: with members, or kept for some that may come back",
            gauges.channels as u64,
        );
        page.counter(
            "presence_lists_refused_total",
            "presence lists of all nodes that were not sent because they were too long",
            gauges.presence_too_long,
        );
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
        // Those of a queue that was dropped, or is not empty, were counted as sent.
        let undelivered = dropped.oldest + dropped.newest + dropped.conflated + dropped.discarded;
        page.counter(
            "frames_delivered_total",
            "messages and control frames written to sockets, or about to be",
            sent.saturating_sub(undelivered + queued),
        );
        page.counter(
            "frame_bytes_sent_total",
            "bytes of these frames and of those that were dropped or are queued",
            bytes,
        );
        page.head(
            "frames_dropped_total",
            "counter",
            "frames dropped because a client read too slowly, or a writer fell behind",
        );
        for (reason, count) in [
            ("oldest", dropped.oldest),
            ("newest", dropped.newest),
            ("replaced", dropped.conflated),
            ("disconnected", dropped.discarded),
            ("overrun", dropped.lost),
        ] {
            page.labelled("frames_dropped_total", "reason", reason, count);
        }
        // Connections that have ended have no frames queued.
        page.gauge("frames_queued", "frames queued for slow clients now", queued);
        page.gauge("frame_bytes_queued", "bytes of the queued frames", queued_bytes);
        page.counter(
            "slow_consumers_total",
            "connections ended because the client read too slowly",
            self.slow_consumers.load(Ordering::Relaxed),
        );
        page.head("memory_bytes", "gauge", "bytes that count towards the bound of memory");
        let Used { queues, logs, partial } = gauges.memory;
        for (of, bytes) in [("queues", queues), ("logs", logs), ("partial_messages", partial)] {
            page.labelled("memory_bytes", "of", of, bytes as u64);
        }
        page.head("ended_for_memory_total", "counter", "what the bound of memory has ended");
        let (connections, messages) = gauges.refused_for_memory;
        for (what, count) in [
            ("new_connection", connections),
            ("partial_message", messages),
            ("slow_consumer", gauges.shed),
        ] {
            page.labelled("ended_for_memory_total", "what", what, count);
        }
        page
    }
}

impl Counted {
    /// Counts the connection as ended because its client read too slowly.
    pub(crate) fn too_slow(&self) {
        self.metrics.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.ended.fetch_add(1, Ordering::Relaxed);
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
