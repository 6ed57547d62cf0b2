//! A queue of messages within bounds.

use std::collections::VecDeque;

use super::event::BusMessage;
use super::options::{Overflow, QueueBounds};

/// What became of a message that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Queued,
    DroppedOldest(u64),
    DroppedNewest,
}

pub(super) struct Queue {
    messages: VecDeque<BusMessage>,
    bytes: usize,
    bounds: QueueBounds,
}

impl Queue {
    pub(super) fn new(bounds: QueueBounds) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, bounds }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn offer(&mut self, message: BusMessage) -> Offered {
        let size = message.size();
        let mut dropped = 0;
        if size > self.bounds.max_bytes {
            return Offered::DroppedNewest;
        }
        while self.messages.len() >= self.bounds.max_messages.max(1)
            || self.bytes + size > self.bounds.max_bytes
        {
            match self.bounds.overflow {
                Overflow::DropOldest => dropped += u64::from(self.pop().is_some()),
                Overflow::DropNewest => return Offered::DroppedNewest,
            }
        }
        self.bytes += size;
        self.messages.push_back(message);
        if dropped == 0 { Offered::Queued } else { Offered::DroppedOldest(dropped) }
    }

    fn pop(&mut self) -> Option<BusMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }

    /// Moves the oldest messages over: as many as fit into both bounds, but at least one.
    pub(super) fn take(
        &mut self,
        max_messages: usize,
        max_bytes: usize,
        into: &mut impl Extend<BusMessage>,
    ) {
        let mut bytes = 0;
        let fits = |message: &&BusMessage| {
            bytes += message.size();
            bytes <= max_bytes
        };
        let count = self.messages.iter().take(max_messages).take_while(fits).count().max(1);
        let count = count.min(self.messages.len());
        self.bytes -= self.messages.iter().take(count).map(BusMessage::size).sum::<usize>();
        into.extend(self.messages.drain(..count));
    }

    /// Drops everything; how many messages it was.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.messages.len() as u64;
        self.messages = VecDeque::new();
        self.bytes = 0;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> BusMessage {
        BusMessage { topic: "t".into(), payload: vec![b'x'; size - 1].into() }
    }

    fn queue(overflow: Overflow) -> Queue {
        Queue::new(QueueBounds { overflow, max_messages: 3, max_bytes: 100 })
    }

    fn sizes(queue: &mut Queue) -> Vec<usize> {
        let mut taken = Vec::new();
        queue.take(usize::MAX, usize::MAX, &mut taken);
        taken.iter().map(BusMessage::size).collect()
    }

    #[test]
    fn the_oldest_go_until_the_new_one_fits() {
        let mut queue = queue(Overflow::DropOldest);
        for size in [10, 20, 30] {
            assert_eq!(queue.offer(message(size)), Offered::Queued);
        }
        assert_eq!(queue.offer(message(40)), Offered::DroppedOldest(1));
        assert_eq!((queue.len(), queue.bytes()), (3, 90));
        assert_eq!(queue.offer(message(51)), Offered::DroppedOldest(2));
        assert_eq!(queue.offer(message(101)), Offered::DroppedNewest);
        assert_eq!(sizes(&mut queue), [40, 51]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn the_new_one_goes() {
        let mut queue = queue(Overflow::DropNewest);
        assert_eq!(queue.offer(message(60)), Offered::Queued);
        assert_eq!(queue.offer(message(41)), Offered::DroppedNewest);
        assert_eq!(queue.offer(message(40)), Offered::Queued);
        assert_eq!(queue.offer(message(1)), Offered::DroppedNewest);
        assert_eq!(sizes(&mut queue), [60, 40]);
    }

    #[test]
    fn a_batch_is_bounded_but_not_empty() {
        let mut queue = queue(Overflow::DropNewest);
        for size in [30, 30, 40] {
            queue.offer(message(size));
        }
        let mut taken = Vec::new();
        queue.take(10, 69, &mut taken);
        assert_eq!((taken.len(), queue.len(), queue.bytes()), (2, 1, 40));
        queue.take(10, 1, &mut taken);
        assert_eq!((taken.len(), queue.len(), queue.bytes()), (3, 0, 0));
        queue.take(10, 1, &mut taken);
        assert_eq!(taken.len(), 3);
        queue.offer(message(5));
        assert_eq!(queue.clear(), 1);
        assert!(queue.is_empty());
    }
}
