//! Counters of all connections, encoded by prometheus-client.
//!
//! Each writer counts deliveries and drops in its own memory. These counts are added up when the metrics are
//! requested, so that no delivery touches a shared counter.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pondwire::ValidationError;
use pondwire::error::ErrorKind;
use pondwire::room::{Dropped, ShardStats};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

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
    /// By what was refused.
    pub(crate) refused_for_memory: [(&'static str, u64); 6],
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

    /// Adds the metrics of connections to a page; `shards` are the counters of the writers.
    pub(crate) fn measure(
        &self,
        page: &mut Page<'_>,
        gauges: &Gauges,
        shards: impl Iterator<Item = ShardStats>,
    ) {
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
        let received = self.message_bytes.load(Ordering::Relaxed);
        page.counter(
            "message_bytes_received_total",
            "bytes of messages from clients, inflated",
            received,
        );
        page.counters(
            "malformed_messages_total",
            "messages refused as malformed",
            "kind",
            std::array::from_fn::<_, { KINDS.len() }, _>(|place| {
                (KINDS[place].as_str(), self.malformed[place].load(Ordering::Relaxed))
            }),
        );
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
        page.counters(
            "frames_dropped_total",
            "frames dropped because a client read too slowly, or a writer fell behind",
            "reason",
            [
                ("oldest", dropped.oldest),
                ("newest", dropped.newest),
                ("replaced", dropped.conflated),
                ("disconnected", dropped.discarded),
                ("overrun", dropped.lost),
            ],
        );
        // Connections that have ended have no frames queued.
        page.gauge("frames_queued", "frames queued for slow clients now", queued);
        page.gauge("frame_bytes_queued", "bytes of the queued frames", queued_bytes);
        page.counter(
            "slow_consumers_total",
            "connections ended because the client read too slowly",
            self.slow_consumers.load(Ordering::Relaxed),
        );
        let Used { queues, logs, partial, last, presence, channels, members, assigns, reported } =
            gauges.memory;
        page.gauges(
            "memory_bytes",
            "bytes that count towards the bound of memory",
            "of",
            [
                ("queues", queues as u64),
                ("logs", logs as u64),
                ("partial_messages", partial as u64),
                ("last_broadcasts", last as u64),
                ("presence", presence as u64),
                ("channels", channels as u64),
                ("members", members as u64),
                ("assigns", assigns as u64),
                ("other_nodes", reported as u64),
            ],
        );
        let [connection, message, channel, member, presence, assigns] = gauges.refused_for_memory;
        let shed = ("slow_consumer", gauges.shed);
        page.counters(
            "ended_for_memory_total",
            "what the bound of memory has ended",
            "what",
            [connection, message, channel, member, presence, assigns, shed],
        );
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

/// A list of metrics that is being encoded. Each name gets the prefix `pondwire_`.
pub(crate) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    encoded: fmt::Result,
}

impl<'a> Page<'a> {
    pub(crate) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder, encoded: Ok(()) }
    }

    /// # Errors
    /// What the page is written to has failed.
    pub(crate) const fn finish(self) -> fmt::Result {
        self.encoded
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(MetricType::Gauge, name, help, None, &[("", value)]);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(MetricType::Counter, name, help, None, &[("", value)]);
    }

    /// Gauges that differ by a label.
    pub(crate) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, u64); N],
    ) {
        self.family(MetricType::Gauge, name, help, Some(label), &values);
    }

    /// Counters that differ by a label.
    pub(crate) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, u64); N],
    ) {
        self.family(MetricType::Counter, name, help, Some(label), &values);
    }

    fn family(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        label: Option<&str>,
        values: &[(&str, u64)],
    ) {
        if self.encoded.is_ok() {
            self.encoded = self.try_family(kind, name, help, label, values);
        }
    }

    fn try_family(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        label: Option<&str>,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        // The encoder appends it to the name of each counter.
        let name = format!("pondwire_{}", name.strip_suffix("_total").unwrap_or(name));
        let mut family = self.encoder.encode_descriptor(&name, help, None, kind)?;
        let encode = |encoder: MetricEncoder<'_>, value| match kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder),
            // Encoded as a signed number.
            _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
        };
        for &(of, value) in values {
            match label {
                Some(label) => encode(family.encode_family(&[(label, of)])?, value)?,
                None => return encode(family, value),
            }
        }
        Ok(())
    }
}
