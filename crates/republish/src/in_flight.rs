//! The messages that the broker has not acknowledged yet. Pure: time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A broker that takes a message and does not acknowledge it within this has lost it.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// More are not sent before the first of them is acknowledged, whatever the broker takes: AWS IoT Core ends a connection with more.
const IN_FLIGHT_MAX: u16 = 100;

/// What is in flight, each with what is to be done about it.
#[derive(Debug)]
pub struct InFlight<T> {
    most: usize,
    items: HashMap<u16, T>,
    sent: VecDeque<(u16, Instant)>,
    last_id: u16,
}

impl<T> InFlight<T> {
    /// `receive_max`: how many the broker takes.
    pub fn new(receive_max: u16) -> Self {
        let most = usize::from(receive_max.clamp(1, IN_FLIGHT_MAX));
        Self { most, items: HashMap::new(), sent: VecDeque::new(), last_id: 0 }
    }

    /// How many may be in flight.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn has_room(&self) -> bool {
        self.items.len() < self.most
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a message that is sent now; returns the number that its PUBACK will have.
    pub fn add(&mut self, item: T, now: Instant) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.items.contains_key(&self.last_id) {
                break;
            }
        }
        self.items.insert(self.last_id, item);
        self.sent.push_back((self.last_id, now));
        self.last_id
    }

    /// Takes the message that a PUBACK is about; `None`: nobody had sent it.
    pub fn acknowledge(&mut self, packet_id: u16) -> Option<T> {
        let item = self.items.remove(&packet_id)?;
        // Acknowledgements come in the order of the messages from all brokers that keep to the standard.
        if let Some(at) = self.sent.iter().position(|(id, _)| *id == packet_id) {
            self.sent.remove(at);
        }
        Some(item)
    }

    /// When the oldest should have been acknowledged.
    pub fn deadline(&self) -> Option<Instant> {
        self.sent.front().map(|(_, at)| *at + ACK_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again_only_once_they_are_acknowledged() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(u16::MAX);
        let slow = in_flight.add("slow", now);
        for n in 1..=u32::from(u16::MAX) * 2 {
            let id = in_flight.add("fast", now + Duration::from_secs(1));
            assert!(id != 0 && id != slow, "{n}");
            assert_eq!(in_flight.acknowledge(id), Some("fast"));
        }
        assert_eq!(in_flight.deadline(), Some(now + ACK_TIMEOUT));
        assert_eq!((in_flight.acknowledge(slow), in_flight.acknowledge(slow)), (Some("slow"), None));
        assert!(in_flight.is_empty() && in_flight.deadline().is_none());
    }

    #[test]
    fn no_more_are_sent_than_the_broker_takes() {
        for (receive_max, most) in [(0, 1), (1, 1), (20, 20), (65_535, 100)] {
            let mut in_flight = InFlight::new(receive_max);
            let mut sent = 0;
            while in_flight.has_room() {
                in_flight.add((), Instant::now());
                sent += 1;
            }
            assert_eq!((sent, in_flight.len()), (most, most));
        }
    }
}
