//! Recent evictions: a message about an evicted user may have been sent before the eviction.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// The most evictions remembered at a time, over all channels.
const MAX_EVICTIONS: usize = 4096;

/// Evicted users by the hash of their channel and id. A collision would only delay a user's
/// appearance.
#[derive(Default)]
pub(super) struct Evictions {
    until: HashMap<u64, Instant, ahash::RandomState>,
    /// The same evictions, oldest first, with outdated entries of those that were renewed.
    order: VecDeque<(u64, Instant)>,
}

impl Evictions {
    fn key(&self, channel: u64, user_id: &str) -> u64 {
        self.until.hasher().hash_one((channel, user_id))
    }

    /// Remembers an eviction until `until`, or until [`MAX_EVICTIONS`] later ones.
    pub(super) fn remember(&mut self, channel: u64, user_id: &str, until: Instant, now: Instant) {
        while let Some(&(key, end)) = self.order.front()
            && (end <= now || self.order.len() == MAX_EVICTIONS)
        {
            self.order.pop_front();
            if self.until.get(&key) == Some(&end) {
                self.until.remove(&key);
            }
        }
        let key = self.key(channel, user_id);
        self.until.insert(key, until);
        self.order.push_back((key, until));
    }

    /// Whether the user's eviction is still remembered.
    pub(super) fn is_recent(&self, channel: u64, user_id: &str, now: Instant) -> bool {
        // Usually there is none, and nothing needs hashing.
        !self.until.is_empty()
            && self.until.get(&self.key(channel, user_id)).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn evictions_expire_and_their_number_is_bounded() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        assert!(!evictions.is_recent(1, "u", now));
        evictions.remember(1, "u", soon, now);
        assert!(evictions.is_recent(1, "u", now) && !evictions.is_recent(1, "u", soon));
        assert!(!evictions.is_recent(2, "u", now) && !evictions.is_recent(1, "v", now));
        evictions.remember(1, "u", later, now);
        evictions.remember(1, "v", later, soon);
        assert!(evictions.is_recent(1, "u", soon), "the later time counts");
        for n in 0..MAX_EVICTIONS {
            evictions.remember(3, &n.to_string(), later, soon);
        }
        assert_eq!((evictions.order.len(), evictions.until.len()), (MAX_EVICTIONS, MAX_EVICTIONS));
        assert!(!evictions.is_recent(1, "u", soon) && evictions.is_recent(3, "0", soon));
        evictions.remember(3, "0", later + Duration::from_secs(1), later);
        assert_eq!(
            (evictions.order.len(), evictions.until.len()),
            (1, 1),
            "all others have expired"
        );
    }
}
