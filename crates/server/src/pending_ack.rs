//! How a reader that must acknowledge what it took learns that it is durable: it hands a pending ack over with the messages,
//! the decoder passes it on to the writer, and once they are written the numbers to acknowledge come back.
//! What is numbered, and what acknowledging means there, is not known here.
//!
//! A pending ack that is dropped is never given: then the broker sends the messages again.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// Messages of one connection that are to be acknowledged once they are durable.
#[derive(Debug)]
pub struct PendingAck {
    packet_ids: Vec<u16>,
    /// Gone with the connection: no other may acknowledge its messages. As a packet id is not used twice before it is
    /// acknowledged, a connection has at most 65,535 on the way.
    to: UnboundedSender<Vec<u16>>,
}

impl PendingAck {
    pub fn new(packet_ids: Vec<u16>, to: UnboundedSender<Vec<u16>>) -> Self {
        Self { packet_ids, to }
    }

    /// Tells the reader, if its connection is still there.
    pub fn give(self) {
        let _ = self.to.send(self.packet_ids);
    }

    fn is_void(&self) -> bool {
        self.to.is_closed()
    }
}

/// The acks for messages that are applied and may not be stored yet.
#[derive(Default)]
pub struct PendingAcks {
    waiting: Mutex<VecDeque<PendingAck>>,
    wake: Notify,
}

impl PendingAcks {
    /// Adds the pending ack for what has just been applied, and wakes the writer: a broker sends only so many
    /// messages before the first is acknowledged, so each moment of waiting is one without news.
    pub fn push(&self, pending_ack: PendingAck) {
        let mut waiting = self.waiting.lock();
        // While nothing can be made durable, connections come and go: what the last of them owes is all that is kept.
        if waiting.front().is_some_and(PendingAck::is_void) {
            waiting.retain(|pending_ack| !pending_ack.is_void());
        }
        waiting.push_back(pending_ack);
        self.wake.notify_one();
    }

    /// Takes all of them, in the order in which they were applied.
    pub fn take(&self) -> VecDeque<PendingAck> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Waits until there is one, or returns at once if there was since the last time.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn acks_keep_their_order_and_those_of_closed_connections_are_dropped() {
        let pending_acks = PendingAcks::default();
        let (gone, nobody) = unbounded_channel();
        pending_acks.push(PendingAck::new(vec![1], gone));
        drop(nobody);
        let (to, mut acknowledged) = unbounded_channel();
        for packet_ids in [vec![1, 2], vec![3]] {
            pending_acks.push(PendingAck::new(packet_ids, to.clone()));
        }
        let taken = pending_acks.take();
        assert_eq!(taken.len(), 2);
        taken.into_iter().for_each(PendingAck::give);
        assert_eq!([acknowledged.try_recv(), acknowledged.try_recv()], [Ok(vec![1, 2]), Ok(vec![3])]);
        assert!(pending_acks.take().is_empty());
    }
}
