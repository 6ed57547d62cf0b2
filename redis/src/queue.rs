//! A bounded queue of messages.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::event::BusMessage;
use crate::options::{Overflow, QueueBounds};

/// The outcome of offering a message. It holds the dropped messages, to be freed outside any lock: a
/// payload may own foreign memory, whose drop may run any code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    Queued,
    DroppedOldest(SmallVec<[BusMessage; 1]>),
    DroppedNewest(BusMessage),
}

pub(crate) struct Queue {
    messages: VecDeque<BusMessage>,
    bytes: usize,
    bounds: QueueBounds,
}

impl Queue {
    pub(crate) fn new(bounds: QueueBounds) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, bounds }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn offer(&mut self, message: BusMessage) -> Offered {
        let size = message.size();
        let mut dropped = SmallVec::new();
        if size > self.bounds.max_bytes {
            return Offered::DroppedNewest(message);
        }
        while self.messages.len() >= self.bounds.max_messages.max(1)
            || self.bytes + size > self.bounds.max_bytes
        {
            match self.bounds.overflow {
                Overflow::DropOldest => dropped.extend(self.pop()),
                Overflow::DropNewest => return Offered::DroppedNewest(message),
            }
        }
        self.bytes += size;
        self.messages.push_back(message);
        if dropped.is_empty() { Offered::Queued } else { Offered::DroppedOldest(dropped) }
    }

    fn pop(&mut self) -> Option<BusMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }

    /// Moves out the oldest messages: as many as fit into both bounds, but at least one.
    pub(crate) fn take(
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

    /// Takes all messages.
    pub(crate) fn take_all(&mut self) -> VecDeque<BusMessage> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
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

    fn oldest(sizes: &[usize]) -> Offered {
        Offered::DroppedOldest(sizes.iter().map(|&size| message(size)).collect())
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
        assert_eq!(queue.offer(message(40)), oldest(&[10]));
        assert_eq!((queue.len(), queue.bytes()), (3, 90));
        assert_eq!(queue.offer(message(51)), oldest(&[20, 30]));
        assert_eq!(queue.offer(message(101)), Offered::DroppedNewest(message(101)));
        assert_eq!(sizes(&mut queue), [40, 51]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn the_new_one_goes() {
        let mut queue = queue(Overflow::DropNewest);
        assert_eq!(queue.offer(message(60)), Offered::Queued);
        assert_eq!(queue.offer(message(41)), Offered::DroppedNewest(message(41)));
        assert_eq!(queue.offer(message(40)), Offered::Queued);
        assert_eq!(queue.offer(message(1)), Offered::DroppedNewest(message(1)));
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
        assert_eq!(queue.take_all(), [message(5)]);
        assert_eq!((queue.is_empty(), queue.bytes()), (true, 0));
    }
}
