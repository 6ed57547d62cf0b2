//! The wanted topics, and those requested from Redis.

use ahash::{HashMap, HashSet};
use bytestring::ByteString;

/// One change to request from Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Subscribe(ByteString),
    Unsubscribe(ByteString),
}

/// Holds only the wanted topics and those still to be unsubscribed, however often they change.
#[derive(Default)]
pub(crate) struct Topics {
    entries: HashMap<ByteString, Entry>,
    /// Exactly the topics whose `wanted` and `asked` differ.
    changed: HashSet<ByteString>,
}

#[derive(Default)]
struct Entry {
    wanted: bool,
    /// The topic was requested over the present connection.
    asked: bool,
    /// Redis has confirmed the subscription.
    confirmed: bool,
    /// The confirmation was announced to the receiver.
    announced: bool,
}

/// The state of a subscription after a call that subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// The topic was wanted already.
    Old,
    /// Redis will confirm it.
    New,
    /// The subscription is still in force: the earlier unsubscription has not been sent.
    InForce,
}

impl Topics {
    pub(crate) fn subscribe(&mut self, topic: &ByteString) -> Subscribed {
        let entry = self.entries.entry(topic.clone()).or_default();
        if std::mem::replace(&mut entry.wanted, true) {
            return Subscribed::Old;
        }
        entry.announced = entry.confirmed;
        if entry.asked {
            self.changed.remove(topic);
        } else {
            self.changed.insert(topic.clone());
        }
        if entry.confirmed { Subscribed::InForce } else { Subscribed::New }
    }

    /// Stops wanting the topic; `false` if it was not wanted.
    pub(crate) fn unsubscribe(&mut self, topic: &str) -> bool {
        let Some(entry) = self.entries.get_mut(topic) else { return false };
        if !std::mem::replace(&mut entry.wanted, false) {
            return false;
        }
        if entry.asked {
            let topic = self.entries.get_key_value(topic).map(|(topic, _)| topic.clone());
            self.changed.extend(topic);
        } else {
            self.changed.remove(topic);
            self.entries.remove(topic);
        }
        true
    }

    /// The connection is gone: all topics must be requested again.
    pub(crate) fn forget_asked(&mut self) {
        self.entries.retain(|_, entry| {
            entry.asked = false;
            entry.confirmed = false;
            entry.wanted
        });
        self.changed = self.entries.keys().cloned().collect();
    }

    /// Makes each topic be announced again when it is next confirmed.
    pub(crate) fn forget_announced(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.announced = false);
    }

    /// Takes up to `max` changes, which count as requested from now on.
    pub(crate) fn take_changes(&mut self, max: usize) -> Vec<Change> {
        let topics: Vec<ByteString> = self.changed.iter().take(max).cloned().collect();
        let changes = topics.into_iter().filter_map(|topic| {
            self.changed.remove(&topic);
            let entry = self.entries.get_mut(&topic)?;
            entry.asked = entry.wanted;
            if entry.wanted {
                return Some(Change::Subscribe(topic));
            }
            self.entries.remove(&topic);
            Some(Change::Unsubscribe(topic))
        });
        changes.collect()
    }

    /// Redis confirmed a subscription. Returns the topic if the confirmation must be announced.
    pub(crate) fn confirm(&mut self, topic: &str) -> Option<ByteString> {
        let entry = self.entries.get_mut(topic)?;
        entry.confirmed = entry.asked;
        if !entry.wanted || !entry.asked || std::mem::replace(&mut entry.announced, true) {
            return None;
        }
        self.entries.get_key_value(topic).map(|(topic, _)| topic.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: ByteString = ByteString::from_static("a:*?[x]");

    #[test]
    fn wanted_topics_are_requested_and_announced_once() {
        let mut topics = Topics::default();
        assert_eq!(topics.subscribe(&TOPIC), Subscribed::New);
        assert_eq!(topics.subscribe(&TOPIC), Subscribed::Old);
        assert_eq!(topics.confirm(&TOPIC), None, "it was not requested");
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC)]);
        assert_eq!(topics.take_changes(9), []);
        assert_eq!(topics.confirm(&TOPIC), Some(TOPIC));
        assert_eq!(topics.confirm(&TOPIC), None);

        topics.forget_asked();
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC)]);
        assert_eq!(topics.confirm(&TOPIC), None, "it was announced before");

        topics.forget_asked();
        topics.forget_announced();
        topics.take_changes(9);
        assert_eq!(topics.confirm(&TOPIC), Some(TOPIC));
    }

    #[test]
    fn changes_that_cancel_out_request_nothing() {
        let mut topics = Topics::default();
        topics.subscribe(&TOPIC);
        assert!(topics.unsubscribe(&TOPIC));
        assert!(!topics.unsubscribe(&TOPIC));
        assert_eq!(topics.take_changes(9), []);

        topics.subscribe(&TOPIC);
        topics.take_changes(9);
        topics.unsubscribe(&TOPIC);
        assert_eq!(topics.confirm(&TOPIC), None);
        assert_eq!(topics.subscribe(&TOPIC), Subscribed::InForce);
        assert_eq!(topics.take_changes(9), []);

        topics.unsubscribe(&TOPIC);
        assert_eq!(topics.take_changes(9), [Change::Unsubscribe(TOPIC)]);
        assert!(topics.entries.is_empty());
    }

    #[test]
    fn unsubscribed_topics_leave_nothing_behind() {
        let mut topics = Topics::default();
        for i in 0..1000 {
            let topic = ByteString::from(i.to_string());
            topics.subscribe(&topic);
            topics.unsubscribe(&topic);
        }
        assert!(topics.entries.is_empty() && topics.changed.is_empty());
        topics.subscribe(&TOPIC);
        topics.take_changes(9);
        topics.unsubscribe(&TOPIC);
        topics.forget_asked();
        assert!(topics.entries.is_empty() && topics.changed.is_empty());
    }

    #[test]
    fn changes_are_taken_in_batches() {
        let mut topics = Topics::default();
        for i in 0..10 {
            topics.subscribe(&ByteString::from(i.to_string()));
        }
        let batches: Vec<usize> = (0..4).map(|_| topics.take_changes(4).len()).collect();
        assert_eq!(batches, [4, 4, 2, 0]);
    }
}
