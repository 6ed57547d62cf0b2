//! The subscribing side's state: the wanted topics, and the waiting messages and events.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::event::{BusEvent, BusMessage};
use crate::options::RedisOptions;
use crate::queue::{Offered, Queue};
use crate::stats::Counters;
use crate::topics::{Change, Subscribed, Topics};

/// How many messages a receiver takes at a time, under one lock.
const TAKEN_MESSAGES: usize = 64;
const TAKEN_BYTES: usize = 256 << 10;

/// Identifies the connection that a push came over: an old one may still be read while the next is made.
pub(crate) type Epoch = u64;

pub(crate) struct Inbox {
    state: Mutex<State>,
    max_payload: usize,
    /// Notified when there are messages or events for the receiver.
    ready: Notify,
    /// Notified when there are changes of topics for the subscriber.
    pub(crate) changed: Notify,
}

struct State {
    topics: Topics,
    messages: Queue,
    /// At most one `Lost`, one `Recovered`, and one `Subscribed` per topic.
    events: VecDeque<BusEvent>,
    lagged: u64,
    unpublished: u64,
    epoch: Epoch,
    /// No more messages or events will come.
    ended: bool,
    /// The receiver was dropped.
    abandoned: bool,
}

/// The result of taking from the inbox.
pub(crate) enum Received {
    Event(BusEvent),
    /// Messages were moved into the receiver's own queue.
    Messages,
    Nothing,
    End,
}

impl Inbox {
    pub(crate) fn new(options: &RedisOptions) -> Self {
        let state = State {
            topics: Topics::default(),
            messages: Queue::new(options.receive),
            events: VecDeque::new(),
            lagged: 0,
            unpublished: 0,
            epoch: 0,
            ended: false,
            abandoned: false,
        };
        Self {
            state: Mutex::new(state),
            max_payload: options.max_payload,
            ready: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn subscribe(&self, topic: &Arc<str>) -> bool {
        let mut state = self.state.lock();
        let subscribed = state.topics.subscribe(topic);
        if subscribed == Subscribed::InForce {
            state.announce(BusEvent::Subscribed(Arc::clone(topic)));
        }
        drop(state);
        match subscribed {
            Subscribed::Old => return false,
            Subscribed::New => self.changed.notify_one(),
            Subscribed::InForce => self.ready.notify_one(),
        }
        true
    }

    pub(crate) fn unsubscribe(&self, topic: &str) -> bool {
        let mut state = self.state.lock();
        let wanted = state.topics.unsubscribe(topic);
        if wanted {
            // An undelivered confirmation is outdated, and such confirmations must not accumulate.
            state
                .events
                .retain(|event| !matches!(event, BusEvent::Subscribed(old) if **old == *topic));
        }
        drop(state);
        if wanted {
            self.changed.notify_one();
        }
        wanted
    }

    pub(crate) fn take_changes(&self, max: usize) -> Vec<Change> {
        self.state.lock().topics.take_changes(max)
    }

    /// Begins the epoch of a new connection: pushes of older ones are ignored from now on.
    pub(crate) fn begin(&self) -> Epoch {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.topics.forget_asked();
        state.epoch
    }

    /// The connection broke. `worked` is `true` if it had worked, `ever` if it or an earlier one had.
    pub(crate) fn lost(&self, worked: bool, ever: bool) {
        let mut state = self.state.lock();
        state.epoch += 1;
        if !ever {
            // No event will report that these subscriptions were interrupted.
            state.topics.forget_announced();
            state.events.clear();
        }
        if worked {
            // Undelivered events about the connection are outdated.
            state.events.retain(|event| matches!(event, BusEvent::Subscribed(_)));
            state.events.push_back(BusEvent::Lost);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Reports `count` lost messages of this bus.
    pub(crate) fn unpublished(&self, count: u64) {
        self.state.lock().unpublished += count;
        self.ready.notify_one();
    }

    pub(crate) fn recovered(&self) {
        self.state.lock().announce(BusEvent::Recovered);
        self.ready.notify_one();
    }

    pub(crate) fn confirmed(&self, epoch: Epoch, topic: &[u8]) {
        let Ok(topic) = std::str::from_utf8(topic) else { return };
        let mut state = self.state.lock();
        if state.epoch == epoch
            && let Some(topic) = state.topics.confirm(topic)
        {
            state.announce(BusEvent::Subscribed(topic));
            drop(state);
            self.ready.notify_one();
        }
    }

    pub(crate) fn message(&self, epoch: Epoch, topic: &[u8], payload: Vec<u8>, stats: &Counters) {
        // This bus subscribes only to topics that are text.
        let Ok(topic) = std::str::from_utf8(topic) else { return };
        let payload = Bytes::from(payload);
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return;
        }
        stats.received.add(1);
        if payload.len() > self.max_payload {
            stats.oversized.add(1);
            return;
        }
        if state.abandoned {
            stats.overflowed.add(1);
            return;
        }
        let topic = state.topics.shared(topic).unwrap_or_else(|| Arc::from(topic));
        let message = BusMessage { topic, payload };
        let was_empty = state.messages.is_empty();
        let dropped = match state.messages.offer(message) {
            Offered::Queued => 0,
            Offered::DroppedOldest(dropped) => dropped.len() as u64,
            Offered::DroppedNewest(_) => 1,
        };
        if dropped > 0 {
            state.lagged += dropped;
            stats.overflowed.add(dropped);
        }
        stats.waiting.set(state.messages.len(), state.messages.bytes());
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
    }

    pub(crate) fn take(&self, into: &mut VecDeque<BusMessage>, stats: &Counters) -> Received {
        let mut state = self.state.lock();
        if let Some(event) = state.events.pop_front() {
            return Received::Event(event);
        }
        if state.lagged > 0 {
            return Received::Event(BusEvent::Lagged(std::mem::take(&mut state.lagged)));
        }
        if state.unpublished > 0 {
            return Received::Event(BusEvent::Unpublished(std::mem::take(&mut state.unpublished)));
        }
        if state.messages.is_empty() {
            return if state.ended { Received::End } else { Received::Nothing };
        }
        state.messages.take(TAKEN_MESSAGES, TAKEN_BYTES, into);
        stats.waiting.set(state.messages.len(), state.messages.bytes());
        Received::Messages
    }

    /// Waits until there may be something to take. If several callers wait, one is woken.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Ends the inbox: no more messages or events will come.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.ready.notify_one();
    }

    /// Drops the waiting messages and all later ones: the receiver was dropped.
    pub(crate) fn abandon(&self, stats: &Counters) {
        let mut state = self.state.lock();
        state.abandoned = true;
        stats.overflowed.add(state.messages.take_all().len() as u64);
        stats.waiting.set(0, 0);
        state.events.clear();
    }
}

impl State {
    fn announce(&mut self, event: BusEvent) {
        if !self.abandoned {
            self.events.push_back(event);
        }
    }
}
