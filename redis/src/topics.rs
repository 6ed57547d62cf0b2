//! The topics that are wanted, and those that Redis was asked for.

use ahash::{HashMap, HashSet};
use bytestring::ByteString;

/// One change to ask Redis for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Subscribe(ByteString),
    Unsubscribe(ByteString),
}

/// Never larger than the topics that are wanted and those that are still to be unsubscribed, however often
/// they change.
#[derive(Default)]
pub(crate) struct Topics {
    entries: HashMap<ByteString, Entry>,
    /// Exactly those whose `wanted` and `asked` differ.
    changed: HashSet<ByteString>,
}

#[derive(Default)]
struct Entry {
    wanted: bool,
    /// Redis was asked for the topic over the present connection.
    asked: bool,
    /// Redis has confirmed the subscription.
    confirmed: bool,
    /// The confirmation was announced to the receiver.
    announced: bool,
}

/// The state of a subscription after it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// The topic was wanted already.
    Old,
    /// Redis will confirm it.
    New,
    /// It is still in force: the unsubscription that came before was not sent yet.
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

    /// `false` when the topic was not wanted.
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

    /// The connection is gone: Redis must be asked for all topics again.
    pub(crate) fn forget_asked(&mut self) {
        self.entries.retain(|_, entry| {
            entry.asked = false;
            entry.confirmed = false;
            entry.wanted
        });
        self.changed = self.entries.keys().cloned().collect();
    }

    /// Announces each topic again once it is confirmed again.
    pub(crate) fn forget_announced(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.announced = false);
    }

    /// Up to `max` changes, which count as asked for from now on.
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

    /// Redis confirmed a subscription. The topic, if the confirmation must be announced.
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
    fn what_is_wanted_is_asked_for_and_announced_once() {
        let mut topics = Topics::default();
        assert_eq!(topics.subscribe(&TOPIC), Subscribed::New);
        assert_eq!(topics.subscribe(&TOPIC), Subscribed::Old);
        assert_eq!(topics.confirm(&TOPIC), None, "nobody asked for it");
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC)]);
        assert_eq!(topics.take_changes(9), []);
        assert_eq!(topics.confirm(&TOPIC), Some(TOPIC));
        assert_eq!(topics.confirm(&TOPIC), None);

        topics.forget_asked();
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC)]);
        assert_eq!(topics.confirm(&TOPIC), None, "only what is new is announced");

        topics.forget_asked();
        topics.forget_announced();
        topics.take_changes(9);
        assert_eq!(topics.confirm(&TOPIC), Some(TOPIC));
    }

    #[test]
    fn wishes_that_change_back_ask_for_nothing() {
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
    fn nothing_is_kept_of_topics_that_come_and_go() {
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
    fn changes_come_in_portions() {
        let mut topics = Topics::default();
        for i in 0..10 {
            topics.subscribe(&ByteString::from(i.to_string()));
        }
        let portions: Vec<usize> = (0..4).map(|_| topics.take_changes(4).len()).collect();
        assert_eq!(portions, [4, 4, 2, 0]);
    }
}
