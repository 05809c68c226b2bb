//! Work on every device, done some devices at a time between two batches: a million devices take seconds, and messages must
//! not wait for them. A message about a device that a walk has still to meet first has the walk meet that device, so the
//! outcome is the one of a walk that took no time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use formats::UnixNanos;
use formats::order::Delivery;
use presence::{Device, DeviceName};
use tokio::sync::oneshot;

use super::Ingest;
use super::other::MessageContext;
use crate::registry::{Arrival, DeviceRegistry};
use crate::sync::backlog::{Pending, Tally};

/// Devices that a walk meets between two batches: they take a millisecond or two.
const DEVICES_AT_ONCE: usize = 128;

/// Starts of one broker that may wait for their walks. It has restarted that often within seconds.
const STARTS_MAX: usize = 8;

/// The walks under way and to come, one after the other: one that finds families, and those of the starts of brokers.
#[derive(Default)]
pub(super) struct Walks {
    walks: VecDeque<RecordWalk>,
    /// Those who wait until everything handed over so far has been applied, with what was counted for them. As many as
    /// there are passes that read retained messages at once.
    waiting: Vec<(Tally, oneshot::Sender<Tally>)>,
}

/// A walk through all devices that are held when it reaches their part of the registry.
pub(super) struct RecordWalk {
    purpose: Purpose,
    /// The part that is gathered next.
    next_part: usize,
    /// What is left of the part before, in order; the last is the next.
    left: Vec<DeviceName>,
    /// By part, the devices to come that the walk has met already because a message came about them.
    met: HashMap<usize, HashSet<DeviceName>>,
}

/// What is done with each device.
#[derive(Clone)]
pub(super) enum Purpose {
    /// Find its parent and start its clock after a start.
    Find,
    /// End its connection, if nothing was received of it since its broker started.
    EndSession(Arc<BrokerStart>),
}

/// A start of a broker, and the message that told of it.
pub(super) struct BrokerStart {
    pub started: UnixNanos,
    pub ended_before: UnixNanos,
    source: Box<str>,
    payload: Box<[u8]>,
    topic: Box<[u8]>,
    delivery: Delivery,
    arrival: Arrival,
}

impl BrokerStart {
    pub fn new(started: UnixNanos, ended_before: UnixNanos, context: &MessageContext<'_>) -> Self {
        Self {
            started,
            ended_before,
            source: context.source.into(),
            payload: context.payload.into(),
            topic: context.topic.into(),
            delivery: context.delivery,
            arrival: context.arrival,
        }
    }

    pub fn context(&self) -> MessageContext<'_> {
        MessageContext {
            source: &self.source,
            payload: &self.payload,
            topic: &self.topic,
            delivery: self.delivery,
            arrival: self.arrival,
        }
    }
}

impl RecordWalk {
    fn new(purpose: Purpose) -> Self {
        Self { purpose, next_part: 0, left: Vec::new(), met: HashMap::new() }
    }

    fn is_of_source(&self, source: &str) -> bool {
        match &self.purpose {
            Purpose::Find => false,
            Purpose::EndSession(start) => *start.source == *source,
        }
    }

    /// The next device; `None` at the end.
    fn next(&mut self, map: &DeviceRegistry) -> Option<DeviceName> {
        loop {
            while let Some(name) = self.left.pop() {
                let part = self.next_part - 1;
                if !self.met.get(&part).is_some_and(|met| met.contains(&name)) {
                    return Some(name);
                }
            }
            if let Some(part) = self.next_part.checked_sub(1) {
                self.met.remove(&part);
            }
            if self.next_part == DeviceRegistry::PARTS {
                return None;
            }
            self.left = map.names_in_part(self.next_part, |_| true);
            self.next_part += 1;
        }
    }

    /// Notes that a device was met out of turn; `false`: it was met before, or is not to come.
    fn meet_early(&mut self, device: Device<'_>, map: &DeviceRegistry) -> bool {
        let part = map.part_of(device);
        let name = DeviceName::of(device);
        let is_to_come =
            part >= self.next_part || part + 1 == self.next_part && self.left.binary_search(&name).is_ok();
        is_to_come && self.met.entry(part).or_default().insert(name)
    }
}

impl Walks {
    pub fn begin(&mut self, purpose: Purpose) {
        if let Purpose::EndSession(start) = &purpose {
            let mut of_source = self.walks.iter_mut().filter(|walk| walk.is_of_source(&start.source));
            // What the one before would have ended, the later start of the same broker has ended, too.
            if let Some(last) = of_source.nth(STARTS_MAX) {
                *last = RecordWalk::new(purpose);
                return;
            }
        }
        self.walks.push_back(RecordWalk::new(purpose));
    }

    pub fn are_under_way(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Whether not all families are found.
    pub fn are_finding(&self) -> bool {
        self.walks.iter().any(|walk| matches!(walk.purpose, Purpose::Find))
    }
}

impl Ingest {
    /// Goes on with the walk under way, by some devices.
    pub(super) fn advance_walks(&mut self) {
        for _ in 0..DEVICES_AT_ONCE {
            let Some(walk) = self.walks.walks.front_mut() else { return };
            match walk.next(&self.map) {
                Some(name) => {
                    let purpose = walk.purpose.clone();
                    self.meet(&purpose, name.device());
                }
                None => self.end_walk(),
            }
        }
    }

    /// Has every walk meet a device that it has still to meet, because there is a message about it.
    pub(super) fn meet_early(&mut self, device: Device<'_>) {
        let mut purposes = Vec::new();
        for walk in &mut self.walks.walks {
            if walk.meet_early(device, &self.map) {
                purposes.push(walk.purpose.clone());
            }
        }
        purposes.iter().for_each(|purpose| self.meet(purpose, device));
    }

    fn meet(&mut self, purpose: &Purpose, device: Device<'_>) {
        match purpose {
            Purpose::Find => self.find(device),
            Purpose::EndSession(start) => self.end_session(device, start),
        }
    }

    fn end_walk(&mut self) {
        match self.walks.walks.pop_front().map(|walk| walk.purpose) {
            Some(Purpose::Find) => self.found_all(),
            Some(Purpose::EndSession(_)) | None => {}
        }
    }

    /// Goes on with all walks to their ends.
    pub(super) fn finish_walks(&mut self, pending: &Pending) {
        while self.walks.are_under_way() && !pending.is_abandoned() {
            self.advance_walks();
        }
    }

    /// Answers once everything handed over so far has been applied, walks and passes over children included.
    pub(super) fn answer_when_applied(
        &mut self,
        tally: Tally,
        done: oneshot::Sender<Tally>,
        pending: &Pending,
    ) {
        self.walks.waiting.push((tally, done));
        self.answer_waiting(pending);
    }

    pub(super) fn answer_waiting(&mut self, pending: &Pending) {
        if self.walks.are_under_way() || self.walks.waiting.is_empty() {
            return;
        }
        // What a replay said of parents is part of it.
        while self.families.is_changing() && !pending.is_abandoned() {
            self.advance_families();
        }
        for (tally, done) in self.walks.waiting.drain(..) {
            // The reader may have ended; then nobody needs the tally.
            let _ = done.send(tally);
        }
    }
}

#[cfg(test)]
mod tests;
