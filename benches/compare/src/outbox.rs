//! One thread pushes a frame into every connection's queue and takes it out again.

use std::hint::black_box;

use bytes::Bytes;
use pondwire::{Frame, Outbox, OutboxOptions, OutboxReader, Payload};
use tokio::sync::broadcast;

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::payloads;
use crate::report::Section;
use crate::shard::{MPSC, QUEUE, with_mpsc};

pub fn section(plan: &Plan) -> Section {
    let rows = [("256", 256), ("4k", 4 << 10), ("64k", 64 << 10)]
        .map(|(name, connections)| (format!("outbox {name}"), connections))
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, connections)| row(plan, name, connections))
        .collect();
    Section {
        title: "Outbox, ns per delivery",
        size: "bytes",
        note: "A finished frame into the queue of every connection and out of each, up to 256 \
               waiting. pondwire: outboxes in a `Vec`, references to the frame in one batch. \
               mpsc: a `parking_lot::RwLock<HashMap>` of tokio's bounded senders of `Bytes`. \
               broadcast: tokio's, `Bytes`.",
        rows,
    }
}

fn row(plan: &Plan, name: String, connections: usize) -> Row {
    let payload = payloads::json(149);
    let payload = Payload::from_json(&payload).expect("JSON");
    let frame = Frame::broadcast(CHANNEL, "message", REQUEST_ID, payload);
    let bytes = Bytes::copy_from_slice(frame.wire());

    let (outboxes, mut readers): (Vec<Outbox>, Vec<OutboxReader>) =
        (0..connections).map(|_| Outbox::new(OutboxOptions::new().with_max_frames(QUEUE))).unzip();
    let by_pondwire = || {
        let mut references = frame.references(connections);
        for outbox in &outboxes {
            outbox.push_from(&mut references);
        }
        let batches = readers.iter_mut().filter_map(OutboxReader::try_batch);
        Some(batches.map(|batch| black_box(batch.frames())).sum())
    };

    let (senders, mut receivers) = with_mpsc(connections);
    let by_mpsc = || {
        for sender in senders.read().values() {
            sender.try_send(bytes.clone()).expect("there is place");
        }
        let received = receivers.iter_mut().filter_map(|receiver| receiver.try_recv().ok());
        Some(received.map(black_box).count())
    };

    let (publisher, _) = broadcast::channel(QUEUE);
    let mut subscribers: Vec<_> = (0..connections).map(|_| publisher.subscribe()).collect();
    let by_broadcast = || {
        publisher.send(bytes.clone()).expect("there are subscribers");
        let received = subscribers.iter_mut().filter_map(|receiver| receiver.try_recv().ok());
        Some(received.map(black_box).count())
    };

    let contenders = vec![
        Contender::checked("pondwire", &connections, by_pondwire),
        Contender::checked(MPSC, &connections, by_mpsc),
        Contender::checked("tokio broadcast", &connections, by_broadcast),
    ];
    plan.race(name, connections, bytes.len() * connections, contenders)
}
