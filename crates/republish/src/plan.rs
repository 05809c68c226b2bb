//! What is to be published next on one connection: every device once, then those that change. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::home_assistant::Discovery;
use crate::topics::Topics;
use presence::{Device, DeviceName};

/// Devices that wait to be looked at because they have changed, some hundred bytes each. Beyond that all devices are looked at again.
const WAITING_MAX: usize = 65_536;

/// Devices that are looked at without a message coming of it, until others have their turn.
const LOOKS_AT_ONCE: usize = 64;

/// The hash of a content that is not known.
const UNKNOWN: u64 = 0;

/// A message that the broker retains; without a payload it drops what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedMessage {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// What should be retained of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    Content(Vec<u8>),
    /// It is not known or not selected.
    Nothing,
    /// What there is, until the device's disconnect has settled.
    Held,
    /// Changes of the device are to be read first.
    Unread,
}

/// Why a device is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// All are.
    Walk,
    Change,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanStep {
    /// `key` is for [`Plan::note_failed`].
    Publish { messages: Vec<RetainedMessage>, key: u64 },
    /// Give it the names of this part of the registry.
    Gather(usize),
    /// Nothing came of the devices that were looked at, and others follow.
    Yield,
    /// Read the changes first.
    ReadChanges,
    /// Everything has been published.
    Wait,
}

/// What one connection has published, and what it is still to publish.
pub struct Plan {
    topics: Topics,
    discovery: Option<Discovery>,
    hasher: RandomState,
    /// By the hash of the topic, the hash of the content that was sent.
    published: HashMap<u64, u64>,
    waiting: VecDeque<DeviceName>,
    queued: HashSet<DeviceName>,
    walk: Walk,
    /// Whose turn it is if both wait.
    turn: Trigger,
}

/// Where the look at all devices is.
struct Walk {
    parts: usize,
    next_part: usize,
    names: Vec<DeviceName>,
    is_running: bool,
    /// Another follows.
    again: bool,
    done: u64,
}

impl Walk {
    fn is_over(&self) -> bool {
        self.names.is_empty() && self.next_part == self.parts
    }
}

impl Plan {
    /// Begins with a look at all devices, whose names come in so many parts.
    pub fn new(topics: Topics, discovery: Option<Discovery>, parts: usize) -> Self {
        Self {
            topics,
            discovery,
            hasher: RandomState::new(),
            published: HashMap::new(),
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            walk: Walk { parts, next_part: 0, names: Vec::new(), is_running: true, again: false, done: 0 },
            turn: Trigger::Walk,
        }
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// How often all devices have been looked at.
    pub fn walks_done(&self) -> u64 {
        self.walk.done
    }

    /// All devices are to be looked at, once more if that is going on.
    pub fn walk_again(&mut self) {
        self.walk.again = true;
    }

    /// A device has changed.
    pub fn note_change(&mut self, name: DeviceName) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.clear();
            self.queued.clear();
            self.walk_again();
        }
        if self.queued.insert(name.clone()) {
            self.waiting.push_back(name);
        }
    }

    /// Something may be retained of a device, and perhaps nothing should be.
    pub fn note_retained(&mut self, name: DeviceName) {
        let key = self.key(name.device());
        self.published.entry(key).or_insert(UNKNOWN);
        self.note_change(name);
    }

    /// Whether this connection has published the device.
    pub fn has_published(&self, device: Device<'_>) -> bool {
        self.published.get(&self.key(device)).is_some_and(|content| *content != UNKNOWN)
    }

    /// The broker has not taken a message; the next look at all devices publishes it again.
    pub fn note_failed(&mut self, key: u64) {
        self.published.entry(key).and_modify(|content| *content = UNKNOWN);
    }

    /// The names of the part that was asked for.
    pub fn add_names(&mut self, names: Vec<DeviceName>) {
        self.walk.names = names;
        self.walk.next_part += 1;
    }

    /// What to do next; `wanted` says what should be retained of a device now.
    pub fn next(&mut self, mut wanted: impl FnMut(&DeviceName, Trigger) -> Publication) -> PlanStep {
        for _ in 0..LOOKS_AT_ONCE {
            if self.walk.is_over() {
                self.note_walk_over();
            }
            let Some((name, trigger)) = self.take() else {
                let is_walking = self.walk.next_part < self.walk.parts;
                return if is_walking { PlanStep::Gather(self.walk.next_part) } else { PlanStep::Wait };
            };
            let key = self.key(name.device());
            match wanted(&name, trigger) {
                Publication::Unread => {
                    self.put_back(name, trigger);
                    return PlanStep::ReadChanges;
                }
                Publication::Held => {
                    self.published.entry(key).or_insert(UNKNOWN);
                }
                Publication::Nothing if self.published.remove(&key).is_some() => {
                    return PlanStep::Publish { messages: self.removal(name.device()), key };
                }
                Publication::Nothing => {}
                Publication::Content(payload) => {
                    let content = self.hasher.hash_one(&payload).max(UNKNOWN + 1);
                    let before = self.published.insert(key, content).unwrap_or(UNKNOWN);
                    if before != content {
                        let is_new = before == UNKNOWN;
                        return PlanStep::Publish {
                            messages: self.update(name.device(), payload, is_new),
                            key,
                        };
                    }
                }
            }
        }
        PlanStep::Yield
    }

    fn note_walk_over(&mut self) {
        let walk = &mut self.walk;
        if std::mem::take(&mut walk.is_running) {
            walk.done += 1;
        }
        if std::mem::take(&mut walk.again) {
            (walk.next_part, walk.is_running) = (0, true);
        }
    }

    fn key(&self, device: Device<'_>) -> u64 {
        self.hasher.hash_one((device.device_type, device.id))
    }

    /// The next device, of those that have changed and of all in turn.
    fn take(&mut self) -> Option<(DeviceName, Trigger)> {
        let walked = |walk: &mut Walk| walk.names.pop().map(|name| (name, Trigger::Walk));
        let is_walks_turn = self.turn == Trigger::Walk;
        self.turn = if is_walks_turn { Trigger::Change } else { Trigger::Walk };
        if is_walks_turn && let Some(taken) = walked(&mut self.walk) {
            return Some(taken);
        }
        if let Some(name) = self.waiting.pop_front() {
            self.queued.remove(&name);
            return Some((name, Trigger::Change));
        }
        walked(&mut self.walk)
    }

    fn put_back(&mut self, name: DeviceName, trigger: Trigger) {
        match trigger {
            Trigger::Walk => self.walk.names.push(name),
            Trigger::Change if self.queued.insert(name.clone()) => self.waiting.push_front(name),
            Trigger::Change => {}
        }
    }

    fn update(&self, device: Device<'_>, payload: Vec<u8>, is_new: bool) -> Vec<RetainedMessage> {
        let discovery = self.discovery.as_ref().filter(|_| is_new);
        let discovery = discovery.map(|discovery| RetainedMessage {
            topic: discovery.topic(&self.topics, device),
            payload: discovery.payload(&self.topics, device),
        });
        let state = RetainedMessage { topic: self.topics.device(device), payload };
        discovery.into_iter().chain([state]).collect()
    }

    fn removal(&self, device: Device<'_>) -> Vec<RetainedMessage> {
        let discovery = self.discovery.as_ref().map(|discovery| discovery.topic(&self.topics, device));
        let topics = discovery.into_iter().chain([self.topics.device(device)]);
        topics.map(|topic| RetainedMessage { topic, payload: Vec::new() }).collect()
    }
}

#[cfg(test)]
mod tests;
